import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stairways.errors import InputError
from stairways.evaluation.overfitting import fitting_blocks, overfitting_probability


def noise(seed: int, n_sessions: int, n_trials: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_t(4, (n_sessions, n_trials)) * 0.004


def plain(returns: np.ndarray, n_blocks: int):
    """Follow the paper step by step: one split at a time, one trial at a time."""
    blocks = np.array_split(np.arange(len(returns)), n_blocks)
    logits, inside, outside = [], [], []
    for members in combinations(range(n_blocks), n_blocks // 2):
        chosen_from = np.concatenate([blocks[b] for b in members])
        left = np.concatenate([blocks[b] for b in range(n_blocks) if b not in members])
        first = [column[chosen_from].mean() / column[chosen_from].std(ddof=1) for column in returns.T]
        second = [column[left].mean() / column[left].std(ddof=1) for column in returns.T]
        best = max(range(len(first)), key=first.__getitem__)
        below = sum(value < second[best] for value in second)
        equal = sum(value == second[best] for value in second)
        rank = (below + (equal + 1) / 2) / (len(second) + 1)
        logits.append(math.log(rank / (1 - rank)))
        inside.append(first[best] * math.sqrt(252))
        outside.append(second[best] * math.sqrt(252))
    return np.array(logits), np.array(inside), np.array(outside)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(40, 90),
    st.integers(2, 9),
    st.sampled_from([2, 4, 6, 8]),
    st.floats(-0.05, 0.05),
)
def test_the_fast_form_equals_the_plain_one(seed, n_sessions, n_trials, n_blocks, level):
    returns = noise(seed, n_sessions, n_trials) + level
    found = overfitting_probability(returns, n_blocks)
    for fast, slow in zip(
        (found.logits, found.in_sample_annual, found.out_of_sample_annual),
        plain(returns, n_blocks),
        strict=True,
    ):
        np.testing.assert_allclose(fast, slow, rtol=1e-8, atol=1e-10)


def test_the_figures_follow_from_the_splits():
    found = overfitting_probability(noise(1, 120, 6), 8)
    assert found.n_splits == math.comb(8, 4)
    assert found.probability == np.mean(found.logits <= 0)
    assert found.loss_probability == np.mean(found.out_of_sample_annual < 0)
    slope = np.polyfit(found.in_sample_annual, found.out_of_sample_annual, 1)[0]
    assert found.degradation_slope == pytest.approx(slope)
    assert (found.n_sessions, found.n_trials, found.n_blocks) == (120, 6, 8)


@pytest.mark.parametrize(("n_trials", "expected"), [(6, 0.5), (7, 4 / 7)])
def test_noise_is_chosen_no_better_than_by_chance(n_trials, expected):
    found = [overfitting_probability(noise(seed, 80, n_trials), 8) for seed in range(400)]
    shares = [one.probability for one in found]
    error = np.std(shares, ddof=1) / math.sqrt(len(shares))
    assert np.mean(shares) == pytest.approx(expected, abs=3 * error)
    assert found[0].chance_probability == expected


def test_a_trial_that_is_really_better_is_chosen_and_stays_better():
    returns = noise(2, 200, 10)
    returns[:, 4] += 0.004
    found = overfitting_probability(returns)
    assert found.probability < 0.02
    assert found.loss_probability < 0.02


def test_trials_that_are_good_in_turns_overfit_for_sure():
    # each trial earns in blocks of one parity and loses in the others; half of six blocks has more of one
    returns = noise(3, 60, 4) * 0.05
    odd = np.arange(60) // 10 % 2 == 1
    for trial in range(4):
        returns[:, trial] += np.where(odd == bool(trial % 2), 0.002, -0.002)
    found = overfitting_probability(returns, 6)
    assert found.probability == 1.0
    assert found.loss_probability == 1.0
    assert found.degradation_slope < 0


def test_equal_trials_share_their_rank():
    returns = np.repeat(noise(4, 60, 1), 5, axis=1)
    found = overfitting_probability(returns, 6)
    assert np.all(found.logits == 0.0)
    assert found.probability == 1.0


def test_one_pair_of_mirrored_halves():
    found = overfitting_probability(noise(5, 40, 3), 2)
    assert found.n_splits == 2


def test_the_slope_of_choices_that_all_looked_alike_is_none():
    half = noise(6, 20, 1)
    returns = np.vstack([half, half]) @ np.array([[1.0, 1.0]])
    assert overfitting_probability(returns, 2).degradation_slope is None


@pytest.mark.parametrize(("n_sessions", "n_blocks"), [(40, 8), (59, 10), (64, 12), (79, 14), (900, 16)])
def test_as_many_blocks_as_fit(n_sessions, n_blocks):
    assert fitting_blocks(n_sessions) == n_blocks
    assert overfitting_probability(noise(7, n_sessions, 3)).n_blocks == n_blocks


def test_the_risk_free_return_is_taken_off():
    returns = noise(8, 60, 4)
    with_rate = overfitting_probability(returns, 6, 2e-4)
    np.testing.assert_allclose(
        with_rate.in_sample_annual, overfitting_probability(returns - 2e-4, 6).in_sample_annual
    )


def flat_half() -> np.ndarray:
    returns = noise(9, 80, 3)
    returns[:40, 1] = 0.001
    return returns


@pytest.mark.parametrize(
    ("returns", "n_blocks", "words"),
    [
        (noise(0, 39, 4), None, "not enough sessions: 39, at least 40"),
        (noise(0, 60, 1), None, "no choice between trials"),
        (noise(0, 60, 4)[:, 0], None, "no choice between trials"),
        (noise(0, 60, 4), 7, "7 blocks: give an even number"),
        (noise(0, 60, 4), 18, "18 blocks: give an even number"),
        (np.where(np.arange(240).reshape(60, 4) == 5, np.nan, noise(0, 60, 4)), 6, "session 1 of trial 1"),
        (flat_half(), 4, "trial 1 has no spread in some half"),
        (np.zeros((60, 3)), 4, "trial 0 has no spread in some half"),
    ],
)
def test_what_cant_be_judged_is_refused(returns, n_blocks, words):
    with pytest.raises(InputError, match=words):
        overfitting_probability(returns, n_blocks)
