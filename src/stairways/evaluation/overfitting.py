"""Probability of backtest overfitting, by combinatorially symmetric cross-validation.

Bailey, Borwein, Lopez de Prado and Zhu (2017): the sessions are cut into an even number of blocks, every
half of the blocks chooses the trial with the best Sharpe ratio, and the other half says what the choice is
worth. No split has a say that its mirror image lacks, and the order within a half does not matter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from stairways.errors import InputError
from stairways.market.sessions import SESSIONS_PER_YEAR
from stairways.trading.sharpe import CONSTANT_TOLERANCE, MIN_SHARPE_SESSIONS

MOST_BLOCKS = 16
LEAST_BLOCK_SESSIONS = 5
LEAST_SESSIONS = 2 * MIN_SHARPE_SESSIONS
"""Each half must have a Sharpe ratio of its own."""


@dataclass(frozen=True, eq=False)
class Overfitting:
    """What choosing the best trial in sample is worth out of sample.

    Attributes:
        n_sessions: Sessions of the matrix.
        n_trials: Trials that were chosen from.
        n_blocks: Blocks.
        logits: ``(n_splits,)`` float64, ln(w / (1 - w)) of the relative rank w of the chosen trial out of
            sample: rank / (n_trials + 1), 1 the worst, ties share their mean rank.
        in_sample_annual: ``(n_splits,)`` float64, annual Sharpe ratio of the chosen trial where it was
            chosen.
        out_of_sample_annual: The same where it was not.
    """

    n_sessions: int
    n_trials: int
    n_blocks: int
    logits: NDArray[np.float64]
    in_sample_annual: NDArray[np.float64]
    out_of_sample_annual: NDArray[np.float64]

    @property
    def n_splits(self) -> int:
        """Number of splits."""
        return len(self.logits)

    @property
    def probability(self) -> float:
        """Probability of backtest overfitting: share of splits whose choice is no better than the median."""
        return float((self.logits <= 0.0).mean())

    @property
    def chance_probability(self) -> float:
        """What the probability is on average where no trial is better than another: the rank is uniform."""
        return (self.n_trials + 1) // 2 / self.n_trials

    @property
    def loss_probability(self) -> float:
        """Share of splits whose choice has a negative Sharpe ratio out of sample."""
        return float((self.out_of_sample_annual < 0.0).mean())

    @property
    def degradation_slope(self) -> float | None:
        """Slope of the chosen trial's Sharpe ratio out of sample on the one in sample.

        Below 0: the better the choice looked, the worse it did. None where all choices looked alike.
        """
        spread = self.in_sample_annual - self.in_sample_annual.mean()
        if np.ptp(self.in_sample_annual) <= CONSTANT_TOLERANCE * np.abs(self.in_sample_annual).max():
            return None
        return float(spread @ self.out_of_sample_annual / (spread @ spread))


def fitting_blocks(n_sessions: int) -> int:
    """Return the even number of blocks, 16 at most, that leaves each about a week of sessions or more.

    Raises:
        InputError: If there are fewer than 40 sessions: a half of fewer than 20 has no Sharpe ratio.
    """
    if n_sessions < LEAST_SESSIONS:
        raise InputError(
            f"not enough sessions: {n_sessions}, at least {LEAST_SESSIONS} needed",
            remedy="cross-validate on a longer range",
        )
    return min(MOST_BLOCKS, n_sessions // LEAST_BLOCK_SESSIONS // 2 * 2)


def overfitting_probability(
    returns: NDArray[np.float64], n_blocks: int | None = None, risk_free_per_session: float = 0.0
) -> Overfitting:
    """Cross-validate the choice of the best trial.

    Args:
        returns: ``(n_sessions, n_trials)`` float64, session returns of every trial on the same sessions,
            as fractions, in date order.
        n_blocks: Even number of blocks, 2 to 16; by default as many as fit. Blocks differ by one session
            where the sessions don't divide.
        risk_free_per_session: Risk-free return of one session, as a fraction.

    Raises:
        InputError: If there are fewer than 40 sessions or 2 trials, a return is not finite, the blocks are
            odd or too many, or a trial has no spread in some half, so that it has no Sharpe ratio there.
    """
    excess = np.asarray(returns, dtype=np.float64) - risk_free_per_session
    _check_matrix(excess)
    blocks = fitting_blocks(len(excess)) if n_blocks is None else n_blocks
    if blocks % 2 != 0 or not 2 <= blocks <= MOST_BLOCKS:
        raise InputError(f"{blocks} blocks: give an even number from 2 to {MOST_BLOCKS}")
    performance = _half_sharpes(excess, blocks)
    # the mirror image of the k-th combination is the k-th from the end
    mirrored = performance[::-1]
    row = np.arange(len(performance))
    chosen = performance.argmax(axis=1)
    earned = mirrored[row, chosen]
    below = (mirrored < earned[:, None]).sum(axis=1)
    equal = (mirrored == earned[:, None]).sum(axis=1)
    rank = (below + (equal + 1) / 2.0) / (excess.shape[1] + 1)
    annual = math.sqrt(SESSIONS_PER_YEAR)
    return Overfitting(
        n_sessions=len(excess),
        n_trials=excess.shape[1],
        n_blocks=blocks,
        logits=np.log(rank / (1.0 - rank)),
        in_sample_annual=performance[row, chosen] * annual,
        out_of_sample_annual=earned * annual,
    )


def _half_sharpes(excess: NDArray[np.float64], n_blocks: int) -> NDArray[np.float64]:
    """Return the per-session Sharpe ratio of every trial in every half of the blocks.

    A half's mean and variance follow from sums over its blocks; the trials are centred before, so that the
    sums of squares keep their digits.

    Args:
        excess: ``(n_sessions, n_trials)``, excess returns.
        n_blocks: Even number of blocks.

    Returns:
        ``(n_splits, n_trials)`` float64, splits in the order of ``itertools.combinations``.
    """
    means = excess.mean(axis=0)
    centred = excess - means
    bounds = np.array([part[0] for part in np.array_split(np.arange(len(excess)), n_blocks)])
    lengths = np.diff(np.append(bounds, len(excess)))
    sums = np.add.reduceat(centred, bounds, axis=0)
    squares = np.add.reduceat(centred**2, bounds, axis=0)
    members = np.array(list(combinations(range(n_blocks), n_blocks // 2)))
    picks = np.zeros((len(members), n_blocks))
    np.put_along_axis(picks, members, 1.0, axis=1)
    n = (picks @ lengths)[:, None]
    shift = picks @ sums / n
    variance = (picks @ squares - n * shift**2) / (n - 1.0)
    _check_spread(variance, squares.sum(axis=0) + len(excess) * means**2, len(excess))
    half: NDArray[np.float64] = (means + shift) / np.sqrt(variance)
    return half


def _check_matrix(excess: NDArray[np.float64]) -> None:
    if excess.ndim != 2 or excess.shape[1] < 2:
        raise InputError(
            f"returns of shape {excess.shape} hold no choice between trials",
            remedy="give one column for each of at least 2 trials",
        )
    bad = ~np.isfinite(excess)
    if bad.any():
        session, trial = np.argwhere(bad)[0]
        raise InputError(
            f"{int(bad.sum())} returns are not finite, the first in session {session} of trial {trial}"
        )
    fitting_blocks(len(excess))


def _check_spread(variance: NDArray[np.float64], total_squares: NDArray[np.float64], n_sessions: int) -> None:
    """Refuse trials whose variance in a half is nothing but rounding."""
    floor = CONSTANT_TOLERANCE * total_squares / n_sessions
    flat = (variance <= floor).any(axis=0)
    if flat.any():
        raise InputError(
            f"trial {int(flat.argmax())} has no spread in some half of the sessions: no Sharpe ratio there",
            remedy="leave out trials that do not trade, or give more sessions",
        )
