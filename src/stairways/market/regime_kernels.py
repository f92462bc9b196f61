"""Compiled recursions of the regime detector, shared by its streaming and whole-history forms.

Moments are ``(4, 3)`` float64: the rows are count, mean, the mean's low-order part and the sum of
squared deviations; the columns are momentum, volatility and divergence. Old values are never
subtracted: each session has its own moments, and a window of sessions is their merged sum.

``error_model="numpy"`` leaves out Python's checks for a zero divisor, three times the speed; every
divisor here is positive by construction.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

WINDOW_BARS = 20
N_INPUTS = 3
MOMENT_ROWS = 4
COUNT, MEAN, MEAN_LOW, SQUARES = 0, 1, 2, 3
SCORE = 3
SCORE_BOUND = 3.0
# A standard deviation of returns below this is rounding, not movement: a one-cent tick in a
# price of 10,000 USD within 20 bars gives 2e-7.
FLAT_RETURNS = 1e-12
# The plan's guard against a division by zero.
EPSILON = 1e-8


@njit(cache=True, error_model="numpy", inline="always")
def two_sum(a: float, b: float) -> tuple[float, float]:
    """Return a + b rounded and the rounding error (Knuth, TAOCP 2, 4.2.2, theorem B)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


@njit(cache=True, error_model="numpy", inline="always")
def absorb(moments: NDArray[np.float64], values: NDArray[np.float64]) -> None:
    """Add one observation to moments in place (Welford 1962, with a compensated mean).

    Args:
        moments: ``(4, 3)`` float64, changed.
        values: ``(3,)`` float64, finite.
    """
    count = moments[COUNT, 0] + 1.0
    for k in range(N_INPUTS):
        delta = (values[k] - moments[MEAN, k]) - moments[MEAN_LOW, k]
        mean, low = two_sum(moments[MEAN, k], moments[MEAN_LOW, k] + delta / count)
        moments[COUNT, k] = count
        moments[MEAN, k] = mean
        moments[MEAN_LOW, k] = low
        moments[SQUARES, k] += delta * ((values[k] - mean) - low)


@njit(cache=True, error_model="numpy")
def merge(parts: NDArray[np.float64], merged: NDArray[np.float64]) -> None:
    """Write the moments of all parts together (Chan, Golub and LeVeque 1979), oldest first.

    Args:
        parts: ``(n_parts, 4, 3)`` float64; a part may be empty (count 0), and so may the row of parts.
        merged: ``(4, 3)`` float64, overwritten.
    """
    merged[:] = 0.0
    for p in range(parts.shape[0]):
        if parts[p, COUNT, 0] == 0.0:
            continue
        if merged[COUNT, 0] == 0.0:
            merged[:] = parts[p]
            continue
        for k in range(N_INPUTS):
            before, added = merged[COUNT, k], parts[p, COUNT, k]
            total = before + added
            delta = (parts[p, MEAN, k] - merged[MEAN, k]) + (parts[p, MEAN_LOW, k] - merged[MEAN_LOW, k])
            mean, low = two_sum(merged[MEAN, k], merged[MEAN_LOW, k] + delta * (added / total))
            merged[COUNT, k] = total
            merged[MEAN, k] = mean
            merged[MEAN_LOW, k] = low
            merged[SQUARES, k] += parts[p, SQUARES, k] + delta * delta * (before * added / total)


@njit(cache=True, error_model="numpy", inline="always")
def judge(
    window: NDArray[np.float64],
    session: NDArray[np.float64],
    values: NDArray[np.float64],
    weights: NDArray[np.float64],
    neutral: bool,
    output: NDArray[np.float64],
) -> None:
    """Write z-scores and score of one bar, then add the bar to the statistics.

    The bar's own values enter only after it was judged, so they never stand in their own window.
    With an empty window every z is 0; a window without variance divides by ``EPSILON``.

    Args:
        window: ``(4, 3)`` moments of every value before this bar, changed.
        session: ``(4, 3)`` moments of the present session alone, changed.
        values: ``(3,)`` momentum, volatility, divergence at this bar.
        weights: ``(3,)`` weights of the score, summing to 1.
        neutral: Whether the detector is still warming up: every output is 0 then.
        output: ``(4,)`` three z-scores and the score, overwritten.
    """
    count = window[COUNT, 0]
    score = 0.0
    for k in range(N_INPUTS):
        z = 0.0
        if count > 0.0 and not neutral:
            deviation = (values[k] - window[MEAN, k]) - window[MEAN_LOW, k]
            z = deviation / (math.sqrt(window[SQUARES, k] / count) + EPSILON)
        output[k] = z
        score += weights[k] * z
    output[SCORE] = min(max(score, -SCORE_BOUND), SCORE_BOUND)
    absorb(window, values)
    absorb(session, values)


