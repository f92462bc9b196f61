"""Fills held against their tape: at the next open, by the decision before it, and into the NAV."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stairways.evaluation.replay import Replay
from stairways.market.sessions import Sessions
from stairways.trading.actions import leg_table
from stairways.trading.kernel import COMMISSION, IMPACT, PRICE, QUANTITY, SPREAD

TOLERANCE_RATIO = 1e-9
"""Prices and NAV are computed again by another order of the same sums; rounding leaves about 1e-15."""


class Misplaced(NamedTuple):
    """The first fill, or mark, that does not follow from the tape.

    Attributes:
        session: Index of the session within the replay.
        bar: Bar that the fill was decided on; for a forced close and for the NAV the bar itself.
        what: ``fill SYMBOL``, ``closing fill SYMBOL``, ``order SYMBOL`` or ``nav``.
        found: Price the fill was made from, direction of the order, or NAV.
        expected: What the tape asks for.
        reason: One sentence for a person.
    """

    session: int
    bar: int
    what: str
    found: float
    expected: float
    reason: str


def audit(run: Replay, sessions: Sessions) -> Misplaced | None:
    """Return the first thing an account did that its tape does not bear out; None where all of it does.

    A fill at bar t + 1 belongs to the decision at bar t: its direction is that of the action's leg, and its
    price, less the half spread and impact that its own row states, is the open of bar t + 1. A forced close
    is made from the session's last close. The NAV at each bar follows from these fills and the closes. A fill
    or a NAV with a part that is not a finite number is not borne out.

    Args:
        run: What the account did.
        sessions: The same sessions, as the pipeline was given them.
    """
    found = [part for part in (_fills(run, sessions), _forced(run, sessions), _nav(run, sessions)) if part]
    return min(found, key=lambda part: (part.session, part.bar), default=None)


def reference_prices(fills: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the prices that fills were made from, before half spread and impact; NaN where none filled.

    Args:
        fills: ``(..., 5)`` float64 rows of fills.
    """
    quantity = fills[..., QUANTITY]
    with np.errstate(invalid="ignore", divide="ignore"):
        slipped = (fills[..., SPREAD] + fills[..., IMPACT]) / quantity
        prices: NDArray[np.float64] = np.where(quantity == 0.0, np.nan, fills[..., PRICE] - slipped)
    return prices


def _fills(run: Replay, sessions: Sessions) -> Misplaced | None:
    """Return the first fill whose price is not its bar's open, or whose direction nobody decided."""
    quantity, found = run.fills[..., QUANTITY], reference_prices(run.fills)
    legs = np.zeros(quantity.shape)
    decided = run.actions[:, :-1] >= 0
    legs[:, 1:][decided] = leg_table(run.market.n_symbols)[run.actions[:, :-1][decided]]
    undecided = (quantity != 0.0) & (np.sign(quantity) != legs)
    late = (quantity != 0.0) & _off(found, sessions.open)
    first = _first(undecided | late)
    if first is None:
        return None
    session, bar, leg = first
    symbol, before = sessions.symbols[leg], max(bar - 1, 0)
    if undecided[first]:
        reason = f"filled at bar {bar} without a decision for it at bar {bar - 1}"
        direction, wanted = float(np.sign(quantity[first])), float(legs[first])
        return Misplaced(session, before, f"order {symbol}", direction, wanted, reason)
    price, right = float(found[first]), float(sessions.open[first])
    own_close, own_open = sessions.close[session, before, leg], sessions.open[session, before, leg]
    at = "a price that is no open of bar " + str(bar)
    if not _off(np.float64(price), own_close):
        at = f"the close of bar {before}, the bar it was decided on"
    elif not _off(np.float64(price), own_open):
        at = f"the open of bar {before}, the bar it was decided on"
    reason = f"decided at the close of bar {before}, filled at {at}"
    return Misplaced(session, before, f"fill {symbol}", price, right, reason)


def _forced(run: Replay, sessions: Sessions) -> Misplaced | None:
    last = sessions.n_bars - 1
    closes = sessions.close[np.arange(len(last)), last]
    found = reference_prices(run.forced)
    first = _first((run.forced[..., QUANTITY] != 0.0) & _off(found, closes))
    if first is None:
        return None
    session, leg = first
    reason = f"closed at the session's end, but not at the close of bar {last[session]}"
    what = f"closing fill {sessions.symbols[leg]}"
    return Misplaced(session, int(last[session]), what, float(found[first]), float(closes[first]), reason)


def _nav(run: Replay, sessions: Sessions) -> Misplaced | None:
    """Return the first bar whose NAV is not cash and shares at the close, from the fills alone."""
    every = np.array(run.fills)
    n_sessions, max_bars = every.shape[:2]
    rows, last = np.arange(n_sessions), sessions.n_bars - 1
    paid = (every[..., QUANTITY] * every[..., PRICE] + every[..., COMMISSION]).sum(axis=2)
    forced = run.forced
    paid[rows, last] += (forced[..., QUANTITY] * forced[..., PRICE] + forced[..., COMMISSION]).sum(axis=1)
    bought = every[..., QUANTITY]
    bought[rows, last] += forced[..., QUANTITY]
    inside = np.arange(max_bars) < sessions.n_bars[:, None]
    cash = run.rules.initial_nav_usd - np.cumsum(np.where(inside, paid, 0.0)).reshape(paid.shape)
    shares = np.cumsum(np.where(inside[..., None], bought, 0.0).reshape(-1, bought.shape[2]), axis=0)
    worth = (shares.reshape(bought.shape) * np.where(inside[..., None], sessions.close, 0.0)).sum(axis=2)
    expected = cash + worth
    first = _first(inside & _off(run.nav_usd, expected))
    if first is None:
        return None
    session, bar = first
    reason = "it does not follow from the fills and the closes"
    return Misplaced(session, bar, "nav", float(run.nav_usd[first]), float(expected[first]), reason)


def _off(found: NDArray[np.float64] | np.float64, expected: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which values differ by more than rounding; one that is not finite, on either side, does."""
    with np.errstate(invalid="ignore"):
        near = np.abs(found - expected) <= TOLERANCE_RATIO * np.abs(expected)
        off: NDArray[np.bool_] = ~(np.isfinite(expected) & near)
    return off


def _first(bad: NDArray[np.bool_]) -> tuple[int, ...] | None:
    where = np.argwhere(bad)
    return tuple(where[0].tolist()) if len(where) else None
