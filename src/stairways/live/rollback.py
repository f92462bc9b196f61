"""The way back: latch, snapshot, swap, serve, restart, page, log; journaled, each step done once.

The journal is written before the first step and after each. A step that fails is noted, told, and does not
stop those after it; only where the link could not be replaced, also because nothing verifies that could be
gone back to, the service is stopped: a bad model that answers is worse than none. :func:`go_on` takes up what
a killed process left. Nothing here needs the database but the last step.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from stairways.errors import ArtifactError, ServiceError, StairwaysError, StorageError
from stairways.evaluation.trigger_config import TriggerConfig
from stairways.live.address import Address
from stairways.live.client import ServiceClient
from stairways.live.incidents import Incidents
from stairways.live.supervisor import service_record
from stairways.live.targets import choose_target, ensure_target
from stairways.monitoring.page import Page, incident_key
from stairways.registry.canonical import canonical_json
from stairways.registry.files import remove_stale, storage_error, write_bytes_atomic
from stairways.registry.history_records import RollbackRecord, Stage
from stairways.registry.registry import Registry, new_operation_id
from stairways.registry.store import ROLLBACK_LOCK

if TYPE_CHECKING:
    from stairways.live.restart import Restarter
    from stairways.monitoring.pager import Pager
    from stairways.registry.canonical import JsonObject

KIND = "rollback"
SNAPSHOTS_FOLDER = "snapshots"
SNAPSHOT_SECONDS = 1.0
SERVING_SECONDS = 30.0
LOCK_SECONDS = 5.0
"""How long a way back waits for a promotion under way; then it goes ahead."""
NO_SERVICE = 503
"""Status of the error that says that no service runs."""
_LOOK_SECONDS = 0.002
NO_TARGET = "nothing verifies that could be gone back to"
DONE, FAILED, SKIPPED = "done", "failed", "skipped"
_HOST = "stairways"


@dataclass(frozen=True)
class RollbackOrder:
    """What shall be rolled back, to what, and why.

    Attributes:
        trigger: Name of the trigger.
        reason: In words, with what was observed.
        ordered_by: Who, or what watches.
        failed: Digest of what is live.
        target: Digest of what shall be; None where nothing verifies: the service is stopped then, and a
            target is looked for each time that the way back is gone on with.
        detected_at: When the trigger was seen.
        is_drill: Whether it is a rehearsal: nothing is quarantined then.
        incident: Name of the reported incident that it deals with.
        bars: Whether what failed is quarantined for good; not where it is its signature alone that no longer
            counts: signed anew it may come back.
    """

    trigger: str
    reason: str
    ordered_by: str
    failed: str
    target: str | None
    detected_at: dt.datetime
    is_drill: bool = False
    incident: str | None = None
    bars: bool = True

    @property
    def quarantines(self) -> bool:
        """Whether what failed never goes live again."""
        return self.bars and not self.is_drill

    def as_record(self) -> JsonObject:
        """Return the order as JSON."""
        return vars(self) | {"detected_at": self.detected_at.isoformat()}

    @classmethod
    def parse(cls, record: JsonObject) -> Self:
        """Return the order behind :meth:`as_record`."""
        return cls(**(record | {"detected_at": dt.datetime.fromisoformat(record["detected_at"])}))


@dataclass(frozen=True)
class StepOutcome:
    """How one step went.

    Attributes:
        name: The step.
        status: ``done``, ``failed`` or ``skipped``.
        detail: In words.
        seconds: How long it took.
        at: When it ended.
    """

    name: str
    status: str
    detail: str
    seconds: float
    at: str

    @property
    def settled(self) -> bool:
        """Whether it need not be tried again."""
        return self.status in (DONE, SKIPPED)


@dataclass(frozen=True)
class RollbackOutcome:
    """How a rollback went.

    Attributes:
        operation_id: Its name.
        order: What was ordered.
        steps: Every step, in order.
        swapped_at: When the link was replaced; None if it could not be.
        seconds_to_swap: From detection to the link.
        seconds_to_serving: From detection to the first answer of the target; None if it was not seen.
    """

    operation_id: str
    order: RollbackOrder
    steps: tuple[StepOutcome, ...]
    swapped_at: dt.datetime | None = None
    seconds_to_swap: float | None = None
    seconds_to_serving: float | None = None

    @property
    def finished(self) -> bool:
        """Whether every step went well, or had nothing to do."""
        return all(step.settled for step in self.steps)

    def step(self, name: str) -> StepOutcome | None:
        """Return a step's outcome, None before it."""
        return next((step for step in self.steps if step.name == name), None)

    def what_happened(self) -> str:
        """Return in words what is live now."""
        failed, target = self.order.failed[:12], self.order.target
        to = "" if target is None else f" to {target[:12]}"
        if self.swapped_at is not None:
            return f"rolled back from {failed}{to}"
        swap, stop = self.step("swap"), self.step("stop")
        why = "the link was not replaced" if swap is None else swap.detail
        stopped = "" if stop is None or stop.status != DONE else "; the service is stopped"
        return f"NOT rolled back from {failed}{to} ({why}){stopped}"

    def as_record(self) -> RollbackRecord:
        """Return it as the database keeps it."""
        return RollbackRecord(
            operation_id=self.operation_id,
            trigger=self.order.trigger,
            reason=self.order.reason,
            failed_model=self.order.failed,
            target_model=self.order.target,
            detected_at=self.order.detected_at,
            swapped_at=self.swapped_at,
            ordered_by=self.order.ordered_by,
            steps=tuple(dict(vars(step)) for step in self.steps),
            seconds_to_swap=self.seconds_to_swap,
            seconds_to_serving=self.seconds_to_serving,
            is_drill=self.order.is_drill,
        )


