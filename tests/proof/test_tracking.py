"""The tracking experiment: its settings, its conclusion on made-up results, its quick form whole."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from toys import Silent

from stairways.control.actuators import TiltActuator
from stairways.proof.experiment import Job
from stairways.proof.runner import run_experiment
from stairways.proof.tracking import Tracking
from stairways.proof.tracking_findings import _moving_bars, argued_gain, conclude, least_share
from stairways.proof.tracking_plan import (
    DEFAULT,
    FULL,
    MODES,
    QUICK,
    UNTILTED,
    apart,
    curve,
    gains_of,
    moving,
)

LIVE = TiltActuator().live


class TestSettings:
    def test_the_full_form_is_what_was_asked_for(self):
        assert FULL.sessions >= 1_000
        assert FULL.keys >= 3
        assert {"gold", "over_trader", "skilled"} == set(FULL.policies)
        assert set(FULL.fast_gains) == {0.0, 6.0, 10.0, 20.0}

    def test_the_default_is_a_point_of_the_curve(self):
        points = curve(FULL)
        assert points.count(DEFAULT) == 1
        assert LIVE.ki_hold in gains_of(FULL)
        for point in points:
            assert point.actuator is not None
            live = point.actuator.live
            ratio = LIVE.ki_trade / LIVE.ki_hold
            assert live.ki_trade == pytest.approx(ratio * live.ki_hold, rel=1e-5)

    def test_nothing_but_the_gains_and_the_coupling_moves_along_it(self):
        same = {"live", "hold_coupling"}
        for point in [*curve(FULL), *apart(FULL)]:
            assert point.actuator is not None
            assert point.actuator.model_dump(exclude=same) == TiltActuator().model_dump(exclude=same)

    def test_moved_apart_one_gain_stays(self):
        for point in apart(FULL):
            assert point.actuator is not None
            live = point.actuator.live
            assert (live.ki_hold == LIVE.ki_hold) != (live.ki_trade == LIVE.ki_trade)

    def test_the_target_moves_both_ways_under_every_fast_lane(self):
        points = moving(FULL)
        assert {(p.points.regime_slope_ratio, p.actuator.live.kp_fast) for p in points if p.actuator} == {
            (slope, gain) for slope in (0.15, -0.15) for gain in FULL.fast_gains
        }
        assert {point.points.hold_mode for point in points} == {"regime"}

    def test_cells_differ_and_the_skilled_policy_comes_first(self, tmp_path):
        cells = Tracking().cells(Job(0, False, None, tmp_path))
        assert len({cell.key for cell in cells}) == len(cells)
        assert [cell.key for cell in cells if cell.stage == 0] == ["skilled"]
        for policy in FULL.policies:
            assert {f"{policy}-{mode}-default" for mode in MODES} <= {cell.key for cell in cells}


def _followed(name, share):
    """Return what a loop follows: a moving one that share of its own target, any other hardly anything."""
    standing = {"up": 0.05, "down": -0.05}
    _, _, rest = name.partition("moving-")
    own = rest.partition("-")[0]
    return standing | ({own: share} if own else {})


def made_up(form, *, hold_spread=0.01, trades_spread=0.5, session_error=0.1, followed=0.6):
    """Return results of policies that keep their set points and earn the more the less they are held."""
    rng = np.random.default_rng(1)
    shared = rng.normal(2e-4, 4e-3, (form.keys, form.sessions))
    n_blocks = form.keys * form.sessions // 20
    points = {(policy, "sampled", p.name): p for policy in form.priced for p in [*curve(form), UNTILTED]}
    points |= {(q, "sampled", p.name): p for q in form.priced for p in [*apart(form), *moving(form)]}
    points |= {(policy, mode, DEFAULT.name): DEFAULT for policy in form.policies for mode in MODES}
    results = {}
    for (policy, mode, name), point in points.items():
        gain = 0.0 if point.actuator is None else point.actuator.live.ki_hold
        spread = hold_spread if gain >= LIVE.ki_hold else 5 * hold_spread
        results[f"{policy}-{mode}-{name}"] = {
            "returns": (shared - 1e-3 * gain).tolist(),
            "hold_errors": (spread * np.linspace(-1, 1, n_blocks)).tolist(),
            "trades_errors": (trades_spread * np.linspace(-1, 1, n_blocks)).tolist(),
            "hold": 0.55,
            "trades": 16.5,
            "hold_scatter": 0.1,
            "trades_scatter": 6.0,
            "session_errors": {"up": session_error, "down": session_error},
            "followed": _followed(name, followed),
        }
    return results


class TestConclusion:
    def concluded(self, tmp_path, **how):
        return conclude(Job(0, False, None, tmp_path), made_up(FULL, **how))

    def test_close_policies_pass(self, tmp_path):
        findings = self.concluded(tmp_path)
        assert [bar.name for bar in findings.bars if not bar.passed] == []
        assert len(findings.bars) == 8

    def test_loose_ones_fail(self, tmp_path):
        missed = [bar.name for bar in self.concluded(tmp_path, hold_spread=0.03).bars if not bar.passed]
        assert len(missed) == 3
        assert all("±2 points" in name for name in missed)
        missed = [bar.name for bar in self.concluded(tmp_path, trades_spread=2.0).bars if not bar.passed]
        assert len(missed) == 3
        assert all("±1.5 trades" in name for name in missed)

    def test_a_target_that_is_missed_fails(self, tmp_path):
        near, followed = self.concluded(tmp_path, session_error=0.16).bars[-2:]
        assert not near.passed
        assert near.observed == pytest.approx(16.0)
        assert "price in Sharpe" in near.note
        assert followed.passed
        assert followed.observed == pytest.approx(55.0)

    def test_a_loop_that_ignores_the_target_fails(self, tmp_path):
        """It stands at the mean, keeps near, and follows no more than the loop with the fixed target."""
        near, followed = self.concluded(tmp_path, followed=0.07).bars[-2:]
        assert near.passed
        assert not followed.passed
        assert followed.observed == pytest.approx(2.0)
        assert "7% of the movement is followed, 5% where the default stands" in followed.note

    def test_nothing_measured_and_no_figure_hold_neither(self, tmp_path):
        assert not any(bar.passed for bar in _moving_bars([]))
        rows = [dict(row) for row in self.concluded(tmp_path).rows]
        for row in rows:
            if row["kind"] == "moving":
                row |= {"session_error_points": math.nan, "followed_ratio": math.nan}
        assert not any(bar.passed for bar in _moving_bars(rows))

    def test_the_price_is_the_paired_difference(self, tmp_path):
        """Returns fall by 1e-3 x gain: 10 x gain basis points, the same in every session."""
        rows = self.concluded(tmp_path).rows
        row = next(r for r in rows if r["kind"] == "curve" and r["ki_hold"] == 0.3 and r["coupling"] == 1)
        wanted = -10 * (0.3 - LIVE.ki_hold)
        assert row["net_bps_less_default"] == pytest.approx(wanted)
        assert (row["net_bps_less_default_low"], row["net_bps_less_default_high"]) == pytest.approx(
            (wanted, wanted)
        )
        assert row["net_bps_less_untilted"] == pytest.approx(-3.0)
        assert row["sharpe_less_untilted_low"] <= row["sharpe_less_untilted"] < 0

    def test_the_smallest_gain_that_keeps_both_bands_is_argued_for(self, tmp_path):
        rows = self.concluded(tmp_path).rows
        assert argued_gain(rows, TiltActuator().hold_coupling) == LIVE.ki_hold
        loose = self.concluded(tmp_path, trades_spread=3.0).rows
        assert argued_gain(loose, TiltActuator().hold_coupling) is None

    def test_shares_have_exact_intervals(self, tmp_path):
        """All of 200 means: the exact interval begins at 0.025 to the power of 1 / 200."""
        row = self.concluded(tmp_path).rows[0]
        assert (row["hold_share"], row["n_blocks"]) == (1.0, 200)
        assert row["hold_share_low"] == pytest.approx(0.025 ** (1 / 200))

    def test_rows_are_plain_json(self, tmp_path):
        rows = [dict(row) for row in self.concluded(tmp_path).rows]
        assert json.loads(json.dumps(rows, allow_nan=False)) == rows


def test_a_small_form_asks_for_what_its_size_can_show():
    assert least_share(FULL, 200) == 0.95
    assert least_share(QUICK, 16) == pytest.approx(0.95 - 2.58 * np.sqrt(0.95 * 0.05 / 16))


@pytest.mark.slow
def test_the_quick_form_holds_its_bars_and_fills_its_folder(tmp_path):
    outcome = run_experiment(
        "stairways.proof.tracking:Tracking",
        tmp_path / "x",
        seed=0,
        quick=True,
        bars=None,
        follower=Silent(),
        processes=1,
    )
    assert [bar.name for bar in outcome.findings.bars if not bar.passed] == []
    written = {path.name for path in outcome.folder.iterdir()}
    assert {"results.json", "report.md", "command.txt"} <= written
    for table in ("streams", "price", "moving"):
        assert {f"{table}.csv", f"{table}.md"} <= written
    for plot in ("price", "moving"):
        assert {f"{plot}.png", f"{plot}.svg"} <= written
    results = json.loads((outcome.folder / "results.json").read_text(encoding="utf-8"))
    assert {row["kind"] for row in results["rows"]} == {"streams", "curve", "moving"}
