"""Pictures of the tracking experiment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from stairways.control.actuators import TiltActuator
from stairways.proof.experiment import Plot
from stairways.proof.tracking_plan import (
    FULL_COUPLING,
    GOLD,
    LEAST_SHARE,
    MOST_SESSION_ERROR_RATIO,
    POLICY_WORDS,
    SKILLED,
    SLOPES,
    Form,
    gains_of,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = dict[str, Any]
COLOURS = {SKILLED: "candidate", GOLD: "gold"}


def tracking_plots(form: Form, rows: Sequence[Row]) -> list[Plot]:
    """Return the price curve and the moving target."""
    priced = ", ".join(POLICY_WORDS[policy] for policy in form.priced)
    return [
        Plot(
            "price",
            f"The price of tight tracking ({priced}; sampled): net Sharpe less the untilted policy's, with "
            "95 % intervals (left), and the share of 20-session means in both bands (right) over the gain; "
            "solid: the default coupling, dashed: the full one. Dotted: 95 %.",
            lambda figure: _draw_price(figure, form, rows),
            (860.0, 400.0),
        ),
        Plot(
            "moving",
            f"A target that moves by ±0.15 per unit of regime score ({priced}; sampled): mean session error "
            "(left, dotted: 15 points) and net Sharpe less the fixed target's, with 95 % intervals (right), "
            "over the gain of the fast lane; solid: target up with the score, dashed: down.",
            lambda figure: _draw_moving(figure, form, rows),
            (860.0, 400.0),
        ),
    ]


def _draw_price(figure: Figure, form: Form, rows: Sequence[Row]) -> None:
    left, right = _two_axes(figure)
    places = {gain: float(place) for place, gain in enumerate(gains_of(form))}
    for index, policy in enumerate(form.priced):
        for coupling, dash in ((TiltActuator().hold_coupling, "-"), (FULL_COUPLING, "--")):
            mine = [
                row
                for row in rows
                if (row["kind"], row["policy"], row["coupling"]) == ("curve", policy, coupling)
            ]
            if not mine:
                continue
            x = [
                places[row["ki_hold"]] + 0.12 * (index - 0.5) + (0.06 if dash == "--" else 0.0)
                for row in mine
            ]
            label = f"{POLICY_WORDS[policy]}, coupling {coupling:g}"
            _errorbars(left, x, mine, "sharpe_less_untilted", policy, dash, label)
            shares = [100 * min(row["hold_share"], row["trades_share"]) for row in mine]
            _line(right, x, shares, policy, dash)
    _ticks(left, gains_of(form), "gain of the hold multiplier, logits per decision")
    _ticks(right, gains_of(form), "gain of the hold multiplier, logits per decision")
    left.set_ylabel("net Sharpe less untilted")
    right.set_ylabel("20-session means in both bands, %")
    _level(left, 0.0)
    _level(right, 100 * LEAST_SHARE)
    _legend(figure, left)


def _draw_moving(figure: Figure, form: Form, rows: Sequence[Row]) -> None:
    left, right = _two_axes(figure)
    places = {gain: float(place) for place, gain in enumerate(form.fast_gains)}
    for index, policy in enumerate(form.priced):
        for (name, slope), dash in zip(SLOPES.items(), ("-", "--"), strict=True):
            mine = [r for r in rows if (r["kind"], r["policy"], r["slope"]) == ("moving", policy, slope)]
            x = [
                places[row["kp_fast"]] + 0.08 * (index - 0.5) + (0.04 if dash == "--" else 0.0)
                for row in mine
            ]
            _line(left, x, [row["session_error_points"] for row in mine], policy, dash)
            label = f"{POLICY_WORDS[policy]}, {name}"
            _errorbars(right, x, mine, "sharpe_less_default", policy, dash, label)
    for axes in (left, right):
        _ticks(axes, form.fast_gains, "gain of the fast lane, logits per unit of error")
    left.set_ylabel("mean session error, points")
    right.set_ylabel("net Sharpe less fixed target")
    left.set_ylim(0, max(left.get_ylim()[1], 110 * MOST_SESSION_ERROR_RATIO))
    _level(left, 100 * MOST_SESSION_ERROR_RATIO)
    _level(right, 0.0)
    _legend(figure, right)


def _two_axes(figure: Figure) -> Sequence[Axes]:
    from stairways.reporting.drawing import add_axes

    made = [add_axes(figure, (62, 100, 345, 280)), add_axes(figure, (492, 100, 345, 280))]
    for axes in made:
        axes.grid(axis="y")
    return made


def _errorbars(
    axes: Axes, x: Sequence[float], rows: Sequence[Row], name: str, policy: str, dash: str, label: str
) -> None:
    from stairways.reporting.drawing import PALETTE

    y = np.array([row[name] for row in rows])
    low, high = (np.array([row[f"{name}_{end}"] for row in rows]) for end in ("low", "high"))
    colour = PALETTE[COLOURS[policy]][0]
    axes.plot(x, y, color=colour, ls=dash, lw=1.5, marker="o", ms=3.5, label=label)
    axes.vlines(x, low, high, color=colour, lw=0.9)


def _line(axes: Axes, x: Sequence[float], y: Sequence[float], policy: str, dash: str) -> None:
    from stairways.reporting.drawing import PALETTE

    axes.plot(x, y, color=PALETTE[COLOURS[policy]][0], ls=dash, lw=1.5, marker="o", ms=3.5)


def _level(axes: Axes, value: float) -> None:
    from stairways.reporting.drawing import PALETTE

    axes.axhline(value, color=PALETTE["muted"][0], lw=0.9, ls=":", zorder=1)


def _ticks(axes: Axes, gains: Sequence[float], words: str) -> None:
    axes.set_xticks(range(len(gains)), [f"{gain:g}" for gain in gains])
    axes.set_xlabel(words)


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=2, frameon=False, fontsize=9.5)
