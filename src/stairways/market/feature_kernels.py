"""Compiled base features: one function a feature, one column of the output each.

Every value at bar t is made of bars up to t. ``out`` is one symbol's ``(n, 12)`` float64 block of a
session (or ``(n_sessions, max_bars, 12)`` of a history), and each function fills its own column.
``error_model="numpy"`` leaves out Python's checks for a zero divisor; each divisor is checked here
where it can be zero.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

N_FEATURES = 12
(
    RETURN_1,
    RETURN_5,
    RETURN_15,
    REALISED_VOLATILITY,
    RSI,
    EMA_FAST,
    EMA_SLOW,
    VWAP,
    LOG_VOLUME,
    BOLLINGER,
    MOMENTUM,
    TIME,
) = range(N_FEATURES)

SHORT_RETURN_BARS = 5
LONG_RETURN_BARS = 15
VOLATILITY_BARS = 20
RSI_BARS = 14
EMA_FAST_BARS = 12
EMA_SLOW_BARS = 26
BOLLINGER_BARS = 20
MOMENTUM_BARS = 10
PROFILE_SESSIONS = 20
# Mean gain and loss decay for ever after the last move; below this share of the price there is none.
NO_MOVE_RATIO = 1e-12


@njit(cache=True, error_model="numpy")
def fill_return(
    close: NDArray[np.float64], first_open: float, bars: int, out: NDArray[np.float64], column: int
) -> None:
    """Write the return over ``bars`` bars, cut at the session's first open."""
    for t in range(close.shape[0]):
        base = first_open if t < bars else close[t - bars]
        out[t, column] = close[t] / base - 1.0


@njit(cache=True, error_model="numpy")
def fill_realised_volatility(n: int, out: NDArray[np.float64]) -> None:
    """Write the root mean square of the last min(20, t + 1) 1-bar returns."""
    for t in range(n):
        first = max(0, t - VOLATILITY_BARS + 1)
        squares = 0.0
        for i in range(first, t + 1):
            squares += out[i, RETURN_1] * out[i, RETURN_1]
        out[t, REALISED_VOLATILITY] = math.sqrt(squares / (t + 1 - first))


