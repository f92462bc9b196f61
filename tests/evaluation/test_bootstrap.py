import json
import math

import numpy as np
import pytest
from arch.bootstrap import StationaryBootstrap
from arch.bootstrap import optimal_block_length as arch_block_length
from hypothesis import given, settings
from hypothesis import strategies as st

from ledgers import make_ledger, session_dates
from stairways.errors import ConfigError, InputError
from stairways.evaluation.bootstrap import (
    ReturnSeries,
    _block_statistics,
    bootstrap_standard_error,
    is_constant,
    optimal_block_length,
    paired_comparison,
    resample,
    stationary_indices,
    studentised_interval,
)


def series(returns) -> ReturnSeries:
    returns = np.asarray(returns, dtype=np.float64)
    return ReturnSeries(session_dates(len(returns)), returns)


def autoregressive(rng: np.random.Generator, n: int, coefficient: float) -> np.ndarray:
    shocks = rng.standard_t(4, n + 30)
    values = np.zeros(n + 30)
    for t in range(1, n + 30):
        values[t] = coefficient * values[t - 1] + shocks[t]
    return values[30:]


def plain_indices(starts: np.ndarray, opens: np.ndarray) -> np.ndarray:
    """Follow blocks one session at a time."""
    rows = []
    for start, fresh in zip(starts.tolist(), opens.tolist(), strict=True):
        row = [start[0]]
        for t in range(1, len(start)):
            row.append(start[t] if fresh[t] else (row[-1] + 1) % len(start))
        rows.append(row)
    return np.array(rows)


def plain_statistics(values: np.ndarray, indices: np.ndarray, opens: np.ndarray):
    """Split each resample into its blocks and add up their squared sums."""
    means, errors = [], []
    n = indices.shape[1]
    for row, fresh in zip(indices, opens, strict=True):
        sample = values[row]
        blocks = np.split(sample - sample.mean(), np.flatnonzero(fresh)[1:])
        means.append(sample.mean())
        errors.append(math.sqrt(sum(block.sum() ** 2 for block in blocks) / (n * (n - 1))))
    return np.array(means), np.array(errors)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(2, 60), st.floats(1.0, 20.0))
def test_indices_and_statistics_equal_the_plain_form(seed, n, block_length):
    indices, opens = stationary_indices(n, block_length, 20, np.random.default_rng(seed))
    again = np.random.default_rng(seed)
    starts = again.integers(0, n, size=(20, n))
    assert np.array_equal(indices, plain_indices(starts, opens))
    values = np.random.default_rng(seed + 1).normal(size=n)
    for fast, plain in zip(
        _block_statistics(values, indices, opens), plain_statistics(values, indices, opens), strict=True
    ):
        np.testing.assert_allclose(fast, plain, rtol=1e-9, atol=1e-12)


def test_blocks_have_the_length_asked_for():
    indices, opens = stationary_indices(500, 8.0, 200, np.random.default_rng(0))
    assert opens[:, 0].all()
    assert indices.size / opens.sum() == pytest.approx(8.0, rel=0.03)
    # Every session is drawn equally often, the last one too: blocks run round the end.
    counts = np.bincount(indices.ravel(), minlength=500)
    assert counts.min() > 100
    assert counts.max() < 340


def test_a_block_length_of_one_is_the_independent_bootstrap():
    _, opens = stationary_indices(50, 1.0, 10, np.random.default_rng(0))
    assert opens.all()
    values = np.random.default_rng(1).normal(size=50)
    assert bootstrap_standard_error(values, 1.0) == pytest.approx(values.std(ddof=1) / math.sqrt(50))


@pytest.mark.parametrize("coefficient", [-0.3, 0.0, 0.15, 0.5, 0.8])
@pytest.mark.parametrize("n", [60, 250, 1000])
def test_block_length_equals_arch(n, coefficient):
    ours, theirs = [], []
    for seed in range(10):
        values = autoregressive(np.random.default_rng(seed), n, coefficient)
        ours.append(optimal_block_length(values))
        theirs.append(max(1.0, float(arch_block_length(values)["stationary"].iloc[0])))
    equal = np.isclose(ours, theirs, rtol=1e-9)
    # arch scales an autocorrelation by the sessions it spans, the paper by all of them: where one lies on
    # the bound of significance, the bandwidths differ (often below 60 sessions).
    assert equal.sum() >= 8


