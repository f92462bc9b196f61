"""What the checks of the statistics found: tables, pictures, words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from stairways.evaluation.gate_config import GateConfig
from stairways.proof.experiment import Column, Plot, Table
from stairways.proof.extremes import largest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = dict[str, Any]
NOMINAL = GateConfig().confidence
TAIL = (1.0 - NOMINAL) / 2.0
"""Share of intervals that may lie on one side of the truth."""

LAW_WORDS = {
    "normal": "normal",
    "skewed": "skewness -1",
    "t4": "t(4)",
    "autocorrelated": "t(4), autocorrelation 0.15",
}


def two_errors(ratio: float, n_runs: int) -> float:
    """Return two binomial standard errors of a share whose true value is known."""
    return 2.0 * math.sqrt(ratio * (1.0 - ratio) / n_runs)


def tables(checks: Sequence[Row], by_kind: Mapping[str, Sequence[Row]]) -> list[Table]:
    """Return the tables that people read."""
    coverage = [
        {"what": "probabilistic Sharpe", **row, "words": LAW_WORDS[row["law"]]}
        for row in by_kind["sharpe_coverage"]
    ]
    coverage += [
        {
            "what": "gate's interval",
            **row,
            "words": LAW_WORDS[row["law"]],
            "too_high_ratio": row["claimed_ratio"],
        }
        for row in by_kind["interval_coverage"]
    ]
    return [
        Table(
            "statistics_closed",
            "Closed forms beside another source",
            (
                Column("statistic", "{statistic}"),
                Column("case", "{case}"),
                Column("here", "{ours:.10g}"),
                Column("there", "{theirs:.10g}"),
                Column("difference", "{difference:.1e}"),
                Column("allowed", "{tolerance:.0e}"),
                Column("source", "{source}"),
            ),
            checks,
        ),
        Table(
            "statistics_coverage",
            f"Share of runs whose {NOMINAL:.0%} interval holds the truth",
            (
                Column("statistic", "{what}"),
                Column("returns", "{words}"),
                Column("sessions", "{n_sessions:,}"),
                Column(f"coverage ({NOMINAL:.0%} is right)", "{coverage_ratio:.1%}"),
                Column(f"truth below the interval ({TAIL:.1%} is right)", "{too_high_ratio:.1%}"),
                Column(
                    "coverage of bootstrap-t alone",
                    "{bootstrap_t_coverage_ratio:.1%}",
                ),
                Column("runs", "{n_runs:,}"),
            ),
            coverage,
        ),
        Table(
            "statistics_choice",
            f"Skill claimed, with {NOMINAL:.0%}, of the best of several trials",
            (
                Column("trials", "{n_trials}"),
                Column("true annual Sharpe of one of them", "{edge_annual:g}"),
                Column("deflated", "{deflated_ratio:.1%}"),
                Column("not deflated", "{undeflated_ratio:.1%}"),
                Column("sessions", "{n_sessions:,}"),
                Column("runs", "{n_runs:,}"),
            ),
            by_kind["deflation_rate"],
        ),
        Table(
            "statistics_overfitting",
            "Probability of backtest overfitting",
            (
                Column("trials", "{n_trials}"),
                Column("true annual Sharpe of one of them", "{edge_annual:g}"),
                Column("measured ± s.e.", "{probability:.3f} ± {standard_error:.3f}"),
                Column("by chance", "{chance_probability:.3f}"),
                Column("probability of loss", "{loss_probability:.3f}"),
                Column("sessions", "{n_sessions:,}"),
                Column("matrices", "{n_runs}"),
            ),
            by_kind["overfitting_rate"],
        ),
    ]


def coverage_plot(rows: Sequence[Row]) -> Plot:
    """Return the gate's interval by law and sessions, with binomial intervals."""

    def draw(figure: Figure) -> None:
        from stairways.evaluation.power_simulation import Acceptance
        from stairways.reporting.drawing import PALETTE, add_axes

        axes = add_axes(figure, (70, 55, 650, 290))
        axes.axhline(100 * NOMINAL, color=PALETTE["muted"][0], linewidth=1.0, linestyle="--")
        laws = list(dict.fromkeys(row["law"] for row in rows))
        sizes = sorted({row["n_sessions"] for row in rows})
        looks = {"normal": ("candidate", "o"), "t4": ("tilted_gold", "s"), "autocorrelated": ("random", "^")}
        for offset, law in enumerate(laws):
            role, marker = looks[law]
            of_law = sorted((row for row in rows if row["law"] == law), key=lambda row: row["n_sessions"])
            places = [
                sizes.index(row["n_sessions"]) + 0.12 * (offset - (len(laws) - 1) / 2) for row in of_law
            ]
            shares = [100 * row["coverage_ratio"] for row in of_law]
            ends = np.array(
                [Acceptance(round(r["coverage_ratio"] * r["n_runs"]), r["n_runs"]).interval() for r in of_law]
            )
            reach = np.abs(100 * ends.T - shares)
            axes.errorbar(
                places,
                shares,
                yerr=reach,
                fmt=marker,
                color=PALETTE[role][0],
                capsize=3,
                label=LAW_WORDS[law],
            )
        axes.set_xticks(range(len(sizes)), [f"{size:,}" for size in sizes])
        axes.set_xlim(-0.5, len(sizes) - 0.5)
        axes.set_xlabel("sessions")
        axes.set_ylabel("coverage of the 95 % interval, %")
        axes.grid(axis="y")
        axes.legend(frameon=False, loc="lower right", title="paired differences")

    return Plot(
        "statistics_coverage_plot",
        "How often the gate's 95 % interval holds the true difference; bars are 95 % intervals of the share, "
        "the dashed line is the nominal level.",
        draw,
    )


