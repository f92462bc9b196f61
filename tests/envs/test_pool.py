"""The pool: sessions drawn evenly, snapshots that go on exactly, inputs refused."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from markets import random_market
from stairways.envs.pool import EPISODE_HOLDS, EPISODE_RETURN, EPISODE_TRADES, SessionPool
from stairways.envs.reward import TERMS, RewardConfig
from stairways.errors import ConfigError
from stairways.trading.rules import CostModel, TradingRules

MARKET = random_market(1, 7, 2, 30, half_days=[3])


def _pool(market=MARKET, *, n_envs=6, seed=1, rules=None, reward=None, staggered=False) -> SessionPool:
    return SessionPool(
        market,
        rules or TradingRules(),
        reward or RewardConfig(),
        n_envs=n_envs,
        seed=np.random.SeedSequence(seed),
        staggered=staggered,
    )


def _actions(n_steps, n_envs, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 9, (n_steps, n_envs))


def test_sessions_are_drawn_evenly_and_streams_differ():
    pool = _pool(n_envs=50)
    seen = [pool.state.session.copy()]
    for _ in range(100):
        pool.reset()
        seen.append(pool.state.session.copy())
    drawn = np.array(seen)
    assert stats.chisquare(np.bincount(drawn.ravel(), minlength=7)).pvalue > 1e-3
    assert len({tuple(column) for column in drawn.T}) == 50


def test_the_same_seed_walks_the_same_way():
    first, second, third = _pool(seed=1), _pool(seed=1), _pool(seed=2)
    rewards = [[pool.step(row).rewards.copy() for row in _actions(80, 6)] for pool in (first, second, third)]
    assert np.array(rewards[0]).tobytes() == np.array(rewards[1]).tobytes()
    assert np.array(rewards[0]).tobytes() != np.array(rewards[2]).tobytes()


def test_a_snapshot_goes_on_as_if_nothing_had_been():
    walked = _pool(staggered=True)
    for row in _actions(37, 6):
        walked.step(row)
    saved = walked.snapshot()
    rest = _actions(60, 6, seed=9)
    expected = [(o.observations.copy(), o.rewards.copy(), o.nav.copy()) for o in map(walked.step, rest)]
    restored = _pool(seed=77)
    restored.restore(saved)
    np.testing.assert_array_equal(restored.observe(), _resumed_observation(saved, restored))
    for row, (observations, rewards, nav) in zip(rest, expected, strict=True):
        out = restored.step(row)
        assert out.observations.tobytes() == observations.tobytes()
        assert out.rewards.tobytes() == rewards.tobytes()
        assert out.nav.tobytes() == nav.tobytes()
    assert restored.reward_shares() == walked.reward_shares()


def _resumed_observation(saved, pool) -> np.ndarray:
    rows = pool.market.rows[saved["session"], saved["bar"]].copy()
    rows[:, [12, 25]] = saved["units"]
    return rows


def test_a_snapshot_is_a_copy():
    pool = _pool()
    saved = pool.snapshot()
    before = {name: value.copy() for name, value in saved.items()}
    for row in _actions(30, 6):
        pool.step(row)
    for name, value in saved.items():
        np.testing.assert_array_equal(value, before[name])


def test_a_snapshot_of_another_shape_is_refused():
    saved = _pool(n_envs=5).snapshot()
    with pytest.raises(ConfigError, match="snapshot does not fit: session"):
        _pool(n_envs=6).restore(saved)
    del saved["stream"]
    with pytest.raises(ConfigError, match="stream"):
        _pool(n_envs=5).restore(saved)


def test_episodes_are_totals_of_their_session():
    pool = _pool(n_envs=3)
    sums = np.zeros((3, 3))
    ended = 0
    for row in _actions(60, 3):
        out = pool.step(row)
        sums += np.column_stack([out.rewards, out.orders, out.held])
        for account in np.flatnonzero(out.done):
            result = out.episodes[account]
            np.testing.assert_allclose(result[[0, EPISODE_TRADES, EPISODE_HOLDS]], sums[account], rtol=1e-12)
            assert result[EPISODE_RETURN] == out.nav[account] / 1e6 - 1.0
            assert out.ended[account] >= 0
            sums[account] = 0.0
            ended += 1
        assert (out.ended[~out.done] == -1).all()
    assert ended >= 12


def test_staggered_accounts_start_all_over_the_session_and_with_a_decision_left():
    pool = _pool(n_envs=40, staggered=True)
    left = pool.market.n_bars[pool.state.session] - 1 - pool.state.bar
    assert left.min() >= 1
    assert len(set(pool.state.bar.tolist())) > 8
    assert (_pool(n_envs=40).state.bar == 0).all()


def test_one_account_does_not_disturb_another():
    """An account's way depends on its own actions alone."""
    first, second = _pool(n_envs=4), _pool(n_envs=4)
    actions = _actions(50, 4)
    changed = actions.copy()
    changed[:, 1:] = _actions(50, 3, seed=8)
    for left, right in zip(actions, changed, strict=True):
        one, other = first.step(left), second.step(right)
        assert one.rewards[0] == other.rewards[0]
        assert one.nav[0] == other.nav[0]
        assert one.observations[0].tobytes() == other.observations[0].tobytes()


def test_costs_can_be_scaled_away():
    rules = TradingRules(costs=CostModel(commission_bps=5, half_spread_bps=5, impact_bps=5, ticket_usd=5))
    free = TradingRules(costs=CostModel(commission_bps=0, half_spread_bps=0))
    scaled, unpaid = _pool(rules=rules), _pool(rules=free)
    scaled.cost_scale = 0.0
    for row in _actions(30, 6):
        assert scaled.step(row).nav.tobytes() == unpaid.step(row).nav.tobytes()


def test_reward_shares_sum_to_one():
    pool = _pool(reward=RewardConfig(turnover=0.1, action_change=0.2))
    assert set(pool.reward_shares().values()) == {0.0}
    pool.hold_bonus_bps = 0.3
    for row in _actions(30, 6):
        pool.step(row)
    shares = pool.reward_shares()
    assert tuple(shares) == TERMS
    assert sum(shares.values()) == pytest.approx(1.0)
    assert shares["size"] == 0.0
    assert min(shares[name] for name in ("nav", "turnover", "action_change", "hold_bonus")) > 0.0


def test_scores_and_positions_are_those_of_the_decision():
    pool = _pool()
    for row in _actions(40, 6):
        scores, positions = pool.scores(), pool.position_index()
        for account in range(6):
            s, b = pool.state.session[account], pool.state.bar[account]
            assert scores[account] == MARKET.score[s, b]
            first, second = pool.state.units[account].tolist()
            assert positions[account] == 3 * (first + 1) + second + 1
        pool.step(row)


def test_bad_input_is_refused():
    with pytest.raises(ConfigError, match="n_envs is 0"):
        _pool(n_envs=0)
    pool = _pool(n_envs=3)
    with pytest.raises(ConfigError, match=r"shape \(4,\) for a pool of 3"):
        pool.step(np.full(4, 4))
    for wrong in (-1, 9):
        with pytest.raises(ConfigError, match=f"action {wrong} of account 1"):
            pool.step(np.array([4, wrong, 4]))
