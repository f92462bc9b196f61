"""Record the exchange's calendar for the sample markets, as ``src/stairways/data/calendar.txt``.

    python tools/record_calendar.py

Run it after an update of exchange_calendars; a test holds the file equal to the library.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stairways.market.calendar import FIRST_DATE, LAST_DATE, exchange_sessions
from stairways.market.recorded_calendar import CLOSED, LENGTH, OPENING, RECORD
from stairways.market.sessions import FULL_SESSION_MINUTES


def lines() -> list[str]:
    """Return every exception, in date order."""
    sessions = exchange_sessions(FIRST_DATE, LAST_DATE)
    days = np.arange(np.datetime64(FIRST_DATE), np.datetime64(LAST_DATE) + 1)
    closed = np.setdiff1d(days[np.is_busday(days)], sessions.dates)
    found = [f"{day} {CLOSED}" for day in closed]
    opening = None
    for day, instant, minutes in zip(sessions.dates, sessions.open_utc, sessions.minutes, strict=True):
        if day != instant.astype("datetime64[D]"):
            raise ValueError(f"the session of {day} opens on another day in UTC, {instant}")
        time = instant.item().strftime("%H:%M")
        if time != opening:
            found.append(f"{day} {OPENING} {time}")
        opening = time
        if minutes != FULL_SESSION_MINUTES:
            found.append(f"{day} {LENGTH} {minutes}")
    return sorted(found)


if __name__ == "__main__":
    Path(RECORD).write_text("\n".join(lines()) + "\n", encoding="ascii")