def claims_plot(rows: Sequence[Row]) -> Plot:
    """Return how often skill is claimed of noise, with and without deflation."""
    noise = sorted((row for row in rows if row["edge_annual"] == 0.0), key=lambda row: row["n_trials"])

    def draw(figure: Figure) -> None:
        from stairways.evaluation.power_simulation import Acceptance
        from stairways.reporting.drawing import PALETTE, add_axes

        axes = add_axes(figure, (70, 55, 650, 290))
        trials = np.arange(1, 61)
        axes.plot(trials, 100 * (1 - NOMINAL**trials), color=PALETTE["muted"][0], label=f"1 - {NOMINAL:g}^N")
        looks = (
            ("undeflated_ratio", "random", "s", "not deflated"),
            ("deflated_ratio", "candidate", "o", "deflated"),
        )
        for name, role, marker, label in looks:
            shares = [100 * row[name] for row in noise]
            ends = np.array([Acceptance(round(r[name] * r["n_runs"]), r["n_runs"]).interval() for r in noise])
            reach = np.abs(100 * ends.T - shares)
            axes.errorbar(
                [row["n_trials"] for row in noise], shares, yerr=reach, fmt=marker, color=PALETTE[role][0],
                capsize=3, label=label,
            )  # fmt: skip
        level = 100 * (1 - NOMINAL)
        axes.axhline(level, color=PALETTE["band"][0], linewidth=1.0, linestyle="--", label=f"{level:.0f} %")
        axes.set_xlim(0, 60)
        axes.set_ylim(-3, 100)
        axes.set_xlabel("trials of noise, the best of which was chosen")
        axes.set_ylabel("runs that claim skill, %")
        axes.grid(axis="y")
        axes.legend(frameon=False, loc="center right")

    return Plot(
        "statistics_claims_plot",
        "How often the best of several trials without skill is claimed to have some with 95 %; bars are 95 % "
        "intervals of the share.",
        draw,
    )


