"""The account as compiled scalars and small arrays: fast, and equal to the plain one.

Accounts stand in rows: ``book`` ``(n, 2)`` float64 = cash and NAV at the last mark, USD; ``shares``
``(n, n_symbols)`` float64, whole numbers; ``units`` ``(n, n_symbols)`` int8. Fills are written to rows
of ``(quantity signed, price, commission_usd, spread_usd, impact_usd)``.

Everything is inlined where it is called, and arrays are handed over whole with the place to read: making
views of them was most of a step's time. ``error_model="numpy"`` leaves out Python's checks for a zero
divisor; prices and NAV are positive here.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stairways.trading.rules import RuleNumbers

CASH, NAV = 0, 1
QUANTITY, PRICE, COMMISSION, SPREAD, IMPACT = 0, 1, 2, 3, 4
FILL_WIDTH = 5


class Quoted(Protocol):
    """What trading reads of a market, ``(n_sessions, max_bars, n_symbols)`` float64 each."""

    @property
    def open(self) -> NDArray[np.float64]:
        """Opening prices, USD."""

    @property
    def close(self) -> NDArray[np.float64]:
        """Closing prices, USD."""

    @property
    def volume(self) -> NDArray[np.float64]:
        """Volumes, shares."""


class Held(Protocol):
    """What trading changes, one row per account."""

    @property
    def book(self) -> NDArray[np.float64]:
        """``(n, 2)`` cash and NAV, USD."""

    @property
    def shares(self) -> NDArray[np.float64]:
        """``(n, n_symbols)`` shares held."""

    @property
    def units(self) -> NDArray[np.int8]:
        """``(n, n_symbols)`` units held."""


class Quotes(NamedTuple):
    """Prices and volumes of some sessions; shapes as in :class:`Quoted`."""

    open: NDArray[np.float64]
    close: NDArray[np.float64]
    volume: NDArray[np.float64]


class Accounts(NamedTuple):
    """Some accounts; shapes as in :class:`Held`."""

    book: NDArray[np.float64]
    shares: NDArray[np.float64]
    units: NDArray[np.int8]


def flat_accounts(n: int, n_symbols: int, initial_nav: float) -> Accounts:
    """Return accounts that hold nothing but cash."""
    return Accounts(np.full((n, 2), initial_nav), np.zeros((n, n_symbols)), np.zeros((n, n_symbols), np.int8))


@njit(cache=True, inline="always", error_model="numpy")
def order_quantity(
    rules: RuleNumbers, unit: int, direction: int, shares: float, nav: float, gross: float, price: float
) -> float:
    """Return the whole shares an order trades; 0 when nothing is ordered or the order is denied."""
    after = min(1, max(rules.lowest_unit, unit + direction))
    if after == unit:
        return 0.0
    if unit != 0:
        return abs(shares)
    wanted_usd = min(rules.unit_fraction * nav, rules.max_gross * nav - gross)
    return max(0.0, math.floor(wanted_usd / price))


@njit(cache=True, inline="always", error_model="numpy")
def execute(
    rules: RuleNumbers,
    direction: int,
    quantity: float,
    reference_price: float,
    volume: float,
    held: Held,
    account: int,
    fills: NDArray[np.float64],
    symbol: int,
) -> None:
    """Execute an order against a reference price, book the cash and write the fill's row."""
    impact = 0.0
    if rules.impact_ratio != 0.0:
        participation = min(1.0, quantity / volume) if volume > 0.0 else 1.0
        impact = rules.impact_ratio * math.sqrt(participation)
    price = reference_price * (1.0 + direction * (rules.half_spread_ratio + impact))
    commission = rules.commission_ratio * quantity * price + rules.ticket_usd
    held.book[account, CASH] -= direction * quantity * price + commission
    fills[symbol, QUANTITY] = direction * quantity
    fills[symbol, PRICE] = price
    fills[symbol, COMMISSION] = commission
    fills[symbol, SPREAD] = quantity * reference_price * rules.half_spread_ratio
    fills[symbol, IMPACT] = quantity * reference_price * impact


@njit(cache=True, inline="always", error_model="numpy")
def trade(
    rules: RuleNumbers,
    legs: NDArray[np.int8],
    action: int,
    quotes: Quoted,
    s: int,
    b: int,
    held: Held,
    account: int,
    fills: NDArray[np.float64],
) -> int:
    """Size an action's orders at a bar's closes, fill them at the next bar's opens and count them.

    Args:
        rules: The rules.
        legs: ``(n_actions, n_symbols)`` directions of each action.
        action: Action id.
        quotes: The market.
        s: Session.
        b: Bar of the decision; not its session's last.
        held: Accounts, changed in place; NAV must be marked at the bar's closes.
        account: Which of them acts.
        fills: ``(n_symbols, FILL_WIDTH)``, row of each symbol; quantity 0 where nothing filled.

    Returns:
        Number of executed orders.
    """
    gross = 0.0
    for symbol in range(legs.shape[1]):
        gross += abs(held.shares[account, symbol]) * quotes.close[s, b, symbol]
    count = 0
    for symbol in range(legs.shape[1]):
        fills[symbol, QUANTITY] = 0.0
        direction = int(legs[action, symbol])
        if direction == 0:
            continue
        unit, close = int(held.units[account, symbol]), quotes.close[s, b, symbol]
        quantity = order_quantity(
            rules, unit, direction, held.shares[account, symbol], held.book[account, NAV], gross, close
        )
        if quantity == 0.0:
            continue
        gross += (-1.0 if unit != 0 else 1.0) * quantity * close
        execute(
            rules,
            direction,
            quantity,
            quotes.open[s, b + 1, symbol],
            quotes.volume[s, b + 1, symbol],
            held,
            account,
            fills,
            symbol,
        )
        held.shares[account, symbol] += direction * quantity
        held.units[account, symbol] += direction
        count += 1
    return count


@njit(cache=True, inline="always", error_model="numpy")
def flatten(
    rules: RuleNumbers,
    quotes: Quoted,
    s: int,
    b: int,
    held: Held,
    account: int,
    fills: NDArray[np.float64],
) -> int:
    """Close every position at a bar's closes with costs; return the number of orders."""
    count = 0
    for symbol in range(held.shares.shape[1]):
        fills[symbol, QUANTITY] = 0.0
        shares = held.shares[account, symbol]
        if shares == 0.0:
            continue
        direction = -1 if shares > 0.0 else 1
        execute(
            rules,
            direction,
            abs(shares),
            quotes.close[s, b, symbol],
            quotes.volume[s, b, symbol],
            held,
            account,
            fills,
            symbol,
        )
        held.shares[account, symbol] = 0.0
        held.units[account, symbol] = 0
        count += 1
    return count


@njit(cache=True, inline="always", error_model="numpy")
def mark(quotes: Quoted, s: int, b: int, held: Held, account: int) -> float:
    """Mark an account at a bar's closes, store and return its NAV."""
    nav: float = held.book[account, CASH]
    for symbol in range(held.shares.shape[1]):
        nav += held.shares[account, symbol] * quotes.close[s, b, symbol]
    held.book[account, NAV] = nav
    return nav


@njit(cache=True, inline="always", error_model="numpy")
def traded_usd(fills: NDArray[np.float64]) -> float:
    """Return the notional of ``(n_symbols, FILL_WIDTH)`` fills, USD."""
    total = 0.0
    for symbol in range(len(fills)):
        if fills[symbol, QUANTITY] != 0.0:
            total += abs(fills[symbol, QUANTITY]) * fills[symbol, PRICE]
    return total
