"""Backtests of the shipped gold on scenario years, and what they refuse."""

from __future__ import annotations

import datetime as dt
import json
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import stats

from ledgers import make_ledger
from stairways.cli.clock import utc_now
from stairways.config import DateRange, load_settings
from stairways.errors import ConfigError, RangeError
from stairways.market.samples import sample_market
from stairways.trading.rules import CostModel, TradingRules
from stairways.tuning.backtest import (
    COSTS_BPS,
    IN_SAMPLE,
    OUT_OF_SAMPLE,
    backtest,
    costed,
    parse_costs,
    target_verdict,
)
from stairways.tuning.course import BASELINES, Subject
from stairways.tuning.evaluate import evaluate, settings_base
from stairways.tuning.scenarios import Scenario
from stairways.tuning.shipped import shipped_gold

SPRING = Scenario(
    name="spring",
    start_date=dt.date(2022, 3, 1),
    end_date=dt.date(2022, 5, 31),
    target_sharpe=0.6,
    sample="2022_bear_market:3",
)
VALUES = ("open", "high", "low", "close", "volume")


@pytest.fixture(scope="module")
def settings():
    return load_settings(None, {}, base=settings_base(shipped_gold()))


@pytest.fixture(scope="module")
def subject(settings):
    return Subject.read(shipped_gold(), settings)


@pytest.fixture(scope="module")
def spring(subject, settings):
    return backtest(SPRING, subject, settings)


@pytest.fixture(scope="module")
def course(spring):
    [record] = spring.record["courses"]
    return record


@pytest.fixture(scope="module")
def trained(subject):
    """A gold that has seen the first eleven sessions of spring."""
    seen = DateRange.model_validate("2022-02-01:2022-03-15")
    return Subject(made_of(subject.packed, "SYNTHETIC 2022_bear_market, seed 3", [seen]), None)


@pytest.fixture(scope="module")
def seen_before(trained, settings):
    return backtest(SPRING, trained, settings, costs_bps=(1.0,), in_sample=True)


def bars_of(sessions, folder, symbols=("NVDA", "MSFT")):
    """Write sessions as bars on disk."""
    folder.mkdir()
    there = np.arange(sessions.max_bars) < sessions.n_bars[:, None]
    offsets = np.arange(sessions.max_bars) * np.timedelta64(60 * sessions.interval_minutes, "s")
    start = (sessions.open_utc[:, None] + offsets)[there].astype("datetime64[us]")
    for leg, symbol in enumerate(symbols):
        columns = {name: getattr(sessions, name)[:, :, leg][there] for name in VALUES}
        frame = pl.DataFrame({"symbol": [symbol] * len(start), "timestamp": start, **columns})
        frame = frame.with_columns(pl.col("timestamp").dt.replace_time_zone("UTC"))
        frame.write_parquet(folder / f"{symbol}.parquet")
    return folder


