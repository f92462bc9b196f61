import json

import numpy as np
import pytest
from pydantic import ValidationError

from ledgers import session_dates
from stairways.errors import InputError
from stairways.evaluation.bootstrap import ReturnSeries
from stairways.evaluation.improvement import (
    ImprovementConfig,
    assess_improvement,
    rolling_100_episode_sharpe,
)
from stairways.trading.sharpe import annual_sharpe

CONFIG = ImprovementConfig(n_resamples=200)


def series(returns) -> ReturnSeries:
    return ReturnSeries(session_dates(len(returns)), np.asarray(returns, dtype=np.float64))


def base(mean: float, n: int = 60) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0.0, 0.005, n)
    return noise - noise.mean() + mean


def shifted(returns: np.ndarray, shift: float) -> np.ndarray:
    """Add a mean difference with a little spread, so that it has a standard error."""
    wiggle = np.resize([1e-6, -1e-6], len(returns))
    return returns + shift + wiggle - wiggle.mean()


@pytest.mark.parametrize("mean", [-0.002, 0.0, 0.001])
def test_a_better_candidate_improves_whatever_the_sign_of_the_base(mean):
    best = base(mean)
    assert assess_improvement(series(shifted(best, 1e-4)), series(best), CONFIG, seed=0).improved
    assert not assess_improvement(series(shifted(best, -1e-4)), series(best), CONFIG, seed=0).improved


def test_a_negative_base_is_asked_for_no_ratio():
    best = base(-0.002)
    answer = assess_improvement(series(shifted(best, 1e-6)), series(best), CONFIG, seed=0)
    assert answer.improved
    assert answer.best_sharpe < 0
    assert answer.relative_gain is None


@pytest.mark.parametrize(("relative", "improved"), [(0.005, False), (0.02, True)])
def test_a_positive_base_is_asked_for_the_relative_threshold_too(relative, improved):
    best = base(0.001)
    answer = assess_improvement(series(shifted(best, 0.001 * relative)), series(best), CONFIG, seed=0)
    assert answer.improved is improved
    assert answer.relative_gain == pytest.approx(relative, rel=0.05)


@pytest.mark.parametrize(("mean", "gain"), [(0.001, 0.0), (-0.001, None)])
def test_the_same_policy_is_no_improvement(mean, gain):
    best = series(base(mean))
    answer = assess_improvement(best, best, CONFIG, seed=0)
    assert not answer.improved
    assert answer.relative_gain == gain
    assert answer.reason == "+0.00 standard errors, more than 0 needed"


def test_the_distance_asked_for_counts_in_standard_errors():
    best = base(-0.001)
    candidate = best + np.random.default_rng(1).normal(2e-4, 1e-3, 60)
    answer = assess_improvement(series(candidate), series(best), CONFIG, seed=0)
    distance = answer.comparison.difference_in_standard_errors
    assert answer.improved
    for least, improved in ((distance * 0.99, True), (distance * 1.01, False)):
        config = ImprovementConfig(min_improvement_se=least, n_resamples=200)
        assert assess_improvement(series(candidate), series(best), config, seed=0).improved is improved


def test_few_sessions_show_no_improvement():
    best = base(0.0, 19)
    answer = assess_improvement(series(shifted(best, 0.01)), series(best), CONFIG, seed=0)
    assert not answer.improved
    assert "not enough sessions: 19" in answer.reason


def test_against_holding_always_the_difference_decides():
    answer = assess_improvement(series(base(0.001)), series(np.zeros(60)), CONFIG, seed=0)
    assert answer.improved
    assert answer.best_sharpe is None


def test_a_candidate_without_spread_gives_up_a_positive_sharpe():
    answer = assess_improvement(series(np.full(60, 0.002)), series(base(0.001)), CONFIG, seed=0)
    assert not answer.improved
    assert answer.relative_gain == -1.0


def test_the_record_is_plain_json_even_where_the_difference_is_certain():
    answer = assess_improvement(series(np.full(60, 0.001)), series(np.zeros(60)), CONFIG, seed=0)
    record = answer.as_record()
    assert answer.improved
    assert record["difference_in_standard_errors"] is None
    assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_thresholds_have_bounds():
    for wrong in ({"min_improvement_se": -1.0}, {"improvement_threshold": -0.1}, {"other": 1}):
        with pytest.raises(ValidationError):
            ImprovementConfig(**wrong)


class TestRollingSharpe:
    def test_it_takes_the_last_hundred_and_names_the_present_share(self):
        returns = np.random.default_rng(2).normal(0.001, 0.01, 130)
        cycles = np.repeat([0, 1, 2], [100, 15, 15])
        sharpe, share = rolling_100_episode_sharpe(returns, cycles)
        assert sharpe == annual_sharpe(returns[30:])
        assert share == 0.15

    def test_few_episodes_have_no_sharpe(self):
        assert rolling_100_episode_sharpe(np.linspace(0, 0.01, 15), [0] * 15) == (None, 1.0)

    @pytest.mark.parametrize(("returns", "cycles"), [([], []), ([0.1], [0, 1])])
    def test_what_does_not_fit_is_refused(self, returns, cycles):
        with pytest.raises(InputError, match="cycle numbers"):
            rolling_100_episode_sharpe(np.array(returns), cycles)
