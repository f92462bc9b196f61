"""Small markets, pools and trainers that the tests of the trainer share."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from builders import random_sessions

from stairways.control.actuators import TiltActuator
from stairways.control.setpoints import SetPoints
from stairways.control.tilt import Multipliers
from stairways.envs.pool import SessionPool
from stairways.envs.reward import RewardConfig
from stairways.learning.network import PolicyNetwork
from stairways.learning.ppo_config import PPOConfig
from stairways.learning.steering import NoSteering, Steering, TiltSteering
from stairways.learning.trainer import Trainer
from stairways.market.sessions import Sessions
from stairways.policies.spec import PolicySpec
from stairways.trading.observation import ObservedMarket, n_inputs, position_columns
from stairways.trading.rules import TradingRules

FAST = {"n_envs": 8, "n_steps": 24, "minibatch": 96, "epochs": 2}
"""Settings of a trainer that takes a moment: a rollout of 192 steps."""


def market_of(sessions: Sessions, rows: np.ndarray, score: np.ndarray) -> ObservedMarket:
    """Return a market with given observations ``(n_sessions, max_bars, n_inputs)`` and scores."""
    return ObservedMarket(
        symbols=sessions.symbols,
        interval_minutes=sessions.interval_minutes,
        dates=sessions.dates,
        open_utc=sessions.open_utc,
        n_bars=sessions.n_bars,
        open=sessions.open,
        close=sessions.close,
        volume=sessions.volume,
        rows=rows,
        score=score,
        neutral=np.zeros(score.shape, np.bool_),
        data_digest=sessions.digest,
        source=sessions.source,
    )


def noise_market(
    seed: int, n_sessions: int = 12, interval_minutes: int = 15, n_symbols: int = 2
) -> ObservedMarket:
    """Return random walks whose observations and regime scores are noise; one half day among them."""
    sessions = random_sessions(seed, n_sessions, n_symbols, interval_minutes, half_days=(1,))
    rng = np.random.default_rng(seed)
    shape = (n_sessions, sessions.max_bars)
    rows = np.clip(rng.standard_normal((*shape, n_inputs(n_symbols))), -5, 5).astype(np.float32)
    rows[:, :, position_columns(n_symbols)] = 0.0
    return market_of(sessions, rows, np.clip(rng.standard_normal(shape), -3, 3))


def drifting_market(seed: int, *, shown_bars: int, drift: float = 2e-3, n_sessions: int = 40) -> ObservedMarket:
    """Return sessions of 39 bars in which the first symbol drifts without noise, up or down.

    The sign of a session's drift stands in the first input during the first ``shown_bars`` bars; all
    the other inputs are 0, but for the time of day in the second. The second symbol stands still.
    """
    sessions = random_sessions(seed, n_sessions, 2, 10, filled_ratio=0.0)
    signs = np.where(np.random.default_rng(seed).permutation(n_sessions) % 2 == 0, 1.0, -1.0)
    bars = np.arange(sessions.max_bars)
    close, open_ = np.full(sessions.close.shape, 100.0), np.full(sessions.close.shape, 100.0)
    close[:, :, 0] *= np.exp(drift * signs[:, None] * bars)
    open_[:, 1:, 0] = close[:, :-1, 0]
    rows = np.zeros((n_sessions, len(bars), n_inputs(2)), np.float32)
    rows[:, :shown_bars, 0] = signs[:, None]
    rows[:, :, 1] = np.linspace(-1.0, 1.0, len(bars))
    market = market_of(sessions, rows, np.zeros(rows.shape[:2]))
    return ObservedMarket(**{**vars(market), "open": open_, "close": close})


def network_of(spec: PolicySpec, seed: int = 0, *, action_gain: float = 1.0) -> PolicyNetwork:
    """Return a network whose action layer is scaled, so that its probabilities are not all alike."""
    network = PolicyNetwork(spec, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        network.policy.head.weight.mul_(action_gain)
    return network


def mlp_spec(**more: Any) -> PolicySpec:
    """Return a small feed-forward policy with a gate."""
    return PolicySpec(**{"kind": "mlp", "regime": "gate", "hidden": (16, 16), **more})


def lstm_spec(**more: Any) -> PolicySpec:
    """Return a small recurrent policy with a gate."""
    return PolicySpec(**{"kind": "lstm", "regime": "gate", "hidden": (16,), "lstm_hidden": 32, **more})


def tilt_steering(
    market: ObservedMarket, start: Multipliers = Multipliers(), points: SetPoints | None = None, **more: Any
) -> TiltSteering:
    """Return the tilt with its training gains."""
    return TiltSteering(
        TiltActuator(**more),
        points or SetPoints(),
        start,
        n_symbols=market.n_symbols,
        full_session_decisions=market.full_session_decisions,
    )


def trainer_of(
    spec: PolicySpec,
    market: ObservedMarket,
    config: PPOConfig,
    steering: Steering | None = None,
    *,
    seed: int = 1,
    network: PolicyNetwork | None = None,
    rules: TradingRules | None = None,
    staggered: bool | None = None,
) -> Trainer:
    """Return a trainer; everything random comes from ``seed`` but the given network."""
    pool_seed, trainer_seed = np.random.SeedSequence(seed).spawn(2)
    pool = SessionPool(
        market,
        rules or TradingRules(),
        RewardConfig(),
        n_envs=config.n_envs,
        seed=pool_seed,
        staggered=spec.kind == "mlp" if staggered is None else staggered,
    )
    chosen = network or network_of(spec, seed)
    return Trainer(chosen, pool, config, steering or NoSteering(), trainer_seed)
