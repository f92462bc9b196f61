"""The dual-lane controller: the plan's listing as the oracle, its edge cases by name, and the integral."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stairways.control import DualLaneController, SetPoints, plan_reward_actuator
from stairways.control.setpoints import market_multiplier
from stairways.errors import ConfigError

BASE = 0.2


class _PlanListing:
    """The arithmetic of the plan's listing, number for number."""

    def __init__(self, base_hold_bonus: float) -> None:
        self.kp_fast = 0.25
        self.kp_slow = 0.05
        self.slow_adj = 0.0
        self.base_bonus = base_hold_bonus
        self.step = 0

    def compute_bonus(self, hold_error: float, market_mult: float) -> float:
        fast = self.kp_fast * hold_error * market_mult
        if self.step % 25 == 0:
            self.slow_adj = self.kp_slow * hold_error
        self.step += 1
        bonus = self.base_bonus * (1 + fast + self.slow_adj)
        return np.clip(bonus, 0.0, 2.0 * self.base_bonus)


def _bits(number: float) -> bytes:
    return struct.pack("<d", float(number))


@pytest.mark.parametrize("widest_error", [1.0, 20.0])
@pytest.mark.parametrize("base", [0.2, 1.0, 0.37])
def test_it_equals_the_listing_bit_for_bit(base, widest_error):
    rng = np.random.default_rng(7)
    ours, listing = DualLaneController(base), _PlanListing(base)
    for error, multiplier in zip(
        rng.uniform(-widest_error, widest_error, 5_000), rng.uniform(0.1, 1.9, 5_000), strict=True
    ):
        assert _bits(ours.compute_bonus(error, multiplier)) == _bits(listing.compute_bonus(error, multiplier))


@settings(deadline=None, max_examples=50)
@given(
    base=st.floats(0.0, 10.0, allow_subnormal=False),
    steps=st.lists(st.tuples(st.floats(-50, 50), st.floats(-5, 5)), min_size=1, max_size=60),
)
def test_it_equals_the_listing_on_awkward_numbers(base, steps):
    ours, listing = DualLaneController(base), _PlanListing(base)
    for error, multiplier in steps:
        assert ours.compute_bonus(error, multiplier) == listing.compute_bonus(error, multiplier)


def test_the_plan_preset_is_the_listing():
    actuator = plan_reward_actuator()
    names = ("kp_fast", "kp_slow", "ki_slow", "slow_period", "lowest", "highest")
    defaults = DualLaneController(actuator.base_hold_bonus_bps)
    assert [getattr(actuator, name) for name in names] == [getattr(defaults, name) for name in names]


def test_bonus_clip_at_the_cap():
    controller = DualLaneController(BASE)
    assert controller.compute_bonus(100.0, 1.9) == 2.0 * BASE
    assert controller.compute_bonus(-100.0, 1.9) == 0.0
    paying = DualLaneController(BASE, lowest=-2.0)
    assert paying.compute_bonus(-100.0, 1.9) == -2.0 * BASE


def test_sign_reversal_of_the_fast_lane():
    """Holding too little raises the bonus, holding too much lowers it, by the same amount."""
    raised = DualLaneController(BASE, kp_slow=0.0).compute_bonus(0.4, 1.3)
    lowered = DualLaneController(BASE, kp_slow=0.0).compute_bonus(-0.4, 1.3)
    assert lowered < BASE < raised
    assert raised - BASE == pytest.approx(BASE - lowered, rel=1e-12)
    turning = DualLaneController(BASE)
    outputs = [turning.compute_bonus(error, 1.0) - BASE for error in (0.8, -0.8)]
    assert outputs[0] > 0.0 > outputs[1], "the fast lane turns at once, before the slow one samples again"


def test_the_slow_lane_samples_on_the_first_and_every_25th_step():
    controller = DualLaneController(BASE, kp_fast=0.0)
    seen = [controller.compute_bonus(error, 1.0) for error in np.linspace(0.0, 1.0, 60)]
    changes = np.flatnonzero(np.diff(seen)) + 1
    assert changes.tolist() == [25, 50]


