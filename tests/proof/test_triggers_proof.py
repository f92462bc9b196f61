"""The proof of the triggers: its simulations, its quick form, and that it can fail."""

from __future__ import annotations

import copy
import datetime as dt
import json
import math

import numpy as np
import pytest
from toys import Silent

from stairways.evaluation.sequential import SequentialState
from stairways.evaluation.trigger_config import TriggerConfig
from stairways.live.live_evidence import LiveEvidence, SessionRecord
from stairways.live.triggers import low_sharpe
from stairways.proof.experiment import Job
from stairways.proof.runner import run_experiment
from stairways.proof.trigger_trials import (
    LAWS,
    PROMISED,
    RULES,
    Accounts,
    delays,
    false_alarms,
    least_mean_delay,
    sequential_alarms,
    sharpe_alarms,
)
from stairways.proof.triggers import Triggers

CONFIG = TriggerConfig()
YEAR = math.sqrt(252)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    folder = tmp_path_factory.mktemp("proof") / "triggers"
    path = "stairways.proof.triggers:Triggers"
    return run_experiment(path, folder, seed=0, quick=True, bars=None, follower=Silent(), processes=1)


@pytest.fixture
def results(outcome):
    """Results of the quick form by cell, to be changed."""
    cells = sorted((outcome.folder / "cells").glob("*.json"))
    found = {place.stem: json.loads(place.read_text())["result"]["result"] for place in cells}
    keys = [cell.key for cell in Triggers().cells(Job(0, True, None, outcome.folder))]
    return {key: copy.deepcopy(found[key]) for key in keys}


class TestLaws:
    @pytest.mark.parametrize("law", LAWS)
    def test_mean_0_and_deviation_1(self, law):
        values = LAWS[law](np.random.default_rng(0), (250, 4_000))
        # a million values; fat tails and clusters make the second moment the noisier one
        assert values.mean() == pytest.approx(0.0, abs=0.005)
        assert values.std() == pytest.approx(1.0, abs=0.03)

    def skewness(self, law):
        return float((LAWS[law](np.random.default_rng(0), (250, 4_000)) ** 3).mean())

    def test_skewness(self):
        assert self.skewness("rare_losses") == pytest.approx(-1.0, abs=0.05)
        assert self.skewness("rare_gains") == pytest.approx(1.0, abs=0.05)

    def likeness(self, law, power):
        values = np.abs(LAWS[law](np.random.default_rng(0), (250, 4_000))) ** power
        return float(np.corrcoef(values[:-1].ravel(), values[1:].ravel())[0, 1])

    def test_what_follows_what(self):
        values = LAWS["autocorrelated"](np.random.default_rng(0), (250, 4_000))
        assert np.corrcoef(values[:-1].ravel(), values[1:].ravel())[0, 1] == pytest.approx(0.1, abs=0.01)
        assert self.likeness("clustered", 2) > 0.15
        assert abs(self.likeness("normal", 2)) < 0.01

    def test_the_promise_leaves_out_what_remembers(self):
        assert set(LAWS) - set(PROMISED) == {"autocorrelated"}


class TestRules:
    def test_the_sequential_rule_is_the_one_that_runs_live(self):
        rng = np.random.default_rng(3)
        returns = 0.004 * (rng.standard_normal((400, 20)) - 3 / YEAR)
        alarms = sequential_alarms(returns, CONFIG.net_return)
        assert alarms.sum() >= 20
        for account in range(20):
            state, found = SequentialState.start(CONFIG.net_return), []
            for value in returns[:, account]:
                state = state.after([value], CONFIG.net_return)
                found.append(state.alarm_session is not None)
                state = SequentialState.start(CONFIG.net_return) if found[-1] else state
            assert found == alarms[:, account].tolist()

    def test_the_sharpe_rule_is_the_one_that_runs_live(self):
        returns = 0.004 * np.random.default_rng(4).standard_normal((80, 12))
        alarms = sharpe_alarms(returns, CONFIG)
        assert alarms.sum() > 6
        dates = tuple(dt.date(2026, 1, 1) + dt.timedelta(days=i) for i in range(80))
        for account in range(12):
            first, found = 0, []
            for t in range(80):
                records = tuple(
                    SessionRecord(dates[i], 390, returns[i, account], 0.0, 16, 0.5)
                    for i in range(first, t + 1)
                )
                evidence = LiveEvidence(sessions=records, exchange_dates=dates[first : t + 1])
                found.append(low_sharpe(evidence, CONFIG).tripped)
                first = t + 1 if found[-1] else first
            assert found == alarms[:, account].tolist()

    def test_both_rules_meet_the_same_accounts(self):
        accounts, flat = Accounts("normal", 0.004, 5, 10), np.zeros(10)
        seen = []
        for _ in RULES:
            [part] = np.random.SeedSequence(1, spawn_key=(2,)).spawn(1)
            seen.append(accounts.draw(np.random.default_rng(part), flat, 5))
        assert (seen[0] == seen[1]).all()


