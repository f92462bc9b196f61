"""The audit of fills: the product's own books agree with their tape, and what is no number does not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from builders import random_sessions
from markets import SHORT_REGIME, random_program
from stairways.evaluation.leak import ProductPipeline
from stairways.evaluation.leak_fills import audit, reference_prices
from stairways.market.features import FeatureConstants, compute_features
from stairways.trading.kernel import COMMISSION, IMPACT, PRICE, QUANTITY, SPREAD
from stairways.trading.rules import CostModel, TradingRules


@pytest.fixture(scope="module")
def books():
    """A replay and the sessions it was made on."""
    sessions = random_sessions(3, 9, 2, 10, half_days=[6])
    raw = compute_features(sessions, SHORT_REGIME)
    constants = FeatureConstants.fit(raw, sessions, slice(0, 4))
    rules = TradingRules(costs=CostModel(impact_bps=20.0, ticket_usd=1.0))
    pipeline = ProductPipeline(constants, SHORT_REGIME, random_program(11), rules, run_key=5)
    part = slice(5, 9)
    return pipeline(sessions, part).replay, sessions.select(part)


def filled(books, place=7):
    """Return the session, bar and leg of a fill."""
    run, _ = books
    return tuple(np.argwhere(run.fills[..., QUANTITY] != 0.0)[place].tolist())


def changed_fill(books, column, value):
    run, _ = books
    where = filled(books)
    fills = np.array(run.fills)
    fills[(*where, column)] = value
    return replace(run, fills=fills), where


def test_the_books_of_the_product_agree_with_their_tape(books):
    assert audit(*books) is None


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("column", [PRICE, SPREAD, IMPACT])
def test_a_fill_made_from_no_number_is_misplaced(books, column, value):
    run, (session, bar, _) = changed_fill(books, column, value)
    found = audit(run, books[1])
    assert (found.session, found.bar) == (session, bar - 1)
    assert found.what.startswith("fill ")


def test_a_quantity_that_is_no_number_is_an_order_nobody_decided(books):
    run, (session, bar, _) = changed_fill(books, QUANTITY, np.nan)
    found = audit(run, books[1])
    assert (found.session, found.bar) == (session, bar - 1)
    assert found.what.startswith("order ")


def test_a_commission_that_is_no_number_leaves_a_nav_that_does_not_follow(books):
    run, (session, bar, _) = changed_fill(books, COMMISSION, np.nan)
    found = audit(run, books[1])
    assert (found.session, found.bar, found.what) == (session, bar, "nav")


def test_a_forced_close_without_a_price_is_misplaced(books):
    run, sessions = books
    session, leg = np.argwhere(run.forced[..., QUANTITY] != 0.0)[0]
    forced = np.array(run.forced)
    forced[session, leg, PRICE] = np.nan
    found = audit(replace(run, forced=forced), sessions)
    assert found.what == f"closing fill {sessions.symbols[leg]}"


def test_a_nav_that_is_no_number_does_not_follow(books):
    run, sessions = books
    nav = np.array(run.nav_usd)
    nav[1, 4] = np.nan
    found = audit(replace(run, nav_usd=nav), sessions)
    assert (found.session, found.bar, found.what) == (1, 4, "nav")


def test_an_open_that_is_no_number_bears_out_no_fill(books):
    run, sessions = books
    where = filled(books)
    opens = np.array(sessions.open)
    opens[where] = np.nan
    found = audit(run, replace(sessions, open=opens))
    assert (found.session, found.bar) == (where[0], where[1] - 1)
    assert found.what.startswith("fill ")


def test_prices_are_those_before_half_spread_and_impact():
    fills = np.array([[10.0, 101.0, 0.0, 6.0, 4.0], [-10.0, 99.0, 0.0, 6.0, 4.0], [0.0, 0.0, 0.0, 0.0, 0.0]])
    np.testing.assert_allclose(reference_prices(fills), [100.0, 100.0, np.nan])
