"""Actuators: what the lanes drive. Gains and bounds belong to them, because units do.

``reward`` pays a bonus on hold actions while training: the policy follows as slowly as it learns.
``tilt`` bends the policy itself, pi'(a|s) ~ pi(a|s) exp(lambda_hold [a is hold] - lambda_trade
orders(a, s)): the nearest policy (in KL) with the wanted hold and trade rates, at once, in training
and live.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class TiltGains(BaseModel):
    """Gains of the two multipliers, logits per unit of error.

    Attributes:
        ki_hold: Integral gain of the hold multiplier per decision and unit of hold error.
        ki_trade: Integral gain of the trade multiplier per decision and order too many.
        kp_fast: Gain of the fast lane on the exponential mean of the hold error; useful between 6
            and 20 where the target moves, 0 where it is fixed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    ki_hold: float = Field(0.03, ge=0, le=2)
    ki_trade: float = Field(0.06, ge=0, le=4)
    kp_fast: float = Field(0.0, ge=0, le=100)


class TiltActuator(BaseModel):
    """The tilt: two multipliers in logits.

    Attributes:
        kind: Name of the actuator.
        live: Gains per decision of one account (evaluation, replay, live).
        training: Gains per vector step of a pool of environments.
        calibration: Gains per decision while the multipliers are found.
        fast_horizon_decisions: Time constant of the fast lane's mean.
        hold_bound: The hold multiplier stays within ± this.
        trade_lowest: Lower bound of the trade multiplier; likewise the highest.
        hold_coupling: How far the hold multiplier also moves the probability of placing no order at all.
            Holding and re-affirming a position lead to the same position; below 1 the hold rate is
            brought about among them first, which costs nothing. 1 is the nearest policy in KL(action).
        log_probability_floor: Base log-probabilities are floored here before the tilt, so that no
            action is out of its reach.
        startup_factor: Gains are multiplied by this in an account's first sessions.
        startup_sessions: Full sessions that count as the start; 0 switches the start-up off.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["tilt"] = "tilt"
    live: TiltGains = TiltGains(ki_hold=0.06, ki_trade=0.1)
    training: TiltGains = TiltGains(ki_hold=0.1, ki_trade=0.2)
    calibration: TiltGains = TiltGains()
    fast_horizon_decisions: int = Field(60, ge=1)
    hold_bound: float = Field(15.0, gt=0, le=50)
    trade_lowest: float = Field(-6.0, ge=-50, le=0)
    trade_highest: float = Field(15.0, gt=0, le=50)
    hold_coupling: float = Field(0.1, ge=0, le=1)
    log_probability_floor: float = Field(-20.0, ge=-60, lt=0)
    startup_factor: float = Field(1.0, ge=1, le=20)
    startup_sessions: int = Field(0, ge=0, le=20)

    def numbers(self, gains: TiltGains, full_session_decisions: int) -> TiltNumbers:
        """Return one set of gains and the bounds as plain floats for compiled code."""
        return TiltNumbers(
            ki_hold=gains.ki_hold,
            ki_trade=gains.ki_trade,
            kp_fast=gains.kp_fast,
            fast_decay=1.0 / self.fast_horizon_decisions,
            hold_bound=self.hold_bound,
            trade_lowest=self.trade_lowest,
            trade_highest=self.trade_highest,
            floor=self.log_probability_floor,
            coupling=self.hold_coupling,
            startup_factor=self.startup_factor,
            startup_decisions=float(self.startup_sessions * full_session_decisions),
        )


class TiltNumbers(NamedTuple):
    """Gains and bounds of the tilt as compiled code reads them."""

    ki_hold: float
    ki_trade: float
    kp_fast: float
    fast_decay: float
    hold_bound: float
    trade_lowest: float
    trade_highest: float
    floor: float
    coupling: float
    startup_factor: float
    startup_decisions: float


class RewardActuator(BaseModel):
    """The hold bonus: basis points of NAV paid per hold decision while training.

    Attributes:
        kind: Name of the actuator.
        base_hold_bonus_bps: Bonus at no error.
        kp_fast: Gain of the fast lane.
        kp_slow: Proportional gain of the slow lane.
        ki_slow: Integral gain of the slow lane per sample.
        slow_period: Vector steps between samples.
        lowest: Lower bound of the bonus in multiples of the base.
        highest: Upper bound likewise.
        window_decisions: Decisions over which the pool's hold rate is measured.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["reward"] = "reward"
    base_hold_bonus_bps: float = Field(0.2, ge=0, le=100)
    kp_fast: float = Field(0.25, ge=0)
    kp_slow: float = Field(0.05, ge=0)
    ki_slow: float = Field(0.3, ge=0)
    slow_period: int = Field(25, ge=1)
    lowest: float = Field(-2.0, le=1)
    highest: float = Field(2.0, ge=1)
    window_decisions: int = Field(2_000, ge=1)

    @model_validator(mode="after")
    def _bounds_are_ordered(self) -> Self:
        if self.lowest >= self.highest:
            raise ValueError(f"lowest {self.lowest} must lie below highest {self.highest}")
        return self


def plan_reward_actuator() -> RewardActuator:
    """Return the plan's controller exactly as written: no integral, bonus in [0, 2 x base]."""
    return RewardActuator(ki_slow=0.0, lowest=0.0, highest=2.0)
