"""Verdicts on skill: is the candidate's net result better, on the same unseen sessions?

"Better than gold" alone passes half of all runs on pure noise, since trading less saves costs. Skill is
to be better than gold, than random trading at equal turnover and than holding always, each by a paired
interval that lies above zero.
"""

from __future__ import annotations

import math

from stairways.evaluation.bootstrap import PairedComparison
from stairways.evaluation.evidence import ALL_HOLD, GOLD, RANDOM, TILTED_GOLD, Evidence, Gap, unjudged
from stairways.evaluation.gate_config import GateConfig
from stairways.evaluation.verdicts import Group, Verdict


def _comparison_gap(comparison: PairedComparison | None, config: GateConfig) -> Gap | None:
    if comparison is None:
        return Gap("the paired comparison was not made")
    n = comparison.n_sessions
    if n < config.min_sessions:
        return Gap(f"not enough sessions: {n}, at least {config.min_sessions} needed", n)
    if comparison.confidence < config.confidence:
        return Gap(f"interval at {comparison.confidence:g}, but {config.confidence:g} is asked for", n)
    if not all(map(math.isfinite, (comparison.mean_difference_bps, *comparison.interval_bps))):
        return Gap("the difference or its interval is not a number", n)
    return None


def _better(name: str, group: Group, reference: str, evidence: Evidence, config: GateConfig) -> Verdict:
    reports_only = "; reported, never gates" if group is Group.INFORMATION else ""
    threshold = f"{config.confidence:.0%} interval above 0 bp per session{reports_only}"
    comparison = evidence.comparisons.get(reference)
    gap = _comparison_gap(comparison, config)
    if comparison is None or gap is not None:
        return unjudged(name, group, threshold, gap or Gap("the paired comparison was not made"))
    low, high = comparison.interval_bps
    return Verdict(
        name=name,
        group=group,
        passed=low > 0.0,
        observed=comparison.mean_difference_bps,
        threshold=threshold,
        n=comparison.n_sessions,
        reason=(
            f"{comparison.mean_difference_bps:+.2f} bp per session against {reference.replace('_', ' ')}, "
            f"{comparison.confidence:.0%} interval {low:+.2f} to {high:+.2f}"
        ),
        interval=comparison.interval_bps,
    )


def beats_gold(evidence: Evidence, config: GateConfig) -> Verdict:
    """Judge the net result against gold."""
    return _better("beats_gold", Group.SKILL, GOLD, evidence, config)


def beats_random(evidence: Evidence, config: GateConfig) -> Verdict:
    """Judge the net result against random trading at equal turnover."""
    return _better("beats_random", Group.SKILL, RANDOM, evidence, config)


def beats_all_hold(evidence: Evidence, config: GateConfig) -> Verdict:
    """Judge the net result against holding always."""
    return _better("beats_all_hold", Group.SKILL, ALL_HOLD, evidence, config)


def tuning_adds(evidence: Evidence, config: GateConfig) -> Verdict:
    """Report what the changed weights add to gold under the same tilt, whatever its sign."""
    return _better("tuning_adds", Group.INFORMATION, TILTED_GOLD, evidence, config)
