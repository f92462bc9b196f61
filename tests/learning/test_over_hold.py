"""Over-hold moves the hold action's output bias and the value function, and nothing else."""

from __future__ import annotations

import pytest
import torch
from learning_builders import FAST, lstm_spec, mlp_spec, network_of, noise_market, trainer_of

from stairways.learning.network import PolicyNetwork
from stairways.learning.over_hold import free_hold_bias_only
from stairways.learning.ppo_config import PPOConfig
from stairways.learning.schedules import Ramp
from stairways.learning.steering import NoSteering
from stairways.learning.trainer import Trainer
from stairways.policies.spec import PolicySpec

SPECS = {
    "mlp": mlp_spec(),
    "mlp-three-symbols": mlp_spec(n_symbols=3),
    "lstm": lstm_spec(),
    "lstm-shared": lstm_spec(critic_lstm="shared"),
}


def over_holding(network: PolicyNetwork, epsilon: float = 1e-5) -> Trainer:
    market = noise_market(5, n_symbols=network.spec.n_symbols)
    config = PPOConfig(**FAST, learning_rate=Ramp.constant(3e-2), adam_epsilon=epsilon)
    return trainer_of(network.spec, market, config, NoSteering(5.0), network=network)


@pytest.mark.parametrize("epsilon", [1e-5, 1e-12])
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_only_the_hold_bias_and_the_value_move(spec: PolicySpec, epsilon: float) -> None:
    network = network_of(spec, action_gain=20.0)
    with torch.no_grad():
        network.policy.head.bias.copy_(torch.linspace(-0.5, 0.5, spec.n_actions))
    free_hold_bias_only(network)
    before = network.export_weights()
    trainer = over_holding(network, epsilon)
    trainer.train(5 * trainer.config.rollout_steps)
    after = network.export_weights()

    hold = (spec.n_actions - 1) // 2
    for name, value in before.items():
        if name.startswith("value."):
            assert after[name].tobytes() != value.tobytes(), name
        elif name != "policy.head.bias":
            assert after[name].tobytes() == value.tobytes(), name
    moved = after["policy.head.bias"] != before["policy.head.bias"]
    assert moved.nonzero()[0].tolist() == [hold]
    assert after["policy.head.bias"][hold] > before["policy.head.bias"][hold] + 0.1


def test_adam_gathers_nothing_for_the_masked_entries() -> None:
    """Moments that are 0 make a step of 0 / (0 + epsilon): there is nothing for epsilon to leak."""
    network = network_of(mlp_spec())
    free_hold_bias_only(network)
    trainer = over_holding(network)
    trainer.train(2 * trainer.config.rollout_steps)
    vector, bias = trainer.update.parameters.vector, network.get_parameter("policy.head.bias")
    first = (bias.data_ptr() - vector.data_ptr()) // bias.element_size()
    state = trainer.update.optimizer.state[vector]
    mean, square = (state[name][first : first + 9] for name in ("exp_avg", "exp_avg_sq"))
    others = torch.arange(9) != 4
    assert not mean[others].any()
    assert not square[others].any()
    assert mean[4] != 0


def test_the_bonus_is_removed_by_taking_the_bias_away() -> None:
    """What was learnt is buried, not lost: with the old bias the policy is the old policy, bit for bit."""
    network = network_of(mlp_spec(), action_gain=20.0)
    rows = torch.randn((100, 29), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        bias, logits = network.policy.head.bias.clone(), network(rows)[0]
    free_hold_bias_only(network)
    trainer = over_holding(network)
    trainer.train(3 * trainer.config.rollout_steps)
    with torch.no_grad():
        assert not torch.equal(network(rows)[0], logits)
        network.policy.head.bias.copy_(bias)
        assert torch.equal(network(rows)[0], logits)