def test_block_length_grows_with_persistence_and_ends_at_its_bound():
    rng = np.random.default_rng(2)
    lengths = [optimal_block_length(autoregressive(rng, 500, c)) for c in (0.0, 0.4, 0.8, 0.99)]
    assert lengths == sorted(lengths)
    assert optimal_block_length(autoregressive(np.random.default_rng(7), 20, 0.8)) == math.ceil(20 / 3)


@pytest.mark.parametrize("values", [np.zeros(50), np.full(50, 0.1), np.arange(8.0)])
def test_block_length_is_one_where_nothing_can_be_estimated(values):
    assert optimal_block_length(values) == 1.0


@pytest.mark.parametrize("block_length", [1.0, 3.0, 10.0])
def test_standard_error_equals_the_scatter_of_resamples(block_length):
    values = autoregressive(np.random.default_rng(3), 120, 0.3)
    indices, opens = stationary_indices(120, block_length, 20_000, np.random.default_rng(4))
    means, _ = _block_statistics(values, indices, opens)
    expected = means.std() * math.sqrt(120 / 119)
    assert bootstrap_standard_error(values, block_length) == pytest.approx(expected, rel=0.02)


def test_resamples_scatter_as_those_of_arch():
    values = autoregressive(np.random.default_rng(5), 200, 0.4)
    theirs = StationaryBootstrap(6, values, seed=np.random.default_rng(6)).apply(np.mean, 4000).ravel()
    indices, opens = stationary_indices(200, 6.0, 4000, np.random.default_rng(7))
    ours, _ = _block_statistics(values, indices, opens)
    assert ours.std() == pytest.approx(theirs.std(), rel=0.05)
    tails = (0.025, 0.5, 0.975)
    np.testing.assert_allclose(np.quantile(ours, tails), np.quantile(theirs, tails), atol=0.1 * ours.std())


def coverage(n: int, draw, n_samples: int = 2000) -> dict[str, float]:
    """Return how often each kind of interval covers a true mean of 0, and how often it claims a gain."""
    covered = dict.fromkeys(("studentised", "percentile", "basic", "claims"), 0)
    rng = np.random.default_rng(n)
    for _ in range(n_samples):
        values = draw(rng, n)
        mean, block_length = float(values.mean()), optimal_block_length(values)
        error = bootstrap_standard_error(values, block_length)
        indices, opens = stationary_indices(n, block_length, 500, rng)
        means, errors = _block_statistics(values, indices, opens)
        low, high = np.quantile(means, (0.025, 0.975))
        intervals = {
            "studentised": studentised_interval(mean, error, means, errors, 0.95),
            "percentile": (low, high),
            "basic": (2 * mean - high, 2 * mean - low),
        }
        for name, (lower, upper) in intervals.items():
            covered[name] += lower <= 0.0 <= upper
        covered["claims"] += intervals["studentised"][0] > 0.0
    return {name: count / n_samples for name, count in covered.items()}


@pytest.mark.parametrize(
    ("n", "coefficient", "least", "most_claims"),
    [(60, 0.0, 0.91, 0.045), (60, 0.15, 0.88, 0.06), (250, 0.0, 0.92, 0.045), (250, 0.15, 0.905, 0.052)],
)
def test_coverage_with_fat_tails_and_mild_autocorrelation(n, coefficient, least, most_claims):
    measured = coverage(n, lambda rng, size: autoregressive(rng, size, coefficient))
    assert least <= measured["studentised"] <= 0.975
    assert measured["claims"] <= most_claims


