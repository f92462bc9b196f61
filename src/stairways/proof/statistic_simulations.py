"""Statistics that promise a rate, drawn again and again where the truth is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stairways.evaluation.bootstrap import bootstrap_standard_error, optimal_block_length, resample
from stairways.evaluation.overfitting import overfitting_probability
from stairways.evaluation.track_record import TrackRecord, Trials
from stairways.market.sessions import SESSIONS_PER_YEAR
from stairways.proof.statistic_checks import library

Draw = Callable[[np.random.Generator, int], NDArray[np.float64]]
VOLATILITY_RATIO = 0.005
CONFIDENCE = 0.95
TRUE_SHARPE_ANNUAL = 1.0
GAMMA_SHAPE = 4.0
LAG_ONE = 0.15
# what lies further back weighs less than rounding
MEMORY_SESSIONS = 20
YEAR = math.sqrt(SESSIONS_PER_YEAR)


def normal(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    """Draw standard normal values, ``(n,)``."""
    return rng.standard_normal(n)


def skewed(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    """Draw from a gamma law turned round: mean 0, deviation 1, skewness -1, kurtosis 4.5, ``(n,)``."""
    return (GAMMA_SHAPE - rng.gamma(GAMMA_SHAPE, 1.0, n)) / math.sqrt(GAMMA_SHAPE)


def fat(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    """Draw t(4) values scaled to deviation 1, ``(n,)``."""
    return rng.standard_t(4, n) / math.sqrt(2.0)


def autocorrelated(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    """Draw t(4) values that follow each other with a correlation of 0.15, deviation 1, ``(n,)``."""
    shocks = fat(rng, n + MEMORY_SESSIONS) * math.sqrt(1.0 - LAG_ONE**2)
    weights = LAG_ONE ** np.arange(MEMORY_SESSIONS + 1)
    values: NDArray[np.float64] = np.convolve(shocks, weights, mode="valid")
    return values


LAWS: dict[str, Draw] = {"normal": normal, "skewed": skewed, "t4": fat, "autocorrelated": autocorrelated}


def sharpe_coverage(law: str, n_sessions: int, n_runs: int, seed: np.random.SeedSequence) -> dict[str, Any]:
    """Ask how often the probabilistic Sharpe ratio puts the truth outside its central 95 %.

    Asked about the true ratio itself, the probability must be uniform: 2.5 % of runs below 0.025 and as
    many above 0.975.
    """
    rng = np.random.default_rng(seed)
    tail = (1.0 - CONFIDENCE) / 2.0
    below = above = 0
    for _ in range(n_runs):
        returns = VOLATILITY_RATIO * (TRUE_SHARPE_ANNUAL / YEAR + LAWS[law](rng, n_sessions))
        record = TrackRecord.of(returns)
        if record is None:
            raise ValueError("returns that were drawn have a Sharpe ratio")
        found = record.probability_above(TRUE_SHARPE_ANNUAL)
        below += found < tail
        above += found > 1.0 - tail
    return {
        "law": law,
        "n_sessions": n_sessions,
        "n_runs": n_runs,
        "coverage_ratio": 1.0 - (below + above) / n_runs,
        "too_low_ratio": below / n_runs,
        "too_high_ratio": above / n_runs,
    }


def deflation_rate(
    n_trials: int, n_sessions: int, edge_annual: float, n_runs: int, seed: np.random.SeedSequence
) -> dict[str, Any]:
    """Choose the best of several trials of which none, or one, has skill, and ask who claims it with 95 %."""
    rng = np.random.default_rng(seed)
    deflated = undeflated = 0
    for _ in range(n_runs):
        returns = rng.standard_normal((n_sessions, n_trials))
        returns[:, 0] += edge_annual / YEAR
        sharpes = returns.mean(axis=0) / returns.std(axis=0, ddof=1) * YEAR
        best = TrackRecord.of(VOLATILITY_RATIO * returns[:, int(sharpes.argmax())])
        if best is None:
            raise ValueError("returns that were drawn have a Sharpe ratio")
        deflated += best.deflated(Trials.of(sharpes)) > CONFIDENCE
        undeflated += best.probability_above() > CONFIDENCE
    return {
        "n_trials": n_trials,
        "n_sessions": n_sessions,
        "edge_annual": edge_annual,
        "n_runs": n_runs,
        "deflated_ratio": deflated / n_runs,
        "undeflated_ratio": undeflated / n_runs,
        "noise_by_theory_ratio": 1.0 - CONFIDENCE**n_trials,
    }


def overfitting_rate(
    n_trials: int,
    n_sessions: int,
    edge_annual: float,
    n_blocks: int,
    n_runs: int,
    seed: np.random.SeedSequence,
) -> dict[str, Any]:
    """Cross-validate the choice among trials of which none, or one, is really better."""
    rng = np.random.default_rng(seed)
    shares, losses = [], []
    chance = math.nan
    for _ in range(n_runs):
        returns = fat(rng, n_sessions * n_trials).reshape(n_sessions, n_trials)
        returns[:, 0] += edge_annual / YEAR
        found = overfitting_probability(VOLATILITY_RATIO * returns, n_blocks)
        shares.append(found.probability)
        losses.append(found.loss_probability)
        chance = found.chance_probability
    return {
        "n_trials": n_trials,
        "n_sessions": n_sessions,
        "edge_annual": edge_annual,
        "n_blocks": n_blocks,
        "n_runs": n_runs,
        "probability": float(np.mean(shares)),
        "standard_error": float(np.std(shares, ddof=1) / math.sqrt(n_runs)),
        "loss_probability": float(np.mean(losses)),
        "chance_probability": chance,
    }


def interval_coverage(
    law: str, n_sessions: int, n_runs: int, n_resamples: int, seed: np.random.SeedSequence
) -> dict[str, Any]:
    """Ask how often the gate's paired interval covers a true mean difference of 0, or lies above it.

    Beside it stands the bootstrap-t interval alone, which the gate makes no narrower than Student's.
    """
    covered = claimed = plain_covered = plain_claimed = 0
    for run in seed.spawn(n_runs):
        drawing, resampling = run.spawn(2)
        differences = LAWS[law](np.random.default_rng(drawing), n_sessions)
        found = resample(differences, n_resamples, resampling)
        low, high = found.interval(CONFIDENCE)
        covered += low <= 0.0 <= high
        claimed += low > 0.0
        low, high = found.bootstrap_t(CONFIDENCE)
        plain_covered += low <= 0.0 <= high
        plain_claimed += low > 0.0
    return {
        "law": law,
        "n_sessions": n_sessions,
        "n_runs": n_runs,
        "n_resamples": n_resamples,
        "coverage_ratio": covered / n_runs,
        "claimed_ratio": claimed / n_runs,
        "bootstrap_t_coverage_ratio": plain_covered / n_runs,
        "bootstrap_t_claimed_ratio": plain_claimed / n_runs,
    }


def resampling_of_arch(n_series: int, n_resamples: int, seed: np.random.SeedSequence) -> dict[str, Any]:
    """Hold the closed form of the bootstrap's standard error against resamples that arch draws.

    The variance of n means is known to a relative sqrt(2 / n). The statistic is the mean over series of the
    logarithm of both variances' ratio, in units of its standard error.
    """
    bootstrap = library("arch.bootstrap")
    logs, equal = [], 0
    for run in seed.spawn(n_series):
        drawing, resampling = run.spawn(2)
        rng = np.random.default_rng(drawing)
        n = int(rng.integers(60, 400))
        series, length = autocorrelated(rng, n), int(rng.integers(2, 12))
        drawn = bootstrap.StationaryBootstrap(length, series, seed=np.random.default_rng(resampling))
        means = drawn.apply(np.mean, n_resamples).ravel()
        ours = bootstrap_standard_error(series, float(length)) ** 2
        # ours allows for the mean that was estimated; resamples alone do not
        logs.append(math.log(means.var(ddof=1) * n / (n - 1) / ours))
        theirs = float(bootstrap.optimal_block_length(series)["stationary"].iloc[0])
        equal += math.isclose(optimal_block_length(series), max(1.0, theirs), rel_tol=1e-6)
    error = math.sqrt(2.0 / n_resamples / n_series)
    return {
        "n_series": n_series,
        "n_resamples": n_resamples,
        "mean_log_ratio": float(np.mean(logs)),
        "standard_error": error,
        "in_standard_errors": float(np.mean(logs)) / error,
        "equal_block_length_ratio": equal / n_series,
        "version": str(library("arch").__version__),
    }
