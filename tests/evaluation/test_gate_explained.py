import json

import numpy as np
import pytest

from stairways.errors import ConfigError
from stairways.evaluation.evidence import Evidence
from stairways.evaluation.gate_config import GateConfig
from stairways.evaluation.gate_explained import (
    MEANINGS,
    SHOWN_CORRELATIONS,
    USUAL_SESSIONS,
    _runs,
    explain_gate,
)
from stairways.evaluation.gates import JUDGES, required_names
from stairways.evaluation.power import PairedPower
from stairways.evaluation.shadow_power import shadow_power

SEED = np.random.SeedSequence(3)


@pytest.fixture(autouse=True)
def short(request, monkeypatch):
    """Simulate a few runs where their result does not matter."""
    if "record" not in request.fixturenames:
        monkeypatch.setattr("stairways.evaluation.gate_explained._runs", lambda _: 5)


@pytest.fixture(scope="module")
def record():
    return explain_gate(GateConfig(), 300, np.random.SeedSequence(3))


def test_every_judge_has_a_meaning_and_the_bound_of_its_own_verdict(record):
    assert MEANINGS.keys() == JUDGES.keys()
    assert [judge["name"] for judge in record["judges"]] == list(JUDGES)
    config = GateConfig()
    for judge in record["judges"]:
        assert judge["bound"] == JUDGES[judge["name"]](Evidence(), config).threshold
        assert judge["required"] == (judge["name"] in required_names(config))


def test_bounds_follow_the_config():
    config = GateConfig(trades_band=(3.0, 9.0), require_skill=False, confidence=0.9, min_sessions=35)
    found = explain_gate(config, None, SEED)
    judges = {judge["name"]: judge for judge in found["judges"]}
    assert judges["trades_per_session"]["bound"].startswith("3 to 9 trades")
    assert judges["beats_gold"]["bound"].startswith("90%")
    assert not judges["beats_gold"]["required"]
    needed = {(row["difference_annual"], row["correlation"]): row for row in found["power"]["needed"]}
    assert needed[1.0, 0.8]["n_sessions"] == PairedPower(0.8, 0.9).sessions_needed(1.0)
    assert needed[2.0, 0.99]["n_sessions"] == 35
    assert needed[2.0, 0.99]["n_sessions_by_formula"] == PairedPower(0.99, 0.9).sessions_needed(2.0) < 35
    assert all(row["n_sessions"] >= 35 for row in found["power"]["simulated"])
    too_few = [row for row in found["power"]["detectable"] if row["n_sessions"] == 20]
    assert [row["difference_annual"] for row in too_few] == [None] * len(SHOWN_CORRELATIONS)


def test_the_odds_of_the_shadow_rule(record):
    power = shadow_power(GateConfig())
    assert record["shadow"]["no_skill_probability"] == power.no_skill
    assert record["shadow"]["skilled_probability"] == power.skilled


def test_the_odds_of_the_plan_s_shadow_rule():
    plan = explain_gate(GateConfig(shadow_rule="plan"), None, SEED)["shadow"]
    assert plan["no_skill_probability"] < 0.125


def test_what_is_simulated_agrees_with_the_formula(record):
    for row in record["power"]["simulated"]:
        error = np.sqrt(row["formula_ratio"] * (1 - row["formula_ratio"]) / row["n_runs"])
        # 60 sessions of t(4) returns without a difference are accepted a little more often than nominal
        assert row["ratio"] == pytest.approx(row["formula_ratio"], abs=4 * error)
        assert row["low_ratio"] < row["ratio"] < row["high_ratio"]
    assert [row["difference_annual"] for row in record["power"]["simulated"]] == [0.5, 1.0, 2.0, 0.0]


def test_the_sessions_asked_for_stand_among_the_usual_ones(record):
    shown = dict.fromkeys(row["n_sessions"] for row in record["power"]["detectable"])
    assert list(shown) == sorted({*USUAL_SESSIONS, 300})
    at = {
        (row["difference_annual"], row["correlation"]): row["power_ratio"]
        for row in record["power"]["at_n_sessions"]
    }
    assert at[1.0, 0.9] == PairedPower(0.9).power(300, 1.0)


def test_below_the_least_sessions_nothing_is_ever_accepted():
    found = explain_gate(GateConfig(), 19, SEED)["power"]["at_n_sessions"]
    assert {row["power_ratio"] for row in found} == {0.0}


def test_the_record_is_plain_json(record):
    assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_the_same_seed_gives_the_same():
    first, second = (explain_gate(GateConfig(), 300, np.random.SeedSequence(4)) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("n_sessions", [0, -3, 100_001])
def test_an_impossible_number_of_sessions_is_refused(n_sessions):
    with pytest.raises(ConfigError, match="--sessions"):
        explain_gate(GateConfig(), n_sessions, SEED)


@pytest.mark.usefixtures("record")
@pytest.mark.parametrize(("n_sessions", "n_runs"), [(20, 400), (1_000, 400), (2_000, 200), (1_000_000, 20)])
def test_long_simulations_take_fewer_runs(n_sessions, n_runs):
    assert _runs(n_sessions) == n_runs
