"""How likely a policy is to pass the shadow replay, so that nobody takes passing for proof.

Normal approximations throughout: session returns are independent and normal, NAV within a session is a
Brownian motion without drift (a session's drift is a few hundredths of its spread), and the mean of the
trades is normal. Real sessions have fatter tails, so drawdown limits are passed a little less often.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from stairways.errors import InputError
from stairways.evaluation.gate_config import GateConfig
from stairways.market.sessions import SESSIONS_PER_YEAR

SKILLED_SHARPE = 0.7


@dataclass(frozen=True)
class SessionModel:
    """A policy as the approximation knows it.

    Attributes:
        volatility_ratio: Standard deviation of its session returns.
        trades_mean: Mean trades per session.
        trades_deviation: Standard deviation of the trades of one session.
    """

    volatility_ratio: float = 0.005
    trades_mean: float = 16.5
    trades_deviation: float = 6.0

    def __post_init__(self) -> None:
        if not (self.volatility_ratio > 0 and self.trades_deviation > 0):
            raise InputError(
                f"volatility {self.volatility_ratio} and deviation of trades {self.trades_deviation} "
                "must both be above 0"
            )


@dataclass(frozen=True)
class ShadowPower:
    """Probability of passing the shadow replay, with no skill and with a known Sharpe ratio.

    Attributes:
        no_skill: Pass probability at a true Sharpe ratio of 0.
        skilled: Pass probability at ``skilled_sharpe``.
        skilled_sharpe: A true annual Sharpe ratio.
    """

    no_skill: float
    skilled: float
    skilled_sharpe: float

    @property
    def text(self) -> str:
        """The probabilities as one line for a person."""
        return (
            f"a policy without skill passes with probability {self.no_skill:.2f}, "
            f"one with a true Sharpe ratio of {self.skilled_sharpe:g} with {self.skilled:.2f}"
        )


def session_gain_probability(annual_sharpe: float) -> float:
    """Return the probability that one session ends at or above zero, Φ(Sharpe / sqrt(252))."""
    return NormalDist().cdf(annual_sharpe / math.sqrt(SESSIONS_PER_YEAR))


def every_session_gains_probability(annual_sharpe: float, n_sessions: int = 3) -> float:
    """Return the probability that each of some sessions ends at or above zero.

    Three sessions: 0.125 without skill, 0.139 at a true Sharpe ratio of 0.7.
    """
    return session_gain_probability(annual_sharpe) ** n_sessions


def drawdown_within_probability(limit_ratio: float, volatility_ratio: float) -> float:
    """Return the probability that the drawdown of one session stays within a limit.

    The drawdown of a Brownian motion has the law of abs(B) (Lévy), so its maximum is that of abs(B): with
    z = volatility / limit, (4/π) Σ_j (-1)^j / (2j + 1) · exp(-(2j + 1)²·π²·z² / 8) (Feller 1971, X.5).

    Args:
        limit_ratio: Largest drawdown allowed.
        volatility_ratio: Standard deviation of session returns.
    """
    relative = volatility_ratio / limit_ratio
    # Past an exponent of -40 a term adds nothing to a double.
    n_terms = math.ceil(math.sqrt(40.0 * 8.0) / (math.pi * relative) / 2.0) + 1
    terms = (
        (-1) ** j / (2 * j + 1) * math.exp(-((2 * j + 1) ** 2) * math.pi**2 * relative**2 / 8.0)
        for j in range(n_terms)
    )
    return min(max(4.0 / math.pi * math.fsum(terms), 0.0), 1.0)


def _mean_in_band(band: tuple[int, int], n_sessions: int, model: SessionModel) -> float:
    """Return the probability that the mean trades of some sessions lie in a band.

    The sum of the trades is a whole number, hence the half step at each end.
    """
    spread = NormalDist(model.trades_mean * n_sessions, model.trades_deviation * math.sqrt(n_sessions))
    return spread.cdf(band[1] * n_sessions + 0.5) - spread.cdf(band[0] * n_sessions - 0.5)


def pass_probability(annual_sharpe: float, config: GateConfig, model: SessionModel) -> float:
    """Return the probability that a policy passes the configured shadow rule.

    Args:
        annual_sharpe: Its true Sharpe ratio; the default rule does not ask for money, so there it is
            without effect.
        config: The rule.
        model: Volatility and trades of the policy.
    """
    n = config.shadow_sessions
    drawdown = drawdown_within_probability(config.max_drawdown_ratio, model.volatility_ratio)
    if config.shadow_rule == "default":
        return drawdown**n * _mean_in_band(config.shadow_trades_band, n, model)
    least = config.shadow_min_return_ratio / model.volatility_ratio
    gain = NormalDist().cdf(annual_sharpe / math.sqrt(SESSIONS_PER_YEAR) - least)
    # Gain and drawdown of one session go together, so the smaller of the two binds: an upper bound.
    return (min(gain, drawdown) * _mean_in_band(config.shadow_trades_band, 1, model)) ** n


def shadow_power(
    config: GateConfig, model: SessionModel | None = None, skilled_sharpe: float = SKILLED_SHARPE
) -> ShadowPower:
    """Return the pass probabilities that are printed beside the shadow rule."""
    known = SessionModel() if model is None else model
    return ShadowPower(
        no_skill=pass_probability(0.0, config, known),
        skilled=pass_probability(skilled_sharpe, config, known),
        skilled_sharpe=skilled_sharpe,
    )
