"""Power: how many sessions the gate needs to accept what is really there, by formula and by simulation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np

from stairways.evaluation.power import CORRELATIONS, DIFFERENCES_ANNUAL, POWER, PairedPower, TrueSkill
from stairways.proof.binomial import chance_of_at_least
from stairways.proof.experiment import Bar, Cell, Experiment, Findings, Job
from stairways.proof.power_findings import Row, binomial_error, needed_plot, power_plot, tables, text

STREAM = 102
SIZES = (20, 60, 125, 250, 500)
QUICK_SIZES = (250,)
QUICK_PAIRS = ((1.0, 0.95), (2.0, 0.8), (2.0, 0.9))
SCENARIOS = {"modest": (1.0, 0.0, -1.0), "good": (2.0, 0.5, -1.0), "strong": (3.0, 0.5, -1.0)}
"""True annual Sharpe ratios of candidate, gold and random at equal turnover."""
NO_SKILL = (0.0, 0.0, 0.0)
NO_SKILL_SESSIONS = 250
QUICK_SESSIONS = 250
LONG_SESSIONS = 2_000
"""Above these a case takes fewer runs."""
ATTAINED = "attained.json"


class Power(Experiment):
    """The gate's own test on returns with fat tails, at the sessions that the formula asks for."""

    name = "power"
    title = "Power of the gate"
    question = (
        "How many unseen sessions does the gate need to accept a true difference of the annual Sharpe ratio "
        "with 80 % power, and how often does it accept one that is not there?"
    )

    def cells(self, job: Job) -> Sequence[Cell]:
        """Return one cell for each difference and correlation, for each size, and for each joint case."""
        cells = [Cell("attained", {"kind": "attained"})]
        pairs = QUICK_PAIRS if job.quick else [(d, r) for d in DIFFERENCES_ANNUAL for r in CORRELATIONS]
        cells += [
            Cell(f"pair-{d:g}-{r:g}".replace(".", "_"), {"kind": "pair", "difference": d, "correlation": r})
            for d, r in pairs
        ]
        sizes = QUICK_SIZES if job.quick else SIZES
        cells += [Cell(f"size-{n}", {"kind": "size", "n_sessions": n}) for n in sizes]
        names = ["strong"] if job.quick else list(SCENARIOS)
        cells += [Cell(f"joint-{name}", {"kind": "joint", "scenario": name}, stage=1) for name in names]
        cells.append(Cell("joint-no_skill", {"kind": "no_skill"}, stage=1))
        return cells

    def run(self, cell: Cell, job: Job) -> dict[str, Any]:
        """Measure how alike policies are, or ask the gate's judges again and again."""
        kind = cell.arguments["kind"]
        position = [other.key for other in self.cells(job)].index(cell.key)
        seed = np.random.SeedSequence(job.seed, spawn_key=(STREAM, position))
        if kind == "attained":
            return {"kind": kind, **_attained(job)}
        if kind == "pair":
            return _pair(cell.arguments["difference"], cell.arguments["correlation"], job.quick, seed)
        if kind == "size":
            return _size(cell.arguments["n_sessions"], job.quick, seed)
        return _joint(cell.arguments.get("scenario"), job, seed)

    def conclude(self, job: Job, results: Mapping[str, dict[str, Any]]) -> Findings:
        """Hold the simulated power against the formula's."""
        rows = [dict(result) for result in results.values()]
        pairs = [row for row in rows if row["kind"] == "pair"]
        return Findings(
            rows=rows,
            bars=_bars(rows),
            tables=tables(rows),
            plots=[needed_plot(rows), power_plot(pairs)],
            text=text(rows),
        )


def _attained(job: Job) -> dict[str, Any]:
    """Measure how alike policies are, or return what was measured before."""
    from stairways.proof.attained import attained
    from stairways.registry.canonical import canonical_json, parse_json_object
    from stairways.registry.files import write_bytes_atomic
    from stairways.tuning.seeds import Stream, key

    place = job.work / ATTAINED
    if not place.is_file():
        found = attained(key(job.seed, Stream.DECISIONS), QUICK_SESSIONS if job.quick else None)
        write_bytes_atomic(place, canonical_json(found, indent=1))
    return dict(parse_json_object(place.read_bytes()))


def _pair(difference: float, correlation: float, quick: bool, seed: np.random.SeedSequence) -> Row:
    from stairways.evaluation.gate_config import GateConfig
    from stairways.evaluation.power_simulation import Simulation

    gate = GateConfig()
    formula = PairedPower(correlation, gate.confidence)
    by_formula = formula.sessions_needed(difference)
    n = max(by_formula, gate.min_sessions)
    many = 800 if n <= LONG_SESSIONS else 400
    simulation = Simulation(300 if quick else many, gate, n_resamples=400)
    return {
        "kind": "pair",
        "difference_annual": difference,
        "correlation": correlation,
        "difference_sharpe_annual": difference / math.sqrt(2.0 * (1.0 - correlation)),
        "n_sessions_by_formula": by_formula,
        "n_sessions": n,
        "formula_ratio": formula.power(n, difference),
        "n_resamples": simulation.n_resamples,
        **simulation.one_verdict(n, difference, correlation, seed).as_record(),
    }


