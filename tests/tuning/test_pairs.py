"""Pairs of three symbols: their markets, the constants of a new symbol, and what they add up to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from builders import random_sessions
from markets import SHORT_REGIME, random_market, random_script, random_weights
from stairways.config import DateRange, load_settings
from stairways.errors import ConfigError, InputError, RangeError
from stairways.evaluation.replay import replay
from stairways.market.dataset import Dataset
from stairways.market.features import FeatureConstants, compute_features
from stairways.market.samples import sample_market
from stairways.policies.spec import PolicySpec
from stairways.registry.artifact import write_artifact
from stairways.trading.rules import TradingRules
from stairways.tuning.packing import pack_gold
from stairways.tuning.pairs import (
    intraday_drawdowns,
    largest_drawdown,
    make_pairs,
    of_symbols,
    pair_legs,
    whole_ledger,
    whole_nav,
)
from stairways.unpacking import unpack

SYMBOLS = ("NVDA", "MSFT", "AAPL")
N_SESSIONS, FITTED, JUDGED = 80, slice(5, 35), slice(60, 80)


def opened(symbols, n_sessions=N_SESSIONS):
    market = sample_market("planted", symbols=symbols, interval_minutes=5, n_sessions=n_sessions)
    return Dataset(market.sessions, compute_features(market.sessions, SHORT_REGIME), None, market)


@pytest.fixture(scope="module")
def three():
    return opened(SYMBOLS)


@pytest.fixture
def pack(tmp_path):
    """Return a gold of two legs, constants fitted on a part of its own market."""

    def packed(symbols=("NVDA", "MSFT"), part=FITTED):
        own = opened(symbols)
        regime = SHORT_REGIME.model_dump(mode="json")
        market = {"symbols": symbols, "interval": "5min", "regime": regime}
        dates = own.sessions.dates[part].tolist()
        spec = PolicySpec(hidden=(8, 8), n_symbols=len(symbols))
        artifact = pack_gold(
            load_settings(None, {"market": market}),
            own,
            spec,
            random_weights(spec, 1),
            FeatureConstants.fit(own.raw, own.sessions, part),
            part.stop,
            [DateRange(first=dates[0], last=dates[-1])],
        )
        write_artifact(tmp_path / "gold", artifact, {"seed": 0}, replace=True)
        return unpack(tmp_path / "gold")

    return packed


class TestMarkets:
    def test_three_symbols_have_three_pairs_in_their_order(self):
        assert pair_legs(3) == ((0, 1), (0, 2), (1, 2))

    @pytest.mark.parametrize("legs", pair_legs(3))
    def test_a_pair_is_the_market_of_its_two_symbols(self, three, legs):
        """Bit for bit what generating these two alone gives: bars, features, regime and the truth."""
        chosen = tuple(SYMBOLS[leg] for leg in legs)
        pair, alone = of_symbols(three, legs), opened(chosen)
        assert pair.sessions.digest == alone.sessions.digest
        assert pair.raw.values.tobytes() == alone.raw.values.tobytes()
        assert pair.raw.regime.score.tobytes() == alone.raw.regime.score.tobytes()
        assert pair.raw.regime.z.tobytes() == alone.raw.regime.z.tobytes()
        truth, own = pair.synthetic.truth, alone.synthetic.truth
        np.testing.assert_array_equal(truth.signal, own.signal)
        np.testing.assert_array_equal(truth.unit_drift_ratio, own.unit_drift_ratio)

    def test_legs_stand_in_the_order_asked_for(self, three):
        turned = of_symbols(three, (2, 0))
        assert turned.sessions.symbols == ("AAPL", "NVDA")
        np.testing.assert_array_equal(turned.sessions.close[..., 1], three.sessions.close[..., 0])

    def test_bars_from_disk_have_no_truth(self):
        sessions = random_sessions(2, 8, 3, 10)
        whole = Dataset(sessions, compute_features(sessions, SHORT_REGIME), None, None)
        assert of_symbols(whole, (0, 2)).synthetic is None


class TestConstants:
    def test_known_symbols_keep_theirs_and_a_new_one_gets_its_own_of_the_same_range(self, three, pack):
        packed = pack()
        pairs, fitted = make_pairs(packed, three, JUDGED)
        assert [pair.name for pair in pairs] == ["NVDA-MSFT", "NVDA-AAPL", "MSFT-AAPL"]
        alone = opened(("AAPL", "NVDA"))
        own = FeatureConstants.fit(alone.raw, alone.sessions, FITTED)
        known = {"NVDA": packed.constants.mean[0], "MSFT": packed.constants.mean[1], "AAPL": own.mean[0]}
        for pair in pairs:
            constants = pair.dataset.table(made_for(pair, known, packed, own)).constants
            np.testing.assert_allclose(constants.mean, [known[s] for s in pair.symbols], rtol=1e-13)
            expected = (pair.dataset.raw.values[70, 30, 1] - constants.mean[1]) / constants.scale[1]
            row = pair.market.rows[70, 30, 13:25]
            np.testing.assert_allclose(row, np.clip(expected, -5, 5), rtol=1e-5, atol=1e-6)
        [new] = fitted
        dates = three.sessions.dates[FITTED]
        assert (new.symbol, new.n_sessions, new.in_range) == ("AAPL", 30, True)
        assert (new.first, new.last) == (str(dates[0]), str(dates[-1]))

    def test_nothing_is_fitted_on_sessions_that_are_judged(self, three, pack):
        """Other bars from the first judged session on change no observation before it."""
        packed = pack()
        close = np.array(three.sessions.close)
        close[JUDGED.start :] *= 1.3
        other = replace(three.sessions, close=close)
        changed = Dataset(other, compute_features(other, SHORT_REGIME), None, three.synthetic)
        for one, two in zip(
            make_pairs(packed, three, JUDGED)[0], make_pairs(packed, changed, JUDGED)[0], strict=True
        ):
            before = slice(0, JUDGED.start)
            assert one.market.rows[before].tobytes() == two.market.rows[before].tobytes()
            assert one.market.rows[JUDGED].tobytes() != two.market.rows[JUDGED].tobytes()

    def test_a_range_that_reaches_into_the_judged_sessions_is_cut(self, three, pack):
        _, [new] = make_pairs(pack(), three, slice(25, 80))
        assert new.last == str(three.sessions.dates[24])
        assert new.n_sessions == 20

    def test_where_the_range_is_not_there_earlier_sessions_serve_and_it_says_so(self, three, pack):
        packed = pack()
        later = Dataset(
            three.sessions.select(slice(36, 80)),
            compute_features(three.sessions.select(slice(36, 80)), SHORT_REGIME),
            None,
            None,
        )
        _, [new] = make_pairs(packed, later, slice(24, 44))
        assert (new.in_range, new.n_sessions) == (False, 24)
        with pytest.raises(RangeError, match="19 sessions stand before"):
            make_pairs(packed, later, slice(19, 44))

    def test_without_a_new_symbol_nothing_is_fitted(self, pack):
        packed = pack()
        _, fitted = make_pairs(packed, opened(("MSFT", "NVDA")), slice(0, 80))
        assert fitted == ()

    def test_three_legs_have_no_pairs(self, three, pack):
        with pytest.raises(ConfigError, match="3 legs"):
            make_pairs(pack(SYMBOLS), three, JUDGED)


def made_for(pair, mean, packed, own):
    scale = {"NVDA": packed.constants.scale[0], "MSFT": packed.constants.scale[1], "AAPL": own.scale[0]}
    return FeatureConstants(
        pair.symbols,
        np.stack([mean[symbol] for symbol in pair.symbols]),
        np.stack([scale[symbol] for symbol in pair.symbols]),
    )


@pytest.fixture(scope="module")
def runs():
    """Two accounts on different markets of the same sessions, one of them a half day."""
    rules = TradingRules(initial_nav_usd=400_000.0)
    made = {}
    for name, seed in (("one", 1), ("two", 2)):
        market = random_market(seed, 6, 2, 15, half_days=[3])
        made[name] = replay(market, random_script(market, seed), rules)
    return made


class TestTheWhole:
    def test_every_column_is_the_sum(self, runs):
        whole, parts = whole_ledger(runs), [run.ledger for run in runs.values()]
        assert whole.initial_nav_usd == 800_000.0
        for name in ("decisions", "holds", "trades", "forced_closes", "round_trips", "nav_open_usd"):
            np.testing.assert_array_equal(getattr(whole, name), sum(getattr(part, name) for part in parts))
        np.testing.assert_allclose(whole.costs_usd, sum(part.costs_usd for part in parts), rtol=1e-12)
        earned = sum(part.nav_close_usd - part.nav_open_usd for part in parts)
        np.testing.assert_allclose(whole.returns_ratio, earned / whole.nav_open_usd, rtol=1e-9)

    def test_drawdown_is_that_of_the_summed_nav(self, runs):
        whole = whole_ledger(runs)
        nav = sum(run.nav_usd for run in runs.values())
        np.testing.assert_array_equal(whole_nav(runs), nav)
        for session, count in enumerate(next(iter(runs.values())).market.n_bars):
            peak, worst = whole.nav_open_usd[session], 0.0
            for mark in nav[session, :count]:
                peak = max(peak, mark)
                worst = max(worst, (peak - mark) / peak)
            assert whole.max_drawdown_ratio[session] == pytest.approx(worst, rel=1e-12)
        assert (
            whole.max_drawdown_ratio < max(run.ledger.max_drawdown_ratio.max() for run in runs.values())
        ).any()

    def test_one_account_is_its_own_whole(self, runs):
        run = runs["one"]
        whole = whole_ledger({"one": run})
        for name in ("returns_ratio", "max_drawdown_ratio", "trades", "costs_usd"):
            np.testing.assert_allclose(getattr(whole, name), getattr(run.ledger, name), rtol=1e-12)

    def test_other_sessions_and_nothing_are_refused(self, runs):
        market = random_market(1, 5, 2, 15)
        other = replay(market, random_script(market, 1), TradingRules())
        with pytest.raises(InputError, match="different sessions"):
            whole_ledger({**runs, "other": other})
        with pytest.raises(InputError, match="no pair"):
            whole_ledger({})


class TestDrawdown:
    def test_by_hand(self):
        nav = np.array([[101.0, 99.0, 100.0], [98.0, 104.0, np.nan], [103.0, 97.0, 105.0]])
        n_bars = np.array([3, 2, 3])
        assert largest_drawdown(nav, 100.0, n_bars) == pytest.approx(7 / 104)
        assert largest_drawdown(nav, 100.0, n_bars, 1) == pytest.approx(7 / 104)
        assert largest_drawdown(nav[:2], 100.0, n_bars[:2]) == pytest.approx(3 / 101)
        assert largest_drawdown(nav[:2], 100.0, n_bars[:2], 1) == pytest.approx(2 / 100)
        assert largest_drawdown(nav[:1] + 5.0, 100.0, n_bars[:1]) == pytest.approx(2 / 106)
        within = intraday_drawdowns(nav, np.array([100.0, 100.0, 104.0]), n_bars)
        np.testing.assert_allclose(within, [2 / 101, 2 / 100, 7 / 104])

    @pytest.mark.parametrize("horizon", [1, 2, 5, 12, 40, None])
    def test_it_is_the_worst_of_every_window(self, horizon):
        """The plain twin: the drawdown of each window of so many sessions by itself, the worst of all."""
        rng = np.random.default_rng(4)
        n_bars = rng.integers(3, 7, 30)
        nav = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, (30, 6)).ravel())).reshape(30, 6)
        closes = [100.0, *(nav[i, n_bars[i] - 1] for i in range(30))]
        length = horizon or 30
        worst = 0.0
        for first in range(max(1, 30 - length + 1)):
            marks = [closes[first]]
            for session in range(first, min(30, first + length)):
                marks += nav[session, : n_bars[session]].tolist()
            peak = marks[0]
            for mark in marks:
                peak = max(peak, mark)
                worst = max(worst, (peak - mark) / peak)
        assert largest_drawdown(nav, 100.0, n_bars, horizon) == pytest.approx(worst, rel=1e-12)
