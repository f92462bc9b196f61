"""The trainer: tilt in the buffer, accumulation, exact step counts, schedules, snapshots."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from learning_builders import FAST, lstm_spec, mlp_spec, network_of, noise_market, tilt_steering, trainer_of
from pydantic import ValidationError
from safetensors.numpy import load, save

from stairways.control.actuators import RewardActuator
from stairways.control.setpoints import SetPoints
from stairways.control.tilt import Multipliers
from stairways.errors import ConfigError, TrainingError
from stairways.learning.network import PolicyNetwork
from stairways.learning.ppo import Rollout, TiltForm, Tilting, UpdateReport, tilted_log_probabilities
from stairways.learning.ppo_config import PPOConfig
from stairways.learning.schedules import Ramp
from stairways.learning.steering import RewardSteering, Steering
from stairways.learning.trainer import Trainer
from stairways.policies.actor import log_probabilities, tilt
from stairways.policies.spec import PolicySpec
from stairways.trading.actions import hold_action, order_table
from stairways.trading.observation import ObservedMarket

SPECS = {"mlp": mlp_spec(), "lstm": lstm_spec(), "lstm-shared": lstm_spec(critic_lstm="shared")}


@pytest.fixture(scope="module")
def market() -> ObservedMarket:
    return noise_market(11)


def config_of(**more: Any) -> PPOConfig:
    return PPOConfig(**{**FAST, **more})


def rollout_of(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> tuple[Rollout, UpdateReport]:
    """Return the next rollout and the report of its update; the network is put back behind it."""
    seen: list[Rollout] = []
    run = trainer.update.run

    def watch(rollout: Rollout, progress: float) -> Any:
        seen.append(rollout)
        network = trainer.network.export_weights()
        report = run(rollout, progress)
        trainer.network.load_weights(network)
        return report

    monkeypatch.setattr(trainer.update, "run", watch)
    reports = trainer.train(trainer.config.rollout_steps)
    return seen[0], reports[0].update


def ratios(network: PolicyNetwork, rollout: Rollout, tilting: Tilting | None) -> torch.Tensor:
    with torch.no_grad():
        if network.spec.kind == "mlp":
            logits, _ = network(rollout.observations.flatten(0, 1))
            logits = logits.reshape(*rollout.actions.shape, -1)
        else:
            logits, _, _ = network.unroll(rollout.observations, rollout.starts, rollout.states)
        taken = tilted_log_probabilities(logits, tilting).gather(-1, rollout.actions.unsqueeze(-1))
        return (taken.squeeze(-1) - rollout.log_probabilities).exp()


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_first_ratio_is_one_while_the_multipliers_move(
    spec: PolicySpec, market: ObservedMarket, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = network_of(spec, action_gain=100.0)
    with torch.no_grad():
        network.policy.head.bias.copy_(torch.linspace(-1.5, 1.5, spec.n_actions))
    steering = tilt_steering(market, Multipliers(-1.0, 1.5), log_probability_floor=-3.0)
    settings = config_of(n_steps=10, epochs=1, minibatch=80)
    trainer = trainer_of(spec, market, settings, steering, network=network)
    trainer.train(settings.rollout_steps)
    rollout, report = rollout_of(trainer, monkeypatch)

    assert spec.kind == "mlp" or not rollout.starts[0].any(), "it must begin in the middle of sessions"
    assert rollout.tilting is not None
    offsets, form = rollout.tilting.offsets, rollout.tilting.form
    held = offsets[..., 4].mean(1)
    assert len(held.unique()) == len(held), "the multipliers must move at every vector step"
    exact = ratios(network, rollout, rollout.tilting)
    assert float((exact - 1).abs().max()) <= 1e-6
    assert report.clipped_share == 0.0
    assert abs(report.approximate_kl) <= 1e-6
    # without the stored tilt, with another floor or with one tilt for the whole rollout, it is not
    untilted = ratios(network, rollout, None)
    frozen = ratios(network, rollout, rollout.tilting._replace(offsets=offsets[:1].expand_as(offsets)))
    deeper = ratios(network, rollout, rollout.tilting._replace(form=form._replace(floor=-20.0)))
    plain = ratios(network, rollout, rollout.tilting._replace(form=form._replace(coupling=1.0)))
    assert float((untilted - 1).abs().max()) > 0.5
    assert float((deeper - 1).abs().max()) > 0.01
    assert float((frozen - 1).abs().max()) > 0.1
    assert float((plain - 1).abs().max()) > 0.01


def test_tilt_in_torch_equals_the_formula_in_numpy() -> None:
    """pi'(a|s) ~ max(pi(a|s), e^floor) exp(lambda_hold [hold] - lambda_trade orders(a, s))."""
    rng = np.random.default_rng(2)
    logits, floor = rng.normal(0, 4, (50, 9)), -5.0
    positions = rng.integers(9, size=50)
    offsets = -1.3 * order_table(2)[positions].astype(float)
    offsets[:, hold_action(2)] += 0.7
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert (probabilities < np.exp(floor)).any()
    wanted = np.maximum(probabilities, np.exp(floor)) * np.exp(offsets)
    wanted /= wanted.sum(1, keepdims=True)

    stays = torch.from_numpy(order_table(2)[positions] == 0)
    tilting = Tilting(torch.from_numpy(offsets), stays, TiltForm(floor))
    found = tilted_log_probabilities(torch.from_numpy(logits), tilting)
    np.testing.assert_allclose(found.exp(), wanted, rtol=1e-12)


