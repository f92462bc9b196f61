"""What the judges look at: everything known of one candidate when a gate is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from stairways.evaluation.bootstrap import PairedComparison
from stairways.evaluation.gate_config import GateConfig
from stairways.evaluation.verdicts import Group, Verdict
from stairways.trading.ledger import SessionLedger

GOLD = "gold"
RANDOM = "random"
ALL_HOLD = "all_hold"
TILTED_GOLD = "tilted_gold"


@dataclass(frozen=True)
class ShadowReplay:
    """The last sessions replayed twice.

    Attributes:
        ledger: What the candidate did in them.
        digest: Digest of every decision and fill of the first replay.
        repeated_digest: The same of a second replay from the same state and seed.
    """

    ledger: SessionLedger
    digest: str
    repeated_digest: str


@dataclass(frozen=True)
class Integrity:
    """Digests that must not have changed; an empty one counts as not taken.

    Attributes:
        gold_digest_before: Of the gold artifact before tuning.
        gold_digest_after: Of the gold artifact now.
        artifact_digest_written: Of the candidate's artifact as it was written.
        artifact_digest_read: Of the same, read back from disk.
    """

    gold_digest_before: str
    gold_digest_after: str
    artifact_digest_written: str
    artifact_digest_read: str


@dataclass(frozen=True)
class Evidence:
    """All that is known of one candidate; None and a missing key stand for "not measured".

    Attributes:
        ledger: What the candidate did on sessions it has never seen, in deployment mode.
        hold_target_ratio: Mean of the hold targets in force there, where the set point moves; None takes
            the fixed one of the config.
        comparisons: Candidate against ``gold``, ``random`` (at equal turnover), ``all_hold`` and
            ``tilted_gold`` (gold under the candidate's tilt), net returns on the same sessions.
        drift_ratio: Parameter drift from gold.
        shadow: The shadow replay.
        integrity: Digests of gold and of the candidate's artifact.
    """

    ledger: SessionLedger | None = None
    hold_target_ratio: float | None = None
    comparisons: Mapping[str, PairedComparison] = field(default_factory=lambda: MappingProxyType({}))
    drift_ratio: float | None = None
    shadow: ShadowReplay | None = None
    integrity: Integrity | None = None


@dataclass(frozen=True)
class Gap:
    """Why something can't be judged, and how many sessions there were."""

    reason: str
    n: int = 0


def unjudged(name: str, group: Group, threshold: str, gap: Gap) -> Verdict:
    """Return the failed verdict of a question that could not be judged."""
    return Verdict(name, group, passed=False, observed=None, threshold=threshold, n=gap.n, reason=gap.reason)


def judged_ledger(evidence: Evidence, config: GateConfig) -> SessionLedger | Gap:
    """Return the ledger, or why it can't be judged."""
    ledger = evidence.ledger
    if ledger is None or len(ledger) == 0:
        return Gap("no sessions were measured")
    if ledger.mode != config.deployment_mode:
        return Gap(f"measured {ledger.mode}, but deployment is {config.deployment_mode}", len(ledger))
    if len(ledger) < config.min_sessions:
        return Gap(f"not enough sessions: {len(ledger)}, at least {config.min_sessions} needed", len(ledger))
    return ledger
