"""The cross-asset experiment: its bars read what was judged, years are years, the quick form is whole."""

from __future__ import annotations

import copy
import json
import math

import numpy as np
import pytest
from toys import Silent

from markets import random_market, random_script
from stairways.evaluation.replay import replay
from stairways.proof.cross_asset import (
    FORMS,
    GOLD,
    N_REAL_SEEDS,
    NATIVE,
    PAIRS,
    SMALLER,
    STAGE_GOLD,
    STAGE_TUNE,
    CrossAsset,
)
from stairways.proof.cross_asset_runs import seed_of, years_of
from stairways.proof.experiment import Job
from stairways.proof.runner import run_experiment
from stairways.trading.metrics import measure
from stairways.trading.rules import TradingRules
from stairways.tuning import cross_asset
from stairways.tuning.pairs import largest_drawdown


def judged(**changes):
    """A judgement with figures that hold every bar."""
    market = random_market(1, 30, 2, 30)
    run = replay(market, random_script(market, 1), TradingRules())
    metrics = measure(run.ledger, n_actions=9).as_record() | {
        "hold_rate_ratio": 0.551,
        "trades_per_session": 16.4,
        "sharpe": 2.0,
        "sharpe_standard_error": 0.5,
        "max_intraday_drawdown_ratio": 0.01,
        "year_drawdown_ratio": 0.035,
        "range_drawdown_ratio": 0.04,
    }
    made = {
        "form": "pairs",
        "sessions": {"first": "2021-03-24", "last": "2025-03-17", "n_sessions": 30},
        "source": "SYNTHETIC",
        "fitted": [],
        "whole": {"policy": metrics, "random": dict(metrics)},
        "by_account": {"NVDA-MSFT": dict(metrics)},
        "above": {"random": 3.0, "all_hold": 2.0},
        "above_interval": {"random": [1.0, 5.0], "all_hold": [0.5, 3.5]},
        "verdicts": {"drawdown": False, "sharpe": True},
        "passed": False,
        "years": [{"drawdown_ratio": year} for year in (0.02, 0.025, 0.035, 0.022)],
        "unit_fraction": 0.15,
        "target_hold_ratio": 0.55,
        "target_trades": 16.5,
    }
    policy = {name: value for name, value in changes.items() if name in metrics}
    made["whole"]["policy"] |= policy
    return made | {name: value for name, value in changes.items() if name in made}


def results(**changes):
    """Results of the cells of the full form without real bars."""
    found = {}
    for run in range(3):
        found[f"tuned-pairs-{run}"] = {PAIRS: judged(**changes.get(PAIRS, {}))}
        found[f"tuned-native-{run}"] = {
            NATIVE: judged(**changes.get(NATIVE, {})),
            SMALLER: judged(**changes.get(SMALLER, {})),
        }
    found["tuned-pairs-0"][GOLD] = judged(target_hold_ratio=None, target_trades=None)
    return found


def concluded(tmp_path, **changes):
    findings = CrossAsset().conclude(Job(0, False, None, tmp_path), results(**changes))
    return findings, {bar.name: bar for bar in findings.bars}


class TestBars:
    def test_sound_figures_hold_them_all(self, tmp_path):
        findings, bars = concluded(tmp_path)
        assert findings.passed
        assert len(bars) == 2 * len(FORMS) + 2
        year = bars["through pairs: drawdown of a year, median, %"]
        assert year.observed == pytest.approx(2.35)
        assert year.note == "9 of 12 years hold it, the worst has 3.50%"

    @pytest.mark.parametrize(
        ("form", "changes", "bar"),
        [
            (PAIRS, {"sharpe": -0.1}, "through pairs: net Sharpe ratio, lowest run"),
            (NATIVE, {"sharpe": 0.0}, "three legs: net Sharpe ratio, lowest run"),
            (PAIRS, {"sharpe": None}, "through pairs: net Sharpe ratio, lowest run"),
            (
                SMALLER,
                {"years": [{"drawdown_ratio": 0.031}] * 4},
                "three legs, capital of the pairs: drawdown of a year, median, %",
            ),
            (
                PAIRS,
                {"years": [{"drawdown_ratio": 0.01}, {"drawdown_ratio": math.nan}]},
                "through pairs: drawdown of a year, median, %",
            ),
            (PAIRS, {"sharpe": math.nan}, "through pairs: net Sharpe ratio, lowest run"),
            (NATIVE, {"hold_rate_ratio": 0.565}, "three legs: distance from the target hold rate, points"),
            (
                NATIVE,
                {"trades_per_session": 15.9},
                "three legs: distance from the set point of trades, a session",
            ),
        ],
    )
    def test_each_fails_by_its_own_figure(self, tmp_path, form, changes, bar):
        findings, bars = concluded(tmp_path, **{form: changes})
        assert [name for name, held in bars.items() if not held.passed] == [bar]
        assert not findings.passed

    def test_a_run_without_a_figure_is_not_passed_over(self, tmp_path):
        found = results()
        found["tuned-native-2"][NATIVE] = judged(trades_per_session=math.nan, hold_rate_ratio=math.nan)
        findings = CrossAsset().conclude(Job(0, False, None, tmp_path), found)
        assert [bar.name for bar in findings.bars if not bar.passed] == [
            "three legs: distance from the target hold rate, points",
            "three legs: distance from the set point of trades, a session",
        ]

    def test_nothing_run_holds_nothing(self, tmp_path):
        for quick in (True, False):
            findings = CrossAsset().conclude(Job(0, quick, None, tmp_path), {})
            assert findings.bars
            assert not any(bar.passed for bar in findings.bars)

    def test_the_method_names_what_the_code_does(self, tmp_path):
        findings, _ = concluded(tmp_path)
        words = " ".join(findings.text.split())
        assert "27 actions, 39 + 3 inputs" in words
        assert "0.45 of NAV to work where the pairs may put 0.30" in words
        assert "a drawdown over 3% or a Sharpe" in words
        assert "the worst 252 sessions anywhere" in words

    def test_the_lowest_run_counts(self, tmp_path):
        found = results()
        found["tuned-pairs-1"] = {PAIRS: judged(sharpe=-0.2)}
        findings = CrossAsset().conclude(Job(0, False, None, tmp_path), found)
        bar = next(bar for bar in findings.bars if bar.name.startswith("through pairs: net Sharpe"))
        assert bar.observed == -0.2
        assert bar.note.startswith("95 % [-1.18, 0.78]")


