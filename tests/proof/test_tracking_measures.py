"""Measures of tracking: by hand, and against plain numpy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ledgers import make_ledger
from markets import random_market, random_program
from stairways.control.setpoints import SetPoints, target_hold_rate
from stairways.evaluation.baselines import uniform
from stairways.evaluation.replay import replay
from stairways.proof.tracking_measures import (
    Resamples,
    block_errors,
    decision_targets,
    figures,
    followed_share,
    mean_sharpe,
    percentile_difference,
)
from stairways.trading.actions import hold_action
from stairways.trading.rules import TradingRules
from stairways.trading.sharpe import annual_sharpe


class TestBlocks:
    def test_by_hand(self):
        """Two blocks of two sessions: 400 of 778 held and 30 orders; 600 of 778 and 40; a fifth is left."""
        ledger = make_ledger(
            n=5, holds=[150, 250, 300, 300, 0], trades=[10, 20, 20, 20, 99], decisions=[389] * 5
        )
        hold, trades = block_errors(ledger, SetPoints(), 389, 2)
        assert hold == pytest.approx([400 / 778 - 0.55, 600 / 778 - 0.55])
        assert trades == pytest.approx([15 - 16.5, 20 - 16.5])

    def test_half_days_get_their_share_of_the_trades(self):
        """389 and 209 decisions: 16.5 x 598 / 389 orders are wanted in both together."""
        ledger = make_ledger(n=2, holds=[200, 100], trades=[16, 9], decisions=[389, 209])
        hold, trades = block_errors(ledger, SetPoints(), 389, 2)
        assert hold == pytest.approx([300 / 598 - 0.55])
        assert trades == pytest.approx([(25 - 16.5 * 598 / 389) / 2])


def test_targets_of_decisions():
    market = random_market(2, 5, half_days=(3,))
    points = SetPoints(hold_mode="regime", regime_slope_ratio=-0.15).numbers(market.full_session_decisions)
    found = decision_targets(market.score, market.n_bars, points)
    for session, n_bars in enumerate(market.n_bars):
        scores = market.score[session, : n_bars - 1]
        assert found[session, : n_bars - 1].tolist() == [target_hold_rate(points, x) for x in scores]
        assert found[session, : n_bars - 1] == pytest.approx(np.clip(0.55 - 0.15 * scores, 0.25, 0.85))
        assert np.isnan(found[session, n_bars - 1 :]).all()


def test_what_is_followed_is_the_slope_of_a_regression():
    """Holds drawn from half of the target's movement: one half, and what polyfit says to the digit."""
    market = random_market(6, 300, interval_minutes=5)
    points = SetPoints(hold_mode="regime", regime_slope_ratio=0.15).numbers(market.full_session_decisions)
    targets = decision_targets(market.score, market.n_bars, points)
    rng = np.random.default_rng(3)
    holds = rng.random(targets.shape) < 0.5 * targets + 0.2
    actions = np.where(np.isnan(targets), -1, np.where(holds, hold_action(2), 0)).astype(np.int8)
    run = replace(replay(market, uniform(2), TradingRules()), actions=actions)
    found = followed_share(run, targets)
    decided = actions >= 0
    assert found == pytest.approx(np.polyfit(targets[decided], holds[decided], 1)[0], abs=1e-9)
    assert found == pytest.approx(0.5, abs=3 * 0.5 / np.sqrt(decided.sum() * targets[decided].var()))


def test_figures_are_those_of_the_ledgers():
    market = random_market(4, 24)
    runs = [replay(market, random_program(3), TradingRules(), run_seed=key) for key in (1, 2)]
    moving = SetPoints(hold_mode="regime", regime_slope_ratio=0.15)
    found = figures(runs, SetPoints(), {"up": moving}, 10)
    ledgers = [run.ledger for run in runs]
    assert np.array(found["returns"]) == pytest.approx(
        np.array([ledger.returns_ratio for ledger in ledgers]), abs=1e-9
    )
    assert len(found["hold_errors"]) == len(found["trades_errors"]) == 4
    rates = np.array([ledger.holds / ledger.decisions for ledger in ledgers])
    assert found["hold"] == pytest.approx(rates.mean())
    assert found["hold_scatter"] == pytest.approx(np.mean([rate.std(ddof=1) for rate in rates]))
    assert found["trades"] == pytest.approx(np.mean([ledger.trades.mean() for ledger in ledgers]))
    targets = decision_targets(market.score, market.n_bars, moving.numbers(market.full_session_decisions))
    assert found["session_errors"] == {"up": pytest.approx(np.abs(rates - np.nanmean(targets, 1)).mean())}
    assert found["followed"] == {"up": pytest.approx(np.mean([followed_share(r, targets) for r in runs]))}


class TestDifferences:
    rng = np.random.default_rng(8)
    returns = rng.normal(3e-4, 4e-3, (3, 400))

    def test_the_sharpe_ratio_is_that_of_one_account(self):
        single = [annual_sharpe(series) for series in self.returns]
        assert mean_sharpe(self.returns) == pytest.approx(np.mean(single))

    def test_resamples_equal_plain_numpy(self):
        resamples = Resamples.draw(400, 3.0, 50, np.random.SeedSequence(1))
        sharpes, means = resamples.sharpes(self.returns), resamples.means_bps(self.returns)
        for row in (0, 17, 49):
            drawn = self.returns[:, resamples.indices[row]]
            assert sharpes[row] == pytest.approx(mean_sharpe(drawn))
            assert means[row] == pytest.approx(1e4 * drawn.mean())

    def test_an_equal_policy_differs_by_nothing(self):
        sharpes = Resamples.draw(400, 1.0, 200, np.random.SeedSequence(1)).sharpes(self.returns)
        found = percentile_difference(0.0, sharpes, sharpes)
        assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)

    def test_the_interval_covers_a_known_difference(self):
        """Two policies of Sharpe 1 and 0 on 400 sessions, drawn 150 times: 95 % less three errors."""
        covered = 0
        for seed in range(150):
            rng = np.random.default_rng(1_000 + seed)
            shared, own = rng.normal(0, 4e-3, (1, 400)), rng.normal(0, 2e-3, (2, 400))
            first, second = shared + own[:1], shared + own[1:]
            deviation = np.hypot(4e-3, 2e-3)
            first = first + deviation / np.sqrt(252)
            drawn = Resamples.draw(400, 1.0, 300, np.random.SeedSequence(seed))
            value = mean_sharpe(first) - mean_sharpe(second)
            found = percentile_difference(value, drawn.sharpes(first), drawn.sharpes(second))
            covered += found.low <= 1.0 <= found.high
        assert covered / 150 >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / 150)