def test_with_errors_in_one_the_cap_is_never_reached():
    """Row 7: the proportional lanes together move the bonus by 52.5 % at the very most."""
    highest = market_multiplier(SetPoints().numbers(389), 3.0)
    controller = DualLaneController(BASE)
    most = max(controller.compute_bonus(1.0, highest) for _ in range(100))
    assert most == pytest.approx(1.525 * BASE, rel=1e-12)
    least = min(DualLaneController(BASE).compute_bonus(-1.0, highest) for _ in range(100))
    assert 0.0 < least == pytest.approx(0.475 * BASE, rel=1e-12)


def test_at_the_gold_hold_rate_the_proportional_bonus_hardly_moves():
    """Row 7: 80 % held against a target of 55 % moves the bonus by 7.5 %."""
    bonus = DualLaneController(BASE).compute_bonus(0.55 - 0.80, 1.0)
    assert bonus / BASE - 1.0 == pytest.approx(-0.075, rel=1e-12)


def test_anti_windup_leaves_the_bound_as_soon_as_the_error_turns():
    controller = DualLaneController(BASE, ki_slow=0.3, slow_period=1)
    saturated = [controller.compute_bonus(0.5, 1.0) for _ in range(5_000)]
    assert saturated[-1] == 2.0 * BASE
    assert controller.compute_bonus(-0.01, 1.0) < 2.0 * BASE
    for _ in range(5_000):
        last = controller.compute_bonus(-0.5, 1.0)
    assert last == 0.0
    assert controller.compute_bonus(0.01, 1.0) > 0.0


def test_anti_windup_costs_one_period_at_most():
    controller = DualLaneController(BASE, ki_slow=0.3, slow_period=25)
    for _ in range(25 * 200):
        controller.compute_bonus(0.5, 1.0)
    after = [controller.compute_bonus(-0.2, 1.0) for _ in range(25)]
    assert max(after) < 2.0 * BASE


def _led_plant(controller: DualLaneController, *, target: float = 0.55, steps: int = 8_000) -> float:
    """Return the error left on a plant whose hold rate follows the bonus with a lag."""
    measured, bonus = 0.2, BASE
    for _ in range(steps):
        goal = 0.2 + 1.0 * bonus
        measured += 0.05 * (goal - measured)
        bonus = controller.compute_bonus(target - measured, 1.0)
    return target - measured


def test_the_integral_removes_a_steady_error_and_proportion_alone_does_not():
    assert abs(_led_plant(DualLaneController(BASE, ki_slow=0.3))) < 1e-6
    left = _led_plant(DualLaneController(BASE))
    # by hand: e = 0.55 - 0.2 - 0.2 (1 + 0.3 e), so e = 0.15 / 1.06
    assert left == pytest.approx(0.15 / 1.06, rel=1e-6)


def test_its_memory_is_a_plain_value_that_restores_it():
    rng = np.random.default_rng(3)
    errors = rng.uniform(-1, 1, 80)
    whole = DualLaneController(BASE, ki_slow=0.3)
    expected = [whole.compute_bonus(error, 1.2) for error in errors]
    first = DualLaneController(BASE, ki_slow=0.3)
    for error in errors[:33]:
        first.compute_bonus(error, 1.2)
    second = DualLaneController(BASE, ki_slow=0.3, state=first.state)
    assert [second.compute_bonus(error, 1.2) for error in errors[33:]] == expected[33:]


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"base_hold_bonus": -0.1}, "base_hold_bonus is -0.1"),
        ({"base_hold_bonus": 0.2, "slow_period": 0}, "slow_period is 0"),
        ({"base_hold_bonus": 0.2, "lowest": 1.5}, "must contain 1"),
        ({"base_hold_bonus": 0.2, "highest": 0.5}, "must contain 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings_, message):
    with pytest.raises(ConfigError, match=message):
        DualLaneController(**settings_)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_refused_and_leave_no_trace(bad):
    controller = DualLaneController(BASE, ki_slow=0.3)
    controller.compute_bonus(0.3, 1.0)
    before = controller.state
    for error, multiplier in ((bad, 1.0), (0.1, bad)):
        with pytest.raises(ConfigError, match="must be finite"):
            controller.compute_bonus(error, multiplier)
    assert controller.state == before
