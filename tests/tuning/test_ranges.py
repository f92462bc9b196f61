"""Ranges: how the tuning range is split, and which are filled for the sample market."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import random_sessions
from stairways.config import DateRange, load_settings
from stairways.errors import RangeError
from stairways.tuning.ranges import (
    MIN_TUNE_SESSIONS,
    SAMPLE_RANGES,
    span_of,
    split_tune,
    with_sample_ranges,
)

ALL = DateRange(first=dt.date(2024, 1, 2), last=dt.date(2030, 1, 1))


def split_of(n_sessions, **changes):
    sessions = random_sessions(0, n_sessions, interval_minutes=30)
    return split_tune(sessions, ALL, load_settings(None, changes))


class TestSplit:
    @pytest.mark.parametrize(
        ("count", "train", "select"),
        [
            (260, 193, 64),  # the sample market: a quarter of 257
            (100, 73, 24),
            (50, 27, 20),  # a quarter would be 11: raised to what a gate can judge
            (43, 20, 20),  # as many as it leaves to train on
            (42, 30, 9),  # no longer: a quarter again
            (12, 7, 2),
        ],
    )
    def test_by_hand(self, count, train, select):
        split = split_of(count)
        assert (split.train, split.select, split.shadow) == (
            slice(0, train),
            slice(train, train + select),
            slice(count - 3, count),
        )

    @settings(deadline=None, max_examples=60)
    @given(st.integers(1, 120), st.integers(1, 30), st.floats(0.01, 0.99))
    def test_the_parts_fill_the_range_without_overlap_or_it_is_refused(self, count, shadow, share):
        changes = {"tune": {"shadow_replay_days": shadow, "select_share": share}}
        try:
            split = split_of(count, **changes)
        except RangeError as error:
            assert f"holds {count} sessions" in error.what
            return
        assert count >= MIN_TUNE_SESSIONS
        parts = (split.train, split.select, split.shadow)
        assert [part.start for part in parts] == [0, split.train.stop, split.select.stop]
        assert split.shadow == slice(count - shadow, count)
        assert all(part.stop > part.start for part in parts)

    def test_a_range_without_sessions_names_the_option(self):
        sessions = random_sessions(0, 20, interval_minutes=30)
        dates = DateRange(first=dt.date(2024, 1, 6), last=dt.date(2024, 1, 7))
        with pytest.raises(RangeError) as caught:
            span_of(sessions, dates, "test")
        assert caught.value.where == "--test 2024-01-06:2024-01-07"
        assert "20 sessions" in caught.value.remedy


class TestSampleRanges:
    @pytest.mark.parametrize(
        ("command", "filled"),
        [
            ("gold", {"train": "train", "test": "record"}),
            ("tune", {"tune": "tune", "test": "test"}),
            ("dry-run", {"tune": "tune"}),
        ],
    )
    def test_what_is_missing_is_filled_for_the_sample_market(self, command, filled):
        made = with_sample_ranges(load_settings(None, {}), command=command)
        for name in ("train", "tune", "test", "sessions"):
            expected = SAMPLE_RANGES[filled[name]] if name in filled else None
            assert (None if getattr(made, name) is None else str(getattr(made, name))) == expected

    def test_what_is_given_stays(self):
        made = with_sample_ranges(
            load_settings(None, {"ranges": {"test": "2022-01-03:2022-12-30"}}), command="tune"
        )
        assert (str(made.tune), str(made.test)) == (SAMPLE_RANGES["tune"], "2022-01-03:2022-12-30")

    def test_a_range_that_does_not_fit_the_others_is_refused(self):
        given_ = load_settings(None, {"ranges": {"test": "2015-01-02:2015-12-31"}})
        with pytest.raises(RangeError, match="disjoint and in this order") as caught:
            with_sample_ranges(given_, command="tune")
        assert caught.value.remedy == f"name --tune too; by default --tune is {SAMPLE_RANGES['tune']}"

    @pytest.mark.parametrize("market", [{"bars": "x"}, {"sample": "2024_choppy_market"}])
    @pytest.mark.parametrize(
        ("command", "missing"), [("gold", "train"), ("tune", "tune"), ("dry-run", "tune")]
    )
    def test_other_markets_have_none(self, market, command, missing):
        with pytest.raises(RangeError, match=f"--{missing} FROM:TO is missing"):
            with_sample_ranges(load_settings(None, {"market": market}), command=command)

    def test_a_dry_run_asks_for_no_test_range(self):
        given_ = {"market": {"bars": "x"}, "ranges": {"tune": "2024-01-02:2024-06-03"}}
        assert with_sample_ranges(load_settings(None, given_), command="dry-run").test is None