class TestCourse:
    def test_gold_does_what_evaluate_says_it_does(self, spring):
        base = settings_base(shipped_gold())
        overrides = {"market": {"sample": SPRING.sample}, "ranges": {"sessions": str(SPRING.dates)}}
        judged = evaluate(shipped_gold(), load_settings(None, overrides, base=base), gold=None, clock=utc_now)
        assert spring.runs[0].replays["gold"].digest == judged.replays["policy"].digest
        for name in ("all_hold", "buy_and_hold"):
            assert spring.runs[0].replays[name].digest == judged.replays[name].digest

    def test_gold_under_the_tilt_stands_on_its_set_points(self, course):
        policy = course["policies"]["policy"]
        # the mean of 64 sessions scatters by 6 points / 8 and 8 trades / 8: three of those
        assert abs(policy["hold_rate_ratio"] - 0.55) < 3 * 0.06 / 8
        assert abs(policy["trades_per_session"] - 16.5) < 3 * 8 / 8
        assert course["policies"]["gold"]["hold_rate_ratio"] > 0.8

    def test_random_trades_as_much(self, course):
        policy, random = course["policies"]["policy"], course["policies"]["random"]
        assert abs(policy["hold_rate_ratio"] - random["hold_rate_ratio"]) < 0.02
        assert abs(policy["trades_per_session"] - random["trades_per_session"]) < 1.5

    def test_every_baseline_runs_on_the_same_sessions(self, spring, course):
        # a gold under the tilt is its own tilted gold
        assert set(course["policies"]) == {"policy", *BASELINES} - {"tilted_gold"}
        assert set(course["comparisons"]) == set(course["policies"]) - {"policy"}
        assert course["missing"] == []
        dates = {tuple(run.ledger.dates.astype(str)) for run in spring.runs[0].replays.values()}
        assert len(dates) == 1

    def test_a_comparison_is_the_mean_of_differences(self, spring, course):
        replays = spring.runs[0].replays
        for name, pair in course["comparisons"].items():
            ours, theirs = replays["policy"].ledger.returns_ratio, replays[name].ledger.returns_ratio
            assert pair["mean_difference_bps"] == pytest.approx(1e4 * (ours - theirs).mean(), abs=1e-9)
            low, high = pair["interval_bps"]
            assert low <= pair["mean_difference_bps"] <= high

    def test_the_sessions_and_their_share_are_told(self, course):
        data = course["data"]
        assert data["synthetic"]
        assert data["ranges"]["scenario"]["n_sessions"] == data["exchange_sessions"] == 64
        assert data["share_of_exchange_sessions_ratio"] == 1.0
        assert course["sample"] == OUT_OF_SAMPLE

    def test_no_tilt_is_calibrated_on_the_sessions_judged(self, course, subject, settings):
        assert course["tilt_starts"]["policy"].startswith("calibrated on the 39 sessions before")
        whole_year = SPRING.model_copy(update={"start_date": dt.date(2022, 1, 1)})
        [record] = backtest(whole_year, subject, settings, costs_bps=()).record["courses"]
        assert "the same dates of another seed" in record["tilt_starts"]["policy"]

    def test_it_repeats(self, spring, subject, settings):
        again = backtest(SPRING, subject, settings)
        assert again.record == spring.record
        json.dumps(again.record, allow_nan=False)

    def test_the_seed_draws_other_decisions(self, spring, subject, settings):
        other = backtest(SPRING, subject, settings.model_copy(update={"seed": 99}), costs_bps=())
        assert other.runs[0].replays["policy"].digest != spring.runs[0].replays["policy"].digest

    def test_a_scenario_needs_a_market(self, subject, settings):
        with pytest.raises(ConfigError, match="neither a sample market nor bars"):
            backtest(SPRING.model_copy(update={"sample": None}), subject, settings)


class TestCosts:
    def test_the_sweep_falls_by_the_turnover(self, course):
        points = course["costs"]["policy"]
        assert [point["cost_bps"] for point in points] == list(COSTS_BPS)
        assert all(point["decisions_equal"] for point in points)
        free = points[0]
        assert free["costs_bps"] == 0.0
        for before, point in pairwise(points):
            assert point["mean_net_bps"] < before["mean_net_bps"]
        for point in points:
            paid = point["cost_bps"] * point["turnover_ratio"]
            # positions are sized from the NAV of the moment, in whole shares: costs shrink them a shade
            assert free["mean_net_bps"] - point["mean_net_bps"] == pytest.approx(paid, abs=0.01)

    def test_the_cost_of_the_rules_is_the_run_itself(self, course):
        [own] = [point for point in course["costs"]["policy"] if point["cost_bps"] == 1.0]
        plain = {name: own[name] for name in course["policies"]["policy"]}
        assert plain == course["policies"]["policy"]

    @pytest.mark.parametrize("cost", [0.0, 1.0, 7.5])
    def test_the_parts_keep_their_proportion(self, cost):
        rules = TradingRules(costs=CostModel(commission_bps=1.0, half_spread_bps=3.0, impact_bps=9.0))
        costs = costed(rules, cost).costs
        assert costs.commission_bps == pytest.approx(cost / 4)
        assert costs.half_spread_bps == pytest.approx(3 * cost / 4)
        assert costs.impact_bps == 9.0

    def test_free_rules_take_the_default_proportion(self):
        free = TradingRules(costs=CostModel(commission_bps=0.0, half_spread_bps=0.0, ticket_usd=2.0))
        costs = costed(free, 4.0).costs
        assert (costs.commission_bps, costs.half_spread_bps, costs.ticket_usd) == (1.0, 3.0, 2.0)

    def test_a_list_is_read(self):
        assert parse_costs("10, 0,2.5") == (0.0, 2.5, 10.0)

    @pytest.mark.parametrize("text", ["", "a", "1,,2", "-1", "nan", "inf", "1,1", "1001"])
    def test_what_is_no_list_of_costs(self, text):
        with pytest.raises(ConfigError, match="--costs"):
            parse_costs(text)


