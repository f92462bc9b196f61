import datetime as dt
from collections import Counter
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stairways.errors import BarsError
from stairways.market.bars import (
    MINUTE_US,
    RawBars,
    bar_files,
    place_bars,
    read_bars,
    session_intervals,
    symbols_in,
)
from stairways.market.calendar import exchange_sessions

CALENDAR = exchange_sessions(dt.date(2025, 6, 2), dt.date(2025, 6, 6))
START = np.datetime64("2025-06-02T13:30:00", "us")


def stamps(session, offsets_minutes):
    opens = CALENDAR.open_utc[session].astype("datetime64[us]")
    return opens + (np.asarray(offsets_minutes, dtype=np.float64) * MINUTE_US).astype("timedelta64[us]")


def raw(start_utc, values=None, symbol="NVDA", file="a.parquet"):
    start = np.asarray(start_utc, dtype="datetime64[us]")
    rows = np.tile([100.0, 101.0, 99.0, 100.5, 10.0], (len(start), 1)) if values is None else values
    # All tests of this file lie between 04:00 and 20:00 New York, where the date is the same as in UTC - 4 h.
    return RawBars(file, symbol, start, (start - np.timedelta64(4, "h")).astype("datetime64[D]"), rows)


def frame(**changes):
    columns = {
        "symbol": ["NVDA", "NVDA"],
        "timestamp": [
            dt.datetime(2025, 6, 2, 13, 30, tzinfo=dt.UTC),
            dt.datetime(2025, 6, 2, 13, 31, tzinfo=dt.UTC),
        ],
        "open": [100.0, 101.0],
        "high": [102.0, 103.0],
        "low": [99.0, 100.0],
        "close": [101.0, 102.0],
        "volume": [5.0, 6.0],
    }
    return pl.DataFrame(
        {name: values for name, values in {**columns, **changes}.items() if values is not None}
    )


def plain_interval(offsets):
    """The most frequent distance of one full session's timestamps, ties to the smaller."""
    counts = Counter(int(right - left) for left, right in pairwise(offsets))
    return min(counts, key=lambda distance: (-counts[distance], distance))


class TestFiles:
    def test_only_parquet_and_csv_count_and_the_split_table_does_not(self, tmp_path):
        for name in ("b.csv", "a.PARQUET", "notes.txt", "splits.csv", "segments.json"):
            (tmp_path / name).write_text("")
        assert [path.name for path in bar_files(tmp_path)] == ["a.PARQUET", "b.csv"]

    def test_no_folder_and_no_file_are_refused(self, tmp_path):
        with pytest.raises(BarsError, match="no such folder"):
            bar_files(tmp_path / "none")
        with pytest.raises(BarsError, match="no Parquet or CSV file"):
            bar_files(tmp_path)


