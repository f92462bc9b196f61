"""Exports: every fill and every mark of a replay, so that anyone can recompute its result."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from stairways.trading.kernel import COMMISSION, IMPACT, PRICE, QUANTITY, SPREAD

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stairways.evaluation.replay import Replay

FILLS_HEADER = "time_utc,symbol,side,quantity,price,commission_usd,slippage_usd"
NAV_HEADER = "time_utc,nav_usd"


def fills_csv(run: Replay) -> str:
    """Return every fill as CSV, in order of execution.

    ``time_utc`` is the time of execution: the bar's open, or the session's close for forced closes.
    ``price`` is the price paid, slippage included; ``slippage_usd`` is what it lost against the
    reference price; ``commission_usd`` holds the ticket too. Numbers are at full precision.
    """
    return "\n".join([FILLS_HEADER, *_fill_rows(run)]) + "\n"


def nav_csv(run: Replay) -> str:
    """Return the NAV at each bar's end as CSV, one account through all sessions."""
    rows = [NAV_HEADER]
    for session in range(len(run.market)):
        rows += [
            f"{_time(run, session, bar + 1)},{float(run.nav_usd[session, bar])!r}"
            for bar in range(int(run.market.n_bars[session]))
        ]
    return "\n".join(rows) + "\n"


def _fill_rows(run: Replay) -> Iterator[str]:
    for session in range(len(run.market)):
        for bar in np.flatnonzero((run.fills[session, :, :, QUANTITY] != 0.0).any(axis=1)):
            yield from _rows_at(run, _time(run, session, int(bar)), run.fills[session, bar])
        close = _time(run, session, int(run.market.n_bars[session]))
        yield from _rows_at(run, close, run.forced[session])


def _rows_at(run: Replay, time_utc: str, fills: NDArray[np.float64]) -> Iterator[str]:
    for symbol, fill in zip(run.market.symbols, fills, strict=True):
        if fill[QUANTITY] != 0.0:
            side = "buy" if fill[QUANTITY] > 0.0 else "sell"
            numbers = (float(fill[PRICE]), float(fill[COMMISSION]), float(fill[SPREAD] + fill[IMPACT]))
            yield f"{time_utc},{symbol},{side},{abs(int(fill[QUANTITY]))}," + ",".join(map(repr, numbers))


def _time(run: Replay, session: int, bar: int) -> str:
    offset = np.timedelta64(bar * run.market.interval_minutes, "m")
    return f"{run.market.open_utc[session] + offset}+00:00"
