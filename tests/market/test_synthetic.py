"""The generator: determinism, independence of what is asked for, consistency of the bars, bad input."""

from __future__ import annotations

import datetime as dt
from dataclasses import fields, replace

import numpy as np
import pytest

from stairways.errors import ConfigError
from stairways.market.calendar import exchange_sessions
from stairways.market.recorded_calendar import recorded_sessions
from stairways.market.samples import (
    BEAR_2022,
    BULL_2023,
    CHOPPY_2024,
    PLANTED,
    SAMPLES,
    SyntheticMarket,
    generate_market,
    sample_market,
    sample_spec,
)
from stairways.market.sessions import Sessions
from stairways.market.synthetic import (
    SessionRegimes,
    Streams,
    SymbolPath,
    TimeOfDay,
    common_path,
    symbol_path,
)
from stairways.market.volume import volume_profile

BARS = ("open", "high", "low", "close", "volume")
NAMES = tuple(spec.name for spec in SAMPLES)
every_sample = pytest.mark.parametrize("name", NAMES)


def market_of(name: str, **options: object) -> SyntheticMarket:
    return sample_market(name, **{"n_sessions": 80, **options})  # type: ignore[arg-type]


def same_bars(one: Sessions, other: Sessions) -> bool:
    return all(np.array_equal(getattr(one, bar), getattr(other, bar), equal_nan=True) for bar in BARS)


@every_sample
class TestReproducible:
    def test_same_seed_same_bits(self, name: str) -> None:
        assert market_of(name).sessions.digest == market_of(name).sessions.digest

    def test_another_seed_another_market(self, name: str) -> None:
        other = market_of(f"{name}:7")
        assert other.seed == 7
        assert other.sessions.digest != market_of(name).sessions.digest
        assert other.sessions.source == f"SYNTHETIC {name}, seed 7"

    def test_default_seed_can_be_named(self, name: str) -> None:
        named = market_of(f"{name}:{market_of(name).seed}")
        assert named.sessions.digest == market_of(name).sessions.digest

    def test_more_sessions_never_change_earlier_ones(self, name: str) -> None:
        longer = market_of(name, n_sessions=140)
        shorter = market_of(name, n_sessions=80)
        assert same_bars(longer.sessions.select(slice(0, 80)), shorter.sessions)
        if longer.truth is not None and shorter.truth is not None:
            assert np.array_equal(longer.truth.signal[:80], shorter.truth.signal)
            assert np.array_equal(longer.truth.active[:80], shorter.truth.active)

    def test_a_path_knows_neither_order_nor_company(self, name: str) -> None:
        pair = market_of(name).sessions
        swapped = market_of(name, symbols=("MSFT", "NVDA")).sessions
        three = market_of(name, symbols=("AAPL", "NVDA", "MSFT")).sessions
        for bar in BARS:
            expected = getattr(pair, bar)
            assert np.array_equal(getattr(swapped, bar)[:, :, ::-1], expected, equal_nan=True)
            assert np.array_equal(getattr(three, bar)[:, :, 1:], expected, equal_nan=True)


@every_sample
class TestBars:
    def test_bars_are_consistent(self, name: str) -> None:
        s = market_of(name, symbols=("NVDA", "MSFT", "AAPL")).sessions
        valid = np.arange(s.max_bars)[None, :] < s.n_bars[:, None]
        for bar in BARS:
            values = getattr(s, bar)
            assert np.array_equal(np.isfinite(values), np.repeat(valid[:, :, None], 3, axis=2))
            assert (values[valid] > 0).all()
        assert (s.high[valid] >= np.maximum(s.open, s.close)[valid]).all()
        assert (s.low[valid] <= np.minimum(s.open, s.close)[valid]).all()
        assert np.array_equal(s.open[:, 1:][valid[:, 1:]], s.close[:, :-1][valid[:, 1:]])
        assert (s.volume[valid] == np.rint(s.volume[valid])).all()

    def test_five_minutes_are_five_single_ones(self, name: str) -> None:
        minutes = market_of(name).sessions
        bars = market_of(name, interval_minutes=5).sessions
        assert bars.open.shape == (80, 78, 2)
        assert np.array_equal(bars.n_bars * 5, minutes.n_bars)
        blocks = {bar: getattr(minutes, bar).reshape(80, 78, 5, 2) for bar in BARS}
        assert np.array_equal(bars.open, blocks["open"][:, :, 0], equal_nan=True)
        assert np.array_equal(bars.close, blocks["close"][:, :, 4], equal_nan=True)
        assert np.array_equal(bars.high, blocks["high"].max(axis=2), equal_nan=True)
        assert np.array_equal(bars.low, blocks["low"].min(axis=2), equal_nan=True)
        assert np.array_equal(bars.volume, blocks["volume"].sum(axis=2), equal_nan=True)

    def test_highs_and_lows_reach_plausibly_far(self, name: str) -> None:
        s = market_of(name, n_sessions=None if name.startswith("20") else 250).sessions
        reach = np.log(s.high / s.low)
        move = np.log(s.close / s.open)
        # E[range**2] of a Brownian motion is 4 log 2 times its variance; high and low are drawn apart.
        ratio = np.nanmean(reach**2) / np.nanmean(move**2)
        assert ratio == pytest.approx(4 * np.log(2), rel=0.15)

    def test_nothing_is_filled_or_broken(self, name: str) -> None:
        s = market_of(name).sessions
        assert s.synthetic
        assert not s.filled.any()
        assert not s.segment.any()

    def test_no_overnight_move_looks_like_a_split(self, name: str) -> None:
        s = market_of(name, n_sessions=None).sessions
        last = s.close[np.arange(len(s)), s.n_bars - 1]
        assert (np.abs(np.log(s.open[1:, 0] / last[:-1])) < np.log(1.9)).all()

    def test_volume_is_u_shaped(self, name: str) -> None:
        s = market_of(name).sessions
        mean = s.volume[s.n_bars == 390].mean(axis=(0, 2))
        mid_day = mean[150:270].mean()
        assert 4 < mean[0] / mid_day < 12
        assert 2.5 < mean[-1] / mid_day < 9


