import datetime as dt
import functools
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from stairways.errors import BarsError, ConfigError
from stairways.market.calendar import exchange_sessions
from stairways.market.loading import load_bars
from stairways.market.splits import Split, SplitTable

WEEK = (dt.date(2025, 6, 2), dt.date(2025, 6, 6))


def market(first, last, minutes=1, symbol="NVDA", seed=0, price_usd=100.0):
    """Return a frame of whole sessions; prices move by a basis point or so a bar."""
    calendar = exchange_sessions(first, last)
    start = np.concatenate(
        [
            open_utc + np.arange(length // minutes) * np.timedelta64(60 * minutes, "s")
            for open_utc, length in zip(calendar.open_utc, calendar.minutes, strict=True)
        ]
    )
    rng = np.random.default_rng(seed)
    close = price_usd * np.exp(np.cumsum(rng.normal(0.0, 1e-4, len(start))))
    opened = close * np.exp(rng.normal(0.0, 1e-4, len(start)))
    return pl.DataFrame(
        {
            "symbol": [symbol] * len(start),
            "timestamp": start.astype("datetime64[us]"),
            "open": opened,
            "high": np.maximum(opened, close) * 1.0001,
            "low": np.minimum(opened, close) * 0.9999,
            "close": close,
            "volume": rng.integers(1, 1000, len(start)).astype(np.float64),
        }
    ).with_columns(pl.col("timestamp").dt.replace_time_zone("UTC"))


def without(table, date, bars, minutes=1):
    """Return the frame without some bars (by index) of one session."""
    open_utc = exchange_sessions(date, date).open_utc[0]
    gone = [(open_utc + np.timedelta64(bar * minutes, "m")).item().replace(tzinfo=dt.UTC) for bar in bars]
    return table.filter(~pl.col("timestamp").is_in(gone))


def day_of(table):
    return table["timestamp"].dt.convert_time_zone("America/New_York").dt.date()


def scaled(table, before, ratio):
    """Return the frame with as-traded prices: before a date times the ratio, volumes divided."""
    factor = pl.Series(np.where((day_of(table) < before).to_numpy(), ratio, 1.0))
    prices = [(pl.col(name) * factor).alias(name) for name in ("open", "high", "low", "close")]
    return table.with_columns(*prices, pl.col("volume") / factor)


def dates_of(loaded):
    return [str(date) for date in loaded.sessions.dates]


@pytest.fixture
def two():
    """A week of two symbols."""
    return market(*WEEK), market(*WEEK, symbol="MSFT", seed=1)


class TestSources:
    @pytest.mark.parametrize("suffix", ["parquet", "csv"])
    @pytest.mark.parametrize("long", [True, False])
    def test_files_per_symbol_and_long_files_in_both_formats(self, tmp_path, two, suffix, long):
        tables = {"all": pl.concat(two)} if long else dict(zip(("one", "two"), two, strict=True))
        for name, table in tables.items():
            path = tmp_path / f"{name}.{suffix}"
            table.write_parquet(path) if suffix == "parquet" else table.write_csv(path)
        sessions = load_bars(tmp_path, ["MSFT", "NVDA"], 1).sessions
        assert sessions.symbols == ("MSFT", "NVDA")
        assert sessions.close.shape == (5, 390, 2)
        for leg, table in ((1, two[0]), (0, two[1])):
            for name in ("open", "high", "low", "close", "volume"):
                assert np.array_equal(getattr(sessions, name)[:, :, leg].ravel(), table[name].to_numpy())
        assert not sessions.filled.any()
        assert sessions.segment.tolist() == [0] * 5
        assert not sessions.synthetic

    def test_a_long_file_in_order_of_time(self, tmp_path, two):
        pl.concat(two).sort("timestamp", "symbol").write_parquet(tmp_path / "a.parquet")
        sessions = load_bars(tmp_path, ["NVDA", "MSFT"], 1).sessions
        assert np.array_equal(sessions.close[:, :, 0].ravel(), two[0]["close"].to_numpy())

    def test_how_a_file_is_cut_into_row_groups_changes_nothing(self, tmp_path, two):
        for rows in (7, 400, 10_000):
            (tmp_path / f"{rows}").mkdir()
            pl.concat(two).write_parquet(tmp_path / f"{rows}" / "a.parquet", row_group_size=rows)
        loaded = [load_bars(tmp_path / f"{rows}", ["NVDA", "MSFT"], 1) for rows in (7, 400, 10_000)]
        assert len({load.sessions.digest for load in loaded}) == 1

    def test_csv_and_parquet_give_the_same_digest(self, tmp_path, two):
        for name in ("p", "c"):
            (tmp_path / name).mkdir()
        pl.concat(two).write_parquet(tmp_path / "p" / "a.parquet")
        pl.concat(two).write_csv(tmp_path / "c" / "a.csv")
        digests = {load_bars(tmp_path / name, ["NVDA", "MSFT"], 1).sessions.digest for name in ("p", "c")}
        assert len(digests) == 1

    def test_symbols_and_intervals_mixed_even_in_a_file(self, tmp_path, two):
        five = market(*WEEK, minutes=5, seed=2)
        pl.concat([two[0], five, market(*WEEK, minutes=5, symbol="MSFT")]).write_parquet(
            tmp_path / "a.parquet"
        )
        two[1].write_csv(tmp_path / "misleading_5min.csv")
        one_minute = load_bars(tmp_path, ["NVDA", "MSFT"], 1)
        assert one_minute.quality.files == ("a.parquet", "misleading_5min.csv")
        assert np.array_equal(one_minute.sessions.close[:, :, 0].ravel(), two[0]["close"].to_numpy())
        five_minutes = load_bars(tmp_path, ["NVDA", "MSFT"], 5)
        assert five_minutes.quality.files == ("a.parquet",)
        assert np.array_equal(five_minutes.sessions.close[:, :, 0].ravel(), five["close"].to_numpy())

    def test_stretches_of_several_files_join(self, tmp_path, two):
        early = day_of(two[0]) < dt.date(2025, 6, 4)
        two[0].filter(early).write_csv(tmp_path / "z.csv")
        two[0].filter(~early).write_parquet(tmp_path / "a.parquet")
        sessions = load_bars(tmp_path, ["NVDA"], 1).sessions
        assert np.array_equal(sessions.close.ravel(), two[0]["close"].to_numpy())
        assert sessions.segment.tolist() == [0] * 5

    def test_the_name_says_the_symbol_where_no_column_does(self, tmp_path, two):
        for table, name in zip(two, ("NVDA_1min", "MSFT"), strict=True):
            table.drop("symbol").write_parquet(tmp_path / f"{name}.parquet")
        loaded = load_bars(tmp_path, ["NVDA"], 1)
        assert len(loaded.sessions) == 5
        assert loaded.quality.files_unused == ("MSFT.parquet",)

    @pytest.mark.parametrize("symbols", [[], ["NVDA", "NVDA"], [""], "NVDA"])
    def test_no_symbols_and_symbols_twice_are_refused(self, tmp_path, symbols):
        with pytest.raises(ConfigError, match="symbols"):
            load_bars(tmp_path, symbols, 1)

    @pytest.mark.parametrize("minutes", [0, 2, 15, -1])
    def test_other_intervals_are_refused(self, tmp_path, minutes):
        with pytest.raises(ConfigError, match="bars are of 1 or 5 minutes"):
            load_bars(tmp_path, ["NVDA"], minutes)

    def test_a_missing_symbol_names_those_there(self, tmp_path, two):
        pl.concat(two).write_parquet(tmp_path / "a.parquet")
        two[0].drop("symbol").write_csv(tmp_path / "bars.csv")
        with pytest.raises(BarsError, match=r"no bars of SPY, QQQ; symbols there: MSFT, NVDA; .*: bars.csv"):
            load_bars(tmp_path, ["NVDA", "SPY", "QQQ"], 1)

    @pytest.mark.parametrize(("there", "asked"), [(5, 1), (1, 5), (15, 5)])
    def test_a_missing_interval_names_those_there(self, tmp_path, there, asked):
        market(*WEEK, minutes=there).write_parquet(tmp_path / "a.parquet")
        message = f"a.parquet: NVDA has no bars of {asked} min in regular hours; intervals there: {there} min"
        with pytest.raises(BarsError, match=message):
            load_bars(tmp_path, ["NVDA"], asked)

    def test_the_same_bar_in_two_files_is_refused(self, tmp_path, two):
        two[0].write_parquet(tmp_path / "a.parquet")
        two[0].filter(day_of(two[0]) == WEEK[1]).write_csv(tmp_path / "b.csv")
        message = r"NVDA: the same bar twice: 2025-06-06T13:30:00Z in a.parquet and b.csv \(390 such bars\)"
        with pytest.raises(BarsError, match=message):
            load_bars(tmp_path, ["NVDA"], 1)

    def test_days_without_a_session_alone_are_refused(self, tmp_path, two):
        table = two[0].head(390).with_columns(pl.col("timestamp").dt.offset_by("5d"))
        table.write_parquet(tmp_path / "a.parquet")
        with pytest.raises(BarsError, match="no day from 2025-06-07 to 2025-06-07 is a session"):
            load_bars(tmp_path, ["NVDA"], 1)

    def test_symbols_without_a_common_session_are_refused(self, tmp_path, two):
        two[0].head(390).write_parquet(tmp_path / "a.parquet")
        two[1].tail(390).write_parquet(tmp_path / "b.parquet")
        message = "NVDA 1 from 2025-06-02 to 2025-06-02, MSFT 1 from 2025-06-06 to 2025-06-06"
        with pytest.raises(BarsError, match=message):
            load_bars(tmp_path, ["NVDA", "MSFT"], 1)

    def test_faults_of_a_file_surface_from_the_load(self, tmp_path, two):
        two[0].with_columns(-pl.col("low").alias("low")).write_parquet(tmp_path / "a.parquet")
        with pytest.raises(
            BarsError, match=r"a.parquet, NVDA: a price that is zero or negative at 2025-06-02T13:30"
        ):
            load_bars(tmp_path, ["NVDA"], 1)


class TestCalendar:
    @pytest.mark.parametrize(
        ("first", "last", "opens"),
        [
            (dt.date(2025, 3, 6), dt.date(2025, 3, 11), ["14:30", "14:30", "13:30", "13:30"]),
            (dt.date(2025, 10, 30), dt.date(2025, 11, 4), ["13:30", "13:30", "14:30", "14:30"]),
        ],
    )
    @pytest.mark.parametrize("minutes", [1, 5])
    def test_daylight_saving_changes(self, tmp_path, first, last, opens, minutes):
        table = market(first, last, minutes)
        zoned = table.with_columns(pl.col("timestamp").dt.convert_time_zone("America/New_York"))
        zoned.write_parquet(tmp_path / "a.parquet")
        sessions = load_bars(tmp_path, ["NVDA"], minutes).sessions
        assert [str(instant)[11:16] for instant in sessions.open_utc] == opens
        assert np.array_equal(sessions.close.ravel(), table["close"].to_numpy())
        assert sessions.segment.tolist() == [0] * 4

    @pytest.mark.parametrize(("minutes", "bars"), [(1, [390, 210, 390]), (5, [78, 42, 78])])
    def test_a_half_day_is_padded_with_nan(self, tmp_path, minutes, bars):
        table = market(dt.date(2025, 7, 2), dt.date(2025, 7, 7), minutes)
        table.write_parquet(tmp_path / "a.parquet")
        loaded = load_bars(tmp_path, ["NVDA"], minutes)
        sessions = loaded.sessions
        assert sessions.n_bars.tolist() == bars
        assert loaded.quality.half_days == (dt.date(2025, 7, 3),)
        for grid in (sessions.open, sessions.high, sessions.low, sessions.close, sessions.volume):
            assert np.isnan(grid[1, bars[1] :]).all()
            assert np.isfinite(grid[1, : bars[1]]).all()
        assert not sessions.filled.any()
        assert sessions.segment.tolist() == [0, 0, 0]

    def test_bars_outside_hours_and_without_session_are_dropped_and_counted(self, tmp_path, two):
        early = two[0].head(30).with_columns(pl.col("timestamp").dt.offset_by("-30m"))
        late = two[0].head(7).with_columns(pl.col("timestamp").dt.offset_by("390m"))
        weekend = two[0].head(11).with_columns(pl.col("timestamp").dt.offset_by("5d"))
        pl.concat([two[0], early, late, weekend]).sort("timestamp").write_parquet(tmp_path / "a.parquet")
        loaded = load_bars(tmp_path, ["NVDA"], 1)
        counts = loaded.quality.of("NVDA")
        assert (counts.outside_hours_bars, counts.no_session_bars, counts.filled_bars) == (37, 11, 0)
        assert np.array_equal(loaded.sessions.close.ravel(), two[0]["close"].to_numpy())

    def test_the_afternoon_of_a_half_day_is_outside_hours(self, tmp_path):
        table = market(dt.date(2025, 7, 2), dt.date(2025, 7, 3))
        after = table.tail(60).with_columns(pl.col("timestamp").dt.offset_by("60m"))
        pl.concat([table, after]).write_parquet(tmp_path / "a.parquet")
        assert load_bars(tmp_path, ["NVDA"], 1).quality.of("NVDA").outside_hours_bars == 60


class TestGaps:
    @pytest.mark.parametrize(
        ("minutes", "missing", "kept"), [(1, 19, True), (1, 20, False), (5, 3, True), (5, 4, False)]
    )
    def test_five_percent_decides_whether_a_session_stays(self, tmp_path, minutes, missing, kept):
        # 19 of 390 are 4.9 %, 20 are 5.1 %; 3 of 78 are 3.8 %, 4 are 5.1 %.
        gone = dt.date(2025, 6, 4)
        without(market(*WEEK, minutes), gone, range(30, 30 + missing), minutes).write_parquet(
            tmp_path / "a.parquet"
        )
        market(*WEEK, minutes, symbol="MSFT").write_parquet(tmp_path / "b.parquet")
        loaded = load_bars(tmp_path, ["MSFT", "NVDA"], minutes)
        assert ("2025-06-04" in dates_of(loaded)) is kept
        assert loaded.quality.of("NVDA").filled_bars == (missing if kept else 0)
        assert loaded.sessions.segment.tolist() == ([0] * 5 if kept else [0, 0, 1, 1])
        dropped = [
            (entry.date, entry.symbol, entry.missing_bars, entry.n_bars) for entry in loaded.quality.dropped
        ]
        assert dropped == ([] if kept else [(gone, "NVDA", missing, 390 // minutes)])

    def test_strict_refuses_to_drop(self, tmp_path, two):
        without(two[0], dt.date(2025, 6, 4), range(30, 50)).write_parquet(tmp_path / "a.parquet")
        with pytest.raises(
            BarsError, match=r"1 sessions would be dropped, the first: 2025-06-04 NVDA \(20 of 390"
        ):
            load_bars(tmp_path, ["NVDA"], 1, strict=True)

    def test_strict_lets_small_gaps_pass(self, tmp_path, two):
        without(two[0], dt.date(2025, 6, 4), range(30, 49)).write_parquet(tmp_path / "a.parquet")
        assert load_bars(tmp_path, ["NVDA"], 1, strict=True).quality.of("NVDA").filled_bars == 19

    def test_a_gap_takes_the_close_before_it(self, tmp_path, two):
        without(two[0], dt.date(2025, 6, 3), [10, 11, 389]).write_parquet(tmp_path / "a.parquet")
        loaded = load_bars(tmp_path, ["NVDA"], 1)
        sessions, whole = loaded.sessions, two[0]["close"].to_numpy().reshape(5, 390)
        assert np.argwhere(sessions.filled).tolist() == [[1, 10, 0], [1, 11, 0], [1, 389, 0]]
        for grid in (sessions.open, sessions.high, sessions.low, sessions.close):
            assert grid[1, [10, 11, 389], 0].tolist() == [whole[1, 9], whole[1, 9], whole[1, 388]]
        assert sessions.volume[1, [10, 11, 389], 0].tolist() == [0.0, 0.0, 0.0]
        assert sessions.close[1, 12, 0] == whole[1, 12]

    def test_a_gap_at_the_open_takes_the_close_of_the_session_before(self, tmp_path, two):
        table = without(without(two[0], dt.date(2025, 6, 3), [0, 1]), dt.date(2025, 6, 2), [389])
        table.write_parquet(tmp_path / "a.parquet")
        loaded = load_bars(tmp_path, ["NVDA"], 1)
        last = two[0]["close"].to_numpy().reshape(5, 390)[0, 388]
        assert loaded.sessions.open[1, :2, 0].tolist() == [last, last]
        assert loaded.sessions.filled[1, :2, 0].all()
        assert loaded.quality.of("NVDA").filled_opening_bars == 2
        assert loaded.quality.of("NVDA").filled_bars == 3

    def test_a_first_session_without_opening_bar_is_dropped_and_so_is_the_next(self, tmp_path, two):
        table = without(without(two[0], dt.date(2025, 6, 2), [0]), dt.date(2025, 6, 3), [0])
        table.write_parquet(tmp_path / "a.parquet")
        loaded = load_bars(tmp_path, ["NVDA"], 1)
        assert dates_of(loaded) == ["2025-06-04", "2025-06-05", "2025-06-06"]
        assert [(str(entry.date), entry.missing_bars) for entry in loaded.quality.dropped] == [
            ("2025-06-02", 1),
            ("2025-06-03", 1),
        ]
        assert {entry.reason for entry in loaded.quality.dropped} == {"no opening bar, no session before"}

    def test_cutting_the_future_never_changes_the_past(self, tmp_path, two):
        table = without(without(two[0], dt.date(2025, 6, 4), [0, 5, 6]), dt.date(2025, 6, 3), [389])
        for name, frame in (("whole", table), ("cut", table.filter(day_of(table) <= dt.date(2025, 6, 4)))):
            (tmp_path / name).mkdir()
            frame.write_parquet(tmp_path / name / "a.parquet")
        whole, cut = (load_bars(tmp_path / name, ["NVDA"], 1).sessions for name in ("whole", "cut"))
        assert whole.select(slice(0, 3)).digest == cut.digest

    def test_a_session_that_one_symbol_lacks_is_left_out_and_reported(self, tmp_path, two):
        two[0].write_parquet(tmp_path / "a.parquet")
        two[1].filter(day_of(two[1]) != dt.date(2025, 6, 4)).write_parquet(tmp_path / "b.parquet")
        loaded = load_bars(tmp_path, ["NVDA", "MSFT"], 1)
        assert loaded.sessions.segment.tolist() == [0, 0, 1, 1]
        (span,) = loaded.quality.absent
        assert (span.symbol, str(span.first), str(span.last), span.sessions) == (
            "MSFT",
            "2025-06-04",
            "2025-06-04",
            1,
        )
        assert [(str(s.first), str(s.last), s.sessions) for s in loaded.quality.segments] == [
            ("2025-06-02", "2025-06-03", 2),
            ("2025-06-05", "2025-06-06", 2),
        ]

    def test_bars_of_volume_zero_are_counted_apart_from_filled_ones(self, tmp_path, two):
        quiet = two[0].with_columns(pl.Series("volume", np.r_[0.0, 0.0, np.ones(len(two[0]) - 2)]))
        without(quiet, dt.date(2025, 6, 3), [4]).write_parquet(tmp_path / "a.parquet")
        counts = load_bars(tmp_path, ["NVDA"], 1).quality.of("NVDA")
        assert (counts.zero_volume_bars, counts.filled_bars) == (2, 1)


class TestSegments:
    def load(self, folder, two, entries):
        two[0].write_parquet(folder / "a.parquet")
        two[1].write_parquet(folder / "b.parquet")
        (folder / "segments.json").write_text(json.dumps(entries) if isinstance(entries, list) else entries)
        return load_bars(folder, ["NVDA", "MSFT"], 1)

    @pytest.mark.parametrize(
        ("entries", "segment"),
        [
            ([], [0, 0, 0, 0, 0]),
            ([{"file": "a.parquet", "first": "2025-06-04"}], [0, 0, 1, 1, 1]),
            ([{"file": "a.parquet", "first": "2025-06-02", "last": "2025-06-04"}], [0, 0, 0, 1, 1]),
            ([{"symbol": "MSFT", "first": "2025-06-03", "source": "words"}], [0, 1, 1, 1, 1]),
            ([{"symbol": "SPY", "first": "2025-06-03"}], [0, 0, 0, 0, 0]),
            ([{"symbol": "MSFT", "interval_minutes": 5, "first": "2025-06-03"}], [0, 0, 0, 0, 0]),
            ([{"symbol": "MSFT", "interval_minutes": 1, "first": "2025-06-03"}], [0, 1, 1, 1, 1]),
            ([{"symbol": "NVDA", "file": "b.parquet", "first": "2025-06-03"}], [0, 0, 0, 0, 0]),
            (
                [{"file": "a.parquet", "first": "2025-06-03"}, {"symbol": "MSFT", "first": "2025-06-05"}],
                [0, 1, 1, 2, 2],
            ),
            (
                [{"file": "a.parquet", "first": "2025-05-31"}, {"symbol": "MSFT", "first": "2030-06-05"}],
                [0] * 5,
            ),
        ],
    )
    def test_marks_start_segments(self, tmp_path, two, entries, segment):
        assert self.load(tmp_path, two, entries).sessions.segment.tolist() == segment

    def test_a_file_that_is_not_there_is_reported(self, tmp_path, two):
        loaded = self.load(tmp_path, two, [{"file": "gone.parquet", "first": "2025-06-03"}])
        assert loaded.quality.marks_unused == ("gone.parquet",)

    def test_a_marked_session_without_opening_bar_is_dropped(self, tmp_path, two):
        gap = without(two[0], dt.date(2025, 6, 4), [0]), two[1]
        assert len(self.load(tmp_path, gap, []).sessions) == 5
        loaded = self.load(tmp_path, gap, [{"symbol": "NVDA", "first": "2025-06-04"}])
        assert "2025-06-04" not in dates_of(loaded)
        assert loaded.sessions.segment.tolist() == [0, 0, 1, 1]

    @pytest.mark.parametrize(
        "entries",
        [
            "{",
            '{"file": "a.parquet"}',
            [{"first": "2025-06-03"}],
            [{"file": "a.parquet"}],
            [{"file": 3, "first": "2025-06-03"}],
            [{"file": "a.parquet", "first": "June"}],
            [{"file": "a.parquet", "first": 20250603}],
            [{"symbol": "NVDA", "first": "2025-06-03", "interval_minutes": "one"}],
            ["a.parquet"],
        ],
    )
    def test_malformed_marks_are_refused(self, tmp_path, two, entries):
        with pytest.raises(BarsError, match=r"segments\.json"):
            self.load(tmp_path, two, entries)


class TestSplits:
    DAY = dt.date(2025, 6, 4)

    def write(self, folder, ratio=10.0):
        table = market(*WEEK)
        scaled(table, self.DAY, ratio).write_parquet(folder / "a.parquet")
        return table

    @pytest.mark.parametrize("ratio", [10.0, 0.1, 2.0, 1 / 3])
    def test_a_split_like_move_stops_the_load(self, tmp_path, ratio):
        self.write(tmp_path, ratio)
        with pytest.raises(BarsError, match=r"NVDA 2025-06-04: the overnight move .* looks like a split of"):
            load_bars(tmp_path, ["NVDA"], 1)

    @pytest.mark.parametrize("ratio", [10.0, 0.1])
    def test_the_table_puts_earlier_bars_on_the_later_basis(self, tmp_path, ratio):
        table = self.write(tmp_path, ratio)
        splits = SplitTable((Split("NVDA", self.DAY, ratio), Split("SPY", self.DAY, 2.0)))
        loaded = load_bars(tmp_path, ["NVDA"], 1, splits=splits)
        for name in ("open", "high", "low", "close", "volume"):
            found = getattr(loaded.sessions, name).ravel()
            assert np.allclose(found, table[name].to_numpy(), rtol=1e-14, atol=0.0)
        assert loaded.quality.splits == (Split("NVDA", self.DAY, ratio),)

    def test_the_table_of_the_folder_is_used_unless_one_is_given(self, tmp_path):
        table = self.write(tmp_path)
        (tmp_path / "splits.csv").write_text("symbol,date,ratio\nNVDA,2025-06-04,10\n")
        sessions = load_bars(tmp_path, ["NVDA"], 1).sessions
        assert np.allclose(sessions.close.ravel(), table["close"].to_numpy(), rtol=1e-14, atol=0.0)
        with pytest.raises(BarsError, match="looks like a split"):
            load_bars(tmp_path, ["NVDA"], 1, splits=SplitTable())

    def test_ratio_one_keeps_a_real_crash_as_it_is(self, tmp_path):
        self.write(tmp_path, 2.0)
        splits = SplitTable((Split("NVDA", self.DAY, 1.0),))
        sessions = load_bars(tmp_path, ["NVDA"], 1, splits=splits).sessions
        assert sessions.close[1, -1, 0] / sessions.open[2, 0, 0] == pytest.approx(2.0, rel=0.02)

    def test_a_missing_opening_bar_does_not_hide_a_split(self, tmp_path):
        table = scaled(market(*WEEK), self.DAY, 10.0)
        without(table, self.DAY, [0]).write_parquet(tmp_path / "a.parquet")
        with pytest.raises(BarsError, match="looks like a split of 10 for 1"):
            load_bars(tmp_path, ["NVDA"], 1)
        splits = SplitTable((Split("NVDA", self.DAY, 10.0),))
        sessions = load_bars(tmp_path, ["NVDA"], 1, splits=splits).sessions
        assert sessions.filled[2, 0, 0]
        assert sessions.open[2, 0, 0] == sessions.close[1, -1, 0]

    def test_between_segments_nothing_is_checked_for_the_symbol_that_starts_anew(self, tmp_path):
        self.write(tmp_path)
        (tmp_path / "segments.json").write_text('[{"symbol": "NVDA", "first": "2025-06-04"}]')
        assert load_bars(tmp_path, ["NVDA"], 1).sessions.segment.tolist() == [0, 0, 1, 1, 1]

    def test_the_other_symbol_is_still_checked_where_one_starts_anew(self, tmp_path):
        self.write(tmp_path)
        market(*WEEK, symbol="MSFT").write_parquet(tmp_path / "b.parquet")
        (tmp_path / "segments.json").write_text('[{"symbol": "MSFT", "first": "2025-06-04"}]')
        with pytest.raises(BarsError, match="NVDA 2025-06-04"):
            load_bars(tmp_path, ["MSFT", "NVDA"], 1)


class TestResult:
    def test_arrays_are_read_only_and_typed(self, tmp_path, two):
        pl.concat(two).write_parquet(tmp_path / "a.parquet")
        sessions = load_bars(tmp_path, ["NVDA", "MSFT"], 1).sessions
        assert sessions.dates.dtype == np.dtype("datetime64[D]")
        assert sessions.open_utc.dtype == np.dtype("datetime64[s]")
        assert sessions.n_bars.dtype == sessions.segment.dtype == np.int64
        assert sessions.close.dtype == np.float64
        with pytest.raises(ValueError, match="read-only"):
            sessions.close[0, 0, 0] = 1.0

    def test_two_loads_give_equal_records(self, tmp_path, two):
        pl.concat(two).write_parquet(tmp_path / "a.parquet")
        records = [load_bars(tmp_path, ["NVDA", "MSFT"], 1).quality.as_record() for _ in range(2)]
        assert records[0] == records[1]
        assert json.loads(json.dumps(records[0])) == records[0]


# Session, minutes, symbol, bars, open, high, low, close, close / open - 1, realised volatility (root of the
# sum of squared log returns, first open to last close), largest drawdown of a long holder from the open at
# bar closes, bar of its trough, previous close, close / previous close - 1; '-' at the start of a segment.
# Computed from the same files by other means than this package.
ANSWERS = """
2022-09-21 5 NVDA 78 13.213 14.031 13.11 13.255 0.003178687656096413 0.04935353269017997 0.04838825472036754 77 13.174 0.006148474267496651
2022-09-21 5 MSFT 78 244.37 247.66 238.9 238.96 -0.022138560379752037 0.031827396971083215 0.030273516760003165 77 242.45 -0.014394720560940266
2022-09-21 5 AAPL 78 157.34 158.74 153.6 153.71 -0.023071056311173233 0.031557746810791355 0.029240874068460244 77 156.9 -0.02033142128744425
2025-04-09 5 NVDA absent
2025-04-09 5 MSFT 78 353.42 393.225 353.1 390.43 0.10471959707996148 0.037607464517657736 0.011728186992319093 17 355.57 0.09803976713446017
2025-04-09 5 AAPL 78 171.95 200.61 171.89 198.85 0.1564408258214598 0.07627344652789661 0.04248983713523723 65 172.77 0.150952132893442
2022-11-25 5 NVDA 42 16.305 16.487 16.172 16.277 -0.0017172646427475735 0.013418031828793347 0.009614232057053652 41 - -
2022-11-25 5 MSFT 42 247.42 248.7 246.73 247.58 0.0006466736722983146 0.006606554061543735 0.004888396454472101 24 - -
2022-11-25 5 AAPL 42 148.305 148.88 147.12 148.16 -0.0009777148444085615 0.00998332857573434 0.007248033349021738 25 - -
2025-11-28 5 NVDA 42 179.0 179.29 176.5 176.99 -0.011229050279329522 0.012036758382767198 0.014282526221825497 40 180.18 -0.01770451770451764
2025-11-28 5 MSFT 42 487.6 492.63 486.65 492.01 0.009044298605414225 0.006352136266808412 0.0037153588468175494 37 485.49 0.013429730787451799
2025-11-28 5 AAPL 42 277.37 279.0 275.98 278.86 0.0053718859285432075 0.006100668744294752 0.004146086454915735 22 277.47 0.005009550582044886
2025-12-24 5 NVDA 42 187.94 188.91 186.59 188.62 0.0036181760136213548 0.008632169747840458 0.008647673616637463 10 189.16 -0.002854726157750065
2025-12-24 5 MSFT 42 485.68 489.17 484.83 488.02 0.004817987152034187 0.0037213941148532587 0.0020244984765137915 41 486.5 0.003124357656731691
2025-12-24 5 AAPL 42 272.34 275.43 272.19 273.85 0.0055445399133438045 0.007761909496271063 0.005483730389308508 41 272.32 0.005618390129259909
2018-03-19 5 NVDA 78 6.2045 6.23375 5.925 6.025 -0.028930614876299443 0.02338700792565926 0.04405039851863781 61 6.262 -0.037847333120408666
2018-03-19 5 MSFT 78 93.74 93.9 92.11 92.89 -0.009067633880947223 0.011450339564059121 0.016215062940046897 61 94.6 -0.018076109936574936
2018-03-19 5 AAPL 78 44.33 44.3675 43.415 43.825 -0.011391833972479004 0.012628699280787536 0.019681930972253445 43 44.505 -0.015279182114369183
2018-03-19 1 NVDA 390 6.2045 6.23375 5.925 6.025 -0.028930614876299443 0.022965105346323563 0.047184965063047174 308 6.262 -0.037847333120408666
2018-03-19 1 MSFT 390 93.74 93.9 92.11 92.89 -0.009067633880947223 0.013442057831984022 0.017697228144989304 308 94.6 -0.018076109936574936
2018-03-19 1 AAPL 390 44.33 44.3675 43.415 43.825 -0.011391833972479004 0.012164001308245893 0.020358673584479955 220 44.505 -0.015279182114369183
2025-11-28 1 NVDA 210 178.99 179.27 176.535 176.95 -0.011397284764512072 0.013015501278627403 0.014758397500279043 201 180.18 -0.017926517926518004
2025-11-28 1 MSFT absent
2025-11-28 1 AAPL absent
2025-12-24 1 NVDA 210 187.82 188.705 186.6 188.625 0.004286018528378177 0.00860241589438295 0.00973423160575025 56 189.2 -0.0030391120507399227
2025-12-24 1 MSFT absent
2025-12-24 1 AAPL absent
2025-10-10 1 NVDA 390 193.425 195.6 182.83 183.15 -0.05312136487010477 0.026451829694494517 0.0633150923132 389 192.555 -0.04884318766066842
2025-10-10 1 MSFT absent
2025-10-10 1 AAPL absent
2025-04-09 5 SPY 78 493.44 546.33 493.05 543.37 0.10118758106355386 0.045377693076731715 0.01739570466589635 17 496.74 0.09387204573821317
2025-04-09 5 QQQ 78 415.57 467.83 415.43 465.14 0.11928195009264386 0.04964032700838365 0.01741305169643708 17 416.24 0.1174802998270228
2022-09-21 5 SPY 78 386.11 389.31 377.39 377.39 -0.02258423765248252 0.02574362456121224 0.02727014975384705 77 384.17 -0.017648436889918573
2022-09-21 5 QQQ 78 289.61 293.95 283.42 283.42 -0.02137357135458029 0.0308876292687678 0.031125544825228484 77 288.69 -0.018254875471959475
"""  # noqa: E501
SHARED_DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
needs_shared_data = pytest.mark.skipif(
    not SHARED_DATA.is_dir(), reason="the real bars do not lie beside the checkout"
)


@pytest.fixture(scope="module")
def real_sessions():
    """Load the real bars of one symbol and interval, each once."""
    return functools.cache(lambda symbol, minutes: load_bars(SHARED_DATA, [symbol], minutes).sessions)


def answers_of(sessions, at):
    """Return the figures of one session in the order of the answer table."""
    n = int(sessions.n_bars[at])
    close, opened = sessions.close[at, :n, 0], sessions.open[at, 0, 0]
    marks = np.concatenate([[opened], close])
    peaks = np.maximum.accumulate(marks)
    fall = (peaks - marks) / peaks
    figures = [n, opened, sessions.high[at, :n, 0].max(), sessions.low[at, :n, 0].min(), close[-1]]
    figures += [
        close[-1] / opened - 1,
        np.sqrt((np.diff(np.log(marks)) ** 2).sum()),
        fall.max(),
        fall.argmax() - 1,
    ]
    if at == 0 or sessions.segment[at] != sessions.segment[at - 1]:
        return [*figures, None, None]
    previous = sessions.close[at - 1, sessions.n_bars[at - 1] - 1, 0]
    return [*figures, previous, close[-1] / previous - 1]


@pytest.mark.shared_data
@needs_shared_data
@pytest.mark.parametrize("answer", ANSWERS.strip().splitlines())
def test_real_bars_give_the_recorded_answers(real_sessions, answer):
    date, minutes, symbol, *figures = answer.split()
    sessions = real_sessions(symbol, int(minutes))
    at = np.flatnonzero(sessions.dates == np.datetime64(date))
    if figures == ["absent"]:
        assert len(at) == 0
        return
    expected = [None if figure == "-" else float(figure) for figure in figures]
    for found, known in zip(answers_of(sessions, int(at[0])), expected, strict=True):
        assert found == (known if known is None else pytest.approx(known, rel=1e-12))
