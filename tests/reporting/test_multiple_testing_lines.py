import io

import pytest
from rich.console import Console
from summaries import multiple_testing, summary

from stairways.reporting.multiple_testing import multiple_testing_lines, print_multiple_testing
from stairways.reporting.page import summary_page
from stairways.reporting.terminal import print_outcome

FIGURES = {
    "deflated_sharpe": ("Deflated Sharpe ratio of the chosen cycle", "71.3%"),
    "overfitting": ("Probability of backtest overfitting", "38.1%"),
    "track_record": ("Minimum track-record length", "437 sessions"),
}


def printed(section) -> str:
    console = Console(file=io.StringIO(), width=80, force_terminal=False, _environ={})
    print_multiple_testing(console, section)
    return " ".join(console.file.getvalue().split())


def test_every_figure_stands_beside_what_it_rests_on():
    lines = multiple_testing_lines(multiple_testing())
    assert [(line.name, line.value) for line in lines] == list(FIGURES.values())
    deflated, overfitting, length = (line.note for line in lines)
    assert deflated.startswith("P(true > 0.91), the best that luck alone finds in 8 trials in gate.db")
    assert "measured 1.75 on 64 select sessions" in deflated
    assert overfitting.startswith("50.0% by chance; the best of 8 cycles")
    assert "924 splits; 27.4% of them lose; slope of outside on inside -0.82" in overfitting
    assert length == "until P(true Sharpe > 0) reaches 95% at the 1.25 measured on 1,000 unseen sessions"


@pytest.mark.parametrize(("found", "explained"), [(0.5, False), (0.897, True)])
def test_overfitting_above_one_half_is_explained(found, explained):
    section = multiple_testing()
    section["overfitting"]["probability"] = found
    note = multiple_testing_lines(section)[1].note
    assert ("more often below the median of the cycles on the other than above it" in note) == explained


@pytest.mark.parametrize("name", FIGURES)
def test_what_could_not_be_computed_shows_its_reason_and_no_number(name):
    section = multiple_testing()
    nothing = dict.fromkeys(section[name])
    section[name] = {**nothing, "n_sessions": 12, "reason": "not enough sessions: 12"}
    [line] = [line for line in multiple_testing_lines(section) if line.name == FIGURES[name][0]]
    assert (line.value, line.note) == ("none", "not enough sessions: 12")
    assert f"{line.name}: none not enough sessions: 12" in printed(section)


def test_a_slope_that_could_not_be_fitted_is_left_out():
    section = multiple_testing()
    section["overfitting"]["degradation_slope"] = None
    assert multiple_testing_lines(section)[1].note.endswith("27.4% of them lose")


def test_terminal_and_page_show_the_same_words():
    made = summary()
    console = Console(file=io.StringIO(), width=80, force_terminal=False, _environ={})
    print_outcome(console, made)
    terminal, page = " ".join(console.file.getvalue().split()), summary_page(made)
    for line in multiple_testing_lines(made["multiple_testing"]):
        assert f"{line.name}: {line.value}" in terminal
        assert line.name in page
        assert line.value in page
    assert "After the choice among cycles" in terminal
    assert "After the choice among cycles" in page
