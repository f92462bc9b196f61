"""Synthetic prices: one-minute bars with the stylised facts of real single stocks.

For session s, minute j of nb, u = (j + 1/2) / nb, symbol i::

    r = mu_i[regime] / 390 + sd_is / sqrt(390) * T(u) * exp(h - sd_h**2) * z
    z = b_i * M + sqrt(1 - b_i**2) * E_i                     M, E ~ t(nu), unit variance
    log sd_is = log rv_i + sd_lv * (sqrt(w_c) * C_s + sqrt(1 - w_c) * I_is) + reg_lv[regime]
    overnight = mu_on_i + sd_on_i * exp(lv - sd_lv**2) * (bo_i * O + sqrt(1 - bo_i**2) * P_i)

C and I are AR(1) over sessions, h is the sum of a common and an own AR(1) over minutes. A half day
keeps the volatility and the drift of a minute, so it moves less than a full day. r is a log return
in the scenario years and a simple one where a signal is planted, whose drift is then exact.

Every kind of draw has its own stream, filled session by session: more sessions never change earlier
ones, and a symbol's path does not know which other symbols were asked for. For the same reason a path
can be made block by block, in memory that a core's cache holds, and is the same bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from stairways.errors import ConfigError
from stairways.market.planted import (
    PlantedSpec,
    active_minutes,
    planted_drift,
    regime_volatility_factor,
    stationary_ar1,
    unit_drift_ratio,
)
from stairways.market.sessions import FULL_SESSION_MINUTES
from stairways.market.volume import planted_volume, scenario_volume, volume_profile

UP, DOWN, CHOPPY = 0, 1, 2
# 32 x 390 numbers are 98 kB: the two dozen arrays of a block stay in the cache and on the heap.
BLOCK_SESSIONS = 32

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class TimeOfDay:
    """Volatility through the day: ``floor + sum of level * exp(-distance / decay)``.

    Attributes:
        floor: Level at mid-day before normalisation.
        opening: (level, decay) pairs from the open; the decay is a share of the session.
        closing: (level, decay) pairs from the close.
    """

    floor: float = 0.68
    opening: tuple[tuple[float, float], ...] = ((1.9, 0.010), (1.15, 0.13))
    closing: tuple[tuple[float, float], ...] = ((0.75, 0.012),)

    def factors(self, n_minutes: int) -> FloatArray:
        """Return T(u) of each minute, ``(n_minutes,)`` float64, with mean square 1."""
        passed = (np.arange(n_minutes) + 0.5) / n_minutes
        shape = np.full(n_minutes, self.floor)
        for level, decay in self.opening:
            shape += level * np.exp(-passed / decay)
        for level, decay in self.closing:
            shape += level * np.exp(-(1.0 - passed) / decay)
        return np.asarray(shape / np.sqrt(np.mean(shape**2)), dtype=np.float64)


@dataclass(frozen=True)
class SessionRegimes:
    """Sessions that trend up, trend down or chop, as a Markov chain common to all symbols.

    Attributes:
        stay_ratio: Chance to stay in (up, down, choppy). From up or down the rest goes 35 % to the
            opposite and 65 % to choppy; from choppy half and half.
        log_volatility: Shift of the session's log volatility in (up, down, choppy).
    """

    stay_ratio: tuple[float, float, float]
    log_volatility: tuple[float, float, float]

    def transition(self) -> FloatArray:
        """Return the chain's ``(3, 3)`` transition matrix, float64, rows sum to 1."""
        up, down, choppy = self.stay_ratio
        return np.array(
            [
                [up, 0.35 * (1.0 - up), 0.65 * (1.0 - up)],
                [0.35 * (1.0 - down), down, 0.65 * (1.0 - down)],
                [0.5 * (1.0 - choppy), 0.5 * (1.0 - choppy), choppy],
            ]
        )

    def shares(self) -> FloatArray:
        """Return the stationary shares of (up, down, choppy), ``(3,)`` float64."""
        return np.asarray(np.linalg.matrix_power(self.transition(), 256)[0], dtype=np.float64)


