"""``stairways gate explain``: what it prints, and what it refuses."""

from __future__ import annotations

import json

import pytest
from workbench import write_yaml


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Simulate a few runs: their result does not matter here."""
    monkeypatch.setattr("stairways.evaluation.gate_explained._runs", lambda _: 5)


def test_it_prints_for_people(cli):
    ended = cli("gate", "explain", "--sessions", "250")
    assert (ended.status, ended.err) == (0, "")
    assert "beats_random" in ended.out
    assert "Power with 250 sessions" in ended.out


def test_it_prints_for_programs_and_follows_the_config(cli, tmp_path):
    config = write_yaml(tmp_path / "gate.yml", {"gate": {"min_sessions": 40, "max_drawdown_ratio": 0.03}})
    ended = cli("gate", "explain", "--config", config, "--json")
    assert (ended.status, ended.err) == (0, "")
    record = json.loads(ended.out)
    assert record["settings"]["min_sessions"] == 40
    [drawdown] = [judge for judge in record["judges"] if judge["name"] == "intraday_drawdown"]
    assert "above 0.0300 of NAV" in drawdown["bound"]
    assert record["power"]["n_sessions"] is None


def test_the_plan_s_shadow_rule_passes_little(cli):
    record = json.loads(cli("gate", "explain", "--preset", "plan", "--json").out)
    assert record["shadow"]["rule"] == "plan"
    assert record["shadow"]["no_skill_probability"] < 0.125


def test_the_same_call_prints_the_same(cli):
    first, second = (cli("gate", "explain", "--json").out for _ in range(2))
    assert first == second


def test_bad_input_is_one_line(cli, tmp_path):
    assert cli("gate", "explain", "--sessions", "0").status == 2
    ended = cli("gate", "explain", "--sessions", "2000000")
    assert ended.status == 2
    assert ended.complaint.startswith("--sessions: 2000000 is not between 1 and 100,000")
    wrong = write_yaml(tmp_path / "wrong.yml", {"gate": {"confidence": 1.5}})
    ended = cli("gate", "explain", "--config", wrong)
    assert ended.status == 2
    assert "confidence" in ended.complaint
