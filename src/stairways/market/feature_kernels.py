"""Compiled base features, one bar of one symbol at a time; a history and a stream of bars share them.

Every value at bar t is made of bars up to t. ``out`` is one symbol's ``(n_bars, 12)`` float64 block of a
session. What looks back beyond the session's start stands in ``carried``, ``(CARRIED,)`` float64.
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
FAST_AVERAGE, SLOW_AVERAGE, GAIN, LOSS, BEFORE, CHANGES = range(6)
CARRIED = 6
NOTIONAL, SHARES = 0, 1
# Mean gain and loss decay for ever after the last move; below this share of the price there is none.
NO_MOVE_RATIO = 1e-12


@njit(cache=True, error_model="numpy", inline="always")
def return_since(close: NDArray[np.float64], first_open: float, t: int, bars: int) -> float:
    """Return the return over ``bars`` bars, cut at the session's first open."""
    base = first_open if t < bars else close[t - bars]
    value: float = close[t] / base - 1.0
    return value


@njit(cache=True, error_model="numpy", inline="always")
def realised_volatility(t: int, out: NDArray[np.float64]) -> float:
    """Return the root mean square of the last min(20, t + 1) 1-bar returns."""
    first = max(0, t - VOLATILITY_BARS + 1)
    squares = 0.0
    for i in range(first, t + 1):
        squares += out[i, RETURN_1] * out[i, RETURN_1]
    return math.sqrt(squares / (t + 1 - first))


@njit(cache=True, error_model="numpy", inline="always")
def bollinger(close: NDArray[np.float64], t: int) -> float:
    """Return (close - mean) / (2 standard deviations) over the last min(20, t + 1) closes.

    Prices are taken relative to the present close, so that equal prices give a deviation of exactly 0.
    """
    first = max(0, t - BOLLINGER_BARS + 1)
    count = t + 1 - first
    total = 0.0
    for i in range(first, t + 1):
        total += close[i] - close[t]
    mean = total / count
    squares = 0.0
    for i in range(first, t + 1):
        squares += (close[i] - close[t] - mean) ** 2
    return -mean / (2.0 * math.sqrt(squares / count)) if squares > 0.0 else 0.0


