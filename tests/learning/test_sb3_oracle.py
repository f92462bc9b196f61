"""Losses, gradients and updates are those of stable-baselines3 and sb3-contrib."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sb3_oracle as oracle
import torch
from learning_builders import network_of
from sb3_contrib.common.recurrent.type_aliases import RNNStates

from stairways.learning.network import PolicyNetwork
from stairways.learning.ppo import PPOUpdate, UpdateReport, generalised_advantages
from stairways.learning.ppo_config import PPOConfig
from stairways.learning.schedules import Ramp
from stairways.policies.spec import PolicySpec

N_STEPS, N_ENVS = 40, 6
CLOSE = {"rtol": 1e-6, "atol": 1e-6}
NO_BOUND = 1e9
SPECS = {
    "mlp": PolicySpec(kind="mlp", regime="concat"),
    "mlp-without-regime": PolicySpec(kind="mlp", regime="none"),
    "mlp-three-symbols": PolicySpec(kind="mlp", regime="concat", n_symbols=3),
    "lstm-own-critic": PolicySpec(kind="lstm", regime="concat", lstm_hidden=32),
    "lstm-two-layers": PolicySpec(kind="lstm", regime="none", lstm_hidden=32, lstm_layers=2, hidden=(32,)),
    "lstm-shared": PolicySpec(kind="lstm", regime="concat", lstm_hidden=32, critic_lstm="shared"),
}


@pytest.fixture(params=SPECS.values(), ids=SPECS.keys())
def network(request: pytest.FixtureRequest) -> PolicyNetwork:
    return network_of(request.param, action_gain=50.0)


@pytest.fixture(autouse=True)
def _whole_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the recurrent buffer start at its first transition instead of cutting a session in two."""
    monkeypatch.setattr(np.random, "randint", lambda high: 0)


def update_both(network: PolicyNetwork, **changed: Any) -> tuple[UpdateReport, Any]:
    """Update a network and SB3's copy of it on the same rollout; return our report and their model."""
    settings: dict[str, Any] = {
        "normalise": True,
        "max_norm": 0.5,
        "entropy": 0.013,
        "value": 0.7,
        "epochs": 1,
        "minibatch": N_STEPS * N_ENVS,
        "learning_rate": 3e-4,
        **changed,
    }
    made = oracle.Transitions.random(network, N_STEPS, N_ENVS, seed=5)
    states = oracle.random_states(network.spec, N_ENVS, seed=6)
    model = oracle.model_of(
        network,
        N_ENVS,
        N_STEPS,
        normalize_advantage=settings["normalise"],
        max_grad_norm=settings["max_norm"],
        ent_coef=settings["entropy"],
        vf_coef=settings["value"],
        n_epochs=settings["epochs"],
        batch_size=settings["minibatch"],
        learning_rate=settings["learning_rate"],
        clip_range=0.2,
    )
    oracle.fill(model, made, states)
    advantages = model.rollout_buffer.advantages.copy()
    config = PPOConfig(
        n_envs=N_ENVS,
        n_steps=N_STEPS,
        minibatch=settings["minibatch"],
        epochs=settings["epochs"],
        normalise_advantages="minibatch" if settings["normalise"] else "none",
        max_gradient_norm=settings["max_norm"],
        entropy=Ramp.constant(settings["entropy"]),
        value_coefficient=settings["value"],
        learning_rate=Ramp.constant(settings["learning_rate"]),
    )
    update = PPOUpdate(network, config, torch.Generator().manual_seed(3))
    report = update.run(made.rollout(advantages, states), 0.0)
    model.train()
    return report, model


def assert_same_parameters(network: PolicyNetwork, model: Any) -> None:
    theirs = model.policy.state_dict()
    for name, their_name in oracle.names(network.spec).items():
        np.testing.assert_allclose(network.state_dict()[name], theirs[their_name], err_msg=name, **CLOSE)


def assert_same_gradients(network: PolicyNetwork, model: Any) -> None:
    for name, their_name in oracle.names(network.spec).items():
        theirs = model.policy.get_parameter(their_name).grad
        np.testing.assert_allclose(network.get_parameter(name).grad, theirs, err_msg=name, **CLOSE)


@pytest.mark.parametrize("normalise", [True, False], ids=["normalised", "raw-advantages"])
def test_losses_and_gradients_equal_the_oracle(network: PolicyNetwork, normalise: bool) -> None:
    report, model = update_both(network, normalise=normalise, max_norm=NO_BOUND)
    logged = model.logger.name_to_value

    assert report.policy_loss == pytest.approx(logged["train/policy_gradient_loss"], abs=1e-6)
    assert report.value_loss == pytest.approx(logged["train/value_loss"], rel=1e-6)
    assert report.entropy == pytest.approx(-logged["train/entropy_loss"], abs=1e-6)
    assert report.approximate_kl == pytest.approx(logged["train/approx_kl"], abs=1e-6)
    assert report.clipped_share == pytest.approx(logged["train/clip_fraction"], abs=1e-7)
    total = report.policy_loss + 0.7 * report.value_loss - 0.013 * report.entropy
    assert total == pytest.approx(logged["train/loss"], rel=1e-6)
    assert 0.2 < report.clipped_share < 0.8, "the batch must show both branches of the clip"
    assert_same_gradients(network, model)


