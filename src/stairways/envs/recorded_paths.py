"""Every action from every position along recorded sessions, compiled.

An account as small as these does not move the market: what each action would have earned from each
position, at each bar of a recorded session, is known without acting. A policy's values on that path then
follow by recursion, exactly, where an account that acts sees one action of one position and its luck.

One step is taken by the account's own kernel, from an account that has just been brought to the position at
the decision's close: sizes, costs, impact and forced closes are those of :class:`SessionPool`. What differs
is that a position's size is fresh and the NAV the initial one, where an account's have drifted.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stairways.envs.pool import Tape, tape_of
from stairways.envs.reward import TERMS, RewardConfig, RewardNumbers, reward_terms
from stairways.trading.actions import leg_table
from stairways.trading.kernel import (
    CASH,
    FILL_WIDTH,
    NAV,
    Accounts,
    flatten,
    mark,
    trade,
    traded_usd,
)
from stairways.trading.observation import ObservedMarket
from stairways.trading.rules import RuleNumbers, TradingRules

MOST_BYTES = 2**30
BYTES_PER_STEP = 6
NO_WEIGHTS = np.zeros((0, 0, 0, 0), np.float32)


class PathSteps(NamedTuple):
    """What each action does from each position at each decision of some sessions.

    Decisions beyond a session's last are 0 everywhere and lead nowhere.

    Attributes:
        rewards: ``(n_sessions, n_decisions, n_positions, n_actions)`` float32, bp of NAV.
        after: int8, the joint position that follows; same shape, positions numbered as actions are.
        orders: int8, executed orders, forced closes included; same shape.
        n_decisions: ``(n_sessions,)`` int64 decisions of each session.
    """

    rewards: NDArray[np.float32]
    after: NDArray[np.int8]
    orders: NDArray[np.int8]
    n_decisions: NDArray[np.int64]


class PathValues(NamedTuple):
    """What a policy is worth along recorded sessions.

    Attributes:
        values: ``(n_sessions, n_decisions, n_positions)`` float32, discounted rewards from there on.
        advantages: ``(n_sessions, n_decisions, n_positions, n_actions)`` float32.
        occupancy: ``(n_sessions, n_decisions, n_positions)`` float32, the probability of the position for an
            account that starts the session flat.
    """

    values: NDArray[np.float32]
    advantages: NDArray[np.float32]
    occupancy: NDArray[np.float32]


class RecordedPaths:
    """The recorded sessions of a market, and what can be done in them.

    What was computed for a session is kept, as long as all sessions together would take no more than
    ``most_bytes``.

    Args:
        market: The sessions.
        rules: Sizes, bounds and costs.
        reward: Weights of the reward; that of changed actions is left out, being none of the position's.
        most_bytes: Bound of what is kept.
    """

    def __init__(
        self,
        market: ObservedMarket,
        rules: TradingRules,
        reward: RewardConfig,
        *,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        per_bar_bps = 1e4 * rules.risk_free_per_session / market.full_session_decisions
        self._tape = tape_of(market)
        self._rules = rules.numbers()
        self._reward = reward.numbers(per_bar_bps, rules.max_gross)
        self._legs = leg_table(market.n_symbols)
        self._nav = rules.initial_nav_usd
        shape = (len(market), int(market.n_bars.max()) - 1, len(self._legs), len(self._legs))
        self._kept: PathSteps | None = None
        if int(np.prod(shape)) * BYTES_PER_STEP <= most_bytes:
            self._kept = _blank_steps(shape, market.n_bars - 1)
        self._known = np.zeros(len(market), np.bool_)

    def steps(self, sessions: NDArray[np.int64]) -> PathSteps:
        """Take every action from every position at every decision of ``(n_sessions,)`` sessions."""
        if self._kept is None:
            return self._taken(sessions, NO_WEIGHTS, np.zeros(len(TERMS)))
        new = sessions[~self._known[sessions]]
        if len(new):
            found = self._taken(new, NO_WEIGHTS, np.zeros(len(TERMS)))
            stop = found.rewards.shape[1]
            self._kept.rewards[new, :stop] = found.rewards
            self._kept.after[new, :stop] = found.after
            self._kept.orders[new, :stop] = found.orders
            self._known[new] = True
        kept = self._kept
        count = kept.n_decisions[sessions]
        longest = int(count.max())
        return PathSteps(
            kept.rewards[sessions, :longest],
            kept.after[sessions, :longest],
            kept.orders[sessions, :longest],
            count,
        )

    def expected_terms(
        self, sessions: NDArray[np.int64], weights: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        """Return the expected absolute value of each reward term, summed over decisions, ``(8,)``.

        Args:
            sessions: ``(n_sessions,)`` indices.
            weights: Probability of each position and action, of the shape of ``PathSteps.rewards``.
        """
        sums = np.zeros(len(TERMS))
        self._taken(sessions, weights, sums)
        return sums

    def _taken(
        self, sessions: NDArray[np.int64], weights: NDArray[np.float32], sums: NDArray[np.float64]
    ) -> PathSteps:
        n_decisions = self._tape.n_bars[sessions] - 1
        shape = (len(sessions), int(n_decisions.max()), len(self._legs), len(self._legs))
        steps = _blank_steps(shape, n_decisions)
        _take_steps(
            self._tape, sessions, self._rules, self._reward, self._legs, self._nav, steps, weights, sums
        )
        return steps


def _blank_steps(shape: tuple[int, int, int, int], n_decisions: NDArray[np.int64]) -> PathSteps:
    return PathSteps(
        np.zeros(shape, np.float32), np.zeros(shape, np.int8), np.zeros(shape, np.int8), n_decisions
    )


@njit(cache=True, error_model="numpy")
def _take_steps(
    tape: Tape,
    sessions: NDArray[np.int64],
    rules: RuleNumbers,
    reward: RewardNumbers,
    legs: NDArray[np.int8],
    initial_nav: float,
    steps: PathSteps,
    weights: NDArray[np.float32],
    sums: NDArray[np.float64],
) -> None:
    n, n_symbols = legs.shape
    hold = (n - 1) // 2
    fills = np.zeros((n_symbols, FILL_WIDTH))
    start_shares = np.zeros(n_symbols)
    held = Accounts(np.zeros((1, 2)), np.zeros((1, n_symbols)), np.zeros((1, n_symbols), np.int8))
    terms = np.zeros(8)
    for row in range(len(sessions)):
        s = sessions[row]
        for b in range(steps.n_decisions[row]):
            last = b + 2 == tape.n_bars[s]
            for position in range(n):
                invested = 0.0
                for symbol in range(n_symbols):
                    price = tape.close[s, b, symbol]
                    start_shares[symbol] = legs[position, symbol] * np.floor(
                        rules.unit_fraction * initial_nav / price
                    )
                    invested += start_shares[symbol] * price
                for action in range(n):
                    held.book[0, CASH], held.book[0, NAV] = initial_nav - invested, initial_nav
                    for symbol in range(n_symbols):
                        held.shares[0, symbol] = start_shares[symbol]
                        held.units[0, symbol] = legs[position, symbol]
                    orders = trade(rules, legs, action, tape, s, b, held, 0, fills)
                    notional = traded_usd(fills)
                    if last:
                        orders += flatten(rules, tape, s, b + 1, held, 0, fills)
                        notional += traded_usd(fills)
                    nav_after = mark(tape, s, b + 1, held, 0)
                    gross = 0.0
                    for symbol in range(n_symbols):
                        gross += abs(held.shares[0, symbol]) * tape.close[s, b + 1, symbol]
                    steps.rewards[row, b, position, action] = reward_terms(
                        reward,
                        initial_nav,
                        nav_after,
                        notional,
                        gross,
                        tape.score[s, b],
                        False,
                        action == hold,
                        0.0,
                        terms,
                    )
                    after = 0
                    for symbol in range(n_symbols):
                        after = 3 * after + held.units[0, symbol] + 1
                    steps.after[row, b, position, action] = after
                    steps.orders[row, b, position, action] = orders
                    if len(weights) > 0:
                        for term in range(len(sums)):
                            sums[term] += weights[row, b, position, action] * abs(terms[term])


def path_values(steps: PathSteps, probabilities: NDArray[np.float32], gamma: float) -> PathValues:
    """Return what a policy is worth along recorded sessions, and where it stands.

    V(t, p) = sum_a pi(a | t, p) Q(t, p, a) and Q(t, p, a) = r(t, p, a) + gamma V(t + 1, after(t, p, a)),
    backwards from V = 0 after the last decision; occupancy runs forward from a flat account.

    Args:
        steps: What each action does.
        probabilities: ``(n_sessions, n_decisions, n_positions, n_actions)`` float32 of the policy.
        gamma: Discount per decision.
    """
    shape = probabilities.shape
    found = PathValues(
        np.zeros(shape[:3], np.float32), np.zeros(shape, np.float32), np.zeros(shape[:3], np.float32)
    )
    _evaluate(steps, probabilities, gamma, found)
    return found


@njit(cache=True, error_model="numpy")
def _evaluate(steps: PathSteps, probabilities: NDArray[np.float32], gamma: float, found: PathValues) -> None:
    n_sessions, _, n, _ = probabilities.shape
    action_values = np.zeros(n)
    for row in range(n_sessions):
        count = steps.n_decisions[row]
        for t in range(count - 1, -1, -1):
            for position in range(n):
                value = 0.0
                for action in range(n):
                    action_values[action] = steps.rewards[row, t, position, action]
                    if t + 1 < count:
                        after = steps.after[row, t, position, action]
                        action_values[action] += gamma * found.values[row, t + 1, after]
                    value += probabilities[row, t, position, action] * action_values[action]
                found.values[row, t, position] = value
                for action in range(n):
                    found.advantages[row, t, position, action] = action_values[action] - value
        found.occupancy[row, 0, (n - 1) // 2] = 1.0
        for t in range(count - 1):
            for position in range(n):
                share = found.occupancy[row, t, position]
                if share == 0.0:
                    continue
                for action in range(n):
                    after = steps.after[row, t, position, action]
                    found.occupancy[row, t + 1, after] += share * probabilities[row, t, position, action]
