"""Bars on disk: read long frames, refuse what can't be read.

A folder holds Parquet or CSV files with the columns ``timestamp, open, high, low, close, volume`` and,
as a rule, ``symbol``; a file may hold several symbols and intervals. Timestamps are bar starts with a
time zone. Values are checked only where they are used, when the bars are put in their places.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stairways.errors import BarsError
from stairways.market.calendar import FIRST_DATE, LAST_DATE, midnights_utc

if TYPE_CHECKING:
    import polars as pl

FILE_SUFFIXES = (".parquet", ".csv")
SPLIT_FILE = "splits.csv"
VALUE_COLUMNS = ("open", "high", "low", "close", "volume")
OPEN, HIGH, LOW, CLOSE, VOLUME = range(5)
SUPPORTED_INTERVALS = (1, 5)
# A clock time followed by Z or an offset; anything else is a local time.
_OFFSET_PATTERN = r"\d:\d\d\S*([zZ]|[+-]\d\d:?\d\d)$"
_TIMESTAMP_FORMAT = "%Y-%m-%dT%H:%M:%S%.f%z"

Columns = tuple[NDArray[np.float64], ...]
"""Open, high, low, close in USD and volume in shares: five arrays ``(n_rows,)`` of some rows in a row."""


@dataclass(frozen=True, eq=False)
class RawBars:
    """Bars of one symbol in the order of one file.

    Attributes:
        file: Name of the file.
        symbol: The symbol.
        start_utc: ``(n_rows,)`` datetime64[us], starts of the bars.
        blocks: Columns of the rows, block by block as they were decoded: to join them would copy every value.
    """

    file: str
    symbol: str
    start_utc: NDArray[np.datetime64]
    blocks: tuple[Columns, ...]

    def __post_init__(self) -> None:
        # Compiled code is kept per type of its arguments, and read-only arrays are a type of their own.
        for array in (self.start_utc, *(column for block in self.blocks for column in block)):
            array.setflags(write=False)

    @cached_property
    def span_utc(self) -> tuple[np.datetime64, np.datetime64]:
        """Earliest and latest start of a bar."""
        # As datetime64 every row would be compared with NaT.
        ticks = self.start_utc.view(np.int64)
        return np.datetime64(int(ticks.min()), "us"), np.datetime64(int(ticks.max()), "us")

    @property
    def values(self) -> NDArray[np.float64]:
        """``(n_rows, 5)`` float64: open, high, low, close in USD, volume in shares; a copy."""
        return np.concatenate([np.column_stack(block) for block in self.blocks])

    def blocks_between(self, first: int, stop: int) -> Iterator[tuple[int, Columns]]:
        """Yield the blocks with any row from ``first`` to before ``stop``, each after its first row."""
        begin = 0
        for block in self.blocks:
            end = begin + len(block[OPEN])
            if begin < stop and end > first:
                yield begin, block
            begin = end


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
    return FileBars(
        file=path.name,
        says_symbol=True,
        bars=tuple(_raw_bars(rows, symbol, path) for symbol, rows in _by_symbol(table, symbols)),
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
    """Return number, timestamp and values of the asked symbols in the file's order.

    A symbol's place among those asked for stands for its name: two bytes a row instead of sixteen.
    """
    import polars as pl

    symbol = pl.lit(named) if named is not None else pl.col(columns["symbol"]).cast(pl.String)
    number = pl.coalesce(
        *(
            pl.when(pl.col("symbol") == name).then(pl.lit(place, dtype=pl.UInt16))
            for place, name in enumerate(symbols)
        )
    )
    table = (
        frame.with_columns(symbol.alias("symbol"))
        .filter(pl.col("symbol").is_in(list(symbols)) | pl.col("symbol").is_null())
        .select(
            number.alias("number"),
            pl.col(columns["timestamp"]).alias("timestamp"),
            *(pl.col(columns[name]).cast(pl.Float64, strict=False).alias(name) for name in VALUE_COLUMNS),
        )
        .collect()
    )
    nameless = table["number"].null_count()
    if nameless:
        raise BarsError(f"{nameless} rows have no symbol", where=str(path), remedy="fill the column symbol")
    return table


def _by_symbol(table: pl.DataFrame, symbols: Sequence[str]) -> list[tuple[str, pl.DataFrame]]:
    """Return the rows of each symbol there is; a table of one symbol as it is, for a filter copies."""
    import polars as pl

    if len(table) and (table["number"] == table["number"][0]).all():
        return [(symbols[table["number"][0]], table)]
    own = [(symbol, table.filter(pl.col("number") == place)) for place, symbol in enumerate(symbols)]
    return [(symbol, rows) for symbol, rows in own if len(rows)]


def _raw_bars(table: pl.DataFrame, symbol: str, path: Path) -> RawBars:
    """Return the rows of one symbol with their timestamps in UTC."""
    where = f"{path}, {symbol}"
    stamps = _utc(table["timestamp"], where)
    start = stamps.dt.replace_time_zone(None).to_numpy()
    bars = RawBars(file=path.name, symbol=symbol, start_utc=start, blocks=_blocks(table))
    begin, end = midnights_utc([FIRST_DATE, LAST_DATE + dt.timedelta(days=1)])
    if bars.span_utc[0] < begin or bars.span_utc[1] >= end:
        outside = np.flatnonzero((start < begin) | (start >= end))
        raise BarsError(
            f"the timestamp {stamps[int(outside[0])]} lies outside the calendar ({len(outside)} such rows)",
            where=where,
            remedy=f"timestamps lie between {FIRST_DATE} and {LAST_DATE}",
        )
    return bars


def _blocks(table: pl.DataFrame) -> tuple[Columns, ...]:
    """Return the values block by block; no value is copied where the columns' blocks are of one length."""
    columns = [table[name].get_chunks() for name in VALUE_COLUMNS]
    if len({tuple(len(chunk) for chunk in chunks) for chunks in columns}) > 1:
        return _blocks(table.rechunk())
    return tuple(tuple(chunk.to_numpy() for chunk in chunks) for chunks in zip(*columns, strict=True))


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
