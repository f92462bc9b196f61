"""Power of the skill verdicts: how many sessions the gate needs to accept a difference that is really there.

A policy of equal volatility whose annual Sharpe ratio is higher by D, and whose session returns correlate
with the reference's by r, has paired differences with an annual Sharpe ratio of D / sqrt(2(1 - r)). Power
depends on that ratio and on the number of sessions alone. The formulas take the mean difference for normal
with a known spread; ``power_simulation`` asks the gate's own judges, on returns with fat tails.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from stairways.errors import InputError
from stairways.market.sessions import SESSIONS_PER_YEAR

POWER = 0.80
DIFFERENCES_ANNUAL = (0.5, 1.0, 2.0)
CORRELATIONS = (0.5, 0.8, 0.9, 0.95, 0.99)
DEGREES_OF_FREEDOM = 4.0
VOLATILITY_RATIO = 0.005
MOST_SESSIONS = 1_000_000


@dataclass(frozen=True)
class PairedPower:
    """The formula of one paired verdict: a two-sided interval above zero.

    Attributes:
        correlation: Of the session returns of the two policies, above -1 and below 1; 0.5 stands for a
            comparison with cash.
        confidence: Of the two-sided interval.

    Raises:
        InputError: If one of them is out of bounds.
    """

    correlation: float
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if not (-1.0 < self.correlation < 1.0 and 0.0 < self.confidence < 1.0):
            raise InputError(
                f"correlation {self.correlation} and confidence {self.confidence} must lie within -1 to 1 "
                "and 0 to 1, ends excluded"
            )

    @property
    def _threshold(self) -> float:
        return NormalDist().inv_cdf(0.5 + self.confidence / 2.0)

    def _per_session(self, difference_annual: float) -> float:
        """Return mean over standard deviation of one session's paired difference."""
        return difference_annual / math.sqrt(2.0 * (1.0 - self.correlation) * SESSIONS_PER_YEAR)

    def sessions_needed(self, difference_annual: float, power: float = POWER) -> int:
        """Return the sessions that show a true difference with some power.

        n = (z₁₋ₐ + z_power)² · 2(1 - r) · 252 / D², rounded up.

        Args:
            difference_annual: True difference D of the annual Sharpe ratios, above 0.
            power: Probability of acceptance asked for.

        Raises:
            InputError: If the difference is not above 0, or the power not between 0 and 1.
        """
        if not (difference_annual > 0.0 and 0.0 < power < 1.0):
            raise InputError(
                f"difference {difference_annual} and power {power}: needed are a difference above 0 and a "
                "power between 0 and 1"
            )
        reach = max(0.0, self._threshold + NormalDist().inv_cdf(power))
        return max(1, math.ceil((reach / self._per_session(difference_annual)) ** 2))

    def power(self, n_sessions: int, difference_annual: float) -> float:
        """Return the probability that the verdict passes: Φ(sqrt(n)·D/sqrt(2(1 - r)·252) - z₁₋ₐ)."""
        shift = math.sqrt(n_sessions) * self._per_session(difference_annual)
        return NormalDist().cdf(shift - self._threshold)

    def least_detectable_annual(self, n_sessions: int, power: float = POWER) -> float:
        """Return the true difference of annual Sharpe ratios that is shown with some power."""
        reach = self._threshold + NormalDist().inv_cdf(power)
        return reach * math.sqrt(2.0 * (1.0 - self.correlation) * SESSIONS_PER_YEAR / n_sessions)


