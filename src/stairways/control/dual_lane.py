"""The dual-lane controller of a hold bonus: a fast lane, a slow lane, one clipped bonus."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Self

from stairways.control.actuators import RewardActuator
from stairways.control.lanes import SlowLane, SlowState, proportional
from stairways.errors import ConfigError


@dataclass
class DualLaneController:
    """Scale a base hold bonus by two lanes; with ``ki_slow=0`` it is the plan's own listing.

    ``bonus = clip(base x (1 + kp_fast x error x market_mult + slow), lowest x base, highest x base)``
    where ``slow`` is ``kp_slow x error``, sampled every ``slow_period`` steps, plus an integral that
    moves by ``ki_slow x error`` at the same moments. Errors are target - measured, in ±1.

    Attributes:
        base_hold_bonus: Bonus at no error, basis points of NAV per hold decision.
        kp_fast: Gain of the fast lane.
        kp_slow: Proportional gain of the slow lane.
        slow_period: Steps between samples of the slow lane.
        ki_slow: Integral gain of the slow lane per sample; 0 switches the integral off.
        lowest: Lower bound of the bonus, in multiples of the base; negative ones pay for acting.
        highest: Upper bound of the bonus, in multiples of the base.
        state: Memory of the slow lane; plain values, so that it can be saved and restored.
    """

    base_hold_bonus: float
    kp_fast: float = 0.25
    kp_slow: float = 0.05
    slow_period: int = 25
    ki_slow: float = 0.0
    lowest: float = 0.0
    highest: float = 2.0
    state: SlowState = field(default_factory=SlowState)

    def __post_init__(self) -> None:
        if self.base_hold_bonus < 0:
            raise ConfigError(
                f"base_hold_bonus is {self.base_hold_bonus}, it must be at least 0",
                remedy="let the bounds go below 0 to pay for acting",
            )
        if self.slow_period < 1:
            raise ConfigError(f"slow_period is {self.slow_period}, it must be at least 1")
        if not self.lowest <= 1.0 <= self.highest:
            raise ConfigError(f"bounds [{self.lowest}, {self.highest}] must contain 1, the bonus at no error")

    @classmethod
    def of(cls, actuator: RewardActuator) -> Self:
        """Return the controller that an actuator's settings describe."""
        return cls(
            base_hold_bonus=actuator.base_hold_bonus_bps,
            kp_fast=actuator.kp_fast,
            kp_slow=actuator.kp_slow,
            slow_period=actuator.slow_period,
            ki_slow=actuator.ki_slow,
            lowest=actuator.lowest,
            highest=actuator.highest,
        )

    def compute_bonus(self, hold_error: float, market_mult: float) -> float:
        """Take one step and return the bonus in force.

        Args:
            hold_error: Target hold rate - measured hold rate, in ±1.
            market_mult: Market multiplier of the fast lane, 0.1 to 1.9.

        Returns:
            Bonus per hold decision in the unit of ``base_hold_bonus``.

        Raises:
            ConfigError: If the error or the multiplier is not finite; the lanes stay as they were.
        """
        if not (math.isfinite(hold_error) and math.isfinite(market_mult)):
            raise ConfigError(f"hold error {hold_error} and market multiplier {market_mult} must be finite")
        fast = proportional(self.kp_fast, hold_error, market_mult)
        self.state = self._slow_lane().advance(self.state, hold_error)
        bonus = self.base_hold_bonus * (1 + fast + self.state.adjustment)
        return min(self.highest * self.base_hold_bonus, max(self.lowest * self.base_hold_bonus, bonus))

    def _slow_lane(self) -> SlowLane:
        return SlowLane(
            kp=self.kp_slow,
            ki=self.ki_slow,
            period=self.slow_period,
            lowest=self.lowest - 1.0,
            highest=self.highest - 1.0,
        )