@dataclass(frozen=True)
class SymbolSpec:
    """Constants of one symbol.

    Attributes:
        symbol: Ticker.
        start_price_usd: Open of the first session.
        session_volume_shares: Mean volume of a full session.
        realised_volatility_ratio: rv, the median of a session's realised volatility.
        market_loading_ratio: b, the share of the bar's shock that is common (correlation units).
        overnight_mean_log: mu_on.
        overnight_sd_ratio: sd_on.
        overnight_loading_ratio: bo.
        session_drift_log: mu in (up, down, choppy) sessions.
        pinned_return_ratio: Last close over first open - 1, pinned; None leaves the path free.
    """

    symbol: str
    start_price_usd: float
    session_volume_shares: float
    realised_volatility_ratio: float
    market_loading_ratio: float
    overnight_mean_log: float
    overnight_sd_ratio: float
    overnight_loading_ratio: float
    session_drift_log: tuple[float, float, float] = (0.0, 0.0, 0.0)
    pinned_return_ratio: float | None = None


@dataclass(frozen=True)
class MarketSpec:
    """Constants of one synthetic market.

    Attributes:
        name: Name of the sample.
        about: One sentence for reports.
        symbols: Constants per symbol.
        session_log_volatility_sd: sd_lv.
        minute_log_volatility_sd: sd_h.
        minute_memory_minutes: Time constant of h.
        common_persistence: phi_c of C, per session.
        own_persistence: phi_i of I, per session.
        common_share_ratio: w_c.
        tail_degrees: nu of the bars' shocks.
        overnight_tail_degrees: nu of the overnight moves.
        time_of_day: T(u).
        session_regimes: Up, down and choppy sessions; None when there are none.
        planted: The planted signal; None when there is none.
        year: The calendar year that the market is, whole and pinned; None for any range.
        seed: The default seed.
    """

    name: str
    about: str
    symbols: tuple[SymbolSpec, ...]
    session_log_volatility_sd: float
    minute_log_volatility_sd: float = 0.22
    minute_memory_minutes: float = 20.0
    common_persistence: float = 0.90
    own_persistence: float = 0.70
    common_share_ratio: float = 0.60
    tail_degrees: float = 9.0
    overnight_tail_degrees: float = 4.0
    time_of_day: TimeOfDay = TimeOfDay()
    session_regimes: SessionRegimes | None = None
    planted: PlantedSpec | None = None
    year: int | None = None
    seed: int = 1

    def symbol(self, name: str) -> SymbolSpec:
        """Return the constants of one symbol.

        Raises:
            ConfigError: If the market does not have it.
        """
        for spec in self.symbols:
            if spec.symbol == name:
                return spec
        raise ConfigError(
            f"unknown symbol {name!r}",
            where=f"sample market {self.name}",
            remedy=f"it has {', '.join(spec.symbol for spec in self.symbols)}",
        )


@dataclass(frozen=True)
class Streams:
    """Independent generators, one for every kind of draw, spawned from one seed by name."""

    seed: int

    def generator(self, draw: str, symbol: str = "") -> np.random.Generator:
        """Return the generator of one kind of draw (of one symbol)."""
        key = tuple(f"{draw}/{symbol}".encode())
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=key))


@dataclass(frozen=True, eq=False)
class CommonPath:
    """What all symbols of a market share; arrays over ``n_sessions`` or ``(n_sessions, 390)``.

    Attributes:
        n_minutes: int64, minutes of each session.
        valid: bool, True in the minutes that the session has.
        shock: float64, M.
        minute_volatility: float64, the common half of h, unit variance.
        session_volatility: float64, C, unit variance.
        overnight: float64, O.
        regime: int64, `UP`, `DOWN` or `CHOPPY`.
        active: bool, the planted regime; all False without one.
    """

    n_minutes: NDArray[np.int64]
    valid: NDArray[np.bool_]
    shock: FloatArray
    minute_volatility: FloatArray
    session_volatility: FloatArray
    overnight: FloatArray
    regime: NDArray[np.int64]
    active: NDArray[np.bool_]

    def select(self, part: slice) -> Self:
        """Return the sessions of one slice (views, no copy)."""
        return replace(self, **{field.name: getattr(self, field.name)[part] for field in fields(self)})


@dataclass(frozen=True, eq=False)
class SymbolPath:
    """One symbol's minutes, ``(n_sessions, 390)`` float64 each, NaN behind a half day's last.

    Attributes:
        open: USD; the close of the minute before, inside a session.
        high: USD.
        low: USD.
        close: USD.
        volume: Shares.
        signal: The planted s, 0 where there is none.
    """

    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray
    signal: FloatArray