class TestRealBars:
    def test_they_stand_beside_and_change_no_bar(self, tmp_path):
        found = results()
        lost = {"sharpe": -3.0, "mean_net_bps": -5.0}
        found |= {f"real-tuned-pairs-{run}": {PAIRS: judged(**lost)} for run in range(3)}
        findings = CrossAsset().conclude(Job(0, False, tmp_path, tmp_path), found)
        assert findings.passed
        table = next(table for table in findings.tables if table.name == "real")
        assert len(table.rows) == 3
        assert "FAILS: drawdown" in table.markdown()
        assert "0 of 3 judgements pass" in findings.text

    def test_cells_on_real_bars_come_with_them(self, tmp_path):
        without, given = (CrossAsset().cells(Job(0, False, bars, tmp_path)) for bars in (None, tmp_path))
        assert not any(cell.key.startswith("real") for cell in without)
        assert sum(cell.key.startswith("real-tuned") for cell in given) == 2 * N_REAL_SEEDS
        assert {cell.key for cell in given if cell.stage == STAGE_GOLD} == {
            "gold-native",
            "real-gold-native",
            "real-gold-pairs",
        }
        assert all(cell.stage == STAGE_TUNE for cell in given if "tuned" in cell.key)


class TestYears:
    def test_a_range_is_cut_into_years_that_count_from_their_own_start(self):
        market = random_market(2, 500, 2, 30)
        run = replay(market, random_script(market, 3), TradingRules())
        result = cross_asset.CrossAsset(None, "native", {"policy": {"one": run}}, None, {})
        first, second = years_of(result)
        assert (first["n_sessions"], second["n_sessions"]) == (250, 250)
        assert second["first"] == str(market.dates[250])
        closes = run.ledger.nav_close_usd
        assert second["return_ratio"] == pytest.approx(closes[-1] / closes[249] - 1.0)
        expected = largest_drawdown(run.nav_usd[250:], float(closes[249]), market.n_bars[250:])
        assert second["drawdown_ratio"] == pytest.approx(expected)

    def test_seeds_differ_by_place_and_by_job(self, tmp_path):
        jobs = [Job(seed, False, None, tmp_path) for seed in (0, 1)]
        seeds = [seed_of(job, stage, run) for job in jobs for stage in (0, 1) for run in range(3)]
        assert len(set(seeds)) == len(seeds)


def test_rows_are_flat_and_plain(tmp_path):
    findings, _ = concluded(tmp_path)
    for row in findings.rows:
        assert all(value is None or isinstance(value, str | int | float | bool) for value in row.values())
    json.dumps(copy.deepcopy(list(findings.rows)), allow_nan=False)
    assert np.isclose(findings.rows[0]["year_3_drawdown_ratio"], 0.035)


@pytest.mark.slow
def test_the_quick_form_holds_and_its_folder_is_whole(tmp_path):
    outcome = run_experiment(
        "stairways.proof.cross_asset:CrossAsset",
        tmp_path / "cross",
        seed=0,
        quick=True,
        bars=None,
        follower=Silent(),
        processes=1,
    )
    assert [bar.name for bar in outcome.findings.bars if not bar.passed] == []
    results = json.loads((outcome.folder / "results.json").read_text(encoding="utf-8"))
    assert {row["form"] for row in results["rows"]} == {PAIRS, NATIVE}
    for name in ("forms.csv", "pairs.md", "baselines.md", "forms.png", "forms.svg", "report.md"):
        assert (outcome.folder / name).stat().st_size > 100
