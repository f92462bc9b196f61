"""Frontiers of several markets and keys put together."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

Z_95 = 1.96
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


def pooled(
    found: Sequence[tuple[int, Mapping[str, Any]]],
    mean: Callable[[Mapping[str, Any]], float],
    error: Callable[[Mapping[str, Any]], float],
) -> tuple[float, float]:
    """Return the mean over markets and its standard error.

    Markets are independent, cells of one market are not: within a market figures and standard errors are
    averaged, as if its cells were one; over M markets the error is sqrt(sum of squares)/M.

    Args:
        found: (market, row), at least one.
        mean: Takes a figure from a row.
        error: Takes its standard error.
    """
    markets: dict[int, list[Mapping[str, Any]]] = {}
    for market, row in found:
        markets.setdefault(market, []).append(row)
    means = [fmean(mean(row) for row in rows) for rows in markets.values()]
    errors = [fmean(error(row) for row in rows) for rows in markets.values()]
    return fmean(means), math.sqrt(sum(e * e for e in errors)) / len(errors)


def difference(found: Sequence[tuple[int, Mapping[str, Any]]], reference: str) -> tuple[float, float]:
    """Return the pooled paired difference to a reference and its standard error, bp per session."""
    return pooled(
        found, lambda row: row[f"above_{reference}_bps"], lambda row: row[f"above_{reference}_se_bps"]
    )


def net(found: Sequence[tuple[int, Mapping[str, Any]]]) -> tuple[float, float]:
    """Return the pooled net result and its standard error, bp per session."""
    return pooled(
        found,
        lambda row: row["net_bps"],
        lambda row: (row["net_high_bps"] - row["net_low_bps"]) / (2.0 * Z_95),
    )


def pooled_row(results: Sequence[Result], kind: str, arm: str, set_point: float | None) -> Row | None:
    """Return one point of a pooled frontier; None where nothing was measured."""
    found = rows_of(results, kind, arm, set_point)
    if not found:
        return None
    bps, error = net(found)
    sharpes = [row["sharpe"] for _, row in found if row["sharpe"] is not None]
    row: Row = {
        "level": "pooled",
        "kind": kind,
        "arm": arm,
        "set_point": set_point,
        "n_cells": len(found),
        "n_markets": len({market for market, _ in found}),
        "n_sessions": found[0][1]["n_sessions"],
        "net_bps": bps,
        "net_low_bps": bps - Z_95 * error,
        "net_high_bps": bps + Z_95 * error,
        "sharpe": fmean(sharpes) if sharpes else None,
    }
    row |= {name: fmean(each[name] for _, each in found) for name in MEANS}
    for reference in REFERENCES:
        if f"above_{reference}_bps" in found[0][1]:
            bps, error = difference(found, reference)
            row |= {
                f"above_{reference}_bps": bps,
                f"above_{reference}_low_bps": bps - Z_95 * error,
                f"above_{reference}_high_bps": bps + Z_95 * error,
                f"above_{reference}_se_bps": error,
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
        best = max(points[1:], key=lambda point: net(rows_of(others, kind, "tilt", point))[0])
        bps, error = difference(rows_of(kept, kind, "tilt", best), "lowest")
        gains.append({"market": market, "set_point": best, "gain_bps": bps, "gain_se_bps": error})
    return gains


def slope(rows: Sequence[Mapping[str, Any]], name: str) -> float:
    """Return the least-squares slope of a figure on the trades achieved, per trade."""
    trades = [float(row["trades_per_session"]) for row in rows]
    values = [float(row[name]) for row in rows]
    centre, middle = fmean(trades), fmean(values)
    spread = sum((trade - centre) ** 2 for trade in trades)
    products = ((trade - centre) * (value - middle) for trade, value in zip(trades, values, strict=True))
    return sum(products) / spread
