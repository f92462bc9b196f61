"""Compiled passes over bars on their way from files to the grid.

Timestamps ascend, so the rows of a session are a slice: a pass knows its session, and divides only where
the distance to the row before is not the interval.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def ascends(start_us: NDArray[np.int64]) -> bool:
    """Return whether each instant of ``(n_rows,)`` int64 is later than the one before."""
    later = True
    for row in range(1, len(start_us)):
        later &= start_us[row] > start_us[row - 1]
    return later


@njit(cache=True, nogil=True)
def sound(
    opened: NDArray[np.float64],
    high: NDArray[np.float64],
    low: NDArray[np.float64],
    close: NDArray[np.float64],
    volume: NDArray[np.float64],
) -> bool:
    """Return whether all prices and volumes of ``(n_rows,)`` float64 each can be true; NaN can't."""
    good = True
    for row in range(len(opened)):
        good &= (
            (low[row] > 0.0)
            & (low[row] <= opened[row])
            & (opened[row] <= high[row])
            & (low[row] <= close[row])
            & (close[row] <= high[row])
            & (high[row] < np.inf)
            & (volume[row] >= 0.0)
            & (volume[row] < np.inf)
        )
    return good


@njit(cache=True, nogil=True, inline="always")
def count_distance(start_us: NDArray[np.int64], first: int, stop: int, distance_us: int) -> int:
    """Return how many rows behind ``first`` and before ``stop`` stand at a distance from the row before."""
    count = 0
    for row in range(first + 1, stop):
        count += start_us[row] - start_us[row - 1] == distance_us
    return count


@njit(cache=True, nogil=True, inline="always")
def voted_distance(start_us: NDArray[np.int64], first: int, stop: int) -> int:
    """Return the distance that is the majority if any is (Boyer and Moore, MJRTY, 1981); no sorting."""
    candidate, votes = 0, 0
    for row in range(first + 1, stop):
        distance = start_us[row] - start_us[row - 1]
        if votes == 0:
            candidate = distance
        votes += 1 if distance == candidate else -1
    return candidate


@njit(cache=True, nogil=True)
def majority_distances(
    start_us: NDArray[np.int64],
    first: NDArray[np.int64],
    stop: NDArray[np.int64],
    majority_us: NDArray[np.int64],
) -> None:
    """Write the distance that makes up more than half of those in each session.

    The first distance is tried before any vote: it nearly always wins, and counting is the quicker loop.

    Args:
        start_us: ``(n_rows,)`` int64, ascending.
        first: ``(n_sessions,)`` int64, first row of the session.
        stop: ``(n_sessions,)`` int64, row behind the last of the session.
        majority_us: ``(n_sessions,)`` int64, written; 0 where there is none.
    """
    for session in range(len(first)):
        begin, end = first[session], stop[session]
        majority_us[session] = 0
        if end - begin < 2:
            continue
        candidate = start_us[begin + 1] - start_us[begin]
        if 2 * count_distance(start_us, begin, end, candidate) <= end - begin - 1:
            candidate = voted_distance(start_us, begin, end)
            if 2 * count_distance(start_us, begin, end, candidate) <= end - begin - 1:
                continue
        majority_us[session] = candidate


@njit(cache=True, nogil=True)
def count_on_grid(
    start_us: NDArray[np.int64],
    first: NDArray[np.int64],
    stop: NDArray[np.int64],
    open_us: NDArray[np.int64],
    interval_us: NDArray[np.int64],
    on_grid: NDArray[np.int64],
) -> None:
    """Write how many rows of each session lie on the grid of its interval from its open.

    Args:
        start_us: ``(n_rows,)`` int64, ascending.
        first: ``(n_sessions,)`` int64, first row of the session.
        stop: ``(n_sessions,)`` int64, row behind the last of the session.
        open_us: ``(n_sessions,)`` int64, opening instants.
        interval_us: ``(n_sessions,)`` int64; 0 where none is known.
        on_grid: ``(n_sessions,)`` int64, written; 0 without an interval.
    """
    for session in range(len(first)):
        interval, rest, hits = interval_us[session], 1, 0
        if interval > 0:
            for row in range(first[session], stop[session]):
                if row == first[session] or start_us[row] - start_us[row - 1] != interval:
                    rest = (start_us[row] - open_us[session]) % interval
                hits += rest == 0
        on_grid[session] = hits


