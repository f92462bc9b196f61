"""Steering: the controller over a pool, by the tilt and by the bonus."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from learning_builders import mlp_spec, network_of, noise_market, tilt_steering, trainer_of

from stairways.control.actuators import RewardActuator, TiltGains, plan_reward_actuator
from stairways.control.setpoints import SetPoints
from stairways.control.tilt import Multipliers
from stairways.envs.pool import StepOutput
from stairways.learning.ppo_config import PPOConfig
from stairways.learning.schedules import Ramp
from stairways.learning.steering import NoSteering, RewardSteering, Steering
from stairways.trading.actions import hold_action, leg_table

N_ENVS = 20


def output_of(held: np.ndarray, orders: np.ndarray) -> StepOutput:
    n = len(held)
    nothing = np.zeros(n)
    return StepOutput(
        observations=np.zeros((n, 29), np.float32),
        rewards=nothing,
        done=held,
        held=held,
        orders=orders,
        nav=nothing,
        ended=orders,
        episodes=np.zeros((n, 4)),
        term_sums=np.zeros(8),
    )


def random_outputs(n_steps: int, hold_ratio: float = 0.8, n_envs: int = N_ENVS) -> list[StepOutput]:
    rng = np.random.default_rng(3)
    return [output_of(rng.random(n_envs) < hold_ratio, rng.integers(0, 3, n_envs)) for _ in range(n_steps)]


@pytest.mark.parametrize(("hold_bias", "hold_mode"), [(5.0, "fixed"), (-3.0, "fixed"), (5.0, "regime")])
def test_the_tilt_brings_a_pool_to_both_set_points(hold_bias: float, hold_mode: Any) -> None:
    """An over-holder holds 95 % and more, an over-trader nearly never; weights as good as stand still."""
    market = noise_market(4, interval_minutes=5)
    network = network_of(mlp_spec(), action_gain=50.0)
    with torch.no_grad():
        network.policy.head.bias[4] += hold_bias
    config = PPOConfig(n_envs=N_ENVS, n_steps=100, epochs=1, learning_rate=Ramp.constant(1e-9))
    points = SetPoints(hold_mode=hold_mode, trades_per_session=16.5)
    before = trainer_of(mlp_spec(), market, config, network=network).train(2_000)[0]
    assert abs(before.hold_rate_ratio - 0.55) > 0.35
    assert abs(before.trades_per_session - 16.5) > 10

    trainer = trainer_of(mlp_spec(), market, config, tilt_steering(market, points=points), network=network)
    reports = trainer.train(5 * 2_000)
    held = np.array([report.hold_rate_ratio for report in reports])
    trades = np.array([report.trades_per_session for report in reports])
    assert held[2:].mean() == pytest.approx(0.55, abs=0.02)
    assert trades[2:].mean() == pytest.approx(16.5, abs=1.0)
    assert {report.hold_bonus_bps for report in reports} == {0.0}


def test_offsets_by_hand() -> None:
    """From long in the first symbol and flat in the second, buying the first orders nothing."""
    market = noise_market(4)
    steering = tilt_steering(market, Multipliers(hold=1.5, trade=0.25))
    position = np.flatnonzero((leg_table(2) == [1, 0]).all(axis=1))
    offsets = steering.offsets(position, score=0.0)
    assert offsets is not None
    assert offsets.dtype == np.float32
    # sell,sell sell,keep sell,buy keep,sell hold keep,buy buy,sell buy,keep buy,buy
    assert offsets.tolist() == [[-0.5, -0.25, -0.5, -0.25, 1.5, -0.25, -0.25, 0.0, -0.25]]


def test_the_fast_lane_and_the_integrals_move_by_hand() -> None:
    """Gains 0.1, 0.2 and 6; a pool that holds 3 of 4 and places 2 orders; market multiplier 1.3."""
    market = noise_market(4, interval_minutes=5)
    gains = TiltGains(ki_hold=0.1, ki_trade=0.2, kp_fast=6.0)
    points = SetPoints(hold_rate_ratio=0.55, trades_per_session=16.5)
    steering = tilt_steering(market, Multipliers(1.0, 0.5), points, training=gains)
    steering.observe(output_of(np.array([1, 1, 1, 0], bool), np.array([2, 0, 0, 0])), score=1.0)

    error, surplus = 0.55 - 0.75, 0.5 - 16.5 / 77
    assert steering.multipliers == pytest.approx((1.0 + 0.1 * error, 0.5 + 0.2 * surplus))
    offsets = steering.offsets(np.array([4]), score=1.0)
    assert offsets is not None
    fast = 6.0 * (error / 60) * 1.3
    assert offsets[0, hold_action(2)] == pytest.approx(1.0 + 0.1 * error + fast, rel=1e-6)


def test_the_bonus_follows_the_plans_listing() -> None:
    """Two lanes as the plan writes them, over the hold rate of the last 200 decisions."""
    actuator = plan_reward_actuator().model_copy(update={"window_decisions": 200})
    steering = RewardSteering(actuator, SetPoints(), full_session_decisions=77)
    base, slow_adjustment = 0.2, 0.0
    assert steering.hold_bonus_bps() == base
    held: list[bool] = []
    rng = np.random.default_rng(5)
    for step, output in enumerate(random_outputs(120)):
        score = float(rng.normal())
        steering.observe(output, score)
        held += output.held.tolist()
        error = 0.55 - np.mean(held[-200:])
        if step % 25 == 0:
            slow_adjustment = 0.05 * error
        wanted = base * (1 + 0.25 * error * (1 + 0.3 * score) + slow_adjustment)
        assert steering.hold_bonus_bps() == pytest.approx(np.clip(wanted, 0.0, 2 * base), rel=1e-12)
        assert steering.offsets(np.zeros(N_ENVS, np.int64), score) is None
        assert steering.form() is None


def test_a_window_shorter_than_the_pool_measures_one_vector_step() -> None:
    actuator = plan_reward_actuator().model_copy(update={"window_decisions": 1, "slow_period": 1})
    steering = RewardSteering(actuator, SetPoints(), full_session_decisions=77)
    for output in random_outputs(5):
        steering.observe(output, score=0.0)
        error = 0.55 - output.held.mean()
        assert steering.hold_bonus_bps() == pytest.approx(0.2 * (1 + 0.25 * error + 0.05 * error))


def test_the_bonus_in_force_is_paid_on_holds_alone() -> None:
    market = noise_market(4)
    config = PPOConfig(n_envs=8, n_steps=20, epochs=1)

    def rewards(bonus_bps: float) -> tuple[np.ndarray, np.ndarray]:
        trainer = trainer_of(mlp_spec(), market, config, NoSteering(bonus_bps))
        step, seen = trainer.pool.step, []

        def watch(actions: np.ndarray) -> StepOutput:
            output = step(actions)
            seen.append((output.rewards.copy(), output.held.copy()))
            return output

        trainer.pool.step = watch
        report = trainer.train(160)[0]
        assert report.hold_bonus_bps == bonus_bps
        paid, held = zip(*seen, strict=True)
        return np.array(paid), np.array(held)

    (paid, held), (unpaid, _) = rewards(0.75), rewards(0.0)
    np.testing.assert_allclose(paid - unpaid, np.where(held, 0.75, 0.0), rtol=0, atol=1e-9)
    assert 0 < held.mean() < 1


@pytest.mark.parametrize("name", ["none", "tilt", "reward"])
def test_a_restored_controller_goes_on_exactly(name: str) -> None:
    market = noise_market(4)

    def fresh() -> Steering:
        if name == "none":
            return NoSteering(0.3)
        if name == "tilt":
            gains = TiltGains(ki_hold=0.1, ki_trade=0.2, kp_fast=6.0)
            return tilt_steering(
                market, Multipliers(1.0, 0.5), training=gains, startup_factor=3.0, startup_sessions=2
            )
        return RewardSteering(RewardActuator(window_decisions=150, slow_period=7), SetPoints(), 25)

    def trace(steering: Steering, outputs: list[StepOutput]) -> list[Any]:
        seen = []
        for index, output in enumerate(outputs):
            steering.observe(output, score=float(np.sin(index)))
            offsets = steering.offsets(np.arange(9), score=0.3)
            seen.append((steering.hold_bonus_bps(), None if offsets is None else offsets.tobytes()))
        return seen

    outputs = random_outputs(100)
    first, second = fresh(), fresh()
    trace(first, outputs[:43])
    saved = json.loads(json.dumps(first.snapshot(), allow_nan=False))
    trace(second, outputs[:5])
    second.restore(saved)
    assert second.snapshot() == saved
    assert trace(first, outputs[43:]) == trace(second, outputs[43:])
    assert first.snapshot() == second.snapshot()
    assert name == "none" or first.snapshot() != saved
