"""Track record: what a Sharpe ratio is worth after a choice among trials, and how long it must last.

A Sharpe ratio in a name that ends in ``_annual`` is per session times sqrt(252); one that ends in
``_per_session`` is not annualised. Variances of ``_annual`` ratios are in squared annual units, 252 times
those per session. Nothing here takes a bare "sharpe".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Self

import numpy as np
from numpy.typing import NDArray

from stairways.errors import InputError
from stairways.market.sessions import SESSIONS_PER_YEAR
from stairways.trading.sharpe import annual_sharpe, sharpe_standard_error

LEAST_TRIALS = 2


@dataclass(frozen=True)
class Trials:
    """What luck could choose from: how many trials there were, and how far their results scattered.

    Attributes:
        n_trials: Independent trials, at least 2. Trials that resemble each other count for fewer, so the
            plain count is the cautious choice.
        variance_annual: Variance of their annual Sharpe ratios.

    Raises:
        InputError: If there are fewer than 2 trials, or the variance is negative or not finite.
    """

    n_trials: int
    variance_annual: float

    def __post_init__(self) -> None:
        if self.n_trials < LEAST_TRIALS:
            raise InputError(
                f"{self.n_trials} trial leaves nothing to choose, at least {LEAST_TRIALS} are needed",
                remedy="a single trial needs no deflation: take the probabilistic Sharpe ratio",
            )
        if not (math.isfinite(self.variance_annual) and self.variance_annual >= 0.0):
            raise InputError(f"a variance of {self.variance_annual} of the trials' Sharpe ratios is none")

    @classmethod
    def of(cls, sharpes_annual: NDArray[np.float64], n_trials: int | None = None) -> Self:
        """Return the trials behind some Sharpe ratios.

        Args:
            sharpes_annual: ``(n_measured,)`` annual Sharpe ratios of trials, finite, at least 2.
            n_trials: How many trials there were in all, where some of them had no Sharpe ratio; by
                default those that are given.

        Raises:
            InputError: If fewer than 2 are given, one is not finite, or more are given than there were.
        """
        values = np.asarray(sharpes_annual, dtype=np.float64)
        count = len(values) if n_trials is None else n_trials
        if len(values) < LEAST_TRIALS or not np.isfinite(values).all():
            raise InputError(
                f"{int(np.isfinite(values).sum())} finite Sharpe ratios of trials, at least {LEAST_TRIALS} "
                "and no other are needed for their variance"
            )
        if count < len(values):
            raise InputError(f"{len(values)} Sharpe ratios of {count} trials")
        return cls(count, float(values.var(ddof=1)))

    @property
    def expected_max_annual(self) -> float:
        """Largest annual Sharpe ratio to expect of trials without any skill.

        Bailey and Lopez de Prado (2014): sqrt(V)·((1 - c)·Z(1 - 1/N) + c·Z(1 - 1/(N·e))), c the
        Euler-Mascheroni constant, Z the normal quantile. An approximation for many trials: against the
        exact expectation -8 % at 2 trials, +3 % at 5, +1 % at 100.
        """
        quantile = NormalDist().inv_cdf
        near, far = quantile(1.0 - 1.0 / self.n_trials), quantile(1.0 - 1.0 / (self.n_trials * math.e))
        gamma = float(np.euler_gamma)
        return math.sqrt(self.variance_annual) * ((1.0 - gamma) * near + gamma * far)


@dataclass(frozen=True)
class TrackRecord:
    """A Sharpe ratio with what its error rests on.

    Attributes:
        n_sessions: Length; not whole where a published example has it so.
        sharpe_annual: Annual Sharpe ratio.
        unit_variance: Variance of the per-session Sharpe ratio times n: 1 - g3·SR + (g4 - 1)/4·SR², g3
            the skewness and g4 the kurtosis of session returns (3 for a normal law), SR per session.
    """

    n_sessions: float
    sharpe_annual: float
    unit_variance: float

    @classmethod
    def of(cls, returns: NDArray[np.float64], risk_free_per_session: float = 0.0) -> Self | None:
        """Return the track record of session returns.

        Args:
            returns: ``(n_sessions,)`` float64, session returns as fractions.
            risk_free_per_session: Risk-free return of one session, as a fraction.

        Returns:
            The record; None with fewer than 20 sessions or without spread.

        Raises:
            InputError: If a return is not finite.
        """
        sharpe = annual_sharpe(returns, risk_free_per_session)
        error = sharpe_standard_error(returns, risk_free_per_session)
        if sharpe is None or error is None:
            return None
        return cls(len(returns), sharpe, error**2 * len(returns) / SESSIONS_PER_YEAR)

    @classmethod
    def from_moments(
        cls, *, n_sessions: float, sharpe_per_session: float, skewness: float = 0.0, kurtosis: float = 3.0
    ) -> Self:
        """Return the track record of given moments.

        Args:
            n_sessions: Length, in the period that the ratio is per.
            sharpe_per_session: Sharpe ratio per session, not annualised.
            skewness: Of the returns.
            kurtosis: Of the returns, 3 for a normal law.

        Raises:
            InputError: If no distribution has such moments, or the length is not above 1.
        """
        if not (n_sessions > 1.0 and kurtosis >= skewness**2 + 1.0):
            raise InputError(
                f"{n_sessions:g} sessions with skewness {skewness:g} and kurtosis {kurtosis:g}: needed are "
                "more than 1 session and a kurtosis of at least skewness² + 1"
            )
        variance = 1.0 - skewness * sharpe_per_session + (kurtosis - 1.0) / 4.0 * sharpe_per_session**2
        return cls(n_sessions, sharpe_per_session * math.sqrt(SESSIONS_PER_YEAR), max(variance, 0.0))

    def probability_above(self, benchmark_annual: float = 0.0) -> float:
        """Return the probability that the true annual Sharpe ratio exceeds a bar.

        The probabilistic Sharpe ratio (Bailey and Lopez de Prado 2012), as
        :func:`stairways.trading.sharpe.probabilistic_sharpe` has it for returns.
        """
        distance = (self.sharpe_annual - benchmark_annual) / math.sqrt(SESSIONS_PER_YEAR)
        if self.unit_variance == 0.0:
            return 0.5 + 0.5 * float(np.sign(distance))
        return NormalDist().cdf(distance * math.sqrt((self.n_sessions - 1.0) / self.unit_variance))

    def deflated(self, trials: Trials) -> float:
        """Return the deflated Sharpe ratio: the probability to exceed what luck alone would have found.

        Bailey and Lopez de Prado (2014): the probabilistic Sharpe ratio against the largest one to expect
        of as many trials without skill. It speaks of the very sessions that the choice was made on.
        """
        return self.probability_above(trials.expected_max_annual)

    def least_sessions(self, benchmark_annual: float = 0.0, confidence: float = 0.95) -> float | None:
        """Return the minimum track-record length, in sessions.

        Bailey and Lopez de Prado (2012): 1 + (1 - g3·SR + (g4 - 1)/4·SR²)·(Z(confidence)/(SR - SR*))²,
        all per session: from so many sessions on, with these moments, the probabilistic Sharpe ratio
        reaches the confidence.

        Args:
            benchmark_annual: The bar SR*, as an annual Sharpe ratio.
            confidence: One-sided, above 0.5 and below 1.

        Returns:
            Sessions, not rounded; None where the ratio does not exceed the bar, since no length helps.

        Raises:
            InputError: If the confidence is out of bounds.
        """
        if not 0.5 < confidence < 1.0:
            raise InputError(f"confidence {confidence} is not above 0.5 and below 1")
        distance = (self.sharpe_annual - benchmark_annual) / math.sqrt(SESSIONS_PER_YEAR)
        if distance <= 0.0:
            return None
        return 1.0 + self.unit_variance * (NormalDist().inv_cdf(confidence) / distance) ** 2


def deflated_sharpe(
    returns: NDArray[np.float64], trials: Trials, risk_free_per_session: float = 0.0
) -> float | None:
    """Return the deflated Sharpe ratio of the trial that was chosen.

    Args:
        returns: ``(n_sessions,)`` float64, its session returns as fractions, on the sessions that the
            choice was made on.
        trials: What it was chosen from.
        risk_free_per_session: Risk-free return of one session, as a fraction; the trials' ratios must be
            over the same.

    Returns:
        A probability; None with fewer than 20 sessions or without spread.

    Raises:
        InputError: If a return is not finite.
    """
    record = TrackRecord.of(returns, risk_free_per_session)
    return None if record is None else record.deflated(trials)


def least_track_record_sessions(
    returns: NDArray[np.float64],
    *,
    benchmark_annual: float = 0.0,
    confidence: float = 0.95,
    risk_free_per_session: float = 0.0,
) -> float | None:
    """Return the minimum track-record length of session returns, in sessions.

    Args:
        returns: ``(n_sessions,)`` float64, session returns as fractions.
        benchmark_annual: The bar, as an annual Sharpe ratio.
        confidence: One-sided, above 0.5 and below 1.
        risk_free_per_session: Risk-free return of one session, as a fraction.

    Returns:
        Sessions, not rounded; None with fewer than 20 sessions, without spread, or where the ratio does
        not exceed the bar.

    Raises:
        InputError: If a return is not finite, or the confidence is out of bounds.
    """
    record = TrackRecord.of(returns, risk_free_per_session)
    return None if record is None else record.least_sessions(benchmark_annual, confidence)
