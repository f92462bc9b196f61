"""Rows of the step response: every response measured by the same functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from stairways.proof.responses import (
    ALLOWANCE,
    Steady,
    Windows,
    mean_steady,
    mean_windows,
    overshoot,
    rollout_windows,
    settled_after,
)
from stairways.proof.step_plan import (
    DECISIONS_OF_A_SESSION,
    DEPLOYED,
    EVERY,
    HOLD,
    MLP,
    QUANTITIES,
    STARTS,
    WIDTHS,
    Form,
    Judged,
)
from stairways.proof.step_training import CONTROLLERS, N_ENVS, N_STEPS, TILT, steps_of
from stairways.proof.streams import MODES, STEPS, Quantity, Step

Row = dict[str, Any]
INFERENCE, TRAINING = "at inference", "in training"


def inference_rows(form: Form, results: Mapping[str, dict[str, Any]]) -> list[Row]:
    """Return one row for each policy, start, mode and step of the default controller."""
    rows = []
    for net, starts in STARTS.items():
        for start, mode, step in product(starts, MODES, STEPS):
            cells = [results[f"respond-{net}-{start}-{mode}-{seed}"][step.name] for seed in range(form.seeds)]
            untilted = results[f"policies-{net}"]["untilted"][f"{start}-{mode}"]
            if start == DEPLOYED:
                # it begins at its set points: nothing is stepped there
                untilted = {q.quantity: STEPS[0].target(q.quantity) for q in QUANTITIES}
            row = _head(TILT, INFERENCE, net, start, mode, step)
            row |= {"n_seeds": form.seeds, "n_accounts": form.accounts}
            for judged in QUANTITIES:
                parts = [cell[judged.quantity] for cell in cells]
                direction = direction_of(step, judged.quantity, untilted[judged.quantity])
                row |= _measured(judged, parts, direction, moved=judged.quantity in step.moved)
            rows.append(row)
    return rows


def training_rows(form: Form, results: Mapping[str, dict[str, Any]]) -> list[Row]:
    """Return one row for each controller, start, mode and step of the trainings.

    ``sampled`` rows hold the response in training; their steady errors, and those of ``greedy`` rows, are of
    the policy deployed after the step. The tilt's own are those of its later rollouts, since it is deployed
    as the other rows show.
    """
    rows = []
    for controller, start in product(CONTROLLERS, form.training_starts):
        cells = [results[f"train-{controller}-{start}-{seed}"] for seed in range(form.training_seeds)]
        levels: dict[str | None, dict[Quantity, float]] = {}
        levels[None] = results[f"policies-{MLP}"]["untilted"][f"{start}-sampled"]
        for step in steps_of(controller):
            parts = [cell[step.name] for cell in cells]
            levels[step.name] = {q.quantity: _later_level(q.quantity, parts) for q in QUANTITIES}
            row = _head(controller, TRAINING, MLP, start, "sampled", step)
            row |= {"n_seeds": len(parts), "n_accounts": N_ENVS, "bonus_bps": _last(parts, "bonus_bps")}
            for judged in QUANTITIES:
                # what never reached the set point before begins where it is, not there
                before = levels[step.after][judged.quantity]
                direction = float(np.sign(step.target(judged.quantity) - before))
                row[f"{judged.quantity}_in_training"] = levels[step.name][judged.quantity]
                row |= _trained(judged, parts, step, direction, tilted=controller == TILT)
            rows.append(row)
            if controller != TILT:
                greedy = _head(controller, TRAINING, MLP, start, "greedy", step) | {"n_seeds": len(parts)}
                for judged in QUANTITIES:
                    greedy |= _deployed(judged, [part["greedy"] for part in parts], step)
                rows.append(greedy)
    return rows


def unseen_rows(rows: Sequence[Row]) -> list[Row]:
    """Return what the controllers of a hold bonus leave at the set points of trades that they don't see.

    They would do the same there as at 16.5 trades; only the error is another one.
    """
    copied = ("controller", "acts", "net", "start", "mode", "n_seeds", "trades_steady_standard_error")
    made = []
    for row in rows:
        if row["controller"] == TILT or row["step"] != STEPS[0].name:
            continue
        reached = row["trades_steady_error"] + row["trades_target"]
        for step in STEPS:
            if step.moved == ("trades",):
                moved = {
                    "step": step.name,
                    "hold_target": step.hold_rate_ratio,
                    "trades_target": step.trades_per_session,
                    "trades_steady_error": reached - step.trades_per_session,
                }
                made.append({name: row[name] for name in copied} | moved)
    return made


def direction_of(step: Step, quantity: Quantity, untilted: float) -> float:
    """Return +1 for a step upwards and -1 for one downwards; 0 where nothing moves."""
    before = untilted
    if step.after is not None:
        before = next(other.target(quantity) for other in STEPS if other.name == step.after)
    return float(np.sign(step.target(quantity) - before))


def windows_of(part: Mapping[str, Any], quantity: Quantity) -> Windows:
    """Return the windows that a cell of the inference has kept."""
    deviation = np.array(part["deviation"])
    first = np.arange(len(deviation), dtype=np.int64) * EVERY
    return Windows(first, WIDTHS[quantity], deviation, float(part["standard_error"]))


def seed_holds(judged: Judged, windows: Windows, end: Steady, direction: float) -> bool:
    """Tell whether one seed does all that is asked, each figure allowed its sampling noise."""
    settled = settled_after(windows, judged.band)
    beyond = overshoot(windows, direction)
    return (
        settled is not None
        and settled <= judged.within_decisions
        and (judged.overshoot is None or beyond <= judged.overshoot + windows.allowance)
        and abs(end.error) <= judged.steady + ALLOWANCE * end.standard_error
    )


def _head(controller: str, acts: str, net: str, start: str, mode: str, step: Step) -> Row:
    return {
        "controller": controller,
        "acts": acts,
        "net": net,
        "start": start,
        "mode": mode,
        "step": step.name,
        "hold_target": step.hold_rate_ratio,
        "trades_target": step.trades_per_session,
    }


def _measured(judged: Judged, parts: Sequence[Mapping[str, Any]], direction: float, *, moved: bool) -> Row:
    name = judged.quantity
    ends = [Steady(part["steady_error"], part["steady_standard_error"]) for part in parts]
    row = _steady(judged, mean_steady(ends))
    if not moved:
        return row
    runs = [windows_of(part, name) for part in parts]
    held = [seed_holds(judged, run, end, direction) for run, end in zip(runs, ends, strict=True)]
    return row | _response(judged, runs, direction) | {f"{name}_seeds_held_ratio": float(np.mean(held))}


def _trained(
    judged: Judged, parts: Sequence[Mapping[str, Any]], step: Step, direction: float, *, tilted: bool
) -> Row:
    name = judged.quantity
    deviations = [np.array(part[name]) - step.target(name) for part in parts]
    if tilted:
        ends = np.array([deviation[len(deviation) // 2 :].mean() for deviation in deviations])
        row = _steady(judged, _over_seeds(ends))
    else:
        row = _deployed(judged, [part["sampled"] for part in parts], step)
    if name in step.moved and (tilted or name == HOLD.quantity):
        runs = [rollout_windows(deviation, N_STEPS) for deviation in deviations]
        settled = [settled_after(run, judged.band) is not None for run in runs]
        row |= _response(judged, runs, direction) | {f"{name}_seeds_settled_ratio": float(np.mean(settled))}
    return row


def _response(judged: Judged, runs: Sequence[Windows], direction: float) -> Row:
    name, pooled = judged.quantity, mean_windows(runs)
    settled = settled_after(pooled, judged.band)
    return {
        f"{name}_settled_decisions": settled,
        f"{name}_settled_sessions": None if settled is None else settled / DECISIONS_OF_A_SESSION,
        f"{name}_overshoot": overshoot(pooled, direction),
        f"{name}_window_standard_error": pooled.standard_error,
    }


def _deployed(judged: Judged, parts: Sequence[Mapping[str, float]], step: Step) -> Row:
    name = judged.quantity
    return _steady(judged, _over_seeds(np.array([part[name] for part in parts]) - step.target(name)))


def _over_seeds(errors: Any) -> Steady:
    spread = float(errors.std(ddof=1)) / len(errors) ** 0.5 if len(errors) > 1 else float("nan")
    return Steady(float(errors.mean()), spread)


def _steady(judged: Judged, end: Steady) -> Row:
    name = judged.quantity
    error = end.standard_error if np.isfinite(end.standard_error) else None
    return {f"{name}_steady_error": end.error, f"{name}_steady_standard_error": error}


def _later_level(quantity: Quantity, parts: Sequence[Mapping[str, Sequence[float]]]) -> float:
    """Return the mean over seeds of the later half of the rollouts."""
    return float(np.mean([np.mean(part[quantity][len(part[quantity]) // 2 :]) for part in parts]))


def _last(parts: Sequence[Mapping[str, Sequence[float]]], name: str) -> float:
    return float(np.mean([part[name][-1] for part in parts]))
