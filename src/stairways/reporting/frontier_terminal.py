"""The frontier on a terminal: one table for people, every figure with its interval."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

WORDS = {
    "untilted": "no budget",
    "oracle": "oracle",
    "tilt": "tilt",
    "tuned": "tuned",
    "random": "random",
}


def print_frontier(console: Console, record: Mapping[str, Any], folder: Path) -> None:
    """Print the rows of a frontier, what stands out, and where the files are.

    Args:
        console: Where to.
        record: Content of ``frontier.json``.
        folder: Where the files stand.
    """
    from rich.table import Table

    data = record["data"]
    kind = "SYNTHETIC" if data["synthetic"] else "real"
    console.print(
        f"{kind} bars, {data['n_sessions']} sessions {data['sessions']}, calibrated on "
        f"{data['n_calibrated_on']} before them; {record['mode']}, hold set point "
        f"{record['hold_set_point_ratio']:.0%}",
        soft_wrap=True,
    )
    for line in gate_lines(record):
        console.print(line, soft_wrap=True, highlight=False)
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for name in ("policy", "asked", "trades", "hold", "net bp [95 %]", "gross", "costs", "Sharpe ± SE"):
        table.add_column(name, justify="left" if name == "policy" else "right", no_wrap=True)
    for row in record["rows"]:
        table.add_row(*_cells(row))
    console.print(table)
    for line in remarks(record):
        console.print(line, soft_wrap=True)
    console.print(str(folder), soft_wrap=True, highlight=False)


def _cells(row: Mapping[str, Any]) -> list[str]:
    asked = "-"
    if row["set_point"] is not None:
        asked = f"{row['set_point']:g}" if row["reached"] else f"{row['set_point']:g}*"
    net = f"{row['net_bps']:+.2f}"
    if row["net_low_bps"] is not None:
        net += f" [{row['net_low_bps']:+.2f}, {row['net_high_bps']:+.2f}]"
    return [
        WORDS[row["arm"]],
        asked,
        f"{row['trades_per_session']:.2f}",
        f"{row['hold_rate_ratio']:.1%}",
        net,
        f"{row['gross_bps']:+.2f}",
        f"{row['costs_bps']:.2f}",
        "-" if row["sharpe"] is None else f"{row['sharpe']:.2f} ± {row['sharpe_standard_error']:.2f}",
    ]


def gate_lines(record: Mapping[str, Any]) -> list[str]:
    """Return the gate's bands of trades at each set point that was tuned at; none where nothing was."""
    bands = record["gate_bands"]
    if bands is None:
        return []
    lines = ["Gate of the tunings: its bands of trades moved with the set point, their widths kept."]
    for each in bands:
        mean, session, shadow = (
            f"{each[name][0]:g} to {each[name][1]:g}"
            for name in ("trades_band", "session_trades_band", "shadow_trades_band")
        )
        lines.append(f"  at {each['set_point']:g}: mean {mean}; a session {session}; in shadow {shadow}")
    return lines


def remarks(record: Mapping[str, Any]) -> list[str]:
    """Return what a reader must know beside the table, one sentence each."""
    data = record["data"]
    kept = [row for row in record["rows"] if row["arm"] == "tilt"]
    missed = [f"{row['set_point']:g}" for row in kept if not row["reached"]]
    lines = [
        "tilt: the policy under each budget; random: random actions at its hold rate and turnover, the level "
        "of chance. Read it by the trades achieved."
    ]
    if missed:
        lines.append(
            f"* not reached under the tilt: {', '.join(missed)}; what is open at the close is closed, and "
            "that is a trade."
        )
    best = max(kept, key=lambda row: row["net_bps"])
    lines.append(
        f"Highest net result under the tilt: at {best['trades_per_session']:.1f} trades. The best of "
        f"{len(kept)} points flatters itself on the sessions it was found on."
    )
    if data["seen_sessions"]:
        lines.append(f"The policy has seen {data['seen_sessions']} of these sessions in training.")
    if data["test_sessions"]:
        lines.append(
            f"{data['test_sessions']} of these sessions belong to the sample's test range: a set point that "
            "is chosen here makes them seen."
        )
    return lines
