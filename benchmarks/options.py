"""The performance options: what each of them does to time or memory, measured."""

from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from statistics import median

import numpy as np
import torch

from benchmarks.decisions import random_program
from benchmarks.harness import Row, Work, rates, ratio_row, value_row
from benchmarks.training import spec_of
from benchmarks.workloads import dataset, market, pool, settings
from stairways.control import Multipliers, SetPoints, TiltActuator, TiltGains
from stairways.control.tilt import tilt_state
from stairways.errors import ConfigError
from stairways.evaluation.replay import TiltLoop
from stairways.learning.network import PolicyNetwork
from stairways.learning.ppo_config import PPOConfig
from stairways.learning.runtime import has_bfloat16, prepare_torch
from stairways.learning.schedules import Ramp
from stairways.learning.steering import NoSteering
from stairways.learning.trainer import Trainer
from stairways.live.decider import Decider
from stairways.live.predictor import Predictor, Question
from stairways.market.feature_stream import FeatureStream
from stairways.market.features import FeatureConstants, compute_features
from stairways.market.regime import DEFAULT_REGIME
from stairways.policies.program import Program
from stairways.policies.spec import PolicySpec
from stairways.trading.account import Account
from stairways.tuning.contest import Arena, Entrant
from stairways.tuning.memory import require_memory

ROUNDS = 5
N_ENVS, N_STEPS = 64, 64
SHADOW_SESSIONS, SHADOW_POLICIES = 3, 3
LOOP = TiltLoop(
    TiltActuator(), TiltGains(ki_hold=0.02, ki_trade=0.02), SetPoints(), Multipliers(0.4, 0.3), 0.4
)


def trainer(n_steps: int = N_STEPS, *, accumulation: int = 1, clear: bool = True) -> Trainer:
    """Return a trainer of the MLP of 64 x 64."""
    prepare_torch()
    config = PPOConfig(
        n_envs=N_ENVS,
        n_steps=n_steps,
        minibatch=1_024,
        epochs=10,
        learning_rate=Ramp.constant(3e-4),
        gradient_accumulation=accumulation,
    )
    return Trainer(
        PolicyNetwork(spec_of("mlp", 0), torch.Generator().manual_seed(0)),
        pool(N_ENVS),
        config,
        NoSteering(),
        np.random.SeedSequence(0),
        clear_buffer=clear,
    )


def training(made: Trainer) -> Work:
    """Return work that takes one rollout and its update."""

    def work() -> float:
        made.train(made.config.rollout_steps)
        return float(made.config.rollout_steps)

    return work


def rollout_buffer_rows() -> list[Row]:
    """Clear the rollout's memory at the end of each cycle, or write the next one over it."""
    cleared, kept = "cleared", "kept"
    found = rates({cleared: training(trainer()), kept: training(trainer(clear=False))}, ROUNDS)
    made = trainer(n_steps=4_096, clear=False)
    made.train(made.config.rollout_steps)
    held = sum(
        value.nbytes for value in vars(made._tape).values() if isinstance(value, torch.Tensor | np.ndarray)
    )
    return [
        ratio_row(
            "clear_rollout_buffer: steps/s with and without",
            "steps/s",
            found,
            ours=cleared,
            peer=kept,
            bar=None,
            note="on by default: it costs nothing that shows",
        ),
        value_row(
            "clear_rollout_buffer: memory held between cycles without it, rollouts of 262,144 steps",
            "MB",
            [held / 2**20],
            bar=None,
            note="free for the replays between two cycles with it",
        ),
    ]


def accumulation_rows() -> list[Row]:
    """Take a minibatch in four parts."""
    found = rates({"4": training(trainer(accumulation=4)), "1": training(trainer())}, ROUNDS)
    whole, parts = trainer(), trainer(accumulation=4)
    for made in (whole, parts):
        made.train(made.config.rollout_steps)
    far = max(
        float(np.abs(weights - parts.network.export_weights()[name]).max())
        for name, weights in whole.network.export_weights().items()
    )
    return [
        ratio_row(
            "gradient_accumulation 4",
            "steps/s",
            found,
            ours="4",
            peer="1",
            bar=None,
            note=f"weights after a rollout's 40 gradient steps differ by {far:.1e} at most; it saves memory "
            "only where a minibatch does not fit",
        )
    ]


