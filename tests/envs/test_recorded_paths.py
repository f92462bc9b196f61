"""Every action from every position: beside the readable environment, a search of all sequences, and sums."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from markets import random_market, trading_rules
from stairways.envs.gym_env import TradingEnv
from stairways.envs.recorded_paths import PathSteps, RecordedPaths, path_values
from stairways.envs.reward import RewardConfig
from stairways.trading.actions import leg_table
from stairways.trading.rules import TradingRules

REWARD = RewardConfig(nav=1.1, kelly=0.9, downside=0.05, turnover=0.3, position_decay=0.7, size=40.0)


def probabilities(steps: PathSteps, seed: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).dirichlet(np.ones(steps.rewards.shape[-1]), steps.rewards.shape[:3])
    return drawn.astype(np.float32)


@settings(deadline=None, max_examples=25)
@given(
    market=st.builds(
        random_market,
        st.integers(0, 5_000),
        st.integers(2, 3),
        st.sampled_from([2, 3]),
        st.sampled_from([30]),
        half_days=st.sampled_from([[], [1]]),
    ),
    rules=trading_rules(),
    seed=st.integers(0, 10_000),
)
def test_a_step_is_the_readable_environment_s(market, rules, seed):
    """An account that holds a position of a fresh size, and then each of some actions."""
    rng = np.random.default_rng(seed)
    paths = RecordedPaths(market, rules, REWARD)
    sessions = np.arange(len(market))
    steps = paths.steps(sessions)
    legs = leg_table(market.n_symbols)
    env = TradingEnv(market, rules, REWARD)
    for _ in range(30):
        session = int(rng.integers(len(market)))
        bar = int(rng.integers(market.n_bars[session] - 1))
        position, action = (int(rng.integers(len(legs))) for _ in range(2))
        closes = market.close[session, bar]
        shares = legs[position] * np.floor(rules.unit_fraction * rules.initial_nav_usd / closes)
        forbidden = rules.long_only and (legs[position] < 0).any()
        if forbidden or (shares[legs[position] != 0] == 0).any():
            continue
        env.reset(options={"session": session})
        env.bar = bar
        env.account.shares = [int(count) for count in shares]
        env.account.units = legs[position].tolist()
        env.account.cash_usd = rules.initial_nav_usd - float(shares @ closes)
        _, reward, _, _, info = env.step(action)
        place = (session, bar, position, action)
        assert steps.rewards[place] == pytest.approx(reward, rel=1e-5, abs=1e-5)
        assert steps.orders[place] == info["orders"]
        assert legs[steps.after[place]].tolist() == env.account.units


def test_what_is_kept_and_what_is_computed_anew_are_the_same():
    market = random_market(3, 6, half_days=(2, 4))
    rules = TradingRules()
    kept, anew = RecordedPaths(market, rules, REWARD), RecordedPaths(market, rules, REWARD, most_bytes=0)
    for sessions in ([2], [4, 0], [0, 1, 2, 3, 4, 5], [5, 5, 2]):
        chosen = np.asarray(sessions)
        for first, second in zip(kept.steps(chosen), anew.steps(chosen), strict=True):
            np.testing.assert_array_equal(first, second)


def test_expected_terms_are_those_of_the_rewards():
    """With the weights of the NAV change alone, where the account never loses, the sum is the reward's."""
    market = random_market(4, 3, half_days=(1,))
    paths = RecordedPaths(market, TradingRules(), RewardConfig(nav=2.0, kelly=0.0, downside=0.0))
    sessions = np.arange(3)
    steps = paths.steps(sessions)
    weights = probabilities(steps, 1)
    behind = np.arange(weights.shape[1]) >= steps.n_decisions[:, None]
    weights[behind] = 0.0
    terms = paths.expected_terms(sessions, weights)
    assert terms[0] == pytest.approx(float((weights * np.abs(steps.rewards)).sum()), rel=1e-5)
    assert (terms[1:] == 0.0).all()


@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_values_are_those_of_every_sequence(gamma):
    """All 729 sequences of three actions, one after the other, each with its probability."""
    market = random_market(5, 1, interval_minutes=78)
    steps = RecordedPaths(market, TradingRules(), REWARD).steps(np.array([0]))
    steps = PathSteps(*(part[:, :3] for part in steps[:3]), np.array([3]))
    policy = probabilities(steps, 2)
    found = path_values(steps, policy, gamma)
    for start in (0, 4, 7):
        expected = 0.0
        for sequence in product(range(9), repeat=3):
            chance, earned, position = 1.0, 0.0, start
            for t, action in enumerate(sequence):
                earned += gamma**t * float(steps.rewards[0, t, position, action])
                chance *= float(policy[0, t, position, action])
                position = int(steps.after[0, t, position, action])
            expected += chance * earned
        assert found.values[0, 0, start] == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_advantages_have_no_mean_and_positions_a_probability_of_one():
    market = random_market(6, 4, half_days=(1,))
    steps = RecordedPaths(market, TradingRules(), REWARD).steps(np.arange(4))
    policy = probabilities(steps, 3)
    found = path_values(steps, policy, 0.97)
    there = np.arange(policy.shape[1]) < steps.n_decisions[:, None]
    np.testing.assert_allclose((policy * found.advantages).sum(-1), 0.0, atol=1e-3)
    np.testing.assert_allclose(found.occupancy.sum(-1)[there], 1.0, atol=1e-4)
    for part in (found.values, found.advantages, found.occupancy):
        assert (part[~there] == 0.0).all()


def test_occupancy_is_the_share_of_accounts_that_get_there():
    market = random_market(7, 1, interval_minutes=30)
    steps = RecordedPaths(market, TradingRules(), REWARD).steps(np.array([0]))
    policy = probabilities(steps, 4)
    found = path_values(steps, policy, 1.0)
    rng = np.random.default_rng(5)
    n, position = 20_000, np.full(20_000, 4)
    for t in range(int(steps.n_decisions[0])):
        shares = np.bincount(position, minlength=9) / n
        error = np.sqrt(np.maximum(found.occupancy[0, t] * (1 - found.occupancy[0, t]), 1e-9) / n)
        assert (np.abs(shares - found.occupancy[0, t]) <= 5 * error + 1e-4).all()
        drawn = (rng.random((n, 1)) > policy[0, t, position].cumsum(1)).sum(1).clip(0, 8)
        position = steps.after[0, t, position, drawn].astype(int)
