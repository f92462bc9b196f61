import datetime as dt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stairways.errors import BarsError
from stairways.market.splits import (
    Split,
    SplitTable,
    check_overnight_moves,
    price_divisors,
    split_factors_like,
)

DATES = np.array(["2024-06-06", "2024-06-07", "2024-06-10", "2024-06-11"], dtype="datetime64[D]")
DAY = dt.date(2024, 6, 10)


def plain_factor_like(ratio):
    for factor in (2, 3, 4, 5, 10, 20):
        for candidate in (float(factor), 1.0 / factor):
            if abs(ratio / candidate - 1.0) <= 0.02 + 1e-9:
                return candidate
    return None


def check(closes, opens, splits=(), dates=DATES):
    """Check a row of sessions of one segment, given as closes and opens."""
    previous = np.array([np.nan, *closes[:-1]])
    check_overnight_moves("NVDA", dates, previous, np.array(opens, dtype=float), splits)


def test_table_reads_numbers_and_fractions(tmp_path):
    path = tmp_path / "splits.csv"
    path.write_text("Symbol,Date,Ratio\nNVDA, 2024-06-10 ,10\n\nNVDA,2021-07-20,4.0\nXYZ,2023-01-03,1/3\n")
    table = SplitTable.from_csv(path)
    assert table.of("NVDA") == (
        Split("NVDA", dt.date(2021, 7, 20), 4.0),
        Split("NVDA", dt.date(2024, 6, 10), 10.0),
    )
    assert table.of("XYZ")[0].ratio == 1 / 3
    assert table.of("SPY") == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the header is empty"),
        ("date,symbol,ratio\n", "the header is date,symbol,ratio"),
        ("symbol,date,ratio\nNVDA,10/06/2024,10\n", r"row 2: 'NVDA,10/06/2024,10' is no split"),
        ("symbol,date,ratio\nNVDA,2024-06-10,ten\n", "is no split"),
        ("symbol,date,ratio\nNVDA,2024-06-10,1/0\n", "is no split"),
        ("symbol,date,ratio\nNVDA,2024-06-10\n", "is no split"),
        ("symbol,date,ratio\nNVDA,2024-06-10,0\n", "has the ratio 0"),
        ("symbol,date,ratio\nNVDA,2024-06-10,-2\n", "has the ratio -2"),
        ("symbol,date,ratio\nNVDA,2024-06-10,nan\n", "is no split"),
        ("symbol,date,ratio\nNVDA,2024-06-10,10\nNVDA,2024-06-10,2\n", "NVDA stands twice on 2024-06-10"),
    ],
)
def test_malformed_tables_are_refused(tmp_path, text, message):
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(BarsError, match=message):
        SplitTable.from_csv(path)


def test_a_table_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(BarsError, match="can't be read"):
        SplitTable.from_csv(tmp_path / "none.csv")


def test_divisors_multiply_over_later_splits():
    splits = (Split("NVDA", dt.date(2024, 6, 7), 4.0), Split("NVDA", dt.date(2024, 6, 10), 10.0))
    assert price_divisors(DATES, splits).tolist() == [40.0, 10.0, 1.0, 1.0]
    assert price_divisors(DATES, ()).tolist() == [1.0] * 4
    assert price_divisors(DATES, (Split("NVDA", dt.date(2030, 1, 2), 2.0),)).tolist() == [2.0] * 4


@pytest.mark.parametrize("factor", [2, 3, 4, 5, 10, 20])
@pytest.mark.parametrize("inverse", [False, True])
def test_ratios_within_two_percent_look_like_a_split(factor, inverse):
    base = 1.0 / factor if inverse else float(factor)
    inside, outside = base * np.array([0.98, 0.99, 1.0, 1.02]), base * np.array([0.979, 1.021])
    assert split_factors_like(inside) == pytest.approx([base] * 4)
    assert np.isnan(split_factors_like(outside)).all()


@settings(deadline=None, max_examples=100)
@given(st.lists(st.floats(0.01, 100.0), min_size=1, max_size=20))
def test_split_factors_like_equals_the_plain_form(ratios):
    found = split_factors_like(np.array(ratios))
    assert [None if np.isnan(value) else value for value in found] == [plain_factor_like(r) for r in ratios]


def test_everyday_moves_and_a_halving_over_a_segment_start_pass():
    check([100.0, 104.0, 80.0, 81.0], [99.0, 101.0, 90.0, 79.0])
    check_overnight_moves("NVDA", DATES, np.full(4, np.nan), np.array([100.0, 50.0, 10.0, 20.0]), ())


@pytest.mark.parametrize(
    ("opened", "words", "row"),
    [
        (120.0, "a split of 10 for 1", "NVDA,2024-06-10,10"),
        (3600.0, "a split of 1 for 3", "NVDA,2024-06-10,1/3"),
    ],
)
def test_a_split_like_move_is_refused_in_both_directions(opened, words, row):
    with pytest.raises(BarsError) as caught:
        check([1190.0, 1200.0, opened, opened], [1190.0, 1195.0, opened, opened])
    line = caught.value.line()
    assert "NVDA 2024-06-10" in line
    assert words in line
    assert f"put the row {row} into" in line
    assert "NVDA,2024-06-10,1" in line


def test_the_first_of_several_moves_is_named_with_their_number():
    with pytest.raises(BarsError, match=r"NVDA 2024-06-07: .*\(1 more such moves follow\)"):
        check([100.0, 50.0, 50.0, 25.0], [100.0, 50.0, 50.0, 25.0])


def test_a_row_with_the_ratio_covers_the_move():
    check([1190.0, 1200.0, 120.0, 121.0], [1190.0, 1195.0, 120.5, 121.0], (Split("NVDA", DAY, 10.0),))


def test_a_row_dated_on_the_weekend_before_covers_the_move():
    row = Split("NVDA", dt.date(2024, 6, 8), 10.0)
    check([1190.0, 1200.0, 120.0, 121.0], [1190.0, 1195.0, 120.5, 121.0], (row,))


def test_a_row_of_ratio_one_lets_a_real_crash_pass_on_its_day_only():
    row = Split("NVDA", DAY, 1.0)
    check([100.0, 100.0, 50.0, 50.0], [100.0, 100.0, 50.0, 50.0], (row,))
    with pytest.raises(BarsError, match="2024-06-11"):
        check([100.0, 100.0, 50.0, 25.0], [100.0, 100.0, 50.0, 25.0], (row,))


@pytest.mark.parametrize("ratio", [10.0, 7.0, 1.5, 0.1])
def test_a_row_for_bars_that_are_adjusted_already_is_refused(ratio):
    with pytest.raises(BarsError, match=r"NVDA 2024-06-10: the split table states .* adjusted already"):
        check([119.0, 120.0, 121.0, 121.0], [119.0, 119.5, 120.5, 121.0], (Split("NVDA", DAY, ratio),))


def test_a_row_with_the_wrong_ratio_leaves_a_move_that_is_refused():
    with pytest.raises(BarsError, match="2024-06-10"):
        check([1190.0, 1200.0, 120.0, 121.0], [1190.0, 1195.0, 120.0, 121.0], (Split("NVDA", DAY, 5.0),))
