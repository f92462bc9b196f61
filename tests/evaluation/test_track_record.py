import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skfolio.measures import deflated_sharpe_ratio, expected_max_sharpe_ratio

from stairways.errors import InputError
from stairways.evaluation.track_record import (
    TrackRecord,
    Trials,
    deflated_sharpe,
    least_track_record_sessions,
)
from stairways.trading.sharpe import annual_sharpe, probabilistic_sharpe

YEAR = math.sqrt(252)
# The example of Bailey and Lopez de Prado (2014), section "A numerical example": an annual Sharpe ratio of
# 2.5 on 1,250 days, 250 to the year, with trials of variance 1/2 a year.
PAPER_VARIANCE_ANNUAL = 0.5 / 250 * 252
PAPER_RECORD = TrackRecord.from_moments(
    n_sessions=1250, sharpe_per_session=2.5 / math.sqrt(250), skewness=-3, kurtosis=10
)


def skewed(seed: int, n: int) -> np.ndarray:
    return 0.0031 - 0.004 * np.random.default_rng(seed).gamma(0.7, 1.0, n)


class TestPublished:
    def test_the_largest_sharpe_that_luck_finds(self):
        assert round(Trials(100, PAPER_VARIANCE_ANNUAL).expected_max_annual / YEAR, 4) == 0.1132
        # "Pseudo-mathematics and financial charlatanism" (2014): 1.57 for ten trials of variance 1
        assert Trials(10, 1.0).expected_max_annual == pytest.approx(1.57, abs=0.005)

    @pytest.mark.parametrize(("n_trials", "expected"), [(100, 0.9004), (46, 0.9505)])
    def test_the_deflated_sharpe(self, n_trials, expected):
        assert round(PAPER_RECORD.deflated(Trials(n_trials, PAPER_VARIANCE_ANNUAL)), 4) == expected

    def test_normal_returns_pass_95_percent_up_to_88_trials(self):
        normal = TrackRecord.from_moments(n_sessions=1250, sharpe_per_session=2.5 / math.sqrt(250))
        assert normal.deflated(Trials(88, PAPER_VARIANCE_ANNUAL)) > 0.95
        assert normal.deflated(Trials(89, PAPER_VARIANCE_ANNUAL)) < 0.95

    @pytest.mark.parametrize(
        ("moments", "expected"), [({}, 0.982), ({"skewness": -2.448, "kurtosis": 10.164}, 0.913)]
    )
    def test_the_probabilistic_sharpe_of_two_years_by_month(self, moments, expected):
        record = TrackRecord.from_moments(n_sessions=24, sharpe_per_session=0.458, **moments)
        assert round(record.probability_above(), 3) == expected

    @pytest.mark.parametrize(
        ("periods", "moments", "years"),
        [
            (250, {}, 2.73),
            (52, {}, 2.83),
            (12, {}, 3.24),
            (12, {"skewness": -0.72, "kurtosis": 5.78}, 4.99),
        ],
    )
    def test_the_length_that_tells_an_annual_sharpe_of_2_from_1(self, periods, moments, years):
        record = TrackRecord.from_moments(
            n_sessions=periods, sharpe_per_session=2 / math.sqrt(periods), **moments
        )
        least = record.least_sessions(YEAR / math.sqrt(periods))
        assert round(least / periods, 2) == years


def test_the_moments_of_returns_give_what_the_returns_give():
    returns = skewed(3, 300)
    record = TrackRecord.of(returns)
    assert record.sharpe_annual == annual_sharpe(returns)
    for benchmark in (-1.0, 0.0, 0.7):
        assert record.probability_above(benchmark) == pytest.approx(
            probabilistic_sharpe(returns, benchmark), abs=1e-13
        )
    centred = returns - returns.mean()
    again = TrackRecord.from_moments(
        n_sessions=300,
        sharpe_per_session=returns.mean() / returns.std(ddof=1),
        skewness=(centred**3).mean() / returns.std() ** 3,
        kurtosis=(centred**4).mean() / returns.std() ** 4,
    )
    assert again.sharpe_annual == pytest.approx(record.sharpe_annual)
    assert again.unit_variance == pytest.approx(record.unit_variance)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(20, 400), st.integers(2, 60))
def test_it_agrees_with_skfolio(seed, n, n_trials):
    rng = np.random.default_rng(seed)
    returns = rng.standard_t(4, n) * 0.004 + 0.0003
    per_session = rng.normal(0.02, 0.06, n_trials)
    trials = Trials.of(per_session * YEAR)
    assert trials.expected_max_annual / YEAR == pytest.approx(
        expected_max_sharpe_ratio(n_trials, per_session.std(ddof=1)), abs=1e-12
    )
    assert deflated_sharpe(returns, trials) == pytest.approx(
        deflated_sharpe_ratio(returns, per_session), abs=1e-9
    )


