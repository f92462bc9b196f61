"""The plan's three scenario years: behaviour out of sample, the target Sharpe ratio, and what costs do."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from stairways.proof.experiment import Cell, Experiment, Findings, Job
from stairways.proof.scenario_findings import conclude
from stairways.proof.scenario_pooling import CANDIDATE
from stairways.tuning.scenarios import SCENARIOS, Scenario

if TYPE_CHECKING:
    from pathlib import Path

    from stairways.config import Settings
    from stairways.tuning.course import Subject

YEARS, QUICK_YEARS = 8, 1
QUICK_CYCLES = 1
QUICK_TEST = "2021-03-24:2021-06-30"
RUN = "tune"
SWEPT, QUICK_SWEPT = (CANDIDATE, "tilted_gold", "gold"), (CANDIDATE,)
AROUND_DAYS = 30


class Scenarios(Experiment):
    """Shipped gold, gold under the tilt and a tuned candidate on synthetic years of 2022, 2023 and 2024."""

    name = "scenarios"
    title = "Scenario years"
    question = (
        "Does the controller hold its set points in markets that nothing was tuned on, and is the plan's "
        "target Sharpe ratio of 0.6 met there?"
    )

    def cells(self, job: Job) -> Sequence[Cell]:
        """Return one tuning, the refusals, and one cell for each scenario and year drawn."""
        years = QUICK_YEARS if job.quick else YEARS
        return [
            Cell("tune"),
            Cell("refusals", stage=1),
            *(
                Cell(f"{name}-{year}", {"scenario": name, "year": year}, stage=1)
                for name in SCENARIOS
                for year in range(years)
            ),
        ]

    def run(self, cell: Cell, job: Job) -> dict[str, Any]:
        """Tune once, ask for what must be refused, or lead everyone through one year."""
        if cell.key == "tune":
            return _tune(job)
        if cell.key == "refusals":
            return _refusals(job)
        return _year(job, cell.arguments["scenario"], cell.arguments["year"])

    def conclude(self, job: Job, results: Mapping[str, dict[str, Any]]) -> Findings:
        """Pool the years of each scenario."""
        return conclude(results)


def _artifact(job: Job) -> Path:
    return job.work / RUN / "artifact"


def _seed(job: Job, year: int) -> int:
    """Return the market seed of a year, spawned from the experiment's."""
    return int(np.random.SeedSequence(job.seed, spawn_key=(year,)).generate_state(1)[0])


def _tune(job: Job) -> dict[str, Any]:
    """Tune the shipped gold on the sample market, with the settings of ``stairways tune``."""
    from stairways.config import load_settings
    from stairways.tuning.ranges import SAMPLE_RANGES
    from stairways.tuning.run import TuneRun
    from stairways.tuning.run_folder import RUN_FILE, Silent
    from stairways.tuning.shipped import shipped_gold
    from stairways.unpacking import unpack

    rules = unpack(shipped_gold()).rules.model_dump(mode="json")
    overrides: dict[str, Any] = {"seed": job.seed}
    if job.quick:
        overrides |= {
            "tune": {"cycles": QUICK_CYCLES, "min_cycles": QUICK_CYCLES},
            "ranges": {"tune": SAMPLE_RANGES["tune"], "test": QUICK_TEST},
        }
    settings = load_settings(None, overrides, base={"trading": rules})
    place = job.work / RUN
    resume = (place / RUN_FILE).exists()
    run = TuneRun(settings, shipped_gold(), place, clock=_still, watcher=Silent(), resume=resume)
    summary = run.run().summary
    return {
        "digest": summary["run"]["digest"],
        "steps": summary["run"]["candidate_steps"],
        "accepted": summary["run"]["accepted"],
        "test": summary["data"]["ranges"]["test"],
        "sharpe": summary["candidate"]["sharpe"],
        "sharpe_standard_error": summary["candidate"]["sharpe_standard_error"],
    }


def _still() -> dt.datetime:
    """Stand for the clock: nothing that is kept may depend on when it was made."""
    return dt.datetime(2000, 1, 1, tzinfo=dt.UTC)


def _subject(folder: Path) -> tuple[Subject, Settings]:
    from stairways.config import load_settings
    from stairways.tuning.course import Subject
    from stairways.tuning.evaluate import settings_base

    settings = load_settings(None, {}, base=settings_base(folder))
    return Subject.read(folder, settings), settings


