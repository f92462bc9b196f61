"""Bars in their places: find the interval by content, give each bar its session and index, refuse faults.

Rows are compared with the sessions' instants in UTC, and no row's exchange date is ever computed. Values
are checked only where they are used: in regular hours, at the interval asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from stairways.errors import BarsError
from stairways.market.bars import HIGH, LOW, SUPPORTED_INTERVALS, VOLUME, RawBars
from stairways.market.calendar import ExchangeSessions
from stairways.market.placing_kernels import (
    ascends,
    count_on_grid,
    majority_distances,
    number_bars,
    sound,
)
from stairways.market.sessions import FULL_SESSION_MINUTES

MINUTE_US = 60_000_000
# More backward steps than this are disorder, not blocks of several intervals in one file.
_MAX_RUNS = 4


@dataclass(frozen=True, eq=False)
class PlacedBars:
    """Bars of one symbol, one file and one interval in their places in the calendar.

    The rows of a session are a slice of the file's rows, empty where the session has none at the interval.

    Attributes:
        raw: The file's rows of the symbol.
        first: ``(n_sessions,)`` int64, the session's first row.
        stop: ``(n_sessions,)`` int64, the row behind the session's last.
        bar_of_row: ``(n_rows,)`` int16, index of the bar in its session; of no meaning outside the slices.
        outside_hours_bars: Bars left out because they start before the open or after the close.
        no_session_bars: Bars left out because their day is no session.
        intervals_minutes: Every interval that the rows were found to stand at.
    """

    raw: RawBars
    first: NDArray[np.int64]
    stop: NDArray[np.int64]
    bar_of_row: NDArray[np.int16]
    outside_hours_bars: int
    no_session_bars: int
    intervals_minutes: frozenset[float]

    @property
    def counts(self) -> NDArray[np.int64]:
        """``(n_sessions,)`` int64, bars of each session."""
        return self.stop - self.first

    @property
    def rows(self) -> NDArray[np.int64]:
        """``(n_bars,)`` int64, the rows that are used, ascending."""
        counts = self.counts
        rows: NDArray[np.int64] = np.repeat(self.first - (np.cumsum(counts) - counts), counts)
        return rows + np.arange(len(rows))

    @property
    def session(self) -> NDArray[np.int64]:
        """``(n_bars,)`` int64, index into the calendar of each bar."""
        return np.repeat(np.arange(len(self.first)), self.counts)

    @property
    def bar(self) -> NDArray[np.int16]:
        """``(n_bars,)`` int16, index of each bar in its session."""
        return self.bar_of_row[self.rows]

    @property
    def values(self) -> NDArray[np.float64]:
        """``(n_bars, 5)`` float64: open, high, low, close in USD, volume in shares; a copy."""
        return self.raw.values[self.rows]


@dataclass(frozen=True, eq=False)
class SymbolBars:
    """All bars of one symbol at the interval.

    Attributes:
        symbol: The symbol.
        parts: What the files gave, each with a bar or more; no bar twice.
        counts: ``(n_sessions,)`` int64, bars of each session.
        first_bar: ``(n_sessions,)`` int64, index of the session's first bar; its length without one.
        last_bar: ``(n_sessions,)`` int64, index of the session's last bar; -1 without one.
        outside_hours_bars: See PlacedBars.
        no_session_bars: See PlacedBars.
    """

    symbol: str
    parts: tuple[PlacedBars, ...]
    counts: NDArray[np.int64]
    first_bar: NDArray[np.int64]
    last_bar: NDArray[np.int64]
    outside_hours_bars: int
    no_session_bars: int

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the files that gave bars, sorted."""
        return tuple(sorted({part.raw.file for part in self.parts}))


@dataclass(frozen=True, eq=False)
class _Run:
    """Rows of ascending timestamps, cut at the sessions' instants.

    Attributes:
        rows: The run's rows of the file.
        day: ``(2, n_sessions)`` int64, first row of the session's day and the row behind its last.
        hours: ``(2, n_sessions)`` int64, likewise of the session's hours.
    """

    rows: slice
    day: NDArray[np.int64]
    hours: NDArray[np.int64]


