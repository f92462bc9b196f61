"""The pictures of the frontier experiment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stairways.reporting.drawing import PALETTE, add_axes
from stairways.reporting.frontier_picture import ARMS, SHIFT, SINGLE, of_arm

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Rows = Sequence[Mapping[str, Any]]


def _light(role: str) -> str:
    return PALETTE[role][0]


def _line(axes: Axes, rows: Rows, arm: str, words: str | None = None) -> None:
    role, marker, usual = ARMS[arm]
    at = [row["trades_per_session"] + SHIFT[arm] for row in rows]
    for x, row in zip(at, rows, strict=True):
        axes.plot([x, x], [row["net_low_bps"], row["net_high_bps"]], color=_light(role), lw=1.4)
    values = [row["net_bps"] for row in rows]
    axes.plot(at, values, marker + "-", color=_light(role), ms=5, lw=1.5, label=words or usual)


def draw_made(figure: Figure, table: Rows, results: Rows) -> None:
    """Draw the frontiers of the planted markets.

    Args:
        figure: An empty figure.
        table: Pooled rows.
        results: Results of the cells, for the thin lines of single markets.
    """
    axes = add_axes(figure, (64, 46, 490, 318))
    axes.axhline(0.0, color=_light("all_hold"), lw=1.2, ls=(0, (4, 2)))
    for result in results:
        if result["kind"] == "tilt":
            rows = of_arm(result["rows"], "tilt")
            axes.plot(
                [row["trades_per_session"] for row in rows],
                [row["net_bps"] for row in rows],
                color=_light("candidate"),
                lw=0.7,
                alpha=0.35,
            )
    kept = [row for row in table if row["kind"] in ("tilt", "tuned")]
    for arm in ARMS:
        rows = of_arm(kept, arm)
        if rows:
            _line(axes, rows, arm)
    for arm, (role, marker, words) in SINGLE.items():
        for row in of_arm(kept, arm):
            x, size = row["trades_per_session"], 11 if marker == "*" else 6.5
            axes.plot([x, x], [row["net_low_bps"], row["net_high_bps"]], color=_light(role), lw=1.4)
            axes.plot([x], [row["net_bps"]], marker, color=_light(role), ms=size, label=words)
    axes.plot([], [], color=_light("all_hold"), lw=1.2, ls=(0, (4, 2)), label="all-hold")
    axes.set_xlim(left=-0.8)
    axes.set_xlabel("trades per session, achieved")
    axes.set_ylabel("net, bp of NAV per session")
    axes.grid(axis="y")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, fontsize=10, handlelength=1.6)


def draw_without_edge(figure: Figure, table: Rows) -> None:
    """Draw the frontiers of noise and of real bars beside what the trades cost.

    Args:
        figure: An empty figure.
        table: Pooled rows.
    """
    kinds = [kind for kind in ("noise", "real") if any(row["kind"] == kind for row in table)]
    titles = {"noise": "Noise markets, 1 minute", "real": "NVDA + MSFT 2025, 5 minutes"}
    for place, kind in enumerate(kinds):
        axes = add_axes(figure, (64 + 366 * place, 70, 312, 236))
        kept = [row for row in table if row["kind"] == kind]
        rows = of_arm(kept, "tilt")
        axes.axhline(0.0, color=_light("all_hold"), lw=1.0, ls=(0, (4, 2)))
        axes.plot(
            [row["trades_per_session"] for row in rows],
            [-row["costs_bps"] for row in rows],
            color=_light("tilted_gold"),
            lw=1.5,
            ls=(0, (5, 1.6)),
            label="less the costs alone",
        )
        for arm in ("tilt", "random"):
            _line(axes, of_arm(kept, arm), arm)
        axes.set_title(titles[kind], loc="left", fontsize=11)
        axes.set_xlim(left=-0.8)
        axes.set_xlabel("trades per session, achieved")
        axes.grid(axis="y")
        if place == 0:
            axes.set_ylabel("net, bp of NAV per session")
            handles, words = axes.get_legend_handles_labels()
    figure.legend(handles, words, loc="lower center", ncols=3, frameon=False, fontsize=10)
