"""Policy and value networks in torch; weights carry the names of ``PolicySpec.shapes``."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stairways.policies.program import Weights, check_weights
from stairways.policies.spec import GATE_WIDTHS, PolicySpec
from stairways.trading.observation import N_REGIME_FEATURES, position_columns

HIDDEN_GAIN = math.sqrt(2.0)
ACTION_GAIN = 0.01
VALUE_GAIN = 1.0


class RecurrentState(NamedTuple):
    """State of one LSTM stack: h and c, each ``(n_layers, n, hidden)``."""

    h: Tensor
    c: Tensor


class States(NamedTuple):
    """Recurrent states of policy and value; None where there is no LSTM."""

    policy: RecurrentState | None
    value: RecurrentState | None


class RegimeGate(nn.Module):
    """Feature-level gate: price inputs x 2 sigmoid(W h(regime)); W starts at 0, so it is the identity.

    With ``mode="gradient"`` it is the plan's ``p g + stop(p)(1 - g)``: its value is p whatever the
    gate says, and no gradient reaches the gate through the product's value.
    """

    def __init__(self, n_price: int, mode: str) -> None:
        super().__init__()
        self.mode = mode
        widths = (N_REGIME_FEATURES, *GATE_WIDTHS, n_price)
        for index, (fan_in, fan_out) in enumerate(pairwise(widths)):
            self.add_module(str(index), nn.Linear(fan_in, fan_out))

    def forward(self, price: Tensor, regime: Tensor) -> Tensor:
        """Gate ``(..., n_price)`` inputs by ``(..., 3)`` regime inputs."""
        layers = list(self.children())
        processed = torch.tanh(layers[1](torch.relu(layers[0](regime))))
        opened = torch.sigmoid(layers[2](processed))
        if self.mode == "gradient":
            return price * opened + price.detach() * (1 - opened)
        return price * (2 * opened)


class Trunk(nn.Module):
    """Optional LSTM, tanh layers, one linear head."""

    def __init__(self, spec: PolicySpec, n_out: int, *, with_lstm: bool) -> None:
        super().__init__()
        width = spec.n_trunk_inputs
        if spec.kind == "lstm":
            if with_lstm:
                self.lstm = nn.LSTM(width, spec.lstm_hidden, spec.lstm_layers)
            width = spec.lstm_hidden
        self._depth = len(spec.hidden)
        for index, fan_out in enumerate(spec.hidden):
            self.add_module(str(index), nn.Linear(width, fan_out))
            width = fan_out
        self.head = nn.Linear(width, n_out)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map ``(..., n_inputs)`` to ``(..., n_out)``, behind the LSTM."""
        for index in range(self._depth):
            inputs = torch.tanh(self.get_submodule(str(index))(inputs))
        out: Tensor = self.head(inputs)
        return out


