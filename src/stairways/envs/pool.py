"""Many accounts stepping through sessions together, compiled.

The semantics are those of :class:`stairways.envs.gym_env.TradingEnv`; a property test holds the two
together. An episode is one session; an account that reaches the close starts the next session,
drawn from its own random stream, in the same step.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stairways.envs.reward import TERMS, RewardConfig, RewardNumbers, reward_terms
from stairways.errors import ConfigError
from stairways.trading.actions import hold_action, leg_table, order_table
from stairways.trading.kernel import CASH, FILL_WIDTH, NAV, flatten, mark, trade, traded_usd
from stairways.trading.observation import ObservedMarket, position_columns
from stairways.trading.rules import RuleNumbers, TradingRules

RESULT_WIDTH = 4
EPISODE_REWARD, EPISODE_RETURN, EPISODE_TRADES, EPISODE_HOLDS = 0, 1, 2, 3


class Tape(NamedTuple):
    """The market as compiled code reads it; shapes as in ``ObservedMarket``."""

    rows: NDArray[np.float32]
    open: NDArray[np.float64]
    close: NDArray[np.float64]
    volume: NDArray[np.float64]
    n_bars: NDArray[np.int64]
    score: NDArray[np.float64]


def tape_of(market: ObservedMarket) -> Tape:
    """Return the arrays of a market that compiled code needs."""
    return Tape(market.rows, market.open, market.close, market.volume, market.n_bars, market.score)


class PoolState(NamedTuple):
    """Everything that changes while a pool steps, one row per account.

    Attributes:
        session: ``(n,)`` int64 index of the session; ``bar`` likewise the bar of the decision.
        book: ``(n, 2)`` float64 cash and NAV, USD.
        shares: ``(n, n_symbols)`` float64; ``units`` likewise int8.
        previous: ``(n,)`` int64 action before, -1 at a session's start.
        stream: ``(n,)`` uint64 state of the stream that draws sessions.
        running: ``(n, 4)`` float64 reward, unused, trades and holds of the session so far.
    """

    session: NDArray[np.int64]
    bar: NDArray[np.int64]
    book: NDArray[np.float64]
    shares: NDArray[np.float64]
    units: NDArray[np.int8]
    previous: NDArray[np.int64]
    stream: NDArray[np.uint64]
    running: NDArray[np.float64]


class StepOutput(NamedTuple):
    """What one vector step produced; arrays are reused by the next step.

    Attributes:
        observations: ``(n, n_inputs)`` float32, already those of the next session where done.
        rewards: ``(n,)`` float64, bp of NAV.
        done: ``(n,)`` bool, the session ended.
        held: ``(n,)`` bool, the action was hold.
        orders: ``(n,)`` int64 executed orders, forced closes included.
        nav: ``(n,)`` float64 NAV after the step, before any reset.
        ended: ``(n,)`` int64 index of the session that ended, -1 elsewhere.
        episodes: ``(n, 4)`` float64 of the ended sessions: reward, return (ratio), trades, holds.
        term_sums: ``(8,)`` float64 running sum of absolute reward terms, in the order of TERMS.
    """

    observations: NDArray[np.float32]
    rewards: NDArray[np.float64]
    done: NDArray[np.bool_]
    held: NDArray[np.bool_]
    orders: NDArray[np.int64]
    nav: NDArray[np.float64]
    ended: NDArray[np.int64]
    episodes: NDArray[np.float64]
    term_sums: NDArray[np.float64]


@njit(cache=True, error_model="numpy")
def draw_session(stream: NDArray[np.uint64], account: int, n_sessions: int) -> int:
    """Draw a session index from an account's stream (SplitMix64)."""
    stream[account] += np.uint64(0x9E3779B97F4A7C15)
    z = stream[account]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return int(float(z >> np.uint64(11)) * (1.0 / 9007199254740992.0) * n_sessions)


@njit(cache=True, error_model="numpy")
def first_unknown_action(actions: NDArray[np.int64], n_actions: int) -> int:
    """Return the first account whose action is not in 0..n_actions - 1, or -1."""
    for account in range(len(actions)):
        if not 0 <= actions[account] < n_actions:
            return account
    return -1


@njit(cache=True, error_model="numpy")
def _start_session(state: PoolState, account: int, session: int, bar: int, initial_nav: float) -> None:
    state.session[account] = session
    state.bar[account] = bar
    state.book[account, CASH] = initial_nav
    state.book[account, NAV] = initial_nav
    state.shares[account] = 0.0
    state.units[account] = 0
    state.previous[account] = -1
    state.running[account] = 0.0


