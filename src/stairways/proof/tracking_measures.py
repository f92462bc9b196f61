"""How closely a policy tracks its set points, and what it earns meanwhile."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stairways.control.setpoints import SetPointNumbers, SetPoints, target_hold_rate
from stairways.evaluation.bootstrap import BPS, stationary_indices
from stairways.evaluation.replay import Replay
from stairways.market.sessions import SESSIONS_PER_YEAR
from stairways.trading.actions import hold_action
from stairways.trading.ledger import SessionLedger

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Difference:
    """A difference with its two-sided 95 % interval.

    Attributes:
        value: The difference.
        low: Lower end of the interval; likewise ``high``.
    """

    value: float
    low: float
    high: float


@njit(cache=True)
def decision_targets(
    score: NDArray[np.float64], n_bars: NDArray[np.int64], points: SetPointNumbers
) -> NDArray[np.float64]:
    """Return the hold target of every decision, ``(n_sessions, max_bars)`` float64, NaN behind the last."""
    targets = np.full(score.shape, np.nan)
    for s in range(len(n_bars)):
        for b in range(n_bars[s] - 1):
            targets[s, b] = target_hold_rate(points, score[s, b])
    return targets


def followed_share(run: Replay, targets: NDArray[np.float64]) -> float:
    """Return the slope of holds (0 or 1) on the hold target over all decisions: 1 follows it in full.

    Args:
        run: What an account did.
        targets: As `decision_targets` gives them; they must move.
    """
    decided = run.actions >= 0
    wanted = targets[decided] - targets[decided].mean()
    held = (run.actions[decided] == hold_action(run.market.n_symbols)).astype(np.float64)
    return float(wanted @ held / (wanted @ wanted))


def block_errors(
    ledger: SessionLedger, points: SetPoints, full_session_decisions: int, n_sessions: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return measured - wanted over blocks of sessions in a row, for a fixed target.

    The hold rate weighs every decision alike; the set point of the trades is spent pro rata on half days.

    Args:
        ledger: What an account did.
        points: Set points.
        full_session_decisions: Decisions of a full session.
        n_sessions: Sessions of a block; what is left over at the end is not counted.

    Returns:
        Errors of the hold rate and of the trades per session, both ``(n_blocks,)`` float64.
    """
    n_blocks = len(ledger) // n_sessions

    def blocks(column: NDArray[np.int64]) -> NDArray[np.float64]:
        sums: NDArray[np.float64] = column[: n_blocks * n_sessions].reshape(n_blocks, -1).sum(axis=1) * 1.0
        return sums

    holds, trades, decisions = blocks(ledger.holds), blocks(ledger.trades), blocks(ledger.decisions)
    wanted = points.trades_per_session * decisions / full_session_decisions
    return holds / decisions - points.hold_rate_ratio, (trades - wanted) / n_sessions


def figures(
    runs: Sequence[Replay], points: SetPoints, against: Mapping[str, SetPoints], n_sessions: int
) -> dict[str, Any]:
    """Return what accounts with different decision keys did on the same sessions, as plain JSON types.

    Args:
        runs: One replay for each key.
        points: Set points that block errors are measured against.
        against: Set points, by name, whose moving targets session errors and what is followed are of.
        n_sessions: Sessions of a block.
    """
    market = runs[0].market
    full = market.full_session_decisions
    held = np.array([run.ledger.holds / run.ledger.decisions for run in runs])
    trades = np.array([run.ledger.trades for run in runs])
    errors = [block_errors(run.ledger, points, full, n_sessions) for run in runs]
    targets = {
        name: decision_targets(market.score, market.n_bars, other.numbers(full))
        for name, other in against.items()
    }
    return {
        "returns": [np.round(run.ledger.returns_ratio, 10).tolist() for run in runs],
        "hold_errors": np.concatenate([hold for hold, _ in errors]).tolist(),
        "trades_errors": np.concatenate([orders for _, orders in errors]).tolist(),
        "hold": float(np.mean([run.ledger.holds.sum() / run.ledger.decisions.sum() for run in runs])),
        "trades": float(trades.mean()),
        "hold_scatter": float(held.std(axis=1, ddof=1).mean()),
        "trades_scatter": float(trades.std(axis=1, ddof=1).mean()),
        "session_errors": {
            name: float(np.abs(held - np.nanmean(wanted, axis=1)).mean()) for name, wanted in targets.items()
        },
        "followed": {
            name: float(np.mean([followed_share(run, wanted) for run in runs]))
            for name, wanted in targets.items()
        },
    }


def mean_sharpe(returns: NDArray[np.float64]) -> float:
    """Return the annual Sharpe ratio of one account, averaged over accounts, ``(n_keys, n_sessions)``."""
    ratios = returns.mean(axis=1) / returns.std(axis=1, ddof=1)
    return float(ratios.mean()) * math.sqrt(SESSIONS_PER_YEAR)


@dataclass(frozen=True, eq=False)
class Resamples:
    """Resamples of the sessions, the same for every policy, so that differences are paired.

    Attributes:
        indices: ``(n_resamples, n_sessions)`` int64.
    """

    indices: NDArray[np.int64]

    @classmethod
    def draw(
        cls, n_sessions: int, block_length: float, n_resamples: int, seed: np.random.SeedSequence
    ) -> Resamples:
        """Draw resamples of the stationary bootstrap (Politis and Romano 1994)."""
        indices, _ = stationary_indices(n_sessions, block_length, n_resamples, np.random.default_rng(seed))
        return cls(indices)

    def sharpes(self, returns: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the Sharpe ratio of one account in each resample, averaged over accounts.

        Args:
            returns: ``(n_keys, n_sessions)`` session returns.

        Returns:
            ``(n_resamples,)`` float64.
        """
        total = np.zeros(len(self.indices))
        for series in returns:
            drawn = series[self.indices]
            total += drawn.mean(axis=1) / drawn.std(axis=1, ddof=1)
        return total / len(returns) * math.sqrt(SESSIONS_PER_YEAR)

    def means_bps(self, returns: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the mean session return in each resample, basis points, ``(n_resamples,)`` float64."""
        means: NDArray[np.float64] = returns.mean(axis=0)[self.indices].mean(axis=1) * BPS
        return means


def percentile_difference(
    value: float, first: NDArray[np.float64], second: NDArray[np.float64]
) -> Difference:
    """Return a difference with the percentile interval of its paired resamples."""
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.quantile(first - second, (tail, 1.0 - tail))
    return Difference(value, float(low), float(high))