@pytest.mark.parametrize("n", [20, 60])
def test_studentised_covers_skewed_differences_best(n):
    measured = coverage(n, lambda rng, size: rng.exponential(size=size) - 1.0)
    assert measured["studentised"] >= max(measured["percentile"], measured["basic"]) + 0.01
    assert measured["studentised"] >= 0.92


def test_comparison_by_hand():
    reference = np.random.default_rng(0).normal(0.0, 0.005, 60)
    differences = np.tile([3e-4, -1e-4], 30)
    compared = paired_comparison(series(reference + differences), series(reference), seed=1)
    assert compared.mean_difference_bps == pytest.approx(1.0)
    assert compared.n_sessions == 60
    assert compared.confidence == 0.95
    assert compared.correlation == pytest.approx(np.corrcoef(reference + differences, reference)[0, 1])
    assert compared.interval_bps[0] < 1.0 < compared.interval_bps[1]
    assert compared.difference_in_standard_errors == pytest.approx(1.0 / compared.standard_error_bps)
    record = compared.as_record()
    assert json.loads(json.dumps(record, allow_nan=False)) == record


@pytest.mark.parametrize("n", [2, 5, 20, 250])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_the_interval_is_nowhere_narrower_than_student_s(n, confidence):
    """scipy's t interval, with the bootstrap's standard error, is the oracle of the least width."""
    from scipy.stats import t

    rng = np.random.default_rng(n)
    for _ in range(20):
        drawn = rng.standard_t(4, n) * 1e-3
        compared = paired_comparison(
            series(drawn), series(np.zeros(n)), confidence=confidence, n_resamples=200, seed=1
        )
        mean, error = compared.mean_difference_bps, compared.standard_error_bps
        least = t.interval(confidence, n - 1, loc=mean, scale=error)
        assert compared.interval_bps[0] <= least[0] + 1e-9
        assert compared.interval_bps[1] >= least[1] - 1e-9


def test_the_interval_is_bootstrap_t_where_that_is_wider():
    """Of a skewed series one end is bootstrap-t's and the other Student's."""
    found = resample(np.random.default_rng(3).exponential(1.0, 60), 2_000, 1)
    plain, judged = found.bootstrap_t(0.95), found.interval(0.95)
    assert judged[1] == plain[1]
    assert judged[0] < plain[0]


def test_what_is_shared_cancels():
    rng = np.random.default_rng(8)
    shared, edge = rng.normal(0.0, 0.02, 250), rng.normal(3e-4, 5e-4, 250)
    compared = paired_comparison(series(shared + edge), series(shared), seed=0)
    assert compared.interval_bps[0] > 0.0
    assert compared.probability_positive == 1.0
    alone = paired_comparison(series(shared + edge), series(np.zeros(250)), seed=0)
    assert alone.interval_bps[0] < 0.0 < alone.interval_bps[1]
    assert alone.correlation is None


def test_the_same_seed_gives_the_same_result_and_signs_mirror():
    rng = np.random.default_rng(9)
    first, second = series(rng.normal(0, 0.01, 80)), series(rng.normal(0, 0.01, 80))
    compared = paired_comparison(first, second, seed=5)
    assert paired_comparison(first, second, seed=5) == compared
    assert paired_comparison(first, second, seed=6) != compared
    mirrored = paired_comparison(second, first, seed=5)
    assert mirrored.mean_difference_bps == pytest.approx(-compared.mean_difference_bps)
    assert mirrored.interval_bps == pytest.approx(tuple(-bound for bound in compared.interval_bps[::-1]))


def test_identical_series_differ_by_nothing():
    returns = series(np.random.default_rng(10).normal(0, 0.01, 50))
    compared = paired_comparison(returns, returns, seed=0)
    assert compared.interval_bps == (0.0, 0.0)
    assert compared.standard_error_bps == 0.0
    assert compared.difference_in_standard_errors == 0.0
    assert compared.probability_positive == 0.0
    assert compared.correlation == pytest.approx(1.0)