@njit(cache=True, error_model="numpy")
def judge_inputs(
    momentum: float,
    volatility: float,
    divergence: float,
    moments: NDArray[np.float64],
    weights: NDArray[np.float64],
    neutral: bool,
    output: NDArray[np.float64],
) -> None:
    """Judge three inputs that were measured elsewhere; see ``judge`` and ``step_bar``."""
    values = np.array((momentum, volatility, divergence))
    judge(moments[0], moments[1], values, weights, neutral, output)


@njit(cache=True, error_model="numpy", inline="always")
def window_mean(returns: NDArray[np.float64], symbol: int, first_bar: int) -> float:
    """Return the mean of one symbol's 20 returns from ``first_bar`` on, in four parallel sums."""
    a, b, c, d = 0.0, 0.0, 0.0, 0.0
    for i in range(first_bar, first_bar + WINDOW_BARS, 4):
        a += returns[symbol, i]
        b += returns[symbol, i + 1]
        c += returns[symbol, i + 2]
        d += returns[symbol, i + 3]
    return ((a + b) + (c + d)) / WINDOW_BARS


@njit(cache=True, error_model="numpy", inline="always")
def window_covariance(
    returns: NDArray[np.float64], first_bar: int, x: int, mean_x: float, y: int, mean_y: float
) -> float:
    """Return the population covariance of symbols x and y over 20 returns, given their means."""
    a, b, c, d = 0.0, 0.0, 0.0, 0.0
    for i in range(first_bar, first_bar + WINDOW_BARS, 4):
        a += (returns[x, i] - mean_x) * (returns[y, i] - mean_y)
        b += (returns[x, i + 1] - mean_x) * (returns[y, i + 1] - mean_y)
        c += (returns[x, i + 2] - mean_x) * (returns[y, i + 2] - mean_y)
        d += (returns[x, i + 3] - mean_x) * (returns[y, i + 3] - mean_y)
    return ((a + b) + (c + d)) / WINDOW_BARS