def common_path(spec: MarketSpec, streams: Streams, n_minutes: NDArray[np.int64]) -> CommonPath:
    """Draw what all symbols of a market share.

    Args:
        spec: The market.
        streams: Its random streams.
        n_minutes: ``(n_sessions,)`` int64, minutes of each session.

    Returns:
        The common part.
    """
    n = len(n_minutes)
    shape = (n, FULL_SESSION_MINUTES)
    valid = np.arange(FULL_SESSION_MINUTES)[None, :] < n_minutes[:, None]
    active = np.zeros(shape, dtype=np.bool_)
    if spec.planted is not None:
        uniform = streams.generator("planted regime").random(shape)
        active = active_minutes(uniform, n_minutes, spec.planted.switch_probability)
    return CommonPath(
        n_minutes=n_minutes,
        valid=valid,
        shock=_student(streams.generator("shock"), spec.tail_degrees, shape),
        minute_volatility=_minute_volatility(spec, streams.generator("minute volatility"), shape),
        session_volatility=_session_ar1(streams.generator("session volatility"), spec.common_persistence, n),
        overnight=_student(streams.generator("overnight"), spec.overnight_tail_degrees, (n,)),
        regime=_session_regimes(spec.session_regimes, streams.generator("session regime"), n),
        active=active,
    )


def symbol_path(
    spec: MarketSpec,
    symbol: SymbolSpec,
    streams: Streams,
    common: CommonPath,
    *,
    block_sessions: int = BLOCK_SESSIONS,
) -> Iterator[tuple[slice, SymbolPath]]:
    """Draw one symbol's minutes, block by block.

    Args:
        spec: The market.
        symbol: The symbol.
        streams: The market's random streams.
        common: What it shares with the other symbols.
        block_sessions: Sessions of a block; the numbers are the same for any. A path with a pinned
            total comes in one block, since the total takes every return.

    Yields:
        Which sessions, and the symbol's bars with the planted signal beside them.
    """
    n = len(common.n_minutes)
    own = _OwnSessions.of(spec, symbol, streams, n)
    level = _session_level(spec, common, own)
    gaps = _overnight_log(spec, symbol, common, own, level)
    minutes = _MinuteStreams.of(symbol, streams)
    chained, last_factor = 1.0, 1.0
    step = n if symbol.pinned_return_ratio is not None else block_sessions
    for first in range(0, n, step):
        part = slice(first, min(first + step, n))
        block, draws = common.select(part), minutes.take(spec, part.stop - first)
        growth, sd, volume = _minutes(
            spec, symbol, block, draws, level[part], gaps[part], own.session_volume[part]
        )
        factors = np.cumprod(np.where(block.valid, growth, 1.0), axis=1, dtype=np.float64)
        chain = np.exp(gaps[part])
        chain[1:] *= factors[:-1, -1]
        chain[0] = chained * (chain[0] * last_factor)
        opens = np.cumprod(chain)
        chained, last_factor = opens[-1], factors[-1, -1]
        yield part, _assemble(block, draws, np.asarray(symbol.start_price_usd * opens), factors, sd, volume)


