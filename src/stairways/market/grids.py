"""Grids: the bars of kept sessions side by side, gaps filled, prices on one share basis.

``(5, n_sessions, max_bars, n_symbols)`` float64: open, high, low, close in USD and volume in shares.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stairways.market.bars import CLOSE, OPEN, VOLUME
from stairways.market.placing import SymbolBars
from stairways.market.placing_kernels import fill_gaps, lay_rows

# Grids of so many sessions stay in the processor's cache while the symbols, which share its lines, are laid.
_SESSIONS_AT_ONCE = 32


def lay_bars(
    merged: Sequence[SymbolBars], keep: NDArray[np.bool_], max_bars: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Lay the bars of kept sessions on the grids; NaN where there is none.

    Args:
        merged: Bars of each symbol.
        keep: ``(n_calendar,)`` bool, sessions to lay.
        max_bars: Bars of a full session.

    Returns:
        The grids, and how many of each symbol's bars have volume 0: ``(n_symbols,)`` int64.
    """
    grids = np.empty((VOLUME + 1, int(keep.sum()), max_bars, len(merged)))
    full = np.logical_and.reduce([bars.counts[keep] == max_bars for bars in merged])
    grids[:, ~full] = np.nan
    places = np.where(keep, np.cumsum(keep) - 1, -1)
    quiet = np.zeros(len(merged), dtype=np.int64)
    for begin in range(0, len(keep), _SESSIONS_AT_ONCE):
        sessions = slice(begin, begin + _SESSIONS_AT_ONCE)
        for leg, bars in enumerate(merged):
            for part in bars.parts:
                first, stop = part.first[sessions], part.stop[sessions]
                for row, columns in part.raw.blocks_between(int(first[0]), int(stop[-1])):
                    quiet[leg] += lay_rows(
                        columns, row, first, stop, part.bar_of_row, places[sessions], leg, grids
                    )
    return grids, quiet


def overnight(
    grids: NDArray[np.float64],
    leg: int,
    first_bar: NDArray[np.int64],
    last_bar: NDArray[np.int64],
    starts: NDArray[np.bool_],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the previous close (NaN at a segment's start) and the first open of each session.

    Args:
        grids: As laid, before gaps are filled.
        leg: Index of the symbol.
        first_bar: ``(n_sessions,)`` int64, the first bar there is.
        last_bar: ``(n_sessions,)`` int64, the last bar there is.
        starts: ``(n_sessions,)`` bool, first session of a segment of the symbol.
    """
    sessions = np.arange(len(starts))
    last_close = grids[CLOSE, sessions, last_bar, leg]
    previous = np.concatenate([[np.nan], last_close[:-1]])
    return np.where(starts, np.nan, previous), grids[OPEN, sessions, first_bar, leg]


def adjust(grids: NDArray[np.float64], leg: int, divisors: NDArray[np.float64]) -> None:
    """Put earlier sessions of one symbol on the later share basis, in place.

    Args:
        grids: The grids.
        leg: Index of the symbol.
        divisors: ``(n_sessions,)`` float64, of prices; volumes are multiplied.
    """
    if (divisors == 1.0).all():
        return
    grids[:VOLUME, :, :, leg] /= divisors[:, None]
    grids[VOLUME, :, :, leg] *= divisors[:, None]


def fill(
    grids: NDArray[np.float64], n_bars: NDArray[np.int64], counts: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Fill missing bars with the last close before them, volume 0, in place; return where.

    Before a session's first bar that is the last close of the session before, which the selection has
    made sure to be of the same segment.

    Args:
        grids: The grids, NaN where a bar is missing.
        n_bars: ``(n_sessions,)`` int64, bars there should be.
        counts: ``(n_sessions, n_symbols)`` int64, bars there are.

    Returns:
        ``(n_sessions, max_bars, n_symbols)`` bool.
    """
    filled = np.zeros(grids.shape[1:], dtype=np.bool_)
    gaps = counts < n_bars[:, None]
    if gaps.any():
        fill_gaps(grids, n_bars, gaps, filled)
    return filled
