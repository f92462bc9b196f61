"""What an account did, session by session: the one input of every metric."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Mode = Literal["sampled", "greedy"]


@dataclass(frozen=True, eq=False)
class SessionLedger:
    """Totals of one account per session, in date order; every array is ``(n_sessions,)``.

    Attributes:
        initial_nav_usd: NAV before the first session.
        mode: How actions were chosen, ``sampled`` or ``greedy``.
        dates: datetime64[D].
        decisions: Decisions taken (bars of the session less one).
        holds: Decisions whose action kept every leg.
        trades: Executed orders, forced closes included.
        forced_closes: Executed orders that flattened a position at the session's close.
        nav_open_usd: NAV at the previous session's close (the initial NAV for the first).
        nav_close_usd: NAV at the close, after forced closes.
        max_drawdown_ratio: Largest (peak - NAV) / peak over the session's bar closes, the peak
            counted from the session's open.
        traded_notional_usd: Sum of quantity x price paid.
        commission_usd: Commission; likewise half spread, impact and ticket, all positive costs.
        spread_usd: Half spread paid.
        impact_usd: Impact paid.
        ticket_usd: Tickets paid.
        round_trips: Positions that were closed.
        winning_round_trips: Closed positions with a positive result net of their costs.
    """

    initial_nav_usd: float
    mode: Mode
    dates: NDArray[np.datetime64]
    decisions: NDArray[np.int64]
    holds: NDArray[np.int64]
    trades: NDArray[np.int64]
    forced_closes: NDArray[np.int64]
    nav_open_usd: NDArray[np.float64]
    nav_close_usd: NDArray[np.float64]
    max_drawdown_ratio: NDArray[np.float64]
    traded_notional_usd: NDArray[np.float64]
    commission_usd: NDArray[np.float64]
    spread_usd: NDArray[np.float64]
    impact_usd: NDArray[np.float64]
    ticket_usd: NDArray[np.float64]
    round_trips: NDArray[np.int64]
    winning_round_trips: NDArray[np.int64]

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                value.setflags(write=False)

    def __len__(self) -> int:
        return len(self.dates)

    @property
    def returns_ratio(self) -> NDArray[np.float64]:
        """Session returns, NAV at the close / NAV at the previous close - 1, ``(n_sessions,)``."""
        return self.nav_close_usd / self.nav_open_usd - 1.0

    @property
    def costs_usd(self) -> NDArray[np.float64]:
        """All costs of each session, ``(n_sessions,)``."""
        return self.commission_usd + self.spread_usd + self.impact_usd + self.ticket_usd

    @property
    def gross_returns_ratio(self) -> NDArray[np.float64]:
        """Session returns with the session's costs added back, ``(n_sessions,)``."""
        return self.returns_ratio + self.costs_usd / self.nav_open_usd
