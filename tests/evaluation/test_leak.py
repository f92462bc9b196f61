"""The leak detector: leaks of every kind are named, the product's own pipeline is left alone."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from builders import random_sessions
from markets import SHORT_REGIME, random_program
from stairways.control import Multipliers, SetPoints, TiltActuator, TiltGains
from stairways.evaluation.baselines import all_hold
from stairways.evaluation.leak import (
    Difference,
    LeakReport,
    ProductPipeline,
    Trace,
    column_names,
    find_leaks,
    pooled,
)
from stairways.evaluation.leak_futures import Cut, draw_cuts, perturbed, truncated
from stairways.evaluation.replay import TiltLoop
from stairways.market.features import FeatureConstants, compute_features
from stairways.trading.rules import CostModel, TradingRules

SEED = np.random.SeedSequence(8)
RULES = TradingRules(costs=CostModel(impact_bps=20.0, ticket_usd=1.0))
LOOP = TiltLoop(
    TiltActuator(),
    TiltGains(ki_hold=0.2, ki_trade=0.2, kp_fast=10.0),
    SetPoints(hold_mode="regime", trades_per_session=12),
    Multipliers(0.5, 0.5),
)
POLICIES = {
    "mlp": {"kind": "mlp", "regime": "gate"},
    "lstm": {"kind": "lstm", "lstm_hidden": 32, "lstm_layers": 2, "regime": "concat"},
}
PART = slice(5, 9)


def ground(n_symbols=2, seed=3, **more):
    made = {"half_days": [6], "segments": [7], "filled_ratio": 0.05, **more}
    return random_sessions(seed, 11, n_symbols, 10, **made)


def made(sessions, kind=ProductPipeline, policy="mlp", **more):
    raw = compute_features(sessions, SHORT_REGIME)
    arguments = {
        "constants": FeatureConstants.fit(raw, sessions, slice(0, 4)),
        "regime": SHORT_REGIME,
        "policy": random_program(11, n_symbols=sessions.n_symbols, **POLICIES[policy]),
        "rules": RULES,
        "run_key": 5,
        "loop": LOOP,
    }
    return kind(**{**arguments, **more})


def searched(sessions, pipeline, n_cuts=12, **more):
    cuts = draw_cuts(sessions, PART, n_cuts, np.random.default_rng(1))
    return find_leaks(sessions, pipeline, PART, cuts, seed=SEED, **more)


class TestTheProduct:
    @pytest.mark.parametrize("policy", sorted(POLICIES))
    @pytest.mark.parametrize("mode", ["sampled", "greedy"])
    @pytest.mark.parametrize("n_symbols", [2, 3])
    def test_it_is_left_alone_with_half_days_and_segments(self, policy, mode, n_symbols):
        sessions = ground(n_symbols)
        report = searched(sessions, made(sessions, policy=policy, mode=mode))
        assert report.first is None
        assert report.unchecked == ()
        assert report.passed

    def test_it_says_how_much_was_compared(self):
        sessions = ground()
        cuts = draw_cuts(sessions, PART, 6, np.random.default_rng(1))
        report = find_leaks(sessions, made(sessions), PART, cuts, seed=SEED)
        record = report.as_record()
        assert (record["sessions"], record["bars"]) == (4, int(sessions.n_bars[PART].sum()))
        assert record["decisions"] == record["bars"] - 4
        assert (record["cut_points"], record["trials"]) == (6, 12)
        assert record["columns"] == 24 + 3 + 2 == len(column_names(made(sessions)(sessions, PART).market))
        each = [int(sessions.n_bars[: cut.session].sum()) + cut.bar + 1 for cut in cuts]
        assert record["bar_comparisons"] == 2 * sum(each)

    def test_equal_seeds_give_equal_reports(self):
        sessions = ground()
        one, two = (searched(sessions, made(sessions)) for _ in range(2))
        assert one == two


@dataclass(frozen=True, eq=False)
class Centred(ProductPipeline):
    def raw(self, sessions):
        raw = super().raw(sessions)
        values = np.array(raw.values)
        values[:, 1:-1, 0, 4] = (raw.values[:, :-2, 0, 4] + raw.values[:, 2:, 0, 4]) / 2.0
        return replace(raw, values=values)


@dataclass(frozen=True, eq=False)
class LastPrice(ProductPipeline):
    """One feature is divided by the last close of all history."""

    def raw(self, sessions):
        raw = super().raw(sessions)
        values = np.array(raw.values)
        values[..., 1, 0] *= sessions.close[-1, sessions.n_bars[-1] - 1, 1] / 150.0
        return replace(raw, values=values)


@dataclass(frozen=True, eq=False)
class NextRow(ProductPipeline):
    """The actor is shown the row of the bar after."""

    def tape(self, market):
        return replace(market, rows=np.roll(market.rows, -1, axis=1))


@dataclass(frozen=True, eq=False)
class NextScore(ProductPipeline):
    """The controller reads the regime score of the bar after."""

    def tape(self, market):
        return replace(market, score=np.roll(market.score, -1, axis=1))


@dataclass(frozen=True, eq=False)
class OwnOpen(ProductPipeline):
    """Orders fill at the open of the bar they are decided on."""

    def tape(self, market):
        opens = np.array(market.open)
        opens[:, 1:] = market.open[:, :-1]
        return replace(market, open=opens)


@dataclass(frozen=True, eq=False)
class OwnClose(ProductPipeline):
    def tape(self, market):
        opens = np.array(market.open)
        opens[:, 1:] = market.close[:, :-1]
        return replace(market, open=opens)


@dataclass(frozen=True, eq=False)
class Altered(ProductPipeline):
    """A replay whose books are changed after the fact."""

    change: str = ""

    def __call__(self, sessions, part):
        trace = super().__call__(sessions, part)
        run = trace.replay
        if self.change == "nav":
            nav = np.array(run.nav_usd)
            nav[:, :-1] = 0.5 * (nav[:, :-1] + nav[:, 1:])
            return Trace(trace.market, replace(run, nav_usd=nav))
        fills = np.array(run.fills)
        if self.change == "early":
            fills[:, :-1] = run.fills[:, 1:]
        if self.change == "size":
            fills[..., [0, 3, 4]] *= np.nan_to_num(run.market.open)[..., None] / 100.0
        return Trace(trace.market, replace(run, fills=fills))


class TestLeaks:
    @pytest.mark.parametrize(
        ("kind", "what"),
        [
            (Centred, "AAA.rsi_14"),
            (LastPrice, "BBB.return_1"),
            (NextRow, "decision"),
            (NextScore, "tilt.hold"),
            (OwnOpen, "fill"),
            (OwnClose, "fill"),
        ],
    )
    def test_each_is_found_and_named(self, kind, what):
        sessions = ground()
        report = searched(sessions, made(sessions, kind))
        assert not report.passed
        assert report.first.what.startswith(what)

    @pytest.mark.parametrize(("change", "what"), [("nav", "nav"), ("early", "order"), ("size", "order")])
    def test_books_that_know_too_much_are_found(self, change, what):
        sessions = ground()
        report = searched(sessions, made(sessions, Altered, change=change))
        assert what in {difference.what.split()[0] for difference in report.differences}

    def test_the_first_difference_says_when_and_what_it_was(self):
        sessions = ground()
        cut = Cut(6, 12)
        report = find_leaks(sessions, made(sessions, Centred), PART, [cut], seed=SEED, futures=["perturbed"])
        first = report.first
        assert (first.date, first.bar) == (str(sessions.dates[6]), 12)
        assert (first.cut_date, first.cut_bar, first.future) == (str(sessions.dates[6]), 12, "perturbed")
        pipeline = made(sessions, Centred)
        column = column_names(pipeline(sessions, PART).market).index("AAA.rsi_14")
        assert first.with_future == pipeline(sessions, PART).market.rows[6, 12, column]
        assert first.with_future != first.without_future

    def test_a_fill_on_its_own_bar_is_invisible_until_the_open_moves(self):
        """Where every open is the close before, the books agree with the tape; a changed future tells."""
        sessions = ground()
        opens = np.array(sessions.open)
        opens[:, 1:] = sessions.close[:, :-1]
        sessions = replace(sessions, open=opens)
        clean, leaky = (made(sessions, kind)(sessions, PART) for kind in (ProductPipeline, OwnClose))
        assert clean.replay.digest == leaky.replay.digest
        report = searched(sessions, made(sessions, OwnClose))
        assert report.as_it_is == ()
        assert report.first.what.startswith("fill")
        assert "close of bar" in report.first.reason
        assert report.first.future == "perturbed"

    def test_what_the_bars_alone_show_is_found_without_a_change(self):
        sessions = ground()
        report = find_leaks(sessions, made(sessions, OwnOpen), PART, [], seed=SEED)
        assert report.first.future == "as it is"
        assert "the open of bar" in report.first.reason


class TestFailsClosed:
    def test_decisions_and_fills_of_a_policy_that_never_acts_are_not_checked(self):
        sessions = ground()
        silent = made(sessions, policy="mlp", loop=None)

        def holding(given, part):
            market = silent(given, part).market
            return replace(silent, policy=all_hold(market.select(part)))(given, part)

        report = searched(sessions, holding)
        assert report.first is None
        assert report.unchecked == ("decision", "fills")
        assert not report.passed

    def test_a_market_without_an_account_is_not_enough(self):
        sessions = ground()
        product = made(sessions)
        report = searched(sessions, lambda given, part: Trace(product(given, part).market, None))
        assert report.unchecked == ("decision", "fills")

    def test_a_column_that_never_moves_is_not_checked(self):
        sessions = ground()
        product = made(sessions)

        def frozen(given, part):
            trace = product(given, part)
            rows = np.array(trace.market.rows)
            rows[..., 2] = 1.0
            return Trace(replace(trace.market, rows=rows), trace.replay)

        assert searched(sessions, frozen).unchecked == ("AAA.return_15",)

    def test_nothing_tried_is_nothing_shown(self):
        sessions = ground()
        report = find_leaks(sessions, made(sessions), PART, [], seed=SEED)
        assert not report.passed
        assert report.unchecked
        assert not pooled([]).passed

    def test_without_changed_bars_nothing_counts_as_moved(self):
        sessions = ground()
        report = searched(sessions, made(sessions), futures=["truncated"])
        assert report.first is None
        assert not report.passed


class TestReports:
    def test_the_first_in_time_comes_first(self):
        def found(date, bar):
            return Difference(date, bar, "nav", 1.0, 2.0, "perturbed", date, bar, "")

        late, early = found("2024-01-05", 3), found("2024-01-04", 9)
        report = LeakReport((), frozenset(), (), (late, early), 0, 0, 0, 0, 0, 0)
        assert report.first == early

    def test_pooling_adds_up_and_keeps_what_moved_anywhere(self):
        sessions = ground()
        cuts = draw_cuts(sessions, PART, 8, np.random.default_rng(1))
        pipeline = made(sessions)
        parts = [find_leaks(sessions, pipeline, PART, chosen, seed=SEED) for chosen in (cuts[:4], cuts[4:])]
        whole = pooled(parts)
        together = find_leaks(sessions, pipeline, PART, cuts, seed=SEED)
        assert whole.trials == together.trials
        assert whole.reacted == together.reacted
        assert (whole.n_cuts, whole.n_fills) == (together.n_cuts, together.n_fills)


VALUES = ("open", "high", "low", "close", "volume")


class TestFutures:
    def test_cut_off_bars_stand_as_missing_ones_do(self):
        sessions = ground()
        cut = Cut(6, 12)
        other = truncated(sessions, cut, np.random.default_rng(0))
        assert len(other) == 7
        for name in VALUES:
            np.testing.assert_array_equal(getattr(other, name)[:6], getattr(sessions, name)[:6])
            np.testing.assert_array_equal(getattr(other, name)[6, :13], getattr(sessions, name)[6, :13])
        last = int(sessions.n_bars[6])
        for name in VALUES[:4]:
            expected = np.broadcast_to(sessions.close[6, 12], (last - 13, 2))
            np.testing.assert_array_equal(getattr(other, name)[6, 13:last], expected)
        assert not other.volume[6, 13:last].any()
        assert other.filled[6, 13:last].all()
        assert np.isnan(other.close[6, last:]).all()

    def test_changed_bars_are_bars_and_nothing_before_them_changes(self):
        sessions = ground()
        cut = Cut(6, 12)
        other = perturbed(sessions, cut, np.random.default_rng(0))
        for name in VALUES:
            old, new = getattr(sessions, name), getattr(other, name)
            np.testing.assert_array_equal(new[:6], old[:6])
            np.testing.assert_array_equal(new[6, :13], old[6, :13])
            np.testing.assert_array_equal(np.isnan(new), np.isnan(old))
            inside = ~np.isnan(old)
            inside[:6], inside[6, :13] = False, False
            assert (new[inside] != old[inside]).mean() > 0.9
        known = ~np.isnan(other.close)
        assert (other.high >= np.maximum(other.open, other.close))[known].all()
        assert (other.low <= np.minimum(other.open, other.close))[known].all()
        assert (other.volume >= 0.0)[known].all()
        assert np.abs(np.log(other.close / sessions.close))[7:][known[7:]].min() > 0.0

    def test_moments_lie_inside_and_at_the_edges_each_once_and_have_a_future(self):
        sessions = ground()
        part = slice(8, 11)
        cuts = draw_cuts(sessions, part, 60, np.random.default_rng(2))
        assert len(set(cuts)) == len(cuts) == 60
        assert cuts == tuple(sorted(cuts))
        assert {cut.kind for cut in cuts} == {"inside", "first bar", "last decision", "session end"}
        ends = [cut for cut in cuts if cut.kind == "session end"]
        assert {cut.session for cut in ends} == {8, 9}
        for cut in cuts:
            last = int(sessions.n_bars[cut.session]) - 1
            edges = {"first bar": 0, "last decision": last - 1, "session end": last}
            assert cut.bar == edges.get(cut.kind, cut.bar)
            assert cut.kind != "inside" or 0 < cut.bar < last - 1

    def test_no_more_moments_are_drawn_than_there_are(self):
        sessions = ground()
        cuts = draw_cuts(sessions, slice(10, 11), 1000, np.random.default_rng(2))
        assert len(cuts) == int(sessions.n_bars[10]) - 1
        assert draw_cuts(sessions, slice(10, 11), 5, np.random.default_rng(2)) != cuts