@dataclass(frozen=True)
class TrueSkill:
    """How good candidate, gold and random really are, and how their session returns go together.

    Holding always earns nothing.

    Attributes:
        candidate_annual: True annual Sharpe ratio of the candidate; ``gold_annual`` and ``random_annual``
            likewise.
        gold_correlation: Of candidate and gold.
        random_correlation: Of candidate and random.
        gold_random_correlation: Of gold and random.
        gold_volatility_ratio: Volatility of gold over that of the candidate.
        random_volatility_ratio: The same of random.

    Raises:
        InputError: If no returns correlate like that, or a volatility is not above 0.
    """

    candidate_annual: float
    gold_annual: float
    random_annual: float
    gold_correlation: float
    random_correlation: float
    gold_random_correlation: float = 0.0
    gold_volatility_ratio: float = 1.0
    random_volatility_ratio: float = 1.0

    def __post_init__(self) -> None:
        if not min(self.gold_volatility_ratio, self.random_volatility_ratio) > 0.0:
            raise InputError(
                f"volatilities {self.gold_volatility_ratio} and {self.random_volatility_ratio} of the "
                "candidate's must be above 0"
            )
        if not np.linalg.eigvalsh(self._correlations()).min() > 0.0:
            raise InputError(
                f"correlations {self.gold_correlation}, {self.random_correlation} and "
                f"{self.gold_random_correlation} of three policies contradict each other"
            )

    @property
    def _volatilities(self) -> NDArray[np.float64]:
        return np.array([1.0, self.gold_volatility_ratio, self.random_volatility_ratio])

    @property
    def _means(self) -> NDArray[np.float64]:
        """Mean session returns over the candidate's volatility, ``(3,)``."""
        sharpes = np.array([self.candidate_annual, self.gold_annual, self.random_annual])
        means: NDArray[np.float64] = sharpes * self._volatilities / math.sqrt(SESSIONS_PER_YEAR)
        return means

    def _correlations(self) -> NDArray[np.float64]:
        gold, random, both = self.gold_correlation, self.random_correlation, self.gold_random_correlation
        return np.array([[1.0, gold, random], [gold, 1.0, both], [random, both, 1.0]])

    def draw(
        self, n_sessions: int, rng: np.random.Generator, degrees_of_freedom: float = DEGREES_OF_FREEDOM
    ) -> NDArray[np.float64]:
        """Draw session returns: independent sessions, a multivariate t in each.

        Args:
            n_sessions: Sessions to draw.
            rng: Source of randomness.
            degrees_of_freedom: Of the t law, above 2; the wild sessions of all policies are the same ones.

        Returns:
            ``(n_sessions, 3)`` float64, returns of candidate, gold and random as fractions.
        """
        normal = rng.standard_normal((n_sessions, 3)) @ np.linalg.cholesky(self._correlations()).T
        scale = np.sqrt((degrees_of_freedom - 2.0) / rng.chisquare(degrees_of_freedom, n_sessions))
        drawn: NDArray[np.float64] = self._means + scale[:, None] * normal * self._volatilities
        return VOLATILITY_RATIO * drawn

    def power(self, n_sessions: int, confidence: float = 0.95) -> float:
        """Return the probability that all three skill verdicts pass, by the trivariate normal law.

        The mean differences against gold, random and holding have the covariance A C A' / n, A the
        contrasts and C the covariance of the three policies' session returns.
        """
        from scipy.stats import multivariate_normal

        contrasts = np.array([[1.0, -1.0, 0.0], [1.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
        spread = np.outer(self._volatilities, self._volatilities)
        covariance = contrasts @ (self._correlations() * spread) @ contrasts.T
        deviations = np.sqrt(np.diag(covariance))
        shift = contrasts @ self._means / deviations * math.sqrt(n_sessions)
        threshold = NormalDist().inv_cdf(0.5 + confidence / 2.0)
        law = multivariate_normal(cov=covariance / np.outer(deviations, deviations), seed=0)
        return float(law.cdf(shift - threshold))

    def sessions_needed(self, power: float = POWER, confidence: float = 0.95) -> int | None:
        """Return the sessions at which all three verdicts pass together with some power, by the formula.

        Returns:
            The least such number; None where a million sessions would not do.
        """
        if self.power(MOST_SESSIONS, confidence) < power:
            return None
        low, high = 1, MOST_SESSIONS
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self.power(middle, confidence) >= power else (middle + 1, high)
        return low
