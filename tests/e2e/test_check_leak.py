"""``stairways check leak`` from the command line."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from stairways.registry.artifact import read_artifact, write_artifact


@pytest.fixture
def check(market, cli):
    """Check an artifact on the bars on disk."""

    def checked(artifact, *more):
        return cli("check", "leak", artifact, "--bars", market.bars, *more)

    return checked


def test_a_clean_artifact_passes_and_says_what_was_compared(market, check):
    ended = check(market.gold, "--seed", "3")
    assert ended.status == 0, ended.out + ended.err
    words = " ".join(ended.out.split())
    assert "drawn from 80 sessions" in words
    assert "48 cut points with 96 changed futures, 29 columns" in words
    assert "computed again from the 60 sessions" in words
    assert "no leak found" in words


def test_the_record_as_json(market, check, tuned):
    ended = check(tuned / "artifact", "--json", "--sessions", market.ranges["test"])
    record = json.loads(ended.out)
    assert ended.status == 0
    assert record["passed"]
    assert record["futures"]["first_difference"] is None
    assert record["futures"]["unchecked"] == []
    assert record["futures"]["fills"] > 0
    assert record["constants"]["origin"] == "fitted"
    first, _, last = market.ranges["test"].partition(":")
    assert all(first <= block["first"] <= block["last"] <= last for block in record["data"]["checked"])


def test_equal_seeds_draw_equal_sessions(market, check):
    one, two, other = (json.loads(check(market.gold, "--json", "--seed", s).out) for s in ("1", "1", "2"))
    assert one == two
    assert one["data"]["checked"] != other["data"]["checked"]


def test_constants_from_elsewhere_are_a_leak(market, check, tmp_path):
    loaded = read_artifact(market.gold)
    features = {**loaded.artifact.features}
    features["mean"] = [[value + 1e-6 for value in row] for row in features["mean"]]
    write_artifact(tmp_path / "forged", replace(loaded.artifact, features=features), loaded.record)
    ended = check(tmp_path / "forged")
    assert ended.status == 1
    assert "LEAK constants" in ended.out
    assert "mean of NVDA.return_1" in ended.out


def test_sessions_it_was_fitted_on_do_not_pass(market, check):
    ended = check(market.gold, "--sessions", market.ranges["train"])
    assert ended.status == 1
    assert "which they were fitted on" in ended.out


def test_a_leak_in_the_pipeline_is_named(market, check, monkeypatch):
    """The very pipeline of the product, with an order of operations mistaken in it."""
    from stairways.evaluation import leak

    honest = leak.compute_features

    def leaky(sessions, regime, **more):
        raw = honest(sessions, regime, **more)
        values = raw.values.copy()
        values[:, :-1, 1, 8] = 0.9 * raw.values[:, :-1, 1, 8] + 0.1 * raw.values[:, 1:, 1, 8]
        return replace(raw, values=values)

    monkeypatch.setattr(leak, "compute_features", leaky)
    ended = check(market.gold)
    assert ended.status == 1
    assert "MSFT.log_volume" in ended.out
    assert "with the future" in ended.out


def test_bad_input_is_one_line(market, cli, tmp_path):
    ended = cli("check", "leak", market.gold)
    assert ended.status == 2
    assert "--bars is missing" in ended.complaint
    assert cli("check", "leak", tmp_path / "nothing").status == 2
    assert "ARTIFACT is missing" in cli("check", "leak").complaint
    ended = cli("check", "leak", market.gold, "--bars", market.bars, "--sessions", "2031-01-02:2031-02-03")
    assert ended.status == 2
    assert "--sessions" in ended.complaint
