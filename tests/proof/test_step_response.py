"""The step response: its rows and bars on made-up results, and its quick form whole."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from toys import Silent

from stairways.control.actuators import RewardActuator, TiltActuator, TiltGains, plan_reward_actuator
from stairways.control.pid_lagrangian import PidLagrangian
from stairways.control.setpoints import SetPoints
from stairways.control.tilt import Multipliers
from stairways.learning.lagrangian import LagrangianSteering
from stairways.learning.steering import NoSteering, RewardSteering, TiltSteering
from stairways.proof.experiment import Job
from stairways.proof.responses import Steady, Windows
from stairways.proof.runner import run_experiment
from stairways.proof.step_findings import _worst, conclude, noise_factor
from stairways.proof.step_plan import FULL, HOLD, QUICK, SESSION, STARTS, TRADES, WIDTHS
from stairways.proof.step_response import StepResponse, reduced
from stairways.proof.step_rows import direction_of, seed_holds, windows_of
from stairways.proof.step_training import CONTROLLERS, controller_settings, make_steering, steps_of
from stairways.proof.streams import MODES, STEPS, Course

EXPERIMENT = "stairways.proof.step_response:StepResponse"
START = STEPS[0]


def windows(deviation, standard_error=0.0, width=SESSION):
    return Windows(np.arange(len(deviation)) * SESSION, width, np.array(deviation, float), standard_error)


class TestForms:
    def test_the_full_form_is_what_was_asked_for(self):
        assert FULL.seeds >= 10
        assert FULL.training_seeds >= 10
        assert FULL.accounts >= 24
        assert FULL.training_steps == 24_000
        assert HOLD.within_decisions == 780
        assert TRADES.within_decisions == 2_340

    def test_every_step_is_long_enough_to_settle_and_to_be_steady(self):
        """The windows of the bar fit into each step of either form, half days included."""
        for form in (FULL, QUICK):
            for step in STEPS:
                sessions = form.lengths.of(step)
                for quantity in step.moved:
                    limit = HOLD.within_sessions if quantity == "hold" else TRADES.within_sessions
                    assert sessions * SESSION >= 390 * limit + WIDTHS[quantity] // 2

    def test_each_cell_names_all_it_depends_on(self, tmp_path):
        cells = {cell.key: cell for cell in StepResponse().cells(Job(0, True, None, tmp_path))}
        tilt = TiltActuator().model_dump(mode="json")
        assert cells["respond-mlp-over_holder-greedy-0"].arguments["actuator"] == tilt
        assert cells["policies-lstm"].arguments["actuator"] == tilt
        assert cells["train-lagrangian-over_holder-0"].arguments["settings"] == PidLagrangian().model_dump()
        assert cells["train-plan-over_holder-0"].arguments["settings"] == plan_reward_actuator().model_dump()

    def test_the_full_form_has_every_controller_start_mode_and_seed(self, tmp_path):
        keys = {cell.key for cell in StepResponse().cells(Job(0, False, None, tmp_path))}
        for seed in range(10):
            for controller in CONTROLLERS:
                for start in ("over_holder", "over_trader"):
                    assert f"train-{controller}-{start}-{seed}" in keys
            for net, starts in STARTS.items():
                for start in starts:
                    assert {f"respond-{net}-{start}-{mode}-{seed}" for mode in MODES} <= keys


class TestControllers:
    def test_names_and_kinds(self):
        kinds = {
            "fixed": NoSteering,
            "plan": RewardSteering,
            "reward": RewardSteering,
            "lagrangian": LagrangianSteering,
            "tilt": TiltSteering,
        }
        assert kinds.keys() == CONTROLLERS.keys()
        for name, kind in kinds.items():
            settings = controller_settings(name, TiltActuator())
            assert type(make_steering(name, settings, SetPoints(), 389)) is kind

    def test_settings_survive_json(self):
        for name in CONTROLLERS:
            settings = controller_settings(name, TiltActuator())
            assert json.loads(json.dumps(settings)) == settings

    def test_the_plan_has_no_integral_and_the_other_reward_has_one(self):
        assert controller_settings("plan", TiltActuator())["ki_slow"] == 0.0
        assert controller_settings("reward", TiltActuator())["ki_slow"] == RewardActuator().ki_slow > 0.0
        assert controller_settings("fixed", TiltActuator()) == {"bonus_bps": 0.2}

    def test_the_tilt_starts_where_it_is_told_and_acts_in_full(self):
        settings = controller_settings("tilt", TiltActuator(training=TiltGains(ki_hold=0.2)))
        steering = make_steering("tilt", settings, SetPoints(), 389, Multipliers(1.5, -0.5))
        assert steering.multipliers == (1.5, -0.5)
        form = steering.form()
        assert form is not None
        assert form.coupling == 1.0

    def test_only_the_tilt_is_led_through_the_steps_of_the_trades(self):
        assert len(steps_of("tilt")) == 5
        assert [step.name for step in steps_of("plan")] == ["start", "hold_up", "hold_down"]


class TestMeasures:
    def test_a_course_is_reduced_by_hand(self):
        """Two accounts, 6 sessions; they hold 0.6 and 0.7, the twins 0.55; orders 18 and 16 to 16.5."""
        n = 6 * SESSION
        held = np.array([np.full(n, 0.6), np.full(n, 0.7)])
        orders = np.array([np.full(n, 18 / SESSION), np.full(n, 16 / SESSION)])
        twin = np.full((2, n), 0.55)
        found = reduced(Course(held, orders, twin, np.full((2, n), 16.5 / SESSION)), START)
        assert found["hold"]["deviation"] == pytest.approx([0.1] * len(found["hold"]["deviation"]))
        assert found["hold"]["steady_error"] == pytest.approx(0.1)
        assert found["hold"]["steady_standard_error"] == pytest.approx(0.05)
        assert found["hold"]["levels"][0] == pytest.approx(0.65)
        assert found["trades"]["deviation"][0] == pytest.approx(0.5)
        assert found["trades"]["steady_error"] == pytest.approx(0.5)
        assert found["trades"]["levels"][-1] == pytest.approx(17)
        assert windows_of(found["trades"], "trades").width == 3 * SESSION

    def test_directions(self):
        steps = {step.name: step for step in STEPS}
        assert direction_of(START, "hold", 0.91) == -1.0
        assert direction_of(START, "hold", 0.04) == +1.0
        assert direction_of(START, "trades", 4.0) == +1.0
        assert direction_of(steps["hold_down"], "hold", 0.1) == -1.0
        assert direction_of(steps["trades_up"], "trades", 99.0) == +1.0

    @pytest.mark.parametrize(
        ("deviation", "error", "held"),
        [
            ([0.3, 0.04, 0.0, 0.0], 0.005, True),
            ([0.3, 0.2, 0.1, 0.0], 0.005, False),  # settles after 3 sessions
            ([0.3, 0.04, 0.0, 0.06], 0.005, False),  # leaves at the end
            ([0.3, -0.051, 0.0, 0.0], 0.005, False),  # overshoots
            ([0.3, 0.04, 0.0, 0.0], -0.011, False),  # keeps an error
        ],
    )
    def test_a_seed_holds_only_if_it_does_all(self, deviation, error, held):
        assert seed_holds(HOLD, windows(deviation), Steady(error, 0.0), -1.0) is held

    def test_noise_is_allowed_for_in_each_figure(self):
        noisy = windows([0.3, -0.07, 0.06, 0.0], standard_error=0.01)
        assert seed_holds(HOLD, noisy, Steady(0.03, 0.01), -1.0)
        assert not seed_holds(HOLD, noisy, Steady(0.04, 0.01), -1.0)
        worse = replace(noisy, deviation=np.array([0.3, -0.08, 0.06, 0.0]))
        assert not seed_holds(HOLD, worse, Steady(0.0, 0.01), -1.0)


def made_up(form, *, settles=1, error=0.0):
    """Return results in which every response is there after so many sessions, and every bonus fails."""
    results = {}
    for net, starts in STARTS.items():
        untilted = {}
        for start in starts:
            for mode in MODES:
                hold, trades = (0.9, 4.0) if start == "over_holder" else (0.05, 80.0)
                untilted[f"{start}-{mode}"] = {"hold": hold, "trades": trades}
        results[f"policies-{net}"] = {"untilted": untilted, "settled": {}}
        if net != "uniform":
            results[f"policies-{net}"]["flattened"] = {"hold_bias_logits": -8.0, "scale_ratio": 0.7}
        for start in starts:
            for mode in MODES:
                for seed in range(form.seeds):
                    before = untilted[f"{start}-{mode}"]
                    if start == "deployed":
                        before = {"hold": 0.55, "trades": 16.5}
                    cell = {step.name: _response(form, step, before, settles, error) for step in STEPS}
                    results[f"respond-{net}-{start}-{mode}-{seed}"] = cell
    for controller in CONTROLLERS:
        for start in form.training_starts:
            for seed in range(form.training_seeds):
                cell = {}
                for step in steps_of(controller):
                    here = (step.hold_rate_ratio, step.trades_per_session)
                    hold, trades = here if controller == "tilt" else (0.95, 3.0)
                    deployed = {"hold": hold, "trades": trades}
                    cell[step.name] = {"hold": [hold] * 6, "trades": [trades] * 6, "bonus_bps": [0.2] * 6}
                    cell[step.name] |= {} if controller == "tilt" else dict.fromkeys(MODES, deployed)
                results[f"train-{controller}-{start}-{seed}"] = cell
    return results


def _response(form, step, before, settles, error):
    n = form.lengths.of(step) * 10 - 9
    found = {}
    for quantity, far in (("hold", 0.3), ("trades", 9.0)):
        side = -direction_of(step, quantity, before[quantity])
        deviation = [side * far if k * 39 < settles * SESSION else 0.0 for k in range(n)]
        found[quantity] = {
            "deviation": deviation,
            "standard_error": 0.0,
            "steady_error": error,
            "steady_standard_error": 0.001,
            "levels": [step.target(quantity)] * n,
        }
    return found


class TestConclusion:
    def concluded(self, tmp_path, **how):
        return conclude(Job(0, False, None, tmp_path), made_up(FULL, **how))

    def test_a_loop_that_does_all_of_it_passes(self, tmp_path):
        findings = self.concluded(tmp_path)
        assert [bar.name for bar in findings.bars if not bar.passed] == []
        assert len(findings.bars) == 13

    def test_a_slow_one_misses_its_settling_time_and_its_seeds(self, tmp_path):
        missed = {bar.name for bar in self.concluded(tmp_path, settles=3).bars if not bar.passed}
        assert missed == {
            f"{name}, {mode}"
            for name in ("hold rate settles", "share of seeds that do all of it")
            for mode in MODES
        }

    def test_one_that_never_settles_has_no_figure_and_fails(self, tmp_path):
        bars = {bar.name: bar for bar in self.concluded(tmp_path, settles=99).bars}
        assert bars["hold rate settles, sampled"].observed is None
        assert not bars["hold rate settles, sampled"].passed
        assert "never settled" in bars["hold rate settles, sampled"].note

    def test_a_steady_error_is_missed(self, tmp_path):
        missed = {bar.name for bar in self.concluded(tmp_path, error=0.02).bars if not bar.passed}
        assert "steady error of the hold rate, greedy" in missed
        assert "steady error of the trades per session, greedy" not in missed

    def test_a_gold_that_does_not_over_hold_is_told(self, tmp_path):
        results = made_up(FULL)
        results["policies-lstm"]["untilted"]["over_holder-sampled"]["hold"] = 0.79
        findings = conclude(Job(0, False, None, tmp_path), results)
        assert not findings.bars[0].passed

    def test_a_missing_seed_is_no_result(self, tmp_path):
        results = made_up(FULL)
        del results["respond-lstm-over_trader-greedy-7"]
        with pytest.raises(KeyError, match="respond-lstm-over_trader-greedy-7"):
            conclude(Job(0, False, None, tmp_path), results)

    def test_all_five_stand_in_one_table(self, tmp_path):
        table = self.concluded(tmp_path).tables[0]
        assert {row["controller"] for row in table.rows} == CONTROLLERS.keys()
        plan = next(row for row in table.rows if row["controller"] == "plan" and row["mode"] == "sampled")
        assert plan["hold_settled"] == "0 of 6"
        assert plan["hold_worst_error"] == pytest.approx(60.0)
        assert plan["trades_worst_error"] == pytest.approx(21.0)
        tilt = next(row for row in table.rows if row["acts"] == "at inference" and row["mode"] == "sampled")
        assert (tilt["hold_settled"], tilt["trades_settled"]) == ("18 of 18", "18 of 18")

    def test_the_quick_form_allows_for_the_noise_of_the_largest(self, tmp_path):
        """18 rows of 8 accounts: Student's variable of 7 degrees leaves it in 1 % / 18 of all draws."""
        row = {"n_seeds": 1, "n_accounts": 8}
        found = noise_factor(Job(0, True, None, tmp_path), [row] * 18)
        draws = np.random.default_rng(1).standard_t(7, 4_000_000)
        assert (np.abs(draws) > found).mean() == pytest.approx(0.01 / 18, rel=0.1)
        assert noise_factor(Job(0, False, None, tmp_path), [row] * 18) == 0.0

    def test_rows_are_plain_json(self, tmp_path):
        rows = [dict(row) for row in self.concluded(tmp_path).rows]
        assert json.loads(json.dumps(rows, allow_nan=False)) == rows


@pytest.mark.slow
def test_the_quick_form_holds_its_bars_and_fills_its_folder(tmp_path):
    outcome = run_experiment(
        EXPERIMENT, tmp_path / "x", seed=0, quick=True, bars=None, follower=Silent(), processes=1
    )
    assert [bar.name for bar in outcome.findings.bars if not bar.passed] == []
    written = {path.name for path in outcome.folder.iterdir()}
    assert {"results.json", "report.md", "command.txt"} <= written
    for table in ("controllers", "inference", "training"):
        assert {f"{table}.csv", f"{table}.md"} <= written
    for plot in ("inference", "training"):
        assert {f"{plot}.png", f"{plot}.svg"} <= written
    results = json.loads((outcome.folder / "results.json").read_text(encoding="utf-8"))
    assert len(results["bars"]) == 13
    acts = [row for row in results["rows"] if row["acts"] == "at inference"]
    assert len(acts) == 6 * 2 * 5


@pytest.mark.parametrize("place", range(3))
def test_a_response_without_a_figure_is_the_worst(place):
    rows = [{"error": 0.1}, {"error": 0.3}]
    rows.insert(place, {"error": float("nan")})
    assert math.isnan(_worst(rows, lambda row: row["error"])["error"])
