"""The actor: the one thing that judges and acts, without torch.

Every decision is computed on its own, in a fixed order of additions, so it is the same bit for bit
alone or among thousands. The tanh is a continued fraction in plain arithmetic, so it is the same on
every machine.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stairways.policies.program import (
    BIAS,
    DENSE,
    GATE,
    LSTM,
    N_IN,
    N_OUT,
    OPCODE,
    STATE,
    WEIGHT,
    Program,
)
from stairways.policies.spec import GATE_WIDTHS
from stairways.trading.observation import N_REGIME_FEATURES

_FIRST, _SECOND = GATE_WIDTHS
_SATURATION = np.float32(9.0)


def lambert(terms: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return numerator and denominator of tanh(x) / x in powers of x², the highest first.

    They are Lambert's continued fraction 1 / (1 + x² / (3 + x² / (5 + ...))) of so many terms, put
    over one fraction bar in whole numbers. Every coefficient is positive, so nothing cancels.
    """
    above, below = [0], [1]
    for odd in range(2 * terms - 1, 0, -2):
        shifted = [0, *above]
        widened = [odd * c for c in below] + [0] * (len(shifted) - len(below))
        above, below = below, [a + b for a, b in zip(shifted, widened, strict=True)]
    scale = below[0]
    return (
        tuple(c / scale for c in reversed(above)),
        tuple(c / scale for c in reversed(below) if c),
    )


_NUMERATOR, _DENOMINATOR = lambert(13)


@njit(cache=True, inline="always")
def tanh(x: np.float32) -> np.float32:
    """Return the hyperbolic tangent by Lambert's continued fraction, with one division in float64.

    Thirteen terms bring it within 6e-8 over all of float32, which is its rounding; beyond ±9 it is ±1.
    NaN stays NaN, which min and max would turn into a saturated unit and so into an action.
    """
    x = _SATURATION if x > _SATURATION else x
    x = -_SATURATION if x < -_SATURATION else x
    wide = np.float64(x)
    square = wide * wide
    above = 0.0
    for coefficient in _NUMERATOR:
        above = above * square + coefficient
    below = 0.0
    for coefficient in _DENOMINATOR:
        below = below * square + coefficient
    return np.float32(wide * above / below)


@njit(cache=True, inline="always")
def sigmoid(x: np.float32) -> np.float32:
    """Return the logistic function as (1 + tanh(x / 2)) / 2."""
    half = np.float32(0.5)
    return half + half * tanh(half * x)


@njit(cache=True)
def _accumulate(
    numbers: NDArray[np.float32],
    weight: int,
    inputs: NDArray[np.float32],
    n_in: int,
    n_out: int,
    out: NDArray[np.float32],
) -> None:
    """Add ``inputs @ weights`` to ``out``, input by input in order; four to a pass saves passes."""
    whole = n_in - n_in % 4
    for i in range(0, whole, 4):
        a, b, c, d = inputs[i], inputs[i + 1], inputs[i + 2], inputs[i + 3]
        rows = numbers[weight + i * n_out : weight + (i + 4) * n_out]
        for j in range(n_out):
            summed = out[j] + a * rows[j] + b * rows[n_out + j]
            out[j] = summed + c * rows[2 * n_out + j] + d * rows[3 * n_out + j]
    for i in range(whole, n_in):
        row = numbers[weight + i * n_out : weight + (i + 1) * n_out]
        for j in range(n_out):
            out[j] += inputs[i] * row[j]


@njit(cache=True)
def _affine(
    numbers: NDArray[np.float32],
    weight: int,
    bias: int,
    inputs: NDArray[np.float32],
    n_in: int,
    n_out: int,
    out: NDArray[np.float32],
) -> None:
    for j in range(n_out):
        out[j] = numbers[bias + j]
    _accumulate(numbers, weight, inputs, n_in, n_out, out)


