"""The policies that experiments on control start from."""

from __future__ import annotations

import numpy as np
import pytest

from markets import random_market, random_weights
from stairways.errors import TrainingError
from stairways.evaluation.replay import replay
from stairways.policies.actor import forward_batch
from stairways.policies.program import compile_program
from stairways.policies.spec import PolicySpec
from stairways.proof.plants import (
    OVER_HOLD_RATIO,
    OVER_TRADES,
    Flattened,
    behaviour,
    biased_lstm,
    over_trader,
    without_over_hold,
)
from stairways.trading.actions import hold_action
from stairways.trading.rules import TradingRules

SPEC = PolicySpec(hidden=(16, 16))
MARKET = random_market(1, 12, interval_minutes=2)


def over_holding_weights():
    weights = random_weights(SPEC, 4)
    weights["policy.head.bias"][hold_action(2)] += 8.0
    return weights


def logits_of(weights):
    rows = np.random.default_rng(0).normal(size=(50, SPEC.n_observed)).astype(np.float32)
    return forward_batch(compile_program(SPEC, weights), rows, np.zeros((50, 0), np.float32))


def test_flattening_changes_the_bias_of_hold_and_the_scale_alone():
    weights = over_holding_weights()
    kept = {name: value.copy() for name, value in weights.items()}
    before, after = logits_of(weights), logits_of(Flattened(-3.0, 0.5).of(SPEC, weights))
    before[:, hold_action(2)] -= 3.0
    assert after == pytest.approx(0.5 * before, abs=1e-5)
    assert all((weights[name] == kept[name]).all() for name in kept)


def test_an_over_trader_holds_less_than_chance_and_trades_often():
    weights = over_holding_weights()
    held, trades = behaviour(replay(MARKET, compile_program(SPEC, weights), TradingRules(), run_seed=1))
    assert held > OVER_HOLD_RATIO
    found = over_trader(SPEC, weights, MARKET, TradingRules(), 1)
    program = compile_program(SPEC, found.of(SPEC, weights))
    held, trades = behaviour(replay(MARKET, program, TradingRules(), run_seed=2))
    assert held < 1 / 9
    assert trades >= OVER_TRADES


def test_one_that_can_not_be_made_is_refused():
    """A session of 19 decisions has no room for 66 orders that many policies would place."""
    with pytest.raises(TrainingError, match="over-trader of a gold"):
        over_trader(SPEC, over_holding_weights(), random_market(1, 4, interval_minutes=20), TradingRules(), 1)


def test_the_untrained_lstm_over_holds_and_depends_on_what_it_sees():
    spec, weights = biased_lstm(np.random.SeedSequence(3))
    program = compile_program(spec, weights)
    held, _ = behaviour(replay(MARKET, program, TradingRules(), run_seed=1))
    assert OVER_HOLD_RATIO <= held < 0.99
    rows = np.random.default_rng(0).normal(size=(200, spec.n_observed)).astype(np.float32)
    logits = forward_batch(program, rows, np.zeros((200, spec.state_size), np.float32))
    assert logits.std(axis=0).min() > 0.05


def test_gold_training_without_its_second_stage_is_stated_by_settings():
    from stairways.config import load_settings

    gold = load_settings(None, {"gold": without_over_hold({"regime": "gate", "steps": 66_560})}).gold
    assert (gold.regime, gold.steps) == ("gate", 66_560)
    # one look, and a bias that moves by a billionth: whatever was learned stays
    assert gold.over_hold_learning_rate * gold.over_hold_rollouts * gold.ppo.epochs < 1e-7
    assert gold.over_hold_ratio < 1e-6
    assert gold.over_hold_trades > 1e5
