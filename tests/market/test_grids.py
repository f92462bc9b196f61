import datetime as dt

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stairways.market.bars import RawBars
from stairways.market.calendar import exchange_sessions
from stairways.market.grids import adjust, fill, lay_bars, overnight
from stairways.market.placing import merge_bars, place_bars

CALENDAR = exchange_sessions(dt.date(2025, 7, 1), dt.date(2025, 9, 30))
OPENS = CALENDAR.open_utc.astype("datetime64[us]")
BARS = CALENDAR.n_bars(5)


def bars_of(symbol, gone, at, block):
    """Return bars in two files, cut after session ``at``, without the bars that ``gone`` names."""
    cells = [(s, b) for s in range(len(CALENDAR)) for b in range(BARS[s]) if (s, b) not in gone]
    rng = np.random.default_rng(len(cells))
    values = 100.0 + rng.random((len(cells), 5))
    values[:, 1], values[:, 2] = 102.0, 99.0
    values[:, 4] = rng.integers(0, 3, len(cells))
    sessions = np.array([session for session, _ in cells])
    start = np.array([OPENS[s] + np.timedelta64(5 * b, "m") for s, b in cells])
    placed = []
    for name, rows in (("late", sessions > at), ("early", sessions <= at)):
        own = values[rows]
        blocks = [tuple(part.copy() for part in own[k : k + block].T) for k in range(0, len(own), block)]
        placed += place_bars(RawBars(name, symbol, start[rows], tuple(blocks)), CALENDAR, 5)
    expected = np.full((5, len(CALENDAR), 78), np.nan)
    for (session, bar), row in zip(cells, values, strict=True):
        expected[:, session, bar] = row
    return merge_bars(symbol, placed, CALENDAR, 5), expected


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_bars_of_several_files_lie_where_they_belong(data):
    cell = st.tuples(st.integers(0, len(CALENDAR) - 1), st.integers(1, 41))
    at, block = data.draw(st.integers(10, 50)), data.draw(st.integers(50, 6000))
    made = [bars_of(name, data.draw(st.sets(cell, max_size=5)), at, block) for name in ("A", "B", "C")]
    dropped = data.draw(st.sets(st.integers(0, len(CALENDAR) - 1), max_size=8))
    keep = np.array([session not in dropped for session in range(len(CALENDAR))])
    grids, quiet = lay_bars([bars for bars, _ in made], keep, 78)
    expected = np.stack([grid[:, keep] for _, grid in made], axis=-1)
    assert np.array_equal(grids, expected, equal_nan=True)
    assert quiet.tolist() == (expected[4] == 0.0).sum(axis=(0, 1)).tolist()
    for leg, (bars, _) in enumerate(made):
        there = ~np.isnan(expected[3, :, :, leg])
        assert bars.counts[keep].tolist() == there.sum(axis=1).tolist()
        assert bars.first_bar[keep].tolist() == there.argmax(axis=1).tolist()
        assert bars.last_bar[keep].tolist() == (77 - there[:, ::-1].argmax(axis=1)).tolist()


def test_the_overnight_move_goes_from_the_last_bar_there_is_to_the_first():
    prices = np.array([[1.0, 2.0, 3.0, np.nan], [np.nan, 4.0, 5.0, 6.0], [7.0, 8.0, 9.0, 10.0]])
    grids = np.stack([prices + 100.0 * column for column in range(5)])[..., None]
    first, last = np.array([0, 1, 0]), np.array([2, 3, 3])
    previous_close, first_open = overnight(grids, 0, first, last, np.array([True, False, False]))
    assert np.array_equal(previous_close, [np.nan, 303.0, 306.0], equal_nan=True)
    assert first_open.tolist() == [1.0, 4.0, 7.0]


def test_prices_are_divided_and_volumes_multiplied_of_one_symbol_alone():
    grids = np.full((5, 2, 3, 2), 8.0)
    adjust(grids, 1, np.array([4.0, 1.0]))
    assert (grids[:, :, :, 0] == 8.0).all()
    assert (grids[:4, 0, :, 1] == 2.0).all()
    assert (grids[4, 0, :, 1] == 32.0).all()
    assert (grids[:, 1, :, 1] == 8.0).all()


def test_only_bars_by_the_calendar_are_filled():
    grids = np.full((5, 2, 3, 1), np.nan)
    grids[:, 0, :2, 0] = grids[:, 1, 1:, 0] = np.arange(1.0, 6.0)[:, None]
    filled = fill(grids, np.array([2, 3]), np.array([[2], [2]]))
    assert np.argwhere(filled).tolist() == [[1, 0, 0]]
    assert grids[:, 1, 0, 0].tolist() == [4.0, 4.0, 4.0, 4.0, 0.0]
    assert np.isnan(grids[:, 0, 2, 0]).all()
