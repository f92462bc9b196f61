"""``stairways backtest``: what it prints, writes and refuses."""

from __future__ import annotations

import json

import pytest
import yaml
from workbench import FAST, SYMBOLS, listing, merged, write_yaml

SCENARIO = {
    "name": "spring",
    "start_date": "2022-03-01",
    "end_date": "2022-05-31",
    "target_sharpe": 0.6,
    "description": "three months of a bear",
    "sample": "2022_bear_market:3",
}


def scenario_in(folder, **changes):
    place = folder / "scenario.yml"
    content = {key: value for key, value in {**SCENARIO, **changes}.items() if value is not None}
    place.write_text(yaml.safe_dump(content))
    return place


def dates_of(market, name):
    first, last = market.ranges[name].split(":")
    return {"start_date": first, "end_date": last}


@pytest.fixture
def on_bars(market, tmp_path):
    """A scenario on the test sessions of the bars on disk."""
    return scenario_in(tmp_path, sample=None, bars=str(market.bars), **dates_of(market, "test"))


class TestShippedGold:
    def test_it_is_taken_without_an_artifact_and_said_so(self, cli, tmp_path):
        ended = cli("backtest", "--scenario", scenario_in(tmp_path))
        assert ended.status == 1
        words = " ".join(ended.out.split())
        for part in (
            "spring: three months of a bear",
            "the shipped gold",
            "under the default tilt",
            "SYNTHETIC bars: 2022_bear_market, seed 3",
            "64 of the exchange's 64 sessions (100.0%)",
            "hold rate of chance 11.1%",
            "NOT MET",
            "P(true Sharpe > 0.6)",
        ):
            assert part in words
        for row in ("policy", "gold", "random", "all hold", "buy and hold"):
            assert row in words
        assert "IN-SAMPLE" not in words

    def test_the_status_is_that_of_the_target(self, cli, tmp_path):
        easy = scenario_in(tmp_path, target_sharpe=-50.0)
        ended = cli("backtest", "--scenario", easy, "--costs", "1", "--json")
        assert ended.status == 0
        assert json.loads(ended.out)["met"]

    def test_the_report_is_written_once(self, cli, tmp_path):
        place, out = scenario_in(tmp_path), tmp_path / "report"
        ended = cli("backtest", "--scenario", place, "--out", out, "--json", "--costs", "0,1")
        assert sorted(listing(out)) == ["backtest.json", "backtest.png", "backtest.svg"]
        assert json.loads((out / "backtest.json").read_text()) == json.loads(ended.out)
        assert (out / "backtest.png").read_bytes().startswith(b"\x89PNG")
        before = listing(out)
        again = cli("backtest", "--scenario", place, "--out", out)
        assert again.status == 2
        assert "is not an empty folder" in again.complaint
        assert listing(out) == before

    def test_costs_are_those_asked_for(self, cli, tmp_path):
        ended = cli("backtest", "--scenario", scenario_in(tmp_path), "--costs", "3,0", "--json")
        [course] = json.loads(ended.out)["courses"]
        assert [point["cost_bps"] for point in course["costs"]["policy"]] == [0.0, 3.0]


class TestArtifact:
    def test_a_candidate_runs_under_its_own_tilt(self, cli, market, tuned, on_bars):
        ended = cli("backtest", tuned / "artifact", "--scenario", on_bars, "--json")
        record = json.loads(ended.out)
        [course] = record["courses"]
        assert (record["policy"]["role"], record["policy"]["shipped"]) == ("candidate", False)
        assert set(course["tilt_starts"].values()) == {"saved with the artifact"}
        assert {"gold", "tilted_gold", "random", "all_hold", "buy_and_hold"} < set(course["policies"])
        assert course["missing"] == []
        assert not course["data"]["synthetic"]

    def test_it_does_what_its_run_reported(self, cli, market, tuned, on_bars):
        summary = json.loads((tuned / "summary.json").read_text())
        ended = cli("backtest", tuned / "artifact", "--scenario", on_bars, "--json", "--seed", "7")
        [course] = json.loads(ended.out)["courses"]
        for ours, theirs in (("policy", summary["candidate"]), ("gold", summary["gold"])):
            assert {name: course["policies"][ours][name] for name in theirs} == theirs
        for name in ("random", "tilted_gold", "all_hold", "buy_and_hold"):
            baseline = summary["baselines"][name]
            assert {key: course["policies"][name][key] for key in baseline} == baseline

    def test_a_gold_of_ones_own_runs_under_the_tilt_too(self, cli, market, on_bars):
        ended = cli("backtest", market.gold, "--scenario", on_bars, "--json", "--costs", "1")
        record = json.loads(ended.out)
        assert record["policy"]["tilted_gold"]
        hold = {name: m["hold_rate_ratio"] for name, m in record["courses"][0]["policies"].items()}
        assert hold["policy"] < 0.7 < hold["gold"]

    def test_seen_sessions_are_refused_with_their_dates(self, cli, market, tuned, tmp_path):
        place = scenario_in(tmp_path, sample=None, bars=str(market.bars), **dates_of(market, "tune"))
        ended = cli("backtest", tuned / "artifact", "--scenario", place)
        assert ended.status == 2
        assert market.ranges["tune"] in ended.complaint
        assert "--in-sample" in ended.complaint

    def test_in_sample_stands_wherever_a_figure_does(self, cli, market, tuned, tmp_path):
        place = scenario_in(tmp_path, sample=None, bars=str(market.bars), **dates_of(market, "tune"))
        ended = cli("backtest", tuned / "artifact", "--scenario", place, "--in-sample")
        # where the data is named, two titles, three headings; and the verdict
        tables = [line for line in ended.out.splitlines() if line.startswith("IN-SAMPLE")]
        assert len(tables) == 6
        [verdict] = [line for line in ended.out.splitlines() if line.startswith("Target")]
        assert "IN-SAMPLE" in verdict

    def test_other_bars_than_it_was_made_for(self, cli, market, tmp_path):
        ended = cli("backtest", market.gold, "--scenario", scenario_in(tmp_path), "--interval", "1min")
        assert ended.status == 2
        assert "interval" in ended.complaint


