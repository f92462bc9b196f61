"""What the simulations of the triggers found: tables, pictures, words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from stairways.evaluation.trigger_config import TriggerConfig
from stairways.proof.experiment import Column, Plot, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = dict[str, Any]
CONFIG = TriggerConfig()
LAW_WORDS = {
    "normal": "normal",
    "t3": "t(3)",
    "rare_losses": "skewness -1",
    "rare_gains": "skewness +1",
    "clustered": "GARCH(0.1, 0.88)",
    "autocorrelated": "autocorrelation 0.1 (not promised)",
}


def _of(rows: Sequence[Row], kind: str) -> list[Row]:
    return [{**row, "words": LAW_WORDS[row["law"]]} for row in rows if row["kind"] == kind]


def _interval(rule: str, what: str, digits: str) -> str:
    names = f"{rule}_{what}", f"{rule}_{what.removesuffix('_ratio')}"
    return f"{{{names[0]}:{digits}}} [{{{names[1]}_low:{digits}}}, {{{names[1]}_high:{digits}}}]"


def _waited(row: Row, rule: str) -> str:
    """Return median and 90 % quantile of a delay; what lies beyond the sessions drawn as such."""
    beyond = f"> {row[f'{rule}_horizon_sessions']:,}"
    found = (row[f"{rule}_median_sessions"], row[f"{rule}_most_sessions"])
    return " / ".join(beyond if value is None else f"{value:,}" for value in found)


def tables(rows: Sequence[Row]) -> list[Table]:
    """Return the tables that people read."""
    late = [
        {**row, "sequential": _waited(row, "sequential"), "sharpe_rule": _waited(row, "sharpe")}
        for row in _of(rows, "delay")
    ]
    return [
        Table(
            "triggers_false_alarms",
            "Alarms where nothing changes: at a true Sharpe ratio of 0 the mean is exactly the floor",
            (
                Column("true Sharpe", "{sharpe:g}"),
                Column("returns", "{words}"),
                Column("volatility", "{volatility_ratio:.2%}"),
                Column("sequential: alarms per year [95 %]", _interval("sequential", "per_year", ".3f")),
                Column("any in the first year [95 %]", _interval("sequential", "first_year_ratio", ".1%")),
                Column("Sharpe rule: alarms per year [95 %]", _interval("sharpe", "per_year", ".2f")),
                Column("any in the first year [95 %]", _interval("sharpe", "first_year_ratio", ".1%")),
                Column("accounts", "{n_runs:,}"),
            ),
            sorted(_of(rows, "false"), key=lambda row: row["sharpe"]),
        ),
        Table(
            "triggers_delays",
            "Sessions from a change to the alarm",
            (
                Column("Sharpe after the change", "{sharpe:g}"),
                Column("good sessions before", "{good}"),
                Column("returns", "{words}"),
                Column("sequential: median / 90 %", "{sequential}"),
                Column("mean", "{sequential_mean_sessions:,.0f}"),
                Column("mean of the best rule that knows all, at its worst", "{least_mean_sessions:,.0f}"),
                Column("Sharpe rule: median / 90 %", "{sharpe_rule}"),
                Column("accounts", "{n_runs:,}"),
            ),
            sorted(late, key=lambda row: (-row["sharpe"], row["good"])),
        ),
        Table(
            "triggers_rates",
            "What another promised rate does, normal returns",
            (
                Column("promised alarms per year", "{promised_per_year:g}"),
                Column("true Sharpe", "{sharpe:g}"),
                Column("alarms per year [95 %]", _interval("sequential", "per_year", ".3f")),
                Column("any in the first year [95 %]", _interval("sequential", "first_year_ratio", ".1%")),
                Column("accounts", "{n_runs:,}"),
            ),
            _of(rows, "rate"),
        ),
    ]


def _usual(rows: Sequence[Row]) -> list[Row]:
    """Return the rows of false alarms at the volatility that most of them share."""
    found = _of(rows, "false")
    usual = min(row["volatility_ratio"] for row in found)
    return [row for row in found if row["volatility_ratio"] == usual]


def false_plot(rows: Sequence[Row]) -> Plot:
    """Return the share of accounts with an alarm in their first year, both rules."""

    def draw(figure: Figure) -> None:
        from stairways.reporting.drawing import PALETTE, add_axes

        axes = add_axes(figure, (70, 55, 650, 290))
        looks = {
            "sequential": ("candidate", "o", "sequential test"),
            "sharpe": ("random", "s", "Sharpe rule"),
        }
        found = _usual(rows)
        sharpes = sorted({row["sharpe"] for row in found})
        laws = list(dict.fromkeys(row["law"] for row in found))
        for rule, (role, marker, label) in looks.items():
            places = [
                sharpes.index(row["sharpe"]) + 0.1 * (laws.index(row["law"]) - (len(laws) - 1) / 2)
                for row in found
            ]
            shares = [100 * row[f"{rule}_first_year_ratio"] for row in found]
            axes.plot(places, shares, marker, color=PALETTE[role][0], label=label, markersize=5)
        promised = 100 * CONFIG.net_return.false_alarms_per_year
        axes.axhline(promised, color=PALETTE["muted"][0], linewidth=1.0, linestyle="--")
        axes.set_xticks(range(len(sharpes)), [f"{sharpe:g}" for sharpe in sharpes])
        axes.set_ylim(-3, 103)
        axes.set_xlabel("true annual Sharpe ratio, a dot for each law of returns")
        axes.set_ylabel("accounts with an alarm in the first year, %")
        axes.grid(axis="y")
        axes.legend(frameon=False, loc="center right")

    return Plot(
        "triggers_false_plot",
        "Share of accounts on which a rule alarms in the first year although nothing changes; the dashed "
        "line is what the sequential test promises at most where the mean is at the floor.",
        draw,
    )


def delay_plot(rows: Sequence[Row]) -> Plot:
    """Return median and 90 % quantile of the sequential test's delay after the most good sessions."""

    def draw(figure: Figure) -> None:
        from stairways.reporting.drawing import PALETTE, add_axes

        axes = add_axes(figure, (70, 55, 650, 290))
        late = _of(rows, "delay")
        good = max(row["good"] for row in late)
        for law, role, marker in (("normal", "candidate", "o"), ("t3", "tilted_gold", "s")):
            found = sorted(
                (row for row in late if (row["law"], row["good"]) == (law, good)),
                key=lambda row: row["sharpe"],
            )
            places = [row["sharpe"] for row in found]
            for name, dash, word in (("median", "-", "median"), ("most", "--", "90 %")):
                waited = [row[f"sequential_{name}_sessions"] or math.nan for row in found]
                label = f"{LAW_WORDS[law]}, {word}"
                axes.plot(
                    places, waited, dash, marker=marker, color=PALETTE[role][0], label=label, markersize=5
                )
        axes.set_yscale("log")
        axes.set_yticks([20, 50, 100, 200, 500, 1_000, 2_000])
        axes.set_yticklabels(["20", "50", "100", "200", "500", "1,000", "2,000"])
        axes.minorticks_off()
        axes.set_xlabel(f"true annual Sharpe ratio after {good} good sessions")
        axes.set_ylabel("sessions to the alarm")
        axes.grid(visible=True)
        axes.legend(frameon=False, loc="upper left")

    return Plot(
        "triggers_delay_plot",
        "Sessions that the sequential test takes to alarm after a change for the worse, by the Sharpe ratio "
        "after it.",
        draw,
    )


