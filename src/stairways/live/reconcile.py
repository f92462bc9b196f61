"""Reconciliation: a database that was lost or restored from an older copy agrees with the folder again.

The folder knows what was done: the artifacts, the journal of finished operations, the files that bar and
latch, and the link. What the database lacks of it is written down again, in the order in which it happened,
and a row of the audit log says that it was. What only the database knew (runs, waivers, drills, who resumed)
is lost with it. What is barred in either place is so afterwards in both; a latch in either holds.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import TYPE_CHECKING

from stairways.errors import StairwaysError, StorageError
from stairways.evaluation.gate_config import GateConfig
from stairways.evaluation.gates import required_names
from stairways.live.rehearsal import REASON
from stairways.live.rollback import KIND as ROLLBACK
from stairways.live.rollback import outcome_of
from stairways.registry.audit import SignedHead
from stairways.registry.files import read_json_object, storage_error
from stairways.registry.history_records import Cause, Stage, TenureRecord, WaiverRecord
from stairways.registry.promotion import KIND as PROMOTION
from stairways.registry.promotion import promotion_of
from stairways.registry.records import ModelRecord
from stairways.registry.registry import HEADS_FOLDER, new_operation_id
from stairways.registry.waivers import verify_waiver

if TYPE_CHECKING:
    from stairways.registry.canonical import JsonObject
    from stairways.registry.history_records import PromotionRecord
    from stairways.registry.registry import Registry

VOID_FOLDER = "void"


def reconcile(registry: Registry, by: str, reason: str) -> tuple[str, ...]:
    """Bring the database to what the folder knows; return what was done, or could not be, in lines.

    Raises:
        StorageError: If nobody or nothing is named, an operation is not finished, or it can't be written;
            what was done till then stands, and is in the audit log.
    """
    if not by.strip() or not reason.strip():
        raise StorageError("who reconciles, and why, is asked for", where="registry reconcile")
    lines: list[str] = []
    with registry.store.lock():
        try:
            for line in _reconciled(registry, by):
                lines.append(line)  # noqa: PERF402 - those before one that fails are kept
        finally:
            if lines:
                details: JsonObject = {"reason": reason, "lines": lines}
                registry.history.note(registry.clock(), by, "registry.reconciled", "registry", details)
    return tuple(lines)


def _reconciled(registry: Registry, by: str) -> Iterator[str]:
    # the heads first: what follows adds rows
    yield from _heads(registry)
    yield from _models(registry, by)
    yield from _operations(registry, by)
    # what is under way can be finished now: no row could refer to a model that the database does not know
    pending = registry.journal.pending()
    if pending:
        raise StorageError(
            f"{', '.join(pending)} is not finished",
            where=str(registry.root),
            remedy="finish it: `stairways rollback finish`, then reconcile again",
        )
    yield from _barred(registry, by)
    yield from _latched(registry)
    yield from _live(registry, by)


def _heads(registry: Registry) -> Iterator[str]:
    """Put aside signed heads of rows that a restored log has not: they would call it cut off for good."""
    folder, last = registry.root / HEADS_FOLDER, registry.history.audit_head().seq
    for path in sorted(folder.glob("*.json")):
        record = read_json_object(path, remedy="move it away")
        head = SignedHead.parse(record, str(path)).head
        if head.seq <= last:
            continue
        try:
            (folder / VOID_FOLDER).mkdir(exist_ok=True)
            path.rename(folder / VOID_FOLDER / path.name)
        except OSError as error:
            raise storage_error(error, path) from error
        yield f"row {head.seq} was signed ({head.hash[:12]}) and the log ends at {last}: the head is void"


def _models(registry: Registry, by: str) -> Iterator[str]:
    for digest in sorted({*registry.store.digests(), *registry.store.quarantined()}):
        if registry.history.find(digest) is not None:
            continue
        try:
            model = registry.record(digest, by)
        except StairwaysError as error:
            if not registry.store.is_quarantined(digest):
                yield f"model {digest[:12]} can't be taken in: {error.line()}"
                continue
            # the way back from it may have been taken because it is damaged, and refers to it
            place = str(registry.store.place(digest))
            barred = ModelRecord(digest, place, {}, Stage.QUARANTINED, registry.clock())
            registry.history.add(barred, by)
            yield f"model {digest[:12]} is barred, and known again by its name: {error.line()}"
        else:
            yield f"model {digest[:12]} is known again, a {model.role}"


def _operations(registry: Registry, by: str) -> Iterator[str]:
    """Record each operation that the journal has and the database has not, oldest first."""
    known = {one.operation_id for one in registry.history.promotions()}
    known |= {one.operation_id for one in registry.history.rollbacks()}
    for name in registry.journal.finished():
        if name in known:
            continue
        try:
            yield _recorded(registry, name, by)
        except StairwaysError as error:
            yield f"operation {name} can't be recorded: {error.line()}"


def _recorded(registry: Registry, name: str, by: str) -> str:
    entry = registry.journal.read_finished(name)
    kind = str(entry.get("kind"))
    if kind == PROMOTION:
        with registry.journal.parsing(name, kind):
            promotion, changes = promotion_of(entry)
            _ensure_vouched_for(registry, promotion)
        _ensure_later(registry, promotion.at)
        registry.history.promote(promotion, changes, late=True)
        return f"promotion {name} of {promotion.model_id[:12]} is recorded again"
    if kind != ROLLBACK:
        raise StorageError(f"is no operation that is known: {kind}", where=name)
    with registry.journal.parsing(name, kind):
        outcome = outcome_of(name, entry)
    rollback = outcome.as_record()
    _ensure_later(registry, rollback.swapped_at or rollback.detected_at)
    registry.history.roll_back(rollback, quarantines=outcome.order.quarantines)
    if rollback.is_drill:
        if rollback.swapped_at is not None:
            # its own journal ends before it put back what was live
            ended = max(dt.datetime.fromisoformat(step["at"]) for step in rollback.steps)
            registry.history.restore(f"{name}-back", rollback.failed_model, ended, by)
        registry.history.resume(registry.clock(), by, REASON, name)
    return f"{'drill' if rollback.is_drill else 'rollback'} {name} is recorded again"


def _ensure_vouched_for(registry: Registry, promotion: PromotionRecord) -> None:
    """Refuse a promotion that only its entry speaks for: whoever writes here need not have a key.

    Its verdicts must be those of the signed artifact, and its waivers signed by somebody who counts.
    """
    record = registry.read(promotion.model_id).loaded.record
    where = f"model {promotion.model_id[:12]}"
    if list(promotion.verdicts) != list(record.get("verdicts", ())):
        raise StorageError("has other verdicts than the signed artifact", where=where)
    waived = set()
    for row in promotion.waivers:
        waiver = WaiverRecord(**(row | {"at": dt.datetime.fromisoformat(row["at"])}))
        verify_waiver(waiver, registry.store.trust(), registry.clock())
        if waiver.model_id == promotion.model_id:
            waived.add(waiver.verdict)
    passed = {one.get("name") for one in promotion.verdicts if one.get("passed") is True}
    # what is required by any gate: skill by some alone
    lacking = set(required_names(GateConfig(require_skill=False))) - passed - waived
    if lacking and promotion.stage_to != Stage.GOLD:
        raise StorageError(f"did not pass {', '.join(sorted(lacking))}, and nobody waived that", where=where)


def _ensure_later(registry: Registry, at: dt.datetime) -> None:
    present = registry.history.present()
    if present is not None and at < present.began_at:
        raise StorageError(
            f"is of {at.isoformat()}, and what is live became so at {present.began_at.isoformat()}",
            where="history",
        )


def _barred(registry: Registry, by: str) -> Iterator[str]:
    """Bar in both places what is barred in one."""
    for model in registry.history.models():
        digest, barred = model.model_id, registry.store.is_quarantined(model.model_id)
        if barred and model.role != Stage.QUARANTINED:
            registry.history.quarantine(digest, registry.clock(), by)
            yield f"model {digest[:12]} is quarantined in the database too"
        elif model.role == Stage.QUARANTINED and not barred:
            registry.store.quarantine(digest, "quarantined in the database")
            yield f"model {digest[:12]} is quarantined in the folder too"


def _latched(registry: Registry) -> Iterator[str]:
    latched = registry.history.latched()
    if latched and not registry.store.is_latched:
        registry.store.latch(latched[-1], "latched in the database")
        yield f"promotions wait after {', '.join(latched)}: `stairways rollback resume`"


def _live(registry: Registry, by: str) -> Iterator[str]:
    """Let link and database name the same model: the link counts, and where there is none the database."""
    store, history = registry.store, registry.history
    present = history.present()
    try:
        link = store.champion()
    except StorageError:
        link = None
    if link is None and present is not None:
        try:
            registry.read(present.model_id)
            store.swap(present.model_id)
        except StairwaysError as error:
            yield f"the link can't be made anew: {error.line()}"
        else:
            yield f"the link names {present.model_id[:12]} again"
    elif link is not None and (present is None or present.model_id != link):
        now = registry.clock()
        if history.find(link) is None or store.is_quarantined(link):
            yield f"{link[:12]} is live and can't be served: `stairways rollback now`"
            return
        tenure = TenureRecord(link, now, None, by, Cause.RECONCILIATION, new_operation_id(now))
        history.reconcile(tenure)
        before = "nothing" if present is None else present.model_id[:12]
        yield f"{link[:12]} is live by the link, {before} was by the database: recorded as of now"
