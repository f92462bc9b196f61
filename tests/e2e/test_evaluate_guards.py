"""What ``evaluate`` refuses to be talked into."""

from __future__ import annotations

import json
import shutil

import pytest


@pytest.fixture
def judge(market, cli, tuned):
    """Evaluate an artifact on bars and sessions, as JSON, and return its status and record."""

    def judged(*more, artifact=None, sessions=None):
        dates = sessions or market.ranges["test"]
        ended = cli(
            *("evaluate", artifact or tuned / "artifact", "--bars", market.bars, "--interval", "5min"),
            *("--sessions", dates, "--json", "--config", market.config, *more),
        )
        return ended.status, json.loads(ended.out)

    return judged


def verdict(record, name):
    return next(v for v in record["verdicts"] if v["name"] == name)


def test_sessions_it_was_tuned_on_do_not_pass(market, judge):
    status, record = judge(sessions=market.ranges["tune"])
    assert status == 1
    assert "out_of_sample" in record["required"]
    assert not verdict(record, "out_of_sample")["passed"]
    assert record["data"]["in_sample_sessions"] == record["policy"]["n_sessions"]


def test_unseen_sessions_are_out_of_sample(judge):
    _, record = judge()
    assert verdict(record, "out_of_sample")["passed"]
    assert record["data"]["in_sample_sessions"] == 0


def test_without_its_gold_drift_counts_as_failed(judge, tuned, tmp_path):
    alone = tmp_path / "alone"
    shutil.copytree(tuned / "artifact", alone)
    status, record = judge(artifact=alone)
    assert status == 1
    assert "parameter_drift" in record["required"]
    assert not verdict(record, "parameter_drift")["passed"]
    assert record["gold"] is None


def test_another_mode_than_the_deployed_one_does_not_gate(judge):
    status, record = judge("--mode", "greedy")
    assert status == 1
    assert "deployment is sampled" in verdict(record, "hold_rate")["reason"]
    assert record["policy"]["mode"] == "greedy"


def test_real_bars_are_not_replaced_by_the_sample(market, cli, tuned, tmp_path):
    ended = cli("evaluate", tuned / "artifact", "--sessions", market.ranges["test"])
    assert ended.status == 2
    assert "--bars is missing" in ended.err
    ranges = ("--tune", market.ranges["tune"], "--test", market.ranges["test"])
    ended = cli("tune", "--gold", market.gold, "--interval", "5min", *ranges, "--out", tmp_path / "run")
    assert ended.status == 2
    assert "--bars is missing" in ended.err
    assert not (tmp_path / "run").exists()


def test_a_run_folder_points_to_its_artifact(market, cli, tuned):
    ended = cli("evaluate", tuned, "--bars", market.bars, "--sessions", market.ranges["test"])
    assert ended.status == 2
    assert str(tuned / "artifact") in ended.err


def test_a_copied_folder_of_bars_makes_nothing_unseen(market, cli, tuned, tmp_path):
    copied = tmp_path / "elsewhere"
    shutil.copytree(market.bars, copied)
    arguments = market.evaluate(tuned / "artifact", "--json", sessions="train")
    counts = []
    for bars in (market.bars, copied):
        words = [str(bars) if word == str(market.bars) else word for word in arguments]
        verdicts = json.loads(cli(*words).out)["verdicts"]
        counts.append(next(one for one in verdicts if one["name"] == "out_of_sample")["observed"])
    assert counts[0] == counts[1] > 0