def text(rows: Sequence[Row]) -> str:
    """Return what it means, in paragraphs."""
    paragraphs = [_setting_text(rows), _false_text(rows), _delay_text(rows)]
    return "\n\n".join(paragraphs)


def _setting_text(rows: Sequence[Row]) -> str:
    test, usual = CONFIG.net_return, _usual(rows)[0]
    bets = ", ".join(f"-{sharpe:g}" for sharpe in test.designed_sharpes)
    return (
        f"Sequential test: floor {test.floor_ratio:g}, gains capped at {test.gain_bound_ratio:.0%}, bets for "
        f"Sharpe ratios of {bets}, alarm at evidence of {test.threshold:,.0f}, at most "
        f"{test.false_alarms_per_year:g} false alarms a year promised. Sharpe rule: the ratio of "
        f"{CONFIG.sharpe_window_sessions} sessions below {CONFIG.sharpe_bar_annual:g} at "
        f"{CONFIG.sharpe_run_sessions} closes in a row. Both meet the same accounts and start afresh after "
        f"an alarm. Session returns have a deviation of {usual['volatility_ratio']:.2%} unless another is "
        "named; good sessions before a change have a true Sharpe ratio of 2."
    )


def _false_text(rows: Sequence[Row]) -> str:
    found = _usual(rows)
    said = "; ".join(
        f"{min(rates):.3f} to {max(rates):.3f} a year at {sharpe:g}"
        for sharpe in sorted({row["sharpe"] for row in found})
        if (rates := [row["sequential_per_year"] for row in found if row["sharpe"] == sharpe])
    )
    rule = "; ".join(
        f"{min(shares):.1%} to {max(shares):.1%} at {sharpe:g}"
        for sharpe in sorted({row["sharpe"] for row in found})
        if (shares := [row["sharpe_first_year_ratio"] for row in found if row["sharpe"] == sharpe])
    )
    return (
        f"Over the laws the sequential test alarms {said} of true Sharpe. The Sharpe rule trips within the "
        f"first year in {rule}: it tells next to nothing about a model, so it alerts and never rolls back. "
        "The guarantee holds for returns whose mean, given the past, is at the floor; autocorrelated returns "
        "are not among them and stand here all the same."
    )


def _delay_text(rows: Sequence[Row]) -> str:
    late = _of(rows, "delay")
    good = max(row["good"] for row in late)
    said = "; ".join(
        f"{row['sharpe']:g}: {_waited(row, 'sequential')}"
        for row in late
        if (row["good"], row["law"]) == (good, "normal")
    )
    return (
        f"After {good} good sessions, normal returns, median / 90 % of the sessions to the alarm by the "
        f"Sharpe ratio after the change are {said}. Beside them stands what the best rule needs in the mean "
        "that has as many sessions to a false alarm as the test promises and knows law, spread and both "
        "Sharpe ratios (cumulative sum, worst case; Shiryaev 1996). A slow loss is seen late by any rule; "
        "what falls fast is for the drawdown limit."
    )
