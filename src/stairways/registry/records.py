"""Records: the rows of gate.db as frozen values; field names are the names of the columns."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from stairways.errors import StorageError
from stairways.evaluation.verdicts import Group, Verdict
from stairways.registry.canonical import JsonObject, plain_json

_LARGEST_INTEGER = 2**63 - 1


class RunStatus(StrEnum):
    """Where a run stands."""

    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class RunRecord:
    """One run of a command.

    Attributes:
        run_id: Identifier, unique in the database.
        command: The command, "tune" say.
        started_at: When it started first; a resumed run keeps it. Timezone-aware, as every time here.
        seed: The run seed.
        config_digest: SHA-256 of the resolved config.
        config: The resolved config, JSON.
        data_digest: SHA-256 of the bars.
        data_source: Where the bars came from, in words.
        gold_digest: Digest of the gold it started from; None where there is none.
        status: Where it stands.
        steps: Environment steps taken.
        ended_at: When it ended; None while it runs.
    """

    run_id: str
    command: str
    started_at: dt.datetime
    seed: int
    config_digest: str
    config: JsonObject
    data_digest: str
    data_source: str
    gold_digest: str | None = None
    status: RunStatus = RunStatus.RUNNING
    steps: int = 0
    ended_at: dt.datetime | None = None

    def __post_init__(self) -> None:
        check_storable(self)


@dataclass(frozen=True)
class CycleRecord:
    """What one cycle did and how it was judged; the plan's columns keep their names and units.

    Attributes:
        run_id: The run it belongs to.
        cycle_id: Number of the cycle within the run.
        start_ts: When it started.
        end_ts: When it ended.
        sharpe: Annualised Sharpe ratio on the select sessions; None with too few of them (the plan has
            it NOT NULL, but a number that was not measured would be a lie).
        max_dd: Largest drawdown, a fraction of the peak.
        trades_per_day: Mean trades per session.
        shadow_pass: Whether the shadow replay passed.
        rel_param_drift: Relative parameter drift against gold.
        gate_passed: Whether the gate passed.
        hold_rate: Share of hold decisions.
        learning_rate: Effective learning rate at the end of the cycle.
        steps: Environment steps of the cycle.
        verdicts: Every verdict given.
        created_at: When the row was written.
        improvement_pct: Improvement over the best so far, in percent; None where there is no base.
        note: Words for a person.
        model_hash: Digest of the candidate artifact; None where none was written.
        sharpe_standard_error: Standard error of ``sharpe``; None with too few sessions.
        rolling_100_episode_sharpe: Sharpe of the last 100 training episodes; None with too few, and where
            training goes along recorded sessions.
        rolling_share_of_cycle: Share of those episodes that belongs to this cycle.
    """

    run_id: str
    cycle_id: int
    start_ts: dt.datetime
    end_ts: dt.datetime
    sharpe: float | None
    max_dd: float
    trades_per_day: float
    shadow_pass: bool
    rel_param_drift: float
    gate_passed: bool
    hold_rate: float
    learning_rate: float
    steps: int
    verdicts: tuple[Verdict, ...]
    created_at: dt.datetime
    improvement_pct: float | None = None
    note: str | None = None
    model_hash: str | None = None
    sharpe_standard_error: float | None = None
    rolling_100_episode_sharpe: float | None = None
    rolling_share_of_cycle: float | None = None

    def __post_init__(self) -> None:
        check_storable(self)


@dataclass(frozen=True)
class DriftRecord:
    """How far a cycle's parameters and behaviour went from the reference.

    Attributes:
        run_id: The run.
        cycle_id: The cycle.
        l2_norm_drift: L2 norm of the difference of the shared parameters.
        relative_drift: The same over the norm of the reference.
        threshold_exceeded: Whether ``relative_drift`` is over its limit.
        mean_kl: Mean KL divergence of the action distributions on fixed observations, nats.
        equal_greedy_share: Share of those observations with the same greedy action.
        timestamp: When it was measured.
        action_taken: What followed from it; None for nothing.
    """

    run_id: str
    cycle_id: int
    l2_norm_drift: float
    relative_drift: float
    threshold_exceeded: bool
    mean_kl: float
    equal_greedy_share: float
    timestamp: dt.datetime
    action_taken: str | None = None

    def __post_init__(self) -> None:
        check_storable(self)


@dataclass(frozen=True)
class ModelRecord:
    """One artifact that the database knows.

    Attributes:
        model_id: Digest of the artifact.
        model_path: Folder it was written to.
        performance: Measured figures, JSON.
        role: "gold" or "candidate".
        created_at: When it was registered first.
        run_id: The run that registered it first; None if none did.
        cycle_id: The cycle that made it; None for gold.
        is_production: Whether it is the one that is live.
    """

    model_id: str
    model_path: str
    performance: JsonObject
    role: str
    created_at: dt.datetime
    run_id: str | None = None
    cycle_id: int | None = None
    is_production: bool = False

    def __post_init__(self) -> None:
        check_storable(self)
        if self.cycle_id is not None and self.run_id is None:
            raise StorageError(
                f"cycle {self.cycle_id} without a run", where="ModelRecord", remedy="name its run"
            )


@dataclass(frozen=True)
class LookRecord:
    """One look at a range of test sessions; what was seen once can't be unseen.

    Attributes:
        run_id: The run that looked.
        data_digest: SHA-256 of the bars.
        first_date: First session of the range.
        last_date: Last session of the range, included.
        artifact_digest: The artifact that was judged.
        at: When.
    """

    run_id: str
    data_digest: str
    first_date: dt.date
    last_date: dt.date
    artifact_digest: str
    at: dt.datetime

    def __post_init__(self) -> None:
        check_storable(self)
        if self.last_date < self.first_date:
            raise StorageError(
                f"range {self.first_date} to {self.last_date} ends before it starts",
                where="LookRecord",
                remedy="exchange the two dates",
            )


def check_storable(record: Any) -> None:
    """Refuse what a row can't hold and give back: naive times, numbers that are not finite, odd JSON.

    Raises:
        StorageError: With the record, the field and the value.
    """
    for field in fields(record):
        fault = _fault(getattr(record, field.name))
        if fault:
            raise StorageError(
                fault, where=f"{type(record).__name__}.{field.name}", remedy="correct the value"
            )


def verdict_from_record(record: JsonObject) -> Verdict:
    """Return the verdict behind :meth:`Verdict.as_record`."""
    interval = record["interval"]
    bounds = None if interval is None else (interval[0], interval[1])
    return Verdict(**(record | {"group": Group(record["group"]), "interval": bounds}))


def _fault(value: object) -> str | None:
    if isinstance(value, dt.datetime):
        return None if value.tzinfo is not None else f"{value} has no timezone"
    if isinstance(value, int):
        return None if abs(value) <= _LARGEST_INTEGER else f"{value} is more than 64 bits"
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{value} is not finite"
    try:
        if isinstance(value, dict):
            plain_json(value)
        elif isinstance(value, tuple):
            plain_json([one.as_record() if isinstance(one, Verdict) else one for one in value])
    except ValueError as error:
        return str(error)
    return None
