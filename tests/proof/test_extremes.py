"""Extremes of figures: nothing has none, and a NaN is never passed over."""

from __future__ import annotations

import math

import pytest

from stairways.proof.extremes import largest, least


def test_of_numbers():
    assert (largest([1.0, 3.0, -2.0]), least([1.0, 3.0, -2.0])) == (3.0, -2.0)


@pytest.mark.parametrize("extreme", [largest, least])
def test_of_nothing_is_nothing(extreme):
    assert extreme([]) is None


@pytest.mark.parametrize("extreme", [largest, least])
@pytest.mark.parametrize("place", range(3))
def test_nan_is_never_passed_over(extreme, place):
    values = [1.0, 2.0]
    values.insert(place, math.nan)
    assert math.isnan(extreme(values))