def place_bars(raw: RawBars, calendar: ExchangeSessions, interval_minutes: int) -> tuple[PlacedBars, ...]:
    """Return the bars at one interval in their places; one entry per run of ascending timestamps.

    Raises:
        BarsError: If timestamps are unsorted, twice there, off the grid, or mark the ends of bars; or if
            prices or volumes can't be true.
    """
    runs = [_cut(raw, rows, calendar) for rows in _ascending(raw)]
    found = [session_intervals(raw.start_utc, run.hours[0], run.hours[1], calendar) for run in runs]
    if len(runs) > 1:
        _check_runs(raw, runs, [witnessed for _, witnessed in found])
    return tuple(
        _placed(raw, run, calendar, by_session, interval_minutes)
        for run, (by_session, _) in zip(runs, found, strict=True)
    )


def _ascending(raw: RawBars) -> list[slice]:
    """Split rows where time steps back: a file may hold one interval after the other."""
    if ascends(_us(raw.start_utc)):
        return [slice(0, len(raw.start_utc))]
    steps = np.diff(raw.start_utc).astype(np.int64)
    twice = np.flatnonzero(steps == 0)
    if len(twice):
        raise _at_row(
            raw,
            int(twice[0]) + 1,
            "the same timestamp twice in a row",
            len(twice),
            "keep one bar per timestamp; bars of two intervals belong in two files",
        )
    back = np.flatnonzero(steps < 0) + 1
    if len(back) >= _MAX_RUNS:
        raise _unsorted(raw, back)
    return [slice(*bounds) for bounds in pairwise([0, *(int(row) for row in back), len(raw.start_utc)])]


def _us(instants: NDArray[np.datetime64]) -> NDArray[np.int64]:
    """Return datetime64 of any unit as microseconds since 1970, int64."""
    return instants.astype("datetime64[us]", copy=False).view(np.int64)


def _cut(raw: RawBars, rows: slice, calendar: ExchangeSessions) -> _Run:
    start = raw.start_utc[rows]
    opens = calendar.open_utc.astype("datetime64[us]")
    hours = np.stack([opens, opens + calendar.minutes * np.timedelta64(1, "m")])
    day, hours = (np.searchsorted(start, bounds) + rows.start for bounds in (calendar.days_utc, hours))
    return _Run(rows=rows, day=day, hours=hours)


def _check_runs(raw: RawBars, runs: Sequence[_Run], witnessed: Sequence[frozenset[int]]) -> None:
    """Refuse several runs unless each stands at intervals of its own: then they are blocks, not disorder."""
    seen: set[int] = set()
    for intervals in witnessed:
        if not intervals or intervals & seen:
            raise _unsorted(raw, np.array([runs[0].rows.stop]))
        seen |= intervals


def _unsorted(raw: RawBars, back: NDArray[np.int64]) -> BarsError:
    return _at_row(raw, int(back[0]), "unsorted: time steps back", len(back), "sort by symbol and timestamp")


def session_intervals(
    start_utc: NDArray[np.datetime64],
    first: NDArray[np.int64],
    stop: NDArray[np.int64],
    calendar: ExchangeSessions,
) -> tuple[NDArray[np.int64], frozenset[int]]:
    """Find the interval of each session from the distances between its timestamps.

    A session is a witness of its interval (its most frequent distance, ties to the smaller) if it holds at
    least half the bars of that interval and nine in ten lie on its grid. Sessions too thin to tell take the
    interval of the last witness before them, else of the first after; without any witness all take the most
    frequent distance of all.

    Args:
        start_utc: ``(n_rows,)`` datetime64[us], ascending from each ``first`` to its ``stop``.
        first: ``(n_sessions,)`` int64, first row in the session's hours.
        stop: ``(n_sessions,)`` int64, row behind the last in the session's hours.
        calendar: The sessions.

    Returns:
        ``(n_sessions,)`` int64, the interval in microseconds, 0 where nothing is known; and the intervals
        that have a witness.
    """
    start_us, rows = _us(start_utc), stop - first
    own, on_grid = np.empty_like(rows), np.empty_like(rows)
    majority_distances(start_us, first, stop, own)
    for session in np.flatnonzero((own == 0) & (rows > 1)):
        own[session] = _mode(np.diff(start_us[first[session] : stop[session]]))
    count_on_grid(start_us, first, stop, _us(calendar.open_utc), own, on_grid)
    half_full = 2 * rows * own >= calendar.minutes * MINUTE_US
    clear = (own > 0) & half_full & (10 * on_grid >= 9 * rows)
    usual = _mode(own[clear])
    witness = clear & (
        np.isin(own, [minutes * MINUTE_US for minutes in SUPPORTED_INTERVALS]) | (own == usual)
    )
    if not witness.any():
        distances = [np.diff(start_us[a:b]) for a, b in zip(first, stop, strict=True)]
        return np.full(len(calendar), _mode(np.concatenate(distances)), dtype=np.int64), frozenset()
    return _carried(own, witness), frozenset(int(interval) for interval in np.unique(own[witness]))


