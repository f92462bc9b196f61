"""The proof of the gate's power: its quick form, and that it can fail."""

from __future__ import annotations

import copy
import json
import math

import pytest
from toys import Silent

from stairways.evaluation.power import PairedPower
from stairways.proof.attained import true_skill
from stairways.proof.experiment import Job
from stairways.proof.power import CORRELATIONS, DIFFERENCES_ANNUAL, Power
from stairways.proof.power_findings import _below_words, _few_words
from stairways.proof.runner import run_experiment

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    folder = tmp_path_factory.mktemp("proof") / "power"
    return run_experiment(
        "stairways.proof.power:Power", folder, seed=0, quick=True, bars=None, follower=Silent(), processes=1
    )


@pytest.fixture
def results(outcome):
    """Results of the quick form by cell, to be changed."""
    cells = sorted((outcome.folder / "cells").glob("*.json"))
    found = {place.stem: json.loads(place.read_text())["result"]["result"] for place in cells}
    keys = [cell.key for cell in Power().cells(Job(0, True, None, outcome.folder))]
    return {key: copy.deepcopy(found[key]) for key in keys}


def bars_of(results, tmp_path):
    return {bar.name: bar for bar in Power().conclude(Job(0, True, None, tmp_path), results).bars}


def test_every_bar_of_the_quick_form_holds(outcome):
    assert [bar.name for bar in outcome.findings.bars if not bar.passed] == []
    assert len(outcome.findings.bars) == 5


def test_the_folder_is_complete(outcome):
    content = json.loads((outcome.folder / "results.json").read_text())
    standing = {place.name for place in outcome.folder.iterdir()}
    assert content["tables"] == [
        "power_needed",
        "power_size",
        "power_joint",
        "power_detectable",
        "power_attained",
    ]
    for table in content["tables"]:
        assert {f"{table}.csv", f"{table}.md"} <= standing
    assert [plot["name"] for plot in content["plots"]] == ["power_needed_plot", "power_simulated_plot"]
    for plot in content["plots"]:
        assert {f"{plot['name']}.svg", f"{plot['name']}.png"} <= standing


def test_the_table_stands_at_the_sessions_of_the_formula(outcome):
    rows = [row for row in outcome.findings.rows if row["kind"] == "pair"]
    for row in rows:
        formula = PairedPower(row["correlation"])
        assert row["n_sessions_by_formula"] == formula.sessions_needed(row["difference_annual"])
        assert row["low_ratio"] < row["ratio"] < row["high_ratio"]
    assert rows


def test_the_full_form_asks_for_every_difference_and_correlation(tmp_path):
    cells = Power().cells(Job(0, False, None, tmp_path))
    pairs = {
        (cell.arguments["difference"], cell.arguments["correlation"])
        for cell in cells
        if cell.arguments["kind"] == "pair"
    }
    assert pairs == {(d, r) for d in DIFFERENCES_ANNUAL for r in CORRELATIONS}


def test_the_likeness_is_measured_on_sessions_that_are_not_the_gate_s(outcome, results):
    found = results["attained"]
    assert found["source"].startswith("SYNTHETIC")
    assert found["gold_correlation_low"] < found["gold_correlation"] < found["gold_correlation_high"]
    skill = true_skill(found, (3.0, 0.5, -1.0))
    [row] = [row for row in outcome.findings.rows if row.get("scenario") == "strong"]
    assert row["n_sessions"] == skill.sessions_needed()


@pytest.mark.parametrize(
    ("cell", "changes", "bar"),
    [
        ("size-250", {"ratio": 0.06}, "accepted without any difference, verdict against gold, n = 250"),
        ("joint-no_skill", {"ratio": 0.06}, "accepted without any difference, all three verdicts, n = 250"),
        ("pair-2-0_9", {"accepted": 150, "ratio": 0.5}, "simulated power at the formula's sessions, pooled"),
    ],
)
def test_what_does_not_hold_misses_its_bar(results, tmp_path, cell, changes, bar):
    assert bars_of(results, tmp_path)[bar].passed
    results[cell] |= changes
    assert not bars_of(results, tmp_path)[bar].passed


def test_single_cells_that_are_far_off_miss_their_bar(results, tmp_path):
    for cell in ("pair-2-0_9", "pair-2-0_8"):
        results[cell] |= {"ratio": 0.6}
    [bar] = [b for name, b in bars_of(results, tmp_path).items() if name.startswith("cells whose")]
    assert not bar.passed
    assert bar.observed == "2 of 3"


def test_a_cell_without_a_figure_lies_outside(results, tmp_path):
    results["pair-2-0_9"] |= {"ratio": math.nan}
    results["pair-2-0_8"] |= {"ratio": math.nan}
    [bar] = [b for name, b in bars_of(results, tmp_path).items() if name.startswith("cells whose")]
    assert (bar.passed, bar.observed) == (False, "2 of 3")


def test_where_no_cell_was_simulated_nothing_is_shown(results, tmp_path):
    left = {key: result for key, result in results.items() if not key.startswith("pair")}
    bars = bars_of(left, tmp_path)
    assert {name for name, bar in bars.items() if not bar.passed} == {
        "simulated power at the formula's sessions, pooled",
        "cells whose simulated power is further than 2 s.e. from 80%",
    }


def test_what_few_sessions_show_is_the_formula_s_own_answer(outcome):
    words = _few_words()
    for difference in DIFFERENCES_ANNUAL:
        enough = [r for r in CORRELATIONS if PairedPower(r).sessions_needed(difference) < 100]
        said = f"from r = {min(enough):g} on" if enough else "at no r up to 0.99"
        assert f"{difference:g} {said}" in words
    assert words in outcome.findings.text


def test_cases_below_what_the_gate_judges_are_named():
    case = {"difference_annual": 2.0, "correlation": 0.99, "n_sessions": 20, "n_sessions_by_formula": 10}
    assert _below_words([case]).endswith("would do for 2 at r 0.99.")
    assert _below_words([{**case, "n_sessions_by_formula": 20}]) == ""


def test_a_size_that_is_not_kept_is_said(results, tmp_path):
    results["size-250"] |= {"ratio": 0.06}
    text = Power().conclude(Job(0, True, None, tmp_path), results).text
    assert "more than chance explains in 1 of 1 cases" in text
