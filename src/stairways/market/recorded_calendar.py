"""The exchange's calendar as recorded with the package: the library's sessions, without loading it.

A sample market is the same on every machine and in every year, so its dates stand in a file that a
test holds equal to the library. Real bars are held against the library itself: it learns of closures
that were announced later.
"""

from __future__ import annotations

import datetime as dt
from functools import lru_cache
from pathlib import Path

import numpy as np

from stairways.market.calendar import FIRST_DATE, LAST_DATE, ExchangeSessions, sessions_between
from stairways.market.sessions import FULL_SESSION_MINUTES

RECORD = Path(__file__).resolve().parents[1] / "data" / "calendar.txt"
"""Exceptions by date from the rule: every weekday, 390 minutes, opening as on the day before in UTC."""

CLOSED, LENGTH, OPENING = "closed", "minutes", "opens"


def recorded_sessions(first: dt.date, last: dt.date) -> ExchangeSessions:
    """Return the recorded sessions from ``first`` to ``last``, both ends included.

    Raises:
        RangeError: If the dates stand out of order or outside the calendar (1990 to 2050).
    """
    return sessions_between(first, last, _whole_record)


@lru_cache(maxsize=1)
def _whole_record() -> ExchangeSessions:
    """Read the record once; its arrays are frozen, so sharing them is safe."""
    entries = [line.split() for line in RECORD.read_text(encoding="ascii").splitlines()]

    def of(kind: str) -> tuple[list[str], list[str]]:
        found = [entry for entry in entries if entry[1] == kind]
        return [entry[0] for entry in found], [entry[-1] for entry in found]

    days = np.arange(np.datetime64(FIRST_DATE, "D"), np.datetime64(LAST_DATE, "D") + 1)
    closed = np.array(of(CLOSED)[0], dtype="datetime64[D]")
    dates = days[np.is_busday(days, holidays=closed)]
    minutes = np.full(len(dates), FULL_SESSION_MINUTES, dtype=np.int64)
    shorter, lengths = of(LENGTH)
    minutes[np.searchsorted(dates, np.array(shorter, dtype="datetime64[D]"))] = [int(n) for n in lengths]
    changes, times = of(OPENING)
    since_midnight = np.array([60 * int(time[:2]) + int(time[3:]) for time in times]).astype("timedelta64[m]")
    at = np.searchsorted(np.array(changes, dtype="datetime64[D]"), dates, side="right") - 1
    open_utc = dates.astype("datetime64[s]") + since_midnight[at]
    return ExchangeSessions(dates=dates, open_utc=open_utc, minutes=minutes)
