"""What the choice among cycles leaves of a result, in the words that page and terminal share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stairways.reporting.page import number, percent, probability

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Line:
    """One figure.

    Attributes:
        name: What it is.
        value: The figure with its unit; ``none`` where it could not be computed.
        note: What it rests on, or why there is none.
    """

    name: str
    value: str
    note: str


def multiple_testing_lines(section: Mapping[str, Any]) -> tuple[Line, ...]:
    """Return the lines of the ``multiple_testing`` section of a summary."""
    return (
        _deflated(section["deflated_sharpe"]),
        _overfitting(section["overfitting"]),
        _track_record(section["track_record"]),
    )


def print_multiple_testing(console: Console, section: Mapping[str, Any]) -> None:
    """Print the section, a line for each figure and one for what it rests on."""
    from rich.padding import Padding
    from rich.text import Text

    console.print(Text("After the choice among cycles", style="bold"))
    for line in multiple_testing_lines(section):
        console.print(Text(f"{line.name}: {line.value}"))
        console.print(Padding(Text(line.note, style="dim"), (0, 0, 0, 2), expand=False))


def _deflated(found: Mapping[str, Any]) -> Line:
    name = "Deflated Sharpe ratio of the chosen cycle"
    if found["reason"] is not None:
        return Line(name, "none", str(found["reason"]))
    return Line(
        name,
        probability(found["probability"]),
        f"P(true > {number(found['expected_max_annual'])}), the best that luck alone finds in "
        f"{found['n_trials']:,} trials in gate.db that scatter by {number(found['trial_deviation_annual'])}; "
        f"measured {number(found['sharpe_annual'])} on {found['n_sessions']:,} select sessions; "
        f"P(true > 0) {probability(found['probability_undeflated'])} without deflation",
    )


def _overfitting(found: Mapping[str, Any]) -> Line:
    name = "Probability of backtest overfitting"
    if found["reason"] is not None:
        return Line(name, "none", str(found["reason"]))
    slope = found["degradation_slope"]
    degradation = "" if slope is None else f"; slope of outside on inside {number(slope, sign=True)}"
    above = "the best on one half is more often below the median of the cycles on the other than above it; "
    return Line(
        name,
        percent(found["probability"]),
        f"{above if found['probability'] > 0.5 else ''}"
        f"{percent(found['chance_probability'])} by chance; the best of {found['n_trials']:,} cycles on one "
        f"half of {found['n_sessions']:,} select sessions, judged on the other, in {found['n_splits']:,} "
        f"splits; {percent(found['loss_probability'])} of them lose{degradation}",
    )


def _track_record(found: Mapping[str, Any]) -> Line:
    name = "Minimum track-record length"
    if found["reason"] is not None:
        return Line(name, "none", str(found["reason"]))
    return Line(
        name,
        f"{found['least_sessions']:,} sessions",
        f"until P(true Sharpe > 0) reaches {percent(found['confidence'], 0)} at the "
        f"{number(found['sharpe_annual'])} measured on {found['n_sessions']:,} unseen sessions",
    )