def _size(n_sessions: int, quick: bool, seed: np.random.SeedSequence) -> Row:
    from stairways.evaluation.power_simulation import Simulation

    many = 4_000 if n_sessions < SIZES[-2] else 2_000
    simulation = Simulation(500 if quick else many, n_resamples=400 if quick else 1_000)
    found = simulation.one_verdict(n_sessions, 0.0, 0.5, seed)
    nominal = (1.0 - simulation.gate.confidence) / 2.0
    return {
        "kind": "size",
        "n_sessions": n_sessions,
        "formula_ratio": nominal,
        "n_resamples": simulation.n_resamples,
        **found.as_record(),
    }


def _joint(scenario: str | None, job: Job, seed: np.random.SeedSequence) -> Row:
    """Ask all three judges on skill, of policies as alike as those of the sample market."""
    from stairways.evaluation.power_simulation import Simulation
    from stairways.proof.attained import true_skill

    sharpes = NO_SKILL if scenario is None else SCENARIOS[scenario]
    skill: TrueSkill = true_skill(_attained(job), sharpes)
    n = NO_SKILL_SESSIONS if scenario is None else skill.sessions_needed()
    if n is None:
        raise ValueError(f"{scenario}: no number of sessions shows {sharpes}")
    many = 2_000 if scenario is None else 400
    simulation = Simulation(300 if job.quick else many, n_resamples=300)
    alone = PairedPower(skill.gold_correlation).sessions_needed(sharpes[0] - sharpes[1]) if scenario else None
    return {
        "kind": "joint",
        "scenario": scenario or "no skill",
        "candidate_annual": sharpes[0],
        "gold_annual": sharpes[1],
        "random_annual": sharpes[2],
        "n_sessions": n,
        "n_sessions_equal_volatility_gold_alone": alone,
        "formula_ratio": skill.power(n, simulation.gate.confidence),
        "n_resamples": simulation.n_resamples,
        **simulation.all_verdicts(n, skill, seed).as_record(),
    }


def _bars(rows: Sequence[Row]) -> list[Bar]:
    asked = [
        row for row in rows if row["kind"] == "pair" and row["n_sessions"] == row["n_sessions_by_formula"]
    ]
    bars = [_pooled_bar(asked), _cells_bar(asked)]
    bars += [_size_bar(row) for row in rows if row["kind"] == "size"]
    for row in rows:
        if row["kind"] != "joint":
            continue
        if row["scenario"] == "no skill":
            bars.append(_size_bar(row))
            continue
        reach = 2.0 * binomial_error(POWER, row["n_runs"])
        bars.append(
            Bar(
                f"power of all three verdicts, {row['scenario']} candidate, {row['n_sessions']:,} sessions",
                row["ratio"],
                f"{POWER:.0%} ± {100 * reach:.1f} points (2 s.e.)",
                abs(row["ratio"] - POWER) <= reach,
                f"{row['n_runs']:,} runs; true Sharpe ratios {row['candidate_annual']:g}, gold "
                f"{row['gold_annual']:g}, random {row['random_annual']:g}",
            )
        )
    return bars


def _pooled_bar(pairs: Sequence[Row]) -> Bar:
    name = "simulated power at the formula's sessions, pooled"
    runs = sum(row["n_runs"] for row in pairs)
    if not runs:
        return Bar(name, None, f"{POWER:.0%}", False, "nothing was simulated")
    ratio = sum(row["accepted"] for row in pairs) / runs
    reach = 2.0 * binomial_error(POWER, runs)
    return Bar(
        name,
        ratio,
        f"{POWER:.0%} ± {100 * reach:.1f} points (2 s.e.)",
        abs(ratio - POWER) <= reach,
        f"{runs:,} runs in {len(pairs)} cells of a difference and a correlation, t(4) returns",
    )


def _cells_bar(pairs: Sequence[Row]) -> Bar:
    """Return the bar of single cells; a right formula puts one in 22 outside by chance.

    The most that may lie outside is the number that chance exceeds with less than 1 %. Of so few cells that
    all might lie outside, none included, the bar can't be missed, and does not hold.
    """
    outside = [
        row for row in pairs if not abs(row["ratio"] - POWER) <= 2.0 * binomial_error(POWER, row["n_runs"])
    ]
    level, n = 2.0 * NormalDist().cdf(-2.0), len(pairs)
    most = next(k for k in range(n + 1) if chance_of_at_least(k + 1, n, level) < 0.01)
    names = ", ".join(f"{row['difference_annual']:g} at r {row['correlation']:g}" for row in outside)
    return Bar(
        f"cells whose simulated power is further than 2 s.e. from {POWER:.0%}",
        f"{len(outside)} of {len(pairs)}",
        f"at most {most}: more would be chance with less than 1%",
        len(outside) <= most < n,
        names or "none",
    )


def _size_bar(row: Row) -> Bar:
    from stairways.evaluation.gate_config import GateConfig

    nominal = (1.0 - GateConfig().confidence) / 2.0
    reach = 2.0 * binomial_error(nominal, row["n_runs"])
    joint = row["kind"] == "joint"
    what = "all three verdicts" if joint else "verdict against gold"
    return Bar(
        f"accepted without any difference, {what}, n = {row['n_sessions']:,}",
        row["ratio"],
        f"at most {nominal:.1%} + {100 * reach:.1f} points (2 s.e.)",
        row["ratio"] <= nominal + reach,
        f"{row['n_runs']:,} runs, t(4) returns",
    )
