"""The tilt and the draw: formula, monotonicity, nearness in KL, and numbers keyed by session and bar."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from scipy import linalg, stats

from stairways.policies.actor import greedy, keyed_uniform, log_probabilities, sample, tilt
from stairways.trading.actions import hold_action, order_table

FLOOR = -20.0


def _tilted(
    logits, orders, hold, hold_multiplier, trade_multiplier, floor=FLOOR, coupling=1.0, anchor=0.0
) -> np.ndarray:
    """Return the probabilities that the compiled tilt leads to."""
    scores = np.empty(len(logits))
    log_probabilities(logits.astype(np.float32), floor, scores)
    tilt(scores, orders, hold, hold_multiplier, trade_multiplier, coupling, anchor)
    odds = np.exp(scores - scores.max())
    return odds / odds.sum()


def _by_formula(logits, orders, hold, hold_multiplier, trade_multiplier, floor=FLOOR) -> np.ndarray:
    """Return pi(a|s) exp(lambda_hold [a is hold] - lambda_trade orders(a, s)), normalised."""
    logits = logits.astype(np.float32).astype(np.float64)
    base = np.maximum(logits - np.log(np.exp(logits).sum()), floor)
    weight = np.exp(base - trade_multiplier * orders.astype(float))
    weight[hold] *= np.exp(hold_multiplier)
    return weight / weight.sum()


@settings(deadline=None, max_examples=100)
@given(
    seed=st.integers(0, 100_000),
    n_symbols=st.sampled_from([2, 3]),
    long_only=st.booleans(),
    hold_multiplier=st.floats(-15, 15),
    trade_multiplier=st.floats(-6, 15),
    spread=st.sampled_from([0.1, 3.0, 30.0]),
)
def test_it_is_the_formula(seed, n_symbols, long_only, hold_multiplier, trade_multiplier, spread):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0.0, spread, 3**n_symbols)
    orders = order_table(n_symbols, long_only)[rng.integers(3**n_symbols)]
    arguments = (logits, orders, hold_action(n_symbols), hold_multiplier, trade_multiplier)
    np.testing.assert_allclose(_tilted(*arguments), _by_formula(*arguments), rtol=1e-9, atol=1e-300)


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 10_000), trade=st.floats(-6, 15))
def test_the_hold_rate_rises_with_its_multiplier(seed, trade):
    rng = np.random.default_rng(seed)
    logits, orders = rng.normal(0.0, 3.0, 9), order_table(2)[rng.integers(9)]
    rates = [_tilted(logits, orders, 4, strength, trade)[4] for strength in np.linspace(-15, 15, 61)]
    assert (np.diff(rates) > 0.0).all() or rates[-1] == pytest.approx(1.0, abs=1e-9)
    assert (np.diff(rates) >= 0.0).all()


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 10_000), hold=st.floats(-15, 15))
def test_the_orders_fall_as_their_price_rises(seed, hold):
    rng = np.random.default_rng(seed)
    logits, orders = rng.normal(0.0, 3.0, 9), order_table(2)[rng.integers(9)]
    expected = [_tilted(logits, orders, 4, hold, price) @ orders for price in np.linspace(-6, 15, 43)]
    assert (np.diff(expected) <= 1e-15).all()


def _coupled_by_formula(logits, orders, hold, strength, trade, coupling, anchor) -> np.ndarray:
    """Choose the next position first, then the action that leads to it."""
    base = np.exp(logits.astype(np.float32).astype(np.float64))
    base = np.maximum(base / base.sum(), np.exp(FLOOR))
    stays = orders == 0

    def staying(multiplier: float) -> float:
        return float(np.sum(base[stays] * np.exp(multiplier * (np.flatnonzero(stays) == hold))))

    together = staying(anchor) ** (1.0 - coupling) * staying(strength) ** coupling
    weight = base * np.exp(-trade * orders.astype(float))
    among = base * np.exp(strength * (np.arange(len(base)) == hold)) * stays
    weight = np.where(stays, together * among / among.sum(), weight)
    return weight / weight.sum()


@settings(deadline=None, max_examples=100)
@given(
    seed=st.integers(0, 100_000),
    n_symbols=st.sampled_from([2, 3]),
    strength=st.floats(-15, 15),
    trade=st.floats(-6, 15),
    coupling=st.sampled_from([0.0, 0.1, 0.7]),
    anchor=st.floats(-15, 15),
)
def test_coupled_it_chooses_the_position_first(seed, n_symbols, strength, trade, coupling, anchor):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0.0, 3.0, 3**n_symbols)
    orders, hold = order_table(n_symbols)[rng.integers(3**n_symbols)], hold_action(n_symbols)
    found = _tilted(logits, orders, hold, strength, trade, FLOOR, coupling, anchor)
    wanted = _coupled_by_formula(logits, orders, hold, strength, trade, coupling, anchor)
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-300)


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 10_000), strength=st.floats(-15, 15), trade=st.floats(-6, 15))
def test_uncoupled_the_hold_multiplier_moves_no_position(seed, strength, trade):
    rng = np.random.default_rng(seed)
    logits, orders = rng.normal(0.0, 3.0, 9), order_table(2)[rng.integers(9)]
    resting = _tilted(logits, orders, 4, -2.0, trade, FLOOR, 0.0, -2.0)
    moved = _tilted(logits, orders, 4, strength, trade, FLOOR, 0.0, -2.0)
    np.testing.assert_allclose(moved[orders > 0], resting[orders > 0], rtol=1e-9, atol=1e-300)
    # at its anchor it is the plain tilt
    np.testing.assert_allclose(resting, _tilted(logits, orders, 4, -2.0, trade), rtol=1e-9, atol=1e-300)


def _divergence(q, p) -> float:
    return float(np.sum(q * np.log(q / p)))


@pytest.mark.parametrize("seed", range(8))
def test_it_is_the_nearest_policy_with_its_hold_and_trade_rates(seed):
    """Over all positions at once: none of many alternatives of the same two rates is nearer in KL."""
    rng = np.random.default_rng(seed)
    orders, hold = order_table(2).astype(float), 4
    base = np.array([_tilted(rng.normal(0, 1.5, 9), order_table(2)[s], hold, 0.0, 0.0) for s in range(9)])
    visits = rng.dirichlet(np.ones(9))
    multipliers = rng.uniform(-3, 3), rng.uniform(-1, 3)
    tilted = np.array([_tilted(np.log(base[s]), order_table(2)[s], hold, *multipliers) for s in range(9)])
    near = visits @ [_divergence(tilted[s], base[s]) for s in range(9)]
    sums = np.kron(np.eye(9), np.ones(9))
    holds = np.kron(visits, np.eye(9)[hold])
    trades = (visits[:, None] * orders).ravel()
    free = linalg.null_space(np.vstack([sums, holds, trades]))
    for _ in range(200):
        move = (free @ rng.normal(size=free.shape[1])).reshape(9, 9)
        limit = np.min(-tilted[move < 0] / move[move < 0])
        other = tilted + rng.uniform(0.01, 0.9) * limit * move
        assert visits @ other[:, hold] == pytest.approx(visits @ tilted[:, hold], abs=1e-12)
        far = visits @ [_divergence(other[s], base[s]) for s in range(9)]
        assert far > near


def test_the_floor_brings_every_action_within_reach():
    logits = np.array([0.0] * 4 + [1_000.0] + [0.0] * 4)
    flat = order_table(2)[4]
    assert _tilted(logits, flat, 4, 0.0, 0.0)[0] == pytest.approx(np.exp(-20.0), rel=1e-6)
    assert _tilted(logits, flat, 4, -15.0, -6.0)[4] < 0.01
    assert _tilted(logits, flat, 4, -15.0, -6.0, floor=-1e300)[4] == 1.0


def test_the_largest_score_wins_and_the_lowest_id_on_a_tie():
    assert greedy(np.array([0.0, 2.0, 1.0])) == 1
    assert greedy(np.array([0.0, 2.0, 2.0, 2.0])) == 1
    assert greedy(np.zeros(9)) == 0


@njit
def _draws(scores, key, n):
    counts = np.zeros(len(scores), np.int64)
    for i in range(n):
        counts[sample(scores, keyed_uniform(key, 18_000 + i // 389, i % 389))] += 1
    return counts


@njit
def _uniforms(key, first_date, n_dates, n_bars):
    out = np.empty((n_dates, n_bars))
    for date in range(n_dates):
        for bar in range(n_bars):
            out[date, bar] = keyed_uniform(key, first_date + date, bar)
    return out


@pytest.mark.parametrize("seed", range(4))
def test_frequencies_match_the_probabilities(seed):
    scores = np.random.default_rng(seed).normal(0.0, 1.0, 9)
    probabilities = np.exp(scores) / np.exp(scores).sum()
    counts = _draws(scores, np.uint64(seed), 200_000)
    assert stats.chisquare(counts, 200_000 * probabilities).pvalue > 1e-3


def test_a_draw_is_the_inverse_of_the_cumulative_probabilities():
    scores = np.log(np.array([0.1, 0.2, 0.3, 0.4]))
    picks = [sample(scores, u) for u in (0.0, 0.0999, 0.1001, 0.2999, 0.3001, 0.5999, 0.6001, 1.0 - 2**-53)]
    assert picks == [0, 0, 1, 1, 2, 2, 3, 3]


def test_an_impossible_action_is_never_drawn():
    scores = np.array([-1e300, 0.0, -1e300, 0.0, -1e300])
    assert [sample(scores, u) for u in (0.0, 0.4999, 0.5, 1.0 - 2**-53)] == [1, 1, 3, 3]


@pytest.mark.parametrize("key", [0, 1, 2**63, 2**64 - 1])
def test_keyed_numbers_are_uniform(key):
    numbers = _uniforms(np.uint64(key), 18_262, 600, 389)
    assert stats.kstest(numbers.ravel(), "uniform").pvalue > 1e-3
    assert numbers.min() >= 0.0
    assert numbers.max() < 1.0
    assert stats.kstest(numbers.mean(axis=1) * np.sqrt(12 * 389), "norm", (np.sqrt(3 * 389), 1)).pvalue > 1e-3
    assert stats.kstest(numbers.mean(axis=0) * np.sqrt(12 * 600), "norm", (np.sqrt(3 * 600), 1)).pvalue > 1e-3


def test_keyed_numbers_are_independent_across_bars_dates_and_runs():
    numbers = _uniforms(np.uint64(11), 18_262, 600, 389)
    other_run = _uniforms(np.uint64(12), 18_262, 600, 389)
    pairs = {
        "next bar": (numbers[:, 1:], numbers[:, :-1]),
        "next date": (numbers[1:], numbers[:-1]),
        "diagonal": (numbers[1:, 1:], numbers[:-1, :-1]),
        "next run": (numbers, other_run),
        "next run, date before": (numbers[:-1], other_run[1:]),
        "20 bars on": (numbers[:, 20:], numbers[:, :-20]),
    }
    for name, (left, right) in pairs.items():
        table = np.histogram2d(left.ravel(), right.ravel(), bins=10, range=[[0, 1], [0, 1]])[0]
        assert stats.chisquare(table.ravel()).pvalue > 1e-3, name


def test_keyed_numbers_equal_the_same_in_whole_number_arithmetic():
    """They are part of what a replay is: a change here changes every digest."""
    found = [keyed_uniform(np.uint64(k), d, b) for k, d, b in ((0, 0, 0), (7, 19_000, 0), (7, 19_000, 388))]
    assert found == [_reference(*key) for key in ((0, 0, 0), (7, 19_000, 0), (7, 19_000, 388))]


def _reference(key, date, bar) -> float:
    """Return the same number in whole-number Python."""

    def finalise(z):
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        return z ^ (z >> 31)

    z = finalise((key + date * 0x9E3779B97F4A7C15) % 2**64)
    return (finalise((z + bar * 0xD1B54A32D192ED03) % 2**64) >> 11) / 2**53
