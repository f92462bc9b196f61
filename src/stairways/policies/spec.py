"""What a policy is made of: shapes and names of its weights, without the weights."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from stairways.trading.actions import n_actions
from stairways.trading.observation import N_REGIME_FEATURES, n_inputs, n_price_inputs

RegimeInput = Literal["none", "concat", "gate", "gate_gradient"]

GATE_WIDTHS = (32, 8)


class PolicySpec(BaseModel):
    """Architecture of a policy; everything a loader may assume about its weights.

    Attributes:
        kind: ``mlp``, or ``lstm`` (LSTM layers under the same MLP).
        n_symbols: Number of legs; it sets the observation and the actions.
        regime: How the regime inputs enter. ``none``: not at all. ``concat``: as further inputs.
            ``gate``: price inputs x 2 sigmoid(W h(regime)), the identity while W is 0.
            ``gate_gradient``: the plan's p g + stop(p)(1 - g), whose value is p.
        hidden: Widths of the tanh layers, for the policy and for the value alike.
        lstm_hidden: Width of the LSTM; only for ``lstm``.
        lstm_layers: Number of LSTM layers on top of each other.
        critic_lstm: Whether the value has an LSTM of its own or shares the policy's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["mlp", "lstm"] = "mlp"
    n_symbols: int = Field(2, ge=2, le=3)
    regime: RegimeInput = "none"
    hidden: tuple[int, ...] = (64, 64)
    lstm_hidden: int = Field(0, ge=0, le=256)
    lstm_layers: int = Field(1, ge=1, le=2)
    critic_lstm: Literal["own", "shared"] = "own"

    @model_validator(mode="after")
    def _widths_make_sense(self) -> Self:
        if not self.hidden or any(not 1 <= width <= 1024 for width in self.hidden):
            raise ValueError(f"hidden widths {self.hidden} must each lie in 1..1024")
        if self.kind == "lstm" and not 32 <= self.lstm_hidden <= 256:
            raise ValueError(f"lstm_hidden is {self.lstm_hidden}, it must lie in 32..256")
        if self.kind == "mlp" and self.lstm_hidden != 0:
            raise ValueError("lstm_hidden is only for an lstm policy")
        return self

    @property
    def n_actions(self) -> int:
        """Number of actions."""
        return n_actions(self.n_symbols)

    @property
    def n_observed(self) -> int:
        """Length of the observation it is shown: price and regime inputs."""
        return n_inputs(self.n_symbols)

    @property
    def n_price(self) -> int:
        """Length of the price part of the observation."""
        return n_price_inputs(self.n_symbols)

    @property
    def n_trunk_inputs(self) -> int:
        """Inputs of the network behind the gate."""
        return self.n_price + (N_REGIME_FEATURES if self.regime == "concat" else 0)

    @property
    def gated(self) -> bool:
        """Whether it has a regime gate."""
        return self.regime in {"gate", "gate_gradient"}

    @property
    def state_size(self) -> int:
        """Floats of recurrent state that the actor carries: h and c of each layer."""
        return 2 * self.lstm_layers * self.lstm_hidden if self.kind == "lstm" else 0

    def actor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return name and shape of every weight the actor reads, in order of use."""
        shapes: dict[str, tuple[int, ...]] = {}
        if self.gated:
            widths = (N_REGIME_FEATURES, *GATE_WIDTHS, self.n_price)
            for index, (fan_in, fan_out) in enumerate(pairwise(widths)):
                shapes |= _dense(f"gate.{index}", fan_in, fan_out)
        shapes |= self._trunk_shapes("policy", own_lstm=True)
        last = self.hidden[-1]
        return shapes | _dense("policy.head", last, self.n_actions)

    def value_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return name and shape of every weight of the value function, for training alone."""
        shapes = self._trunk_shapes("value", own_lstm=self.critic_lstm == "own")
        return shapes | _dense("value.head", self.hidden[-1], 1)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return name and shape of every weight."""
        return self.actor_shapes() | self.value_shapes()

    def _trunk_shapes(self, name: str, *, own_lstm: bool) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {}
        width = self.n_trunk_inputs
        if self.kind == "lstm":
            for layer in range(self.lstm_layers):
                if own_lstm:
                    shapes[f"{name}.lstm.weight_ih_l{layer}"] = (4 * self.lstm_hidden, width)
                    shapes[f"{name}.lstm.weight_hh_l{layer}"] = (4 * self.lstm_hidden, self.lstm_hidden)
                    shapes[f"{name}.lstm.bias_ih_l{layer}"] = (4 * self.lstm_hidden,)
                    shapes[f"{name}.lstm.bias_hh_l{layer}"] = (4 * self.lstm_hidden,)
                width = self.lstm_hidden
        for index, fan_out in enumerate(self.hidden):
            shapes |= _dense(f"{name}.{index}", width, fan_out)
            width = fan_out
        return shapes


def _dense(name: str, fan_in: int, fan_out: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (fan_out, fan_in), f"{name}.bias": (fan_out,)}
