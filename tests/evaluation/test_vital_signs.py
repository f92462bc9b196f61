"""Vital signs: each finds what it is there to find, and stays quiet on a policy that is well."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from markets import random_market, random_weights
from stairways.errors import ArtifactError
from stairways.evaluation.verdicts import Group, find
from stairways.evaluation.vital_signs import probe_of, vital_signs
from stairways.policies.spec import PolicySpec
from stairways.trading.observation import position_columns

MLP = PolicySpec(hidden=(16, 16))
LSTM = PolicySpec(kind="lstm", hidden=(16,), lstm_hidden=32)
COLUMNS = tuple(f"c{n}" for n in range(26))
NAMES = ("is_trained", "depends_on_inputs", "acts_variously", "first_layer_moves", "uses_every_column")


def warm_market(n_sessions, **more):
    market = random_market(0, n_sessions, **more)
    return replace(market, neutral=np.zeros_like(market.neutral))


@pytest.fixture(scope="module")
def probe():
    return probe_of(warm_market(30, half_days=(3, 8)), np.random.default_rng(0))


def signs_of(probe, change=lambda weights: None, spec=MLP):
    weights = random_weights(spec, 4, scale=1.6)
    change(weights)
    found = vital_signs(spec, weights, COLUMNS, probe, np.random.default_rng(1))
    assert tuple(sign.name for sign in found) == NAMES
    assert {sign.group for sign in found} == {Group.INFORMATION}
    return found


def failing(signs):
    return {sign.name for sign in signs if not sign.passed}


class TestProbe:
    def test_whole_full_sessions_with_positions_drawn(self, probe):
        assert probe.rows.shape == (28, 38, 29)
        assert probe.n == 28 * 38
        positions = probe.rows[..., position_columns(2)]
        assert set(np.unique(positions)) == {-1.0, 0.0, 1.0}
        assert np.isfinite(probe.rows).all()
        assert "1,064 observations of 28 sessions from 2024-01-02" in probe.describe()

    def test_long_only_positions_are_never_short(self):
        made = probe_of(warm_market(5), np.random.default_rng(0), long_only=True)
        assert set(np.unique(made.rows[..., position_columns(2)])) == {0.0, 1.0}

    def test_preferred_sessions_are_kept_to_where_there_are_some(self):
        market = warm_market(12)
        preferred = np.arange(12) == 7
        assert probe_of(market, np.random.default_rng(0), preferred=preferred).first == str(market.dates[7])
        made = probe_of(market, np.random.default_rng(0), preferred=np.zeros(12, bool))
        assert made.n > 38

    def test_sessions_without_a_regime_are_taken_only_where_there_are_no_others(self):
        market = warm_market(4)
        neutral = np.ones_like(market.neutral)
        made = probe_of(replace(market, neutral=neutral.copy()), np.random.default_rng(0))
        assert len(made.rows) == 4
        neutral[2] = False
        made = probe_of(replace(market, neutral=neutral), np.random.default_rng(0))
        assert made.first == made.last == str(market.dates[2])

    def test_no_more_than_about_ten_thousand(self):
        made = probe_of(warm_market(400), np.random.default_rng(0))
        assert 10_000 <= made.n < 10_000 + 38


class TestSigns:
    @pytest.mark.parametrize("spec", [MLP, LSTM], ids=["mlp", "lstm"])
    def test_a_policy_that_is_well(self, probe, spec):
        found = signs_of(probe, spec=spec)
        assert failing(found) == set()
        assert find(found, "uses_every_column").observed == 0

    def test_a_policy_that_was_never_trained(self, probe):
        def untrained(weights):
            weights["policy.head.weight"] *= 0.01
            weights["policy.head.bias"][:] = 0.0

        found = signs_of(probe, untrained)
        assert "is_trained" in failing(found)
        assert find(found, "is_trained").observed == pytest.approx(math.log(9), rel=1e-3)

    def test_a_policy_that_looks_at_nothing(self, probe):
        def blind(weights):
            weights["policy.0.weight"][:] = 0.0

        found = signs_of(probe, blind)
        assert {"depends_on_inputs", "acts_variously", "uses_every_column"} <= failing(found)
        assert find(found, "depends_on_inputs").observed == pytest.approx(0.0, abs=1e-12)
        assert find(found, "acts_variously").observed == 1.0
        assert (
            "of 26 columns 26 have weights of 0 (c0, c1, c2, c3, c4, ...)"
            in find(found, "uses_every_column").reason
        )

    def test_a_policy_that_always_does_the_same(self, probe):
        def stuck(weights):
            weights["policy.head.bias"][4] = 50.0

        found = signs_of(probe, stuck)
        assert {"depends_on_inputs", "acts_variously"} <= failing(found)
        assert "keep,keep in 100.0%" in find(found, "acts_variously").reason

    def test_a_first_layer_that_has_run_into_its_ends(self, probe):
        def saturated(weights):
            weights["policy.0.weight"] *= 100.0

        found = signs_of(probe, saturated)
        assert "first_layer_moves" in failing(found)
        assert find(found, "first_layer_moves").observed > 0.9

    def test_the_share_of_saturated_outputs_is_the_plain_one(self, probe):
        weights = random_weights(MLP, 4, scale=6.0)
        rows = probe.rows.reshape(-1, 29)[:, :26]
        plain = np.abs(np.tanh(rows @ weights["policy.0.weight"].T + weights["policy.0.bias"])) > 0.99
        found = vital_signs(MLP, weights, COLUMNS, probe, np.random.default_rng(1))
        assert find(found, "first_layer_moves").observed == pytest.approx(plain.mean(), abs=1e-4)

    @pytest.mark.parametrize("spec", [MLP, LSTM], ids=["mlp", "lstm"])
    def test_columns_without_weight_and_columns_that_move_nothing(self, probe, spec):
        first = "policy.0.weight" if spec.kind == "mlp" else "policy.lstm.weight_ih_l0"

        def deaf(weights):
            weights[first][:, 3] = 0.0
            weights[first][:, 7] = 1e-9

        sign = find(signs_of(probe, deaf, spec), "uses_every_column")
        assert not sign.passed
        assert sign.observed == 2.0
        assert "1 have weights of 0 (c3) and 1 move nothing (c7)" in sign.reason

    def test_weights_that_overflow_are_refused(self, probe):
        def huge(weights):
            weights["policy.head.weight"][:] = 3e38

        with pytest.raises(ArtifactError, match="not finite"):
            signs_of(probe, huge)
