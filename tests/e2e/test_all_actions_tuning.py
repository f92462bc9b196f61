"""Tuning on every action from every position: one seed one result, killed, resumed, refused."""

from __future__ import annotations

import signal

import pytest
from processes import Moment, command, command_that_dies, finish, start, words_of
from test_kill_and_resume import result_of
from workbench import FAST, json_of, merged, pack_holding_gold, write_yaml

from stairways.config import load_settings
from stairways.tuning.steer import rehearsal_of

PASSES = {"passes_per_cycle": 1, "sessions": 20}
CYCLES = {"cycles": 3, "early_stop_cycles": 9}
TUNE = {"algorithm": "auto", "rehearsal_sessions": 20, "all_actions": PASSES, **CYCLES}


@pytest.fixture(scope="module")
def arguments(market, tmp_path_factory):
    """Arguments of a run in a folder of its own."""
    config = write_yaml(tmp_path_factory.mktemp("all") / "all.yml", {**FAST, "tune": TUNE})

    def made(folder, *more):
        return market.tune(folder / "run", "--seed", "11", *more, config=config)

    return made


@pytest.fixture(scope="module")
def unbroken(arguments, tmp_path_factory):
    """A run that nothing happened to, made by another process."""
    folder = tmp_path_factory.mktemp("unbroken")
    process = start(command, arguments(folder), str(folder / "log"))
    assert finish(process) == 1, words_of(str(folder / "log"))[1]
    return folder


def test_a_feed_forward_policy_under_the_tilt_is_trained_on_all_actions(market, unbroken):
    run = json_of(unbroken / "run" / "summary.json")["run"]
    assert run["algorithm"] == "all_actions"
    ranges = json_of(unbroken / "run" / "summary.json")["data"]["ranges"]
    assert ranges["rehearsed"]["n_sessions"] == 20
    # 77 decisions a session but on half days
    whole = 3 * 77 * (ranges["train"]["n_sessions"] + 20)
    assert 0.95 * whole < run["steps"] <= whole
    artifact = json_of(unbroken / "run" / "artifact" / "artifact.json")
    rehearsed = f"{ranges['rehearsed']['first']}:{ranges['rehearsed']['last']}"
    assert artifact["environment"]["seen"] == [market.ranges["train"], rehearsed, market.ranges["tune"]]
    assert "algorithm.chosen algorithm=all_actions" in (unbroken / "run" / "training.log").read_text()
    record = json_of(unbroken / "run" / "artifact" / "record.json")
    assert (record["algorithm"], record["run_steps"]) == ("all_actions", run["steps"])


def test_one_seed_one_result(arguments, cli, unbroken, tmp_path):
    assert cli(*arguments(tmp_path)).status == 1
    assert result_of(tmp_path) == result_of(unbroken)


@pytest.mark.parametrize("moment", [Moment("cycle.started", 2), Moment("gate.judged", 2, syncs=1)])
def test_a_killed_run_resumes_to_the_result_of_an_unbroken_one(arguments, cli, unbroken, tmp_path, moment):
    process = start(command_that_dies, arguments(tmp_path), str(tmp_path / "log"), moment)
    assert finish(process) == -signal.SIGKILL
    ended = cli(*arguments(tmp_path, "--resume"))
    assert (ended.status, ended.err) == (1, "")
    assert result_of(tmp_path) == result_of(unbroken)


def test_an_lstm_and_the_reward_actuator_are_trained_by_ppo(market, cli, tmp_path):
    pack_holding_gold(tmp_path / "gold", market.bars, market.ranges["train"], kind="lstm")
    short = merged(FAST, {"tune": {"algorithm": "auto", "cycles": 1}})
    config = write_yaml(tmp_path / "c.yml", short)
    for name, more in (("lstm", ["--gold", tmp_path / "gold"]), ("reward", ["--actuator", "reward"])):
        ended = cli(*market.tune(tmp_path / name, *more, config=config))
        assert ended.status == 1, ended.err
        assert json_of(tmp_path / name / "summary.json")["run"]["algorithm"] == "ppo"


@pytest.mark.parametrize(
    ("settings", "more", "words"),
    [
        ({"control": {"actuator": {"kind": "reward"}}}, [], "no tilt to train under"),
        ({"reward": {"action_change": 0.1}}, [], "asks for the action before"),
        ({}, ["--steps-per-cycle", "400"], "tune.steps_per_cycle: belongs to PPO"),
        ({"tune": {"algorithm": "auto", "ppo": {"epochs": 3}}}, [], "tune.ppo: belongs to PPO"),
    ],
)
def test_what_all_actions_can_t_do_is_refused(market, cli, tmp_path, settings, more, words):
    made = {**FAST, "tune": {"algorithm": "all_actions"}, **settings}
    config = write_yaml(tmp_path / "c.yml", made)
    ended = cli(*market.tune(tmp_path / "run", *more, config=config))
    assert ended.status == 2
    assert words in ended.err
    assert "ppo" in ended.err
    assert not (tmp_path / "run").exists()


def test_an_lstm_is_refused_where_all_actions_are_asked_for(market, cli, tmp_path):
    pack_holding_gold(tmp_path / "gold", market.bars, market.ranges["train"], kind="lstm")
    config = write_yaml(tmp_path / "c.yml", merged(FAST, {"tune": {"algorithm": "all_actions"}}))
    ended = cli(*market.tune(tmp_path / "run", "--gold", tmp_path / "gold", config=config))
    assert ended.status == 2
    assert "remembers more than its position" in ended.err


@pytest.mark.parametrize(
    ("symbols", "tune", "expected"),
    [
        (["NVDA", "MSFT"], {}, 2_000),
        (["NVDA", "MSFT", "AAPL"], {}, 222),
        (["NVDA", "MSFT"], {"algorithm": "ppo"}, 0),
        (["NVDA", "MSFT"], {"algorithm": "ppo", "rehearsal_sessions": 7}, 7),
        (["NVDA", "MSFT"], {"rehearsal_sessions": 0}, 0),
    ],
)
def test_what_is_rehearsed_without_a_number(symbols, tune, expected):
    settings = load_settings(None, {"market": {"symbols": symbols}, "tune": tune})
    assert rehearsal_of(settings, "mlp") == expected
