"""Share splits: the table that states them, and the overnight moves that look like one."""

from __future__ import annotations

import csv
import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import NoReturn, Self

import numpy as np
from numpy.typing import NDArray

from stairways.errors import BarsError

SPLIT_FACTORS = (2, 3, 4, 5, 10, 20)
SPLIT_TOLERANCE_RATIO = 0.02
SPLIT_COLUMNS = ("symbol", "date", "ratio")


@dataclass(frozen=True)
class Split:
    """One split.

    Attributes:
        symbol: The symbol that splits.
        date: First session on the new share basis.
        ratio: New shares per old share: 10 for 10-for-1, 1/10 for a reverse split, 1 for a move
            that was checked and is no split.
    """

    symbol: str
    date: dt.date
    ratio: float


@dataclass(frozen=True)
class SplitTable:
    """The splits that the bars on disk are not yet adjusted for.

    Prices before a split's date are divided by its ratio and volumes multiplied by it, so that all
    bars stand on the share basis after the table's last row.

    Attributes:
        splits: Rows in order of symbol and date.
    """

    splits: tuple[Split, ...] = ()

    def __post_init__(self) -> None:
        ordered = tuple(sorted(self.splits, key=lambda split: (split.symbol, split.date)))
        for left, right in pairwise(ordered):
            if (left.symbol, left.date) == (right.symbol, right.date):
                raise BarsError(
                    f"{left.symbol} stands twice on {left.date}", where="split table", remedy="keep one row"
                )
        for split in ordered:
            if not (np.isfinite(split.ratio) and split.ratio > 0):
                raise BarsError(
                    f"{split.symbol} {split.date} has the ratio {split.ratio}",
                    where="split table",
                    remedy="give new shares per old share, above 0: 10, 1/10, or 1 for 'no split'",
                )
        object.__setattr__(self, "splits", ordered)

    @classmethod
    def from_csv(cls, path: Path) -> Self:
        """Read a table ``symbol,date,ratio``; dates as YYYY-MM-DD, ratios as 10, 0.1 or 1/10.

        Raises:
            BarsError: If the file can't be read, or a row is malformed or stands twice.
        """
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                rows = [[cell.strip() for cell in row] for row in csv.reader(file) if any(row)]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise BarsError(
                f"the split table can't be read ({error})", where=str(path), remedy="give a readable CSV file"
            ) from error
        if not rows or tuple(cell.lower() for cell in rows[0]) != SPLIT_COLUMNS:
            raise BarsError(
                f"the header is {','.join(rows[0]) if rows else 'empty'}",
                where=str(path),
                remedy=f"start the split table with the line {','.join(SPLIT_COLUMNS)}",
            )
        return cls(tuple(_parse_row(row, f"{path}, row {number}") for number, row in enumerate(rows[1:], 2)))

    def of(self, symbol: str) -> tuple[Split, ...]:
        """Return the rows of one symbol in date order."""
        return tuple(split for split in self.splits if split.symbol == symbol)


def _parse_row(row: list[str], where: str) -> Split:
    """Return the split of one row of text."""
    try:
        symbol, date, ratio = row
        return Split(symbol=symbol, date=dt.date.fromisoformat(date), ratio=float(Fraction(ratio)))
    except (ValueError, ZeroDivisionError, OverflowError) as error:
        raise BarsError(
            f"'{','.join(row)}' is no split", where=where, remedy="write it like NVDA,2024-06-10,10"
        ) from error


def price_divisors(dates: NDArray[np.datetime64], splits: Sequence[Split]) -> NDArray[np.float64]:
    """Return what the prices of each session are to be divided by (volumes: multiplied).

    Args:
        dates: ``(n_sessions,)`` datetime64[D], ascending.
        splits: Rows of one symbol.

    Returns:
        ``(n_sessions,)`` float64, the product of the ratios of all splits after the session.
    """
    divisors = np.ones(len(dates))
    for split in splits:
        divisors[dates < np.datetime64(split.date, "D")] *= split.ratio
    return divisors


