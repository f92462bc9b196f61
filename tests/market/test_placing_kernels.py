"""Every compiled pass beside its plain form."""

from collections import Counter
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stairways.market.placing_kernels import (
    ascends,
    count_on_grid,
    fill_gaps,
    lay_rows,
    majority_distances,
    number_bars,
    sound,
)

PRICES = st.sampled_from([1.0, 1.5, 2.0, 0.0, -0.0, -1.0, np.nan, np.inf, -np.inf, 5e-324])
plainly = settings(deadline=None, max_examples=100)


def frozen(array):
    array.setflags(write=False)
    return array


@st.composite
def cut_rows(draw, most_steps=(1, 1, 1, 2, 5, 7)):
    """Draw ascending instants, sessions as slices of them, and the sessions' opens."""
    steps = draw(st.lists(st.sampled_from(most_steps), max_size=60))
    start = frozen(np.cumsum([0, *steps]).astype(np.int64))
    cuts = sorted(draw(st.lists(st.integers(0, len(start)), min_size=2, max_size=8)))
    first, stop = np.array(cuts[:-1]), np.array(cuts[1:])
    stop = stop - np.minimum(draw(st.integers(0, 2)), stop - first)
    opens = np.array([start[min(row, len(start) - 1)] - draw(st.integers(0, 3)) for row in first])
    return start, first, stop, opens


@plainly
@given(st.lists(st.integers(-3, 10), max_size=12))
def test_ascends(start):
    for instants in (start, sorted(set(start))):
        assert ascends(frozen(np.array(instants, dtype=np.int64))) == all(
            a < b for a, b in pairwise(instants)
        )


@plainly
@given(st.lists(st.tuples(PRICES, PRICES, PRICES, PRICES, PRICES), max_size=3))
def test_sound(rows):
    def good(row):
        prices, volume = row[:4], row[4]
        whole = all(np.isfinite(value) for value in row) and min(prices) > 0 and volume >= 0
        return whole and prices[1] == max(prices) and prices[2] == min(prices)

    fine = [(1.5, 2.0, 1.0, 1.5, 0.0)] * 20
    for table in (rows, fine + rows, rows + fine):
        columns = np.array(table, dtype=np.float64).reshape(-1, 5).T
        assert sound(*(frozen(column.copy()) for column in columns)) == all(good(row) for row in table)


@plainly
@given(cut_rows())
def test_majority_distances(drawn):
    start, first, stop, _ = drawn
    found = np.full(len(first), -1)
    majority_distances(start, first, stop, found)
    for session, (begin, end) in enumerate(zip(first, stop, strict=True)):
        counts = Counter(np.diff(start[begin:end]).tolist())
        winners = [distance for distance, count in counts.items() if 2 * count > counts.total()]
        assert found[session] == (winners[0] if winners else 0)


@plainly
@given(cut_rows(), st.data())
def test_count_on_grid(drawn, data):
    start, first, stop, opens = drawn
    sizes = st.lists(st.sampled_from([0, 1, 2, 3, 5]), min_size=len(first), max_size=len(first))
    interval = np.array(data.draw(sizes))
    found = np.full(len(first), -1)
    count_on_grid(start, first, stop, opens, interval, found)
    for session, (begin, end) in enumerate(zip(first, stop, strict=True)):
        offsets = start[begin:end] - opens[session]
        size = interval[session]
        assert found[session] == (sum(offset % size == 0 for offset in offsets) if size else 0)


@plainly
@given(cut_rows(), st.sampled_from([1, 2, 5]))
def test_number_bars(drawn, interval):
    start, first, stop, opens = drawn
    bar = np.full(len(start), -1, dtype=np.int16)
    first_off, n_off = number_bars(start, first, stop, opens, interval, bar)
    expected, off = [-1] * len(start), []
    for session, (begin, end) in enumerate(zip(first, stop, strict=True)):
        for row in range(begin, end):
            expected[row], rest = divmod(int(start[row] - opens[session]), interval)
            off += [row] if rest else []
    assert bar.tolist() == expected
    assert (first_off, n_off) == (off[0] if off else -1, len(off))


@plainly
@given(st.data())
def test_lay_rows(data):
    n_sessions, max_bars, n_symbols, leg = 4, 5, 2, data.draw(st.integers(0, 1))
    counts = data.draw(st.lists(st.integers(0, max_bars), min_size=n_sessions, max_size=n_sessions))
    gap = data.draw(st.integers(0, 2))
    first = np.array([gap + sum(counts[:k]) + gap * k for k in range(n_sessions)])
    stop = first + np.array(counts)
    n_rows = int(stop[-1]) + gap
    values = np.random.default_rng(data.draw(st.integers(0, 99))).integers(0, 3, (n_rows, 5)).astype(float)
    bar = np.zeros(n_rows, dtype=np.int16)
    for begin, end in zip(first, stop, strict=True):
        chosen = data.draw(st.permutations(range(max_bars)))[: end - begin]
        bar[begin:end] = sorted(chosen)
    keep = np.array(data.draw(st.lists(st.booleans(), min_size=n_sessions, max_size=n_sessions)))
    places = np.where(keep, np.cumsum(keep) - 1, -1)
    shape = (5, int(keep.sum()), max_bars, n_symbols)
    grids, expected, quiet = np.full(shape, np.nan), np.full(shape, np.nan), 0
    size = data.draw(st.integers(1, n_rows + 1))
    for begin in range(0, n_rows, size):
        block = tuple(frozen(column.copy()) for column in values[begin : begin + size].T)
        quiet += lay_rows(block, begin, first, stop, bar, places, leg, grids)
    for session in np.flatnonzero(keep):
        for row in range(first[session], stop[session]):
            expected[:, places[session], bar[row], leg] = values[row]
    assert np.array_equal(grids, expected, equal_nan=True)
    assert quiet == (expected[4] == 0.0).sum()


@plainly
@given(st.data())
def test_fill_gaps(data):
    n_bars = np.array(data.draw(st.lists(st.integers(2, 6), min_size=1, max_size=4)))
    prices = np.arange(1.0, 1.0 + len(n_bars) * 12).reshape(len(n_bars), 6, 2)
    for session, leg in np.ndindex(len(n_bars), 2):
        prices[session, n_bars[session] :, leg] = np.nan
        gaps = data.draw(st.sets(st.integers(0, int(n_bars[session]) - 1), max_size=int(n_bars[session]) - 1))
        prices[session, [bar for bar in gaps if session or bar], leg] = np.nan
    grids = np.stack([prices + 100.0 * column for column in range(5)])
    missing = np.isnan(prices) & (np.arange(6)[:, None] < n_bars[:, None, None])
    expected, filled = grids.copy(), np.zeros(prices.shape, dtype=np.bool_)
    fill_gaps(grids, n_bars, missing.any(axis=1), filled)
    for leg in range(2):
        last = np.nan
        for session in range(len(n_bars)):
            for bar in range(n_bars[session]):
                if missing[session, bar, leg]:
                    expected[:4, session, bar, leg], expected[4, session, bar, leg] = last, 0.0
                last = expected[3, session, bar, leg]
    assert np.array_equal(grids, expected, equal_nan=True)
    assert np.array_equal(filled, missing)
