"""Builders of small inputs that several test files share."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from zoneinfo import ZoneInfo

import numpy as np

from stairways.market.sessions import FULL_SESSION_MINUTES, Sessions

HALF_SESSION_MINUTES = 210
SYMBOLS = ("AAA", "BBB", "CCC", "DDD")


def random_sessions(
    seed: int,
    n_sessions: int,
    n_symbols: int = 2,
    interval_minutes: int = 5,
    *,
    half_days: Sequence[int] = (),
    segments: Sequence[int] = (),
    filled_ratio: float = 0.02,
    first_date: str = "2024-01-02",
) -> Sessions:
    """Return sessions of random walks with overnight gaps, a volume profile and filled bars.

    Any interval that divides 30 minutes will do: 10 and 15 minutes make short sessions for fast tests.

    Args:
        seed: Everything random comes from it.
        n_sessions: Number of sessions, on weekdays (no exchange holidays).
        n_symbols: Number of symbols, named AAA, BBB, ...
        interval_minutes: Length of a bar.
        half_days: Indices of sessions that end after 210 minutes; padded with NaN behind.
        segments: Indices of sessions before which an exchange session is missing.
        filled_ratio: Share of bars that were missing and are forward-filled with zero volume.
        first_date: Date of the first session, a weekday.
    """
    rng = np.random.default_rng(seed)
    max_bars = FULL_SESSION_MINUTES // interval_minutes
    shape = (n_sessions, max_bars, n_symbols)
    n_bars = np.full(n_sessions, max_bars, dtype=np.int64)
    n_bars[list(half_days)] = HALF_SESSION_MINUTES // interval_minutes
    starts = np.isin(np.arange(n_sessions), list(segments))
    dates = np.busday_offset(np.datetime64(first_date, "D"), np.arange(n_sessions) + np.cumsum(starts))

    filled = rng.random(shape) < filled_ratio
    filled[:, 0] = False
    factor = rng.normal(0.0, 1e-3, (*shape[:2], 1))
    moves = 0.6 * factor + rng.normal(0.0, 1e-3, shape)
    moves[filled] = 0.0
    gaps = rng.normal(0.0, 8e-3, (n_sessions, 1, n_symbols))
    base = 50.0 + 100.0 * np.arange(n_symbols)
    path = np.cumsum(
        (moves + np.where(np.arange(max_bars)[:, None] == 0, gaps, 0.0)).reshape(-1, n_symbols), 0
    )
    close = np.round(base * np.exp(path.reshape(shape)), 2)
    close = _repeat_filled(close, filled)
    open_ = np.concatenate((close[:, :1] * np.exp(-moves[:, :1]), close[:, :-1]), axis=1)
    open_ = np.where(filled, open_, open_ * np.exp(rng.normal(0.0, 1e-4, shape)))
    spread = np.abs(rng.normal(0.0, 2e-4, (2, *shape)))
    spread[:, filled] = 0.0
    high = np.maximum(open_, close) * (1.0 + spread[0])
    low = np.minimum(open_, close) * (1.0 - spread[1])
    hour = np.linspace(-1.0, 1.0, max_bars)
    volume = np.floor(1e4 * (1.0 + hour[:, None] ** 2) * np.exp(rng.normal(0.0, 0.4, shape)))
    volume[filled] = 0.0

    outside = np.arange(max_bars) >= n_bars[:, None]
    for array in (open_, high, low, close, volume):
        array[outside] = np.nan
    filled[outside] = False
    return Sessions(
        symbols=SYMBOLS[:n_symbols],
        interval_minutes=interval_minutes,
        dates=dates,
        open_utc=_opening_instants(dates),
        n_bars=n_bars,
        open=open_,
        high=high,
        low=low,
        close=close,
        volume=volume,
        filled=filled,
        segment=np.cumsum(starts).astype(np.int64),
        source=f"SYNTHETIC random walk, seed {seed}",
    )


def _repeat_filled(close: np.ndarray, filled: np.ndarray) -> np.ndarray:
    close = close.copy()
    for bar in range(1, close.shape[1]):
        close[:, bar] = np.where(filled[:, bar], close[:, bar - 1], close[:, bar])
    return close


def _opening_instants(dates: np.ndarray) -> np.ndarray:
    opening = [
        dt.datetime.combine(date, dt.time(9, 30), ZoneInfo("America/New_York")).astimezone(dt.UTC)
        for date in dates.tolist()
    ]
    return np.array([instant.replace(tzinfo=None) for instant in opening], dtype="datetime64[s]")
