"""Verdicts on safety: drawdown, drift, shadow replay, integrity."""

from __future__ import annotations

import math

import numpy as np

from stairways.evaluation.evidence import Evidence, Gap, Integrity, ShadowReplay, judged_ledger, unjudged
from stairways.evaluation.gate_config import GateConfig
from stairways.evaluation.shadow_power import shadow_power
from stairways.evaluation.verdicts import Group, Verdict
from stairways.trading.metrics import BPS


def intraday_drawdown(evidence: Evidence, config: GateConfig) -> Verdict:
    """Judge whether few enough sessions exceed the largest intraday drawdown."""
    limit, most = config.max_drawdown_ratio, config.max_sessions_over_ratio
    threshold = f"at most {most:.3f} of sessions with a drawdown above {limit:.4f} of NAV"
    ledger = judged_ledger(evidence, config)
    if isinstance(ledger, Gap):
        return unjudged("intraday_drawdown", Group.SAFETY, threshold, ledger)
    drawdowns = ledger.max_drawdown_ratio
    if not np.isfinite(drawdowns).all():
        gap = Gap("the drawdown of a session is not a number", len(ledger))
        return unjudged("intraday_drawdown", Group.SAFETY, threshold, gap)
    n_over = int((drawdowns > limit).sum())
    return Verdict(
        name="intraday_drawdown",
        group=Group.SAFETY,
        passed=n_over / len(ledger) <= most,
        observed=n_over / len(ledger),
        threshold=threshold,
        n=len(ledger),
        reason=f"{n_over:,} of {len(ledger):,} sessions fell further; "
        f"the largest fall was {drawdowns.max():.2%}",
    )


def parameter_drift(evidence: Evidence, config: GateConfig) -> Verdict:
    """Judge whether the candidate's parameters stayed near gold's."""
    threshold = f"at most {config.drift_threshold_ratio:g} of the norm of gold's parameters"
    drift = evidence.drift_ratio
    if drift is None or not math.isfinite(drift) or drift < 0.0:
        gap = Gap("drift was not measured" if drift is None else f"{drift} is no distance")
        return unjudged("parameter_drift", Group.SAFETY, threshold, gap)
    return Verdict(
        name="parameter_drift",
        group=Group.SAFETY,
        passed=drift <= config.drift_threshold_ratio,
        observed=drift,
        threshold=threshold,
        n=1,
        reason=f"parameters moved by {drift:.1%} of gold's norm",
    )


def _shadow_gap(shadow: ShadowReplay | None, config: GateConfig) -> Gap | None:
    if shadow is None:
        return Gap("no shadow replay was run")
    ledger = shadow.ledger
    if len(ledger) != config.shadow_sessions:
        return Gap(f"{len(ledger):,} sessions were replayed, not {config.shadow_sessions}", len(ledger))
    if ledger.mode != config.deployment_mode:
        return Gap(f"replayed {ledger.mode}, but deployment is {config.deployment_mode}", len(ledger))
    if not (np.isfinite(ledger.max_drawdown_ratio) & np.isfinite(ledger.returns_ratio)).all():
        return Gap("a drawdown or return of the replay is not a number", len(ledger))
    return None


def _shadow_threshold(config: GateConfig) -> str:
    low, high = config.shadow_trades_band
    rule = f"equal digests, drawdown at most {config.max_drawdown_ratio:.4f} in each session"
    if config.shadow_rule == "default":
        return f"{rule}, mean trades {low} to {high}"
    least = config.shadow_min_return_ratio * BPS
    return f"{rule}, trades {low} to {high} and a net return of at least {least:g} bp in each session"


def _shadow_faults(shadow: ShadowReplay, config: GateConfig) -> list[str]:
    """Return what the replay broke, in words."""
    ledger, (low, high) = shadow.ledger, config.shadow_trades_band
    each_session = config.shadow_rule == "plan"
    trades = ledger.trades if each_session else np.array([ledger.trades.mean()])
    faults = {
        "the second replay differed": not shadow.digest or shadow.digest != shadow.repeated_digest,
        "a drawdown was too large": bool((ledger.max_drawdown_ratio > config.max_drawdown_ratio).any()),
        "trades left their band": bool(((trades < low) | (trades > high)).any()),
        "a session lost too much": each_session
        and bool((ledger.returns_ratio < config.shadow_min_return_ratio).any()),
    }
    return [fault for fault, found in faults.items() if found]


def shadow_replay(evidence: Evidence, config: GateConfig) -> Verdict:
    """Judge the shadow replay; ``observed`` counts the conditions that it broke.

    Three sessions show whether a replay repeats itself, how far NAV falls and how often the policy trades.
    They don't show skill, so results per session are reported and gate only under the ``plan`` rule; the
    pass probabilities of a policy with and without skill stand beside them.
    """
    threshold, shadow = _shadow_threshold(config), evidence.shadow
    gap = _shadow_gap(shadow, config)
    if shadow is None or gap is not None:
        return unjudged("shadow_replay", Group.SAFETY, threshold, gap or Gap("no shadow replay was run"))
    ledger, faults = shadow.ledger, _shadow_faults(shadow, config)
    results = ", ".join(f"{value * BPS:+.1f}" for value in ledger.returns_ratio)
    return Verdict(
        name="shadow_replay",
        group=Group.SAFETY,
        passed=not faults,
        observed=float(len(faults)),
        threshold=threshold,
        n=len(ledger),
        reason=(
            f"{'; '.join(faults) or 'all conditions held'}; mean trades {ledger.trades.mean():.1f}, largest "
            f"drawdown {ledger.max_drawdown_ratio.max():.2%}, net results {results} bp; "
            f"{shadow_power(config).text}"
        ),
    )


def _changed(digests: Integrity) -> list[str]:
    pairs = {
        "gold": (digests.gold_digest_before, digests.gold_digest_after),
        "the artifact": (digests.artifact_digest_written, digests.artifact_digest_read),
    }
    return [what for what, (first, second) in pairs.items() if not first or first != second]


def integrity(evidence: Evidence, config: GateConfig) -> Verdict:
    """Judge whether gold is untouched and the artifact reads back as it was written.

    ``observed`` counts the digests that differ or were not taken.
    """
    threshold = "0 digests changed"
    if evidence.integrity is None:
        return unjudged("integrity", Group.SAFETY, threshold, Gap("no digests were taken"))
    changed = _changed(evidence.integrity)
    return Verdict(
        name="integrity",
        group=Group.SAFETY,
        passed=not changed,
        observed=float(len(changed)),
        threshold=threshold,
        n=2,
        reason=f"digest changed or missing: {' and '.join(changed)}"
        if changed
        else "both digests are unchanged",
    )
