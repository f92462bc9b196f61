"""The environment in its readable form: one account, one session per episode."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.error import InvalidAction, ResetNeeded
from numpy.typing import NDArray

from stairways.envs.reward import TERMS, RewardConfig, reward_terms
from stairways.errors import RangeError
from stairways.trading.account import Account, Fill
from stairways.trading.actions import hold_action, n_actions
from stairways.trading.observation import ObservedMarket, n_inputs, position_columns
from stairways.trading.rules import TradingRules

FEATURE_BOUND = 5.0


class TradingEnv(gymnasium.Env[NDArray[np.float32], np.int64]):
    """Trade two or three symbols through one session, flat at its close.

    A decision is taken at the close of a bar with everything up to it; its orders fill at the open
    of the next bar, and the reward is the NAV change to that bar's close in bp. There is no
    decision on the last bar: positions are closed there, with costs, and the episode terminates
    (``truncated`` is always False).

    ``reset(options={"session": i})`` picks a session, otherwise one is drawn; ``options={"session":
    i, "keep_account": True}`` goes on with the same account.

    Args:
        market: Sessions to trade.
        rules: Sizes, bounds and costs.
        reward: Weights of the reward.
        hold_bonus_bps: Bonus paid on hold actions, bp of NAV.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012  the base class declares it so

    def __init__(
        self,
        market: ObservedMarket,
        rules: TradingRules | None = None,
        reward: RewardConfig | None = None,
        *,
        hold_bonus_bps: float = 0.0,
    ) -> None:
        self.market = market
        self.rules = rules or TradingRules()
        self.reward_config = reward or RewardConfig()
        self.hold_bonus_bps = hold_bonus_bps
        bound = np.full(n_inputs(market.n_symbols), FEATURE_BOUND, np.float32)
        bound[position_columns(market.n_symbols)] = 1.0
        self.observation_space = spaces.Box(-bound, bound, dtype=np.float32)
        self.action_space = spaces.Discrete(n_actions(market.n_symbols))
        self.account = Account(self.rules, market.n_symbols)
        self.session = 0
        self.bar = 0
        self._previous: int | None = None
        self._running = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Open a session flat and return its first observation.

        Raises:
            RangeError: If the asked session is not in the market.
        """
        super().reset(seed=seed)
        options = options or {}
        session = options.get("session")
        if session is None:
            session = int(self.np_random.integers(len(self.market)))
        if not 0 <= session < len(self.market):
            raise RangeError(f"session {session} is not in 0..{len(self.market) - 1}")
        if not options.get("keep_account", False):
            self.account = Account(self.rules, self.market.n_symbols)
        self.session, self.bar, self._previous = int(session), 0, None
        self._running = True
        return self._observation(), {"date": str(self.market.dates[session])}

    def step(self, action: np.int64 | int) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Take one decision.

        Returns:
            Observation at the next bar's close; reward in bp of NAV; terminated at the session's
            last bar; truncated, always False; and an info with the ``fills``, ``nav_usd``,
            ``held``, ``orders`` and ``reward_terms`` of the decision.

        Raises:
            InvalidAction: If the action is not one of the action space.
            ResetNeeded: Before the first reset and after a session's end.
        """
        if not self._running:
            raise ResetNeeded("no session is open: call reset first")
        chosen = int(action)
        known = n_actions(self.market.n_symbols)
        if not 0 <= chosen < known:
            raise InvalidAction(f"action {chosen} is not in 0..{known - 1}")
        closes = self._at("close", self.bar)
        nav_before = self.account.nav_usd(closes)
        fills = self._trade(chosen, closes)
        self.bar += 1
        terminated = self.bar == int(self.market.n_bars[self.session]) - 1
        closes = self._at("close", self.bar)
        if terminated:
            fills += self.account.flatten(closes, self._at("volume", self.bar))
        nav_after = self.account.nav_usd(closes)
        terms = np.zeros(len(TERMS))
        reward = self._reward(chosen, nav_before, nav_after, fills, terms)
        self._previous = chosen
        self._running = not terminated
        info = {
            "fills": fills,
            "nav_usd": nav_after,
            "held": chosen == hold_action(self.market.n_symbols),
            "orders": len(fills),
            "reward_terms": dict(zip(TERMS, terms.tolist(), strict=True)),
        }
        return self._observation(), reward, terminated, False, info

    def _trade(self, action: int, closes: NDArray[np.float64]) -> list[Fill]:
        opens = self._at("open", self.bar + 1)
        volumes = self._at("volume", self.bar + 1)
        return [
            self.account.fill(order, float(opens[order.symbol_index]), float(volumes[order.symbol_index]))
            for order in self.account.orders(action, closes)
        ]

    def _reward(
        self,
        action: int,
        nav_before: float,
        nav_after: float,
        fills: list[Fill],
        terms: NDArray[np.float64],
    ) -> float:
        per_year = 252.0 * self.market.full_session_decisions
        weights = self.reward_config.numbers(
            1e4 * self.rules.risk_free_per_year_ratio / per_year, self.rules.max_gross
        )
        return float(
            reward_terms(
                weights,
                nav_before,
                nav_after,
                sum(fill.quantity * fill.price for fill in fills),
                self.account.gross_usd(self._at("close", self.bar)),
                float(self.market.score[self.session, self.bar - 1]),
                self._previous is not None and self._previous != action,
                action == hold_action(self.market.n_symbols),
                self.hold_bonus_bps,
                terms,
            )
        )

    def _at(self, name: str, bar: int) -> NDArray[np.float64]:
        prices: NDArray[np.float64] = getattr(self.market, name)[self.session, bar]
        return prices

    def _observation(self) -> NDArray[np.float32]:
        row: NDArray[np.float32] = self.market.rows[self.session, self.bar].copy()
        row[position_columns(self.market.n_symbols)] = self.account.units
        return row
