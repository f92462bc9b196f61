"""Run the benchmarks; ``make bench`` and ``make bench-full``.

    python -m benchmarks [NAME ...] [--full] [--compare] [--list]

Without names every group but the long ones runs; rows of the groups that ran replace those of the last
recorded run, the others stay. ``--compare`` records nothing: it says which ratios fell behind that run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "latest.json"
GROUPS = (
    "environment",
    "training",
    "limit",
    "main_job",
    "gold_training",
    "regime",
    "decisions",
    "startup",
    "loading",
    "growth",
    "options",
)
LONG = ("time_to_sharpe", "time_to_sharpe_lstm")
PEERS = (
    "stable-baselines3",
    "sb3-contrib",
    "gymnasium",
    "gym-trading-env",
    "gym-anytrading",
    "river",
    "pandas",
    "polars",
    "numpy",
    "numba",
    "torch",
)


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    model = "unknown"
    cpus = Path("/proc/cpuinfo")
    if cpus.exists():
        names = [
            line for line in cpus.read_text(encoding="utf-8").splitlines() if line.startswith("model name")
        ]
        model = names[0].split(":", 1)[1].strip() if names else model
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PEERS},
    }


def recorded() -> dict[str, Any]:
    """Return the last recorded run; an empty one if there is none."""
    if not RESULTS.exists():
        return {"rows": [], "machine": {}}
    content: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))
    return content


def measured(group: str) -> list[dict[str, Any]]:
    """Run one group and return its rows."""
    print(f"{group} ...", flush=True)
    rows = import_module(f"benchmarks.{group}").rows()
    for row in rows:
        verdict = {True: "holds", False: "MISSED", None: ""}[row.passed]
        bar = f"  [{row.bar.text}: {verdict}]" if row.bar else ""
        print(
            f"  {row.name}: {row.observed:.4g} ({row.spread[0]:.4g} to {row.spread[1]:.4g}){bar}", flush=True
        )
    return [{"group": group, **row.record()} for row in rows]


def behind(now: list[dict[str, Any]], before: list[dict[str, Any]]) -> list[str]:
    """Return the rows that are worse than in the last recorded run, beyond the spread of both.

    Only ratios and exponents are compared: absolute figures are another machine's, or another hour's.
    """
    known = {row["name"]: row for row in before}
    found = []
    for row in now:
        last = known.get(row["name"])
        if last is None or row["peer"] is None:
            continue
        if row["spread"][1] < last["spread"][0]:
            found.append(
                f"{row['name']}: {row['observed']:.3g}x, was {last['observed']:.3g}x "
                f"({last['spread'][0]:.3g} to {last['spread'][1]:.3g})"
            )
    return found


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(
        prog="benchmarks", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join((*GROUPS, *LONG))}")
    parser.add_argument("--full", action="store_true", help="the long ones too")
    parser.add_argument("--compare", action="store_true", help="only say what fell behind the recorded run")
    parser.add_argument("--list", action="store_true", help="list the groups")
    given = parser.parse_args()
    if given.list:
        print("\n".join((*GROUPS, *LONG)))
        return 0
    unknown = sorted(set(given.names) - {*GROUPS, *LONG})
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are {', '.join((*GROUPS, *LONG))}", file=sys.stderr)
        return 2
    chosen = given.names or [*GROUPS, *(LONG if given.full else ())]
    before = recorded()
    now: list[dict[str, Any]] = []
    for group in chosen:
        now += measured(group)
        if not given.compare:
            record(now)
    if given.compare:
        slower = behind(now, before["rows"])
        print("\n".join(slower) if slower else "nothing fell behind the recorded run")
        return 1 if slower else 0
    from benchmarks.report import write_page

    write_page()
    missed = [row["name"] for row in now if row["passed"] is False]
    print(f"{len(now)} rows, {len(missed)} bars missed{': ' + '; '.join(missed) if missed else ''}")
    return 0


def record(now: list[dict[str, Any]]) -> None:
    """Write rows in the place of those of their groups; called after each group, so that none is lost."""
    replaced = {row["group"] for row in now}
    kept = [row for row in recorded()["rows"] if row["group"] not in replaced]
    order = {group: i for i, group in enumerate((*GROUPS, *LONG))}
    rows = sorted([*kept, *now], key=lambda row: order[row["group"]])
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
