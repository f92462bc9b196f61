"""The final gate: every policy once through the unseen sessions, then the verdicts."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stairways.control.actuators import TiltActuator
from stairways.control.tilt import Multipliers
from stairways.evaluation.baselines import uniform
from stairways.evaluation.bootstrap import PairedComparison
from stairways.evaluation.evidence import GOLD, RANDOM, TILTED_GOLD, Evidence, Integrity
from stairways.evaluation.gates import final_gate
from stairways.evaluation.replay import Replay, TiltLoop
from stairways.policies.program import compile_program
from stairways.registry.artifact import read_artifact, write_artifact
from stairways.registry.records import LookRecord
from stairways.trading.metrics import PolicyMetrics
from stairways.tuning.book import alert_at_bound
from stairways.tuning.contest import (
    REFERENCES,
    Arena,
    Entrant,
    calibrated_entrant,
    compare,
    equal_turnover,
    mean_hold_target,
    scripted_baselines,
)
from stairways.tuning.cycle import Bench, run_shadow
from stairways.tuning.run_folder import GOLD_FOLDER, Clock, RunLog
from stairways.tuning.seeds import Stream, stream
from stairways.unpacking import ARTIFACT_FOLDER

if TYPE_CHECKING:
    from stairways.evaluation.verdicts import GateResult
    from stairways.market.dataset import Dataset
    from stairways.registry.artifact import Artifact
    from stairways.registry.database import GateDatabase
    from stairways.trading.observation import ObservedMarket

CANDIDATE = "candidate"


@dataclass(frozen=True, eq=False)
class FinalJudgement:
    """What the final gate saw and said.

    Attributes:
        gate: The verdicts.
        replays: What every policy did on the test sessions.
        metrics: The same, measured.
        comparisons: Candidate against each reference.
        artifact_digest: Identity of the candidate.
        weights_digest: Digest of its weights alone.
        fills_digest: Digest of its every action, fill and NAV.
        cycle: Cycle it comes from.
        looks: How many looks these test sessions have now had.
        look_key: What they are counted by in gate.db.
        controller_alert: Whether a multiplier stood at its bound for more than a session.
    """

    gate: GateResult
    replays: dict[str, Replay]
    metrics: dict[str, PolicyMetrics]
    comparisons: dict[str, PairedComparison]
    artifact_digest: str
    weights_digest: str
    fills_digest: str
    cycle: int
    looks: int
    look_key: str
    controller_alert: bool


def judge_finally(
    *,
    database: GateDatabase,
    bench: Bench,
    dataset: Dataset,
    market: ObservedMarket,
    part: slice,
    artifact: Artifact,
    cycle: int,
    gold_tilt: Multipliers | None,
    gold_folder: Path,
    folder: Path,
    record: dict[str, Any],
    run_id: str,
    clock: Clock,
    log: RunLog,
) -> FinalJudgement:
    """Write the candidate, count the look, lead everyone through the test sessions and judge.

    Args:
        database: gate.db.
        bench: What the run was judged on before.
        dataset: All sessions, with the truth behind a planted market.
        market: The test sessions.
        part: Where they lie within the dataset.
        artifact: The candidate.
        cycle: Cycle it comes from.
        gold_tilt: Multipliers of gold under the same tilt.
        gold_folder: Where gold stands.
        folder: The run folder.
        record: How the candidate was made.
        run_id: The run.
        clock: Tells the time.
        log: The run's log.
    """
    digest = write_artifact(folder / ARTIFACT_FOLDER, artifact, record, replace=True)
    write_artifact(folder / GOLD_FOLDER, bench.gold.artifact, bench.gold.loaded.record, replace=True)
    looks = database.count_look(
        LookRecord(
            run_id=run_id,
            data_digest=look_key(market),
            first_date=market.dates[0].item(),
            last_date=market.dates[-1].item(),
            artifact_digest=digest,
            at=clock(),
        )
    )
    log.event("GATE", "test.looked_at", sessions=len(market), looks=looks)
    candidate = candidate_entrant(bench, artifact)
    entrants = {CANDIDATE: candidate, GOLD: Entrant(bench.gold.program)}
    entrants |= scripted_baselines(market, dataset, part, bench.settings.trading)
    arena = bench.arena(market, bench.decision_key)
    replays = arena.run_all(entrants)
    matched = baselines_at_equal_turnover(bench, arena, replays[CANDIDATE], gold_tilt)
    replays |= arena.run_all(matched)
    comparisons = compare(
        replays,
        CANDIDATE,
        REFERENCES,
        confidence=bench.settings.gate.confidence,
        seed=stream(bench.settings.seed, Stream.BOOTSTRAP, 0),
    )
    evidence = Evidence(
        ledger=replays[CANDIDATE].ledger,
        hold_target_ratio=mean_hold_target(bench.settings.control.points, replays[CANDIDATE]),
        comparisons=comparisons,
        drift_ratio=bench.drift(artifact.weights).relative,
        shadow=run_shadow(bench, candidate, cycle),
        integrity=Integrity(
            gold_digest_before=bench.gold.digest,
            gold_digest_after=read_artifact(gold_folder).digest,
            artifact_digest_written=digest,
            artifact_digest_read=read_artifact(folder / ARTIFACT_FOLDER).digest,
        ),
    )
    alert = alert_at_bound(log, replays[CANDIDATE], "final gate")
    gate = final_gate(evidence, bench.settings.resolved_gate())
    metrics = {name: bench.measured(run) for name, run in replays.items()}
    for verdict in gate.verdicts:
        log.event("GATE", "verdict.given", verdict=verdict.name, passed=verdict.passed, reason=verdict.reason)
    judged = {
        "verdicts": [v.as_record() for v in gate.verdicts],
        "accepted": gate.passed,
        "baseline_multipliers": {name: list(e.loop.start) for name, e in matched.items() if e.loop},
        "figures": recorded_figures(metrics[CANDIDATE], evidence.drift_ratio),
    }
    write_artifact(folder / ARTIFACT_FOLDER, artifact, {**record, **judged}, replace=True)
    return FinalJudgement(
        gate=gate,
        replays=replays,
        metrics=metrics,
        comparisons=comparisons,
        artifact_digest=digest,
        weights_digest=artifact.weights_digest,
        fills_digest=replays[CANDIDATE].digest,
        cycle=cycle,
        looks=looks,
        look_key=look_key(market),
        controller_alert=alert,
    )


def recorded_figures(metrics: PolicyMetrics, drift_ratio: float | None) -> dict[str, Any]:
    """Return what a rollback asks of a stored model: the figures of its last gate, JSON."""
    return {
        "drift_ratio": drift_ratio,
        "max_intraday_drawdown_ratio": metrics.max_intraday_drawdown_ratio,
        "n_sessions": metrics.n_sessions,
        "sharpe": metrics.sharpe,
        "sharpe_standard_error": metrics.sharpe_standard_error,
        "trades_per_session": metrics.trades_per_session,
    }


def look_key(market: ObservedMarket) -> str:
    """Return what looks are counted by: symbols, interval and kind of market.

    It is not the digest of the bars: adding a session to a folder, or copying it, makes no test
    session unseen again.
    """
    kind = market.source if market.source.startswith("SYNTHETIC") else "bars"
    words = f"{','.join(sorted(market.symbols))}|{market.interval_minutes}|{kind}"
    return hashlib.sha256(words.encode()).hexdigest()


def candidate_entrant(bench: Bench, artifact: Artifact) -> Entrant:
    """Return the candidate as it is deployed: its weights, and the tilt saved with it."""
    program = compile_program(bench.spec, artifact.weights)
    saved = (artifact.controller or {}).get("multipliers")
    return Entrant(program, bench.loop(None if saved is None else Multipliers(*saved)))


def baselines_at_equal_turnover(
    bench: Bench, arena: Arena, candidate: Replay, gold_tilt: Multipliers | None
) -> dict[str, Entrant]:
    """Return the random policy and gold at the candidate's hold rate and turnover.

    Under the tilt the set points are the candidate's own; a candidate of the reward actuator is
    matched by what it did.
    """
    actuator, points = bench.settings.control.actuator, bench.settings.control.points
    if not isinstance(actuator, TiltActuator):
        actuator, points = TiltActuator(), equal_turnover(candidate.ledger)
    before = bench.arena(bench.train, bench.decision_key)
    random = calibrated_entrant(before, uniform(arena.market.n_symbols), actuator, points)
    if gold_tilt is None:
        gold = calibrated_entrant(before, bench.gold.program, actuator, points)
    else:
        gold = Entrant(bench.gold.program, TiltLoop(actuator, actuator.live, points).starting_at(gold_tilt))
    return {RANDOM: random, TILTED_GOLD: gold}
