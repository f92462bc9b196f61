"""Ledgers and comparisons by hand, that several test files share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from stairways.evaluation.bootstrap import PairedComparison
from stairways.evaluation.evidence import Evidence, Integrity, ShadowReplay
from stairways.trading.ledger import SessionLedger


def session_dates(n: int) -> np.ndarray:
    """Return ``n`` weekdays from 2 January 2024 on."""
    return np.busday_offset(np.datetime64("2024-01-02", "D"), np.arange(n))


def make_ledger(returns: Any = None, *, n: int = 40, initial: float = 1e6, **columns: Any) -> SessionLedger:
    """Return a ledger of the given net session returns; each column is one value or an array.

    By default every session has 389 decisions, 214 holds (55 %), 16 trades, 1 forced close, a drawdown of
    0.5 %, 2.5 M USD traded, 250 USD of costs and 8 round trips, 4 of them won.
    """
    net = np.full(n, 0.001) if returns is None else np.asarray(returns, dtype=np.float64)
    n = len(net)
    close = initial * np.cumprod(1.0 + net)

    def column(name: str, default: float, kind: type) -> np.ndarray:
        return np.array(np.broadcast_to(columns.pop(name, default), (n,)), dtype=kind)

    ledger = SessionLedger(
        initial_nav_usd=initial,
        mode=columns.pop("mode", "sampled"),
        dates=session_dates(n),
        decisions=column("decisions", 389, np.int64),
        holds=column("holds", 214, np.int64),
        trades=column("trades", 16, np.int64),
        forced_closes=column("forced_closes", 1, np.int64),
        nav_open_usd=np.concatenate(([initial], close[:-1])),
        nav_close_usd=close,
        max_drawdown_ratio=column("drawdown", 0.005, np.float64),
        traded_notional_usd=column("notional", 2.5e6, np.float64),
        commission_usd=column("commission", 62.5, np.float64),
        spread_usd=column("spread", 187.5, np.float64),
        impact_usd=column("impact", 0.0, np.float64),
        ticket_usd=column("ticket", 0.0, np.float64),
        round_trips=column("round_trips", 8, np.int64),
        winning_round_trips=column("winning_round_trips", 4, np.int64),
    )
    if columns:
        raise TypeError(f"unknown columns {sorted(columns)}")
    return ledger


def make_comparison(mean: float = 5.0, half: float = 2.0, n: int = 40, **changes: Any) -> PairedComparison:
    """Return a comparison whose interval is ``mean`` plus or minus ``half`` bp."""
    made = PairedComparison(
        mean_difference_bps=mean,
        standard_error_bps=half / 2.0,
        interval_bps=(mean - half, mean + half),
        confidence=0.95,
        n_sessions=n,
        block_length_sessions=1.0,
        probability_positive=0.99,
        correlation=0.9,
    )
    return replace(made, **changes)


def good_evidence() -> Evidence:
    """Return evidence that passes every judge under the default config."""
    comparison = make_comparison()
    return Evidence(
        ledger=make_ledger(n=40),
        comparisons=dict.fromkeys(("gold", "random", "all_hold", "tilted_gold"), comparison),
        drift_ratio=0.05,
        shadow=ShadowReplay(make_ledger(n=3), digest="ab", repeated_digest="ab"),
        integrity=Integrity("g", "g", "a", "a"),
    )
