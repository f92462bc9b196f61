"""Baselines do what they say."""

from __future__ import annotations

import numpy as np
import pytest

from markets import random_market
from stairways.control import SetPoints, TiltActuator, TiltGains
from stairways.evaluation.baselines import all_hold, buy_and_hold, uniform
from stairways.evaluation.replay import TiltLoop, replay
from stairways.policies.actor import forward_batch
from stairways.trading.kernel import QUANTITY
from stairways.trading.rules import CostModel, TradingRules

FREE = TradingRules(costs=CostModel(commission_bps=0, half_spread_bps=0))


@pytest.mark.parametrize("n_symbols", [2, 3])
def test_all_hold_never_trades(n_symbols):
    market = random_market(1, 4, n_symbols, half_days=[1])
    run = replay(market, all_hold(market), TradingRules())
    assert run.ledger.trades.sum() == 0
    np.testing.assert_array_equal(run.ledger.holds, run.ledger.decisions)
    assert (run.ledger.nav_close_usd == 1e6).all()
    assert run.ledger.max_drawdown_ratio.max() == 0.0


@pytest.mark.parametrize("n_symbols", [2, 3])
def test_buy_and_hold_opens_once_and_is_closed_with_the_session(n_symbols):
    market = random_market(2, 4, n_symbols, half_days=[1])
    run = replay(market, buy_and_hold(market), FREE)
    ledger = run.ledger
    assert (ledger.trades == 2 * n_symbols).all()
    assert (ledger.forced_closes == n_symbols).all()
    assert ledger.holds.sum() == 0
    assert (run.fills[:, 1, :, QUANTITY] > 0).all()
    assert not run.fills[:, 2:, :, QUANTITY].any()
    last = market.n_bars - 1
    rise = market.close[np.arange(4), last] / market.open[:, 1] - 1.0
    np.testing.assert_allclose(ledger.returns_ratio, 0.15 * rise.sum(axis=1), atol=2e-5)


@pytest.mark.parametrize("n_symbols", [2, 3])
def test_uniform_takes_every_action_equally_often(n_symbols):
    program = uniform(n_symbols)
    assert not forward_batch(
        program, np.full((1, 13 * n_symbols + 3), 5, np.float32), np.zeros((1, 0), np.float32)
    ).any()
    market = random_market(3, 600, n_symbols, 15)
    actions = replay(market, program, TradingRules()).actions
    counts = np.bincount(actions[actions >= 0], minlength=3**n_symbols)
    expected = counts.sum() / 3**n_symbols
    assert len(counts) == 3**n_symbols
    assert np.abs(counts - expected).max() < 4.5 * np.sqrt(expected)


def test_uniform_under_the_tilt_has_the_wanted_hold_rate_and_turnover():
    market = random_market(4, 150, 2, 5)
    loop = TiltLoop(TiltActuator(), TiltGains(), SetPoints())
    ledger = replay(market, uniform(2), TradingRules(), loop=loop).ledger
    assert ledger.holds[30:].sum() / ledger.decisions[30:].sum() == pytest.approx(0.55, abs=0.01)
    assert ledger.trades[30:].mean() == pytest.approx(16.5, abs=0.5)
