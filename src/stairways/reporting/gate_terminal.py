"""The terminal: the gate explained, and the sessions that its verdicts on skill need."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stairways.reporting.page import GROUP_WORDS, number, percent, probability, threshold_text
from stairways.reporting.tables import print_table, table_of
from stairways.reporting.terminal import STYLES

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def print_gate(console: Console, record: Mapping[str, Any]) -> None:
    """Print every judge with its bound, the shadow rule's odds and the power of the skill verdicts.

    Args:
        console: Where to.
        record: What ``gate explain --json`` prints.
    """
    _print_judges(console, record)
    console.print()
    _print_shadow(console, record["shadow"])
    console.print()
    power = record["power"]
    print_table(console, _needed_table(power))
    console.print()
    print_table(console, _simulated_table(power))
    console.print()
    print_table(console, _detectable_table(power))
    if power["at_n_sessions"]:
        console.print()
        print_table(console, _power_table(power))
    console.print()
    _print_reading(console)


def _print_judges(console: Console, record: Mapping[str, Any]) -> None:
    from rich.padding import Padding
    from rich.text import Text

    judges = record["judges"]
    settings = record["settings"]
    required = sum(judge["required"] for judge in judges)
    console.print(
        Text(
            f"The gate asks {len(judges)} judges; {required} must pass. Deployment mode "
            f"{settings['deployment_mode']}, at least {settings['min_sessions']} unseen sessions.",
            style="bold",
        )
    )
    group = None
    for judge in judges:
        if judge["group"] != group:
            group = judge["group"]
            gates = any(one["required"] for one in judges if one["group"] == group)
            console.print()
            console.print(Text(GROUP_WORDS[group] + ("" if gates else ", does not gate"), style="bold"))
        bound = threshold_text(judge["name"], judge["bound"])
        line = Text(f"{judge['name']}: ").append(bound, STYLES["good"] if judge["required"] else "")
        console.print(Padding(line, (0, 0, 0, 2), expand=False))
        console.print(Padding(Text(judge["meaning"], style="dim"), (0, 0, 0, 4), expand=False))


def _print_shadow(console: Console, shadow: Mapping[str, Any]) -> None:
    from rich.text import Text

    no_skill, skilled = (probability(shadow[f"{who}_probability"]) for who in ("no_skill", "skilled"))
    console.print(
        Text(
            f"Shadow replay, {shadow['rule']} rule, {shadow['n_sessions']} sessions: a policy without skill "
            f"passes with probability {no_skill}, one with a true Sharpe ratio of "
            f"{shadow['skilled_sharpe_annual']:g} with {skilled}. It tests safety and behaviour, not skill."
        )
    )


def _needed_table(power: Mapping[str, Any]) -> Table:
    asked = f"{percent(power['power'], 0)} power by formula, {percent(power['confidence'], 0)} interval"
    table = _grid(
        f"Unseen sessions for a true difference ({asked})",
        "true difference",
        power["needed"],
        row="difference_annual",
        row_text=lambda value: f"{value:g}",
        cell=lambda entry: f"{entry['n_sessions']:,}",
    )
    floor = f"at least {power['min_sessions']}, below which the gate judges nothing"
    table.caption = f"differences of annual Sharpe ratios at equal volatility; {floor}"
    return table


def _simulated_table(power: Mapping[str, Any]) -> Table:
    columns = ("true difference", "correlation", "sessions", "accepted", "95%", "formula", "runs")
    table = table_of(columns, right=columns, title="Simulated with the gate's own test, t(4) returns")
    for entry in power["simulated"]:
        low, high = entry["low_ratio"], entry["high_ratio"]
        table.add_row(
            f"{entry['difference_annual']:g}",
            f"{entry['correlation']:g}",
            f"{entry['n_sessions']:,}",
            percent(entry["ratio"]),
            f"{number(100 * low, 1)} to {percent(high)}",
            percent(entry["formula_ratio"]),
            f"{entry['n_runs']:,}",
        )
    table.caption = _simulated_words(power)
    return table


def _simulated_words(power: Mapping[str, Any]) -> str:
    """Say how often the gate's own test accepts where the formula asks for its power."""
    at_formula = [entry for entry in power["simulated"] if entry["difference_annual"] > 0]
    least, most = (end(entry["ratio"] for entry in at_formula) for end in (min, max))
    found = f"{number(100 * least, 1)} to {percent(most)}"
    asked = percent(power["power"], 0)
    if all(entry["high_ratio"] >= power["power"] for entry in at_formula):
        return (
            f"at the formula's sessions the gate's own test accepts {found}:\n"
            f"no difference to the {asked} asked that chance would not make"
        )
    return (
        f"at the formula's sessions the gate's own test accepts {found},\n"
        f"where {asked} is asked: it is more careful than the formula, so take more sessions "
        "than the table above names"
    )


def _detectable_table(power: Mapping[str, Any]) -> Table:
    table = _grid(
        f"Least true difference that is shown with {percent(power['power'], 0)} power",
        "sessions",
        power["detectable"],
        row="n_sessions",
        row_text=lambda value: f"{value:,}",
        cell=lambda entry: (
            "none" if entry["difference_annual"] is None else number(entry["difference_annual"])
        ),
    )
    if any(entry["difference_annual"] is None for entry in power["detectable"]):
        table.caption = "none: fewer sessions than the gate asks for"
    return table


def _power_table(power: Mapping[str, Any]) -> Table:
    return _grid(
        f"Power with {power['n_sessions']:,} sessions",
        "true difference",
        power["at_n_sessions"],
        row="difference_annual",
        row_text=lambda value: f"{value:g}",
        cell=lambda entry: probability(entry["power_ratio"]),
    )


def _grid(
    title: str,
    heading: str,
    entries: Sequence[Mapping[str, Any]],
    *,
    row: str,
    row_text: Callable[[Any], str],
    cell: Callable[[Mapping[str, Any]], str],
) -> Table:
    """Return entries as a table with a column for each correlation."""
    correlations = list(dict.fromkeys(entry["correlation"] for entry in entries))
    columns = (heading, *(f"r = {correlation:g}" for correlation in correlations))
    table = table_of(columns, right=columns, title=title)
    for value in dict.fromkeys(entry[row] for entry in entries):
        cells = [cell(entry) for entry in entries if entry[row] == value]
        table.add_row(row_text(value), *cells)
    return table


def _print_reading(console: Console) -> None:
    from rich.text import Text

    console.print(
        Text(
            "r is the correlation of the two policies' session returns. 0.5 stands for a comparison with "
            "holding always; the others stand in the comparisons of a run's summary.json. All three verdicts "
            "on skill must pass together, so the hardest of them sets the number of sessions, and a little "
            "more is needed.",
            style="dim",
        )
    )