class TestColumns:
    @pytest.mark.parametrize("suffix", ["parquet", "csv"])
    def test_names_in_capitals_other_types_and_columns_not_needed(self, tmp_path, suffix):
        table = frame(volume=[5, 6], vwap=["x", "y"]).rename({"symbol": "Symbol", "open": "OPEN"})
        path = tmp_path / f"any.{suffix}"
        table.write_parquet(path) if suffix == "parquet" else table.write_csv(path)
        (bars,) = read_bars(path, ["MSFT", "NVDA"]).bars
        assert bars.symbol == "NVDA"
        assert bars.values.tolist() == [[100.0, 102.0, 99.0, 101.0, 5.0], [101.0, 103.0, 100.0, 102.0, 6.0]]
        assert bars.start_utc.tolist() == [dt.datetime(2025, 6, 2, 13, 30), dt.datetime(2025, 6, 2, 13, 31)]

    def test_a_missing_column_is_named_with_those_there(self, tmp_path):
        frame(close=None).write_parquet(tmp_path / "a.parquet")
        with pytest.raises(BarsError, match="no column close among symbol, timestamp, open"):
            read_bars(tmp_path / "a.parquet", ["NVDA"])

    def test_a_column_twice_is_refused(self, tmp_path):
        frame(Open=[1.0, 2.0]).write_parquet(tmp_path / "a.parquet")
        with pytest.raises(BarsError, match="two columns open"):
            read_bars(tmp_path / "a.parquet", ["NVDA"])

    @pytest.mark.parametrize(
        ("name", "found"),
        [
            ("NVDA", True),
            ("NVDA_1min", True),
            ("my-NVDA", True),
            ("NVDAX", False),
            ("nvda", False),
            ("bars", False),
        ],
    )
    def test_without_symbol_column_a_token_of_the_name_says_it(self, tmp_path, name, found):
        frame(symbol=None).write_parquet(tmp_path / f"{name}.parquet")
        read = read_bars(tmp_path / f"{name}.parquet", ["NVDA", "MSFT"])
        assert read.says_symbol is found
        assert [bars.symbol for bars in read.bars] == (["NVDA"] if found else [])

    def test_a_name_with_two_asked_symbols_is_refused(self, tmp_path):
        frame(symbol=None).write_parquet(tmp_path / "NVDA_MSFT.parquet")
        with pytest.raises(BarsError, match="the name holds NVDA and MSFT"):
            read_bars(tmp_path / "NVDA_MSFT.parquet", ["NVDA", "MSFT"])

    def test_the_column_outranks_the_name(self, tmp_path):
        frame(symbol=["MSFT", "MSFT"]).write_parquet(tmp_path / "NVDA.parquet")
        read = read_bars(tmp_path / "NVDA.parquet", ["NVDA", "MSFT"])
        assert [bars.symbol for bars in read.bars] == ["MSFT"]
        assert symbols_in(tmp_path / "NVDA.parquet") == ("MSFT",)

    def test_rows_without_symbol_are_refused(self, tmp_path):
        frame(symbol=["NVDA", None]).write_parquet(tmp_path / "a.parquet")
        with pytest.raises(BarsError, match="1 rows have no symbol"):
            read_bars(tmp_path / "a.parquet", ["NVDA"])

    @pytest.mark.parametrize("name", ["a.parquet", "a.csv"])
    @pytest.mark.parametrize("content", [b"", b"\x00\x01garbage\xff"])
    def test_a_damaged_file_is_refused(self, tmp_path, name, content):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BarsError, match=name):
            read_bars(tmp_path / name, ["NVDA"])


class TestTimestamps:
    @pytest.mark.parametrize(
        "text",
        [
            "2025-06-02T13:30:00Z",
            "2025-06-02 13:30:00+00:00",
            "2025-06-02T13:30:00.000000+0000",
            "2025-06-02 09:30:00-04:00",
            "2025-06-02 09:30:00 -0400",
            "2025-06-02T09:30-04:00",
        ],
    )
    def test_text_with_an_offset_is_read(self, tmp_path, text):
        frame(timestamp=[text, "2025-06-02T13:31:00Z"]).write_csv(tmp_path / "a.csv")
        (bars,) = read_bars(tmp_path / "a.csv", ["NVDA"]).bars
        assert bars.start_utc[0] == START
        assert bars.dates[0] == np.datetime64("2025-06-02")

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("2025-06-02T09:30:00", "1 timestamps carry no time zone, the first is '2025-06-02T09:30:00'"),
            ("2025-06-02", "carry no time zone"),
            ("1748871000", "carry no time zone"),
            ("2025-06-02 09:30:00 America/New_York", "carry no time zone"),
            ("2025-13-45T09:30:00Z", "can't be read, the first is '2025-13-45T09:30:00Z'"),
            (None, "1 rows have no timestamp"),
            ("1969-06-02T13:30:00Z", "outside the calendar"),
        ],
    )
    def test_text_without_an_offset_or_sense_is_refused(self, tmp_path, text, message):
        frame(timestamp=["2025-06-02T13:30:00Z", text]).write_csv(tmp_path / "a.csv")
        with pytest.raises(BarsError, match=message):
            read_bars(tmp_path / "a.csv", ["NVDA"])

    @pytest.mark.parametrize("unit", ["ms", "us", "ns"])
    def test_another_zone_in_parquet_is_converted(self, tmp_path, unit):
        zoned = frame().with_columns(
            pl.col("timestamp").dt.convert_time_zone("America/New_York").dt.cast_time_unit(unit)
        )
        zoned.write_parquet(tmp_path / "a.parquet")
        (bars,) = read_bars(tmp_path / "a.parquet", ["NVDA"]).bars
        assert bars.start_utc[0] == START

    def test_an_evening_bar_belongs_to_the_new_york_date(self, tmp_path):
        frame(timestamp=["2025-06-02T23:30:00Z", "2025-06-03T00:30:00Z"]).write_csv(tmp_path / "a.csv")
        (bars,) = read_bars(tmp_path / "a.csv", ["NVDA"]).bars
        assert bars.dates.tolist() == [dt.date(2025, 6, 2), dt.date(2025, 6, 2)]

    @pytest.mark.parametrize(
        ("column", "message"),
        [
            (pl.Series([dt.datetime(2025, 6, 2, 9, 30)] * 2), "carry no time zone"),
            (pl.Series([dt.date(2025, 6, 2)] * 2), "are Date"),
            (pl.Series([1748871000, 1748871060]), "are Int64"),
        ],
    )
    def test_naive_and_number_columns_are_refused(self, tmp_path, column, message):
        frame().with_columns(column.alias("timestamp")).write_parquet(tmp_path / "a.parquet")
        with pytest.raises(BarsError, match=message):
            read_bars(tmp_path / "a.parquet", ["NVDA"])


