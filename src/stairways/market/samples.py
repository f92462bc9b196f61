"""The named sample markets: their constants, and the way from a name to sessions.

Constants of the scenario years are calibrated to real five-minute bars of 2022, 2023 and 2024;
the strengths of the planted markets are chosen so that the exact oracle has a net Sharpe of 7.0
(``planted``: 16.889 bp of NAV a full session) and 3.8 (``planted-hard``: 8.514 bp).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from stairways.errors import ConfigError
from stairways.market.calendar import ExchangeSessions
from stairways.market.planted import PlantedSpec, PlantedTruth, unit_drift_ratio
from stairways.market.recorded_calendar import recorded_sessions
from stairways.market.sessions import FULL_SESSION_MINUTES, Sessions
from stairways.market.synthetic import (
    FloatArray,
    MarketSpec,
    SessionRegimes,
    Streams,
    SymbolSpec,
    common_path,
    symbol_path,
)

INTERVALS_MINUTES = (1, 5)
PLANTED_FIRST = dt.date(2012, 1, 3)
PLANTED_SESSIONS = 3320

_PLANTED_SYMBOLS = (
    # The overnight mean offsets the drag of compounding, so that prices do not decay over years.
    SymbolSpec("NVDA", 100.0, 4.0e8, 0.020, 0.75, 2.55e-4, 0.0125, 0.60),
    SymbolSpec("MSFT", 200.0, 2.5e7, 0.014, 0.80, 1.25e-4, 0.0078, 0.60),
    # No measured pair holds AAPL: it stands midway between the other two.
    SymbolSpec("AAPL", 150.0, 6.0e7, 0.017, 0.775, 1.84e-4, 0.0100, 0.60),
)

# How blocks of minutes, (n_sessions, n_bars, minutes), become one bar.
_REDUCTIONS: Mapping[str, Callable[[FloatArray], FloatArray]] = MappingProxyType(
    {
        "open": lambda blocks: blocks[:, :, 0],
        "high": lambda blocks: blocks.max(axis=2),
        "low": lambda blocks: blocks.min(axis=2),
        "close": lambda blocks: blocks[:, :, -1],
        "volume": lambda blocks: blocks.sum(axis=2),
    }
)


@dataclass(frozen=True)
class OracleRecord:
    """What the exact oracle earns: NVDA and MSFT, one minute, unit 0.15, 1 bp one way.

    Attributes:
        full_session_mean_bps: Exact mean of a full session, in bp of NAV.
        half_day_mean_bps: Exact mean of a half day.
        sharpe: Annual net Sharpe: the exact mean of a full session over the standard deviation of
            simulated full sessions. Over 30 seeds (98,730 sessions) it came out at 7.04 and 3.83, with a
            scatter of 0.13 from one market of 3,320 sessions to the next.
    """

    full_session_mean_bps: float
    half_day_mean_bps: float
    sharpe: float


PLANTED_ORACLE = OracleRecord(16.889387, 8.971547, 7.0)
PLANTED_HARD_ORACLE = OracleRecord(8.513733, 4.478818, 3.8)

PLANTED = MarketSpec(
    name="planted",
    about="a persistent signal shows in volume and drives returns in the active regime",
    symbols=_PLANTED_SYMBOLS,
    session_log_volatility_sd=0.10,
    planted=PlantedSpec(strength=0.0515),
)

PLANTED_HARD = replace(
    PLANTED,
    name="planted-hard",
    about="the planted market with a signal too weak to be sure of",
    planted=PlantedSpec(strength=0.0289),
)

NOISE = replace(
    PLANTED,
    name="noise",
    about="the planted market with strength 0, draw for draw: nothing can be earned",
    planted=PlantedSpec(strength=0.0),
)

BEAR_2022 = MarketSpec(
    name="2022_bear_market",
    about="falling prices, high volatility, more down than up sessions",
    symbols=(
        SymbolSpec(
            "NVDA", 30.0, 4.0e8, 0.0300, 0.80, -0.0016, 0.0205, 0.84, (0.022, -0.021, -0.0002), -0.462
        ),
        SymbolSpec(
            "MSFT", 330.0, 2.5e7, 0.0157, 0.86, -0.0007, 0.0120, 0.83, (0.011, -0.0105, -0.0001), -0.208
        ),
        SymbolSpec("AAPL", 180.0, 6.0e7, 0.0162, 0.86, -0.0006, 0.0112, 0.87, (0.0112, -0.011, 0.0), -0.140),
    ),
    session_log_volatility_sd=0.22,
    session_regimes=SessionRegimes((0.30, 0.35, 0.55), (0.0, 0.10, -0.05)),
    year=2022,
)

# Only NVDA's total of 2023 and MSFT's of 2024 are measured. The other totals are what the constants
# imply on average: 252 * (overnight mean + drift of the regimes by their shares).
BULL_2023 = MarketSpec(
    name="2023_bull_market",
    about="rising prices, more up than down sessions",
    symbols=(
        SymbolSpec("NVDA", 15.0, 4.0e8, 0.0205, 0.72, 0.0022, 0.0158, 0.72, (0.013, -0.012, 0.0005), 1.03),
        SymbolSpec("MSFT", 240.0, 2.5e7, 0.0102, 0.80, 0.0008, 0.0072, 0.70, (0.0062, -0.006, 0.0003), 0.43),
        SymbolSpec("AAPL", 130.0, 6.0e7, 0.0136, 0.80, 0.0008, 0.0079, 0.75, (0.0085, -0.0075, 0.0004), 0.57),
    ),
    session_log_volatility_sd=0.27,
    session_regimes=SessionRegimes((0.40, 0.20, 0.60), (0.0, 0.08, -0.05)),
    year=2023,
)

CHOPPY_2024 = MarketSpec(
    name="2024_choppy_market",
    about="choppier sessions than in the other years, although prices rose over the year",
    symbols=(
        SymbolSpec("NVDA", 50.0, 4.0e8, 0.0216, 0.65, 0.0030, 0.0125, 0.60, (0.013, -0.012, 0.0), 1.24),
        SymbolSpec("MSFT", 370.0, 2.5e7, 0.0101, 0.70, 0.0006, 0.0078, 0.60, (0.006, -0.0058, 0.0), 0.127),
        SymbolSpec("AAPL", 190.0, 6.0e7, 0.0105, 0.65, 0.0012, 0.0075, 0.45, (0.006, -0.006, 0.0), 0.35),
    ),
    session_log_volatility_sd=0.23,
    session_regimes=SessionRegimes((0.25, 0.25, 0.65), (0.02, 0.12, -0.06)),
    year=2024,
)

SAMPLES: tuple[MarketSpec, ...] = (PLANTED, PLANTED_HARD, NOISE, BEAR_2022, BULL_2023, CHOPPY_2024)


@dataclass(frozen=True, eq=False)
class SyntheticMarket:
    """A generated market.

    Attributes:
        sessions: The bars; nothing of the truth is in them.
        truth: The planted signal behind the bars; None in a scenario year.
        spec: The market's constants.
        seed: The seed it was generated from.
    """

    sessions: Sessions
    truth: PlantedTruth | None
    spec: MarketSpec
    seed: int


def sample_spec(name: str) -> tuple[MarketSpec, int]:
    """Return the constants and the seed of ``NAME`` or ``NAME:SEED``.

    Raises:
        ConfigError: If there is no such sample, or the seed is not a whole number from 0.
    """
    base, separator, seed = name.partition(":")
    for spec in SAMPLES:
        if spec.name == base:
            if not separator:
                return spec, spec.seed
            if seed.isascii() and seed.isdigit():
                return spec, int(seed)
            raise ConfigError(f"seed {seed} is not a whole number from 0", where=f"sample market {name}")
    raise ConfigError(
        f"unknown sample market {name}",
        remedy=f"choose one of {', '.join(spec.name for spec in SAMPLES)}; NAME:SEED picks another seed",
    )


def sample_market(
    name: str,
    *,
    symbols: Sequence[str] = ("NVDA", "MSFT"),
    interval_minutes: int = 1,
    first: dt.date | None = None,
    n_sessions: int | None = None,
) -> SyntheticMarket:
    """Generate a sample market on real exchange dates.

    The planted markets start at ``first`` (2012-01-03) and are as long as asked (3,320 sessions). A
    scenario year is generated whole, since its total is pinned; ``first`` and ``n_sessions`` cut it.

    Args:
        name: ``NAME`` or ``NAME:SEED``.
        symbols: Two or three of NVDA, MSFT and AAPL (one is allowed too), in the order of the legs.
        interval_minutes: 1 or 5; bars are always generated at one minute.
        first: First date; the first session on or after it counts.
        n_sessions: Number of sessions.

    Returns:
        The market, the same bit for bit for the same arguments.

    Raises:
        ConfigError: If a name, symbol, interval or range is not to be had.
    """
    spec, seed = sample_spec(name)
    return generate_market(
        spec,
        seed=seed,
        symbols=symbols,
        interval_minutes=interval_minutes,
        first=first,
        n_sessions=n_sessions,
    )


def generate_market(
    spec: MarketSpec,
    *,
    seed: int,
    symbols: Sequence[str] = ("NVDA", "MSFT"),
    interval_minutes: int = 1,
    first: dt.date | None = None,
    n_sessions: int | None = None,
) -> SyntheticMarket:
    """Generate a market from its constants; arguments as in `sample_market`."""
    chosen = _checked_symbols(spec, symbols)
    if interval_minutes not in INTERVALS_MINUTES:
        raise ConfigError(f"interval of {interval_minutes} minutes", remedy="bars have 1 or 5 minutes")
    days = _session_days(spec, first, n_sessions)
    streams = Streams(seed)
    common = common_path(spec, streams, days.minutes)
    bars, signal = _empty_bars(len(days), interval_minutes, len(chosen))
    last = slice(interval_minutes - 1, None, interval_minutes)
    for leg, symbol in enumerate(chosen):
        for block, path in symbol_path(spec, symbol, streams, common):
            for field, values in bars.items():
                values[block, :, leg] = _aggregate(field, getattr(path, field), interval_minutes)
            signal[block, :, leg] = path.signal[:, last]
    part = _session_part(spec, days, first, n_sessions)
    sessions = _to_sessions(spec, seed, chosen, bars, days, interval_minutes).select(part)
    truth = None
    if spec.planted is not None:
        truth = PlantedTruth(
            signal=signal[part],
            active=np.ascontiguousarray(common.active[part, last]),
            strength=spec.planted.strength,
            persistence=spec.planted.persistence,
            switch_probability=spec.planted.switch_probability,
            unit_drift_ratio=np.array([unit_drift_ratio(s.realised_volatility_ratio) for s in chosen]),
        )
    return SyntheticMarket(sessions, truth, spec, seed)


def _checked_symbols(spec: MarketSpec, symbols: Sequence[str]) -> list[SymbolSpec]:
    chosen = [spec.symbol(name) for name in symbols]
    if not chosen or len(set(symbols)) != len(chosen):
        raise ConfigError(
            f"symbols {', '.join(symbols) or '(none)'}",
            where=f"sample market {spec.name}",
            remedy="name each symbol once",
        )
    return chosen


def _session_days(spec: MarketSpec, first: dt.date | None, n_sessions: int | None) -> ExchangeSessions:
    """Return the sessions to generate: the whole year of a scenario, else as many as asked."""
    if n_sessions is not None and n_sessions < 1:
        raise ConfigError(
            f"n_sessions {n_sessions}", where=f"sample market {spec.name}", remedy="ask for 1 or more"
        )
    if spec.year is not None:
        return recorded_sessions(dt.date(spec.year, 1, 1), dt.date(spec.year, 12, 31))
    start = first or PLANTED_FIRST
    wanted = n_sessions or PLANTED_SESSIONS
    # A year of 365.25 days has 250 to 253 sessions: 1.5 days for each, and three weeks, are enough.
    days = recorded_sessions(start, start + dt.timedelta(days=wanted * 3 // 2 + 21))
    return ExchangeSessions(days.dates[:wanted], days.open_utc[:wanted], days.minutes[:wanted])


def _session_part(
    spec: MarketSpec, days: ExchangeSessions, first: dt.date | None, n_sessions: int | None
) -> slice:
    """Return the part of the generated sessions that was asked for."""
    start = 0
    if spec.year is not None and first is not None:
        start = int(np.searchsorted(days.dates, np.datetime64(first, "D")))
    available = len(days.dates) - start
    if available < max(n_sessions or 0, 1) or (spec.year is not None and first and first.year != spec.year):
        raise ConfigError(
            f"{n_sessions or 'all'} sessions from {first}",
            where=f"sample market {spec.name}",
            remedy=f"it has {len(days.dates)} sessions, {days.dates[0]} to {days.dates[-1]}",
        )
    return slice(start, start + (n_sessions or available))


def _empty_bars(
    n_sessions: int, interval_minutes: int, n_symbols: int
) -> tuple[dict[str, FloatArray], FloatArray]:
    """Return arrays for the bars, by field, and for the signal, ``(n_sessions, max_bars, n_symbols)``."""
    shape = (n_sessions, FULL_SESSION_MINUTES // interval_minutes, n_symbols)
    return {field: np.empty(shape) for field in _REDUCTIONS}, np.empty(shape)


def _to_sessions(
    spec: MarketSpec,
    seed: int,
    chosen: Sequence[SymbolSpec],
    bars: Mapping[str, FloatArray],
    days: ExchangeSessions,
    interval_minutes: int,
) -> Sessions:
    return Sessions(
        symbols=tuple(symbol.symbol for symbol in chosen),
        interval_minutes=interval_minutes,
        dates=days.dates,
        open_utc=days.open_utc,
        n_bars=days.minutes // interval_minutes,
        **bars,
        filled=np.zeros(bars["open"].shape, dtype=np.bool_),
        segment=np.zeros(len(days.dates), dtype=np.int64),
        source=f"SYNTHETIC {spec.name}, seed {seed}",
    )


def _aggregate(field: str, minutes: FloatArray, interval_minutes: int) -> FloatArray:
    """Return bars of ``interval_minutes`` from minutes; NaN where the minutes are NaN."""
    if interval_minutes == 1:
        return minutes
    blocks = minutes.reshape(len(minutes), FULL_SESSION_MINUTES // interval_minutes, interval_minutes)
    return np.asarray(_REDUCTIONS[field](blocks), dtype=np.float64)
