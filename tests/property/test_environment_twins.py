"""Twins: the readable environment, the compiled pool and the replay do the same with the same actions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from markets import random_market, random_script, trading_rules
from stairways.envs.gym_env import TradingEnv
from stairways.envs.pool import SessionPool
from stairways.envs.reward import RewardConfig
from stairways.evaluation.replay import replay
from stairways.trading.kernel import COMMISSION, IMPACT, PRICE, QUANTITY, SPREAD

EVERYTHING = RewardConfig(
    nav=1.1, kelly=0.9, downside=0.05, turnover=0.3, position_decay=0.7, size=40.0, action_change=0.2
)
MARKETS = st.builds(
    random_market,
    st.integers(0, 5_000),
    st.integers(2, 4),
    st.sampled_from([2, 3]),
    st.sampled_from([15, 30]),
    half_days=st.sampled_from([[], [0], [1], [0, 1]]),
)


@settings(deadline=None, max_examples=100)
@given(
    market=MARKETS,
    rules=trading_rules(),
    seed=st.integers(0, 10_000),
    holds=st.sampled_from([0.0, 0.3, 0.9]),
    staggered=st.booleans(),
)
def test_the_pool_equals_the_readable_environment(market, rules, seed, holds, staggered):
    n_envs, n_actions = 3, 3**market.n_symbols
    pool = SessionPool(
        market,
        rules,
        EVERYTHING,
        n_envs=n_envs,
        seed=np.random.SeedSequence(seed),
        staggered=staggered,
    )
    pool.hold_bonus_bps = 0.25
    plain = [TradingEnv(market, rules, EVERYTHING, hold_bonus_bps=0.25) for _ in range(n_envs)]
    for account, env in enumerate(plain):
        env.reset(options={"session": int(pool.state.session[account])})
        env.bar = int(pool.state.bar[account])
    rng = np.random.default_rng(seed)
    for _ in range(45):
        actions = rng.integers(0, n_actions, n_envs)
        actions[rng.random(n_envs) < holds] = pool.hold_action
        out = pool.step(actions)
        for account, env in enumerate(plain):
            seen, reward, ended, truncated, info = env.step(actions[account])
            assert (ended, truncated) == (bool(out.done[account]), False)
            assert out.rewards[account] == pytest.approx(reward, rel=1e-9, abs=1e-9)
            assert out.nav[account] == pytest.approx(info["nav_usd"], rel=1e-9)
            assert (out.held[account], out.orders[account]) == (info["held"], info["orders"])
            if ended:
                assert (seen == market.rows[env.session, env.bar]).all()
                seen, _ = env.reset(options={"session": int(pool.state.session[account])})
            assert out.observations[account].tobytes() == seen.tobytes()


def _rows(fills) -> np.ndarray:
    return np.array(
        [[f.direction * f.quantity, f.price, f.commission_usd, f.spread_usd, f.impact_usd] for f in fills]
    ).reshape(-1, 5)


@settings(deadline=None, max_examples=60)
@given(market=MARKETS, rules=trading_rules(), seed=st.integers(0, 10_000), holds=st.sampled_from([0.0, 0.5]))
def test_the_replay_equals_the_readable_environment(market, rules, seed, holds):
    script = random_script(market, seed, holds)
    run = replay(market, script, rules)
    env = TradingEnv(market, rules)
    for session in range(len(market)):
        env.reset(options={"session": session, "keep_account": True})
        assert run.nav_usd[session, 0] == pytest.approx(env.account.cash_usd, rel=1e-9)
        last = int(market.n_bars[session]) - 1
        for bar in range(last):
            position = 0
            for unit in env.account.units:
                position = 3 * position + unit + 1
            action = int(script.actions[session, bar, position])
            assert run.actions[session, bar] == action
            _, _, ended, _, info = env.step(action)
            assert run.nav_usd[session, bar + 1] == pytest.approx(info["nav_usd"], rel=1e-9)
            opened = run.fills[session, bar + 1]
            found = opened[opened[:, QUANTITY] != 0.0]
            expected = _rows(fill for fill in info["fills"] if not fill.forced)
            np.testing.assert_allclose(found, expected, rtol=1e-12)
            assert ended == (bar + 1 == last)
        forced = run.forced[session]
        np.testing.assert_allclose(
            forced[forced[:, QUANTITY] != 0.0],
            _rows(fill for fill in info["fills"] if fill.forced),
            rtol=1e-12,
        )
        assert (run.actions[session, last:] == -1).all()


def test_the_twins_meet_every_kind_of_case():
    """The strategies do reach denials, binding bounds, forced closes and unequal costs."""
    market = random_market(1, 4, 2, 15, half_days=[1])
    seen = set()

    @settings(deadline=None, max_examples=60, derandomize=True)
    @given(rules=trading_rules())
    def walk(rules):
        run = replay(market, random_script(market, 3, 0.3), rules)
        seen.add("no fill at all" if not run.fills[..., QUANTITY].any() else "fills")
        if run.forced[..., QUANTITY].any():
            seen.add("forced")
        if (run.fills[..., QUANTITY] < 0).any() and rules.long_only:
            seen.add("long-only sale")
        for column, name in ((COMMISSION, "commission"), (SPREAD, "spread"), (IMPACT, "impact")):
            if run.fills[..., column].any():
                seen.add(name)
        if rules.max_gross < rules.unit_fraction and run.fills[..., PRICE].any():
            seen.add("bound binds")

    walk()
    assert seen == {
        "no fill at all",
        "fills",
        "forced",
        "long-only sale",
        "commission",
        "spread",
        "impact",
        "bound binds",
    }
