"""Tracking: how closely single accounts keep their set points, what that costs, and moving targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from stairways.control.actuators import TiltActuator
from stairways.control.setpoints import SetPoints
from stairways.evaluation.calibration import calibrate
from stairways.evaluation.replay import Replay, TiltLoop, replay
from stairways.policies.program import Program, compile_program
from stairways.proof.experiment import Cell, Experiment, Findings, Job
from stairways.proof.plants import (
    SAMPLE,
    observed_by,
    over_trader,
    sample_part,
    train_gold,
    without_over_hold,
)
from stairways.proof.tracking_findings import conclude
from stairways.proof.tracking_measures import figures
from stairways.proof.tracking_plan import (
    BLOCK_SESSIONS,
    DEFAULT,
    MODES,
    OVER_TRADER,
    SKILLED,
    SKILLED_GOLD,
    SKILLED_SAMPLE,
    SLOPES,
    UNTILTED,
    Point,
    apart,
    curve,
    form_of,
    moving,
)
from stairways.trading.rules import TradingRules
from stairways.tuning.shipped import shipped_gold
from stairways.unpacking import unpack

if TYPE_CHECKING:
    from pathlib import Path

    from stairways.trading.ledger import Mode
    from stairways.trading.observation import ObservedMarket


class Tracking(Experiment):
    """Single accounts at their set points, the price of that, and targets that move."""

    name: ClassVar[str] = "tracking"
    title: ClassVar[str] = "Tracking, and its price"
    question: ClassVar[str] = (
        "How closely does a single account keep its set points, what does a tighter loop cost in net Sharpe, "
        "and can it follow a target that moves with the regime?"
    )

    def cells(self, job: Job) -> Sequence[Cell]:
        """Return the training of the skilled policy, and one cell for each setting of the loop."""
        form = form_of(job)
        cells = [Cell(SKILLED, {"part": "train"})] if SKILLED in form.policies else []
        runs = [(policy, mode, DEFAULT) for policy in form.policies for mode in MODES]
        points = [UNTILTED, *curve(form), *apart(form), *moving(form)]
        runs += [(policy, "sampled", point) for policy in form.priced for point in points]
        # the default is a point of the curve too
        return cells + [_cell(*run) for run in dict.fromkeys(runs)]

    def run(self, cell: Cell, job: Job) -> dict[str, Any]:
        """Train the skilled policy, or lead accounts through the judged sessions."""
        if cell.arguments["part"] == "train":
            settings = {"seed": job.seed, "market": {"sample": SKILLED_SAMPLE}}
            made = train_gold(job.work / SKILLED, {**settings, "gold": without_over_hold(SKILLED_GOLD)})
            return {"digest": made.digest, "steps": made.loaded.record["steps"]}
        return follow(cell, job)

    def conclude(self, job: Job, results: Mapping[str, dict[str, Any]]) -> Findings:
        """Judge tracking, draw the price and name the gain that it argues for."""
        return conclude(job, results)


def cell_key(policy: str, mode: str, point: Point) -> str:
    """Return the name of a cell."""
    return f"{policy}-{mode}-{point.name}"


def _cell(policy: str, mode: str, point: Point) -> Cell:
    actuator = None if point.actuator is None else point.actuator.model_dump(mode="json")
    arguments = {"part": "follow", "policy": policy, "mode": mode, "actuator": actuator}
    points = point.points.model_dump(mode="json")
    return Cell(cell_key(policy, mode, point), {**arguments, "points": points}, stage=1)


def follow(cell: Cell, job: Job) -> dict[str, Any]:
    """Lead accounts with different decision keys through the judged sessions, calibrated as deployed.

    The multipliers are calibrated on sessions before them, in the mode of deployment.
    """
    form, given = form_of(job), cell.arguments
    mode: Mode = given["mode"]
    points = SetPoints.model_validate(given["points"])
    market, sample = _market_of(given["policy"], job)
    key = int(np.random.SeedSequence(job.seed, spawn_key=(1,)).generate_state(1, np.uint64)[0])
    stop = sample_part("tune", sample).stop
    before = market.select(slice(stop - form.calibration_sessions, stop))
    program = _program_of(given["policy"], job, before, key)
    loop = None
    if given["actuator"] is not None:
        actuator = TiltActuator.model_validate(given["actuator"])
        loop = TiltLoop(actuator, actuator.live, points)
        loop = loop.starting_at(calibrate(before, program, TradingRules(), loop, mode=mode, run_seed=key))
    first = sample_part("test", sample).start
    judged = market.select(slice(first, first + form.sessions))
    keys = np.random.SeedSequence(job.seed, spawn_key=(2,)).generate_state(form.keys, np.uint64)
    runs: list[Replay] = [
        replay(judged, program, TradingRules(), mode=mode, run_seed=int(k), loop=loop) for k in keys
    ]
    against = {
        name: SetPoints(hold_mode="regime", regime_slope_ratio=slope) for name, slope in SLOPES.items()
    }
    return figures(runs, points, against, BLOCK_SESSIONS)


def _market_of(policy: str, job: Job) -> tuple[ObservedMarket, str]:
    sample = SKILLED_SAMPLE if policy == SKILLED else SAMPLE
    return observed_by(_folder_of(policy, job), sample), sample


def _program_of(policy: str, job: Job, before: ObservedMarket, key: int) -> Program:
    packed = unpack(_folder_of(policy, job))
    if policy != OVER_TRADER:
        return packed.program
    weights = packed.artifact.weights
    made = over_trader(packed.spec, weights, before, TradingRules(), key)
    return compile_program(packed.spec, made.of(packed.spec, weights))


def _folder_of(policy: str, job: Job) -> Path:
    return job.work / SKILLED if policy == SKILLED else shipped_gold()
