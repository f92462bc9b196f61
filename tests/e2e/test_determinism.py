"""One seed, one result: in a process and across processes; another seed, another result."""

from __future__ import annotations

import pytest
from processes import command, finish, start, words_of
from test_bad_input import tiny_gold
from workbench import FAST, digest_of, json_of, merged, pack_holding_gold, write_yaml

OWN_TO_A_RUN = ("run_id", "wall_seconds", "database")
DIGESTS = ("digest", "weights_digest", "fills_digest")


def figures(out):
    """Return the summary without what tells two equal runs apart."""
    summary = json_of(out / "summary.json")
    for name in OWN_TO_A_RUN:
        summary["run"].pop(name)
    return summary


class TestTune:
    def test_the_same_seed_in_this_process(self, market, cli, tuned, tmp_path):
        assert cli(*market.tune(tmp_path / "run", "--seed", "7")).status == 1
        assert figures(tmp_path / "run") == figures(tuned)
        for name in ("weights.safetensors", "artifact.json"):
            assert digest_of(tmp_path / "run" / "artifact" / name) == digest_of(tuned / "artifact" / name)

    def test_the_same_seed_in_another_process(self, market, tuned, tmp_path):
        process = start(command, market.tune(tmp_path / "run", "--seed", "7"), str(tmp_path / "log"))
        assert finish(process) == 1, words_of(str(tmp_path / "log"))
        assert figures(tmp_path / "run") == figures(tuned)

    def test_another_seed(self, market, cli, tuned, tmp_path):
        assert cli(*market.tune(tmp_path / "run", "--seed", "8")).status in (0, 1)
        one, other = figures(tmp_path / "run"), figures(tuned)
        for name in DIGESTS:
            assert one["run"][name] != other["run"][name]
        assert one["candidate"] != other["candidate"]
        # What no seed draws stays.
        assert one["baselines"]["buy_and_hold"] == other["baselines"]["buy_and_hold"]
        assert one["data"] == other["data"]

    @pytest.mark.parametrize("variant", ["lstm", "reward", "greedy"])
    def test_the_same_seed_for_every_kind_of_candidate(self, market, cli, tmp_path, variant):
        gold, settings = market.gold, {"tune": {"cycles": 1}}
        if variant == "lstm":
            gold = tmp_path / "gold"
            pack_holding_gold(gold, market.bars, market.ranges["train"], kind="lstm")
        if variant == "reward":
            settings["control"] = {"actuator": {"kind": "reward"}}
        if variant == "greedy":
            settings["control"] = {"mode": "greedy"}
        config = write_yaml(tmp_path / "c.yml", merged(FAST, settings))
        results = []
        for name in ("one", "two"):
            out = tmp_path / name / "run"
            arguments = market.tune(out, "--seed", "3", "--gold", gold, config=config)
            ended = cli(*arguments)
            assert ended.status == 1, ended.err
            results.append(figures(out))
        assert results[0] == results[1]


class TestGold:
    @pytest.fixture
    def trained(self, market, cli, tmp_path):
        config = tiny_gold(tmp_path)

        def train(name, *more):
            arguments = ["gold", "train", "--out", tmp_path / name, "--config", config]
            ended = cli(*arguments, *market.options("train", "test"), *more)
            record = json_of(tmp_path / name / "record.json")
            record.pop("wall_seconds")
            return ended.status, record, digest_of(tmp_path / name / "weights.safetensors")

        return train

    def test_a_seed_is_a_gold(self, trained):
        first, second, other = trained("a", "--seed", "5"), trained("b", "--seed", "5"), trained("c")
        assert first == second
        assert first[1]["curve"] != other[1]["curve"]
        assert first[2] != other[2]

    def test_a_gold_that_does_not_over_hold_is_refused_and_kept_for_its_record(self, trained):
        """The tiny one holds too little: the artifact stands, the verdict says so, the status is 1."""
        status, record, _ = trained("a")
        assert status == 1
        assert [verdict["name"] for verdict in record["verdicts"]] == [
            "gold_over_holds",
            "gold_trades_little",
        ]
        assert not all(verdict["passed"] for verdict in record["verdicts"])
        assert record["steps"] == record["curve"][-1]["steps"]

    def test_without_test_sessions_the_record_stands_on_those_held_out(self, market, cli, tmp_path):
        out = tmp_path / "gold"
        arguments = ["gold", "train", "--out", out, "--config", tiny_gold(tmp_path)]
        assert cli(*arguments, *market.options("train")).status == 1
        test = json_of(out / "record.json")["test"]
        assert test["unseen"] is False
        assert test["last"] == market.ranges["train"].partition(":")[2]
        assert test["n_sessions"] == 20


class TestEvaluate:
    def test_in_this_process_and_in_another(self, market, cli, tuned, tmp_path):
        arguments = market.evaluate(tuned / "artifact", "--fills", str(tmp_path / "here.csv"))
        assert cli(*arguments).status == 1
        arguments[-1] = str(tmp_path / "there.csv")
        process = start(command, arguments, str(tmp_path / "log"))
        assert finish(process) == 1
        assert (tmp_path / "here.csv").read_bytes() == (tmp_path / "there.csv").read_bytes()

    def test_another_seed_draws_other_actions(self, market, cli, tuned, tmp_path):
        for seed in ("7", "8"):
            arguments = market.evaluate(tuned / "artifact", "--seed", seed, "--fills", str(tmp_path / seed))
            assert cli(*arguments).status == 1
        assert (tmp_path / "7").read_bytes() != (tmp_path / "8").read_bytes()
