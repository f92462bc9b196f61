"""Is a cycle better than the best so far?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from stairways.errors import InputError
from stairways.evaluation.bootstrap import PairedComparison, ReturnSeries, paired_comparison
from stairways.trading.sharpe import MIN_SHARPE_SESSIONS, annual_sharpe

ROLLING_EPISODES = 100


class ImprovementConfig(BaseModel):
    """What counts as an improvement.

    Attributes:
        min_improvement_se: The paired mean difference must exceed this many of its standard errors.
        improvement_threshold: Least relative gain of the Sharpe ratio, asked where the base is positive.
        confidence: Of the interval in the record; it does not decide.
        n_resamples: Bootstrap resamples.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    min_improvement_se: Annotated[float, Field(ge=0.0)] = 0.0
    improvement_threshold: Annotated[float, Field(ge=0.0)] = 0.01
    confidence: Annotated[float, Field(ge=0.5, lt=1.0)] = 0.95
    n_resamples: Annotated[int, Field(ge=100)] = 4000


@dataclass(frozen=True)
class Improvement:
    """The answer, with everything it rests on.

    Attributes:
        improved: Whether the candidate becomes the best so far.
        comparison: Candidate against the best so far on the same sessions.
        candidate_sharpe: Annual Sharpe ratio; None with too few sessions or without spread.
        best_sharpe: The same of the best so far.
        relative_gain: (candidate - best) / best of the Sharpe ratios; None unless the base is positive.
        reason: One sentence for a person.
    """

    improved: bool
    comparison: PairedComparison
    candidate_sharpe: float | None
    best_sharpe: float | None
    relative_gain: float | None
    reason: str

    def as_record(self) -> dict[str, Any]:
        """Return the answer as plain JSON types; an infinite number of standard errors is None."""
        distance = self.comparison.difference_in_standard_errors
        return {
            "improved": self.improved,
            "difference_in_standard_errors": distance if math.isfinite(distance) else None,
            "comparison": self.comparison.as_record(),
            "candidate_sharpe": self.candidate_sharpe,
            "best_sharpe": self.best_sharpe,
            "relative_gain": self.relative_gain,
            "reason": self.reason,
        }


def _relative_gain(candidate: float | None, best: float | None) -> float | None:
    if best is None or best <= 0.0:
        return None
    # A candidate without spread has no Sharpe ratio: it gives up all of a positive one.
    return ((candidate or 0.0) - best) / best


def _fault(comparison: PairedComparison, gain: float | None, config: ImprovementConfig) -> str | None:
    """Return what stands against an improvement, or None."""
    distance = comparison.difference_in_standard_errors
    if comparison.n_sessions < MIN_SHARPE_SESSIONS:
        return f"not enough sessions: {comparison.n_sessions}, at least {MIN_SHARPE_SESSIONS} needed"
    if not distance > config.min_improvement_se:
        return f"{distance:+.2f} standard errors, more than {config.min_improvement_se:g} needed"
    if gain is not None and gain < config.improvement_threshold:
        return f"Sharpe ratio changed by {gain:+.1%}, at least {config.improvement_threshold:+.1%} needed"
    return None


def assess_improvement(
    candidate: ReturnSeries,
    best: ReturnSeries,
    config: ImprovementConfig,
    *,
    seed: int | np.random.SeedSequence,
) -> Improvement:
    """Compare a cycle's candidate with the best so far; gold is the first best.

    The paired difference decides, in units of its standard error. Where the best has a positive Sharpe
    ratio, the candidate's must also be higher by the relative threshold; against a base of zero or less
    a ratio means nothing and is not asked. Fewer than 20 sessions never show an improvement.

    Args:
        candidate: Net session returns of the cycle's candidate on the sessions that select.
        best: The same of the best so far.
        config: Thresholds.
        seed: Seed of the bootstrap.

    Raises:
        InputError: If the two don't stand on the same sessions.
    """
    comparison = paired_comparison(
        candidate, best, confidence=config.confidence, n_resamples=config.n_resamples, seed=seed
    )
    candidate_sharpe, best_sharpe = annual_sharpe(candidate.returns_ratio), annual_sharpe(best.returns_ratio)
    gain = _relative_gain(candidate_sharpe, best_sharpe)
    fault = _fault(comparison, gain, config)
    distance = comparison.difference_in_standard_errors
    return Improvement(
        improved=fault is None,
        comparison=comparison,
        candidate_sharpe=candidate_sharpe,
        best_sharpe=best_sharpe,
        relative_gain=gain,
        reason=fault or f"{distance:+.2f} standard errors above the best so far",
    )


def rolling_100_episode_sharpe(
    episode_returns: NDArray[np.float64], cycle_of_each: Sequence[int] | NDArray[np.int64]
) -> tuple[float | None, float]:
    """Return the Sharpe ratio of the last 100 training episodes and the present cycle's share of them.

    One episode is one session. The metric is stored and never decides: most of its window belongs to
    older policies.

    Args:
        episode_returns: ``(n_episodes,)`` float64, in the order of training.
        cycle_of_each: ``(n_episodes,)``, the cycle of each episode; the last one is the present.

    Returns:
        The Sharpe ratio (None with fewer than 20 episodes or without spread) and the share.

    Raises:
        InputError: If lengths differ, or there is no episode, or a return is not finite.
    """
    cycles = np.asarray(cycle_of_each)
    if len(episode_returns) != len(cycles) or len(cycles) == 0:
        raise InputError(
            f"{len(episode_returns)} episode returns stand beside {len(cycles)} cycle numbers",
            remedy="give one cycle number for each of at least one episode",
        )
    window = cycles[-ROLLING_EPISODES:]
    share = float((window == cycles[-1]).mean())
    return annual_sharpe(np.asarray(episode_returns)[-ROLLING_EPISODES:]), share
