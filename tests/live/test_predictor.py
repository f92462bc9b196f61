"""Many accounts of one policy: batches and memory change no answer."""

from __future__ import annotations

import numpy as np
import pytest

from markets import random_market, random_program
from stairways.control import Multipliers, SetPoints, TiltActuator, TiltGains
from stairways.control.tilt import tilt_state
from stairways.errors import ArtifactError, ConfigError, MismatchError
from stairways.evaluation.replay import TiltLoop, loop_numbers
from stairways.live import predictor as predictor_module
from stairways.live.predictor import Predictor, Question
from stairways.operations_config import PerformanceSettings
from stairways.policies.actor import keyed_uniform
from stairways.policies.decision import buffers_of, decide
from stairways.trading.actions import order_table
from stairways.trading.rules import TradingRules

RULES = TradingRules()
LOOP = TiltLoop(
    TiltActuator(), TiltGains(ki_hold=0.1, ki_trade=0.1, kp_fast=6.0), SetPoints(), Multipliers(0.4, 0.3), 0.4
)
MARKET = random_market(5, n_sessions=12, interval_minutes=15)
N_INPUTS, MAX_BARS = MARKET.rows.shape[2], MARKET.rows.shape[1]


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def predictor_of(program, **changes):
    given = {
        "n_symbols": 2,
        "n_inputs": N_INPUTS,
        "mode": "sampled",
        "loop": LOOP,
        "max_bars": MAX_BARS,
        "clock": Clock(),
        "batch": 5,
        "life_seconds": 0.0,
    }
    return Predictor(program, RULES, **{**given, **changes})


def questions_of(program, n=37):
    rng = np.random.default_rng(2)
    return [
        Question(
            date=19_000 + i % 7,
            bar=i % 20,
            position=int(rng.integers(9)),
            score=float(MARKET.score[i % 12, i % 20]),
            observation=MARKET.rows[i % 12, i % 20].copy(),
            recurrent=rng.normal(0.0, 0.5, program.state_size).astype(np.float32),
            loop=tilt_state(Multipliers(*rng.normal(0.0, 1.0, 2)), 0.4),
            run_seed=i % 3,
        )
        for i in range(n)
    ]


def one_by_one(program, question, *, loop=LOOP, mode="sampled"):
    """Answer by the function that replays and deciders call."""
    numbers, points = loop_numbers(loop, MAX_BARS - 1)
    buffers = buffers_of(program, N_INPUTS)
    buffers.observation[:] = question.observation
    buffers.recurrent[:] = question.recurrent
    action, strength = decide(
        program,
        numbers,
        points,
        loop is not None,
        mode == "greedy",
        order_table(2, False)[question.position],
        question.score,
        keyed_uniform(np.uint64(question.run_seed), question.date, question.bar),
        question.loop.copy(),
        buffers,
    )
    return action, strength, buffers.recurrent.copy()


@pytest.mark.parametrize("mode", ["sampled", "greedy"])
@pytest.mark.parametrize("loop", [LOOP, None], ids=["tilted", "as it is"])
@pytest.mark.parametrize("batch", [1, 5, 64])
@pytest.mark.parametrize("spec", [{"kind": "mlp", "regime": "gate"}, {"kind": "lstm", "lstm_hidden": 32}])
def test_a_batch_answers_as_one_by_one(spec, batch, loop, mode):
    program = random_program(3, **spec)
    asked = questions_of(program)
    answers = predictor_of(program, batch=batch, loop=loop, mode=mode).answer(asked)
    assert len({answer.action for answer in answers}) > 1
    for question, answer in zip(asked, answers, strict=True):
        action, strength, recurrent = one_by_one(program, question, loop=loop, mode=mode)
        assert (answer.action, answer.strength) == (action, strength)
        np.testing.assert_array_equal(answer.recurrent, recurrent)


def test_what_is_asked_again_is_recalled_for_its_life_and_computed_afterwards(monkeypatch):
    program, clock = random_program(3, kind="lstm", lstm_hidden=32), Clock()
    predictor = predictor_of(program, clock=clock, life_seconds=10.0)
    computed = []
    kernel = predictor_module.decide_each
    monkeypatch.setattr(
        predictor_module, "decide_each", lambda *given: computed.append(len(given[5])) or kernel(*given)
    )
    asked = questions_of(program, 3)
    first = predictor.answer(asked)
    clock.now += 10.0
    again = predictor.answer([*asked, asked[0]])
    assert computed == [3]
    assert predictor.recalled == 4
    for one, other in zip([*first, first[0]], again, strict=True):
        assert one.action == other.action
        np.testing.assert_array_equal(one.recurrent, other.recurrent)
    clock.now += 0.001
    predictor.answer(asked)
    assert computed == [3, 3]


@pytest.mark.parametrize(
    "change",
    [
        {"bar": 9},
        {"date": 1},
        {"position": 8},
        {"score": 2.5},
        {"run_seed": 77},
        {"observation": np.ones(N_INPUTS, np.float32)},
        {"recurrent": np.ones(64, np.float32)},
        {"loop": tilt_state(Multipliers(3.0, -3.0), 0.4)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_an_answer_depends_on_tells_questions_apart(change):
    program = random_program(3, kind="lstm", lstm_hidden=32)
    predictor = predictor_of(program, life_seconds=10.0)
    question = questions_of(program, 1)[0]._replace(position=0)
    assert len(question.recurrent) == 64
    predictor.answer([question])
    other = question._replace(**change)
    answer = predictor.answer([other])[0]
    assert predictor.recalled == 0
    assert answer.action == one_by_one(program, other)[0]


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(predictor_module, "MOST_ANSWERS", 10)
    program = random_program(3)
    predictor = predictor_of(program, life_seconds=3_600.0)
    asked = questions_of(program, 37)
    predictor.answer(asked)
    predictor.answer(asked[-10:])
    assert predictor.recalled == 10
    predictor.answer(asked[:1])
    assert predictor.recalled == 10


def test_the_settings_give_batch_and_life():
    program = random_program(3)
    performance = PerformanceSettings(inference_batch=7, prediction_cache_seconds=2.5)
    predictor = Predictor.of(
        performance,
        program,
        RULES,
        n_symbols=2,
        n_inputs=N_INPUTS,
        mode="greedy",
        loop=None,
        max_bars=MAX_BARS,
        clock=Clock(),
    )
    assert (predictor.batch, predictor.life_seconds) == (7, 2.5)


def test_what_can_not_be_answered_is_refused():
    program = random_program(3)
    broken = program._replace(numbers=np.full_like(program.numbers, np.nan))
    with pytest.raises(ArtifactError, match="not finite"):
        predictor_of(broken).answer(questions_of(program, 2))
    with pytest.raises(MismatchError, match="27 actions, 2 symbols have 9"):
        predictor_of(random_program(3, n_symbols=3))
    for wrong in ({"batch": 0}, {"life_seconds": -1.0}, {"life_seconds": float("nan")}):
        with pytest.raises(ConfigError, match="batches of"):
            predictor_of(program, **wrong)
