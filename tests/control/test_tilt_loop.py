"""The loop around the tilt: signs, bounds, start-up, its runs at a bound, and a plant it has to lead."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stairways.control import Multipliers, SetPoints, SlowLane, SlowState, TiltActuator, TiltGains
from stairways.control.tilt import (
    AT_BOUND,
    FAST_ERROR,
    HOLD,
    LONGEST_AT_BOUND,
    SEEN,
    TRADE,
    advance,
    hold_multiplier,
    settle,
    tilt_state,
)

POINTS = SetPoints().numbers(389)


def _numbers(**gains):
    return TiltActuator().numbers(TiltGains(**gains), 389)


class _PlainLoop:
    """The loop in plain Python, straight from the definitions."""

    def __init__(self, numbers, points, start):
        self.numbers, self.points = numbers, points
        self.hold, self.trade = start
        self.mean_error, self.seen, self.run, self.longest = 0.0, 0, 0, 0

    def in_force(self, score):
        n = self.numbers
        fast = n.kp_fast * self.mean_error * (1.0 + self.points.market_slope * score)
        return float(np.clip(self.hold + fast, -n.hold_bound, n.hold_bound))

    def advance(self, score, held, orders):
        n, p = self.numbers, self.points
        target = float(np.clip(p.hold_rate + p.slope * score, p.lowest, p.highest))
        factor = n.startup_factor if self.seen < n.startup_decisions else 1.0
        error = target - held
        self.hold = float(np.clip(self.hold + factor * n.ki_hold * error, -n.hold_bound, n.hold_bound))
        surplus = orders - p.orders_per_decision
        self.trade = float(
            np.clip(self.trade + factor * n.ki_trade * surplus, n.trade_lowest, n.trade_highest)
        )
        self.mean_error += (error - self.mean_error) * n.fast_decay
        self.seen += 1
        bound = abs(self.hold) == n.hold_bound or self.trade in (n.trade_lowest, n.trade_highest)
        self.run = self.run + 1 if bound else 0
        self.longest = max(self.longest, self.run)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    ki=st.sampled_from([0.0, 0.03, 0.5, 2.0]),
    kp=st.sampled_from([0.0, 6.0, 20.0]),
    mode=st.sampled_from(["fixed", "regime"]),
    startup=st.sampled_from([(1.0, 0), (3.0, 1)]),
)
def test_the_compiled_loop_equals_the_plain_one(seed, ki, kp, mode, startup):
    actuator = TiltActuator(startup_factor=startup[0], startup_sessions=startup[1])
    numbers = actuator.numbers(TiltGains(ki_hold=ki, ki_trade=2 * ki, kp_fast=kp), 13)
    points = SetPoints(hold_mode=mode, trades_per_session=4.0).numbers(13)
    start = Multipliers(0.5, -0.25)
    state, plain = tilt_state(start), _PlainLoop(numbers, points, start)
    rng = np.random.default_rng(seed)
    for _ in range(120):
        score, held, orders = rng.uniform(-3, 3), float(rng.random() < 0.3), float(rng.integers(0, 3))
        assert hold_multiplier(state, numbers, points, score) == pytest.approx(
            plain.in_force(score), rel=1e-12
        )
        advance(state, numbers, points, score, held, orders)
        plain.advance(score, held, orders)
    found = [
        state[HOLD],
        state[TRADE],
        state[FAST_ERROR],
        state[SEEN],
        state[AT_BOUND],
        state[LONGEST_AT_BOUND],
    ]
    wanted = [plain.hold, plain.trade, plain.mean_error, plain.seen, plain.run, plain.longest]
    assert found == pytest.approx(wanted, rel=1e-12)


def test_signs():
    """Too few holds raise the hold multiplier, too many orders raise the price of an order."""
    state = tilt_state(Multipliers())
    advance(state, _numbers(), POINTS, 0.0, 0.0, 2.0)
    assert state[HOLD] == pytest.approx(0.03 * 0.55)
    assert state[TRADE] == pytest.approx(0.06 * (2.0 - 16.5 / 389))
    advance(state, _numbers(), POINTS, 0.0, 1.0, 0.0)
    assert state[HOLD] == pytest.approx(0.03 * (0.55 - 0.45))
    assert state[TRADE] == pytest.approx(0.06 * (2.0 - 2 * 16.5 / 389))


def test_the_multipliers_stop_at_their_bounds_and_leave_them_at_once():
    numbers = _numbers(ki_hold=1.0, ki_trade=1.0)
    state = tilt_state(Multipliers())
    for _ in range(1_000):
        advance(state, numbers, POINTS, 0.0, 0.0, 2.0)
    assert (state[HOLD], state[TRADE]) == (15.0, 15.0)
    assert state[AT_BOUND] == state[LONGEST_AT_BOUND] > 900
    longest = state[LONGEST_AT_BOUND]
    advance(state, numbers, POINTS, 0.0, 1.0, 0.0)
    assert state[HOLD] < 15.0
    assert state[TRADE] < 15.0
    assert (state[AT_BOUND], state[LONGEST_AT_BOUND]) == (0.0, longest)
    for _ in range(1_000):
        advance(state, numbers, POINTS, 0.0, 1.0, 0.0)
    assert (state[HOLD], state[TRADE]) == (-15.0, -6.0)
    advance(state, numbers, POINTS, 0.0, 0.0, 2.0)
    assert state[HOLD] > -15.0
    assert state[TRADE] > -6.0


def test_the_fast_lane_follows_the_mean_error_and_the_market():
    numbers = _numbers(ki_hold=0.0, ki_trade=0.0, kp_fast=10.0)
    state = tilt_state(Multipliers(hold=1.0))
    assert hold_multiplier(state, numbers, POINTS, 3.0) == 1.0
    for _ in range(60):
        advance(state, numbers, POINTS, 0.0, 1.0, 0.0)
    mean = -0.45 * (1.0 - (59 / 60) ** 60)
    for score in (-3.0, 0.0, 3.0):
        expected = 1.0 + 10.0 * mean * (1.0 + 0.3 * score)
        assert hold_multiplier(state, numbers, POINTS, score) == pytest.approx(expected, rel=1e-12)


def test_the_hold_multiplier_in_force_stays_within_its_bound():
    numbers = _numbers(kp_fast=100.0)
    state = tilt_state(Multipliers(hold=14.0))
    state[FAST_ERROR] = 1.0
    assert hold_multiplier(state, numbers, POINTS, 0.0) == 15.0
    state[FAST_ERROR] = -1.0
    assert hold_multiplier(state, numbers, POINTS, 0.0) == -15.0


def test_the_start_up_is_faster_for_as_long_as_it_says():
    actuator = TiltActuator(startup_factor=3.0, startup_sessions=2)
    numbers = actuator.numbers(TiltGains(ki_hold=0.001, ki_trade=0.0), 77)
    state = tilt_state(Multipliers())
    moves = []
    for _ in range(200):
        before = state[HOLD]
        advance(state, numbers, POINTS, 0.0, 0.0, 0.0)
        moves.append(state[HOLD] - before)
    np.testing.assert_allclose(moves[: 2 * 77], 3 * 0.001 * 0.55, rtol=1e-9)
    np.testing.assert_allclose(moves[2 * 77 :], 0.001 * 0.55, rtol=1e-9)


def test_the_loop_removes_a_steady_error_on_a_logistic_plant():
    """A policy with odds of 4 to 1 for hold and 0.3 orders a decision is led to both set points."""
    numbers = TiltActuator().numbers(TiltGains(ki_hold=0.03, ki_trade=0.06), 389)
    state = tilt_state(Multipliers())
    for _ in range(20_000):
        odds = 4.0 * math.exp(state[HOLD])
        orders = 0.3 * math.exp(-state[TRADE])
        advance(state, numbers, POINTS, 0.0, odds / (1.0 + odds), orders)
    assert state[HOLD] == pytest.approx(math.log(0.55 / 0.45 / 4.0), abs=1e-6)
    assert state[TRADE] == pytest.approx(math.log(0.3 / (16.5 / 389)), abs=1e-6)


def test_settle_is_the_mean_of_the_last_two_thirds():
    trace = np.column_stack([np.arange(9.0), -np.arange(9.0)])
    assert settle(trace) == Multipliers(hold=5.5, trade=-5.5)


def test_a_lane_holds_its_sample_and_keeps_its_integral_within_bounds():
    lane = SlowLane(kp=0.5, ki=0.4, period=3, lowest=-0.5, highest=0.5)
    state = SlowState()
    seen = []
    for error in (1.0, -1.0, -1.0, 1.0, 0.0, 0.0, -1.0):
        state = lane.advance(state, error)
        seen.append((state.held, state.integral))
    expected = [(0.5, 0.4)] * 3 + [(0.5, 0.5)] * 3 + [(-0.5, pytest.approx(0.1))]
    assert seen == expected
    assert state.adjustment == pytest.approx(-0.4)
    assert state.step == 7