@njit(cache=True, inline="always", error_model="numpy")
def _write_observation(
    tape: Tape, state: PoolState, account: int, columns: NDArray[np.int64], out: NDArray[np.float32]
) -> None:
    s, b = state.session[account], state.bar[account]
    for j in range(out.shape[1]):
        out[account, j] = tape.rows[s, b, j]
    for symbol in range(len(columns)):
        out[account, columns[symbol]] = state.units[account, symbol]


@njit(cache=True, error_model="numpy")
def step_pool(
    tape: Tape,
    rules: RuleNumbers,
    weights: RewardNumbers,
    legs: NDArray[np.int8],
    columns: NDArray[np.int64],
    initial_nav: float,
    hold_bonus_bps: float,
    actions: NDArray[np.int64],
    state: PoolState,
    out: StepOutput,
) -> None:
    """Take one decision in every account; state and output are written in place."""
    n_symbols = legs.shape[1]
    hold = (len(legs) - 1) // 2
    fills = np.zeros((n_symbols, FILL_WIDTH))
    terms, sums = np.zeros(8), np.zeros(8)
    for account in range(len(actions)):
        s, b = state.session[account], state.bar[account]
        action = actions[account]
        nav_before = state.book[account, NAV]
        orders = trade(rules, legs, action, tape, s, b, state, account, fills)
        notional = traded_usd(fills) if orders else 0.0
        last = b + 2 == tape.n_bars[s]
        if last:
            orders += flatten(rules, tape, s, b + 1, state, account, fills)
            notional += traded_usd(fills)
        nav_after = mark(tape, s, b + 1, state, account)
        gross = 0.0
        for symbol in range(n_symbols):
            gross += abs(state.shares[account, symbol]) * tape.close[s, b + 1, symbol]
        previous = state.previous[account]
        reward = reward_terms(
            weights,
            nav_before,
            nav_after,
            notional,
            gross,
            tape.score[s, b],
            previous >= 0 and previous != action,
            action == hold,
            hold_bonus_bps,
            terms,
        )
        for term in range(8):
            sums[term] += abs(terms[term])
        out.rewards[account] = reward
        out.held[account] = action == hold
        out.orders[account] = orders
        out.nav[account] = nav_after
        state.running[account, EPISODE_REWARD] += reward
        state.running[account, EPISODE_TRADES] += orders
        state.running[account, EPISODE_HOLDS] += 1.0 if action == hold else 0.0
        out.done[account] = last
        out.ended[account] = s if last else -1
        if last:
            state.running[account, EPISODE_RETURN] = nav_after / initial_nav - 1.0
            out.episodes[account] = state.running[account]
            following = draw_session(state.stream, account, len(tape.n_bars))
            _start_session(state, account, following, 0, initial_nav)
        else:
            state.bar[account] = b + 1
            state.previous[account] = action
    for term in range(8):
        out.term_sums[term] += sums[term]
    # behind the accounts, so that their rows are fetched beside each other
    _observe_all(tape, state, columns, out.observations)


@njit(cache=True, error_model="numpy")
def _observe_all(tape: Tape, state: PoolState, columns: NDArray[np.int64], out: NDArray[np.float32]) -> None:
    for account in range(len(state.session)):
        _write_observation(tape, state, account, columns, out)


