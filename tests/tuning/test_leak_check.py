"""Checking an artifact: where moments are drawn, whose pipeline runs, and where constants come from."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import numpy as np
import pytest

from builders import random_sessions
from markets import SHORT_REGIME, random_weights
from stairways.config import DateRange, load_settings
from stairways.errors import RangeError
from stairways.market.dataset import Dataset
from stairways.market.features import FeatureConstants, compute_features
from stairways.policies.spec import PolicySpec
from stairways.registry.artifact import write_artifact
from stairways.trading.observation import observe
from stairways.tuning.leak_check import (
    behind_seen,
    check_constants,
    draw_blocks,
    home_of,
    own_market,
    product_pipeline,
)
from stairways.tuning.packing import pack_gold
from stairways.unpacking import unpack

FITTED = slice(3, 20)


@pytest.fixture(scope="module")
def dataset():
    sessions = random_sessions(4, 90, 2, 5, half_days=[60], segments=[40, 71])
    return Dataset(sessions, compute_features(sessions, SHORT_REGIME), None, None)


def settings_of(sessions):
    regime = SHORT_REGIME.model_dump(mode="json")
    market = {"symbols": sessions.symbols, "interval": "5min", "regime": regime}
    return load_settings(None, {"market": market})


@pytest.fixture
def pack(dataset, tmp_path):
    """Return a gold with given constants and stated range, read back from disk."""

    def packed(constants=None, stated=None):
        sessions = dataset.sessions
        dates = sessions.dates[FITTED].tolist()
        seen = DateRange(first=dates[0], last=dates[-1]) if stated is None else stated
        own = constants or FeatureConstants.fit(dataset.raw, sessions, FITTED)
        spec = PolicySpec(hidden=(8, 8))
        artifact = pack_gold(
            settings_of(sessions), dataset, spec, random_weights(spec, 1), own, FITTED.stop, [seen]
        )
        write_artifact(tmp_path / "gold", artifact, {"seed": 0}, replace=True)
        return unpack(tmp_path / "gold")

    return packed


def checked(packed, dataset, judged, *, gold=True, home=None):
    return check_constants(packed, packed if gold is True else gold, dataset, home or dataset, judged)


class TestConstants:
    def test_those_of_the_stated_range_pass(self, dataset, pack):
        found = checked(pack(), dataset, slice(30, 90))
        assert found.passed
        assert "17 sessions" in found.reason

    def test_those_of_the_whole_history_are_named_so(self, dataset, pack):
        everything = FeatureConstants.fit(dataset.raw, dataset.sessions, slice(0, 90))
        found = checked(pack(everything), dataset, slice(30, 90))
        assert found.origin == "leak"
        assert "all 90 sessions" in found.reason
        assert "mean of AAA.return_1" in found.reason

    def test_one_session_too_many_is_a_leak(self, dataset, pack):
        longer = FeatureConstants.fit(dataset.raw, dataset.sessions, slice(FITTED.start, FITTED.stop + 1))
        found = checked(pack(longer), dataset, slice(30, 90))
        assert found.origin == "leak"
        assert "all" not in found.reason

    def test_sessions_they_were_fitted_on_are_no_test(self, dataset, pack):
        found = checked(pack(), dataset, slice(15, 40))
        assert found.origin == "leak"
        assert found.reason.startswith("5 of the sessions")

    def test_other_bars_are_not_checked_and_do_not_pass(self, dataset, pack):
        other = random_sessions(5, 90, 2, 5)
        elsewhere = Dataset(other, compute_features(other, SHORT_REGIME), None, None)
        found = checked(pack(), elsewhere, slice(30, 90))
        assert found.origin == "not checked"
        assert not found.passed

    def test_on_another_market_they_are_held_against_the_one_they_come_from(self, dataset, pack):
        other = random_sessions(5, 90, 2, 5)
        elsewhere = Dataset(other, compute_features(other, SHORT_REGIME), None, None)
        found = checked(pack(), elsewhere, slice(0, 90), home=dataset)
        assert found.passed
        assert dataset.sessions.source in found.reason

    def test_a_candidate_without_its_gold_is_accused_of_nothing_and_does_not_pass(self, dataset, pack):
        longer = FeatureConstants.fit(dataset.raw, dataset.sessions, slice(FITTED.start, FITTED.stop + 1))
        found = checked(pack(longer), dataset, slice(30, 90), gold=None)
        assert found.origin == "not checked"
        assert "gold is not at hand" in found.reason

    def test_constants_that_are_not_its_golds_are_a_leak(self, dataset, pack):
        gold = pack()
        longer = FeatureConstants.fit(dataset.raw, dataset.sessions, slice(FITTED.start, FITTED.stop + 1))
        found = checked(pack(longer), dataset, slice(30, 90), gold=gold)
        assert found.origin == "leak"
        assert "not its gold's" in found.reason

    def test_a_range_that_is_not_there_is_not_checked(self, dataset, pack):
        packed = pack(stated=DateRange(first=dt.date(2019, 1, 2), last=dt.date(2019, 3, 1)))
        found = checked(packed, dataset, slice(30, 90))
        assert found.origin == "not checked"
        assert "2019-01-02:2019-03-01" in found.reason

    def test_an_artifact_that_says_nothing_is_not_checked(self, dataset, pack):
        found = checked(replace(pack(), seen=()), dataset, slice(30, 90))
        assert found.origin == "not checked"


class TestHome:
    def test_a_gold_of_the_same_market_is_at_home(self, dataset, pack):
        packed = pack()
        assert home_of(packed, dataset, settings_of(dataset.sessions)) is dataset
        assert home_of(None, dataset, settings_of(dataset.sessions)) is dataset

    def test_a_sample_market_is_generated_again(self, dataset, pack):
        packed = pack()
        artifact = replace(packed.artifact, data_source="SYNTHETIC 2022_bear_market, seed 0")
        gold = replace(packed, loaded=replace(packed.loaded, artifact=artifact))
        settings = load_settings(None, {"market": {"interval": "5min"}})
        home = home_of(gold, dataset, settings)
        assert home.sessions.source == "SYNTHETIC 2022_bear_market, seed 0"
        assert home.sessions.interval_minutes == 5

    def test_bars_stay_those_that_were_given(self, dataset, pack):
        packed = pack()
        artifact = replace(packed.artifact, data_source="bars in elsewhere")
        gold = replace(packed, loaded=replace(packed.loaded, artifact=artifact))
        assert home_of(gold, dataset, settings_of(dataset.sessions)) is dataset


class TestBlocks:
    @pytest.mark.parametrize("seed", range(5))
    def test_they_hold_a_half_day_and_a_break_and_lie_apart(self, dataset, seed):
        sessions = dataset.sessions
        blocks = draw_blocks(sessions, slice(30, 90), np.random.default_rng(seed))
        places = [range(b.window.start + b.part.start, b.window.start + b.part.stop) for b in blocks]
        every = [session for place in places for session in place]
        assert 4 <= len(blocks) <= 8
        assert len(set(every)) == len(every) == 5 * len(blocks)
        assert 60 in every
        assert {40, 71} & set(every)
        assert min(every) >= 30 and max(every) < 90

    def test_moments_lie_in_the_block_and_bars_before_warm_it_up(self, dataset):
        for block in draw_blocks(dataset.sessions, slice(30, 90), np.random.default_rng(0)):
            assert len(block.cuts) == 6
            assert all(block.part.start <= cut.session < block.part.stop for cut in block.cuts)
            assert block.part.start == min(60, block.window.start + block.part.start)

    def test_a_short_range_is_one_block(self, dataset):
        [block] = draw_blocks(dataset.sessions, slice(80, 83), np.random.default_rng(0))
        assert block.part.stop - block.part.start == 3


class TestPipeline:
    def test_it_sees_what_evaluation_sees(self, dataset, pack):
        """Bit for bit: the regime goes on, and 60 sessions before a block are enough for all the rest."""
        packed = pack()
        whole = observe(dataset.sessions, dataset.table(packed.constants))
        window = slice(12, 90)
        pipeline = product_pipeline(packed, dataset, settings_of(dataset.sessions), window.start)
        trace = pipeline(dataset.sessions.select(window), slice(65, 70))
        judged = slice(12 + 65, 12 + 70)
        assert trace.market.rows[65:70].tobytes() == whole.rows[judged].tobytes()
        assert trace.market.score[65:70].tobytes() == whole.score[judged].tobytes()


class TestMarket:
    def test_a_sample_artifact_names_its_own_market(self):
        assert own_market("SYNTHETIC planted-hard, seed 12") == {"sample": "planted-hard:12"}
        assert own_market("bars in data") == {}

    def test_sessions_behind_everything_seen(self, dataset):
        dates = dataset.sessions.dates.tolist()
        seen = (DateRange(first=dates[0], last=dates[9]), DateRange(first=dates[10], last=dates[29]))
        assert behind_seen(seen, dataset.sessions) == slice(30, 90)
        with pytest.raises(RangeError, match="name --sessions"):
            behind_seen((DateRange(first=dates[0], last=dates[-1]),), dataset.sessions)
