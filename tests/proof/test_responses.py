"""Settling, overshoot and steady error of traces made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from stairways.proof.responses import (
    ALLOWANCE,
    Steady,
    Windows,
    mean_of,
    mean_steady,
    mean_windows,
    overshoot,
    pooled_windows,
    rollout_windows,
    settled_after,
    sliding_means,
    steady,
)


def windows(deviation, *, every=10, width=4, standard_error=0.0):
    values = np.array(deviation, float)
    return Windows(np.arange(len(values)) * every, width, values, standard_error)


class TestSettling:
    def test_the_middle_of_the_first_window_of_the_unbroken_run(self):
        """Windows at 0, 10, 20, 30, 40 of width 4; the last one outside starts at 10: 20 + 2."""
        assert settled_after(windows([0.4, 0.2, 0.04, -0.03, 0.0]), 0.05) == 22

    def test_coming_in_once_is_not_settling(self):
        assert settled_after(windows([0.4, 0.0, 0.0, 0.06, 0.0]), 0.05) == 42

    def test_a_response_that_never_left_has_settled_at_once(self):
        assert settled_after(windows([0.01, 0.05, -0.05]), 0.05) == 0

    def test_one_that_ends_outside_has_not(self):
        assert settled_after(windows([0.0, 0.0, -0.051]), 0.05) is None

    def test_the_band_is_widened_by_the_noise_of_a_window(self):
        """A standard error of 0.01 allows 0.0258 more: 0.075 lies within, 0.076 does not."""
        noisy = [0.4, 0.075, 0.0]
        assert settled_after(windows(noisy, standard_error=0.01), 0.05) == 12
        assert settled_after(windows([0.4, 0.076, 0.0], standard_error=0.01), 0.05) == 22
        assert windows(noisy, standard_error=0.01).allowance == pytest.approx(0.0258)

    def test_an_exponential_response_settles_where_it_crosses_the_band(self):
        """0.4 exp(-t/200) crosses 0.05 at 200 ln 8 = 416; the mean over 389 decisions lags by under 50."""
        decisions = np.arange(4_000)
        series = np.tile(0.4 * np.exp(-decisions / 200), (2, 1))
        found = settled_after(pooled_windows(series, 389, 1), 0.05)
        assert found is not None
        assert abs(found - 200 * np.log(8)) < 50


class TestOvershoot:
    def test_beyond_the_set_point_on_the_far_side(self):
        assert overshoot(windows([-0.4, -0.1, 0.07, 0.02]), +1.0) == pytest.approx(0.07)
        assert overshoot(windows([0.4, 0.1, -0.03, 0.02]), -1.0) == pytest.approx(0.03)

    def test_none_where_it_is_only_approached(self):
        assert overshoot(windows([-0.4, -0.1, -0.01]), +1.0) == 0.0


class TestWindows:
    def test_sliding_means_by_hand(self):
        series = np.array([[1.0, 3.0, 5.0, 7.0, 9.0], [0.0, 0.0, 4.0, 0.0, 0.0]])
        assert sliding_means(series, 2).tolist() == [[2, 4, 6, 8], [0, 2, 2, 0]]
        assert sliding_means(series, 2, 2).tolist() == [[2, 6], [0, 2]]

    def test_a_window_that_does_not_fit_is_refused(self):
        with pytest.raises(ValueError, match="does not fit"):
            sliding_means(np.zeros((2, 5)), 6)

    def test_the_noise_is_that_of_the_later_half(self):
        """Four accounts at +-1 in the later half: variance 4/3, over 4 accounts 1/3; the start is wild."""
        later = np.tile([[1.0], [1.0], [-1.0], [-1.0]], (1, 4))
        start = np.tile([[50.0], [10.0], [-30.0], [7.0]], (1, 4))
        found = pooled_windows(np.concatenate([start, later], axis=1), 1, 1)
        assert found.standard_error == pytest.approx(np.sqrt(1 / 3))
        assert found.deviation[-1] == 0.0
        assert found.first.tolist() == list(range(8))

    def test_the_noise_of_rollouts_survives_a_drift_and_a_transient(self):
        """A drift of a third of the noise in each rollout, and a jump: the noise of 0.02 is found."""
        rng = np.random.default_rng(1)
        deviation = np.linspace(0.0, 2.4, 400) + rng.normal(0, 0.02, 400)
        deviation[:5] += 0.5
        assert rollout_windows(deviation, 100).standard_error == pytest.approx(0.02, rel=0.15)
        assert rollout_windows(np.linspace(0.4, 0.1, 9), 100).standard_error == pytest.approx(0, abs=1e-12)

    def test_means_over_seeds_are_quieter(self):
        runs = [windows([0.1, 0.3], standard_error=0.03), windows([0.3, 0.5, 0.9], standard_error=0.04)]
        found = mean_windows(runs)
        assert found.deviation == pytest.approx([0.2, 0.4])
        assert found.first.tolist() == [0, 10]
        assert found.standard_error == pytest.approx(0.025)

    def test_windows_of_different_widths_are_refused(self):
        with pytest.raises(ValueError, match="different widths"):
            mean_windows([windows([0.1]), windows([0.1], width=5)])

    def test_series_are_averaged_as_far_as_the_shortest(self):
        assert mean_of([[1.0, 2.0, 9.0], [3.0, 4.0]]).tolist() == [2.0, 3.0]


def test_a_settled_response_stays_in_its_band_in_99_of_100_windows():
    """The allowance is what it says: 24 accounts of noise, windows apart from each other."""
    rng = np.random.default_rng(3)
    found = pooled_windows(rng.normal(0.0, 1.0, (24, 40_000)), 20, 20)
    outside = (np.abs(found.deviation) > found.allowance).mean()
    assert outside == pytest.approx(0.01, abs=0.006)
    assert pytest.approx(2.58) == ALLOWANCE


def test_the_steady_error_is_of_the_end_alone():
    """Last two decisions: accounts at 2 and 4, so 3 with a standard error of 1."""
    deviation = np.array([[9.0, 9.0, 1.0, 3.0], [9.0, 9.0, 4.0, 4.0]])
    assert steady(deviation, 2) == Steady(3.0, pytest.approx(1.0))
    assert mean_steady([Steady(1.0, 3.0), Steady(2.0, 4.0)]) == Steady(1.5, 2.5)
