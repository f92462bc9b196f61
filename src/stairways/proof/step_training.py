"""Step response in training: a policy goes on learning while one of five controllers steers it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from stairways.config import Settings
from stairways.control.actuators import RewardActuator, TiltActuator, plan_reward_actuator
from stairways.control.pid_lagrangian import PidLagrangian
from stairways.control.setpoints import SetPoints
from stairways.control.tilt import UNTILTED, Multipliers
from stairways.evaluation.replay import replay
from stairways.learning.ppo_config import PPOConfig
from stairways.learning.schedules import Ramp
from stairways.policies.program import compile_program
from stairways.proof.plants import behaviour
from stairways.proof.streams import MODES, STEPS, Step

if TYPE_CHECKING:
    from stairways.learning.steering import Steering
    from stairways.learning.trainer import Trainer
    from stairways.policies.program import Weights
    from stairways.policies.spec import PolicySpec
    from stairways.trading.observation import ObservedMarket

N_ENVS, N_STEPS = 24, 100
ROLLOUT = N_ENVS * N_STEPS
PPO = PPOConfig(n_envs=N_ENVS, n_steps=N_STEPS, minibatch=800, epochs=10, learning_rate=Ramp.constant(3e-4))
"""Tuning's own settings but for 24 accounts instead of 20, and three times the step size: what drives a
policy by its reward can't be called slow for want of learning."""

FIXED, PLAN, REWARD, LAGRANGIAN, TILT = "fixed", "plan", "reward", "lagrangian", "tilt"
CONTROLLERS: Mapping[str, str] = {
    FIXED: "fixed bonus",
    PLAN: "two lanes as written",
    REWARD: "two lanes + integral, reward",
    LAGRANGIAN: "PID-Lagrangian",
    TILT: "two lanes + integral, tilt",
}
"""Name -> what people read."""


@dataclass(frozen=True)
class Ranges:
    """Where a training learns and where it is looked at.

    Attributes:
        train: Sessions to learn on.
        judged: Sessions that the policy is deployed on after each step; never trained on.
    """

    train: slice
    judged: slice


def controller_settings(name: str, actuator: TiltActuator) -> dict[str, Any]:
    """Return the settings of a controller as plain JSON types.

    Args:
        name: Of `CONTROLLERS`.
        actuator: The tilt's settings; the others take the project's defaults.
    """
    if name == TILT:
        return actuator.model_dump(mode="json")
    if name == LAGRANGIAN:
        return PidLagrangian().model_dump(mode="json")
    if name == FIXED:
        return {"bonus_bps": RewardActuator().base_hold_bonus_bps}
    return (plan_reward_actuator() if name == PLAN else RewardActuator()).model_dump(mode="json")


def make_steering(
    name: str,
    settings: Mapping[str, Any],
    points: SetPoints,
    full_session_decisions: int,
    start: Multipliers = UNTILTED,
) -> Steering:
    """Return a controller at its start.

    Args:
        name: Of `CONTROLLERS`.
        settings: As `controller_settings` gives them.
        points: Set points.
        full_session_decisions: Decisions of a full session.
        start: Multipliers that the tilt starts from.
    """
    from stairways.learning.lagrangian import LagrangianSteering
    from stairways.learning.steering import NoSteering, RewardSteering, TiltSteering

    if name == TILT:
        # a loop that was never calibrated acts in full, as it does at inference
        actuator = TiltActuator.model_validate(settings).model_copy(update={"hold_coupling": 1.0})
        return TiltSteering(
            actuator, points, start, n_symbols=2, full_session_decisions=full_session_decisions
        )
    if name == LAGRANGIAN:
        return LagrangianSteering(PidLagrangian.model_validate(settings), points, full_session_decisions)
    if name == FIXED:
        return NoSteering(float(settings["bonus_bps"]))
    return RewardSteering(RewardActuator.model_validate(settings), points, full_session_decisions)


def train_through_steps(
    spec: PolicySpec,
    weights: Weights,
    market: ObservedMarket,
    ranges: Ranges,
    controller: str,
    settings: Mapping[str, Any],
    *,
    steps: int,
    seed: np.random.SeedSequence,
) -> dict[str, Any]:
    """Train a policy through the steps of the set points and report each.

    The controllers of a hold bonus do not see the set point of trades, so the course of trades is run for
    the tilt alone; it begins from a snapshot of the end of the first step.

    Args:
        spec: Architecture.
        weights: The policy at the start.
        market: All sessions.
        ranges: Where it learns and is looked at.
        controller: Of `CONTROLLERS`.
        settings: Its settings.
        steps: Transitions of each step.
        seed: Seed of environments, actions and minibatches.

    Returns:
        By name of the step: hold rate, trades and bonus of each rollout, and for the controllers of a bonus
        what the policy then does when deployed, in both modes.
    """
    from stairways.tuning.steer import Seeds, load_network, trainer_on

    everything = Settings()
    full = market.full_session_decisions
    environments, training, deciding = seed.spawn(3)
    first = make_steering(controller, settings, STEPS[0].points, full)
    trainer = trainer_on(
        load_network(spec, weights),
        market.select(ranges.train),
        everything,
        PPO,
        first,
        Seeds(environments, training),
    )
    key = int(deciding.generate_state(1, np.uint64)[0])
    found: dict[str, Any] = {}
    ends: dict[str, dict[str, Any]] = {}
    for step in steps_of(controller):
        if step.after is not None:
            trainer.restore(ends[step.after])
            trainer.steering = _went_on(trainer, controller, settings, step, full)
        reports = trainer.train(steps)
        ends[step.name] = trainer.snapshot()
        found[step.name] = {
            "hold": [report.hold_rate_ratio for report in reports],
            "trades": [report.trades_per_session for report in reports],
            "bonus_bps": [report.hold_bonus_bps for report in reports],
        }
        if controller != TILT:
            program = compile_program(spec, trainer.network.export_weights())
            for mode in MODES:
                run = replay(
                    market.select(ranges.judged), program, everything.trading, mode=mode, run_seed=key
                )
                found[step.name][mode] = dict(zip(("hold", "trades"), behaviour(run), strict=True))
    return found


def steps_of(controller: str) -> tuple[Step, ...]:
    """Return the steps that a controller is led through."""
    return tuple(step for step in STEPS if controller == TILT or "hold" in step.moved)


def _went_on(
    trainer: Trainer, controller: str, settings: Mapping[str, Any], step: Step, full_session_decisions: int
) -> Steering:
    """Return the controller under new set points.

    The tilt starts anew from the multipliers it had, as it does at deployment; the others go on with all
    they remember.
    """
    start = trainer.steering.multipliers
    made = make_steering(controller, settings, step.points, full_session_decisions, start)
    if controller != TILT:
        made.restore(trainer.steering.snapshot())
    return made
