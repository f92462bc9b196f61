"""Bars on disk: read long frames, find their interval by content, refuse what can't be used.

A folder holds Parquet or CSV files with the columns ``timestamp, open, high, low, close, volume`` and,
as a rule, ``symbol``; a file may hold several symbols and intervals. Timestamps are bar starts with a
time zone. Values are checked only where they are used: in regular hours, at the interval asked for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stairways.errors import BarsError
from stairways.market.calendar import EXCHANGE_TIME_ZONE, FIRST_DATE, LAST_DATE, ExchangeSessions

if TYPE_CHECKING:
    import polars as pl

FILE_SUFFIXES = (".parquet", ".csv")
SPLIT_FILE = "splits.csv"
VALUE_COLUMNS = ("open", "high", "low", "close", "volume")
OPEN, HIGH, LOW, CLOSE, VOLUME = range(5)
MINUTE_US = 60_000_000
DAY_US = 86_400_000_000
SUPPORTED_INTERVALS = (1, 5)
# A clock time followed by Z or an offset; anything else is a local time.
_OFFSET_PATTERN = r"\d:\d\d\S*([zZ]|[+-]\d\d:?\d\d)$"
_TIMESTAMP_FORMAT = "%Y-%m-%dT%H:%M:%S%.f%z"
# More backward steps than this are disorder, not blocks of several intervals in one file.
_MAX_RUNS = 4


@dataclass(frozen=True, eq=False)
class RawBars:
    """Bars of one symbol in the order of one file.

    Attributes:
        file: Name of the file.
        symbol: The symbol.
        start_utc: ``(n_rows,)`` datetime64[us], starts of the bars.
        dates: ``(n_rows,)`` datetime64[D], exchange dates of the starts.
        values: ``(n_rows, 5)`` float64: open, high, low, close in USD, volume in shares.
    """

    file: str
    symbol: str
    start_utc: NDArray[np.datetime64]
    dates: NDArray[np.datetime64]
    values: NDArray[np.float64]

    def part(self, rows: slice) -> RawBars:
        """Return some of the rows (views, no copy)."""
        return RawBars(self.file, self.symbol, self.start_utc[rows], self.dates[rows], self.values[rows])


@dataclass(frozen=True, eq=False)
class FileBars:
    """What one file gave.

    Attributes:
        file: Name of the file.
        says_symbol: Whether a symbol column or an asked symbol in the name says whose bars these are.
        bars: One entry per asked symbol found.
    """

    file: str
    says_symbol: bool
    bars: tuple[RawBars, ...]


@dataclass(frozen=True, eq=False)
class PlacedBars:
    """Bars of one symbol, one file and one interval in their places in the calendar.

    Attributes:
        file: Name of the file.
        symbol: The symbol.
        session: ``(n_rows,)`` int64, index of the session in the calendar.
        bar: ``(n_rows,)`` int64, index of the bar in its session.
        values: ``(n_rows, 5)`` float64: open, high, low, close in USD, volume in shares.
        outside_hours_bars: Bars left out because they start before the open or after the close.
        no_session_bars: Bars left out because their day is no session.
        intervals_minutes: Every interval that the rows were found to stand at.
    """

    file: str
    symbol: str
    session: NDArray[np.int64]
    bar: NDArray[np.int64]
    values: NDArray[np.float64]
    outside_hours_bars: int
    no_session_bars: int
    intervals_minutes: frozenset[float]


def bar_files(folder: Path) -> tuple[Path, ...]:
    """Return the Parquet and CSV files of a folder by name, without the split table.

    Raises:
        BarsError: If there is no such folder, or no such file in it.
    """
    if not folder.is_dir():
        raise BarsError("there is no such folder", where=str(folder), remedy="give the folder of the bars")
    files = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in FILE_SUFFIXES and path.name != SPLIT_FILE and path.is_file()
    )
    if not files:
        raise BarsError(
            "the folder holds no Parquet or CSV file", where=str(folder), remedy="put the bars there"
        )
    return tuple(files)


def read_bars(path: Path, symbols: Sequence[str]) -> FileBars:
    """Return the bars of the asked symbols in one file.

    A file without a symbol column belongs to the asked symbol that stands in its name as a token of
    its own (``NVDA.csv``, ``NVDA_1min.parquet``); with none, nothing of it is read.

    Raises:
        BarsError: If the file can't be read or lacks a column, if timestamps carry no time zone, or if
            its name holds two asked symbols.
    """
    import polars as pl

    try:
        frame = _scan(path)
        columns = _columns(frame, path)
        named = None if "symbol" in columns else _symbol_in_name(path, symbols)
        if "symbol" not in columns and named is None:
            return FileBars(file=path.name, says_symbol=False, bars=())
        table = _select(frame, columns, symbols, named, path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise BarsError(
            f"the file can't be read ({str(error).splitlines()[0] if str(error) else type(error).__name__})",
            where=str(path),
            remedy="write it anew as Parquet or CSV, or take it out of the folder",
        ) from error
    own = {symbol: table.filter(pl.col("symbol") == symbol) for symbol in symbols}
    return FileBars(
        file=path.name,
        says_symbol=True,
        bars=tuple(_raw_bars(rows, symbol, path) for symbol, rows in own.items() if len(rows)),
    )


def symbols_in(path: Path) -> tuple[str, ...]:
    """Return every symbol that a file names in its symbol column, sorted; empty without that column."""
    import polars as pl

    frame = _scan(path)
    columns = _columns(frame, path)
    if "symbol" not in columns:
        return ()
    found = frame.select(pl.col(columns["symbol"]).cast(pl.String).unique()).collect()
    return tuple(sorted(str(symbol) for symbol in found.to_series().drop_nulls()))


def _scan(path: Path) -> pl.LazyFrame:
    import polars as pl

    if path.suffix.lower() == ".parquet":
        return pl.scan_parquet(path, glob=False)
    # Text stays text: types guessed from the first rows would turn offsets and symbols into something else.
    return pl.scan_csv(path, infer_schema=False, glob=False)


def _columns(frame: pl.LazyFrame, path: Path) -> dict[str, str]:
    """Return the file's own name of each column needed; upper or lower case does not matter."""
    present = frame.collect_schema().names()
    columns: dict[str, str] = {}
    for name in ("symbol", "timestamp", *VALUE_COLUMNS):
        matches = [column for column in present if column.strip().lower() == name]
        if len(matches) > 1 or (not matches and name != "symbol"):
            raise BarsError(
                f"{'two columns' if matches else 'no column'} {name} among {', '.join(present) or 'none'}",
                where=str(path),
                remedy=f"bars need timestamp, {', '.join(VALUE_COLUMNS)} and symbol (unless the file's name "
                "says it); a file that holds no bars belongs elsewhere",
            )
        if matches:
            columns[name] = matches[0]
    return columns


