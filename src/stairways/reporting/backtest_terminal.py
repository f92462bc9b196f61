"""The terminal: what came of a backtest or of a walk-forward.

Every table that holds figures of sessions seen before says IN-SAMPLE in its title and its first column.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stairways.reporting.page import number, percent, probability, sharpe_text, words_of
from stairways.reporting.tables import print_path, print_table, table_of
from stairways.reporting.terminal import STYLES

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

IN_SAMPLE = "IN-SAMPLE"
NOTES = {
    "policy": "as it is deployed",
    "gold": "untilted",
    "tilted_gold": "gold under the same tilt",
    "random": "at equal turnover",
}


def print_backtest(console: Console, record: Mapping[str, Any]) -> None:
    """Print the policies, the paired differences, the cost sweep and the verdict of each market.

    Args:
        console: Where to.
        record: What ``backtest --json`` prints.
    """
    from rich.text import Text

    scenario, policy = record["scenario"], record["policy"]
    about = f": {scenario['description']}" if scenario["description"] else ""
    console.print(Text(f"{scenario['name']}{about}", style="bold"))
    what = "the shipped gold" if policy["shipped"] else f"the {policy['role']}"
    tilt = " under the default tilt" if policy["tilted_gold"] else ""
    console.print(Text(f"Led through it: {what} {policy['digest'][:12]}{tilt}, made on {policy['made_on']}"))
    for course in record["courses"]:
        _print_course(console, course, scenario["target_sharpe"])
    console.print()
    _say_met(console, record)


def print_walk(console: Console, record: Mapping[str, Any], folder: Path) -> None:
    """Print every window, then all test sessions together, and the verdict.

    Args:
        console: Where to.
        record: What ``backtest --walk-forward --json`` prints.
        folder: The walk's folder.
    """
    pooled = record["pooled"]
    console.print()
    print_table(console, _window_table(record["windows"]))
    console.print()
    n = pooled["policies"]["candidate"]["n_sessions"]
    title = f"All {n:,} unseen sessions of {pooled['n_windows']} windows, one account"
    print_table(console, _policy_table(pooled["policies"], record["target_sharpe"], title))
    console.print()
    print_table(console, _pair_table(pooled["comparisons"], "candidate", ""))
    _say_data(console, record["data"])
    console.print()
    skilled, accepted = pooled["windows_with_skill"], pooled["windows_accepted"]
    console.print(f"The gate accepted {accepted} of {pooled['n_windows']} windows; skill shown in {skilled}.")
    _say_met(console, record)
    print_path(console, "Walk", folder)


def _print_course(console: Console, course: Mapping[str, Any], target_sharpe: float) -> None:
    from rich.text import Text

    data = course["data"]
    seen = course["sample"] == IN_SAMPLE
    span = data["ranges"]["scenario"]
    mark = f"{IN_SAMPLE}: " if seen else ""
    metrics = course["policies"]["policy"]
    title = f"{mark}{span['n_sessions']:,} {'' if seen else 'unseen '}sessions, {metrics['mode']}"
    console.print()
    _say_data(console, data)
    share = percent(data["share_of_exchange_sessions_ratio"])
    console.print(
        Text(
            f"{span['first']} to {span['last']}: {span['n_sessions']:,} of the exchange's "
            f"{data['exchange_sessions']:,} sessions ({share})"
        )
    )
    if seen:
        console.print(
            Text(f"{IN_SAMPLE}: {data['in_sample_sessions']:,} of them were seen before", style="yellow")
        )
    console.print()
    print_table(console, _policy_table(course["policies"], target_sharpe, title, mark))
    for name in course["missing"]:
        console.print(
            Text(f"{words_of(name)} is missing: the artifact's gold is not at hand", style="yellow")
        )
    for name, words in course["tilt_starts"].items():
        console.print(Text(f"Tilt of {words_of(name)}: {words}", style=STYLES["plain"]))
    console.print()
    print_table(console, _pair_table(course["comparisons"], "policy", mark))
    for name, points in course["costs"].items():
        console.print()
        print_table(console, _cost_table(points, name, target_sharpe, mark))


def _policy_table(
    policies: Mapping[str, Mapping[str, Any]], target_sharpe: float, title: str, mark: str = ""
) -> Table:
    from rich.text import Text

    proof = f"P(> {target_sharpe:g})"
    columns = (
        mark.strip(": ") or "policy",
        "hold",
        "trades",
        "Sharpe ± SE",
        proof,
        "net bp [95%]",
        "drawdown",
    )
    table = table_of(columns, right=columns[1:], title=title)
    for name, metrics in policies.items():
        chance = metrics["probability_above_target"]
        table.add_row(
            Text(words_of(name), style="bold" if name in ("policy", "candidate") else ""),
            percent(metrics["hold_rate_ratio"]),
            number(metrics["trades_per_session"]),
            sharpe_text(metrics) if metrics["sharpe"] is not None else "none",
            "none" if chance is None else probability(chance),
            _with_interval(metrics["mean_net_bps"], metrics["mean_net_bps_interval"], 1),
            percent(metrics["max_intraday_drawdown_ratio"], 2),
        )
    chance_level = percent(next(iter(policies.values()))["chance_hold_rate_ratio"])
    notes = "; ".join(f"{words_of(name)}: {note}" for name, note in NOTES.items() if name in policies)
    table.caption = f"hold rate of chance {chance_level}; drawdown: largest intraday; {notes}"
    return table


def _pair_table(pairs: Mapping[str, Mapping[str, Any]], ours: str, mark: str) -> Table:
    from rich.text import Text

    columns = (f"{mark}{ours} less", "bp per session [95%]", "P(> 0)", "n")
    table = table_of(columns, right=columns[1:])
    for name, pair in pairs.items():
        table.add_row(
            Text(words_of(name)),
            _with_interval(pair["mean_difference_bps"], pair["interval_bps"]),
            probability(pair["probability_positive"]),
            f"{pair['n_sessions']:,}",
        )
    return table


def _cost_table(points: Sequence[Mapping[str, Any]], name: str, target_sharpe: float, mark: str) -> Table:
    from rich.text import Text

    proof = f"P(> {target_sharpe:g})"
    columns = (mark.strip(": ") or "cost", "net bp [95%]", "Sharpe ± SE", proof, "turnover")
    table = table_of(columns, right=columns[1:], title=f"{mark}Costs of {words_of(name)}")
    for point in points:
        chance = point["probability_above_target"]
        table.add_row(
            Text(f"{point['cost_bps']:g} bp"),
            _with_interval(point["mean_net_bps"], point["mean_net_bps_interval"]),
            sharpe_text(point) if point["sharpe"] is not None else "none",
            "none" if chance is None else probability(chance),
            number(point["turnover_ratio"]),
        )
    equal = all(point["decisions_equal"] for point in points)
    same = "the same decisions at every cost" if equal else "decisions DIFFER between costs"
    table.caption = f"one way, commission and half spread together; {same}"
    return table


def _window_table(windows: Sequence[Mapping[str, Any]]) -> Table:
    from rich.text import Text

    columns = ("test sessions", "n", "hold", "trades", "Sharpe ± SE", "net bp", "drawdown", "skill")
    table = table_of(columns, right=columns[1:-1], title="The candidate of each window, unseen sessions")
    for window in windows:
        metrics, test = window["policies"]["candidate"], window["ranges"]["test"]
        table.add_row(
            Text(f"{test['first']}:{test['last']}"),
            f"{test['n_sessions']:,}",
            percent(metrics["hold_rate_ratio"]),
            number(metrics["trades_per_session"]),
            sharpe_text(metrics) if metrics["sharpe"] is not None else "none",
            number(metrics["mean_net_bps"], sign=True),
            percent(metrics["max_intraday_drawdown_ratio"], 2),
            "shown" if window["run"]["skill_proven"] else "no",
        )
    return table


def _say_data(console: Console, data: Mapping[str, Any]) -> None:
    from rich.text import Text

    kind = "SYNTHETIC bars" if data["synthetic"] else "Real bars"
    source = data["source"].removeprefix("SYNTHETIC ")
    style = "yellow" if data["synthetic"] else ""
    neutral = percent(data["neutral_regime_ratio"])
    console.print(Text(f"{kind}: {source}; neutral regime in {neutral} of the decisions", style=style))


def _say_met(console: Console, record: Mapping[str, Any]) -> None:
    from rich.text import Text

    for place, target in _targets(record):
        word, tone = ("MET", "good") if target["passed"] else ("NOT MET", "bad")
        text = f"Target {target['threshold']} {word} on {place}: {target['reason']}"
        console.print(Text(text, style=f"bold {STYLES[tone]}"), soft_wrap=True)


def _targets(record: Mapping[str, Any]) -> Iterable[tuple[str, Mapping[str, Any]]]:
    if "pooled" in record:
        yield "all windows together", record["pooled"]["target"]
        return
    for course in record["courses"]:
        yield ("the synthetic year" if course["data"]["synthetic"] else "real sessions"), course["target"]


def _with_interval(value: float, interval: Sequence[float] | None, digits: int = 2) -> str:
    text = number(value, digits, sign=True)
    if interval is None:
        return text
    return f"{text} [{', '.join(number(end, digits, sign=True) for end in interval)}]"
