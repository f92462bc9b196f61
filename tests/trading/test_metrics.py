import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skfolio.measures import cvar, value_at_risk

from ledgers import make_ledger
from stairways.errors import InputError
from stairways.trading.metrics import (
    band_share_ratio,
    hold_rate_estimate,
    max_drawdown_ratio,
    mean_estimate,
    measure,
    newey_west_standard_error,
    sortino,
    tail_risk,
)

PROMISED_KEYS = {
    "initial_nav_usd",
    "n_sessions",
    "mode",
    "hold_rate_ratio",
    "trades_per_session",
    "sharpe",
    "sharpe_standard_error",
    "probabilistic_sharpe",
    "max_intraday_drawdown_ratio",
    "sessions_over_2pct_drawdown",
    "turnover_ratio",
    "net_return_ratio",
    "costs_bps",
}


def plain_newey_west(series):
    n, mean = len(series), sum(series) / len(series)
    lags = int(4 * (n / 100) ** (2 / 9))
    total = sum((x - mean) ** 2 for x in series)
    for lag in range(1, min(lags, n - 1) + 1):
        products = ((series[t] - mean) * (series[t - lag] - mean) for t in range(lag, n))
        total += 2 * (1 - lag / (min(lags, n - 1) + 1)) * sum(products)
    return math.sqrt(max(total, 0.0) / n / (n - 1))


def test_a_ledger_by_hand():
    ledger = make_ledger(
        [0.01, -0.02, 0.03],
        decisions=[100, 100, 50],
        holds=[60, 50, 20],
        trades=[4, 5, 26],
        forced_closes=[2, 0, 1],
        drawdown=[0.001, 0.021, 0.02],
        notional=[1e6, 1.01e6, 0.9898e6],
        commission=[10.0, 10.1, 9.898],
        spread=[90.0, 90.9, 89.082],
        round_trips=[2, 0, 2],
        winning_round_trips=[1, 0, 2],
    )
    metrics = measure(ledger, n_actions=9)
    assert metrics.n_sessions == 3
    assert metrics.hold_rate_ratio == pytest.approx(130 / 250)
    assert metrics.chance_hold_rate_ratio == pytest.approx(1 / 9)
    assert metrics.trades_per_session == pytest.approx(35 / 3)
    assert metrics.sessions_in_trade_band_ratio == pytest.approx(1 / 3)
    assert metrics.forced_closes_per_session == 1.0
    assert metrics.max_intraday_drawdown_ratio == 0.021
    assert metrics.sessions_over_2pct_drawdown == 1
    assert metrics.max_drawdown_ratio == 0.021
    assert metrics.turnover_ratio == pytest.approx(1.0)
    assert metrics.costs_bps == pytest.approx(1.0)
    assert metrics.mean_net_bps == pytest.approx(200 / 3)
    assert metrics.net_return_ratio == pytest.approx(1.01 * 0.98 * 1.03 - 1)
    assert metrics.gross_return_ratio == pytest.approx(1.0101 * 0.9801 * 1.0301 - 1)
    assert metrics.win_rate_sessions_ratio == pytest.approx(2 / 3)
    assert metrics.win_rate_round_trips_ratio == 0.75
    assert metrics.sharpe is None
    assert metrics.sharpe_text == "not enough sessions (n = 3)"


def test_the_record_holds_the_promised_keys_as_plain_json():
    rng = np.random.default_rng(0)
    metrics = measure(make_ledger(rng.normal(0, 0.005, 60)), n_actions=9)
    record = metrics.as_record()
    assert set(record) >= PROMISED_KEYS
    assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_never_trading_has_no_sharpe_and_says_so():
    metrics = measure(make_ledger(np.zeros(40), round_trips=0, winning_round_trips=0), n_actions=27)
    assert metrics.sharpe is None
    assert metrics.sharpe_text == "no variance (n = 40)"
    assert metrics.win_rate_round_trips_ratio is None
    assert metrics.sortino is None
    assert metrics.chance_hold_rate_ratio == pytest.approx(1 / 27)


def test_the_sharpe_is_written_with_error_and_sample_size():
    returns = np.array([3e-4, -1e-4] * 10)
    assert measure(make_ledger(returns), n_actions=9).sharpe_text == "7.74 ± 3.55 (n = 20, P(> 0) = 0.98)"


def test_one_session_has_no_interval():
    metrics = measure(make_ledger([0.01]), n_actions=9)
    assert metrics.hold_rate_interval is None
    assert metrics.trades_interval is None
    assert metrics.mean_net_bps_interval is None


