"""The report on the scenario years: tables, pictures and words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from stairways.proof.experiment import Column, Plot, Table
from stairways.proof.scenario_pooling import CANDIDATE, Row, groups, name_of
from stairways.tuning.scenarios import SCENARIOS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Z_95 = 1.96


def main_table(pooled: Sequence[dict[str, Any]]) -> Table:
    """Return every policy in each scenario."""
    columns = (
        Column("scenario", "{scenario}"),
        Column("policy", "{name}"),
        Column("hold rate", "{hold_rate_ratio:.3f}"),
        Column("trades", "{trades_per_session:.2f}"),
        Column("Sharpe, mean of years [95 %]", "{sharpe:+.2f} [{sharpe_low:+.2f}, {sharpe_high:+.2f}]"),
        Column("least to largest", "{least_sharpe:+.2f} to {largest_sharpe:+.2f}"),
        Column("years that met the target", "{years_met} of {n_years}"),
        Column("P(true Sharpe > target), mean", "{probability_above_target:.2f}"),
        Column("net bp [95 %]", "{net_bps:+.2f} [{net_low_bps:+.2f}, {net_high_bps:+.2f}]"),
        Column("largest intraday drawdown", "{max_intraday_drawdown_ratio:.2%}"),
    )
    over = "t over the years" if pooled[0]["n_years"] > 1 else "of the one year's sessions"
    title = f"Scenario years, out of sample, sampled; hold rate of chance 1/9; intervals: {over}"
    return Table("scenarios", title, columns, pooled)


def pair_table(paired: Sequence[dict[str, Any]]) -> Table:
    """Return the paired differences."""
    columns = (
        Column("scenario", "{scenario}"),
        Column("candidate less", "{name}"),
        Column("bp per session [95 %]", "{difference_bps:+.2f} [{low_bps:+.2f}, {high_bps:+.2f}]"),
        Column("years with an interval above 0", "{years_above} of {n_years}"),
        Column("below 0", "{years_below} of {n_years}"),
    )
    return Table("differences", "The tuned candidate against each baseline, same sessions", columns, paired)


def cost_table(swept: Sequence[dict[str, Any]]) -> Table:
    """Return the cost sweep of the candidate."""
    columns = (
        Column("scenario", "{scenario}"),
        Column("cost, bp one way", "{cost_bps:g}"),
        Column("net bp [95 %]", "{net_bps:+.2f} [{low_bps:+.2f}, {high_bps:+.2f}]"),
        Column("Sharpe [95 %]", "{sharpe:+.2f} [{sharpe_low:+.2f}, {sharpe_high:+.2f}]"),
        Column("turnover", "{turnover_ratio:.3f}"),
        Column("years that met the target", "{years_met} of {n_years}"),
    )
    mine = [row for row in swept if row["policy"] == CANDIDATE]
    return Table("costs", "Cost sweep of the candidate: the same decisions at every cost", columns, mine)


def year_table(rows: Sequence[Row]) -> Table:
    """Return the candidate in each year."""
    columns = (
        Column("scenario", "{scenario}"),
        Column("market seed", "{market_seed}"),
        Column("Sharpe ± SE (n)", "{sharpe:+.2f} ± {sharpe_standard_error:.2f} ({n_sessions})"),
        Column("P(true Sharpe > target)", "{probability_above_target:.2f}"),
        Column("target", "{verdict}"),
        Column("hold rate", "{hold_rate_ratio:.3f}"),
        Column("trades", "{trades_per_session:.2f}"),
        Column("net bp [95 %]", "{mean_net_bps:+.2f} [{low_bps:+.2f}, {high_bps:+.2f}]"),
        Column("largest intraday drawdown", "{max_intraday_drawdown_ratio:.2%}"),
    )
    shown = [
        {**row, "verdict": "met" if row["target_met"] else "not met"}
        for row in rows
        if row["policy"] == CANDIDATE
    ]
    return Table("years", "The tuned candidate in each year", columns, shown)


def sharpe_plot(rows: Sequence[Row], pooled: Sequence[Row]) -> Plot:
    """Draw the Sharpe ratio of each year and policy."""

    def draw(figure: Figure) -> None:
        from stairways.reporting.drawing import PALETTE, add_axes

        every = [row["sharpe"] for row in rows if row["sharpe"] is not None]
        for place, scenario in enumerate(SCENARIOS):
            axes = add_axes(figure, (140 + 205 * place, 48, 185, 232))
            shown = [row for row in pooled if row["scenario"] == scenario and "sharpe" in row]
            for height, row in enumerate(reversed(shown)):
                years = _sharpes(rows, scenario, row["policy"])
                shade = _colour(row["policy"])
                axes.plot(years, [height] * len(years), "|", color=shade, ms=9, alpha=0.55)
                axes.plot([row["sharpe"]], [height], "o", color=shade, ms=5.5)
                axes.plot([row["sharpe_low"], row["sharpe_high"]], [height, height], color=shade, lw=2.2)
            axes.axvline(SCENARIOS[scenario].target_sharpe, color=PALETTE["ink"][0], lw=1.0, ls=(0, (4, 2)))
            axes.set_ylim(-0.6, len(shown) - 0.4)
            axes.set_xlim(min(every) - 0.4, max(every) + 0.4)
            names = [row["name"] for row in reversed(shown)] if place == 0 else [""] * len(shown)
            axes.set_yticks(range(len(shown)), names)
            axes.set_title(scenario.replace("_", " "), loc="left", fontsize=10)
            axes.set_xlabel("annual net Sharpe ratio", fontsize=9.5)
            axes.grid(axis="x")

    title = (
        "Annual net Sharpe ratio in each synthetic year (strokes), the mean of the years (dots) with its "
        "95 % interval, and the plan's target (dashed)."
    )
    return Plot("sharpe", title, draw, (770.0, 310.0))


def _sharpes(rows: Iterable[Row], scenario: str, policy: str) -> list[float]:
    mine = [row for row in rows if row["scenario"] == scenario and row["policy"] == policy]
    return [row["sharpe"] for row in mine if row["sharpe"] is not None]


def cost_plot(swept: Sequence[Row]) -> Plot:
    """Draw net results against the cost."""

    def draw(figure: Figure) -> None:
        from stairways.reporting.drawing import add_axes

        low, high = min(row["low_bps"] for row in swept), max(row["high_bps"] for row in swept)
        for place, scenario in enumerate(SCENARIOS):
            axes = add_axes(figure, (52 + 240 * place, 84, 205, 200))
            _draw_costs(axes, [row for row in swept if row["scenario"] == scenario])
            axes.set_ylim(low - 1.5, high + 1.5)
            axes.set_title(scenario.replace("_", " "), loc="left", fontsize=10)
            axes.set_xlabel("cost, bp one way", fontsize=9.5)
            if place == 0:
                axes.set_ylabel("net bp of NAV per session", fontsize=9.5)
                handles, labels = axes.get_legend_handles_labels()
                figure.legend(handles, labels, loc="lower left", ncols=3, frameon=False)

    title = (
        "Net result against the one-way cost, mean of the years with 95 % intervals: the same decisions at "
        "every cost, so each line falls by the turnover."
    )
    return Plot("costs", title, draw, (770.0, 320.0))


def _draw_costs(axes: Axes, swept: Sequence[Row]) -> None:
    from stairways.reporting.drawing import PALETTE
    from stairways.reporting.pictures import DASHES

    for place, ((policy,), points) in enumerate(groups(swept, "policy").items()):
        at = [point["cost_bps"] + 0.14 * (place - 1) for point in points]
        net = [point["net_bps"] for point in points]
        style, shade = DASHES.get(policy, "-"), _colour(policy)
        axes.plot(at, net, "o", ls=style, color=shade, ms=4, lw=1.4, label=points[0]["name"])
        for x, point in zip(at, points, strict=True):
            axes.plot([x, x], [point["low_bps"], point["high_bps"]], color=shade, lw=1.4)
    axes.axhline(0.0, color=PALETTE["muted"][0], lw=0.8)
    axes.grid(axis="y")


def _colour(policy: str) -> str:
    from stairways.reporting.drawing import PALETTE

    return PALETTE["candidate" if policy == CANDIDATE else policy][0]


def text(
    rows: Sequence[Row],
    pooled: Sequence[Row],
    paired: Sequence[Row],
    costs: str,
    tuned: Mapping[str, Any],
) -> str:
    """Say what was run and what came of it."""
    by_place = {(row["scenario"], row["policy"]): row for row in pooled}
    n_years = pooled[0]["n_years"]
    paragraphs = [
        f"SYNTHETIC years of 2022, 2023 and 2024, {n_years} of each, one-minute bars of NVDA and MSFT. "
        "The candidate was made by one `stairways tune` of the shipped gold on the planted sample market "
        f"({tuned['steps']:,} steps; its net Sharpe on {tuned['test']['n_sessions']:,} unseen sessions there "
        f"is {_number(tuned['sharpe'])} ± {_number(tuned['sharpe_standard_error'])}). Nothing was "
        "trained, tuned or calibrated on a scenario year: tilts start from what was saved with the artifact. "
        "Each year was run by `stairways backtest ARTIFACT --scenario NAME:SEED`. The regime score goes on "
        f"from the artifact's saved state; {max(r['neutral_regime_ratio'] for r in rows):.0%} of decisions "
        "were taken at a neutral regime. 2024 is called choppy as a label: its sessions are choppier, but "
        "prices rise over the year.",
        "**The target.** "
        + " ".join(_target_words(by_place[name, CANDIDATE], rows) for name in SCENARIOS)
        + f" {_verdict_words(by_place)} Without any skill the target is met by "
        + " and by ".join(
            f"{name_of(policy)} in {_years_met(policy, pooled)}" for policy in ("random", "buy_and_hold")
        )
        + f". It is no bar here: these policies were made on another market. {_one_year_words(rows)}",
        "**Against the baselines.** "
        + " ".join(_pair_words(name, paired) for name in SCENARIOS)
        + " A year is one draw of the market; the intervals "
        "of single years are in `results.json`.",
        costs,
    ]
    return "\n\n".join(paragraphs)


def _years_met(policy: str, pooled: Sequence[Row]) -> str:
    mine = [row for row in pooled if row["policy"] == policy]
    return f"{sum(row['years_met'] for row in mine)} of {sum(row['n_years'] for row in mine)} years"


def _mean_error(rows: Sequence[Row]) -> float:
    errors = [row["sharpe_standard_error"] for row in rows if row["policy"] == CANDIDATE]
    return float(np.mean(errors))


def _one_year_words(rows: Sequence[Row]) -> str:
    """Say what one year can show of the targets, by the standard error of its Sharpe ratio."""
    targets = sorted({SCENARIOS[row["scenario"]].target_sharpe for row in rows})
    error = _mean_error(rows)
    words = f"The Sharpe ratio of one year has a standard error of {error:.1f}"
    asked = " and ".join(f"{target:g}" for target in targets)
    if max(targets) < Z_95 * error:
        return f"{words}, so that one year can't tell {asked} from 0."
    return f"{words}; the targets are {asked}."


def _target_words(row: Row, rows: Sequence[Row]) -> str:
    chances = [
        year["probability_above_target"]
        for year in rows
        if year["scenario"] == row["scenario"] and year["policy"] == CANDIDATE
    ]
    return (
        f"In {row['scenario']} the candidate met {row['target_sharpe']:g} in {row['years_met']} of "
        f"{row['n_years']} years (mean Sharpe {_with_interval(row, 'sharpe')}; P(true Sharpe > target) "
        f"{min(chances):.2f} to {max(chances):.2f})."
    )


def _verdict_words(by_place: Mapping[tuple[str, str], Row]) -> str:
    means = {name: by_place[name, CANDIDATE]["sharpe"] for name in SCENARIOS}
    met = [name for name, value in means.items() if value >= SCENARIOS[name].target_sharpe]
    missed = [name for name in means if name not in met]
    words = [f"the target is met in the mean of the years in {', '.join(met)}"] if met else []
    words += [f"it is missed in {', '.join(missed)}"] if missed else []
    text = "; ".join(words)
    return f"{text[:1].upper()}{text[1:]}."


def _pair_words(scenario: str, paired: Sequence[Row]) -> str:
    mine = [row for row in paired if row["scenario"] == scenario]
    return (
        f"{scenario}, candidate less "
        + ", ".join(f"{row['name']} {_with_interval(row, 'difference_bps', 'bps')}" for row in mine)
        + " bp per session."
    )


def cost_text(swept: Sequence[Row], off_the_line_bps: float | None) -> str:
    """Say what costs do; ``off_the_line_bps`` is the largest distance of a sweep from its line."""
    return (
        "**Costs.** Decisions are drawn with the same numbers at every cost, so a sweep shows the price of "
        "trading alone. The candidate's mean net result, bp per session: "
        + "; ".join(_cost_words(name, swept) for name in SCENARIOS)
        + f". Up to {max(row['cost_bps'] for row in swept):g} bp a sweep lies at most "
        f"{_number(off_the_line_bps, 3)} bp off the line that its turnover draws: positions are sized from "
        "the NAV of the moment, in whole shares, and costs have lowered it."
    )


def _cost_words(scenario: str, swept: Sequence[Row]) -> str:
    mine = [row for row in swept if row["scenario"] == scenario and row["policy"] == CANDIDATE]
    return f"{scenario} " + ", ".join(f"{row['net_bps']:+.2f} at {row['cost_bps']:g} bp" for row in mine)


def _with_interval(row: Row, name: str, ends: str = "") -> str:
    low, high = (f"low_{ends}", f"high_{ends}") if ends else (f"{name}_low", f"{name}_high")
    return f"{row[name]:+.2f} [{row[low]:+.2f}, {row[high]:+.2f}]"


def _number(value: float | None, digits: int = 2) -> str:
    return "none" if value is None else f"{value:.{digits}f}"
