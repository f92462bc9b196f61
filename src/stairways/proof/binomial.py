"""Shares of yes and no: the exact interval, and how far a share may stand above a level by chance."""

from __future__ import annotations

import math

CONFIDENCE = 0.95


def clopper_pearson(k: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the exact two-sided interval of a share (Clopper and Pearson 1934); (0, 1) for no trial.

    With t half of what the confidence leaves over, it runs from the t quantile of Beta(k, n - k + 1) to the
    1 - t quantile of Beta(k + 1, n - k).
    """
    from scipy.special import betaincinv

    tail = (1.0 - confidence) / 2.0
    low = 0.0 if k == 0 else float(betaincinv(k, n - k + 1, tail))
    high = 1.0 if k == n else float(betaincinv(k + 1, n - k, 1.0 - tail))
    return (low, high)


def allowed_share(level: float, n: int) -> float:
    """Return a level and two of its binomial standard errors at n trials: p + 2·sqrt(p(1 - p)/n)."""
    return level + 2.0 * math.sqrt(level * (1.0 - level) / n)


def chance_of_at_least(k: int, n: int, level: float) -> float:
    """Return the probability of k or more in n trials of a share ``level``, exactly."""
    from scipy.special import bdtrc

    return 1.0 if k == 0 else float(bdtrc(k - 1, n, level))
