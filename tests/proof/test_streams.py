"""Accounts led through steps: their series, where they run, and that a step goes on where one ended."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from markets import random_market, random_program
from stairways.control.actuators import TiltActuator
from stairways.control.setpoints import SetPoints
from stairways.control.tilt import UNTILTED, Multipliers
from stairways.evaluation.replay import TiltLoop, replay
from stairways.proof.streams import (
    STEPS,
    Account,
    Deployment,
    Lengths,
    accounts_of,
    decision_series,
    respond,
)
from stairways.trading.rules import TradingRules

MARKET = random_market(3, 30, half_days=(4,))
ACTUATOR = TiltActuator()


def deployment(mode="sampled"):
    return Deployment(MARKET, random_program(2), TradingRules(), mode, ACTUATOR)


class TestSeries:
    def test_they_add_up_to_the_ledger(self):
        run = replay(MARKET, random_program(5), TradingRules(), run_seed=9)
        held, orders = decision_series(run)
        assert len(held) == len(orders) == run.ledger.decisions.sum()
        edges = np.cumsum(run.ledger.decisions)[:-1]
        assert [part.sum() for part in np.split(held, edges)] == run.ledger.holds.tolist()
        assert [part.sum() for part in np.split(orders, edges)] == run.ledger.trades.tolist()

    def test_forced_closes_stand_with_the_last_decision(self):
        run = replay(MARKET, random_program(5), TradingRules(), run_seed=9)
        _, orders = decision_series(run)
        last = np.cumsum(run.ledger.decisions) - 1
        assert run.ledger.forced_closes.sum() > 0
        assert (orders[last] >= run.ledger.forced_closes).all()


class TestAccounts:
    def test_each_has_sessions_and_a_key_of_its_own(self):
        found = accounts_of(np.random.SeedSequence(1), 24, slice(100, 1_300), 38)
        firsts = [account.first for account in found]
        assert firsts == sorted(set(firsts))
        assert min(firsts) >= 100
        assert max(firsts) + 38 <= 1_300
        assert len({account.key for account in found}) == 24

    def test_other_seeds_run_elsewhere(self):
        first, second = (accounts_of(np.random.SeedSequence(k), 8, slice(0, 400), 20) for k in (1, 2))
        assert [a.first for a in first] != [a.first for a in second]
        assert not {a.key for a in first} & {a.key for a in second}

    def test_too_many_are_refused(self):
        with pytest.raises(ValueError, match="do not fit"):
            accounts_of(np.random.SeedSequence(1), 24, slice(0, 40), 38)


class TestSteps:
    def test_they_are_those_of_the_two_courses(self):
        pairs = {step.name: (step.hold_rate_ratio, step.trades_per_session) for step in STEPS}
        assert [pairs[name][0] for name in ("start", "hold_up", "hold_down")] == [0.55, 0.75, 0.35]
        assert [pairs[name][1] for name in ("start", "trades_down", "trades_up")] == [16.5, 8, 24]
        for step in STEPS:
            changed = {"hold", "trades"} if step.after is None else set()
            before = next((other for other in STEPS if other.name == step.after), step)
            changed |= {"hold"} if before.hold_rate_ratio != step.hold_rate_ratio else set()
            changed |= {"trades"} if before.trades_per_session != step.trades_per_session else set()
            assert changed == set(step.moved)
            assert step.points == SetPoints(
                hold_rate_ratio=step.hold_rate_ratio, trades_per_session=step.trades_per_session
            )

    def test_lengths(self):
        lengths = Lengths(start=5, hold=2, trades=3)
        assert [lengths.of(step) for step in STEPS] == [5, 2, 2, 3, 3]
        assert lengths.longest == 11


LENGTHS = Lengths(start=3, hold=2, trades=2)
ACCOUNTS = (Account(0, 11), Account(9, 12))
SETTLED = {step.name: Multipliers(0.5, 0.2) for step in STEPS}


class TestResponses:
    def test_a_step_goes_on_with_the_multipliers_and_sessions_where_one_ended(self):
        """The second step by hand: from the final multipliers of the first, in the sessions behind it."""
        found = respond(deployment(), ACCOUNTS, LENGTHS, SETTLED)
        first = deployment().run(0, 3, STEPS[0].points, UNTILTED, 11)
        second = deployment().run(3, 2, STEPS[1].points, first.final_tilt, 11)
        held, orders = decision_series(second)
        shared = found["hold_up"].held.shape[1]
        assert shared <= len(held)
        assert found["hold_up"].held[0].tolist() == held[:shared].tolist()
        assert found["hold_up"].orders[0].tolist() == orders[:shared].tolist()

    def test_both_courses_begin_at_the_end_of_the_shared_step(self):
        """Account 1 runs sessions 9 to 11 first; the trades go down from 12 on, not after the hold steps."""
        found = respond(deployment(), ACCOUNTS, LENGTHS, SETTLED)
        start = deployment().run(9, 3, STEPS[0].points, UNTILTED, 12)
        down = deployment().run(12, 2, STEPS[3].points, start.final_tilt, 12)
        shared = found["trades_down"].held.shape[1]
        assert found["trades_down"].held[1].tolist() == decision_series(down)[0][:shared].tolist()

    def test_series_end_with_the_shortest_account(self):
        """Session 4 is a half day: the account that meets it in its second step is shorter."""
        found = respond(deployment(), ACCOUNTS, LENGTHS, SETTLED)
        decisions = MARKET.n_bars - 1
        assert found["hold_up"].held.shape == (2, decisions[3:5].sum())
        assert found["start"].held.shape == (2, decisions[0:3].sum())

    def test_a_twin_runs_from_the_calibrated_multipliers(self):
        found = respond(deployment("greedy"), ACCOUNTS, LENGTHS, SETTLED)
        twin = deployment("greedy").run(3, 2, STEPS[1].points, Multipliers(0.5, 0.2), 11)
        shared = found["hold_up"].held.shape[1]
        assert found["hold_up"].twin_held[0].tolist() == decision_series(twin)[0][:shared].tolist()
        assert found["hold_up"].twin_orders[0].tolist() == decision_series(twin)[1][:shared].tolist()

    def test_an_anchored_loop_keeps_its_anchor_and_its_start(self):
        anchored = replace(deployment(), anchor=0.7)
        found = respond(anchored, ACCOUNTS, LENGTHS, SETTLED, Multipliers(0.7, 0.1))["start"]
        loop = TiltLoop(ACTUATOR, ACTUATOR.live, STEPS[0].points, Multipliers(0.7, 0.1), 0.7)
        run = replay(MARKET.select(slice(0, 3)), random_program(2), TradingRules(), run_seed=11, loop=loop)
        assert found.held[0].tolist() == decision_series(run)[0][: found.held.shape[1]].tolist()

    def test_an_anchored_loop_is_calibrated_where_it_stands(self):
        """Started there, its multipliers stay there in the mean; those of a loop without anchor do not."""
        points = SetPoints(hold_rate_ratio=0.4)
        anchored = replace(deployment(), anchor=2.0)
        there = anchored.calibrated(slice(0, 30), points, 1)
        later = anchored.run(0, 30, points, there, 1)
        mean = float(np.mean(later.trace()[:, 0]))
        unanchored = deployment().calibrated(slice(0, 30), points, 1)
        assert abs(there.hold - mean) < abs(unanchored.hold - mean) / 3

    def test_a_loop_that_starts_where_its_twin_does_has_no_transient(self):
        settled = {step.name: UNTILTED for step in STEPS}
        found = respond(deployment(), ACCOUNTS, LENGTHS, settled)["start"]
        assert (found.held == found.twin_held).all()
        assert (found.orders == found.twin_orders).all()