class TestTarget:
    def judge(self, returns, target=0.6, sample=OUT_OF_SAMPLE, risk_free=0.0):
        ledger = make_ledger(returns)
        return target_verdict(ledger, target, risk_free_per_session=risk_free, sample=sample), ledger

    def test_the_figures_are_those_of_the_formulas(self):
        returns = np.random.default_rng(0).normal(0.0004, 0.004, 250)
        verdict, ledger = self.judge(returns, risk_free=0.0001)
        excess = ledger.returns_ratio - 0.0001
        sharpe = excess.mean() / excess.std(ddof=1)
        skew, kurtosis = stats.skew(excess), stats.kurtosis(excess, fisher=False)
        unit = 1 - skew * sharpe + (kurtosis - 1) / 4 * sharpe**2
        error = math.sqrt(252 * unit / 250)
        distance = (sharpe - 0.6 / math.sqrt(252)) * math.sqrt(249 / unit)
        annual = sharpe * math.sqrt(252)
        assert verdict.observed == pytest.approx(annual, rel=1e-12)
        assert verdict.interval == pytest.approx((annual - 1.959964 * error, annual + 1.959964 * error))
        assert f"{annual:.2f} ± {error:.2f} (n = 250)" in verdict.reason
        assert f"P(true Sharpe > 0.6) = {stats.norm.cdf(distance):.2f}" in verdict.reason
        assert verdict.n == 250

    def test_the_target_itself_is_met(self):
        returns = np.random.default_rng(1).normal(0.0004, 0.004, 60)
        verdict, _ = self.judge(returns)
        assert self.judge(returns, verdict.observed)[0].passed
        assert not self.judge(returns, np.nextafter(verdict.observed, 99.0))[0].passed

    def test_few_sessions_never_meet_it(self):
        verdict, _ = self.judge(np.linspace(0.01, 0.011, 19))
        assert not verdict.passed
        assert verdict.observed is None
        assert "not enough sessions: 19" in verdict.reason

    def test_no_spread_never_meets_it(self):
        verdict, _ = self.judge(np.zeros(40), target=-1.0)
        assert (verdict.passed, verdict.observed) == (False, None)
        assert "no variance" in verdict.reason

    def test_seen_sessions_are_marked(self):
        for returns in (np.linspace(-0.01, 0.02, 40), np.linspace(-0.01, 0.02, 10)):
            assert self.judge(returns, sample=IN_SAMPLE)[0].reason.startswith("IN-SAMPLE: ")

    def test_a_backtest_is_met_where_its_verdict_is(self, spring, subject, settings):
        reached = spring.runs[0].target.observed
        for step, met in ((-0.01, True), (0.01, False)):
            scenario = SPRING.model_copy(update={"target_sharpe": reached + step})
            found = backtest(scenario, subject, settings, costs_bps=())
            assert (found.met, found.record["met"]) == (met, met)