@pytest.mark.parametrize(
    ("ledger", "message"),
    [
        (make_ledger(np.empty(0)), "without a decision"),
        (make_ledger(n=3, decisions=0, holds=0), "without a decision"),
        (make_ledger([0.0, np.nan, 0.0]), "not finite"),
        (make_ledger([0.0, -1.0, 0.0]), "zero or less"),
        (make_ledger(n=3, drawdown=[0, np.inf, 0]), "2024-01-03: 1 sessions"),
        (make_ledger(n=3, impact=[0, 0, np.nan]), "2024-01-04: 1 sessions"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_ledgers_that_cant_be_measured_are_refused(ledger, message):
    with pytest.raises(InputError, match=message):
        measure(ledger, n_actions=9)


def test_one_action_is_no_choice():
    with pytest.raises(InputError, match="1 actions"):
        measure(make_ledger(), n_actions=1)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(-100, 100), min_size=2, max_size=150))
def test_newey_west_equals_the_plain_form(values):
    fast, plain = newey_west_standard_error(np.array(values)), plain_newey_west(values)
    assert fast == pytest.approx(plain, rel=1e-9, abs=1e-5)


def test_newey_west_widens_with_autocorrelation():
    rng = np.random.default_rng(5)
    noise = rng.normal(size=500)
    persistent = np.convolve(noise, np.ones(5) / 5, mode="valid")
    independent = persistent.std(ddof=1) / math.sqrt(len(persistent))
    assert newey_west_standard_error(persistent) > 1.5 * independent
    assert newey_west_standard_error(noise) == pytest.approx(1 / math.sqrt(500), rel=0.2)


@pytest.mark.parametrize(("n", "autocorrelation"), [(20, 0.0), (60, 0.0), (60, 0.15), (250, 0.15)])
def test_intervals_of_means_cover(n, autocorrelation):
    rng, hits, n_samples = np.random.default_rng(n), 0, 600
    for _ in range(n_samples):
        shocks = rng.standard_t(4, n + 1)
        low, high = mean_estimate(shocks[1:] + autocorrelation * shocks[:-1]).interval
        hits += low <= 0.0 <= high
    # A truncated kernel covers a little less than it says in short samples.
    assert 0.88 <= hits / n_samples <= 0.975


def test_hold_rate_weighs_sessions_by_decisions():
    ledger = make_ledger(n=2, decisions=[389, 209], holds=[389, 0])
    estimate = hold_rate_estimate(ledger)
    assert estimate.value == pytest.approx(389 / 598)
    equal = make_ledger(n=30, decisions=100, holds=np.arange(30) + 40)
    expected = mean_estimate(equal.holds / equal.decisions)
    assert hold_rate_estimate(equal).interval == pytest.approx(expected.interval)


def test_band_includes_both_ends():
    assert band_share_ratio(np.array([4, 5, 25, 26]), (5, 25)) == 0.5


def test_multi_day_drawdown_runs_from_the_start_over_closes():
    assert max_drawdown_ratio(make_ledger([-0.1, 0.0, 0.05])) == pytest.approx(0.1)
    assert max_drawdown_ratio(make_ledger([0.1, -0.1, -0.1, 0.3])) == pytest.approx(0.19)
    assert max_drawdown_ratio(make_ledger([0.1, 0.1], drawdown=0.03)) == 0.03


def test_sortino_by_hand():
    returns = np.array([0.02, -0.01] * 10)
    assert sortino(returns) == pytest.approx(0.005 / math.sqrt(0.0001 / 2) * math.sqrt(252))
    assert sortino(returns[:19]) is None


@pytest.mark.parametrize("level", [0.95, 0.99])
@pytest.mark.parametrize("n", [100, 101, 119, 250, 1000])
def test_tail_risks_equal_skfolio(n, level):
    returns = np.random.default_rng(n).standard_t(4, n) * 0.006
    risk, shortfall = tail_risk(returns, level)
    assert risk == pytest.approx(value_at_risk(returns, beta=level), rel=1e-10)
    assert shortfall == pytest.approx(cvar(returns, beta=level), rel=1e-10)


def test_tail_risks_need_one_session_in_the_tail():
    returns = np.linspace(-0.02, 0.02, 20)
    assert tail_risk(returns, 0.95) == (pytest.approx(-returns[1]), pytest.approx(0.02))
    assert tail_risk(returns[:19], 0.95) == (None, None)
    assert tail_risk(returns, 0.99) == (None, None)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(2, 60))
def test_measures_stay_in_their_ranges(seed, n):
    rng = np.random.default_rng(seed)
    holds = rng.integers(0, 390, n)
    ledger = make_ledger(rng.normal(0, 0.01, n), holds=holds, trades=rng.integers(0, 40, n))
    metrics = measure(ledger, n_actions=9)
    assert 0.0 <= metrics.hold_rate_ratio <= 1.0
    assert metrics.hold_rate_interval[0] <= metrics.hold_rate_ratio <= metrics.hold_rate_interval[1]
    assert 0.0 <= metrics.max_drawdown_ratio < 1.0
    assert metrics.max_drawdown_ratio >= metrics.max_intraday_drawdown_ratio
    assert metrics.gross_return_ratio > metrics.net_return_ratio
    scaled = replace(ledger, trades=ledger.trades * 2)
    assert measure(scaled, n_actions=9).trades_per_session == pytest.approx(2 * metrics.trades_per_session)


def test_the_risk_free_rate_lowers_the_sharpe_ratio_by_its_share():
    ledger = make_ledger(np.array([0.001, -0.002, 0.003] * 10))
    plain = measure(ledger, n_actions=9)
    excess = measure(ledger, n_actions=9, risk_free_per_session=0.0005)
    returns = ledger.returns_ratio
    expected = (returns.mean() - 0.0005) / returns.std(ddof=1) * np.sqrt(252)
    assert excess.sharpe == pytest.approx(expected, rel=1e-12)
    assert excess.sharpe < plain.sharpe
    assert excess.mean_net_bps == plain.mean_net_bps
