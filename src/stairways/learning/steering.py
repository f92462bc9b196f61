"""Steering: the controller as training sees it, one for the pool, moved once per vector step."""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from stairways.control.actuators import RewardActuator, TiltActuator
from stairways.control.dual_lane import DualLaneController
from stairways.control.lanes import SlowState
from stairways.control.setpoints import SetPoints, hold_error, market_multiplier, target_hold_rate
from stairways.control.tilt import ANCHOR, HOLD, TRADE, Multipliers, advance, hold_multiplier, tilt_state
from stairways.envs.pool import StepOutput
from stairways.learning.ppo import TiltForm
from stairways.trading.actions import hold_action, order_table


class Steering(Protocol):
    """What the trainer asks of a controller."""

    @property
    def multipliers(self) -> Multipliers:
        """Return the multipliers the tilt stands at, 0 without one."""

    def form(self) -> TiltForm | None:
        """Return floor and coupling of the tilt, None when the policy is not tilted."""

    def offsets(self, positions: NDArray[np.int64], score: float) -> NDArray[np.float32] | None:
        """Return the tilt of each account, ``(n_envs, n_actions)``, None when there is none."""

    def hold_bonus_bps(self) -> float:
        """Return the bonus in force."""

    def observe(self, output: StepOutput, score: float) -> None:
        """Move by one vector step."""

    def snapshot(self) -> dict[str, Any]:
        """Return the state as plain values."""

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a snapshot."""


class NoSteering:
    """A fixed hold bonus, which may be 0, and no tilt.

    Args:
        bonus_bps: Bonus per hold decision.
    """

    def __init__(self, bonus_bps: float = 0.0) -> None:
        self._bonus_bps = bonus_bps

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
        """Return the fixed bonus."""
        return self._bonus_bps

    def observe(self, output: StepOutput, score: float) -> None:
        """Do nothing: there is no loop."""

    def snapshot(self) -> dict[str, Any]:
        """Return the bonus."""
        return {"bonus_bps": self._bonus_bps}

    def restore(self, state: dict[str, Any]) -> None:
        """Take the bonus back."""
        self._bonus_bps = float(state["bonus_bps"])


class TiltSteering:
    """The tilt over a pool: errors are means over its accounts.

    Args:
        actuator: Gains and bounds; the training gains are used.
        points: Set points.
        start: Multipliers to start from, anchored there.
        n_symbols: Number of legs.
        full_session_decisions: Decisions of a full session.
        long_only: Whether positions are bound to [0, 1].
    """

    def __init__(
        self,
        actuator: TiltActuator,
        points: SetPoints,
        start: Multipliers,
        *,
        n_symbols: int,
        full_session_decisions: int,
        long_only: bool = False,
    ) -> None:
        self._numbers = actuator.numbers(actuator.training, full_session_decisions)
        self._points = points.numbers(full_session_decisions)
        self._orders = order_table(n_symbols, long_only).astype(np.float32)
        self._hold = hold_action(n_symbols)
        self._state = tilt_state(start, start.hold)

    @property
    def multipliers(self) -> Multipliers:
        """The integrals' present values."""
        return Multipliers(float(self._state[HOLD]), float(self._state[TRADE]))

    def form(self) -> TiltForm | None:
        """Return the actuator's floor and coupling, and the loop's anchor."""
        return TiltForm(self._numbers.floor, self._numbers.coupling, float(self._state[ANCHOR]))

    def offsets(self, positions: NDArray[np.int64], score: float) -> NDArray[np.float32] | None:
        """Return lambda_hold on hold less lambda_trade x orders, ``(n_envs, n_actions)``."""
        tilt = -np.float32(self._state[TRADE]) * self._orders[positions]
        tilt[:, self._hold] += np.float32(hold_multiplier(self._state, self._numbers, self._points, score))
        return tilt

    def hold_bonus_bps(self) -> float:
        """Return 0: no bonus is paid under tilt."""
        return 0.0

    def observe(self, output: StepOutput, score: float) -> None:
        """Move both integrals by the pool's means."""
        held, orders = float(output.held.mean()), float(output.orders.mean())
        advance(self._state, self._numbers, self._points, score, held, orders)

    def snapshot(self) -> dict[str, Any]:
        """Return the loop's state."""
        return {"tilt": self._state.tolist()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a snapshot."""
        self._state[:] = state["tilt"]


class RewardSteering:
    """The hold bonus over a pool, set by the dual-lane controller.

    Args:
        actuator: Base bonus, gains and bounds.
        points: Set points; only the hold rate can be driven by a hold bonus.
    """

    def __init__(self, actuator: RewardActuator, points: SetPoints, full_session_decisions: int) -> None:
        self._controller = DualLaneController.of(actuator)
        self._points = points.numbers(full_session_decisions)
        self._window = actuator.window_decisions
        self._held: deque[tuple[int, int]] = deque()
        self._bonus_bps = actuator.base_hold_bonus_bps

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
        return self._bonus_bps

    def observe(self, output: StepOutput, score: float) -> None:
        """Measure the hold rate over the window and move the lanes."""
        self._held.append((int(output.held.sum()), len(output.held)))
        while sum(count for _, count in self._held) > max(self._window, len(output.held)):
            self._held.popleft()
        measured = sum(held for held, _ in self._held) / sum(count for _, count in self._held)
        error = hold_error(target_hold_rate(self._points, score), measured)
        self._bonus_bps = self._controller.compute_bonus(error, market_multiplier(self._points, score))

    def snapshot(self) -> dict[str, Any]:
        """Return lanes, window and bonus."""
        slow = self._controller.state
        return {
            "slow": [slow.step, slow.held, slow.integral],
            "held": [list(pair) for pair in self._held],
            "bonus_bps": self._bonus_bps,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a snapshot."""
        step, held, integral = state["slow"]
        self._controller.state = SlowState(int(step), float(held), float(integral))
        self._held = deque((int(a), int(b)) for a, b in state["held"])
        self._bonus_bps = float(state["bonus_bps"])
