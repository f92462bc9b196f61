"""What the scenario years show: what was pooled of them, and the bars."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from stairways.control.setpoints import SetPoints
from stairways.evaluation.gate_config import GateConfig
from stairways.proof.experiment import Bar, Findings
from stairways.proof.extremes import largest
from stairways.proof.scenario_pooling import (
    CANDIDATE,
    Row,
    groups,
    off_the_line_bps,
    pooled_costs,
    pooled_pairs,
    pooled_years,
    rising_sweeps,
)
from stairways.proof.scenario_report import (
    cost_plot,
    cost_table,
    cost_text,
    main_table,
    pair_table,
    sharpe_plot,
    text,
    year_table,
)
from stairways.trading.metrics import BPS
from stairways.tuning.scenarios import SCENARIOS

BASELINES = ("gold", "tilted_gold", "random", "all_hold", "buy_and_hold")
CONTROLLED = (CANDIDATE, "tilted_gold")
GATE, POINTS = GateConfig(), SetPoints()
HOLD_TARGET, HOLD_TOLERANCE = POINTS.hold_rate_ratio, 0.02
TRADES_TARGET, TRADES_TOLERANCE = POINTS.trades_per_session, 1.5
SLOPE_TOLERANCE_BPS = 0.01
"""A millionth of NAV a session."""
SMALL_COST_BPS = 2.0
"""Positions are sized from the NAV of the moment. Costs c take c x turnover of it in the course of a session,
5e-4 at 2 bp, and that share of a mean gross result of some 10 bp goes with it: 0.005 bp; whole shares add
about as much. At 10 bp it is five times the former, which is no error of a sweep."""


def conclude(results: Mapping[str, Mapping[str, Any]]) -> Findings:
    """Pool the years of each scenario.

    Args:
        results: Of the cells: ``tune``, ``refusals`` and one for each year drawn.
    """
    years = [result for key, result in results.items() if key not in ("tune", "refusals")]
    rows = [row for year in years for row in year["policies"]]
    costs = [row for year in years for row in year["costs"]]
    pairs = [row for year in years for row in year["pairs"]]
    refusals = results["refusals"]["rows"]
    pooled, swept, paired = pooled_years(rows), pooled_costs(costs), pooled_pairs(pairs)
    return Findings(
        rows=[*pooled, *paired, *swept, *refusals, *rows, *pairs, *costs],
        bars=[*_behaviour_bars(rows), *_cost_bars(costs), *_refusal_bars(refusals)],
        tables=[main_table(pooled), pair_table(paired), cost_table(swept), year_table(rows)],
        plots=[sharpe_plot(rows, pooled), cost_plot(swept)],
        text=text(rows, pooled, paired, cost_text(swept, off_the_line_bps(costs, math.inf)), results["tune"]),
    )


def _behaviour_bars(rows: Sequence[Row]) -> list[Bar]:
    bars = []
    controlled = groups([row for row in rows if row["policy"] in CONTROLLED], "scenario")
    for name in SCENARIOS:
        years = controlled.get((name,), [])
        if not years:
            bars.append(Bar(f"{name}: behaviour of the controlled policies", None, "measured", False))
            continue
        n = (
            f"{len(years) // len(CONTROLLED)} x {years[0]['n_sessions']} sessions, candidate and gold under "
            "the tilt, sampled"
        )
        hold = largest(100 * abs(year["hold_rate_ratio"] - HOLD_TARGET) for year in years)
        trades = largest(abs(year["trades_per_session"] - TRADES_TARGET) for year in years)
        over = [year["sessions_over_drawdown_limit"] for year in years]
        share = sum(over) / sum(year["n_sessions"] for year in years)
        bars += [
            # a year is about twelve times the 20 sessions that tolerance is meant for
            _bar(
                f"{name}: hold rate off its target, points, worst year",
                hold,
                100 * HOLD_TOLERANCE,
                f"within {100 * HOLD_TOLERANCE:g} points of {HOLD_TARGET:.0%}",
                n,
            ),
            _bar(
                f"{name}: trades off their target, worst year",
                trades,
                TRADES_TOLERANCE,
                f"within {TRADES_TOLERANCE:g} of {TRADES_TARGET:g}",
                n,
            ),
            _bar(
                f"{name}: sessions with an intraday drawdown over {GATE.max_drawdown_ratio:.0%}, % of them",
                100 * share,
                100 * GATE.max_sessions_over_ratio,
                f"at most {GATE.max_sessions_over_ratio:.0%} of sessions",
                n,
            ),
        ]
    complete = sum(
        {row["policy"] for row in drawn} >= {CANDIDATE, *BASELINES}
        for drawn in groups(rows, "scenario", "year").values()
    )
    n_years = len(groups(rows, "scenario", "year"))
    return [
        *bars,
        Bar(
            "years with every baseline",
            complete,
            f"{n_years} of {n_years}",
            complete == n_years > 0,
        ),
    ]


def _cost_bars(costs: Sequence[Row]) -> list[Bar]:
    n_sweeps = len(groups(costs, "scenario", "year", "policy"))
    sweeps = f"{n_sweeps} sweeps of {len({point['cost_bps'] for point in costs})} costs"
    within = f"at most {SLOPE_TOLERANCE_BPS:g} bp of NAV a session ({SLOPE_TOLERANCE_BPS / BPS:.0e})"
    return [
        _bar(
            "cost sweeps that do not fall at every step",
            rising_sweeps(costs) if costs else None,
            0,
            "0",
            sweeps,
        ),
        _bar(
            "points of a sweep with other decisions",
            sum(not point["decisions_equal"] for point in costs) if costs else None,
            0,
            "0",
            sweeps,
        ),
        _bar(
            "costs charged off cost times turnover, bp",
            largest(abs(p["costs_bps"] - p["cost_bps"] * p["turnover_ratio"]) for p in costs),
            SLOPE_TOLERANCE_BPS,
            within,
            sweeps,
        ),
        _bar(
            f"net results off the line of slope turnover, costs to {SMALL_COST_BPS:g} bp, bp",
            off_the_line_bps(costs, SMALL_COST_BPS),
            SLOPE_TOLERANCE_BPS,
            within,
            sweeps,
        ),
    ]


def _refusal_bars(asked: Sequence[Row]) -> list[Bar]:
    right = [row for row in asked if row["refused"] and row["dates_named"]]
    marked = [row for row in asked if row["figures_marked"] == row["figures"] and row["verdict_marked"]]
    return [
        Bar(
            "seen sessions refused, their dates named",
            len(right),
            f"{len(asked)} of {len(asked)}",
            len(right) == len(asked) > 0,
        ),
        Bar(
            "with --in-sample every figure and the verdict marked",
            len(marked),
            f"{len(asked)} of {len(asked)}",
            len(marked) == len(asked) > 0,
        ),
    ]


def _bar(name: str, observed: float | None, most: float, threshold: str, note: str = "") -> Bar:
    return Bar(name, observed, threshold, observed is not None and bool(observed <= most), note)
