"""One policy led through the same sessions under every budget of trades, and what each row of that says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stairways.control.actuators import TiltActuator
from stairways.control.setpoints import SetPoints
from stairways.evaluation.baselines import uniform
from stairways.evaluation.bootstrap import ReturnSeries, paired_comparison
from stairways.evaluation.replay import Replay
from stairways.trading.metrics import BPS, measure
from stairways.tuning.contest import Arena, Entrant, calibrated_entrant, equal_turnover

if TYPE_CHECKING:
    import numpy as np

    from stairways.policies.program import Program

REACHED_TRADES = 0.5
UNTILTED, TILT, TUNED, RANDOM, ORACLE, ALL_HOLD, LOWEST = (
    "untilted", "tilt", "tuned", "random", "oracle", "all_hold", "lowest",
)  # fmt: skip

Row = dict[str, Any]


@dataclass(frozen=True)
class Ground:
    """What every point of a frontier meets alike.

    Attributes:
        arena: The sessions judged.
        before: The sessions before them, for calibration.
        actuator: The tilt.
        points: Set points; their trades are replaced by those of each point.
        confidence: Of the paired intervals.
        seed: Of their bootstrap.
    """

    arena: Arena
    before: Arena
    actuator: TiltActuator
    points: SetPoints
    confidence: float
    seed: np.random.SeedSequence

    def tilted(self, program: Program, trades_per_session: float) -> Replay:
        """Lead a policy through the sessions under a budget, calibrated on the sessions before."""
        points = self.points.model_copy(update={"trades_per_session": trades_per_session})
        return self.arena.run(calibrated_entrant(self.before, program, self.actuator, points))

    def random_like(self, run: Replay) -> Replay:
        """Lead random actions through the sessions at the hold rate and turnover of another policy."""
        program = uniform(self.arena.market.n_symbols)
        points = equal_turnover(run.ledger)
        return self.arena.run(calibrated_entrant(self.before, program, self.actuator, points))

    def row(self, arm: str, set_point: float | None, run: Replay, references: Mapping[str, Replay]) -> Row:
        """Measure one policy, and compare it pair by pair with others on the same sessions.

        Args:
            arm: What kind of policy it is.
            set_point: Trades per session that were asked for; None without a budget.
            run: What it did.
            references: What others did, by name.
        """
        rules = self.arena.rules
        found = measure(
            run.ledger,
            n_actions=3**self.arena.market.n_symbols,
            risk_free_per_session=rules.risk_free_per_session,
        )
        low, high = found.mean_net_bps_interval or (None, None)
        row: Row = {
            "arm": arm,
            "set_point": set_point,
            "trades_per_session": found.trades_per_session,
            "reached": set_point is not None and abs(found.trades_per_session - set_point) <= REACHED_TRADES,
            "forced_closes_per_session": found.forced_closes_per_session,
            "hold_rate_ratio": found.hold_rate_ratio,
            "net_bps": found.mean_net_bps,
            "net_low_bps": low,
            "net_high_bps": high,
            "gross_bps": float(run.ledger.gross_returns_ratio.mean()) * BPS,
            "costs_bps": found.costs_bps,
            "turnover_ratio": found.turnover_ratio,
            "sharpe": found.sharpe,
            "sharpe_standard_error": found.sharpe_standard_error,
            "n_sessions": found.n_sessions,
            "mode": found.mode,
            "longest_at_bound_decisions": run.longest_at_bound,
        }
        for name, other in references.items():
            row |= self._difference(name, run, other)
        return row

    def _difference(self, name: str, run: Replay, other: Replay) -> Row:
        pair = paired_comparison(
            ReturnSeries.net(run.ledger),
            ReturnSeries.net(other.ledger),
            confidence=self.confidence,
            seed=self.seed,
        )
        low, high = pair.interval_bps
        return {
            f"above_{name}_bps": pair.mean_difference_bps,
            f"above_{name}_low_bps": low,
            f"above_{name}_high_bps": high,
            f"above_{name}_se_bps": pair.standard_error_bps,
        }


def tilt_frontier(
    ground: Ground, program: Program, points: Sequence[float], scripted: Mapping[str, Entrant]
) -> tuple[list[Row], dict[float, Replay]]:
    """Return the rows of a policy under every budget, random trading at equal turnover beside each.

    Args:
        ground: What every point meets.
        program: The policy.
        points: Set points of trades per session, ascending.
        scripted: Baselines that follow a script; all-hold must be among them.

    Returns:
        The rows, and what the tilted policy did at each set point.
    """
    fixed = ground.arena.run_all({UNTILTED: Entrant(program), **scripted})
    idle = {ALL_HOLD: fixed[ALL_HOLD]}
    runs = {point: ground.tilted(program, point) for point in points}
    rows = [ground.row(UNTILTED, None, fixed[UNTILTED], idle)]
    if ORACLE in fixed:
        rows.append(ground.row(ORACLE, None, fixed[ORACLE], idle))
    for point, run in runs.items():
        chance = ground.random_like(run)
        references = {UNTILTED: fixed[UNTILTED], **idle, RANDOM: chance, LOWEST: runs[points[0]]}
        rows += [ground.row(TILT, point, run, references), ground.row(RANDOM, point, chance, idle)]
    return rows, runs
