"""Promotion: a model becomes challenger or champion, or it is said what is missing.

Every check is made and shown, and each fails closed: what can't be read or was never measured did not pass.
The champion's link is replaced inside the database's transaction, after every row was written and before it
is committed, and the intention is in the journal before either. A process killed at any point leaves a state
that :func:`recover` finishes: forward where the link was replaced, back where it was not.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from stairways.errors import SignatureError, StairwaysError, StorageError
from stairways.evaluation.gates import required_names
from stairways.registry.history_records import LayerChange, PromotionRecord, Stage
from stairways.registry.parameter_audit import layer_changes
from stairways.registry.registry import Registry, new_operation_id
from stairways.registry.signatures import CLOCK_TOLERANCE
from stairways.registry.waivers import verify_waiver

if TYPE_CHECKING:
    from stairways.evaluation.gate_config import GateConfig
    from stairways.registry.artifact import Artifact
    from stairways.registry.canonical import JsonObject
    from stairways.registry.history_records import WaiverRecord
    from stairways.registry.records import ModelRecord
    from stairways.registry.signatures import TrustedArtifact

KIND = "promotion"
PROMOTIONS = {
    Stage.CANDIDATE: (Stage.CHALLENGER, Stage.CHAMPION),
    Stage.CHALLENGER: (Stage.CHAMPION,),
    Stage.GOLD: (Stage.GOLD,),
}
"""To which stage a model may go from where it stands; gold goes live and stays gold."""
ENVIRONMENT_KEYS = ("trading", "reward", "regime", "action_meanings", "recurrent_state")


@dataclass(frozen=True)
class Check:
    """One condition of a promotion.

    Attributes:
        name: Stable identifier.
        passed: Whether it holds.
        reason: What was found.
        waived_by: Who let it pass although it does not hold.
    """

    name: str
    passed: bool
    reason: str
    waived_by: str | None = None


@dataclass(frozen=True)
class PromotionOutcome:
    """What came of the wish to promote.

    Attributes:
        checks: Every condition, in order.
        record: The promotion; None where it was refused.
    """

    checks: tuple[Check, ...]
    record: PromotionRecord | None

    @property
    def promoted(self) -> bool:
        """Whether it was promoted."""
        return self.record is not None

    def failures(self) -> tuple[Check, ...]:
        """Return the conditions that did not hold."""
        return tuple(check for check in self.checks if not check.passed)


@dataclass(frozen=True, eq=False)
class _Wish:
    """A model, where it shall go, and what was found about it."""

    model: ModelRecord
    stage: Stage
    checks: tuple[Check, ...]
    trusted: TrustedArtifact | None
    waivers: tuple[WaiverRecord, ...]


def promote(
    registry: Registry,
    digest: str,
    *,
    to: Stage,
    by: str,
    reason: str,
    gate: GateConfig,
    drill_every: dt.timedelta,
) -> PromotionOutcome:
    """Promote a model if every condition holds.

    Args:
        registry: The registry.
        digest: The model.
        to: ``challenger`` or ``champion``; ``gold`` makes gold live.
        by: Who promotes.
        reason: Why.
        gate: Says which verdicts it needs.
        drill_every: How old the last passed drill of a rollback may be.

    Raises:
        StorageError: If it can't be recorded or made live; the champion before stays then.
    """
    if not by.strip() or not reason.strip():
        raise StorageError("a promotion needs a name and a reason", where=f"model {digest[:12]}")
    with registry.store.lock():
        registry.store.clean()
        recover(registry)
        wish = _examine(registry, digest, to, gate, drill_every)
        if wish.trusted is None or not all(check.passed for check in wish.checks):
            return PromotionOutcome(wish.checks, None)
        now = registry.clock()
        record = PromotionRecord(
            operation_id=new_operation_id(now),
            model_id=digest,
            stage_from=wish.model.role,
            stage_to=to,
            previous_champion=registry.store.champion(),
            at=now,
            authorized_by=by,
            reason=reason,
            signer=f"{wish.trusted.signer.name} ({wish.trusted.signer.key_id})",
            verdicts=tuple(wish.trusted.loaded.record.get("verdicts", ())),
            waivers=tuple(_waiver_record(waiver) for waiver in wish.waivers),
        )
        changes = _changes(registry, wish, record)
        registry.journal.write(record.operation_id, _journal_record(record, changes))
        _carry_out(registry, record, changes)
        _finish(registry, record)
        return PromotionOutcome(wish.checks, record)


def recover(registry: Registry) -> tuple[str, ...]:
    """Finish every promotion that a killed process left; the caller holds the lock.

    Returns:
        One line for each: what it was and what became of it.

    Raises:
        StorageError: If one can't be finished.
    """
    lines = []
    for operation_id, entry in registry.journal.pending().items():
        if entry.get("kind") != KIND:
            continue
        with registry.journal.parsing(operation_id, KIND):
            record, changes = promotion_of(entry)
        why = None
        if not goes_live(record) or registry.store.champion() == record.model_id:
            why = _moved_on(registry, record)
            if why is None:
                registry.history.promote(record, changes, late=True)
        elif _stands(registry, record):
            # it was committed and nobody heard of it; what a rollback made live since stays
            before = registry.store.champion() == record.previous_champion
            if before and not registry.store.is_latched and _is_present(registry, record):
                registry.store.swap(record.model_id)
        else:
            why = "the link was never replaced"
        if why is not None:
            _note_abandoned(registry, record, why)
        registry.journal.finish(operation_id, taken_back=why is not None)
        became = "finished" if why is None else f"taken back, {why}"
        lines.append(f"promotion {operation_id} of {record.model_id[:12]}: {became}")
    return tuple(lines)


def goes_live(record: PromotionRecord) -> bool:
    """Whether a promotion replaces the champion's link."""
    return record.stage_to in (Stage.CHAMPION, Stage.GOLD)


