"""Evaluate: judge any artifact on any sessions, as it is deployed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stairways.control.actuators import TiltActuator
from stairways.control.setpoints import SetPoints
from stairways.control.tilt import Multipliers
from stairways.errors import ArtifactError, ConfigError
from stairways.evaluation.baselines import uniform
from stairways.evaluation.evidence import GOLD, RANDOM, TILTED_GOLD, Evidence
from stairways.evaluation.gate_config import GateConfig
from stairways.evaluation.gates import SKILL_NAMES, final_gate
from stairways.evaluation.replay import Replay, TiltLoop
from stairways.evaluation.verdicts import SKILL_MARK, GateResult, Group, Verdict
from stairways.learning.drift import measure_drift
from stairways.market.feature_part import features_of_part
from stairways.market.features import build_table
from stairways.reporting.summary import describe_data, describe_range
from stairways.trading.metrics import measure
from stairways.trading.observation import observe
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
from stairways.tuning.market_access import open_market_for
from stairways.tuning.packing import unpack_for
from stairways.tuning.ranges import span_of
from stairways.tuning.run_folder import GOLD_FOLDER
from stairways.tuning.seeds import Stream, key, stream
from stairways.tuning.seen import seen_sessions
from stairways.tuning.shipped import shipped_gold
from stairways.unpacking import Packed, unpack

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from stairways.config import Settings
    from stairways.market.dataset import OpenedMarket
    from stairways.trading.observation import ObservedMarket

CALIBRATION_SESSIONS = 240
LEAST_CALIBRATION_SESSIONS = 20
POLICY = "policy"
JUDGED = ("hold_rate", "trades_per_session", "session_trades_band", "intraday_drawdown")


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What an artifact did on the sessions asked for.

    Attributes:
        packed: The artifact.
        replays: What it and every reference did; the artifact under ``policy``.
        gate: The verdicts.
        record: Everything as plain JSON types.
    """

    packed: Packed
    replays: dict[str, Replay]
    gate: GateResult
    record: dict[str, Any]


def settings_base(folder: Path) -> dict[str, Any]:
    """Return what an artifact says of its market, its rules and its controller, as settings."""
    packed = unpack(folder)
    artifact = packed.artifact
    control = None if packed.control is None else packed.control.model_dump(mode="json")
    base: dict[str, Any] = {
        "market": {
            "symbols": list(artifact.symbols),
            "interval": f"{artifact.interval_minutes}min",
            "regime": packed.regime.model_dump(mode="json"),
        },
        "trading": packed.rules.model_dump(mode="json"),
    }
    seed = packed.loaded.record.get("seed")
    if packed.control is not None:
        base |= {"control": control, "gate": _gate_base(packed.control.points.trades_per_session)}
    return base | ({"seed": seed} if seed is not None else {})


def _gate_base(trades_per_session: float) -> dict[str, Any]:
    """Return a band around a set point that lies outside the default one."""
    low, high = GateConfig().trades_band
    if low <= trades_per_session <= high:
        return {}
    half = (high - low) / 2
    return {"trades_band": [max(0.0, trades_per_session - half), trades_per_session + half]}


def evaluate(
    folder: Path, settings: Settings, *, gold: Path | None, clock: Callable[[], dt.datetime]
) -> Evaluation:
    """Lead an artifact, its gold and the baselines through sessions and judge it.

    Args:
        folder: The artifact.
        settings: Market, sessions, mode and seed.
        gold: Folder of its gold; by default the one beside it in its run folder, or the shipped one,
            if the digest is the one the artifact names.
        clock: Tells the time.
    """
    began = clock()
    packed = unpack_for(folder, settings)
    if settings.ranges.sessions is None:
        raise ConfigError("--sessions FROM:TO is missing", remedy="name the session dates")
    opened, regime_start = open_market_for(packed, settings)
    part = span_of(opened.sessions, settings.ranges.sessions, "sessions")
    before = _calibration_part(part)
    seen_from = min(before.start, part.start)
    observed = _observe(opened, slice(seen_from, part.stop), packed, settings, regime_start)
    before, inside = _shifted(before, seen_from), _shifted(part, seen_from)
    market = observed.select(inside)
    arena = Arena.of(settings, market, key(settings.seed, Stream.DECISIONS))
    parent = parent_of(packed, folder, gold)
    calibration = replace(arena, market=observed.select(before))
    replays = _run(arena, calibration, packed, parent, opened, part)
    evidence = _evidence(replays, packed, parent, settings, market)
    seen = int(seen_sessions(packed, parent, market.source, market.dates).sum())
    gate = _judge(evidence, packed, settings, seen)
    record = _record(packed, replays, gate, evidence, settings, observed, inside, opened, seen)
    record["run"]["wall_seconds"] = (clock() - began).total_seconds()
    return Evaluation(packed, replays, gate, record)


