"""Answers for many accounts of one policy: in batches, and from memory where a question comes again.

Who asks brings everything an answer depends on: the observation, the recurrent state, the tilt and the bar.
A question that comes again (a client that heard no answer asks once more) is therefore the same question, and
the memory of answers changes none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stairways.control.tilt import TILT_STATE
from stairways.errors import ConfigError
from stairways.evaluation.replay import loop_numbers
from stairways.policies.actor import keyed_uniform
from stairways.policies.decision import NOT_FINITE, buffers_of, decide_each, not_finite, require_symbols
from stairways.trading.actions import order_table

if TYPE_CHECKING:
    from stairways.evaluation.replay import TiltLoop
    from stairways.operations_config import PerformanceSettings
    from stairways.policies.program import Program
    from stairways.trading.ledger import Mode
    from stairways.trading.rules import TradingRules

_WHERE = "predictor"
MOST_ANSWERS = 4_096
"""Answers that are remembered at most, whatever their life."""


class Question(NamedTuple):
    """What an answer depends on.

    Attributes:
        date: Days since 1970-01-01 of the session.
        bar: From 0.
        position: Index of the position, base 3 over the symbols.
        score: Regime score.
        observation: ``(n_inputs,)`` float32.
        recurrent: ``(state_size,)`` float32, zeros at a session's open.
        loop: ``(TILT_STATE,)`` state of the tilt.
        run_seed: Key of the number that draws the action.
    """

    date: int
    bar: int
    position: int
    score: float
    observation: NDArray[np.float32]
    recurrent: NDArray[np.float32]
    loop: NDArray[np.float64]
    run_seed: int = 0

    def key(self) -> tuple[int, int, int, float, bytes, bytes, bytes, int]:
        """Return what tells it from every other question."""
        return (
            self.date,
            self.bar,
            self.position,
            self.score,
            self.observation.tobytes(),
            self.recurrent.tobytes(),
            self.loop.tobytes(),
            self.run_seed,
        )


class Answer(NamedTuple):
    """What the policy does.

    Attributes:
        action: Action id.
        strength: Hold multiplier in force, logits.
        recurrent: ``(state_size,)`` float32, the state after; not to be written to.
    """

    action: int
    strength: float
    recurrent: NDArray[np.float32]


class Predictor:
    """Answers questions about one policy.

    Args:
        program: The policy.
        rules: Whether positions may be short.
        n_symbols: Symbols traded.
        n_inputs: Length of an observation.
        mode: ``sampled`` or ``greedy``.
        loop: The tilt in force; None leaves the policy as it is.
        max_bars: Bars of a full session.
        clock: Seconds, never going back; tells how old an answer is.
        batch: Questions that are answered in one call of the compiled policy, at most.
        life_seconds: How long an answer is remembered; 0 remembers none.

    Raises:
        MismatchError: If the policy is of another number of symbols.
        ConfigError: If the batch is below 1 or the life is negative.
    """

    def __init__(
        self,
        program: Program,
        rules: TradingRules,
        *,
        n_symbols: int,
        n_inputs: int,
        mode: Mode,
        loop: TiltLoop | None,
        max_bars: int,
        clock: Callable[[], float],
        batch: int,
        life_seconds: float,
    ) -> None:
        require_symbols(program, n_symbols, _WHERE)
        if batch < 1 or not life_seconds >= 0.0:
            raise ConfigError(f"batches of {batch}, answers that live {life_seconds} s", where=_WHERE)
        self.mode = mode
        self.batch = batch
        self.life_seconds = life_seconds
        self.recalled = 0
        self._program = program
        self._greedy = mode == "greedy"
        self._controlled = loop is not None
        self._numbers, self._points = loop_numbers(loop, max_bars - 1)
        self._orders = order_table(n_symbols, rules.long_only)
        self._buffers = buffers_of(program, n_inputs)
        self._clock = clock
        self._answers: dict[object, tuple[float, Answer]] = {}
        self._observations = np.empty((batch, n_inputs), np.float32)
        self._recurrent = np.empty((batch, program.state_size), np.float32)
        self._table = np.empty((batch, program.n_actions), np.int8)
        self._scores = np.empty(batch)
        self._uniforms = np.empty(batch)
        self._loops = np.empty((batch, TILT_STATE))
        self._actions = np.empty(batch, np.int64)
        self._strengths = np.empty(batch)

    @classmethod
    def of(
        cls,
        performance: PerformanceSettings,
        program: Program,
        rules: TradingRules,
        *,
        n_symbols: int,
        n_inputs: int,
        mode: Mode,
        loop: TiltLoop | None,
        max_bars: int,
        clock: Callable[[], float],
    ) -> Predictor:
        """Return a predictor with the batch and the memory of the settings."""
        return cls(
            program,
            rules,
            n_symbols=n_symbols,
            n_inputs=n_inputs,
            mode=mode,
            loop=loop,
            max_bars=max_bars,
            clock=clock,
            batch=performance.inference_batch,
            life_seconds=performance.prediction_cache_seconds,
        )

    def answer(self, questions: Sequence[Question]) -> list[Answer]:
        """Answer questions, in order; those of one account in the order of its bars.

        Raises:
            ArtifactError: If the policy's output is not finite.
        """
        if self.life_seconds == 0.0:
            return self._computed(questions)
        now = self._clock()
        self._forget(now)
        keys = [question.key() for question in questions]
        missing = {
            key: question for key, question in zip(keys, questions, strict=True) if key not in self._answers
        }
        self.recalled += len(keys) - len(missing)
        found = dict(zip(missing, self._computed(list(missing.values())), strict=True))
        known = [found[key] if key in found else self._answers[key][1] for key in keys]
        for key, answer in found.items():
            self._answers[key] = now, answer
        while len(self._answers) > MOST_ANSWERS:
            del self._answers[next(iter(self._answers))]
        return known

    def _forget(self, now: float) -> None:
        while self._answers:
            oldest = next(iter(self._answers))
            if now - self._answers[oldest][0] <= self.life_seconds:
                return
            del self._answers[oldest]

    def _computed(self, questions: Sequence[Question]) -> list[Answer]:
        found: list[Answer] = []
        for first in range(0, len(questions), self.batch):
            found += self._at_once(questions[first : first + self.batch])
        return found

    def _at_once(self, questions: Sequence[Question]) -> list[Answer]:
        n = len(questions)
        for i, question in enumerate(questions):
            self._observations[i] = question.observation
            self._recurrent[i] = question.recurrent
            self._table[i] = self._orders[question.position]
            self._scores[i] = question.score
            self._uniforms[i] = keyed_uniform(
                np.uint64(question.run_seed % 2**64), question.date, question.bar
            )
            self._loops[i] = question.loop
        decide_each(
            self._program,
            self._numbers,
            self._points,
            self._controlled,
            self._greedy,
            self._observations[:n],
            self._recurrent[:n],
            self._table[:n],
            self._scores[:n],
            self._uniforms[:n],
            self._loops[:n],
            self._buffers,
            self._actions,
            self._strengths,
        )
        if (self._actions[:n] == NOT_FINITE).any():
            raise not_finite(_WHERE)
        states = self._recurrent[:n].copy()
        return [
            Answer(action, strength, state)
            for action, strength, state in zip(
                self._actions[:n].tolist(), self._strengths[:n].tolist(), states, strict=True
            )
        ]
