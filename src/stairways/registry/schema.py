"""Schema of gate.db: the tables as typed models; migrations bring a database to this state."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

_DIGEST_LENGTH = 64
_CYCLE_KEY = ("cycle_metrics.run_id", "cycle_metrics.cycle_id")


class UtcDateTime(TypeDecorator[dt.datetime]):
    """Timezone-aware instants: stored in UTC, given back in UTC, also where the database has no zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:
        """Convert to UTC on the way in."""
        return None if value is None else value.astimezone(dt.UTC)

    def process_result_value(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:
        """Convert to aware UTC on the way out."""
        if value is None:
            return None
        return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)


class Base(DeclarativeBase):
    """Base of the models; constraints have names, so that later migrations can speak of them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it from the class
        dt.datetime: UtcDateTime,
        dict[str, Any]: JSON,
        list[dict[str, Any]]: JSON,
    }


class Run(Base):
    """One run of a command."""

    __tablename__ = "runs"

    run_id: Mapped[str] = mapped_column(Text, primary_key=True)
    command: Mapped[str] = mapped_column(Text)
    started_at: Mapped[dt.datetime]
    ended_at: Mapped[dt.datetime | None]
    seed: Mapped[int] = mapped_column(BigInteger)
    config_digest: Mapped[str] = mapped_column(String(_DIGEST_LENGTH))
    config: Mapped[dict[str, Any]]
    data_digest: Mapped[str] = mapped_column(String(_DIGEST_LENGTH), index=True)
    data_source: Mapped[str] = mapped_column(Text)
    gold_digest: Mapped[str | None] = mapped_column(String(_DIGEST_LENGTH))
    status: Mapped[str] = mapped_column(Text)
    steps: Mapped[int] = mapped_column(BigInteger)


class CycleMetrics(Base):
    """One cycle of a run: the plan's columns, then ours."""

    __tablename__ = "cycle_metrics"

    run_id: Mapped[str] = mapped_column(ForeignKey("runs.run_id"), primary_key=True)
    cycle_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    start_ts: Mapped[dt.datetime]
    end_ts: Mapped[dt.datetime]
    sharpe: Mapped[float | None]
    max_dd: Mapped[float]
    trades_per_day: Mapped[float]
    shadow_pass: Mapped[bool]
    rel_param_drift: Mapped[float]
    improvement_pct: Mapped[float | None]
    gate_passed: Mapped[bool]
    note: Mapped[str | None] = mapped_column(Text)
    model_hash: Mapped[str | None] = mapped_column(String(_DIGEST_LENGTH), index=True)
    created_at: Mapped[dt.datetime]
    hold_rate: Mapped[float]
    sharpe_standard_error: Mapped[float | None]
    rolling_100_episode_sharpe: Mapped[float | None]
    rolling_share_of_cycle: Mapped[float | None]
    learning_rate: Mapped[float]
    steps: Mapped[int]
    verdicts: Mapped[list[dict[str, Any]]]


class ModelRegistry(Base):
    """One artifact; at most one is in production, and the database itself sees to that."""

    __tablename__ = "model_registry"
    __table_args__ = (
        ForeignKeyConstraint(["run_id", "cycle_id"], _CYCLE_KEY),
        Index("ix_model_registry_run_id_cycle_id", "run_id", "cycle_id"),
        Index(
            "ix_model_registry_one_in_production",
            "is_production",
            unique=True,
            sqlite_where=text("is_production"),
            postgresql_where=text("is_production"),
        ),
    )

    model_id: Mapped[str] = mapped_column(String(_DIGEST_LENGTH), primary_key=True)
    run_id: Mapped[str | None] = mapped_column(ForeignKey("runs.run_id"))
    cycle_id: Mapped[int | None]
    model_path: Mapped[str] = mapped_column(Text)
    performance: Mapped[dict[str, Any]]
    role: Mapped[str] = mapped_column(Text)
    is_production: Mapped[bool] = mapped_column(server_default=false())
    created_at: Mapped[dt.datetime]


class ParameterDriftLog(Base):
    """How far one cycle went from the reference; one row per cycle."""

    __tablename__ = "parameter_drift_log"
    __table_args__ = (
        ForeignKeyConstraint(["run_id", "cycle_id"], _CYCLE_KEY),
        UniqueConstraint("run_id", "cycle_id"),
        {"sqlite_autoincrement": True},
    )

    log_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    run_id: Mapped[str] = mapped_column(Text)
    cycle_id: Mapped[int]
    l2_norm_drift: Mapped[float]
    relative_drift: Mapped[float]
    threshold_exceeded: Mapped[bool]
    mean_kl: Mapped[float]
    equal_greedy_share: Mapped[float]
    action_taken: Mapped[str | None] = mapped_column(Text)
    timestamp: Mapped[dt.datetime]


