"""One story: rows that a hand could change, held against the audit log, whose rows are chained.

What was promoted, rolled back, drilled, waived, and what was live when, stand in tables that nothing hashes.
The audit log has a row for each. Whatever has none, or says something else than its row, is named.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from stairways.registry.audit import CLOCK_CORRECTED
from stairways.registry.history_records import Stage

if TYPE_CHECKING:
    from stairways.registry.audit import AuditEntry
    from stairways.registry.history_records import DrillRecord, PromotionRecord, RollbackRecord, WaiverRecord
    from stairways.registry.registry import Registry

Facts = dict[str, tuple[Any, ...]]
"""What is said of something, by its name."""


def differences(registry: Registry) -> tuple[str, ...]:
    """Return what is not as the audit log says, in words; nothing where all is.

    Raises:
        StorageError: If the database can't be read.
    """
    log, history = registry.history.audit_entries(), registry.history
    rows: dict[str, tuple[Facts, Facts]] = {
        "promotion": (_logged(log, "model.promoted"), dict(map(_promotion, history.promotions()))),
        "rollback": (_redirected(log), dict(map(_rollback, history.rollbacks()))),
        "drill": (_logged(log, "rollback.drilled"), dict(map(_drill, history.drills()))),
        "waiver": (
            _logged(log, "verdict.waived"),
            dict(_waiver(one) for model in history.models() for one in history.waivers(model.model_id)),
        ),
    }
    found = [line for kind, (logged, kept) in rows.items() for line in _compared(kind, logged, kept)]
    found += _of_tenures(registry, log)
    found += _of_models(registry, log)
    return tuple(found)


def _compared(kind: str, logged: Facts, kept: Facts) -> Iterator[str]:
    for name in sorted(kept.keys() - logged.keys()):
        yield f"{kind} {name} is not in the audit log"
    for name in sorted(logged.keys() - kept.keys()):
        yield f"{kind} {name} is in the audit log alone"
    for name in sorted(kept.keys() & logged.keys()):
        if kept[name] != logged[name]:
            yield f"{kind} {name} is not as the audit log has it"


def _logged(log: tuple[AuditEntry, ...], action: str) -> Facts:
    facts = {}
    for entry in log:
        if entry.action == action:
            name, said = _READERS[action](entry, entry.details)
            facts[name] = said
    return facts


def _promoted(entry: AuditEntry, details: Mapping[str, Any]) -> tuple[str, tuple[Any, ...]]:
    names = ("stage_from", "stage_to", "previous_champion", "reason", "signer")
    waived = tuple(details.get("waived", ()))
    said = (entry.subject, entry.actor, _happened(entry), waived, *(details.get(name) for name in names))
    return str(details.get("operation_id")), said


def _promotion(row: PromotionRecord) -> tuple[str, tuple[Any, ...]]:
    waived = tuple(waiver.get("verdict") for waiver in row.waivers)
    return row.operation_id, (
        row.model_id,
        row.authorized_by,
        row.at,
        waived,
        str(row.stage_from),
        str(row.stage_to),
        row.previous_champion,
        row.reason,
        row.signer,
    )


def _rolled_back(entry: AuditEntry, details: Mapping[str, Any]) -> tuple[str, tuple[Any, ...]]:
    names = ("target", "trigger", "reason", "drill")
    said = (entry.subject, entry.actor, *(details.get(name) for name in names))
    return str(details.get("operation_id")), said


def _redirected(log: tuple[AuditEntry, ...]) -> Facts:
    """Return the rollbacks that are logged, each with the target that it had in the end."""
    facts = _logged(log, "model.rolled_back")
    for entry in log:
        name = str(entry.details.get("operation_id"))
        if entry.action == "rollback.redirected" and name in facts:
            failed, actor, _, *rest = facts[name]
            facts[name] = (failed, actor, entry.details.get("target"), *rest)
    return facts


def _rollback(row: RollbackRecord) -> tuple[str, tuple[Any, ...]]:
    said = (row.failed_model, row.ordered_by, row.target_model, row.trigger, row.reason, row.is_drill)
    return row.operation_id, said


def _drilled(entry: AuditEntry, details: Mapping[str, Any]) -> tuple[str, tuple[Any, ...]]:
    names = ("passed", "n", "on_sample", "median_seconds_to_serving")
    return entry.subject, (entry.actor, entry.at, *(details.get(name) for name in names))


def _drill(row: DrillRecord) -> tuple[str, tuple[Any, ...]]:
    said = (row.ordered_by, row.at, row.passed, row.n, row.on_sample, row.median_seconds_to_serving)
    return row.drill_id, said


def _waived(entry: AuditEntry, details: Mapping[str, Any]) -> tuple[str, tuple[Any, ...]]:
    said = (entry.subject, entry.actor, details.get("verdict"), details.get("reason"))
    return str(details.get("waiver_id")), said


def _waiver(row: WaiverRecord) -> tuple[str, tuple[Any, ...]]:
    return row.waiver_id, (row.model_id, row.name, row.verdict, row.reason)


_READERS = {
    "model.promoted": _promoted,
    "model.rolled_back": _rolled_back,
    "rollback.drilled": _drilled,
    "verdict.waived": _waived,
}


def _happened(entry: AuditEntry) -> dt.datetime:
    late = entry.details.get("happened_at")
    return entry.at if late is None else dt.datetime.fromisoformat(late)


def _of_tenures(registry: Registry, log: tuple[AuditEntry, ...]) -> Iterator[str]:
    """Hold what was live when against what made it live."""
    made: Facts = {}
    for entry in log:
        operation, details = str(entry.details.get("operation_id")), entry.details
        promoted = entry.action == "model.promoted"
        if (
            promoted
            and (details.get("stage_to") == Stage.CHAMPION or details.get("stage_from") == Stage.GOLD)
        ) or entry.action in ("drill.restored", "model.reconciled"):
            made[operation] = (entry.subject, entry.actor, _happened(entry))
    for row in registry.history.rollbacks():
        # its own row was compared; one that was swapped when it was finished has its instant there alone
        if row.swapped_at is not None:
            made[row.operation_id] = (row.target_model, row.ordered_by, row.swapped_at)
    for entry in log:
        if entry.action == CLOCK_CORRECTED:
            # what became live while the clock had run ahead became so now at the latest
            for operation in set(entry.details.get("tenures", ())) & set(made):
                made[operation] = (*made[operation][:2], entry.at)
    tenures = registry.history.tenures()
    kept = {one.operation_id: (one.model_id, one.put_by, one.began_at) for one in tenures}
    yield from _compared("tenure", made, kept)
    for before, after in pairwise(tenures):
        if before.ended_at != after.began_at:
            yield f"tenure {before.operation_id} does not end where the next begins"
    if tenures and tenures[-1].ended_at is not None:
        yield "no tenure is the present one"
    link = registry.store.champion()
    if tenures and link is not None and tenures[-1].model_id != link:
        yield f"the link names {link[:12]}, the present tenure {tenures[-1].model_id[:12]}"


def _of_models(registry: Registry, log: tuple[AuditEntry, ...]) -> Iterator[str]:
    """Hold each model's stage against what happened to it, and files that bar against rows."""
    stages = _stages(log)
    models = {one.model_id: one for one in registry.history.models()}
    yield from _compared("model", dict.fromkeys(stages, ()), dict.fromkeys(models, ()))
    for name, kept in models.items():
        due = stages.get(name, kept.role)
        if kept.role != due and {kept.role, due} != {Stage.CHAMPION, Stage.CHALLENGER}:
            yield f"model {name[:12]} is a {kept.role}, and by the audit log a {due}"
        if due == Stage.QUARANTINED and not registry.store.is_quarantined(name):
            yield f"model {name[:12]} is quarantined by the audit log, and its file is gone"
    if registry.history.latched() and not registry.store.is_latched:
        yield "a rollback latches, and the file of the latch is gone"


