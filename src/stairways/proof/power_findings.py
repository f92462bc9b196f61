"""What the simulations of the gate's power found: tables, pictures, words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from stairways.evaluation.gate_config import GateConfig
from stairways.evaluation.power import CORRELATIONS, DIFFERENCES_ANNUAL, POWER, PairedPower
from stairways.proof.experiment import Column, Plot, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = dict[str, Any]
GATE = GateConfig()
NOMINAL = (1.0 - GATE.confidence) / 2.0
"""Share of intervals that lie above 0 where there is no difference."""
FEW_SESSIONS = 100
DETECTABLE_SESSIONS = (20, 60, 125, 250, 500, 1_000)


def binomial_error(ratio: float, n_runs: int) -> float:
    """Return the binomial standard error of a share whose true value is known."""
    return math.sqrt(ratio * (1.0 - ratio) / n_runs)


def _of(rows: Sequence[Row], kind: str) -> list[Row]:
    return [row for row in rows if row["kind"] == kind]


def _correlations(rows: Sequence[Row]) -> tuple[float, ...]:
    """Return the correlations of the tables, that of the sample market first."""
    return (_of(rows, "attained")[0]["gold_correlation"], *CORRELATIONS)


def tables(rows: Sequence[Row]) -> list[Table]:
    """Return the tables that people read."""
    power = "{ratio:.1%} [{low_ratio:.1%}, {high_ratio:.1%}]"
    return [
        Table(
            "power_needed",
            f"Sessions that show a true difference with {POWER:.0%} power, by formula and simulated",
            (
                Column("true difference, annual Sharpe", "{difference_annual:g}"),
                Column("correlation", "{correlation:g}"),
                Column("sessions by formula", "{n_sessions_by_formula:,}"),
                Column("sessions simulated", "{n_sessions:,}"),
                Column("power by formula", "{formula_ratio:.1%}"),
                Column("power simulated [95 %]", power),
                Column("runs", "{n_runs:,}"),
            ),
            _of(rows, "pair"),
        ),
        Table(
            "power_size",
            f"Accepted without any difference ({NOMINAL:.1%} is nominal), verdict against gold",
            (
                Column("sessions", "{n_sessions:,}"),
                Column("accepted [95 %]", power),
                Column("runs", "{n_runs:,}"),
            ),
            _of(rows, "size"),
        ),
        Table(
            "power_joint",
            "All three verdicts on skill together, policies as alike as on the sample market",
            (
                Column("candidate", "{scenario}"),
                Column(
                    "true Sharpe: candidate, gold, random",
                    "{candidate_annual:g}, {gold_annual:g}, {random_annual:g}",
                ),
                Column("sessions", "{n_sessions:,}"),
                Column("accepted by formula", "{formula_ratio:.1%}"),
                Column("accepted, simulated [95 %]", power),
                Column("runs", "{n_runs:,}"),
            ),
            _of(rows, "joint"),
        ),
        Table(
            "power_detectable",
            f"Least true difference of annual Sharpe ratios that is shown with {POWER:.0%} power",
            (
                Column("sessions", "{n_sessions:,}"),
                *(
                    Column(f"r = {value:.2f}", "{" + _column(value) + ":.2f}")
                    for value in _correlations(rows)
                ),
            ),
            _detectable(rows),
        ),
        Table(
            "power_attained",
            "How alike policies are on the sample market (SYNTHETIC)",
            (
                Column("candidate and gold [95 %]", _ATTAINED),
                Column("candidate and random", "{random_correlation:.2f}"),
                Column("gold and random", "{gold_random_correlation:.2f}"),
                Column("volatility of gold", "{gold_volatility_ratio:.2f} of the candidate's"),
                Column("volatility of random", "{random_volatility_ratio:.2f} of the candidate's"),
                Column("sessions", "{n_sessions:,}"),
                Column("mode", "{mode}"),
            ),
            _of(rows, "attained"),
        ),
    ]


_ATTAINED = "{gold_correlation:.2f} [{gold_correlation_low:.2f}, {gold_correlation_high:.2f}]"


def _column(correlation: float) -> str:
    return f"at_{round(1_000 * correlation)}"


def _detectable(rows: Sequence[Row]) -> list[Row]:
    return [
        {
            "n_sessions": n,
            **{_column(r): PairedPower(r).least_detectable_annual(n) for r in _correlations(rows)},
        }
        for n in DETECTABLE_SESSIONS
    ]


def needed_plot(rows: Sequence[Row]) -> Plot:
    """Return the sessions needed over the true difference, a line for each correlation."""
    attained, pairs = _of(rows, "attained")[0], _of(rows, "pair")

    def draw(figure: Figure) -> None:
        from stairways.reporting.drawing import PALETTE, add_axes

        axes = add_axes(figure, (70, 55, 560, 300))
        differences = np.linspace(0.4, 2.5, 60)
        least = GATE.min_sessions
        roles = ("all_hold", "gold", "tilted_gold", "random", "buy_and_hold", "candidate")
        for correlation, role in zip(_correlations(rows), roles, strict=True):
            formula = PairedPower(correlation)
            # drawn without rounding up, so that the line is smooth
            reach = formula.least_detectable_annual(1)
            sessions = (reach / differences) ** 2
            sample = correlation == attained["gold_correlation"]
            colour = PALETTE[role][0]
            axes.plot(differences, sessions, color=colour, linestyle="--" if sample else "-")
            label = f"r = {correlation:.2f}" + (" (sample)" if sample else "")
            axes.annotate(
                label, (differences[-1], sessions[-1]), xytext=(6, 0), textcoords="offset points",
                color=colour, va="center", annotation_clip=False,
            )  # fmt: skip
            points = [row for row in pairs if row["correlation"] == correlation]
            axes.plot(
                [row["difference_annual"] for row in points],
                [row["n_sessions_by_formula"] for row in points],
                "o", color=colour, markersize=4,
            )  # fmt: skip
        axes.axhline(least, color=PALETTE["muted"][0], linewidth=0.8, linestyle=":")
        axes.text(
            0.42,
            1.08 * least,
            f"the gate judges nothing below {least}",
            color=PALETTE["muted"][0],
            fontsize=9,
        )
        axes.set_yscale("log")
        axes.set_yticks([10, 100, 1_000, 10_000], ["10", "100", "1,000", "10,000"])
        axes.set_xlim(0.4, 2.5)
        axes.set_xlabel("true difference of annual Sharpe ratios")
        axes.set_ylabel(f"sessions for {100 * POWER:.0f} % power")
        axes.grid(visible=True)

    return Plot(
        "power_needed_plot",
        f"Sessions that show a true difference with {POWER:.0%} power, by formula, for several correlations "
        "of the two policies' returns; dots are the cases simulated, the dashed line is the correlation of a "
        "candidate with gold on the sample market.",
        draw,
    )


def _below_words(pairs: Sequence[Row]) -> str:
    """Say which cases the formula asks fewer sessions for than the gate judges."""
    below = [row for row in pairs if row["n_sessions"] > row["n_sessions_by_formula"]]
    if not below:
        return ""
    cases = ", ".join(f"{row['difference_annual']:g} at r {row['correlation']:g}" for row in below)
    return f" Fewer than {GATE.min_sessions} sessions, which the gate does not judge, would do for {cases}."


def power_plot(pairs: Sequence[Row]) -> Plot:
    """Return the simulated power at the formula's sessions."""

    def draw(figure: Figure) -> None:
        from stairways.reporting.drawing import PALETTE, add_axes

        axes = add_axes(figure, (70, 55, 650, 290))
        axes.axhline(100 * POWER, color=PALETTE["muted"][0], linewidth=1.0, linestyle="--")
        looks = zip(DIFFERENCES_ANNUAL, ("gold", "candidate", "random"), ("s", "o", "^"), strict=True)
        for place, (difference, role, marker) in enumerate(looks):
            # equal numbers of sessions stand side by side
            aside = 1.04 ** (place - 1)
            points = [row for row in pairs if row["difference_annual"] == difference]
            if not points:
                continue
            shares = np.array([100 * row["ratio"] for row in points])
            ends = np.array([[100 * row["low_ratio"], 100 * row["high_ratio"]] for row in points]).T
            axes.errorbar(
                [aside * row["n_sessions"] for row in points], shares, yerr=np.abs(ends - shares),
                fmt=marker, color=PALETTE[role][0], capsize=3, label=f"{difference:g}",
            )  # fmt: skip
        axes.set_xscale("log")
        axes.set_xticks([20, 50, 100, 200, 500, 1_000, 2_000, 5_000])
        axes.set_xticklabels(["20", "50", "100", "200", "500", "1,000", "2,000", "5,000"])
        axes.minorticks_off()
        axes.set_xlabel(f"sessions, as many as the formula asks for ({GATE.min_sessions} at least)")
        axes.set_ylabel("simulated power, %")
        axes.set_ylim(70, 95)
        axes.set_yticks([70, 75, 80, 85, 90, 95])
        axes.grid(axis="y")
        axes.legend(frameon=False, title="true difference", loc="upper right")

    return Plot(
        "power_simulated_plot",
        "Power of the gate's own test at the sessions of the formula, t(4) returns; bars are 95 % intervals, "
        f"the dashed line is {POWER:.0%}.{_below_words(pairs)}",
        draw,
    )


