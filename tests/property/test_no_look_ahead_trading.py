"""No look-ahead: other bars after (session, t) change nothing up to t, from sessions to fills."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import random_sessions
from markets import SHORT_REGIME, observed, random_program
from stairways.control import Multipliers, SetPoints, TiltActuator, TiltGains
from stairways.evaluation.replay import TiltLoop, replay
from stairways.market.features import FeatureConstants, compute_features
from stairways.market.sessions import Sessions
from stairways.trading.rules import CostModel, TradingRules

RULES = TradingRules(costs=CostModel(impact_bps=20.0, ticket_usd=1.0))
LOOP = TiltLoop(
    TiltActuator(),
    TiltGains(ki_hold=0.2, ki_trade=0.2, kp_fast=10.0),
    SetPoints(hold_mode="regime"),
    Multipliers(0.5, 0.5),
)
POLICIES = {
    "mlp": {"kind": "mlp", "regime": "gate"},
    "lstm": {"kind": "lstm", "lstm_hidden": 32, "lstm_layers": 2, "regime": "concat"},
}


@lru_cache(maxsize=8)
def _policy(name: str, n_symbols: int):
    return random_program(11, n_symbols=n_symbols, **POLICIES[name])


def _with_another_future(sessions: Sessions, session: int, bar: int, seed: int) -> Sessions:
    """Replace every bar after (session, bar) by others; prices stay within reach of the old ones."""
    rng = np.random.default_rng(seed)
    later = np.zeros(sessions.close.shape[:2], dtype=bool)
    later[session, bar + 1 :] = True
    later[session + 1 :] = True
    later &= np.arange(sessions.max_bars) < sessions.n_bars[:, None]
    changed = {}
    for name in ("open", "high", "low", "close"):
        array = np.array(getattr(sessions, name))
        array[later] *= rng.lognormal(0.0, 0.2, array[later].shape)
        changed[name] = array
    volume = np.array(sessions.volume)
    volume[later] = rng.integers(0, 100_000, volume[later].shape)
    return replace(sessions, **changed, volume=volume)


def _past(
    sessions: Sessions, constants: FeatureConstants, name: str, mode: str, session: int, bar: int
) -> dict[str, bytes]:
    """Return the bytes of everything there is up to the close of (session, bar), its decision included."""
    market = observed(sessions, constants)
    run = replay(market, _policy(name, sessions.n_symbols), RULES, mode=mode, run_seed=5, loop=LOOP)
    arrays = {
        "observation": market.rows,
        "score": market.score,
        "neutral": market.neutral,
        "action": run.actions,
        "multiplier": run.multipliers,
        "fill": run.fills,
        "nav": run.nav_usd,
    }
    known = {
        name: array[:session].tobytes() + array[session, : bar + 1].tobytes()
        for name, array in arrays.items()
    }
    closed = session + (bar == sessions.n_bars[session] - 1)
    return known | {"forced": run.forced[:closed].tobytes()}


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    n_sessions=st.integers(2, 5),
    n_symbols=st.sampled_from([2, 3]),
    interval_minutes=st.sampled_from([10, 15]),
    name=st.sampled_from(sorted(POLICIES)),
    mode=st.sampled_from(["sampled", "greedy"]),
    data=st.data(),
)
def test_the_future_changes_no_observation_action_or_fill(
    seed, n_sessions, n_symbols, interval_minutes, name, mode, data
):
    index = st.integers(1, n_sessions - 1)
    half_days = data.draw(st.lists(index, max_size=1), label="half days")
    sessions = random_sessions(seed, n_sessions, n_symbols, interval_minutes, half_days=half_days)
    session = data.draw(index, label="session")
    bar = data.draw(st.integers(0, int(sessions.n_bars[session]) - 1), label="bar")
    raw = compute_features(sessions, SHORT_REGIME)
    constants = FeatureConstants.fit(raw, sessions, slice(0, 1))
    known = _past(sessions, constants, name, mode, session, bar)
    other = _with_another_future(sessions, session, bar, seed + 1)
    assert known == _past(other, constants, name, mode, session, bar)
    cut = sessions.select(slice(0, session + 1))
    assert known == _past(cut, constants, name, mode, session, bar)


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_the_check_itself_can_fail(name):
    """Other bars at t itself are seen in every quantity: the comparison is not vacuous."""
    sessions = random_sessions(3, 4, 2, 10)
    raw = compute_features(sessions, SHORT_REGIME)
    constants = FeatureConstants.fit(raw, sessions, slice(0, 1))
    known = _past(sessions, constants, name, "sampled", 3, 38)
    changed = _past(_with_another_future(sessions, 1, 20, 9), constants, name, "sampled", 3, 38)
    assert {key for key in known if known[key] != changed[key]} == set(known) - {"neutral"}


def test_a_decision_fills_after_it_was_taken():
    """The open of bar t moves the price of the fill that was decided at t - 1, and no decision before t."""
    sessions = random_sessions(4, 2, 2, 10)
    raw = compute_features(sessions, SHORT_REGIME)
    constants = FeatureConstants.fit(raw, sessions, slice(0, 1))
    first = replay(observed(sessions, constants), _policy("mlp", 2), RULES, run_seed=5)
    bar = int(np.argwhere(first.fills[1, 5:, :, 0].any(axis=1))[0, 0]) + 5
    opens = np.array(sessions.open)
    opens[1, bar] *= 1.01
    second = replay(observed(replace(sessions, open=opens), constants), _policy("mlp", 2), RULES, run_seed=5)
    np.testing.assert_array_equal(first.actions[1, :bar], second.actions[1, :bar])
    np.testing.assert_array_equal(first.fills[1, bar, :, 0], second.fills[1, bar, :, 0])
    filled = first.fills[1, bar, :, 0] != 0.0
    ratio = second.fills[1, bar, filled, 1] / first.fills[1, bar, filled, 1]
    np.testing.assert_allclose(ratio, 1.01, rtol=1e-12)
