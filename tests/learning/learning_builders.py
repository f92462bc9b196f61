"""Small markets, pools and trainers that the tests of the trainer share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from markets import random_market
from stairways.control.actuators import TiltActuator
from stairways.control.setpoints import SetPoints
from stairways.control.tilt import Multipliers
from stairways.envs.pool import EPISODE_RETURN, SessionPool
from stairways.envs.reward import RewardConfig
from stairways.learning.network import PolicyNetwork
from stairways.learning.ppo_config import PPOConfig
from stairways.learning.steering import NoSteering, Steering, TiltSteering
from stairways.learning.trainer import Trainer
from stairways.policies.spec import PolicySpec
from stairways.trading.observation import ObservedMarket, n_inputs
from stairways.trading.rules import TradingRules

UNTILTED = Multipliers()
FAST = {"n_envs": 8, "n_steps": 24, "minibatch": 96, "epochs": 2}
"""Settings of a trainer that takes a moment: a rollout of 192 steps."""


def noise_market(
    seed: int, n_sessions: int = 12, interval_minutes: int = 15, n_symbols: int = 2
) -> ObservedMarket:
    """Return random walks whose observations and regime scores are noise; one half day among them."""
    return random_market(seed, n_sessions, n_symbols, interval_minutes, half_days=(1,))


def drifting_market(seed: int, *, shown_bars: int, n_sessions: int = 60) -> ObservedMarket:
    """Return sessions of 26 bars in which the first symbol moves by 20 bp a bar, without noise.

    It goes one way in the first half of a session and one way in the second, four combinations in
    random order. Both ways stand in the first two inputs during the first ``shown_bars`` bars, the
    time of day in the third; all others are 0. The second symbol stands still.
    """
    market = random_market(seed, n_sessions, interval_minutes=15)
    n_bars = market.full_session_decisions + 1
    ways = np.random.default_rng(seed).permutation(n_sessions) % 4
    ways = np.stack([ways % 2, ways // 2], axis=1) * 2.0 - 1.0
    moves = 2e-3 * np.repeat(ways, n_bars // 2, axis=1)
    prices = np.full((n_sessions, n_bars + 1, 2), 100.0)
    prices[:, 1:, 0] *= np.exp(np.cumsum(moves, axis=1))
    rows = np.zeros((n_sessions, n_bars, n_inputs(2)), np.float32)
    rows[:, :shown_bars, :2] = ways[:, None]
    rows[:, :, 2] = np.linspace(-1.0, 1.0, n_bars)
    return replace(
        market,
        open=prices[:, :-1].copy(),
        close=prices[:, 1:].copy(),
        rows=rows,
        score=np.zeros_like(market.score),
    )


def best_return_ratio(market: ObservedMarket) -> float:
    """Return the mean session return of an account that knows the next bar of the first symbol."""
    pool = SessionPool(market, TradingRules(), RewardConfig(), n_envs=200, seed=np.random.SeedSequence(0))
    for _ in range(market.full_session_decisions):
        session, bar = pool.state.session, pool.state.bar
        rises = market.close[session, bar + 1, 0] > market.open[session, bar + 1, 0]
        pool.step(3 * np.where(rises, 2, 0) + 1)
    return float(pool.output.episodes[:, EPISODE_RETURN].mean())


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
    market: ObservedMarket, start: Multipliers = UNTILTED, points: SetPoints | None = None, **more: Any
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