def _carry_out(registry: Registry, record: PromotionRecord, changes: Sequence[LayerChange]) -> None:
    """Write rows, replace the link, commit; on any error what was live before is live again.

    Raises:
        StorageError: If it was not done; where what was before could not be put back, the error says so.
    """
    try:
        registry.history.promote(record, changes, partial(_swap, registry, record))
    except StairwaysError as error:
        recorded = _is_recorded(registry, record)
        swapped = goes_live(record) and registry.store.champion() == record.model_id
        if recorded and swapped == goes_live(record):
            # only the answer to its commit was lost
            return
        if swapped:
            # its journal stays, to be followed up: a commit that failed may stand after a crash all the same
            _put_back(registry, record, error)
        elif recorded is False:
            # nothing is left to put right
            _finish(registry, record, taken_back=True)
        raise


def _put_back(registry: Registry, record: PromotionRecord, error: StairwaysError) -> None:
    """Make live again what was live before; where that fails too, the error says what is live."""
    try:
        registry.store.restore(record.previous_champion)
    except StairwaysError as second:
        if registry.store.champion() != record.model_id:
            return
        raise StorageError(
            f"{error.what}; {record.model_id[:12]} is live and not recorded, and what was before could not "
            f"be put back ({second.what})",
            where=error.where,
            remedy=f"{error.remedy or 'mend that'}, then finish it: `stairways rollback finish`",
        ) from error


def _finish(registry: Registry, record: PromotionRecord, *, taken_back: bool = False) -> None:
    """Put the journal of a promotion aside; what can't be now, the next one does."""
    with suppress(StorageError):
        registry.journal.finish(record.operation_id, taken_back=taken_back)


def _swap(registry: Registry, record: PromotionRecord) -> None:
    """Replace the link if a promotion does, unless a rollback that did not wait for the lock came between."""
    if not goes_live(record):
        return
    store = registry.store
    if store.is_latched or store.champion() != record.previous_champion:
        raise StorageError(
            "a rollback came between",
            where=f"model {record.model_id[:12]}",
            remedy="see `stairways rollback list`",
        )
    store.swap(record.model_id)


def _stands(registry: Registry, record: PromotionRecord) -> bool:
    """Whether the database has a promotion.

    Raises:
        StorageError: If that can't be seen.
    """
    promotions = registry.history.promotions(record.model_id)
    return any(one.operation_id == record.operation_id for one in promotions)


def _is_recorded(registry: Registry, record: PromotionRecord) -> bool | None:
    """Whether the database has a promotion, None where that can't be seen."""
    try:
        return _stands(registry, record)
    except StairwaysError:
        return None


def _moved_on(registry: Registry, record: PromotionRecord) -> str | None:
    """Return where a model stands by now if it can't be promoted any more: a way back may have barred it."""
    model = registry.history.find(record.model_id)
    if model is None or model.role == record.stage_from or _stands(registry, record):
        return None
    return f"it is a {model.role} by now"


def _is_present(registry: Registry, record: PromotionRecord) -> bool:
    """Whether nothing was made live since a promotion that is recorded."""
    present = registry.history.present()
    return present is not None and present.operation_id == record.operation_id


def _examine(
    registry: Registry, digest: str, to: Stage, gate: GateConfig, drill_every: dt.timedelta
) -> _Wish:
    model = registry.history.find(digest)
    if model is None:
        raise StorageError(
            "no such model", where=f"model {digest[:12]}", remedy="add it with `stairways registry add`"
        )
    trusted, signed = _check_signature(registry, digest)
    waivers, gated = _check_verdicts(registry, digest, trusted, gate, needed=to != Stage.GOLD)
    checks = (
        signed,
        _check_stage(registry, model, to),
        _check_latch(registry),
        _check_history(registry),
        *gated,
        _check_environment(registry, trusted),
        _check_gold(registry),
        _check_drill(registry, drill_every, needed=to == Stage.CHAMPION),
    )
    return _Wish(model, to, checks, trusted, waivers)


