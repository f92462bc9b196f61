"""What an account sees of the market: prices to fill at and rows to decide on."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from stairways.market.features import FeatureTable
    from stairways.market.sessions import Sessions

N_BASE_FEATURES = 12
N_REGIME_FEATURES = 3


def n_price_inputs(n_symbols: int) -> int:
    """Return the price part of an observation: 12 features and the position per symbol."""
    return n_symbols * (N_BASE_FEATURES + 1)


def n_inputs(n_symbols: int) -> int:
    """Return the length of an observation: 29 for two symbols, 42 for three."""
    return n_price_inputs(n_symbols) + N_REGIME_FEATURES


def position_columns(n_symbols: int) -> NDArray[np.int64]:
    """Return the columns of an observation that hold the positions, ``(n_symbols,)``."""
    return np.arange(n_symbols) * (N_BASE_FEATURES + 1) + N_BASE_FEATURES


@dataclass(frozen=True, eq=False)
class ObservedMarket:
    """Sessions and their features, laid out for compiled loops.

    Attributes:
        symbols: Symbols in the order of the legs.
        interval_minutes: Length of a bar.
        dates: ``(n_sessions,)`` datetime64[D].
        open_utc: ``(n_sessions,)`` datetime64[s].
        n_bars: ``(n_sessions,)`` int64.
        open: ``(n_sessions, max_bars, n_symbols)`` float64, USD; likewise close.
        volume: ``(n_sessions, max_bars, n_symbols)`` float64.
        rows: ``(n_sessions, max_bars, n_inputs)`` float32 observations with positions left at 0.
        score: ``(n_sessions, max_bars)`` float64 regime scores.
        neutral: ``(n_sessions, max_bars)`` bool, regime still warming up.
        data_digest: Digest of the whole Sessions the market was cut from.
        source: Where the bars came from, in words.
    """

    symbols: tuple[str, ...]
    interval_minutes: int
    dates: NDArray[np.datetime64]
    open_utc: NDArray[np.datetime64]
    n_bars: NDArray[np.int64]
    open: NDArray[np.float64]
    close: NDArray[np.float64]
    volume: NDArray[np.float64]
    rows: NDArray[np.float32]
    score: NDArray[np.float64]
    neutral: NDArray[np.bool_]
    data_digest: str
    source: str

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                value.setflags(write=False)

    def __len__(self) -> int:
        return len(self.dates)

    @property
    def n_symbols(self) -> int:
        """Number of symbols."""
        return len(self.symbols)

    @property
    def n_decisions(self) -> int:
        """Decisions of all sessions."""
        return int((self.n_bars - 1).sum())

    @property
    def full_session_decisions(self) -> int:
        """Decisions of a full session: 389 of one minute, 77 of five."""
        return int(self.rows.shape[1]) - 1

    @property
    def neutral_share_ratio(self) -> float:
        """Share of decisions taken while the regime was still warming up."""
        decided = np.arange(self.rows.shape[1])[None, :] < (self.n_bars - 1)[:, None]
        return float(self.neutral[decided].mean())

    def select(self, part: slice) -> Self:
        """Return the sessions of one slice (views, no copy)."""
        per_session = {
            field.name: getattr(self, field.name)[part]
            for field in fields(self)
            if isinstance(getattr(self, field.name), np.ndarray)
        }
        return replace(self, **per_session)


def observe(sessions: Sessions, table: FeatureTable, *, data_digest: str | None = None) -> ObservedMarket:
    """Lay sessions and their features out for the environment and the replay.

    Args:
        sessions: The sessions.
        table: Their features.
        data_digest: Digest of the whole Sessions that these were cut from; None where they are whole.
    """
    n_symbols = sessions.n_symbols
    shape = (len(sessions), sessions.max_bars, n_inputs(n_symbols))
    rows = np.zeros(shape, dtype=np.float32)
    for symbol in range(n_symbols):
        first = symbol * (N_BASE_FEATURES + 1)
        source = slice(symbol * N_BASE_FEATURES, (symbol + 1) * N_BASE_FEATURES)
        rows[:, :, first : first + N_BASE_FEATURES] = table.values[:, :, source]
    rows[:, :, n_price_inputs(n_symbols) :] = table.values[:, :, n_symbols * N_BASE_FEATURES :]
    return ObservedMarket(
        symbols=sessions.symbols,
        interval_minutes=sessions.interval_minutes,
        dates=sessions.dates,
        open_utc=sessions.open_utc,
        n_bars=sessions.n_bars,
        open=sessions.open,
        close=sessions.close,
        volume=sessions.volume,
        rows=rows,
        score=table.score,
        neutral=table.neutral,
        data_digest=sessions.digest if data_digest is None else data_digest,
        source=sessions.source,
    )
