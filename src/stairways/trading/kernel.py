"""The account as compiled scalars and small arrays: fast, and equal to the plain one.

State of one account: ``book`` ``(2,)`` float64 = cash and NAV at the last mark, USD; ``shares``
``(n_symbols,)`` float64, whole numbers; ``units`` ``(n_symbols,)`` int8. Fills are written to rows
of ``(quantity signed, price, commission_usd, spread_usd, impact_usd)``.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stairways.trading.rules import RuleNumbers

CASH, NAV = 0, 1
QUANTITY, PRICE, COMMISSION, SPREAD, IMPACT = 0, 1, 2, 3, 4
FILL_WIDTH = 5


@njit(cache=True)
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


@njit(cache=True)
def execute(
    rules: RuleNumbers,
    direction: int,
    quantity: float,
    reference_price: float,
    volume: float,
    book: NDArray[np.float64],
    fill: NDArray[np.float64],
) -> None:
    """Execute an order against a reference price, book the cash and write the fill's row."""
    impact = 0.0
    if rules.impact_ratio != 0.0:
        participation = min(1.0, quantity / volume) if volume > 0.0 else 1.0
        impact = rules.impact_ratio * math.sqrt(participation)
    price = reference_price * (1.0 + direction * (rules.half_spread_ratio + impact))
    commission = rules.commission_ratio * quantity * price + rules.ticket_usd
    book[CASH] -= direction * quantity * price + commission
    fill[QUANTITY] = direction * quantity
    fill[PRICE] = price
    fill[COMMISSION] = commission
    fill[SPREAD] = quantity * reference_price * rules.half_spread_ratio
    fill[IMPACT] = quantity * reference_price * impact


@njit(cache=True)
def trade(
    rules: RuleNumbers,
    legs: NDArray[np.int8],
    closes: NDArray[np.float64],
    next_opens: NDArray[np.float64],
    next_volumes: NDArray[np.float64],
    book: NDArray[np.float64],
    shares: NDArray[np.float64],
    units: NDArray[np.int8],
    fills: NDArray[np.float64],
) -> int:
    """Size an action's orders at ``closes``, fill them at ``next_opens`` and count them.

    Args:
        rules: The rules.
        legs: ``(n_symbols,)`` directions of the action.
        closes: ``(n_symbols,)`` closes of the decision's bar.
        next_opens: ``(n_symbols,)`` opens of the bar after.
        next_volumes: ``(n_symbols,)`` volumes of the bar after.
        book: Cash and NAV, changed in place; NAV must be marked at ``closes``.
        shares: Shares held, changed in place.
        units: Units held, changed in place.
        fills: ``(n_symbols, FILL_WIDTH)``, row of each symbol; quantity 0 where nothing filled.

    Returns:
        Number of executed orders.
    """
    gross = 0.0
    for symbol in range(len(legs)):
        gross += abs(shares[symbol]) * closes[symbol]
    count = 0
    for symbol in range(len(legs)):
        fills[symbol, QUANTITY] = 0.0
        direction = int(legs[symbol])
        if direction == 0:
            continue
        quantity = order_quantity(
            rules, int(units[symbol]), direction, shares[symbol], book[NAV], gross, closes[symbol]
        )
        if quantity == 0.0:
            continue
        gross += (-1.0 if units[symbol] != 0 else 1.0) * quantity * closes[symbol]
        execute(rules, direction, quantity, next_opens[symbol], next_volumes[symbol], book, fills[symbol])
        shares[symbol] += direction * quantity
        units[symbol] += direction
        count += 1
    return count


@njit(cache=True)
def flatten(
    rules: RuleNumbers,
    closes: NDArray[np.float64],
    volumes: NDArray[np.float64],
    book: NDArray[np.float64],
    shares: NDArray[np.float64],
    units: NDArray[np.int8],
    fills: NDArray[np.float64],
) -> int:
    """Close every position at ``closes`` with costs; return the number of orders."""
    count = 0
    for symbol in range(len(shares)):
        fills[symbol, QUANTITY] = 0.0
        if shares[symbol] == 0.0:
            continue
        direction = -1 if shares[symbol] > 0.0 else 1
        execute(rules, direction, abs(shares[symbol]), closes[symbol], volumes[symbol], book, fills[symbol])
        shares[symbol] = 0.0
        units[symbol] = 0
        count += 1
    return count


@njit(cache=True)
def mark(closes: NDArray[np.float64], book: NDArray[np.float64], shares: NDArray[np.float64]) -> float:
    """Mark the account at ``closes``, store and return its NAV."""
    nav: float = book[CASH]
    for symbol in range(len(shares)):
        nav += shares[symbol] * closes[symbol]
    book[NAV] = nav
    return nav
