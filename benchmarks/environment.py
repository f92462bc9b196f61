"""Environment steps: many accounts through the VecEnv interface."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median

import numpy as np
import pandas as pd
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from benchmarks.harness import Bar, Row, Work, rates, ratio_row, ratios
from benchmarks.workloads import PlainEnv, pool, training_market
from stairways.envs.gym_env import TradingEnv
from stairways.envs.vec_env import PoolVecEnv

N_ENVS = 256
STEPS = 2_000
PEER_STEPS = 40
PEER_ENVS = 16
ROUNDS = 7
BAR_STEPS, BAR_RATIO = 25e6, 150.0


def stepping(env: VecEnv, n_actions: int, steps: int) -> Work:
    """Return work that steps a vector environment with actions drawn beforehand."""
    actions = np.random.default_rng(0).integers(0, n_actions, (steps, env.num_envs))
    env.reset()

    def work() -> float:
        for row in actions:
            env.step(row)
        return float(actions.size)

    return work


def copying() -> Work:
    """Return work that only copies as many bytes of observations as the pool writes: the limit."""
    source = training_market().rows
    target = np.zeros((N_ENVS, source.shape[2]), np.float32)
    sessions = np.random.default_rng(0).integers(0, len(source), STEPS)

    def work() -> float:
        for session in sessions:
            np.copyto(target, source[session, :N_ENVS])
        return float(STEPS * N_ENVS)

    return work


def bars_frame() -> pd.DataFrame:
    """Return one symbol's closes with two features, as the peers want them."""
    market = training_market()
    close = market.close[:40, :, 0].reshape(-1)
    frame = pd.DataFrame({"open": close, "high": close, "low": close, "close": close, "volume": 1.0})
    frame["feature_change"] = frame["close"].pct_change().fillna(0.0)
    frame["feature_level"] = frame["close"] / frame["close"].iloc[0]
    frame.index = pd.date_range("2024-01-01", periods=len(frame), freq="min")
    return frame


def peers() -> Mapping[str, Work]:
    """Return the peers that step trading environments."""
    import gym_anytrading.envs
    import gym_trading_env.environments

    frame = bars_frame()

    def trading_env() -> gym_trading_env.environments.TradingEnv:
        return gym_trading_env.environments.TradingEnv(
            df=frame, positions=[-1, 0, 1], trading_fees=1e-4, verbose=0
        )

    def stocks_env() -> gym_anytrading.envs.StocksEnv:
        plain = frame.rename(columns={"open": "Open", "high": "High", "low": "Low", "close": "Close"})
        return gym_anytrading.envs.StocksEnv(df=plain, window_size=10, frame_bound=(10, len(plain)))

    return {
        "gym-trading-env": stepping(DummyVecEnv([trading_env] * PEER_ENVS), 3, PEER_STEPS),
        "gym-anytrading": stepping(DummyVecEnv([stocks_env] * PEER_ENVS), 2, PEER_STEPS),
        "plain Gymnasium (readable form)": stepping(
            DummyVecEnv([lambda: TradingEnv(training_market())] * PEER_ENVS), 9, PEER_STEPS
        ),
        "plain Gymnasium (compiled step)": stepping(
            DummyVecEnv([lambda: PlainEnv(0)] * PEER_ENVS), 9, PEER_STEPS * 10
        ),
    }


def rows() -> list[Row]:
    """Step 256 accounts, and the peers', in turns."""
    ours = "PoolVecEnv of 256"
    contestants = {
        ours: stepping(PoolVecEnv(pool(N_ENVS)), 9, STEPS),
        "copy of the observations": copying(),
        **peers(),
    }
    found = rates(contestants, ROUNDS)
    limit = median(ratios(found[ours], found["copy of the observations"]))
    keeps_accounts = max(
        ("gym-trading-env", "plain Gymnasium (readable form)"),
        key=lambda name: median(found[name]),
    )
    mine = median(found[ours])
    absolute = mine >= BAR_STEPS
    bar = Bar(
        0.0 if absolute else BAR_RATIO,
        at_least=True,
        text=f">= {BAR_STEPS / 1e6:.0f} M steps/s on one core or >= {BAR_RATIO:.0f}x the fastest peer "
        "that keeps accounts",
    )
    note = f"{mine / 1e6:.1f} M steps/s; {limit:.0%} of the rate at which observations alone are copied"
    table = [
        ratio_row(
            "environment steps, 256 accounts",
            "steps/s",
            found,
            ours=ours,
            peer=keeps_accounts,
            bar=bar,
            note=note,
        )
    ]
    table += [
        ratio_row(f"environment steps: {name}", "steps/s", found, ours=ours, peer=name, bar=None)
        for name in contestants
        if name not in (ours, keeps_accounts)
    ]
    return table