@njit(cache=True, error_model="numpy", inline="always")
def regime_inputs(
    levels: NDArray[np.float64],
    returns: NDArray[np.float64],
    first_bar: int,
    scratch: NDArray[np.float64],
    values: NDArray[np.float64],
) -> None:
    """Write momentum, volatility and divergence of the 20 bars from ``first_bar`` on.

    Population standard deviations. A pair with a symbol whose returns do not vary counts as
    correlation 0, and so does the missing pair of a single symbol.

    Args:
        levels: ``(n_symbols, n)`` USD; ``[s, i]`` is the price before bar i, ``[s, i + 1]`` its close.
        returns: ``(n_symbols, n)`` 1-bar returns.
        first_bar: The window's first bar.
        scratch: ``(2, n_symbols)`` float64, overwritten.
        values: ``(3,)`` float64, overwritten.
    """
    n_symbols = returns.shape[0]
    means, deviations = 0, 1
    momentum, volatility, correlation = 0.0, 0.0, 0.0
    for s in range(n_symbols):
        mean = window_mean(returns, s, first_bar)
        deviation = math.sqrt(window_covariance(returns, first_bar, s, mean, s, mean))
        scratch[means, s] = mean
        scratch[deviations, s] = deviation
        momentum += levels[s, first_bar + WINDOW_BARS] / levels[s, first_bar] - 1.0
        volatility += deviation
        for other in range(s):
            other_deviation = scratch[deviations, other]
            if deviation > FLAT_RETURNS and other_deviation > FLAT_RETURNS:
                covariance = window_covariance(returns, first_bar, s, mean, other, scratch[means, other])
                correlation += covariance / (deviation * other_deviation)
    n_pairs = max(n_symbols * (n_symbols - 1) // 2, 1)
    values[0] = momentum / n_symbols
    values[1] = volatility / n_symbols
    values[2] = 1.0 - correlation / n_pairs


@njit(cache=True, error_model="numpy")
def step_bar(
    bar: int,
    prices: NDArray[np.float64],
    memory: NDArray[np.float64],
    moments: NDArray[np.float64],
    weights: NDArray[np.float64],
    neutral: bool,
    output: NDArray[np.float64],
) -> bool:
    """Take one bar of a session; return False, with nothing changed, where a price is unusable.

    Args:
        bar: Index of the bar within its session.
        prices: ``(2, n_symbols)`` opens and closes, USD; only the first bar's open is used.
        memory: ``(n_symbols, 41)``: the last 21 levels, then the last 20 returns, changed.
        moments: ``(2, 4, 3)`` of the window and of the session, changed.
        weights: ``(3,)`` weights of the score.
        neutral: Whether the detector is still warming up.
        output: ``(4,)`` three z-scores and the score; left as it was in the first 19 bars.
    """
    n_symbols = prices.shape[1]
    for s in range(n_symbols):
        for row in range(2):
            if not (prices[row, s] > 0.0 and math.isfinite(prices[row, s])):
                return False
    levels = memory[:, : WINDOW_BARS + 1]
    returns = memory[:, WINDOW_BARS + 1 :]
    for s in range(n_symbols):
        before = prices[0, s] if bar == 0 else levels[s, WINDOW_BARS]
        for b in range(1, WINDOW_BARS):
            levels[s, b - 1] = levels[s, b]
            returns[s, b - 1] = returns[s, b]
        levels[s, WINDOW_BARS - 1] = before
        levels[s, WINDOW_BARS] = prices[1, s]
        returns[s, WINDOW_BARS - 1] = prices[1, s] / before - 1.0
    if bar >= WINDOW_BARS - 1:
        scratch, values = np.empty((2, n_symbols)), np.empty(N_INPUTS)
        regime_inputs(levels, returns, 0, scratch, values)
        judge(moments[0], moments[1], values, weights, neutral, output)
    return True


@njit(cache=True, error_model="numpy")
def window_means(returns: NDArray[np.float64], means: NDArray[np.float64]) -> None:
    """Write ``window_mean`` of each window of one symbol, ``(n_windows,)``, in its order."""
    for w in range(len(means)):
        a, b, c, d = 0.0, 0.0, 0.0, 0.0
        for i in range(0, WINDOW_BARS, 4):
            a += returns[w + i]
            b += returns[w + i + 1]
            c += returns[w + i + 2]
            d += returns[w + i + 3]
        means[w] = ((a + b) + (c + d)) / WINDOW_BARS


@njit(cache=True, error_model="numpy")
def window_covariances(
    x: NDArray[np.float64],
    mean_x: NDArray[np.float64],
    y: NDArray[np.float64],
    mean_y: NDArray[np.float64],
    covariances: NDArray[np.float64],
) -> None:
    """Write ``window_covariance`` of each window of two symbols, ``(n_windows,)``, in its order."""
    for w in range(len(covariances)):
        own, other = mean_x[w], mean_y[w]
        a, b, c, d = 0.0, 0.0, 0.0, 0.0
        for i in range(0, WINDOW_BARS, 4):
            a += (x[w + i] - own) * (y[w + i] - other)
            b += (x[w + i + 1] - own) * (y[w + i + 1] - other)
            c += (x[w + i + 2] - own) * (y[w + i + 2] - other)
            d += (x[w + i + 3] - own) * (y[w + i + 3] - other)
        covariances[w] = ((a + b) + (c + d)) / WINDOW_BARS


@njit(cache=True, error_model="numpy")
def session_inputs(
    levels: NDArray[np.float64], returns: NDArray[np.float64], n_windows: int, values: NDArray[np.float64]
) -> None:
    """Write momentum, volatility and divergence of every window of a session, as ``regime_inputs`` does.

    The windows are innermost, so that the compiler takes eight of them at a time; within each the operations
    and their order are those of ``regime_inputs``, and so are the bits.

    Args:
        levels: ``(n_symbols, n + 1)`` USD, as there.
        returns: ``(n_symbols, n)`` 1-bar returns.
        n_windows: Windows of 20 bars that fit, from the first bar on.
        values: ``(3, n)`` float64, overwritten up to ``n_windows``.
    """
    n_symbols = len(returns)
    means, deviations = np.empty((n_symbols, n_windows)), np.empty((n_symbols, n_windows))
    covariances = np.empty(n_windows)
    momentum, volatility, correlation = values[0], values[1], values[2]
    values[:, :n_windows] = 0.0
    for s in range(n_symbols):
        level, deviation = levels[s], deviations[s]
        window_means(returns[s], means[s])
        window_covariances(returns[s], means[s], returns[s], means[s], covariances)
        for w in range(n_windows):
            deviation[w] = math.sqrt(covariances[w])
            momentum[w] += level[w + WINDOW_BARS] / level[w] - 1.0
            volatility[w] += deviation[w]
        for pair in range(s):
            other = deviations[pair]
            window_covariances(returns[s], means[s], returns[pair], means[pair], covariances)
            for w in range(n_windows):
                varies = deviation[w] > FLAT_RETURNS and other[w] > FLAT_RETURNS
                correlation[w] += covariances[w] / (deviation[w] * other[w]) if varies else 0.0
    n_pairs = max(n_symbols * (n_symbols - 1) // 2, 1)
    for w in range(n_windows):
        momentum[w] /= n_symbols
        volatility[w] /= n_symbols
        correlation[w] = 1.0 - correlation[w] / n_pairs


@njit(cache=True, error_model="numpy")
def run_history(
    opens: NDArray[np.float64],
    closes: NDArray[np.float64],
    n_bars: NDArray[np.int64],
    weights: NDArray[np.float64],
    window_sessions: int,
    neutral_sessions: int,
    session_moments: NDArray[np.float64],
    boundary: NDArray[np.float64],
    z: NDArray[np.float64],
    score: NDArray[np.float64],
) -> None:
    """Run the detector over whole sessions.

    It stands beside the recursions because numba's cache watches one file: compiled elsewhere, it
    would go on with old machine code when they change.

    Args:
        opens: ``(n_sessions, max_bars, n_symbols)`` float64, USD; likewise closes.
        closes: Positive and finite up to each session's last bar.
        n_bars: ``(n_sessions,)`` int64.
        weights: ``(3,)`` weights of the score.
        window_sessions: Completed sessions in the statistics.
        neutral_sessions: Sessions from the first on that are still warm-up; may be negative.
        session_moments: ``(n_kept + n_sessions, 4, 3)``, the earlier sessions' first; the rest is written.
        boundary: ``(n_sessions + 1, 4)`` last output before each session; all but the first is written.
        z: ``(n_sessions, max_bars, 3)`` z-scores, written.
        score: ``(n_sessions, max_bars)``, written.
    """
    n_sessions, max_bars, n_symbols = closes.shape
    led = session_moments.shape[0] - n_sessions
    window = np.zeros((MOMENT_ROWS, N_INPUTS))
    levels = np.empty((n_symbols, max_bars + 1))
    returns = np.empty((n_symbols, max_bars))
    inputs, values = np.empty((N_INPUTS, max_bars)), np.empty(N_INPUTS)
    for i in range(n_sessions):
        merge(session_moments[max(0, led + i - window_sessions) : led + i], window)
        present, output = session_moments[led + i], boundary[i + 1]
        output[:] = boundary[i]
        for s in range(n_symbols):
            levels[s, 0] = opens[i, 0, s]
            for t in range(n_bars[i]):
                levels[s, t + 1] = closes[i, t, s]
            for t in range(n_bars[i]):
                returns[s, t] = levels[s, t + 1] / levels[s, t] - 1.0
        session_inputs(levels, returns, max(0, n_bars[i] - WINDOW_BARS + 1), inputs)
        for t in range(n_bars[i]):
            first_bar = t - WINDOW_BARS + 1
            if first_bar >= 0:
                for k in range(N_INPUTS):
                    values[k] = inputs[k, first_bar]
                judge(window, present, values, weights, i < neutral_sessions, output)
            for k in range(N_INPUTS):
                z[i, t, k] = output[k]
            score[i, t] = output[SCORE]