def text(rows: Sequence[Row]) -> str:
    """Return what it means, in paragraphs."""
    attained = _of(rows, "attained")[0]
    formula = PairedPower(attained["gold_correlation"])
    at_sample = ", ".join(f"{formula.sessions_needed(d):,} for {d:g}" for d in DIFFERENCES_ANNUAL)
    paragraphs = [
        "The gate's own judges are asked, on session returns with t(4) tails that are drawn independently, "
        "candidate and reference with equal volatility and a given correlation. The formula is "
        "n = (z + z)² · 2(1 - r) · 252 / D². It knows the spread, which the bootstrap must estimate.",
        "What is attained: gold under the tilt, which stands for a candidate, correlates with untouched gold "
        f"by {attained['gold_correlation']:.2f} [{attained['gold_correlation_low']:.2f}, "
        f"{attained['gold_correlation_high']:.2f}] on {attained['n_sessions']:,} sessions of the sample "
        f"market ({attained['mode']}), and with random trading by {attained['random_correlation']:.2f}. At "
        f"that correlation the formula asks for {at_sample} of annual Sharpe. {_few_words()}",
        _size_text(rows),
        _joint_text(rows),
    ]
    return "\n\n".join(paragraphs)


def _few_words() -> str:
    """Say which of the correlations looked at would let fewer than a hundred sessions do, by difference."""
    found = {
        difference: [r for r in CORRELATIONS if PairedPower(r).sessions_needed(difference) < FEW_SESSIONS]
        for difference in DIFFERENCES_ANNUAL
    }
    said = "; ".join(
        f"of {difference:g} from r = {min(alike):g} on"
        if alike
        else f"of {difference:g} at no r up to {max(CORRELATIONS):g}"
        for difference, alike in found.items()
    )
    return f"Fewer than {FEW_SESSIONS} sessions show a true difference, of the table's correlations: {said}."


