"""A policy as a flat program: one array of numbers and a short list of operations.

Compiled code can then run any architecture by one function, without torch and without BLAS, so
that a result does not depend on the size of a batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stairways.errors import ArtifactError
from stairways.policies.spec import PolicySpec

GATE, DENSE_TANH, DENSE, LSTM = 0, 1, 2, 3
OPCODE, N_IN, N_OUT, WEIGHT, BIAS, STATE = 0, 1, 2, 3, 4, 5
OPERATION_WIDTH = 6

Weights = Mapping[str, NDArray[np.float32]]


class Program(NamedTuple):
    """A policy laid out for compiled code.

    Attributes:
        numbers: ``(n,)`` float32, all weights, input-major so that inner loops run over outputs.
        operations: ``(n_operations, OPERATION_WIDTH)`` int64: opcode, inputs, outputs, offset of
            the weights, offset of the bias, offset in the recurrent state.
        n_actions: Number of logits.
        state_size: Floats of recurrent state.
        widest: Length that a scratch buffer needs.
    """

    numbers: NDArray[np.float32]
    operations: NDArray[np.int64]
    n_actions: int
    state_size: int
    widest: int


def check_weights(spec: PolicySpec, weights: Weights) -> None:
    """Refuse weights that are not exactly those of the specification.

    Raises:
        ArtifactError: Naming the first weight that is missing, unknown, misshapen or not finite.
    """
    expected = spec.shapes()
    for name in sorted(set(expected) ^ set(weights)):
        problem = "is missing" if name in expected else "is unknown to the policy specification"
        raise ArtifactError(f"weight {name} {problem}", remedy="the artifact's policy and weights disagree")
    for name, shape in expected.items():
        found = weights[name]
        if found.shape != shape:
            raise ArtifactError(f"weight {name} has shape {found.shape}, the policy asks for {shape}")
        if not np.isfinite(found).all():
            raise ArtifactError(f"weight {name} holds numbers that are not finite")


def compile_program(spec: PolicySpec, weights: Weights) -> Program:
    """Lay the actor's weights out as a program.

    Raises:
        ArtifactError: If the weights are not those of the specification.
    """
    check_weights(spec, weights)
    layout = _Layout()
    if spec.gated:
        layout.gate(spec, weights)
    width = spec.n_trunk_inputs
    if spec.kind == "lstm":
        for layer in range(spec.lstm_layers):
            layout.lstm(weights, f"policy.lstm.{{}}_l{layer}", width, spec.lstm_hidden)
            width = spec.lstm_hidden
    for index, fan_out in enumerate(spec.hidden):
        layout.dense(weights, f"policy.{index}", DENSE_TANH, width, fan_out)
        width = fan_out
    layout.dense(weights, "policy.head", DENSE, width, spec.n_actions)
    return Program(
        numbers=np.concatenate(layout.parts).astype(np.float32),
        operations=np.asarray(layout.operations, dtype=np.int64),
        n_actions=spec.n_actions,
        state_size=spec.state_size,
        widest=max(spec.n_observed, 4 * spec.lstm_hidden, *spec.hidden, spec.n_actions),
    )


class _Layout:
    """Collects weights and operations one after the other."""

    def __init__(self) -> None:
        self.parts: list[NDArray[np.float32]] = []
        self.operations: list[tuple[int, ...]] = []
        self._length = 0
        self._state = 0

    def dense(self, weights: Weights, name: str, opcode: int, fan_in: int, fan_out: int) -> None:
        weight = self._put(weights[f"{name}.weight"].T)
        bias = self._put(weights[f"{name}.bias"])
        self.operations.append((opcode, fan_in, fan_out, weight, bias, 0))

    def lstm(self, weights: Weights, pattern: str, fan_in: int, hidden: int) -> None:
        inputs = weights[pattern.format("weight_ih")].T
        recurrent = weights[pattern.format("weight_hh")].T
        weight = self._put(np.concatenate([inputs, recurrent]))
        bias = self._put(weights[pattern.format("bias_ih")] + weights[pattern.format("bias_hh")])
        self.operations.append((LSTM, fan_in, hidden, weight, bias, self._state))
        self._state += 2 * hidden

    def gate(self, spec: PolicySpec, weights: Weights) -> None:
        start = self._length
        for index in range(3):
            self._put(weights[f"gate.{index}.weight"].T)
            self._put(weights[f"gate.{index}.bias"])
        if spec.regime == "gate":
            self.operations.append((GATE, spec.n_observed, spec.n_price, start, start, 0))

    def _put(self, array: NDArray[np.float32]) -> int:
        offset = self._length
        self.parts.append(np.ascontiguousarray(array, dtype=np.float32).ravel())
        self._length += array.size
        return offset
