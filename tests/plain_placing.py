"""Bars in their places, the plain way: row by row, each with its exchange date by the clock of New York."""

from __future__ import annotations

import datetime as dt
import math
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from zoneinfo import ZoneInfo

NEW_YORK = ZoneInfo("America/New_York")
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
MINUTE_US = 60_000_000


class RefusedError(Exception):
    """What is wrong, where first, and how often."""


@dataclass
class Row:
    number: int
    start_us: int
    values: tuple[float, ...]
    session: int
    offset_us: int
    on_day: bool
    inside: bool


@dataclass
class Placed:
    bars: list[tuple[int, int, tuple[float, ...]]] = field(default_factory=list)
    outside_hours_bars: int = 0
    no_session_bars: int = 0
    intervals_minutes: set[float] = field(default_factory=set)


def time_of(us):
    return EPOCH + dt.timedelta(microseconds=us)


def refuse(fault, rows):
    if rows:
        text = time_of(rows[0].start_us).isoformat().removesuffix("+00:00")
        more = "" if len(rows) == 1 else f", the first of {len(rows)} such rows"
        raise RefusedError(f"{fault} at {text}Z{more};")


def most_frequent(values):
    counts = Counter(values)
    return min(counts, key=lambda value: (-counts[value], value), default=0)


def rows_of(start_us, values, calendar):
    """Return the rows, each with the session of its day or the last before."""
    dates, opens = calendar.dates.tolist(), calendar.open_utc.astype("datetime64[us]").astype(int).tolist()
    found = []
    for number, (us, row) in enumerate(zip(start_us, values, strict=True)):
        date = time_of(us).astimezone(NEW_YORK).date()
        session = max(bisect_right(dates, date) - 1, 0)
        offset, on_day = us - opens[session], dates[session] == date
        inside = on_day and 0 <= offset < int(calendar.minutes[session]) * MINUTE_US
        found.append(Row(number, us, tuple(row), session, offset, on_day, inside))
    return found


def runs_of(rows):
    refuse("the same timestamp twice in a row", [b for a, b in pairwise(rows) if a.start_us == b.start_us])
    back = [b for a, b in pairwise(rows) if b.start_us < a.start_us]
    if len(back) >= 4:
        refuse("unsorted: time steps back", back)
    bounds = [0, *(row.number for row in back), len(rows)]
    return [rows[a:b] for a, b in pairwise(bounds)]


def intervals_of(run, calendar):
    """Return the interval of each session in microseconds, and the intervals that have a witness."""
    sessions = range(len(calendar))
    offsets = [[row.offset_us for row in run if row.inside and row.session == at] for at in sessions]
    distances = [[b - a for a, b in pairwise(own)] for own in offsets]
    usual = [most_frequent(own) for own in distances]
    clear = [
        usual[at] > 0
        and 2 * len(offsets[at]) * usual[at] >= int(calendar.minutes[at]) * MINUTE_US
        and 10 * sum(offset % usual[at] == 0 for offset in offsets[at]) >= 9 * len(offsets[at])
        for at in sessions
    ]
    of_all = most_frequent(usual[at] for at in sessions if clear[at])
    witness = [clear[at] and usual[at] in {MINUTE_US, 5 * MINUTE_US, of_all} for at in sessions]
    if not any(witness):
        return [most_frequent(us for own in distances for us in own)] * len(calendar), set()
    found, last = [], usual[witness.index(True)]
    for at in sessions:
        last = usual[at] if witness[at] else last
        found.append(last)
    return found, {usual[at] for at in sessions if witness[at]}


def check_bar_starts(rows, calendar):
    present = {row.session for row in rows if row.inside}
    at_open = {row.session for row in rows if row.offset_us == 0}
    lengths = calendar.minutes.tolist()
    at_close = {row.session for row in rows if row.offset_us == lengths[row.session] * MINUTE_US}
    like_ends = len((present & at_close) - at_open)
    if any(row.offset_us < 0 for row in rows) or len(present) < 3 or like_ends * 10 < 9 * len(present):
        return
    raise RefusedError(f"timestamps look like bar ends: {like_ends} of {len(present)} sessions")


def check_values(rows):
    prices = {row.number: row.values[:4] for row in rows}
    refuse(
        "a price that is missing or no finite number",
        [row for row in rows if not all(math.isfinite(price) for price in prices[row.number])],
    )
    refuse("a price that is zero or negative", [row for row in rows if min(prices[row.number]) <= 0])
    refuse("high below open, close or low", [r for r in rows if r.values[1] < max(prices[r.number])])
    refuse("low above open, close or high", [r for r in rows if r.values[2] > min(prices[r.number])])
    refuse(
        "a volume that is missing or no finite number", [r for r in rows if not math.isfinite(r.values[4])]
    )
    refuse("a negative volume", [row for row in rows if row.values[4] < 0])


def place(start_us, values, calendar, minutes):
    """Return what stands at the interval, one entry per run of ascending timestamps."""
    runs = runs_of(rows_of(start_us, values, calendar))
    found = [intervals_of(run, calendar) for run in runs]
    seen = set()
    for _, witnessed in found if len(runs) > 1 else ():
        if not witnessed or witnessed & seen:
            refuse("unsorted: time steps back", [runs[1][0]])
        seen |= witnessed
    placed = []
    for run, (by_session, witnessed) in zip(runs, found, strict=True):
        own = [row for row in run if by_session[row.session] == minutes * MINUTE_US]
        used = [row for row in own if row.inside]
        check_bar_starts(own, calendar)
        refuse(
            f"not on the grid of {minutes} min from the session's open",
            [row for row in used if row.offset_us % (minutes * MINUTE_US)],
        )
        check_values(used)
        placed.append(
            Placed(
                [(row.session, row.offset_us // (minutes * MINUTE_US), row.values) for row in used],
                sum(row.on_day and not row.inside for row in own),
                sum(not row.on_day for row in own),
                {us / MINUTE_US for us in (witnessed or {us for us in by_session if us})},
            )
        )
    return placed