def _stages(log: tuple[AuditEntry, ...]) -> dict[str, str]:
    """Return where each model stands by what happened to it."""
    stages: dict[str, str] = {}
    for entry in log:
        details, model = entry.details, entry.subject
        if entry.action == "model.added":
            stages[model] = str(details.get("role"))
        elif entry.action == "model.promoted":
            if details.get("stage_to") == Stage.CHAMPION or details.get("stage_from") == Stage.GOLD:
                _step_down(stages, details.get("previous_champion"), model)
            stages[model] = str(details.get("stage_to"))
        elif entry.action == "model.rolled_back":
            if details.get("quarantines"):
                stages[model] = Stage.QUARANTINED
            else:
                _step_down(stages, model, str(details.get("target")))
            _step_up(stages, str(details.get("target")))
        elif entry.action == "rollback.redirected":
            _step_up(stages, str(details.get("target")))
        elif entry.action == "drill.restored":
            _step_up(stages, model)
        elif entry.action == "model.quarantined":
            stages[model] = Stage.QUARANTINED
        elif entry.action == "model.reconciled":
            _step_down(stages, details.get("previous_champion"), model)
            if stages.get(model) in (Stage.CANDIDATE, Stage.CHALLENGER):
                stages[model] = Stage.CHAMPION
    return stages


def _step_down(stages: dict[str, str], model: object, successor: str) -> None:
    if isinstance(model, str) and model != successor and stages.get(model) == Stage.CHAMPION:
        stages[model] = Stage.CHALLENGER


def _step_up(stages: dict[str, str], model: str) -> None:
    if stages.get(model) == Stage.CHALLENGER:
        stages[model] = Stage.CHAMPION
