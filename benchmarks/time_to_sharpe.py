"""Time to a net Sharpe ratio of 1.5 on 1,000 unseen sessions, from a cold start; ``make bench-full``.

Both sides train on the same sessions and are looked at after every rollout or batch, on sessions that neither
trains on. Looking is no part of the time. Weights of both run in the same actor, actions drawn from their
probabilities, so that the same thing is judged. The project trains each policy by its own default: all
actions under the tilt where it can (the tilt runs on the unseen sessions too, as deployed), PPO for an LSTM.
A peer that has not arrived after so many times our own seconds as the bar asks for (and some more) is
stopped; its ratio is then a lower bound.
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
from benchmarks.workloads import PlainEnv, market, pool, settings, training_market
from stairways.config import load_settings
from stairways.control import Multipliers, SetPoints, TiltActuator
from stairways.evaluation.replay import TiltLoop, replay
from stairways.learning.all_actions import AllActionsTrainer
from stairways.learning.network import PolicyNetwork
from stairways.learning.reports import RolloutReport
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
MOST_PASSES = 20
BARS = {"mlp": 15.0, "lstm": 10.0}
SB3_NAMES = {
    "policy.0": "mlp_extractor.policy_net.0",
    "policy.1": "mlp_extractor.policy_net.2",
    "policy.head": "action_net",
    "policy.lstm": "lstm_actor",
}


def sharpe_of(program: Program, seed: int, loop: TiltLoop | None = None) -> float:
    """Return the net Sharpe ratio on the unseen sessions."""
    unseen = market().select(UNSEEN)
    run = replay(unseen, program, settings().trading, mode="sampled", run_seed=seed, loop=loop)
    found = measure(run.ledger, n_actions=9, risk_free_per_session=0.0).sharpe
    return float("-inf") if found is None else found


class Arrived(Exception):  # noqa: N818  no error: it ends a training that has done what it should
    """The Sharpe ratio is there."""


def all_actions(seed: int) -> float:
    """Train as candidates are tuned, from random weights; return the seconds until the Sharpe ratio."""
    prepare_torch()
    spec = PolicySpec(kind="mlp", regime="none", hidden=(64, 64))
    network = PolicyNetwork(spec, torch.Generator().manual_seed(seed))
    made, actuator, points = settings(), TiltActuator(), SetPoints()
    trainer = AllActionsTrainer(
        network,
        training_market(),
        made.trading,
        made.reward,
        made.tune.all_actions,
        actuator,
        points,
        Multipliers(),
        np.random.SeedSequence(seed),
    )
    loop = TiltLoop(actuator, actuator.live, points)
    spent, began = 0.0, time.perf_counter()

    def look(_: RolloutReport) -> None:
        nonlocal spent, began
        spent += time.perf_counter() - began
        program = compile_program(spec, network.export_weights())
        if sharpe_of(program, seed, loop.starting_at(trainer.multipliers)) >= SHARPE:
            raise Arrived
        began = time.perf_counter()

    try:
        for _ in range(MOST_PASSES):
            trainer.train(training_market().n_decisions, progress=look)
    except Arrived:
        return spent
    return float("inf")


def ours(kind: str, seed: int) -> float:
    """Train from random weights by the default of the kind; return the seconds until the Sharpe ratio."""
    return all_actions(seed) if kind == "mlp" else as_gold_learns(kind, seed)


def as_gold_learns(kind: str, seed: int) -> float:
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
    # once for what is compiled on a first call
    ours(kind, SEEDS[0])
    mine = [ours(kind, seed) for seed in SEEDS]
    if not np.isfinite(mine).all():
        raise ValueError(f"ours did not arrive with every seed: {mine}")
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
    """A feed-forward policy; a peer's seeds take minutes."""
    return [row_of("mlp")]
