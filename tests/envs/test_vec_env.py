"""The pool behind SB3's interface: its contract, and SB3's own PPO learning on it."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecMonitor, VecNormalize

from markets import random_market
from stairways.envs.pool import SessionPool
from stairways.envs.reward import RewardConfig
from stairways.envs.vec_env import PoolVecEnv
from stairways.errors import ConfigError
from stairways.trading.rules import TradingRules


def _environment(n_envs=4, *, n_symbols=2, staggered=False) -> PoolVecEnv:
    market = random_market(1, 6, n_symbols, 30, half_days=[2])
    seed = np.random.SeedSequence(3)
    pool = SessionPool(market, TradingRules(), RewardConfig(), n_envs=n_envs, seed=seed, staggered=staggered)
    return PoolVecEnv(pool)


@pytest.mark.parametrize("n_symbols", [2, 3])
def test_steps_obey_the_contract(n_symbols):
    env = _environment(n_symbols=n_symbols)
    market = env.pool.market
    rng = np.random.default_rng(0)
    observations = env.reset()
    lengths, totals = np.zeros(4, int), np.zeros(4)
    finished = 0
    for _ in range(60):
        assert observations.dtype == np.float32
        assert all(env.observation_space.contains(row) for row in observations)
        observations, rewards, done, infos = env.step(rng.integers(0, 3**n_symbols, 4))
        assert (rewards.dtype, rewards.shape, done.dtype) == (np.float32, (4,), bool)
        lengths += 1
        totals += rewards
        for account in range(4):
            if not done[account]:
                assert infos[account] == {}
                continue
            info = infos[account]
            assert env.observation_space.contains(info["terminal_observation"])
            ended = env.pool.output.ended[account]
            np.testing.assert_array_equal(
                info["terminal_observation"], market.rows[ended, market.n_bars[ended] - 1]
            )
            assert info["episode"]["l"] == lengths[account] == market.n_bars[ended] - 1
            assert info["episode"]["r"] == pytest.approx(totals[account], rel=1e-4, abs=1e-3)
            assert info["TimeLimit.truncated"] is False
            first = market.rows[env.pool.state.session[account], 0]
            np.testing.assert_array_equal(observations[account], first)
            lengths[account], totals[account] = 0, 0.0
            finished += 1
    assert finished >= 12


def test_what_it_hands_out_is_not_reused():
    env = _environment()
    first = env.reset()
    kept = first.copy()
    second, rewards, done, infos = env.step(np.full(4, 8))
    copies = second.copy(), rewards.copy(), done.copy()
    env.step(np.full(4, 0))
    np.testing.assert_array_equal(first, kept)
    for now, then in zip((second, rewards, done), copies, strict=True):
        np.testing.assert_array_equal(now, then)
    assert infos == [{}] * 4


def test_the_length_of_a_staggered_first_episode_is_what_was_walked():
    env = _environment(n_envs=12, staggered=True)
    env.reset()
    expected = env.pool.market.n_bars[env.pool.state.session] - 1 - env.pool.state.bar
    found = np.zeros(12, int)
    for _ in range(13):
        _, _, done, infos = env.step(np.full(12, 4))
        for account in np.flatnonzero(done & (found == 0)):
            found[account] = infos[account]["episode"]["l"]
    np.testing.assert_array_equal(found, expected)


def test_seeds_repeat():
    env = _environment()
    runs = []
    for seed in (5, 5, 6):
        assert list(env.seed(seed)) == [seed] * 4
        env.reset()
        runs.append(np.array([env.step(np.full(4, 8))[1] for _ in range(40)]))
    np.testing.assert_array_equal(runs[0], runs[1])
    assert (runs[0] != runs[2]).any()
    assert list(env.seed()) == [None] * 4


def test_attributes_can_be_read_and_not_set():
    env = _environment()
    assert env.get_attr("hold_bonus_bps") == [0.0] * 4
    assert env.get_attr("render_mode", indices=[0, 2]) == [None, None]
    assert env.has_attr("market")
    assert not env.has_attr("nothing_of_the_kind")
    assert env.env_is_wrapped(gymnasium.Wrapper) == [False] * 4
    assert env.env_is_wrapped(gymnasium.Wrapper, indices=1) == [False]
    with pytest.raises(ConfigError, match="hold_bonus_bps can't be set"):
        env.set_attr("hold_bonus_bps", 1.0)
    with pytest.raises(ConfigError, match="call step on"):
        env.env_method("step", 4)
    env.close()


def test_options_are_refused_and_not_lost_in_silence():
    env = _environment()
    env.set_options({"session": 2})
    with pytest.raises(ConfigError, match="takes no reset options"):
        env.reset()


def test_a_step_of_the_wrong_shape_is_refused():
    with pytest.raises(ConfigError, match=r"shape \(3,\) for a pool of 4"):
        _environment().step(np.full(3, 4))


def test_sb3_s_ppo_learns_on_it():
    model = PPO("MlpPolicy", _environment(), n_steps=32, batch_size=64, n_epochs=2, seed=0, device="cpu")
    model.set_logger(Logger(folder=None, output_formats=[]))
    before = [parameter.detach().clone() for parameter in model.policy.parameters()]
    model.learn(384)
    assert model.num_timesteps == 384
    assert len(model.ep_info_buffer) >= 24
    assert all(entry["l"] in {12, 6} for entry in model.ep_info_buffer)
    moved = [bool((a != b).any()) for a, b in zip(before, model.policy.parameters(), strict=True)]
    assert all(moved)


def test_sb3_s_wrappers_and_evaluation_take_it():
    env = VecNormalize(VecMonitor(_environment()), norm_reward=False)
    model = PPO("MlpPolicy", env, n_steps=8, batch_size=32, n_epochs=1, seed=0, device="cpu")
    rewards, lengths = evaluate_policy(model, env, n_eval_episodes=4, return_episode_rewards=True, warn=True)
    assert len(rewards) == 4
    assert set(lengths) <= {12, 6}


def test_the_info_that_accounts_share_refuses_to_be_written_to():
    from stairways.envs.vec_env import NO_INFO

    for write in (
        lambda: NO_INFO.update(a=1),
        lambda: NO_INFO.setdefault("a", 1),
        lambda: NO_INFO.__setitem__("a", 1),
        lambda: NO_INFO.pop("a"),
    ):
        with pytest.raises(ConfigError, match="empty and shared"):
            write()
    assert NO_INFO == {}
    assert NO_INFO.copy() == {}
    assert isinstance(NO_INFO, dict)