def text(by_kind: Mapping[str, Sequence[Row]]) -> str:
    """Return what it means, in paragraphs."""
    paragraphs = [
        "Closed forms are held against worked examples as the papers print them, and against full digits of "
        "other implementations: skfolio runs here; the figures of pypbo and fynance were taken once, those "
        "of the cross-validation on a matrix that a formula gives exactly. Rates are simulated where the "
        f"truth is known: {NOMINAL:.0%} must be right in {NOMINAL:.0%} of runs, up to 2 binomial standard "
        "errors.",
        _deflation_text(by_kind["deflation_rate"]),
        _interval_text(by_kind["interval_coverage"]),
        _arch_text(by_kind["resampling_of_arch"][0]),
    ]
    fat = [row for row in by_kind["sharpe_coverage"] if row["law"] == "t4"]
    if fat:
        paragraphs.insert(
            1,
            f"The probabilistic Sharpe ratio of t(4) returns covers {fat[0]['coverage_ratio']:.1%}, where "
            f"{NOMINAL:.0%} is nominal. It has no bar: the formula needs a fourth moment, which that law "
            "lacks. Verdicts on skill rest on the paired interval instead.",
        )
    return "\n\n".join(paragraphs)


def _deflation_text(rows: Sequence[Row]) -> str:
    """Say how often the deflated ratio claims skill of noise, what it misses, and whether that is careful."""
    level = 1.0 - NOMINAL
    on_noise = [row for row in rows if row["edge_annual"] == 0.0]
    noise = "; ".join(
        f"of {row['n_trials']} trials of noise it claims skill in {row['deflated_ratio']:.1%} of runs, where "
        f"the plain probability claims it in {row['undeflated_ratio']:.0%}"
        for row in on_noise
    )
    skilled = " ".join(
        f"One true annual Sharpe ratio of {row['edge_annual']:g} among {row['n_trials']} trials is found in "
        f"{row['deflated_ratio']:.0%} of runs of {row['n_sessions']} sessions, by the plain probability in "
        f"{row['undeflated_ratio']:.0%}."
        for row in rows
        if row["edge_annual"] != 0.0
    )
    most = largest(row["deflated_ratio"] - two_errors(level, row["n_runs"]) for row in on_noise)
    if most is None:
        return f"The deflated Sharpe ratio was not asked of noise. {skilled}".strip()
    verdict = (
        f"claims no more than the {level:.0%} that it may"
        if most <= level
        else f"claims more than the {level:.0%} that it may"
    )
    return f"The deflated Sharpe ratio {verdict}: {noise}. {skilled}".strip()


def _arch_text(row: Row) -> str:
    share = row["equal_block_length_ratio"]
    words = f"The block length equals arch's to 1e-6 in {share:.0%} of {row['n_series']} series."
    if share == 1.0:
        return words
    return (
        f"{words} Elsewhere an autocorrelation lies on the bound of significance: arch scales it by the "
        "sessions it spans, the paper (Politis and White 2004) by all of them, as here."
    )


def _interval_text(rows: Sequence[Row]) -> str:
    plain = "; ".join(
        f"{LAW_WORDS[row['law']]} at {row['n_sessions']:,} sessions {row['bootstrap_t_coverage_ratio']:.1%} "
        f"and {row['bootstrap_t_claimed_ratio']:.1%}"
        for row in rows
    )
    alone = (
        "The gate's paired interval is a bootstrap-t one that is nowhere narrower than Student's. Alone, "
        f"bootstrap-t covers the truth, and claims a gain that is not there ({TAIL:.1%} is nominal), in "
        f"these shares of runs: {plain}."
    )
    short = [row for row in rows if not row["coverage_ratio"] >= NOMINAL - two_errors(NOMINAL, row["n_runs"])]
    if not short:
        return (
            f"{alone} The gate's interval covers no less than its nominal {NOMINAL:.0%} wherever it was "
            "asked here, up to 2 binomial standard errors."
        )
    cases = "; ".join(
        f"{LAW_WORDS[row['law']]} at {row['n_sessions']:,} sessions: {row['coverage_ratio']:.1%}, and "
        f"{row['claimed_ratio']:.1%} of runs claim a gain that is not there"
        for row in short
    )
    dependent = [row for row in short if row["law"] == "autocorrelated"]
    why = (
        f" Autocorrelated among them: {len(dependent)} of {len(short)}; such samples show too little of "
        "their own dependence."
        if dependent
        else ""
    )
    return (
        f"{alone} The gate's interval too falls short of {NOMINAL:.0%}: {cases}.{why} The verdicts on skill "
        "must pass together, which accepts less than each alone."
    )
