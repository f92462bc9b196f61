"""Loads compiled code and heavy libraries once, for the server that forks processes off.

Nothing here starts a thread: no polars query, no backward pass.
"""

from __future__ import annotations

import datetime as dt
import io

import numpy as np
import torch
from matplotlib.figure import Figure

from builders import random_sessions
from markets import observed, random_program
from stairways.cli import main as _main  # noqa: F401 - loaded for those who are forked off
from stairways.control.actuators import TiltActuator
from stairways.control.setpoints import SetPoints
from stairways.envs.pool import SessionPool
from stairways.envs.reward import RewardConfig
from stairways.evaluation.replay import TiltLoop, replay
from stairways.learning.network import PolicyNetwork
from stairways.learning.ppo_config import PPOConfig
from stairways.learning.steering import NoSteering
from stairways.learning.trainer import Trainer
from stairways.learning.warm_start import warm_start
from stairways.market.calendar import exchange_sessions
from stairways.policies.spec import PolicySpec
from stairways.reporting import page as _page  # noqa: F401
from stairways.reporting import pictures as _pictures  # noqa: F401
from stairways.trading.rules import TradingRules
from stairways.tuning import run as _run  # noqa: F401


def _warm() -> None:
    """Call what every run calls first."""
    exchange_sessions(dt.date(2012, 1, 3), dt.date(2012, 2, 3))
    torch.set_num_threads(1)
    made = random_sessions(0, 6, interval_minutes=30)
    market = observed(made)
    rules, seed = TradingRules(), np.random.SeedSequence(0)
    gold = PolicySpec(hidden=(16, 16))
    weights = PolicyNetwork(gold, torch.Generator().manual_seed(0)).export_weights()
    started = warm_start(gold, weights, "gate", seed)
    loop = TiltLoop(TiltActuator(), TiltActuator().live, SetPoints())
    for policy in (random_program(0), random_program(1, regime="gate")):
        for tilt in (None, loop):
            replay(market, policy, rules, loop=tilt)
    pool = SessionPool(market, rules, RewardConfig(), n_envs=4, seed=seed, staggered=True)
    pool.reset()
    pool.step(np.full(4, 4))
    network = PolicyNetwork(started.spec, torch.Generator().manual_seed(0))
    network.load_weights(started.weights)
    Trainer(network, pool, PPOConfig(n_envs=4, n_steps=5), NoSteering(), seed)
    Figure().savefig(io.BytesIO(), format="svg")


_warm()
