"""The actor: equal to torch, independent of the batch, exact where it claims to be."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numba import njit

from markets import random_weights
from stairways.learning.network import PolicyNetwork
from stairways.policies.actor import forward_batch, log_probabilities, sigmoid, tanh
from stairways.policies.program import compile_program
from stairways.policies.spec import GATE_WIDTHS, PolicySpec

REGIMES = ("none", "concat", "gate", "gate_gradient")
LSTMS = (("lstm", 32, 1), ("lstm", 48, 2))
KINDS = (("mlp", 0, 1), *LSTMS)


@njit
def _each_tanh(numbers):
    return np.array([tanh(x) for x in numbers])


@njit
def _each_sigmoid(numbers):
    return np.array([sigmoid(x) for x in numbers])


def _spec(kind, regime="none", n_symbols=2, **more) -> PolicySpec:
    name, hidden, layers = kind
    made = {
        "kind": name,
        "lstm_hidden": hidden,
        "lstm_layers": layers,
        "regime": regime,
        "n_symbols": n_symbols,
    }
    return PolicySpec(**{**made, "hidden": (64, 64), **more})


def _observations(spec, *shape, seed=0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    drawn = np.clip(rng.normal(0.0, 1.5, (*shape, spec.n_observed)), -5.0, 5.0)
    return drawn.astype(np.float32)


def _network(spec, weights) -> PolicyNetwork:
    network = PolicyNetwork(spec, torch.Generator().manual_seed(0))
    network.load_weights(weights)
    return network


def _unroll(program, observations) -> np.ndarray:
    """Return the actor's logits along time, ``(n_steps, n_envs, n_actions)``, from zero states."""
    states = np.zeros((observations.shape[1], program.state_size), np.float32)
    return np.stack([forward_batch(program, rows, states) for rows in observations])


def _probabilities(logits) -> np.ndarray:
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("n_symbols", [2, 3])
@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("kind", KINDS)
def test_it_equals_torch(kind, regime, n_symbols):
    spec = _spec(kind, regime, n_symbols)
    weights = random_weights(spec, seed=5)
    observations = _observations(spec, 40, 16)
    network = _network(spec, weights)
    with torch.no_grad():
        if spec.kind == "mlp":
            expected = network(torch.from_numpy(observations))[0].numpy()
        else:
            starts = np.zeros((40, 16), bool)
            expected = network.unroll(torch.from_numpy(observations), starts, network.zero_states(16))[
                0
            ].numpy()
    found = _unroll(compile_program(spec, weights), observations)
    assert np.abs(found).max() > 0.5, "logits so flat would prove nothing"
    np.testing.assert_allclose(_probabilities(found), _probabilities(expected), rtol=0.0, atol=2e-6)


def test_an_odd_shape_equals_torch():
    """Layers that grow, shrink and differ in number: the scratch space is wide enough for each."""
    for hidden in ((5,), (200, 3, 130), (1,)):
        spec = _spec(("lstm", 32, 2), "gate", hidden=hidden)
        weights = random_weights(spec, seed=8)
        observations = _observations(spec, 5, 3)
        network = _network(spec, weights)
        with torch.no_grad():
            starts = np.zeros((5, 3), bool)
            expected = network.unroll(torch.from_numpy(observations), starts, network.zero_states(3))[
                0
            ].numpy()
        found = _unroll(compile_program(spec, weights), observations)
        np.testing.assert_allclose(_probabilities(found), _probabilities(expected), rtol=0.0, atol=2e-6)


