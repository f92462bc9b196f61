"""Steering by the PID-Lagrangian controller: its multipliers are paid as the reward of holding."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stairways.control.pid_lagrangian import (
    MultiplierState,
    PidLagrangian,
    TwoSided,
    hold_bonus_bps,
    updated_both,
)
from stairways.control.setpoints import SetPoints, target_hold_rate
from stairways.control.tilt import Multipliers
from stairways.envs.pool import StepOutput
from stairways.learning.ppo import TiltForm


class LagrangianSteering:
    """The hold bonus over a pool, set by two multipliers of the constraint "hold rate = target".

    The paper divides reward and penalty by 1 + lambda; advantages are normalised here before they are
    learned from, so that a common factor changes nothing and is left out.

    Args:
        settings: Gains and the period between updates.
        points: Set points; only the hold rate can be driven by a reward of holding.
        full_session_decisions: Decisions of a full session.
    """

    def __init__(self, settings: PidLagrangian, points: SetPoints, full_session_decisions: int) -> None:
        self._settings = settings
        self._points = points.numbers(full_session_decisions)
        self._state = TwoSided()
        self._held = self._wanted = self._seen = 0.0

    @property
    def multipliers(self) -> Multipliers:
        """Return 0: nothing is tilted."""
        return Multipliers()

    def form(self) -> TiltForm | None:
        """Return None: nothing is tilted."""
        return None

    def offsets(self, positions: NDArray[np.int64], score: float) -> NDArray[np.float32] | None:
        """Return None: nothing is tilted."""
        return None

    def hold_bonus_bps(self) -> float:
        """Return the bonus in force."""
        return hold_bonus_bps(self._settings, self._state)

    def observe(self, output: StepOutput, score: float) -> None:
        """Count one vector step; update both multipliers when a period is full."""
        count = len(output.held)
        self._held += float(output.held.sum())
        self._wanted += count * target_hold_rate(self._points, score)
        self._seen += count
        if self._seen >= self._settings.period_decisions:
            measured, target = self._held / self._seen, self._wanted / self._seen
            self._state = updated_both(self._settings, self._state, measured, target)
            self._held = self._wanted = self._seen = 0.0

    def snapshot(self) -> dict[str, Any]:
        """Return both memories and the period so far."""
        return {
            "holding": list(self._state.holding),
            "acting": list(self._state.acting),
            "period": [self._held, self._wanted, self._seen],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a snapshot."""
        self._state = TwoSided(MultiplierState(*state["holding"]), MultiplierState(*state["acting"]))
        self._held, self._wanted, self._seen = (float(part) for part in state["period"])