class Rollback:
    """Leads one way back.

    Args:
        registry: The registry.
        restarter: Who restarts the service.
        pager: Who tells people.
        outcome: Where it stands; a fresh one has no steps.
        since: Monotonic seconds at which the trigger was seen; None where only the clock can tell.
    """

    def __init__(
        self,
        registry: Registry,
        restarter: Restarter,
        pager: Pager,
        outcome: RollbackOutcome,
        since: float | None = None,
    ) -> None:
        self.outcome = outcome
        self._registry = registry
        self._restarter = restarter
        self._pager = pager
        self._since = since
        self._moved = False

    @property
    def order(self) -> RollbackOrder:
        """What was ordered."""
        return self.outcome.order

    def run(self) -> RollbackOutcome:
        """Take every step that is not settled, and return how they went."""
        # beside another too: its steps are done once, whoever does them
        with self._registry.store.lock_if_free(ROLLBACK_LOCK):
            return self._run()

    def _run(self) -> RollbackOutcome:
        self._keep()
        self._take("latch", self._latch)
        self._take("snapshot", self._snapshot)
        if self._take("swap", self._swap) or self.outcome.swapped_at is not None:
            self._take("serve", self._serve)
            self._take("restart", self._restart)
        elif not self.order.is_drill:
            self._take("stop", self._stop)
        self._take("page", self._page)
        self._take("log", self._log, again=self._moved)
        # before the journal, which names it, is put aside: whoever goes on would else roll back twice
        self._try("incident", self._close_incident)
        self._keep()
        if self.outcome.finished or self._is_drill_in_vain():
            self._try("journal", lambda: self._registry.journal.finish(self.outcome.operation_id))
        return self.outcome

    def _is_drill_in_vain(self) -> bool:
        """Whether a drill led nowhere: what is live is good and stays, now and when it could be left."""
        return self.order.is_drill and self.outcome.swapped_at is None

    def _take(self, name: str, work: Callable[[], str], *, again: bool = False) -> bool:
        """Take a step unless it is settled; return whether it went well.

        Args:
            name: The step.
            work: What it does; returns how, in words.
            again: Take it in any case: what it records has changed.
        """
        before = self.outcome.step(name)
        if before is not None and before.settled and not again:
            return True
        self._moved = True
        began = time.monotonic()
        try:
            status, detail = DONE, work()
        except _NothingToDo as reason:
            status, detail = SKIPPED, str(reason)
        except StairwaysError as error:
            status, detail = FAILED, error.line()
        except Exception as error:  # noqa: BLE001 - whatever a step meets, those after it are taken
            status, detail = FAILED, " ".join(f"{type(error).__name__}: {error}".split())
        step = self._noted(name, status, detail, time.monotonic() - began)
        self._keep()
        return step.settled

    def _keep(self) -> None:
        """Write the journal; where it can't be written the steps go on all the same."""
        record = journal_record(self.outcome)
        self._try("journal", lambda: self._registry.journal.write(self.outcome.operation_id, record))

    def _try(self, name: str, work: Callable[[], object]) -> None:
        """Do what is a step only where it fails: that is noted, and so is that it went well afterwards."""
        before = self.outcome.step(name)
        try:
            work()
        except StorageError as error:
            self._noted(name, FAILED, error.line())
        else:
            if before is not None and not before.settled:
                self._noted(name, DONE, f"done again, after: {before.detail}")

    def _noted(self, name: str, status: str, detail: str, seconds: float = 0.0) -> StepOutcome:
        """Return how a step went; in the outcome it takes the place of the try before."""
        step = StepOutcome(name, status, detail, seconds, self._registry.clock().isoformat())
        others = tuple(one for one in self.outcome.steps if one.name != name)
        self.outcome = replace(self.outcome, steps=(*others, step))
        return step

    def _close_incident(self) -> None:
        if self.order.incident is not None:
            Incidents(self._registry.root).close(self.order.incident)

    def _seconds(self) -> float:
        if self._since is not None:
            return time.monotonic() - self._since
        return (self._registry.clock() - self.order.detected_at).total_seconds()

    def _latch(self) -> str:
        store, order = self._registry.store, self.order
        try:
            store.latch(self.outcome.operation_id, order.reason)
        finally:
            # whatever became of the latch
            if order.quarantines:
                store.quarantine(order.failed, order.reason)
        if not order.quarantines:
            why = "a drill quarantines nothing" if order.is_drill else "signed anew the model may come back"
            return f"promotions wait; {why}"
        return f"promotions wait; {self.order.failed[:12]} is quarantined"

    def _snapshot(self) -> str:
        """Keep what the service remembered, for whoever looks into it."""
        with self._service(SNAPSHOT_SECONDS) as service:
            state = {"health": service.health(), "memory": service.memory()}
        folder = self._registry.root / SNAPSHOTS_FOLDER
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise storage_error(error, folder) from error
        with suppress(StorageError):
            remove_stale(folder)
        place = folder / f"{self.outcome.operation_id}.json"
        write_bytes_atomic(place, canonical_json(state))
        return str(place)

    def _swap(self) -> str:
        store = self._registry.store
        with ExitStack() as held:
            beside = ""
            try:
                held.enter_context(store.lock(LOCK_SECONDS))
            except StorageError as error:
                beside = f", without the lock ({error.line()})"
            if (live := self._overtaken()) is not None:
                raise _NothingToDo(f"{live[:12]} is live by now")
            if self.order.target is None:
                raise ArtifactError(
                    NO_TARGET,
                    where=str(store.artifacts),
                    remedy="restore gold's folder from a copy; if gold is quarantined, add another gold",
                )
            # verified before it goes live: a way back that leads nowhere is none
            self._registry.read(self.order.target)
            try:
                store.swap(self.order.target)
            finally:
                self._note_swap()
        return f"the link is replaced{beside}"

    def _note_swap(self) -> None:
        """Note whether the link is replaced: it may be, and not have been brought to the disk."""
        if self._registry.store.champion() != self.order.target:
            self.outcome = replace(self.outcome, swapped_at=None, seconds_to_swap=None)
        elif self.outcome.swapped_at is None:
            now = self._registry.clock()
            self.outcome = replace(self.outcome, swapped_at=now, seconds_to_swap=self._seconds())

    def _overtaken(self) -> str | None:
        """Return what is live where that is neither what failed nor the target.

        A later rollback, or a promotion that was quicker, has made it live: going on would undo that.
        """
        try:
            live = self._registry.store.champion()
        except StorageError:
            # a link that is damaged is replaced
            return None
        return None if live in (self.order.failed, self.order.target) else live

    def _serve(self) -> str:
        """Wait until the service answers with the target."""
        if (live := self._overtaken()) is not None:
            raise _NothingToDo(f"{live[:12]} is live by now")
        until = time.monotonic() + SERVING_SECONDS
        with self._service(SERVING_SECONDS) as service:
            found = ""
            while time.monotonic() < until:
                found = service.ready()
                if found == self.order.target:
                    self.outcome = replace(self.outcome, seconds_to_serving=self._seconds())
                    return f"answers with {found[:12]}"
                time.sleep(_LOOK_SECONDS)
        raise ServiceError(f"still answers with {found[:12]}", where="service")

    def _restart(self) -> str:
        self._service(SNAPSHOT_SECONDS).close()
        return self._restarter.restart()

    def _stop(self) -> str:
        try:
            return self._restarter.stop()
        except ServiceError as error:
            if error.status == NO_SERVICE:
                raise _NothingToDo(error.what) from error
            raise

    def _page(self) -> str:
        order = self.order
        drill = "DRILL, nothing to do: " if order.is_drill else ""
        page = Page(
            summary=f"{drill}{self.outcome.what_happened()}: {order.reason}",
            severity="info" if order.is_drill else "critical",
            source=_HOST,
            component="rollback",
            dedup_key=incident_key("rollback", order.trigger, self.outcome.operation_id),
            occurred_at=order.detected_at,
            details={
                "operation_id": self.outcome.operation_id,
                "ordered_by": order.ordered_by,
                "steps": [vars(step) for step in self.outcome.steps],
                "trigger": order.trigger,
            },
        )
        delivery = self._pager.send(page)
        return f"{delivery.outcome} {delivery.reason}".strip()

    def _log(self) -> str:
        overtaken = self._overtaken() is not None
        self._registry.history.roll_back(
            self.outcome.as_record(), overtaken=overtaken, quarantines=self.order.quarantines
        )
        return "recorded"

    def _service(self, seconds: float) -> ServiceClient:
        """Return a client of the service that runs; where none does there is nothing to do."""
        try:
            record = service_record(self._registry.root)
        except ServiceError as error:
            raise _NothingToDo(error.what) from error
        return ServiceClient(Address.parse(str(record["address"])), seconds)


