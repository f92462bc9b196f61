"""The regime detector: bar by bar, and over a whole history."""

from __future__ import annotations

import math
from collections import deque
from fractions import Fraction

import numpy as np
import pandas as pd
import polars as pl
from numpy.typing import NDArray

from benchmarks.harness import Bar, Row, Work, rates, ratio_row, value_row
from benchmarks.workloads import dataset
from stairways.market.regime import DEFAULT_REGIME, RegimeDetector
from stairways.market.regime_history import regime_history

WINDOW = 11_700
SESSION_BARS = 390
SESSIONS = 60
ROUNDS = 5
YEARS, LEVEL = 10, 1e5


def inputs(n_sessions: int) -> NDArray[np.float64]:
    """Return momentum, volatility and divergence of bars, ``(n_sessions, 390, 3)``."""
    return np.random.default_rng(0).normal(size=(n_sessions, SESSION_BARS, 3))


def detector(values: NDArray[np.float64]) -> Work:
    """Return the project's detector over some sessions, its once-a-session merge included."""
    warmed = RegimeDetector(DEFAULT_REGIME, 2)
    for session in inputs(DEFAULT_REGIME.warm_up_sessions):
        warmed.start_session()
        for bar in session.tolist():
            warmed.observe(*bar)
        warmed.end_session()
    listed = values.tolist()

    def work() -> float:
        for session in listed:
            warmed.start_session()
            for momentum, volatility, divergence in session:
                warmed.observe(momentum, volatility, divergence)
            warmed.end_session()
        return float(len(listed) * SESSION_BARS)

    return work


def windowed_deques(values: NDArray[np.float64]) -> Work:
    """Return the usual way: a deque per input, its mean and deviation anew at every bar."""
    flat = values.reshape(-1, 3)[:300].tolist()
    windows = [deque(column, maxlen=WINDOW) for column in np.random.default_rng(1).normal(size=(3, WINDOW))]

    def work() -> float:
        total = 0.0
        for bar in flat:
            for value, window in zip(bar, windows, strict=True):
                window.append(value)
                total += (value - np.mean(window)) / (np.std(window) + 1e-8)
        return float(len(flat)) if math.isfinite(total) else 0.0

    return work


def river_rolling(values: NDArray[np.float64]) -> Work:
    """Return river's rolling mean and variance, one of each per input."""
    from river import stats, utils

    flat = values.reshape(-1, 3)[: 20 * SESSION_BARS].tolist()
    means = [utils.Rolling(stats.Mean, window_size=WINDOW) for _ in range(3)]
    variances = [utils.Rolling(stats.Var, window_size=WINDOW) for _ in range(3)]

    def work() -> float:
        total = 0.0
        for bar in flat:
            for value, mean, variance in zip(bar, means, variances, strict=True):
                mean.update(value)
                variance.update(value)
                total += (value - mean.get()) / (math.sqrt(variance.get()) + 1e-8)
        return float(len(flat)) if math.isfinite(total) else 0.0

    return work


def streaming_rows() -> list[Row]:
    """Three z-scores per bar against the last 30 sessions."""
    values = inputs(SESSIONS)
    mine = "RegimeDetector"
    found = rates(
        {
            mine: detector(values),
            "deque with mean and deviation": windowed_deques(values),
            "river Rolling": river_rolling(values),
        },
        ROUNDS,
    )
    micros = [1e6 / rate for rate in found[mine]]
    return [
        value_row(
            "regime detector, three z-scores a bar",
            "µs/bar",
            micros,
            bar=Bar(2.0, at_least=False, text="<= 2 µs amortised"),
            note="window of 30 sessions, merged exactly once a session",
        ),
        *(
            ratio_row(f"regime detector against {name}", "bars/s", found, ours=mine, peer=name, bar=None)
            for name in found
            if name != mine
        ),
    ]


def exactness_row() -> Row:
    """Ten years of minutes around 1e5 with outliers: the last session's z-scores against rational numbers."""
    rng = np.random.default_rng(2)
    n_sessions = 252 * YEARS
    stream = RegimeDetector(DEFAULT_REGIME, 2)
    kept: deque[NDArray[np.float64]] = deque(maxlen=DEFAULT_REGIME.window_sessions)
    worst = 0.0
    for session in range(n_sessions):
        values = LEVEL + rng.normal(size=(SESSION_BARS, 3))
        values[rng.integers(0, SESSION_BARS, 2), rng.integers(0, 3, 2)] *= 10.0
        stream.start_session()
        for bar, (momentum, volatility, divergence) in enumerate(values.tolist()):
            reading = stream.observe(momentum, volatility, divergence)
            if session == n_sessions - 1 and bar % 97 == 0:
                before = np.concatenate([*kept, values[:bar]])
                exact = [exact_z(values[bar, k], before[:, k]) for k in range(3)]
                worst = max(worst, *(abs(a - b) for a, b in zip(reading.z, exact, strict=True)))
        stream.end_session()
        kept.append(values)
    return value_row(
        "regime detector after ten years of minutes around 1e5",
        "largest error of a z-score",
        [worst],
        bar=Bar(1e-9, at_least=False, text="<= 1e-9 against exact arithmetic"),
        note=f"{n_sessions} sessions, two outliers of ten times the level each",
    )


def exact_z(value: float, before: NDArray[np.float64]) -> float:
    """Return (value - mean) / deviation with mean and variance in rational numbers."""
    numbers = [Fraction(x) for x in before.tolist()]
    mean = sum(numbers) / len(numbers)
    variance = sum((x - mean) ** 2 for x in numbers) / len(numbers)
    return float(Fraction(value) - mean) / math.sqrt(float(variance))


def history_rows() -> list[Row]:
    """The scores of every bar of a history, against rolling z-scores of data frames."""
    sessions = dataset().sessions
    n_bars = int(sessions.n_bars.sum())
    columns = np.random.default_rng(0).normal(size=(n_bars, 3))
    frame = pd.DataFrame(columns)
    lazy = pl.DataFrame(columns, schema=["a", "b", "c"])

    def ours() -> float:
        regime_history(sessions)
        return 3.0 * n_bars

    def pandas_rolling() -> float:
        window = frame.rolling(WINDOW)
        ((frame - window.mean()) / window.std()).to_numpy()
        return 3.0 * n_bars

    def polars_rolling() -> float:
        every = pl.all()
        lazy.select((every - every.rolling_mean(WINDOW)) / every.rolling_std(WINDOW))
        return 3.0 * n_bars

    mine = "regime_history"
    found = rates({mine: ours, "pandas rolling": pandas_rolling, "polars rolling": polars_rolling}, ROUNDS)
    nanos = [1e9 / rate for rate in found[mine]]
    return [
        value_row(
            "regime scores of a whole history",
            "ns per bar and feature",
            nanos,
            bar=Bar(20.0, at_least=False, text="<= 20 ns"),
            note=f"{n_bars:,} bars; the inputs are computed from prices too, which the peers are given",
        ),
        *(
            ratio_row(
                f"regime history against {name}", "bars x features/s", found, ours=mine, peer=name, bar=None
            )
            for name in found
            if name != mine
        ),
    ]


def rows() -> list[Row]:
    """Both forms, and how exact they stay."""
    return [*streaming_rows(), exactness_row(), *history_rows()]
