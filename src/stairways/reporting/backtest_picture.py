"""The picture of a backtest: net result over the sessions, and what costs do to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from stairways.reporting.drawing import PALETTE, add_axes
from stairways.reporting.pictures import DASHES
from stairways.reporting.rendering import svg_and_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE_POINTS = (920.0, 400.0)
DATE_TICKS = 4


def backtest_picture(
    title: str,
    series: Mapping[str, Any],
    policies: Mapping[str, Mapping[str, Any]],
    costs: Mapping[str, Sequence[Mapping[str, Any]]],
    *,
    ours: str,
) -> dict[str, bytes]:
    """Return one picture as SVG and PNG; equal input gives equal bytes.

    Args:
        title: What it shows; IN-SAMPLE stands in it where that is so.
        series: ``dates`` and ``net_bps`` by policy, one value per session.
        policies: Metrics by policy, with the interval of the mean net result.
        costs: Cost sweep by policy; without one the mean net results are drawn instead.
        ours: Name of the policy that is judged.
    """

    def draw(figure: Figure) -> None:
        figure.text(0.06, 0.93, title, fontsize=12, fontweight="bold")
        draw_equity(add_axes(figure, (62, 90, 480, 250)), series, policies[ours], ours=ours)
        right = add_axes(figure, (660, 90, 235, 250))
        if costs:
            draw_costs(right, costs)
        else:
            draw_means(right, policies)
        add_legend(figure, list(series["net_bps"]))

    return svg_and_png("backtest", SIZE_POINTS, draw)


def draw_equity(
    axes: Axes, series: Mapping[str, Any], metrics: Mapping[str, Any], *, ours: str, cone: bool = True
) -> None:
    """Draw the sum of session returns of each policy, % of NAV, over the sessions.

    The cone is the 95 % interval of the mean net result of ``ours``, carried over the sessions.
    """
    count = len(series["dates"])
    at = np.arange(count + 1)
    interval = metrics["mean_net_bps_interval"]
    if cone and interval is not None:
        low, high = (at * end / 100.0 for end in interval)
        axes.fill_between(at, low, high, color=colour(ours), alpha=0.14, lw=0)
    for name, net_bps in series["net_bps"].items():
        total = np.concatenate(([0.0], np.cumsum(net_bps))) / 100.0
        width = 2.0 if name == ours else 1.2
        axes.plot(at, total, color=colour(name), lw=width, ls=DASHES.get(name, "-"))
    places = sorted({round(float(x)) for x in np.linspace(0, count - 1, DATE_TICKS)})
    axes.set_xticks([place + 1 for place in places], [series["dates"][place] for place in places])
    axes.set_xlim(0, count)
    axes.grid(axis="y")
    axes.set_title("net result, sum of session returns, % of NAV", loc="left", fontsize=10)


def draw_costs(axes: Axes, costs: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Draw the mean net result against the one-way cost, with 95 % intervals."""
    for place, (name, points) in enumerate(costs.items()):
        at = np.array([point["cost_bps"] for point in points]) + 0.12 * place
        mean = np.array([point["mean_net_bps"] for point in points])
        axes.plot(at, mean, "o", ls=DASHES.get(name, "-"), color=colour(name), ms=4.5, lw=1.4)
        for x, point in zip(at, points, strict=True):
            if point["mean_net_bps_interval"] is not None:
                axes.plot([x, x], point["mean_net_bps_interval"], color=colour(name), lw=1.4)
    axes.axhline(0.0, color=PALETTE["muted"][0], lw=0.8)
    axes.grid(axis="y")
    axes.set_xlabel("cost, bp one way", fontsize=10)
    axes.set_title("net bp per session, 95% intervals", loc="left", fontsize=10)


def draw_means(axes: Axes, policies: Mapping[str, Mapping[str, Any]]) -> None:
    """Draw the mean net result of each policy with its 95 % interval."""
    for place, (name, metrics) in enumerate(policies.items()):
        axes.plot([metrics["mean_net_bps"]], [-place], "o", color=colour(name), ms=5.5)
        if metrics["mean_net_bps_interval"] is not None:
            axes.plot(metrics["mean_net_bps_interval"], [-place, -place], color=colour(name), lw=1.6)
    axes.set_yticks([-place for place in range(len(policies))], [name.replace("_", " ") for name in policies])
    axes.axvline(0.0, color=PALETTE["muted"][0], lw=0.8)
    axes.set_title("net bp per session, 95% intervals", loc="left", fontsize=10)


def colour(name: str) -> str:
    """Return the light colour of a policy; the one judged has the candidate's."""
    role = "candidate" if name == "policy" else name
    return PALETTE[role if role in PALETTE else "ink"][0]


def add_legend(figure: Figure, names: Sequence[str]) -> None:
    """Name the line of each policy below the axes."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=colour(name), ls=DASHES.get(name, "-"), lw=1.8, label=name.replace("_", " "))
        for name in names
    ]
    figure.legend(handles=handles, loc="lower left", ncols=len(handles), frameon=False)
