"""The main job: from a gold policy to a judged candidate, or an honest refusal."""

from __future__ import annotations

import contextlib
import datetime as dt
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from stairways.config import DateRange, setting_differences
from stairways.control.tilt import Multipliers
from stairways.errors import ConfigError, StorageError, TrainingError
from stairways.evaluation.bootstrap import ReturnSeries
from stairways.learning.warm_start import WarmStart, candidate_spec, warm_start
from stairways.registry.connection import sqlite_url, without_password
from stairways.registry.database import GateDatabase
from stairways.registry.files import write_bytes_atomic, write_text_atomic
from stairways.registry.records import ModelRecord, RunRecord, RunStatus
from stairways.trading.observation import observe
from stairways.tuning.authority import preflight
from stairways.tuning.best import Best, better_fallback
from stairways.tuning.book import RunBook
from stairways.tuning.checkpoint import START, Checkpoint, cycles_again
from stairways.tuning.contest import Entrant
from stairways.tuning.cycle import Bench, CycleResult, run_cycle
from stairways.tuning.final import CANDIDATE, FinalJudgement, judge_finally
from stairways.tuning.market_access import open_for
from stairways.tuning.multiple_testing import CycleReturns, multiple_testing
from stairways.tuning.packing import pack_candidate, refuse_seen, unpack_for
from stairways.tuning.ranges import TuneSplit, span_of, split_tune, with_sample_ranges
from stairways.tuning.run_folder import (
    CONFIG_FILE,
    DATABASE_FILE,
    LOG_FILE,
    PAGE_FILE,
    PICTURE_FILE,
    RUN_FILE,
    SUMMARY_FILE,
    Clock,
    RunFolder,
    RunLog,
    Watcher,
)
from stairways.tuning.seeds import Stream, stream
from stairways.tuning.steer import Learner, algorithm_of, make_trainer, rehearsal_of
from stairways.tuning.versions import library_versions, made_with
from stairways.unpacking import ARTIFACT_FOLDER

if TYPE_CHECKING:
    from stairways.config import Settings
    from stairways.policies.spec import PolicySpec

WARNING, ROLLBACK = "warning", "rollback"


@dataclass(frozen=True)
class TuneOutcome:
    """How a run ended.

    Attributes:
        accepted: Whether the final gate passed.
        summary: Content of summary.json.
        folder: The run folder.
    """

    accepted: bool
    summary: dict[str, Any]
    folder: Path


