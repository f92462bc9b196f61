"""The frontier experiment: how markets are put together, bars that can be missed, the quick form."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from toys import Silent

from stairways.proof.experiment import Job
from stairways.proof.frontier import FULL, QUICK, FrontierProof
from stairways.proof.frontier_pool import (
    difference,
    net,
    optimum_of_the_others,
    pooled,
    pooled_row,
    rows_of,
    slope,
)
from stairways.proof.frontier_report import _cost_bars, _distance_bar, findings
from stairways.proof.runner import run_experiment

SHARED_DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
needs_shared_data = pytest.mark.skipif(
    not SHARED_DATA.is_dir(), reason="the real bars do not lie beside the checkout"
)


def row(arm, point, net_bps, *, trades=None, error=0.5, costs=None):
    """Return a row of a frontier whose every difference is its own net result."""
    trades = point if trades is None else trades
    trades = 4.0 if trades is None else trades
    costs = 0.15 * trades if costs is None else costs
    made = {
        "arm": arm, "set_point": point, "trades_per_session": trades, "hold_rate_ratio": 0.55,
        "forced_closes_per_session": 1.0, "net_bps": net_bps, "net_low_bps": net_bps - 1.96 * error,
        "net_high_bps": net_bps + 1.96 * error, "gross_bps": net_bps + costs, "costs_bps": costs,
        "turnover_ratio": costs, "sharpe": net_bps / 2, "n_sessions": 100,
    }  # fmt: skip
    for name in ("untilted", "random", "lowest", "tilt"):
        made |= {f"above_{name}_bps": net_bps, f"above_{name}_se_bps": error}
    return made


def cell(kind, market, nets, *, hold=None, costs=None, trades=None, error=0.5):
    """Return the result of a cell with a net result for each set point."""
    rows = [row("untilted", None, 1.0)]
    for point, net_bps in nets.items():
        at = point if trades is None else trades(point)
        paid = None if costs is None else costs * at
        rows += [row("tilt", point, net_bps, trades=at, costs=paid, error=error)]
        rows += [row("random", point, -0.1 * point, trades=at, costs=paid, error=error)]
    data = {"source": "SYNTHETIC", "n_sessions": 100}
    return {"kind": kind, "market": market, "seed": 1, "hold": hold, "data": data, "rows": rows}


class TestPool:
    def test_markets_are_independent_and_keys_of_one_are_not(self):
        found = [(0, {"m": 1.0, "e": 3.0}), (0, {"m": 3.0, "e": 5.0}), (1, {"m": 6.0, "e": 3.0})]
        alike = pooled(found, lambda r: r["m"], lambda r: r["e"], markets_differ=False)
        assert (alike.bps, alike.over) == ((2.0 + 6.0) / 2, "sessions")
        assert alike.standard_error_bps == pytest.approx(math.sqrt(4.0**2 + 3.0**2) / 2)
        assert alike.reach_bps() == pytest.approx(1.96 * alike.standard_error_bps)

    def test_several_markets_are_the_sample(self):
        values = [2.0, 6.0, 3.5]
        gap = pooled([(m, {"m": v}) for m, v in enumerate(values)], lambda r: r["m"], lambda r: 0.1)
        expected = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
        assert gap.interval_bps == pytest.approx(expected, abs=1e-3)
        assert gap.over == "3 markets, t"
        # one normal standard error leaves 16 % above it
        assert gap.reach_bps(1.0) == pytest.approx(stats.t.isf(stats.norm.sf(1.0), 2) * stats.sem(values))

    def test_markets_that_agree_by_chance_are_not_surer_than_their_sessions(self):
        gap = pooled([(0, {"m": 2.0}), (1, {"m": 2.0})], lambda r: r["m"], lambda r: 1.0)
        assert gap.standard_error_bps == pytest.approx(math.sqrt(2.0) / 2)

    def test_one_market_has_its_sessions_alone(self):
        gap = pooled([(0, {"m": 2.0}), (0, {"m": 4.0})], lambda r: r["m"], lambda r: 1.0)
        assert (gap.bps, gap.standard_error_bps, gap.over) == (3.0, 1.0, "sessions")

    def test_a_row_is_the_mean_of_its_cells(self):
        cells = [cell("tilt", 0, {5.0: 2.0}), cell("tilt", 1, {5.0: 4.0}), cell("noise", 2, {5.0: 99.0})]
        found = pooled_row(cells, "tilt", "tilt", 5.0)
        assert (found["net_bps"], found["n_markets"], found["sharpe"]) == (3.0, 2, 1.5)
        half = stats.t.isf(0.025, 1) * 1.0
        assert found["net_high_bps"] - found["net_bps"] == pytest.approx(half, rel=1e-3)
        assert found["above_lowest_low_bps"] == pytest.approx(3.0 - half, rel=1e-3)
        assert found["interval_over"] == "2 markets, t"
        assert pooled_row(cells, "tilt", "tilt", 6.0) is None
        rows = rows_of(cells, "tilt", "tilt", 5.0)
        for each in (net(rows, "tilt"), difference(rows, "tilt", "random")):
            assert (each.bps, each.standard_error_bps) == pytest.approx((3.0, 1.0))
        quiet = pooled_row([*cells, cell("noise", 3, {5.0: 1.0})], "noise", "tilt", 5.0)
        assert quiet["interval_over"] == "sessions"
        assert quiet["net_high_bps"] - quiet["net_bps"] == pytest.approx(1.96 * 0.5 / math.sqrt(2))

    def test_the_optimum_is_named_by_the_others(self):
        points = (0.0, 5.0, 9.0)
        cells = [
            cell("tilt", 0, {0.0: 0.0, 5.0: 3.0, 9.0: 1.0}),
            cell("tilt", 1, {0.0: 0.0, 5.0: 3.0, 9.0: 1.0}),
            cell("tilt", 2, {0.0: 0.0, 5.0: -9.0, 9.0: 2.0}),
        ]
        gains = optimum_of_the_others(cells, "tilt", points)
        # the third market's own best is 9, the others name 5; with it gone 5 is best, with one gone 9 is
        assert [gain["set_point"] for gain in gains] == [9.0, 9.0, 5.0]
        assert [gain["gain_bps"] for gain in gains] == [1.0, 1.0, -9.0]

    def test_slope(self):
        rng = np.random.default_rng(1)
        rows = [{"trades_per_session": x, "net_bps": y} for x, y in rng.normal(size=(9, 2))]
        by_numpy = np.polyfit([r["trades_per_session"] for r in rows], [r["net_bps"] for r in rows], 1)[0]
        assert slope(rows, "net_bps") == pytest.approx(by_numpy, rel=1e-9)


POINTS = QUICK.points


def sound(**noise):
    falling = {point: -0.15 * point for point in POINTS}
    planted = {POINTS[0]: 0.0, POINTS[1]: 3.0, POINTS[2]: 4.0}
    made = {"nets": falling} | noise
    nets = made.pop("nets")
    return [*(cell("tilt", m, planted) for m in range(2)), cell("noise", 2, nets, **made)]


def bar(found, words):
    [chosen] = [bar for bar in found.bars if words in bar.name]
    return chosen


class TestBars:
    def test_a_sound_frontier_holds_them_all(self):
        found = findings(sound(), QUICK, real_bars=False)
        assert [bar.name for bar in found.bars if not bar.passed] == []
        assert bar(found, "best set point").observed == 4.0
        assert "No folder of real bars was given" in found.text
        assert "**With a signal**" in found.text

    def test_no_gain_is_missed(self):
        flat = [cell("tilt", m, dict.fromkeys(POINTS, 0.1)) for m in range(2)]
        found = findings([*flat, *sound()[2:]], QUICK, real_bars=False)
        assert not bar(found, "best set point").passed
        assert not bar(found, "above random").passed

    def test_set_points_that_are_not_met_are_missed(self):
        found = findings(sound(trades=lambda p: p - 0.6 if p == 30.0 else p), QUICK, real_bars=False)
        assert not bar(found, "largest distance").passed
        # a set point below 5 may be out of reach
        assert bar(
            findings(sound(trades=lambda p: p or 2.0), QUICK, real_bars=False), "largest distance"
        ).passed

    def test_a_point_without_a_figure_is_missed(self):
        found = findings(sound(trades=lambda p: math.nan if p == 30.0 else p), QUICK, real_bars=False)
        assert bar(found, "largest distance").observed is None
        assert not bar(found, "noise: costs").passed

    def test_cells_that_are_asked_for_and_absent_are_missed(self):
        planted = [
            {**result, "rows": [r for r in result["rows"] if r["arm"] == "oracle"]} for result in sound()
        ]
        for arm in ("tilt", "tuned"):
            assert not _distance_bar(planted, arm).passed
        for cost_bar in _cost_bars(planted, real_bars=True):
            assert (cost_bar.observed, cost_bar.passed) == (None, False)

    @pytest.mark.parametrize("costs", [0.146, 0.154])
    def test_costs_that_are_not_those_set_are_missed(self, costs):
        assert not bar(findings(sound(costs=costs), QUICK, real_bars=False), "noise: costs").passed

    @pytest.mark.parametrize(
        "nets",
        [
            pytest.param({point: 0.2 * point for point in POINTS}, id="an edge"),
            pytest.param(dict.fromkeys(POINTS, 0.1), id="trading is free"),
            pytest.param({point: -0.4 * point for point in POINTS}, id="a loss beyond the costs"),
            pytest.param(dict.fromkeys(POINTS, math.nan), id="no figure"),
        ],
    )
    def test_what_is_not_the_price_of_trading_is_missed(self, nets):
        assert not bar(findings(sound(nets=nets), QUICK, real_bars=False), "noise: net of 30").passed

    def test_a_budget_that_changes_no_trades_shows_no_price(self):
        found = findings(sound(trades=lambda p: 16.5 + 0.001 * p), QUICK, real_bars=False)
        assert not bar(found, "largest distance").passed
        assert not bar(found, "noise: net of 30").passed

    def test_real_bars_have_bars_of_their_own(self):
        real = cell("real", 0, {point: 0.2 * point for point in POINTS})
        gold = {
            "kind": "gold", "seed": 1, "over_holds": True, "hold_rate_ratio": 0.9, "trades_per_session": 4.0,
            "net_bps": 1.0, "skill_before_over_hold_bps": 2.0,
        }  # fmt: skip
        found = findings([*sound(), gold, real], QUICK, real_bars=True)
        assert not bar(found, "5 minutes: net of 30").passed
        assert bar(found, "real bars: costs").passed
        assert [table.name for table in found.tables] == ["frontier", "golds"]
        assert "2025-05-12 to 2025-12-31, golds trained on 2022-02-02 to 2022-11-22" in found.text
        assert "2022-11-25 to 2023-01-05" in found.tables[1].title


class TestHold:
    def told(self, nets):
        """Return what is said of hold set points; ``nets`` has a row of markets for each."""
        size = replace(QUICK, hold_points=tuple(nets))
        cells = [
            cell("hold", market, {16.5: value}, hold=hold)
            for hold, values in nets.items()
            for market, value in enumerate(values)
        ]
        return findings([*sound(), *cells], size, real_bars=False).text

    def test_a_spread_is_held_against_that_of_the_markets(self):
        # markets lie 9 bp apart, the set points differ alike on each of them
        text = self.told({0.35: [1.0, 10.0, 4.0], 0.55: [3.0, 12.05, 6.0]})
        assert "From 35% to 55% is 2.02 bp, more than the 0.07 bp" in text
        text = self.told({0.35: [1.0, 10.0, 4.0], 0.55: [1.5, 9.9, 4.4]})
        assert "bp, no more than the" in text

    def test_more_set_points_ask_for_more(self):
        two = self.told({0.35: [1.0, 2.0, 3.0], 0.55: [3.0, 4.5, 5.1]})
        more = self.told({0.35: [1.0, 2.0, 3.0], 0.55: [3.0, 4.5, 5.1], 0.75: [2.0, 3.0, 4.0]})
        chances = [float(text.split("than the ")[1].split(" bp")[0]) for text in (two, more)]
        assert chances[1] > 1.5 * chances[0]


class TestCells:
    def test_without_bars_nothing_real_is_asked(self, tmp_path):
        kinds = {c.arguments["kind"] for c in FrontierProof().cells(Job(0, False, None, tmp_path))}
        assert kinds == {"tilt", "tuned", "hold", "noise"}

    def test_golds_come_before_what_needs_them(self, tmp_path):
        cells = FrontierProof().cells(Job(0, False, tmp_path, tmp_path))
        assert {cell.stage for cell in cells if cell.arguments["kind"] == "real"} == {1}
        assert {cell.stage for cell in cells if cell.arguments["kind"] != "real"} == {0}

    def test_the_full_form_has_several_markets_and_keys_and_three_tunings(self, tmp_path):
        cells = [c.arguments for c in FrontierProof().cells(Job(0, False, None, tmp_path))]
        tilts = [given for given in cells if given["kind"] == "tilt"]
        assert len({given["sample"] for given in tilts}) == FULL.markets >= 3
        assert len({given["seed"] for given in tilts}) == FULL.markets * FULL.keys
        assert len([given for given in cells if given["kind"] == "tuned"]) >= 3


@pytest.mark.slow
def test_the_quick_form_holds_its_bars(tmp_path):
    folder = tmp_path / "x"
    outcome = run_experiment(
        "stairways.proof.frontier:FrontierProof",
        folder,
        seed=0,
        quick=True,
        bars=None,
        follower=Silent(),
        processes=1,
    )
    assert [bar.name for bar in outcome.findings.bars if not bar.passed] == []
    assert outcome.passed
    names = {path.name for path in folder.iterdir() if path.is_file()}
    assert {"results.json", "report.md", "frontier.csv", "planted.png", "without_edge.svg"} <= names
    rows = json.loads((folder / "results.json").read_text())["rows"]
    singles = [r for r in rows if r["level"] == "cell" and r["kind"] == "tilt" and r["arm"] == "tilt"]
    assert len(singles) == QUICK.markets * len(QUICK.points)
    assert all(r["source"].startswith("SYNTHETIC planted") for r in singles)


@pytest.mark.slow
@pytest.mark.shared_data
@needs_shared_data
def test_real_bars(tmp_path):
    job = Job(0, True, SHARED_DATA, tmp_path)
    cells = {cell.key: cell for cell in FrontierProof().cells(job)}
    results = [FrontierProof().run(cells[key], job) for key in ("gold-0", "real-0")]
    assert results[0]["over_holds"]
    rows = [row for row in results[1]["rows"] if row["arm"] == "tilt"]
    assert [row["n_sessions"] for row in rows] == [162] * len(QUICK.points)
    found = findings([*sound(), *results], QUICK, real_bars=True)
    assert bar(found, "real bars: costs").passed
    assert bar(found, "largest distance").passed
    assert bar(found, "5 minutes: net of 30").passed
