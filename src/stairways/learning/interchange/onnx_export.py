"""A policy as an ONNX graph: gate, LSTM, tanh layers and head, one step of any number of accounts.

Inputs are ``observation`` (n, n_inputs) and, for an LSTM, ``h`` and ``c`` (layers, n, hidden), zeros at a
session's open. Outputs are ``logits`` (n, n_actions), ``action`` (n,) int64, the greedy one with the
lowest id at a tie as the actor has it, and ``h_next`` and ``c_next``. All numbers are float32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stairways.errors import ConfigError
from stairways.learning.interchange.agreement import Act
from stairways.policies.program import Weights, check_weights
from stairways.policies.spec import PolicySpec
from stairways.trading.observation import N_REGIME_FEATURES

OPSET, IR_VERSION = 17, 8
"""Old enough for every runtime since 2022."""

_INSTALL = "install stairways[interchange]"


def onnx_inputs(spec: PolicySpec) -> int:
    """Return the columns that the graph takes: all of them if the policy looks at the regime."""
    return spec.n_observed if spec.regime in ("gate", "concat") else spec.n_price


def onnx_model(spec: PolicySpec, weights: Weights, metadata: Mapping[str, str]) -> bytes:
    """Return the bytes of a checked ONNX model.

    Args:
        spec: Architecture.
        weights: Its weights; those of the value function are left out.
        metadata: What a reader must know, as text; it goes into the file.

    Raises:
        ConfigError: If the package onnx is not installed.
        ArtifactError: If the weights are not those of the specification.
    """
    check_weights(spec, weights)
    try:
        import onnx
    except ImportError as error:
        raise ConfigError("needs the package onnx", where="--onnx", remedy=_INSTALL) from error
    graph = _Graph(onnx)
    layer_input = graph.gate(weights, spec) if spec.regime == "gate" else "observation"
    if spec.kind == "lstm":
        layer_input = graph.lstm(weights, spec, layer_input)
    for index in range(len(spec.hidden)):
        layer_input = graph.node("Tanh", graph.dense(weights, f"policy.{index}", layer_input))
    graph.node("Identity", graph.dense(weights, "policy.head", layer_input), output="logits")
    graph.node("ArgMax", "logits", output="action", axis=1, keepdims=0, select_last_index=0)
    return graph.model(spec, metadata)


def acting_in_onnx(content: bytes, spec: PolicySpec) -> Act | None:
    """Return the graph's greedy actions by onnxruntime, from a session's open on.

    Args:
        content: The model's bytes.
        spec: Architecture.

    Returns:
        None where onnxruntime is not installed.
    """
    try:
        # as Any: what its stubs say differs between versions, and it may be missing
        onnxruntime: Any = import_module("onnxruntime")
    except ImportError:
        return None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    n_inputs = onnx_inputs(spec)
    states: dict[str, NDArray[np.float32]] = {}

    def act(rows: NDArray[np.float32]) -> NDArray[np.int64]:
        if spec.kind == "lstm" and not states:
            shape = (spec.lstm_layers, len(rows), spec.lstm_hidden)
            states.update(h=np.zeros(shape, np.float32), c=np.zeros(shape, np.float32))
        wanted = ["action", *(f"{name}_next" for name in states)]
        actions, *after = session.run(wanted, {"observation": rows[:, :n_inputs], **states})
        states.update(zip(states, after, strict=True))
        return np.asarray(actions, dtype=np.int64)

    return act


class _Graph:
    """Collects nodes and constants; every method returns the name of what it computes."""

    def __init__(self, onnx: Any) -> None:
        self._onnx = onnx
        self._nodes: list[Any] = []
        self._constants: dict[str, NDArray[Any]] = {}

    def node(self, operation: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Add an operation of one output."""
        name = output or f"{operation.lower()}_{len(self._nodes)}"
        self._nodes.append(self._onnx.helper.make_node(operation, list(inputs), [name], **attributes))
        return name

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """Add a constant, once per name."""
        self._constants[name] = np.asarray(value, order="C")
        return name

    def dense(self, weights: Weights, layer: str, inputs: str) -> str:
        """Add a linear layer."""
        weight = self.constant(f"{layer}.weight", weights[f"{layer}.weight"])
        bias = self.constant(f"{layer}.bias", weights[f"{layer}.bias"])
        return self.node("Gemm", inputs, weight, bias, transB=1)

    def gate(self, weights: Weights, spec: PolicySpec) -> str:
        """Add the regime gate: price inputs x 2 sigmoid(W tanh(V relu(U regime)))."""
        price = self._columns(0, spec.n_price)
        regime = self._columns(spec.n_price, spec.n_price + N_REGIME_FEATURES)
        first = self.node("Relu", self.dense(weights, "gate.0", regime))
        second = self.node("Tanh", self.dense(weights, "gate.1", first))
        opened = self.node("Sigmoid", self.dense(weights, "gate.2", second))
        two = self.constant("two", np.array(2.0, np.float32))
        return self.node("Mul", price, self.node("Mul", two, opened))

    def lstm(self, weights: Weights, spec: PolicySpec, inputs: str) -> str:
        """Add one step of the LSTM layers, states in and out."""
        axis = self.constant("layer_axis", np.array([0], np.int64))
        after: dict[str, list[str]] = {"h": [], "c": []}
        for layer in range(spec.lstm_layers):
            here = self.constant(f"layer_{layer}", np.array(layer, np.int64))
            h = self.node("Gather", "h", here, axis=0)
            c = self.node("Gather", "c", here, axis=0)
            h, c = self._cell(weights, f"policy.lstm.{{}}_l{layer}", inputs, h, c, spec.lstm_hidden)
            after["h"].append(self.node("Unsqueeze", h, axis))
            after["c"].append(self.node("Unsqueeze", c, axis))
            inputs = h
        for name, layers in after.items():
            self.node("Concat", *layers, output=f"{name}_next", axis=0)
        return inputs

    def model(self, spec: PolicySpec, metadata: Mapping[str, str]) -> bytes:
        """Return the bytes of the checked model."""
        helper, numpy_helper = self._onnx.helper, self._onnx.numpy_helper
        float32, int64 = self._onnx.TensorProto.FLOAT, self._onnx.TensorProto.INT64

        def value(name: str, kind: int, shape: Sequence[int | str]) -> Any:
            return helper.make_tensor_value_info(name, kind, list(shape))

        state = (spec.lstm_layers, "n", spec.lstm_hidden)
        carried = ("h", "c") if spec.kind == "lstm" else ()
        graph = helper.make_graph(
            self._nodes,
            "policy",
            [
                value("observation", float32, ("n", onnx_inputs(spec))),
                *(value(name, float32, state) for name in carried),
            ],
            [
                value("logits", float32, ("n", spec.n_actions)),
                value("action", int64, ("n",)),
                *(value(f"{name}_next", float32, state) for name in carried),
            ],
            [numpy_helper.from_array(array, name) for name, array in self._constants.items()],
        )
        opset = helper.make_opsetid("", OPSET)
        model = helper.make_model(
            graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name="stairways"
        )
        helper.set_model_props(model, dict(metadata))
        self._onnx.checker.check_model(model, full_check=True)
        content: bytes = model.SerializeToString(deterministic=True)
        return content

    def _columns(self, first: int, stop: int) -> str:
        start = self.constant(f"column_{first}", np.array([first], np.int64))
        end = self.constant(f"column_{stop}", np.array([stop], np.int64))
        axis = self.constant("column_axis", np.array([1], np.int64))
        return self.node("Slice", "observation", start, end, axis)

    def _cell(
        self, weights: Weights, pattern: str, inputs: str, h: str, c: str, hidden: int
    ) -> tuple[str, str]:
        """Add one LSTM cell by plain operations.

        ONNX's own has another order of gates, and runs whole sequences.
        """
        part = pattern.format
        bias = weights[part("bias_ih")] + weights[part("bias_hh")]
        seen = self.node(
            "Gemm",
            inputs,
            self.constant(part("weight_ih"), weights[part("weight_ih")]),
            self.constant(part("bias"), bias),
            transB=1,
        )
        kept = self.node("Gemm", h, self.constant(part("weight_hh"), weights[part("weight_hh")]), transB=1)
        sums = self.node("Add", seen, kept)
        width = self.constant("gate_widths", np.full(4, hidden, np.int64))
        names = [part(f"sum_{letter}") for letter in "ifgo"]
        self._nodes.append(self._onnx.helper.make_node("Split", [sums, width], names, axis=1))
        i, f, o = (self.node("Sigmoid", names[at]) for at in (0, 1, 3))
        fresh = self.node("Mul", i, self.node("Tanh", names[2]))
        c = self.node("Add", self.node("Mul", f, c), fresh)
        return self.node("Mul", o, self.node("Tanh", c)), c