def _symbol_in_name(path: Path, symbols: Sequence[str]) -> str | None:
    tokens = set(re.split(r"[_\-\s]+", path.stem))
    matches = [symbol for symbol in symbols if symbol in tokens]
    if len(matches) > 1:
        raise BarsError(
            f"there is no symbol column, and the name holds {' and '.join(matches)}",
            where=str(path),
            remedy="add a column symbol",
        )
    return matches[0] if matches else None


def _select(
    frame: pl.LazyFrame, columns: dict[str, str], symbols: Sequence[str], named: str | None, path: Path
) -> pl.DataFrame:
    """Return symbol, timestamp and values of the asked symbols in the file's order."""
    import polars as pl

    symbol = pl.lit(named) if named is not None else pl.col(columns["symbol"]).cast(pl.String)
    table = (
        frame.with_columns(symbol.alias("symbol"))
        .filter(pl.col("symbol").is_in(list(symbols)) | pl.col("symbol").is_null())
        .select(
            "symbol",
            pl.col(columns["timestamp"]).alias("timestamp"),
            *(pl.col(columns[name]).cast(pl.Float64, strict=False).alias(name) for name in VALUE_COLUMNS),
        )
        .collect()
    )
    nameless = table["symbol"].null_count()
    if nameless:
        raise BarsError(f"{nameless} rows have no symbol", where=str(path), remedy="fill the column symbol")
    return table