class _NothingToDo(Exception):  # noqa: N818  no error: the step has nothing to act on
    """The step has nothing to act on."""


def roll_back(
    registry: Registry,
    restarter: Restarter,
    pager: Pager,
    order: RollbackOrder,
    *,
    since: float | None = None,
) -> RollbackOutcome:
    """Go back, whatever fails on the way; see the outcome's steps.

    Args:
        registry: The registry.
        restarter: Who restarts the service.
        pager: Who tells people.
        order: From what to what, and why.
        since: Monotonic seconds at which the trigger was seen.
    """
    outcome = RollbackOutcome(new_operation_id(order.detected_at), order, ())
    return Rollback(registry, restarter, pager, outcome, since).run()


def go_on(
    registry: Registry, restarter: Restarter, pager: Pager, triggers: TriggerConfig | None = None
) -> tuple[RollbackOutcome, ...]:
    """Take up every rollback that was begun and not finished.

    Args:
        registry: The registry.
        restarter: Who restarts the service.
        pager: Who tells people.
        triggers: What a target must satisfy, where another has to be found; by default the shipped ones.
    """
    left = (*unfinished(registry), *_never_swapped(registry))
    begun = [aimed(registry, outcome, triggers or TriggerConfig()) for outcome in left]
    return tuple(Rollback(registry, restarter, pager, outcome).run() for outcome in begun)


