"""The frontier: points that can be asked for, sessions that judge, and every figure of a row."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from markets import random_market, random_program
from stairways.config import DateRange, load_settings
from stairways.control.actuators import TiltActuator
from stairways.control.setpoints import SetPoints
from stairways.errors import ConfigError, RangeError
from stairways.evaluation.baselines import all_hold
from stairways.trading.rules import TradingRules
from stairways.tuning.contest import Arena, Entrant
from stairways.tuning.frontier import POINTS, bands_at, checked_points, sessions_before, settings_at
from stairways.tuning.frontier_rows import Ground, tilt_frontier

BUDGETS = (4.0, 8.0)


@pytest.fixture(scope="module")
def ground():
    market = random_market(3, 90, interval_minutes=10)
    rules = TradingRules()

    def arena(part):
        return Arena(market.select(part), rules, "sampled", 11)

    return Ground(
        arena=arena(slice(40, 90)),
        before=arena(slice(0, 40)),
        actuator=TiltActuator(),
        points=SetPoints(),
        confidence=0.95,
        seed=np.random.SeedSequence(5),
    )


@pytest.fixture(scope="module")
def frontier(ground):
    program = random_program(4)
    scripted = {"all_hold": Entrant(all_hold(ground.arena.market))}
    return program, *tilt_frontier(ground, program, BUDGETS, scripted)


def row_of(rows, arm, point):
    [row] = [row for row in rows if (row["arm"], row["set_point"]) == (arm, point)]
    return row


class TestRows:
    def test_there_is_one_for_each_policy_and_point(self, frontier):
        _, rows, _ = frontier
        assert [(row["arm"], row["set_point"]) for row in rows] == [
            ("untilted", None),
            *((arm, point) for point in BUDGETS for arm in ("tilt", "random")),
        ]

    def test_budgets_and_hold_rate_are_met(self, frontier):
        _, rows, _ = frontier
        for row in rows[1:]:
            assert row["reached"]
            assert abs(row["trades_per_session"] - row["set_point"]) <= 0.5
            assert row["hold_rate_ratio"] == pytest.approx(0.55, abs=0.03)

    def test_figures_are_those_of_the_ledger(self, frontier):
        _, rows, runs = frontier
        ledger = runs[8.0].ledger
        row = row_of(rows, "tilt", 8.0)
        assert row["trades_per_session"] == ledger.trades.mean()
        assert row["net_bps"] == pytest.approx(ledger.returns_ratio.mean() * 1e4, rel=1e-12)
        assert row["net_low_bps"] < row["net_bps"] < row["net_high_bps"]
        paid = (ledger.commission_usd + ledger.spread_usd) / ledger.nav_open_usd
        assert row["costs_bps"] == pytest.approx(paid.mean() * 1e4, rel=1e-12)
        assert row["gross_bps"] == pytest.approx(row["net_bps"] + row["costs_bps"], rel=1e-9)
        # 0.25 bp of commission and 0.75 bp of half spread on everything traded
        assert row["costs_bps"] == pytest.approx(row["turnover_ratio"] * 1.0, rel=1e-3)
        assert (row["n_sessions"], row["mode"]) == (50, "sampled")

    def test_differences_are_paired(self, ground, frontier):
        program, rows, runs = frontier
        untilted = ground.arena.run(Entrant(program)).ledger.returns_ratio
        row = row_of(rows, "tilt", 4.0)
        assert row["above_untilted_bps"] == pytest.approx(
            ((runs[4.0].ledger.returns_ratio - untilted) * 1e4).mean(), rel=1e-9
        )
        assert row["above_all_hold_bps"] == pytest.approx(row["net_bps"], rel=1e-9)
        assert row["above_lowest_bps"] == 0.0
        wide, narrow = row_of(rows, "tilt", 8.0), row_of(rows, "random", 8.0)
        assert wide["above_random_bps"] == pytest.approx(wide["net_bps"] - narrow["net_bps"], rel=1e-9)
        assert wide["above_lowest_bps"] == pytest.approx(wide["net_bps"] - row["net_bps"], rel=1e-9)
        for name in ("untilted", "all_hold", "random", "lowest"):
            assert wide[f"above_{name}_low_bps"] < wide[f"above_{name}_bps"] < wide[f"above_{name}_high_bps"]

    def test_random_trades_as_much_as_the_policy_and_is_another_policy(self, frontier):
        _, rows, _ = frontier
        for point in BUDGETS:
            tilt, random = row_of(rows, "tilt", point), row_of(rows, "random", point)
            assert random["trades_per_session"] == pytest.approx(tilt["trades_per_session"], abs=0.5)
            assert random["net_bps"] != tilt["net_bps"]

    def test_multipliers_never_see_the_sessions_that_judge(self, ground, frontier):
        """The judged sessions' prices may be anything: calibration stays what it was."""
        from dataclasses import replace

        program, _, runs = frontier
        other = replace(
            ground, arena=replace(ground.arena, market=random_market(99, 50, interval_minutes=10))
        )
        first = other.tilted(program, 8.0).multipliers[0, 0]
        np.testing.assert_array_equal(first, runs[8.0].multipliers[0, 0])


