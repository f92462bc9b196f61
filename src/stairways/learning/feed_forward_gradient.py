"""PPO's gradient of a feed-forward policy and value, written out.

Automatic differentiation of these losses is some eighty small operations around six matrix products, and they
take as long as the products. Here one compiled pass goes from logits to their gradients; what is left are the
products and the tanh. The plain twin is :func:`stairways.learning.ppo.ppo_losses` under autograd.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stairways.learning import distribution_kernels
from stairways.learning.distribution_kernels import N_WATCHED, VALUE_LOSS, differentiate, through_squares
from stairways.learning.vector_math import tanh_in_place, through_tanh

if TYPE_CHECKING:
    from stairways.learning.network import PolicyNetwork, Trunk
    from stairways.learning.ppo import Tilting
    from stairways.learning.ppo_config import PPOConfig


class FeedForwardGradient:
    """Adds the gradient of PPO's losses to the parameters' gradients.

    Args:
        network: A feed-forward policy without a gate, every parameter trained.
        config: PPO's settings.
    """

    def __init__(self, network: PolicyNetwork, config: PPOConfig) -> None:
        self._network = network
        self._config = config
        self._policy, self._value = _Layers(network.policy), _Layers(network.value)

    @staticmethod
    def fits(network: PolicyNetwork) -> bool:
        """Whether a network is one that this can differentiate."""
        plain = network.spec.kind == "mlp" and not network.spec.gated
        parameters = list(network.parameters())
        trained = all(p.requires_grad and not p._backward_hooks for p in parameters)
        return plain and trained and parameters[0].device.type == "cpu"

    def logits(self, observations: Tensor) -> Tensor:
        """Return logits ``(n, n_actions)``; no gradient is noted."""
        with torch.no_grad():
            return self._policy.forward(self._network.trunk_inputs(observations)).t()

    def values(self, observations: Tensor) -> Tensor:
        """Return values ``(n,)``; no gradient is noted."""
        with torch.no_grad():
            return self._value.forward(self._network.trunk_inputs(observations))[0]

    def add(
        self,
        observations: Tensor,
        actions: Tensor,
        old_log_probabilities: Tensor,
        advantages: Tensor,
        returns: Tensor,
        tilting: Tilting | None,
        *,
        entropy_weight: float,
        weight: float,
    ) -> Tensor:
        """Add ``weight`` times the gradient of some samples' mean losses.

        Args:
            observations: ``(n, n_inputs)``.
            actions: ``(n,)`` int64; the others likewise float32.
            old_log_probabilities: Of the actions, when they were taken.
            advantages: As they enter the loss.
            returns: Targets of the value.
            tilting: The tilt of each sample.
            entropy_weight: Weight of the entropy.
            weight: Share of the samples in the minibatch.

        Returns:
            ``(5,)`` weighted means: policy loss, value loss, entropy, approximate KL, share clipped.
        """
        with torch.no_grad():
            inputs = self._network.trunk_inputs(observations)
            scale, watched = weight / len(inputs), np.zeros(N_WATCHED)
            # one trunk there and back, then the other: its activations are still in a near cache
            values = self._value.forward(inputs)
            errors = values.numpy()[0]
            watched[VALUE_LOSS] = through_squares(
                errors, returns.numpy(), scale, scale * self._config.value_coefficient
            )
            self._value.backward(values)
            logits = self._policy.forward(inputs)
            differentiate(
                logits.numpy(),
                actions.numpy(),
                old_log_probabilities.numpy(),
                advantages.numpy(),
                *_tilt_arrays(tilting, len(logits)),
                self._config.clip,
                entropy_weight,
                scale,
                watched,
            )
            self._policy.backward(logits)
        return torch.from_numpy(watched).float()


def choose_each(logits: Tensor, tilting: Tilting | None, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw an action of each row under the tilt: the largest log-probability less that of exponential noise.

    Which is a draw from the distribution (Gumbel's trick), in one compiled pass.

    Args:
        logits: ``(n, n_actions)`` on the CPU.
        tilting: The tilt.
        generator: Source of the noise.

    Returns:
        ``(n,)`` int64 actions and ``(n,)`` float32 log-probabilities of them.
    """
    noise = torch.empty(logits.shape).exponential_(generator=generator)
    actions, taken = torch.empty(len(logits), dtype=torch.int64), torch.empty(len(logits))
    tilt = _tilt_arrays(tilting, logits.shape[1])
    by_action = logits.t().contiguous()
    distribution_kernels.choose_each(by_action.numpy(), *tilt, noise.numpy(), actions.numpy(), taken.numpy())
    return actions, taken


def _tilt_arrays(
    tilting: Tilting | None, n_actions: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_], bool, float, float, float]:
    if tilting is None:
        nothing = np.zeros((1, n_actions), np.float32), np.zeros((1, n_actions), np.bool_)
        return *nothing, False, -math.inf, 1.0, 0.0
    return tilting.offsets.numpy(), tilting.stays.numpy(), True, *tilting.form


class _Layers:
    """One trunk: its activations of the last forward pass, and the way back through them.

    Its outputs stand before the samples: a product with few rows takes less time than one with few columns.
    """

    def __init__(self, trunk: Trunk) -> None:
        linear = [layer for layer in trunk.children() if isinstance(layer, nn.Linear)]
        self._parameters: list[tuple[Tensor, Tensor]] = [(x.weight, x.bias) for x in linear]
        self._inputs: list[Tensor] = []

    def forward(self, inputs: Tensor) -> Tensor:
        """Return ``(n_outputs, n)``."""
        self._inputs = [inputs]
        for weight, bias in self._parameters[:-1]:
            inputs = torch.addmm(bias, inputs, weight.t())
            tanh_in_place(inputs.view(-1).numpy())
            self._inputs.append(inputs)
        weight, bias = self._parameters[-1]
        return torch.addmm(bias[:, None], weight, inputs.t())

    def backward(self, gradient: Tensor) -> None:
        """Add to the parameters' gradients; ``gradient`` is ``(n_outputs, n)``."""
        layers = list(zip(self._parameters, self._inputs, strict=True))
        gradient = gradient.t()
        for (weight, bias), inputs in reversed(layers[1:]):
            _gradient_of(weight).addmm_(gradient.t(), inputs)
            _gradient_of(bias).add_(gradient.sum(0))
            gradient = gradient @ weight
            through_tanh(gradient.view(-1).numpy(), inputs.view(-1).numpy())
        (weight, bias), inputs = layers[0]
        _gradient_of(weight).add_(torch.mm(inputs.t(), gradient).t())
        _gradient_of(bias).add_(gradient.sum(0))


def _gradient_of(parameter: Tensor) -> Tensor:
    if parameter.grad is None:
        raise ValueError("a parameter has no gradient to add to")
    return parameter.grad
