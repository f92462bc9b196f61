"""The written-out gradient beside automatic differentiation of the same losses."""

from __future__ import annotations

import pytest
import torch
from learning_builders import lstm_spec, mlp_spec, network_of

from stairways.learning.feed_forward_gradient import FeedForwardGradient
from stairways.learning.over_hold import free_hold_bias_only
from stairways.learning.ppo import Batch, TiltForm, Tilting, ppo_losses, tilted_log_probabilities
from stairways.learning.ppo_config import PPOConfig
from stairways.trading.actions import order_table

N = 300
FORMS = {
    "not tilted": None,
    "coupled": TiltForm(floor=-20.0, coupling=0.1, anchor=-1.3),
    "in full": TiltForm(floor=-20.0, coupling=1.0),
    "floored": TiltForm(floor=-2.5, coupling=0.1, anchor=0.4),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
@pytest.mark.parametrize("hidden", [(16, 8), (12,), (8, 8, 8)])
@pytest.mark.parametrize(("regime", "n_symbols"), [("none", 2), ("concat", 3)])
def test_it_is_that_of_autograd(regime, n_symbols, hidden, form):
    network = network_of(mlp_spec(regime=regime, hidden=hidden, n_symbols=n_symbols), 4, action_gain=200.0)
    config = PPOConfig(clip=0.2, value_coefficient=0.7)
    draw = torch.Generator().manual_seed(5)
    n_actions = network.spec.n_actions
    observations = torch.randn(N, network.spec.n_observed, generator=draw)
    positions = torch.randint(0, n_actions, (N,), generator=draw)
    orders = torch.from_numpy(order_table(n_symbols, False)[positions.numpy()].astype("float32"))
    tilting = None
    if form is not None:
        offsets = -0.6 * orders
        offsets[:, n_actions // 2] += 0.9
        tilting = Tilting(offsets, orders == 0, form)
    logits, values = network(observations)
    actions = torch.randint(0, n_actions, (N, 1), generator=draw)
    now = tilted_log_probabilities(logits.detach(), tilting).gather(-1, actions)[:, 0]
    given = {
        "actions": actions[:, 0],
        "old_log_probabilities": now + 0.4 * torch.randn(N, generator=draw),
        "advantages": torch.randn(N, generator=draw),
        "returns": torch.randn(N, generator=draw),
    }
    losses = ppo_losses(Batch(logits=logits, values=values, tilting=tilting, **given), config, 0.05)
    (0.3 * losses.total).backward()
    expected = {name: p.grad.clone() for name, p in network.named_parameters()}
    if form is not None and form.floor > -20.0:
        assert (torch.log_softmax(logits, -1) < form.floor).any(), "the floor must bind somewhere"
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    found = FeedForwardGradient(network, config).add(
        observations, tilting=tilting, entropy_weight=0.05, weight=0.3, **given
    )
    torch.testing.assert_close(found, 0.3 * torch.stack(losses[1:]).detach(), rtol=1e-5, atol=1e-6)
    assert 0.3 * 0.2 < found[4] < 0.3 * 0.95, "both branches of the clip must be met"
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-4, atol=2e-6, msg=name)


def test_two_parts_are_the_whole():
    network = network_of(mlp_spec(regime="none"), 4, action_gain=50.0)
    draw = torch.Generator().manual_seed(1)
    given = [
        torch.randn(N, network.spec.n_observed, generator=draw),
        torch.randint(0, 9, (N,), generator=draw),
    ]
    given += [torch.randn(N, generator=draw) for _ in range(3)]
    by_hand = FeedForwardGradient(network, PPOConfig())

    def gradient_of(parts):
        for parameter in network.parameters():
            parameter.grad = torch.zeros_like(parameter)
        for part in parts:
            chosen = [tensor[part] for tensor in given]
            by_hand.add(*chosen, None, entropy_weight=0.01, weight=len(chosen[0]) / N)
        return torch.cat([p.grad.flatten() for p in network.parameters()])

    whole = gradient_of([slice(None)])
    torch.testing.assert_close(gradient_of([slice(0, 100), slice(100, N)]), whole, rtol=1e-5, atol=1e-6)


def test_other_networks_are_left_to_autograd():
    assert FeedForwardGradient.fits(network_of(mlp_spec(regime="none")))
    assert not FeedForwardGradient.fits(network_of(mlp_spec(regime="gate")))
    assert not FeedForwardGradient.fits(network_of(lstm_spec()))
    bias_only = network_of(mlp_spec(regime="none"))
    free_hold_bias_only(bias_only)
    assert not FeedForwardGradient.fits(bias_only)
