"""Actions: what each id means, and what it would order from a position.

An action of ``k`` symbols is one number: leg ``i`` is digit ``i`` in base 3, most significant
first, and each digit is 0 = sell one unit, 1 = keep, 2 = buy one unit. A joint position of units
in {-1, 0, +1} is numbered the same way, with digit = units + 1.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

SELL, KEEP, BUY = 0, 1, 2


def n_actions(n_symbols: int) -> int:
    """Return the number of actions: 9 for two symbols, 27 for three."""
    return int(3**n_symbols)


def hold_action(n_symbols: int) -> int:
    """Return the id of hold, the action with every leg "keep": 4 of 9, 13 of 27."""
    return (n_actions(n_symbols) - 1) // 2


def action_id(legs: tuple[int, ...]) -> int:
    """Return the id of an action given its legs, each 0, 1 or 2."""
    number = 0
    for leg in legs:
        number = 3 * number + leg
    return number


@lru_cache(maxsize=8)
def leg_table(n_symbols: int) -> NDArray[np.int8]:
    """Return the direction of each leg of each action.

    Returns:
        ``(n_actions, n_symbols)`` int8 in {-1, 0, +1}; read as positions, the table also gives the
        units of each joint position.
    """
    ids = np.arange(n_actions(n_symbols))
    powers = 3 ** np.arange(n_symbols - 1, -1, -1)
    table = ((ids[:, None] // powers) % 3 - 1).astype(np.int8)
    table.setflags(write=False)
    return table


@lru_cache(maxsize=8)
def order_table(n_symbols: int, long_only: bool = False) -> NDArray[np.int8]:
    """Return how many orders each action would place from each joint position.

    Buying at the upper bound and selling at the lower one change nothing and place no order.

    Returns:
        ``(n_positions, n_actions)`` int8, positions numbered as in :func:`leg_table`.
    """
    legs = leg_table(n_symbols).astype(np.int64)
    lower = 0 if long_only else -1
    after = np.clip(legs[:, None, :] + legs[None, :, :], lower, 1)
    table: NDArray[np.int8] = (after != legs[:, None, :]).sum(axis=2).astype(np.int8)
    table.setflags(write=False)
    return table


def action_meanings(n_symbols: int) -> tuple[str, ...]:
    """Return the meaning of each action in words, such as ``"sell,keep"``."""
    words = ("sell", "keep", "buy")
    return tuple(",".join(words[leg + 1] for leg in row) for row in leg_table(n_symbols).tolist())
