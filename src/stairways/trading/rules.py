"""The rules an account trades by: sizes, bounds and costs."""

from __future__ import annotations

from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field


class CostModel(BaseModel):
    """What an order costs; every part is charged in cash and reported apart.

    Attributes:
        commission_bps: Commission, bp of the notional paid.
        half_spread_bps: Half the bid-ask spread, bp of the reference price.
        impact_bps: Square-root impact: bp of the reference price at a participation of 1 (the
            order's share of the bar's volume, at most 1); 0 switches it off.
        ticket_usd: Fixed price of an order.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    commission_bps: float = Field(0.25, ge=0, le=1_000)
    half_spread_bps: float = Field(0.75, ge=0, le=1_000)
    impact_bps: float = Field(0.0, ge=0, le=1_000)
    ticket_usd: float = Field(0.0, ge=0)


class TradingRules(BaseModel):
    """Sizes, bounds and costs of an account.

    Attributes:
        initial_nav_usd: NAV an account starts with.
        unit_fraction: One unit of a position, as a share of NAV at the moment of the order.
        max_gross: Upper bound of gross exposure over NAV when an order is placed.
        long_only: Whether units are bound to [0, 1] instead of [-1, 1].
        risk_free_per_year_ratio: Risk-free rate that the reward and the Sharpe ratio subtract.
        costs: What orders cost.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    initial_nav_usd: float = Field(1_000_000.0, gt=0)
    unit_fraction: float = Field(0.15, gt=0, le=1)
    max_gross: float = Field(1.0, gt=0, le=4)
    long_only: bool = False
    risk_free_per_year_ratio: float = Field(0.0, ge=0, lt=1)
    costs: CostModel = CostModel()

    @property
    def risk_free_per_session(self) -> float:
        """Risk-free return of one session, a 252nd of a year's."""
        return self.risk_free_per_year_ratio / 252

    def numbers(self, cost_scale: float = 1.0) -> RuleNumbers:
        """Return the rules as plain floats for compiled code, costs scaled by ``cost_scale``."""
        return RuleNumbers(
            unit_fraction=self.unit_fraction,
            max_gross=self.max_gross,
            lowest_unit=0 if self.long_only else -1,
            commission_ratio=cost_scale * self.costs.commission_bps / 1e4,
            half_spread_ratio=cost_scale * self.costs.half_spread_bps / 1e4,
            impact_ratio=cost_scale * self.costs.impact_bps / 1e4,
            ticket_usd=cost_scale * self.costs.ticket_usd,
        )


class RuleNumbers(NamedTuple):
    """The rules as compiled code reads them; ratios are fractions, not bp."""

    unit_fraction: float
    max_gross: float
    lowest_unit: int
    commission_ratio: float
    half_spread_ratio: float
    impact_ratio: float
    ticket_usd: float
