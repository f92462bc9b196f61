"""One cycle: train exactly so many steps, calibrate, judge on sessions the training never saw."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stairways.control.actuators import TiltActuator
from stairways.control.tilt import Multipliers
from stairways.evaluation.bootstrap import ReturnSeries
from stairways.evaluation.calibration import calibrate
from stairways.evaluation.evidence import Evidence, ShadowReplay
from stairways.evaluation.gates import cycle_gate
from stairways.evaluation.improvement import Improvement, assess_improvement
from stairways.evaluation.replay import Replay, TiltLoop
from stairways.learning.drift import Drift, measure_drift
from stairways.policies.program import compile_program
from stairways.trading.metrics import PolicyMetrics, measure
from stairways.tuning.contest import Arena, Entrant, mean_hold_target
from stairways.tuning.seeds import Stream, key, stream
from stairways.tuning.steer import Algorithm, Learner, algorithm_of

if TYPE_CHECKING:
    from stairways.config import Settings
    from stairways.evaluation.verdicts import GateResult
    from stairways.learning.reports import RolloutReport
    from stairways.policies.program import Weights
    from stairways.policies.spec import PolicySpec
    from stairways.trading.observation import ObservedMarket
    from stairways.unpacking import Packed

DRIFT_ROWS = 4_096


@dataclass(frozen=True, eq=False)
class Bench:
    """What every cycle of a run is judged on.

    Attributes:
        settings: The run's settings.
        gold: The baseline.
        spec: The candidate's architecture.
        train: Sessions of the tuning range that weights change on; multipliers are calibrated there.
        select: Sessions that judge.
        shadow: The last sessions.
        learn: Every session that weights change on: ``train`` and what is rehearsed before it.
    """

    settings: Settings
    gold: Packed
    spec: PolicySpec
    train: ObservedMarket
    select: ObservedMarket
    shadow: ObservedMarket
    learn: ObservedMarket

    @property
    def algorithm(self) -> Algorithm:
        """What tunes the candidate."""
        return algorithm_of(self.settings, self.spec.kind)

    @property
    def cycle_steps(self) -> int:
        """Steps of a cycle: decisions that training meets."""
        tune = self.settings.tune
        if self.algorithm == "ppo":
            return tune.steps_per_cycle
        return tune.all_actions.passes_per_cycle * self.learn.n_decisions

    def arena(self, market: ObservedMarket, decision_key: int) -> Arena:
        """Return the conditions of deployment on a market."""
        return Arena.of(self.settings, market, decision_key)

    @property
    def decision_key(self) -> int:
        """Key of the numbers that decisions are drawn with."""
        return key(self.settings.seed, Stream.DECISIONS)

    def loop(self, start: Multipliers | None) -> TiltLoop | None:
        """Return the deployed tilt from given multipliers, None for the reward actuator."""
        actuator = self.settings.control.actuator
        if not isinstance(actuator, TiltActuator):
            return None
        loop = TiltLoop(actuator, actuator.live, self.settings.control.points)
        return loop if start is None else loop.starting_at(start)

    def calibrated(self, program: Any, start: Multipliers | None) -> Multipliers | None:
        """Find the multipliers of a policy on the training sessions, in deployment mode."""
        loop = self.loop(start)
        if loop is None:
            return None
        return calibrate(
            self.train,
            program,
            self.settings.trading,
            loop,
            mode=self.settings.control.mode,
            run_seed=self.decision_key,
        )

    def measured(self, run: Replay) -> PolicyMetrics:
        """Measure what a policy did."""
        return measure(
            run.ledger,
            n_actions=self.spec.n_actions,
            risk_free_per_session=self.settings.trading.risk_free_per_session,
        )

    def drift(self, weights: Weights) -> Drift:
        """Measure a candidate's distance from gold on a fixed set of observations."""
        return measure_drift(
            self.spec,
            weights,
            self.gold.spec,
            self.gold.artifact.weights,
            _fixed_rows(self.train),
            self.settings.gate.drift_threshold_ratio,
        )


