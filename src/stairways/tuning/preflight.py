"""Preflight: does the loop push the right way, and can it reach its target at all?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from stairways.control.actuators import TiltGains
from stairways.control.tilt import Multipliers, advance, hold_multiplier, tilt_state
from stairways.evaluation.replay import TiltLoop, replay
from stairways.evaluation.verdicts import Group, Verdict
from stairways.policies.program import Program
from stairways.trading.ledger import SessionLedger
from stairways.trading.observation import ObservedMarket
from stairways.trading.rules import TradingRules

PROBE_LOGITS = 2.0


@dataclass(frozen=True)
class Authority:
    """What a controller can do to the hold rate over its whole output range.

    Attributes:
        actuator: Name of the actuator.
        unit: Unit of its output.
        lowest_output: Lower end of the range.
        highest_output: Upper end.
        lowest_hold_ratio: Hold rate measured at the end that holds least.
        highest_hold_ratio: Hold rate measured at the end that holds most.
        start_hold_ratio: Hold rate of gold as it is.
        target_hold_ratio: Target.
        n_sessions: Sessions measured.
        how: How it was measured.
    """

    actuator: str
    unit: str
    lowest_output: float
    highest_output: float
    lowest_hold_ratio: float
    highest_hold_ratio: float
    start_hold_ratio: float
    target_hold_ratio: float
    n_sessions: int
    how: str

    @property
    def authority_ratio(self) -> float:
        """Largest change in hold rate the controller can cause."""
        return self.highest_hold_ratio - self.lowest_hold_ratio

    @property
    def error_ratio(self) -> float:
        """Error to be removed."""
        return abs(self.target_hold_ratio - self.start_hold_ratio)

    @property
    def sufficient(self) -> bool:
        """Whether the target lies within what was reached."""
        return self.lowest_hold_ratio <= self.target_hold_ratio <= self.highest_hold_ratio

    def text(self) -> str:
        """Return the report in one line."""
        word = "reaches" if self.sufficient else "DOES NOT REACH"
        return (
            f"authority of {self.actuator}: hold rate {self.lowest_hold_ratio:.1%} to "
            f"{self.highest_hold_ratio:.1%} over [{self.lowest_output:g}, {self.highest_output:g}] "
            f"{self.unit}; gold holds {self.start_hold_ratio:.1%}, {word} the target of "
            f"{self.target_hold_ratio:.1%} ({self.how}, {self.n_sessions} sessions)"
        )

    def as_record(self) -> dict[str, Any]:
        """Return the report as plain JSON types."""
        return {
            **self.__dict__,
            "authority_ratio": self.authority_ratio,
            "error_ratio": self.error_ratio,
            "sufficient": self.sufficient,
        }


def hold_rate(ledger: SessionLedger) -> float:
    """Return holds / decisions over all sessions of a ledger."""
    return float(ledger.holds.sum() / ledger.decisions.sum())


def measure_at(
    market: ObservedMarket, program: Program, rules: TradingRules, loop: TiltLoop, key: int
) -> float:
    """Return the sampled hold rate under a tilt that stands still."""
    frozen = replace(loop, gains=TiltGains(ki_hold=0.0, ki_trade=0.0))
    run = replay(market, program, rules, mode="sampled", run_seed=key, loop=frozen)
    return hold_rate(run.ledger)


def tilt_authority(
    market: ObservedMarket, program: Program, rules: TradingRules, loop: TiltLoop, key: int
) -> Authority:
    """Measure the hold rate of a policy at both bounds of the hold multiplier, as the loop is deployed."""
    actuator, points = loop.actuator, loop.points

    def at(multiplier: float) -> float:
        start = Multipliers(multiplier, loop.start.trade)
        return measure_at(market, program, rules, replace(loop, start=start), key)

    untouched = replay(market, program, rules, mode="sampled", run_seed=key)
    return Authority(
        actuator="tilt",
        unit="logits",
        lowest_output=-actuator.hold_bound,
        highest_output=actuator.hold_bound,
        lowest_hold_ratio=at(-actuator.hold_bound),
        highest_hold_ratio=at(actuator.hold_bound),
        start_hold_ratio=hold_rate(untouched.ledger),
        target_hold_ratio=points.hold_rate_ratio,
        n_sessions=len(market),
        how="measured on gold at both bounds, sampled",
    )


def tilt_sign_test(
    market: ObservedMarket, program: Program, rules: TradingRules, loop: TiltLoop, key: int
) -> Verdict:
    """Check that holding too little raises the multiplier, and that a higher one makes gold hold more."""
    actuator, points = loop.actuator, loop.points
    state = tilt_state(Multipliers())
    numbers = actuator.numbers(actuator.live, market.full_session_decisions)
    set_points = points.numbers(market.full_session_decisions)
    advance(state, numbers, set_points, 0.0, 0.0, 0.0)
    moved = hold_multiplier(state, numbers, set_points, 0.0)

    def at(multiplier: float) -> float:
        start = Multipliers(multiplier, loop.start.trade)
        return measure_at(market, program, rules, replace(loop, start=start), key)

    response = at(PROBE_LOGITS) - at(-PROBE_LOGITS)
    return Verdict(
        name="sign_self_test",
        group=Group.SAFETY,
        passed=moved > 0 and response > 0,
        observed=response,
        threshold="multiplier and hold rate both rise when holding too little",
        n=len(market),
        reason=f"multiplier moves by {moved:+.3f}; ±{PROBE_LOGITS:g} logits change hold by {response:+.1%}",
    )
