"""The proof of the statistics: its quick form, and that it can fail."""

from __future__ import annotations

import copy
import json
import sys

import numpy as np
import pytest
from toys import Silent

from stairways.errors import ConfigError
from stairways.proof import statistic_simulations as simulations
from stairways.proof.experiment import Job
from stairways.proof.runner import run_experiment
from stairways.proof.statistic_checks import Check, closed_checks, formula_matrix, library
from stairways.proof.statistic_findings import _arch_text, _deflation_text
from stairways.proof.statistics import Statistics

PATH = "stairways.proof.statistics:Statistics"


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    folder = tmp_path_factory.mktemp("proof") / "statistics"
    return run_experiment(PATH, folder, seed=0, quick=True, bars=None, follower=Silent(), processes=1)


@pytest.fixture
def results(outcome):
    """Results of the quick form by cell, to be changed."""
    cells = sorted((outcome.folder / "cells").glob("*.json"))
    found = {place.stem: json.loads(place.read_text())["result"]["result"] for place in cells}
    keys = [cell.key for cell in Statistics().cells(Job(0, True, None, outcome.folder))]
    return {key: copy.deepcopy(found[key]) for key in keys}


def bars_of(results, tmp_path):
    return {bar.name: bar for bar in Statistics().conclude(Job(0, True, None, tmp_path), results).bars}


@pytest.mark.slow
def test_every_bar_of_the_quick_form_holds(outcome):
    missed = [bar.name for bar in outcome.findings.bars if not bar.passed]
    assert missed == []
    assert len(outcome.findings.bars) == 20


@pytest.mark.slow
def test_the_folder_is_complete(outcome):
    content = json.loads((outcome.folder / "results.json").read_text())
    names = [*content["tables"], *(plot["name"] for plot in content["plots"])]
    assert content["tables"] == [
        "statistics_closed",
        "statistics_coverage",
        "statistics_choice",
        "statistics_overfitting",
    ]
    standing = {place.name for place in outcome.folder.iterdir()}
    for table in content["tables"]:
        assert {f"{table}.csv", f"{table}.md"} <= standing
    for plot in content["plots"]:
        assert {f"{plot['name']}.svg", f"{plot['name']}.png"} <= standing
    assert len(names) == 6
    assert "nan" not in (outcome.folder / "report.md").read_text().lower().split()


@pytest.mark.slow
def test_a_closed_form_that_differs_misses_its_bar(results, tmp_path):
    [check] = [
        one
        for one in results["closed"]["checks"]
        if one["statistic"] == "deflated Sharpe" and "skfolio" in one["source"]
    ]
    check |= {"difference": 2e-6, "passed": False}
    bars = bars_of(results, tmp_path)
    assert not bars["deflated Sharpe ratio, difference from another source"].passed
    assert bars["probabilistic Sharpe ratio, difference from another source"].passed


@pytest.mark.slow
def test_a_statistic_without_a_source_misses_its_bar(results, tmp_path):
    checks = results["closed"]["checks"]
    results["closed"]["checks"] = [c for c in checks if c["statistic"] != "degradation slope"]
    bar = bars_of(results, tmp_path)["performance degradation slope, difference from another source"]
    assert not bar.passed
    assert bar.observed is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cell", "figure", "value", "bar"),
    [
        ("sharpe-normal", "coverage_ratio", 0.93, "probabilistic Sharpe, coverage, normal returns"),
        (
            "deflated-8-0",
            "deflated_ratio",
            0.2,
            "deflated Sharpe, skill claimed of the best of 8 trials of noise",
        ),
        ("overfitting-8-0", "probability", 0.3, "probability of overfitting, noise, 8 trials"),
        ("overfitting-8-4", "probability", 0.2, "probability of overfitting, one trial better by 4 a year"),
        (
            "interval-normal-250",
            "coverage_ratio",
            0.90,
            "gate's interval, coverage, normal differences, n = 250",
        ),
        (
            "arch",
            "in_standard_errors",
            -2.5,
            "bootstrap standard error, closed form against resamples of arch",
        ),
    ],
)
def test_a_rate_that_is_not_kept_misses_its_bar(results, tmp_path, cell, figure, value, bar):
    assert bars_of(results, tmp_path)[bar].passed
    results[cell][figure] = value
    assert not bars_of(results, tmp_path)[bar].passed


@pytest.mark.slow
def test_what_is_not_kept_is_said(results, tmp_path):
    results["interval-normal-60"] |= {"coverage_ratio": 0.88, "claimed_ratio": 0.07}
    text = Statistics().conclude(Job(0, True, None, tmp_path), results).text
    assert "falls short of 95%" in text
    assert "normal at 60 sessions: 88.0%" in text