def _minutes(
    spec: MarketSpec,
    symbol: SymbolSpec,
    common: CommonPath,
    draws: _MinuteDraws,
    level: FloatArray,
    gaps: FloatArray,
    session_volume: FloatArray,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return 1 + return, its standard deviation and the volume of every minute of a block."""
    shocks = _mix(symbol.market_loading_ratio, common.shock, draws.shock)
    sd = _minute_sd(spec, symbol, common, draws, level)
    returns = sd * shocks
    mean_shares = _mean_shares(symbol, common.n_minutes)
    if spec.planted is not None:
        v0 = unit_drift_ratio(symbol.realised_volatility_ratio)
        returns += planted_drift(draws.signal, common.active, spec.planted.strength, v0)
        growth = 1.0 + returns
        volume = planted_volume(mean_shares, draws.signal, draws.bar_volume, spec.planted)
    else:
        returns += np.asarray(symbol.session_drift_log)[common.regime, None] / FULL_SESSION_MINUTES
        growth = np.exp(returns + _pinning_shift(symbol, returns, gaps, common.valid))
        volume = scenario_volume(mean_shares, session_volume, level, draws.bar_volume, shocks)
    return growth, sd, volume


@dataclass(frozen=True, eq=False)
class _OwnSessions:
    """One symbol's own draws per session, ``(n_sessions,)`` float64 each."""

    session_volatility: FloatArray
    overnight: FloatArray
    session_volume: FloatArray

    @classmethod
    def of(cls, spec: MarketSpec, symbol: SymbolSpec, streams: Streams, n: int) -> Self:
        def stream(draw: str) -> np.random.Generator:
            return streams.generator(draw, symbol.symbol)

        return cls(
            session_volatility=_session_ar1(stream("session volatility"), spec.own_persistence, n),
            overnight=_student(stream("overnight"), spec.overnight_tail_degrees, (n,)),
            session_volume=stream("session volume").standard_normal(n),
        )


@dataclass(frozen=True, eq=False)
class _MinuteDraws:
    """One symbol's own draws per minute of a block, ``(n_sessions, 390)`` float64 each."""

    shock: FloatArray
    minute_volatility: FloatArray
    signal: FloatArray
    bar_volume: FloatArray
    reach_up: FloatArray
    reach_down: FloatArray


@dataclass(frozen=True)
class _MinuteStreams:
    """The running streams behind `_MinuteDraws`, one for each."""

    shock: np.random.Generator
    minute_volatility: np.random.Generator
    planted_signal: np.random.Generator
    bar_volume: np.random.Generator
    reach_up: np.random.Generator
    reach_down: np.random.Generator

    @classmethod
    def of(cls, symbol: SymbolSpec, streams: Streams) -> Self:
        return cls(*(streams.generator(field.name.replace("_", " "), symbol.symbol) for field in fields(cls)))

    def take(self, spec: MarketSpec, n_sessions: int) -> _MinuteDraws:
        """Draw the next sessions."""
        shape = (n_sessions, FULL_SESSION_MINUTES)
        signal = np.zeros(shape)
        if spec.planted is not None:
            signal = stationary_ar1(self.planted_signal.standard_normal(shape), spec.planted.persistence)
        return _MinuteDraws(
            shock=_student(self.shock, spec.tail_degrees, shape),
            minute_volatility=_minute_volatility(spec, self.minute_volatility, shape),
            signal=signal,
            bar_volume=self.bar_volume.standard_normal(shape),
            reach_up=self.reach_up.standard_exponential(shape),
            reach_down=self.reach_down.standard_exponential(shape),
        )


def _student(generator: np.random.Generator, degrees: float, shape: tuple[int, ...]) -> FloatArray:
    unit = ((degrees - 2.0) / degrees) ** 0.5
    return np.asarray(unit * generator.standard_t(degrees, shape), dtype=np.float64)


def _minute_volatility(
    spec: MarketSpec, generator: np.random.Generator, shape: tuple[int, ...]
) -> FloatArray:
    persistence = float(np.exp(-1.0 / spec.minute_memory_minutes))
    return np.asarray(stationary_ar1(generator.standard_normal(shape), persistence), dtype=np.float64)


def _session_ar1(generator: np.random.Generator, persistence: float, n_sessions: int) -> FloatArray:
    noise = generator.standard_normal((1, n_sessions))
    return np.asarray(stationary_ar1(noise, persistence)[0], dtype=np.float64)


def _session_regimes(
    regimes: SessionRegimes | None, generator: np.random.Generator, n_sessions: int
) -> NDArray[np.int64]:
    if regimes is None:
        return np.full(n_sessions, CHOPPY, dtype=np.int64)
    bounds = np.cumsum(regimes.transition(), axis=1)
    row = np.cumsum(regimes.shares())
    path = np.empty(n_sessions, dtype=np.int64)
    for session, uniform in enumerate(generator.random(n_sessions)):
        path[session] = min(int(np.searchsorted(row, uniform, side="right")), CHOPPY)
        row = bounds[path[session]]
    return path


def _mix(loading: float, common: FloatArray, own: FloatArray) -> FloatArray:
    return np.asarray(loading * common + (1.0 - loading**2) ** 0.5 * own, dtype=np.float64)


def _session_level(spec: MarketSpec, common: CommonPath, own: _OwnSessions) -> FloatArray:
    """Return the session's log volatility before scaling, ``(n_sessions,)``, unit variance."""
    return _mix(spec.common_share_ratio**0.5, common.session_volatility, own.session_volatility)


def _minute_sd(
    spec: MarketSpec, symbol: SymbolSpec, common: CommonPath, own: _MinuteDraws, level: FloatArray
) -> FloatArray:
    """Return the standard deviation of each minute's return, ``(n_sessions, 390)`` float64."""
    session_log = spec.session_log_volatility_sd * level
    if spec.session_regimes is not None:
        session_log = session_log + np.asarray(spec.session_regimes.log_volatility)[common.regime]
    session_sd = unit_drift_ratio(symbol.realised_volatility_ratio) * np.exp(session_log)
    own_half = _mix(0.5**0.5, common.minute_volatility, own.minute_volatility)
    minute = np.exp(spec.minute_log_volatility_sd * own_half - spec.minute_log_volatility_sd**2)
    sd = session_sd[:, None] * _by_length(spec.time_of_day.factors, common.n_minutes) * minute
    if spec.planted is not None:
        sd *= regime_volatility_factor(common.active, spec.planted.volatility_ratio)
    return sd


def _overnight_log(
    spec: MarketSpec, symbol: SymbolSpec, common: CommonPath, own: _OwnSessions, level: FloatArray
) -> FloatArray:
    """Return the log move from the close before to each open, ``(n_sessions,)``; 0 at the start."""
    sd_lv = spec.session_log_volatility_sd
    scale = symbol.overnight_sd_ratio * np.exp(sd_lv * level - sd_lv**2)
    gaps = symbol.overnight_mean_log + scale * _mix(
        symbol.overnight_loading_ratio, common.overnight, own.overnight
    )
    gaps[0] = 0.0
    return gaps


def _mean_shares(symbol: SymbolSpec, n_minutes: NDArray[np.int64]) -> FloatArray:
    return symbol.session_volume_shares / FULL_SESSION_MINUTES * _by_length(volume_profile, n_minutes)


def _by_length(profile: Callable[[int], FloatArray], n_minutes: NDArray[np.int64]) -> FloatArray:
    """Return ``(n_sessions, 390)``: the profile of each session's length, 1 behind its end."""
    rows = np.ones((len(n_minutes), FULL_SESSION_MINUTES))
    for length in np.unique(n_minutes):
        rows[n_minutes == length, :length] = profile(int(length))
    return rows


def _pinning_shift(
    symbol: SymbolSpec, log_returns: FloatArray, gaps: FloatArray, valid: NDArray[np.bool_]
) -> float:
    """Return what each minute's log return lacks for the pinned total; 0 when nothing is pinned.

    Drift does not identify itself (a generated year's total scatters by half of itself), so a
    scenario's total is set: the realised total is taken off, the wanted one added, in equal shares.
    """
    if symbol.pinned_return_ratio is None:
        return 0.0
    realised = float(log_returns[valid].sum() + gaps.sum())
    return float((np.log1p(symbol.pinned_return_ratio) - realised) / valid.sum())


def _assemble(
    common: CommonPath,
    draws: _MinuteDraws,
    session_open: FloatArray,
    factors: FloatArray,
    sd: FloatArray,
    volume: FloatArray,
) -> SymbolPath:
    """Return the bars of a block from each session's open and its minutes' growth since then."""
    close = np.asarray(session_open[:, None] * factors, dtype=np.float64)
    opening = np.concatenate([session_open[:, None], close[:, :-1]], axis=1)
    high, low = _reach(opening, close, sd, draws)
    whole = bool(common.valid.all())

    def shown(values: FloatArray, behind: float = np.nan) -> FloatArray:
        return values if whole else np.where(common.valid, values, behind)

    return SymbolPath(
        open=shown(opening),
        high=shown(high),
        low=shown(low),
        close=shown(close),
        volume=shown(volume),
        signal=shown(draws.signal, behind=0.0),
    )


def _reach(
    opening: FloatArray, close: FloatArray, sd: FloatArray, own: _MinuteDraws
) -> tuple[FloatArray, FloatArray]:
    """Return each minute's high and low as extremes of a Brownian bridge from open to close.

    The maximum of a bridge from 0 to r with variance v is ``(r + sqrt(r**2 + 2 * v * X)) / 2`` with
    X ~ Exp(1) (reflection principle); the minimum mirrors it. High and low are drawn apart.
    """
    move = np.log(close / opening)
    up = 0.5 * (move + np.sqrt(move**2 + 2.0 * sd**2 * own.reach_up))
    down = 0.5 * (move - np.sqrt(move**2 + 2.0 * sd**2 * own.reach_down))
    high = np.maximum(opening * np.exp(up), np.maximum(opening, close))
    low = np.minimum(opening * np.exp(down), np.minimum(opening, close))
    return high, low