def _year(job: Job, name: str, year: int) -> dict[str, Any]:
    """Lead the candidate, its gold and the baselines through one year drawn of a scenario."""
    from stairways.tuning.backtest import backtest
    from stairways.tuning.scenarios import find_scenario

    subject, settings = _subject(_artifact(job))
    seed = _seed(job, year)
    swept = QUICK_SWEPT if job.quick else SWEPT
    found = backtest(find_scenario(f"{name}:{seed}"), subject, settings, swept=swept)
    [course] = found.record["courses"]
    place = {"scenario": name, "year": year, "market_seed": seed}
    limits = {
        role: int((run.ledger.max_drawdown_ratio > settings.gate.max_drawdown_ratio).sum())
        for role, run in found.runs[0].replays.items()
    }
    return {
        "policies": [
            {
                "kind": "year",
                **place,
                "policy": role,
                **_flat(metrics),
                "target_met": metrics["sharpe"] is not None
                and metrics["sharpe"] >= found.record["scenario"]["target_sharpe"],
                "sessions_over_drawdown_limit": limits[role],
                "neutral_regime_ratio": course["data"]["neutral_regime_ratio"],
            }
            for role, metrics in course["policies"].items()
        ],
        "pairs": [
            {
                "kind": "year_pair",
                **place,
                "policy": CANDIDATE,
                "reference": role,
                "difference_bps": pair["mean_difference_bps"],
                "low_bps": pair["interval_bps"][0],
                "high_bps": pair["interval_bps"][1],
                "n_sessions": pair["n_sessions"],
            }
            for role, pair in course["comparisons"].items()
        ],
        "costs": [
            {
                "kind": "year_cost",
                **place,
                "policy": role,
                "cost_bps": point["cost_bps"],
                "decisions_equal": point["decisions_equal"],
                **_flat(point),
            }
            for role, points in course["costs"].items()
            for point in points
        ],
    }


def _flat(metrics: Mapping[str, Any]) -> dict[str, Any]:
    low, high = metrics["mean_net_bps_interval"]
    kept = (
        "mode",
        "n_sessions",
        "hold_rate_ratio",
        "chance_hold_rate_ratio",
        "trades_per_session",
        "sharpe",
        "sharpe_standard_error",
        "probability_above_target",
        "mean_net_bps",
        "costs_bps",
        "turnover_ratio",
        "max_intraday_drawdown_ratio",
        "sample",
    )
    return {**{name: metrics[name] for name in kept}, "low_bps": low, "high_bps": high}


def _refusals(job: Job) -> dict[str, Any]:
    """Ask for sessions that an artifact or its gold has seen, without and with ``--in-sample``."""
    from stairways.tuning.shipped import shipped_gold

    gold, _ = _subject(shipped_gold())
    candidate, _ = _subject(_artifact(job))
    asked = {
        "gold, on its training": (shipped_gold(), gold.packed.seen[0]),
        "candidate, on its gold's training": (_artifact(job), gold.packed.seen[0]),
        "candidate, on its tuning": (_artifact(job), candidate.packed.seen[-1]),
    }
    chosen = list(asked.items())[-1:] if job.quick else list(asked.items())
    return {"rows": [_refusal(what, folder, seen) for what, (folder, seen) in chosen]}


def _refusal(what: str, folder: Path, seen: Any) -> dict[str, Any]:
    from stairways.errors import RangeError
    from stairways.tuning.backtest import IN_SAMPLE, backtest

    subject, settings = _subject(folder)
    # half of these days were seen and half were not: the whole is refused
    scenario = Scenario(
        name="seen before",
        start_date=seen.last - dt.timedelta(days=AROUND_DAYS),
        end_date=seen.last + dt.timedelta(days=AROUND_DAYS),
        sample=_sample_of(subject.packed.artifact.data_source),
    )
    try:
        backtest(scenario, subject, settings, costs_bps=())
        refusal = ""
    except RangeError as error:
        refusal = error.line()
    [course] = backtest(scenario, subject, settings, costs_bps=(1.0,), in_sample=True).record["courses"]
    figures = [
        *course["policies"].values(),
        *course["comparisons"].values(),
        *(point for points in course["costs"].values() for point in points),
    ]
    marked = sum(figure["sample"] == IN_SAMPLE for figure in figures)
    return {
        "kind": "refusal",
        "what": what,
        "refused": bool(refusal),
        "message": refusal,
        "dates_named": _names(refusal, seen.last, subject.packed.seen),
        "figures": len(figures),
        "figures_marked": marked,
        "verdict_marked": course["target"]["reason"].startswith(IN_SAMPLE),
    }


def _names(refusal: str, date: dt.date, seen: Sequence[Any]) -> bool:
    """Tell whether a refusal names a range of dates, all ends of it seen, with a given date in it."""
    found = re.search(r"(\d{4}-\d\d-\d\d):(\d{4}-\d\d-\d\d)", refusal)
    if found is None:
        return False
    first, last = (dt.date.fromisoformat(part) for part in found.groups())
    ends_seen = all(any(part.first <= end <= part.last for part in seen) for end in (first, last))
    return first <= date <= last and ends_seen


def _sample_of(source: str) -> str:
    """Return the sample market behind a source such as ``SYNTHETIC planted, seed 1``."""
    name, _, seed = source.removeprefix("SYNTHETIC ").partition(", seed ")
    return f"{name}:{seed}"