@dataclass(frozen=True, eq=False)
class CycleResult:
    """What a cycle did and how it was judged.

    Attributes:
        cycle: Number, from 1.
        steps: Transitions that the cycle took.
        weights: The candidate's weights.
        multipliers: Its calibrated multipliers.
        select: What it did on the select sessions.
        metrics: The same, measured.
        drift: Distance from gold.
        gate: The cycle's gate.
        improvement: Against the best so far.
        shadow: The shadow replay.
        reports: What training showed.
        reward_shares: Each reward term's share of the mean absolute reward in the cycle, or its last batch.
        started_at: When the cycle began; ``ended_at`` likewise.
    """

    cycle: int
    steps: int
    weights: dict[str, NDArray[np.float32]]
    multipliers: Multipliers | None
    select: Replay
    metrics: PolicyMetrics
    drift: Drift
    gate: GateResult
    improvement: Improvement
    shadow: ShadowReplay
    reports: tuple[RolloutReport, ...]
    reward_shares: dict[str, float]
    started_at: dt.datetime
    ended_at: dt.datetime

    @property
    def learning_rate(self) -> float:
        """Effective learning rate of the cycle's last update."""
        return self.reports[-1].update.learning_rate

    def as_record(self) -> dict[str, Any]:
        """Return the cycle as plain JSON types, for the summary and the checkpoint."""
        return {
            "cycle": self.cycle,
            "steps": self.reports[-1].steps,
            "training": [
                {
                    "steps": report.steps,
                    "hold_rate_ratio": report.hold_rate_ratio,
                    "trades_per_session": report.trades_per_session,
                    "mean_reward_bps": report.mean_reward_bps,
                    "hold_bonus_bps": report.hold_bonus_bps,
                    "multipliers": list(report.multipliers),
                    "mean_abs_score": report.mean_abs_score,
                    **report.update._asdict(),
                }
                for report in self.reports
            ],
            "reward_shares": self.reward_shares,
            "select": self.metrics.as_record(),
            "hold_rate_by_session": (self.select.ledger.holds / self.select.ledger.decisions).tolist(),
            "trades_by_session": self.select.ledger.trades.tolist(),
            "multipliers": None if self.multipliers is None else list(self.multipliers),
            "drift": asdict(self.drift) | {"exceeded": self.drift.exceeded},
            "improvement": self.improvement.as_record(),
            "verdicts": [verdict.as_record() for verdict in self.gate.verdicts],
            "gate_passed": self.gate.passed,
            "shadow": {
                "digest": self.shadow.digest,
                "returns_bps": (self.shadow.ledger.returns_ratio * 1e4).tolist(),
                "trades": self.shadow.ledger.trades.tolist(),
            },
        }


def run_shadow(bench: Bench, entrant: Entrant, cycle: int) -> ShadowReplay:
    """Replay the shadow sessions twice from the same start, with streams of the cycle's own."""
    arena = bench.arena(bench.shadow, key(bench.settings.seed, Stream.SHADOW, cycle))
    first, second = arena.run_each((entrant, entrant))
    return ShadowReplay(first.ledger, first.digest, second.digest)


def run_cycle(
    bench: Bench,
    trainer: Learner,
    cycle: int,
    *,
    start: Multipliers | None,
    best: ReturnSeries,
    clock: Any,
    progress: Any,
) -> CycleResult:
    """Train one cycle and judge what came out.

    Args:
        bench: What it is judged on.
        trainer: The trainer; it goes on where it was, its schedules anchored to the cycle.
        cycle: Number, from 1.
        start: Multipliers to calibrate from.
        best: Returns of the best so far on the select sessions.
        clock: Tells the time.
        progress: Called after each rollout.
    """
    settings = bench.settings
    started = clock()
    reports = trainer.train(bench.cycle_steps, progress=progress)
    weights = trainer.network.export_weights()
    drift = bench.drift(weights)
    program = compile_program(bench.spec, weights)
    multipliers = bench.calibrated(program, start)
    entrant = Entrant(program, bench.loop(multipliers))
    select = bench.arena(bench.select, bench.decision_key).run(entrant)
    shadow = run_shadow(bench, entrant, cycle)
    evidence = Evidence(
        ledger=select.ledger,
        hold_target_ratio=mean_hold_target(settings.control.points, select),
        drift_ratio=drift.relative,
        shadow=shadow,
    )
    improvement = assess_improvement(
        ReturnSeries.net(select.ledger),
        best,
        settings.tune.improvement,
        seed=stream(settings.seed, Stream.BOOTSTRAP, cycle),
    )
    return CycleResult(
        cycle=cycle,
        steps=bench.cycle_steps,
        weights=weights,
        multipliers=multipliers,
        select=select,
        metrics=bench.measured(select),
        drift=drift,
        gate=cycle_gate(evidence, settings.resolved_gate()),
        improvement=improvement,
        shadow=shadow,
        reports=tuple(reports),
        reward_shares=trainer.take_reward_shares(),
        started_at=started,
        ended_at=clock(),
    )


def _fixed_rows(market: ObservedMarket) -> NDArray[np.float32]:
    decided = np.arange(market.rows.shape[1])[None, :] < (market.n_bars - 1)[:, None]
    rows = market.rows[decided]
    step = max(1, len(rows) // DRIFT_ROWS)
    chosen: NDArray[np.float32] = rows[::step][:DRIFT_ROWS]
    return chosen
