"""Assembly of bars on disk into Sessions, with a quality report.

Sessions in which a symbol lacks more than 5 % of its bars are dropped whole. Smaller gaps are filled with
the previous close and volume 0. A gap at the open is filled with the close of the session before, in the
same segment: that price was known at the time, while the first later price was not. A segment's first
session has no close before it and is dropped if it lacks an opening bar.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stairways.errors import BarsError, ConfigError
from stairways.market.bars import (
    CLOSE,
    HIGH,
    LOW,
    OPEN,
    SPLIT_FILE,
    SUPPORTED_INTERVALS,
    VOLUME,
    RawBars,
    bar_files,
    read_bars,
    symbols_in,
)
from stairways.market.calendar import ExchangeSessions, exchange_date, exchange_sessions
from stairways.market.quality import (
    AbsentSpan,
    DroppedSession,
    QualityReport,
    SymbolQuality,
    absent_spans,
    segment_spans,
    session_date,
)
from stairways.market.sessions import FULL_SESSION_MINUTES, Sessions
from stairways.market.splits import SplitTable, check_overnight_moves, price_divisors

if TYPE_CHECKING:
    from stairways.market.placing import SymbolBars

SEGMENTS_FILE = "segments.json"
# A session is dropped if it lacks more than one bar in twenty: 5 %, exact in integers.
MISSING_BARS_DIVISOR = 20
TOO_MANY_MISSING = "more than 5 % missing"
NO_OPENING_BAR = "no opening bar, no session before"


@dataclass(frozen=True, eq=False)
class LoadedBars:
    """Sessions and the report on how they came about."""

    sessions: Sessions
    quality: QualityReport


@dataclass(frozen=True)
class _Mark:
    """One entry of segments.json; None matches everything."""

    file: str | None
    symbol: str | None
    interval_minutes: int | None
    first: dt.date
    last: dt.date | None


@dataclass(frozen=True, eq=False)
class _Selection:
    """Which sessions of the calendar are kept.

    Attributes:
        counts: ``(n_calendar, n_symbols)`` int64, bars there are.
        n_bars: ``(n_calendar,)`` int64, bars there should be.
        keep: ``(n_calendar,)`` bool.
        start: ``(n_calendar,)`` bool, first session of a joint segment.
        symbol_start: ``(n_calendar, n_symbols)`` bool, first session of a symbol's segment.
        dropped: Sessions dropped, in date order.
    """

    counts: NDArray[np.int64]
    n_bars: NDArray[np.int64]
    keep: NDArray[np.bool_]
    start: NDArray[np.bool_]
    symbol_start: NDArray[np.bool_]
    dropped: tuple[DroppedSession, ...]


def load_bars(
    folder: Path,
    symbols: Sequence[str],
    interval_minutes: int,
    *,
    strict: bool = False,
    splits: SplitTable | None = None,
) -> LoadedBars:
    """Load every session of a folder in which all symbols are present and good.

    Args:
        folder: Folder of Parquet or CSV files; may hold ``segments.json`` and ``splits.csv``.
        symbols: Symbols in the order of the legs.
        interval_minutes: 1 or 5; other intervals in the folder are left alone.
        strict: Refuse the load instead of dropping a session. A session of which a symbol has no bar at all
            is a gap between segments, not a dropped session: it is reported, and refuses nothing.
        splits: Splits the bars are not adjusted for; without it ``splits.csv`` of the folder, if any.

    Raises:
        ConfigError: If no symbol is asked for, one twice, or an interval other than 1 or 5 minutes.
        BarsError: If the bars can't be used as they are; the message names file, symbol and timestamp.
    """
    from stairways.market.placing import merge_bars, place_bars

    asked = _checked_symbols(symbols, interval_minutes)
    files = bar_files(folder)
    read = tuple(read_bars(path, asked) for path in files)
    raw = tuple(bars for file in read for bars in file.bars)
    nameless = tuple(file.file for file in read if not file.says_symbol)
    _check_present(raw, asked, files, nameless, folder)
    calendar = _calendar(raw, folder)
    placed = tuple(bars for part in raw for bars in place_bars(part, calendar, interval_minutes))
    merged = tuple(merge_bars(symbol, placed, calendar, interval_minutes) for symbol in asked)
    marks = _read_marks(folder / SEGMENTS_FILE)
    marked = np.stack([_marked(bars, marks, calendar, interval_minutes) for bars in merged], axis=1)
    selection = _select(merged, marked, calendar, interval_minutes)
    _check_selection(selection, calendar, asked, folder, strict=strict)
    table = splits if splits is not None else _folder_splits(folder)
    sessions, quiet = _assemble(merged, selection, calendar, interval_minutes, table, folder)
    quality = _report(sessions, merged, selection, calendar, quiet, table, nameless, _unused(marks, files))
    return LoadedBars(sessions=sessions, quality=quality)


def _checked_symbols(symbols: Sequence[str], interval_minutes: int) -> tuple[str, ...]:
    if isinstance(symbols, str) or not symbols or not all(symbols) or len(set(symbols)) < len(symbols):
        raise ConfigError(
            f"the symbols are {symbols!r}", where="symbols", remedy="give one or more, each once, in a list"
        )
    if interval_minutes not in SUPPORTED_INTERVALS:
        raise ConfigError(
            f"{interval_minutes} minutes", where="interval", remedy="bars are of 1 or 5 minutes"
        )
    return tuple(symbols)


def _check_present(
    raw: Sequence[RawBars],
    asked: tuple[str, ...],
    files: Sequence[Path],
    nameless: Sequence[str],
    folder: Path,
) -> None:
    """Refuse symbols that no file holds, and name those that are there."""
    missing = [symbol for symbol in asked if all(bars.symbol != symbol for bars in raw)]
    if not missing:
        return
    there = {symbol for path in files for symbol in symbols_in(path)} | {bars.symbol for bars in raw}
    also = f"; without symbol column or asked symbol in the name: {', '.join(nameless)}" if nameless else ""
    raise BarsError(
        f"no bars of {', '.join(missing)}",
        where=str(folder),
        remedy=f"symbols there: {', '.join(sorted(there)) or 'none'}{also}",
    )


def _calendar(raw: Sequence[RawBars], folder: Path) -> ExchangeSessions:
    """Return the exchange sessions that the bars span."""
    first = exchange_date(min(bars.span_utc[0] for bars in raw))
    last = exchange_date(max(bars.span_utc[1] for bars in raw))
    calendar = exchange_sessions(first, last)
    if not len(calendar):
        raise BarsError(
            f"no day from {first} to {last} is a session of the exchange",
            where=str(folder),
            remedy="check dates and time zone of the timestamps",
        )
    return calendar


def _read_marks(path: Path) -> tuple[_Mark, ...]:
    """Read segments.json: a list of ``{file and/or symbol, interval_minutes?, first, last?, ...}``."""
    if not path.exists():
        return ()
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BarsError(f"no readable JSON ({error})", where=str(path), remedy="mend or remove it") from error
    if not isinstance(entries, list):
        raise BarsError("no list of segments", where=str(path), remedy='write [{"file": ..., "first": ...}]')
    return tuple(_parse_mark(entry, f"{path}, entry {number}") for number, entry in enumerate(entries, 1))


def _parse_mark(entry: Any, where: str) -> _Mark:
    """Return one entry; keys it does not know (source, licence, ...) are for people."""
    try:
        file, symbol, interval = entry.get("file"), entry.get("symbol"), entry.get("interval_minutes")
        last = entry.get("last")
        named = (file or symbol) and isinstance(file, str | None) and isinstance(symbol, str | None)
        first = entry["first"] if named else "a segment without file or symbol"
        return _Mark(
            file=file,
            symbol=symbol,
            interval_minutes=None if interval is None else int(interval),
            first=dt.date.fromisoformat(first),
            last=None if last is None else dt.date.fromisoformat(last),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BarsError(
            f"no segment: {error}",
            where=where,
            remedy='write {"file": "NVDA.parquet", "first": "2025-01-02", "last": "2025-06-30"}, '
            "with symbol in place of or beside file, interval_minutes and last as you like",
        ) from error


def _marked(
    bars: SymbolBars, marks: Sequence[_Mark], calendar: ExchangeSessions, interval_minutes: int
) -> NDArray[np.bool_]:
    """Return ``(n_calendar,)`` bool: sessions that a mark makes the first of a segment.

    A segment's ``first`` starts one, and so does the session after its ``last``.
    """
    starts = np.zeros(len(calendar) + 1, dtype=np.bool_)
    for mark in marks:
        if (
            (mark.file is None or mark.file in bars.files)
            and mark.symbol in {None, bars.symbol}
            and mark.interval_minutes in {None, interval_minutes}
        ):
            starts[calendar.first_on_or_after(mark.first)] = True
            if mark.last is not None:
                starts[calendar.first_on_or_after(mark.last + dt.timedelta(days=1))] = True
    return starts[:-1]


def _select(
    merged: Sequence[SymbolBars],
    marked: NDArray[np.bool_],
    calendar: ExchangeSessions,
    interval_minutes: int,
) -> _Selection:
    """Choose the sessions in which all symbols are present and good, and find where segments start."""
    n_bars = calendar.n_bars(interval_minutes)
    counts = np.stack([bars.counts for bars in merged], axis=1)
    opens = np.stack([bars.first_bar == 0 for bars in merged], axis=1)
    missing = n_bars[:, None] - counts
    present = np.logical_and.reduce(counts > 0, axis=1)
    thin = (missing * MISSING_BARS_DIVISOR > n_bars[:, None]) & present[:, None]
    good = present & ~np.logical_or.reduce(thin, axis=1)
    all_open, any_marked = np.logical_and.reduce(opens, axis=1), np.logical_or.reduce(marked, axis=1)
    keep, start = _segment_starts(good, all_open, any_marked)
    openless = (good & ~keep)[:, None] & ~opens
    previous_kept = np.concatenate([[False], keep[:-1]])
    return _Selection(
        counts=counts,
        n_bars=n_bars,
        keep=keep,
        start=start,
        symbol_start=~previous_kept[:, None] | marked,
        dropped=tuple(
            DroppedSession(
                date=session_date(calendar.dates[session]),
                symbol=merged[leg].symbol,
                missing_bars=int(missing[session, leg]),
                n_bars=int(n_bars[session]),
                reason=TOO_MANY_MISSING if thin[session, leg] else NO_OPENING_BAR,
            )
            for session, leg in np.argwhere(thin | openless)
        ),
    )


def _segment_starts(
    good: NDArray[np.bool_], opens_present: NDArray[np.bool_], marked: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which sessions stay and which start a segment, all ``(n_calendar,)`` bool.

    Session by session, because a first session dropped for want of an opening bar makes the next one first.
    """
    keep, start = good.copy(), np.zeros_like(good)
    for session in np.flatnonzero(good):
        start[session] = session == 0 or not keep[session - 1] or marked[session]
        if start[session] and not opens_present[session]:
            keep[session] = start[session] = False
    return keep, start


