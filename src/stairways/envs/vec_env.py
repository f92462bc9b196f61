"""The pool behind stable-baselines3's ``VecEnv`` interface."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env.base_vec_env import VecEnv

from stairways.envs.gym_env import TradingEnv
from stairways.envs.pool import EPISODE_REWARD, SessionPool
from stairways.errors import ConfigError


class NoInfo(dict[str, Any]):
    """An empty info that every account without news shares; a dict that can't be written to.

    A dict of its own for each account and step would take longer than the accounts' own step.
    """

    def _refuse(self, *_: Any, **__: Any) -> Any:
        raise ConfigError(
            "the info of an account whose session goes on is empty and shared", remedy="copy it, then write"
        )

    __setitem__ = __delitem__ = __ior__ = update = setdefault = pop = popitem = clear = _refuse


NO_INFO = NoInfo()


class PoolVecEnv(VecEnv):
    """A :class:`SessionPool` as a ``VecEnv``: observations float32, rewards float32 in bp.

    Finished sessions carry ``terminal_observation`` and ``episode`` in their info, as other vector
    environments do; the others share an empty one.

    Args:
        pool: The pool to step.
    """

    def __init__(self, pool: SessionPool) -> None:
        self.pool = pool
        reference = TradingEnv(pool.market, pool.rules, pool.reward)
        self._actions = np.zeros(pool.n_envs, np.int64)
        self._lengths = np.zeros(pool.n_envs, np.int64)
        self._spec_env = reference
        super().__init__(pool.n_envs, reference.observation_space, reference.action_space)

    def reset(self) -> NDArray[np.float32]:
        """Start every account in a new session.

        Raises:
            ConfigError: If options were set: sessions of a pool are drawn, never picked.
        """
        if any(self._options):
            raise ConfigError("a pool takes no reset options", remedy="use TradingEnv to pick sessions")
        self._lengths[:] = 0
        observations: NDArray[np.float32] = self.pool.reset().copy()
        return observations

    def step_async(self, actions: NDArray[Any]) -> None:
        """Take note of the actions, ``(n_envs,)`` integers."""
        self._actions = np.ascontiguousarray(actions, dtype=np.int64)

    def step_wait(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], Any]:
        """Step the pool with the noted actions."""
        out = self.pool.step(self._actions)
        self._lengths += 1
        infos: list[dict[str, Any]] = [NO_INFO] * self.num_envs
        if out.done.any():
            for account in np.flatnonzero(out.done):
                infos[account] = self._ending(int(account))
            self._lengths[out.done] = 0
        return out.observations.copy(), out.rewards.astype(np.float32), out.done.copy(), infos

    def _ending(self, account: int) -> dict[str, Any]:
        market, out = self.pool.market, self.pool.output
        ended = int(out.ended[account])
        last = int(market.n_bars[ended]) - 1
        length = int(self._lengths[account])
        return {
            "terminal_observation": market.rows[ended, last].copy(),
            "episode": {"r": float(out.episodes[account, EPISODE_REWARD]), "l": length, "t": 0.0},
            "TimeLimit.truncated": False,
        }

    def close(self) -> None:
        """Release nothing: the pool holds only memory."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return an attribute of the scalar form, once per account."""
        return [getattr(self._spec_env, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Refuse: accounts of a pool share their settings."""
        raise ConfigError(f"{attr_name} can't be set for single accounts of a pool")

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Refuse: a pool has no scalar environments inside."""
        raise ConfigError(f"a pool has no scalar environment to call {method_name} on")

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Return False for every account."""
        return [False] * len(list(self._get_indices(indices)))

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Seed the streams that draw sessions; None draws from the system."""
        sequence = np.random.SeedSequence(seed)
        self.pool.state.stream[:] = sequence.generate_state(self.num_envs, np.uint64)
        return [seed] * self.num_envs
