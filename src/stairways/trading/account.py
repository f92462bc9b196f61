"""An account in plain Python: the readable statement of how orders fill and what they cost.

The compiled twin is :mod:`stairways.trading.kernel`; a property test holds the two together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stairways.trading.actions import leg_table
from stairways.trading.rules import RuleNumbers, TradingRules


@dataclass(frozen=True)
class Fill:
    """One executed order.

    Attributes:
        symbol_index: Which symbol, in the order of the legs.
        direction: +1 bought, -1 sold.
        quantity: Whole shares, positive.
        price: Price paid, slippage included, USD.
        commission_usd: Commission and ticket.
        spread_usd: Half spread paid; with impact it makes up the slippage.
        impact_usd: Impact paid.
        forced: Whether it flattened a position at the session's close.
    """

    symbol_index: int
    direction: int
    quantity: int
    price: float
    commission_usd: float
    spread_usd: float
    impact_usd: float
    forced: bool = False

    @property
    def slippage_usd(self) -> float:
        """What the price paid lost against the reference price."""
        return self.spread_usd + self.impact_usd


@dataclass(frozen=True)
class Order:
    """An intent to trade, sized at the decision."""

    symbol_index: int
    direction: int
    quantity: int


@dataclass
class Account:
    """Cash and shares of one account.

    Attributes:
        rules: The rules it trades by.
        n_symbols: Number of symbols.
        cash_usd: Cash.
        shares: Whole shares per symbol, negative when short.
        units: Position per symbol in units, -1, 0 or +1.
    """

    rules: TradingRules
    n_symbols: int
    cash_usd: float = 0.0
    shares: list[int] = field(default_factory=list)
    units: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.shares:
            self.cash_usd = self.rules.initial_nav_usd
            self.shares = [0] * self.n_symbols
            self.units = [0] * self.n_symbols

    def nav_usd(self, closes: NDArray[np.float64]) -> float:
        """Return cash plus positions marked at ``closes``, ``(n_symbols,)``."""
        nav = self.cash_usd
        for symbol in range(self.n_symbols):
            nav += self.shares[symbol] * float(closes[symbol])
        return nav

    def gross_usd(self, closes: NDArray[np.float64]) -> float:
        """Return the sum of absolute position values, marked at ``closes``."""
        return sum(abs(self.shares[i]) * float(closes[i]) for i in range(self.n_symbols))

    def orders(self, action: int, closes: NDArray[np.float64]) -> list[Order]:
        """Turn an action into sized orders with the prices of the decision.

        A closing order trades exactly the shares held; an opening one is one unit of NAV in whole
        shares, cut so that gross exposure stays within its bound. An order that comes out at no
        share is denied: nothing is placed and the position stays as it is.

        Args:
            action: Action id.
            closes: ``(n_symbols,)`` closes of the bar at which the decision is taken, USD.
        """
        numbers = self.rules.numbers()
        nav = self.nav_usd(closes)
        gross = self.gross_usd(closes)
        placed = []
        for symbol, direction in enumerate(leg_table(self.n_symbols)[action].tolist()):
            unit = self.units[symbol]
            after = max(numbers.lowest_unit, min(1, unit + direction))
            if after == unit:
                continue
            if unit != 0:
                quantity = abs(self.shares[symbol])
                gross -= quantity * float(closes[symbol])
            else:
                quantity = _opening_quantity(numbers, nav, gross, float(closes[symbol]))
                gross += quantity * float(closes[symbol])
            if quantity > 0:
                placed.append(Order(symbol, direction, quantity))
        return placed

    def fill(self, order: Order, reference_price: float, volume: float, *, forced: bool = False) -> Fill:
        """Execute an order against a reference price and book it.

        Args:
            order: What to trade.
            reference_price: The open of the bar after the decision, or the last close when forced.
            volume: Volume of the bar it fills in, shares; participation is bounded by 1.
            forced: Whether it flattens the position at the close.
        """
        numbers = self.rules.numbers()
        impact_ratio = _impact_ratio(numbers, order.quantity, volume)
        price = reference_price * (1.0 + order.direction * (numbers.half_spread_ratio + impact_ratio))
        commission = numbers.commission_ratio * order.quantity * price + numbers.ticket_usd
        self.cash_usd -= order.direction * order.quantity * price + commission
        self.shares[order.symbol_index] += order.direction * order.quantity
        self.units[order.symbol_index] += order.direction
        return Fill(
            symbol_index=order.symbol_index,
            direction=order.direction,
            quantity=order.quantity,
            price=price,
            commission_usd=commission,
            spread_usd=order.quantity * reference_price * numbers.half_spread_ratio,
            impact_usd=order.quantity * reference_price * impact_ratio,
            forced=forced,
        )

    def flatten(self, closes: NDArray[np.float64], volumes: NDArray[np.float64]) -> list[Fill]:
        """Close every position at ``closes``, with costs, and return the fills."""
        fills = []
        for symbol in range(self.n_symbols):
            held = self.shares[symbol]
            if held != 0:
                order = Order(symbol, -1 if held > 0 else 1, abs(held))
                fills.append(self.fill(order, float(closes[symbol]), float(volumes[symbol]), forced=True))
        return fills


def _opening_quantity(numbers: RuleNumbers, nav: float, gross: float, price: float) -> int:
    wanted_usd = min(numbers.unit_fraction * nav, numbers.max_gross * nav - gross)
    return max(0, math.floor(wanted_usd / price))


def _impact_ratio(numbers: RuleNumbers, quantity: int, volume: float) -> float:
    if numbers.impact_ratio == 0.0:
        return 0.0
    participation = min(1.0, quantity / volume) if volume > 0 else 1.0
    return numbers.impact_ratio * math.sqrt(participation)
