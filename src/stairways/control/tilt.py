"""The loop around the tilt: two integrals and a fast lane, in compiled scalars.

State of one loop, ``(TILT_STATE,)`` float64: hold multiplier (integral part), trade multiplier,
exponential mean of the hold error, decisions seen, decisions in a row with a multiplier at its
bound, the largest such run, and the anchor of the hold multiplier, which does not move.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stairways.control.actuators import TiltNumbers
from stairways.control.lanes import integrate, proportional
from stairways.control.setpoints import SetPointNumbers, market_multiplier, target_hold_rate

HOLD, TRADE, FAST_ERROR, SEEN, AT_BOUND, LONGEST_AT_BOUND, ANCHOR = 0, 1, 2, 3, 4, 5, 6
TILT_STATE = 7


class Multipliers(NamedTuple):
    """A point the tilt can stand at, logits."""

    hold: float = 0.0
    trade: float = 0.0


UNTILTED = Multipliers()


def tilt_state(start: Multipliers, anchor: float = 0.0) -> NDArray[np.float64]:
    """Return the state of a loop that starts at given multipliers, ``(TILT_STATE,)`` float64."""
    state = np.zeros(TILT_STATE)
    state[HOLD], state[TRADE] = start
    state[ANCHOR] = anchor
    return state


@njit(cache=True)
def hold_multiplier(
    state: NDArray[np.float64], tilt: TiltNumbers, points: SetPointNumbers, score: float
) -> float:
    """Return the hold multiplier in force: slow integral plus fast lane, within its bound."""
    fast = 0.0
    if tilt.kp_fast != 0.0:
        fast = proportional(tilt.kp_fast, state[FAST_ERROR], market_multiplier(points, score))
    wanted: float = state[HOLD] + fast
    return min(tilt.hold_bound, max(-tilt.hold_bound, wanted))


@njit(cache=True)
def advance(
    state: NDArray[np.float64],
    tilt: TiltNumbers,
    points: SetPointNumbers,
    score: float,
    held: float,
    orders: float,
) -> None:
    """Move the loop by one decision, in place.

    Args:
        state: ``(TILT_STATE,)`` float64.
        tilt: Gains and bounds.
        points: Set points.
        score: Regime score at the decision.
        held: 1 if the action was hold, 0 if not; the share that held, for a pool.
        orders: Orders placed, forced closes included; the mean, for a pool.
    """
    error = target_hold_rate(points, score) - held
    factor = tilt.startup_factor if state[SEEN] < tilt.startup_decisions else 1.0
    state[HOLD] = integrate(state[HOLD], factor * tilt.ki_hold, error, -tilt.hold_bound, tilt.hold_bound)
    surplus = orders - points.orders_per_decision
    state[TRADE] = integrate(
        state[TRADE], factor * tilt.ki_trade, surplus, tilt.trade_lowest, tilt.trade_highest
    )
    state[FAST_ERROR] += tilt.fast_decay * (error - state[FAST_ERROR])
    state[SEEN] += 1.0
    at_bound = (
        abs(state[HOLD]) >= tilt.hold_bound
        or state[TRADE] >= tilt.trade_highest
        or state[TRADE] <= tilt.trade_lowest
    )
    state[AT_BOUND] = state[AT_BOUND] + 1.0 if at_bound else 0.0
    state[LONGEST_AT_BOUND] = max(state[LONGEST_AT_BOUND], state[AT_BOUND])


def settle(trace: NDArray[np.float64]) -> Multipliers:
    """Return the mean of the last two thirds of a trace of multipliers.

    Args:
        trace: ``(n_decisions, 2)`` hold and trade multipliers, in order.
    """
    rest = trace[len(trace) // 3 :]
    return Multipliers(hold=float(rest[:, 0].mean()), trade=float(rest[:, 1].mean()))