def _observe(
    opened: OpenedMarket,
    part: slice,
    packed: Packed,
    settings: Settings,
    regime_start: Mapping[str, Any] | None,
) -> ObservedMarket:
    """Return a part of a market as the artifact sees it; nothing else of it is used here."""
    raw = features_of_part(
        opened.sessions,
        part,
        settings.market.regime,
        regime_start=regime_start,
        threads=settings.performance.preprocessing_threads,
    )
    table = build_table(raw, packed.constants)
    return observe(opened.sessions.select(part), table, data_digest=opened.sessions.digest)


def _shifted(part: slice, by: int) -> slice:
    return slice(part.start - by, part.stop - by)


def parent_of(packed: Packed, folder: Path, given: Path | None) -> Packed | None:
    """Return the gold that an artifact was made from: the one given, beside it, or the shipped one.

    Raises:
        ArtifactError: If the one given is another.
    """
    wanted = packed.artifact.parent_digest
    if wanted is None:
        return None
    if given is not None:
        parent = unpack(given)
        if parent.digest != wanted:
            raise ArtifactError(
                f"has digest {parent.digest[:12]}, the artifact was made from {wanted[:12]}",
                where=f"--gold {given}",
            )
        return parent
    for place in (folder.resolve().parent / GOLD_FOLDER, shipped_gold()):
        if place.is_dir():
            parent = unpack(place)
            if parent.digest == wanted:
                return parent
    return None


def _run(
    arena: Arena,
    calibration: Arena,
    packed: Packed,
    parent: Packed | None,
    opened: OpenedMarket,
    part: slice,
) -> dict[str, Replay]:
    entrants = {POLICY: Entrant(packed.program, packed.loop())}
    if parent is not None:
        entrants[GOLD] = Entrant(parent.program)
    entrants |= scripted_baselines(arena.market, opened, part, arena.rules)
    replays = arena.run_all(entrants)
    actuator, points = _turnover(packed, replays[POLICY])
    tilted = {RANDOM: uniform(arena.market.n_symbols)}
    if parent is not None:
        tilted[TILTED_GOLD] = parent.program
    saved = packed.loaded.record.get("baseline_multipliers", {})
    for name, program in tilted.items():
        if name in saved:
            loop = TiltLoop(actuator, actuator.live, points).starting_at(Multipliers(*saved[name]))
            replays[name] = arena.run(Entrant(program, loop))
        else:
            replays[name] = arena.run(calibrated_entrant(calibration, program, actuator, points))
    return replays


def _calibration_part(part: slice) -> slice:
    """Return the sessions before a range; the range itself where there are too few before it.

    Only baselines are calibrated here, to an equal turnover; nothing they learn can flatter the policy.
    """
    first = max(0, part.start - CALIBRATION_SESSIONS)
    return slice(first, part.start) if part.start - first >= LEAST_CALIBRATION_SESSIONS else part


def _turnover(packed: Packed, run: Replay) -> tuple[TiltActuator, SetPoints]:
    loop = packed.loop()
    if loop is not None:
        return loop.actuator, loop.points
    return TiltActuator(), equal_turnover(run.ledger)