def test_the_expected_maximum_is_near_the_true_one():
    rng = np.random.default_rng(0)
    drawn = rng.normal(0.0, 1.5, (20_000, 50)).max(axis=1)
    error = drawn.std() / math.sqrt(len(drawn))
    # the approximation is 1 % too high at 50 trials
    assert Trials(50, 2.25).expected_max_annual == pytest.approx(drawn.mean(), rel=0.015, abs=2 * error)


def test_trials_without_a_sharpe_count_and_leave_the_variance():
    sharpes = np.array([0.4, -0.2, 1.0])
    assert Trials.of(sharpes, 8) == Trials(8, float(np.var(sharpes, ddof=1)))
    assert Trials.of(sharpes).n_trials == 3


def test_more_trials_and_wider_ones_leave_less():
    returns = skewed(5, 260)
    plain = probabilistic_sharpe(returns)
    values = [deflated_sharpe(returns, Trials(n, 0.4)) for n in (2, 8, 50)]
    assert plain > values[0] > values[1] > values[2]
    assert deflated_sharpe(returns, Trials(8, 1.6)) < values[1]
    assert deflated_sharpe(returns, Trials(8, 0.0)) == pytest.approx(plain)


def test_at_the_least_length_the_confidence_is_reached():
    record = TrackRecord.of(skewed(8, 400))
    for benchmark in (0.0, record.sharpe_annual / 2):
        least = record.least_sessions(benchmark, 0.9)
        same = TrackRecord(least, record.sharpe_annual, record.unit_variance)
        assert same.probability_above(benchmark) == pytest.approx(0.9)


def test_no_length_shows_a_sharpe_that_is_not_above_the_bar():
    returns = skewed(8, 400)
    sharpe = annual_sharpe(returns)
    assert least_track_record_sessions(returns, benchmark_annual=sharpe + 0.1) is None
    assert least_track_record_sessions(returns, benchmark_annual=sharpe - 0.1) > 400


@pytest.mark.parametrize("returns", [np.full(19, 1e-4) + np.arange(19) * 1e-5, np.full(60, 2e-4)])
def test_too_few_sessions_or_no_spread_give_no_number(returns):
    assert TrackRecord.of(returns) is None
    assert deflated_sharpe(returns, Trials(5, 1.0)) is None
    assert least_track_record_sessions(returns) is None


def test_the_risk_free_return_is_taken_off():
    returns = skewed(2, 120)
    assert deflated_sharpe(returns, Trials(4, 0.5), 1e-4) == pytest.approx(
        deflated_sharpe(returns - 1e-4, Trials(4, 0.5))
    )
    assert least_track_record_sessions(returns, risk_free_per_session=1e-4) == pytest.approx(
        least_track_record_sessions(returns - 1e-4)
    )


def test_a_record_without_variance_is_sure():
    sure = TrackRecord(100, 2.0, 0.0)
    assert (sure.probability_above(1.0), sure.probability_above(3.0)) == (1.0, 0.0)
    assert sure.probability_above(2.0) == 0.5


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Trials(1, 0.5), "1 trial leaves nothing to choose"),
        (lambda: Trials(5, -0.1), "variance of -0.1"),
        (lambda: Trials(5, math.nan), "variance of nan"),
        (lambda: Trials.of(np.array([0.3])), "1 finite Sharpe ratios"),
        (lambda: Trials.of(np.array([0.3, math.inf])), "1 finite Sharpe ratios"),
        (lambda: Trials.of(np.array([0.3, 0.4, 0.5]), 2), "3 Sharpe ratios of 2 trials"),
        (lambda: TrackRecord.from_moments(n_sessions=1, sharpe_per_session=0.1), "more than 1 session"),
        (
            lambda: TrackRecord.from_moments(
                n_sessions=50, sharpe_per_session=0.1, skewness=2.0, kurtosis=4.0
            ),
            "at least skewness",
        ),
        (lambda: TrackRecord(50, 1.0, 1.0).least_sessions(confidence=0.5), "confidence 0.5"),
        (lambda: deflated_sharpe(np.full(30, math.nan), Trials(5, 1.0)), "not finite"),
    ],
)
def test_what_makes_no_sense_is_refused(make, words):
    with pytest.raises(InputError, match=words):
        make()
