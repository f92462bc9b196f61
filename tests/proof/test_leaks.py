"""The leak experiment: small leaks, their moments counted, the quick form whole."""

from __future__ import annotations

import json
from itertools import combinations

import numpy as np
import pytest
from toys import Silent

from builders import random_sessions
from markets import SHORT_REGIME, random_program
from stairways.evaluation.leak import ProductPipeline
from stairways.market.features import FeatureConstants, compute_features
from stairways.proof.experiment import Job
from stairways.proof.leak_trials import LEFT_OUT, ground, without
from stairways.proof.leaks import SAME_BAR, Leaks, _fill_words, _is_named, power
from stairways.proof.planted_leaks import PLANTED, CentredWindow, FullHistoryScaler, SameBarFill
from stairways.proof.runner import run_experiment
from stairways.trading.rules import TradingRules

PART = slice(4, 10)


def traces(kind, **more):
    sessions = random_sessions(3, 10, 2, 10, half_days=[6])
    raw = compute_features(sessions, SHORT_REGIME)
    constants = FeatureConstants.fit(raw, sessions, slice(0, 4))
    arguments = {
        "constants": constants,
        "regime": SHORT_REGIME,
        "policy": random_program(11, regime="gate"),
        "rules": TradingRules(),
    }
    return sessions, ProductPipeline(**arguments)(sessions, PART), kind(**arguments, **more)(sessions, PART)


class TestPlantedLeaks:
    def test_a_centred_window_moves_one_column_of_the_last_symbol_and_no_first_or_last_bar(self):
        sessions, clean, leaky = traces(CentredWindow)
        moved = clean.market.rows != leaky.market.rows
        assert set(np.flatnonzero(moved.any(axis=(0, 1)))) == {13 + 3}
        assert not moved[:, 0].any()
        assert not moved[np.arange(10), sessions.n_bars - 1].any()
        assert moved[:, 5:20, 16].mean() > 0.9

    def test_its_value_holds_a_quarter_of_the_next_bar(self):
        sessions, _, _ = traces(CentredWindow)
        raw = compute_features(sessions, SHORT_REGIME)
        constants = FeatureConstants.fit(raw, sessions, slice(0, 4))
        leaky = CentredWindow(constants, SHORT_REGIME, random_program(11), TradingRules()).raw(sessions)
        honest = raw.values[:, :, 1, 3]
        expected = 0.25 * honest[2, 6] + 0.5 * honest[2, 7] + 0.25 * honest[2, 8]
        assert leaky.values[2, 7, 1, 3] == pytest.approx(expected, rel=1e-12)

    def test_a_full_history_scaler_uses_the_deviation_of_all_bars(self):
        sessions, clean, leaky = traces(FullHistoryScaler)
        raw = compute_features(sessions, SHORT_REGIME)
        inside = np.arange(sessions.max_bars) < sessions.n_bars[:, None]
        every = raw.values[:, :, 0, 4][inside]
        value = (raw.values[5, 20, 0, 4] - every.mean()) / every.std()
        assert leaky.market.rows[5, 20, 4] == pytest.approx(value, rel=1e-5)
        assert leaky.market.rows[5, 20, 4] != clean.market.rows[5, 20, 4]

    def test_a_same_bar_fill_moves_no_observation_and_is_made_from_the_close_before(self):
        sessions, clean, leaky = traces(SameBarFill)
        np.testing.assert_array_equal(clean.market.rows, leaky.market.rows)
        assert leaky.replay.digest != clean.replay.digest
        fills = leaky.replay.fills[:, 1:, 1]
        closes = sessions.close[PART, :-1, 1]
        filled = fills[..., 0] != 0.0
        ratio = fills[filled][:, 1] / closes[filled]
        np.testing.assert_allclose(np.abs(ratio - 1.0), 0.75e-4, rtol=1e-6)

    @pytest.mark.parametrize("kind", PLANTED.values())
    def test_a_rare_leak_acts_in_some_sessions_and_an_absent_one_in_none(self, kind):
        _, clean, never = traces(kind, share=0.0)
        assert clean.market.rows.tobytes() == never.market.rows.tobytes()
        assert clean.replay.digest == never.replay.digest
        dates = np.arange("2012-01-02", "2020-01-02", dtype="datetime64[D]")
        _, _, trace = traces(kind, share=1.0)
        assert trace.replay.digest != clean.replay.digest
        pipeline = kind(None, SHORT_REGIME, None, TradingRules(), share=0.2)
        assert pipeline.acts(dates).mean() == pytest.approx(0.2, abs=0.03)


