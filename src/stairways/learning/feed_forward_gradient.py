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
from numba import njit
from numpy.typing import NDArray
from torch import Tensor, nn

from stairways.learning.vector_math import tanh_in_place, through_tanh

if TYPE_CHECKING:
    from stairways.learning.network import PolicyNetwork, Trunk
    from stairways.learning.ppo import Tilting
    from stairways.learning.ppo_config import PPOConfig

N_WATCHED = 5


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

    def forward(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits ``(n, n_actions)`` and values ``(n,)``; no gradient is noted."""
        with torch.no_grad():
            inputs = self._network.trunk_inputs(observations)
            return self._policy.forward(inputs), self._value.forward(inputs)[:, 0]

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
            logits, values = self._policy.forward(inputs), self._value.forward(inputs)
            n, n_actions = logits.shape
            logit_gradient, value_gradient = torch.empty_like(logits), torch.empty_like(values)
            watched = np.zeros(N_WATCHED)
            _differentiate(
                logits.numpy(),
                values.numpy()[:, 0],
                actions.numpy(),
                old_log_probabilities.numpy(),
                advantages.numpy(),
                returns.numpy(),
                *_tilt_arrays(tilting, n_actions),
                self._config.clip,
                self._config.value_coefficient,
                entropy_weight,
                weight / n,
                logit_gradient.numpy(),
                value_gradient.numpy()[:, 0],
                watched,
            )
            self._policy.backward(logit_gradient)
            self._value.backward(value_gradient)
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
    noise = torch.empty_like(logits).exponential_(generator=generator)
    actions, taken = torch.empty(len(logits), dtype=torch.int64), torch.empty(len(logits))
    _choose_each(
        logits.numpy(), *_tilt_arrays(tilting, logits.shape[1]), noise.numpy(), actions.numpy(), taken.numpy()
    )
    return actions, taken


def _tilt_arrays(
    tilting: Tilting | None, n_actions: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_], bool, float, float, float]:
    if tilting is None:
        nothing = np.zeros((1, n_actions), np.float32), np.zeros((1, n_actions), np.bool_)
        return *nothing, False, -math.inf, 1.0, 0.0
    return tilting.offsets.numpy(), tilting.stays.numpy(), True, *tilting.form


class _Layers:
    """One trunk: its activations of the last forward pass, and the way back through them."""

    def __init__(self, trunk: Trunk) -> None:
        linear = [layer for layer in trunk.children() if isinstance(layer, nn.Linear)]
        self._parameters: list[tuple[Tensor, Tensor]] = [(x.weight, x.bias) for x in linear]
        self._inputs: list[Tensor] = []

    def forward(self, inputs: Tensor) -> Tensor:
        self._inputs = [inputs]
        for weight, bias in self._parameters[:-1]:
            inputs = torch.addmm(bias, inputs, weight.t())
            tanh_in_place(inputs.view(-1).numpy())
            self._inputs.append(inputs)
        weight, bias = self._parameters[-1]
        return torch.addmm(bias, inputs, weight.t())

    def backward(self, gradient: Tensor) -> None:
        layers = list(zip(self._parameters, self._inputs, strict=True))
        for (weight, bias), inputs in reversed(layers[1:]):
            _gradient_of(weight).addmm_(gradient.t(), inputs)
            _gradient_of(bias).add_(gradient.sum(0))
            gradient = gradient @ weight
            through_tanh(gradient.view(-1).numpy(), inputs.view(-1).numpy())
        (weight, bias), inputs = layers[0]
        # a product with few rows takes less time than the same with few columns
        _gradient_of(weight).add_(torch.mm(inputs.t(), gradient).t())
        _gradient_of(bias).add_(gradient.sum(0))


def _gradient_of(parameter: Tensor) -> Tensor:
    if parameter.grad is None:
        raise ValueError("a parameter has no gradient to add to")
    return parameter.grad


@njit(cache=True, inline="always", error_model="numpy")
def _softmax(rows: NDArray[np.float64], source: int, logarithms: int, chances: int) -> None:
    """Write log-probabilities and probabilities of one row of logits to two others."""
    top = -math.inf
    for a in range(rows.shape[1]):
        top = max(top, rows[source, a])
    total = 0.0
    for a in range(rows.shape[1]):
        rows[chances, a] = math.exp(rows[source, a] - top)
        total += rows[chances, a]
    shift, share = top + math.log(total), 1.0 / total
    for a in range(rows.shape[1]):
        rows[logarithms, a] = rows[source, a] - shift
        rows[chances, a] *= share


@njit(cache=True, error_model="numpy")
def _mass_of_staying(
    rows: NDArray[np.float64], source: int, to: int, stays: NDArray[np.bool_], i: int, anchor: float
) -> float:
    """Write the distribution among the actions that stay, hold raised by ``anchor``; return its log mass."""
    n_actions = rows.shape[1]
    hold = n_actions // 2
    top = -math.inf
    for a in range(n_actions):
        if stays[i, a]:
            top = max(top, rows[source, a] + (anchor if a == hold else 0.0))
    total = 0.0
    for a in range(n_actions):
        rows[to, a] = 0.0
        if stays[i, a]:
            rows[to, a] = math.exp(rows[source, a] + (anchor if a == hold else 0.0) - top)
            total += rows[to, a]
    for a in range(n_actions):
        rows[to, a] /= total
    return top + math.log(total)


# Rows of the array that one sample's distribution is worked out in, ``(N_ROWS, n_actions)`` float64: logits,
# scores under the tilt, log-probabilities and probabilities before it and under it, and the distributions
# among actions that stay, at the anchor and as tilted. One array: handing over eight costs as much again.
_LOGITS, _SCORES, _BASE, _BASE_CHANCES, _FOUND, _CHANCES, _ANCHORED, _STAYING = range(8)
N_ROWS = 8


@njit(cache=True, inline="always", error_model="numpy")
def _distribute(
    i: int,
    logits: NDArray[np.float32],
    offsets: NDArray[np.float32],
    stays: NDArray[np.bool_],
    tilted: bool,
    floor: float,
    coupling: float,
    anchor: float,
    rows: NDArray[np.float64],
) -> None:
    """Work out the distribution that acts in a sample: ``tilted_log_probabilities`` of :mod:`.ppo`."""
    for a in range(rows.shape[1]):
        rows[_LOGITS, a] = logits[i, a]
    if tilted:
        _softmax(rows, _LOGITS, _BASE, _BASE_CHANCES)
        for a in range(rows.shape[1]):
            rows[_LOGITS, a] = max(rows[_BASE, a], floor)
            rows[_SCORES, a] = rows[_LOGITS, a] + offsets[i, a]
        if coupling < 1.0:
            back = _mass_of_staying(rows, _LOGITS, _ANCHORED, stays, i, anchor)
            back -= _mass_of_staying(rows, _SCORES, _STAYING, stays, i, 0.0)
            for a in range(rows.shape[1]):
                if stays[i, a]:
                    rows[_SCORES, a] += (1.0 - coupling) * back
        _softmax(rows, _SCORES, _FOUND, _CHANCES)
    else:
        _softmax(rows, _LOGITS, _FOUND, _CHANCES)


@njit(cache=True, error_model="numpy")
def _choose_each(
    logits: NDArray[np.float32],
    offsets: NDArray[np.float32],
    stays: NDArray[np.bool_],
    tilted: bool,
    floor: float,
    coupling: float,
    anchor: float,
    noise: NDArray[np.float32],
    actions: NDArray[np.int64],
    taken: NDArray[np.float32],
) -> None:
    rows = np.empty((N_ROWS, logits.shape[1]))
    for i in range(len(actions)):
        _distribute(i, logits, offsets, stays, tilted, floor, coupling, anchor, rows)
        best, top = 0, -math.inf
        for a in range(logits.shape[1]):
            score = rows[_FOUND, a] - math.log(noise[i, a])
            if score > top:
                best, top = a, score
        actions[i] = best
        taken[i] = rows[_FOUND, best]


@njit(cache=True, error_model="numpy")
def _differentiate(
    logits: NDArray[np.float32],
    values: NDArray[np.float32],
    actions: NDArray[np.int64],
    old_log_probabilities: NDArray[np.float32],
    advantages: NDArray[np.float32],
    returns: NDArray[np.float32],
    offsets: NDArray[np.float32],
    stays: NDArray[np.bool_],
    tilted: bool,
    floor: float,
    coupling: float,
    anchor: float,
    clip: float,
    value_coefficient: float,
    entropy_weight: float,
    scale: float,
    logit_gradient: NDArray[np.float32],
    value_gradient: NDArray[np.float32],
    watched: NDArray[np.float64],
) -> None:
    n, n_actions = logits.shape
    rows, gradient = np.empty((N_ROWS, n_actions)), np.empty(n_actions)
    coupled = tilted and coupling < 1.0
    for i in range(n):
        _distribute(i, logits, offsets, stays, tilted, floor, coupling, anchor, rows)
        action = actions[i]
        advantage = float(advantages[i])
        log_ratio = rows[_FOUND, action] - old_log_probabilities[i]
        ratio = math.exp(log_ratio)
        clipped = min(max(ratio, 1.0 - clip), 1.0 + clip)
        # where the clipped branch is the smaller one, nothing passes
        passes = ratio == clipped or advantage * ratio < advantage * clipped
        total, entropy = 0.0, 0.0
        for a in range(n_actions):
            entropy -= rows[_CHANCES, a] * rows[_FOUND, a]
            gradient[a] = entropy_weight * rows[_CHANCES, a] * (rows[_FOUND, a] + 1.0)
            if a == action and passes:
                gradient[a] -= advantage * ratio
            total += gradient[a]
        for a in range(n_actions):
            gradient[a] -= rows[_CHANCES, a] * total
        if tilted:
            _through_the_tilt(gradient, stays, i, floor, coupling, coupled, rows)
        for a in range(n_actions):
            logit_gradient[i, a] = scale * gradient[a]
        error = float(values[i]) - float(returns[i])
        value_gradient[i] = scale * value_coefficient * 2.0 * error
        watched[0] -= scale * min(advantage * ratio, advantage * clipped)
        watched[1] += scale * error * error
        watched[2] += scale * entropy
        watched[3] += scale * (ratio - 1.0 - log_ratio)
        watched[4] += scale if abs(ratio - 1.0) > clip else 0.0


@njit(cache=True, error_model="numpy")
def _through_the_tilt(
    gradient: NDArray[np.float64],
    stays: NDArray[np.bool_],
    i: int,
    floor: float,
    coupling: float,
    coupled: bool,
    rows: NDArray[np.float64],
) -> None:
    """Turn the gradient of tilted scores into that of the logits, in place."""
    if coupled:
        mass = 0.0
        for a in range(len(gradient)):
            if stays[i, a]:
                mass += gradient[a]
        for a in range(len(gradient)):
            if stays[i, a]:
                gradient[a] += (1.0 - coupling) * mass * (rows[_ANCHORED, a] - rows[_STAYING, a])
    total = 0.0
    for a in range(len(gradient)):
        if rows[_BASE, a] < floor:
            gradient[a] = 0.0
        total += gradient[a]
    for a in range(len(gradient)):
        gradient[a] -= rows[_BASE_CHANCES, a] * total