@pytest.mark.parametrize(("step", "sign"), [(1e-4, 1.0), (-1e-4, -1.0)])
def test_a_constant_difference_is_certain(step, sign):
    zeros = np.zeros(50)
    compared = paired_comparison(series(zeros + step), series(zeros), seed=0)
    assert compared.interval_bps == (compared.mean_difference_bps,) * 2
    assert compared.difference_in_standard_errors == math.copysign(math.inf, sign)


@pytest.mark.parametrize("n_different", [1, 2, 5])
def test_policies_that_differ_in_few_sessions_give_finite_intervals(n_different):
    reference = np.random.default_rng(11).normal(0, 0.01, 60)
    candidate = reference.copy()
    candidate[10 : 10 + n_different] += 0.002 * np.arange(1, n_different + 1)
    compared = paired_comparison(series(candidate), series(reference), seed=0)
    assert all(map(math.isfinite, compared.interval_bps))
    assert compared.interval_bps[0] <= compared.mean_difference_bps <= compared.interval_bps[1]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(-50, 50), min_size=2, max_size=40), st.integers(0, 1000))
def test_comparisons_are_always_finite(basis_points, seed):
    candidate = np.array(basis_points) * 1e-4
    compared = paired_comparison(
        series(candidate), series(np.zeros(len(candidate))), seed=seed, n_resamples=200
    )
    low, high = compared.interval_bps
    assert math.isfinite(low)
    assert math.isfinite(high)
    assert low <= high
    assert 0.0 <= compared.probability_positive <= 1.0
    assert compared.block_length_sessions >= 1.0


class TestRefusals:
    def test_lengths_must_match(self):
        with pytest.raises(InputError, match="30 candidate sessions stand beside 31"):
            paired_comparison(series(np.zeros(30)), series(np.zeros(31)), seed=0)

    def test_dates_must_match(self):
        later = ReturnSeries(session_dates(31)[1:], np.zeros(30))
        with pytest.raises(InputError, match="session 0 is 2024-01-02 for the candidate and 2024-01-03"):
            paired_comparison(series(np.zeros(30)), later, seed=0)

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_what_is_not_finite_is_refused(self, value):
        with pytest.raises(InputError, match="not finite, the first on 2024-01-03"):
            series([0.0, value, 0.0])

    def test_dates_must_ascend(self):
        with pytest.raises(InputError, match="do not ascend"):
            ReturnSeries(session_dates(3)[::-1], np.zeros(3))
        with pytest.raises(InputError, match="do not ascend"):
            ReturnSeries(np.repeat(session_dates(1), 2), np.zeros(2))

    def test_each_return_has_a_date(self):
        with pytest.raises(InputError, match="stand beside"):
            ReturnSeries(session_dates(3), np.zeros(4))

    def test_one_session_is_no_comparison(self):
        with pytest.raises(InputError, match="at least 2"):
            paired_comparison(series([0.0]), series([0.1]), seed=0)

    @pytest.mark.parametrize("confidence", [0.0, 1.0, -0.5, math.nan])
    def test_confidence_has_bounds(self, confidence):
        with pytest.raises(ConfigError, match="confidence"):
            paired_comparison(series(np.zeros(30)), series(np.zeros(30)), confidence=confidence, seed=0)

    def test_few_resamples_are_refused(self):
        with pytest.raises(ConfigError, match="at least 100"):
            paired_comparison(series(np.zeros(30)), series(np.zeros(30)), n_resamples=99, seed=0)


def test_series_come_from_ledgers():
    ledger = make_ledger([0.01, -0.02, 0.03])
    net, gross = ReturnSeries.net(ledger), ReturnSeries.gross(ledger)
    np.testing.assert_allclose(net.returns_ratio, [0.01, -0.02, 0.03])
    np.testing.assert_allclose(gross.returns_ratio - net.returns_ratio, 250.0 / ledger.nav_open_usd)
    assert len(net) == 3


def test_constant_is_judged_relative_to_size():
    assert is_constant(np.zeros(5))
    assert is_constant(np.array([1e9, 1e9 + 1e-5]))
    assert not is_constant(np.array([0.0, 1e-30]))
