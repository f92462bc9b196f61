"""The quality report: what was read, what was dropped, what was filled."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from rich.console import Group
    from rich.table import Table

    from stairways.market.sessions import Sessions
    from stairways.market.splits import Split

ROWS_SHOWN = 20


@dataclass(frozen=True)
class DroppedSession:
    """A session that was dropped whole because of one symbol.

    Attributes:
        date: The exchange date.
        symbol: The symbol that lacked bars.
        missing_bars: Bars it lacked.
        n_bars: Bars of the session by the calendar.
        reason: Why these missing bars could not be filled.
    """

    date: dt.date
    symbol: str
    missing_bars: int
    n_bars: int
    reason: str


@dataclass(frozen=True)
class SymbolQuality:
    """What one symbol's bars were like.

    Attributes:
        symbol: The symbol.
        filled_bars: Missing bars filled in kept sessions, opening bars included.
        filled_opening_bars: Those of them before the session's first bar, filled with the close of
            the previous session.
        zero_volume_bars: Bars of kept sessions that stand in the files with volume 0.
        outside_hours_bars: Bars before the open or after the close of a session, dropped.
        no_session_bars: Bars on days without a session, dropped.
        absent_sessions: Exchange sessions between the report's first and last bar without a bar.
    """

    symbol: str
    filled_bars: int
    filled_opening_bars: int
    zero_volume_bars: int
    outside_hours_bars: int
    no_session_bars: int
    absent_sessions: int


@dataclass(frozen=True)
class AbsentSpan:
    """Exchange sessions in a row without a single bar of one symbol; both dates included."""

    symbol: str
    first: dt.date
    last: dt.date
    sessions: int


@dataclass(frozen=True)
class SegmentSpan:
    """A row of sessions without a gap: first and last date, both included, and their number."""

    first: dt.date
    last: dt.date
    sessions: int


@dataclass(frozen=True)
class QualityReport:
    """What a load read, kept, dropped and filled.

    Attributes:
        symbols: Symbols in the order asked for.
        interval_minutes: Length of a bar.
        files: Names of the files that gave bars.
        files_unused: Files without a symbol column whose name holds no asked symbol.
        first: First session kept.
        last: Last session kept.
        sessions: Sessions kept.
        dropped: Sessions dropped whole, in date order.
        absent: Sessions between the first and last bar of any symbol in which a symbol has no bar at all.
        per_symbol: Counts of each symbol.
        half_days: Kept sessions that close early.
        segments: Rows of sessions without a gap, in date order.
        splits: Split table rows of the asked symbols; ratio 1 marks a move checked to be none.
        marks_unused: Entries of segments.json that name a file the folder does not hold.
    """

    symbols: tuple[str, ...]
    interval_minutes: int
    files: tuple[str, ...]
    files_unused: tuple[str, ...]
    first: dt.date
    last: dt.date
    sessions: int
    dropped: tuple[DroppedSession, ...]
    absent: tuple[AbsentSpan, ...]
    per_symbol: tuple[SymbolQuality, ...]
    half_days: tuple[dt.date, ...]
    segments: tuple[SegmentSpan, ...]
    splits: tuple[Split, ...]
    marks_unused: tuple[str, ...]

    def of(self, symbol: str) -> SymbolQuality:
        """Return the counts of one symbol.

        Raises:
            KeyError: If the symbol was not asked for.
        """
        for counts in self.per_symbol:
            if counts.symbol == symbol:
                return counts
        raise KeyError(symbol)

    def as_record(self) -> dict[str, Any]:
        """Return the report as plain JSON: dates as YYYY-MM-DD, tuples as lists."""
        return {name: _plain(value) for name, value in asdict(self).items()}

    def as_table(self) -> Group:
        """Return the report as tables that read well at 80 columns."""
        from rich.console import Group

        tables = [self._overview(), self._symbol_table(), self._segment_table()]
        if self.dropped:
            tables.append(self._dropped_table())
        if self.absent:
            tables.append(self._absent_table())
        if self.splits:
            tables.append(self._split_table())
        return Group(*tables)

    def _overview(self) -> Table:
        table = _table(f"Bars of {self.interval_minutes} min: {', '.join(self.symbols)}", ("", ""), right=())
        rows = {
            "sessions kept": f"{self.sessions}, {self.first} to {self.last}",
            "sessions dropped": str(len({entry.date for entry in self.dropped})),
            "segments": str(len(self.segments)),
            "half days": _listed([str(day) for day in self.half_days]),
            "files": _listed(list(self.files)),
        }
        if self.files_unused:
            rows["files unused"] = _listed(list(self.files_unused))
        if self.marks_unused:
            rows["marks unused"] = _listed(list(self.marks_unused))
        for name, text in rows.items():
            table.add_row(name, text)
        return table

    def _symbol_table(self) -> Table:
        columns = (
            "symbol", "filled bars", "of these at open", "volume 0", "outside hours", "no session",
            "absent sessions",
        )  # fmt: skip
        table = _table("Per symbol, in bars", columns, right=columns[1:])
        for counts in self.per_symbol:
            numbers = list(asdict(counts).values())[1:]
            table.add_row(counts.symbol, *(f"{number:,}" for number in numbers))
        return table

    def _segment_table(self) -> Table:
        rows = [(str(span.first), str(span.last), str(span.sessions)) for span in self.segments]
        return _filled(_table("Segments", ("first", "last", "sessions"), right=("sessions",)), rows)

    def _dropped_table(self) -> Table:
        columns = ("date", "symbol", "missing", "of", "reason")
        rows = [
            (str(entry.date), entry.symbol, str(entry.missing_bars), str(entry.n_bars), entry.reason)
            for entry in self.dropped
        ]
        return _filled(_table("Sessions dropped", columns, right=("missing", "of")), rows)

    def _absent_table(self) -> Table:
        columns = ("symbol", "first", "last", "sessions")
        rows = [(span.symbol, str(span.first), str(span.last), str(span.sessions)) for span in self.absent]
        return _filled(_table("Sessions without a bar", columns, right=("sessions",)), rows)

    def _split_table(self) -> Table:
        rows = [
            (split.symbol, str(split.date), f"{split.ratio:g}" if split.ratio != 1.0 else "1 (no split)")
            for split in self.splits
        ]
        return _filled(_table("Split table", ("symbol", "date", "ratio"), right=("ratio",)), rows)


def absent_spans(
    symbol: str, dates: NDArray[np.datetime64], counts: NDArray[np.int64]
) -> tuple[AbsentSpan, ...]:
    """Return the rows of sessions without a bar.

    Args:
        symbol: The symbol.
        dates: ``(n_sessions,)`` datetime64[D], every exchange session of the time looked at.
        counts: ``(n_sessions,)`` int64, bars there are.
    """
    empty = np.flatnonzero(counts == 0)
    rows = np.split(empty, np.flatnonzero(np.diff(empty) > 1) + 1) if len(empty) else []
    return tuple(
        AbsentSpan(symbol, session_date(dates[row[0]]), session_date(dates[row[-1]]), len(row))
        for row in rows
    )


def segment_spans(sessions: Sessions) -> tuple[SegmentSpan, ...]:
    """Return first date, last date and length of each segment."""
    firsts = np.flatnonzero(np.diff(sessions.segment, prepend=-1))
    stops = [*firsts[1:], len(sessions)]
    return tuple(
        SegmentSpan(
            session_date(sessions.dates[first]), session_date(sessions.dates[stop - 1]), int(stop - first)
        )
        for first, stop in zip(firsts, stops, strict=True)
    )


def session_date(date: np.datetime64) -> dt.date:
    """Return a datetime64[D] as a date.

    Raises:
        TypeError: If it is no such thing (finer units, NaT).
    """
    day = date.item()
    if not isinstance(day, dt.date) or isinstance(day, dt.datetime):
        raise TypeError(f"{date!r} is no date")
    return day


def _table(title: str, columns: Sequence[str], *, right: Sequence[str]) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left", show_header=any(columns), expand=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return table


def _filled(table: Table, rows: Sequence[Sequence[str]]) -> Table:
    """Add the rows to the table; past twenty say how many more the record holds."""
    for row in rows[:ROWS_SHOWN]:
        table.add_row(*row)
    if len(rows) > ROWS_SHOWN:
        table.caption = f"and {len(rows) - ROWS_SHOWN} more, all in the record"
    return table


def _listed(words: Sequence[str]) -> str:
    """Return the words in a row; past twenty say how many more there are."""
    if not words:
        return "none"
    more = f" and {len(words) - ROWS_SHOWN} more" if len(words) > ROWS_SHOWN else ""
    return ", ".join(words[:ROWS_SHOWN]) + more


def _plain(value: Any) -> Any:
    """Return a value as JSON knows it."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value.isoformat() if isinstance(value, dt.date) else value