@pytest.mark.parametrize(("spec", "year"), [(BEAR_2022, 2022), (BULL_2023, 2023), (CHOPPY_2024, 2024)])
class TestScenarioYear:
    def test_year_is_whole_by_default(self, spec: object, year: int) -> None:
        market = sample_market(f"{year}_{ {2022: 'bear', 2023: 'bull', 2024: 'choppy'}[year] }_market")
        days = exchange_sessions(dt.date(year, 1, 1), dt.date(year, 12, 31))
        assert market.spec is spec
        assert market.truth is None
        assert np.array_equal(market.sessions.dates, days.dates)
        assert np.array_equal(market.sessions.open_utc, days.open_utc)
        assert np.array_equal(market.sessions.n_bars, days.minutes)

    def test_a_part_is_cut_from_the_whole(self, spec: object, year: int) -> None:
        name = next(n for n in NAMES if n.startswith(str(year)))
        whole = sample_market(name).sessions
        part = sample_market(name, first=dt.date(year, 3, 6), n_sessions=20).sessions
        start = int(np.searchsorted(whole.dates, np.datetime64(f"{year}-03-06")))
        assert same_bars(part, whole.select(slice(start, start + 20)))
        assert np.array_equal(part.dates, whole.dates[start : start + 20])

    def test_ranges_outside_the_year_are_refused(self, spec: object, year: int) -> None:
        name = next(n for n in NAMES if n.startswith(str(year)))
        with pytest.raises(ConfigError, match="it has 25"):
            sample_market(name, n_sessions=300)
        for outside in (year - 1, year + 1):
            with pytest.raises(ConfigError, match="it has 25"):
                sample_market(name, first=dt.date(outside, 6, 1), n_sessions=10)


class TestPlantedDates:
    def test_default_range(self) -> None:
        sessions = sample_market("planted").sessions
        assert len(sessions) == 3320
        assert sessions.dates[0] == np.datetime64("2012-01-03")
        assert set(np.unique(sessions.n_bars)) == {210, 390}

    def test_first_moves_the_dates_to_the_session_on_or_after(self) -> None:
        sessions = sample_market("planted", first=dt.date(2020, 7, 4), n_sessions=5).sessions
        assert sessions.dates[0] == np.datetime64("2020-07-06")

    def test_nights_move_as_stated(self) -> None:
        sessions = sample_market("planted", symbols=("NVDA", "MSFT", "AAPL")).sessions
        last = sessions.close[np.arange(len(sessions)), sessions.n_bars - 1]
        nights = np.log(sessions.open[1:, 0] / last[:-1])
        stated = [PLANTED.symbol(name).overnight_sd_ratio for name in sessions.symbols]
        assert nights.std(axis=0) == pytest.approx(stated, rel=0.15)
        assert np.corrcoef(nights.T)[0, 1] == pytest.approx(0.36, abs=0.1)

    def test_prices_stay_in_a_range_that_whole_shares_can_follow(self) -> None:
        sessions = sample_market("planted", symbols=("NVDA", "MSFT", "AAPL")).sessions
        assert np.nanmin(sessions.low) > 5
        assert np.nanmax(sessions.high) < 5000

    def test_half_day_keeps_the_volatility_of_a_minute(self) -> None:
        flat = replace(PLANTED, time_of_day=TimeOfDay(floor=1.0, opening=(), closing=()))
        sessions = generate_market(flat, seed=3, n_sessions=3320).sessions
        variance = np.log(sessions.close / sessions.open) ** 2
        half, full = sessions.n_bars == 210, sessions.n_bars == 390
        assert np.nanmean(variance[half]) == pytest.approx(np.nanmean(variance[full]), rel=0.25)