def aimed(registry: Registry, outcome: RollbackOutcome, triggers: TriggerConfig) -> RollbackOutcome:
    """Return a way back whose target can be gone to, if there is one: meanwhile the first may be none."""
    swap, order = outcome.step("swap"), outcome.order
    if swap is not None and swap.settled:
        return outcome
    try:
        if outcome.swapped_at is not None and registry.store.champion() == order.target:
            # it is live already: where it is damaged since, that is a way back of its own
            return outcome
        ensure_target(registry, order.failed, order.target)
    except StairwaysError:
        target = choose_target(registry, order.failed, triggers).digest
        return replace(outcome, order=replace(order, target=target))
    return outcome


def unfinished(registry: Registry) -> tuple[RollbackOutcome, ...]:
    """Return every rollback that was begun and not finished, oldest first.

    Raises:
        StorageError: If the journal can't be read, or holds what is not understood.
    """
    found = []
    for name, entry in registry.journal.pending().items():
        if entry.get("kind") == KIND:
            with registry.journal.parsing(name, KIND):
                found.append(outcome_of(name, entry))
    return tuple(found)


def _never_swapped(registry: Registry) -> tuple[RollbackOutcome, ...]:
    """Return the ways back of which the database alone knows, and from which the link still leads.

    The disk was broken from the first entry of the journal on: neither latch nor quarantine stands there.
    Where they lead is found anew: whoever can write a row must not choose what goes live. A drill is over.
    """
    try:
        live, pending = registry.store.champion(), registry.journal.pending()
        records = registry.history.rollbacks()
        model = None if live is None else registry.history.find(live)
    except StorageError:
        return ()
    if model is None:
        return ()
    return tuple(
        RollbackOutcome(
            record.operation_id,
            RollbackOrder(
                trigger=record.trigger,
                reason=record.reason,
                ordered_by=record.ordered_by,
                failed=record.failed_model,
                target=None,
                detected_at=record.detected_at,
                bars=model.role == Stage.QUARANTINED,
            ),
            (),
        )
        for record in records
        if record.failed_model == live
        and record.resumed_at is None
        and not record.is_drill
        # one that was overtaken is over too
        and not any(step.get("name") == "swap" and step.get("status") != FAILED for step in record.steps)
        and record.operation_id not in pending
    )


