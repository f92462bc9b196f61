"""The readable environment: the checkers of its users, and its semantics by hand."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.utils.env_checker import check_env as gymnasium_check
from stable_baselines3.common.env_checker import check_env as sb3_check

from builders import random_sessions
from markets import observed, priced_market, random_market
from stairways.envs.gym_env import TradingEnv
from stairways.envs.reward import TERMS, RewardConfig
from stairways.errors import RangeError
from stairways.trading.actions import BUY, KEEP, SELL, action_id
from stairways.trading.rules import CostModel, TradingRules

FREE = TradingRules(costs=CostModel(commission_bps=0.0, half_spread_bps=0.0))
PLAIN = RewardConfig(kelly=0.0, downside=0.0)


@pytest.fixture
def registered():
    """Make the environment known under a name, so that the checkers can make their own copies."""
    name = "stairways-under-test/Trading-v0"
    gymnasium.register(name, entry_point=TradingEnv)
    yield name
    del gymnasium.registry[name]


@pytest.mark.parametrize("n_symbols", [2, 3])
def test_the_checkers_of_gymnasium_and_sb3_pass_without_a_warning(registered, n_symbols):
    market = observed(random_sessions(3, 5, n_symbols, 10, half_days=[2]))
    env = gymnasium.make(registered, market=market, disable_env_checker=True).unwrapped
    gymnasium_check(env)
    sb3_check(env, warn=True)
    assert env.observation_space.shape == (13 * n_symbols + 3,)
    assert env.action_space.n == 3**n_symbols


def test_every_observation_lies_in_its_space():
    market = observed(random_sessions(4, 6, 2, 10, half_days=[1]))
    env = TradingEnv(market)
    rng = np.random.default_rng(0)
    for session in range(6):
        seen, _ = env.reset(options={"session": session})
        ended = False
        while not ended:
            assert env.observation_space.contains(seen)
            seen, _, ended, truncated, _ = env.step(int(rng.integers(9)))
            assert not truncated
        assert env.observation_space.contains(seen)


def test_a_decision_fills_at_the_next_open_and_is_marked_at_the_next_close():
    close = np.array([[[100.0, 50.0], [103.0, 50.0], [104.0, 50.0]]])
    open_ = np.array([[[99.0, 50.0], [102.0, 50.0], [103.5, 50.0]]])
    env = TradingEnv(priced_market(open_, close), FREE, PLAIN)
    env.reset(options={"session": 0})
    seen, reward, ended, _, info = env.step(action_id((BUY, KEEP)))
    (fill,) = info["fills"]
    assert (fill.quantity, fill.price, fill.forced) == (1_500, 102.0, False)
    assert info["nav_usd"] == 1e6 + 1_500 * (103.0 - 102.0)
    assert reward == pytest.approx(15.0)
    assert not ended
    assert seen[12] == 1.0
    seen, reward, ended, _, info = env.step(action_id((KEEP, KEEP)))
    assert ended
    assert [fill.forced for fill in info["fills"]] == [True]
    assert info["nav_usd"] == 1e6 + 1_500 * (104.0 - 102.0)
    assert reward == pytest.approx(1e4 * (1_003_000 / 1_001_500 - 1))
    assert (seen[[12, 25]] == 0.0).all()
    assert (info["held"], info["orders"]) == (True, 1)


def test_a_session_has_one_decision_less_than_bars():
    env = TradingEnv(random_market(1, 3, half_days=[1]))
    for session, decisions in ((0, 38), (1, 20)):
        env.reset(options={"session": session})
        steps, ended = 0, False
        while not ended:
            ended = env.step(4)[2]
            steps += 1
        assert steps == decisions


def test_a_reset_with_keep_account_goes_on_and_any_other_starts_anew():
    env = TradingEnv(random_market(2, 2, interval_minutes=30))
    env.reset(options={"session": 0})
    ended = False
    while not ended:
        ended, info = env.step(8)[2::2]
    env.reset(options={"session": 1, "keep_account": True})
    assert env.account.cash_usd == info["nav_usd"] != 1e6
    env.reset(options={"session": 1})
    assert env.account.cash_usd == 1e6


def test_reward_terms_are_named_and_sum_to_the_reward():
    weights = RewardConfig(turnover=0.1, position_decay=2.0, size=3.0, action_change=0.5)
    env = TradingEnv(random_market(3, 1), reward=weights, hold_bonus_bps=0.2)
    env.reset(options={"session": 0})
    for action in (8, 4, 4, 0, 4):
        _, reward, _, _, info = env.step(action)
        assert tuple(info["reward_terms"]) == TERMS
        assert sum(info["reward_terms"].values()) == pytest.approx(reward, rel=1e-12)
        assert (info["reward_terms"]["hold_bonus"] == 0.2) == info["held"] == (action == 4)


def test_a_seed_draws_the_same_sessions():
    env = TradingEnv(random_market(4, 30, interval_minutes=30))
    drawn = [env.reset(seed=5 if i == 0 else None)[1]["date"] for i in range(20)]
    assert drawn == [env.reset(seed=5 if i == 0 else None)[1]["date"] for i in range(20)]
    assert len(set(drawn)) > 5


@pytest.mark.parametrize("session", [-1, 3])
def test_a_session_that_is_not_there_is_refused(session):
    with pytest.raises(RangeError, match=f"session {session} is not in 0..2"):
        TradingEnv(random_market(4, 3)).reset(options={"session": session})


def test_no_step_before_a_reset_nor_behind_a_session_s_end():
    """Behind a half day stand bars that do not exist: a step there would fill at NaN."""
    env = TradingEnv(random_market(4, 1, half_days=[0]))
    with pytest.raises(ResetNeeded):
        env.step(4)
    env.reset(options={"session": 0})
    for _ in range(20):
        env.step(8)
    with pytest.raises(ResetNeeded):
        env.step(8)
    env.reset()
    env.step(8)


@pytest.mark.parametrize("action", [-1, 9])
def test_unknown_actions_are_refused(action):
    env = TradingEnv(random_market(4, 1))
    env.reset()
    with pytest.raises(InvalidAction, match=f"action {action} is not in 0..8"):
        env.step(action)


def test_an_account_can_be_ruined_and_the_reward_stays_a_number():
    """A short position, and the price rises twentyfold: below zero, then nothing more to win or lose."""
    price = np.array([[[100.0, 50.0], [100.0, 50.0], [2_000.0, 50.0], [4_000.0, 50.0], [1_000.0, 50.0]]])
    env = TradingEnv(priced_market(price, price), FREE, RewardConfig(position_decay=1.0, size=1.0))
    env.reset()
    env.step(action_id((SELL, KEEP)))
    _, ruin, _, _, info = env.step(action_id((KEEP, KEEP)))
    assert info["nav_usd"] < 0.0
    assert np.isfinite(ruin)
    assert ruin < -1e4
    _, after, _, _, info = env.step(action_id((KEEP, BUY)))
    assert (after, info["fills"]) == (0.0, [])
