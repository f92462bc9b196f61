"""Stylised facts of intraday bars as pure functions, of generated and of real sessions alike.

Returns are log returns of the bars of one symbol; the first bar's runs from its open to its close,
so no overnight move is inside. Windows and lags never leave a session. Half days are left out,
since a profile by time of day needs sessions of one length.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stairways.errors import RangeError
from stairways.market.sessions import FULL_SESSION_MINUTES, Sessions

FloatArray = NDArray[np.float64]

# Beyond three quarters of its realised volatility a session counts as trending.
TREND_RATIO = 0.75


def full_session_returns(sessions: Sessions, symbol: int) -> FloatArray:
    """Return the bar returns of one symbol in all full sessions.

    Args:
        sessions: The bars.
        symbol: Index of the symbol.

    Returns:
        ``(n_full_sessions, max_bars)`` float64, log returns.

    Raises:
        RangeError: If fewer than two sessions are full.
    """
    full = sessions.n_bars == sessions.max_bars
    if full.sum() < 2:
        raise RangeError(
            f"{int(full.sum())} full sessions", where=sessions.source, remedy="give two full sessions or more"
        )
    close = sessions.close[full, :, symbol]
    before = np.concatenate([sessions.open[full, :1, symbol], close[:, :-1]], axis=1)
    return np.asarray(np.log(close / before), dtype=np.float64)


def overnight_returns(sessions: Sessions, symbol: int) -> FloatArray:
    """Return the log moves from each close to the next session's open, inside segments.

    Args:
        sessions: The bars.
        symbol: Index of the symbol.

    Returns:
        ``(n_moves,)`` float64; a session that starts a segment has none.
    """
    last = sessions.close[np.arange(len(sessions)), sessions.n_bars - 1, symbol]
    joined = sessions.segment[1:] == sessions.segment[:-1]
    return np.asarray(np.log(sessions.open[1:, 0, symbol] / last[:-1])[joined], dtype=np.float64)


def realised_volatility(returns: FloatArray) -> FloatArray:
    """Return the square root of the sum of squared returns of each session, ``(n_sessions,)``."""
    return np.asarray(np.sqrt((returns**2).sum(axis=1)), dtype=np.float64)


def standardised(returns: FloatArray) -> FloatArray:
    """Return the returns without the day's shape and without their session's volatility.

    Each is divided by the standard deviation of its bar of the day, then by its session's realised
    volatility of what is left.

    Args:
        returns: ``(n_sessions, n_bars)`` float64.

    Returns:
        The same shape.
    """
    shaped = returns / returns.std(axis=0)
    return np.asarray(shaped / realised_volatility(shaped)[:, None], dtype=np.float64)


def without_session_volatility(returns: FloatArray) -> FloatArray:
    """Return the returns divided by their session's realised volatility, same shape."""
    return np.asarray(returns / realised_volatility(returns)[:, None], dtype=np.float64)


def absolute_without_time_of_day(returns: FloatArray) -> FloatArray:
    """Return absolute returns divided by the mean of their bar of the day, same shape."""
    absolute = np.abs(returns)
    return np.asarray(absolute / absolute.mean(axis=0), dtype=np.float64)


def kurtosis(values: FloatArray) -> float:
    """Return the fourth standardised moment (3 for a normal law), about the mean, pooled."""
    deviation = values - values.mean()
    return float((deviation**4).mean() / (deviation**2).mean() ** 2)


def autocorrelation(values: FloatArray, lag: int) -> float:
    """Return the correlation of bars ``lag`` apart within sessions, pooled over sessions.

    Both ends of a pair are taken about the mean of all bars and scaled by the variance of all bars:
    ``mean((x[t] - m) * (x[t + lag] - m)) / var(x)``.

    Args:
        values: ``(n_sessions, n_bars)`` float64.
        lag: Bars, from 1 to ``n_bars - 1``.

    Returns:
        The autocorrelation; NaN when the values are constant.
    """
    deviation = values - values.mean()
    variance = float((deviation**2).mean())
    if variance == 0.0:
        return float("nan")
    return float((deviation[:, :-lag] * deviation[:, lag:]).mean() / variance)


def series_autocorrelation(values: FloatArray) -> float:
    """Return the correlation of neighbours in a series of one value per session."""
    return float(np.corrcoef(values[:-1], values[1:])[0, 1])


def variance_ratio(returns: FloatArray, n_bars: int) -> float:
    """Return the variance of sums of ``n_bars`` returns over ``n_bars`` times that of one return.

    Blocks lie end to end from the open; what is left at the close is dropped. About 1 without memory.
    """
    kept = returns.shape[1] // n_bars * n_bars
    sums = returns[:, :kept].reshape(len(returns), -1, n_bars).sum(axis=2)
    return float(sums.var() / (n_bars * returns[:, :kept].var()))


@dataclass(frozen=True)
class DayShape:
    """How volatility lies over the day, each a ratio of root mean squares.

    Attributes:
        morning_ratio: 09:30-10:00 over 12:00-14:00.
        first_ratio: The first bar over 12:00-14:00.
        last_ratio: The last bar over 12:00-14:00.
    """

    morning_ratio: float
    first_ratio: float
    last_ratio: float


def day_shape(returns: FloatArray) -> DayShape:
    """Return the shape of the day from returns of full sessions, ``(n_sessions, n_bars)``."""
    interval_minutes = FULL_SESSION_MINUTES // returns.shape[1]
    mid_day = _rms(returns[:, 150 // interval_minutes : 270 // interval_minutes])
    return DayShape(
        morning_ratio=_rms(returns[:, : 30 // interval_minutes]) / mid_day,
        first_ratio=_rms(returns[:, :1]) / mid_day,
        last_ratio=_rms(returns[:, -1:]) / mid_day,
    )


def _rms(values: FloatArray) -> float:
    return float(np.sqrt((values**2).mean()))


def overnight_share_ratio(returns: FloatArray, overnight: FloatArray) -> float:
    """Return the overnight share of the variance from close to close.

    Args:
        returns: ``(n_sessions, n_bars)`` float64, bar returns.
        overnight: ``(n_moves,)`` float64, overnight log moves.
    """
    night = float(overnight.var())
    return night / (night + float(returns.sum(axis=1).var()))


@dataclass(frozen=True)
class SessionClasses:
    """Shares of sessions by open-to-close return over realised volatility; they sum to 1.

    A random walk without drift has .23 / .23 / .55.

    Attributes:
        up_ratio: Above +0.75.
        down_ratio: Below -0.75.
        choppy_ratio: Between.
    """

    up_ratio: float
    down_ratio: float
    choppy_ratio: float


def session_classes(returns: FloatArray) -> SessionClasses:
    """Return the shares of up, down and choppy sessions from ``(n_sessions, n_bars)`` returns."""
    trend = returns.sum(axis=1) / realised_volatility(returns)
    up, down = float((trend > TREND_RATIO).mean()), float((trend < -TREND_RATIO).mean())
    return SessionClasses(up, down, 1.0 - up - down)


def correlation(first: FloatArray, second: FloatArray) -> float:
    """Return the correlation of two equally shaped arrays, pooled over all their values."""
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


def total_return_ratio(sessions: Sessions, symbol: int) -> float:
    """Return the last close over the first open - 1."""
    last = sessions.close[-1, sessions.n_bars[-1] - 1, symbol]
    return float(last / sessions.open[0, 0, symbol] - 1.0)