def _check_selection(
    selection: _Selection, calendar: ExchangeSessions, asked: tuple[str, ...], folder: Path, *, strict: bool
) -> None:
    """Refuse an empty load, and with ``strict`` a dropped session."""
    dropped = selection.dropped
    if dropped and strict:
        earliest = dropped[0]
        n_dates = len({entry.date for entry in dropped})
        raise BarsError(
            f"{n_dates} sessions would be dropped, the first: {earliest.date} {earliest.symbol} "
            f"({earliest.missing_bars} of {earliest.n_bars} bars missing, {earliest.reason})",
            where=str(folder),
            remedy="complete the bars, or load without strict",
        )
    if not selection.keep.any():
        spans = [_span_of(calendar, selection.counts[:, leg] > 0) for leg in range(len(asked))]
        there = ", ".join(f"{symbol} {span}" for symbol, span in zip(asked, spans, strict=True))
        raise BarsError(
            f"no session in which all symbols are present and good ({len(dropped)} dropped for missing bars)",
            where=str(folder),
            remedy=f"sessions there: {there}",
        )


def _span_of(calendar: ExchangeSessions, present: NDArray[np.bool_]) -> str:
    dates = calendar.dates[present]
    return f"{len(dates)} from {dates[0]} to {dates[-1]}"


