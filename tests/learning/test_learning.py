"""The trainer learns a market whose best result is known, with and without memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from learning_builders import best_return_ratio, drifting_market, trainer_of

from stairways.learning.ppo_config import PPOConfig
from stairways.learning.schedules import Ramp
from stairways.policies.spec import PolicySpec
from stairways.trading.observation import ObservedMarket

MLP = PolicySpec(kind="mlp", regime="none", hidden=(32, 32))
LSTM = PolicySpec(kind="lstm", regime="none", lstm_hidden=32, hidden=(32,))


def learnt_share(spec: PolicySpec, market: ObservedMarket, rollouts: int, **more: Any) -> float:
    """Return what the last quarter of training earned per session, as a share of the best possible."""
    config = PPOConfig(
        n_envs=64,
        n_steps=market.full_session_decisions,
        minibatch=400,
        epochs=8,
        gamma=0.9,
        learning_rate=Ramp(start=3e-3, end=3e-4, begin=0.4),
        entropy=Ramp(start=0.01, end=0.0),
        reward_scale=0.3,
        **more,
    )
    reports = trainer_of(spec, market, config, staggered=False).train(rollouts * config.rollout_steps)
    late = reports[-(rollouts // 4) :]
    earned = np.mean([episode.return_ratio for report in late for episode in report.episodes])
    return float(earned) / best_return_ratio(market)


def test_the_best_possible_is_what_a_hand_counts() -> None:
    """0.15 of NAV rides 25 bars of 20 bp; where the ways differ, turning round costs one bar of them."""
    market = drifting_market(1, shown_bars=26)
    halves = (0.15 * 20 * 25, 0.15 * 20 * 24)
    assert best_return_ratio(market) * 1e4 == pytest.approx(np.mean(halves), rel=0.02)


@pytest.mark.parametrize("accumulation", [1, 3])
def test_a_feed_forward_policy_learns_what_it_is_shown(accumulation: int) -> None:
    market = drifting_market(1, shown_bars=26)
    assert learnt_share(MLP, market, 24, gradient_accumulation=accumulation) > 0.9


@pytest.mark.parametrize("critic_lstm", ["own", "shared"])
def test_a_recurrent_policy_learns_what_it_has_to_remember(critic_lstm: str) -> None:
    """Both ways are shown at the first bar only; the position can stand for the first, not the second."""
    market = drifting_market(1, shown_bars=1)
    spec = LSTM.model_copy(update={"critic_lstm": critic_lstm})
    assert learnt_share(spec, market, 32) > 0.9


def test_without_memory_the_second_way_stays_unknown() -> None:
    assert learnt_share(MLP, drifting_market(1, shown_bars=1), 32) < 0.7
