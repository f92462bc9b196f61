"""GateDatabase: what was run, how each cycle was judged, which models there are, who looked at what."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, fields, replace
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Connection, Engine, RowMapping, Select, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from stairways.errors import StorageError
from stairways.registry.connection import make_engine, prepare, reading, writing
from stairways.registry.records import (
    CycleRecord,
    DriftRecord,
    LookRecord,
    ModelRecord,
    RunRecord,
    RunStatus,
    verdict_from_record,
)
from stairways.registry.schema import Base, CycleMetrics, Look, ModelRegistry, ParameterDriftLog, Run

_LOOK_KEY = ("run_id", "artifact_digest", "data_digest", "first_date", "last_date")
_RUN_IDENTITY = ("command", "seed", "config_digest", "data_digest", "gold_digest")


class GateDatabase:
    """The database of runs; every method is one transaction. Times come from the caller.

    Args:
        engine: An engine from :meth:`open`, whose schema is current.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @classmethod
    def open(cls, url: str) -> Self:
        """Open a database; create and migrate it if need be.

        Args:
            url: ``sqlite:///PATH`` (:func:`stairways.registry.connection.sqlite_url` makes one of a
                path) or ``postgresql://USER@HOST/NAME``.

        Raises:
            StorageError: If the schema is foreign or newer, or the database can't be read or written.
        """
        engine = make_engine(url)
        try:
            prepare(engine)
        except BaseException:
            engine.dispose()
            raise
        return cls(engine)

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start_run(self, run: RunRecord) -> RunRecord:
        """Record that a run started, or that it goes on after a break.

        Returns:
            The run as it stands: one that goes on keeps its first start and its steps.

        Raises:
            StorageError: If the identifier belongs to a run of another command, seed, config, data or
                gold.
        """
        with writing(self._engine) as connection:
            _insert_new(connection, Run, _run_row(run), ("run_id",))
            row = connection.execute(select(Run.__table__).filter_by(run_id=run.run_id)).mappings().one()
            _check_same_run(run, row)
            standing = replace(_run_of(row), status=RunStatus.RUNNING, ended_at=None)
            connection.execute(update(Run).filter_by(run_id=run.run_id).values(_run_row(standing)))
            return standing

    def finish_run(self, run_id: str, *, ended_at: dt.datetime, status: RunStatus, steps: int) -> RunRecord:
        """Record how a run ended.

        Raises:
            StorageError: If there is no such run, or ``ended_at`` has no timezone.
        """
        with writing(self._engine) as connection:
            row = connection.execute(select(Run.__table__).filter_by(run_id=run_id)).mappings().one_or_none()
            if row is None:
                raise _unknown_run(run_id)
            run = replace(_run_of(row), ended_at=ended_at, status=status, steps=steps)
            connection.execute(update(Run).filter_by(run_id=run_id).values(_run_row(run)))
            return run

    def run(self, run_id: str) -> RunRecord:
        """Return one run.

        Raises:
            StorageError: If there is none of that identifier.
        """
        with reading(self._engine) as connection:
            row = connection.execute(select(Run.__table__).filter_by(run_id=run_id)).mappings().one_or_none()
        if row is None:
            raise _unknown_run(run_id)
        return _run_of(row)

    def record_cycle(
        self, cycle: CycleRecord, *, drift: DriftRecord | None = None, model: ModelRecord | None = None
    ) -> None:
        """Record a cycle, its drift and its model: all of it, or nothing.

        A cycle that stands already is written over, so that a resumed run doubles nothing.

        Raises:
            StorageError: If drift or model are of another cycle, or the run was never started.
        """
        for part in (drift, model):
            if part is not None and (part.run_id, part.cycle_id) != (cycle.run_id, cycle.cycle_id):
                raise StorageError(
                    f"{type(part).__name__} of run {part.run_id}, cycle {part.cycle_id}",
                    where=f"run {cycle.run_id}, cycle {cycle.cycle_id}",
                    remedy="record it with its own cycle",
                )
        with writing(self._engine) as connection:
            _upsert(connection, CycleMetrics, _cycle_row(cycle), ("run_id", "cycle_id"))
            if drift is not None:
                _upsert(connection, ParameterDriftLog, asdict(drift), ("run_id", "cycle_id"))
            if model is not None:
                _register(connection, model)

    def cycles(self, run_id: str) -> tuple[CycleRecord, ...]:
        """Return the cycles of a run, in order."""
        query = select(CycleMetrics.__table__).filter_by(run_id=run_id).order_by(CycleMetrics.cycle_id)
        with reading(self._engine) as connection:
            return tuple(_cycle_of(row) for row in connection.execute(query).mappings())

    def drifts(self, run_id: str) -> tuple[DriftRecord, ...]:
        """Return the drift of a run's cycles, in order."""
        columns = [getattr(ParameterDriftLog, field.name) for field in fields(DriftRecord)]
        query = select(*columns).filter_by(run_id=run_id).order_by(ParameterDriftLog.cycle_id)
        with reading(self._engine) as connection:
            return tuple(DriftRecord(**row) for row in connection.execute(query).mappings())

    def register_model(self, model: ModelRecord) -> ModelRecord:
        """Record an artifact; equal content is one model, whoever made it again.

        Returns:
            The model as it stands: the run that registered it first keeps it, and only that run can
            change its path and its figures. Whether it is in production is never changed here.
        """
        with writing(self._engine) as connection:
            return _register(connection, model)

    def models(self, run_id: str | None = None) -> tuple[ModelRecord, ...]:
        """Return the models of one run, or all, in the order of their registration."""
        query = select(ModelRegistry.__table__).order_by(ModelRegistry.created_at, ModelRegistry.model_id)
        if run_id is not None:
            query = query.filter_by(run_id=run_id)
        with reading(self._engine) as connection:
            return tuple(ModelRecord(**row) for row in connection.execute(query).mappings())

    def count_look(self, look: LookRecord) -> int:
        """Record a look at a range of test sessions, before it is taken.

        The same artifact on the same range is one look, however often it is taken: a run that is repeated
        to the same digest tells nothing that the first did not.

        Returns:
            How many looks this range, or any that overlaps it on the same data, has now had.
        """
        with writing(self._engine) as connection:
            _insert_new(connection, Look, asdict(look), _LOOK_KEY)
            different = (
                select(Look.artifact_digest, Look.first_date, Look.last_date)
                .where(
                    Look.data_digest == look.data_digest,
                    Look.first_date <= look.last_date,
                    Look.last_date >= look.first_date,
                )
                .distinct()
            )
            return int(
                connection.execute(select(func.count()).select_from(different.subquery())).scalar_one()
            )

    def looks(self, data_digest: str) -> tuple[LookRecord, ...]:
        """Return every look at some data, in the order they were taken."""
        columns = [getattr(Look, field.name) for field in fields(LookRecord)]
        query = select(*columns).filter_by(data_digest=data_digest).order_by(Look.id)
        with reading(self._engine) as connection:
            return tuple(LookRecord(**row) for row in connection.execute(query).mappings())

    def trial_count(self, data_digest: str) -> int:
        """Return how many different cycles were ever judged on some data: what luck had to pick from.

        The same cycle of a run repeated with the same settings and gold, to the same Sharpe ratio, is one.
        """
        with reading(self._engine) as connection:
            return len(connection.execute(_trials(data_digest)).all())

    def trial_sharpes(self, data_digest: str) -> tuple[float, ...]:
        """Return the annual Sharpe ratios of those cycles, each on its select sessions; some have none."""
        with reading(self._engine) as connection:
            rows = connection.execute(_trials(data_digest)).all()
        return tuple(row.sharpe for row in rows if row.sharpe is not None)


