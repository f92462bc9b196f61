"""Whether a job fits the memory it may take, asked before its arrays are made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stairways.errors import ConfigError
from stairways.market.feature_kernels import N_FEATURES
from stairways.trading.observation import N_REGIME_FEATURES, n_inputs

if TYPE_CHECKING:
    from stairways.config import Settings
    from stairways.learning.ppo_config import PPOConfig
    from stairways.market.sessions import Sessions

GIB = 2**30
_DOUBLE, _SINGLE = 8, 4
_PRICE_GRIDS = 5
_REGIME_COLUMNS = 2 * (N_REGIME_FEATURES + 1)


def market_bytes(n_sessions: int, max_bars: int, n_symbols: int) -> int:
    """Return what bars, features, regime and observations of a history take together.

    Args:
        n_sessions: Sessions of the history.
        max_bars: Bars of a full session.
        n_symbols: Symbols.
    """
    table = n_symbols * N_FEATURES + N_REGIME_FEATURES
    doubles = _PRICE_GRIDS * n_symbols + N_FEATURES * n_symbols + _REGIME_COLUMNS
    return n_sessions * max_bars * (_DOUBLE * doubles + _SINGLE * (table + n_inputs(n_symbols)))


def rollout_bytes(ppo: PPOConfig, n_symbols: int) -> int:
    """Return what one rollout takes: observations, the tilt of each sample, and ten numbers beside them."""
    n_actions = int(3**n_symbols)
    return ppo.rollout_steps * (_SINGLE * (n_inputs(n_symbols) + n_actions + 10) + n_actions)


def require_memory(settings: Settings, sessions: Sessions) -> None:
    """Refuse a market and a trainer that need more than the settings allow.

    Raises:
        ConfigError: With what needs how much, and what to change.
    """
    limit = settings.performance.max_memory_gb
    market = market_bytes(len(sessions), sessions.max_bars, sessions.n_symbols) / GIB
    rollout = (
        max(rollout_bytes(ppo, sessions.n_symbols) for ppo in (settings.gold.ppo, settings.tune.ppo)) / GIB
    )
    if market + rollout > limit:
        raise ConfigError(
            f"{len(sessions):,} sessions of {sessions.n_symbols} symbols need {market:.2f} GiB and a rollout "
            f"{rollout:.2f} GiB, the limit is {limit:g} GiB",
            where="performance.max_memory_gb",
            remedy="keep fewer sessions in the folder, take smaller rollouts, or raise the limit",
        )
