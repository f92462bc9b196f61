"""Backtest: an artifact led through a scenario as it is deployed, beside every baseline.

A scenario is run on its year of the synthetic market and, where a folder of bars is named, on whatever
real sessions of its dates stand there. Sessions that the artifact or its gold has seen are refused, or
every figure made on them is marked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from stairways.control.actuators import TiltActuator
from stairways.errors import ConfigError, RangeError
from stairways.evaluation.evidence import TILTED_GOLD
from stairways.evaluation.replay import Replay
from stairways.evaluation.verdicts import Group, Verdict
from stairways.market.calendar import exchange_sessions
from stairways.reporting.summary import describe_data, describe_range
from stairways.trading.metrics import BPS, CONFIDENCE, measure
from stairways.trading.observation import observe
from stairways.trading.rules import CostModel, TradingRules
from stairways.trading.sharpe import (
    MIN_SHARPE_SESSIONS,
    annual_sharpe,
    probabilistic_sharpe,
    sharpe_standard_error,
)
from stairways.tuning.contest import Entrant, compare
from stairways.tuning.course import BASELINES, Course, Subject, lineup, on_market
from stairways.tuning.evaluate import POLICY
from stairways.tuning.market_access import open_for
from stairways.tuning.seeds import Stream, stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stairways.config import Settings
    from stairways.trading.ledger import SessionLedger
    from stairways.trading.observation import ObservedMarket
    from stairways.tuning.scenarios import Scenario
    from stairways.unpacking import Packed

COSTS_BPS = (0.0, 1.0, 2.0, 5.0, 10.0)
MOST_COST_BPS = 1_000.0
IN_SAMPLE, OUT_OF_SAMPLE = "IN-SAMPLE", "out of sample"


@dataclass(frozen=True, eq=False)
class CourseRun:
    """What everyone did on one market of a scenario.

    Attributes:
        course: The sessions.
        replays: The artifact under ``policy``, and every baseline.
        target: Whether the scenario's target was met.
        record: Everything as plain JSON types.
    """

    course: Course
    replays: dict[str, Replay]
    target: Verdict
    record: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Backtest:
    """A finished backtest.

    Attributes:
        runs: One run per market of the scenario.
        record: Everything as plain JSON types.
    """

    runs: tuple[CourseRun, ...]
    record: dict[str, Any]

    @property
    def met(self) -> bool:
        """Whether the target was met on every market."""
        return bool(self.runs) and all(run.target.passed for run in self.runs)


def backtest(
    scenario: Scenario,
    subject: Subject,
    settings: Settings,
    *,
    costs_bps: Sequence[float] = COSTS_BPS,
    in_sample: bool = False,
    swept: Sequence[str] = (POLICY,),
    shipped: bool = False,
) -> Backtest:
    """Lead an artifact and the baselines through a scenario.

    Args:
        scenario: Dates, target, sample market and bars.
        subject: The artifact and its gold.
        settings: Rules, controller and seed, as the artifact states them; ``market.bars`` counts before
            the scenario's.
        costs_bps: One-way costs of the sweep, commission and half spread together.
        in_sample: Run on sessions that the artifact has seen too, and mark every figure.
        swept: Policies whose costs are swept.
        shipped: Whether the artifact is the shipped gold, taken since none was named; the report says so.

    Raises:
        RangeError: If sessions were seen before and ``in_sample`` is off, or there are none.
        ConfigError: If the scenario has neither a sample nor bars.
    """
    prepared = [(course, subject.seen(course.market)) for course in _courses(scenario, subject, settings)]
    for course, seen in prepared:
        if seen.any() and not in_sample:
            raise _already_seen(scenario, course.market, seen)
    runs = tuple(
        _run(course, scenario, subject, costs_bps, swept, n_seen=int(seen.sum())) for course, seen in prepared
    )
    packed = subject.packed
    record = {
        "scenario": scenario.model_dump(mode="json"),
        "policy": {
            "role": packed.artifact.role,
            "digest": packed.digest,
            "made_on": packed.artifact.data_source,
            "seen": [str(dates) for dates in packed.seen],
            "tilted_gold": packed.artifact.role == "gold"
            and isinstance(settings.control.actuator, TiltActuator),
            "shipped": shipped,
        },
        "courses": [run.record for run in runs],
        "met": all(run.target.passed for run in runs),
        "run": {"command": "backtest", "seed": settings.seed, "mode": settings.control.mode},
    }
    return Backtest(runs, record)


def parse_costs(text: str) -> tuple[float, ...]:
    """Return the one-way costs of a list such as ``0,1,2,5,10``, ascending.

    Raises:
        ConfigError: If one is no number from 0 to 1,000, or stands twice.
    """
    try:
        costs = sorted(float(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigError(f"{text!r} is no list of numbers", where="--costs", remedy=_COSTS_REMEDY) from error
    sound = all(math.isfinite(cost) and 0.0 <= cost <= MOST_COST_BPS for cost in costs)
    if not sound or len(set(costs)) != len(costs):
        raise ConfigError(
            f"{text} holds a cost twice or one outside 0 to {MOST_COST_BPS:,.0f} bp",
            where="--costs",
            remedy=_COSTS_REMEDY,
        )
    return tuple(costs)


_COSTS_REMEDY = "write one-way costs in bp, such as 0,1,2,5,10"


def costed(rules: TradingRules, cost_bps: float) -> TradingRules:
    """Return rules whose commission and half spread together cost so many bp one way.

    Their proportion stays, that of the default costs where both are 0; impact and ticket stay too.
    """
    costs = rules.costs if rules.costs.commission_bps + rules.costs.half_spread_bps > 0 else CostModel()
    factor = cost_bps / (costs.commission_bps + costs.half_spread_bps)
    scaled = rules.costs.model_copy(
        update={
            "commission_bps": factor * costs.commission_bps,
            "half_spread_bps": factor * costs.half_spread_bps,
        }
    )
    return rules.model_copy(update={"costs": scaled})


def target_verdict(
    ledger: SessionLedger, target_sharpe: float, *, risk_free_per_session: float, sample: str
) -> Verdict:
    """Judge net session returns against a target Sharpe ratio.

    The point estimate decides; its standard error and the probability that the true value exceeds the
    target (probabilistic Sharpe ratio) stand beside it. Fewer than 20 sessions never meet a target.

    Args:
        ledger: What the policy did.
        target_sharpe: Annual net Sharpe ratio to reach.
        risk_free_per_session: Risk-free return of one session, a fraction.
        sample: ``IN-SAMPLE`` or ``out of sample``.
    """
    returns, n = ledger.returns_ratio, len(ledger)
    value = annual_sharpe(returns, risk_free_per_session)
    error = sharpe_standard_error(returns, risk_free_per_session)
    chance = probabilistic_sharpe(returns, target_sharpe, risk_free_per_session)
    mark = f"{IN_SAMPLE}: " if sample == IN_SAMPLE else ""
    threshold = f"net Sharpe >= {target_sharpe:g}"
    if value is None or error is None or chance is None:
        why = f"not enough sessions: {n}" if n < MIN_SHARPE_SESSIONS else f"no variance in {n} sessions"
        return Verdict("target_sharpe", Group.SKILL, False, None, threshold, n, mark + why)
    half = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2.0) * error
    return Verdict(
        name="target_sharpe",
        group=Group.SKILL,
        passed=value >= target_sharpe,
        observed=value,
        threshold=threshold,
        n=n,
        reason=f"{mark}{value:.2f} ± {error:.2f} (n = {n}), "
        f"P(true Sharpe > {target_sharpe:g}) = {chance:.2f}",
        interval=(value - half, value + half),
    )


def figures(
    ledger: SessionLedger,
    target_sharpe: float,
    *,
    n_actions: int,
    risk_free_per_session: float,
    sample: str,
) -> dict[str, Any]:
    """Return what a report shows of one policy, with its chance to exceed the target and its sample."""
    metrics = measure(ledger, n_actions=n_actions, risk_free_per_session=risk_free_per_session)
    chance = probabilistic_sharpe(ledger.returns_ratio, target_sharpe, risk_free_per_session)
    return {**metrics.as_record(), "probability_above_target": chance, "sample": sample}


def _courses(scenario: Scenario, subject: Subject, settings: Settings) -> list[Course]:
    bars = settings.market.bars or scenario.bars
    changes: list[dict[str, Any]] = []
    if scenario.sample is not None:
        changes.append({"bars": None, "sample": scenario.sample})
    if bars is not None:
        changes.append({"bars": bars})
    if not changes:
        raise ConfigError(
            "names neither a sample market nor bars",
            where=f"scenario {scenario.name}",
            remedy="add sample or bars to it, or name --bars",
        )
    return [_course(scenario, subject.packed, on_market(settings, change)) for change in changes]


def _course(scenario: Scenario, packed: Packed, settings: Settings) -> Course:
    dataset = open_for(packed, settings)
    everything = observe(dataset.sessions, dataset.table(packed.constants))
    try:
        part = dataset.sessions.span(scenario.start_date, scenario.end_date)
    except RangeError as error:
        raise RangeError(error.what, where=f"scenario {scenario.name}", remedy=error.remedy) from error
    return Course(settings, dataset, everything, part)


def _already_seen(scenario: Scenario, market: ObservedMarket, seen: NDArray[np.bool_]) -> RangeError:
    edges = np.flatnonzero(np.diff(np.concatenate(([False], seen, [False])).astype(np.int8)))
    spans = [f"{market.dates[a]}:{market.dates[b - 1]}" for a, b in zip(edges[::2], edges[1::2], strict=True)]
    return RangeError(
        f"{int(seen.sum())} of {len(seen)} sessions were seen by the artifact or its gold: "
        f"{', '.join(spans)}",
        where=f"scenario {scenario.name} on {market.source}",
        remedy="choose other dates, or add --in-sample, which marks every figure",
    )


def _run(
    course: Course,
    scenario: Scenario,
    subject: Subject,
    costs_bps: Sequence[float],
    swept: Sequence[str],
    *,
    n_seen: int,
) -> CourseRun:
    settings, market = course.settings, course.market
    entrants, starts = lineup(course, subject)
    replays = course.arena(market).run_all(entrants)
    sample = IN_SAMPLE if n_seen else OUT_OF_SAMPLE
    risk_free = settings.trading.risk_free_per_session

    def shown(run: Replay) -> dict[str, Any]:
        return figures(
            run.ledger,
            scenario.target_sharpe,
            n_actions=subject.packed.artifact.n_actions,
            risk_free_per_session=risk_free,
            sample=sample,
        )

    target = target_verdict(
        replays[POLICY].ledger, scenario.target_sharpe, risk_free_per_session=risk_free, sample=sample
    )
    record = {
        "data": _data(course, scenario, n_seen),
        "sample": sample,
        "target": target.as_record(),
        "policies": {name: shown(run) for name, run in replays.items()},
        "tilt_starts": starts,
        "missing": _missing(replays, subject),
        "comparisons": {
            name: {**pair, "sample": sample} for name, pair in _comparisons(replays, settings).items()
        },
        "costs": {
            name: [
                {"cost_bps": cost, "decisions_equal": equal, **shown(run)}
                for cost, equal, run in _sweep(course, entrants[name], replays[name], costs_bps)
            ]
            for name in swept
            if name in entrants
        },
        "series": {
            "dates": market.dates.astype(str).tolist(),
            "net_bps": {name: (run.ledger.returns_ratio * BPS).tolist() for name, run in replays.items()},
        },
    }
    return CourseRun(course, replays, target, record)


def _data(course: Course, scenario: Scenario, n_seen: int) -> dict[str, Any]:
    listed, there = (
        len(exchange_sessions(scenario.start_date, scenario.end_date)),
        course.part.stop - course.part.start,
    )
    return {
        **describe_data(course.everything, course.part, course.dataset.quality),
        "ranges": {"scenario": describe_range(course.everything, course.part)},
        "exchange_sessions": listed,
        "share_of_exchange_sessions_ratio": there / listed,
        "in_sample_sessions": n_seen,
    }


def _missing(replays: Mapping[str, Replay], subject: Subject) -> list[str]:
    """Return baselines that did not run; a gold under the tilt is its own tilted gold."""
    itself = {TILTED_GOLD} if subject.packed.artifact.role == "gold" else set()
    return [name for name in BASELINES if name not in replays and name not in itself]


def _comparisons(replays: Mapping[str, Replay], settings: Settings) -> dict[str, dict[str, Any]]:
    pairs = compare(
        replays,
        POLICY,
        [name for name in replays if name != POLICY],
        confidence=settings.gate.confidence,
        seed=stream(settings.seed, Stream.BOOTSTRAP, 0),
    )
    return {name: pair.as_record() for name, pair in pairs.items()}


def _sweep(
    course: Course, entrant: Entrant, base: Replay, costs_bps: Sequence[float]
) -> list[tuple[float, bool, Replay]]:
    """Lead one entrant through the sessions at each cost, every decision drawn with the same number."""
    arena = course.arena(course.market)
    found = []
    for cost in costs_bps:
        rules = costed(course.settings.trading, cost)
        run = base if rules == arena.rules else replace(arena, rules=rules).run(entrant)
        found.append((cost, bool(np.array_equal(run.actions, base.actions)), run))
    return found
