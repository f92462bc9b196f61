"""Decisions: sixty sessions in order, and one bar at a time in a live process."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from sb3_contrib import RecurrentPPO
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv

from benchmarks.harness import Bar, Row, Work, rates, ratio_row, value_row
from benchmarks.live_process import prepare
from benchmarks.training import spec_of
from benchmarks.workloads import PlainEnv, dataset, market, settings
from stairways.evaluation.replay import replay
from stairways.live.decider import Decider
from stairways.market.feature_stream import FeatureStream
from stairways.market.features import FeatureConstants
from stairways.policies.program import Program, compile_program
from stairways.trading.account import Account
from stairways.trading.observation import ObservedMarket
from stairways.tuning.shipped import shipped_gold

SESSIONS = 60
PEER_DECISIONS = 400
ROUNDS = 5
LSTM_64 = {"lstm_hidden_size": 64, "net_arch": [64, 64]}
LIVE_SESSIONS, HISTORY_SESSIONS = 20, 60
LIVE_ROUNDS = 3


def random_program(kind: str, seed: int = 0) -> Program:
    """Return a policy of 64 x 64, random weights."""
    spec = spec_of(kind, 64)
    rng = np.random.default_rng(seed)
    weights = {name: rng.normal(0.0, 0.15, shape).astype(np.float32) for name, shape in spec.shapes().items()}
    return compile_program(spec, weights)


def judged() -> ObservedMarket:
    """Return the sixty sessions."""
    return market().select(slice(100, 100 + SESSIONS))


def predicting(recurrent: bool) -> Work:
    """Return the usual way: ``model.predict`` bar by bar."""
    environment = DummyVecEnv([lambda: PlainEnv(0)])
    model: Any
    if recurrent:
        model = RecurrentPPO("MlpLstmPolicy", environment, policy_kwargs=LSTM_64, device="cpu")
    else:
        model = PPO("MlpPolicy", environment, policy_kwargs={"net_arch": [64, 64]}, device="cpu")
    plain = PlainEnv(0)

    def work() -> float:
        observation, _ = plain.reset()
        state, start = None, np.ones(1, bool)
        for _ in range(PEER_DECISIONS):
            action, state = model.predict(observation, state=state, episode_start=start, deterministic=True)
            observation, _, done, _, _ = plain.step(int(action))
            start = np.array([done])
        return float(PEER_DECISIONS)

    return work


def acts_the_same_bar_by_bar(program: Program) -> bool:
    """Whether the decider, called bar by bar, takes the replay's very actions."""
    data, made = dataset(), settings()
    constants = FeatureConstants.fit(data.raw, data.sessions, slice(60, 560))
    whole = replay(judged(), program, made.trading, mode="sampled", run_seed=3)
    decider = Decider(
        program,
        FeatureStream.after(data.sessions.select(slice(0, 100)), constants),
        made.trading,
        mode="sampled",
        run_seed=3,
        loop=None,
    )
    account = Account(made.trading, 2)
    sessions = data.sessions.select(slice(100, 100 + SESSIONS))
    for i in range(len(sessions)):
        decider.start_session(sessions.dates[i].item(), int(sessions.n_bars[i]))
        intent = None
        for b in range(int(sessions.n_bars[i])):
            opens, closes, volumes = sessions.open[i, b], sessions.close[i, b], sessions.volume[i, b]
            if intent is not None:
                for order in intent.orders:
                    account.fill(order, float(opens[order.symbol_index]), float(volumes[order.symbol_index]))
                if b == sessions.n_bars[i] - 1:
                    account.flatten(closes, volumes)
                decider.settle(0)
            intent = decider.decide(opens, closes, volumes, account)
            if intent is not None and intent.action != whole.actions[i, b]:
                return False
        decider.end_session()
    return True


def evaluation_rows() -> list[Row]:
    """Lead one account through sixty sessions in order."""
    found = []
    for kind, name in (("mlp", "MLP 64 x 64"), ("lstm", "LSTM 64")):
        program, part = random_program(kind), judged()

        def ours(program: Program = program, part: ObservedMarket = part) -> float:
            replay(part, program, settings().trading, mode="greedy")
            return float(part.n_decisions)

        peer = "model.predict, bar by bar"
        rate = rates({"replay": ours, peer: predicting(kind == "lstm")}, ROUNDS)
        same = acts_the_same_bar_by_bar(program)
        least = 20.0 if same else float("inf")
        found.append(
            ratio_row(
                f"evaluation of {SESSIONS} sessions, one account, in order, {name}",
                "decisions/s",
                rate,
                ours="replay",
                peer=peer,
                bar=Bar(least, at_least=True, text=">= 20x, with the actor's actions bar by bar"),
                note="the actor's actions, bar by bar, are the same bit for bit"
                if same
                else "the actor called bar by bar took OTHER actions",
            )
        )
    return found


@cache
def prepared() -> Path:
    """Write what a live process starts from: the state behind a history that the shipped gold knows."""
    folder = Path(tempfile.mkdtemp(prefix="stairways-bench-"))
    sessions = dataset().sessions
    last = sessions.select(slice(len(sessions) - HISTORY_SESSIONS - LIVE_SESSIONS, None))
    prepare(shipped_gold(), last, LIVE_SESSIONS, folder)
    return folder


def live(*more: str) -> dict[str, Any]:
    """Run a live process and return what it said."""
    command = [sys.executable, "-m", "benchmarks.live_process", str(shipped_gold()), str(prepared())]
    done = subprocess.run([*command, *more], check=True, capture_output=True, text=True, timeout=300)
    record: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return record


def predict_p99_us(recurrent: bool) -> float:
    """Return the peer's 99th percentile of one decision, features given."""
    environment = DummyVecEnv([lambda: PlainEnv(0)])
    if recurrent:
        model: Any = RecurrentPPO("MlpLstmPolicy", environment, policy_kwargs=LSTM_64, device="cpu")
    else:
        model = PPO("MlpPolicy", environment, policy_kwargs={"net_arch": [64, 64]}, device="cpu")
    observation = PlainEnv(0).reset()[0]
    state, times = None, []
    for _ in range(3_000):
        began = time.perf_counter()
        _, state = model.predict(observation, state=state, deterministic=True)
        times.append(time.perf_counter() - began)
    return float(np.percentile(times[100:], 99) * 1e6)


def live_rows() -> list[Row]:
    """Decide bar by bar in a process that never imported torch."""
    found = []
    for name, more, recurrent in (("MLP", (), False), ("LSTM 64", ("--lstm", "64"), True)):
        live(*more)
        runs = [(live(*more), predict_p99_us(recurrent)) for _ in range(LIVE_ROUNDS)]
        without_torch = not any(run["torch"] for run, _ in runs)
        peer = float(np.median([p99 for _, p99 in runs]))
        row = value_row(
            f"live decision, bar to order intent, p99, {name}",
            "µs",
            [run["p99_us"] for run, _ in runs],
            bar=Bar(
                100.0 if without_torch else float("-inf"),
                at_least=False,
                text="<= 100 µs in a process without torch",
            ),
            note=f"median {np.median([run['p50_us'] for run, _ in runs]):.0f} µs, largest "
            f"{max(run['max_us'] for run, _ in runs):.0f} µs of {runs[0][0]['n']:,}; features, regime, "
            f"policy, tilt and sizes; model.predict alone takes {peer:.0f} µs at p99",
        )
        found.append(row)
    return found


def rows() -> list[Row]:
    """Evaluation and live decisions."""
    return [*evaluation_rows(), *live_rows()]