def _trials(data_digest: str) -> Select[str, str | None, int, int, float | None]:
    first = func.min(Run.started_at)
    identity = (
        Run.config_digest,
        Run.gold_digest,
        Run.seed,
        CycleMetrics.cycle_id,
        CycleMetrics.sharpe,
    )
    return (
        select(*identity)
        .select_from(CycleMetrics)
        .join(Run)
        .where(Run.data_digest == data_digest)
        .group_by(*identity)
        .order_by(first, *identity)
    )


def _insert(connection: Connection, model: type[Base]) -> sqlite.Insert | postgresql.Insert:
    make = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    return make(model)


def _insert_new(connection: Connection, model: type[Base], row: dict[str, Any], key: tuple[str, ...]) -> None:
    connection.execute(_insert(connection, model).values(row).on_conflict_do_nothing(index_elements=key))


def _upsert(connection: Connection, model: type[Base], row: dict[str, Any], key: tuple[str, ...]) -> None:
    changes = {name: value for name, value in row.items() if name not in key}
    statement = _insert(connection, model).values(row)
    connection.execute(statement.on_conflict_do_update(index_elements=key, set_=changes))


def _register(connection: Connection, model: ModelRecord) -> ModelRecord:
    row = asdict(model)
    del row["is_production"]
    statement = _insert(connection, ModelRegistry).values(row)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=("model_id",),
            set_={"model_path": model.model_path, "performance": model.performance},
            where=ModelRegistry.run_id.is_not_distinct_from(model.run_id),
        )
    )
    query = select(ModelRegistry.__table__).filter_by(model_id=model.model_id)
    return ModelRecord(**connection.execute(query).mappings().one())


def _check_same_run(run: RunRecord, row: RowMapping) -> None:
    differing = [
        f"{name} {row[name]}, not {getattr(run, name)}"
        for name in _RUN_IDENTITY
        if row[name] != getattr(run, name)
    ]
    if differing:
        raise StorageError(
            f"the run was started with {' and '.join(differing)}",
            where=f"run {run.run_id}",
            remedy="resume it as it was started, or start a new run",
        )


def _unknown_run(run_id: str) -> StorageError:
    return StorageError("no such run", where=f"run {run_id}", remedy="check its identifier")


def _run_row(run: RunRecord) -> dict[str, Any]:
    return asdict(run) | {"status": run.status.value}


def _run_of(row: RowMapping) -> RunRecord:
    return RunRecord(**{**row, "status": RunStatus(row["status"])})


def _cycle_row(cycle: CycleRecord) -> dict[str, Any]:
    return asdict(cycle) | {"verdicts": [verdict.as_record() for verdict in cycle.verdicts]}


def _cycle_of(row: RowMapping) -> CycleRecord:
    return CycleRecord(**{**row, "verdicts": tuple(verdict_from_record(one) for one in row["verdicts"])})