@pytest.mark.parametrize("regime", ["none", "gate"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_row_does_not_depend_on_its_batch(kind, regime):
    spec = _spec(kind, regime)
    program = compile_program(spec, random_weights(spec, seed=6))
    observations = _observations(spec, 3, 65)
    together = np.random.default_rng(1).normal(0, 0.5, (65, program.state_size)).astype(np.float32)
    alone = together.copy()
    for step in observations:
        batch = forward_batch(program, step, together)
        single = np.concatenate(
            [forward_batch(program, step[i : i + 1], alone[i : i + 1]) for i in range(65)]
        )
        assert batch.tobytes() == single.tobytes()
        assert together.tobytes() == alone.tobytes()


@pytest.mark.parametrize("kind", LSTMS)
def test_the_recurrent_state_matters_and_is_moved(kind):
    spec = _spec(kind)
    program = compile_program(spec, random_weights(spec, seed=6))
    observations = _observations(spec, 1, 4)[0]
    states = np.zeros((4, program.state_size), np.float32)
    first = forward_batch(program, observations, states)
    assert (states != 0.0).all()
    assert (forward_batch(program, observations, states) != first).any(axis=1).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_gate_whose_last_layer_is_zero_is_the_identity_bit_for_bit(kind):
    plain, gated = _spec(kind), _spec(kind, "gate")
    weights = random_weights(gated, seed=7)
    weights["gate.2.weight"][:] = 0.0
    weights["gate.2.bias"][:] = 0.0
    shared = {name: weights[name] for name in plain.shapes()}
    observations = _observations(gated, 4, 50)
    with_gate = _unroll(compile_program(gated, weights), observations)
    assert with_gate.tobytes() == _unroll(compile_program(plain, shared), observations).tobytes()
    weights["gate.2.bias"][:] = 0.3
    assert with_gate.tobytes() != _unroll(compile_program(gated, weights), observations).tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_gate_passes_its_input_through(kind):
    """Row 11: p g + stop(p) (1 - g) is p, whatever the gate says."""
    plain, gated = _spec(kind), _spec(kind, "gate_gradient")
    weights = random_weights(gated, seed=9, scale=3.0)
    shared = {name: weights[name] for name in plain.shapes()}
    observations = _observations(gated, 4, 50)
    found = _unroll(compile_program(gated, weights), observations)
    assert found.tobytes() == _unroll(compile_program(plain, shared), observations).tobytes()


def test_the_gradient_gate_of_torch_is_p_too_but_for_rounding():
    spec = _spec(KINDS[0], "gate_gradient")
    network = _network(spec, random_weights(spec, seed=9, scale=3.0))
    observations = torch.from_numpy(_observations(spec, 200))
    with torch.no_grad():
        passed = network.trunk_inputs(observations)
    torch.testing.assert_close(passed, observations[:, : spec.n_price], rtol=2e-7, atol=0.0)


def test_the_gate_by_hand():
    spec = _spec(KINDS[0], "gate", hidden=(1,))
    weights = {name: value.astype(np.float64) for name, value in random_weights(spec, seed=3).items()}
    program = compile_program(spec, {name: value.astype(np.float32) for name, value in weights.items()})
    rows = _observations(spec, 20).astype(np.float64)
    price, regime = rows[:, :26], rows[:, 26:]

    def layer(name, inputs):
        return inputs @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    opened = layer("gate.2", np.tanh(layer("gate.1", np.maximum(layer("gate.0", regime), 0.0))))
    gated = price * 2.0 / (1.0 + np.exp(-opened))
    logits = layer("policy.head", np.tanh(layer("policy.0", gated)))
    found = forward_batch(program, rows.astype(np.float32), np.zeros((20, 0), np.float32))
    np.testing.assert_allclose(found, logits, rtol=0.0, atol=5e-6)
    assert weights["gate.1.weight"].shape == GATE_WIDTHS[::-1]


def test_tanh_and_sigmoid_are_accurate_to_3e_7():
    grid = np.concatenate([np.linspace(-30, 30, 600_001), np.geomspace(1e-30, 1e-2, 2_000)]).astype(
        np.float32
    )
    exact = grid.astype(np.float64)
    assert np.abs(_each_tanh(grid) - np.tanh(exact)).max() < 3e-7
    assert np.abs(_each_sigmoid(grid) - 1.0 / (1.0 + np.exp(-exact))).max() < 3e-7


def test_tanh_and_sigmoid_saturate_and_keep_their_sign():
    far = np.array([18.0, 24.0, 1e3, 3e38, np.inf], np.float32)
    assert np.abs(_each_tanh(far) - 1.0).max() < 2e-7
    np.testing.assert_array_equal(_each_tanh(-far), -_each_tanh(far))
    np.testing.assert_array_equal(_each_tanh(np.zeros(1, np.float32)), [0.0])
    assert (_each_sigmoid(far) >= 1.0 - 2e-7).all()
    grid = np.linspace(-40, 40, 100_001, dtype=np.float32)
    assert np.abs(_each_tanh(grid)).max() <= 1.0
    assert _each_sigmoid(grid).min() >= 0.0
    assert _each_sigmoid(grid).max() <= 1.0


def test_tanh_is_odd_bit_for_bit():
    grid = np.random.default_rng(0).uniform(0, 12, 100_000).astype(np.float32)
    np.testing.assert_array_equal(_each_tanh(-grid), -_each_tanh(grid))


def test_log_probabilities_are_a_log_softmax_with_a_floor():
    logits = np.array([3.0, -40.0, 1.0, 700.0, 699.0], np.float32)
    out = np.empty(5)
    log_probabilities(logits, -20.0, out)
    exact = logits - 700.0 - np.log1p(np.exp(-1.0))
    np.testing.assert_allclose(out, np.maximum(exact, -20.0), rtol=1e-12)
    log_probabilities(logits, -1e300, out)
    np.testing.assert_allclose(out, exact, rtol=1e-12)


@pytest.mark.parametrize("regime", REGIMES)
def test_the_regime_inputs_are_read_where_they_should_be(regime):
    spec = _spec(KINDS[0], regime)
    program = compile_program(spec, random_weights(spec, seed=2))
    rows = _observations(spec, 30)
    changed = rows.copy()
    changed[:, spec.n_price :] *= -1.0
    blank = np.zeros((30, 0), np.float32)
    same = forward_batch(program, rows, blank).tobytes() == forward_batch(program, changed, blank).tobytes()
    assert same == (regime in {"none", "gate_gradient"})
