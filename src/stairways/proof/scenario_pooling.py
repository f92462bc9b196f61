"""Years of a scenario read together: independent draws, each one row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from stairways.proof.extremes import largest
from stairways.tuning.scenarios import SCENARIOS

Row = Mapping[str, Any]

CANDIDATE = "policy"
NAMES = {CANDIDATE: "tuned candidate", "gold": "shipped gold", "tilted_gold": "gold under the tilt"}


def over_years(years: Sequence[Row], name: str) -> tuple[float, float, float]:
    """Return the mean of independent years with its two-sided 95 % t interval.

    One year alone has the interval of its own sessions.
    """
    from scipy.special import ndtri, stdtrit

    array = np.array([year[name] for year in years], dtype=np.float64)
    mean, n = float(array.mean()), len(array)
    if n > 1:
        half = float(stdtrit(n - 1, 0.975)) * float(array.std(ddof=1)) / float(np.sqrt(n))
        return mean, mean - half, mean + half
    if name == "sharpe":
        half = float(ndtri(0.975)) * years[0]["sharpe_standard_error"]
        return mean, mean - half, mean + half
    return mean, years[0]["low_bps"], years[0]["high_bps"]


def groups(rows: Iterable[Row], *keys: str) -> dict[tuple[Any, ...], list[Row]]:
    """Return rows by the values of some of their fields, in order."""
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row[key] for key in keys), []).append(row)
    return found


def pooled_years(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return a row for each scenario and policy."""
    pooled = []
    for (scenario, policy), years in groups(rows, "scenario", "policy").items():
        sharpes = [year["sharpe"] for year in years if year["sharpe"] is not None]
        net, net_low, net_high = over_years(years, "mean_net_bps")
        row = {
            "kind": "scenario",
            "scenario": scenario,
            "policy": policy,
            "name": name_of(policy),
            "sample": years[0]["sample"],
            "mode": years[0]["mode"],
            "n_years": len(years),
            "n_sessions": sum(year["n_sessions"] for year in years),
            "target_sharpe": SCENARIOS[scenario].target_sharpe,
            "hold_rate_ratio": float(np.mean([year["hold_rate_ratio"] for year in years])),
            "trades_per_session": float(np.mean([year["trades_per_session"] for year in years])),
            "max_intraday_drawdown_ratio": max(year["max_intraday_drawdown_ratio"] for year in years),
            "net_bps": net,
            "net_low_bps": net_low,
            "net_high_bps": net_high,
            "years_met": sum(year["target_met"] for year in years),
        }
        if sharpes:
            value, low, high = over_years(years, "sharpe")
            chances = [year["probability_above_target"] for year in years]
            row |= {
                "sharpe": value,
                "sharpe_low": low,
                "sharpe_high": high,
                "least_sharpe": min(sharpes),
                "largest_sharpe": max(sharpes),
                "probability_above_target": float(np.mean(chances)),
            }
        pooled.append(row)
    return pooled


def pooled_pairs(pairs: Sequence[Row]) -> list[dict[str, Any]]:
    """Return a row for each scenario and baseline: the candidate less it."""
    pooled = []
    for (scenario, reference), years in groups(pairs, "scenario", "reference").items():
        mean, low, high = over_years(years, "difference_bps")
        pooled.append(
            {
                "kind": "scenario_pair",
                "scenario": scenario,
                "reference": reference,
                "name": name_of(reference),
                "n_years": len(years),
                "difference_bps": mean,
                "low_bps": low,
                "high_bps": high,
                "years_above": sum(year["low_bps"] > 0 for year in years),
                "years_below": sum(year["high_bps"] < 0 for year in years),
            }
        )
    return pooled


def pooled_costs(costs: Sequence[Row]) -> list[dict[str, Any]]:
    """Return a row for each scenario, policy and cost."""
    pooled = []
    for (scenario, policy, cost), years in groups(costs, "scenario", "policy", "cost_bps").items():
        net, low, high = over_years(years, "mean_net_bps")
        sharpe, sharpe_low, sharpe_high = over_years(years, "sharpe")
        pooled.append(
            {
                "kind": "scenario_cost",
                "scenario": scenario,
                "policy": policy,
                "name": name_of(policy),
                "cost_bps": cost,
                "n_years": len(years),
                "net_bps": net,
                "low_bps": low,
                "high_bps": high,
                "sharpe": sharpe,
                "sharpe_low": sharpe_low,
                "sharpe_high": sharpe_high,
                "turnover_ratio": float(np.mean([year["turnover_ratio"] for year in years])),
                "years_met": sum(year["sharpe"] >= SCENARIOS[scenario].target_sharpe for year in years),
            }
        )
    return pooled


def off_the_line_bps(costs: Sequence[Row], most_cost_bps: float) -> float | None:
    """Return how far net results lie off the line that turnover draws, in bp of NAV per session.

    With equal decisions the net result at a cost c is that at no cost less c times the turnover at c.

    Args:
        costs: Rows of sweeps, each with a point at no cost.
        most_cost_bps: Points of higher costs are left out.

    Returns:
        The largest distance; None without a sweep, NaN where a figure is NaN.
    """
    distances = []
    for points in groups(costs, "scenario", "year", "policy").values():
        [free] = [point["mean_net_bps"] for point in points if point["cost_bps"] == 0]
        distances += [
            abs(free - point["mean_net_bps"] - point["cost_bps"] * point["turnover_ratio"])
            for point in points
            if point["cost_bps"] <= most_cost_bps
        ]
    return largest(distances)


def rising_sweeps(costs: Sequence[Row]) -> int:
    """Return how many sweeps do not fall at every step; one without a step, or with a NaN, does not."""
    found = 0
    for points in groups(costs, "scenario", "year", "policy").values():
        ordered = sorted(points, key=lambda point: float(point["cost_bps"]))
        steps = np.diff([point["mean_net_bps"] for point in ordered])
        found += not (len(steps) > 0 and bool((steps < 0).all()))
    return found


def name_of(policy: str) -> str:
    """Return a policy as people read it."""
    return NAMES.get(policy, policy.replace("_", " "))
