import datetime as dt

import numpy as np
import pytest

from stairways.errors import RangeError
from stairways.market.calendar import FIRST_DATE, LAST_DATE, exchange_date, exchange_sessions

# From the exchange's published notices: date, opening instant in UTC, minutes.
PUBLISHED = [
    ("2024-07-03", "2024-07-03T13:30:00", 210),
    ("2024-07-05", "2024-07-05T13:30:00", 390),
    ("2024-11-29", "2024-11-29T14:30:00", 210),
    ("2024-12-24", "2024-12-24T14:30:00", 210),
    ("2025-03-07", "2025-03-07T14:30:00", 390),  # the last session before daylight saving begins
    ("2025-03-10", "2025-03-10T13:30:00", 390),
    ("2025-10-31", "2025-10-31T13:30:00", 390),  # the last session before daylight saving ends
    ("2025-11-03", "2025-11-03T14:30:00", 390),
]
CLOSED = ["2001-09-11", "2012-10-29", "2018-12-05", "2024-03-29", "2024-07-04", "2025-01-09", "2025-03-08"]


@pytest.mark.parametrize(("date", "open_utc", "minutes"), PUBLISHED)
def test_sessions_open_and_last_as_published(date, open_utc, minutes):
    day = dt.date.fromisoformat(date)
    found = exchange_sessions(day, day)
    assert len(found) == 1
    assert found.dates[0] == np.datetime64(date)
    assert found.open_utc[0] == np.datetime64(open_utc)
    assert found.minutes[0] == minutes


@pytest.mark.parametrize("date", CLOSED)
def test_a_closed_day_is_no_session(date):
    day = dt.date.fromisoformat(date)
    assert len(exchange_sessions(day, day)) == 0


@pytest.mark.parametrize(("year", "sessions"), [(2022, 251), (2023, 250), (2024, 252), (2025, 250)])
def test_sessions_of_a_year(year, sessions):
    assert len(exchange_sessions(dt.date(year, 1, 1), dt.date(year, 12, 31))) == sessions


def test_types_and_bars_of_a_session():
    found = exchange_sessions(dt.date(2024, 7, 2), dt.date(2024, 7, 5))
    assert found.dates.dtype == np.dtype("datetime64[D]")
    assert found.open_utc.dtype == np.dtype("datetime64[s]")
    assert found.minutes.dtype == np.int64
    assert found.n_bars(1).tolist() == [390, 210, 390]
    assert found.n_bars(5).tolist() == [78, 42, 78]


def test_the_whole_calendar_ascends_and_fits_a_grid_of_five_minutes():
    found = exchange_sessions(FIRST_DATE, LAST_DATE)
    assert (np.diff(found.dates) > np.timedelta64(0, "D")).all()
    assert set(np.unique(found.minutes).tolist()) <= {210, 270, 390}
    weekday = (found.dates.astype(np.int64) + 3) % 7
    assert (weekday < 5).all()


def test_every_session_opens_at_half_past_nine_in_new_york():
    from zoneinfo import ZoneInfo

    found = exchange_sessions(dt.date(2024, 1, 1), dt.date(2025, 12, 31))
    zone = ZoneInfo("America/New_York")
    for date, instant in zip(found.dates, found.open_utc, strict=True):
        local = instant.item().replace(tzinfo=dt.UTC).astimezone(zone)
        assert (local.date(), local.time()) == (date.item(), dt.time(9, 30))


def test_each_session_lies_between_the_midnights_of_its_day():
    from zoneinfo import ZoneInfo

    found = exchange_sessions(dt.date(2006, 1, 1), dt.date(2025, 12, 31))
    zone = ZoneInfo("America/New_York")
    for days, instants in zip((found.dates, found.dates + 1), found.days_utc, strict=True):
        local = [instant.replace(tzinfo=dt.UTC).astimezone(zone) for instant in instants.tolist()]
        assert [(instant.date(), instant.time()) for instant in local] == [
            (day, dt.time()) for day in days.tolist()
        ]
    assert ((found.days_utc[0] < found.open_utc) & (found.open_utc < found.days_utc[1])).all()
    assert found.days_utc.dtype == np.dtype("datetime64[us]")


@pytest.mark.parametrize(
    ("instant", "date"),
    [
        ("2025-06-02T23:30:00", "2025-06-02"),
        ("2025-06-03T03:59:59.999999", "2025-06-02"),
        ("2025-06-03T04:00:00", "2025-06-03"),
        ("2025-12-03T04:59:59", "2025-12-02"),
        ("2025-12-03T05:00:00", "2025-12-03"),
    ],
)
def test_the_evening_belongs_to_the_new_york_date(instant, date):
    assert exchange_date(np.datetime64(instant, "us")) == dt.date.fromisoformat(date)


def test_first_on_or_after_steps_over_closed_days():
    found = exchange_sessions(dt.date(2024, 7, 1), dt.date(2024, 7, 8))
    at = found.first_on_or_after(dt.date(2024, 7, 4))
    assert found.dates[at] == np.datetime64("2024-07-05")
    assert found.first_on_or_after(dt.date(2024, 7, 9)) == len(found)


def test_arrays_are_read_only():
    found = exchange_sessions(dt.date(2024, 7, 1), dt.date(2024, 7, 8))
    with pytest.raises(ValueError, match="read-only"):
        found.minutes[0] = 1


def test_dates_out_of_order_are_refused():
    with pytest.raises(RangeError, match="before it starts"):
        exchange_sessions(dt.date(2024, 7, 2), dt.date(2024, 7, 1))


@pytest.mark.parametrize("first", [dt.date(1989, 12, 31), dt.date(2051, 1, 1)])
def test_dates_outside_the_calendar_are_refused(first):
    with pytest.raises(RangeError, match="1990-01-01 and 2050-12-31"):
        exchange_sessions(first, max(first, dt.date(2024, 1, 1)))