def test_deflation_is_praised_only_where_it_holds():
    row = {"edge_annual": 0.0, "n_trials": 8, "n_runs": 500, "n_sessions": 250}
    row |= {"deflated_ratio": 0.02, "undeflated_ratio": 0.3}
    skilled = {**row, "edge_annual": 4.0, "deflated_ratio": 0.4}
    assert "claims no more than the 5% that it may" in _deflation_text([row, skilled])
    assert "claims more than the 5% that it may" in _deflation_text([{**row, "deflated_ratio": 0.2}, skilled])
    assert "was not asked of noise" in _deflation_text([skilled])


def test_series_that_differ_from_arch_are_explained_only_where_there_are_some():
    row = {"equal_block_length_ratio": 1.0, "n_series": 40}
    assert "Elsewhere" not in _arch_text(row)
    assert "in 90% of 40 series. Elsewhere" in _arch_text({**row, "equal_block_length_ratio": 0.9})


def test_a_missing_library_is_an_error_and_no_pass(monkeypatch):
    monkeypatch.setitem(sys.modules, "skfolio", None)
    monkeypatch.setitem(sys.modules, "skfolio.measures", None)
    with pytest.raises(ConfigError, match=r"skfolio is not installed.*pip install skfolio"):
        closed_checks(np.random.SeedSequence(0))
    with pytest.raises(ConfigError, match="is not installed"):
        library("a_library_that_nobody_has")


def test_every_closed_form_agrees_on_another_seed_too():
    checks = closed_checks(np.random.SeedSequence(12))
    assert [check.case for check in checks if not check.as_record()["passed"]] == []
    assert {check.tolerance for check in checks if not check.printed} == {1e-6}


def test_a_figure_that_is_not_a_number_fails():
    assert not Check("a", "b", "c", float("nan"), 1.0).as_record()["passed"]


def test_the_matrix_is_the_formula_s():
    found = formula_matrix(5, 4, 0.25)
    assert found[1, 2] == ((31 * 4 + 7919 * 2 * 3 + 104729 * 9 + 13 * 2 * 9) % 1009 - 504) * 1e-5
    assert found[4, 3] == ((31 * 25 + 7919 * 5 * 4 + 104729 * 16 + 13 * 5 * 16) % 1009 - 504) * 1e-5 + 0.25


@pytest.mark.parametrize(
    ("law", "skewness", "kurtosis"), [("normal", 0.0, 3.0), ("skewed", -1.0, 4.5), ("t4", 0.0, None)]
)
def test_the_laws_are_what_they_are_called(law, skewness, kurtosis):
    drawn = simulations.LAWS[law](np.random.default_rng(0), 400_000)
    assert drawn.mean() == pytest.approx(0.0, abs=0.01)
    assert drawn.std() == pytest.approx(1.0, abs=0.03)
    centred = drawn - drawn.mean()
    if kurtosis is None:
        assert (centred**4).mean() > 6.0
    else:
        assert (centred**3).mean() == pytest.approx(skewness, abs=0.05)
        assert (centred**4).mean() == pytest.approx(kurtosis, abs=0.15)


def test_the_autocorrelated_law_follows_itself():
    drawn = simulations.autocorrelated(np.random.default_rng(1), 300_000)
    assert drawn.std() == pytest.approx(1.0, abs=0.03)
    assert np.corrcoef(drawn[1:], drawn[:-1])[0, 1] == pytest.approx(0.15, abs=0.01)
    assert np.corrcoef(drawn[2:], drawn[:-2])[0, 1] == pytest.approx(0.15**2, abs=0.01)


def test_equal_seeds_give_equal_figures():
    cases = (
        lambda seed: simulations.sharpe_coverage("skewed", 60, 50, seed),
        lambda seed: simulations.deflation_rate(4, 60, 2.0, 50, seed),
        lambda seed: simulations.overfitting_rate(4, 60, 2.0, 6, 5, seed),
        lambda seed: simulations.interval_coverage("autocorrelated", 60, 20, 100, seed),
        lambda seed: simulations.resampling_of_arch(2, 200, seed),
    )
    for case in cases:
        assert case(np.random.SeedSequence(3)) == case(np.random.SeedSequence(3))


def test_the_gate_s_interval_covers_at_least_as_much_as_bootstrap_t():
    found = simulations.interval_coverage("t4", 20, 300, 200, np.random.SeedSequence(5))
    assert found["coverage_ratio"] >= found["bootstrap_t_coverage_ratio"]
    assert found["claimed_ratio"] <= found["bootstrap_t_claimed_ratio"]
