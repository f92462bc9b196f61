"""Set points: targets, the market multiplier and the sign of the hold error."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from stairways.control import SetPoints, hold_error
from stairways.control.setpoints import market_multiplier, target_hold_rate


def test_the_error_is_target_minus_measured():
    assert hold_error(0.55, 0.80) == pytest.approx(-0.25)
    assert hold_error(0.55, 0.30) == pytest.approx(0.25)
    assert hold_error(5.0, 0.0) == 1.0
    assert hold_error(0.0, 5.0) == -1.0


def test_the_fixed_target_ignores_the_score():
    points = SetPoints().numbers(389)
    assert {target_hold_rate(points, score) for score in (-3.0, 0.0, 3.0)} == {0.55}


@pytest.mark.parametrize(
    ("score", "target"), [(-3.0, 0.25), (-1.0, 0.45), (0.0, 0.55), (2.0, 0.75), (3.0, 0.85), (9.0, 0.85)]
)
def test_the_plan_s_moving_target(score, target):
    points = SetPoints(hold_mode="regime").numbers(389)
    assert target_hold_rate(points, score) == pytest.approx(target, abs=1e-12)


@given(score=st.floats(-3, 3), slope=st.floats(0, 1 / 3, exclude_max=True))
def test_the_market_multiplier_never_changes_sign(score, slope):
    assert market_multiplier(SetPoints(market_slope=slope).numbers(77), score) > 0.0


def test_the_market_multiplier_of_the_default_runs_from_a_tenth_to_1_9():
    points = SetPoints().numbers(389)
    ends = [market_multiplier(points, score) for score in (-3.0, 0.0, 3.0)]
    assert ends == pytest.approx([0.1, 1.0, 1.9])


@pytest.mark.parametrize("decisions", [389, 77])
def test_trades_are_spent_per_decision(decisions):
    points = SetPoints(trades_per_session=16.5).numbers(decisions)
    assert points.orders_per_decision * decisions == pytest.approx(16.5)


@pytest.mark.parametrize(
    "settings_",
    [
        {"hold_rate_ratio": 0.9},
        {"hold_rate_ratio": 0.2},
        {"market_slope": 1 / 3},
        {"market_slope": -0.1},
        {"trades_per_session": -1.0},
        {"hold_mode": "dynamic"},
        {"unknown": 1},
    ],
)
def test_settings_that_make_no_sense_are_refused(settings_):
    with pytest.raises(ValidationError):
        SetPoints(**settings_)


def test_numbers_of_the_two_modes_differ_in_the_slope_alone():
    fixed, moving = SetPoints().numbers(389), SetPoints(hold_mode="regime").numbers(389)
    assert np.flatnonzero(np.array(fixed) != np.array(moving)).tolist() == [fixed._fields.index("slope")]
