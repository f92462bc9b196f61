"""Calibration: the multipliers at which a policy stands on its set points, found by running it."""

from __future__ import annotations

from dataclasses import replace

from stairways.control.tilt import Multipliers, settle
from stairways.evaluation.replay import Script, TiltLoop, replay
from stairways.policies.program import Program
from stairways.trading.ledger import Mode
from stairways.trading.observation import ObservedMarket
from stairways.trading.rules import TradingRules

PASSES = 2


def calibrate(
    market: ObservedMarket,
    policy: Program | Script,
    rules: TradingRules,
    loop: TiltLoop,
    *,
    mode: Mode,
    run_seed: int,
) -> Multipliers:
    """Find the multipliers that hold a policy on its set points.

    The integrals run over the tuning sessions in the mode of deployment; the mean of the last two
    thirds of their trace is the start of a second pass, whose mean is the answer. Means are used
    because the last value of a trace scatters with the last session.

    Args:
        market: Tuning sessions; never those a result is judged on.
        policy: The policy to tilt.
        rules: Sizes, bounds and costs.
        loop: Actuator, set points and the multipliers to start from; its calibration gains are used.
        mode: Mode of deployment; a calibration holds for no other.
        run_seed: Seed of the run.
    """
    point = loop.start
    for _ in range(PASSES):
        running = replace(loop, gains=loop.actuator.calibration, start=point, anchor=None)
        point = settle(replay(market, policy, rules, mode=mode, run_seed=run_seed, loop=running).trace())
    return point