def mixed_precision_rows() -> list[Row]:
    """Train in bfloat16 on this CPU, where it has the products."""
    found = []
    for name, kind, n_steps in (("gated MLP 64 x 64", "mlp", 64), ("LSTM 64", "lstm", 130)):
        spec = PolicySpec(
            kind=kind,  # type: ignore[arg-type]
            regime="gate",
            hidden=(64, 64),
            lstm_hidden=64 if kind == "lstm" else 0,
        )
        works = {}
        for label, mixed in (("bfloat16", True), ("float32", False)):
            prepare_torch()
            config = PPOConfig(n_envs=N_ENVS, n_steps=n_steps, minibatch=1_024, epochs=10)
            works[label] = training(
                Trainer(
                    PolicyNetwork(spec, torch.Generator().manual_seed(0)),
                    pool(N_ENVS, staggered=kind == "mlp"),
                    config,
                    NoSteering(),
                    np.random.SeedSequence(0),
                    mixed_precision=mixed,
                )
            )
        there = "this CPU has them" if has_bfloat16() else "this CPU lacks them, and the setting is refused"
        found.append(
            ratio_row(
                f"mixed_precision, {name}",
                "steps/s",
                rates(works, ROUNDS),
                ours="bfloat16",
                peer="float32",
                bar=None,
                note=f"bfloat16 products: {there}; refused for a policy without gate, faster in float32",
            )
        )
    return found


def memory_limit_rows() -> list[Row]:
    """Refuse a market that is too large, before anything is made of it."""
    sessions = dataset().sessions
    tight = settings().model_copy(
        update={"performance": settings().performance.model_copy(update={"max_memory_gb": 0.1})}
    )

    def refused() -> float:
        try:
            require_memory(tight, sessions)
        except ConfigError:
            return 1.0
        return 0.0

    found = rates({"refused": refused}, ROUNDS)
    return [
        value_row(
            "max_memory_gb: time to refuse a market of 3,320 sessions under 0.1 GiB",
            "µs",
            [1e6 / rate for rate in found["refused"]],
            bar=None,
            note="reckoned from its shape, within the factor that tests/tuning/test_performance_settings.py "
            "allows, before features are computed",
        )
    ]


def _replayed(seed: int) -> str:
    part = market().select(slice(100, 100 + SHADOW_SESSIONS))
    arena = Arena(part, settings().trading, "sampled", 3)
    return arena.run(Entrant(random_program("lstm", seed), LOOP)).digest


def replay_worker_rows() -> list[Row]:
    """Replay the shadow sessions of three policies: in order, by threads, by processes."""
    part = market().select(slice(100, 100 + SHADOW_SESSIONS))
    entrants = [Entrant(random_program("lstm", seed), LOOP) for seed in range(SHADOW_POLICIES)]

    def by(workers: int) -> Work:
        arena = Arena(part, settings().trading, "sampled", 3, workers=workers)

        def work() -> float:
            arena.run_each(entrants)
            return float(len(entrants) * part.n_decisions)

        return work

    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(SHADOW_POLICIES, mp_context=context) as processes:
        list(processes.map(_replayed, range(SHADOW_POLICIES)))

        def in_processes() -> float:
            list(processes.map(_replayed, range(SHADOW_POLICIES)))
            return float(SHADOW_POLICIES * part.n_decisions)

        found = rates({"in order": by(1), "3 threads": by(3), "3 processes": in_processes}, ROUNDS)
    in_order = SHADOW_POLICIES * part.n_decisions / median(found["in order"])
    name = "replay_workers, three shadow sessions of three policies"
    return [
        ratio_row(
            f"{name}: 3 threads",
            "decisions/s",
            found,
            ours="3 threads",
            peer="in order",
            bar=None,
            note="the same ledgers, bit for bit; compiled replays let go of the interpreter's lock",
        ),
        ratio_row(
            f"{name}: 3 processes, already running, each with its market",
            "decisions/s",
            found,
            ours="3 processes",
            peer="in order",
            bar=None,
            note=f"why replays stay in one process: to start one takes {spawned_seconds():.1f} s, all the "
            f"replays in order {in_order:.3f} s",
        ),
    ]


def spawned_seconds() -> float:
    """Return what one process takes from nothing to its first replay."""
    began = time.perf_counter()
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as processes:
        processes.submit(_replayed, 0).result(timeout=120)
    return time.perf_counter() - began


def preprocessing_rows() -> list[Row]:
    """Compute the features of a history by one thread or by two."""
    sessions = dataset().sessions
    bars = float(sessions.n_bars.sum())

    def by(threads: int) -> Work:
        def work() -> float:
            compute_features(sessions, DEFAULT_REGIME, threads=threads)
            return bars

        return work

    found = rates({"2 threads": by(2), "1 thread": by(1)}, ROUNDS)
    return [
        ratio_row(
            "preprocessing_threads 2, features of 3,320 sessions",
            "bars/s",
            found,
            ours="2 threads",
            peer="1 thread",
            bar=None,
            note="the same numbers, bit for bit; the regime's part stays in one thread",
        )
    ]


def predictor_of(program: Program, *, batch: int, life_seconds: float) -> Predictor:
    """Return a predictor of two symbols."""
    return Predictor(
        program,
        settings().trading,
        n_symbols=2,
        n_inputs=market().rows.shape[2],
        mode="sampled",
        loop=LOOP,
        max_bars=390,
        clock=time.monotonic,
        batch=batch,
        life_seconds=life_seconds,
    )


