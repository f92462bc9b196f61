"""The drill: the whole way back, gone for real against the running service, under load, and back again.

A marked incident is reported as a person would report one; the watch sees it, rolls back, and the service
answers with the target, while clients ask without pause. What each of them was answered with is held against
the instant of the swap. Then what was live before is live again.
"""

from __future__ import annotations

import datetime as dt
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any

from stairways.errors import ServiceError, StairwaysError, StorageError
from stairways.live.address import Address
from stairways.live.client import ServiceClient
from stairways.live.incidents import Incident, Incidents
from stairways.live.rehearsal import REASON, put_back, take_up, withdraw
from stairways.live.rollback import DONE
from stairways.live.supervisor import service_record
from stairways.market.sessions import FULL_SESSION_MINUTES
from stairways.registry.artifact import read_artifact, write_artifact
from stairways.registry.history_records import DrillRecord, PromotionRecord, RollbackRecord, Stage
from stairways.registry.keys import SigningKey
from stairways.registry.registry import Registry, new_operation_id
from stairways.registry.signatures import sign_artifact
from stairways.registry.store import DRILL_LOCK, WATCH_LOCK

if TYPE_CHECKING:
    from pathlib import Path

    from stairways.live.watch import Watch

N_CLIENTS = 2
ANSWER_SECONDS = 20.0
WAIT_SECONDS = 120.0
LOCK_SECONDS = 5.0
"""How long a drill waits for a watch that looks whether one was killed."""
_BEFORE_SECONDS, _AFTER_SECONDS = 0.2, 0.3


@dataclass(frozen=True)
class WayBack:
    """One way back of a drill.

    Attributes:
        seconds_to_detect: From the report of the incident to its detection.
        seconds_to_swap: From detection to the link.
        seconds_to_serving: From detection to the first answer of the target.
        n_answers: Answers that clients had.
        n_after_swap: Those that were asked for after the swap.
        n_wrong: Those of them that the failed model gave.
        n_dropped: Requests that had no answer at all.
        n_retried: Times that a client had to ask again.
        failed_steps: Steps of the rollback that were not done.
    """

    seconds_to_detect: float
    seconds_to_swap: float | None
    seconds_to_serving: float | None
    n_answers: int
    n_after_swap: int
    n_wrong: int
    n_dropped: int
    n_retried: int
    failed_steps: tuple[str, ...]

    def passed(self, most_seconds: float) -> bool:
        """Whether the target served in time, and no request was lost or answered wrongly."""
        in_time = self.seconds_to_serving is not None and self.seconds_to_serving <= most_seconds
        answered = self.n_after_swap > 0 and self.n_wrong == 0 and self.n_dropped == 0
        return in_time and answered and not self.failed_steps


@dataclass(frozen=True)
class DrillOutcome:
    """A drill.

    Attributes:
        record: As the database keeps it.
        ways: Each way back.
    """

    record: DrillRecord
    ways: tuple[WayBack, ...]

    def as_record(self) -> dict[str, Any]:
        """Return the drill as JSON."""
        return {
            **self.record.details,
            "median_seconds_to_serving": self.record.median_seconds_to_serving,
            "n": self.record.n,
            "passed": self.record.passed,
        }


def drill(
    registry: Registry,
    watch: Watch,
    *,
    by: str,
    repeat: int,
    most_seconds: float,
    watch_seconds: float,
    on_sample: bool,
    told: Callable[[int, WayBack], None] = lambda number, way: None,
) -> DrillOutcome:
    """Go back and forth, measure, and record.

    Args:
        registry: A registry whose champion is no gold, with its service running.
        watch: Watches it, unless another process does.
        by: Who drills.
        repeat: How often.
        most_seconds: Within which the target must serve.
        watch_seconds: Between two looks of the watch.
        on_sample: Whether registry and service were made for it.
        told: Called after each.

    Raises:
        StorageError: If gold is live, or nothing, or another drill runs.
        ServiceError: If no service runs.
    """
    address = Address.parse(str(service_record(registry.root)["address"]))
    withdraw(registry)
    take_up(registry, by)
    ways = []
    try:
        with registry.store.lock(LOCK_SECONDS, DRILL_LOCK):
            for number in range(repeat):
                way = _go_back_and_forth(registry, watch, address, by, watch_seconds)
                ways.append(way)
                told(number, way)
    except BaseException:
        # also one that was interrupted leaves what it found; where that fails, the watch does it
        with suppress(StairwaysError):
            withdraw(registry)
            take_up(registry, by)
        raise
    serving = [way.seconds_to_serving for way in ways if way.seconds_to_serving is not None]
    now = registry.clock()
    record = DrillRecord(
        drill_id=f"drill-{new_operation_id(now)}",
        at=now,
        ordered_by=by,
        n=len(ways),
        median_seconds_to_serving=median(serving) if len(serving) == len(ways) else None,
        passed=all(way.passed(most_seconds) for way in ways),
        on_sample=on_sample,
        details={"most_seconds": most_seconds, "ways": [_plain(way) for way in ways]},
    )
    registry.history.record_drill(record)
    return DrillOutcome(record, tuple(ways))