@njit(cache=True)
def _gate(
    numbers: NDArray[np.float32], start: int, n_price: int, row: NDArray[np.float32], out: NDArray[np.float32]
) -> None:
    first = np.empty(_FIRST, np.float32)
    second = np.empty(_SECOND, np.float32)
    weights = np.empty(n_price, np.float32)
    offset = start
    bias = offset + N_REGIME_FEATURES * _FIRST
    _affine(numbers, offset, bias, row[n_price:], N_REGIME_FEATURES, _FIRST, first)
    for j in range(_FIRST):
        first[j] = max(np.float32(0.0), first[j])
    offset = bias + _FIRST
    bias = offset + _FIRST * _SECOND
    _affine(numbers, offset, bias, first, _FIRST, _SECOND, second)
    for j in range(_SECOND):
        second[j] = tanh(second[j])
    offset = bias + _SECOND
    bias = offset + _SECOND * n_price
    _affine(numbers, offset, bias, second, _SECOND, n_price, weights)
    for j in range(n_price):
        out[j] = row[j] * (np.float32(2.0) * sigmoid(weights[j]))


@njit(cache=True)
def _lstm(
    numbers: NDArray[np.float32],
    weight: int,
    bias: int,
    inputs: NDArray[np.float32],
    n_in: int,
    hidden: int,
    state: NDArray[np.float32],
    scratch: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    h = state[:hidden]
    c = state[hidden:]
    _affine(numbers, weight, bias, inputs, n_in, 4 * hidden, scratch)
    _accumulate(numbers, weight + n_in * 4 * hidden, h, hidden, 4 * hidden, scratch)
    for j in range(2 * hidden):
        scratch[j] = sigmoid(scratch[j])
    for j in range(2 * hidden, 3 * hidden):
        scratch[j] = tanh(scratch[j])
    for j in range(3 * hidden, 4 * hidden):
        scratch[j] = sigmoid(scratch[j])
    for j in range(hidden):
        c[j] = scratch[hidden + j] * c[j] + scratch[j] * scratch[2 * hidden + j]
    for j in range(hidden):
        out[j] = scratch[3 * hidden + j] * tanh(c[j])
    for j in range(hidden):
        h[j] = out[j]


@njit(cache=True)
def forward(
    program: Program,
    observation: NDArray[np.float32],
    state: NDArray[np.float32],
    scratch: NDArray[np.float32],
    logits: NDArray[np.float32],
) -> None:
    """Compute the logits of one observation.

    Args:
        program: The policy.
        observation: ``(n_inputs,)`` float32.
        state: ``(state_size,)`` float32 recurrent state, moved in place; zeros at a session's open.
        scratch: ``(3, widest)`` float32 working space.
        logits: ``(n_actions,)`` float32, written.
    """
    current = 0
    inputs = observation
    for k in range(len(program.operations)):
        operation = program.operations[k]
        out = scratch[current]
        n_in, n_out = operation[N_IN], operation[N_OUT]
        if operation[OPCODE] == GATE:
            _gate(program.numbers, operation[WEIGHT], n_out, inputs, out)
        elif operation[OPCODE] == LSTM:
            part = state[operation[STATE] : operation[STATE] + 2 * n_out]
            weight, bias = operation[WEIGHT], operation[BIAS]
            _lstm(program.numbers, weight, bias, inputs, n_in, n_out, part, scratch[2], out)
        else:
            if operation[OPCODE] == DENSE:
                out = logits
            _affine(program.numbers, operation[WEIGHT], operation[BIAS], inputs, n_in, n_out, out)
            if operation[OPCODE] != DENSE:
                for j in range(n_out):
                    out[j] = tanh(out[j])
        inputs = out
        current = 1 - current


@njit(cache=True)
def log_probabilities(logits: NDArray[np.float32], floor: float, out: NDArray[np.float64]) -> float:
    """Write log-softmax of the logits in float64, floored.

    Returns:
        The logarithm of the normaliser, which is finite exactly if no logit is NaN or infinite upwards.
    """
    top = -math.inf
    for a in range(len(logits)):
        top = max(top, float(logits[a]))
    total = 0.0
    for a in range(len(logits)):
        total += math.exp(float(logits[a]) - top)
    shift = top + math.log(total)
    for a in range(len(logits)):
        out[a] = max(floor, float(logits[a]) - shift)
    return shift


@njit(cache=True)
def _log_mass_of_staying(scores: NDArray[np.float64], orders: NDArray[np.int8]) -> float:
    top = -math.inf
    for a in range(len(scores)):
        if orders[a] == 0:
            top = max(top, scores[a])
    total = 0.0
    for a in range(len(scores)):
        if orders[a] == 0:
            total += math.exp(scores[a] - top)
    return top + math.log(total)


@njit(cache=True)
def tilt(
    scores: NDArray[np.float64],
    orders: NDArray[np.int8],
    hold_action: int,
    hold_multiplier: float,
    trade_multiplier: float,
    coupling: float,
    anchor: float,
) -> None:
    """Add lambda_hold to hold and take lambda_trade x orders from every action, in place.

    Actions that place no order (hold, and those that re-affirm a position) lead to the same position.
    What the hold multiplier has moved away from its anchor moves probability among them in full, and
    their common probability only by the share ``coupling`` in logits: the nearest policy to the one
    tilted by the anchor in KL(next position) + coupling x KL(action given next position). With a
    coupling of 1 the anchor plays no part, and it is the nearest to the base policy in KL(action).

    Args:
        scores: ``(n_actions,)`` float64 log-probabilities; unnormalised on return.
        orders: ``(n_actions,)`` orders that each action would place from the present position.
        hold_action: Id of hold.
        hold_multiplier: lambda_hold, logits.
        trade_multiplier: lambda_trade, logits per order.
        coupling: 0 to 1.
        anchor: Hold multiplier that acts on the common probability in full, logits.
    """
    for a in range(len(scores)):
        scores[a] -= trade_multiplier * orders[a]
    if coupling == 1.0:
        scores[hold_action] += hold_multiplier
        return
    base = scores[hold_action]
    scores[hold_action] = base + anchor
    anchored = _log_mass_of_staying(scores, orders)
    scores[hold_action] = base + hold_multiplier
    back = (1.0 - coupling) * (anchored - _log_mass_of_staying(scores, orders))
    for a in range(len(scores)):
        if orders[a] == 0:
            scores[a] += back


@njit(cache=True)
def greedy(scores: NDArray[np.float64]) -> int:
    """Return the action of the largest score; the lowest id wins a tie."""
    best = 0
    for a in range(1, len(scores)):
        if scores[a] > scores[best]:
            best = a
    return best


@njit(cache=True)
def sample(scores: NDArray[np.float64], uniform: float) -> int:
    """Return the action that a uniform number in [0, 1) picks under softmax(scores)."""
    top = -math.inf
    for a in range(len(scores)):
        top = max(top, scores[a])
    total = 0.0
    for a in range(len(scores)):
        total += math.exp(scores[a] - top)
    target = uniform * total
    running = 0.0
    for a in range(len(scores)):
        running += math.exp(scores[a] - top)
        if running > target:
            return a
    return len(scores) - 1


@njit(cache=True)
def keyed_uniform(run_key: np.uint64, date: int, bar: int) -> float:
    """Return the uniform number in [0, 1) that belongs to (run, session date, bar).

    SplitMix64's finaliser (Steele, Lea, Flood 2014) over a mix of the three, so that a session
    replays the same wherever it stands.
    """
    z = run_key + np.uint64(date) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = (z ^ (z >> np.uint64(31))) + np.uint64(bar) * np.uint64(0xD1B54A32D192ED03)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return float(z >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@njit(cache=True)
def forward_batch(
    program: Program, observations: NDArray[np.float32], states: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Compute the logits of many observations, each on its own.

    Args:
        program: The policy.
        observations: ``(n, n_inputs)`` float32.
        states: ``(n, state_size)`` float32, moved in place.

    Returns:
        ``(n, n_actions)`` float32 logits.
    """
    logits = np.empty((len(observations), program.n_actions), np.float32)
    scratch = np.empty((3, program.widest), np.float32)
    for row in range(len(observations)):
        forward(program, observations[row], states[row], scratch, logits[row])
    return logits
