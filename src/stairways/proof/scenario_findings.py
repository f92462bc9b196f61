"""What the scenario years show: what was pooled of them, and the bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stairways.proof.experiment import Bar, Findings
from stairways.proof.scenario_pooling import (
    CANDIDATE,
    Row,
    groups,
    pooled_costs,
    pooled_pairs,
    pooled_years,
    slopes,
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

BASELINES = ("gold", "tilted_gold", "random", "all_hold", "buy_and_hold")
CONTROLLED = (CANDIDATE, "tilted_gold")
HOLD_TARGET, HOLD_TOLERANCE = 0.55, 0.02
TRADES_TARGET, TRADES_TOLERANCE = 16.5, 1.5
SLOPE_TOLERANCE_BPS = 0.01
"""A millionth of NAV a session."""


def conclude(results: Mapping[str, Mapping[str, Any]]) -> Findings:
    """Pool the years of each scenario.

    Args:
        results: Of the cells: ``tune``, ``refusals`` and one for each year drawn.
    """
    years = [result for key, result in results.items() if key not in ("tune", "refusals")]
    rows = [row for year in years for row in year["policies"]]
    costs = [row for year in years for row in year["costs"]]
    large = [row for year in years for row in year["large_account_costs"]]
    pairs = [row for year in years for row in year["pairs"]]
    refusals = results["refusals"]["rows"]
    pooled, swept, paired = pooled_years(rows), pooled_costs(costs), pooled_pairs(pairs)
    return Findings(
        rows=[*pooled, *paired, *swept, *refusals, *rows, *pairs, *costs, *large],
        bars=[*_behaviour_bars(rows), *_cost_bars(costs, large), *_refusal_bars(refusals)],
        tables=[main_table(pooled), pair_table(paired), cost_table(swept), year_table(rows)],
        plots=[sharpe_plot(rows, pooled), cost_plot(swept)],
        text=text(rows, pooled, paired, cost_text(swept, slopes(costs)[0]), results["tune"]),
    )


def _behaviour_bars(rows: Sequence[Row]) -> list[Bar]:
    bars = []
    controlled = [row for row in rows if row["policy"] in CONTROLLED]
    for scenario, years in groups(controlled, "scenario").items():
        n = (
            f"{len(years) // len(CONTROLLED)} x {years[0]['n_sessions']} sessions, candidate and gold under "
            "the tilt, sampled"
        )
        hold = max(abs(year["hold_rate_ratio"] - HOLD_TARGET) for year in years)
        trades = max(abs(year["trades_per_session"] - TRADES_TARGET) for year in years)
        over = [year["sessions_over_drawdown_limit"] for year in years]
        share = sum(over) / sum(year["n_sessions"] for year in years)
        bars += [
            # a year is about twelve times the 20 sessions that tolerance is meant for
            _bar(
                f"{scenario[0]}: hold rate off its target, points, worst year",
                100 * hold,
                100 * HOLD_TOLERANCE,
                f"within {100 * HOLD_TOLERANCE:g} points of {HOLD_TARGET:.0%}",
                n,
            ),
            _bar(
                f"{scenario[0]}: trades off their target, worst year",
                trades,
                TRADES_TOLERANCE,
                f"within {TRADES_TOLERANCE:g} of {TRADES_TARGET:g}",
                n,
            ),
            _bar(
                f"{scenario[0]}: sessions with an intraday drawdown over 2 %, % of them",
                100 * share,
                1.0,
                "at most 1 % of sessions",
                n,
            ),
        ]
    complete = sum(
        {row["policy"] for row in years} >= {CANDIDATE, *BASELINES}
        for years in groups(rows, "scenario", "year").values()
    )
    n_years = len(groups(rows, "scenario", "year"))
    return [
        *bars,
        Bar(
            "years with all five baselines",
            complete,
            f"{n_years} of {n_years}",
            complete == n_years > 0,
        ),
    ]


def _cost_bars(costs: Sequence[Row], large: Sequence[Row]) -> list[Bar]:
    _, rising, different = slopes(costs)
    worst, large_rising, large_different = slopes(large)
    n_sweeps = len(groups(costs, "scenario", "year", "policy"))
    n_large = len(groups(large, "scenario", "year", "policy"))
    sweeps = f"{n_sweeps + n_large} sweeps of {len({point['cost_bps'] for point in costs})} costs"
    return [
        _bar("cost sweeps that do not fall at every step", rising + large_rising, 0, "0", sweeps),
        _bar("points of a sweep with other decisions", different + large_different, 0, "0", sweeps),
        Bar(
            "distance of a sweep from the line of slope turnover, bp",
            worst if n_large else None,
            f"at most {SLOPE_TOLERANCE_BPS:g} bp of NAV a session (1e-6)",
            n_large > 0 and worst <= SLOPE_TOLERANCE_BPS,
            f"{n_large} sweeps of an account in which whole shares round nothing away",
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


def _bar(name: str, observed: float, most: float, threshold: str, note: str = "") -> Bar:
    return Bar(name, observed, threshold, bool(observed <= most), note)
