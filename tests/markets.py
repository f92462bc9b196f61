"""Observed markets, policies and trading rules by hand or at random, that several test files share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from builders import random_sessions
from stairways.evaluation.replay import Script
from stairways.market.features import FeatureConstants, build_table, compute_features
from stairways.market.regime import RegimeConfig
from stairways.market.sessions import Sessions
from stairways.policies.program import Program, compile_program
from stairways.policies.spec import PolicySpec
from stairways.trading.observation import ObservedMarket, n_inputs, observe, position_columns
from stairways.trading.rules import CostModel, TradingRules

SHORT_REGIME = RegimeConfig(window_sessions=2, warm_up_sessions=1)


def observed(sessions: Sessions, constants: FeatureConstants | None = None) -> ObservedMarket:
    """Lead sessions through the whole chain; constants are those of the first session if none are given."""
    raw = compute_features(sessions, SHORT_REGIME)
    return observe(sessions, build_table(raw, constants or FeatureConstants.fit(raw, sessions, slice(0, 1))))


def random_market(
    seed: int,
    n_sessions: int,
    n_symbols: int = 2,
    interval_minutes: int = 10,
    *,
    half_days: Sequence[int] = (),
) -> ObservedMarket:
    """Return random walks with random rows in ±5 and random scores in ±3, all NaN behind half days."""
    sessions = random_sessions(seed, n_sessions, n_symbols, interval_minutes, half_days=half_days)
    rng = np.random.default_rng(seed + 1)
    shape = sessions.close.shape[:2]
    rows = np.clip(rng.normal(0.0, 1.5, (*shape, n_inputs(n_symbols))), -5.0, 5.0).astype(np.float32)
    rows[..., position_columns(n_symbols)] = 0.0
    score = np.clip(rng.normal(0.0, 1.5, shape), -3.0, 3.0)
    behind = np.arange(shape[1]) >= sessions.n_bars[:, None]
    rows[behind], score[behind] = np.nan, np.nan
    return ObservedMarket(
        symbols=sessions.symbols,
        interval_minutes=interval_minutes,
        dates=sessions.dates,
        open_utc=sessions.open_utc,
        n_bars=sessions.n_bars,
        open=sessions.open,
        close=sessions.close,
        volume=sessions.volume,
        rows=rows,
        score=score,
        neutral=rng.random(shape) < 0.1,
        data_digest=sessions.digest,
        source=sessions.source,
    )


def priced_market(open_: Any, close: Any, volume: Any = 1e6) -> ObservedMarket:
    """Return one session after another with the given prices, ``(n_sessions, n_bars, n_symbols)``."""
    close = np.array(close, dtype=np.float64)
    n_sessions, n_bars, n_symbols = close.shape
    blank = random_market(0, n_sessions, n_symbols, 30)
    return replace(
        blank,
        n_bars=np.full(n_sessions, n_bars, np.int64),
        open=np.array(np.broadcast_to(open_, close.shape), dtype=np.float64),
        close=close,
        volume=np.array(np.broadcast_to(volume, close.shape), dtype=np.float64),
        rows=np.zeros((n_sessions, n_bars, n_inputs(n_symbols)), np.float32),
        score=np.zeros((n_sessions, n_bars)),
        neutral=np.zeros((n_sessions, n_bars), bool),
    )


def random_weights(spec: PolicySpec, seed: int, scale: float = 1.2) -> dict[str, np.ndarray]:
    """Return weights of a specification, normal with deviation ``scale / sqrt(fan in)``, biases a tenth."""
    rng = np.random.default_rng(seed)
    weights = {}
    for name, shape in spec.shapes().items():
        deviation = scale / np.sqrt(shape[1]) if len(shape) > 1 else 0.1
        weights[name] = rng.normal(0.0, deviation, shape).astype(np.float32)
    return weights


def random_program(seed: int, scale: float = 1.2, **spec: Any) -> Program:
    """Return a policy of random weights as the actor runs it."""
    made = PolicySpec(**{"hidden": (16, 16), **spec})
    return compile_program(made, random_weights(made, seed, scale))


def random_script(market: ObservedMarket, seed: int, hold_ratio: float = 0.3) -> Script:
    """Return random actions for every session, bar and joint position."""
    rng = np.random.default_rng(seed)
    n_actions = 3**market.n_symbols
    shape = (*market.score.shape, n_actions)
    actions = rng.integers(0, n_actions, shape)
    actions[rng.random(shape) < hold_ratio] = (n_actions - 1) // 2
    return Script(actions.astype(np.int8))


def trading_rules() -> st.SearchStrategy[TradingRules]:
    """Return rules of every kind: all costs, units from far too small to far too large, binding bounds."""
    costs = st.builds(
        CostModel,
        commission_bps=st.sampled_from([0.0, 0.25, 5.0]),
        half_spread_bps=st.sampled_from([0.0, 0.75, 20.0]),
        impact_bps=st.sampled_from([0.0, 30.0]),
        ticket_usd=st.sampled_from([0.0, 1.5]),
    )
    return st.builds(
        TradingRules,
        initial_nav_usd=st.sampled_from([1e6, 12_345.67]),
        unit_fraction=st.sampled_from([1e-6, 2e-4, 0.01, 0.15, 0.4]),
        max_gross=st.sampled_from([1e-3, 0.2, 0.5, 1.0, 2.0]),
        long_only=st.booleans(),
        risk_free_per_year_ratio=st.sampled_from([0.0, 0.05]),
        costs=costs,
    )
