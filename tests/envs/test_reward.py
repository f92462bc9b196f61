"""The reward's terms against their formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stairways.envs.reward import TERMS, RewardConfig, reward_terms

ALL_ONE = RewardConfig(nav=1, kelly=1, downside=1, turnover=1, position_decay=1, size=1, action_change=1)


def _terms(config=ALL_ONE, *, risk_free=0.0, max_gross=1.0, **changes):
    case = {
        "nav_before": 1e6,
        "nav_after": 1e6,
        "notional": 0.0,
        "gross": 0.0,
        "score": 1.0,
        "changed": False,
        "held": False,
        "hold_bonus_bps": 0.2,
        **changes,
    }
    terms = np.full(len(TERMS), np.nan)
    total = reward_terms(config.numbers(risk_free, max_gross), *case.values(), terms)
    assert total == pytest.approx(terms.sum(), abs=1e-12)
    return dict(zip(TERMS, terms.tolist(), strict=True))


def test_nothing_happens_and_nothing_is_paid():
    assert set(_terms().values()) == {0.0}


@pytest.mark.parametrize("change", [30.0, -30.0])
def test_the_terms_of_a_change(change):
    terms = _terms(nav_after=1e6 * (1 + change / 1e4))
    assert terms["nav"] == pytest.approx(change)
    assert terms["kelly"] == pytest.approx(1e4 * math.log(1 + change / 1e4) - change, rel=1e-6)
    assert terms["downside"] == pytest.approx(-(max(-change, 0.0) ** 2) / 10)


def test_the_other_terms():
    assert _terms(risk_free=0.25)["nav"] == -0.25
    assert _terms(notional=150_000.0)["turnover"] == pytest.approx(-1_500.0)
    assert _terms(gross=300_000.0, score=0.24)["position_decay"] == pytest.approx(-0.3)
    assert _terms(gross=300_000.0, score=-0.24)["position_decay"] == pytest.approx(-0.3)
    assert _terms(gross=300_000.0, score=0.25)["position_decay"] == 0.0
    assert _terms(gross=700_000.0, max_gross=0.5)["size"] == pytest.approx(-0.04)
    assert _terms(gross=400_000.0, max_gross=0.5)["size"] == 0.0
    assert _terms(changed=True)["action_change"] == -1.0
    assert _terms(held=True)["hold_bonus"] == 0.2


def test_the_defaults_are_those_of_the_definitions():
    weights = RewardConfig()
    assert (weights.nav, weights.kelly, weights.downside) == (1.0, 1.0, 0.05)
    assert (weights.turnover, weights.position_decay, weights.size, weights.action_change) == (0, 0, 0, 0)


@pytest.mark.parametrize("after", [1e-9, 0.0, -1e5, -1e7])
def test_ruin_is_a_number_and_never_pays(after):
    terms = _terms(nav_after=after, gross=5e6)
    assert all(map(math.isfinite, terms.values()))
    assert terms["nav"] <= -9_999.0
    assert sum(terms.values()) < -1e4


def test_after_the_ruin_nothing_is_won_or_lost():
    for before, after in ((0.0, 5.0), (-1e5, -2e5), (-1e5, 1e5)):
        assert set(_terms(nav_before=before, nav_after=after, held=True, changed=True).values()) == {0.0}
