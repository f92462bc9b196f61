"""Sessions: the bars of whole trading days as immutable arrays."""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from stairways.errors import RangeError

FULL_SESSION_MINUTES = 390
SESSIONS_PER_YEAR = 252


@dataclass(frozen=True, eq=False)
class Sessions:
    """Bars of whole sessions, in date order; padded with NaN behind a half day's last bar.

    Attributes:
        symbols: Symbols in the order of the legs, ``n_symbols`` of them.
        interval_minutes: Length of a bar, 1 or 5.
        dates: ``(n_sessions,)`` datetime64[D], ascending, exchange dates.
        open_utc: ``(n_sessions,)`` datetime64[s], the session's opening instant in UTC.
        n_bars: ``(n_sessions,)`` int64, bars of the session by the calendar (never by the data).
        open: ``(n_sessions, max_bars, n_symbols)`` float64, USD; likewise high, low and close.
        volume: ``(n_sessions, max_bars, n_symbols)`` float64, shares; 0 in a filled bar.
        filled: ``(n_sessions, max_bars, n_symbols)`` bool, True where a missing bar was forward-filled.
        segment: ``(n_sessions,)`` int64, rises by one where an exchange session is missing before.
        source: Where the bars came from, in words; starts with "SYNTHETIC" for generated ones.
    """

    symbols: tuple[str, ...]
    interval_minutes: int
    dates: NDArray[np.datetime64]
    open_utc: NDArray[np.datetime64]
    n_bars: NDArray[np.int64]
    open: NDArray[np.float64]
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    close: NDArray[np.float64]
    volume: NDArray[np.float64]
    filled: NDArray[np.bool_]
    segment: NDArray[np.int64]
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
    def max_bars(self) -> int:
        """Bars of a full session: 390 of one minute, 78 of five."""
        return FULL_SESSION_MINUTES // self.interval_minutes

    @property
    def synthetic(self) -> bool:
        """Whether the bars were generated."""
        return self.source.startswith("SYNTHETIC")

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content: symbols, interval, dates and every bar."""
        content = hashlib.sha256()
        content.update(f"{','.join(self.symbols)}|{self.interval_minutes}|".encode())
        content.update(self.dates.astype("datetime64[D]").astype(np.int64).tobytes())
        for array in (self.n_bars, self.segment, self.open, self.high, self.low, self.close, self.volume):
            content.update(np.ascontiguousarray(array).data)
        return content.hexdigest()

    def span(self, first: dt.date, last: dt.date) -> slice:
        """Return the slice of sessions from ``first`` to ``last``, both ends included.

        Raises:
            RangeError: If no session lies in the range.
        """
        start = int(np.searchsorted(self.dates, np.datetime64(first, "D"), side="left"))
        stop = int(np.searchsorted(self.dates, np.datetime64(last, "D"), side="right"))
        if stop <= start:
            raise RangeError(
                f"no session between {first} and {last}",
                where=self.source,
                remedy=f"the data holds {len(self)} sessions, {self.dates[0]} to {self.dates[-1]}",
            )
        return slice(start, stop)

    def select(self, part: slice) -> Self:
        """Return the sessions of one slice (views, no copy)."""
        per_session = {
            field.name: getattr(self, field.name)[part]
            for field in fields(self)
            if isinstance(getattr(self, field.name), np.ndarray)
        }
        return replace(self, **per_session)
