"""Several processes write one registry at once for a while; then what they were promised is looked for.

    python tools/registry_writers.py [--seconds 60] [--writers 8] [--postgres] [--json]

Each adds models, promotes them, and notes things in the audit log, and writes down what the registry
acknowledged. Nothing of that may be missing, there must be one champion, and the audit log must be whole.
``--postgres`` starts a PostgreSQL server of its own.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import multiprocessing
import random
import sys
import tempfile
import time
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import postgres
from registries import candidate_of, gold_artifact, judged, workplace
from stairways.errors import StairwaysError
from stairways.evaluation.gate_config import GateConfig
from stairways.registry.artifact import write_artifact
from stairways.registry.history_records import Stage
from stairways.registry.promotion import promote
from stairways.registry.registry import Registry
from stairways.registry.signatures import sign_artifact
from stairways.registry.upkeep import look_after

WEEK = dt.timedelta(days=7)
GOLD = gold_artifact()
ARTIFACTS_EACH = 150


def now() -> dt.datetime:
    """Return the present instant."""
    return dt.datetime.now(dt.UTC)


def write(number: int, root: Path, url: str | None, seconds: float) -> None:
    """Work as one of the writers, and leave a list of what was acknowledged."""
    draw = random.Random(number)  # noqa: S311 - which of three things comes next
    acknowledged: list[tuple[str, str]] = []
    refused = 0
    models = sorted((root / "models" / str(number)).iterdir())
    known: list[str] = []
    until = time.monotonic() + seconds
    with Registry.open(root / "registry", now, url) as registry:
        while time.monotonic() < until:
            kind = draw.choice(("add", "promote", "note"))
            try:
                if kind == "add" and models:
                    digest = registry.add(models.pop(), f"writer {number}").model_id
                    known.append(digest)
                    acknowledged.append(("added", digest))
                elif kind == "promote" and known:
                    digest = known.pop(0)
                    outcome = promote(
                        registry,
                        digest,
                        to=Stage.CHAMPION,
                        by=f"writer {number}",
                        reason="it is its turn",
                        gate=GateConfig(),
                        drill_every=WEEK,
                    )
                    if outcome.promoted:
                        acknowledged.append(("promoted", digest))
                    refused += not outcome.promoted
                elif kind == "note":
                    subject = f"{number}-{len(acknowledged)}"
                    registry.history.note(now(), f"writer {number}", "test.noted", subject, {})
                    acknowledged.append(("noted", subject))
            except StairwaysError as error:
                refused += 1
                sys.stderr.write(f"writer {number}: {error.line()}\n")
    (root / f"acknowledged-{number}.json").write_text(json.dumps({"done": acknowledged, "refused": refused}))


def run(root: Path, url: str | None, writers: int, seconds: float) -> dict[str, Any]:
    """Let them write, and return what was found."""
    place = workplace(root, clock=now, url=url)  # type: ignore[arg-type]
    place.drilled(now())
    place.promote(GOLD.digest, Stage.GOLD)
    for number in range(writers):
        for k in range(ARTIFACTS_EACH):
            folder = root / "models" / str(number) / f"{k:04d}"
            write_artifact(folder, candidate_of(GOLD, 1 + number * ARTIFACTS_EACH + k), judged())
            sign_artifact(folder, place.key, now())
    place.registry.close()
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=write, args=(number, root, url, seconds)) for number in range(writers)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    with Registry.open(root / "registry", now, url) as registry:
        return found(registry, root, writers) | {"exit_codes": [process.exitcode for process in processes]}


def found(registry: Registry, root: Path, writers: int) -> dict[str, Any]:
    """Hold what was acknowledged against what is there."""
    lists = [json.loads((root / f"acknowledged-{number}.json").read_text()) for number in range(writers)]
    done = {
        kind: {what for one in lists for k, what in one["done"] if k == kind}
        for kind in ("added", "promoted", "noted")
    }
    entries = registry.history.audit_entries()
    there = {
        "added": {model.model_id for model in registry.history.models()},
        "promoted": {tenure.model_id for tenure in registry.history.tenures()},
        "noted": {entry.subject for entry in entries if entry.action == "test.noted"},
    }
    tenures = registry.history.tenures()
    live = [model.model_id for model in registry.history.models() if model.is_production]
    return {
        "acknowledged": {kind: len(names) for kind, names in done.items()},
        "refused": sum(one["refused"] for one in lists),
        "lost": {kind: len(done[kind] - there[kind]) for kind in done},
        "audit_rows": len(entries),
        "audit_faults": len(registry.verify_audit()),
        "champions": len(live),
        "link_is_champion": live == [registry.store.champion()],
        "tenures_follow": all(a.ended_at == b.began_at for a, b in pairwise(tenures)),
        "not_whole": [one.name for one in look_after(registry) if not one.whole],
    }


def is_good(result: dict[str, Any]) -> bool:
    """Return whether nothing was lost."""
    return (
        not any(result["lost"].values())
        and all(result["acknowledged"].values())
        and result["audit_faults"] == 0
        and result["champions"] == 1
        and result["link_is_champion"]
        and result["tenures_follow"]
        and not result["not_whole"]
        and set(result["exit_codes"]) == {0}
    )


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--writers", type=int, default=8)
    parser.add_argument("--postgres", action="store_true")
    given = parser.parse_args()
    folder = postgres.programs() if given.postgres else None
    if given.postgres and folder is None:
        print("no PostgreSQL here", file=sys.stderr)
        return 2
    with (
        tempfile.TemporaryDirectory() as root,
        postgres.server(folder) if folder is not None else nullcontext(None) as url,
    ):
        result = run(Path(root), url, given.writers, given.seconds)
    print(json.dumps(result, indent=2))
    return 0 if is_good(result) else 1


if __name__ == "__main__":
    sys.exit(main())
