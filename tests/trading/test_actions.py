"""Actions: every id by its digits, and what each would order."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from stairways.trading.actions import (
    BUY,
    KEEP,
    SELL,
    action_id,
    action_meanings,
    hold_action,
    leg_table,
    n_actions,
    order_table,
)


def test_the_definitions_by_hand():
    assert (n_actions(2), n_actions(3)) == (9, 27)
    assert (hold_action(2), hold_action(3)) == (4, 13)
    assert action_id((BUY, SELL)) == 3 * 2 + 0
    assert action_id((SELL, KEEP, BUY)) == 9 * 0 + 3 * 1 + 2
    assert action_meanings(2)[:3] == ("sell,sell", "sell,keep", "sell,buy")
    assert action_meanings(3)[13] == "keep,keep,keep"


@pytest.mark.parametrize("n_symbols", [1, 2, 3])
def test_ids_and_legs_are_inverse(n_symbols):
    for number, legs in enumerate(itertools.product((SELL, KEEP, BUY), repeat=n_symbols)):
        assert action_id(legs) == number
        assert leg_table(n_symbols)[number].tolist() == [leg - 1 for leg in legs]
    assert not leg_table(n_symbols)[hold_action(n_symbols)].any()


@pytest.mark.parametrize("long_only", [False, True])
@pytest.mark.parametrize("n_symbols", [2, 3])
def test_orders_are_the_legs_that_move(n_symbols, long_only):
    table = order_table(n_symbols, long_only)
    for position, units in enumerate(itertools.product((-1, 0, 1), repeat=n_symbols)):
        for action, legs in enumerate(itertools.product((-1, 0, 1), repeat=n_symbols)):
            lowest = 0 if long_only else -1
            moved = sum(
                min(1, max(lowest, unit + leg)) != unit for unit, leg in zip(units, legs, strict=True)
            )
            assert table[position, action] == moved or (long_only and min(units) < 0)


def test_hold_orders_nothing_and_reaffirming_neither():
    table = order_table(2)
    assert not table[:, hold_action(2)].any()
    assert table[action_id((BUY, BUY)), action_id((BUY, BUY))] == 0
    assert table[action_id((BUY, BUY)), action_id((SELL, SELL))] == 2
    assert order_table(2, long_only=True)[4, action_id((SELL, BUY))] == 1


def test_the_tables_can_not_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        leg_table(2)[0] = 0
    with pytest.raises(ValueError, match="read-only"):
        order_table(2)[0] = 0
    assert leg_table(2).dtype == order_table(2).dtype == np.int8