class TestIntervals:
    @settings(deadline=None, max_examples=60)
    @given(st.sampled_from([1, 5]), st.sets(st.integers(0, 77), max_size=6))
    def test_a_nearly_full_session_equals_the_plain_form(self, minutes, gone):
        offsets = [bar * minutes * MINUTE_US for bar in range(390 // minutes) if bar not in gone]
        session = np.zeros(len(offsets), dtype=np.int64)
        found, witnessed = session_intervals(
            session, np.array(offsets), np.ones(len(offsets), dtype=np.bool_), CALENDAR
        )
        assert found.tolist() == [plain_interval(offsets)] * len(CALENDAR)
        assert witnessed == {minutes * MINUTE_US}

    def test_thin_sessions_take_the_interval_of_the_last_full_one(self):
        parts = [(0, [0, 10, 20]), (1, range(390)), (2, [0, 5, 10]), (3, range(0, 390, 5)), (4, [3, 6])]
        session = np.concatenate([np.full(len(offsets), at) for at, offsets in parts])
        offset = np.concatenate([np.array(offsets) * MINUTE_US for _, offsets in parts])
        found, _ = session_intervals(session, offset, np.ones(len(offset), dtype=np.bool_), CALENDAR)
        assert (found // MINUTE_US).tolist() == [1, 1, 1, 5, 5]

    def test_a_sparse_minute_session_is_no_session_of_two_minutes(self):
        # Three of five minutes: most distances are 2, yet half the bars lie off a grid of 2.
        thin = np.array([minute for minute in range(390) if minute % 5 in {0, 2, 4}])
        session = np.concatenate([np.zeros(390, dtype=np.int64), np.ones(len(thin), dtype=np.int64)])
        offset = np.concatenate([np.arange(390), thin]) * MINUTE_US
        found, witnessed = session_intervals(session, offset, np.ones(len(offset), dtype=np.bool_), CALENDAR)
        assert (found[:2] // MINUTE_US).tolist() == [1, 1]
        assert witnessed == {MINUTE_US}

    def test_lonely_bars_tell_nothing(self):
        found, witnessed = session_intervals(
            np.array([0, 1]), np.array([0, 0]), np.ones(2, dtype=np.bool_), CALENDAR
        )
        assert found.tolist() == [0] * len(CALENDAR)
        assert witnessed == frozenset()


class TestPlaces:
    def test_bars_get_their_session_and_index_and_the_rest_is_counted(self):
        saturday = np.datetime64("2025-06-07T14:00:00", "us")
        start = np.concatenate([stamps(0, range(-5, 395)), stamps(1, range(390)), [saturday]])
        (placed,) = place_bars(raw(start), CALENDAR, 1)
        assert placed.session.tolist() == [0] * 390 + [1] * 390
        assert placed.bar.tolist() == list(range(390)) * 2
        assert (placed.outside_hours_bars, placed.no_session_bars) == (10, 1)
        assert placed.intervals_minutes == {1.0}

    def test_two_intervals_of_one_symbol_in_blocks_of_one_file(self):
        start = np.concatenate(
            [stamps(0, range(390)), stamps(0, range(0, 390, 5)), stamps(1, range(0, 390, 5))]
        )
        assert [len(run.bar) for run in place_bars(raw(start), CALENDAR, 1)] == [390, 0]
        assert [len(run.bar) for run in place_bars(raw(start), CALENDAR, 5)] == [0, 156]

    def test_two_intervals_of_one_symbol_after_each_other(self):
        start = np.concatenate([stamps(0, range(390)), stamps(1, range(0, 390, 5))])
        assert [run.session.tolist() for run in place_bars(raw(start), CALENDAR, 5)] == [[1] * 78]

    def test_duplicates_are_refused(self):
        start = np.concatenate([stamps(0, range(200)), stamps(0, range(199, 390))])
        with pytest.raises(
            BarsError, match=r"a.parquet, NVDA: the same timestamp twice .* at 2025-06-02T16:49:00Z"
        ):
            place_bars(raw(start), CALENDAR, 1)

    @pytest.mark.parametrize("order", ["swap", "days", "backward", "shuffle", "whole twice"])
    def test_disorder_is_refused(self, order):
        start = np.concatenate([stamps(0, range(390)), stamps(1, range(390))])
        rows = np.arange(780)
        orders = {
            "swap": np.r_[0:100, 101, 100, 102:780],
            "days": np.r_[390:780, 0:390],
            "backward": rows[::-1],
            "shuffle": np.random.default_rng(1).permutation(rows),
            "whole twice": np.r_[rows, rows],
        }
        with pytest.raises(BarsError, match="unsorted: time steps back at 2025-06-0"):
            place_bars(raw(start[orders[order]]), CALENDAR, 1)

    @pytest.mark.parametrize("minutes", [1, 5])
    @pytest.mark.parametrize("shift_minutes", [0.5, 0.25])
    def test_a_shifted_grid_is_refused(self, minutes, shift_minutes):
        start = np.concatenate([stamps(at, np.arange(0, 390, minutes) + shift_minutes) for at in range(3)])
        with pytest.raises(BarsError, match=rf"not on the grid of {minutes} min .* at 2025-06-02T13:30:"):
            place_bars(raw(start), CALENDAR, minutes)

    def test_one_bar_off_the_grid_is_refused_with_its_time(self):
        start = np.concatenate([stamps(0, [*range(0, 385, 5), 387]), stamps(1, range(0, 390, 5))])
        with pytest.raises(BarsError, match=r"NVDA: not on the grid of 5 min .* at 2025-06-02T19:57:00Z;"):
            place_bars(raw(start), CALENDAR, 5)

    @pytest.mark.parametrize("minutes", [1, 5])
    def test_bar_ends_are_refused(self, minutes):
        start = np.concatenate([stamps(at, range(minutes, 391, minutes)) for at in range(4)])
        with pytest.raises(BarsError, match="timestamps look like bar ends: 4 of 4 sessions"):
            place_bars(raw(start), CALENDAR, minutes)

    def test_with_bars_before_the_open_a_missing_first_bar_is_a_gap(self):
        start = np.concatenate([stamps(at, [-1, *range(1, 391)]) for at in range(4)])
        (placed,) = place_bars(raw(start), CALENDAR, 1)
        assert len(placed.bar) == 4 * 389
        assert placed.outside_hours_bars == 8

    def test_a_bar_at_the_close_is_only_after_hours(self):
        start = np.concatenate([stamps(at, range(391)) for at in range(4)])
        (placed,) = place_bars(raw(start), CALENDAR, 1)
        assert placed.outside_hours_bars == 4

    FAULTS = (
        ((0, np.nan), "a price that is missing or no finite number"),
        ((3, np.inf), "a price that is missing or no finite number"),
        ((2, 0.0), "a price that is zero or negative"),
        ((0, -1.0), "a price that is zero or negative"),
        ((1, 100.2), "high below open, close or low"),
        ((2, 100.2), "low above open, close or high"),
        ((4, np.nan), "a volume that is missing or no finite number"),
        ((4, np.inf), "a volume that is missing or no finite number"),
        ((4, -1.0), "a negative volume"),
    )

    @pytest.mark.parametrize(("fault", "message"), FAULTS)
    def test_impossible_values_are_refused_at_the_first_row_with_their_number(self, fault, message):
        values = np.tile([100.0, 101.0, 99.0, 100.5, 10.0], (390, 1))
        values[[7, 9], fault[0]] = fault[1]
        with pytest.raises(BarsError) as caught:
            place_bars(raw(stamps(0, range(390)), values), CALENDAR, 1)
        assert caught.value.line().startswith(
            f"a.parquet, NVDA: {message} at 2025-06-02T13:37:00Z, the first of 2 such rows; "
        )

    def test_values_outside_hours_and_at_other_intervals_are_not_looked_at(self):
        start = np.concatenate([stamps(0, range(391)), stamps(1, range(0, 390, 5))])
        values = np.tile([100.0, 101.0, 99.0, 100.5, 10.0], (len(start), 1))
        values[390] = values[391] = np.nan
        (placed,) = place_bars(raw(start, values), CALENDAR, 1)
        assert np.isfinite(placed.values).all()
        with pytest.raises(BarsError, match="at 2025-06-03T13:30:00Z"):
            place_bars(raw(start, values), CALENDAR, 5)
