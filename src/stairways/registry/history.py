"""The history of models: who was promoted by whom and on what, what was live when, what was rolled back.

Every change adds a row to the audit log in the same transaction. Who decides, and the champion's link, stand
elsewhere (:mod:`.promotion`, :mod:`.store`); here is what is remembered of it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, RowMapping, insert, select, update

from stairways.errors import StorageError
from stairways.registry import audit
from stairways.registry.canonical import JsonObject
from stairways.registry.connection import reading, writing
from stairways.registry.history_records import (
    Cause,
    DrillRecord,
    LayerChange,
    PromotionRecord,
    RollbackRecord,
    Stage,
    TenureRecord,
    WaiverRecord,
)
from stairways.registry.records import ModelRecord, check_storable
from stairways.registry.schema import (
    AuditHead,
    Base,
    Drill,
    ModelRegistry,
    ParameterChange,
    Promotion,
    Rollback,
    Tenure,
    Waiver,
)

if TYPE_CHECKING:
    from stairways.registry.keys import SigningKey, TrustList


class ModelHistory:
    """The history of models in the database; every method is one transaction.

    Args:
        engine: An engine whose schema is current; or why there is none, which every method then says.
    """

    def __init__(self, engine: Engine | StorageError) -> None:
        self._database = engine

    @property
    def _engine(self) -> Engine:
        if isinstance(self._database, StorageError):
            raise self._database
        return self._database

    def add(self, model: ModelRecord, actor: str) -> ModelRecord:
        """Record an artifact; one that is known stays as it is.

        Returns:
            The model as it stands.
        """
        with writing(self._engine, durable=True) as connection:
            standing = _model(connection, model.model_id)
            if standing is None:
                connection.execute(insert(ModelRegistry).values(asdict(model)))
                _note(
                    connection, model.created_at, actor, "model.added", model.model_id, {"role": model.role}
                )
            return standing or model

    def find(self, model_id: str) -> ModelRecord | None:
        """Return a model, None for an unknown one."""
        with reading(self._engine) as connection:
            return _model(connection, model_id)

    def models(self) -> tuple[ModelRecord, ...]:
        """Return every model, in the order they were recorded."""
        query = select(ModelRegistry.__table__).order_by(ModelRegistry.created_at, ModelRegistry.model_id)
        with reading(self._engine) as connection:
            return tuple(ModelRecord(**row) for row in connection.execute(query).mappings())

    def promote(
        self,
        promotion: PromotionRecord,
        changes: Sequence[LayerChange],
        swap: Callable[[], None] = lambda: None,
        *,
        late: bool = False,
    ) -> None:
        """Record a promotion; recorded twice, it stands once.

        Args:
            promotion: The step.
            changes: Its parameters against the models it is compared with.
            swap: What makes it live, called when every row is written and none is committed yet.
            late: Whether it happened before now, and other rows may have been written since.

        Raises:
            StorageError: If the model is unknown or stands elsewhere by now; nothing was swapped then.
        """
        check_storable(promotion)
        with writing(self._engine, durable=True) as connection:
            if _stands(connection, Promotion, promotion.operation_id):
                return
            _move(connection, promotion.model_id, promotion.stage_from, promotion.stage_to)
            row = asdict(promotion)
            connection.execute(insert(Promotion).values(row))
            for change in changes:
                values = asdict(change) | {"operation_id": promotion.operation_id}
                connection.execute(insert(ParameterChange).values(values))
            if promotion.stage_to == Stage.CHAMPION or promotion.stage_from == Stage.GOLD:
                tenure = TenureRecord(
                    model_id=promotion.model_id,
                    began_at=promotion.at,
                    ended_at=None,
                    put_by=promotion.authorized_by,
                    cause=Cause.PROMOTION,
                    operation_id=promotion.operation_id,
                )
                _begin(connection, tenure, promotion.previous_champion)
            details = {name: row[name] for name in ("stage_from", "stage_to", "reason", "signer")} | {
                "previous_champion": promotion.previous_champion,
                "waived": [waiver["verdict"] for waiver in promotion.waivers],
                "operation_id": promotion.operation_id,
            }
            at = promotion.at
            if late:
                at, details = _not_before_last_row(connection, at, details)
            _note(
                connection,
                at,
                promotion.authorized_by,
                "model.promoted",
                promotion.model_id,
                details,
            )
            swap()

    def roll_back(
        self, rollback: RollbackRecord, *, overtaken: bool = False, quarantines: bool = True
    ) -> None:
        """Record a rollback as it went: the failed model is quarantined, the target is live.

        Recorded again, its steps are written over and nothing is done twice; what became live, and when,
        stays as it was recorded first.

        Args:
            rollback: How it went.
            overtaken: Whether another model was made live since: the target was live, and is not.
            quarantines: Whether the failed model never goes live again; a drill's always may.
        """
        check_storable(rollback)
        with writing(self._engine, durable=True) as connection:
            row = asdict(rollback)
            standing = _way_of(connection, rollback.operation_id)
            if standing is not None:
                names = ["steps", "seconds_to_serving"]
                # what became live did so when it first did: two may lead one way back, or a journal forget it
                swapped = _stands(connection, Tenure, rollback.operation_id)
                if not swapped:
                    names += ["target_model", "swapped_at", "seconds_to_swap"]
                again = update(Rollback).filter_by(operation_id=rollback.operation_id)
                connection.execute(again.values({name: row[name] for name in names}))
                if standing["target_model"] != rollback.target_model and not swapped:
                    _note_redirected(connection, rollback)
            else:
                connection.execute(insert(Rollback).values(row))
                quarantines = quarantines and not rollback.is_drill
                if quarantines:
                    _quarantine(connection, rollback.failed_model)
                _note_rollback(connection, rollback, quarantines=quarantines)
            if rollback.swapped_at is not None and rollback.target_model is not None:
                tenure = TenureRecord(
                    model_id=rollback.target_model,
                    began_at=rollback.swapped_at,
                    ended_at=None,
                    put_by=rollback.ordered_by,
                    cause=Cause.DRILL if rollback.is_drill else Cause.ROLLBACK,
                    operation_id=rollback.operation_id,
                )
                if overtaken:
                    _insert_before_present(connection, tenure)
                else:
                    _begin(connection, tenure, rollback.failed_model)

    def restore(self, operation_id: str, model_id: str, at: dt.datetime, by: str) -> None:
        """Record that what was live before a drill is live again; recorded twice, it stands once."""
        with writing(self._engine, durable=True) as connection:
            present = _tenures(connection)[-1]
            tenure = TenureRecord(model_id, at, None, by, Cause.DRILL, operation_id)
            if present.operation_id != operation_id:
                _begin(connection, tenure, present.model_id)
                at, details = _not_before_last_row(connection, at, {"operation_id": operation_id})
                _note(connection, at, by, "drill.restored", model_id, details)

    def quarantine(self, model_id: str, at: dt.datetime, by: str) -> None:
        """Record that a model is barred for good where that was not known."""
        with writing(self._engine, durable=True) as connection:
            _quarantine(connection, model_id)
            _note(connection, at, by, "model.quarantined", model_id, {})

    def reconcile(self, tenure: TenureRecord) -> None:
        """Record what the link says is live, where something else was live by the database."""
        with writing(self._engine, durable=True) as connection:
            tenures = _tenures(connection)
            previous = tenures[-1].model_id if tenures else None
            connection.execute(
                update(ModelRegistry)
                .filter_by(model_id=tenure.model_id, role=str(Stage.CANDIDATE))
                .values(role=str(Stage.CHALLENGER))
            )
            _begin(connection, tenure, previous)
            details = {"operation_id": tenure.operation_id, "previous_champion": previous}
            _note(connection, tenure.began_at, tenure.put_by, "model.reconciled", tenure.model_id, details)

    def resume(self, at: dt.datetime, by: str, reason: str, only: str | None = None) -> tuple[str, ...]:
        """Let promotions go on after the rollbacks that still latch; return their names.

        Args:
            at: When.
            by: Who.
            reason: Why.
            only: After this rollback alone.
        """
        with writing(self._engine, durable=True) as connection:
            latched = tuple(name for name in _latched(connection) if only in (None, name))
            values = {"resumed_at": at, "resumed_by": by, "resume_reason": reason}
            for operation_id in latched:
                connection.execute(update(Rollback).filter_by(operation_id=operation_id).values(values))
                _note(connection, at, by, "rollback.resumed", operation_id, {"reason": reason})
            return latched

    def latched(self) -> tuple[str, ...]:
        """Return the names of the rollbacks after which nobody let promotions go on yet."""
        with reading(self._engine) as connection:
            return _latched(connection)

    def rollbacks(self) -> tuple[RollbackRecord, ...]:
        """Return every rollback, oldest first."""
        query = select(Rollback.__table__).order_by(Rollback.detected_at, Rollback.operation_id)
        with reading(self._engine) as connection:
            return tuple(_rollback_of(row) for row in connection.execute(query).mappings())

    def promotions(self, model_id: str | None = None) -> tuple[PromotionRecord, ...]:
        """Return the promotions of one model, or all, oldest first."""
        query = select(Promotion.__table__).order_by(Promotion.at, Promotion.operation_id)
        if model_id is not None:
            query = query.filter_by(model_id=model_id)
        with reading(self._engine) as connection:
            return tuple(_promotion_of(row) for row in connection.execute(query).mappings())

    def changes(self, operation_id: str) -> tuple[LayerChange, ...]:
        """Return the parameter audit of one promotion."""
        names = [getattr(ParameterChange, one.name) for one in fields(LayerChange)]
        query = select(*names).filter_by(operation_id=operation_id)
        query = query.order_by(ParameterChange.reference_id, ParameterChange.layer)
        with reading(self._engine) as connection:
            return tuple(LayerChange(**row) for row in connection.execute(query).mappings())

    def tenures(self) -> tuple[TenureRecord, ...]:
        """Return what was live when, oldest first."""
        with reading(self._engine) as connection:
            return _tenures(connection)

    def present(self) -> TenureRecord | None:
        """Return what is live, None before the first model."""
        with reading(self._engine) as connection:
            tenures = _tenures(connection)
        return tenures[-1] if tenures else None

    def live_at(self, at: dt.datetime) -> TenureRecord | None:
        """Return what was live at an instant, None for nothing."""
        for tenure in self.tenures():
            if tenure.began_at <= at and (tenure.ended_at is None or at < tenure.ended_at):
                return tenure
        return None

    def waive(self, waiver: WaiverRecord) -> None:
        """Record a waiver.

        Raises:
            StorageError: If the model is unknown.
        """
        check_storable(waiver)
        with writing(self._engine, durable=True) as connection:
            connection.execute(insert(Waiver).values(asdict(waiver)))
            details = {"reason": waiver.reason, "verdict": waiver.verdict, "waiver_id": waiver.waiver_id}
            _note(connection, waiver.at, waiver.name, "verdict.waived", waiver.model_id, details)

    def waivers(self, model_id: str) -> tuple[WaiverRecord, ...]:
        """Return the waivers of a model, oldest first."""
        query = select(Waiver.__table__).filter_by(model_id=model_id).order_by(Waiver.at, Waiver.waiver_id)
        with reading(self._engine) as connection:
            return tuple(WaiverRecord(**row) for row in connection.execute(query).mappings())

    def record_drill(self, drill: DrillRecord) -> None:
        """Record a drill."""
        check_storable(drill)
        with writing(self._engine, durable=True) as connection:
            connection.execute(insert(Drill).values(asdict(drill)))
            details = {
                "median_seconds_to_serving": drill.median_seconds_to_serving,
                "n": drill.n,
                "on_sample": drill.on_sample,
                "passed": drill.passed,
            }
            _note(connection, drill.at, drill.ordered_by, "rollback.drilled", drill.drill_id, details)

    def drills(self) -> tuple[DrillRecord, ...]:
        """Return every drill, oldest first."""
        query = select(Drill.__table__).order_by(Drill.at, Drill.drill_id)
        with reading(self._engine) as connection:
            return tuple(DrillRecord(**row) for row in connection.execute(query).mappings())

    def note(
        self,
        at: dt.datetime,
        actor: str,
        action: str,
        subject: str,
        details: JsonObject,
        change: Callable[[], None] = lambda: None,
    ) -> None:
        """Add a row to the audit log; what it tells of is done when it is written and not committed yet."""
        with writing(self._engine, durable=True) as connection:
            _note(connection, at, actor, action, subject, details)
            change()

    def audit_entries(
        self, *, subject: str | None = None, last: int | None = None
    ) -> tuple[audit.AuditEntry, ...]:
        """Return rows of the audit log, in order."""
        with reading(self._engine) as connection:
            return audit.entries(connection, subject=subject, last=last)

    def correct_clock(self, at: dt.datetime, by: str, reason: str, key: SigningKey) -> audit.AuditEntry:
        """Record, signed, that the clock had run ahead, and let the log go on from the present.

        What became live at an instant that has not come yet became live now at the latest: its tenure begins
        now, and the row names it. Its promotion or rollback keeps the instant that was written down.

        Raises:
            StorageError: If no row is of a later instant.
        """
        with writing(self._engine, durable=True) as connection:
            ahead = [one.operation_id for one in _tenures(connection) if one.began_at > at]
            entry = audit.correct_clock(
                connection, at=at, actor=by, reason=reason, details={"tenures": ahead}, key=key
            )
            connection.execute(update(Tenure).where(Tenure.began_at > at).values(began_at=at))
            connection.execute(update(Tenure).where(Tenure.ended_at > at).values(ended_at=at))
            return entry

    def audit_head(self) -> audit.Head:
        """Return where the audit log ends."""
        with reading(self._engine) as connection:
            return audit.head_of(connection)

    def verify_audit(
        self, signed: Sequence[audit.Head] = (), trust: TrustList | None = None
    ) -> tuple[audit.Fault, ...]:
        """Return every fault of the audit log; see :func:`.audit.verify`."""
        with reading(self._engine) as connection:
            return audit.verify(connection, signed, trust)


def _note(
    connection: Connection, at: dt.datetime, actor: str, action: str, subject: str, details: JsonObject
) -> None:
    audit.append(connection, at=at, actor=actor, action=action, subject=subject, details=details)


def _note_rollback(connection: Connection, rollback: RollbackRecord, *, quarantines: bool) -> None:
    details = {
        "drill": rollback.is_drill,
        "operation_id": rollback.operation_id,
        "quarantines": quarantines,
        "reason": rollback.reason,
        "swapped_at": None if rollback.swapped_at is None else rollback.swapped_at.isoformat(),
        "target": rollback.target_model,
        "trigger": rollback.trigger,
    }
    at = rollback.swapped_at or rollback.detected_at
    at, details = _not_before_last_row(connection, at, details)
    _note(connection, at, rollback.ordered_by, "model.rolled_back", rollback.failed_model, details)


def _note_redirected(connection: Connection, rollback: RollbackRecord) -> None:
    details = {"operation_id": rollback.operation_id, "target": rollback.target_model}
    at = rollback.swapped_at or rollback.detected_at
    at, details = _not_before_last_row(connection, at, details)
    _note(connection, at, rollback.ordered_by, "rollback.redirected", rollback.failed_model, details)


def _model(connection: Connection, model_id: str) -> ModelRecord | None:
    row = connection.execute(select(ModelRegistry.__table__).filter_by(model_id=model_id)).mappings()
    found = row.one_or_none()
    return None if found is None else ModelRecord(**found)


def _stands(connection: Connection, table: type[Base], operation_id: str) -> bool:
    query = select(table.__table__).filter_by(operation_id=operation_id)
    return connection.execute(query).first() is not None


def _way_of(connection: Connection, operation_id: str) -> RowMapping | None:
    """Return where a rollback that is recorded leads, None for one that is not."""
    query = select(Rollback.target_model).filter_by(operation_id=operation_id)
    return connection.execute(query).mappings().first()


def _move(connection: Connection, model_id: str, stage_from: str, stage_to: str) -> None:
    model = _model(connection, model_id)
    if model is None or model.role != stage_from:
        found = "not recorded" if model is None else f"a {model.role}"
        raise StorageError(
            f"it is {found} by now, no {stage_from}",
            where=f"model {model_id[:12]}",
            remedy="`stairways registry reconcile`" if model is None else "look again",
        )
    connection.execute(update(ModelRegistry).filter_by(model_id=model_id).values(role=str(stage_to)))


def _begin(connection: Connection, tenure: TenureRecord, previous: str | None) -> None:
    """End the present tenure and begin another, once; the champion before becomes a challenger again."""
    if _stands(connection, Tenure, tenure.operation_id):
        return
    connection.execute(update(Tenure).filter_by(is_open=True).values(is_open=False, ended_at=tenure.began_at))
    connection.execute(update(ModelRegistry).filter_by(is_production=True).values(is_production=False))
    if previous is not None and previous != tenure.model_id:
        connection.execute(
            update(ModelRegistry)
            .filter_by(model_id=previous, role=str(Stage.CHAMPION))
            .values(role=str(Stage.CHALLENGER))
        )
    connection.execute(update(ModelRegistry).filter_by(model_id=tenure.model_id).values(is_production=True))
    connection.execute(
        update(ModelRegistry)
        .filter_by(model_id=tenure.model_id, role=str(Stage.CHALLENGER))
        .values(role=str(Stage.CHAMPION))
    )
    connection.execute(insert(Tenure).values(asdict(replace(tenure, ended_at=None)) | {"is_open": True}))


def _insert_before_present(connection: Connection, tenure: TenureRecord) -> None:
    """Record a time that is over already; what is live stays what it is."""
    if _stands(connection, Tenure, tenure.operation_id):
        return
    began = tenure.began_at
    later = select(Tenure.began_at).where(Tenure.began_at >= began).order_by(Tenure.began_at).limit(1)
    ended = connection.execute(later).scalar() or began
    before = update(Tenure).where(Tenure.ended_at == ended, Tenure.began_at <= began)
    connection.execute(before.values(ended_at=began))
    connection.execute(insert(Tenure).values(asdict(replace(tenure, ended_at=ended)) | {"is_open": False}))


def _not_before_last_row(
    connection: Connection, at: dt.datetime, details: JsonObject
) -> tuple[dt.datetime, JsonObject]:
    """Return when a row about something earlier is written: behind what was written since."""
    last = connection.execute(select(AuditHead.at)).scalar()
    if last is None or at >= last:
        return at, details
    return last, details | {"happened_at": at.isoformat()}


def _quarantine(connection: Connection, model_id: str) -> None:
    connection.execute(update(ModelRegistry).filter_by(model_id=model_id).values(role=str(Stage.QUARANTINED)))


def _latched(connection: Connection) -> tuple[str, ...]:
    query = select(Rollback.operation_id).where(Rollback.resumed_at.is_(None)).order_by(Rollback.detected_at)
    return tuple(connection.execute(query).scalars())


def _tenures(connection: Connection) -> tuple[TenureRecord, ...]:
    names = [getattr(Tenure, one.name) for one in fields(TenureRecord)]
    # the present one last: what is recorded late stands behind it by its number
    query = select(*names).order_by(Tenure.is_open, Tenure.began_at, Tenure.tenure_id)
    return tuple(TenureRecord(**row) for row in connection.execute(query).mappings())


def _promotion_of(row: RowMapping) -> PromotionRecord:
    return PromotionRecord(**_with_tuples(row, "verdicts", "waivers"))


def _rollback_of(row: RowMapping) -> RollbackRecord:
    return RollbackRecord(**_with_tuples(row, "steps"))


def _with_tuples(row: RowMapping, *names: str) -> dict[str, Any]:
    return {name: tuple(value) if name in names else value for name, value in row.items()}
