"""The sequential test of the net return: by hand, against its definition, and its promise."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from stairways.errors import ArtifactError, InputError, MismatchError
from stairways.evaluation.sequential import (
    LARGEST,
    SequentialState,
    capped_excess,
    grow,
    mixed,
    plain_evidence,
)
from stairways.evaluation.trigger_config import SequentialConfig, TriggerConfig

CONFIG = SequentialConfig()
RETURNS = st.lists(st.floats(-0.05, 0.05), min_size=1, max_size=40)


def states(returns, config=CONFIG):
    """Return the state after each session."""
    found, state = [], SequentialState.start(config)
    for value in returns:
        state = state.after([value], config)
        found.append(state)
    return found


class TestByHand:
    # one bet of sqrt(252)·0.1 a year: 0.02·0.1/0.005 = 0.4 of the bound at the first guess
    config = SequentialConfig(
        designed_sharpes=(0.1 * math.sqrt(252),), volatility_memory_sessions=2, gain_bound_ratio=0.02
    )

    def test_two_sessions(self):
        first, second = states([-0.01, 0.005], self.config)
        # e = 1 + 0.4·0.01/0.02
        assert first.total == pytest.approx(1.2, rel=1e-12)
        assert first.variance == pytest.approx((0.005**2 + 0.01**2) / 2, rel=1e-12)
        bet = 0.02 * 0.1 / math.sqrt(first.variance)
        assert second.total == pytest.approx(2.2 * (1 - bet * 0.25), rel=1e-12)
        assert (second.n_sessions, second.n_capped, second.alarm_session) == (2, 0, None)

    def test_a_gain_beyond_the_bound_counts_as_the_bound(self):
        assert states([0.9], self.config)[0].evidence == states([0.02], self.config)[0].evidence
        assert states([0.9], self.config)[0].total == pytest.approx(0.6, rel=1e-12)
        assert [state.n_capped for state in states([0.02, 0.9, 0.021], self.config)] == [0, 1, 2]

    def test_a_loss_is_not_capped(self):
        assert states([-0.9], self.config)[0].total == pytest.approx(1 + 0.4 * 45, rel=1e-12)

    def test_the_floor_is_what_a_return_is_held_against(self):
        moved = self.config.model_copy(update={"floor_ratio": 0.001})
        assert states([0.001], moved)[0].total == 1.0
        assert states([0.0], moved)[0].total == pytest.approx(1 + 0.4 * 0.05, rel=1e-12)

    def test_a_bet_is_never_more_than_all(self):
        wild = SequentialConfig(designed_sharpes=(1e6,))
        assert states([0.02], wild)[0].total == 0.0
        assert states([0.02, -0.02], wild)[1].total == 2.0

    def test_ways_of_betting_are_averaged(self):
        both = SequentialConfig(designed_sharpes=(1.0, 4.0))
        alone = [states([-0.01], SequentialConfig(designed_sharpes=(s,)))[0].total for s in (1.0, 4.0)]
        assert states([-0.01], both)[0].total == pytest.approx(sum(alone) / 2, rel=1e-12)

    def test_the_threshold(self):
        assert CONFIG.threshold == 1008.0
        assert SequentialConfig(false_alarms_per_year=0.1).threshold == pytest.approx(2520.0)

    def test_the_alarm_is_at_the_threshold_and_stays(self):
        # an account that stands still gathers 1 a session: 252 / 63 = 4 is reached exactly in session 4
        flat = SequentialConfig(false_alarms_per_year=63.0, designed_sharpes=(8.0,))
        found = states([0.0] * 5 + [0.02] * 60, flat)
        assert [state.total for state in found[:4]] == [1.0, 2.0, 3.0, 4.0]
        assert [state.alarm_session for state in found[:5]] == [None, None, None, 4, 4]
        assert found[-1].total < 4.0
        assert found[-1].alarm_session == 4


@given(RETURNS, st.floats(-0.01, 0.01), st.integers(1, 100))
def test_one_at_a_time_is_the_sum_of_products(returns, floor, memory):
    config = SequentialConfig(floor_ratio=floor, volatility_memory_sessions=memory)
    found = np.array([state.total for state in states(returns, config)])
    np.testing.assert_allclose(found, plain_evidence(np.array(returns), config), rtol=1e-9, atol=1e-12)


@given(st.lists(st.lists(st.floats(-0.05, 0.05), min_size=5, max_size=5), min_size=1, max_size=6))
def test_many_accounts_at_once_are_each_alone_to_the_bit(paths):
    returns = np.array(paths)
    evidence = np.zeros((len(paths), 4))
    variance = np.full(len(paths), CONFIG.volatility_ratio**2)
    for t in range(5):
        evidence, variance = grow(evidence, variance, capped_excess(returns[:, t], CONFIG), CONFIG)
    alone = [SequentialState.start(CONFIG).after(path, CONFIG) for path in paths]
    assert mixed(evidence).tolist() == [state.total for state in alone]
    assert variance.tolist() == [state.variance for state in alone]


@given(RETURNS, st.integers(0, 39), st.floats(1e-6, 0.02))
def test_a_worse_last_session_is_never_less_evidence(returns, place, worse):
    place %= len(returns)
    lower = [*returns[:place], returns[place] - worse]
    assert states(lower)[-1].total >= states(returns[: place + 1])[-1].total


@given(RETURNS, RETURNS)
def test_a_record_goes_on_to_the_bit(before, after):
    state = SequentialState.start(CONFIG).after(before, CONFIG)
    read = SequentialState.from_record(json.loads(json.dumps(state.as_record(CONFIG))), CONFIG)
    assert read == state
    assert read.after(after, CONFIG) == SequentialState.start(CONFIG).after(before + after, CONFIG)


@given(RETURNS)
def test_the_future_changes_nothing_before(returns):
    assert states([*returns, -0.5])[:-1] == states(returns)


def test_evidence_of_one_session_has_a_mean_of_one_where_the_mean_is_the_floor():
    """Two outcomes, +0.01 and -0.03 at 3 : 1, have a mean of 0: betting against them earns nothing."""
    one = [states([value])[0].evidence for value in (0.01, -0.03)]
    np.testing.assert_allclose(0.75 * np.array(one[0]) + 0.25 * np.array(one[1]), 1.0, rtol=1e-12)


def test_the_mean_evidence_after_n_sessions_is_n():
    """The promise rests on this: every path of 10 tosses of a fair coin, weighed equally."""
    tosses = 0.006 * (2.0 * ((np.arange(1024)[:, None] >> np.arange(10)) & 1) - 1.0)
    final = [SequentialState.start(CONFIG).after(path, CONFIG).total for path in tosses]
    assert np.mean(final) == pytest.approx(10.0, rel=1e-12)


def test_capping_losses_too_would_keep_the_promise_and_lose_evidence():
    assert states([-0.05])[0].total > states([-0.02])[0].total


def test_evidence_stays_finite():
    state = SequentialState.start(CONFIG).after([-0.5] * 400, CONFIG)
    assert max(state.evidence) == LARGEST
    assert json.loads(json.dumps(state.as_record(CONFIG), allow_nan=False))["evidence"][0] > 0


def test_an_account_that_stands_still_for_ever_is_sound():
    config = SequentialConfig(volatility_memory_sessions=1)
    assert SequentialState.start(config).after([0.0] * 50, config).total == 50.0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_return_is_refused(value):
    with pytest.raises(InputError, match="of session 2 is not finite"):
        SequentialState.start(CONFIG).after([0.0, value], CONFIG)


def test_a_state_of_another_number_of_bets_is_refused():
    with pytest.raises(InputError, match="4 ways of betting stand beside 1"):
        SequentialState.start(CONFIG).after([0.0], SequentialConfig(designed_sharpes=(2.0,)))


def test_a_record_of_other_settings_is_refused():
    record = SequentialState.start(CONFIG).as_record(CONFIG)
    with pytest.raises(MismatchError):
        SequentialState.from_record(record, SequentialConfig(floor_ratio=0.001))


@pytest.mark.parametrize(
    "damage",
    [
        {"version": 2},
        {"evidence": [0.0, 0.0, 0.0]},
        {"evidence": [0.0, 0.0, 0.0, -1.0]},
        {"evidence": [0.0, 0.0, 0.0, "1"]},
        {"evidence": None},
        {"variance": math.nan},
        {"variance": 1},
        {"n_capped": 1},
        {"n_sessions": -1},
        {"n_sessions": 1.5},
        {"n_sessions": "1"},
        {"alarm_session": 1},
    ],
)
def test_a_damaged_record_is_refused(damage):
    record = SequentialState.start(CONFIG).as_record(CONFIG)
    assert SequentialState.from_record(record, CONFIG) == SequentialState.start(CONFIG)
    with pytest.raises(ArtifactError):
        SequentialState.from_record(record | damage, CONFIG)


def test_a_record_without_a_number_is_refused():
    record = SequentialState.start(CONFIG).as_record(CONFIG)
    del record["n_capped"]
    with pytest.raises(ArtifactError):
        SequentialState.from_record(record, CONFIG)


class TestFalseAlarms:
    """On 4,000 accounts of two years, exactly at the floor."""

    n_runs, n_sessions = 4_000, 504

    def alarms(self, draws, config=CONFIG):
        evidence = np.zeros((self.n_runs, len(config.designed_sharpes)))
        variance = np.full(self.n_runs, config.volatility_ratio**2)
        count = np.zeros(self.n_runs)
        for returns in draws:
            evidence, variance = grow(evidence, variance, capped_excess(returns, config), config)
            alarmed = mixed(evidence) >= config.threshold
            count += alarmed
            evidence[alarmed], variance[alarmed] = 0.0, config.volatility_ratio**2
        return count

    def test_at_most_the_rate_where_the_mean_is_the_floor(self):
        rng = np.random.default_rng(7)
        count = self.alarms(0.004 * rng.standard_normal((self.n_sessions, self.n_runs)))
        rate = count.mean() * 252 / self.n_sessions
        error = count.std(ddof=1) / math.sqrt(self.n_runs) * 252 / self.n_sessions
        assert rate <= CONFIG.false_alarms_per_year + 2 * error
        # a test that never alarms would keep the promise too
        assert rate >= CONFIG.false_alarms_per_year / 3

    def test_far_more_where_it_lies_below(self):
        rng = np.random.default_rng(7)
        count = self.alarms(
            0.004 * (rng.standard_normal((self.n_sessions, self.n_runs)) - 4 / math.sqrt(252))
        )
        assert (count > 0).mean() > 0.99


class TestConfig:
    def test_defaults(self):
        assert TriggerConfig().net_return == CONFIG
        assert TriggerConfig().model_dump(mode="json")["session_trades_band"] == [5, 25]
        assert TriggerConfig.model_validate(TriggerConfig().model_dump(mode="json")) == TriggerConfig()

    @pytest.mark.parametrize(
        "wrong",
        [
            {"false_alarms_per_year": 0.0},
            {"false_alarms_per_year": 253.0},
            {"gain_bound_ratio": 0.0},
            {"floor_ratio": math.nan},
            {"designed_sharpes": ()},
            {"designed_sharpes": (2.0, 1.0)},
            {"designed_sharpes": (1.0, 1.0)},
            {"designed_sharpes": (0.0, 1.0)},
            {"volatility_memory_sessions": 0},
            {"rate": 1.0},
        ],
    )
    def test_what_makes_no_test_is_refused(self, wrong):
        with pytest.raises(ValidationError):
            SequentialConfig.model_validate(wrong)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"session_trades_band": (25, 5)},
            {"session_trades_band": (-1, 5)},
            {"drift_threshold_ratio": 0.0},
            {"max_drawdown_ratio": math.inf},
            {"sharpe_window_sessions": 19},
            {"trades_run_sessions": 0},
            {"wonder": 1},
        ],
    )
    def test_what_makes_no_trigger_is_refused(self, wrong):
        with pytest.raises(ValidationError):
            TriggerConfig.model_validate(wrong)

    def test_it_is_frozen(self):
        with pytest.raises(ValidationError):
            TriggerConfig().max_drawdown_ratio = 1.0
