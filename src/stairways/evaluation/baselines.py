"""Baselines: what a candidate has to be compared with before anyone speaks of skill."""

from __future__ import annotations

import numpy as np

from stairways.evaluation.replay import Script
from stairways.policies.program import DENSE, Program
from stairways.trading.actions import BUY, action_id, hold_action, n_actions
from stairways.trading.observation import ObservedMarket


def all_hold(market: ObservedMarket) -> Script:
    """Return the policy that never trades."""
    return _constant(market, hold_action(market.n_symbols))


def buy_and_hold(market: ObservedMarket) -> Script:
    """Return the policy that is one unit long in every symbol all session.

    It buys at the first decision, keeps re-affirming (which places no order) and is closed with the
    session, like every policy here.
    """
    return _constant(market, action_id((BUY,) * market.n_symbols))


def uniform(n_symbols: int) -> Program:
    """Return the policy to which every action is equally likely.

    Under the same tilt as a candidate it is the random policy of equal hold rate and turnover.
    """
    count = n_actions(n_symbols)
    return Program(
        numbers=np.zeros(2 * count, np.float32),
        operations=np.array([[DENSE, 1, count, 0, count, 0]], dtype=np.int64),
        n_actions=count,
        state_size=0,
        widest=count,
    )


def _constant(market: ObservedMarket, action: int) -> Script:
    shape = (*market.score.shape, n_actions(market.n_symbols))
    return Script(np.full(shape, action, np.int8))
