"""Drift: in parameters and in behaviour, against slow numpy and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from learning_builders import lstm_spec, mlp_spec, network_of

from stairways.learning.drift import Drift, measure_drift
from stairways.learning.network import PolicyNetwork
from stairways.policies.spec import PolicySpec


def rows_of(spec: PolicySpec, n: int = 200) -> np.ndarray:
    return np.random.default_rng(4).standard_normal((n, spec.n_observed)).astype(np.float32)


def drift_of(now: PolicyNetwork, before: PolicyNetwork, threshold: float = 0.05) -> Drift:
    weights = now.export_weights(), before.export_weights()
    return measure_drift(now.spec, weights[0], before.spec, weights[1], rows_of(now.spec), threshold)


@pytest.mark.parametrize("spec", [mlp_spec(), lstm_spec()], ids=["mlp", "lstm"])
def test_equal_policies_do_not_drift(spec: PolicySpec) -> None:
    drift = drift_of(network_of(spec), network_of(spec))
    assert (drift.l2_norm, drift.relative, drift.mean_kl, drift.equal_greedy_share) == (0.0, 0.0, 0.0, 1.0)
    assert drift.new_parameters == {}
    assert not drift.exceeded


def test_a_small_change_by_hand() -> None:
    """All weights 1 but two that move by 0.3 and 0.4: the norm is 0.5, over the root of the count."""
    spec = mlp_spec(regime="none", hidden=(4,))
    before, now = network_of(spec), network_of(spec)
    with torch.no_grad():
        for network in (before, now):
            for parameter in network.parameters():
                parameter.fill_(1.0)
        now.get_parameter("policy.0.weight")[1, 2] += 0.3
        now.get_parameter("value.head.bias")[0] -= 0.4
    count = sum(int(np.prod(shape)) for shape in spec.shapes().values())
    assert count == 2 * (26 * 4 + 4) + (4 * 9 + 9) + (4 + 1)

    drift = drift_of(now, before, threshold=0.5 / np.sqrt(count) - 1e-6)
    assert drift.l2_norm == pytest.approx(0.5, rel=1e-6)
    assert drift.relative == pytest.approx(0.5 / np.sqrt(count), rel=1e-6)
    assert drift.exceeded
    assert not drift_of(now, before, threshold=0.5 / np.sqrt(count) + 1e-6).exceeded


def test_a_shift_of_one_bias_has_a_known_divergence() -> None:
    """With no weights but biases the policy is one distribution, so the KL is a sum of nine terms."""
    spec = mlp_spec(regime="none")
    before, now = network_of(spec), network_of(spec)
    with torch.no_grad():
        for network in (before, now):
            network.policy.head.weight.zero_()
        now.policy.head.bias[4] = 1.0
    odds = np.exp(1.0)
    shifted = np.array([1.0] * 4 + [odds] + [1.0] * 4) / (8 + odds)
    drift = drift_of(now, before)
    assert drift.mean_kl == pytest.approx(float((np.log(1 / 9) - np.log(shifted)).mean()), rel=1e-6)
    # of nine equal probabilities the lowest id counts as the greedy one, and that is not hold
    assert drift.equal_greedy_share == 0.0


def test_parameters_that_gold_lacks_are_listed_apart() -> None:
    gold = network_of(mlp_spec(regime="none"))
    candidate = network_of(mlp_spec(regime="gate"))
    candidate.load_weights(candidate.export_weights() | gold.export_weights())
    with torch.no_grad():
        candidate.get_parameter("gate.2.bias").fill_(0.5)
    drift = drift_of(candidate, gold)
    assert (drift.l2_norm, drift.relative) == (0.0, 0.0)
    assert set(drift.new_parameters) == {f"gate.{i}.{part}" for i in range(3) for part in ("weight", "bias")}
    assert drift.new_parameters["gate.2.bias"] == pytest.approx(0.5 * np.sqrt(26))
    assert drift.mean_kl > 0, "behaviour sees what the shared parameters do not"


@pytest.mark.parametrize("spec", [mlp_spec(), lstm_spec(hidden=(16, 16))], ids=["mlp", "lstm"])
def test_divergence_and_greedy_share_equal_slow_numpy(spec: PolicySpec) -> None:
    before = network_of(spec, seed=1, action_gain=100.0)
    now = network_of(spec, seed=1, action_gain=100.0)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in now.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    drift = drift_of(now, before)

    divergences, equal = [], []
    rows = rows_of(spec)
    for row in rows:
        first, second = _slow_probabilities(before, row), _slow_probabilities(now, row)
        divergences.append(sum(p * np.log(p / q) for p, q in zip(first, second, strict=True)))
        equal.append(np.argmax(first) == np.argmax(second))
    assert drift.n_observations == len(rows)
    assert drift.mean_kl == pytest.approx(np.mean(divergences), rel=1e-4)
    assert drift.mean_kl > 0.01
    assert drift.equal_greedy_share == pytest.approx(np.mean(equal), abs=1e-12)
    assert 0.1 < drift.equal_greedy_share < 0.99


def _slow_probabilities(network: PolicyNetwork, row: np.ndarray) -> np.ndarray:
    """Return the probabilities of one observation in float64, layer by layer, at a session's open."""
    w = {name: value.astype(np.float64) for name, value in network.export_weights().items()}
    price, regime = row[:26].astype(np.float64), row[26:].astype(np.float64)
    hidden = np.maximum(0.0, w["gate.0.weight"] @ regime + w["gate.0.bias"])
    hidden = np.tanh(w["gate.1.weight"] @ hidden + w["gate.1.bias"])
    x = price * 2.0 / (1.0 + np.exp(-(w["gate.2.weight"] @ hidden + w["gate.2.bias"])))
    if network.spec.kind == "lstm":
        gates = w["policy.lstm.weight_ih_l0"] @ x + w["policy.lstm.bias_ih_l0"] + w["policy.lstm.bias_hh_l0"]
        i, _, g, o = np.split(gates, 4)
        cell = np.tanh(g) / (1.0 + np.exp(-i))
        x = np.tanh(cell) / (1.0 + np.exp(-o))
    for layer in range(len(network.spec.hidden)):
        x = np.tanh(w[f"policy.{layer}.weight"] @ x + w[f"policy.{layer}.bias"])
    logits = w["policy.head.weight"] @ x + w["policy.head.bias"]
    odds = np.exp(logits - logits.max())
    return odds / odds.sum()