@njit(cache=True, error_model="numpy")
def fill_bollinger(close: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """Write (close - mean) / (2 standard deviations) over the last min(20, t + 1) closes.

    Prices are taken relative to the present close, so that equal prices give a deviation of exactly 0.
    """
    for t in range(close.shape[0]):
        first = max(0, t - BOLLINGER_BARS + 1)
        count = t + 1 - first
        total = 0.0
        for i in range(first, t + 1):
            total += close[i] - close[t]
        mean = total / count
        squares = 0.0
        for i in range(first, t + 1):
            squares += (close[i] - close[t] - mean) ** 2
        out[t, BOLLINGER] = -mean / (2.0 * math.sqrt(squares / count)) if squares > 0.0 else 0.0


@njit(cache=True, error_model="numpy")
def fill_momentum(close: NDArray[np.float64], first_open: float, out: NDArray[np.float64]) -> None:
    """Write the 10-bar return in units of what the realised volatility makes of 10 bars."""
    for t in range(close.shape[0]):
        base = first_open if t < MOMENTUM_BARS else close[t - MOMENTUM_BARS]
        volatility = out[t, REALISED_VOLATILITY]
        scaled = volatility * math.sqrt(MOMENTUM_BARS)
        out[t, MOMENTUM] = (close[t] / base - 1.0) / scaled if volatility > 0.0 else 0.0


@njit(cache=True, error_model="numpy")
def fill_vwap(
    close: NDArray[np.float64], volume: NDArray[np.float64], first_open: float, out: NDArray[np.float64]
) -> None:
    """Write close / session VWAP - 1, the VWAP made of the bars' closes and volumes so far.

    Prices are taken relative to the session's first open, so that equal prices give exactly 0.
    """
    notional, shares = 0.0, 0.0
    for t in range(close.shape[0]):
        notional += (close[t] - first_open) * volume[t]
        shares += volume[t]
        out[t, VWAP] = close[t] / (first_open + notional / shares) - 1.0 if shares > 0.0 else 0.0


@njit(cache=True, error_model="numpy")
def fill_time(n: int, out: NDArray[np.float64]) -> None:
    """Write the bar's position in its session by the calendar, from 0 (first) to 1 (last)."""
    for t in range(n):
        out[t, TIME] = t / (n - 1) if n > 1 else 0.0


@njit(cache=True, error_model="numpy")
def fill_session(
    first_open: float, close: NDArray[np.float64], volume: NDArray[np.float64], out: NDArray[np.float64]
) -> None:
    """Write the features of one symbol that look no further back than the session's start."""
    fill_return(close, first_open, 1, out, RETURN_1)
    fill_return(close, first_open, SHORT_RETURN_BARS, out, RETURN_5)
    fill_return(close, first_open, LONG_RETURN_BARS, out, RETURN_15)
    fill_realised_volatility(close.shape[0], out)
    fill_bollinger(close, out)
    fill_momentum(close, first_open, out)
    fill_vwap(close, volume, first_open, out)
    fill_time(close.shape[0], out)


@njit(cache=True, error_model="numpy")
def fill_ema(
    close: NDArray[np.float64],
    n_bars: NDArray[np.int64],
    segment: NDArray[np.int64],
    bars: int,
    out: NDArray[np.float64],
    column: int,
) -> None:
    """Write close / EMA - 1 over a history; a segment's EMA starts at its first close."""
    weight = 2.0 / (bars + 1.0)
    average = 0.0
    for i in range(close.shape[0]):
        if i == 0 or segment[i] != segment[i - 1]:
            average = close[i, 0]
        for t in range(n_bars[i]):
            average += weight * (close[i, t] - average)
            out[i, t, column] = close[i, t] / average - 1.0


@njit(cache=True, error_model="numpy")
def fill_rsi(
    opens: NDArray[np.float64],
    close: NDArray[np.float64],
    n_bars: NDArray[np.int64],
    segment: NDArray[np.int64],
    out: NDArray[np.float64],
) -> None:
    """Write the relative strength index over a history, as a fraction (Wilder 1978).

    The first change of a segment is its first bar's close less open; the mean gain and loss are plain
    means of the first 14 changes, exponential with weight 1/14 from then on.
    """
    gain, loss, before, changes = 0.0, 0.0, 0.0, 0
    for i in range(close.shape[0]):
        if i == 0 or segment[i] != segment[i - 1]:
            gain, loss, before, changes = 0.0, 0.0, opens[i, 0], 0
        for t in range(n_bars[i]):
            change = close[i, t] - before
            before = close[i, t]
            changes = min(changes + 1, RSI_BARS)
            gain += (max(change, 0.0) - gain) / changes
            loss += (max(-change, 0.0) - loss) / changes
            moved = gain + loss > NO_MOVE_RATIO * before
            out[i, t, RSI] = gain / (gain + loss) if moved else 0.5


@njit(cache=True, error_model="numpy")
def fill_log_volume(
    volume: NDArray[np.float64],
    n_bars: NDArray[np.int64],
    segment: NDArray[np.int64],
    out: NDArray[np.float64],
) -> None:
    """Write log(volume / mean volume of the same bar in the last 20 sessions of the segment).

    Bars without volume are left out of the mean and get 0, as do bars without any earlier volume.

    Args:
        volume: ``(n_sessions, max_bars, n_symbols)`` float64, shares.
        n_bars: ``(n_sessions,)`` int64.
        segment: ``(n_sessions,)`` int64.
        out: ``(n_sessions, max_bars, n_symbols, 12)`` float64.
    """
    n_sessions, max_bars, n_symbols = volume.shape
    total, count = np.empty((max_bars, n_symbols)), np.empty((max_bars, n_symbols))
    first = 0
    for i in range(n_sessions):
        if i > 0 and segment[i] != segment[i - 1]:
            first = i
        total[:] = 0.0
        count[:] = 0.0
        for j in range(max(first, i - PROFILE_SESSIONS), i):
            for t in range(min(n_bars[i], n_bars[j])):
                for s in range(n_symbols):
                    total[t, s] += volume[j, t, s]
                    count[t, s] += 1.0 if volume[j, t, s] > 0.0 else 0.0
        for t in range(n_bars[i]):
            for s in range(n_symbols):
                if volume[i, t, s] > 0.0 and total[t, s] > 0.0:
                    out[i, t, s, LOG_VOLUME] = math.log(volume[i, t, s] * count[t, s] / total[t, s])


@njit(cache=True, error_model="numpy")
def fill_features(
    opens: NDArray[np.float64],
    close: NDArray[np.float64],
    volume: NDArray[np.float64],
    n_bars: NDArray[np.int64],
    segment: NDArray[np.int64],
    out: NDArray[np.float64],
) -> None:
    """Write every base feature; ``out`` is ``(n_sessions, max_bars, n_symbols, 12)`` of zeros."""
    fill_log_volume(volume, n_bars, segment, out)
    for s in range(close.shape[2]):
        history = out[:, :, s]
        fill_rsi(opens[:, 0:1, s], close[:, :, s], n_bars, segment, history)
        fill_ema(close[:, :, s], n_bars, segment, EMA_FAST_BARS, history, EMA_FAST)
        fill_ema(close[:, :, s], n_bars, segment, EMA_SLOW_BARS, history, EMA_SLOW)
        for i in range(close.shape[0]):
            n = n_bars[i]
            fill_session(opens[i, 0, s], close[i, :n, s], volume[i, :n, s], out[i, :n, s])


@njit(cache=True, error_model="numpy")
def sum_deviations(
    values: NDArray[np.float64],
    n_bars: NDArray[np.int64],
    centre: NDArray[np.float64],
    power: int,
    sums: NDArray[np.float64],
) -> None:
    """Write each session's sum of (value - centre) or of its square, for power 1 or 2.

    Args:
        values: ``(n_sessions, max_bars, n_symbols, 12)`` float64.
        n_bars: ``(n_sessions,)`` int64.
        centre: ``(n_symbols, 12)`` float64.
        power: 1 or 2.
        sums: ``(n_sessions, n_symbols, 12)`` float64, added to.
    """
    for i in range(values.shape[0]):
        for t in range(n_bars[i]):
            for s in range(values.shape[2]):
                for f in range(N_FEATURES):
                    deviation = values[i, t, s, f] - centre[s, f]
                    sums[i, s, f] += deviation if power == 1 else deviation * deviation


@njit(cache=True, error_model="numpy")
def fill_table(
    values: NDArray[np.float64],
    z: NDArray[np.float64],
    n_bars: NDArray[np.int64],
    mean: NDArray[np.float64],
    scale: NDArray[np.float64],
    bound: float,
    table: NDArray[np.float32],
) -> None:
    """Write standardised, clipped features and the clipped regime z-scores behind them.

    Args:
        values: ``(n_sessions, max_bars, n_symbols, 12)`` float64.
        z: ``(n_sessions, max_bars, 3)`` float64.
        n_bars: ``(n_sessions,)`` int64; nothing is written behind a session's end.
        mean: ``(n_symbols, 12)`` float64, likewise scale.
        scale: Positive.
        bound: Values are clipped to +-bound.
        table: ``(n_sessions, max_bars, n_symbols * 12 + 3)`` float32 of zeros.
    """
    n_symbols = values.shape[2]
    for i in range(values.shape[0]):
        for t in range(n_bars[i]):
            for s in range(n_symbols):
                for f in range(N_FEATURES):
                    standard = (values[i, t, s, f] - mean[s, f]) / scale[s, f]
                    table[i, t, s * N_FEATURES + f] = min(max(standard, -bound), bound)
            for k in range(z.shape[2]):
                table[i, t, n_symbols * N_FEATURES + k] = min(max(z[i, t, k], -bound), bound)
