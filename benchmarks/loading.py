"""Loading bars: four years of minutes of three symbols, read and checked."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl

from benchmarks.harness import Bar, Row, rates, ratio_row
from stairways.market.loading import load_bars
from stairways.market.samples import sample_market

SYMBOLS = ("NVDA", "MSFT", "AAPL")
SESSIONS = 1_008
ROUNDS = 5
PRICES = ["open", "high", "low", "close"]


@cache
def folder() -> Path:
    """Write the bars of four years as Parquet, one file a symbol."""
    made = Path(tempfile.mkdtemp(prefix="stairways-bench-"))
    sessions = sample_market("planted", symbols=SYMBOLS, interval_minutes=1).sessions
    part = sessions.select(slice(len(sessions) - SESSIONS, None))
    bars = np.arange(part.max_bars)
    inside = bars < part.n_bars[:, None]
    stamps = (part.open_utc.astype("datetime64[us]")[:, None] + bars * np.timedelta64(60, "s"))[inside]
    for k, symbol in enumerate(SYMBOLS):
        columns = {name: getattr(part, name)[:, :, k][inside] for name in (*PRICES, "volume")}
        frame = pl.DataFrame({"timestamp": pl.Series(stamps).dt.replace_time_zone("UTC"), **columns})
        frame.with_columns(symbol=pl.lit(symbol)).write_parquet(made / f"{symbol}.parquet")
    return made


def pandas_load() -> float:
    """Read with pandas and make the same checks, vectorised as a careful user would."""
    import exchange_calendars

    frames = [pd.read_parquet(path) for path in sorted(folder().glob("*.parquet"))]
    calendar = exchange_calendars.get_calendar("XNYS")
    grids = []
    for frame in frames:
        stamps = frame["timestamp"]
        if stamps.duplicated().any() or not stamps.is_monotonic_increasing:
            raise ValueError("timestamps repeat or go back")
        values = frame[[*PRICES, "volume"]]
        if not np.isfinite(values.to_numpy()).all() or (values[PRICES] <= 0).to_numpy().any():
            raise ValueError("a price is not positive and finite")
        high, low = frame["high"], frame["low"]
        for price in ("open", "close"):
            if (high < frame[price]).any() or (low > frame[price]).any():
                raise ValueError("high or low does not hold")
        days = stamps.dt.tz_convert("America/New_York").dt.normalize().dt.tz_localize(None)
        schedule = calendar.schedule.loc[days.iloc[0] : days.iloc[-1]]
        opens = days.map(schedule["open"])
        closes = days.map(schedule["close"])
        if opens.isna().any() or ((stamps < opens) | (stamps >= closes)).any():
            raise ValueError("a bar lies outside its session")
        bar = ((stamps - opens).dt.total_seconds() // 60).astype(int)
        expected = ((schedule["close"] - schedule["open"]).dt.total_seconds() // 60).astype(int)
        counts = days.value_counts().reindex(schedule.index, fill_value=0)
        if ((expected - counts) * 20 > expected).any():
            raise ValueError("a session lacks more than 5 % of its bars")
        grids.append(
            frame.assign(day=days, bar=bar)
            .pivot(index="day", columns="bar", values=[*PRICES, "volume"])
            .to_numpy()
        )
    return float(sum(len(frame) for frame in frames))


def ours() -> float:
    """Load with the quality report."""
    loaded = load_bars(folder(), SYMBOLS, 1)
    return float(loaded.sessions.n_bars.sum() * len(SYMBOLS))


def rows() -> list[Row]:
    """Load both ways, in turns."""
    mine, peer = "load_bars", "pandas read and the same checks"
    found = rates({mine: ours, peer: pandas_load}, ROUNDS)
    return [
        ratio_row(
            "loading four years of minutes, three symbols, validated",
            "bars/s",
            found,
            ours=mine,
            peer=peer,
            bar=Bar(3.0, at_least=True, text=">= 3x"),
            note="ours also finds the interval, fills small gaps, checks splits and reports quality",
        )
    ]
