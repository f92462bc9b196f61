"""What a run says of the choice among its cycles."""

from __future__ import annotations

from workbench import json_of

from stairways.reporting.multiple_testing import multiple_testing_lines


def test_the_trials_are_those_of_gate_db_and_no_figure_stands_for_one_that_is_missing(tuned):
    summary = json_of(tuned / "summary.json")
    section = summary["multiple_testing"]
    n_select = summary["data"]["ranges"]["select"]["n_sessions"]
    deflated, overfitting = section["deflated_sharpe"], section["overfitting"]
    assert deflated["n_trials"] == len(summary["cycles"]) == 3
    assert deflated["n_sessions"] == overfitting["n_sessions"] == n_select < 40
    chosen = summary["cycles"][summary["run"]["cycle"] - 1]["select"]
    assert deflated["sharpe_annual"] == chosen["sharpe"]
    assert overfitting["probability"] is None
    assert overfitting["reason"] == f"not enough sessions: {n_select}, at least 40 needed"
    length = section["track_record"]
    assert length["n_sessions"] == summary["candidate"]["n_sessions"]
    assert length["sharpe_annual"] == summary["candidate"]["sharpe"]


def test_the_page_shows_it(tuned):
    page = (tuned / "summary.html").read_text(encoding="utf-8")
    for line in multiple_testing_lines(json_of(tuned / "summary.json")["multiple_testing"]):
        assert line.name in page