def questions_of(program: Program, n: int) -> list[Question]:
    """Return questions of as many accounts."""
    rng = np.random.default_rng(0)
    part = market().select(slice(100, 160))
    return [
        Question(
            date=19_000,
            bar=i % 389,
            position=4,
            score=0.0,
            observation=part.rows[i % 60, i % 389].copy(),
            recurrent=rng.normal(0.0, 0.5, program.state_size).astype(np.float32),
            loop=tilt_state(LOOP.start, 0.4),
            run_seed=i,
        )
        for i in range(n)
    ]


def inference_rows() -> list[Row]:
    """Answer 32 accounts in one call or one by one; from memory or anew."""
    found = []
    for kind, name in (("mlp", "MLP 64 x 64"), ("lstm", "LSTM 64")):
        program = random_program(kind, 0)
        asked = questions_of(program, 320)

        def answering(predictor: Predictor, asked: list[Question] = asked, size: int = 32) -> Work:
            def work() -> float:
                for first in range(0, len(asked), size):
                    predictor.answer(asked[first : first + size])
                return float(len(asked))

            return work

        rate = rates(
            {
                "batch 32": answering(predictor_of(program, batch=32, life_seconds=0.0)),
                "one by one": answering(predictor_of(program, batch=1, life_seconds=0.0), size=1),
                "from memory": answering(predictor_of(program, batch=32, life_seconds=3_600.0)),
            },
            ROUNDS,
        )
        found += [
            ratio_row(
                f"inference_batch 32, {name}",
                "answers/s",
                rate,
                ours="batch 32",
                peer="one by one",
                bar=None,
                note="the same answers, bit for bit",
            ),
            ratio_row(
                f"prediction_cache: a question that comes again, {name}",
                "answers/s",
                rate,
                ours="from memory",
                peer="batch 32",
                bar=None,
                note="key: bar, recurrent state, observation, tilt, position; it changes no answer, and only "
                "who asks again is served by it",
            ),
        ]
    return found


def live_memory_rows() -> list[Row]:
    """Ask a decider for what lies behind it."""
    data, made = dataset(), settings()
    constants = FeatureConstants.fit(data.raw, data.sessions, slice(60, 560))
    sessions = data.sessions.select(slice(100, 104))

    def decider() -> Decider:
        stream = FeatureStream.after(data.sessions.select(slice(0, 100)), constants)
        return Decider(random_program("mlp", 0), stream, made.trading, mode="sampled", run_seed=0, loop=LOOP)

    led = decider()
    account = Account(made.trading, 2)
    for i in range(3):
        led.start_session(sessions.dates[i].item(), 390)
        for b in range(390):
            intent = led.decide(sessions.open[i, b], sessions.close[i, b], sessions.volume[i, b], account)
            if intent is not None:
                led.settle(0)
        led.end_session()
    date = sessions.dates[2].item()
    bar = sessions.open[2, 389], sessions.close[2, 389], sessions.volume[2, 389]
    led.stream.detector.start_session()

    def again() -> float:
        for _ in range(500):
            led.repeated(date, 389, *bar)
        return 500.0

    def readings() -> float:
        for b in range(389):
            led.reading(date, b)
        return 389.0

    def regime_anew() -> float:
        for b in range(389):
            led.stream.detector.update(sessions.open[3, b], sessions.close[3, b])
        led.stream.detector.end_session()
        led.stream.detector.start_session()
        return 389.0

    def decided() -> float:
        fresh = decider()
        fresh.start_session(sessions.dates[0].item(), 390)
        began = time.perf_counter()
        for b in range(389):
            fresh.decide(sessions.open[0, b], sessions.close[0, b], sessions.volume[0, b], account)
            fresh.settle(0)
        seconds.append((time.perf_counter() - began) / 389)
        return 389.0

    seconds: list[float] = []
    found = rates({"again": again, "readings": readings, "anew": regime_anew, "decided": decided}, ROUNDS)
    found["decided"] = [1 / each for each in seconds[-ROUNDS:]]
    return [
        ratio_row(
            "market_buffer_minutes 60: a bar that comes again",
            "answers/s",
            found,
            ours="again",
            peer="decided",
            bar=None,
            note="beside a decision; a bar with other numbers than those decided on is refused",
        ),
        ratio_row(
            "regime_cache_bars 1,000: the regime of a bar behind",
            "readings/s",
            found,
            ours="readings",
            peer="anew",
            bar=None,
            note="beside one step of the detector, which could not go back",
        ),
    ]


def rows() -> list[Row]:
    """Every option; those of a GPU have rows where there is one."""
    return [
        *rollout_buffer_rows(),
        *accumulation_rows(),
        *mixed_precision_rows(),
        *memory_limit_rows(),
        *replay_worker_rows(),
        *preprocessing_rows(),
        *inference_rows(),
        *live_memory_rows(),
    ]