@njit(cache=True, error_model="numpy", inline="always")
def fill_session_bar(
    t: int,
    n_bars: int,
    first_open: float,
    close: NDArray[np.float64],
    volume: NDArray[np.float64],
    traded: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """Write the features of bar t that look no further back than the session's start.

    Prices of the VWAP are taken relative to the session's first open, so that equal prices give exactly 0.

    Args:
        t: The bar, after those before it.
        n_bars: Bars of the session by the calendar.
        first_open: The session's first open.
        close: ``(n,)`` closes up to t at least; likewise volume.
        volume: Shares.
        traded: ``(2,)`` notional above the first open and shares of the session so far; changed.
        out: ``(n, 12)``; rows before t are read.
    """
    out[t, RETURN_1] = return_since(close, first_open, t, 1)
    out[t, RETURN_5] = return_since(close, first_open, t, SHORT_RETURN_BARS)
    out[t, RETURN_15] = return_since(close, first_open, t, LONG_RETURN_BARS)
    volatility = realised_volatility(t, out)
    out[t, REALISED_VOLATILITY] = volatility
    out[t, BOLLINGER] = bollinger(close, t)
    scaled = volatility * math.sqrt(MOMENTUM_BARS)
    out[t, MOMENTUM] = return_since(close, first_open, t, MOMENTUM_BARS) / scaled if volatility > 0.0 else 0.0
    traded[NOTIONAL] += (close[t] - first_open) * volume[t]
    traded[SHARES] += volume[t]
    priced = traded[SHARES] > 0.0
    out[t, VWAP] = close[t] / (first_open + traded[NOTIONAL] / traded[SHARES]) - 1.0 if priced else 0.0
    out[t, TIME] = t / (n_bars - 1) if n_bars > 1 else 0.0


@njit(cache=True, error_model="numpy")
def start_segment(carried: NDArray[np.float64], first_open: float, first_close: float) -> None:
    """Set what is carried to a segment's start: averages at its first close, no change of price yet."""
    carried[FAST_AVERAGE] = carried[SLOW_AVERAGE] = first_close
    carried[GAIN] = carried[LOSS] = carried[CHANGES] = 0.0
    carried[BEFORE] = first_open


@njit(cache=True, error_model="numpy", inline="always")
def carry_bar(close: float, carried: NDArray[np.float64]) -> None:
    """Carry on over a bar what runs on over a session's start.

    Exponential means start at the segment's first close. The relative strength index is a fraction (Wilder
    1978): the first change of a segment is its first bar's close less open; the mean gain and loss are plain
    means of the first 14 changes, exponential with weight 1/14 from then on.
    """
    carried[FAST_AVERAGE] += 2.0 / (EMA_FAST_BARS + 1.0) * (close - carried[FAST_AVERAGE])
    carried[SLOW_AVERAGE] += 2.0 / (EMA_SLOW_BARS + 1.0) * (close - carried[SLOW_AVERAGE])
    change = close - carried[BEFORE]
    carried[BEFORE] = close
    carried[CHANGES] = min(carried[CHANGES] + 1.0, float(RSI_BARS))
    carried[GAIN] += (max(change, 0.0) - carried[GAIN]) / carried[CHANGES]
    carried[LOSS] += (max(-change, 0.0) - carried[LOSS]) / carried[CHANGES]


@njit(cache=True, error_model="numpy", inline="always")
def fill_carried_bar(t: int, close: float, carried: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """Carry on over a bar, and write its features that run on over a session's start."""
    carry_bar(close, carried)
    out[t, EMA_FAST] = close / carried[FAST_AVERAGE] - 1.0
    out[t, EMA_SLOW] = close / carried[SLOW_AVERAGE] - 1.0
    either = carried[GAIN] + carried[LOSS]
    out[t, RSI] = carried[GAIN] / either if either > NO_MOVE_RATIO * close else 0.5


@njit(cache=True, error_model="numpy", inline="always")
def sum_volume(volume: NDArray[np.float64], total: NDArray[np.float64], count: NDArray[np.float64]) -> None:
    """Add a session's volume to the profile of its time of day; bars without volume are left out.

    Args:
        volume: ``(n_bars, n_symbols)``, at most as many bars as the profile has.
        total: ``(max_bars, n_symbols)`` shares; changed.
        count: ``(max_bars, n_symbols)`` bars with volume; changed.
    """
    for t in range(volume.shape[0]):
        for s in range(volume.shape[1]):
            total[t, s] += volume[t, s]
            count[t, s] += 1.0 if volume[t, s] > 0.0 else 0.0


@njit(cache=True, error_model="numpy", inline="always")
def log_volume(volume: float, total: float, count: float) -> float:
    """Return log(volume / mean volume of the same bar before); 0 where there was none, or is none."""
    return math.log(volume * count / total) if volume > 0.0 and total > 0.0 else 0.0


@njit(cache=True, error_model="numpy")
def fill_log_volume(
    volume: NDArray[np.float64],
    n_bars: NDArray[np.int64],
    segment: NDArray[np.int64],
    start: int,
    out: NDArray[np.float64],
) -> None:
    """Write log(volume / mean volume of the same bar in the last 20 sessions of the segment).

    Args:
        volume: ``(n_sessions, max_bars, n_symbols)`` float64, shares.
        n_bars: ``(n_sessions,)`` int64.
        segment: ``(n_sessions,)`` int64.
        start: The first session to write.
        out: ``(n_sessions - start, max_bars, n_symbols, 12)`` float64.
    """
    n_sessions, max_bars, n_symbols = volume.shape
    total, count = np.empty((max_bars, n_symbols)), np.empty((max_bars, n_symbols))
    first = 0
    for i in range(n_sessions):
        if i > 0 and segment[i] != segment[i - 1]:
            first = i
        if i < start:
            continue
        total[:] = 0.0
        count[:] = 0.0
        for j in range(max(first, i - PROFILE_SESSIONS), i):
            sum_volume(volume[j, : min(n_bars[i], n_bars[j])], total, count)
        for t in range(n_bars[i]):
            for s in range(n_symbols):
                out[i - start, t, s, LOG_VOLUME] = log_volume(volume[i, t, s], total[t, s], count[t, s])


@njit(cache=True, error_model="numpy", nogil=True)
def fill_features(
    opens: NDArray[np.float64],
    close: NDArray[np.float64],
    volume: NDArray[np.float64],
    n_bars: NDArray[np.int64],
    segment: NDArray[np.int64],
    start: int,
    out: NDArray[np.float64],
) -> None:
    """Write every base feature of some symbols; threads may fill different symbols beside each other.

    Sessions before ``start`` are led through for what is carried on, and not written.

    Args:
        opens: ``(n_sessions, max_bars, n_symbols)`` float64; the others likewise.
        close: USD.
        volume: Shares.
        n_bars: ``(n_sessions,)`` int64.
        segment: ``(n_sessions,)`` int64.
        start: The first session to write.
        out: ``(n_sessions - start, max_bars, n_symbols, 12)`` of zeros.
    """
    fill_log_volume(volume, n_bars, segment, start, out)
    carried, traded = np.zeros(CARRIED), np.zeros(2)
    # one symbol's session side by side: windows of 20 bars are read over and over
    closes, volumes = np.empty(close.shape[1]), np.empty(close.shape[1])
    rows = np.zeros((close.shape[1], N_FEATURES))
    for s in range(close.shape[2]):
        for i in range(close.shape[0]):
            if i == 0 or segment[i] != segment[i - 1]:
                start_segment(carried, opens[i, 0, s], close[i, 0, s])
            if i < start:
                for t in range(n_bars[i]):
                    carry_bar(close[i, t, s], carried)
                continue
            traded[:] = 0.0
            closes[:], volumes[:] = close[i, :, s], volume[i, :, s]
            rows[:, LOG_VOLUME] = out[i - start, :, s, LOG_VOLUME]
            for t in range(n_bars[i]):
                fill_session_bar(t, n_bars[i], opens[i, 0, s], closes, volumes, traded, rows)
                fill_carried_bar(t, closes[t], carried, rows)
            out[i - start, : n_bars[i], s] = rows[: n_bars[i]]


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
def bounded(value: float, bound: float) -> float:
    """Clip a value to +-bound."""
    return min(max(value, -bound), bound)


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
                    table[i, t, s * N_FEATURES + f] = bounded(standard, bound)
            for k in range(z.shape[2]):
                table[i, t, n_symbols * N_FEATURES + k] = bounded(z[i, t, k], bound)
