"""Time to a net Sharpe ratio of 1.5 on 1,000 unseen sessions, from a cold start; ``make bench-full``.

Both sides train on the sessions that gold trains on and are looked at after every rollout, on sessions that
neither trains on. Looking is no part of the time. Weights of both run in the same actor, drawn from their own
probabilities, so that the same thing is judged. A peer that has not arrived after so many times our own
seconds as the bar asks for (and some more) is stopped; its ratio is then a lower bound.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import torch
from sb3_contrib import RecurrentPPO
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv

from benchmarks.harness import Bar, Row
from benchmarks.workloads import PlainEnv, market, pool, settings
from stairways.config import load_settings
from stairways.evaluation.replay import replay
from stairways.learning.network import PolicyNetwork
from stairways.learning.runtime import prepare_torch
from stairways.learning.steering import NoSteering
from stairways.learning.trainer import Trainer
from stairways.policies.program import Program, compile_program
from stairways.policies.spec import PolicySpec
from stairways.trading.metrics import measure

SHARPE = 1.5
UNSEEN = slice(-1_000, None)
SEEDS = (0, 1, 2)
PEER_ENVS = 8
LONGEST_SECONDS = 600.0
BARS = {"mlp": 15.0, "lstm": 10.0}
ROLLOUTS_PER_LOOK = {"mlp": 1, "lstm": 1}
SB3_NAMES = {
    "policy.0": "mlp_extractor.policy_net.0",
    "policy.1": "mlp_extractor.policy_net.2",
    "policy.head": "action_net",
    "policy.lstm": "lstm_actor",
}


def sharpe_of(program: Program, seed: int) -> float:
    """Return the net Sharpe ratio on the unseen sessions."""
    run = replay(market().select(UNSEEN), program, settings().trading, mode="sampled", run_seed=seed)
    found = measure(run.ledger, n_actions=9, risk_free_per_session=0.0).sharpe
    return float("-inf") if found is None else found


def ours(kind: str, seed: int) -> float:
    """Train as gold learns, from random weights; return the seconds until the Sharpe ratio is there."""
    prepare_torch()
    gold = load_settings(None, {"gold": {"policy": kind, "lstm_hidden": 64}}).gold
    spec = PolicySpec(
        kind=kind, regime=gold.regime, hidden=gold.hidden, lstm_hidden=64 if kind == "lstm" else 0
    )  # type: ignore[arg-type]
    network = PolicyNetwork(spec, torch.Generator().manual_seed(seed))
    accounts = pool(gold.ppo.n_envs, seed=seed, staggered=kind == "mlp")
    trainer = Trainer(
        network, accounts, gold.ppo, NoSteering(gold.hold_bonus_bps), np.random.SeedSequence(seed)
    )
    spent = 0.0
    rollouts = gold.steps // gold.ppo.rollout_steps
    for rollout in range(rollouts):
        accounts.cost_scale = gold.cost_scale.at(rollout / rollouts)
        began = time.perf_counter()
        trainer.train(gold.ppo.rollout_steps, anchor=(0, gold.steps))
        spent += time.perf_counter() - began
        if sharpe_of(compile_program(spec, network.export_weights()), seed) >= SHARPE:
            return spent
    return float("inf")


def exported(model: Any, spec: PolicySpec) -> Program:
    """Return a peer's policy as the actor runs it."""
    state = model.policy.state_dict()
    weights = {}
    for name in spec.shapes():
        layer, _, tensor = name.rpartition(".")
        if layer.startswith("value"):
            weights[name] = np.zeros(spec.shapes()[name], np.float32)
            continue
        weights[name] = state[f"{SB3_NAMES[layer]}.{tensor}"].numpy().copy()
    return compile_program(spec, weights)


def peer(kind: str, seed: int, longest: float) -> float:
    """Train a peer with its default settings; return the seconds, infinite if it took longer than allowed."""
    torch.set_num_threads(1)
    environments = DummyVecEnv([lambda i=i: PlainEnv(100 * seed + i) for i in range(PEER_ENVS)])  # type: ignore[misc]
    make: Callable[..., Any] = PPO if kind == "mlp" else RecurrentPPO
    more = {"lstm_hidden_size": 64} if kind == "lstm" else {}
    model = make(
        "MlpPolicy" if kind == "mlp" else "MlpLstmPolicy",
        environments,
        policy_kwargs={"net_arch": [64, 64], **more},
        device="cpu",
        seed=seed,
    )
    spec = PolicySpec(
        kind=kind,  # type: ignore[arg-type]
        regime="concat",
        hidden=(64, 64),
        lstm_hidden=64 if kind == "lstm" else 0,
    )
    spent = 0.0
    while spent < longest:
        began = time.perf_counter()
        model.learn(model.n_steps * PEER_ENVS, reset_num_timesteps=False)
        spent += time.perf_counter() - began
        if sharpe_of(exported(model, spec), seed) >= SHARPE:
            return spent
    return float("inf")


def row_of(kind: str) -> Row:
    """Train both sides with every seed."""
    least = BARS[kind]
    mine = [ours(kind, seed) for seed in SEEDS]
    allowed = min(LONGEST_SECONDS, 1.2 * least * max(mine))
    others = [peer(kind, seed, allowed) for seed in SEEDS]
    arrived = sum(np.isfinite(others))
    bounded = [min(seconds, allowed) for seconds in others]
    ratios = [other / own for own, other in zip(mine, bounded, strict=True)]
    observed = median(bounded) / median(mine)
    return Row(
        name=f"time to a net Sharpe of {SHARPE}, {'MLP 64 x 64' if kind == 'mlp' else 'LSTM 64'}",
        unit="s",
        ours=median(mine),
        peer=median(bounded),
        against="stable-baselines3 PPO" if kind == "mlp" else "sb3-contrib RecurrentPPO",
        observed=observed,
        spread=(min(ratios), max(ratios)),
        bar=Bar(least, at_least=True, text=f">= {least:.0f}x"),
        rounds=len(SEEDS),
        note=f"ours {', '.join(f'{s:.0f}' for s in mine)} s; {arrived} of {len(SEEDS)} peers arrived within "
        f"{allowed:.0f} s, the others count as that: a lower bound",
    )


def rows() -> list[Row]:
    """Both architectures."""
    return [row_of("mlp"), row_of("lstm")]