class TestSeen:
    def test_they_are_refused_and_named(self, trained, settings):
        with pytest.raises(RangeError) as raised:
            backtest(SPRING, trained, settings)
        line = raised.value.line()
        assert "11 of 64 sessions" in line
        assert "2022-03-01:2022-03-15" in line
        assert "--in-sample" in line

    def test_every_figure_is_marked(self, seen_before):
        [course] = seen_before.record["courses"]
        parts = [
            course,
            *course["policies"].values(),
            *course["comparisons"].values(),
            *course["costs"]["policy"],
        ]
        assert {part["sample"] for part in parts} == {IN_SAMPLE}
        assert course["target"]["reason"].startswith(IN_SAMPLE)
        assert course["data"]["in_sample_sessions"] == 11

    def test_unseen_sessions_are_not_marked_by_asking(self, subject, settings):
        found = backtest(SPRING, subject, settings, costs_bps=(), in_sample=True)
        assert found.record["courses"][0]["sample"] == OUT_OF_SAMPLE

    def test_another_seed_is_another_market(self, trained, settings):
        other = SPRING.model_copy(update={"sample": "2022_bear_market:4"})
        [course] = backtest(other, trained, settings, costs_bps=()).record["courses"]
        assert course["sample"] == OUT_OF_SAMPLE

    @pytest.mark.parametrize(
        ("source", "made_on", "gold_made_on", "expected"),
        [
            # all real bars are the same, whatever their folder is called
            ("bars in copy", "bars in data", "bars in data", [True, True, False]),
            ("bars in copy", "bars in data", "SYNTHETIC planted, seed 1", [False, True, False]),
            ("bars in copy", "SYNTHETIC planted, seed 1", "bars in data", [True, False, False]),
            ("SYNTHETIC planted, seed 1", "bars in data", "bars in data", [False, False, False]),
        ],
    )
    def test_a_candidate_and_its_gold_each_saw_their_own_bars(
        self, subject, spring, source, made_on, gold_made_on, expected
    ):
        ranges = [
            DateRange.model_validate(text) for text in ("2022-03-01:2022-03-01", "2022-03-02:2022-03-02")
        ]
        gold = made_of(subject.packed, gold_made_on, ranges[:1])
        candidate = made_of(subject.packed, made_on, ranges)
        market = replace(spring.runs[0].course.market.select(slice(0, 3)), source=source)
        assert Subject(candidate, gold).seen(market).tolist() == expected

    def test_without_its_gold_all_it_saw_counts(self, subject, spring):
        ranges = [
            DateRange.model_validate(text) for text in ("2022-03-01:2022-03-01", "2022-03-03:2022-03-03")
        ]
        alone = Subject(made_of(subject.packed, spring.runs[0].course.market.source, ranges), None)
        assert alone.seen(spring.runs[0].course.market.select(slice(0, 3))).tolist() == [True, False, True]


def one_day(date):
    return DateRange.model_validate(f"{date}:{date}")


def made_of(packed, source, ranges):
    artifact = replace(packed.artifact, data_source=source)
    return replace(packed, loaded=replace(packed.loaded, artifact=artifact), seen=tuple(ranges))


class TestRealBars:
    @pytest.fixture(scope="class")
    @staticmethod
    def folder(tmp_path_factory):
        sessions = sample_market("2022_bear_market:8", first=dt.date(2022, 1, 31), n_sessions=45).sessions
        return bars_of(sessions, tmp_path_factory.mktemp("real") / "bars")

    def test_both_markets_are_judged(self, subject, settings, folder):
        scenario = SPRING.model_copy(update={"bars": folder})
        found = backtest(scenario, subject, settings, costs_bps=())
        synthetic, real = found.record["courses"]
        assert (synthetic["data"]["synthetic"], real["data"]["synthetic"]) == (True, False)
        assert real["data"]["ranges"]["scenario"]["n_sessions"] == 25
        assert real["data"]["share_of_exchange_sessions_ratio"] == 25 / 64
        assert real["data"]["quality"]["sessions"] == 45
        assert real["tilt_starts"]["policy"].startswith("calibrated on the 20 sessions before")

    def test_the_folder_named_counts_before_the_scenarios(self, subject, settings, folder):
        scenario = SPRING.model_copy(update={"bars": Path("nowhere"), "sample": None})
        market = settings.market.model_copy(update={"bars": folder})
        found = backtest(scenario, subject, settings.model_copy(update={"market": market}), costs_bps=())
        assert len(found.runs) == 1

    def test_without_sessions_before_a_tilt_starts_at_zero(self, subject, settings, folder):
        scenario = SPRING.model_copy(
            update={"bars": folder, "sample": None, "start_date": dt.date(2022, 1, 31)}
        )
        [record] = backtest(scenario, subject, settings, costs_bps=()).record["courses"]
        assert "starts at zero" in record["tilt_starts"]["policy"]
        assert "starts at zero" in record["tilt_starts"]["random"]

    def test_a_few_sessions_are_not_enough(self, subject, settings, folder):
        scenario = SPRING.model_copy(
            update={"bars": folder, "sample": None, "end_date": dt.date(2022, 3, 10), "target_sharpe": -99.0}
        )
        found = backtest(scenario, subject, settings, costs_bps=())
        assert not found.met
        assert "not enough sessions: 8" in found.record["courses"][0]["target"]["reason"]

    def test_no_session_at_all_is_refused(self, subject, settings, folder):
        scenario = SPRING.model_copy(
            update={"bars": folder, "start_date": dt.date(2022, 8, 1), "end_date": dt.date(2022, 8, 31)}
        )
        with pytest.raises(RangeError, match=r"scenario spring.*no session"):
            backtest(scenario, subject, settings)