def _mode(values: NDArray[np.int64]) -> int:
    """Return the most frequent value, ties to the smaller; 0 for none."""
    if not len(values):
        return 0
    distinct, counts = np.unique(values, return_counts=True)
    return int(distinct[np.argmax(counts)])


def _carried(values: NDArray[np.int64], known: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return values with the unknown ones replaced by the last known before, else the first after."""
    last_known = np.maximum.accumulate(np.where(known, np.arange(len(values)), -1))
    return values[np.where(last_known < 0, int(np.argmax(known)), last_known)]


def _placed(
    raw: RawBars,
    run: _Run,
    calendar: ExchangeSessions,
    by_session_us: NDArray[np.int64],
    interval_minutes: int,
) -> PlacedBars:
    """Place and check the rows of one run that stand at the interval."""
    at_interval = by_session_us == interval_minutes * MINUTE_US
    _check_bar_starts(raw, run, at_interval, calendar)
    first, stop = run.hours[0], np.where(at_interval, run.hours[1], run.hours[0])
    outside, elsewhere = (int(rows[at_interval].sum()) for rows in _left_out(run))
    placed = PlacedBars(
        raw=raw,
        first=first,
        stop=stop,
        bar_of_row=_bars(raw, first, stop, calendar, interval_minutes),
        outside_hours_bars=outside,
        no_session_bars=elsewhere,
        intervals_minutes=frozenset(value / MINUTE_US for value in by_session_us.tolist() if value),
    )
    if not all(sound(*block) for block in raw.blocks):
        _check_values(placed)
    return placed


def _left_out(run: _Run) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count the rows outside hours on each session's day, and those on days without one that follow it.

    Rows before the first session's day count as its own.
    """
    length = run.day[1] - run.day[0]
    until = np.append(run.day[0, 1:], run.rows.stop)
    elsewhere = until - run.day[1]
    elsewhere[0] += run.day[0, 0] - run.rows.start
    return length - (run.hours[1] - run.hours[0]), elsewhere


def _check_bar_starts(
    raw: RawBars, run: _Run, at_interval: NDArray[np.bool_], calendar: ExchangeSessions
) -> None:
    """Refuse timestamps that mark bar ends: never one at the open, always one at the close.

    With bars before the open nothing can be told, nor with fewer than three sessions.
    """
    first, stop = run.hours
    closes = calendar.open_utc + calendar.minutes * np.timedelta64(1, "m")
    present = at_interval & (stop > first)
    at_open = _stands(raw.start_utc, first, calendar.open_utc)
    at_close = _stands(raw.start_utc, stop, closes)
    early = first > run.day[0]
    early[0] |= run.day[0, 0] > run.rows.start
    like_ends = int((present & ~at_open & at_close).sum())
    if (at_interval & early).any() or present.sum() < 3 or like_ends * 10 < 9 * present.sum():
        return
    raise BarsError(
        f"timestamps look like bar ends: {like_ends} of {present.sum()} sessions have none at the open "
        "but one at the close",
        where=f"{raw.file}, {raw.symbol}",
        remedy="timestamps are bar starts: shift them back by one bar",
    )


def _stands(
    start: NDArray[np.datetime64], row: NDArray[np.int64], instant: NDArray[np.datetime64]
) -> NDArray[np.bool_]:
    """Return whether a row stands at each instant, given the first row that is not earlier.

    Where every row is earlier, the last stands for it: that isn't at the instant either.
    """
    there: NDArray[np.bool_] = start[np.minimum(row, len(start) - 1)] == instant
    return there


def _bars(
    raw: RawBars,
    first: NDArray[np.int64],
    stop: NDArray[np.int64],
    calendar: ExchangeSessions,
    interval_minutes: int,
) -> NDArray[np.int16]:
    """Return the index of each row's bar in its session; refuse rows off the grid."""
    bar = np.empty(len(raw.start_utc), dtype=np.int16)
    opens = _us(calendar.open_utc)
    row, n_off = number_bars(_us(raw.start_utc), first, stop, opens, interval_minutes * MINUTE_US, bar)
    if n_off:
        raise _at_row(
            raw,
            row,
            f"not on the grid of {interval_minutes} min from the session's open",
            n_off,
            "timestamps are bar starts such as 09:30:00 New York; mend or remove these rows",
        )
    return bar


def _check_values(placed: PlacedBars) -> None:
    """Refuse prices and volumes that can't be true."""
    rows, values = placed.rows, placed.values
    prices, volume = values[:, :VOLUME], values[:, VOLUME]
    highest, lowest = prices.max(axis=1), prices.min(axis=1)
    with np.errstate(invalid="ignore"):
        faults = (
            ("a price that is missing or no finite number", ~np.isfinite(prices).all(axis=1)),
            ("a price that is zero or negative", (prices <= 0.0).any(axis=1)),
            ("high below open, close or low", prices[:, HIGH] < highest),
            ("low above open, close or high", prices[:, LOW] > lowest),
            ("a volume that is missing or no finite number", ~np.isfinite(volume)),
            ("a negative volume", volume < 0.0),
        )
    for fault, there in faults:
        wrong = rows[there]
        if len(wrong):
            raise _at_row(placed.raw, int(wrong[0]), fault, len(wrong), "mend or remove these rows")


def _at_row(raw: RawBars, row: int, fault: str, count: int, remedy: str) -> BarsError:
    """Return the error of one fault at its first row."""
    stamp = raw.start_utc[row]
    whole_second = stamp == stamp.astype("datetime64[s]")
    start = np.datetime_as_string(stamp, unit="s" if whole_second else "us")
    first = "" if count == 1 else f", the first of {count} such rows"
    return BarsError(f"{fault} at {start}Z{first}", where=f"{raw.file}, {raw.symbol}", remedy=remedy)


def merge_bars(
    symbol: str, placed: Sequence[PlacedBars], calendar: ExchangeSessions, interval_minutes: int
) -> SymbolBars:
    """Put the bars of one symbol together.

    Raises:
        BarsError: If there is none at the interval, or the same bar in two files.
    """
    own = [bars for bars in placed if bars.raw.symbol == symbol]
    parts = tuple(bars for bars in own if bars.counts.any())
    if not parts:
        known = sorted({interval for bars in own for interval in bars.intervals_minutes})
        raise BarsError(
            f"{symbol} has no bars of {interval_minutes} min in regular hours",
            where=", ".join(sorted({bars.raw.file for bars in own})),
            remedy=f"intervals there: {', '.join(f'{minutes:g} min' for minutes in known) or 'none'}",
        )
    if len(parts) > 1:
        _check_twice(symbol, parts, calendar, interval_minutes)
    first_bar, last_bar = calendar.n_bars(interval_minutes), np.full(len(calendar), -1)
    for part in parts:
        there = np.flatnonzero(part.counts)
        first_bar[there] = np.minimum(first_bar[there], part.bar_of_row[part.first[there]])
        last_bar[there] = np.maximum(last_bar[there], part.bar_of_row[part.stop[there] - 1])
    return SymbolBars(
        symbol=symbol,
        parts=parts,
        counts=np.sum([part.counts for part in parts], axis=0),
        first_bar=first_bar,
        last_bar=last_bar,
        outside_hours_bars=sum(bars.outside_hours_bars for bars in own),
        no_session_bars=sum(bars.no_session_bars for bars in own),
    )


def _check_twice(
    symbol: str, parts: Sequence[PlacedBars], calendar: ExchangeSessions, interval_minutes: int
) -> None:
    """Refuse the same bar in two parts."""
    session = np.concatenate([part.session for part in parts])
    bar = np.concatenate([part.bar for part in parts])
    cell = session * FULL_SESSION_MINUTES + bar
    if (np.diff(cell) > 0).all():
        return
    order = np.argsort(cell, kind="stable")
    twice = np.flatnonzero(np.diff(cell[order]) == 0)
    if len(twice):
        of_part = np.repeat(np.arange(len(parts)), [part.counts.sum() for part in parts])
        one, other = order[twice[0]], order[twice[0] + 1]
        start = calendar.open_utc[session[one]] + np.timedelta64(int(bar[one]) * interval_minutes, "m")
        raise BarsError(
            f"the same bar twice: {start}Z in {parts[of_part[one]].raw.file} and "
            f"{parts[of_part[other]].raw.file} ({len(twice)} such bars)",
            where=symbol,
            remedy="keep each bar in one file",
        )