class TestMarkets:
    def test_sessions_taken_out_leave_breaks(self):
        sessions = random_sessions(1, 12, 2, 10, segments=[8])
        left = without(sessions, (3, 4, 10))
        assert left.segment.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 3]
        np.testing.assert_array_equal(left.close[3], sessions.close[5])
        assert left.dates[-1] == sessions.dates[11]

    def test_the_planted_market_has_half_days_and_breaks_where_moments_are_drawn(self, tmp_path):
        market = ground("planted 5 min, 2 symbols", Job(0, True, None, tmp_path))
        chosen = market.sessions.select(market.allowed)
        assert (chosen.n_bars < chosen.max_bars).sum() == 2
        assert len(np.unique(chosen.segment)) == 3
        assert len(market.sessions) == 170 - len(LEFT_OUT)


class TestPower:
    def test_by_counting_every_draw(self):
        shown = {0, 1, 2}
        draws = list(combinations(range(9), 4))
        assert power(9, 3, 4) == pytest.approx(sum(bool(shown & set(draw)) for draw in draws) / len(draws))

    def test_edges(self):
        assert power(10, 0, 10) == 0.0
        assert power(10, 10, 1) == 1.0
        assert power(10, 4, 100) == 1.0


@pytest.mark.parametrize(
    ("leak", "what", "named"),
    [
        ("centred window", "BBB.realised_volatility_20", True),
        ("centred window", "decision", False),
        ("full-history scaler", "AAA.return_1", True),
        ("full-history scaler", "regime.score", False),
        ("same-bar fill", "fill BBB", True),
        ("same-bar fill", "nav", False),
    ],
)
def test_only_the_thing_planted_counts_as_named(leak, what, named):
    assert _is_named(leak, what, ("AAA", "BBB")) is named


def test_bars_fail_where_nothing_was_run(tmp_path):
    findings = Leaks().conclude(Job(0, True, None, tmp_path), {})
    assert findings.bars
    assert not any(bar.passed for bar in findings.bars)


class TestWords:
    def test_what_shows_a_fill_on_its_own_bar_is_said_as_it_was_counted(self):
        effects = [{"leak": SAME_BAR, "net_change_bps": change} for change in (-0.5, 0.25)]
        moments = {"leak": SAME_BAR, "n_cuts": 60, "shown_truncated": 1, "shown_perturbed": 44}
        words = _fill_words([moments], effects)
        assert "by 0.500 bp a session at most" in words
        assert "at 1 of 60 moments, changing it at 44: it shows best where" in words
        worse = {**moments, "shown_truncated": 44}
        assert "shows it no more often" in _fill_words([worse], effects)
        assert _fill_words([], effects) == ""

    def test_how_bars_are_changed_comes_from_the_code_that_changes_them(self, tmp_path):
        text = " ".join(Leaks().conclude(Job(0, True, None, tmp_path), {}).text.split())
        assert "by up to 16% at once and 2% a bar, volumes by a factor of 2.7" in text
        assert "50% of the moments lie inside" in text


@pytest.mark.slow
def test_the_quick_form_holds_and_its_folder_is_whole(tmp_path):
    outcome = run_experiment(
        "stairways.proof.leaks:Leaks",
        tmp_path / "leaks",
        seed=0,
        quick=True,
        bars=None,
        follower=Silent(),
        processes=1,
    )
    assert [bar.name for bar in outcome.findings.bars if not bar.passed] == []
    results = json.loads((outcome.folder / "results.json").read_text(encoding="utf-8"))
    assert {row["what"] for row in results["rows"]} == {"clean", "planted", "moments", "effect", "artifact"}
    for name in ("planted.csv", "clean.md", "moments.png", "moments.svg", "report.md", "command.txt"):
        assert (outcome.folder / name).stat().st_size > 100 or name == "command.txt"