def _raw_bars(table: pl.DataFrame, symbol: str, path: Path) -> RawBars:
    """Return the rows of one symbol with their timestamps in UTC and as exchange dates."""
    where = f"{path}, {symbol}"
    start = _utc(table["timestamp"], where)
    dates = start.dt.convert_time_zone(EXCHANGE_TIME_ZONE).dt.date().to_numpy().astype("datetime64[D]")
    outside = np.flatnonzero((dates < np.datetime64(FIRST_DATE)) | (dates > np.datetime64(LAST_DATE)))
    if len(outside):
        raise BarsError(
            f"the timestamp {start[int(outside[0])]} lies outside the calendar ({len(outside)} such rows)",
            where=where,
            remedy=f"timestamps lie between {FIRST_DATE} and {LAST_DATE}",
        )
    return RawBars(
        file=path.name,
        symbol=symbol,
        start_utc=start.dt.replace_time_zone(None).to_numpy(),
        dates=dates,
        values=table.select(VALUE_COLUMNS).to_numpy(),
    )


def _utc(stamps: pl.Series, where: str) -> pl.Series:
    """Return timestamps in UTC, microseconds; refuse those without a time zone."""
    import polars as pl

    remedy = "write timestamps with a time zone: UTC in Parquet, Z or an offset like -05:00 in CSV"
    if isinstance(stamps.dtype, pl.Datetime) and stamps.dtype.time_zone is not None:
        start = stamps.dt.cast_time_unit("us").dt.convert_time_zone("UTC")
    elif stamps.dtype == pl.String:
        start = _parsed(stamps, where, remedy)
    else:
        kind = "carry no time zone" if isinstance(stamps.dtype, pl.Datetime) else f"are {stamps.dtype}"
        raise BarsError(f"timestamps {kind}, the first is {stamps[0]}", where=where, remedy=remedy)
    if start.null_count():
        raise BarsError(f"{start.null_count()} rows have no timestamp", where=where, remedy=remedy)
    return start


def _parsed(stamps: pl.Series, where: str, remedy: str) -> pl.Series:
    """Return timestamps that stand as text; each must carry Z or an offset."""
    text = stamps.str.strip_chars().str.replace(r"\s+([+-]\d\d:?\d\d|[zZ])$", "$1")
    local = ~text.str.contains(_OFFSET_PATTERN)
    if local.any():
        raise BarsError(
            f"{local.sum()} timestamps carry no time zone, the first is '{text.filter(local)[0]}'",
            where=where,
            remedy=remedy,
        )
    plain = (
        text.str.replace(r"[zZ]$", "+00:00")
        .str.replace(r"\s+|t", "T")
        .str.replace(r"(T\d\d:\d\d)([+-])", "${1}:00${2}")
    )
    start = plain.str.to_datetime(_TIMESTAMP_FORMAT, strict=False, time_unit="us")
    wrong = start.is_null() & text.is_not_null()
    if wrong.any():
        raise BarsError(
            f"{wrong.sum()} timestamps can't be read, the first is '{text.filter(wrong)[0]}'",
            where=where,
            remedy="write them like 2025-01-02T14:30:00Z",
        )
    return start


def place_bars(raw: RawBars, calendar: ExchangeSessions, interval_minutes: int) -> tuple[PlacedBars, ...]:
    """Return the bars at one interval in their places; one entry per run of ascending timestamps.

    Raises:
        BarsError: If timestamps are unsorted, twice there, off the grid, or mark the ends of bars; or if
            prices or volumes can't be true.
    """
    runs = _runs(raw)
    found = [session_intervals(*_grid_position(run, calendar), calendar) for run in runs]
    if len(runs) > 1:
        _check_runs(raw, runs, [witnessed for _, witnessed in found])
    return tuple(
        _placed(run, calendar, by_session, witnessed, interval_minutes)
        for run, (by_session, witnessed) in zip(runs, found, strict=True)
    )


def _runs(raw: RawBars) -> tuple[RawBars, ...]:
    """Split rows where time steps back: a file may hold one interval after the other."""
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
    bounds = [0, *(int(row) for row in back), len(raw.start_utc)]
    return tuple(raw.part(slice(start, stop)) for start, stop in pairwise(bounds))


def _check_runs(raw: RawBars, runs: Sequence[RawBars], witnessed: Sequence[frozenset[int]]) -> None:
    """Refuse several runs unless each stands at intervals of its own: then they are blocks, not disorder."""
    seen: set[int] = set()
    for intervals in witnessed:
        if not intervals or intervals & seen:
            first = len(runs[0].start_utc)
            raise _unsorted(raw, np.array([first]))
        seen |= intervals


