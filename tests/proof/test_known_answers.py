"""Known answers: the quick form holds, and the findings read their rows rightly."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats
from toys import Silent

from stairways.proof import known_runs
from stairways.proof.experiment import Job
from stairways.proof.known_answers import KnownAnswers
from stairways.proof.known_findings import _adds_words, _regime_words, _steps, concluded
from stairways.proof.known_findings import _bars as _bars_of
from stairways.proof.runner import run_experiment


def _judged(sharpe: float, net_bps: float) -> dict:
    return {
        "sharpe": sharpe,
        "sharpe_standard_error": 0.5,
        "net_bps": net_bps,
        "hold_rate_ratio": 0.55,
        "trades_per_session": 16.5,
        "n_sessions": 1000,
        "n_keys": 3,
    }


def _tuned(candidate: float, adds: tuple[float, float, float]) -> dict:
    difference = dict(zip(("low_bps", "bps", "high_bps"), adds, strict=True))
    difference |= {"standard_error_bps": 0.5}
    difference |= {f"equal_risk_{name}": difference[name] for name in ("low_bps", "bps", "high_bps")}
    return {
        "accepted": True,
        "cycle": 1,
        "candidate": _judged(candidate, 8.0),
        "gold": _judged(0.7, 1.0),
        "tilted": _judged(3.5, 6.0),
        "random": _judged(-1.0, -2.0),
        "oracle": _judged(7.0, 16.0),
        "tuning_adds": difference,
        "above_random": {
            **difference,
            "bps": 9.0,
            "low_bps": 7.0,
            "high_bps": 11.0,
            "standard_error_bps": 1.0,
        },
    }


def _bars(results: dict, tmp_path) -> dict:
    job = Job(0, False, None, tmp_path)
    return {bar.threshold: bar for bar in concluded(job, results).bars}


@pytest.mark.slow
@pytest.mark.parametrize("arm", ["ppo", "all_actions_own"])
def test_a_curve_is_followed_cycle_by_cycle(tmp_path, monkeypatch, arm):
    monkeypatch.setattr(known_runs, "LOOKS", {arm: (1,)})
    job = Job(0, True, None, tmp_path)
    found = known_runs.follow({"arm": arm, "seed": 3, "market": "planted"}, job)
    (point,) = found["points"]
    assert point["cycle"] == 1
    full = 6_000 if arm == "ppo" else point["sessions"] * 389
    assert 0.99 * full < point["steps"] <= full
    assert 0.0 < point["drift_ratio"] < 0.5
    assert point["candidate"]["n_sessions"] == found["tilted"]["n_sessions"]
    assert abs(point["candidate"]["hold_rate_ratio"] - 0.55) < 0.02
    adds = point["tuning_adds"]
    assert adds["low_bps"] < adds["bps"] < adds["high_bps"]


class TestBars:
    def test_the_share_is_the_mean_of_the_seeds(self, tmp_path):
        results = {f"tune-planted-shipped-{s}": _tuned(4.2 + 0.7 * s, (0.1, 1.0, 2.0)) for s in (0, 1)}
        bars = _bars(results, tmp_path)
        share = next(bar for name, bar in bars.items() if "65%" in name)
        assert share.observed == pytest.approx((4.2 + 4.9) / 2 / 7.0)
        assert share.passed == (share.observed >= 0.65)

    def test_fewer_seeds_than_asked_never_show_that_tuning_adds(self, tmp_path):
        few = {f"tune-planted-shipped-{s}": _tuned(5.0, (0.1, 1.0, 2.0)) for s in range(9)}
        assert not _bars(few, tmp_path)["at least 8 of 10"].passed
        ten = {f"tune-planted-shipped-{s}": _tuned(5.0, (0.1 if s < 8 else -1.0, 1.0, 2)) for s in range(10)}
        assert _bars(ten, tmp_path)["at least 8 of 10"].passed
        ten["tune-planted-shipped-0"] = _tuned(5.0, (0.0, 1.0, 2.0))
        assert not _bars(ten, tmp_path)["at least 8 of 10"].passed

    def test_other_golds_and_markets_do_not_count(self, tmp_path):
        results = {f"tune-planted-shipped-{s}": _tuned(5.0, (0.1, 1.0, 2.0)) for s in range(10)}
        results["tune-planted-hard-none-0"] = _tuned(0.1, (-9.0, -8.0, -7.0))
        results["tune-planted-gate-1"] = _tuned(0.1, (-9.0, -8.0, -7.0))
        bars = _bars(results, tmp_path)
        assert bars["at least 8 of 10"].observed == 10
        assert next(bar for name, bar in bars.items() if "65%" in name).observed == pytest.approx(5 / 7)


def _curve(adds: tuple[float, float, float]) -> dict:
    added = _tuned(4.0, adds)["tuning_adds"]
    point = {"cycle": 3, "steps": 300, "sessions": 2_000, "drift_ratio": 0.05}
    return {"points": [{**point, "candidate": _judged(4.0, 8.0), "tuning_adds": added}]}


def test_a_market_new_to_gold_has_a_bar_of_its_own(tmp_path):
    tunes = {f"tune-planted-shipped-{s}": _tuned(5.0, (-1.0, 0.0, 1.0)) for s in range(10)}
    name = "at least 8 of 10, gold under the tilt of the same market"
    for count, passed in ((8, True), (7, False)):
        curves = {
            f"curve-all_actions_fresh-{s}": _curve((0.1 if s < count else -0.1, 1.0, 2.0)) for s in range(10)
        }
        bar = _bars({**tunes, **curves}, tmp_path)[name]
        assert (bar.observed, bar.passed) == (count, passed)
    nine = {key: curve for key, curve in curves.items() if not key.endswith("9")}
    assert not _bars({**tunes, **nine}, tmp_path)[name].passed
    assert _bars(tunes, tmp_path)[name].observed is None


def test_nothing_tuned_holds_no_bar():
    assert not any(bar.passed for bar in _bars_of([], []))
    assert {bar.observed for bar in _bars_of([], [])} == {None}


def test_intervals_over_seeds_are_student_s():
    adds = [0.4, 1.9, -0.3]
    curves = [
        {
            "arm": "ppo",
            "steps": 6_000,
            "sessions": 100,
            "adds_bps": value,
            "adds_low_bps": value - 1.0,
            "adds_high_bps": value + 1.0,
            "adds_equal_risk_bps": value,
            "adds_equal_risk_low_bps": value - 1.0,
            "sharpe": 1.0,
            "drift_ratio": 0.1,
        }
        for value in adds
    ]
    [row] = _steps(curves)
    expected = stats.t.interval(0.95, 2, loc=np.mean(adds), scale=stats.sem(adds))
    assert (row["low_bps"], row["high_bps"]) == pytest.approx(expected)
    [single] = _steps(curves[:1])
    assert (single["low_bps"], single["high_bps"]) == (None, None)


def _sample(adds):
    return [{"tuning_adds_bps": a, "tuning_adds_low_bps": a - 1, "tuning_adds_high_bps": a + 1} for a in adds]


def test_what_tuning_adds_is_said_as_it_was_measured():
    assert "which holds 0; by its own interval it is above 0 in 1 of them, below 0 in 1" in _adds_words(
        _sample([2.0, -2.0, 0.5])
    )
    assert "which does not hold 0" in _adds_words(_sample([2.0, 2.1, 2.2]))


def _golds(**sharpes):
    return [
        {"market": "planted", "regime": regime, "learned_sharpe": value, "tilted_sharpe": value}
        for regime, values in sharpes.items()
        for value in values
    ]


def test_ways_of_regime_inputs_are_held_against_the_seeds():
    close = _regime_words(_golds(none=[3.0, 3.6], gate=[3.2, 3.5], gate_gradient=[3.1]))
    assert "lie 0.25 apart, no more than the 0.60 by which" in close
    assert "difference to none, -0.20, is what the noise" in close
    far = _regime_words(_golds(none=[3.0, 3.1], gate=[4.2, 4.3]))
    assert "lie 1.20 apart, more than the 0.10" in far
    assert "gradient" not in far
    assert _regime_words([]).startswith("No gold was trained")


def test_the_words_of_the_full_form_take_their_figures_from_the_code(tmp_path):
    tunes = {f"tune-planted-shipped-{s}": _tuned(5.0, (0.1, 1.0 + 0.1 * s, 2.0)) for s in range(3)}
    findings = concluded(Job(0, False, None, tmp_path), {**tunes, "curve-ppo-0": _curve((0.1, 1.0, 2.0))})
    words = " ".join(findings.text.split())
    assert "33,280 steps in rollouts of 256 x 130 with 10 passes" in words
    assert "No gold was trained" in words
    names = [bar.name for bar in findings.bars]
    assert "seeds in which tuning adds, interval above 0, within 8 cycles" in names


def test_cells_of_the_full_form_follow_their_golds(tmp_path):
    cells = KnownAnswers().cells(Job(3, False, None, tmp_path))
    trained = {cell.key for cell in cells if cell.stage == 0}
    needed = {cell.arguments["gold"] for cell in cells if cell.arguments.get("gold")}
    assert needed <= trained
    assert {cell.arguments["kind"] for cell in cells} == {"gold", "tune", "curve"}


@pytest.mark.slow
def test_the_quick_form_holds_its_bars(tmp_path):
    outcome = run_experiment(
        "stairways.proof.known_answers:KnownAnswers",
        tmp_path / "known",
        seed=0,
        quick=True,
        bars=None,
        follower=Silent(),
        processes=1,
    )
    assert outcome.passed, [bar.as_record() for bar in outcome.findings.bars]
    content = json.loads((tmp_path / "known" / "results.json").read_text())
    assert content["rows"][0]["candidate_share_ratio"] > 0
    assert (tmp_path / "known" / "shares.csv").is_file()
