"""Training: PPO with a feed-forward policy and with an LSTM, end to end, on the same environment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sb3_contrib import RecurrentPPO
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv

from benchmarks.harness import Bar, Row, Work, rates, ratio_row
from benchmarks.recurrent_peer import OneCallRecurrentPPO
from benchmarks.workloads import PlainEnv, pool
from stairways.learning.network import PolicyNetwork
from stairways.learning.ppo_config import PPOConfig
from stairways.learning.runtime import prepare_torch
from stairways.learning.schedules import Ramp
from stairways.learning.steering import NoSteering
from stairways.learning.trainer import Trainer
from stairways.policies.spec import PolicySpec

N_ENVS = 64
MINIBATCH = 1_024
EPOCHS = 10
LEARNING_RATE = 3e-4


@dataclass(frozen=True)
class Size:
    """Steps of a rollout, and rounds of a contest."""

    n_steps: int
    rounds: int


FEED_FORWARD = Size(n_steps=64, rounds=7)
# A rollout is a whole session of every account: no sequence is cut, and each minibatch of the stock peer
# holds the start of a session.
RECURRENT = {64: Size(n_steps=389, rounds=2), 256: Size(n_steps=389, rounds=2)}


def spec_of(kind: str, hidden: int) -> PolicySpec:
    """Return what both sides train: two tanh layers of 64, behind the LSTM if there is one."""
    return PolicySpec(
        kind=kind,  # type: ignore[arg-type]
        regime="concat",
        hidden=(64, 64),
        lstm_hidden=hidden if kind == "lstm" else 0,
    )


def ours(spec: PolicySpec, size: Size) -> Work:
    """Return work that takes one rollout and its update by the project's trainer, untilted."""
    prepare_torch()
    config = PPOConfig(
        n_envs=N_ENVS,
        n_steps=size.n_steps,
        minibatch=MINIBATCH,
        epochs=EPOCHS,
        learning_rate=Ramp.constant(LEARNING_RATE),
        gamma=0.99,
    )
    trainer = Trainer(
        PolicyNetwork(spec, torch.Generator().manual_seed(0)),
        pool(N_ENVS, staggered=spec.kind == "mlp"),
        config,
        NoSteering(),
        np.random.SeedSequence(0),
    )

    def work() -> float:
        trainer.train(config.rollout_steps)
        return float(config.rollout_steps)

    return work


def peer(algorithm: Callable[..., BaseAlgorithm], size: Size, **more: Any) -> Work:
    """Return the same work by a peer, on plain environments in DummyVecEnv."""
    torch.set_num_threads(1)
    steps = size.n_steps * N_ENVS
    environments = DummyVecEnv([lambda i=i: PlainEnv(i) for i in range(N_ENVS)])  # type: ignore[misc]
    model = algorithm(
        env=environments,
        n_steps=size.n_steps,
        batch_size=MINIBATCH,
        n_epochs=EPOCHS,
        learning_rate=LEARNING_RATE,
        gamma=0.99,
        gae_lambda=0.95,
        device="cpu",
        seed=0,
        **more,
    )

    def work() -> float:
        model.learn(steps, reset_num_timesteps=False)
        return float(steps)

    return work


def feed_forward_row() -> Row:
    """Train an MLP of 64 x 64."""
    mine, other = "stairways", "stable-baselines3 PPO"
    found = rates(
        {mine: ours(spec_of("mlp", 0), FEED_FORWARD), other: peer(_ppo, FEED_FORWARD)}, FEED_FORWARD.rounds
    )
    return ratio_row(
        "training, MLP 64 x 64",
        "steps/s",
        found,
        ours=mine,
        peer=other,
        bar=Bar(3.0, at_least=True, text=">= 3x"),
        note=f"{N_ENVS} accounts, batch {MINIBATCH}, {EPOCHS} epochs, end to end",
    )


def recurrent_rows(hidden: int) -> list[Row]:
    """Train an LSTM, against the stock peer and against one whose loop over starts became one call."""
    size = RECURRENT[hidden]
    architecture = {
        "policy": "MlpLstmPolicy",
        "policy_kwargs": {
            "lstm_hidden_size": hidden,
            "n_lstm_layers": 1,
            "enable_critic_lstm": True,
            "net_arch": [64, 64],
        },
    }
    mine, stock, patched = "stairways", "sb3-contrib RecurrentPPO", "RecurrentPPO, one LSTM call"
    work = ours(spec_of("lstm", hidden), size)
    work()
    found = rates(
        {
            mine: work,
            stock: peer(RecurrentPPO, size, **architecture),
            patched: peer(OneCallRecurrentPPO, size, **architecture),
        },
        size.rounds,
        # nothing of the peers is compiled on a first call, and a round of the stock one takes minutes
        warm_up=False,
    )
    least = {64: 10.0, 256: 5.0}[hidden]
    name = f"training, LSTM {hidden}"
    note = (
        f"{N_ENVS} accounts, batch {MINIBATCH}, {EPOCHS} epochs, rollouts of a whole session; value with an "
        "LSTM of its own on both sides"
    )
    return [
        ratio_row(
            name,
            "steps/s",
            found,
            ours=mine,
            peer=stock,
            bar=Bar(least, at_least=True, text=f">= {least:.0f}x"),
            note=note,
        ),
        ratio_row(f"{name}, against the mended peer", "steps/s", found, ours=mine, peer=patched, bar=None),
    ]


def rows() -> list[Row]:
    """Train one policy after the other."""
    return [feed_forward_row(), *recurrent_rows(64), *recurrent_rows(256)]


def _ppo(**arguments: Any) -> PPO:
    return PPO(policy="MlpPolicy", policy_kwargs={"net_arch": [64, 64]}, **arguments)
