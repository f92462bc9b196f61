"""The frontier as a picture and as a table: result, costs and Sharpe ratio over trades per session."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stairways.reporting.drawing import PALETTE, add_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PICTURE_SIZE_POINTS = (760.0, 560.0)
ARMS = {
    "tilt": ("candidate", "o", "the policy under the tilt"),
    "tuned": ("tilted_gold", "s", "tuned at each set point"),
    "random": ("random", "^", "random at equal turnover"),
}
SINGLE = {"untilted": ("gold", "D", "no budget"), "oracle": ("oracle", "*", "oracle")}
SHIFT = {"tilt": 0.0, "tuned": 0.18, "random": -0.18}
"""Trades by which an arm's whiskers stand apart from another's at the same place."""


def _light(role: str) -> str:
    return PALETTE[role][0]


def of_arm(rows: Sequence[Mapping[str, Any]], arm: str) -> list[Mapping[str, Any]]:
    """Return the rows of an arm, by trades achieved."""
    return sorted(
        (row for row in rows if row["arm"] == arm), key=lambda row: float(row["trades_per_session"])
    )


def frontier_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return every field of every row as CSV."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, names, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(dict(row) for row in rows)
    return buffer.getvalue()


def draw_frontier(figure: Figure, record: Mapping[str, Any]) -> None:
    """Draw net result, gross result and costs, and the Sharpe ratio over the trades achieved.

    Args:
        figure: An empty figure of `PICTURE_SIZE_POINTS`.
        record: Content of ``frontier.json``.
    """
    rows, data = record["rows"], record["data"]
    market = "SYNTHETIC market" if data["synthetic"] else f"{', '.join(data['symbols'])}"
    figure.text(
        64 / 760,
        538 / 560,
        f"{market}, {data['n_sessions']:,} sessions, {data['interval_minutes']}-minute bars, "
        f"{record['mode']}, hold set point {record['hold_set_point_ratio']:.0%}",
        fontsize=11.5,
        fontweight="bold",
        va="center",
    )
    net = add_axes(figure, (64, 288, 510, 222))
    costs = add_axes(figure, (64, 48, 300, 188))
    sharpe = add_axes(figure, (440, 48, 300, 188))
    _draw_net(net, rows)
    _draw_costs(costs, of_arm(rows, "tilt"))
    _draw_sharpe(sharpe, rows)
    for axes in (net, costs, sharpe):
        axes.grid(axis="y")
        axes.set_xlim(left=-0.8)
    for axes in (costs, sharpe):
        axes.set_xlabel("trades per session, achieved")


def _draw_net(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    axes.axhline(0.0, color=_light("all_hold"), lw=1.2, ls=(0, (4, 2)))
    for arm, (role, marker, words) in ARMS.items():
        kept = of_arm(rows, arm)
        if not kept:
            continue
        at = [row["trades_per_session"] + SHIFT[arm] for row in kept]
        for x, row in zip(at, kept, strict=True):
            if row["net_low_bps"] is not None:
                axes.plot([x, x], [row["net_low_bps"], row["net_high_bps"]], color=_light(role), lw=1.3)
        axes.plot(
            at, [row["net_bps"] for row in kept], marker + "-", color=_light(role), ms=5, lw=1.2, label=words
        )
    for arm, (role, marker, words) in SINGLE.items():
        for row in of_arm(rows, arm):
            x, size = row["trades_per_session"], 11 if marker == "*" else 6.5
            if row["net_low_bps"] is not None:
                axes.plot([x, x], [row["net_low_bps"], row["net_high_bps"]], color=_light(role), lw=1.3)
            axes.plot([x], [row["net_bps"]], marker, color=_light(role), ms=size, label=words)
    axes.plot([], [], color=_light("all_hold"), lw=1.2, ls=(0, (4, 2)), label="all-hold")
    axes.set_ylabel("net, bp of NAV per session")
    axes.set_xlabel("trades per session, achieved; whiskers are 95 % intervals")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, fontsize=9.5, handlelength=1.6)


def _draw_costs(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    at = [row["trades_per_session"] for row in rows]
    for name, role, marker, words in (
        ("gross_bps", "buy_and_hold", "o", "gross"),
        ("costs_bps", "tilted_gold", "v", "costs"),
    ):
        axes.plot(
            at, [row[name] for row in rows], marker + "-", color=_light(role), ms=4.5, lw=1.2, label=words
        )
    axes.axhline(0.0, color=_light("all_hold"), lw=0.8)
    axes.set_ylabel("bp of NAV per session")
    axes.set_title("Gross and costs under the tilt", loc="left", fontsize=10.5)
    axes.legend(loc="best", frameon=False, fontsize=10, handlelength=1.6)


def _draw_sharpe(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    axes.axhline(0.0, color=_light("all_hold"), lw=0.8)
    for arm, (role, marker, _) in ARMS.items():
        kept = [row for row in of_arm(rows, arm) if row["sharpe"] is not None]
        at = [row["trades_per_session"] + SHIFT[arm] for row in kept]
        for x, row in zip(at, kept, strict=True):
            half = 1.96 * row["sharpe_standard_error"]
            axes.plot([x, x], [row["sharpe"] - half, row["sharpe"] + half], color=_light(role), lw=1.1)
        axes.plot(at, [row["sharpe"] for row in kept], marker + "-", color=_light(role), ms=4.5, lw=1.2)
    axes.set_title("Annual net Sharpe ratio", loc="left", fontsize=10.5)
