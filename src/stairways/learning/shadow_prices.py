"""What a hold and an order are worth to a policy whose rates are held by a tilt.

A gradient of the reward alone asks for more orders wherever more would pay, and for fewer where they cost;
the loop then tilts against what the weights have learned, step after step. At the best policy of given rates
the reward's gradient is a combination of the rates' own, and r - p_hold [a = hold] - p_order orders is what
is left to learn from; p are the multipliers of the constrained problem (Altman 1999, Constrained Markov
Decision Processes, ch. 3). They are taken so that the two multipliers of the tilt have no effect on what is
left: what the tilt would undo is not learned.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

SMALLEST_SHARE = 1e-6
"""Directions in which the tilt moves the rates by less than this share of the other are not priced."""


class Prices(NamedTuple):
    """What is taken off the reward, bp of NAV.

    Attributes:
        hold_bps: For a hold decision.
        order_bps: For an executed order.
    """

    hold_bps: float = 0.0
    order_bps: float = 0.0


def prices_of(effects: NDArray[np.float64]) -> Prices:
    """Return the prices at which the tilt can do no better; 0 where it moves nothing.

    Args:
        effects: ``(2, 3)``, of the hold and the trade multiplier on rewards, holds and orders, per logit.
    """
    hold, order = np.linalg.lstsq(effects[:, 1:], effects[:, 0], rcond=SMALLEST_SHARE)[0].tolist()
    return Prices(hold, order)


def multiplier_effects(
    chances: NDArray[np.float32],
    occupancy: NDArray[np.float32],
    advantages: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]],
    orders: NDArray[np.float32],
    coupling: float,
) -> NDArray[np.float64]:
    """Return the effect of the tilt's two multipliers on three expected sums, ``(2, 3)`` per logit.

    With score s_k(a) = d log pi'(a) / d mu_k up to a constant, d sum / d mu_k = E[s_k A], A being the sum's
    advantages under pi'. The trade multiplier's score is minus the orders of an action; the hold multiplier's
    is 1 at hold, less what the coupling takes back from every action that stays.

    Args:
        chances: ``(n_sessions, n_decisions, n_positions, n_actions)`` pi'.
        occupancy: ``(n_sessions, n_decisions, n_positions)`` probability of the position.
        advantages: Of each sum, shaped as ``chances``.
        orders: ``(n_positions, n_actions)`` as the tilt counts them.
        coupling: Share of the hold multiplier that passes on to the mass of the actions that stay.
    """
    effects = np.zeros((2, 3))
    _add_effects(chances, occupancy, *advantages, orders, coupling, effects)
    return effects


@njit(cache=True)
def _add_effects(
    chances: NDArray[np.float32],
    occupancy: NDArray[np.float32],
    rewards: NDArray[np.float32],
    holds: NDArray[np.float32],
    trades: NDArray[np.float32],
    orders: NDArray[np.float32],
    coupling: float,
    effects: NDArray[np.float64],
) -> None:
    n_sessions, n_decisions, n, _ = chances.shape
    hold = (n - 1) // 2
    for row in range(n_sessions):
        for t in range(n_decisions):
            for position in range(n):
                visited = occupancy[row, t, position]
                if visited == 0.0:
                    continue
                mass = 0.0
                for action in range(n):
                    if orders[position, action] == 0.0:
                        mass += chances[row, t, position, action]
                among_stays = chances[row, t, position, hold] / mass if mass > 0.0 else 0.0
                for action in range(n):
                    ordered = orders[position, action]
                    score = 1.0 if action == hold else 0.0
                    if ordered == 0.0:
                        score -= (1.0 - coupling) * among_stays
                    weight = visited * chances[row, t, position, action]
                    gained = rewards[row, t, position, action]
                    held, traded = holds[row, t, position, action], trades[row, t, position, action]
                    for k in range(2):
                        scored = weight * score if k == 0 else -weight * ordered
                        effects[k, 0] += scored * gained
                        effects[k, 1] += scored * held
                        effects[k, 2] += scored * traded
