"""Verdicts on behaviour: how often the policy holds and how often it trades."""

from __future__ import annotations

import math

from stairways.evaluation.evidence import Evidence, Gap, judged_ledger, unjudged
from stairways.evaluation.gate_config import GateConfig
from stairways.evaluation.verdicts import Group, Verdict
from stairways.trading.metrics import band_share_ratio, hold_rate_estimate, trades_estimate

# 0.58 - 0.55 is a little more than 0.03 in binary: the bound itself must pass.
ROUNDING = 1e-12


def hold_rate(evidence: Evidence, config: GateConfig) -> Verdict:
    """Judge whether the mean hold rate lies within the tolerance of its target."""
    target = config.hold_target_ratio if evidence.hold_target_ratio is None else evidence.hold_target_ratio
    threshold = f"{target:.3f} ± {config.hold_tolerance_ratio:.3f} of decisions"
    ledger = judged_ledger(evidence, config)
    if isinstance(ledger, Gap):
        return unjudged("hold_rate", Group.BEHAVIOUR, threshold, ledger)
    if not math.isfinite(target):
        return unjudged(
            "hold_rate", Group.BEHAVIOUR, threshold, Gap("the target is not a number", len(ledger))
        )
    if ledger.decisions.sum() == 0:
        return unjudged("hold_rate", Group.BEHAVIOUR, threshold, Gap("no decision was taken", len(ledger)))
    estimate = hold_rate_estimate(ledger)
    distance = abs(estimate.value - target)
    return Verdict(
        name="hold_rate",
        group=Group.BEHAVIOUR,
        passed=distance <= config.hold_tolerance_ratio + ROUNDING,
        observed=estimate.value,
        threshold=threshold,
        n=len(ledger),
        reason=f"held in {estimate.value:.1%} of decisions, {distance * 100:.1f} points from the target",
        interval=estimate.interval,
    )


def trades_per_session(evidence: Evidence, config: GateConfig) -> Verdict:
    """Judge whether the mean trades per session lie in their band."""
    low, high = config.trades_band
    threshold = f"{low:g} to {high:g} trades per session in the mean"
    ledger = judged_ledger(evidence, config)
    if isinstance(ledger, Gap):
        return unjudged("trades_per_session", Group.BEHAVIOUR, threshold, ledger)
    estimate = trades_estimate(ledger)
    return Verdict(
        name="trades_per_session",
        group=Group.BEHAVIOUR,
        passed=low <= estimate.value <= high,
        observed=estimate.value,
        threshold=threshold,
        n=len(ledger),
        reason=f"{estimate.value:.2f} trades per session in the mean of {len(ledger):,} sessions",
        interval=estimate.interval,
    )


def session_trades_band(evidence: Evidence, config: GateConfig) -> Verdict:
    """Judge whether enough single sessions lie in the band of trades."""
    low, high = config.session_trades_band
    least = config.min_sessions_in_band_ratio
    threshold = f"at least {least:.3f} of sessions with {low} to {high} trades"
    ledger = judged_ledger(evidence, config)
    if isinstance(ledger, Gap):
        return unjudged("session_trades_band", Group.BEHAVIOUR, threshold, ledger)
    share = band_share_ratio(ledger.trades, config.session_trades_band)
    return Verdict(
        name="session_trades_band",
        group=Group.BEHAVIOUR,
        passed=share >= least,
        observed=share,
        threshold=threshold,
        n=len(ledger),
        reason=f"{share:.1%} of {len(ledger):,} sessions had {low} to {high} trades",
    )
