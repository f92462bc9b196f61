"""Step responses: settling time, overshoot and steady error of a mean over many accounts.

An account's series has one number for each decision after a step of the set points: 1 where it held, or
the orders it placed. Accounts are averaged at equal numbers of decisions, and once more over a *window* of
so many decisions in a row.

A mean over accounts scatters. The band that a window has to lie in is therefore the band asked for plus
``ALLOWANCE`` standard errors of a settled window, which the spread of the accounts shows: a response at its
set point leaves it by chance in one window of a hundred, and one that is away by more than twice the
allowance does not pass for settled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ALLOWANCE = 2.58
"""Standard errors: 99 % of a normal variable lie within."""


@dataclass(frozen=True, eq=False)
class Windows:
    """A response as means over windows.

    Attributes:
        first: ``(n_windows,)`` int64 decisions between the step and each window's first decision.
        width: Decisions of a window.
        deviation: ``(n_windows,)`` float64 measured - wanted.
        standard_error: Of the deviation of one settled window.
    """

    first: NDArray[np.int64]
    width: int
    deviation: NDArray[np.float64]
    standard_error: float

    @property
    def allowance(self) -> float:
        """What sampling noise adds to a band."""
        return ALLOWANCE * self.standard_error


@dataclass(frozen=True)
class Steady:
    """A mean over the end of a step.

    Attributes:
        error: Measured - wanted.
        standard_error: Of that error, from the spread of the accounts.
    """

    error: float
    standard_error: float


def sliding_means(series: NDArray[np.float64], width: int, every: int = 1) -> NDArray[np.float64]:
    """Return each account's means over sliding windows.

    Args:
        series: ``(n_accounts, n_decisions)`` float64.
        width: Decisions of a window, at most ``n_decisions``.
        every: Decisions between the starts of windows.

    Returns:
        ``(n_accounts, n_windows)`` float64; window k starts at decision k x ``every``.
    """
    if not 1 <= width <= series.shape[1]:
        raise ValueError(f"a window of {width} does not fit {series.shape[1]} decisions")
    total = np.concatenate([np.zeros((len(series), 1)), np.cumsum(series, axis=1)], axis=1)
    means: NDArray[np.float64] = (total[:, width:] - total[:, :-width])[:, ::every] / width
    return means


def pooled_windows(deviation: NDArray[np.float64], width: int, every: int) -> Windows:
    """Average accounts and windows; the later half of the windows shows what a settled one scatters.

    Args:
        deviation: ``(n_accounts, n_decisions)`` measured - wanted, at least two accounts.
        width: Decisions of a window.
        every: Decisions between the starts of windows.
    """
    means = sliding_means(deviation, width, every)
    variance = means[:, means.shape[1] // 2 :].var(axis=0, ddof=1)
    return Windows(
        first=np.arange(means.shape[1], dtype=np.int64) * every,
        width=width,
        deviation=means.mean(axis=0),
        standard_error=math.sqrt(float(variance.mean()) / len(means)),
    )


def rollout_windows(deviation: NDArray[np.float64], width: int) -> Windows:
    """Return the windows of a training, one for each rollout.

    A run of rollouts has no spread of accounts; the noise of one comes from second differences, which a
    steady drift leaves alone: their variance is six times that of a rollout, and their median absolute value
    0.6745 of their deviation, which a transient hardly moves.

    Args:
        deviation: ``(n_rollouts,)`` measured - wanted, at least three.
        width: Decisions of a rollout.
    """
    bends = np.abs(np.diff(deviation, n=2))
    return Windows(
        first=np.arange(len(deviation), dtype=np.int64) * width,
        width=width,
        deviation=deviation,
        standard_error=float(np.median(bends)) / (0.6745 * math.sqrt(6.0)),
    )


def mean_windows(runs: Sequence[Windows]) -> Windows:
    """Average independent responses, window by window, as far as the shortest of them goes."""
    if any(run.width != runs[0].width for run in runs):
        raise ValueError("responses over windows of different widths can't be averaged")
    return Windows(
        first=min((run.first for run in runs), key=len),
        width=runs[0].width,
        deviation=mean_of([run.deviation for run in runs]),
        standard_error=math.sqrt(float(np.mean([run.standard_error**2 for run in runs])) / len(runs)),
    )


def mean_of(series: Sequence[Sequence[float] | NDArray[np.float64]]) -> NDArray[np.float64]:
    """Average series point by point, as far as the shortest of them goes; half days shorten some."""
    shortest = min(len(part) for part in series)
    mean: NDArray[np.float64] = np.array([part[:shortest] for part in series]).mean(axis=0)
    return mean


def settled_after(windows: Windows, band: float) -> int | None:
    """Return the settling time in decisions: when the response has entered its band for good.

    It is the middle of the first window from which on every window lies within ±(band + allowance); 0 when
    every one does, None when the last one does not.

    Args:
        windows: The response.
        band: Half width of the band, in the unit of the deviation.
    """
    outside = np.flatnonzero(np.abs(windows.deviation) > band + windows.allowance)
    if len(outside) == 0:
        return 0
    if outside[-1] == len(windows.first) - 1:
        return None
    return int(windows.first[outside[-1] + 1]) + windows.width // 2


def overshoot(windows: Windows, direction: float) -> float:
    """Return the largest excursion beyond the set point, on the far side from where the step began.

    Args:
        windows: The response.
        direction: +1 for a step upwards, -1 for one downwards.
    """
    return max(0.0, float((direction * windows.deviation).max()))


def steady(deviation: NDArray[np.float64], n_last: int) -> Steady:
    """Return the mean deviation over the last decisions, ``(n_accounts, n_decisions)``, of a step."""
    per_account = deviation[:, -n_last:].mean(axis=1)
    error = float(per_account.std(ddof=1)) / math.sqrt(len(per_account))
    return Steady(float(per_account.mean()), error)


def mean_steady(runs: Sequence[Steady]) -> Steady:
    """Average independent steady errors."""
    return Steady(
        error=float(np.mean([run.error for run in runs])),
        standard_error=math.sqrt(float(np.mean([run.standard_error**2 for run in runs])) / len(runs)),
    )
