import datetime as dt

import numpy as np
import polars as pl
import pytest

from stairways.errors import BarsError
from stairways.market.bars import VALUE_COLUMNS, _blocks, bar_files, read_bars, symbols_in
from stairways.market.calendar import exchange_date

START = np.datetime64("2025-06-02T13:30:00", "us")


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
        assert exchange_date(bars.start_utc[0]) == dt.date(2025, 6, 2)

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

    def test_the_calendar_ends_at_the_exchange_midnight(self, tmp_path):
        # 23:59 on the last day in New York is 04:59 of the next year in UTC.
        frame(timestamp=["2025-06-02T13:30:00Z", "2051-01-01T04:59:00Z"]).write_csv(tmp_path / "a.csv")
        (bars,) = read_bars(tmp_path / "a.csv", ["NVDA"]).bars
        assert bars.span_utc == (START, np.datetime64("2051-01-01T04:59:00"))
        frame(timestamp=["2051-01-01T05:00:00Z", "1990-01-01T04:59:00Z"]).write_csv(tmp_path / "a.csv")
        with pytest.raises(BarsError, match=r"2051-01-01 05:00:00\+00:00 lies outside .* \(2 such rows\)"):
            read_bars(tmp_path / "a.csv", ["NVDA"])

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


class TestBlocks:
    def test_a_file_of_small_row_groups_is_read_block_by_block(self, tmp_path):
        table = pl.concat([frame(volume=[float(k), 6.0]) for k in range(5)])
        table.write_parquet(tmp_path / "a.parquet", row_group_size=3)
        (bars,) = read_bars(tmp_path / "a.parquet", ["NVDA"]).bars
        assert np.array_equal(bars.values, table.select(VALUE_COLUMNS).to_numpy())
        for first in range(10):
            for stop in range(first + 1, 11):
                found = list(bars.blocks_between(first, stop))
                rows = np.concatenate([begin + np.arange(len(block[0])) for begin, block in found])
                assert set(range(first, stop)) <= set(rows.tolist())
                assert all(begin < stop and begin + len(block[0]) > first for begin, block in found)

    def test_blocks_of_unlike_length_are_joined(self):
        columns = {name: pl.Series(name, [1.0, 2.0, 3.0]) for name in VALUE_COLUMNS}
        columns["low"] = pl.Series("low", [1.0]).append(pl.Series("low", [2.0, 3.0]))
        table = pl.DataFrame(list(columns.values()), height=3)
        (block,) = _blocks(table)
        assert [column.tolist() for column in block] == [[1.0, 2.0, 3.0]] * 5

    def test_missing_values_are_nan_and_arrays_are_read_only(self, tmp_path):
        frame(volume=[None, 6.0]).write_parquet(tmp_path / "a.parquet")
        (bars,) = read_bars(tmp_path / "a.parquet", ["NVDA"]).bars
        assert np.isnan(bars.values[0, 4])
        assert not any(column.flags.writeable for block in bars.blocks for column in block)
        assert not bars.start_utc.flags.writeable
