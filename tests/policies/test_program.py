"""Specification and program: what is refused, and how the weights are laid out."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from markets import random_weights
from stairways.errors import ArtifactError
from stairways.policies.program import DENSE, DENSE_TANH, GATE, LSTM, check_weights, compile_program
from stairways.policies.spec import PolicySpec

LSTM_SPEC = PolicySpec(kind="lstm", lstm_hidden=32, lstm_layers=2, regime="gate", hidden=(8, 4))


def test_operations_stand_in_the_order_of_use():
    program = compile_program(LSTM_SPEC, random_weights(LSTM_SPEC, 0))
    assert program.operations[:, 0].tolist() == [GATE, LSTM, LSTM, DENSE_TANH, DENSE_TANH, DENSE]
    assert program.operations[:, 1:3].tolist() == [[29, 26], [26, 32], [32, 32], [32, 8], [8, 4], [4, 9]]
    assert program.operations[1:3, 5].tolist() == [0, 64]
    assert (program.n_actions, program.state_size, program.widest) == (9, 128, 128)


def test_the_program_holds_the_actor_s_weights_and_no_others():
    weights = random_weights(LSTM_SPEC, 0)
    program = compile_program(LSTM_SPEC, weights)
    sizes = {name: int(np.prod(shape)) for name, shape in LSTM_SPEC.actor_shapes().items()}
    doubled = sum(size for name, size in sizes.items() if "bias_hh" in name)
    assert len(program.numbers) == sum(sizes.values()) - doubled
    for name in LSTM_SPEC.value_shapes():
        weights[name] = weights[name] + 1.0
    assert compile_program(LSTM_SPEC, weights).numbers.tobytes() == program.numbers.tobytes()


@pytest.mark.parametrize(
    ("spec", "observed", "price", "trunk", "actions"),
    [
        (PolicySpec(), 29, 26, 26, 9),
        (PolicySpec(regime="concat"), 29, 26, 29, 9),
        (PolicySpec(n_symbols=3, regime="gate"), 42, 39, 39, 27),
    ],
)
def test_sizes(spec, observed, price, trunk, actions):
    assert (spec.n_observed, spec.n_price, spec.n_trunk_inputs, spec.n_actions) == (
        observed,
        price,
        trunk,
        actions,
    )
    assert spec.shapes()["policy.0.weight"] == (64, trunk)
    assert spec.shapes()["policy.head.weight"] == (actions, 64)
    assert spec.shapes()["value.head.weight"] == (1, 64)


def test_a_shared_memory_has_no_lstm_of_the_value():
    own = PolicySpec(kind="lstm", lstm_hidden=32)
    shared = own.model_copy(update={"critic_lstm": "shared"})
    gone = set(own.shapes()) - set(shared.shapes())
    assert gone == {f"value.lstm.{part}_{side}_l0" for part in ("weight", "bias") for side in ("ih", "hh")}


def _lacking(weights):
    del weights["policy.0.bias"]


def _unknown(weights):
    weights["policy.9.bias"] = np.zeros(3, np.float32)


def _misshapen(weights):
    weights["policy.0.bias"] = np.zeros(3, np.float32)


def _not_finite(weights):
    weights["value.head.bias"][0] = np.nan


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_lacking, r"policy\.0\.bias is missing"),
        (_unknown, r"policy\.9\.bias is unknown"),
        (_misshapen, r"policy\.0\.bias has shape \(3,\), the policy asks for \(64,\)"),
        (_not_finite, r"value\.head\.bias holds numbers that are not finite"),
    ],
)
def test_weights_of_another_policy_are_refused(damage, message):
    weights = random_weights(PolicySpec(), 0)
    check_weights(PolicySpec(), weights)
    damage(weights)
    with pytest.raises(ArtifactError, match=message):
        compile_program(PolicySpec(), weights)


@pytest.mark.parametrize(
    "settings",
    [
        {"hidden": ()},
        {"hidden": (0,)},
        {"hidden": (4096,)},
        {"kind": "lstm"},
        {"kind": "lstm", "lstm_hidden": 31},
        {"kind": "lstm", "lstm_hidden": 257},
        {"kind": "mlp", "lstm_hidden": 64},
        {"kind": "lstm", "lstm_hidden": 64, "lstm_layers": 3},
        {"n_symbols": 1},
        {"n_symbols": 4},
        {"regime": "other"},
        {"unknown": 1},
    ],
)
def test_shapes_that_make_no_sense_are_refused(settings):
    with pytest.raises(ValidationError):
        PolicySpec(**settings)
