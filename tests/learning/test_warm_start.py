"""Warm start: the new policy is gold at step 0, and its gate learns from there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from learning_builders import FAST, mlp_spec, network_of, noise_market, tilt_steering, trainer_of

from stairways.errors import ArtifactError
from stairways.learning.network import PolicyNetwork, RecurrentState, RegimeGate, States
from stairways.learning.ppo_config import PPOConfig
from stairways.learning.schedules import Ramp
from stairways.learning.warm_start import WarmStart, candidate_spec, probability_difference, warm_start
from stairways.policies.actor import forward_batch
from stairways.policies.program import compile_program
from stairways.policies.spec import PolicySpec

GOLDS = {
    "mlp": PolicySpec(kind="mlp"),
    "mlp-three-symbols": PolicySpec(kind="mlp", n_symbols=3),
    "lstm": PolicySpec(kind="lstm", lstm_hidden=64),
    "lstm-two-layers": PolicySpec(kind="lstm", lstm_hidden=32, lstm_layers=2),
    "lstm-shared": PolicySpec(kind="lstm", lstm_hidden=32, critic_lstm="shared"),
}


@pytest.fixture(params=GOLDS.values(), ids=GOLDS.keys())
def gold(request: pytest.FixtureRequest) -> PolicyNetwork:
    return network_of(request.param, seed=5, action_gain=200.0)


def started(gold: PolicyNetwork, regime: Any = "gate", seed: int = 3) -> WarmStart:
    return warm_start(gold.spec, gold.export_weights(), regime, np.random.SeedSequence(seed))


def as_network(start: WarmStart) -> PolicyNetwork:
    network = network_of(start.spec)
    network.load_weights(start.weights)
    return network


def observed(spec: PolicySpec, n: int, seed: int = 1) -> torch.Tensor:
    rows = np.random.default_rng(seed).standard_normal((n, spec.n_observed))
    return torch.from_numpy(np.clip(rows, -5, 5).astype(np.float32))


def probabilities(network: PolicyNetwork, rows: torch.Tensor) -> np.ndarray:
    """Return torch's probabilities, with recurrent states in the middle of a session."""
    spec = network.spec
    with torch.no_grad():
        if spec.kind == "mlp":
            logits, _ = network(rows)
        else:
            generator = torch.Generator().manual_seed(9)
            shape = (spec.lstm_layers, len(rows), spec.lstm_hidden)
            state = RecurrentState(*(torch.rand(shape, generator=generator) * 2 - 1 for _ in "hc"))
            logits = network.unroll(rows[None], np.zeros((1, len(rows)), bool), States(state, state))[0][0]
        return torch.softmax(logits.double(), -1).numpy()


@pytest.mark.parametrize("regime", ["gate", "gate_gradient"])
def test_the_new_policy_equals_gold_over_ten_thousand_observations(gold: PolicyNetwork, regime: str) -> None:
    start = started(gold, regime)
    assert start.n_observations == 10_000
    assert start.max_probability_difference <= 1e-6
    assert start.spec == gold.spec.model_copy(update={"regime": regime})
    assert start.new_parameters == tuple(f"gate.{i}.{part}" for i in range(3) for part in ("bias", "weight"))
    # torch's own networks agree with each other, too, on other observations
    rows = observed(gold.spec, 10_000)
    reference = probabilities(gold, rows)
    assert np.abs(probabilities(as_network(start), rows) - reference).max() <= 1e-6
    assert np.ptp(reference, axis=0).max() > 0.3, "the probabilities must depend on the observation"


def test_gold_keeps_every_weight_bit_for_bit(gold: PolicyNetwork) -> None:
    weights = gold.export_weights()
    before = {name: value.copy() for name, value in weights.items()}
    start = warm_start(gold.spec, weights, "gate", np.random.SeedSequence(3))
    for name, value in before.items():
        assert start.weights[name].tobytes() == value.tobytes(), name
        assert not np.shares_memory(start.weights[name], weights[name])
    as_network(start)
    assert all(weights[name].tobytes() == value.tobytes() for name, value in before.items())


def test_the_probe_sees_a_difference_where_there_is_one(gold: PolicyNetwork) -> None:
    start = started(gold)
    bent = {name: value.copy() for name, value in start.weights.items()}
    bent["gate.2.bias"][3] = 1e-3
    seed = np.random.SeedSequence(4)
    assert probability_difference(gold.spec, gold.export_weights(), start.spec, bent, seed, 500) > 1e-6


def test_regime_inputs_have_no_effect_at_first_and_one_after_training() -> None:
    gold = network_of(mlp_spec(regime="none"), action_gain=50.0)
    start = started(gold)
    rows = np.asarray(observed(gold.spec, 500)).copy()
    others = rows.copy()
    others[:, gold.spec.n_price :] *= -1.0
    states = np.zeros((500, 0), np.float32)

    def effect(weights: dict[str, np.ndarray]) -> float:
        program = compile_program(start.spec, weights)
        logits = (forward_batch(program, seen, states) for seen in (rows, others))
        return float(np.abs(np.subtract(*logits)).max())

    assert effect(start.weights) == 0.0
    market = noise_market(3)
    config = PPOConfig(**FAST, learning_rate=Ramp.constant(3e-3))
    trainer = trainer_of(start.spec, market, config, tilt_steering(market), network=as_network(start))
    trainer.train(3 * config.rollout_steps)
    assert effect(trainer.network.export_weights()) > 1e-2


