"""Contest: several policies led through the same sessions, with the same numbers drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stairways.control.setpoints import SetPoints, target_hold_rate
from stairways.evaluation.baselines import all_hold, buy_and_hold
from stairways.evaluation.bootstrap import PairedComparison, ReturnSeries, paired_comparison
from stairways.evaluation.calibration import calibrate
from stairways.evaluation.evidence import ALL_HOLD, GOLD, RANDOM, TILTED_GOLD
from stairways.evaluation.replay import Replay, Script, TiltLoop, replay

if TYPE_CHECKING:
    import numpy as np

    from stairways.config import Settings
    from stairways.control.actuators import TiltActuator
    from stairways.market.dataset import Dataset, OpenedMarket
    from stairways.policies.program import Program
    from stairways.trading.ledger import Mode, SessionLedger
    from stairways.trading.observation import ObservedMarket
    from stairways.trading.rules import TradingRules


REFERENCES = (GOLD, RANDOM, ALL_HOLD, TILTED_GOLD)


@dataclass(frozen=True)
class Entrant:
    """One policy and the tilt it runs under.

    Attributes:
        policy: The actor's program, or a script.
        loop: The tilt, None to act as it is.
    """

    policy: Program | Script
    loop: TiltLoop | None = None


@dataclass(frozen=True)
class Arena:
    """What every entrant meets alike.

    Attributes:
        market: The sessions.
        rules: Sizes, bounds and costs.
        mode: Deployment mode.
        decision_key: Key of the numbers that actions are drawn with.
        workers: Threads that lead entrants beside each other; the same results.
    """

    market: ObservedMarket
    rules: TradingRules
    mode: Mode
    decision_key: int
    workers: int = 1

    @classmethod
    def of(cls, settings: Settings, market: ObservedMarket, decision_key: int) -> Arena:
        """Return the conditions of deployment that the settings ask for."""
        workers = settings.performance.replay_workers
        return cls(market, settings.trading, settings.control.mode, decision_key, workers)

    def run(self, entrant: Entrant) -> Replay:
        """Lead one entrant through the sessions."""
        return replay(
            self.market,
            entrant.policy,
            self.rules,
            mode=self.mode,
            run_seed=self.decision_key,
            loop=entrant.loop,
        )

    def run_each(self, entrants: Sequence[Entrant]) -> list[Replay]:
        """Lead every entrant through the sessions; the results are in order."""
        if self.workers == 1:
            return [self.run(entrant) for entrant in entrants]
        with ThreadPoolExecutor(self.workers) as pool:
            return list(pool.map(self.run, entrants))

    def run_all(self, entrants: Mapping[str, Entrant]) -> dict[str, Replay]:
        """Lead every entrant through the sessions, by name."""
        return dict(zip(entrants, self.run_each(list(entrants.values())), strict=True))


def scripted_baselines(
    market: ObservedMarket, dataset: Dataset | OpenedMarket, part: slice, rules: TradingRules
) -> dict[str, Entrant]:
    """Return all-hold, buy and hold and, where the market was planted, the oracle.

    Args:
        market: The sessions judged.
        dataset: All sessions, with the truth behind a planted market.
        part: Where ``market`` lies within it.
        rules: Their costs are the oracle's.
    """
    entrants = {"all_hold": Entrant(all_hold(market)), "buy_and_hold": Entrant(buy_and_hold(market))}
    synthetic = dataset.synthetic
    # the oracle solves proportional costs and positions of both signs; elsewhere it is no bound
    solvable = rules.costs.impact_bps == 0 and rules.costs.ticket_usd == 0 and not rules.long_only
    planted = synthetic is not None and synthetic.truth is not None and synthetic.truth.strength > 0
    if synthetic is not None and planted and solvable:
        from stairways.market.oracle import oracle_actions, solve_oracle

        solution = solve_oracle(
            synthetic.spec,
            dataset.sessions.symbols,
            interval_minutes=dataset.sessions.interval_minutes,
            unit_fraction_ratio=rules.unit_fraction,
            cost_bps=rules.costs.commission_bps + rules.costs.half_spread_bps,
        )
        entrants["oracle"] = Entrant(Script(oracle_actions(solution, synthetic, part)))
    return entrants


def equal_turnover(ledger: SessionLedger) -> SetPoints:
    """Return the set points at which a baseline holds and trades as much as a policy did."""
    held = float(ledger.holds.sum() / ledger.decisions.sum())
    return SetPoints(
        hold_rate_ratio=min(0.999, max(0.001, held)),
        lowest_hold_rate_ratio=0.0,
        highest_hold_rate_ratio=1.0,
        trades_per_session=float(ledger.trades.mean()),
    )


def calibrated_entrant(arena: Arena, program: Program, actuator: TiltActuator, points: SetPoints) -> Entrant:
    """Return a policy under a tilt to given set points.

    Args:
        arena: Sessions to calibrate on, and the conditions of deployment.
        program: The policy.
        actuator: Gains and bounds.
        points: Set points.
    """
    loop = TiltLoop(actuator, actuator.live, points)
    start = calibrate(arena.market, program, arena.rules, loop, mode=arena.mode, run_seed=arena.decision_key)
    return Entrant(program, loop.starting_at(start))


def compare(
    replays: Mapping[str, Replay],
    candidate: str,
    references: Sequence[str],
    *,
    confidence: float,
    seed: np.random.SeedSequence,
) -> dict[str, PairedComparison]:
    """Compare a candidate with references, pair by pair, on net session returns.

    Args:
        replays: What everyone did.
        candidate: Name of the candidate among them.
        references: Names of the references; those that did not run are left out.
        confidence: Of the intervals.
        seed: Seed of the bootstrap.
    """
    series = {name: ReturnSeries.net(run.ledger) for name, run in replays.items()}
    return {
        name: paired_comparison(series[candidate], series[name], confidence=confidence, seed=seed)
        for name in references
        if name in series
    }


def mean_hold_target(points: SetPoints, run: Replay) -> float:
    """Return the mean target hold rate over the decisions of a replay."""
    numbers = points.numbers(run.market.full_session_decisions)
    decided = run.actions >= 0
    scores = run.market.score[decided]
    return float(sum(target_hold_rate(numbers, float(score)) for score in scores)) / len(scores)
