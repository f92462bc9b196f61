import math
from itertools import pairwise
from statistics import NormalDist

import numpy as np
import pytest

from stairways.errors import InputError
from stairways.evaluation.gate_config import GateConfig
from stairways.evaluation.shadow_power import (
    SessionModel,
    drawdown_within_probability,
    every_session_gains_probability,
    pass_probability,
    session_gain_probability,
    shadow_power,
)

PLAN = GateConfig(shadow_rule="plan")


def test_three_gains_in_a_row_are_a_coin_toss_three_times():
    assert session_gain_probability(0.0) == 0.5
    assert every_session_gains_probability(0.0) == 0.125


def test_a_sharpe_of_0_7_passes_fourteen_times_in_a_hundred():
    assert round(every_session_gains_probability(0.7), 2) == 0.14
    assert session_gain_probability(0.7) == pytest.approx(NormalDist().cdf(0.7 / math.sqrt(252)))


@pytest.mark.parametrize(
    ("limit_in_deviations", "expected"),
    # Maximum of abs(B) over [0, 1]: 4/pi * sum; the last by two reflections, 1 - 4 * (1 - cdf(4)).
    [(1.0, 0.370777), (2.0, 0.908999), (4.0, 1 - 4 * (1 - NormalDist().cdf(4.0)))],
)
def test_drawdown_probability_has_known_values(limit_in_deviations, expected):
    assert drawdown_within_probability(0.005 * limit_in_deviations, 0.005) == pytest.approx(
        expected, abs=2e-6
    )


@pytest.mark.parametrize("limit_ratio", [0.006, 0.009, 0.013])
def test_drawdown_probability_matches_simulation(limit_ratio):
    rng, n_bars, volatility = np.random.default_rng(0), 1500, 0.005
    steps = rng.standard_normal((3000, n_bars), dtype=np.float32) * (volatility / math.sqrt(n_bars))
    path = np.cumsum(steps, axis=1)
    drawdown = (np.maximum(np.maximum.accumulate(path, axis=1), 0.0) - path).max(axis=1)
    # Marks at steps miss about 0.58 of a step's deviation on each side of the fall.
    missed = 0.58 * volatility / math.sqrt(n_bars)
    measured = (drawdown + missed <= limit_ratio).mean()
    assert drawdown_within_probability(limit_ratio, volatility) == pytest.approx(measured, abs=0.03)


def test_drawdown_probability_runs_from_zero_to_one():
    values = [drawdown_within_probability(limit, 0.005) for limit in np.geomspace(1e-4, 1.0, 60)]
    assert values[0] == 0.0
    assert values[-1] == pytest.approx(1.0, abs=1e-12)
    assert all(low <= high + 1e-12 for low, high in pairwise(values))


def test_the_default_rule_cant_tell_skill():
    power = shadow_power(GateConfig())
    assert power.no_skill == power.skilled
    assert power.no_skill > 0.95


def test_the_rule_of_the_plan_refuses_most_policies_with_or_without_skill():
    power = shadow_power(PLAN)
    assert power.no_skill <= 0.125
    assert power.no_skill < power.skilled <= 0.1388
    assert power.text == (
        f"a policy without skill passes with probability {power.no_skill:.2f}, "
        f"one with a true Sharpe ratio of 0.7 with {power.skilled:.2f}"
    )


def test_the_trades_of_the_default_rule_match_simulation():
    model = SessionModel(volatility_ratio=0.001, trades_mean=23.0, trades_deviation=6.0)
    trades = np.rint(np.random.default_rng(1).normal(23.0, 6.0, (20_000, 3)))
    means = trades.mean(axis=1)
    measured = ((means >= 5) & (means <= 25)).mean()
    assert pass_probability(0.0, GateConfig(), model) == pytest.approx(measured, abs=0.02)


def test_the_rule_of_the_plan_bounds_a_simulation_from_above():
    model = SessionModel(volatility_ratio=0.012)
    rng, n_bars = np.random.default_rng(2), 390
    steps = rng.standard_normal((6000, n_bars)) * (model.volatility_ratio / math.sqrt(n_bars))
    path = np.cumsum(steps, axis=1)
    drawdown = (np.maximum(np.maximum.accumulate(path, axis=1), 0.0) - path).max(axis=1)
    session = ((path[:, -1] >= 0.0) & (drawdown <= PLAN.max_drawdown_ratio)).mean()
    trades = rng.normal(model.trades_mean, model.trades_deviation, 6000).round()
    session *= ((trades >= 5) & (trades <= 25)).mean()
    assert session**3 <= pass_probability(0.0, PLAN, model) + 0.01
    assert pass_probability(0.0, PLAN, model) < 0.125


@pytest.mark.parametrize("wrong", [{"volatility_ratio": 0.0}, {"trades_deviation": -1.0}])
def test_a_policy_without_spread_is_refused(wrong):
    with pytest.raises(InputError, match="above 0"):
        SessionModel(**wrong)