def test_clipped_step_of_adam_equals_the_oracle(network: PolicyNetwork) -> None:
    before = network.export_weights()
    _, model = update_both(network, learning_rate=1e-3)

    assert_same_gradients(network, model)
    squares = [(p.grad**2).sum() for p in network.parameters()]
    assert float(torch.stack(squares).sum().sqrt()) == pytest.approx(0.5, rel=1e-4), "the bound must bind"
    assert_same_parameters(network, model)
    assert all(np.abs(v - before[n]).max() > 5e-4 for n, v in network.export_weights().items())


def test_several_epochs_on_one_batch_equal_the_oracle(network: PolicyNetwork) -> None:
    _, model = update_both(network, epochs=4)
    assert_same_parameters(network, model)


def test_several_epochs_of_minibatches_equal_the_oracle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both see the same minibatches in the same order: theirs count environments first, ours time first."""
    network = network_of(SPECS["mlp"], action_gain=50.0)
    orders = torch.Generator().manual_seed(3)

    def order(count: int) -> np.ndarray:
        ours = torch.randperm(count, generator=orders).numpy()
        step, env = ours // N_ENVS, ours % N_ENVS
        return env * N_STEPS + step

    monkeypatch.setattr(np.random, "permutation", order)
    _, model = update_both(network, epochs=3, minibatch=60)
    assert_same_parameters(network, model)


def test_recurrent_forward_pass_equals_the_oracle() -> None:
    """Values and log-probabilities of every action, session starts inside the rollout."""
    for spec in (s for s in SPECS.values() if s.kind == "lstm"):
        network = network_of(spec, action_gain=50.0)
        made = oracle.Transitions.random(network, N_STEPS, N_ENVS, seed=7)
        states = oracle.random_states(spec, N_ENVS, seed=8)
        model = oracle.model_of(network, N_ENVS, N_STEPS)
        assert made.starts[1:].any()
        with torch.no_grad():
            logits, values, after = network.unroll(torch.from_numpy(made.observations), made.starts, states)
            ours = torch.log_softmax(logits, -1)
            sequence = torch.from_numpy(made.observations[..., : spec.n_trunk_inputs]).swapaxes(0, 1)
            starts = torch.from_numpy(made.starts.T.astype(np.float32)).flatten()
            flat = sequence.flatten(0, 1)
            rnn = RNNStates(tuple(states.policy), tuple(states.value or states.policy))
            for action in range(spec.n_actions):
                chosen = torch.full((len(flat),), action)
                theirs = model.policy.evaluate_actions(flat, chosen, rnn, starts)
                log_probabilities = theirs[1].reshape(N_ENVS, N_STEPS).T
                np.testing.assert_allclose(ours[..., action], log_probabilities, **CLOSE)
            their_values = theirs[0].reshape(N_ENVS, N_STEPS).T
            np.testing.assert_allclose(values, their_values, **CLOSE)
            _, their_state = model.policy.get_distribution(flat, tuple(states.policy), starts)
        for mine, other in zip(after.policy, their_state, strict=True):
            np.testing.assert_allclose(mine, other, **CLOSE)


def test_a_session_start_cuts_the_gradient_to_the_steps_before() -> None:
    network = network_of(PolicySpec(kind="lstm", regime="concat", lstm_hidden=32))
    inputs = torch.randn((6, 1, 29), generator=torch.Generator().manual_seed(1), requires_grad=True)
    starts = np.zeros((6, 1), np.bool_)
    starts[3] = True
    logits, _, _ = network.unroll(inputs, starts, network.zero_states(1))
    logits[5].sum().backward()

    reached = inputs.grad.abs().sum((1, 2)).numpy() > 0
    assert reached.tolist() == [False, False, False, True, True, True]


@pytest.mark.parametrize(("gamma", "gae_lambda"), [(0.97, 0.9), (1.0, 1.0), (0.99, 0.0)])
def test_advantages_equal_the_oracle(gamma: float, gae_lambda: float) -> None:
    network = network_of(SPECS["mlp"])
    made = oracle.Transitions.random(network, 200, 16, seed=9)
    model = oracle.model_of(network, 16, 200)
    buffer = model.rollout_buffer
    buffer.gamma, buffer.gae_lambda = gamma, gae_lambda
    oracle.fill(model, made, oracle.random_states(network.spec, 16, 0))

    ours = generalised_advantages(made.rewards, made.values, made.done, made.last_values, gamma, gae_lambda)
    scale = np.abs(buffer.advantages).max()
    np.testing.assert_allclose(ours / scale, buffer.advantages / scale, rtol=0, atol=1e-6)
    np.testing.assert_allclose((ours + made.values) / scale, buffer.returns / scale, rtol=0, atol=1e-6)


def test_advantages_by_hand() -> None:
    """Gamma 0.5, lambda 0.5; the second account's session ends with the middle step.

    First account: deltas 1 + 0.5*2 - 4 = -2, 2 + 0.5*6 - 2 = 3, 3 + 0.5*8 - 6 = 1, so advantages
    1; 3 + 0.25*1 = 3.25; -2 + 0.25*3.25 = -1.1875. Second: 1 + 0.5*2 - 4 = -2, 2 - 2 = 0 (nothing is
    carried over), 3 + 0.5*8 - 6 = 1, so advantages 1; 0; -2.
    """
    column = np.array([[1, 1], [2, 2], [3, 3]], np.float32)
    values = np.array([[4, 4], [2, 2], [6, 6]], np.float32)
    done = np.array([[False, False], [False, True], [False, False]])
    advantages = generalised_advantages(column, values, done, np.array([8, 8], np.float32), 0.5, 0.5)
    assert advantages.tolist() == [[-1.1875, -2.0], [3.25, 0.0], [1.0, 1.0]]
