"""Triggers: how often the rollback triggers alarm in vain, and how soon they see that a model broke."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stairways.evaluation.trigger_config import TriggerConfig
from stairways.market.sessions import SESSIONS_PER_YEAR
from stairways.proof.experiment import Bar, Cell, Experiment, Findings, Job
from stairways.proof.extremes import largest
from stairways.proof.trigger_findings import LAW_WORDS, Row, delay_plot, false_plot, tables, text
from stairways.proof.trigger_trials import (
    LAWS,
    PROMISED,
    RULES,
    Accounts,
    delays,
    false_alarms,
    least_mean_delay,
)

STREAM = 103
VOLATILITY_RATIO = 0.0032
"""Of a tuned candidate's session returns on the sample market: net result / Sharpe (docs/experiments.md)."""
WIDE_VOLATILITY_RATIO = 0.005
TRUE_SHARPES = (0.0, 0.7, 2.0)
RATES = (0.1, 0.25, 1.0)
GOOD_SESSIONS = (0, 60, 250)
BROKEN_SHARPES = (-1.0, -2.0, -4.0, -8.0)
DELAY_LAWS = ("normal", "t3")
YEARS = 5
HORIZON = 10 * SESSIONS_PER_YEAR

MOST_AT_GOOD = {0.7: 0.5, 2.0: 0.1}
"""Share of the promised rate that false alarms may reach at a true Sharpe ratio above the floor."""
MOST_DELAY = {-4.0: SESSIONS_PER_YEAR, -8.0: SESSIONS_PER_YEAR // 2}
"""Sessions within which 90 % of broken models must be seen, whatever came before."""
LEAST_OF_SHARPE_RULE = 0.99
SKILLED = 0.7


class Triggers(Experiment):
    """The sequential trigger beside the rolling Sharpe rule, on laws whose mean is known."""

    name = "triggers"
    title = "Rollback triggers"
    question = (
        "How often do the triggers on results alarm where nothing is wrong, and how many sessions pass until "
        "they see that a model loses?"
    )
    data = "none"

    def cells(self, job: Job) -> Sequence[Cell]:
        """Return one cell for each law and true Sharpe ratio, and one for each change for the worse."""
        laws = ("normal", "t3", "autocorrelated") if job.quick else tuple(LAWS)
        plan: list[Row] = [
            {"kind": "false", "law": law, "sharpe": sharpe, "volatility_ratio": VOLATILITY_RATIO}
            for law in laws
            for sharpe in TRUE_SHARPES
        ]
        plan += [
            {"kind": "false", "law": law, "sharpe": 0.0, "volatility_ratio": WIDE_VOLATILITY_RATIO}
            for law in DELAY_LAWS
        ]
        plan += [
            {"kind": "rate", "law": "normal", "sharpe": sharpe, "rate": rate}
            for rate in RATES
            for sharpe in TRUE_SHARPES
        ]
        plan += [
            {"kind": "delay", "law": law, "sharpe": sharpe, "good": good}
            for law in DELAY_LAWS
            for good in (GOOD_SESSIONS[-1:] if job.quick else GOOD_SESSIONS)
            for sharpe in (BROKEN_SHARPES[2:] if job.quick else BROKEN_SHARPES)
        ]
        return [Cell(_key(arguments), {**arguments, "stream": i}) for i, arguments in enumerate(plan)]

    def run(self, cell: Cell, job: Job) -> dict[str, Any]:
        """Draw accounts and ask both rules, or the sequential one where only its rate changes."""
        plan = dict(cell.arguments)
        seed = np.random.SeedSequence(job.seed, spawn_key=(STREAM, plan.pop("stream")))
        if plan["kind"] == "delay":
            return _delay(plan, job.quick, seed)
        return _false(plan, job.quick, seed)

    def conclude(self, job: Job, results: Mapping[str, dict[str, Any]]) -> Findings:
        """Hold both rules against what they promise."""
        rows = [dict(result) for result in results.values()]
        return Findings(
            rows=rows,
            bars=_bars(rows),
            tables=tables(rows),
            plots=[false_plot(rows), delay_plot(rows)],
            text=text(rows),
        )


def _key(arguments: Row) -> str:
    return "-".join(f"{value}" for value in arguments.values()).replace(".", "_").replace("--", "-minus")


def _again(seed: np.random.SeedSequence) -> np.random.SeedSequence:
    """Return the same seed unused: spawning counts, and both rules must meet the same accounts."""
    return np.random.SeedSequence(seed.entropy, spawn_key=seed.spawn_key)


def _false(plan: Row, quick: bool, seed: np.random.SeedSequence) -> Row:
    net_return = TriggerConfig().net_return.model_copy(
        update={"false_alarms_per_year": plan["rate"]} if "rate" in plan else {}
    )
    config = TriggerConfig(net_return=net_return)
    accounts = Accounts(
        plan["law"],
        plan.get("volatility_ratio", VOLATILITY_RATIO),
        1_000 if quick else 10_000,
        (1 if quick else YEARS) * SESSIONS_PER_YEAR,
    )
    rules = ("sequential",) if "rate" in plan else tuple(RULES)
    found = {
        f"{rule}_{name}": value
        for rule in rules
        for name, value in false_alarms(accounts, rule, plan["sharpe"], config, _again(seed)).items()
    }
    return {
        **plan,
        "promised_per_year": net_return.false_alarms_per_year,
        "n_runs": accounts.n_runs,
        "n_sessions": accounts.n_sessions,
        **found,
    }


def _delay(plan: Row, quick: bool, seed: np.random.SeedSequence) -> Row:
    config = TriggerConfig()
    horizon = SESSIONS_PER_YEAR if quick else HORIZON
    accounts = Accounts(plan["law"], VOLATILITY_RATIO, 500 if quick else 2_000, plan["good"] + horizon)
    found = {
        f"{rule}_{name}": value
        for rule in RULES
        for name, value in delays(accounts, rule, plan["good"], plan["sharpe"], config, _again(seed)).items()
    }
    known = least_mean_delay(config.net_return.threshold, plan["sharpe"])
    return {**plan, "n_runs": accounts.n_runs, "least_mean_sessions": known, **found}


def _bars(rows: Sequence[Row]) -> list[Bar]:
    false = [row for row in rows if row["kind"] == "false"]
    usual = [row for row in false if row["volatility_ratio"] == VOLATILITY_RATIO]
    at_floor = [row for row in false if row["sharpe"] == 0.0]
    bars = [_rate_bar(row) for row in at_floor if row["law"] in PROMISED]
    bars += [_rate_bar(row) for row in rows if row["kind"] == "rate" and row["sharpe"] == 0.0]
    bars.append(_first_year_bar([row for row in at_floor if row["law"] in PROMISED]))
    bars += [_good_bar([row for row in usual if row["sharpe"] == sharpe], sharpe) for sharpe in MOST_AT_GOOD]
    late = [row for row in rows if row["kind"] == "delay"]
    bars += [_delay_bar([row for row in late if row["sharpe"] == sharpe], sharpe) for sharpe in MOST_DELAY]
    bars += [_sharpe_rule_bar(row) for row in usual if (row["law"], row["sharpe"]) == ("normal", SKILLED)]
    return bars


def _rate_bar(row: Row) -> Bar:
    promised, error = row["promised_per_year"], row["sequential_per_year_error"]
    volatility = row.get("volatility_ratio", VOLATILITY_RATIO)
    return Bar(
        f"false alarms per year at {promised:g} promised, mean exactly at the floor, "
        f"{LAW_WORDS[row['law']]} returns of {volatility:.2%}",
        row["sequential_per_year"],
        f"at most {promised:g} + {2 * error:.4f} (2 s.e.)",
        row["sequential_per_year"] <= promised + 2 * error,
        f"{row['n_runs']:,} accounts of {row['n_sessions']:,} sessions",
    )


def _first_year_bar(rows: Sequence[Row]) -> Bar:
    promised = TriggerConfig().net_return.false_alarms_per_year
    worst = largest(row["sequential_first_year_low"] for row in rows)
    return Bar(
        "share of accounts with any false alarm in the first year, mean exactly at the floor, worst law",
        largest(row["sequential_first_year_ratio"] for row in rows),
        f"its 95 % interval reaches down to the promised {promised:g}",
        worst is not None and worst <= promised,
        f"{len(rows)} laws and volatilities",
    )


def _good_bar(rows: Sequence[Row], sharpe: float) -> Bar:
    most = MOST_AT_GOOD[sharpe] * TriggerConfig().net_return.false_alarms_per_year
    worst = largest(row["sequential_per_year"] for row in rows)
    return Bar(
        f"false alarms per year at a true Sharpe ratio of {sharpe:g}, worst law",
        worst,
        f"at most {most:g}",
        worst is not None and worst <= most,
        f"{len(rows)} laws, autocorrelated returns included",
    )


def _delay_bar(rows: Sequence[Row], sharpe: float) -> Bar:
    found = [row["sequential_most_sessions"] for row in rows]
    worst = None if None in found else largest(found)
    return Bar(
        f"sessions until 90 % of models whose Sharpe ratio became {sharpe:g} are seen, worst case",
        worst,
        f"at most {MOST_DELAY[sharpe]}",
        worst is not None and worst <= MOST_DELAY[sharpe],
        f"{len(rows)} cases of law and good sessions before",
    )


def _sharpe_rule_bar(row: Row) -> Bar:
    return Bar(
        f"the Sharpe rule trips within a year at a true Sharpe ratio of {SKILLED:g}: why it only alerts",
        row["sharpe_first_year_ratio"],
        f"at least {LEAST_OF_SHARPE_RULE:.0%}",
        row["sharpe_first_year_ratio"] >= LEAST_OF_SHARPE_RULE,
        f"{row['n_runs']:,} accounts, normal returns",
    )
