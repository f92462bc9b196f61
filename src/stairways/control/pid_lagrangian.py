"""The PID-Lagrangian controller of Stooke, Achiam and Abbeel (2020), on a hold rate that shall be met.

"Responsive Safety in Reinforcement Learning by PID Lagrangian Methods", arXiv:2007.03964, algorithm 2:
from the measured cost J and its limit d, ``delta = J - d``, ``rise = (J - J_before)+``,
``I = (I + delta)+`` and ``lambda = (Kp delta + Ki I + Kd rise)+``, the proportional and the
derivative part smoothed by exponential means.

The paper bounds a cost from above. "Hold rate = target" is two such bounds: the hold rate at most the
target, and the rate of acting at most its complement. Each has a multiplier of its own, by the paper's
rule as it stands. One signed multiplier would need another projection and another derivative than the
paper's, and would be a different controller. What acts is their difference, a bonus per hold decision.
"""

from __future__ import annotations

from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from stairways.control.lanes import integrate


class PidLagrangian(BaseModel):
    """Gains of each of the two multipliers; a cost is a share of decisions, 0 to 1.

    The defaults are the best of ten settings (Kp 5 to 40, Ki 1 to 16 bp) by mean absolute error over the set
    points 0.55, 0.75 and 0.35, 24,000 steps each, on seeds that no result is reported on; a bound of 300 bp
    and gains five times as large did worse there.

    Attributes:
        kp_bps: Proportional gain, basis points of NAV per unit of violation.
        ki_bps: Integral gain per unit of violation and update.
        kd_bps: Derivative gain per unit that the cost rises from one update to the next.
        smoothing_proportional: Weight of the past in the exponential mean of the violation, 0 for none.
        smoothing_derivative: Likewise of the cost whose rise is taken.
        period_decisions: Decisions of the pool between updates.
        highest_bps: A multiplier and its integral part stop here, so that the integral can't wind up.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kp_bps: float = Field(20.0, ge=0)
    ki_bps: float = Field(4.0, ge=0)
    kd_bps: float = Field(20.0, ge=0)
    smoothing_proportional: float = Field(0.5, ge=0, lt=1)
    smoothing_derivative: float = Field(0.5, ge=0, lt=1)
    period_decisions: int = Field(1_200, ge=1)
    highest_bps: float = Field(30.0, gt=0)


class MultiplierState(NamedTuple):
    """Memory of one multiplier.

    Attributes:
        violation: Exponential mean of cost - limit.
        cost: Exponential mean of the cost.
        rise: How far that mean rose at the last update, 0 when it fell.
        integral_bps: Integral part, Ki x the sum of violations, never below 0.
        updates: Updates so far.
    """

    violation: float = 0.0
    cost: float = 0.0
    rise: float = 0.0
    integral_bps: float = 0.0
    updates: int = 0


class TwoSided(NamedTuple):
    """Memory of both multipliers.

    Attributes:
        holding: Charges holding where the hold rate lies above its target.
        acting: Charges acting where it lies below.
    """

    holding: MultiplierState = MultiplierState()
    acting: MultiplierState = MultiplierState()


def multiplier_bps(settings: PidLagrangian, state: MultiplierState) -> float:
    """Return ``(Kp delta + Ki I + Kd rise)+``, at most its bound; 0 before the first update."""
    wanted = settings.kp_bps * state.violation + state.integral_bps + settings.kd_bps * state.rise
    return min(settings.highest_bps, max(0.0, wanted))


def hold_bonus_bps(settings: PidLagrangian, state: TwoSided) -> float:
    """Return what a hold decision is paid: the charge on acting less the charge on holding."""
    return multiplier_bps(settings, state.acting) - multiplier_bps(settings, state.holding)


def updated(settings: PidLagrangian, state: MultiplierState, cost: float, limit: float) -> MultiplierState:
    """Return the memory of one multiplier after one measurement.

    The first measurement starts both means and has no rise, since nothing came before it; the paper
    starts at a cost of 0 and takes the whole first cost for a rise.

    Args:
        settings: Gains.
        state: Memory so far.
        cost: Measured cost.
        limit: Its limit.
    """
    violation = cost - limit
    integral = integrate(state.integral_bps, settings.ki_bps, violation, 0.0, settings.highest_bps)
    if state.updates == 0:
        return MultiplierState(violation, cost, 0.0, integral, 1)
    smooth_p, smooth_d = settings.smoothing_proportional, settings.smoothing_derivative
    smooth_cost = smooth_d * state.cost + (1.0 - smooth_d) * cost
    return MultiplierState(
        violation=smooth_p * state.violation + (1.0 - smooth_p) * violation,
        cost=smooth_cost,
        rise=max(0.0, smooth_cost - state.cost),
        integral_bps=integral,
        updates=state.updates + 1,
    )


def updated_both(
    settings: PidLagrangian, state: TwoSided, hold_rate_ratio: float, target_ratio: float
) -> TwoSided:
    """Return both memories after one measurement of the hold rate against its target."""
    return TwoSided(
        holding=updated(settings, state.holding, hold_rate_ratio, target_ratio),
        acting=updated(settings, state.acting, 1.0 - hold_rate_ratio, 1.0 - target_ratio),
    )