class TestBlocks:
    @every_sample
    @pytest.mark.parametrize("block_sessions", [1, 7])
    def test_a_path_is_the_same_in_blocks_of_any_size(self, name: str, block_sessions: int) -> None:
        spec, seed = sample_spec(name)
        minutes = recorded_sessions(dt.date(2012, 11, 1), dt.date(2012, 12, 31)).minutes
        common = common_path(spec, Streams(seed), minutes)

        def path(n: int) -> dict[str, np.ndarray]:
            blocks = [
                b for _, b in symbol_path(spec, spec.symbols[0], Streams(seed), common, block_sessions=n)
            ]
            return {f.name: np.concatenate([getattr(b, f.name) for b in blocks]) for f in fields(SymbolPath)}

        whole, made = path(len(minutes)), path(block_sessions)
        for field, values in whole.items():
            assert made[field].tobytes() == values.tobytes()


class TestParts:
    def test_time_of_day_has_mean_square_1(self) -> None:
        for length in (390, 210):
            assert (TimeOfDay().factors(length) ** 2).mean() == pytest.approx(1.0)

    def test_volume_profile_has_mean_1_and_a_half_day_trades_less(self) -> None:
        assert volume_profile(390).mean() == pytest.approx(1.0)
        assert 0.45 < volume_profile(210).sum() / volume_profile(390).sum() < 0.6

    @pytest.mark.parametrize(
        ("spec", "shares"),
        [
            (BEAR_2022, (0.24, 0.27, 0.49)),
            (BULL_2023, (0.27, 0.21, 0.53)),
            (CHOPPY_2024, (0.20, 0.21, 0.58)),
        ],
    )
    def test_regime_shares_are_those_of_the_study(self, spec: object, shares: tuple[float, ...]) -> None:
        regimes = spec.session_regimes  # type: ignore[attr-defined]
        assert isinstance(regimes, SessionRegimes)
        assert regimes.transition().sum(axis=1) == pytest.approx(np.ones(3))
        assert regimes.shares() == pytest.approx(shares, abs=0.0101)

    def test_unmeasured_totals_are_what_the_constants_imply(self) -> None:
        bull, choppy = BULL_2023, CHOPPY_2024
        for spec, symbol in ((bull, "MSFT"), (bull, "AAPL"), (choppy, "NVDA"), (choppy, "AAPL")):
            constants = spec.symbol(symbol)
            assert spec.session_regimes is not None
            drift = float(spec.session_regimes.shares() @ np.array(constants.session_drift_log))
            implied = np.expm1(252 * (constants.overnight_mean_log + drift))
            assert constants.pinned_return_ratio == pytest.approx(implied, abs=0.0051)

    def test_streams_are_apart(self) -> None:
        keys = ((1, "shock", "A"), (1, "shock", "B"), (1, "night", "A"), (2, "shock", "A"))
        draws = [Streams(seed).generator(draw, symbol).standard_normal(500) for seed, draw, symbol in keys]
        correlations = np.corrcoef(draws) - np.eye(4)
        assert np.abs(correlations).max() < 0.2


class TestRefused:
    def test_unknown_sample_lists_what_there_is(self) -> None:
        with pytest.raises(ConfigError) as caught:
            sample_market("plantd")
        for name in NAMES:
            assert name in str(caught.value)

    @pytest.mark.parametrize("seed", ["", "x", "-1", "1.5", "²"])
    def test_seed_must_be_a_whole_number(self, seed: str) -> None:
        with pytest.raises(ConfigError, match="whole number"):
            sample_market(f"planted:{seed}")

    def test_unknown_symbol_lists_what_there_is(self) -> None:
        with pytest.raises(ConfigError, match=r"'TSLA'.*NVDA, MSFT, AAPL"):
            sample_market("planted", symbols=("NVDA", "TSLA"))

    @pytest.mark.parametrize("symbols", [(), ("NVDA", "NVDA")])
    def test_each_symbol_once(self, symbols: tuple[str, ...]) -> None:
        with pytest.raises(ConfigError, match="each symbol once"):
            sample_market("planted", symbols=symbols)

    def test_interval(self) -> None:
        with pytest.raises(ConfigError, match="1 or 5"):
            sample_market("planted", interval_minutes=2)

    @pytest.mark.parametrize("name", ["planted", "2022_bear_market"])
    def test_no_sessions(self, name: str) -> None:
        with pytest.raises(ConfigError, match="1 or more"):
            sample_market(name, n_sessions=0)
