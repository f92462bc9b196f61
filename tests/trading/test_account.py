"""The readable account: fills, costs, bounds and denials by hand."""

from __future__ import annotations

import numpy as np
import pytest

from stairways.trading.account import Account, Order
from stairways.trading.actions import BUY, KEEP, SELL, action_id
from stairways.trading.rules import CostModel, TradingRules

FREE = CostModel(commission_bps=0.0, half_spread_bps=0.0)
CLOSES = np.array([100.0, 50.0])


def _account(**rules) -> Account:
    return Account(TradingRules(**{"costs": FREE, **rules}), 2)


def _act(account, *legs, closes=CLOSES, opens=None, volume=1e6):
    opens = closes if opens is None else opens
    orders = account.orders(action_id(legs), closes)
    return [account.fill(order, float(opens[order.symbol_index]), volume) for order in orders]


def test_one_unit_is_a_share_of_nav_in_whole_shares():
    fills = _act(_account(), BUY, SELL, closes=np.array([101.0, 50.0]))
    assert [(fill.direction, fill.quantity) for fill in fills] == [(1, 1485), (-1, 3000)]


def test_costs_by_hand():
    costs = CostModel(commission_bps=0.25, half_spread_bps=0.75, impact_bps=10.0, ticket_usd=2.0)
    account = _account(costs=costs)
    (fill,) = _act(account, BUY, KEEP, opens=np.array([102.0, 50.0]), volume=6_000.0)
    price = 102.0 * (1 + 0.75e-4 + 10e-4 * 0.5)
    assert fill.quantity == 1_500
    assert fill.price == pytest.approx(price, rel=1e-15)
    assert fill.spread_usd == pytest.approx(1_500 * 102.0 * 0.75e-4)
    assert fill.impact_usd == pytest.approx(1_500 * 102.0 * 10e-4 * 0.5)
    assert fill.slippage_usd == pytest.approx(1_500 * (price - 102.0))
    assert fill.commission_usd == pytest.approx(1_500 * price * 0.25e-4 + 2.0)
    assert account.cash_usd == pytest.approx(1e6 - 1_500 * price - fill.commission_usd, rel=1e-15)
    assert account.nav_usd(CLOSES) == pytest.approx(account.cash_usd + 150_000.0, rel=1e-15)


def test_a_sale_gets_the_lower_price():
    account = _account(costs=CostModel(commission_bps=1.0, half_spread_bps=1.0))
    (fill,) = _act(account, SELL, KEEP)
    assert fill.price == pytest.approx(100.0 * (1 - 1e-4))
    assert fill.commission_usd == pytest.approx(1_500 * fill.price * 1e-4)
    assert account.cash_usd == pytest.approx(1e6 + 1_500 * fill.price - fill.commission_usd)
    assert account.shares == [-1_500, 0]


@pytest.mark.parametrize("volume", [0.0, 1.0, 1_499.0])
def test_participation_is_one_at_most_and_without_volume(volume):
    account = _account(costs=CostModel(commission_bps=0, half_spread_bps=0, impact_bps=7.0))
    (fill,) = _act(account, BUY, KEEP, volume=volume)
    assert fill.price == pytest.approx(100.0 * (1 + 7e-4), rel=1e-15)


def test_buying_at_the_upper_bound_places_no_order():
    account = _account()
    assert len(_act(account, BUY, KEEP)) == 1
    assert _act(account, BUY, KEEP) == []
    assert account.units == [1, 0]


def test_a_closing_order_trades_the_shares_held_whatever_they_are_worth_now():
    account = _account()
    _act(account, BUY, KEEP)
    (fill,) = _act(account, SELL, KEEP, closes=np.array([137.0, 50.0]))
    assert (fill.direction, fill.quantity, account.shares, account.units) == (-1, 1_500, [0, 0], [0, 0])
    assert account.cash_usd == 1e6 + 1_500 * 37.0


def test_selling_from_long_goes_flat_and_only_then_short():
    account = _account()
    seen = []
    for leg in (BUY, SELL, SELL, SELL, BUY):
        _act(account, leg, KEEP)
        seen.append(account.units[0])
    assert seen == [1, 0, -1, -1, 0]


def test_long_only_never_goes_short():
    account = _account(long_only=True)
    assert _act(account, SELL, SELL) == []
    _act(account, BUY, KEEP)
    assert len(_act(account, SELL, SELL)) == 1
    assert account.shares == [0, 0]


def test_gross_exposure_cuts_the_order_that_would_exceed_it():
    account = _account(unit_fraction=0.4, max_gross=0.5)
    fills = _act(account, BUY, SELL)
    assert [fill.quantity for fill in fills] == [4_000, 2_000]
    assert account.gross_usd(CLOSES) == 500_000.0


def test_a_closing_leg_makes_room_for_the_legs_after_it_alone():
    account = _account(unit_fraction=0.4, max_gross=0.4)
    _act(account, BUY, KEEP)
    first = account.orders(action_id((SELL, BUY)), CLOSES)
    assert first == [Order(0, -1, 4_000), Order(1, 1, 8_000)]
    other = _account(unit_fraction=0.4, max_gross=0.4)
    _act(other, KEEP, BUY)
    assert other.orders(action_id((BUY, SELL)), CLOSES) == [Order(1, -1, 8_000)]


def test_an_order_of_no_share_is_denied_and_the_position_stays():
    account = _account(unit_fraction=0.15)
    dear = np.array([150_000.01, 50.0])
    assert account.orders(action_id((BUY, KEEP)), dear) == []
    assert account.units == [0, 0]
    assert len(account.orders(action_id((BUY, KEEP)), np.array([150_000.0, 50.0]))) == 1
    full = _account(unit_fraction=0.4, max_gross=0.4)
    _act(full, BUY, KEEP)
    assert full.orders(action_id((KEEP, BUY)), CLOSES) == []


def test_flatten_closes_everything_with_costs():
    account = _account(costs=CostModel(commission_bps=1.0, half_spread_bps=1.0))
    _act(account, BUY, SELL)
    before = account.nav_usd(CLOSES)
    fills = account.flatten(CLOSES, np.array([1e6, 1e6]))
    assert [(fill.symbol_index, fill.direction, fill.forced) for fill in fills] == [
        (0, -1, True),
        (1, 1, True),
    ]
    assert (account.shares, account.units) == ([0, 0], [0, 0])
    paid = sum(fill.commission_usd + fill.slippage_usd for fill in fills)
    assert account.nav_usd(CLOSES) == pytest.approx(before - paid, rel=1e-14)
    assert account.flatten(CLOSES, np.array([1e6, 1e6])) == []


def test_an_account_without_nav_opens_nothing_and_may_close():
    account = _account()
    _act(account, SELL, KEEP)
    risen = np.array([1_000.0, 50.0])
    assert account.nav_usd(risen) < 0.0
    assert account.orders(action_id((KEEP, BUY)), risen) == []
    assert account.orders(action_id((BUY, KEEP)), risen) == [Order(0, 1, 1_500)]


def test_costs_scale_as_a_whole():
    costs = CostModel(commission_bps=2.0, half_spread_bps=3.0, impact_bps=4.0, ticket_usd=5.0)
    half = TradingRules(costs=costs).numbers(0.5)
    assert half[3:] == pytest.approx((1e-4, 1.5e-4, 2e-4, 2.5))
    assert TradingRules(costs=costs).numbers(0.0)[3:] == (0.0, 0.0, 0.0, 0.0)