def _folder_splits(folder: Path) -> SplitTable:
    path = folder / SPLIT_FILE
    return SplitTable.from_csv(path) if path.exists() else SplitTable()


def _assemble(
    merged: Sequence[SymbolBars],
    selection: _Selection,
    calendar: ExchangeSessions,
    interval_minutes: int,
    splits: SplitTable,
    folder: Path,
) -> tuple[Sessions, NDArray[np.int64]]:
    """Lay the kept bars on the grid, check and adjust for splits, then fill.

    Returns:
        The sessions, and how many of each symbol's bars have volume 0: ``(n_symbols,)`` int64.
    """
    from stairways.market.grids import adjust, fill, lay_bars, overnight

    keep = selection.keep
    dates, n_bars = calendar.dates[keep], selection.n_bars[keep]
    grids, quiet = lay_bars(merged, keep, FULL_SESSION_MINUTES // interval_minutes)
    for leg, bars in enumerate(merged):
        own = splits.of(bars.symbol)
        starts = selection.symbol_start[keep, leg]
        previous_close, first_open = overnight(grids, leg, bars.first_bar[keep], bars.last_bar[keep], starts)
        check_overnight_moves(bars.symbol, dates, previous_close, first_open, own)
        adjust(grids, leg, price_divisors(dates, own))
    filled = fill(grids, n_bars, selection.counts[keep])
    sessions = Sessions(
        symbols=tuple(bars.symbol for bars in merged),
        interval_minutes=interval_minutes,
        dates=dates,
        open_utc=calendar.open_utc[keep],
        n_bars=n_bars,
        open=grids[OPEN],
        high=grids[HIGH],
        low=grids[LOW],
        close=grids[CLOSE],
        volume=grids[VOLUME],
        filled=filled,
        segment=np.cumsum(selection.start[keep]) - 1,
        source=f"bars in {folder.resolve().name}",
    )
    return sessions, quiet


def _unused(marks: Sequence[_Mark], files: Sequence[Path]) -> tuple[str, ...]:
    """Return the files that segments.json names and the folder does not hold."""
    named = {mark.file for mark in marks if mark.file is not None}
    return tuple(sorted(named - {path.name for path in files}))


def _report(
    sessions: Sessions,
    merged: Sequence[SymbolBars],
    selection: _Selection,
    calendar: ExchangeSessions,
    quiet: NDArray[np.int64],
    splits: SplitTable,
    files_unused: tuple[str, ...],
    marks_unused: tuple[str, ...],
) -> QualityReport:
    seen = np.flatnonzero(selection.counts.any(axis=1))
    covered = slice(seen[0], seen[-1] + 1)
    absent = tuple(
        span
        for leg, bars in enumerate(merged)
        for span in absent_spans(bars.symbol, calendar.dates[covered], selection.counts[covered, leg])
    )
    half = sessions.n_bars < sessions.max_bars
    return QualityReport(
        symbols=sessions.symbols,
        interval_minutes=sessions.interval_minutes,
        files=tuple(sorted({name for bars in merged for name in bars.files})),
        files_unused=files_unused,
        first=session_date(sessions.dates[0]),
        last=session_date(sessions.dates[-1]),
        sessions=len(sessions),
        dropped=selection.dropped,
        absent=absent,
        per_symbol=tuple(
            _symbol_quality(bars, selection, int(zeros), absent)
            for bars, zeros in zip(merged, quiet, strict=True)
        ),
        half_days=tuple(session_date(date) for date in sessions.dates[half]),
        segments=segment_spans(sessions),
        splits=tuple(split for split in splits.splits if split.symbol in sessions.symbols),
        marks_unused=marks_unused,
    )


def _symbol_quality(
    bars: SymbolBars, selection: _Selection, zero_volume_bars: int, absent: Sequence[AbsentSpan]
) -> SymbolQuality:
    keep = selection.keep
    return SymbolQuality(
        symbol=bars.symbol,
        filled_bars=int((selection.n_bars - bars.counts)[keep].sum()),
        filled_opening_bars=int(bars.first_bar[keep].sum()),
        zero_volume_bars=zero_volume_bars,
        outside_hours_bars=bars.outside_hours_bars,
        no_session_bars=bars.no_session_bars,
        absent_sessions=sum(span.sessions for span in absent if span.symbol == bars.symbol),
    )
