import datetime as dt
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from stairways.market.loading import load_bars
from stairways.market.quality import (
    AbsentSpan,
    DroppedSession,
    QualityReport,
    SegmentSpan,
    SymbolQuality,
    absent_spans,
    session_date,
)
from stairways.market.splits import Split


def report(n_dropped=1):
    day = dt.date(2025, 3, 10)
    return QualityReport(
        symbols=("NVDA", "MSFT"),
        interval_minutes=1,
        files=("a.parquet",),
        files_unused=("notes.csv",),
        first=day,
        last=dt.date(2025, 3, 14),
        sessions=4,
        dropped=tuple(
            DroppedSession(day + dt.timedelta(days=n), "MSFT", 20, 390, "more than 5 % missing")
            for n in range(n_dropped)
        ),
        absent=(AbsentSpan("MSFT", day, day, 1),),
        per_symbol=(SymbolQuality("NVDA", 3, 1, 2, 1234567, 7, 0), SymbolQuality("MSFT", 0, 0, 0, 0, 0, 1)),
        half_days=(dt.date(2025, 7, 3),),
        segments=(SegmentSpan(day, dt.date(2025, 3, 14), 4),),
        splits=(Split("NVDA", dt.date(2024, 6, 10), 10.0), Split("NVDA", dt.date(2024, 6, 11), 1.0)),
        marks_unused=("gone.parquet",),
    )


def rendered(quality, width=80):
    console = Console(width=width, force_terminal=False, color_system=None)
    with console.capture() as capture:
        console.print(quality.as_table())
    return capture.get()


def test_record_is_plain_json_with_every_field():
    record = report().as_record()
    assert json.loads(json.dumps(record)) == record
    assert set(record) == set(QualityReport.__dataclass_fields__)
    assert record["symbols"] == ["NVDA", "MSFT"]
    assert record["dropped"] == [
        {
            "date": "2025-03-10",
            "symbol": "MSFT",
            "missing_bars": 20,
            "n_bars": 390,
            "reason": "more than 5 % missing",
        }
    ]
    assert record["splits"][0] == {"symbol": "NVDA", "date": "2024-06-10", "ratio": 10.0}


def test_tables_fit_80_columns_and_hold_every_figure():
    text = rendered(report())
    assert max(len(line) for line in text.splitlines()) <= 80
    for word in (
        "NVDA",
        "MSFT",
        "2025-03-10",
        "1,234,567",
        "more than 5 %",
        "1 (no split)",
        "notes.csv",
        "gone",
    ):
        assert word in text


def test_long_lists_say_how_many_rows_are_not_shown():
    text = rendered(report(n_dropped=23))
    assert "and 3 more, all in the record" in text
    assert len(report(n_dropped=23).as_record()["dropped"]) == 23


def test_a_clean_report_shows_no_empty_tables():
    text = rendered(report(n_dropped=0))
    assert "Sessions dropped" not in text
    assert "sessions dropped" in text


def test_counts_are_found_by_symbol():
    assert report().of("NVDA").filled_bars == 3
    with pytest.raises(KeyError):
        report().of("SPY")


def test_absent_spans_are_rows_of_empty_sessions():
    dates = np.arange("2025-03-10", "2025-03-15", dtype="datetime64[D]")
    spans = absent_spans("X", dates, np.array([0, 5, 0, 0, 1]))
    assert spans == (
        AbsentSpan("X", dt.date(2025, 3, 10), dt.date(2025, 3, 10), 1),
        AbsentSpan("X", dt.date(2025, 3, 12), dt.date(2025, 3, 13), 2),
    )
    assert absent_spans("X", dates, np.ones(5, dtype=np.int64)) == ()


def test_session_date_refuses_finer_units():
    assert session_date(np.datetime64("2025-03-10")) == dt.date(2025, 3, 10)
    with pytest.raises(TypeError):
        session_date(np.datetime64("2025-03-10T09:30"))


SHARED_DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
needs_shared_data = pytest.mark.skipif(
    not SHARED_DATA.is_dir(), reason="the real bars do not lie beside the checkout"
)
STRETCHES = [
    (["NVDA", "MSFT", "AAPL"], 5, "2022-02-02", "2022-11-22", 204, 1),
    (["NVDA", "MSFT", "AAPL"], 5, "2022-11-25", "2023-01-05", 28, 1),
    (["NVDA", "MSFT", "AAPL"], 5, "2025-05-12", "2025-12-31", 162, 5),
    (["NVDA", "MSFT"], 5, "2025-05-12", "2025-12-31", 162, 2),
    (["MSFT"], 5, "2023-11-07", "2025-12-31", 539, 2),
    (["NVDA", "MSFT", "AAPL"], 1, "2018-02-16", "2018-04-20", 44, 1),
    (["NVDA", "SPY"], 1, "2025-09-15", "2025-12-24", 72, 1),
    (["SPY"], 1, "2024-07-19", "2025-04-01", 176, 1),
]


@pytest.mark.shared_data
@needs_shared_data
@pytest.mark.parametrize(("symbols", "minutes", "first", "last", "count", "segments"), STRETCHES)
def test_real_stretches_hold_their_sessions(symbols, minutes, first, last, count, segments):
    sessions = load_bars(SHARED_DATA, symbols, minutes).sessions
    part = sessions.select(sessions.span(dt.date.fromisoformat(first), dt.date.fromisoformat(last)))
    assert len(part) == count
    assert (str(part.dates[0]), str(part.dates[-1])) == (first, last)
    assert len(np.unique(part.segment)) == segments


@pytest.mark.shared_data
@needs_shared_data
def test_real_bars_fill_as_many_bars_as_a_count_of_rows_finds_missing():
    for symbol in ("NVDA", "QQQ"):
        rows = pl.read_parquet(SHARED_DATA / f"bars_1min_{symbol}.parquet")
        per_day = (
            rows.group_by(pl.col("timestamp").dt.convert_time_zone("America/New_York").dt.date().alias("day"))
            .len()["len"]
            .to_numpy()
        )
        missing = np.where(per_day <= 210, 210, 390) - per_day
        quality = load_bars(SHARED_DATA, [symbol], 1).quality
        assert quality.dropped == ()
        assert quality.of(symbol).filled_bars == missing.sum() > 0