def resume(registry: Registry, by: str, reason: str) -> tuple[str, ...]:
    """Let promotions go on after every rollback that latches; return their names.

    Raises:
        StorageError: If a rollback is not finished, nobody or nothing is named, or it can't be recorded.
    """
    if not by.strip() or not reason.strip():
        raise StorageError("who resumes, and why, is asked for", where="rollback resume")
    with registry.store.lock():
        open_ones = [name for name, entry in registry.journal.pending().items() if entry.get("kind") == KIND]
        if open_ones:
            raise StorageError(
                f"rollback {', '.join(open_ones)} is not finished",
                where=str(registry.root),
                remedy="finish it first: `stairways rollback finish`",
            )
        names = registry.history.resume(registry.clock(), by, reason)
        registry.store.unlatch()
        return names


def journal_record(outcome: RollbackOutcome) -> JsonObject:
    """Return a rollback as the journal keeps it."""
    return {
        "kind": KIND,
        "order": outcome.order.as_record(),
        "seconds_to_serving": outcome.seconds_to_serving,
        "seconds_to_swap": outcome.seconds_to_swap,
        "steps": [dict(vars(step)) for step in outcome.steps],
        "swapped_at": None if outcome.swapped_at is None else outcome.swapped_at.isoformat(),
    }


def outcome_of(operation_id: str, entry: dict[str, Any]) -> RollbackOutcome:
    """Return the rollback behind :func:`journal_record`."""
    swapped = entry["swapped_at"]
    return RollbackOutcome(
        operation_id=operation_id,
        order=RollbackOrder.parse(entry["order"]),
        steps=tuple(StepOutcome(**step) for step in entry["steps"]),
        swapped_at=None if swapped is None else dt.datetime.fromisoformat(swapped),
        seconds_to_swap=entry["seconds_to_swap"],
        seconds_to_serving=entry["seconds_to_serving"],
    )
