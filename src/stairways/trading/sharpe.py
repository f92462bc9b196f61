"""The Sharpe ratio, never without its error: estimate, standard error, probability of being real.

All three are of session returns, annualised by sqrt(252), and need ``MIN_SHARPE_SESSIONS`` sessions
and some spread: with fewer sessions, or with constant returns, each of them is None, which is printed
as "not enough sessions" or "no variance" and never passes for a number. NaN is refused. Errors assume
sessions without autocorrelation; a paired comparison makes no such assumption.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from stairways.errors import InputError
from stairways.market.sessions import SESSIONS_PER_YEAR

MIN_SHARPE_SESSIONS = 20
# Rounding alone leaves a relative spread of about 1e-16; below this returns count as constant.
CONSTANT_TOLERANCE = 1e-12


@dataclass(frozen=True)
class _Moments:
    """Per-session Sharpe ratio with the moments its error needs (population skewness and kurtosis)."""

    n_sessions: int
    sharpe: float
    skewness: float
    kurtosis: float

    @property
    def unit_variance(self) -> float:
        """Variance of the per-session Sharpe times n: 1 - g3·SR + (g4 - 1)/4·SR² (Mertens 2002)."""
        variance = 1.0 - self.skewness * self.sharpe + (self.kurtosis - 1.0) / 4.0 * self.sharpe**2
        return max(variance, 0.0)


def _moments(returns: NDArray[np.float64], risk_free_per_session: float) -> _Moments | None:
    excess = np.asarray(returns, dtype=np.float64) - risk_free_per_session
    if excess.ndim != 1 or not np.isfinite(excess).all():
        raise InputError(
            f"session returns of shape {excess.shape} hold {int((~np.isfinite(excess)).sum())} "
            "that are not finite",
            remedy="give one finite return for each session",
        )
    if len(excess) < MIN_SHARPE_SESSIONS or np.ptp(excess) <= CONSTANT_TOLERANCE * np.abs(excess).max():
        return None
    mean = float(excess.mean())
    centred = excess - mean
    variance = float((centred**2).mean())
    return _Moments(
        n_sessions=len(excess),
        sharpe=mean / float(excess.std(ddof=1)),
        skewness=float((centred**3).mean()) / variance**1.5,
        kurtosis=float((centred**4).mean()) / variance**2,
    )


def annual_sharpe(returns: NDArray[np.float64], risk_free_per_session: float = 0.0) -> float | None:
    """Return mean over sample standard deviation of excess session returns, times sqrt(252).

    Args:
        returns: ``(n_sessions,)`` float64, session returns as fractions.
        risk_free_per_session: Risk-free return of one session, as a fraction.

    Returns:
        The annual Sharpe ratio; None with fewer than 20 sessions or without spread.

    Raises:
        InputError: If a return is not finite.
    """
    moments = _moments(returns, risk_free_per_session)
    return None if moments is None else moments.sharpe * math.sqrt(SESSIONS_PER_YEAR)


def sharpe_standard_error(returns: NDArray[np.float64], risk_free_per_session: float = 0.0) -> float | None:
    """Return the standard error of the annual Sharpe ratio.

    Lo (2002) for independent returns, with the skewness g3 and kurtosis g4 of Mertens (2002):
    sqrt(252/n · (1 - g3·SR + (g4 - 1)/4·SR²)), SR per session.

    Args:
        returns: ``(n_sessions,)`` float64, session returns as fractions.
        risk_free_per_session: Risk-free return of one session, as a fraction.

    Returns:
        The standard error; None with fewer than 20 sessions or without spread.

    Raises:
        InputError: If a return is not finite.
    """
    moments = _moments(returns, risk_free_per_session)
    if moments is None:
        return None
    return math.sqrt(SESSIONS_PER_YEAR * moments.unit_variance / moments.n_sessions)


def probabilistic_sharpe(
    returns: NDArray[np.float64], benchmark_annual: float = 0.0, risk_free_per_session: float = 0.0
) -> float | None:
    """Return the probability that the true Sharpe ratio exceeds a bar.

    Bailey and Lopez de Prado (2012): Φ((SR - SR*)·sqrt(n - 1) / sqrt(1 - g3·SR + (g4 - 1)/4·SR²)) with
    SR and SR* per session; the annual bar is divided by sqrt(252) here. The paper's n - 1 is kept,
    where the standard error has n.

    Args:
        returns: ``(n_sessions,)`` float64, session returns as fractions.
        benchmark_annual: The bar, as an annual Sharpe ratio.
        risk_free_per_session: Risk-free return of one session, as a fraction.

    Returns:
        A probability; None with fewer than 20 sessions or without spread.

    Raises:
        InputError: If a return is not finite.
    """
    moments = _moments(returns, risk_free_per_session)
    if moments is None:
        return None
    distance = moments.sharpe - benchmark_annual / math.sqrt(SESSIONS_PER_YEAR)
    # The variance is zero only for a two-valued series with one exact Sharpe ratio.
    if moments.unit_variance == 0.0:
        return 0.5 + 0.5 * float(np.sign(distance))
    return NormalDist().cdf(distance * math.sqrt((moments.n_sessions - 1) / moments.unit_variance))