class TestMeasures:
    def test_false_alarms_are_counted_per_year(self, monkeypatch):
        alarms = np.zeros((504, 4), dtype=bool)
        alarms[[10, 300], 0] = alarms[300, 1] = True
        monkeypatch.setattr(Accounts, "alarms", lambda *_: alarms)
        found = false_alarms(Accounts("normal", 0.004, 4, 504), "sequential", 0.0, CONFIG, None)
        assert found["per_year"] == pytest.approx(3 / 4 / 2)
        assert found["per_year_error"] == pytest.approx(np.std([1, 0.5, 0, 0], ddof=1) / 2)
        assert found["first_year_ratio"] == 0.25

    def test_delays_count_from_the_change(self, monkeypatch):
        alarms = np.zeros((30, 10), dtype=bool)
        alarms[3] = True
        for account in range(9):
            alarms[10 + account :, account] = True
        monkeypatch.setattr(Accounts, "alarms", lambda *_: alarms)
        found = delays(Accounts("normal", 0.004, 10, 30), "sequential", 10, -4.0, CONFIG, None)
        assert (found["median_sessions"], found["most_sessions"], found["horizon_sessions"]) == (5, 9, 20)
        assert found["mean_sessions"] is None

    def test_no_more_than_nine_in_ten_seen_is_no_figure(self, monkeypatch):
        alarms = np.zeros((20, 10), dtype=bool)
        alarms[0, :8] = True
        monkeypatch.setattr(Accounts, "alarms", lambda *_: alarms)
        found = delays(Accounts("normal", 0.004, 10, 20), "sequential", 0, -4.0, CONFIG, None)
        assert (found["median_sessions"], found["most_sessions"]) == (1, None)

    @pytest.mark.parametrize(("h", "sharpe"), [(0.5, -1.0), (2.0, -4.0), (6.0, -8.0)])
    def test_the_least_delay_by_its_two_formulas(self, h, sharpe):
        scale = 504 / sharpe**2
        threshold = scale * (math.exp(h) - h - 1)
        assert least_mean_delay(threshold, sharpe) == pytest.approx(scale * (math.exp(-h) + h - 1), rel=1e-9)


@pytest.mark.slow
class TestQuickForm:
    def test_every_bar_holds(self, outcome):
        assert [bar.name for bar in outcome.findings.bars if not bar.passed] == []
        assert len(outcome.findings.bars) == 13

    def test_the_folder_is_complete(self, outcome):
        content = json.loads((outcome.folder / "results.json").read_text())
        assert content["tables"] == ["triggers_false_alarms", "triggers_delays", "triggers_rates"]
        assert [plot["name"] for plot in content["plots"]] == ["triggers_false_plot", "triggers_delay_plot"]
        assert "nan" not in (outcome.folder / "report.md").read_text().lower().split()

    @pytest.mark.parametrize(
        ("key", "change", "missed"),
        [
            ("false-t3-0_0-0_0032", {"sequential_per_year": 0.4}, "t(3) returns of 0.32%"),
            ("rate-normal-0_0-1_0", {"sequential_per_year": 1.2}, "false alarms per year at 1 promised"),
            ("false-normal-0_0-0_005", {"sequential_first_year_low": 0.26}, "in the first year"),
            ("false-t3-0_7-0_0032", {"sequential_per_year": 0.2}, "a true Sharpe ratio of 0.7, worst"),
            ("false-autocorrelated-2_0-0_0032", {"sequential_per_year": 0.03}, "ratio of 2, worst"),
            ("delay-t3-minus4_0-250", {"sequential_most_sessions": 253}, "became -4"),
            ("delay-normal-minus8_0-250", {"sequential_most_sessions": None}, "became -8"),
            ("false-normal-0_7-0_0032", {"sharpe_first_year_ratio": 0.9}, "why it only alerts"),
        ],
    )
    def test_a_figure_out_of_bounds_misses_its_bar_alone(self, results, tmp_path, key, change, missed):
        results[key] |= change
        bars = Triggers().conclude(Job(0, True, None, tmp_path), results).bars
        [failed] = [bar.name for bar in bars if not bar.passed]
        assert missed in failed

    def test_autocorrelated_returns_are_held_to_no_promise(self, results, tmp_path):
        results["false-autocorrelated-0_0-0_0032"] |= {"sequential_per_year": 0.4}
        bars = Triggers().conclude(Job(0, True, None, tmp_path), results).bars
        assert all(bar.passed for bar in bars)
