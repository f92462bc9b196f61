"""The network: names, initial weights, exact loading, and the same answers as the actor's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from learning_builders import lstm_spec, mlp_spec, network_of

from stairways.errors import ArtifactError
from stairways.learning.network import PolicyNetwork, RecurrentState, States
from stairways.policies.actor import forward_batch
from stairways.policies.program import compile_program
from stairways.policies.spec import PolicySpec

SPECS = {
    "mlp": PolicySpec(kind="mlp", regime="gate"),
    "mlp-concat": mlp_spec(regime="concat", n_symbols=3),
    "mlp-gradient-gate": mlp_spec(regime="gate_gradient"),
    "lstm": lstm_spec(lstm_hidden=64),
    "lstm-two-layers-shared": lstm_spec(lstm_layers=2, critic_lstm="shared", regime="none"),
}


@pytest.fixture(params=SPECS.values(), ids=SPECS.keys())
def spec(request: pytest.FixtureRequest) -> PolicySpec:
    return request.param


def test_weights_carry_names_and_shapes_of_the_specification(spec: PolicySpec) -> None:
    weights = network_of(spec).export_weights()
    assert {name: value.shape for name, value in weights.items()} == spec.shapes()
    assert {value.dtype for value in weights.values()} == {np.dtype(np.float32)}


def test_initial_weights_are_those_of_the_usual_library(spec: PolicySpec) -> None:
    """Orthogonal with gains sqrt(2), 0.01 and 1; biases 0; LSTMs uniform; the gate's last layer 0."""
    weights = PolicyNetwork(spec, torch.Generator().manual_seed(1)).export_weights()
    for name, weight in weights.items():
        if ".lstm." in name:
            bound = 1 / np.sqrt(spec.lstm_hidden)
            assert 0.9 * bound < np.abs(weight).max() <= bound
        elif weight.ndim == 1 or name == "gate.2.weight":
            assert not weight.any()
        else:
            gain = {"policy.head.weight": 0.01, "value.head.weight": 1.0}.get(name, np.sqrt(2))
            np.testing.assert_allclose(np.linalg.svd(weight, compute_uv=False), gain, rtol=1e-5)


def test_one_generator_gives_one_network_and_leaves_torchs_own_alone(spec: PolicySpec) -> None:
    before = torch.get_rng_state()
    first, again, other = (network_of(spec, seed).export_weights() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(first[name].tobytes() == again[name].tobytes() for name in first)
    assert first["policy.head.weight"].tobytes() != other["policy.head.weight"].tobytes()


def test_exported_weights_load_bit_for_bit_and_share_nothing(spec: PolicySpec) -> None:
    network, other = network_of(spec, 1), network_of(spec, 2)
    weights = network.export_weights()
    other.load_weights(weights)
    found = other.export_weights()
    assert all(found[name].tobytes() == value.tobytes() for name, value in weights.items())
    with torch.no_grad():
        other.policy.head.bias.fill_(3.0)
    assert not weights["policy.head.bias"].any()


def test_weights_of_another_specification_are_refused(spec: PolicySpec) -> None:
    network = network_of(spec)
    weights = network.export_weights()
    with pytest.raises(ArtifactError, match=r"policy\.head\.bias is missing"):
        network.load_weights({n: v for n, v in weights.items() if n != "policy.head.bias"})
    with pytest.raises(ArtifactError, match="extra is unknown"):
        network.load_weights(weights | {"extra": np.zeros(1, np.float32)})
    with pytest.raises(ArtifactError, match="not finite"):
        network.load_weights(weights | {"value.head.bias": np.array([np.nan], np.float32)})


def test_torch_agrees_with_the_actor_step_by_step(spec: PolicySpec) -> None:
    """Probabilities within 1e-6 along 30 steps of 50 accounts, recurrent states carried by each."""
    network = network_of(spec, action_gain=100.0)
    if spec.gated:
        with torch.no_grad():
            network.get_parameter("gate.2.bias").uniform_(-1, 1, generator=torch.Generator().manual_seed(5))
    rng = np.random.default_rng(3)
    rows = np.clip(rng.standard_normal((30, 50, spec.n_observed)), -5, 5).astype(np.float32)
    with torch.no_grad():
        if spec.kind == "mlp":
            logits, _ = network(torch.from_numpy(rows))
        else:
            states = network.zero_states(50)
            logits, _, _ = network.unroll(torch.from_numpy(rows), np.zeros((30, 50), bool), states)
        ours = torch.softmax(logits.double(), -1).numpy()
    program = compile_program(spec, network.export_weights())
    memory = np.zeros((50, spec.state_size), np.float32)
    actors = np.stack([forward_batch(program, step, memory) for step in rows])
    actors = torch.softmax(torch.from_numpy(actors).double(), -1).numpy()
    np.testing.assert_allclose(ours, actors, rtol=0, atol=1e-6)


@pytest.mark.parametrize("critic_lstm", ["own", "shared"])
def test_a_session_start_forgets_whatever_was_before(critic_lstm: str) -> None:
    """The answers behind a start are those from a zero state, account by account."""
    spec = lstm_spec(critic_lstm=critic_lstm)
    network = network_of(spec, action_gain=100.0)
    generator = torch.Generator().manual_seed(4)
    rows = torch.randn((12, 3, spec.n_observed), generator=generator)
    state = RecurrentState(*(torch.rand((1, 3, 32), generator=generator) for _ in "hc"))
    starts = np.zeros((12, 3), bool)
    starts[0, 0] = starts[5, 1] = starts[5, 2] = starts[9, 2] = True
    with torch.no_grad():
        given = States(state, state if critic_lstm == "own" else None)
        logits, values, _ = network.unroll(rows, starts, given)
        for account, first, stop in ((0, 0, 12), (1, 5, 12), (2, 5, 9), (2, 9, 12)):
            part = rows[first:stop, account : account + 1]
            fresh = network.unroll(part, np.zeros((stop - first, 1), bool), network.zero_states(1))
            np.testing.assert_allclose(logits[first:stop, account], fresh[0][:, 0], atol=1e-6)
            np.testing.assert_allclose(values[first:stop, account], fresh[1][:, 0], atol=1e-6)
        untouched = network.unroll(rows, np.zeros((12, 3), bool), given)[0]
    assert torch.allclose(logits[:5, 1:], untouched[:5, 1:], atol=1e-6)
    assert not torch.allclose(logits[5:, 1:], untouched[5:, 1:], atol=1e-3)


def test_a_recurrent_policy_without_a_state_is_refused() -> None:
    network = network_of(lstm_spec())
    with pytest.raises(ValueError, match="needs its state"):
        network.unroll(torch.zeros(1, 1, 29), np.zeros((1, 1), bool), States(None, None))
