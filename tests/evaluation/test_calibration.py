"""Calibration: the multipliers it finds hold on sessions it has not seen."""

from __future__ import annotations

from dataclasses import replace

import pytest

from markets import random_market, random_program
from stairways.control import Multipliers, SetPoints, TiltActuator, TiltGains
from stairways.evaluation.calibration import PASSES, calibrate
from stairways.evaluation.replay import TiltLoop, replay
from stairways.trading.rules import TradingRules

RULES = TradingRules()
TUNING = random_market(1, 120, 2, 5, half_days=[7, 50])
FRESH = random_market(2, 120, 2, 5, half_days=[30])
LOOP = TiltLoop(TiltActuator(), TiltGains(), SetPoints())
POLICIES = {
    "mlp": random_program(1, hidden=(16, 16)),
    "gated": random_program(2, hidden=(16, 16), regime="gate"),
    "lstm": random_program(3, kind="lstm", lstm_hidden=32, hidden=(16,)),
}


def _measured(policy, loop, mode) -> tuple[float, float]:
    ledger = replay(FRESH, policy, RULES, mode=mode, run_seed=8, loop=loop).ledger
    return ledger.holds.sum() / ledger.decisions.sum(), float(ledger.trades.mean())


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_a_policy_stands_on_its_set_points_on_fresh_sessions(name):
    policy = POLICIES[name]
    point = calibrate(TUNING, policy, RULES, LOOP, mode="sampled", run_seed=3)
    untouched = _measured(policy, None, "sampled")
    frozen = replace(LOOP, gains=TiltGains(ki_hold=0, ki_trade=0), start=point)
    for loop in (frozen, replace(LOOP, start=point)):
        hold, trades = _measured(policy, loop, "sampled")
        assert hold == pytest.approx(0.55, abs=0.03)
        assert trades == pytest.approx(16.5, abs=1.5)
    assert abs(untouched[0] - 0.55) > 0.1 or abs(untouched[1] - 16.5) > 5.0


def test_greedy_deployment_tracks_with_its_integral_running():
    policy = POLICIES["mlp"]
    point = calibrate(TUNING, policy, RULES, LOOP, mode="greedy", run_seed=3)
    hold, trades = _measured(policy, replace(LOOP, start=point), "greedy")
    assert hold == pytest.approx(0.55, abs=0.03)
    assert trades == pytest.approx(16.5, abs=1.5)


def test_other_set_points_are_reached_too():
    points = SetPoints(hold_rate_ratio=0.7, trades_per_session=10.0)
    loop = replace(LOOP, points=points)
    point = calibrate(TUNING, POLICIES["mlp"], RULES, loop, mode="sampled", run_seed=3)
    frozen = replace(loop, gains=TiltGains(ki_hold=0, ki_trade=0), start=point)
    hold, trades = _measured(POLICIES["mlp"], frozen, "sampled")
    assert hold == pytest.approx(0.7, abs=0.03)
    assert trades == pytest.approx(10.0, abs=1.5)


def test_the_start_hardly_matters():
    found = [
        calibrate(TUNING, POLICIES["mlp"], RULES, replace(LOOP, start=start), mode="sampled", run_seed=3)
        for start in (Multipliers(), Multipliers(2.0, 2.0))
    ]
    assert found[0].hold == pytest.approx(found[1].hold, abs=0.15)
    assert found[0].trade == pytest.approx(found[1].trade, abs=0.15)


def test_it_uses_the_calibration_gains_and_no_others():
    by_live = replace(LOOP, gains=TiltGains(ki_hold=1.0, ki_trade=1.0, kp_fast=9.0))
    few = TUNING.select(slice(0, 10))
    policy = POLICIES["mlp"]
    expected = calibrate(few, policy, RULES, LOOP, mode="sampled", run_seed=3)
    assert calibrate(few, policy, RULES, by_live, mode="sampled", run_seed=3) == expected
    assert PASSES == 2


def test_the_second_pass_starts_where_the_first_settled():
    few, policy = TUNING.select(slice(0, 10)), POLICIES["mlp"]
    point = LOOP.start
    for _ in range(2):
        loop = replace(LOOP, gains=LOOP.actuator.calibration, start=point)
        trace = replay(few, policy, RULES, run_seed=3, loop=loop).trace()
        rest = trace[len(trace) // 3 :]
        point = Multipliers(*rest.mean(axis=0))
    found = calibrate(few, policy, RULES, LOOP, mode="sampled", run_seed=3)
    assert found == pytest.approx(point, rel=1e-12)