def _evidence(
    replays: dict[str, Replay],
    packed: Packed,
    parent: Packed | None,
    settings: Settings,
    market: ObservedMarket,
) -> Evidence:
    comparisons = compare(
        replays,
        POLICY,
        REFERENCES,
        confidence=settings.gate.confidence,
        seed=stream(settings.seed, Stream.BOOTSTRAP, 0),
    )
    drift = None
    if parent is not None:
        drift = measure_drift(
            packed.spec,
            packed.artifact.weights,
            parent.spec,
            parent.artifact.weights,
            _rows(market),
            settings.gate.drift_threshold_ratio,
        ).relative
    return Evidence(
        ledger=replays[POLICY].ledger,
        hold_target_ratio=mean_hold_target(settings.control.points, replays[POLICY]),
        comparisons=comparisons,
        drift_ratio=drift,
    )


def _rows(market: ObservedMarket) -> NDArray[np.float32]:
    return market.rows[:, :: max(1, market.rows.shape[1] // 8)].reshape(-1, market.rows.shape[2])


def _judge(evidence: Evidence, packed: Packed, settings: Settings, seen: int) -> GateResult:
    """Judge an artifact; a candidate's drift is required, and so is the mode it is deployed in."""
    gate = settings.resolved_gate()
    if packed.control is not None:
        gate = gate.model_copy(update={"deployment_mode": packed.control.mode})
    names = [*JUDGED, *SKILL_NAMES]
    candidate = packed.artifact.role == "candidate"
    if candidate:
        names += ["parameter_drift", "tuning_adds"]
    given = {verdict.name: verdict for verdict in final_gate(evidence, gate).verdicts}
    verdicts = [given[name] for name in (*names, SKILL_MARK)]
    ledger = evidence.ledger
    verdicts.append(
        Verdict(
            name="out_of_sample",
            group=Group.SAFETY,
            passed=seen == 0,
            observed=float(seen),
            threshold="no session that the artifact has seen",
            n=0 if ledger is None else len(ledger),
            reason=f"{seen} of the judged sessions were seen in training or tuning",
        )
    )
    required = (*JUDGED, "out_of_sample", *(SKILL_NAMES if gate.require_skill else ()))
    if candidate:
        required += ("parameter_drift",)
    return GateResult(tuple(verdicts), required)


def _record(
    packed: Packed,
    replays: dict[str, Replay],
    gate: GateResult,
    evidence: Evidence,
    settings: Settings,
    observed: ObservedMarket,
    inside: slice,
    opened: OpenedMarket,
    seen: int,
) -> dict[str, Any]:
    n_actions = packed.artifact.n_actions
    risk_free = settings.trading.risk_free_per_session
    metrics = {
        name: measure(run.ledger, n_actions=n_actions, risk_free_per_session=risk_free).as_record()
        for name, run in replays.items()
    }
    role = packed.artifact.role
    record: dict[str, Any] = {
        "data": {
            **describe_data(observed, inside, opened.quality, n_sessions=len(opened.sessions)),
            "ranges": {"sessions": describe_range(observed, inside)},
            "in_sample_sessions": seen,
            "made_on": packed.artifact.data_source,
        },
        "policy": {"role": role, **metrics[POLICY]},
        "gold": metrics[POLICY] if role == "gold" else metrics.get(GOLD),
        "candidate": metrics[POLICY] if role == "candidate" else None,
        "baselines": {n: m for n, m in metrics.items() if n not in (POLICY, GOLD)},
        "comparisons": {n: pair.as_record() for n, pair in evidence.comparisons.items()},
        "verdicts": [verdict.as_record() for verdict in gate.verdicts],
        "required": list(gate.required),
        "run": {
            "command": "evaluate",
            "seed": settings.seed,
            "steps": packed.loaded.record.get("steps", 0),
            "digest": packed.digest,
            "weights_digest": packed.artifact.weights_digest,
            "fills_digest": replays[POLICY].digest,
            "accepted": gate.passed,
            "skill_proven": gate.skill_proven,
        },
    }
    return record