@njit(cache=True, nogil=True)
def number_bars(
    start_us: NDArray[np.int64],
    first: NDArray[np.int64],
    stop: NDArray[np.int64],
    open_us: NDArray[np.int64],
    interval_us: int,
    bar: NDArray[np.int16],
) -> tuple[int, int]:
    """Write the index of each row's bar in its session; return the first row off the grid and their number.

    Args:
        start_us: ``(n_rows,)`` int64, ascending.
        first: ``(n_sessions,)`` int64, first row of the session.
        stop: ``(n_sessions,)`` int64, row behind the last of the session.
        open_us: ``(n_sessions,)`` int64, opening instants.
        interval_us: Length of a bar.
        bar: ``(n_rows,)`` int16, written in the rows of sessions, rounded down off the grid.
    """
    first_off, n_off = -1, 0
    for session in range(len(first)):
        index, expected = 0, open_us[session]
        for row in range(first[session], stop[session]):
            if start_us[row] != expected:
                offset = start_us[row] - open_us[session]
                index = offset // interval_us
                if index * interval_us != offset:
                    first_off = row if n_off == 0 else first_off
                    n_off += 1
            bar[row] = index
            index += 1
            expected = open_us[session] + index * interval_us
    return first_off, n_off


@njit(cache=True, nogil=True)
def lay_rows(
    columns: tuple[NDArray[np.float64], ...],
    begin: int,
    first: NDArray[np.int64],
    stop: NDArray[np.int64],
    bar: NDArray[np.int16],
    places: NDArray[np.int64],
    leg: int,
    grids: NDArray[np.float64],
) -> int:
    """Write the rows of some sessions to the grids of one symbol; return how many have volume 0.

    Args:
        columns: Five columns ``(n_block,)`` float64: a block of the symbol's rows.
        begin: Row of the symbol at which the block begins.
        first: ``(n_sessions,)`` int64, first row of the session, whether in this block or not.
        stop: ``(n_sessions,)`` int64, row behind the last of the session.
        bar: ``(n_rows,)`` int16, index of each row's bar in its session.
        places: ``(n_sessions,)`` int64, session of the grids; -1 where it is left out.
        leg: Index of the symbol.
        grids: ``(5, n_kept, max_bars, n_symbols)`` float64, changed.
    """
    opened, high, low, close, volume = columns
    quiet = 0
    for session in range(len(first)):
        at = places[session]
        if at < 0:
            continue
        for row in range(max(first[session], begin), min(stop[session], begin + len(opened))):
            i, b = row - begin, bar[row]
            grids[0, at, b, leg] = opened[i]
            grids[1, at, b, leg] = high[i]
            grids[2, at, b, leg] = low[i]
            grids[3, at, b, leg] = close[i]
            grids[4, at, b, leg] = volume[i]
            quiet += volume[i] == 0.0
    return quiet


@njit(cache=True, nogil=True)
def fill_gaps(
    grids: NDArray[np.float64], n_bars: NDArray[np.int64], gaps: NDArray[np.bool_], filled: NDArray[np.bool_]
) -> None:
    """Fill missing bars with the last close before them, volume 0.

    Before a session's first bar that is the last close of the session before.

    Args:
        grids: ``(5, n_sessions, max_bars, n_symbols)`` float64, NaN where a bar is missing; changed.
        n_bars: ``(n_sessions,)`` int64.
        gaps: ``(n_sessions, n_symbols)`` bool, where a bar is missing.
        filled: ``(n_sessions, max_bars, n_symbols)`` bool, set where a bar was filled.
    """
    for session in range(gaps.shape[0]):
        for leg in range(gaps.shape[1]):
            if not gaps[session, leg]:
                continue
            last = grids[3, session - 1, n_bars[session - 1] - 1, leg] if session > 0 else np.nan
            for bar in range(n_bars[session]):
                if np.isnan(grids[3, session, bar, leg]):
                    grids[:4, session, bar, leg] = last
                    grids[4, session, bar, leg] = 0.0
                    filled[session, bar, leg] = True
                last = grids[3, session, bar, leg]
