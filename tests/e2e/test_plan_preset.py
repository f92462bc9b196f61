"""``--preset plan``: the plan's numbers exactly, its authority said before it starts, an honest refusal."""

from __future__ import annotations

import pytest
from workbench import json_of

from stairways.config import load_settings
from stairways.control.actuators import RewardActuator


@pytest.fixture
def plan():
    return load_settings(None, {}, "plan")


class TestNumbers:
    def test_controller(self, plan):
        actuator = plan.control.actuator
        assert isinstance(actuator, RewardActuator)
        assert (actuator.kp_fast, actuator.kp_slow, actuator.slow_period) == (0.25, 0.05, 25)
        assert actuator.ki_slow == 0.0
        assert (actuator.lowest, actuator.highest) == (0.0, 2.0)
        assert actuator.base_hold_bonus_bps == 0.2

    def test_target_moves_with_the_regime(self, plan):
        points = plan.control.points
        assert points.hold_mode == "regime"
        assert (points.hold_rate_ratio, points.regime_slope_ratio) == (0.55, 0.1)
        assert (points.lowest_hold_rate_ratio, points.highest_hold_rate_ratio) == (0.25, 0.85)
        assert points.market_slope == 0.3

    def test_cycles(self, plan):
        tune = plan.tune
        assert (tune.cycles, tune.steps_per_cycle) == (8, 6_000)
        assert (tune.early_stop_cycles, tune.min_cycles) == (2, 2)
        assert tune.improvement.improvement_threshold == 0.01
        assert tune.shadow_replay_days == 3
        assert (tune.ppo.n_envs, tune.ppo.n_steps) == (20, 100)

    def test_gate_regime_gold_and_dry_run(self, plan):
        assert plan.gate.shadow_rule == "plan"
        assert plan.gate.shadow_trades_band == plan.gate.session_trades_band == (5, 25)
        assert plan.gate.drift_threshold_ratio == 0.15
        assert plan.gate.max_drawdown_ratio == 0.02
        assert (plan.market.regime.window_sessions, plan.market.regime.warm_up_sessions) == (30, 50)
        assert (plan.gold.steps, plan.gold.ppo.n_envs, plan.gold.ppo.n_steps) == (409_600, 64, 128)
        assert plan.gold.least_progress == 1.0
        assert (plan.dry_run.steps, plan.dry_run.n_envs, plan.dry_run.n_steps) == (5_000, 10, 100)

    def test_a_file_can_ask_for_it_and_change_it(self, tmp_path, plan):
        config = tmp_path / "plan.yml"
        config.write_text("preset: plan\ncontrol: {actuator: {kind: reward, kp_fast: 0.5}}\n")
        changed = load_settings(config, {})
        assert changed.preset == "plan"
        assert changed.control.actuator.kp_fast == 0.5
        assert changed.control.actuator.ki_slow == 0.0
        assert changed.gate.shadow_rule == "plan"
        assert load_settings(None, {"preset": "plan"}).preset == "default"


def test_it_says_its_authority_first_and_refuses_honestly(market, cli, tmp_path):
    out = tmp_path / "run"
    ended = cli(*market.tune(out, "--preset", "plan", "--seed", "7", "--cycles", "2"))
    assert ended.status == 1
    text = " ".join(ended.out.split())
    said = text.index("authority of reward")
    assert "DOES NOT REACH the target" in text[said : said + 300]
    assert "measured after 800 steps at either end of the bonus" in text
    assert said < text.index("cycle 1/2")
    assert "Refused" in text
    log = (out / "training.log").read_text(encoding="utf-8")
    assert log.index("authority.measured") < log.index("cycle.started")
    summary = json_of(out / "summary.json")
    assert summary["control"]["actuator"]["kind"] == "reward"
    assert summary["control"]["preflight"]["authority"]["sufficient"] is False
    assert "hold_rate" in {v["name"] for v in summary["verdicts"] if not v["passed"]}
    assert json_of(out / "config.json")["preset"] == "plan"