class TestWalkForward:
    @pytest.fixture
    def arguments(self, market, tmp_path):
        quick = {
            "gold": {
                "hidden": [8],
                "steps": 4_000,
                "judge_every_rollouts": 1,
                "over_hold_rollouts": 1,
                "over_hold_learning_rate": 0.3,
                "over_hold_ratio": 0.5,
                "over_hold_trades": 60.0,
                "ppo": {"n_envs": 20, "n_steps": 50, "minibatch": 200, "epochs": 2},
            },
            "tune": {"cycles": 1, "min_cycles": 1},
        }
        config = write_yaml(tmp_path / "walk.yml", merged(FAST, quick))
        lengths = [("train", 60), ("tune", 24), ("test", 20)]
        options = [part for name, n in lengths for part in (f"--{name}-sessions", str(n))]
        bars = ["--bars", str(market.bars), "--symbols", ",".join(SYMBOLS), "--interval", "5min"]
        return ["backtest", "--walk-forward", *bars, *options, "--config", str(config), "--seed", "1"]

    def test_windows_and_all_of_them_together(self, cli, arguments, tmp_path):
        out = tmp_path / "walk"
        ended = cli(*arguments, "--out", out)
        words = " ".join(ended.out.split())
        record = json.loads((out / "backtest.json").read_text())
        assert ended.status == (0 if record["met"] else 1)
        assert len(record["windows"]) == 2
        n = record["pooled"]["policies"]["candidate"]["n_sessions"]
        for part in ("window 1 of 2: gold on", "window 2 of 2: tune on", f"All {n} unseen sessions"):
            assert part in words
        assert "all windows together" in words
        assert (out / "backtest.png").read_bytes().startswith(b"\x89PNG")
        again = cli(*arguments, "--out", out, "--json")
        assert json.loads(again.out) == record
        assert "gold on" not in again.out + again.err

    def test_windows_that_do_not_fit(self, cli, arguments, tmp_path):
        ended = cli(*arguments, "--train-sessions", "200", "--out", tmp_path / "walk")
        assert ended.status == 2
        assert "does not fit" in ended.complaint
        assert not (tmp_path / "walk").exists()

    def test_it_needs_a_folder(self, cli, arguments):
        ended = cli(*arguments)
        assert ended.status == 2
        assert "--out is missing" in ended.complaint


@pytest.mark.parametrize(
    "arguments",
    [
        ["--walk-forward"],
        ["--walk-forward", "--in-sample"],
        ["--scenario", "2021"],
        ["somewhere"],
        ["--costs", "a"],
        ["--config", "none.yml"],
    ],
)
def test_bars_that_are_not_there_are_said_before_anything_else(cli, tmp_path, arguments):
    ended = cli("backtest", "--bars", tmp_path / "nowhere", *arguments)
    assert ended.status == 2
    assert ended.complaint == f"{tmp_path / 'nowhere'}: there is no such folder; give the folder of the bars"


def test_bars_of_a_scenario_or_a_file_that_are_not_there_are_said_before_a_missing_out(cli, tmp_path):
    place = scenario_in(tmp_path, sample=None, bars=str(tmp_path / "nowhere"))
    config = write_yaml(tmp_path / "market.yml", {"market": {"bars": str(tmp_path / "nowhere")}})
    for more in (["--scenario", place], ["--config", config]):
        ended = cli("backtest", "--walk-forward", *more)
        assert f"{tmp_path / 'nowhere'}: there is no such folder" in ended.complaint


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--scenario is missing"),
        (["--scenario", "2021"], "there is no scenario '2021'"),
        (["--scenario", "2022_bear_market", "--costs", "a"], "--costs"),
        (
            ["--scenario", "2022_bear_market", "--train-sessions", "9"],
            "--train-sessions needs --walk-forward",
        ),
        (["--walk-forward"], "--bars or --scenario is missing"),
        (["--walk-forward", "--in-sample"], "--in-sample does not go with --walk-forward"),
        (["--walk-forward", "--costs", "1"], "--costs does not go with --walk-forward"),
        (["somewhere", "--walk-forward"], "an artifact does not go with --walk-forward"),
        (["somewhere", "--scenario", "2022_bear_market"], "somewhere"),
        (["--scenario", "2022_bear_market", "--walk-forward", "--test-sessions", "5"], "--test-sessions"),
    ],
)
def test_bad_input_is_one_line(cli, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    ended = cli("backtest", *arguments, "--out", tmp_path / "out")
    assert ended.status == 2
    assert words in ended.complaint
    assert listing(tmp_path) == {}