def make_sample(folder: Path, gold: Path, clock: Callable[[], dt.datetime]) -> Registry:
    """Make a registry of its own for a drill: a gold, and a champion with gold's weights under another name.

    Args:
        folder: An empty folder.
        gold: Artifact to take both from.
        clock: Tells the time.
    """
    registry = Registry.create(folder / "registry", clock)
    key = SigningKey.new()
    registry.change_trust(
        lambda trust: trust.added(key.public, "key of this drill", clock()),
        "drill",
        "key.trusted",
        key.key_id,
    )
    loaded = read_artifact(gold)
    candidate = replace(loaded.artifact, role="candidate", parent_digest=loaded.digest)
    digests = []
    for artifact in (loaded.artifact, candidate):
        place = folder / artifact.role
        write_artifact(place, artifact, loaded.record)
        sign_artifact(place, key, clock())
        digests.append(registry.add(place, "drill").model_id)
    for digest, stages in zip(digests, ((Stage.GOLD,) * 2, (Stage.CANDIDATE, Stage.CHAMPION)), strict=True):
        at = clock()
        record = PromotionRecord(
            operation_id=new_operation_id(at),
            model_id=digest,
            stage_from=stages[0],
            stage_to=stages[1],
            previous_champion=registry.store.champion(),
            at=at,
            authorized_by="drill",
            reason="made for a drill",
            signer=key.key_id,
            verdicts=(),
            waivers=(),
        )
        registry.history.promote(record, (), partial(registry.store.swap, digest))
    return registry


def _go_back_and_forth(
    registry: Registry, watch: Watch, address: Address, by: str, watch_seconds: float
) -> WayBack:
    failed = registry.store.champion()
    role = None if failed is None else registry.read(failed).loaded.artifact.role
    if failed is None or role == "gold":
        raise StorageError(
            "what is live is gold: there is nothing to go back from" if failed else "nothing is live",
            where=str(registry.root),
            remedy="promote a model first, or drill with --sample",
        )
    with ServiceClient(address, ANSWER_SECONDS) as service:
        service.ready()
    load = _Load(address)
    with load:
        time.sleep(_BEFORE_SECONDS)
        reported = registry.clock()
        Incidents(registry.root).report(Incident(by, REASON, reported, is_drill=True))
        record = _rolled_back(registry, watch, watch_seconds, reported)
        time.sleep(_AFTER_SECONDS)
    way = load.judged(record, (record.detected_at - reported).total_seconds())
    put_back(registry, record, by)
    with ServiceClient(address, ANSWER_SECONDS) as service:
        found = service.ready()
        if found != failed:
            raise ServiceError(f"answers with {found[:12]}, not with {failed[:12]} again", where=str(address))
    return way


def _rolled_back(registry: Registry, watch: Watch, seconds: float, since: dt.datetime) -> RollbackRecord:
    """Return the rollback of the incident: our own watch's, or that of one that runs already."""
    until = time.monotonic() + WAIT_SECONDS
    with registry.store.lock_if_free(WATCH_LOCK) as alone:
        while time.monotonic() < until:
            outcome = watch.look() if alone else None
            if outcome is not None:
                return outcome.as_record()
            for record in () if alone else registry.history.rollbacks():
                if record.is_drill and record.detected_at >= since:
                    return record
            time.sleep(seconds)
    raise ServiceError("nobody saw the incident", where="drill", remedy="see whether the watch runs")


class _Load:
    """Clients that ask without pause, and remember what they were answered with and when they had asked."""

    def __init__(self, address: Address) -> None:
        self._address = address
        # names of its own: the service remembers whoever asked before
        self._name = f"drill-{secrets.token_hex(4)}"
        self._stop = threading.Event()
        self._answers: list[tuple[float, str]] = []
        self._dropped = 0
        self._retried = 0
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._ask, args=(k,), daemon=True) for k in range(N_CLIENTS)]

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(ANSWER_SECONDS + 1.0)

    def judged(self, record: RollbackRecord, seconds_to_detect: float) -> WayBack:
        """Hold the answers against the instant of the swap."""
        swapped = float("inf") if record.swapped_at is None else record.swapped_at.timestamp()
        after = [model for asked, model in self._answers if asked > swapped]
        return WayBack(
            seconds_to_detect=seconds_to_detect,
            seconds_to_swap=record.seconds_to_swap,
            seconds_to_serving=record.seconds_to_serving,
            n_answers=len(self._answers),
            n_after_swap=len(after),
            n_wrong=sum(model == record.failed_model for model in after),
            n_dropped=self._dropped,
            n_retried=self._retried,
            failed_steps=tuple(step["name"] for step in record.steps if step["status"] != DONE),
        )

    def _ask(self, number: int) -> None:
        with ServiceClient(self._address, ANSWER_SECONDS) as service:
            known = service.model()
            n_bars, asked = FULL_SESSION_MINUTES // int(known["interval_minutes"]), 0
            while not self._stop.is_set():
                day = dt.date(2000, 1, 3) + dt.timedelta(days=asked // n_bars)
                request = {
                    "client": f"{self._name}-{number}",
                    "session": str(day),
                    "bar": asked % n_bars,
                    "observation": [0.0] * int(known["n_inputs"]),
                    "score": 0.0,
                    "position": [0] * len(known["symbols"]),
                }
                at = time.time()
                try:
                    (reply,) = service.decide([request])
                except StairwaysError:
                    with self._lock:
                        self._dropped += 1
                else:
                    with self._lock:
                        self._answers.append((at, str(reply["model"])))
                asked += 1
            with self._lock:
                self._retried += service.retried


def _plain(way: WayBack) -> dict[str, Any]:
    return asdict(way) | {"failed_steps": list(way.failed_steps)}