@pytest.mark.parametrize("kind", ["mlp", "lstm"])
def test_the_gate_learns_from_the_first_step(kind: str) -> None:
    """Only its last layer gets a gradient at first, because that layer is 0; then the others do."""
    start = started(network_of(GOLDS[kind], action_gain=50.0))
    market = noise_market(3)
    config = PPOConfig(**{**FAST, "epochs": 1, "minibatch": 192})
    trainer = trainer_of(start.spec, market, config, network=as_network(start))
    gradients = []
    for _ in range(2):
        trainer.train(config.rollout_steps)
        gate = {n: p.grad for n, p in trainer.network.named_parameters() if n.startswith("gate.")}
        gradients.append({name: float(gradient.abs().max()) for name, gradient in gate.items()})

    first, second = gradients
    assert first["gate.2.weight"] > 1e-6
    assert first["gate.2.bias"] > 1e-6
    assert first["gate.0.weight"] == first["gate.1.weight"] == 0.0
    assert second["gate.0.weight"] > 0
    assert second["gate.1.weight"] > 0


def test_the_plans_gate_is_the_identity_and_gets_no_gradient() -> None:
    """p g + stop(p) (1 - g): its value is p, d/dg is p - stop(p) = 0, and d/dp is g, not 1."""
    gate = RegimeGate(26, "gradient").double()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in gate.parameters():
            parameter.normal_(generator=generator)
    price = torch.randn((64, 26), generator=generator, dtype=torch.float64, requires_grad=True)
    regime = torch.randn((64, 3), generator=generator, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn((64, 26), generator=generator, dtype=torch.float64)
    opened: list[torch.Tensor] = []
    last = gate.get_submodule("2")
    last.register_forward_hook(lambda *call: opened.append(torch.sigmoid(call[2]).detach()))

    out = gate(price, regime)
    out.backward(upstream)
    np.testing.assert_allclose(out.detach(), price.detach(), rtol=0, atol=2e-15)
    assert np.ptp(opened[0].numpy()) > 0.9, "the gate must be open here and shut there"
    for name, parameter in gate.named_parameters():
        assert parameter.grad is not None
        assert not parameter.grad.any(), name
    assert not regime.grad.any()
    np.testing.assert_allclose(price.grad, opened[0] * upstream, rtol=1e-12)


def test_training_with_the_plans_gate_leaves_the_gate_as_it_was() -> None:
    start = started(network_of(mlp_spec(regime="none"), action_gain=50.0), "gate_gradient")
    market = noise_market(3)
    config = PPOConfig(**FAST, learning_rate=Ramp.constant(3e-3))
    trainer = trainer_of(start.spec, market, config, tilt_steering(market), network=as_network(start))
    trainer.train(2 * config.rollout_steps)
    weights = trainer.network.export_weights()
    for name, value in start.weights.items():
        moved = weights[name].tobytes() != value.tobytes()
        assert moved is not name.startswith("gate."), name


def test_the_feature_gate_scales_by_twice_the_sigmoid() -> None:
    gate = RegimeGate(26, "feature")
    with torch.no_grad():
        gate.get_submodule("2").weight.zero_()
        gate.get_submodule("2").bias.copy_(torch.linspace(-2, 2, 26))
    price = torch.full((1, 26), 3.0)
    wanted = 3.0 * 2.0 / (1.0 + np.exp(-np.linspace(-2, 2, 26)))
    np.testing.assert_allclose(gate(price, torch.ones(1, 3)).detach()[0], wanted, rtol=1e-6)


def test_forms_that_cannot_be_carried_over_are_refused() -> None:
    none, concat, gate = (mlp_spec(regime=regime) for regime in ("none", "concat", "gate"))
    with pytest.raises(ArtifactError, match="without regime inputs can't be warm-started into concat"):
        candidate_spec(none, "concat")
    with pytest.raises(ArtifactError, match="as concat, the candidate is asked to take them as gate"):
        candidate_spec(concat, "gate")
    with pytest.raises(ArtifactError, match="as gate, the candidate is asked to take them as none"):
        candidate_spec(gate, "none")
    for spec in (none, concat, gate):
        assert candidate_spec(spec, spec.regime) == spec


def test_a_gold_with_a_gate_of_its_own_keeps_it() -> None:
    gold = network_of(mlp_spec(), action_gain=50.0)
    with torch.no_grad():
        gold.get_parameter("gate.2.bias").fill_(0.4)
    start = started(gold)
    assert start.new_parameters == ()
    assert start.max_probability_difference == 0.0
    assert (start.weights["gate.2.bias"] == np.float32(0.4)).all()


def test_gold_with_other_weights_than_its_specification_is_refused() -> None:
    gold = network_of(mlp_spec(regime="none"))
    weights = gold.export_weights() | {"policy.0.weight": np.zeros((16, 25), np.float32)}
    with pytest.raises(ArtifactError, match=r"policy\.0\.weight has shape"):
        warm_start(gold.spec, weights, "gate", np.random.SeedSequence(0))