class Look(Base):
    """One look at a test range; the same look of a resumed run is the same row."""

    __tablename__ = "looks"
    __table_args__ = (
        UniqueConstraint(
            "run_id", "artifact_digest", "data_digest", "first_date", "last_date", name="uq_looks_same_look"
        ),
        Index("ix_looks_data_digest", "data_digest"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.run_id"))
    data_digest: Mapped[str] = mapped_column(String(_DIGEST_LENGTH))
    first_date: Mapped[dt.date]
    last_date: Mapped[dt.date]
    artifact_digest: Mapped[str] = mapped_column(String(_DIGEST_LENGTH))
    at: Mapped[dt.datetime]


class Tenure(Base):
    """A time in which one model was live; the open one is the present, and there is one at most."""

    __tablename__ = "tenures"
    __table_args__ = (
        Index(
            "ix_tenures_one_open",
            "is_open",
            unique=True,
            sqlite_where=text("is_open"),
            postgresql_where=text("is_open"),
        ),
        {"sqlite_autoincrement": True},
    )

    tenure_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    model_id: Mapped[str] = mapped_column(ForeignKey("model_registry.model_id"), index=True)
    began_at: Mapped[dt.datetime]
    ended_at: Mapped[dt.datetime | None]
    is_open: Mapped[bool]
    put_by: Mapped[str] = mapped_column(Text)
    cause: Mapped[str] = mapped_column(Text)
    operation_id: Mapped[str] = mapped_column(Text, unique=True)


class Promotion(Base):
    """One step of a model from one stage to another, with what it was allowed on."""

    __tablename__ = "promotions"

    operation_id: Mapped[str] = mapped_column(Text, primary_key=True)
    model_id: Mapped[str] = mapped_column(ForeignKey("model_registry.model_id"), index=True)
    stage_from: Mapped[str] = mapped_column(Text)
    stage_to: Mapped[str] = mapped_column(Text)
    previous_champion: Mapped[str | None] = mapped_column(String(_DIGEST_LENGTH))
    at: Mapped[dt.datetime]
    authorized_by: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    signer: Mapped[str] = mapped_column(Text)
    verdicts: Mapped[list[dict[str, Any]]]
    waivers: Mapped[list[dict[str, Any]]]


class Rollback(Base):
    """One way back: why, from what to what, how each step went, and who let promotions go on."""

    __tablename__ = "rollbacks"

    operation_id: Mapped[str] = mapped_column(Text, primary_key=True)
    trigger: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    failed_model: Mapped[str] = mapped_column(ForeignKey("model_registry.model_id"))
    target_model: Mapped[str | None] = mapped_column(ForeignKey("model_registry.model_id"))
    detected_at: Mapped[dt.datetime]
    swapped_at: Mapped[dt.datetime | None]
    ordered_by: Mapped[str] = mapped_column(Text)
    steps: Mapped[list[dict[str, Any]]]
    seconds_to_swap: Mapped[float | None]
    seconds_to_serving: Mapped[float | None]
    is_drill: Mapped[bool] = mapped_column(server_default=false())
    resumed_at: Mapped[dt.datetime | None]
    resumed_by: Mapped[str | None] = mapped_column(Text)
    resume_reason: Mapped[str | None] = mapped_column(Text)


class Waiver(Base):
    """A person's signed word that one failed verdict of one model may pass."""

    __tablename__ = "waivers"

    waiver_id: Mapped[str] = mapped_column(Text, primary_key=True)
    model_id: Mapped[str] = mapped_column(ForeignKey("model_registry.model_id"))
    verdict: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    at: Mapped[dt.datetime]
    signature: Mapped[dict[str, Any]]


class ParameterChange(Base):
    """How far one layer of a promoted model stands from the same layer of another."""

    __tablename__ = "parameter_changes"

    operation_id: Mapped[str] = mapped_column(ForeignKey("promotions.operation_id"), primary_key=True)
    reference_id: Mapped[str] = mapped_column(String(_DIGEST_LENGTH), primary_key=True)
    layer: Mapped[str] = mapped_column(Text, primary_key=True)
    n_parameters: Mapped[int] = mapped_column(BigInteger)
    n_changed: Mapped[int] = mapped_column(BigInteger)
    l2_norm: Mapped[float]
    relative: Mapped[float | None]
    largest: Mapped[float]
    authorized_by: Mapped[str] = mapped_column(Text)
    validation_passed: Mapped[bool]


class Drill(Base):
    """One rehearsal of the way back."""

    __tablename__ = "drills"

    drill_id: Mapped[str] = mapped_column(Text, primary_key=True)
    at: Mapped[dt.datetime]
    ordered_by: Mapped[str] = mapped_column(Text)
    n: Mapped[int]
    median_seconds_to_serving: Mapped[float | None]
    passed: Mapped[bool]
    on_sample: Mapped[bool]
    details: Mapped[dict[str, Any]]


class AuditLog(Base):
    """What happened, each row with the hash of the one before; see :mod:`.audit`."""

    __tablename__ = "audit_log"

    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    at: Mapped[dt.datetime]
    actor: Mapped[str] = mapped_column(Text)
    action: Mapped[str] = mapped_column(Text)
    subject: Mapped[str] = mapped_column(Text)
    details: Mapped[dict[str, Any]]
    previous_hash: Mapped[str] = mapped_column(String(_DIGEST_LENGTH))
    hash: Mapped[str] = mapped_column(String(_DIGEST_LENGTH))


class AuditHead(Base):
    """The last row of the audit log: one row, which a writer locks while it adds another."""

    __tablename__ = "audit_head"

    one: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    seq: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[str] = mapped_column(String(_DIGEST_LENGTH))
    at: Mapped[dt.datetime | None]


class RegistryIdentity(Base):
    """Whose database it is: one row, with the name that the registry's folder has too."""

    __tablename__ = "registry_identity"

    one: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    registry_id: Mapped[str] = mapped_column(Text)
    bound_at: Mapped[dt.datetime]