class TuneRun:
    """One run of the main job.

    Args:
        settings: Every setting, ranges included or to be filled for the sample.
        gold: Folder of the gold artifact.
        out: The run folder.
        clock: Tells the time.
        watcher: Follows the run.
        resume: Go on with the run that stands in ``out``.
    """

    def __init__(
        self,
        settings: Settings,
        gold: Path,
        out: Path,
        *,
        clock: Clock,
        watcher: Watcher,
        resume: bool = False,
    ) -> None:
        ranges = with_sample_ranges(settings, command="tune")
        self.settings = settings.model_copy(update={"ranges": ranges})
        self.folder = RunFolder(out)
        self.clock = clock
        self.watcher = watcher
        self.resume = resume
        self.folder.check(resume=resume)
        self.gold_folder = gold
        self.gold = unpack_for(gold, self.settings)
        self._check_steps()
        candidate_spec(self.gold.spec, self.settings.tune.regime)
        refuse_seen(self.gold, _range(ranges.tune), "tune")
        self.dataset = open_for(self.gold, self.settings)
        self.split = split_tune(self.dataset.sessions, _range(ranges.tune), self.settings)
        self.test = span_of(self.dataset.sessions, _range(ranges.test), "test")
        self.table = self.dataset.table(self.gold.constants)
        self.market = observe(self.dataset.sessions, self.table)
        self.log = RunLog(out / LOG_FILE, clock, watcher)
        self.book = RunBook(self.log, clock)
        self.cycle_returns = CycleReturns()
        self.without_improvement = 0
        self.stopped = ""

    @property
    def learn(self) -> slice:
        """Sessions that weights change on: the range's training part and what is rehearsed before it."""
        start = self.split.train.start - rehearsal_of(self.settings, self.gold.spec.kind)
        return slice(max(0, start), self.split.train.stop)

    @property
    def seen(self) -> list[DateRange]:
        """Every range that gold or the candidate has learned from or was chosen on; the last is tuned on."""
        rehearsed = slice(self.learn.start, self.split.train.start)
        dates = self.dataset.sessions.dates[rehearsed]
        before = [DateRange(first=dates[0].item(), last=dates[-1].item())] if len(dates) else []
        return [*self.gold.seen, *before, _range(self.settings.ranges.tune)]

    def run(self) -> TuneOutcome:
        """Run every cycle, then judge once, finally, on the test sessions."""
        self._began = self.clock()
        self._state = self._resumed_state() if self.resume else self._new_state(self._began)
        run = self._run_record()
        self.folder.make_parent()
        # What can be refused is asked before the run folder stands.
        with GateDatabase.open(self._database_url) as database:
            if not self.resume:
                self.folder.begin(self.settings.as_record(), self._state)
            with self.folder.held():
                return self._run_noted(database, run)

    def _run_noted(self, database: GateDatabase, run: RunRecord) -> TuneOutcome:
        self._announce()
        database.start_run(run)
        try:
            return self._run(database)
        except BaseException as error:
            self._note_failure(database, error)
            raise

    def _note_failure(self, database: GateDatabase, error: BaseException) -> None:
        """Note how a run ended; a full disk must not hide the error that ended it."""
        status = RunStatus.INTERRUPTED if isinstance(error, KeyboardInterrupt) else RunStatus.FAILED
        with contextlib.suppress(StorageError):
            self._finish(database, status, self.book.steps)
            self.log.event("RUN", "run.stopped", reason=type(error).__name__)

    def _run(self, database: GateDatabase) -> TuneOutcome:
        started = self._warm_start()
        bench = self.bench(started.spec)
        gold_tilt = bench.calibrated(self.gold.program, None)
        found = preflight(bench, started, gold_tilt, self.watcher)
        for verdict in found.verdicts:
            self.log.event("CONTROL", verdict.name, passed=verdict.passed, reason=verdict.reason)
        self.log.event("CONTROL", "authority.measured", text=found.authority.text())
        if not all(verdict.passed for verdict in found.verdicts):
            raise TrainingError("the sign self-test failed: the loop would push the wrong way")
        self.log.event(
            "RUN",
            "algorithm.chosen",
            algorithm=bench.algorithm,
            sessions=len(bench.learn),
            rehearsed=self.split.train.start - self.learn.start,
        )
        trainer = make_trainer(bench, started, gold_tilt)
        best = self._gold_as_best(bench)
        fallback: Best | None = None
        first = 1
        checkpoint = self._resumed_from(database, bench) if self.resume else START
        if checkpoint.cycle:
            first, best, fallback = self._restore(checkpoint, trainer, bench)
        for cycle in range(first, self.settings.tune.cycles + 1):
            if self.stopped:
                break
            best, fallback = self._cycle(database, bench, trainer, cycle, best, fallback, gold_tilt)
        chosen = best if best.weights is not None else fallback
        if chosen is None:
            raise TrainingError("no cycle was run")
        judgement = self._judge(database, bench, chosen, gold_tilt, started)
        return self._finish_run(database, bench, judgement, found.as_record(), started)

    def _cycle(
        self,
        database: GateDatabase,
        bench: Bench,
        trainer: Learner,
        cycle: int,
        best: Best,
        fallback: Best | None,
        gold_tilt: Multipliers | None,
    ) -> tuple[Best, Best | None]:
        tune = self.settings.tune
        self.log.event("CYCLE", "cycle.started", cycle=f"{cycle}/{tune.cycles}", steps=bench.cycle_steps)
        self.watcher.stage(f"cycle {cycle}/{tune.cycles}", bench.cycle_steps)
        start = fallback.multipliers if fallback is not None else gold_tilt
        result = run_cycle(
            bench,
            trainer,
            cycle,
            start=start,
            best=best.returns,
            clock=self.clock,
            progress=self.watcher.rollout,
        )
        # the final gate refuses a candidate over the drift threshold, so it is no best to build on
        sound = result.gate.passed and not result.drift.exceeded
        candidate = Best(
            cycle=cycle,
            returns=ReturnSeries.net(result.select.ledger),
            weights=result.weights,
            multipliers=result.multipliers,
            score_bps=float(result.select.ledger.returns_ratio.mean() * 1e4),
            improved=result.improvement.improved and sound,
        )
        action = self._act_on_drift(result, fallback)
        if candidate.improved:
            best, self.without_improvement = candidate, 0
        else:
            self.without_improvement += 1
        if fallback is None or action != ROLLBACK:
            fallback = better_fallback(fallback, candidate, passed=sound)
        run_id = self._state["run_id"]
        self.book.note(database, run_id, result, improved=candidate.improved, drift_action=action)
        self.cycle_returns.note(candidate.returns)
        if not self.stopped and self._stop_early(cycle):
            self.stopped = f"early stop: {self.without_improvement} cycles without improvement"
        if self.stopped:
            self.log.event("CYCLE", "run.stopped_early", cycle=cycle, reason=self.stopped)
        self._checkpoint(trainer, cycle, best, fallback)
        return best, fallback

    def _act_on_drift(self, result: CycleResult, fallback: Best | None) -> str | None:
        """Return what follows from drift; a rollback in the first cycle leaves only gold to go back to."""
        if not result.drift.exceeded:
            return None
        if result.gate.passed:
            return WARNING
        back = "rolled back to the best before" if fallback is not None else "rolled back to gold"
        self.stopped = f"drift over its threshold with a failed gate: {back}"
        return ROLLBACK

    def _wall_seconds(self) -> float:
        """Return the seconds of the run, those before it was last resumed included."""
        return self.book.wall_seconds + (self.clock() - self._began).total_seconds()

    def _stop_early(self, cycle: int) -> bool:
        tune = self.settings.tune
        return self.without_improvement >= tune.early_stop_cycles and cycle >= tune.min_cycles

    def _check_steps(self) -> None:
        tune = self.settings.tune
        size = tune.ppo.rollout_steps
        if algorithm_of(self.settings, self.gold.spec.kind) == "all_actions":
            usual = type(tune)()
            named = [
                name for name in ("ppo", "steps_per_cycle") if getattr(tune, name) != getattr(usual, name)
            ]
            if named:
                raise ConfigError(
                    "belongs to PPO, and this run would weigh all actions over whole sessions",
                    where=f"tune.{named[0]}",
                    remedy="choose --algorithm ppo, or set tune.all_actions",
                )
        elif tune.steps_per_cycle % size != 0:
            raise ConfigError(
                f"{tune.steps_per_cycle} steps a cycle are not a multiple of a rollout of {size}",
                where="--steps-per-cycle",
                remedy=f"choose a multiple of {size}, or change tune.ppo.n_envs and n_steps",
            )

    def _resumed_state(self) -> dict[str, Any]:
        """Return the identity of the run that stands in the folder, if it is this one.

        Raises:
            ConfigError: If it was started with other settings, another gold, other bars or other code.
            StorageError: If what identifies it is damaged.
        """
        state = self.folder.read_json(RUN_FILE)
        if state.get("config_digest") != self.settings.digest:
            started = self.folder.read_json(CONFIG_FILE)
            changed = setting_differences(started, self.settings.as_record())
            self._refuse_resume(f"the settings differ: {', '.join(changed) or 'config.json was changed'}")
        for name, key, now in (
            ("gold", "gold_digest", self.gold.digest),
            ("the data", "data_digest", self._data_digest),
        ):
            before = str(state.get(key))
            if before != now:
                self._refuse_resume(f"{name} has digest {now[:12]}, the run was started with {before[:12]}")
        if any(state.get(name) != now for name, now in made_with().items()):
            self._refuse_resume("the run was started by other code or other versions of its libraries")
        missing = [name for name in ("run_id", "started_at") if not state.get(name)]
        if missing:
            raise StorageError(
                f"lacks {', '.join(missing)}",
                where=str(self.folder.path / RUN_FILE),
                remedy="start a new run",
            )
        return state

    def _refuse_resume(self, what: str) -> NoReturn:
        raise ConfigError(
            what,
            where=str(self.folder.path),
            remedy="resume with the same settings, gold, bars and installation, or start a new run",
        )

    def _new_state(self, began: dt.datetime) -> dict[str, Any]:
        named = self.settings.call.database
        return {
            "run_id": uuid.uuid4().hex[:16],
            "started_at": began.isoformat(),
            "config_digest": self.settings.digest,
            "gold_digest": self.gold.digest,
            "data_digest": self._data_digest,
            **made_with(),
            "gold": str(self.gold_folder.resolve()),
            "database": None if named is None else without_password(named),
        }

    @property
    def _database_url(self) -> str:
        """The database that was named, now or when the run was started; gate.db beside the folder if none."""
        beside = sqlite_url(self.folder.path.resolve().parent / DATABASE_FILE)
        return str(self.settings.call.database or self._state.get("database") or beside)

    def _announce(self) -> None:
        run_id = self._state["run_id"]
        if self.resume:
            self.folder.clean()
            self.log.event("RUN", "run.resumed", run_id=run_id)
            return
        self.log.event("RUN", "run.started", run_id=run_id, seed=self.settings.seed, data=self.market.source)

    @property
    def _data_digest(self) -> str:
        return self.dataset.sessions.digest

    def _run_record(self) -> RunRecord:
        return RunRecord(
            run_id=self._state["run_id"],
            command="tune",
            started_at=dt.datetime.fromisoformat(self._state["started_at"]),
            seed=self.settings.seed,
            config_digest=self.settings.digest,
            config=self.settings.as_record(),
            data_digest=self._data_digest,
            data_source=self.dataset.sessions.source,
            gold_digest=self.gold.digest,
        )

    def _warm_start(self) -> WarmStart:
        started = warm_start(
            self.gold.spec,
            self.gold.artifact.weights,
            self.settings.tune.regime,
            stream(self.settings.seed, Stream.WEIGHTS),
        )
        self.log.event(
            "RUN",
            "warm_start.checked",
            max_probability_difference=started.max_probability_difference,
            observations=started.n_observations,
        )
        return started

    def bench(self, spec: PolicySpec) -> Bench:
        """Return what every cycle of a candidate of this shape is trained and judged on."""
        split: TuneSplit = self.split
        return Bench(
            settings=self.settings,
            gold=self.gold,
            spec=spec,
            train=self.market.select(split.train),
            select=self.market.select(split.select),
            shadow=self.market.select(split.shadow),
            learn=self.market.select(self.learn),
        )

    def _gold_as_best(self, bench: Bench) -> Best:
        run = bench.arena(bench.select, bench.decision_key).run(Entrant(self.gold.program))
        return Best(cycle=0, returns=ReturnSeries.net(run.ledger))

    def _checkpoint(self, trainer: Learner, cycle: int, best: Best, fallback: Best | None) -> None:
        snapshot = trainer.snapshot()
        arrays, plain = dict(snapshot["arrays"]) | self.cycle_returns.arrays(), dict(snapshot["plain"])
        for name, kept in (("best", best), ("fallback", fallback)):
            if kept is not None:
                arrays |= kept.arrays(name)
                plain[name] = kept.as_record()
        plain |= {
            **self.book.snapshot(),
            "wall_seconds": self._wall_seconds(),
            "cycle": cycle,
            "without_improvement": self.without_improvement,
            "stopped": self.stopped,
        }
        self.folder.write_checkpoint(Checkpoint(arrays, plain), self._state, alarm=self.book.alarm)

    def _resumed_from(self, database: GateDatabase, bench: Bench) -> Checkpoint:
        found = self.folder.read_checkpoint(self._state)
        if found.damage is not None:
            recorded = database.cycles(self._state["run_id"])
            again = cycles_again(found, max((cycle.cycle_id for cycle in recorded), default=0))
            self.book.alarm(found.damage, again, again * bench.cycle_steps)
            found.settle()
        return found.value

    def _restore(
        self, checkpoint: Checkpoint, trainer: Learner, bench: Bench
    ) -> tuple[int, Best, Best | None]:
        arrays, plain = checkpoint
        trainer.restore({"arrays": arrays, "plain": plain})
        self.book.restore(plain)
        self.cycle_returns.restore(arrays)
        self.without_improvement, self.stopped = plain["without_improvement"], plain["stopped"]
        best, fallback = (
            Best.restored(name, arrays, plain[name], bench.select.dates) if name in plain else None
            for name in ("best", "fallback")
        )
        if best is None:
            raise ConfigError("the checkpoint holds no best so far", where=str(self.folder.path))
        return checkpoint.cycle + 1, best, fallback

    def _judge(
        self,
        database: GateDatabase,
        bench: Bench,
        chosen: Best,
        gold_tilt: Multipliers | None,
        started: WarmStart,
    ) -> FinalJudgement:
        if chosen.weights is None:
            raise TrainingError("the chosen cycle left no weights")
        artifact = pack_candidate(
            self.settings,
            self.dataset,
            started.spec,
            chosen.weights,
            self.gold.constants,
            self.split.shadow.stop,
            self.seen,
            parent_digest=self.gold.digest,
            multipliers=chosen.multipliers,
        )
        self.watcher.stage("final gate", 0)
        return judge_finally(
            database=database,
            bench=bench,
            dataset=self.dataset,
            market=self.market.select(self.test),
            part=self.test,
            artifact=artifact,
            cycle=chosen.cycle,
            gold_tilt=gold_tilt,
            gold_folder=self.gold_folder,
            folder=self.folder.path,
            record=self._history(bench, chosen, started),
            run_id=self._state["run_id"],
            clock=self.clock,
            log=self.log,
        )

    def _history(self, bench: Bench, chosen: Best, started: WarmStart) -> dict[str, Any]:
        return {
            "command": "tune",
            "run_id": self._state["run_id"],
            "seed": self.settings.seed,
            "config_digest": self.settings.digest,
            "gold_digest": self.gold.digest,
            "cycle": chosen.cycle,
            "improved_on_gold": chosen.improved,
            "steps": chosen.cycle * bench.cycle_steps,
            "algorithm": bench.algorithm,
            "run_steps": self.book.steps,
            "new_parameters": list(started.new_parameters),
            "versions": library_versions(),
        }

    def _finish_run(
        self,
        database: GateDatabase,
        bench: Bench,
        judgement: FinalJudgement,
        preflight: dict[str, Any],
        started: WarmStart,
    ) -> TuneOutcome:
        from stairways.reporting.summary import tune_summary

        now = self.clock()
        summary = tune_summary(
            settings=self.settings,
            market=self.market,
            split=self.split,
            rehearsal=slice(self.learn.start, self.split.train.start),
            test=self.test,
            quality=self.dataset.quality,
            judgement=judgement,
            cycles=self.book.records,
            multiple_testing=multiple_testing(
                database,
                self._data_digest,
                cycles=self.cycle_returns.matrix,
                chosen_cycle=judgement.cycle,
                unseen=judgement.replays[CANDIDATE].ledger.returns_ratio,
                risk_free_per_session=self.settings.trading.risk_free_per_session,
            ),
            preflight=preflight,
            run={
                "run_id": self._state["run_id"],
                "command": "tune",
                "seed": self.settings.seed,
                "algorithm": bench.algorithm,
                "steps": self.book.steps,
                "candidate_steps": judgement.cycle * bench.cycle_steps,
                "wall_seconds": self._wall_seconds(),
                "digest": judgement.artifact_digest,
                "weights_digest": judgement.weights_digest,
                "fills_digest": judgement.fills_digest,
                "gold_digest": self.gold.digest,
                "accepted": judgement.gate.passed,
                "skill_proven": judgement.gate.skill_proven,
                "cycle": judgement.cycle,
                "stopped": self.stopped or "all cycles were run",
                "resumed": self.resume,
                "warm_start_max_probability_difference": started.max_probability_difference,
                "config_digest": self.settings.digest,
                "database": without_password(self._database_url),
                "looks": judgement.looks,
                "look_key": judgement.look_key,
            },
        )
        self._write_reports(summary)
        database.register_model(
            ModelRecord(
                model_id=judgement.artifact_digest,
                model_path=str(self.folder.path / ARTIFACT_FOLDER),
                performance=summary["candidate"],
                role="candidate",
                created_at=now,
                run_id=self._state["run_id"],
                cycle_id=judgement.cycle,
            )
        )
        self._finish(database, RunStatus.FINISHED, self.book.steps)
        self.log.event(
            "GATE",
            "run.finished",
            accepted=judgement.gate.passed,
            failures=",".join(judgement.gate.failures()) or "none",
            digest=judgement.artifact_digest,
        )
        return TuneOutcome(judgement.gate.passed, summary, self.folder.path)

    def _write_reports(self, summary: dict[str, Any]) -> None:
        from stairways.reporting.page import summary_page
        from stairways.reporting.pictures import readme_picture

        public = {name: value for name, value in summary.items() if name != "series"}
        write_text_atomic(self.folder.path / PAGE_FILE, summary_page(summary))
        write_bytes_atomic(self.folder.path / PICTURE_FILE, readme_picture(summary))
        self.folder.write_json(SUMMARY_FILE, public)

    def _finish(self, database: GateDatabase, status: RunStatus, steps: int) -> None:
        database.finish_run(self._state["run_id"], ended_at=self.clock(), status=status, steps=steps)


def _range(dates: Any) -> Any:
    if dates is None:
        raise ConfigError("a session range is missing", where="options")
    return dates
