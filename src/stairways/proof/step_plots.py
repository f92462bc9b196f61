"""Pictures of the step response."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stairways.proof.experiment import Plot
from stairways.proof.responses import mean_of
from stairways.proof.step_plan import (
    EVERY,
    HOLD,
    LSTM,
    MLP,
    OVER_HOLDER,
    OVER_TRADER,
    SESSION,
    START_WORDS,
    TRADES,
    Form,
    Judged,
)
from stairways.proof.step_training import CONTROLLERS, FIXED, LAGRANGIAN, N_STEPS, PLAN, REWARD, TILT
from stairways.proof.streams import STEPS, Step

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COURSES: Mapping[str, tuple[Step, ...]] = {
    "hold": tuple(step for step in STEPS if "hold" in step.moved),
    "trades": tuple(step for step in STEPS if "trades" in step.moved),
}
LINES = (
    (MLP, OVER_HOLDER, "candidate", "-", "MLP over-holder"),
    (MLP, OVER_TRADER, "tilted_gold", "-", "MLP over-trader"),
    (LSTM, OVER_HOLDER, "candidate", "--", "LSTM over-holder"),
    (LSTM, OVER_TRADER, "tilted_gold", "--", "LSTM over-trader"),
)
STYLES: Mapping[str, tuple[str, Any]] = {
    FIXED: ("all_hold", ":"),
    PLAN: ("gold", "-."),
    REWARD: ("buy_and_hold", "--"),
    LAGRANGIAN: ("random", (0, (5, 1, 1, 1, 1, 1))),
    TILT: ("candidate", "-"),
}
"""Colour and dash of each controller."""


def step_plots(form: Form, results: Mapping[str, dict[str, Any]]) -> list[Plot]:
    """Return the pictures of the responses at inference and in training."""
    return [
        Plot(
            "inference",
            "The default controller at inference, sampled: session-long means of the hold rate (left) and of "
            f"the trades (right) over {form.seeds} x {form.accounts} accounts; grey: set point and the band "
            "of ±5 points or ±1.5 trades.",
            lambda figure: _draw_inference(figure, form, results),
            (860.0, 400.0),
        ),
        Plot(
            "training",
            f"Five controllers in training, each rollout's hold rate, mean over {form.training_seeds} seeds: "
            "from an over-holder (left) and from an over-trader (right); grey: set point and ±5 points.",
            lambda figure: _draw_training(figure, form, results),
            (860.0, 400.0),
        ),
    ]


def _draw_inference(figure: Figure, form: Form, results: Mapping[str, dict[str, Any]]) -> None:
    left, right = _two_axes(figure)
    for axes, judged in ((left, HOLD), (right, TRADES)):
        edge = 0.0
        for step in COURSES[judged.quantity]:
            length = float(form.lengths.of(step))
            _set_point(axes, judged, step, edge, edge + length)
            for net, start, colour, dash, words in LINES:
                cells = [results[f"respond-{net}-{start}-sampled-{seed}"] for seed in range(form.seeds)]
                levels = mean_of([cell[step.name][judged.quantity]["levels"] for cell in cells])
                middle = edge + (np.arange(len(levels)) * EVERY + SESSION / 2) / SESSION
                label = words if edge == 0.0 else None
                _line(axes, middle, judged.scale * levels, colour, dash, label)
            edge += length
        axes.set_xlabel("sessions since the start")
    left.set_ylabel("hold rate, %")
    right.set_ylabel("trades per session")
    _legend(figure, left, len(LINES))


def _draw_training(figure: Figure, form: Form, results: Mapping[str, dict[str, Any]]) -> None:
    for axes, start in zip(_two_axes(figure), form.training_starts, strict=False):
        edge = 0.0
        for step in COURSES["hold"]:
            length = form.training_steps / 1_000
            _set_point(axes, HOLD, step, edge, edge + length)
            for controller, words in CONTROLLERS.items():
                cells = [results[f"train-{controller}-{start}-{k}"] for k in range(form.training_seeds)]
                held = np.array([cell[step.name]["hold"] for cell in cells])
                middle = edge + (np.arange(held.shape[1]) + 0.5) * length / held.shape[1]
                label = words if edge == 0.0 else None
                mean = 100 * held.mean(axis=0)
                _line(axes, middle, mean, *STYLES[controller], label)
            edge += length
        axes.set_title(f"from an {START_WORDS[start]}", fontsize=11, loc="left")
        axes.set_xlabel(f"thousand transitions (rollouts of {24 * N_STEPS:,})")
        axes.set_ylabel("hold rate in training, %")
        axes.set_ylim(-2, 102)
    _legend(figure, figure.axes[0], 5)


def _two_axes(figure: Figure) -> Sequence[Axes]:
    from stairways.reporting.drawing import add_axes

    made = [add_axes(figure, (60, 92, 345, 270)), add_axes(figure, (490, 92, 345, 270))]
    for axes in made:
        axes.grid(axis="y")
    return made


def _set_point(axes: Axes, judged: Judged, step: Step, first: float, last: float) -> None:
    from stairways.reporting.drawing import PALETTE

    target = step.target(judged.quantity)
    low, high = (judged.scale * (target - judged.band), judged.scale * (target + judged.band))
    axes.fill_between([first, last], low, high, color=PALETTE["grid"][0], lw=0, zorder=0)
    axes.plot([first, last], [judged.scale * target] * 2, color=PALETTE["muted"][0], lw=1.0, zorder=1)


def _line(
    axes: Axes, x: NDArray[np.float64], y: NDArray[np.float64], colour: str, dash: Any, label: str | None
) -> None:
    from stairways.reporting.drawing import PALETTE

    axes.plot(x, y, color=PALETTE[colour][0], ls=dash, lw=1.6, label=label)


def _legend(figure: Figure, axes: Axes, columns: int) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=columns, frameon=False, fontsize=9.5)
