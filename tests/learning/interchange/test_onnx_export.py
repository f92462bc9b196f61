"""ONNX: gate, LSTM and head of the graph act as the actor does."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from markets import random_weights
from stairways.errors import ConfigError
from stairways.learning.interchange import onnx_export
from stairways.learning.interchange.agreement import agreement_of, observations
from stairways.learning.interchange.onnx_export import acting_in_onnx, onnx_inputs, onnx_model
from stairways.policies.actor import forward_batch
from stairways.policies.program import compile_program
from stairways.policies.spec import PolicySpec

SPECS = {
    "mlp": PolicySpec(hidden=(32, 16)),
    "concat": PolicySpec(regime="concat", hidden=(32, 16)),
    "gate": PolicySpec(regime="gate", hidden=(32, 16)),
    "gate_gradient": PolicySpec(regime="gate_gradient", hidden=(16,)),
    "three": PolicySpec(n_symbols=3, regime="gate", hidden=(32,)),
    "lstm": PolicySpec(kind="lstm", hidden=(32, 16), lstm_hidden=32),
    "gated-lstm": PolicySpec(kind="lstm", regime="gate", hidden=(16,), lstm_hidden=64, lstm_layers=2),
}


@pytest.fixture(params=SPECS)
def case(request):
    pytest.importorskip("onnx", reason="the extra interchange is not installed")
    spec = SPECS[request.param]
    weights = random_weights(spec, 7)
    return spec, weights, onnx_model(spec, weights, {"note": "text"})


def test_greedy_actions_are_the_actor_s(case):
    pytest.importorskip("onnxruntime", reason="the extra interchange is not installed")
    spec, weights, content = case
    found = agreement_of(compile_program(spec, weights), observations(spec), acting_in_onnx(content, spec))
    assert found.n == 10_000
    assert found.n_equal == found.n, found


def test_logits_and_states_are_the_actor_s_within_rounding(case):
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra interchange is not installed")
    spec, weights, content = case
    program = compile_program(spec, weights)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    rows = observations(spec)[0]
    rng = np.random.default_rng(1)
    states = rng.uniform(-1, 1, (len(rows), program.state_size)).astype(np.float32)
    feed = {"observation": rows[:, : onnx_inputs(spec)]}
    if spec.kind == "lstm":
        # the actor keeps h and c of a layer side by side
        layered = states.reshape(len(rows), spec.lstm_layers, 2, spec.lstm_hidden).transpose(2, 1, 0, 3)
        feed |= {"h": layered[0], "c": layered[1]}
    found = dict(zip([o.name for o in session.get_outputs()], session.run(None, feed), strict=True))
    logits = forward_batch(program, rows, states)
    assert np.abs(found["logits"] - logits).max() < 1e-5
    assert (found["action"] == logits.argmax(axis=1)).all()
    if spec.kind == "lstm":
        after = states.reshape(len(rows), spec.lstm_layers, 2, spec.lstm_hidden).transpose(2, 1, 0, 3)
        assert np.abs(found["h_next"] - after[0]).max() < 1e-6
        assert np.abs(found["c_next"] - after[1]).max() < 1e-6


def test_the_file_tells_what_it_is_and_is_the_same_each_time(case):
    import onnx

    spec, weights, content = case
    model = onnx.load_model_from_string(content)
    assert {prop.key: prop.value for prop in model.metadata_props} == {"note": "text"}
    assert [value.name for value in model.graph.output][:2] == ["logits", "action"]
    assert "value" not in json.dumps([node.name for node in model.graph.initializer])
    assert content == onnx_model(spec, weights, {"note": "text"})


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    spec = SPECS["mlp"]
    with pytest.raises(ConfigError, match=r"needs the package onnx; install stairways\[interchange\]"):
        onnx_model(spec, random_weights(spec, 1), {})
    assert onnx_export.acting_in_onnx(b"", spec) is None
