"""One decision: the network's logits, the tilt over them, and the choice; compiled, and shared by all.

The replay that judges, and a live process, call the same function with the same numbers.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stairways.control.actuators import TiltNumbers
from stairways.control.setpoints import SetPointNumbers
from stairways.control.tilt import ANCHOR, TRADE, hold_multiplier
from stairways.errors import ArtifactError, MismatchError
from stairways.policies.actor import forward, greedy, log_probabilities, sample, tilt
from stairways.policies.program import Program

NOT_FINITE = -1
NO_TILT_FLOOR = -1e300


def require_symbols(program: Program, n_symbols: int, where: str) -> None:
    """Refuse a policy of another number of symbols.

    Raises:
        MismatchError: If it has not 3 ** n_symbols actions.
    """
    if program.n_actions != 3**n_symbols:
        raise MismatchError(
            f"the policy has {program.n_actions} actions, {n_symbols} symbols have {3**n_symbols}",
            where=where,
        )


def not_finite(where: str) -> ArtifactError:
    """Return the error of a decision that gave ``NOT_FINITE``."""
    return ArtifactError(
        "the policy's output is not finite",
        where=where,
        remedy="its weights or the market's features are damaged",
    )


class Buffers(NamedTuple):
    """What a decision works in; the recurrent state is carried from bar to bar.

    Attributes:
        observation: ``(n_inputs,)`` float32.
        recurrent: ``(state_size,)`` float32, zeros at a session's open.
        scratch: ``(3, widest)`` float32.
        logits: ``(n_actions,)`` float32.
        scores: ``(n_actions,)`` float64, tilted log-probabilities up to a constant.
    """

    observation: NDArray[np.float32]
    recurrent: NDArray[np.float32]
    scratch: NDArray[np.float32]
    logits: NDArray[np.float32]
    scores: NDArray[np.float64]


@njit(cache=True)
def buffers_of(program: Program, n_inputs: int) -> Buffers:
    """Return fresh buffers for a policy."""
    return Buffers(
        np.empty(n_inputs, np.float32),
        np.zeros(program.state_size, np.float32),
        np.empty((3, program.widest), np.float32),
        np.empty(program.n_actions, np.float32),
        np.empty(program.n_actions, np.float64),
    )


@njit(cache=True)
def decide(
    program: Program,
    tilt_numbers: TiltNumbers,
    points: SetPointNumbers,
    controlled: bool,
    take_best: bool,
    orders: NDArray[np.int8],
    score: float,
    uniform: float,
    loop: NDArray[np.float64],
    buffers: Buffers,
) -> tuple[int, float]:
    """Choose the action of ``buffers.observation``.

    Args:
        program: The policy; its recurrent state in the buffers is moved.
        tilt_numbers: The tilt; without a loop its floor alone.
        points: Set points of the loop.
        controlled: Whether the loop runs.
        take_best: Whether the likeliest action is taken, the lowest id on a tie; else one is drawn.
        orders: ``(n_actions,)`` orders that each action would place from the present position.
        score: Regime score.
        uniform: In [0, 1); draws the action.
        loop: State of the loop, read.
        buffers: Working space.

    Returns:
        Action, ``NOT_FINITE`` where the policy's output is not; and the hold multiplier in force, logits.
    """
    forward(program, buffers.observation, buffers.recurrent, buffers.scratch, buffers.logits)
    scores = buffers.scores
    if not math.isfinite(log_probabilities(buffers.logits, tilt_numbers.floor, scores)):
        return NOT_FINITE, 0.0
    strength = 0.0
    if controlled:
        strength = hold_multiplier(loop, tilt_numbers, points, score)
        hold = (len(scores) - 1) // 2
        tilt(scores, orders, hold, strength, loop[TRADE], tilt_numbers.coupling, loop[ANCHOR])
    return greedy(scores) if take_best else sample(scores, uniform), strength


@njit(cache=True)
def decide_each(
    program: Program,
    tilt_numbers: TiltNumbers,
    points: SetPointNumbers,
    controlled: bool,
    take_best: bool,
    observations: NDArray[np.float32],
    recurrent: NDArray[np.float32],
    orders: NDArray[np.int8],
    scores: NDArray[np.float64],
    uniforms: NDArray[np.float64],
    loops: NDArray[np.float64],
    buffers: Buffers,
    actions: NDArray[np.int64],
    strengths: NDArray[np.float64],
) -> None:
    """Choose the actions of several accounts, one after the other: :func:`decide` for each.

    Args:
        program: As for :func:`decide`; likewise tilt_numbers, points, controlled, take_best and buffers.
        tilt_numbers: The tilt.
        points: Set points of the loop.
        controlled: Whether the loop runs.
        take_best: Whether the likeliest action is taken.
        observations: ``(n, n_inputs)``.
        recurrent: ``(n, state_size)``, moved.
        orders: ``(n, n_actions)``.
        scores: ``(n,)`` regime scores.
        uniforms: ``(n,)``.
        loops: ``(n, TILT_STATE)``, read.
        buffers: Working space.
        actions: ``(n,)`` written.
        strengths: ``(n,)`` hold multipliers in force, written.
    """
    for i in range(len(observations)):
        buffers.observation[:] = observations[i]
        buffers.recurrent[:] = recurrent[i]
        actions[i], strengths[i] = decide(
            program,
            tilt_numbers,
            points,
            controlled,
            take_best,
            orders[i],
            scores[i],
            uniforms[i],
            loops[i],
            buffers,
        )
        recurrent[i] = buffers.recurrent
