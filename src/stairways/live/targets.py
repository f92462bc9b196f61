"""Targets: which model a way back leads to.

The best earlier champion that would not trip the triggers itself, by the net Sharpe ratio of its last gate;
gold last, and gold whatever it did: somebody has to answer. Where not even gold verifies there is none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stairways.errors import StairwaysError, StorageError
from stairways.evaluation.gate_config import GateConfig
from stairways.evaluation.gates import required_names
from stairways.evaluation.verdicts import GateResult
from stairways.live.live_evidence import RecordedFigures
from stairways.live.triggers import satisfies
from stairways.registry.files import read_json_object
from stairways.registry.history_records import Stage
from stairways.registry.manifest import ARTIFACT_FILE
from stairways.registry.records import verdict_from_record

if TYPE_CHECKING:
    from pathlib import Path

    from stairways.evaluation.trigger_config import TriggerConfig
    from stairways.registry.registry import Registry


ODD_RECORD = (ArithmeticError, AttributeError, KeyError, TypeError, ValueError)
"""What it may come to to read a record that was signed, and holds something else than figures."""


@dataclass(frozen=True)
class Target:
    """Where a way back leads.

    Attributes:
        digest: The model; None where not even gold can be read.
        reason: Why this one.
    """

    digest: str | None
    reason: str


def choose_target(
    registry: Registry, failed: str, triggers: TriggerConfig, gate: GateConfig | None = None
) -> Target:
    """Return the model that shall be live instead of another.

    Without a database the history is unknown, and it is gold. Where not even gold verifies there is none:
    the service must be stopped.

    Args:
        registry: The registry.
        failed: Digest of what is live.
        triggers: What a target must satisfy itself.
        gate: Says which verdicts make its gate.
    """
    try:
        earlier = _earlier_champions(registry, failed, triggers, gate or GateConfig())
    except Exception:  # noqa: BLE001 - whatever is wrong with the history, gold is left
        earlier = []
    if earlier:
        sharpe, digest = max(earlier)
        return Target(digest, f"the best earlier champion, net Sharpe {sharpe:.2f} at its last gate")
    gold = gold_to_go_back_to(registry, failed)
    if gold is None:
        return Target(None, "no gold can be read, and no earlier champion")
    return Target(gold, "gold: no earlier champion satisfies the triggers")


def just_gone_back_to(registry: Registry) -> str | None:
    """Return where the way back that latches has led; None where none does, or that can't be told."""
    name = registry.store.latched_by()
    if name is None:
        return None
    try:
        entry = registry.journal.pending().get(name) or registry.journal.read_finished(name)
        target = entry["order"]["target"]
    except (StairwaysError, KeyError, TypeError):
        return None
    return target if isinstance(target, str) else None


def ensure_target(registry: Registry, failed: str, target: str | None) -> None:
    """Refuse a target that would only stop the service.

    Raises:
        StorageError: If it is none, is what is live, is quarantined or does not verify.
    """
    remedy = "name another, or none: the best earlier one is found then"
    why = ""
    if target is None:
        why = "there was none"
    elif target == failed:
        why = "it is what is live"
    elif registry.store.is_quarantined(target):
        why = "it is quarantined for good"
    else:
        try:
            registry.read(target)
        except StairwaysError as error:
            why = error.line()
    if why:
        raise StorageError(f"a way back to it leads nowhere: {why}", where=str(target)[:12], remedy=remedy)


def figures_of(record: Mapping[str, Any], gate: GateConfig) -> RecordedFigures:
    """Return what an artifact's record says of it; what it does not say is not measured."""
    figures = record.get("figures", {})
    verdicts = tuple(verdict_from_record(verdict) for verdict in record.get("verdicts", ()))
    return RecordedFigures(
        trades_per_session=figures.get("trades_per_session"),
        max_intraday_drawdown_ratio=figures.get("max_intraday_drawdown_ratio"),
        n_sessions=int(figures.get("n_sessions") or 0),
        drift_ratio=figures.get("drift_ratio"),
        gate=GateResult(verdicts, required_names(gate)) if verdicts else None,
    )


def _earlier_champions(
    registry: Registry, failed: str, triggers: TriggerConfig, gate: GateConfig
) -> list[tuple[float, str]]:
    roles = {model.model_id: model.role for model in registry.history.models()}
    found = []
    for digest in dict.fromkeys(tenure.model_id for tenure in registry.history.tenures()):
        barred = registry.store.is_quarantined(digest) or roles[digest] in (Stage.QUARANTINED, Stage.GOLD)
        if digest == failed or barred:
            continue
        try:
            record = registry.read(digest).loaded.record
            good = satisfies(figures_of(record, gate), triggers)
            sharpe = record.get("figures", {}).get("sharpe")
            sharpe = math.nan if sharpe is None else float(sharpe)
        except (StairwaysError, *ODD_RECORD):
            continue
        if good and math.isfinite(sharpe):
            found.append((sharpe, digest))
    return found


def gold_to_go_back_to(registry: Registry, failed: str | None = None) -> str | None:
    """Return a gold that verifies, None where none does; the store alone is asked.

    Args:
        registry: The registry.
        failed: A model that is none to go back to; by default any gold counts, also the one that is live.
    """
    try:
        digests = registry.store.digests()
    except StorageError:
        return None
    for digest in digests:
        if digest == failed or not _says_gold(registry.store.place(digest)):
            continue
        try:
            if registry.store.is_quarantined(digest):
                continue
            artifact = registry.read(digest).loaded.artifact
        except StairwaysError:
            continue
        if artifact.role == "gold":
            return digest
    return None


def _says_gold(place: Path) -> bool:
    """Whether an artifact calls itself gold: those that don't need not be verified to be passed over."""
    try:
        return bool(read_json_object(place / ARTIFACT_FILE, remedy="").get("role") == "gold")
    except StairwaysError:
        return False
