"""The PID-Lagrangian controller against the paper's algorithm, step by step by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from stairways.control.pid_lagrangian import (
    MultiplierState,
    PidLagrangian,
    TwoSided,
    hold_bonus_bps,
    multiplier_bps,
    updated,
    updated_both,
)

PLAIN = PidLagrangian(kp_bps=10, ki_bps=2, kd_bps=5, smoothing_proportional=0, smoothing_derivative=0)


def after(settings: PidLagrangian, costs: list[float], limit: float) -> MultiplierState:
    state = MultiplierState()
    for cost in costs:
        state = updated(settings, state, cost, limit)
    return state


class TestOneMultiplier:
    def test_the_first_measurement_by_hand(self):
        """Cost 0.9 over a limit of 0.5: 10 x 0.4 + 2 x 0.4, and no rise, since nothing came before."""
        state = after(PLAIN, [0.9], 0.5)
        assert multiplier_bps(PLAIN, state) == pytest.approx(4.8)

    def test_a_rise_counts(self):
        """0.7 then 0.9: 10 x 0.4 + 2 x (0.2 + 0.4) + 5 x 0.2."""
        assert multiplier_bps(PLAIN, after(PLAIN, [0.7, 0.9], 0.5)) == pytest.approx(4 + 1.2 + 1)

    def test_a_fall_does_not(self):
        """0.9 then 0.7: 10 x 0.2 + 2 x (0.4 + 0.2), the derivative is cut at 0."""
        assert multiplier_bps(PLAIN, after(PLAIN, [0.9, 0.7], 0.5)) == pytest.approx(2 + 1.2)

    def test_the_integral_never_falls_below_zero(self):
        """Two measurements far below the limit leave no debt: then 10 x 0.1 + 2 x 0.1 + 5 x 0.5."""
        state = after(PLAIN, [0.1, 0.1], 0.5)
        assert state.integral_bps == 0.0
        assert multiplier_bps(PLAIN, state) == 0.0
        assert multiplier_bps(PLAIN, updated(PLAIN, state, 0.6, 0.5)) == pytest.approx(1 + 0.2 + 2.5)

    def test_smoothing_by_hand(self):
        """Half of the past: violations 0.4 then 0 make 0.2; costs 0.5 then 0.9 make 0.7, a rise of 0.2."""
        smooth = PLAIN.model_copy(update={"smoothing_proportional": 0.5, "smoothing_derivative": 0.5})
        assert multiplier_bps(smooth, after(smooth, [0.9, 0.5], 0.5)) == pytest.approx(10 * 0.2 + 2 * 0.4)
        rising = after(smooth, [0.5, 0.9], 0.5)
        assert rising == pytest.approx((0.2, 0.7, 0.2, 0.8, 2))
        assert multiplier_bps(smooth, rising) == pytest.approx(10 * 0.2 + 0.8 + 5 * 0.2)

    def test_it_stops_at_its_bound_and_leaves_it_at_once(self):
        """20 updates of a violation of 0.5 stop at 3 bp; the first one below the limit is felt."""
        bound = PLAIN.model_copy(update={"highest_bps": 3.0})
        state = after(bound, [1.0] * 20, 0.5)
        assert (multiplier_bps(bound, state), state.integral_bps) == (3.0, 3.0)
        assert multiplier_bps(bound, updated(bound, state, 0.3, 0.5)) == pytest.approx(3 - 0.4 - 2)

    def test_nothing_is_charged_before_a_measurement(self):
        assert multiplier_bps(PLAIN, MultiplierState()) == 0.0


class TestBoth:
    def test_holding_too_much_is_charged_and_too_little_paid(self):
        """Both sides of 0.55 by 0.2: 10 x 0.2 + 2 x 0.2."""
        much = updated_both(PLAIN, TwoSided(), 0.75, 0.55)
        little = updated_both(PLAIN, TwoSided(), 0.35, 0.55)
        assert hold_bonus_bps(PLAIN, much) == pytest.approx(-2.4)
        assert hold_bonus_bps(PLAIN, little) == pytest.approx(2.4)

    @given(
        rates=st.lists(st.floats(0, 1), min_size=1, max_size=20),
        target=st.floats(0.2, 0.8),
        smoothing=st.sampled_from([0.0, 0.5, 0.95]),
    )
    def test_mirrored_rates_give_the_opposite_bonus(self, rates, target, smoothing):
        settings = PidLagrangian(smoothing_proportional=smoothing, smoothing_derivative=smoothing)
        state, mirrored = TwoSided(), TwoSided()
        for rate in rates:
            state = updated_both(settings, state, rate, target)
            mirrored = updated_both(settings, mirrored, 1 - rate, 1 - target)
        assert hold_bonus_bps(settings, state) == pytest.approx(-hold_bonus_bps(settings, mirrored), abs=1e-9)

    def test_on_its_target_it_keeps_what_it_has_learned(self):
        state = TwoSided()
        for rate in [0.9] * 10 + [0.55] * 200:
            state = updated_both(PidLagrangian(), state, rate, 0.55)
        assert hold_bonus_bps(PidLagrangian(), state) == pytest.approx(-PidLagrangian().ki_bps * 10 * 0.35)


def test_it_equals_the_paper_written_plainly():
    """Algorithm 2 with smoothing, in a loop of its own, on a random course of costs."""
    rng = np.random.default_rng(5)
    settings = PidLagrangian(kp_bps=3, ki_bps=0.5, kd_bps=8, highest_bps=1e9)
    state = MultiplierState()
    integral = mean_violation = mean_cost = 0.0
    for k, cost in enumerate(rng.random(60)):
        violation = cost - 0.55
        integral = max(0.0, integral + violation)
        before = mean_cost
        mean_violation = violation if k == 0 else 0.5 * mean_violation + 0.5 * violation
        mean_cost = cost if k == 0 else 0.5 * mean_cost + 0.5 * cost
        rise = 0.0 if k == 0 else max(0.0, mean_cost - before)
        state = updated(settings, state, cost, 0.55)
        wanted = max(0.0, 3 * mean_violation + 0.5 * integral + 8 * rise)
        assert multiplier_bps(settings, state) == pytest.approx(wanted, abs=1e-12)


def test_negative_gains_are_refused():
    with pytest.raises(ValidationError):
        PidLagrangian(kp_bps=-1)