def _size_text(rows: Sequence[Row]) -> str:
    sizes = _of(rows, "size")
    listed = ", ".join(f"{row['ratio']:.1%} at {row['n_sessions']:,}" for row in sizes)
    over = [row for row in sizes if row["ratio"] > NOMINAL + 2.0 * binomial_error(NOMINAL, row["n_runs"])]
    said = (
        f"Without any difference one verdict alone accepts {listed} sessions, where {NOMINAL:.1%} is nominal."
    )
    if not over:
        return said
    return (
        f"{said} That is more than chance explains in {len(over)} of {len(sizes)} cases: fat tails make a "
        "short sample look more certain than it is. No bar was widened for it; what was tried against it "
        "stands with the statistics."
    )


def _joint_text(rows: Sequence[Row]) -> str:
    skilled = [row for row in _of(rows, "joint") if row["scenario"] != "no skill"]
    [none] = [row for row in _of(rows, "joint") if row["scenario"] == "no skill"]
    cases = "; ".join(
        f"a true Sharpe ratio of {row['candidate_annual']:g} beside gold's {row['gold_annual']:g} and "
        f"random's {row['random_annual']:g} needs {row['n_sessions']:,} sessions"
        for row in skilled
    )
    return (
        f"The gate asks for all three verdicts. With the likeness and the volatilities of the sample market, "
        f"{POWER:.0%} power: {cases}. Where nobody has any skill, all three pass in {none['ratio']:.2%} of "
        f"{none['n_runs']:,} runs."
    )
