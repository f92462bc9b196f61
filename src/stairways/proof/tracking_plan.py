"""What the tracking experiment runs: policies, gains, targets and bars."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stairways.control.actuators import TiltActuator
from stairways.control.setpoints import SetPoints
from stairways.proof.experiment import Job
from stairways.trading.ledger import Mode

GOLD, OVER_TRADER, SKILLED = "gold", "over_trader", "skilled"
POLICY_WORDS: Mapping[str, str] = {
    GOLD: "gold (over-holder)",
    OVER_TRADER: "over-trader",
    SKILLED: "skilled, regime gate",
}
SKILLED_SAMPLE = "planted:101"
SKILLED_GOLD: dict[str, Any] = {"regime": "gate", "steps": 2_495_000}

MODES: tuple[Mode, ...] = ("sampled", "greedy")
BLOCK_SESSIONS = 20
HOLD_BAND_RATIO, TRADES_BAND = 0.02, 1.5
LEAST_SHARE = 0.95
MOST_SESSION_ERROR_RATIO = 0.15

SLOPES: Mapping[str, float] = {"up": 0.15, "down": -0.15}
"""Change of the hold target per unit of the regime score: with it, and against it."""
FAST_GAINS = (0.0, 6.0, 10.0, 20.0)
MOVING_FAST_GAIN = 10.0
"""The fast lane for moving targets that the bar is asked of."""

GAINS = (0.0, 0.003, 0.01, 0.03, 0.1, 0.3)
"""Gains of the hold multiplier on the curve, beside the default's own; the trade multiplier's stands to it as
the default's does."""
APART = ((0.1, 1.0), (3.0, 1.0), (1.0, 0.1), (1.0, 1 / 3), (1.0, 3.0))
"""Factors on the default's two gains, moved apart."""
FULL_COUPLING = 1.0


@dataclass(frozen=True)
class Form:
    """How much is run.

    Attributes:
        policies: Whose tracking is measured.
        priced: Policies that the price of tracking is measured on.
        keys: Decision keys that every figure is averaged over.
        sessions: Sessions that are judged.
        calibration_sessions: Sessions before them that multipliers are calibrated on.
        gains: Gains of the hold multiplier on the curve, beside the default's.
        apart: Factors on the default's gains, moved apart.
        fast_gains: Gains of the fast lane.
        resamples: Resamples of the bootstrap.
    """

    policies: tuple[str, ...]
    priced: tuple[str, ...]
    keys: int
    sessions: int
    calibration_sessions: int
    gains: tuple[float, ...]
    apart: tuple[tuple[float, float], ...]
    fast_gains: tuple[float, ...]
    resamples: int


FULL = Form((GOLD, OVER_TRADER, SKILLED), (SKILLED, GOLD), 4, 1_000, 120, GAINS, APART, FAST_GAINS, 1_000)
QUICK = Form((GOLD, OVER_TRADER), (GOLD,), 2, 160, 40, (0.0, 0.3), (), (0.0, 10.0), 400)


def form_of(job: Job) -> Form:
    """Return how much a job runs."""
    return QUICK if job.quick else FULL


@dataclass(frozen=True)
class Point:
    """One setting of the loop that a policy is run under.

    Attributes:
        name: Its name, fit for a cell's key.
        actuator: The tilt; None leaves the policy as it is.
        points: Set points.
    """

    name: str
    actuator: TiltActuator | None
    points: SetPoints


UNTILTED = Point("untilted", None, SetPoints())
DEFAULT = Point("default", TiltActuator(), SetPoints())


def gains_of(form: Form) -> tuple[float, ...]:
    """Return the gains on the curve, the default's among them."""
    return tuple(sorted({*form.gains, TiltActuator().live.ki_hold}))


def curve(form: Form) -> list[Point]:
    """Return the points of the price curve, the default's own coupling first, then the full one."""
    live = TiltActuator().live
    made = []
    for coupling in dict.fromkeys((TiltActuator().hold_coupling, FULL_COUPLING)):
        for gain in gains_of(form):
            actuator = with_gains(gain, gain * live.ki_trade / live.ki_hold, coupling)
            name = f"gain-{_word(gain)}-{_word(coupling)}"
            made.append(DEFAULT if actuator == DEFAULT.actuator else Point(name, actuator, SetPoints()))
    return made


def apart(form: Form) -> list[Point]:
    """Return the points at which the two gains are moved apart."""
    live, coupling = TiltActuator().live, TiltActuator().hold_coupling
    return [
        Point(
            f"apart-{_word(hold)}-{_word(trade)}",
            with_gains(hold * live.ki_hold, trade * live.ki_trade, coupling),
            SetPoints(),
        )
        for hold, trade in form.apart
    ]


def moving(form: Form) -> list[Point]:
    """Return the points of the moving target: both slopes, every gain of the fast lane."""
    made = []
    for name, slope in SLOPES.items():
        points = SetPoints(hold_mode="regime", regime_slope_ratio=slope)
        for gain in form.fast_gains:
            live = TiltActuator().live.model_copy(update={"kp_fast": gain})
            actuator = TiltActuator().model_copy(update={"live": live})
            made.append(Point(f"moving-{name}-{_word(gain)}", actuator, points))
    return made


def with_gains(ki_hold: float, ki_trade: float, coupling: float) -> TiltActuator:
    """Return the default tilt with other live gains, to six digits, and another coupling."""
    gains = {"ki_hold": float(f"{ki_hold:.6g}"), "ki_trade": float(f"{ki_trade:.6g}")}
    live = TiltActuator().live.model_copy(update=gains)
    return TiltActuator().model_copy(update={"live": live, "hold_coupling": coupling})


def _word(value: float) -> str:
    return f"{value:.3g}".replace(".", "_")
