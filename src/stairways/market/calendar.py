"""The exchange calendar: which days trade, when they open, how long they last."""

from __future__ import annotations

import datetime as dt
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from stairways.errors import RangeError

EXCHANGE = "XNYS"
EXCHANGE_TIME_ZONE = "America/New_York"
# Pinned: the library's own default end moves with today's date.
FIRST_DATE = dt.date(1990, 1, 1)
LAST_DATE = dt.date(2050, 12, 31)


@dataclass(frozen=True, eq=False)
class ExchangeSessions:
    """Sessions of the exchange in date order.

    Attributes:
        dates: ``(n_sessions,)`` datetime64[D], exchange dates, ascending.
        open_utc: ``(n_sessions,)`` datetime64[s], opening instants in UTC.
        minutes: ``(n_sessions,)`` int64, length of the session: 390, on half days 210.
    """

    dates: NDArray[np.datetime64]
    open_utc: NDArray[np.datetime64]
    minutes: NDArray[np.int64]

    def __post_init__(self) -> None:
        for field in fields(self):
            getattr(self, field.name).setflags(write=False)

    def __len__(self) -> int:
        return len(self.dates)

    @cached_property
    def days_utc(self) -> NDArray[np.datetime64]:
        """``(2, n_sessions)`` datetime64[us], UTC: the midnights that begin and end each session's day."""
        # The end of one day is as a rule the start of the next session's.
        days, each = np.unique([self.dates, self.dates + np.timedelta64(1, "D")], return_inverse=True)
        bounds = midnights_utc(days.tolist())[each]
        bounds.setflags(write=False)
        return bounds

    def n_bars(self, interval_minutes: int) -> NDArray[np.int64]:
        """Return ``(n_sessions,)`` int64, the bars of each session at one interval."""
        return self.minutes // interval_minutes

    def first_on_or_after(self, day: dt.date) -> int:
        """Return the index of the first session on or after a date; ``len(self)`` past the end."""
        return int(np.searchsorted(self.dates, np.datetime64(day, "D"), side="left"))


def midnights_utc(days: Iterable[dt.date]) -> NDArray[np.datetime64]:
    """Return ``(n_days,)`` datetime64[us], the UTC instants of the exchange's midnights that begin the days.

    The exchange's clock is changed at two in the morning, so each day has one midnight.
    """
    zone = ZoneInfo(EXCHANGE_TIME_ZONE)
    seconds = [dt.datetime(day.year, day.month, day.day, tzinfo=zone).timestamp() for day in days]
    return np.array(seconds, dtype=np.int64).astype("datetime64[s]").astype("datetime64[us]")


def exchange_date(instant_utc: np.datetime64) -> dt.date:
    """Return the exchange's date at an instant."""
    instant = dt.datetime.fromtimestamp(int(instant_utc.astype("datetime64[s]").astype(np.int64)), dt.UTC)
    return instant.astimezone(ZoneInfo(EXCHANGE_TIME_ZONE)).date()


def exchange_sessions(first: dt.date, last: dt.date) -> ExchangeSessions:
    """Return the exchange's sessions from ``first`` to ``last``, both ends included.

    Raises:
        RangeError: If the dates stand out of order or outside the calendar (1990 to 2050).
    """
    return sessions_between(first, last, _whole_calendar)


def sessions_between(
    first: dt.date, last: dt.date, whole_calendar: Callable[[], ExchangeSessions]
) -> ExchangeSessions:
    """Return the sessions of a calendar from ``first`` to ``last``, both ends included.

    Args:
        first: First date.
        last: Last date.
        whole_calendar: Returns every session from 1990 to 2050.

    Raises:
        RangeError: If the dates stand out of order or outside the calendar (1990 to 2050).
    """
    if last < first:
        raise RangeError(
            f"the range ends on {last}, before it starts on {first}", remedy="swap the two dates"
        )
    if first < FIRST_DATE or last > LAST_DATE:
        raise RangeError(
            f"{first} to {last} leaves the calendar {EXCHANGE}",
            remedy=f"stay within {FIRST_DATE} and {LAST_DATE}",
        )
    whole = whole_calendar()
    inside = slice(
        int(np.searchsorted(whole.dates, np.datetime64(first, "D"), side="left")),
        int(np.searchsorted(whole.dates, np.datetime64(last, "D"), side="right")),
    )
    return ExchangeSessions(
        dates=whole.dates[inside], open_utc=whole.open_utc[inside], minutes=whole.minutes[inside]
    )


@lru_cache(maxsize=1)
def _whole_calendar() -> ExchangeSessions:
    """Read the library's calendar once; its arrays are frozen, so sharing them is safe."""
    with warnings.catch_warnings():
        # The library still calls forms that pandas has marked for removal; nothing of ours is hidden.
        warnings.simplefilter("ignore", category=DeprecationWarning)
        warnings.simplefilter("ignore", category=FutureWarning)
        import exchange_calendars

        calendar = exchange_calendars.get_calendar(
            EXCHANGE, start=FIRST_DATE.isoformat(), end=LAST_DATE.isoformat()
        )
        dates = calendar.sessions.to_numpy().astype("datetime64[D]")
        open_utc = calendar.opens.dt.tz_convert(None).to_numpy().astype("datetime64[s]")
        close_utc = calendar.closes.dt.tz_convert(None).to_numpy().astype("datetime64[s]")
    minutes = (close_utc - open_utc) // np.timedelta64(1, "m")
    return ExchangeSessions(dates=dates, open_utc=open_utc, minutes=minutes.astype(np.int64))