class TestPoints:
    def test_the_usual_ones_span_0_to_30_and_hold_the_default(self):
        assert checked_points(POINTS) == POINTS
        assert (POINTS[0], POINTS[-1]) == (0.0, 30.0)
        assert SetPoints().trades_per_session in POINTS

    def test_they_are_sorted(self):
        assert checked_points([8, 0, 2.5]) == (0.0, 2.5, 8.0)

    @pytest.mark.parametrize(
        ("points", "words"),
        [
            ([5], "1 set points"),
            ([5, 5], "2 set points, 1 of them different"),
            ([-1, 5], "a set point of -1"),
            ([0, 401], "a set point of 401"),
            ([0, float("nan")], "a set point of nan"),
            (range(41), "41 set points"),
        ],
    )
    def test_others_are_refused(self, points, words):
        with pytest.raises(ConfigError, match=words):
            checked_points(points)


class TestSessionsBefore:
    def test_up_to_240_right_before(self):
        assert sessions_before(slice(300, 400)) == slice(60, 300)
        assert sessions_before(slice(20, 30)) == slice(0, 20)

    def test_too_few_are_refused(self):
        with pytest.raises(RangeError, match="19 sessions stand before those judged, at least 20"):
            sessions_before(slice(19, 40))


class TestSettingsAt:
    base = load_settings(
        None,
        {
            "seed": 3,
            "ranges": {"sessions": "2025-03-01:2025-04-01"},
            "control": {"points": {"hold_rate_ratio": 0.4}},
            "tune": {"cycles": 3},
        },
    )
    tuning = DateRange.model_validate("2025-01-01:2025-02-01")

    def test_the_point_the_sessions_and_the_rest(self):
        made = settings_at(self.base, 25.0, self.tuning)
        assert made.control.points.trades_per_session == 25.0
        assert made.control.points.hold_rate_ratio == 0.4
        assert (made.seed, made.tune.cycles) == (3, 3)
        assert str(made.ranges.tune) == "2025-01-01:2025-02-01"
        assert str(made.ranges.test) == "2025-03-01:2025-04-01"

    def test_the_bands_move_with_the_point(self):
        gate = settings_at(self.base, 25.0, self.tuning).resolved_gate()
        assert gate.trades_band == (23.5, 26.5)
        assert gate.session_trades_band == gate.shadow_trades_band == (14, 34)
        assert gate.hold_target_ratio == 0.4

    def test_the_default_point_keeps_the_default_bands(self):
        gate, usual = settings_at(self.base, 16.5, self.tuning).gate, load_settings(None, {}).gate
        assert gate.trades_band == usual.trades_band
        assert gate.session_trades_band == usual.session_trades_band

    def test_bands_of_ones_own_keep_their_widths_around_their_own_set_point(self):
        own = load_settings(
            None,
            {
                "ranges": {"sessions": "2025-03-01:2025-04-01"},
                "control": {"points": {"trades_per_session": 10.0}},
                "gate": {"trades_band": [8.0, 14.0], "shadow_trades_band": [1, 30]},
            },
        )
        gate = settings_at(own, 20.0, self.tuning).gate
        assert gate.trades_band == (18.0, 24.0)
        assert gate.shadow_trades_band == (11, 40)
        # the default band of single sessions stands around the default set point of 16.5
        assert gate.session_trades_band == (8, 28)
        assert settings_at(own, 10.0, self.tuning).gate.trades_band == own.gate.trades_band

    @given(st.floats(0.0, 400.0), st.floats(0.0, 400.0), st.floats(0.0, 30.0), st.floats(0.0, 30.0))
    def test_no_rounding_leaves_the_set_point_outside(self, point, centre, below, above):
        band = [max(0.0, centre - below), centre + above]
        own = load_settings(
            None, {"control": {"points": {"trades_per_session": centre}}, "gate": {"trades_band": band}}
        )
        low, high = bands_at(own, point)["trades_band"]
        assert 0.0 <= low <= point <= high

    def test_no_trades_can_be_asked_for(self):
        gate = settings_at(self.base, 0.0, self.tuning).gate
        assert gate.trades_band == (0.0, 1.5)
        assert gate.session_trades_band == (0, 8)
