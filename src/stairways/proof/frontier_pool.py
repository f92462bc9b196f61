"""Frontiers of several markets and keys put together."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

Z_95 = 1.96
NO_SIGNAL = "noise"
"""Kind of market on which nothing can be earned: what trading is worth is the same on each of them, so that
their sessions are the sample. Of any other kind several markets were drawn, and they are the sample."""
REFERENCES = ("untilted", "random", "lowest", "tilt")
MEANS = (
    "trades_per_session",
    "hold_rate_ratio",
    "forced_closes_per_session",
    "gross_bps",
    "costs_bps",
    "turnover_ratio",
)

Result = Mapping[str, Any]
Row = dict[str, Any]


def rows_of(
    results: Iterable[Result], kind: str, arm: str, set_point: float | None
) -> list[tuple[int, Mapping[str, Any]]]:
    """Return the rows of a kind of cell, an arm and a set point, each with its market."""
    return [
        (result["market"], row)
        for result in results
        if result["kind"] == kind
        for row in result["rows"]
        if row["arm"] == arm and row["set_point"] == set_point
    ]


@dataclass(frozen=True)
class Pooled:
    """A mean over markets and how far it is known.

    Attributes:
        bps: The mean, bp per session.
        standard_error_bps: Its standard error.
        n_sampled_markets: Markets that it was estimated from; 0 where it was from sessions.
    """

    bps: float
    standard_error_bps: float
    n_sampled_markets: int

    @property
    def over(self) -> str:
        """What the error was estimated from, for a person."""
        return f"{self.n_sampled_markets} markets, t" if self.n_sampled_markets else "sessions"

    def reach_bps(self, deviations: float = Z_95) -> float:
        """Return what may be chance, at the level of so many standard errors of a normal variable.

        An error from few markets is itself uncertain: the multiple is then the quantile of Student's t at the
        same level, with a degree of freedom less than there are markets.
        """
        from scipy.special import ndtr, stdtrit

        if self.n_sampled_markets:
            deviations = float(stdtrit(self.n_sampled_markets - 1, ndtr(deviations)))
        return deviations * self.standard_error_bps

    @property
    def interval_bps(self) -> tuple[float, float]:
        """Two-sided 95 % interval."""
        return self.bps - self.reach_bps(), self.bps + self.reach_bps()


def pooled(
    found: Sequence[tuple[int, Mapping[str, Any]]],
    mean: Callable[[Mapping[str, Any]], float],
    error: Callable[[Mapping[str, Any]], float],
    *,
    markets_differ: bool = True,
) -> Pooled:
    """Return the mean over markets and its standard error.

    Markets are independent, cells of one market are not: within a market figures and standard errors are
    averaged, as if its cells were one. With e for these errors, sqrt(sum of squares)/M is what the sessions
    of M markets leave open. Where markets differ and there are several, the spread of their means s counts:
    s/sqrt(M), and never less than what the sessions leave open, which a few markets can fall below by chance.

    Args:
        found: (market, row), at least one.
        mean: Takes a figure from a row.
        error: Takes its standard error.
        markets_differ: Whether the figure may truly differ from one market to the next.
    """
    markets: dict[int, list[Mapping[str, Any]]] = {}
    for market, row in found:
        markets.setdefault(market, []).append(row)
    means = [fmean(mean(row) for row in rows) for rows in markets.values()]
    errors = [fmean(error(row) for row in rows) for rows in markets.values()]
    n_markets = len(means)
    within = math.sqrt(sum(e * e for e in errors)) / n_markets
    if not markets_differ or n_markets == 1:
        return Pooled(fmean(means), within, 0)
    return Pooled(fmean(means), max(stdev(means) / math.sqrt(n_markets), within), n_markets)


def difference(found: Sequence[tuple[int, Mapping[str, Any]]], kind: str, reference: str) -> Pooled:
    """Return the pooled paired difference of a kind of cell to a reference."""
    return pooled(
        found,
        lambda row: row[f"above_{reference}_bps"],
        lambda row: row[f"above_{reference}_se_bps"],
        markets_differ=kind != NO_SIGNAL,
    )


def net(found: Sequence[tuple[int, Mapping[str, Any]]], kind: str) -> Pooled:
    """Return the pooled net result of a kind of cell."""
    return pooled(
        found,
        lambda row: row["net_bps"],
        lambda row: (row["net_high_bps"] - row["net_low_bps"]) / (2.0 * Z_95),
        markets_differ=kind != NO_SIGNAL,
    )


def pooled_row(results: Sequence[Result], kind: str, arm: str, set_point: float | None) -> Row | None:
    """Return one point of a pooled frontier; None where nothing was measured."""
    found = rows_of(results, kind, arm, set_point)
    if not found:
        return None
    result = net(found, kind)
    low, high = result.interval_bps
    sharpes = [row["sharpe"] for _, row in found if row["sharpe"] is not None]
    row: Row = {
        "level": "pooled",
        "kind": kind,
        "arm": arm,
        "set_point": set_point,
        "n_cells": len(found),
        "n_markets": len({market for market, _ in found}),
        "n_sessions": found[0][1]["n_sessions"],
        "interval_over": result.over,
        "net_bps": result.bps,
        "net_low_bps": low,
        "net_high_bps": high,
        "sharpe": fmean(sharpes) if sharpes else None,
    }
    row |= {name: fmean(each[name] for _, each in found) for name in MEANS}
    for reference in REFERENCES:
        if f"above_{reference}_bps" in found[0][1]:
            gain = difference(found, kind, reference)
            low, high = gain.interval_bps
            row |= {
                f"above_{reference}_bps": gain.bps,
                f"above_{reference}_low_bps": low,
                f"above_{reference}_high_bps": high,
                f"above_{reference}_se_bps": gain.standard_error_bps,
            }
    return row


def optimum_of_the_others(results: Sequence[Result], kind: str, points: Sequence[float]) -> list[Row]:
    """Return, for every market, what the set point that is best on all other markets gains on it.

    The best of several points flatters itself on the sessions it was found on; here it is found on other
    markets than it is judged on.

    Args:
        results: Results of the cells; at least two markets.
        kind: Kind of cell.
        points: Set points, ascending; the gain is over the first.
    """
    markets = sorted({result["market"] for result in results if result["kind"] == kind})
    gains = []
    for market in markets:
        others = [result for result in results if result["market"] != market]
        kept = [result for result in results if result["market"] == market]
        best = max(points[1:], key=lambda point: net(rows_of(others, kind, "tilt", point), kind).bps)
        gain = difference(rows_of(kept, kind, "tilt", best), kind, "lowest")
        gains.append(
            {
                "market": market,
                "set_point": best,
                "gain_bps": gain.bps,
                "gain_se_bps": gain.standard_error_bps,
            }
        )
    return gains


def slope(rows: Sequence[Mapping[str, Any]], name: str) -> float:
    """Return the least-squares slope of a figure on the trades achieved, per trade."""
    trades = [float(row["trades_per_session"]) for row in rows]
    values = [float(row[name]) for row in rows]
    centre, middle = fmean(trades), fmean(values)
    spread = sum((trade - centre) ** 2 for trade in trades)
    products = ((trade - centre) * (value - middle) for trade, value in zip(trades, values, strict=True))
    return sum(products) / spread