class PolicyNetwork(nn.Module):
    """Policy and value of one specification.

    Args:
        spec: Architecture.
        generator: Source of the initial weights: orthogonal, gains sqrt(2), 0.01 for actions and 1
            for the value, as in stable-baselines3; LSTMs uniform in ±1/sqrt(hidden).
    """

    def __init__(self, spec: PolicySpec, generator: torch.Generator) -> None:
        super().__init__()
        self.spec = spec
        # torch fills new layers from its global generator, which is not ours to move
        with torch.random.fork_rng(devices=[]):
            if spec.gated:
                mode = "gradient" if spec.regime == "gate_gradient" else "feature"
                self.gate = RegimeGate(spec.n_price, mode)
            self.policy = Trunk(spec, spec.n_actions, with_lstm=True)
            self.value = Trunk(spec, 1, with_lstm=spec.critic_lstm == "own")
        _initialise(self, generator)

    def trunk_inputs(self, observations: Tensor) -> Tensor:
        """Return what the trunks see of ``(..., n_inputs)`` observations."""
        spec = self.spec
        if spec.regime == "concat":
            return observations
        price = observations[..., : spec.n_price]
        if not spec.gated:
            return price
        gated: Tensor = self.gate(price, observations[..., spec.n_price :])
        return gated

    def forward(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits ``(n, n_actions)`` and values ``(n,)`` of a feed-forward policy."""
        inputs = self.trunk_inputs(observations)
        return self.policy(inputs), self.value(inputs).squeeze(-1)

    def policy_at(self, observations: Tensor, legs: Tensor) -> Tensor:
        """Return a feed-forward policy's logits at every joint position, ``(n, n_positions, n_actions)``.

        A position enters the first layer as a sum, so what the rest of the observation adds to it is taken
        once and not once per position.

        Args:
            observations: ``(n, n_inputs)``, at whatever positions.
            legs: ``(n_positions, n_symbols)`` float32, each joint position.
        """
        columns = torch.from_numpy(position_columns(legs.shape[1]))
        invested = observations.clone()
        invested[:, columns] = 1.0
        inputs = self.trunk_inputs(invested)
        first, *layers = self.policy.children()
        weight, bias = first.get_parameter("weight"), first.get_parameter("bias")
        others = torch.ones(inputs.shape[1])
        others[columns] = 0.0
        market = nn.functional.linear(inputs * others, weight, bias)
        out = market[:, None] + (inputs[:, None, columns] * legs) @ weight[:, columns].t()
        for layer in layers:
            out = layer(torch.tanh(out))
        return out

    def unroll(
        self, observations: Tensor, starts: NDArray[np.bool_], states: States
    ) -> tuple[Tensor, Tensor, States]:
        """Return logits and values along time, states set to zero where a session starts.

        Args:
            observations: ``(n_steps, n_envs, n_inputs)``.
            starts: ``(n_steps, n_envs)`` bool, the step is the first of its session.
            states: States before the first step.

        Returns:
            Logits ``(n_steps, n_envs, n_actions)``, values ``(n_steps, n_envs)``, states after.
        """
        inputs = self.trunk_inputs(observations)
        policy, policy_state = _run_lstm(self.policy.lstm, inputs, starts, states.policy)
        if self.spec.critic_lstm == "own":
            value, value_state = _run_lstm(self.value.lstm, inputs, starts, states.value)
        else:
            # as in sb3-contrib: the value reads the policy's memory and leaves it alone
            value, value_state = policy.detach(), None
        logits, values = self.policy(policy), self.value(value).squeeze(-1)
        return logits, values, States(policy_state, value_state)

    def zero_states(self, n_envs: int) -> States:
        """Return the states of a session's open."""
        if self.spec.kind == "mlp":
            return States(None, None)
        shape = (self.spec.lstm_layers, n_envs, self.spec.lstm_hidden)
        device = next(self.parameters()).device

        def zero() -> RecurrentState:
            return RecurrentState(torch.zeros(shape, device=device), torch.zeros(shape, device=device))

        return States(zero(), zero() if self.spec.critic_lstm == "own" else None)

    def export_weights(self) -> dict[str, NDArray[np.float32]]:
        """Return a copy of every weight under its name of the specification."""
        return {name: tensor.detach().cpu().numpy().copy() for name, tensor in self.state_dict().items()}

    def load_weights(self, weights: Weights) -> None:
        """Take over weights.

        Raises:
            ArtifactError: If they are not exactly those of the specification.
        """
        check_weights(self.spec, weights)
        self.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in weights.items()})


def _run_lstm(
    lstm: nn.LSTM, inputs: Tensor, starts: NDArray[np.bool_], state: RecurrentState | None
) -> tuple[Tensor, RecurrentState]:
    if state is None:
        raise ValueError("a recurrent policy needs its state")
    outputs = []
    h, c = state
    started: NDArray[np.bool_] = np.any(starts, axis=1)
    boundaries = [0, *(1 + np.flatnonzero(started[1:])).tolist(), len(starts)]
    for first, stop in pairwise(boundaries):
        if started[first]:
            carried = torch.from_numpy(~starts[first]).to(h).reshape(1, -1, 1)
            h, c = h * carried, c * carried
        output, (h, c) = lstm(inputs[first:stop], (h, c))
        outputs.append(output)
    return torch.cat(outputs), RecurrentState(h, c)


def _initialise(network: PolicyNetwork, generator: torch.Generator) -> None:
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if ".lstm." in name:
                bound = 1.0 / math.sqrt(network.spec.lstm_hidden)
                parameter.uniform_(-bound, bound, generator=generator)
            elif name.startswith("gate.2.") or parameter.ndim == 1:
                parameter.zero_()
            else:
                gain = {"policy.head.weight": ACTION_GAIN, "value.head.weight": VALUE_GAIN}
                nn.init.orthogonal_(parameter, gain.get(name, HIDDEN_GAIN), generator=generator)
