"""The statistics: each against a source of its own, and each rate where the truth is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from stairways.proof.experiment import Bar, Cell, Experiment, Findings, Job
from stairways.proof.statistic_findings import (
    LAW_WORDS,
    Row,
    claims_plot,
    coverage_plot,
    tables,
    text,
    two_errors,
)

STREAM = 101

CLOSED_BARS = {
    "probabilistic Sharpe": "probabilistic Sharpe ratio",
    "deflated Sharpe": "deflated Sharpe ratio",
    "expected maximum Sharpe": "expected maximum Sharpe ratio",
    "minimum track record, years": "minimum track-record length",
    "probability of overfitting": "probability of backtest overfitting",
    "probability of loss": "probability of loss out of sample",
    "degradation slope": "performance degradation slope",
    "mean logit": "mean logit of the relative rank",
}
MOST_OVERFITTING_OF_SKILL = 0.05


class Statistics(Experiment):
    """Closed forms against papers and libraries, promised rates against simulation."""

    name = "statistics"
    title = "Statistics"
    question = (
        "Do the statistics that judge a result agree with sources of their own, and do they keep the error "
        "rates they promise?"
    )
    data = "none"

    def cells(self, job: Job) -> Sequence[Cell]:
        """Return the closed forms, and one cell for each simulation."""
        plan = _quick_plan() if job.quick else _full_plan()
        return [
            Cell(key, {"kind": kind, "stream": stream, **arguments})
            for stream, (key, kind, arguments) in enumerate(plan)
        ]

    def run(self, cell: Cell, job: Job) -> dict[str, Any]:
        """Run the checks, or one simulation."""
        from stairways.proof import statistic_checks, statistic_simulations

        arguments = dict(cell.arguments)
        kind, stream = arguments.pop("kind"), arguments.pop("stream")
        seed = np.random.SeedSequence(job.seed, spawn_key=(STREAM, stream))
        if kind == "closed":
            return {"kind": kind, "checks": [c.as_record() for c in statistic_checks.closed_checks(seed)]}
        simulate: Callable[..., Row] = getattr(statistic_simulations, kind)
        return {"kind": kind, **simulate(**arguments, seed=seed)}

    def conclude(self, job: Job, results: Mapping[str, dict[str, Any]]) -> Findings:
        """Hold every figure against its source."""
        rows = [dict(result) for result in results.values() if result["kind"] != "closed"]
        checks = [dict(check) for result in results.values() for check in result.get("checks", ())]
        by_kind = {kind: [row for row in rows if row["kind"] == kind] for kind in {r["kind"] for r in rows}}
        return Findings(
            rows=[*({"kind": "closed", **check} for check in checks), *rows],
            bars=[*_closed_bars(checks), *_simulated_bars(by_kind)],
            tables=tables(checks, by_kind),
            plots=[coverage_plot(by_kind["interval_coverage"]), claims_plot(by_kind["deflation_rate"])],
            text=text(by_kind),
        )


def _full_plan() -> list[tuple[str, str, Row]]:
    plan: list[tuple[str, str, Row]] = [("closed", "closed", {})]
    for law in ("normal", "skewed", "t4"):
        arguments: Row = {"law": law, "n_sessions": 250, "n_runs": 20_000}
        plan.append((f"sharpe-{law}", "sharpe_coverage", arguments))
    for n_trials, edge, n_runs in ((8, 0.0, 4_000), (50, 0.0, 2_000), (8, 4.0, 1_000)):
        arguments = {"n_trials": n_trials, "n_sessions": 250, "edge_annual": edge, "n_runs": n_runs}
        plan.append((f"deflated-{n_trials}-{edge:g}", "deflation_rate", arguments))
    for n_trials, n_sessions, edge, n_runs in ((8, 240, 0.0, 400), (7, 240, 0.0, 400), (8, 480, 4.0, 200)):
        arguments = {
            "n_trials": n_trials,
            "n_sessions": n_sessions,
            "edge_annual": edge,
            "n_blocks": 12,
            "n_runs": n_runs,
        }
        plan.append((f"overfitting-{n_trials}-{edge:g}", "overfitting_rate", arguments))
    for law in ("normal", "t4", "autocorrelated"):
        for n_sessions, n_runs in ((60, 2_000), (250, 2_000), (1_000, 1_000)):
            arguments = {"law": law, "n_sessions": n_sessions, "n_runs": n_runs, "n_resamples": 500}
            plan.append((f"interval-{law}-{n_sessions}", "interval_coverage", arguments))
    plan.append(("arch", "resampling_of_arch", {"n_series": 40, "n_resamples": 2_000}))
    return plan


def _quick_plan() -> list[tuple[str, str, Row]]:
    """Return fewer runs, and intervals of normal returns alone: there the nominal level must hold."""
    plan: list[tuple[str, str, Row]] = [("closed", "closed", {})]
    for law in ("normal", "skewed"):
        arguments: Row = {"law": law, "n_sessions": 250, "n_runs": 4_000}
        plan.append((f"sharpe-{law}", "sharpe_coverage", arguments))
    for edge in (0.0, 4.0):
        arguments = {"n_trials": 8, "n_sessions": 250, "edge_annual": edge, "n_runs": 500}
        plan.append((f"deflated-8-{edge:g}", "deflation_rate", arguments))
    for n_sessions, edge in ((80, 0.0), (480, 4.0)):
        arguments = {
            "n_trials": 8,
            "n_sessions": n_sessions,
            "edge_annual": edge,
            "n_blocks": 10,
            "n_runs": 60,
        }
        plan.append((f"overfitting-8-{edge:g}", "overfitting_rate", arguments))
    for n_sessions in (60, 250):
        arguments = {"law": "normal", "n_sessions": n_sessions, "n_runs": 500, "n_resamples": 400}
        plan.append((f"interval-normal-{n_sessions}", "interval_coverage", arguments))
    plan.append(("arch", "resampling_of_arch", {"n_series": 10, "n_resamples": 1_000}))
    return plan


def _closed_bars(checks: Sequence[Row]) -> list[Bar]:
    """Return one bar for each statistic with a source of full digits, and one for the printed examples."""
    bars = []
    for name, words in CLOSED_BARS.items():
        full = [check for check in checks if check["statistic"] == name and not check["printed"]]
        worst = max((check["difference"] for check in full), default=None)
        sources = "; ".join(dict.fromkeys(check["source"] for check in full))
        bars.append(
            Bar(
                f"{words}, difference from another source",
                worst,
                "at most 1e-6",
                bool(full) and all(check["passed"] for check in full),
                f"{len(full)} checks: {sources}",
            )
        )
    printed = [check for check in checks if check["printed"]]
    held = sum(check["passed"] for check in printed)
    bars.append(
        Bar(
            "worked examples of the papers",
            f"{held} of {len(printed)}",
            "all, to the digits printed",
            bool(printed) and held == len(printed),
            "Bailey and Lopez de Prado 2012, 2014; Bailey and others 2014",
        )
    )
    return bars


def _near(name: str, row: Row, observed: float, expected: float, note: str = "") -> Bar:
    """Return the bar of a share that must lie within 2 binomial standard errors of a known one."""
    reach = two_errors(expected, row["n_runs"])
    return Bar(
        name,
        observed,
        f"{expected:.1%} ± {100 * reach:.1f} points (2 s.e.)",
        abs(observed - expected) <= reach,
        f"{row['n_runs']:,} runs of {row['n_sessions']:,} sessions{note}",
    )


def _simulated_bars(by_kind: Mapping[str, Sequence[Row]]) -> list[Bar]:
    bars = [
        _near(
            f"probabilistic Sharpe, coverage, {LAW_WORDS[row['law']]} returns",
            row,
            row["coverage_ratio"],
            0.95,
        )
        for row in by_kind["sharpe_coverage"]
        # its error needs a fourth moment, and t(4) has none
        if row["law"] != "t4"
    ]
    for row in by_kind["deflation_rate"]:
        if row["edge_annual"] != 0.0:
            continue
        reach = two_errors(0.05, row["n_runs"])
        bars.append(
            Bar(
                f"deflated Sharpe, skill claimed of the best of {row['n_trials']} trials of noise",
                row["deflated_ratio"],
                f"at most 5% + {100 * reach:.1f} points (2 s.e.)",
                row["deflated_ratio"] <= 0.05 + reach,
                f"{row['n_runs']:,} runs of {row['n_sessions']:,} sessions",
            )
        )
        theory = row["noise_by_theory_ratio"]
        words = f"the same without deflation, {row['n_trials']} trials, against 1 - 0.95^N"
        bars.append(_near(words, row, row["undeflated_ratio"], theory))
    bars += [_overfitting_bar(row) for row in by_kind["overfitting_rate"]]
    for row in by_kind["interval_coverage"]:
        where = f"{LAW_WORDS[row['law']]} differences, n = {row['n_sessions']:,}"
        detail = f"{row['n_runs']:,} runs of {row['n_sessions']:,} sessions, {row['n_resamples']} resamples"
        shares = (
            ("coverage", row["coverage_ratio"], 0.95, "at least"),
            ("a gain claimed that is not there", row["claimed_ratio"], 0.025, "at most"),
        )
        for what, observed, nominal, side in shares:
            reach = two_errors(nominal, row["n_runs"])
            sign = "-" if side == "at least" else "+"
            passed = observed >= nominal - reach if side == "at least" else observed <= nominal + reach
            threshold = f"{side} {nominal:.1%} {sign} {100 * reach:.1f} points (2 s.e.)"
            bars.append(Bar(f"gate's interval, {what}, {where}", observed, threshold, passed, detail))
    for row in by_kind["resampling_of_arch"]:
        bars.append(
            Bar(
                "bootstrap standard error, closed form against resamples of arch",
                row["in_standard_errors"],
                "within 2 s.e. of 0",
                abs(row["in_standard_errors"]) <= 2.0,
                f"mean log ratio of variances {row['mean_log_ratio']:+.4f} ± {row['standard_error']:.4f}, "
                f"{row['n_series']} series, {row['n_resamples']:,} resamples each, arch {row['version']}",
            )
        )
    return bars


def _overfitting_bar(row: Row) -> Bar:
    observed, error = row["probability"], row["standard_error"]
    note = f"{row['n_runs']} matrices of {row['n_sessions']} sessions and {row['n_trials']} trials"
    if row["edge_annual"] != 0.0:
        return Bar(
            f"probability of overfitting, one trial better by {row['edge_annual']:g} a year",
            observed,
            f"at most {MOST_OVERFITTING_OF_SKILL:g}",
            observed <= MOST_OVERFITTING_OF_SKILL,
            f"{note}, s.e. {error:.3f}",
        )
    chance = row["chance_probability"]
    return Bar(
        f"probability of overfitting, noise, {row['n_trials']} trials",
        observed,
        f"{chance:.3f} ± {2 * error:.3f} (2 s.e.)",
        abs(observed - chance) <= 2 * error,
        f"{note}; {chance:.3f} is chance",
    )