def split_factors_like(ratios: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the split that each overnight ratio looks like, NaN where it looks like none.

    Args:
        ratios: Previous close over open; NaN is passed through.

    Returns:
        The same shape, float64: 2, 3, 4, 5, 10, 20 or an inverse where the ratio lies within 2 % of it.
    """
    candidates = np.array([*SPLIT_FACTORS, *(1.0 / factor for factor in SPLIT_FACTORS)])
    # The slack keeps a move of exactly 2 % inside, whatever its last bit says.
    distance = np.abs(ratios[..., None] / candidates - 1.0)
    like = np.where(distance <= SPLIT_TOLERANCE_RATIO + 1e-9, candidates, 0.0).max(axis=-1)
    return np.where(like > 0.0, like, np.nan)


def check_overnight_moves(
    symbol: str,
    dates: NDArray[np.datetime64],
    previous_close_usd: NDArray[np.float64],
    open_usd: NDArray[np.float64],
    splits: Sequence[Split],
) -> None:
    """Refuse overnight moves that look like a split the table does not cover, and splits that aren't there.

    Args:
        symbol: The symbol, for the message.
        dates: ``(n_sessions,)`` datetime64[D], ascending.
        previous_close_usd: ``(n_sessions,)`` float64 as on disk; NaN where a segment starts.
        open_usd: ``(n_sessions,)`` float64 as on disk.
        splits: Rows of this symbol.

    Raises:
        BarsError: At the first such move, with its date and the row that would settle it.
    """
    ratios = previous_close_usd / open_usd
    stated, checked = _stated_ratios(dates, splits)
    not_there = (stated != 1.0) & (np.abs(np.log(ratios / stated)) >= np.abs(np.log(ratios)))
    if not_there.any():
        _refuse_absent_split(symbol, dates, ratios, stated, int(np.argmax(not_there)))
    like = split_factors_like(np.where(checked & (stated == 1.0), np.nan, ratios / stated))
    suspects = np.flatnonzero(~np.isnan(like))
    if len(suspects):
        _refuse_move(symbol, dates, previous_close_usd, open_usd, like, suspects)


def _stated_ratios(
    dates: NDArray[np.datetime64], splits: Sequence[Split]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the ratio the table states for the move into each session, and whether it states one."""
    stated = np.ones(len(dates))
    checked = np.zeros(len(dates), dtype=np.bool_)
    for split in splits:
        session = int(np.searchsorted(dates, np.datetime64(split.date, "D"), side="left"))
        if session < len(dates):
            stated[session] *= split.ratio
            checked[session] = True
    return stated, checked


def _refuse_absent_split(
    symbol: str,
    dates: NDArray[np.datetime64],
    ratios: NDArray[np.float64],
    stated: NDArray[np.float64],
    at: int,
) -> NoReturn:
    raise BarsError(
        f"the split table states a ratio of {stated[at]:g}, but previous close / open is {ratios[at]:.4f}",
        where=f"{symbol} {dates[at]}",
        remedy="the bars are adjusted already or the date is wrong: mend or remove the row",
    )


def _refuse_move(
    symbol: str,
    dates: NDArray[np.datetime64],
    previous_close_usd: NDArray[np.float64],
    open_usd: NDArray[np.float64],
    like: NDArray[np.float64],
    suspects: NDArray[np.int64],
) -> NoReturn:
    at = int(suspects[0])
    factor = round(like[at]) if like[at] > 1.0 else round(1.0 / like[at])
    words, row = (f"{factor} for 1", f"{factor}") if like[at] > 1.0 else (f"1 for {factor}", f"1/{factor}")
    others = f" ({len(suspects) - 1} more such moves follow)" if len(suspects) > 1 else ""
    move = f"{previous_close_usd[at]:g} to {open_usd[at]:g}"
    raise BarsError(
        f"the overnight move {move} looks like a split of {words}{others}",
        where=f"{symbol} {dates[at]}",
        remedy=f"if it is one, put the row {symbol},{dates[at]},{row} into the split table "
        f"(splits.csv in the folder of the bars); if the price really moved so, {symbol},{dates[at]},1",
    )
