"""The recorded calendar against the library it was recorded from."""

import datetime as dt
import subprocess
import sys

import numpy as np
import pytest

from stairways.errors import RangeError
from stairways.market.calendar import FIRST_DATE, LAST_DATE, exchange_sessions
from stairways.market.recorded_calendar import recorded_sessions


def test_the_record_is_the_library_s_calendar_session_by_session():
    recorded, library = recorded_sessions(FIRST_DATE, LAST_DATE), exchange_sessions(FIRST_DATE, LAST_DATE)
    for field in ("dates", "open_utc", "minutes"):
        ours, theirs = getattr(recorded, field), getattr(library, field)
        assert ours.dtype == theirs.dtype
        assert np.array_equal(ours, theirs), "record it anew: python tools/record_calendar.py"


def test_a_range_is_cut_like_the_library_s():
    first, last = dt.date(2024, 7, 3), dt.date(2024, 11, 29)
    recorded, library = recorded_sessions(first, last), exchange_sessions(first, last)
    assert np.array_equal(recorded.open_utc, library.open_utc)
    assert np.array_equal(recorded.minutes, library.minutes)


def test_dates_outside_the_calendar_are_refused():
    with pytest.raises(RangeError, match="1990-01-01 and 2050-12-31"):
        recorded_sessions(dt.date(2050, 1, 1), dt.date(2051, 1, 1))


def test_a_sample_market_loads_neither_the_library_nor_pandas():
    code = (
        "import sys; from stairways.market.samples import sample_market; "
        "sample_market('planted', n_sessions=2); "
        "sys.exit(any(name in sys.modules for name in ('pandas', 'exchange_calendars')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == 0
