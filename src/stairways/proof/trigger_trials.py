"""Sequential trigger and Sharpe rule on returns whose truth is known: false alarms, and how soon they see.

After each alarm either rule starts afresh, as with the model that follows. Accounts run side by side; time is
the first axis of every array.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stairways.evaluation.sequential import capped_excess, grow, mixed
from stairways.evaluation.trigger_config import SequentialConfig, TriggerConfig
from stairways.market.sessions import SESSIONS_PER_YEAR
from stairways.proof.binomial import clopper_pearson

Draw = Callable[[np.random.Generator, tuple[int, int]], NDArray[np.float64]]
YEAR = math.sqrt(SESSIONS_PER_YEAR)
GAMMA_SHAPE = 4.0
LAG_ONE = 0.1
SHOCK, PERSISTENCE = 0.1, 0.88
"""GARCH(1, 1): weight of the last squared return and of the last variance."""
WARM_UP = 100
CHUNK = 2_000
GOOD_SHARPE = 2.0
"""True annual Sharpe ratio of the sessions before a change."""


def normal(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Draw standard normal values."""
    return rng.standard_normal(shape)


def fat(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Draw t(3) values scaled to deviation 1; they have no third moment."""
    return rng.standard_t(3, shape) / math.sqrt(3.0)


def rare_losses(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Draw from a gamma law turned round: deviation 1, skewness -1."""
    return (GAMMA_SHAPE - rng.gamma(GAMMA_SHAPE, 1.0, shape)) / math.sqrt(GAMMA_SHAPE)


def rare_gains(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Draw from a gamma law: deviation 1, skewness 1."""
    return -rare_losses(rng, shape)


def clustered(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Draw from a GARCH(1, 1) with normal shocks, deviation 1 over all (Bollerslev 1986)."""
    values = rng.standard_normal((shape[0] + WARM_UP, shape[1]))
    variance = np.ones(shape[1])
    for t in range(len(values)):
        values[t] *= np.sqrt(variance)
        variance = (1.0 - SHOCK - PERSISTENCE) + SHOCK * values[t] ** 2 + PERSISTENCE * variance
    return values[WARM_UP:]


def autocorrelated(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Draw normal values that follow each other with a correlation of 0.1, deviation 1."""
    values = rng.standard_normal(shape)
    values[1:] *= math.sqrt(1.0 - LAG_ONE**2)
    for t in range(1, len(values)):
        values[t] += LAG_ONE * values[t - 1]
    return values


LAWS: Mapping[str, Draw] = MappingProxyType(
    {
        "normal": normal,
        "t3": fat,
        "rare_losses": rare_losses,
        "rare_gains": rare_gains,
        "clustered": clustered,
        "autocorrelated": autocorrelated,
    }
)
PROMISED = tuple(name for name in LAWS if name != "autocorrelated")
"""Laws whose conditional mean is their mean: the guarantee speaks of them."""


def sequential_alarms(returns_ratio: NDArray[np.float64], config: SequentialConfig) -> NDArray[np.bool_]:
    """Return the sessions in which the sequential test alarms, starting afresh after each.

    Args:
        returns_ratio: ``(n_sessions, n_accounts)`` float64.
        config: The test.

    Returns:
        ``(n_sessions, n_accounts)`` bool.
    """
    alarms = np.zeros(returns_ratio.shape, dtype=bool)
    evidence = np.zeros((returns_ratio.shape[1], len(config.designed_sharpes)))
    variance = np.full(returns_ratio.shape[1], config.volatility_ratio**2)
    for row, found in zip(capped_excess(returns_ratio, config), alarms, strict=True):
        evidence, variance = grow(evidence, variance, row, config)
        found[:] = mixed(evidence) >= config.threshold
        evidence[found], variance[found] = 0.0, config.volatility_ratio**2
    return alarms


def sharpe_alarms(returns_ratio: NDArray[np.float64], config: TriggerConfig) -> NDArray[np.bool_]:
    """Return the same of the rolling Sharpe rule; its window starts afresh too."""
    window, n_sessions = config.sharpe_window_sessions, len(returns_ratio)
    alarms = np.zeros(returns_ratio.shape, dtype=bool)
    run = np.zeros(returns_ratio.shape[1], dtype=np.int64)
    first_close = np.full(returns_ratio.shape[1], window - 1)
    for t in range(window - 1, n_sessions):
        part = returns_ratio[t - window + 1 : t + 1]
        low = part.mean(axis=0) * YEAR < config.sharpe_bar_annual * part.std(axis=0, ddof=1)
        run = np.where(low & (t >= first_close), run + 1, 0)
        alarms[t] = run >= config.sharpe_run_sessions
        run[alarms[t]], first_close[alarms[t]] = 0, t + window
    return alarms


RULES: Mapping[str, Callable[[NDArray[np.float64], TriggerConfig], NDArray[np.bool_]]] = MappingProxyType(
    {
        "sequential": lambda returns, config: sequential_alarms(returns, config.net_return),
        "sharpe": sharpe_alarms,
    }
)


@dataclass(frozen=True)
class Accounts:
    """How many accounts of what kind are drawn.

    Attributes:
        law: Name of the law of session returns.
        volatility_ratio: Standard deviation of session returns.
        n_runs: Accounts.
        n_sessions: Sessions of each.
    """

    law: str
    volatility_ratio: float
    n_runs: int
    n_sessions: int

    def draw(self, rng: np.random.Generator, sharpe: NDArray[np.float64], n_runs: int) -> NDArray[np.float64]:
        """Return ``(n_sessions, n_runs)`` returns of true annual Sharpe ratios ``(n_sessions,)``."""
        values = LAWS[self.law](rng, (self.n_sessions, n_runs))
        returns: NDArray[np.float64] = self.volatility_ratio * (values + sharpe[:, None] / YEAR)
        return returns

    def alarms(
        self, rule: str, sharpe: NDArray[np.float64], config: TriggerConfig, seed: np.random.SeedSequence
    ) -> NDArray[np.bool_]:
        """Return the alarms of a rule on all accounts, ``(n_sessions, n_runs)`` bool."""
        sizes = [min(CHUNK, self.n_runs - first) for first in range(0, self.n_runs, CHUNK)]
        parts = [
            RULES[rule](self.draw(np.random.default_rng(part), sharpe, size), config)
            for part, size in zip(seed.spawn(len(sizes)), sizes, strict=True)
        ]
        return np.concatenate(parts, axis=1)


def false_alarms(
    accounts: Accounts, rule: str, sharpe: float, config: TriggerConfig, seed: np.random.SeedSequence
) -> dict[str, Any]:
    """Count alarms where nothing changes.

    Args:
        accounts: What is drawn; at least a year.
        rule: ``sequential`` or ``sharpe``.
        sharpe: True annual Sharpe ratio throughout.
        config: Both rules.
        seed: Seed of the accounts; equal for both rules gives equal accounts.

    Returns:
        Alarms per year with their 95 % interval, and the share of accounts with any in their first year with
        its exact one.
    """
    alarms = accounts.alarms(rule, np.full(accounts.n_sessions, sharpe), config, seed)
    years = accounts.n_sessions / SESSIONS_PER_YEAR
    counts = alarms.sum(axis=0) / years
    error = float(counts.std(ddof=1) / math.sqrt(accounts.n_runs))
    any_first = int(alarms[:SESSIONS_PER_YEAR].any(axis=0).sum())
    low, high = clopper_pearson(any_first, accounts.n_runs)
    mean = float(counts.mean())
    return {
        "per_year": mean,
        "per_year_error": error,
        "per_year_low": max(mean - 1.96 * error, 0.0),
        "per_year_high": mean + 1.96 * error,
        "first_year_ratio": any_first / accounts.n_runs,
        "first_year_low": low,
        "first_year_high": high,
    }


def delays(
    accounts: Accounts,
    rule: str,
    good: int,
    sharpe: float,
    config: TriggerConfig,
    seed: np.random.SeedSequence,
) -> dict[str, Any]:
    """Measure how long a rule takes to alarm after a change for the worse.

    An alarm before the change is a false one; the rule then starts afresh and goes on.

    Args:
        accounts: What is drawn, the good sessions included.
        rule: ``sequential`` or ``sharpe``.
        good: Sessions of a true annual Sharpe ratio of 2 before the change.
        sharpe: True annual Sharpe ratio from then on.
        config: Both rules.
        seed: Seed of the accounts.

    Returns:
        Mean, median and 90 % quantile of the sessions from the change to the alarm; None where they lie
        beyond the sessions drawn.
    """
    truth = np.where(np.arange(accounts.n_sessions) < good, GOOD_SHARPE, sharpe)
    after = accounts.alarms(rule, truth, config, seed)[good:]
    waited = np.where(after.any(axis=0), after.argmax(axis=0) + 1.0, math.inf)
    # an order statistic, so that no figure lies between a session and for ever
    median, most = np.quantile(waited, (0.5, 0.9), method="inverted_cdf").tolist()
    mean = float(waited.mean())
    return {
        "mean_sessions": mean if math.isfinite(mean) else None,
        "median_sessions": int(median) if math.isfinite(median) else None,
        "most_sessions": int(most) if math.isfinite(most) else None,
        "horizon_sessions": len(after),
    }


def least_mean_delay(threshold: float, sharpe: float) -> float:
    """Return the mean sessions to an alarm of the best rule there is, for one who knows what it looks for.

    A Brownian motion's drift changes from 0 to that of an annual Sharpe ratio S, both and its spread known.
    With k = 2·252 / S², the cumulative sum of log likelihood ratios that alarms at h runs k·(exp(h) - h - 1)
    sessions to a false alarm and k·(exp(-h) + h - 1) to a right one in the worst case; no rule with as many
    sessions to a false alarm has a shorter worst case (Shiryaev 1996; Moustakides 1986 in discrete time).

    Args:
        threshold: Mean sessions to a false alarm.
        sharpe: Annual Sharpe ratio after the change, not 0.
    """
    from scipy.optimize import brentq

    scale = 2.0 * SESSIONS_PER_YEAR / sharpe**2
    wanted = threshold / scale
    # below exp(h) - h - 1 lies h²/2, so the root lies below sqrt(2·wanted)
    h = float(brentq(lambda h: math.expm1(h) - h - wanted, 0.0, math.sqrt(2.0 * wanted)))  # type: ignore[no-untyped-call]
    return scale * (math.expm1(-h) + h)