def _check_signature(registry: Registry, digest: str) -> tuple[TrustedArtifact | None, Check]:
    try:
        trusted = registry.read(digest, registry.clock())
    except StairwaysError as error:
        return None, Check("signature", passed=False, reason=error.line())
    return trusted, Check(
        "signature", passed=True, reason=f"signed by {trusted.signer.name} (key {trusted.signer.key_id})"
    )


def _check_stage(registry: Registry, model: ModelRecord, to: Stage) -> Check:
    allowed = PROMOTIONS.get(Stage(model.role), ())
    if registry.store.is_quarantined(model.model_id):
        return Check("stage", passed=False, reason="it is quarantined for good")
    if to not in allowed:
        return Check("stage", passed=False, reason=f"a {model.role} can't be made {to}")
    if to in (Stage.CHAMPION, Stage.GOLD) and registry.store.champion() == model.model_id:
        return Check("stage", passed=False, reason="it is live already")
    return Check("stage", passed=True, reason=f"{model.role} to {to}")


def _check_latch(registry: Registry) -> Check:
    pending = [name for name, entry in registry.journal.pending().items() if entry.get("kind") != KIND]
    latched = dict.fromkeys((*registry.history.latched(), *pending))
    if latched or registry.store.is_latched:
        return Check(
            "latch",
            passed=False,
            reason=f"rollback {', '.join(latched)} latches until a person says `stairways rollback resume`",
        )
    return Check("latch", passed=True, reason="no rollback latches")


def _check_history(registry: Registry) -> Check:
    """Hold the link against the database: they differ where one was restored, or copied to be another's."""
    link, present = registry.store.champion(), registry.history.present()
    live = None if present is None else present.model_id
    if link == live:
        return Check("history", passed=True, reason="the link and the database name the same model")
    shown = [
        f"{name} {'nothing' if digest is None else digest[:12]}"
        for name, digest in (("the link names", link), ("the database", live))
    ]
    reason = f"{', '.join(shown)}: `stairways registry reconcile`"
    return Check("history", passed=False, reason=reason)


def _check_verdicts(
    registry: Registry, digest: str, trusted: TrustedArtifact | None, gate: GateConfig, *, needed: bool
) -> tuple[tuple[WaiverRecord, ...], tuple[Check, ...]]:
    """Return the waivers that are used, and a check for each required verdict."""
    if not needed:
        return (), ()
    record = {} if trusted is None else trusted.loaded.record
    given = _verdicts_of(record)
    waivers = registry.history.waivers(digest)
    used: list[WaiverRecord] = []
    checks = []
    for name in required_names(gate):
        check = _check_verdict(name, given.get(name))
        # one whose key was revoked since is passed over for one that counts
        for waiver in (one for one in waivers if one.verdict == name):
            if not check.passed:
                check = _waived(registry, check, waiver)
                used += [waiver] if check.passed else []
        checks.append(check)
    return tuple(used), tuple(checks)


