"""Distributions over actions of many samples at once: drawn from, and differentiated through.

Compiled, with the samples innermost and worked on in blocks, so that the compiler turns every loop over
samples into vector code; ``n_actions`` is too short an axis for that. The plain twins are
:func:`stairways.learning.ppo.tilted_log_probabilities` and :func:`~stairways.learning.ppo.ppo_losses` under
autograd.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stairways.learning.vector_math import exp64

N_WATCHED, VALUE_LOSS = 5, 1
BLOCK = 64
"""Samples that are worked on together: their numbers stay in the nearest cache."""

Floats = NDArray[np.float64]

# Places in the array that a block is worked out in, ``(N_PLACES, n_actions, BLOCK)`` float64: logits, scores
# under the tilt, log-probabilities and probabilities before it and under it, distributions among the actions
# that stay, at the anchor and as tilted, the gradient, and 1 where an action stays.
_LOGITS, _SCORES, _BASE, _BASE_CHANCES, _FOUND, _CHANCES, _ANCHORED, _STAYING, _GRADIENT, _STAYS = range(10)
N_PLACES = 10
# Places for one number a sample, ``(N_SPARE, BLOCK)``.
_TOP, _TOTAL, _BACK = range(3)
N_SPARE = 3


@njit(cache=True, error_model="numpy")
def choose_each(
    logits: NDArray[np.float32],
    offsets: NDArray[np.float32],
    stays: NDArray[np.bool_],
    tilted: bool,
    floor: float,
    coupling: float,
    anchor: float,
    noise: NDArray[np.float32],
    actions: NDArray[np.int64],
    taken: NDArray[np.float32],
) -> None:
    """Draw an action of each sample by its scores less the logarithms of exponential noise.

    Args:
        logits: ``(n_actions, n)``.
        offsets: ``(n, n_actions)`` of the tilt; ``stays`` and ``noise`` likewise.
        stays: The action places no order.
        tilted: Whether there is a tilt; offsets and stays are not read without one.
        floor: Of the log-probabilities before the tilt.
        coupling: As in :func:`stairways.policies.actor.tilt`.
        anchor: Likewise.
        noise: Exponential, mean 1.
        actions: ``(n,)``, written.
        taken: ``(n,)`` log-probabilities of the actions, written.
    """
    n_actions, n = logits.shape
    work, spare = np.empty((N_PLACES, n_actions, BLOCK)), np.empty((N_SPARE, BLOCK))
    for first in range(0, n, BLOCK):
        m = min(BLOCK, n - first)
        _distribute(first, m, logits, offsets, stays, tilted, floor, coupling, anchor, work, spare)
        for j in range(m):
            best, top = 0, -math.inf
            for a in range(n_actions):
                score = work[_FOUND, a, j] - math.log(noise[first + j, a])
                if score > top:
                    best, top = a, score
            actions[first + j] = best
            taken[first + j] = work[_FOUND, best, j]


@njit(cache=True, error_model="numpy")
def differentiate(
    logits: NDArray[np.float32],
    actions: NDArray[np.int64],
    old_log_probabilities: NDArray[np.float32],
    advantages: NDArray[np.float32],
    offsets: NDArray[np.float32],
    stays: NDArray[np.bool_],
    tilted: bool,
    floor: float,
    coupling: float,
    anchor: float,
    clip: float,
    entropy_weight: float,
    scale: float,
    watched: Floats,
) -> None:
    """Turn logits into the gradient of PPO's losses by them, in place.

    Args:
        logits: ``(n_actions, n)``.
        actions: ``(n,)``, those taken; old log-probabilities and advantages likewise.
        old_log_probabilities: Of the actions, when they were taken.
        advantages: As they enter the loss.
        offsets: The tilt, as in :func:`choose_each`; likewise up to ``anchor``.
        stays: The action places no order.
        tilted: Whether there is a tilt.
        floor: Of the log-probabilities before the tilt.
        coupling: Of the tilt.
        anchor: Of the tilt.
        clip: Of the probability ratio.
        entropy_weight: Weight of the entropy.
        scale: Weight of a sample.
        watched: ``(5,)``, added to: policy loss, value loss (not here), entropy, approximate KL, share
            clipped.
    """
    n_actions, n = logits.shape
    work, spare = np.empty((N_PLACES, n_actions, BLOCK)), np.empty((N_SPARE, BLOCK))
    for first in range(0, n, BLOCK):
        m = min(BLOCK, n - first)
        _distribute(first, m, logits, offsets, stays, tilted, floor, coupling, anchor, work, spare)
        gradient, found, chances = work[_GRADIENT], work[_FOUND], work[_CHANCES]
        total, entropy = spare[_TOTAL], spare[_BACK]
        for j in range(m):
            total[j] = entropy[j] = 0.0
        for a in range(n_actions):
            for j in range(m):
                mass = chances[a, j] * found[a, j]
                entropy[j] -= mass
                gradient[a, j] = entropy_weight * (mass + chances[a, j])
                total[j] += gradient[a, j]
        for j in range(m):
            i = first + j
            action, advantage = actions[i], float(advantages[i])
            log_ratio = found[action, j] - old_log_probabilities[i]
            ratio = math.exp(log_ratio)
            clipped = min(max(ratio, 1.0 - clip), 1.0 + clip)
            # where the clipped branch is the smaller one, nothing passes
            if ratio == clipped or advantage * ratio < advantage * clipped:
                gradient[action, j] -= advantage * ratio
                total[j] -= advantage * ratio
            watched[0] -= scale * min(advantage * ratio, advantage * clipped)
            watched[2] += scale * entropy[j]
            watched[3] += scale * (ratio - 1.0 - log_ratio)
            watched[4] += scale if abs(ratio - 1.0) > clip else 0.0
        _less_its_mean(gradient, chances, total, m)
        if tilted:
            _through_the_tilt(m, floor, coupling, work, spare)
        for a in range(n_actions):
            for j in range(m):
                logits[a, first + j] = scale * gradient[a, j]


@njit(cache=True, error_model="numpy")
def through_squares(
    values: NDArray[np.float32], targets: NDArray[np.float32], scale: float, weight: float
) -> float:
    """Turn ``(n,)`` values into the gradient of ``weight`` times their squared errors, in place.

    Returns:
        ``scale`` times the sum of squared errors.
    """
    total = 0.0
    for i in range(len(values)):
        error = float(values[i]) - float(targets[i])
        total += error * error
        values[i] = 2.0 * weight * error
    return scale * total


@njit(cache=True, error_model="numpy")
def _distribute(
    first: int,
    m: int,
    logits: NDArray[np.float32],
    offsets: NDArray[np.float32],
    stays: NDArray[np.bool_],
    tilted: bool,
    floor: float,
    coupling: float,
    anchor: float,
    work: Floats,
    spare: Floats,
) -> None:
    """Work out the distributions that act in a block of samples."""
    n_actions = len(logits)
    base, scores = work[_LOGITS], work[_SCORES]
    for a in range(n_actions):
        for j in range(m):
            base[a, j] = logits[a, first + j]
    if not tilted:
        _softmax(base, work[_FOUND], work[_CHANCES], spare, m)
        return
    _softmax(base, work[_BASE], work[_BASE_CHANCES], spare, m)
    stay, before = work[_STAYS], work[_BASE]
    for a in range(n_actions):
        for j in range(m):
            base[a, j] = max(before[a, j], floor)
            scores[a, j] = base[a, j] + offsets[first + j, a]
            stay[a, j] = 1.0 if stays[first + j, a] else 0.0
    if coupling < 1.0:
        back = spare[_BACK]
        for j in range(m):
            back[j] = 0.0
        _staying(base, stay, work[_ANCHORED], anchor, 1.0, spare, m)
        _staying(scores, stay, work[_STAYING], 0.0, -1.0, spare, m)
        for a in range(n_actions):
            for j in range(m):
                scores[a, j] += stay[a, j] * (1.0 - coupling) * back[j]
    _softmax(scores, work[_FOUND], work[_CHANCES], spare, m)


@njit(cache=True, error_model="numpy")
def _softmax(scores: Floats, logarithms: Floats, chances: Floats, spare: Floats, m: int) -> None:
    """Write log-probabilities and probabilities, ``(n_actions, m)``."""
    top, total = spare[_TOP], spare[_TOTAL]
    for j in range(m):
        top[j], total[j] = -math.inf, 0.0
    for a in range(len(scores)):
        for j in range(m):
            top[j] = max(top[j], scores[a, j])
    for a in range(len(scores)):
        for j in range(m):
            chances[a, j] = exp64(scores[a, j] - top[j])
            total[j] += chances[a, j]
    for j in range(m):
        top[j] += math.log(total[j])
        total[j] = 1.0 / total[j]
    for a in range(len(scores)):
        for j in range(m):
            logarithms[a, j] = scores[a, j] - top[j]
            chances[a, j] *= total[j]


@njit(cache=True, error_model="numpy")
def _staying(
    scores: Floats, stay: Floats, chances: Floats, anchor: float, sign: float, spare: Floats, m: int
) -> None:
    """Write distributions among actions that stay, hold raised by ``anchor``; add ``sign`` times log mass."""
    top, total, back = spare[_TOP], spare[_TOTAL], spare[_BACK]
    hold = len(scores) // 2
    for j in range(m):
        top[j], total[j] = -math.inf, 0.0
    for a in range(len(scores)):
        raised = anchor if a == hold else 0.0
        for j in range(m):
            top[j] = max(top[j], scores[a, j] + raised if stay[a, j] > 0.0 else -math.inf)
    for a in range(len(scores)):
        raised = anchor if a == hold else 0.0
        for j in range(m):
            chances[a, j] = stay[a, j] * exp64(scores[a, j] + raised - top[j])
            total[j] += chances[a, j]
    for j in range(m):
        back[j] += sign * (top[j] + math.log(total[j]))
        total[j] = 1.0 / total[j]
    for a in range(len(scores)):
        for j in range(m):
            chances[a, j] *= total[j]


@njit(cache=True, error_model="numpy")
def _through_the_tilt(m: int, floor: float, coupling: float, work: Floats, spare: Floats) -> None:
    """Turn the gradient of tilted scores into that of the logits, in place."""
    gradient, base, total = work[_GRADIENT], work[_BASE], spare[_TOTAL]
    n_actions = len(gradient)
    if coupling < 1.0:
        stay, anchored, staying = work[_STAYS], work[_ANCHORED], work[_STAYING]
        for j in range(m):
            total[j] = 0.0
        for a in range(n_actions):
            for j in range(m):
                total[j] += stay[a, j] * gradient[a, j]
        for a in range(n_actions):
            for j in range(m):
                # both distributions are 0 where an action does not stay
                gradient[a, j] += (1.0 - coupling) * total[j] * (anchored[a, j] - staying[a, j])
    for j in range(m):
        total[j] = 0.0
    for a in range(n_actions):
        for j in range(m):
            gradient[a, j] = 0.0 if base[a, j] < floor else gradient[a, j]
            total[j] += gradient[a, j]
    _less_its_mean(gradient, work[_BASE_CHANCES], total, m)


@njit(cache=True, error_model="numpy")
def _less_its_mean(gradient: Floats, chances: Floats, total: Floats, m: int) -> None:
    """Take the gradient through a log-softmax, in place."""
    for a in range(len(gradient)):
        for j in range(m):
            gradient[a, j] -= chances[a, j] * total[j]