def _unsorted(raw: RawBars, back: NDArray[np.int64]) -> BarsError:
    return _at_row(raw, int(back[0]), "unsorted: time steps back", len(back), "sort by symbol and timestamp")


def _grid_position(
    raw: RawBars, calendar: ExchangeSessions
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Return where each row stands, three arrays ``(n_rows,)``.

    The session of its day or, on a day without one, the last before; microseconds since that session's open;
    whether the row lies in its hours.
    """
    session = np.searchsorted(calendar.dates, raw.dates, side="right") - 1
    nearest = np.maximum(session, 0)
    offset_us = (raw.start_utc - calendar.open_utc[nearest].astype("datetime64[us]")).astype(np.int64)
    inside = (calendar.dates[nearest] == raw.dates) & (offset_us >= 0)
    inside &= offset_us < calendar.minutes[nearest] * MINUTE_US
    return nearest, offset_us, inside


def session_intervals(
    session: NDArray[np.int64],
    offset_us: NDArray[np.int64],
    inside: NDArray[np.bool_],
    calendar: ExchangeSessions,
) -> tuple[NDArray[np.int64], frozenset[int]]:
    """Find the interval of each session from the distances between its timestamps.

    A session is a witness of its interval (its most frequent distance, ties to the smaller) if it holds at
    least half the bars of that interval and nine in ten lie on its grid. Sessions too thin to tell take the
    interval of the last witness before them, else of the first after; without any witness all take the most
    frequent distance of all.

    Args:
        session: ``(n_rows,)`` int64, index into the calendar, ascending.
        offset_us: ``(n_rows,)`` int64, microseconds since the session's open, ascending within a session.
        inside: ``(n_rows,)`` bool, whether the row lies in regular hours; others are not looked at.
        calendar: The sessions.

    Returns:
        ``(n_sessions,)`` int64, the interval in microseconds, 0 where nothing is known; and the intervals
        that have a witness.
    """
    session, offset_us = session[inside], offset_us[inside]
    within = session[1:] == session[:-1]
    distance = np.diff(offset_us)[within]
    keys, counts = np.unique(session[1:][within] * DAY_US + distance, return_counts=True)
    if not len(keys):
        return np.zeros(len(calendar), dtype=np.int64), frozenset()
    own = _most_frequent(keys // DAY_US, keys % DAY_US, counts, len(calendar))
    clear = _is_clear(session, offset_us, own, calendar)
    usual = _mode(own[clear])
    witness = clear & (
        np.isin(own, [minutes * MINUTE_US for minutes in SUPPORTED_INTERVALS]) | (own == usual)
    )
    if not witness.any():
        return np.full(len(calendar), _mode(distance), dtype=np.int64), frozenset()
    return _carried(own, witness), frozenset(int(interval) for interval in np.unique(own[witness]))


def _most_frequent(
    group: NDArray[np.int64], value: NDArray[np.int64], counts: NDArray[np.int64], n_groups: int
) -> NDArray[np.int64]:
    """Return the most frequent value of each group, ties to the smaller, 0 for empty groups."""
    order = np.lexsort((value, -counts, group))
    groups, first = np.unique(group[order], return_index=True)
    result = np.zeros(n_groups, dtype=np.int64)
    result[groups] = value[order][first]
    return result


def _mode(values: NDArray[np.int64]) -> int:
    """Return the most frequent value, ties to the smaller; 0 for none."""
    if not len(values):
        return 0
    distinct, counts = np.unique(values, return_counts=True)
    return int(distinct[np.argmax(counts)])


def _is_clear(
    session: NDArray[np.int64],
    offset_us: NDArray[np.int64],
    interval_us: NDArray[np.int64],
    calendar: ExchangeSessions,
) -> NDArray[np.bool_]:
    """Return whether each session holds half the bars of its interval, nine in ten on its grid."""
    rows = np.bincount(session, minlength=len(calendar))
    divisor = np.maximum(interval_us, 1)[session]
    on_grid = np.bincount(session, weights=(offset_us % divisor == 0), minlength=len(calendar))
    half_full = 2 * rows * interval_us >= calendar.minutes * MINUTE_US
    return (interval_us > 0) & half_full & (10 * on_grid >= 9 * rows)


def _carried(values: NDArray[np.int64], known: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return values with the unknown ones replaced by the last known before, else the first after."""
    last_known = np.maximum.accumulate(np.where(known, np.arange(len(values)), -1))
    return values[np.where(last_known < 0, int(np.argmax(known)), last_known)]


def _placed(
    run: RawBars,
    calendar: ExchangeSessions,
    by_session_us: NDArray[np.int64],
    witnessed: frozenset[int],
    interval_minutes: int,
) -> PlacedBars:
    """Place and check the rows of one run that stand at the interval."""
    session, offset_us, inside = _grid_position(run, calendar)
    interval_us = interval_minutes * MINUTE_US
    at_interval = by_session_us[session] == interval_us
    used = inside & at_interval
    _check_bar_starts(run, session, offset_us, at_interval, inside, calendar)
    _check_grid(run, offset_us, used, interval_minutes)
    _check_values(run, used)
    on_session_day = calendar.dates[session] == run.dates
    found = witnessed or frozenset(int(value) for value in np.unique(by_session_us) if value)
    return PlacedBars(
        file=run.file,
        symbol=run.symbol,
        session=session[used],
        bar=offset_us[used] // interval_us,
        values=run.values[used],
        outside_hours_bars=int((at_interval & on_session_day & ~inside).sum()),
        no_session_bars=int((at_interval & ~on_session_day).sum()),
        intervals_minutes=frozenset(value / MINUTE_US for value in found),
    )


def _check_bar_starts(
    run: RawBars,
    session: NDArray[np.int64],
    offset_us: NDArray[np.int64],
    at_interval: NDArray[np.bool_],
    inside: NDArray[np.bool_],
    calendar: ExchangeSessions,
) -> None:
    """Refuse timestamps that mark bar ends: never one at the open, always one at the close.

    With bars before the open nothing can be told, nor with fewer than three sessions.
    """
    n_sessions = len(calendar)
    length_us = calendar.minutes[session] * MINUTE_US
    present = np.bincount(session[inside & at_interval], minlength=n_sessions) > 0
    at_open = np.bincount(session[at_interval & (offset_us == 0)], minlength=n_sessions) > 0
    at_close = np.bincount(session[at_interval & (offset_us == length_us)], minlength=n_sessions) > 0
    before_open = bool((at_interval & (offset_us < 0)).any())
    like_ends = int((present & ~at_open & at_close).sum())
    if before_open or present.sum() < 3 or like_ends * 10 < 9 * present.sum():
        return
    raise BarsError(
        f"timestamps look like bar ends: {like_ends} of {present.sum()} sessions have none at the open "
        "but one at the close",
        where=f"{run.file}, {run.symbol}",
        remedy="timestamps are bar starts: shift them back by one bar",
    )


def _check_grid(
    run: RawBars, offset_us: NDArray[np.int64], used: NDArray[np.bool_], interval_minutes: int
) -> None:
    off = np.flatnonzero(used & (offset_us % (interval_minutes * MINUTE_US) != 0))
    if len(off):
        raise _at_row(
            run,
            int(off[0]),
            f"not on the grid of {interval_minutes} min from the session's open",
            len(off),
            "timestamps are bar starts such as 09:30:00 New York; mend or remove these rows",
        )


def _check_values(run: RawBars, used: NDArray[np.bool_]) -> None:
    """Refuse prices and volumes that can't be true."""
    prices, volume = run.values[:, :VOLUME], run.values[:, VOLUME]
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
    for fault, rows in faults:
        wrong = np.flatnonzero(rows & used)
        if len(wrong):
            raise _at_row(run, int(wrong[0]), fault, len(wrong), "mend or remove these rows")


def _at_row(raw: RawBars, row: int, fault: str, count: int, remedy: str) -> BarsError:
    """Return the error of one fault at its first row."""
    stamp = raw.start_utc[row]
    whole_second = stamp == stamp.astype("datetime64[s]")
    start = np.datetime_as_string(stamp, unit="s" if whole_second else "us")
    first = "" if count == 1 else f", the first of {count} such rows"
    return BarsError(f"{fault} at {start}Z{first}", where=f"{raw.file}, {raw.symbol}", remedy=remedy)