class SessionPool:
    """A pool of accounts that step through randomly drawn sessions of one market.

    Args:
        market: Sessions to draw from.
        rules: Sizes, bounds and costs.
        reward: Weights of the reward.
        n_envs: Number of accounts.
        seed: Seeds of the streams that draw sessions.
        staggered: Start account i at the share i / n_envs of its first session, so that the pool
            sees every time of day at once; otherwise all start at the open.
    """

    def __init__(
        self,
        market: ObservedMarket,
        rules: TradingRules,
        reward: RewardConfig,
        *,
        n_envs: int,
        seed: np.random.SeedSequence,
        staggered: bool = False,
    ) -> None:
        if n_envs < 1:
            raise ConfigError(f"n_envs is {n_envs}, it must be at least 1")
        self.market = market
        self.rules = rules
        self.reward = reward
        self.n_envs = n_envs
        self.hold_bonus_bps = 0.0
        self.cost_scale = 1.0
        full_year = 252.0 * market.full_session_decisions
        self._weights = reward.numbers(1e4 * rules.risk_free_per_year_ratio / full_year, rules.max_gross)
        self._tape = tape_of(market)
        self.order_counts = order_table(market.n_symbols, rules.long_only)
        self._legs = leg_table(market.n_symbols)
        self._columns = position_columns(market.n_symbols)
        self.state = _blank_state(n_envs, market.n_symbols)
        self.output = _blank_output(n_envs, market)
        self.state.stream[:] = seed.generate_state(n_envs, np.uint64)
        self._staggered = staggered
        self.reset()

    @property
    def cost_scale(self) -> float:
        """What every cost is multiplied by; 1 unless it was set."""
        return self._cost_scale

    @cost_scale.setter
    def cost_scale(self, scale: float) -> None:
        self._cost_scale = scale
        self._rules = self.rules.numbers(scale)

    @property
    def hold_action(self) -> int:
        """Id of hold."""
        return hold_action(self.market.n_symbols)

    def reset(self) -> NDArray[np.float32]:
        """Start every account in a freshly drawn session and return the observations."""
        for account in range(self.n_envs):
            session = draw_session(self.state.stream, account, len(self.market))
            start = 0
            if self._staggered:
                start = account * (int(self.market.n_bars[session]) - 1) // self.n_envs
            _start_session(self.state, account, session, start, self.rules.initial_nav_usd)
        return self.observe()

    def observe(self) -> NDArray[np.float32]:
        """Return the present observations, ``(n_envs, n_inputs)`` float32."""
        _observe_all(self._tape, self.state, self._columns, self.output.observations)
        return self.output.observations

    def scores(self) -> NDArray[np.float64]:
        """Return the regime score each account decides under, ``(n_envs,)`` float64."""
        return self.market.score[self.state.session, self.state.bar]

    def position_index(self) -> NDArray[np.int64]:
        """Return the joint position of each account as a number, ``(n_envs,)`` int64."""
        powers = 3 ** np.arange(self.market.n_symbols - 1, -1, -1)
        index: NDArray[np.int64] = (self.state.units.astype(np.int64) + 1) @ powers
        return index

    def step(self, actions: NDArray[np.int64]) -> StepOutput:
        """Take one decision in every account.

        Args:
            actions: ``(n_envs,)`` int64 action ids.

        Raises:
            ConfigError: If there is not one known action for each account.
        """
        self._check_actions(actions)
        step_pool(
            self._tape,
            self._rules,
            self._weights,
            self._legs,
            self._columns,
            self.rules.initial_nav_usd,
            self.hold_bonus_bps,
            actions,
            self.state,
            self.output,
        )
        return self.output

    def _check_actions(self, actions: NDArray[np.int64]) -> None:
        if actions.shape != (self.n_envs,):
            raise ConfigError(f"actions of shape {actions.shape} for a pool of {self.n_envs} accounts")
        unknown = first_unknown_action(actions, len(self._legs))
        if unknown >= 0:
            raise ConfigError(
                f"action {actions[unknown]} of account {unknown} is not in 0..{len(self._legs) - 1}"
            )

    def reward_shares(self) -> dict[str, float]:
        """Return each term's share of the mean absolute reward so far."""
        total = float(self.output.term_sums.sum())
        sums = self.output.term_sums
        return {name: float(sums[i]) / total if total else 0.0 for i, name in enumerate(TERMS)}

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """Return a copy of everything a checkpoint needs to go on from here."""
        arrays = {name: value.copy() for name, value in self.state._asdict().items()}
        return arrays | {"term_sums": self.output.term_sums.copy()}

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Go on from a snapshot.

        Raises:
            ConfigError: If it was taken of a pool of another shape.
        """
        for name, target in [*self.state._asdict().items(), ("term_sums", self.output.term_sums)]:
            if name not in arrays or arrays[name].shape != target.shape:
                raise ConfigError(f"environment snapshot does not fit: {name}", where="checkpoint")
            target[...] = arrays[name]


def _blank_state(n_envs: int, n_symbols: int) -> PoolState:
    return PoolState(
        session=np.zeros(n_envs, np.int64),
        bar=np.zeros(n_envs, np.int64),
        book=np.zeros((n_envs, 2)),
        shares=np.zeros((n_envs, n_symbols)),
        units=np.zeros((n_envs, n_symbols), np.int8),
        previous=np.full(n_envs, -1, np.int64),
        stream=np.zeros(n_envs, np.uint64),
        running=np.zeros((n_envs, RESULT_WIDTH)),
    )


def _blank_output(n_envs: int, market: ObservedMarket) -> StepOutput:
    return StepOutput(
        observations=np.zeros((n_envs, market.rows.shape[2]), np.float32),
        rewards=np.zeros(n_envs),
        done=np.zeros(n_envs, np.bool_),
        held=np.zeros(n_envs, np.bool_),
        orders=np.zeros(n_envs, np.int64),
        nav=np.zeros(n_envs),
        ended=np.full(n_envs, -1, np.int64),
        episodes=np.zeros((n_envs, RESULT_WIDTH)),
        term_sums=np.zeros(len(TERMS)),
    )
