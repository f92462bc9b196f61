"""Steering by the PID-Lagrangian: periods, sign, snapshot, and a training that feels it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from learning_builders import mlp_spec, network_of, noise_market, trainer_of

from stairways.control.pid_lagrangian import PidLagrangian
from stairways.control.setpoints import SetPoints
from stairways.control.tilt import Multipliers
from stairways.envs.pool import StepOutput
from stairways.learning.lagrangian import LagrangianSteering
from stairways.learning.ppo_config import PPOConfig
from stairways.learning.schedules import Ramp
from stairways.learning.steering import Steering

SETTINGS = PidLagrangian(
    kp_bps=10, ki_bps=2, kd_bps=0, smoothing_proportional=0, smoothing_derivative=0, period_decisions=40
)


def output_of(held: list[bool]) -> StepOutput:
    n = len(held)
    nothing, flags = np.zeros(n), np.array(held)
    whole = np.zeros(n, np.int64)
    return StepOutput(
        np.zeros((n, 29), np.float32), nothing, flags, flags, whole, nothing, whole, np.zeros((n, 4)), nothing
    )


def pool(holding: int, n: int = 20) -> StepOutput:
    return output_of([account < holding for account in range(n)])


def made(points: SetPoints | None = None) -> LagrangianSteering:
    return LagrangianSteering(SETTINGS, points or SetPoints(), full_session_decisions=389)


def test_it_moves_once_a_period_by_the_mean_of_the_period():
    """19 and 17 of 20 hold: 0.9 over two vector steps of 20, against 0.55: 12 x 0.35 are charged."""
    steering = made()
    steering.observe(pool(19), 0.0)
    assert steering.hold_bonus_bps() == 0.0
    steering.observe(pool(17), 0.0)
    assert steering.hold_bonus_bps() == pytest.approx(-12 * 0.35)
    steering.observe(pool(0), 0.0)
    assert steering.hold_bonus_bps() == pytest.approx(-12 * 0.35)


def test_a_moving_target_is_averaged_over_the_period():
    """Slope 0.1: scores 1 and 2 make targets 0.65 and 0.75, 0.7 in the mean; 14 of 20 hold."""
    steering = made(SetPoints(hold_mode="regime"))
    for score in (1.0, 2.0):
        steering.observe(pool(14), score)
    assert steering.hold_bonus_bps() == pytest.approx(0.0, abs=1e-12)


def test_it_tilts_nothing():
    steering: Steering = made()
    assert steering.multipliers == Multipliers()
    assert steering.form() is None
    assert steering.offsets(np.zeros(20, np.int64), 0.0) is None


@pytest.mark.parametrize("cut", [1, 4, 7])
def test_a_snapshot_goes_on_as_if_there_had_been_no_stop(cut):
    rng = np.random.default_rng(2)
    outputs = [pool(int(rng.integers(0, 21))) for _ in range(12)]
    steering, resumed = made(), made()
    for output in outputs[:cut]:
        steering.observe(output, 0.3)
    resumed.restore(json.loads(json.dumps(steering.snapshot())))
    for output in outputs[cut:]:
        steering.observe(output, 0.3)
        resumed.observe(output, 0.3)
        assert resumed.hold_bonus_bps() == steering.hold_bonus_bps()


def test_a_policy_in_training_is_moved_towards_its_target():
    """A small network that holds one decision in nine comes near 55 % and stays there."""
    market = noise_market(4)
    config = PPOConfig(
        n_envs=20, n_steps=50, minibatch=250, epochs=8, learning_rate=Ramp.constant(3e-3), gamma=0.9
    )
    settings = PidLagrangian(period_decisions=1_000)
    steering = LagrangianSteering(settings, SetPoints(), market.full_session_decisions)
    trainer = trainer_of(mlp_spec(), market, config, steering, network=network_of(mlp_spec()))
    reports = trainer.train(60 * 1_000)
    assert reports[0].hold_rate_ratio < 0.25
    assert np.mean([report.hold_rate_ratio for report in reports[-20:]]) == pytest.approx(0.55, abs=0.1)
