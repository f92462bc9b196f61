"""Cross asset: pairs act as they would alone, verdicts fail where they should, forms are told apart."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import numpy as np
import pytest

from markets import SHORT_REGIME, random_weights
from stairways.config import DateRange, load_settings
from stairways.control import Multipliers
from stairways.errors import ConfigError, MismatchError
from stairways.evaluation.evidence import ALL_HOLD, RANDOM
from stairways.evaluation.verdicts import find
from stairways.market.dataset import Dataset
from stairways.market.features import FeatureConstants, compute_features
from stairways.market.samples import sample_market
from stairways.policies.spec import PolicySpec
from stairways.registry.artifact import write_artifact
from stairways.trading.observation import observe
from stairways.tuning.contest import Arena, Entrant
from stairways.tuning.cross_asset import (
    MAX_DRAWDOWN_RATIO,
    POLICY,
    cross_asset_base,
    judge_cross_asset,
    judge_on,
)
from stairways.tuning.packing import pack_candidate, pack_gold
from stairways.tuning.pairs import largest_drawdown
from stairways.tuning.seeds import Stream, key
from stairways.unpacking import unpack

SYMBOLS = ("NVDA", "MSFT", "AAPL")
FITTED, JUDGED = slice(5, 35), slice(60, 90)


def opened(symbols):
    market = sample_market("planted", symbols=symbols, interval_minutes=5, n_sessions=90)
    return Dataset(market.sessions, compute_features(market.sessions, SHORT_REGIME), None, market)


def settings_of(symbols, **more):
    regime = SHORT_REGIME.model_dump(mode="json")
    return load_settings(None, {"market": {"symbols": symbols, "interval": "5min", "regime": regime}, **more})


@pytest.fixture(scope="module")
def planted():
    return opened(SYMBOLS)


@pytest.fixture(scope="module")
def three(planted):
    """The same bars without the truth behind them: no oracle is solved."""
    return replace(planted, synthetic=None)


@pytest.fixture
def pack(tmp_path):
    """Return a candidate of random weights, read back from disk; a gold where no tilt is asked for."""

    def packed(symbols=("NVDA", "MSFT"), *, tilted=True, folder="artifact"):
        own, settings = opened(symbols), settings_of(symbols)
        dates = own.sessions.dates[FITTED].tolist()
        spec = PolicySpec(hidden=(8, 8), n_symbols=len(symbols))
        constants = FeatureConstants.fit(own.raw, own.sessions, FITTED)
        made = (settings, own, spec, random_weights(spec, 1), constants, FITTED.stop)
        seen = [DateRange(first=dates[0], last=dates[-1])]
        if tilted:
            artifact = pack_candidate(*made, seen, parent_digest="0" * 64, multipliers=Multipliers(-0.5, 2.0))
        else:
            artifact = pack_gold(*made, seen)
        write_artifact(tmp_path / folder, artifact, {"seed": 0}, replace=True)
        return unpack(tmp_path / folder)

    return packed


class TestPairs:
    def test_each_pair_does_what_it_would_do_alone(self, three, pack):
        packed, settings = pack(), settings_of(SYMBOLS, seed=4)
        result = judge_on(packed, three, settings, JUDGED)
        alone = opened(("NVDA", "MSFT"))
        market = observe(alone.sessions, alone.table(packed.constants)).select(JUDGED)
        rules = settings.trading.model_copy(update={"initial_nav_usd": 1e6 / 3})
        arena = Arena(market, rules, "sampled", key(4, Stream.DECISIONS, 0))
        assert (
            result.replays[POLICY]["NVDA-MSFT"].digest
            == arena.run(Entrant(packed.program, packed.loop())).digest
        )

    def test_a_third_of_the_capital_each_and_tilts_of_their_own(self, three, pack):
        result = judge_on(pack(), three, settings_of(SYMBOLS), JUDGED)
        assert result.form == "pairs"
        runs = result.replays[POLICY]
        assert list(runs) == ["NVDA-MSFT", "NVDA-AAPL", "MSFT-AAPL"]
        for run in runs.values():
            assert run.nav_usd[0, 0] == pytest.approx(1e6 / 3)
            assert tuple(run.multipliers[0, 0]) == (-0.5, 2.0)
        finals = {tuple(run.final_tilt) for run in runs.values()}
        assert len(finals) == 3
        assert result.ledger().initial_nav_usd == pytest.approx(1e6)

    def test_pairs_draw_numbers_of_their_own(self, three, pack):
        result = judge_on(pack(tilted=False), three, settings_of(SYMBOLS), JUDGED)
        first, second, _ = result.replays[RANDOM].values()
        assert (first.actions != second.actions).any()

    def test_the_record_adds_up(self, planted, pack):
        result = judge_on(pack(), planted, settings_of(SYMBOLS), JUDGED)
        record = result.record
        whole, parts = record["whole"][POLICY], record["by_account"][POLICY]
        trades = [part["trades_per_session"] for part in parts.values()]
        assert whole["trades_per_session"] == pytest.approx(sum(trades))
        held = [part["hold_rate_ratio"] for part in parts.values()]
        assert whole["hold_rate_ratio"] == pytest.approx(np.mean(held))
        assert whole["chance_hold_rate_ratio"] == pytest.approx(1 / 9)
        nav = sum(run.nav_usd for run in result.replays[POLICY].values())
        n_bars = planted.sessions.n_bars[JUDGED]
        assert whole["range_drawdown_ratio"] == pytest.approx(largest_drawdown(nav, 1e6, n_bars))
        assert whole["year_drawdown_ratio"] <= whole["range_drawdown_ratio"]
        assert set(record["whole"]) == {POLICY, "oracle", "buy_and_hold", ALL_HOLD, RANDOM}
        sharpes = {name: metrics["sharpe"] for name, metrics in record["whole"].items() if metrics["sharpe"]}
        assert max(sharpes, key=sharpes.get) == "oracle"
        [new] = record["fitted_constants"]
        assert (new["symbol"], new["in_range"]) == ("AAPL", True)

    def test_random_trades_as_often_as_the_policy(self, three, pack):
        result = judge_on(pack(), three, settings_of(SYMBOLS), slice(30, 90))
        policy, random = (result.record["whole"][name]["trades_per_session"] for name in (POLICY, RANDOM))
        assert random == pytest.approx(policy, rel=0.15)


class TestNative:
    def test_three_legs_act_at_once(self, three, pack):
        packed, settings = pack(SYMBOLS), settings_of(SYMBOLS, seed=4)
        result = judge_on(packed, three, settings, JUDGED)
        assert result.form == "native"
        [run] = result.replays[POLICY].values()
        market = observe(three.sessions, three.table(packed.constants)).select(JUDGED)
        arena = Arena(market, settings.trading, "sampled", key(4, Stream.DECISIONS))
        assert run.digest == arena.run(Entrant(packed.program, packed.loop())).digest
        assert result.record["whole"][POLICY]["chance_hold_rate_ratio"] == pytest.approx(1 / 27)
        assert result.record["fitted_constants"] == []


class TestVerdicts:
    def test_a_sharpe_ratio_stands_with_its_interval_and_its_sessions(self, three, pack):
        result = judge_on(pack(), three, settings_of(SYMBOLS), JUDGED)
        sharpe = find(result.gate.verdicts, "sharpe")
        assert sharpe.passed == (result.record["whole"][POLICY]["sharpe"] > 0)
        assert sharpe.interval[0] < sharpe.observed < sharpe.interval[1]
        assert sharpe.n == 30

    def test_a_deep_fall_fails(self, three, pack):
        small, large = (
            judge_on(pack(), three, settings_of(SYMBOLS, trading={"unit_fraction": unit}), JUDGED)
            for unit in (0.01, 0.33)
        )
        assert find(small.gate.verdicts, "drawdown").passed
        deep = find(large.gate.verdicts, "drawdown")
        assert deep.observed > MAX_DRAWDOWN_RATIO
        assert not deep.passed
        assert not large.gate.passed

    def test_too_few_sessions_have_no_sharpe_and_do_not_pass(self, three, pack):
        result = judge_on(pack(), three, settings_of(SYMBOLS), slice(75, 90))
        sharpe = find(result.gate.verdicts, "sharpe")
        assert (sharpe.observed, sharpe.passed) == (None, False)
        assert "not enough sessions" in sharpe.reason

    def test_sessions_it_has_seen_do_not_pass(self, three, pack):
        packed = pack()
        result = judge_on(packed, three, settings_of(SYMBOLS), slice(30, 90))
        assert find(result.gate.verdicts, "out_of_sample").observed == 5.0
        assert not result.gate.passed


class TestOpening:
    def clock(self):
        return dt.datetime(2024, 1, 2, tzinfo=dt.UTC)

    def test_two_symbols_are_not_enough(self, pack, tmp_path):
        pack()
        with pytest.raises(ConfigError, match="name three"):
            judge_cross_asset(tmp_path / "artifact", settings_of(("NVDA", "MSFT")), clock=self.clock)

    def test_three_legs_keep_their_symbols(self, pack, tmp_path):
        pack(SYMBOLS)
        with pytest.raises(MismatchError, match="NVDA,MSFT,AAPL, not MSFT,NVDA,AAPL"):
            judge_cross_asset(tmp_path / "artifact", settings_of(("MSFT", "NVDA", "AAPL")), clock=self.clock)

    def test_another_interval_is_refused(self, pack, tmp_path):
        pack()
        settings = settings_of(SYMBOLS)
        other = settings.model_copy(
            update={"market": settings.market.model_copy(update={"interval": "1min"})}
        )
        with pytest.raises(MismatchError, match="interval_minutes"):
            judge_cross_asset(tmp_path / "artifact", other, clock=self.clock)

    def test_an_artifact_of_real_bars_asks_for_them(self, pack, tmp_path):
        packed = pack()
        real = replace(packed.artifact, data_source="bars in data")
        write_artifact(tmp_path / "real", real, {"seed": 0})
        with pytest.raises(ConfigError, match="--bars is missing"):
            judge_cross_asset(tmp_path / "real", settings_of(SYMBOLS), clock=self.clock)

    def test_the_base_names_the_sample_it_was_made_on(self, pack, tmp_path):
        pack()
        base = cross_asset_base(tmp_path / "artifact")
        assert base["market"]["sample"] == "planted:1"
        assert base["market"]["interval"] == "5min"
