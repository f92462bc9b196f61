"""The scenario years: the short form, and the figures that it pools."""

from __future__ import annotations

import datetime as dt
import json
import math

import numpy as np
import pytest
from scipy import stats
from toys import Silent

from stairways.config import DateRange
from stairways.proof.experiment import Job
from stairways.proof.runner import run_experiment
from stairways.proof.scenario_findings import BASELINES, _behaviour_bars, _cost_bars
from stairways.proof.scenario_pooling import CANDIDATE, off_the_line_bps, over_years, rising_sweeps
from stairways.proof.scenario_report import _one_year_words
from stairways.proof.scenarios import YEARS, Scenarios, _names
from stairways.tuning.scenarios import SCENARIOS


def year(value, **more):
    row = {"sharpe": value, "mean_net_bps": 2 * value, "sharpe_standard_error": 1.0}
    return {**row, "low_bps": -1.0, "high_bps": 3.0, **more}


def sweep(net, turnover, *, equal=True, policy=CANDIDATE):
    return [
        {
            "scenario": "a",
            "year": 0,
            "policy": policy,
            "cost_bps": cost,
            "mean_net_bps": value,
            "turnover_ratio": turnover,
            "decisions_equal": equal,
        }
        for cost, value in net.items()
    ]


def test_years_are_pooled_as_independent_draws():
    values = [0.3, -1.2, 0.8, -0.4]
    mean, low, high = over_years([year(value) for value in values], "sharpe")
    expected = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert (mean, low, high) == pytest.approx((np.mean(values), *expected))


def test_one_year_has_the_interval_of_its_sessions():
    assert over_years([year(0.5)], "sharpe") == pytest.approx((0.5, 0.5 - 1.959964, 0.5 + 1.959964))
    assert over_years([year(0.5)], "mean_net_bps") == (1.0, -1.0, 3.0)


def test_a_sweep_on_the_line_of_its_turnover_lies_on_it():
    straight = sweep({0.0: 4.0, 1.0: 1.5, 2.0: -1.0}, 2.5)
    assert off_the_line_bps(straight, 10.0) == pytest.approx(0.0, abs=1e-12)
    assert rising_sweeps(straight) == 0


def test_what_is_wrong_with_a_sweep_is_found():
    bent = sweep({2.0: -1.0, 0.0: 4.0, 1.0: 1.4, 5.0: -9.5}, 2.5)
    flat = sweep({0.0: 4.0, 1.0: 4.0}, 0.0, policy="gold")
    assert off_the_line_bps([*bent, *flat], 2.0) == pytest.approx(0.1)
    assert off_the_line_bps([*bent, *flat], 5.0) == pytest.approx(1.0)
    assert rising_sweeps([*bent, *flat]) == 1


def test_a_sweep_with_no_step_or_no_figure_does_not_fall():
    assert rising_sweeps(sweep({0.0: 4.0}, 2.5)) == 1
    lost = sweep({0.0: 4.0, 1.0: math.nan, 2.0: -1.0}, 2.5)
    assert rising_sweeps(lost) == 1
    assert math.isnan(off_the_line_bps(lost, 2.0))


def points(**changes):
    """Return a sweep that holds every bar, but for what is changed of its points."""
    swept = sweep({0.0: 4.0, 1.0: 1.5, 2.0: -1.0}, 2.5)
    return [{**point, "costs_bps": point["cost_bps"] * 2.5, **changes} for point in swept]


class TestBars:
    def test_a_sound_sweep_holds_them_all(self):
        assert all(bar.passed for bar in _cost_bars(points()))

    def test_no_sweep_holds_none(self):
        assert not any(bar.passed for bar in _cost_bars([]))

    def test_no_year_holds_none(self):
        bars = _behaviour_bars([])
        assert len(bars) == len(SCENARIOS) + 1
        assert not any(bar.passed for bar in bars)

    @pytest.mark.parametrize(
        ("changes", "missed"),
        [
            ({"decisions_equal": False}, ["points of a sweep with other decisions"]),
            ({"costs_bps": 0.0}, ["costs charged off cost times turnover, bp"]),
            ({"costs_bps": math.nan}, ["costs charged off cost times turnover, bp"]),
        ],
    )
    def test_what_is_wrong_is_missed(self, changes, missed):
        assert [bar.name for bar in _cost_bars(points(**changes)) if not bar.passed] == missed

    def test_a_year_without_a_figure_is_missed(self):
        rows = [
            {
                "scenario": name,
                "year": year,
                "policy": policy,
                "n_sessions": 250,
                "hold_rate_ratio": 0.55 if year == 0 else math.nan,
                "trades_per_session": 16.5,
                "sessions_over_drawdown_limit": 0,
            }
            for name in SCENARIOS
            for year in (0, 1)
            for policy in (CANDIDATE, *BASELINES)
        ]
        missed = [bar.name for bar in _behaviour_bars(rows) if not bar.passed]
        assert missed == [f"{name}: hold rate off its target, points, worst year" for name in SCENARIOS]


@pytest.mark.parametrize(("error", "said"), [(1.0, "can't tell"), (0.1, "the targets are")])
def test_what_one_year_can_show_depends_on_its_error(error, said):
    rows = [{"scenario": n, "policy": CANDIDATE, "sharpe_standard_error": error} for n in SCENARIOS]
    assert said in _one_year_words(rows)


def test_without_a_sweep_nothing_is_said_of_its_line():
    assert off_the_line_bps([], 2.0) is None


def test_the_full_form_has_every_scenario_and_enough_years(tmp_path):
    job = Job(0, False, None, tmp_path)
    cells = Scenarios().cells(job)
    assert cells == Scenarios().cells(job)
    for name in SCENARIOS:
        assert sum(cell.arguments.get("scenario") == name for cell in cells) == YEARS >= 5


@pytest.mark.slow
def test_the_short_form(tmp_path):
    outcome = run_experiment(
        "stairways.proof.scenarios:Scenarios",
        tmp_path / "x",
        seed=0,
        quick=True,
        bars=None,
        follower=Silent(),
        processes=1,
    )
    assert [bar.name for bar in outcome.findings.bars if not bar.passed] == []
    results = json.loads((tmp_path / "x" / "results.json").read_text())
    years = [row for row in results["rows"] if row["kind"] == "year"]
    for name in SCENARIOS:
        assert {row["policy"] for row in years if row["scenario"] == name} == {CANDIDATE, *BASELINES}
    assert {row["sample"] for row in years} == {"out of sample"}
    for name in ("scenarios.csv", "differences.md", "costs.csv", "years.md", "sharpe.png", "costs.svg"):
        assert (tmp_path / "x" / name).stat().st_size > 100
    report = (tmp_path / "x" / "report.md").read_text()
    for name in SCENARIOS:
        assert f"In {name} the candidate met 0.6 in" in report
    assert "SYNTHETIC" in report
    assert "nan" not in report


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("22 sessions were seen: 2018-02-13:2018-03-15; choose", True),
        ("42 sessions were seen: 2018-02-13:2018-04-13; choose", True),
        ("sessions were seen: 2018-02-13:2018-03-14; choose", False),
        ("sessions were seen: 2018-02-13:2019-04-13; choose", False),
        ("refused", False),
        ("", False),
    ],
)
def test_a_refusal_names_seen_dates_around_the_one_meant(words, named):
    seen = [
        DateRange(first=dt.date(2012, 1, 3), last=dt.date(2018, 3, 15)),
        DateRange(first=dt.date(2018, 3, 16), last=dt.date(2018, 12, 31)),
    ]
    assert _names(words, dt.date(2018, 3, 15), seen) is named
