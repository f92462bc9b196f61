import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skfolio.measures import probabilistic_sharpe_ratio

from stairways.errors import InputError
from stairways.trading.sharpe import annual_sharpe, probabilistic_sharpe, sharpe_standard_error

# Twenty sessions, ten of +3 bp and ten of -1 bp: mean 1, population variance 4, skewness 0, kurtosis 1.
TWO_VALUED = np.array([3e-4, -1e-4] * 10)


def fat_tailed(seed: int, n: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return 0.0004 + 0.006 * rng.standard_t(4, n) + 0.002 * (rng.exponential(size=n) - 1.0)


def test_sharpe_by_hand():
    sample_deviation = math.sqrt(20 * 4 / 19)
    assert annual_sharpe(TWO_VALUED) == pytest.approx(math.sqrt(252) / sample_deviation, rel=1e-12)


def test_standard_error_by_hand():
    # Kurtosis 1 and skewness 0 leave 1 under the root: sqrt(252 / 20).
    assert sharpe_standard_error(TWO_VALUED) == pytest.approx(math.sqrt(252 / 20), rel=1e-12)


def test_probability_by_hand():
    per_session = 1.0 / math.sqrt(20 * 4 / 19)
    assert probabilistic_sharpe(TWO_VALUED) == pytest.approx(
        NormalDist().cdf(per_session * math.sqrt(19)), rel=1e-12
    )


@pytest.mark.parametrize(("n", "expected"), [(30, 2.9), (100, 1.6), (250, 1.0)])
def test_standard_error_of_no_skill_is_the_one_of_the_answer_table(n, expected):
    # The moments of a given sample matter little where the Sharpe ratio is zero.
    returns = fat_tailed(1, n)
    assert sharpe_standard_error(returns - returns.mean()) == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("benchmark", [0.0, 0.7, -1.0])
@pytest.mark.parametrize("n", [20, 63, 1000])
def test_probability_equals_skfolio(n, benchmark):
    returns = fat_tailed(n, n)
    expected = probabilistic_sharpe_ratio(returns, benchmark_sharpe_ratio=benchmark / math.sqrt(252))
    assert probabilistic_sharpe(returns, benchmark) == pytest.approx(expected, rel=1e-10)


def test_risk_free_rate_is_taken_off_everywhere():
    returns, rate = fat_tailed(3, 80), 1e-4
    assert annual_sharpe(returns, rate) == pytest.approx(annual_sharpe(returns - rate), rel=1e-12)
    assert sharpe_standard_error(returns, rate) == pytest.approx(sharpe_standard_error(returns - rate))
    expected = probabilistic_sharpe_ratio(returns, risk_free_rate=rate)
    assert probabilistic_sharpe(returns, risk_free_per_session=rate) == pytest.approx(expected, rel=1e-10)


def test_standard_error_matches_the_scatter_of_repeated_samples():
    rng = np.random.default_rng(11)
    samples = 0.001 + 0.01 * (rng.exponential(size=(1500, 250)) - 1.0)
    sharpes = np.array([annual_sharpe(sample) for sample in samples])
    errors = np.array([sharpe_standard_error(sample) for sample in samples])
    assert errors.mean() == pytest.approx(sharpes.std(), rel=0.05)


@pytest.mark.parametrize("function", [annual_sharpe, sharpe_standard_error, probabilistic_sharpe])
class TestWhatCantBeSaid:
    def test_under_twenty_sessions_is_none(self, function):
        assert function(fat_tailed(0, 19)) is None
        assert function(fat_tailed(0, 20)) is not None

    @pytest.mark.parametrize("value", [0.0, 0.001, -0.1, 1e-300])
    def test_constant_returns_are_none(self, function, value):
        assert function(np.full(40, value)) is None

    def test_a_constant_with_rounding_is_none(self, function):
        assert function(np.full(40, 0.1) + np.array([0.0, 1.4e-17] * 20)) is None

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_what_is_not_finite_is_refused(self, function, value):
        returns = fat_tailed(0, 40)
        returns[7] = value
        with pytest.raises(InputError, match="not finite"):
            function(returns)

    def test_a_table_is_refused(self, function):
        with pytest.raises(InputError, match="shape"):
            function(np.zeros((40, 2)))


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(-300, 300), min_size=20, max_size=60))
def test_estimates_are_finite_and_a_probability_is_one(basis_points):
    returns = np.array(basis_points) * 1e-4
    sharpe, error = annual_sharpe(returns), sharpe_standard_error(returns)
    probability = probabilistic_sharpe(returns)
    if sharpe is None:
        assert error is None
        assert probability is None
        return
    assert math.isfinite(sharpe)
    assert error >= 0.0
    assert 0.0 <= probability <= 1.0
    assert (probability > 0.5) == (sharpe > 0.0)
