"""Step response: does a controller bring a policy to its set points, how soon, and does it stay there?"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from stairways.control.actuators import TiltActuator
from stairways.control.tilt import UNTILTED, Multipliers
from stairways.evaluation.baselines import uniform
from stairways.evaluation.replay import replay
from stairways.policies.program import Program, compile_program
from stairways.proof.experiment import Cell, Experiment, Findings, Job
from stairways.proof.plants import (
    Flattened,
    behaviour,
    biased_lstm,
    observed_by,
    over_trader,
    sample_part,
    train_gold,
)
from stairways.proof.responses import pooled_windows, sliding_means, steady
from stairways.proof.step_findings import conclude
from stairways.proof.step_plan import (
    DEPLOYED,
    EVERY,
    LSTM,
    MLP,
    OVER_HOLDER,
    OVER_TRADER,
    SESSION,
    STARTS,
    STEADY_SESSIONS,
    UNIFORM,
    WIDTHS,
    Form,
    form_of,
)
from stairways.proof.step_training import (
    CONTROLLERS,
    Ranges,
    controller_settings,
    train_through_steps,
)
from stairways.proof.streams import (
    MODES,
    STEPS,
    Course,
    Deployment,
    Quantity,
    Step,
    accounts_of,
    respond,
)
from stairways.registry.canonical import canonical_json, parse_json_object
from stairways.registry.files import write_bytes_atomic
from stairways.trading.rules import TradingRules
from stairways.tuning.shipped import shipped_gold
from stairways.unpacking import unpack

if TYPE_CHECKING:
    from stairways.policies.program import Weights
    from stairways.policies.spec import PolicySpec


class StepResponse(Experiment):
    """Five controllers, two starts, steps of both set points."""

    name: ClassVar[str] = "step_response"
    title: ClassVar[str] = "Step response of the controllers"
    question: ClassVar[str] = (
        "After a step of a set point, how soon is a policy there, by how much does it overshoot, and what "
        "error stays?"
    )

    def cells(self, job: Job) -> Sequence[Cell]:
        """Return what makes the policies, what trains them and what leads them through the steps."""
        form, tilt = form_of(job), TiltActuator().model_dump(mode="json")
        cells = [
            Cell(f"policies-{net}", {"part": "policies", "net": net, "actuator": tilt}) for net in STARTS
        ]
        for controller in CONTROLLERS:
            settings = controller_settings(controller, TiltActuator())
            for start in form.training_starts:
                for seed in range(form.training_seeds):
                    arguments: dict[str, Any] = {"part": "train", "controller": controller}
                    arguments |= {"settings": settings, "start": start, "seed": seed}
                    # a gold is there from the beginning, its over-trader is made in stage 0
                    stage = 0 if start == OVER_HOLDER else 1
                    cells.append(Cell(f"train-{controller}-{start}-{seed}", arguments, stage))
        for net, starts in STARTS.items():
            for start in starts:
                for mode in MODES:
                    for seed in range(form.seeds):
                        arguments = {"part": "respond", "net": net, "start": start, "mode": mode}
                        arguments |= {"seed": seed, "actuator": tilt}
                        cells.append(Cell(f"respond-{net}-{start}-{mode}-{seed}", arguments, 1))
        return cells

    def run(self, cell: Cell, job: Job) -> dict[str, Any]:
        """Make policies, train one of them, or lead accounts through the steps."""
        parts = {"policies": make_policies, "train": train, "respond": measure_response}
        return parts[cell.arguments["part"]](cell, job)

    def conclude(self, job: Job, results: Mapping[str, dict[str, Any]]) -> Findings:
        """Judge the default controller, and put the others beside it."""
        return conclude(job, results)


def make_policies(cell: Cell, job: Job) -> dict[str, Any]:
    """Make the starts of one architecture; measure them as they are and calibrate their twins.

    What later cells need is written to ``<net>.json`` in the work folder.
    """
    form, net = form_of(job), str(cell.arguments["net"])
    actuator = TiltActuator.model_validate(cell.arguments["actuator"])
    seed = np.random.SeedSequence(job.seed, spawn_key=(1, list(STARTS).index(net)))
    key = int(seed.generate_state(1, np.uint64)[0])
    if net == LSTM and form.lstm_gold is not None:
        train_gold(_folder_of(LSTM, job), {"seed": job.seed, "gold": form.lstm_gold})
    market, rules = observed_by(_folder_of(net, job)), TradingRules()
    calibration = calibration_span(form)
    record: dict[str, Any] = {"untilted": {}, "settled": {}}
    if net != UNIFORM:
        flattened = over_trader(*gold_of(net, job), market.select(calibration), rules, key)
        record["flattened"] = dataclasses.asdict(flattened)
        write_bytes_atomic(_record_of(net, job), canonical_json(record))
    for start in STARTS[net]:
        program = program_of(net, start, job)
        for mode in MODES:
            judged = market.select(judged_span(form))
            hold, trades = behaviour(replay(judged, program, rules, mode=mode, run_seed=key))
            record["untilted"][f"{start}-{mode}"] = {"hold": hold, "trades": trades}
            deployment = Deployment(market, program, rules, mode, actuator)
            if start == DEPLOYED:
                anchor = deployment.calibrated(calibration, STEPS[0].points, key).hold
                deployment = dataclasses.replace(deployment, anchor=anchor)
                record["anchor"] = record.get("anchor", {}) | {mode: anchor}
            record["settled"][f"{start}-{mode}"] = {
                step.name: list(deployment.calibrated(calibration, step.points, key)) for step in STEPS
            }
    write_bytes_atomic(_record_of(net, job), canonical_json(record))
    return record


def train(cell: Cell, job: Job) -> dict[str, Any]:
    """Lead one training through the steps under one controller."""
    form, given = form_of(job), cell.arguments
    spec, weights = policy_of(MLP, str(given["start"]), job)
    market = observed_by(shipped_gold())
    judged = judged_span(form)
    return train_through_steps(
        spec,
        weights,
        market,
        Ranges(train=sample_part("tune"), judged=judged),
        given["controller"],
        given["settings"],
        steps=form.training_steps,
        seed=np.random.SeedSequence(job.seed, spawn_key=(2, int(given["seed"]))),
    )


def measure_response(cell: Cell, job: Job) -> dict[str, Any]:
    """Lead accounts through the steps and reduce what they did to windows, step by step."""
    form, given = form_of(job), cell.arguments
    net, start, mode = str(given["net"]), str(given["start"]), given["mode"]
    record = parse_json_object(_record_of(net, job).read_bytes())
    market = observed_by(_folder_of(net, job))
    actuator = TiltActuator.model_validate(given["actuator"])
    deployed = start == DEPLOYED
    anchor = record["anchor"][mode] if deployed else None
    deployment = Deployment(market, program_of(net, start, job), TradingRules(), mode, actuator, anchor)
    span = slice(sample_part("tune").start, sample_part("test").stop)
    seed = np.random.SeedSequence(job.seed, spawn_key=(3, int(given["seed"])))
    accounts = accounts_of(seed, form.accounts, span, form.lengths.longest)
    settled = {name: Multipliers(*pair) for name, pair in record["settled"][f"{start}-{mode}"].items()}
    begin = settled[STEPS[0].name] if deployed else UNTILTED
    courses = respond(deployment, accounts, form.lengths, settled, begin)
    return {step.name: reduced(courses[step.name], step) for step in STEPS}


def reduced(course: Course, step: Step) -> dict[str, Any]:
    """Return a step's windows and its steady errors as plain JSON types.

    Levels are means over single sessions, for the eye; deviations from the twins are over the windows that
    are judged. Trades are per session of 389 decisions.
    """
    found: dict[str, Any] = {}
    series: tuple[tuple[Quantity, NDArray[np.float64], NDArray[np.float64], float], ...] = (
        ("hold", course.held, course.twin_held, 1.0),
        ("trades", course.orders, course.twin_orders, float(SESSION)),
    )
    for quantity, mine, twins, unit in series:
        wide = pooled_windows(unit * (mine - twins), WIDTHS[quantity], EVERY)
        end = steady(unit * mine - step.target(quantity), STEADY_SESSIONS[quantity] * SESSION)
        levels = unit * sliding_means(mine, SESSION, EVERY).mean(axis=0)
        found[quantity] = {
            "deviation": np.round(wide.deviation, 6).tolist(),
            "standard_error": wide.standard_error,
            "steady_error": end.error,
            "steady_standard_error": end.standard_error,
            "levels": np.round(levels, 6).tolist(),
        }
    return found


def gold_of(net: str, job: Job) -> tuple[PolicySpec, Weights]:
    """Return the over-holder of an architecture."""
    if net == LSTM and form_of(job).lstm_gold is None:
        return biased_lstm(np.random.SeedSequence(job.seed, spawn_key=(4,)))
    packed = unpack(_folder_of(net, job))
    return packed.spec, packed.artifact.weights


def policy_of(net: str, start: str, job: Job) -> tuple[PolicySpec, Weights]:
    """Return one of the policies that `make_policies` has made."""
    spec, weights = gold_of(net, job)
    if start != OVER_TRADER:
        return spec, weights
    record = parse_json_object(_record_of(net, job).read_bytes())
    return spec, Flattened(**record["flattened"]).of(spec, weights)


def program_of(net: str, start: str, job: Job) -> Program:
    """Return a policy as the actor runs it; the uniform one is the over-trader without a gold."""
    return uniform(2) if net == UNIFORM else compile_program(*policy_of(net, start, job))


def calibration_span(form: Form) -> slice:
    """Return the sessions that policies are made and calibrated on: the last before tuning begins."""
    stop = sample_part("record").stop
    return slice(stop - form.calibration_sessions, stop)


def judged_span(form: Form) -> slice:
    """Return the sessions that policies are measured on between steps: the first of the test range."""
    first = sample_part("test").start
    return slice(first, first + form.judged_sessions)


def _record_of(net: str, job: Job) -> Path:
    return job.work / f"{net}.json"


def _folder_of(net: str, job: Job) -> Path:
    if net == LSTM and form_of(job).lstm_gold is not None:
        return job.work / "lstm_gold"
    return shipped_gold()
