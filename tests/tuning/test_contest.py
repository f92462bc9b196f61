"""Baselines of a contest."""

from __future__ import annotations

import pytest

from stairways.market.dataset import Dataset
from stairways.market.features import FeatureConstants, compute_features
from stairways.market.regime import RegimeConfig
from stairways.market.samples import sample_market
from stairways.trading.observation import observe
from stairways.trading.rules import CostModel, TradingRules
from stairways.tuning.contest import Arena, Entrant, equal_turnover, scripted_baselines

PART = slice(5, 25)


@pytest.fixture(scope="module")
def planted():
    market = sample_market("planted", n_sessions=25)
    raw = compute_features(market.sessions, RegimeConfig())
    dataset = Dataset(market.sessions, raw, None, market)
    constants = FeatureConstants.fit(raw, market.sessions, slice(0, 5))
    return dataset, observe(market.sessions, dataset.table(constants)).select(PART)


@pytest.mark.parametrize(
    "rules",
    [
        TradingRules(long_only=True),
        TradingRules(costs=CostModel(impact_bps=5.0)),
        TradingRules(costs=CostModel(ticket_usd=1.0)),
    ],
)
def test_the_oracle_is_left_out_where_it_is_no_bound(planted, rules):
    dataset, market = planted
    assert "oracle" not in scripted_baselines(market, dataset, PART, rules)


def test_the_oracle_earns_more_than_any_other_baseline(planted):
    dataset, market = planted
    rules = TradingRules()
    entrants = scripted_baselines(market, dataset, PART, rules)
    runs = Arena(market, rules, "greedy", 1).run_all(entrants)
    best = max(runs, key=lambda name: runs[name].ledger.returns_ratio.mean())
    assert set(runs) == {"all_hold", "buy_and_hold", "oracle"}
    assert best == "oracle"


def test_equal_turnover_reads_the_ledger(planted):
    dataset, market = planted
    rules = TradingRules()
    entrant = scripted_baselines(market, dataset, PART, rules)["buy_and_hold"]
    ledger = Arena(market, rules, "greedy", 1).run(Entrant(entrant.policy)).ledger
    points = equal_turnover(ledger)
    assert points.trades_per_session == 4.0
    assert points.hold_rate_ratio == 0.001