@pytest.mark.parametrize("coupling", [0.0, 0.1, 1.0])
def test_tilt_in_torch_equals_the_actors(coupling: float) -> None:
    rng = np.random.default_rng(3)
    logits, floor, anchor = rng.normal(0, 4, (50, 9)).astype(np.float32), -8.0, -1.7
    orders = order_table(2)[rng.integers(9, size=50)]
    offsets = (-0.4 * orders).astype(np.float32)
    offsets[:, hold_action(2)] += np.float32(2.1)
    tilting = Tilting(
        torch.from_numpy(offsets), torch.from_numpy(orders == 0), TiltForm(floor, coupling, anchor)
    )
    found = tilted_log_probabilities(torch.from_numpy(logits), tilting).exp().numpy()
    scores = np.empty(9)
    for row in range(50):
        log_probabilities(logits[row], floor, scores)
        tilt(scores, orders[row], hold_action(2), 2.1, 0.4, coupling, anchor)
        wanted = np.exp(scores - scores.max())
        np.testing.assert_allclose(found[row], wanted / wanted.sum(), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("normalised", ["minibatch", "rollout", "none"])
@pytest.mark.parametrize("spec", [SPECS["mlp"], SPECS["lstm"]], ids=["mlp", "lstm"])
def test_gradient_accumulation_gives_the_same_update(
    spec: PolicySpec, normalised: Any, market: ObservedMarket
) -> None:
    def trained(parts: int) -> dict[str, np.ndarray]:
        settings = config_of(gradient_accumulation=parts, normalise_advantages=normalised, minibatch=192)
        trainer = trainer_of(spec, market, settings, tilt_steering(market))
        trainer.train(settings.rollout_steps)
        return trainer.network.export_weights()

    whole, parts = trained(1), trained(4)
    for name, weight in whole.items():
        np.testing.assert_allclose(parts[name], weight, rtol=0, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("steps", [191, 193, 100, 0, -192])
def test_steps_that_are_no_multiple_of_a_rollout_are_refused(steps: int, market: ObservedMarket) -> None:
    trainer = trainer_of(mlp_spec(), market, config_of())
    with pytest.raises(ConfigError, match="not a multiple of a rollout of 8 x 24 = 192"):
        trainer.train(steps)
    assert trainer.steps == 0


def test_a_pool_of_another_size_is_refused(market: ObservedMarket) -> None:
    fits = trainer_of(mlp_spec(), market, config_of())
    with pytest.raises(ConfigError, match="8 environments, the trainer asks for 9"):
        Trainer(fits.network, fits.pool, config_of(n_envs=9), fits.steering, np.random.SeedSequence(0))


def test_timesteps_go_on_over_cycles_and_the_learning_rate_does_not_decay(market: ObservedMarket) -> None:
    """Each cycle runs its schedules from the start; none of them reaches 0 (resolutions, row 13)."""
    settings = config_of(learning_rate=Ramp(start=1e-3, end=1e-4, begin=0.25))
    trainer = trainer_of(mlp_spec(), market, settings)
    cycles = [trainer.train(4 * 192) for _ in range(3)]

    assert [report.steps for cycle in cycles for report in cycle] == [192 * k for k in range(1, 13)]
    rates = [[report.update.learning_rate for report in cycle] for cycle in cycles]
    assert rates[0] == pytest.approx([1e-3, 1e-3, 7e-4, 4e-4])
    assert rates[1] == rates[0]
    assert rates[2] == rates[0]


def test_an_anchor_runs_one_schedule_over_several_calls(market: ObservedMarket) -> None:
    settings = config_of(learning_rate=Ramp(start=1e-3, end=1e-4, begin=0.25))
    whole = trainer_of(mlp_spec(), market, settings).train(4 * 192)
    trainer = trainer_of(mlp_spec(), market, settings)
    parts = [report for _ in range(4) for report in trainer.train(192, anchor=(0, 4 * 192))]
    assert parts == whole


def test_a_learning_rate_of_zero_is_refused(market: ObservedMarket) -> None:
    for ramp in (Ramp.constant(0.0), Ramp(start=1e-3, end=0.0), Ramp(start=1e-3, end=-1e-3)):
        with pytest.raises(ValidationError, match="must stay above 0"):
            config_of(learning_rate=ramp)
    # a configuration that came around its own checks is refused by the update too
    unchecked = config_of().model_copy(update={"learning_rate": Ramp.constant(0.0)})
    with pytest.raises(TrainingError, match="learning rate is 0"):
        trainer_of(mlp_spec(), market, unchecked).train(192)


def test_a_loss_that_is_not_finite_is_refused(market: ObservedMarket) -> None:
    trainer = trainer_of(mlp_spec(), market, config_of(reward_scale=1e30))
    with pytest.raises(TrainingError, match="not finite"):
        trainer.train(192)


@pytest.mark.parametrize("normalised", ["minibatch", "rollout", "none"])
def test_a_last_minibatch_of_one_sample_is_learnt_from(normalised: Any, market: ObservedMarket) -> None:
    settings = config_of(minibatch=191, epochs=1, normalise_advantages=normalised)
    report = trainer_of(mlp_spec(), market, settings).train(192)[0]
    assert np.isfinite(report.update).all()


def steering_of(name: str, market: ObservedMarket) -> Steering | None:
    if name == "tilt":
        return tilt_steering(market, Multipliers(1.0, -0.5))
    if name == "reward":
        actuator = RewardActuator(window_decisions=100, slow_period=7)
        return RewardSteering(actuator, SetPoints(hold_mode="regime"), market.full_session_decisions)
    return None


def continued(snapshot: dict[str, Any]) -> dict[str, Any]:
    """Take a snapshot through the bytes a checkpoint is made of."""
    arrays = {name: np.ascontiguousarray(value) for name, value in snapshot["arrays"].items()}
    plain = json.loads(json.dumps(snapshot["plain"], allow_nan=False))
    return {"arrays": load(save(arrays)), "plain": plain}


def flat(snapshot: dict[str, Any]) -> dict[str, bytes]:
    found = {name: np.asarray(value).tobytes() for name, value in snapshot["arrays"].items()}
    return found | {"plain": json.dumps(snapshot["plain"]).encode()}


@pytest.mark.parametrize(
    ("kind", "steering"),
    [("mlp", "tilt"), ("lstm", "tilt"), ("lstm-shared", "tilt"), ("mlp", "reward"), ("lstm", "none")],
)
def test_a_restored_trainer_goes_on_bit_for_bit(kind: str, steering: str, market: ObservedMarket) -> None:
    """The snapshot falls on the close of whole sessions, so that some accounts are about to start one."""
    settings = config_of(n_steps=market.full_session_decisions)

    def fresh(seed: int) -> Trainer:
        return trainer_of(SPECS[kind], market, settings, steering_of(steering, market), seed=seed)

    first = fresh(1)
    first.train(3 * settings.rollout_steps)
    saved = continued(first.snapshot())
    assert kind == "mlp" or set(saved["arrays"]["trainer.starts"]) == {True, False}
    reports = first.train(3 * settings.rollout_steps)
    assert reports[-1].episodes, "sessions must end behind the snapshot"

    second = fresh(99)
    second.train(settings.rollout_steps)
    second.restore(saved)
    assert flat(second.snapshot()) == flat(saved)
    assert second.train(3 * settings.rollout_steps) == reports
    end = flat(first.snapshot())
    assert flat(second.snapshot()) == end
    wanted = {"adam.0.first", "adam.0.second", "adam.0.step", "generator.acting", "generator.order"}
    wanted |= {"pool.stream", "pool.book", "state.policy.c"} if kind != "mlp" else set()
    assert wanted <= set(end)
    changed = {name for name, value in flat(saved).items() if end[name] != value}
    assert wanted <= changed, "what stands still in this test is not tested by it"


def test_a_snapshot_does_not_move_with_the_trainer(market: ObservedMarket) -> None:
    trainer = trainer_of(lstm_spec(), market, config_of(), tilt_steering(market))
    trainer.train(192)
    snapshot = trainer.snapshot()
    before = flat(snapshot)
    trainer.train(192)
    assert flat(snapshot) == before


def test_a_snapshot_before_any_step_starts_from_the_beginning(market: ObservedMarket) -> None:
    saved = continued(trainer_of(mlp_spec(), market, config_of(), seed=1).snapshot())
    first, second = (trainer_of(mlp_spec(), market, config_of(), seed=s) for s in (1, 2))
    second.train(192)
    second.restore(saved)
    assert first.train(2 * 192) == second.train(2 * 192)


@pytest.mark.parametrize("kind", ["mlp", "lstm"])
def test_one_seed_gives_one_result_and_another_seed_another(kind: str, market: ObservedMarket) -> None:
    def result(seed: int) -> dict[str, bytes]:
        network = network_of(SPECS[kind])
        steering = tilt_steering(market)
        trainer = trainer_of(SPECS[kind], market, config_of(), steering, seed=seed, network=network)
        trainer.train(3 * 192)
        return flat(trainer.snapshot())

    first, again, other = result(7), result(7), result(8)
    assert first == again
    assert all(first[name] != other[name] for name in first if name.startswith("weights."))


def test_the_global_generators_are_left_alone(market: ObservedMarket) -> None:
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002
    trainer_of(mlp_spec(), market, config_of(), tilt_steering(market)).train(192)
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert all(np.array_equal(a, b) for a, b in zip(np.random.get_state(), numpy_before, strict=True))  # noqa: NPY002


def test_reports_count_what_the_pool_did(market: ObservedMarket) -> None:
    """Episodes by an independent count of the same steps."""
    trainer = trainer_of(mlp_spec(), market, config_of(n_steps=60))
    step, counted = trainer.pool.step, []

    def watch(actions: np.ndarray) -> Any:
        begun = trainer.pool.state.bar.copy()
        output = step(actions)
        seen = (output.held, output.orders, output.done, output.rewards)
        counted.append((begun, *(part.copy() for part in seen)))
        return output

    trainer.pool.step = watch
    report = trainer.train(480)[0]
    begun, held, orders, done, rewards = (np.array(part) for part in zip(*counted, strict=True))
    assert report.hold_rate_ratio == held.mean()
    assert report.trades_per_session == pytest.approx(orders.mean() * 25)
    assert report.mean_reward_bps == pytest.approx(rewards.mean(), rel=1e-5)

    episodes = []
    first_step = np.zeros(8, int)
    for time, account in zip(*np.nonzero(done), strict=True):
        part = slice(first_step[account], time + 1)
        began = begun[first_step[account], account]
        episodes.append(
            (
                pytest.approx(rewards[part, account].sum()),
                orders[part, account].sum(),
                pytest.approx(held[part, account].mean()),
                time + 1 - first_step[account],
                began == 0,
            )
        )
        first_step[account] = time + 1
    found = [(e.reward_bps, e.trades, e.hold_rate_ratio, e.decisions, e.whole) for e in report.episodes]
    assert found == episodes
    assert {e.whole for e in report.episodes} == {True, False}
    assert {e.decisions for e in report.episodes if e.whole} == {25, 13}


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_a_rollout_written_over_the_last_one_is_one_of_its_own(
    spec: PolicySpec, market: ObservedMarket
) -> None:
    settings = config_of()
    cleared, kept = (trainer_of(spec, market, settings, tilt_steering(market)) for _ in range(2))
    kept.clear_buffer = False
    for trainer in (cleared, kept):
        for _ in range(3):
            trainer.train(2 * settings.rollout_steps)
    assert cleared._tape is None
    assert kept._tape is not None
    for name, weights in cleared.network.export_weights().items():
        np.testing.assert_array_equal(weights, kept.network.export_weights()[name])
