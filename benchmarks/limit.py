"""How near training is to its limit: the same tensor operations in a bare loop, without any bookkeeping."""

from __future__ import annotations

import numpy as np
import torch

from benchmarks.harness import Bar, Row, Work, rates, ratio_row
from benchmarks.training import EPOCHS, LEARNING_RATE, spec_of
from benchmarks.workloads import pool
from stairways.learning.network import PolicyNetwork, States
from stairways.learning.ppo_config import PPOConfig
from stairways.learning.runtime import prepare_torch
from stairways.learning.schedules import Ramp
from stairways.learning.steering import NoSteering
from stairways.learning.trainer import Trainer

N_ENVS, N_STEPS, MINIBATCH = 256, 64, 4_096
ROUNDS = 5


def ours(kind: str, hidden: int) -> Work:
    """Return work that trains one rollout with the project's trainer."""
    prepare_torch()
    config = PPOConfig(
        n_envs=N_ENVS,
        n_steps=N_STEPS,
        minibatch=MINIBATCH,
        epochs=EPOCHS,
        learning_rate=Ramp.constant(LEARNING_RATE),
    )
    network = PolicyNetwork(spec_of(kind, hidden), torch.Generator().manual_seed(0))
    made = pool(N_ENVS, staggered=kind == "mlp")
    trainer = Trainer(network, made, config, NoSteering(), np.random.SeedSequence(0))

    def work() -> float:
        trainer.train(config.rollout_steps)
        return float(config.rollout_steps)

    return work


def bare(kind: str, hidden: int) -> Work:
    """Return the forward passes of a rollout and the steps of its update, on fixed tensors."""
    prepare_torch()
    network = PolicyNetwork(spec_of(kind, hidden), torch.Generator().manual_seed(0))
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE, fused=True)
    draw = torch.Generator().manual_seed(1)
    n_inputs = network.spec.n_observed
    seen = torch.randn(N_STEPS, N_ENVS, n_inputs, generator=draw)
    starts = np.zeros((N_STEPS, N_ENVS), np.bool_)
    states = network.zero_states(N_ENVS)
    accounts = max(1, MINIBATCH // N_STEPS)

    def rollout() -> None:
        with torch.no_grad():
            state = states
            for row in seen:
                if kind == "mlp":
                    logits, _ = network(row)
                else:
                    logits, _, state = network.unroll(row[None], starts[:1], state)
                torch.log_softmax(logits, -1)

    def update() -> None:
        for _ in range(EPOCHS):
            for first in range(0, N_ENVS, accounts):
                optimizer.zero_grad(set_to_none=True)
                part = seen[:, first : first + accounts]
                if kind == "mlp":
                    logits, values = network(part.reshape(-1, n_inputs))
                else:
                    some = States(*(type(s)(*(x[:, first : first + accounts] for x in s)) for s in states))  # type: ignore[union-attr, arg-type]
                    logits, values, _ = network.unroll(part, starts[:, first : first + accounts], some)
                loss = torch.log_softmax(logits, -1).mean() + values.square().mean()
                torch.autograd.backward(loss)
                optimizer.step()

    def work() -> float:
        rollout()
        update()
        return float(N_ENVS * N_STEPS)

    return work


def rows() -> list[Row]:
    """The trainer's rate over that of its bare operations."""
    found = []
    for name, kind, hidden in (("MLP 64 x 64", "mlp", 0), ("LSTM 32", "lstm", 32), ("LSTM 256", "lstm", 256)):
        mine, limit = "trainer", "bare tensor operations"
        rate = rates({mine: ours(kind, hidden), limit: bare(kind, hidden)}, ROUNDS)
        found.append(
            ratio_row(
                f"share of the limit, {name}",
                "steps/s",
                rate,
                ours=mine,
                peer=limit,
                bar=Bar(0.7, at_least=True, text=">= 70 %"),
                note=f"{N_ENVS} accounts, {N_STEPS} steps, batch {MINIBATCH}, {EPOCHS} epochs",
            )
        )
    return found
