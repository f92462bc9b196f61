"""What both sides work on: one market, and one account in the plainest Gymnasium form."""

from __future__ import annotations

from functools import cache
from typing import Any

import gymnasium
import numba
import numpy as np
from numba.experimental import jitclass
from numpy.typing import NDArray

from stairways.config import Settings, load_settings
from stairways.envs.gym_env import TradingEnv
from stairways.envs.pool import SessionPool, step_pool
from stairways.market.dataset import Dataset, open_sample
from stairways.market.features import FeatureConstants
from stairways.market.regime import DEFAULT_REGIME
from stairways.trading.observation import ObservedMarket, observe

SYMBOLS = ("NVDA", "MSFT")
TRAIN_SESSIONS = 500


@cache
def settings() -> Settings:
    """Return the default settings."""
    return load_settings(None, {})


@cache
def dataset(name: str = "planted", interval_minutes: int = 1) -> Dataset:
    """Return a sample market with its features."""
    return open_sample(name, SYMBOLS, interval_minutes).with_features(DEFAULT_REGIME)


@cache
def market() -> ObservedMarket:
    """Return every session of the sample market, standardised on the first sessions."""
    data = dataset()
    constants = FeatureConstants.fit(data.raw, data.sessions, slice(60, 60 + TRAIN_SESSIONS))
    return observe(data.sessions, data.table(constants))


def training_market() -> ObservedMarket:
    """Return the sessions that contests of training use: full ones, regime warm."""
    return market().select(slice(60, 60 + TRAIN_SESSIONS))


def pool(n_envs: int, *, seed: int = 0, staggered: bool = True) -> SessionPool:
    """Return a pool of accounts on the training sessions."""
    made = settings()
    return SessionPool(
        training_market(),
        made.trading,
        made.reward,
        n_envs=n_envs,
        seed=np.random.SeedSequence(seed),
        staggered=staggered,
    )


@cache
def compiled_account() -> Any:
    """Return a compiled class that steps one account and is handed nothing but the action."""
    made = pool(1, staggered=False)
    fields = [
        ("tape", numba.typeof(made._tape)),
        ("rules", numba.typeof(made._rules)),
        ("weights", numba.typeof(made._weights)),
        ("legs", numba.typeof(made._legs)),
        ("columns", numba.typeof(made._columns)),
        ("initial_nav", numba.float64),
        ("actions", numba.int64[::1]),
        ("state", numba.typeof(made.state)),
        ("out", numba.typeof(made.output)),
    ]

    @jitclass(fields)
    class CompiledAccount:
        def __init__(self, tape, rules, weights, legs, columns, initial_nav, state, out):  # type: ignore[no-untyped-def]
            self.tape = tape
            self.rules = rules
            self.weights = weights
            self.legs = legs
            self.columns = columns
            self.initial_nav = initial_nav
            self.actions = np.zeros(1, np.int64)
            self.state = state
            self.out = out

        def step(self, action):  # type: ignore[no-untyped-def]
            self.actions[0] = action
            step_pool(
                self.tape,
                self.rules,
                self.weights,
                self.legs,
                self.columns,
                self.initial_nav,
                0.0,
                self.actions,
                self.state,
                self.out,
            )
            return self.out.rewards[0], self.out.done[0]

    return CompiledAccount


class PlainEnv(gymnasium.Env[NDArray[np.float32], np.int64]):
    """One account as a plain Gymnasium environment: the pool's kernel, one account at a time.

    What a careful user of stable-baselines3 would write: the same semantics as the pool's, the step compiled,
    nothing vectorised. It is what the peers train on.

    Args:
        seed: Of the sessions it draws.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012  the base class declares it so

    def __init__(self, seed: int) -> None:
        self._pool = pool(1, seed=seed, staggered=False)
        readable = TradingEnv(self._pool.market)
        self.observation_space, self.action_space = readable.observation_space, readable.action_space
        self._account = compiled_account()(
            self._pool._tape,
            self._pool._rules,
            self._pool._weights,
            self._pool._legs,
            self._pool._columns,
            self._pool.rules.initial_nav_usd,
            self._pool.state,
            self._pool.output,
        )
        self._observation = self._pool.output.observations[0]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Go to the session that the last step drew."""
        super().reset(seed=seed)
        return self._pool.observe()[0].copy(), {}

    def step(self, action: np.int64 | int) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Take one decision."""
        reward, done = self._account.step(action)
        return self._observation.copy(), reward, done, False, {}
