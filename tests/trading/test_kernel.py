"""The compiled account equals the readable one, order by order, for any rules and any prices."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from markets import trading_rules
from stairways.trading.account import Account, Fill
from stairways.trading.actions import leg_table
from stairways.trading.kernel import (
    CASH,
    FILL_WIDTH,
    NAV,
    QUANTITY,
    Quotes,
    flat_accounts,
    flatten,
    mark,
    trade,
)
from stairways.trading.rules import TradingRules


class _Compiled:
    """One account in the compiled form, driven like the readable one."""

    def __init__(self, rules: TradingRules, n_symbols: int) -> None:
        self.rules = rules.numbers()
        self.held = flat_accounts(1, n_symbols, rules.initial_nav_usd)
        self.fills = np.zeros((n_symbols, FILL_WIDTH))
        self.legs = leg_table(n_symbols)
        self.quotes = Quotes(*(np.ones((1, 2, n_symbols)) for _ in range(3)))

    def trade(self, action, closes, opens, volumes) -> list[list[float]]:
        self.quotes.close[0, 0], self.quotes.open[0, 1], self.quotes.volume[0, 1] = closes, opens, volumes
        return self._rows(trade(self.rules, self.legs, action, self.quotes, 0, 0, self.held, 0, self.fills))

    def flatten(self, closes, volumes) -> list[list[float]]:
        self.quotes.close[0, 1], self.quotes.volume[0, 1] = closes, volumes
        return self._rows(flatten(self.rules, self.quotes, 0, 1, self.held, 0, self.fills))

    def mark(self, closes) -> float:
        self.quotes.close[0, 1] = closes
        return mark(self.quotes, 0, 1, self.held, 0)

    def _rows(self, count: int) -> list[list[float]]:
        rows = self.fills[self.fills[:, QUANTITY] != 0.0].tolist()
        assert len(rows) == count
        return rows


def _rows(fills: list[Fill]) -> list[list[float]]:
    return [
        [
            float(fill.direction * fill.quantity),
            fill.price,
            fill.commission_usd,
            fill.spread_usd,
            fill.impact_usd,
        ]
        for fill in fills
    ]


@settings(deadline=None, max_examples=120)
@given(
    rules=trading_rules(),
    seed=st.integers(0, 100_000),
    n_symbols=st.sampled_from([2, 3]),
    wildness=st.sampled_from([1e-3, 0.3]),
    price=st.sampled_from([0.01, 80.0, 9e5]),
)
def test_the_two_forms_are_one(rules, seed, n_symbols, wildness, price):
    rng = np.random.default_rng(seed)
    plain, compiled = Account(rules, n_symbols), _Compiled(rules, n_symbols)
    closes = np.full(n_symbols, price) * rng.lognormal(0, 0.3, n_symbols)
    for step in range(60):
        action = int(rng.integers(3**n_symbols))
        opens = closes * np.exp(rng.normal(0, wildness, n_symbols))
        volumes = rng.integers(0, 5_000, n_symbols) * (rng.random(n_symbols) < 0.8).astype(float)
        orders = plain.orders(action, closes)
        fills = [plain.fill(o, float(opens[o.symbol_index]), float(volumes[o.symbol_index])) for o in orders]
        assert _rows(fills) == compiled.trade(action, closes, opens, volumes)
        closes = opens * np.exp(rng.normal(0, wildness, n_symbols))
        if step % 17 == 16:
            assert _rows(plain.flatten(closes, volumes)) == compiled.flatten(closes, volumes)
        assert compiled.mark(closes) == plain.nav_usd(closes)
        assert compiled.held.book[0, CASH] == plain.cash_usd
        assert compiled.held.book[0, NAV] == plain.nav_usd(closes)
        assert compiled.held.shares[0].tolist() == plain.shares
        assert compiled.held.units[0].tolist() == plain.units


@settings(deadline=None, max_examples=60)
@given(rules=trading_rules(), seed=st.integers(0, 100_000), n_symbols=st.sampled_from([2, 3]))
def test_an_order_never_exceeds_its_bounds(rules, seed, n_symbols):
    """Shares are whole, units in bounds, an opening order within its unit and within the gross bound."""
    rng = np.random.default_rng(seed)
    account = Account(rules, n_symbols)
    closes = rng.lognormal(4.0, 1.0, n_symbols)
    for _ in range(40):
        nav, gross = account.nav_usd(closes), account.gross_usd(closes)
        action = int(rng.integers(3**n_symbols))
        before = list(account.units)
        for order in account.orders(action, closes):
            assert order.quantity == int(order.quantity) > 0
            value = order.quantity * float(closes[order.symbol_index])
            if before[order.symbol_index] == 0:
                assert value <= rules.unit_fraction * nav * (1 + 1e-12)
                gross += value
                assert gross <= rules.max_gross * nav * (1 + 1e-12)
            else:
                gross -= value
            account.fill(order, float(closes[order.symbol_index]), 1e5)
        assert all((0 if rules.long_only else -1) <= unit <= 1 for unit in account.units)
        assert [np.sign(held) for held in account.shares] == account.units
        closes = closes * np.exp(rng.normal(0, 0.002, n_symbols))