def _verdicts_of(record: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return verdicts by name; what has not the shape of one was never given."""
    verdicts = record.get("verdicts", ())
    return {
        str(one["name"]): one
        for one in (verdicts if isinstance(verdicts, list) else ())
        if isinstance(one, dict) and {"name", "passed", "reason"} <= set(one)
    }


def _check_verdict(name: str, verdict: Mapping[str, Any] | None) -> Check:
    if verdict is None:
        return Check(name, passed=False, reason="the final gate never gave this verdict")
    return Check(name, passed=verdict["passed"] is True, reason=str(verdict["reason"]))


def _waived(registry: Registry, check: Check, waiver: WaiverRecord) -> Check:
    try:
        key = verify_waiver(waiver, registry.store.trust(), registry.clock())
    except SignatureError as error:
        return Check(check.name, passed=False, reason=f"{check.reason}; {error.line()}")
    who = f"{waiver.name}, signed by {key.name}"
    return Check(check.name, passed=True, reason=f"{check.reason}; {waiver.reason}", waived_by=who)


def _check_environment(registry: Registry, trusted: TrustedArtifact | None) -> Check:
    """Hold a model against gold: what it was made for must be what is traded."""
    if trusted is None:
        return Check("environment", passed=False, reason="the artifact can't be read")
    own = trusted.loaded.artifact
    if own.role == "gold":
        return Check("environment", passed=True, reason="gold says what is traded")
    try:
        gold = registry.read(own.parent_digest or "").loaded.artifact
    except StairwaysError as error:
        return Check("environment", passed=False, reason=f"its gold can't be read: {error.line()}")
    differing = [
        f"{name} {_shown(theirs)}, not {_shown(value)}"
        for (name, theirs), value in zip(
            environment_of(own).items(), environment_of(gold).values(), strict=True
        )
        if theirs != value
    ]
    if differing:
        return Check("environment", passed=False, reason=f"made for {'; '.join(differing)}")
    return Check("environment", passed=True, reason="made for what its gold was made for")


def environment_of(artifact: Artifact) -> dict[str, Any]:
    """Return what an artifact was made for."""
    return {
        "symbols": artifact.symbols,
        "interval_minutes": artifact.interval_minutes,
        "n_actions": artifact.n_actions,
        "reward_version": artifact.reward_version,
        **{name: artifact.environment.get(name) for name in ENVIRONMENT_KEYS},
    }


def _check_gold(registry: Registry) -> Check:
    golds = [
        model.model_id
        for model in registry.history.models()
        if model.role == Stage.GOLD and not registry.store.is_quarantined(model.model_id)
    ]
    if not golds:
        return Check("gold", passed=False, reason="there is no gold to go back to")
    for digest in golds:
        try:
            registry.read(digest)
        except StairwaysError as error:
            return Check("gold", passed=False, reason=error.line())
    return Check("gold", passed=True, reason=f"{len(golds)} verified, to go back to")


def _check_drill(registry: Registry, every: dt.timedelta, *, needed: bool) -> Check:
    if not needed:
        return Check("drill", passed=True, reason="not asked for here")
    # as long as no other model than gold is live, there is nothing of one's own to rehearse with
    sample_counts = not _is_other_than_gold_live(registry)
    now = registry.clock()
    passed = [
        drill.at
        for drill in registry.history.drills()
        # one from a time when the clock had run ahead must not stand before those that follow
        if drill.passed and (sample_counts or not drill.on_sample) and drill.at <= now + CLOCK_TOLERANCE
    ]
    if not passed:
        how = "rollback drill --sample" if sample_counts else "rollback drill"
        reason = f"no drill of a rollback was ever passed here: `stairways {how}`"
        return Check("drill", passed=False, reason=reason)
    age = now - passed[-1]
    reason = f"the last passed drill was {_days(age)} ago, at most {_days(every)} are allowed"
    return Check("drill", passed=age <= every, reason=reason)


def _is_other_than_gold_live(registry: Registry) -> bool:
    live = registry.history.live_at(registry.clock())
    model = None if live is None else registry.history.find(live.model_id)
    return model is not None and model.role != Stage.GOLD


def _changes(registry: Registry, wish: _Wish, record: PromotionRecord) -> tuple[LayerChange, ...]:
    if wish.trusted is None:
        return ()
    own = wish.trusted.loaded.artifact
    references = dict.fromkeys(name for name in (own.parent_digest, record.previous_champion) if name)
    found: list[LayerChange] = []
    for reference in references:
        if reference == record.model_id:
            continue
        found += layer_changes(
            own.weights,
            registry.read(reference).loaded.artifact.weights,
            reference_id=reference,
            authorized_by=record.authorized_by,
            validation_passed=not record.waivers and bool(record.verdicts),
        )
    return tuple(found)


def _note_abandoned(registry: Registry, record: PromotionRecord, why: str) -> None:
    details = {"operation_id": record.operation_id, "stage_to": record.stage_to, "why": why}
    registry.history.note(
        registry.clock(), record.authorized_by, "promotion.taken_back", record.model_id, details
    )


def _journal_record(record: PromotionRecord, changes: Sequence[LayerChange]) -> JsonObject:
    promotion = asdict(record) | {"at": record.at.isoformat()}
    return {"kind": KIND, "promotion": promotion, "changes": [asdict(change) for change in changes]}


def promotion_of(entry: JsonObject) -> tuple[PromotionRecord, tuple[LayerChange, ...]]:
    """Return the promotion in an entry of the journal, with its parameter audit."""
    promotion = dict(entry["promotion"])
    promotion["at"] = dt.datetime.fromisoformat(promotion["at"])
    for name in ("verdicts", "waivers"):
        promotion[name] = tuple(promotion[name])
    return PromotionRecord(**promotion), tuple(LayerChange(**change) for change in entry["changes"])


def _waiver_record(waiver: WaiverRecord) -> JsonObject:
    return asdict(waiver) | {"at": waiver.at.isoformat()}


def _shown(value: object) -> str:
    return ",".join(value) if isinstance(value, tuple) else str(value)


def _days(age: dt.timedelta) -> str:
    return f"{age / dt.timedelta(days=1):.1f} days"
