"""Set points: what the hold rate and the trades per session should be."""

from __future__ import annotations

from typing import Literal, NamedTuple, Self

from numba import njit
from pydantic import BaseModel, ConfigDict, Field, model_validator


class SetPoints(BaseModel):
    """The two wanted quantities; they are different, and both are controlled.

    Attributes:
        hold_mode: ``fixed``, or ``regime`` for a target that moves with the regime score.
        hold_rate_ratio: Target hold rate at a regime score of 0.
        regime_slope_ratio: Change of the target per unit of score in ``regime`` mode; its sign is
            the user's choice (a skilled policy tends to want the negative one).
        lowest_hold_rate_ratio: Lower bound of the moving target; likewise the highest.
        trades_per_session: Wanted orders of a full session, forced closes included; half days get
            their share.
        market_slope: Change of the market multiplier per unit of score.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    hold_mode: Literal["fixed", "regime"] = "fixed"
    hold_rate_ratio: float = Field(0.55, gt=0, lt=1)
    regime_slope_ratio: float = Field(0.1, ge=-0.3, le=0.3)
    lowest_hold_rate_ratio: float = Field(0.25, ge=0, lt=1)
    highest_hold_rate_ratio: float = Field(0.85, gt=0, le=1)
    trades_per_session: float = Field(16.5, ge=0, le=2_400)
    market_slope: float = Field(0.3, ge=0, lt=1 / 3)

    @model_validator(mode="after")
    def _target_lies_within_bounds(self) -> Self:
        if not self.lowest_hold_rate_ratio <= self.hold_rate_ratio <= self.highest_hold_rate_ratio:
            raise ValueError(
                f"hold_rate_ratio {self.hold_rate_ratio} lies outside "
                f"[{self.lowest_hold_rate_ratio}, {self.highest_hold_rate_ratio}]"
            )
        return self

    def numbers(self, full_session_decisions: int) -> SetPointNumbers:
        """Return the set points as plain floats for compiled code.

        Args:
            full_session_decisions: Decisions of a full session, 389 or 77.
        """
        return SetPointNumbers(
            hold_rate=self.hold_rate_ratio,
            slope=self.regime_slope_ratio if self.hold_mode == "regime" else 0.0,
            lowest=self.lowest_hold_rate_ratio,
            highest=self.highest_hold_rate_ratio,
            orders_per_decision=self.trades_per_session / full_session_decisions,
            market_slope=self.market_slope,
        )


class SetPointNumbers(NamedTuple):
    """Set points as compiled code reads them."""

    hold_rate: float
    slope: float
    lowest: float
    highest: float
    orders_per_decision: float
    market_slope: float


@njit(cache=True)
def target_hold_rate(points: SetPointNumbers, score: float) -> float:
    """Return the target hold rate at a regime score, clipped to its bounds."""
    return min(points.highest, max(points.lowest, points.hold_rate + points.slope * score))


@njit(cache=True)
def market_multiplier(points: SetPointNumbers, score: float) -> float:
    """Return 1 + slope x score: with scores in +-3 it stays positive, so it never flips the loop."""
    return 1.0 + points.market_slope * score


def hold_error(target_ratio: float, measured_ratio: float) -> float:
    """Return target - measured, clipped to +-1: positive means holding too little."""
    return min(1.0, max(-1.0, target_ratio - measured_ratio))
