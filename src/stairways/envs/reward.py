"""The reward of one decision, in basis points of NAV, term by term."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

REWARD_VERSION = "1"
"""Changes whenever a formula below does; an artifact states the one it was trained with."""

TERMS = (
    "nav",
    "kelly",
    "downside",
    "turnover",
    "position_decay",
    "size",
    "action_change",
    "hold_bonus",
)
CALM_SCORE = 0.25
DOWNSIDE_SCALE_BPS = 10.0
LEAST_WEALTH_RATIO = 1e-6


class RewardConfig(BaseModel):
    """Weights of the reward's terms; d is the NAV change of a decision in bp, costs included.

    Attributes:
        nav: Weight of d - risk-free rate per bar.
        kelly: Weight of 1e4 ln(1 + d / 1e4) - d.
        downside: Weight of -max(-d, 0)² / 10 bp.
        turnover: Weight of -traded notional / NAV in bp (costs are in d already).
        position_decay: Weight of -gross exposure in bars with a calm regime, abs(score) < 0.25.
        size: Weight of -max(gross exposure - max_gross, 0)².
        action_change: Weight of -1 where the action differs from the session's action before.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    nav: float = Field(1.0, ge=0)
    kelly: float = Field(1.0, ge=0)
    downside: float = Field(0.05, ge=0)
    turnover: float = Field(0.0, ge=0)
    position_decay: float = Field(0.0, ge=0)
    size: float = Field(0.0, ge=0)
    action_change: float = Field(0.0, ge=0)

    def numbers(self, risk_free_per_bar_bps: float, max_gross: float) -> RewardNumbers:
        """Return the weights as plain floats for compiled code."""
        return RewardNumbers(
            **self.model_dump(), risk_free_bps=float(risk_free_per_bar_bps), max_gross=float(max_gross)
        )


class RewardNumbers(NamedTuple):
    """Weights as compiled code reads them."""

    nav: float
    kelly: float
    downside: float
    turnover: float
    position_decay: float
    size: float
    action_change: float
    risk_free_bps: float
    max_gross: float


@njit(cache=True, inline="always", error_model="numpy")
def reward_terms(
    weights: RewardNumbers,
    nav_before: float,
    nav_after: float,
    notional: float,
    gross: float,
    score: float,
    changed: bool,
    held: bool,
    hold_bonus_bps: float,
    terms: NDArray[np.float64],
) -> float:
    """Write the weighted terms of one decision and return their sum.

    A ruined account has no logarithm: what is left of the NAV counts as a millionth at least, its
    exposure as 0, and after the ruin every term is 0 until the session ends.

    Args:
        weights: Weights of the terms.
        nav_before: NAV at the decision's close, USD.
        nav_after: NAV at the next close, after forced closes, USD.
        notional: Traded notional of the decision, forced closes included, USD.
        gross: Sum of absolute position values at the next close, USD.
        score: Regime score at the decision.
        changed: Whether the action differs from the one before in the session.
        held: Whether the action was hold.
        hold_bonus_bps: Bonus in force.
        terms: ``(8,)`` float64 in the order of ``TERMS``, written.
    """
    if nav_before <= 0.0:
        terms[:] = 0.0
        return 0.0
    change = (nav_after / nav_before - 1.0) * 1e4
    loss = max(-change, 0.0)
    exposure = gross / nav_after if nav_after > 0.0 else 0.0
    excess = max(exposure - weights.max_gross, 0.0)
    terms[0] = weights.nav * (change - weights.risk_free_bps)
    if weights.kelly != 0.0:
        growth = math.log1p(max(change / 1e4, LEAST_WEALTH_RATIO - 1.0))
        terms[1] = weights.kelly * (1e4 * growth - change)
    else:
        terms[1] = 0.0
    terms[2] = -weights.downside * loss * loss / DOWNSIDE_SCALE_BPS
    terms[3] = -weights.turnover * 1e4 * notional / nav_before
    terms[4] = -weights.position_decay * exposure if abs(score) < CALM_SCORE else 0.0
    terms[5] = -weights.size * excess * excess
    terms[6] = -weights.action_change if changed else 0.0
    terms[7] = hold_bonus_bps if held else 0.0
    total = 0.0
    for term in range(len(terms)):
        total += terms[term]
    return total
