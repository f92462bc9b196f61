"""The lanes of a controller: pure, and without any idea of what they drive.

A lane turns an error into an adjustment. What unit the adjustment has, and between which bounds it
may move, is the business of the actuator that uses it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from numba import njit


@njit(cache=True)
def proportional(gain: float, error: float, multiplier: float) -> float:
    """Return the fast lane's adjustment, gain x error x multiplier."""
    return gain * error * multiplier


@njit(cache=True)
def integrate(integral: float, gain: float, error: float, lowest: float, highest: float) -> float:
    """Move an integral by gain x error and stop it at its bounds.

    Stopping the integral itself is the anti-windup: the moment the error changes sign, the
    integral leaves the bound again.
    """
    return min(highest, max(lowest, integral + gain * error))


@dataclass(frozen=True)
class SlowState:
    """Memory of a slow lane.

    Attributes:
        step: Steps taken so far.
        held: The proportional part, as last sampled.
        integral: The integral part.
    """

    step: int = 0
    held: float = 0.0
    integral: float = 0.0

    @property
    def adjustment(self) -> float:
        """The lane's present output."""
        return self.held + self.integral


@dataclass(frozen=True)
class SlowLane:
    """Sample-and-hold lane against drift: every ``period`` steps it looks at the error.

    Attributes:
        kp: Proportional gain of a sample.
        ki: Integral gain of a sample; 0 leaves a steady error (a proportional lane has to keep
            some of the error to keep its output).
        period: Steps between samples.
        lowest: Lower bound of the integral; likewise ``highest``.
    """

    kp: float
    ki: float = 0.0
    period: int = 25
    lowest: float = -1.0
    highest: float = 1.0

    def advance(self, state: SlowState, error: float) -> SlowState:
        """Take one step; sample on the first and on every ``period``-th after it."""
        if state.step % self.period != 0:
            return replace(state, step=state.step + 1)
        return SlowState(
            step=state.step + 1,
            held=self.kp * error,
            integral=integrate(state.integral, self.ki, error, self.lowest, self.highest),
        )
