"""``stairways frontier``: what it writes, that it goes on, what it refuses."""

from __future__ import annotations

import csv
import json
import shutil

import pytest
from workbench import json_of, listing

from stairways.cli.main import run

FILES = {"frontier.json", "frontier.csv", "frontier.png", "frontier.svg", "plan.json"}


@pytest.fixture
def arguments(market, tmp_path):
    """Return the arguments of a small frontier of the gold."""

    def made(*more, out="out", points="2,12", sessions="test", gold=None):
        start = ["frontier", "--gold", gold or market.gold, "--out", tmp_path / out, "--points", points]
        dates = ["--sessions", market.ranges[sessions]] if sessions else []
        return [*start, *market.options(), *dates, "--config", market.config, "--seed", "7", *more]

    return made


def test_the_folder_and_the_words(cli, market, arguments, tmp_path):
    ended = cli(*arguments())
    assert (ended.status, ended.err) == (0, "")
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    record = json_of(tmp_path / "out" / "frontier.json")
    arms = [(row["arm"], row["set_point"]) for row in record["rows"]]
    assert arms == [("untilted", None), ("tilt", 2.0), ("random", 2.0), ("tilt", 12.0), ("random", 12.0)]
    assert record["data"]["sessions"] == market.ranges["test"]
    assert (record["seed"], record["mode"], record["hold_set_point_ratio"]) == (7, "sampled", 0.55)
    assert (record["data"]["synthetic"], record["data"]["seen_sessions"], record["cost_bps"]) == (
        False,
        0,
        1.0,
    )
    for row in record["rows"]:
        assert f"{row['trades_per_session']:.2f}" in ended.out
        assert f"{row['net_bps']:+.2f}" in ended.out
    assert "Read it by the trades achieved" in ended.out
    lines = ended.out.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("policy"))
    assert max(map(len, lines[first : first + 6])) <= 80
    with (tmp_path / "out" / "frontier.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [float(row["net_bps"]) for row in table] == [row["net_bps"] for row in record["rows"]]
    assert table[0]["set_point"] == ""


def test_equal_calls_give_equal_bytes(cli, arguments, tmp_path):
    assert cli(*arguments(out="a")).status == 0
    assert cli(*arguments("--json", out="b")).status == 0
    assert listing(tmp_path / "a") == listing(tmp_path / "b")


def test_json_is_the_record_and_nothing_else(cli, arguments, tmp_path):
    ended = cli(*arguments("--json"))
    assert json.loads(ended.out) == json_of(tmp_path / "out" / "frontier.json")


def test_the_hold_set_point(cli, arguments, tmp_path):
    assert cli(*arguments("--hold", "0.9")).status == 0
    record = json_of(tmp_path / "out" / "frontier.json")
    assert record["hold_set_point_ratio"] == 0.9
    tilted = [row for row in record["rows"] if row["arm"] == "tilt"]
    assert tilted[-1]["hold_rate_ratio"] == pytest.approx(0.9, abs=0.06)


def test_sessions_that_gold_has_seen_are_counted(cli, arguments, market, tmp_path):
    dates = market.sessions.dates
    seen = f"{dates[40]}:{dates[69]}"
    ended = cli(*arguments("--sessions", seen, sessions=None))
    assert ended.status == 0
    assert json_of(tmp_path / "out" / "frontier.json")["data"]["seen_sessions"] == 20
    assert "has seen 20 of these sessions" in ended.out


@pytest.fixture(scope="module")
def folder(market, tmp_path_factory):
    """A frontier with tunings, and the words that made it."""
    out = tmp_path_factory.mktemp("tuned") / "out"
    words = ["frontier", "--gold", market.gold, "--out", out, "--points", "8,16.5", "--tuned"]
    words += [*market.options("tune"), "--sessions", market.ranges["test"], "--config", market.config]
    words = [*map(str, words), "--seed", "7"]
    assert run(words) == 0
    return out, words


class TestTuned:
    def test_the_rows_are_the_final_gates_of_their_runs(self, folder):
        out, _ = folder
        rows = [row for row in json_of(out / "frontier.json")["rows"] if row["arm"] == "tuned"]
        assert [row["set_point"] for row in rows] == [8.0, 16.5]
        for row in rows:
            summary = json_of(out / "tuned" / f"{row['set_point']:g}" / "summary.json")
            candidate = summary["candidate"]
            assert row["net_bps"] == candidate["mean_net_bps"]
            assert row["trades_per_session"] == candidate["trades_per_session"]
            assert summary["control"]["points"]["trades_per_session"] == row["set_point"]
            assert row["above_tilt_bps"] != 0.0

    def test_a_stopped_call_goes_on_to_the_same_result(self, folder, tmp_path, cli):
        out, words = folder
        again = tmp_path / "out"
        shutil.copytree(out, again)
        (again / "frontier.json").unlink()
        # as if it had been killed in the middle of the second tuning
        (again / "tuned" / "16.5" / "summary.json").unlink()
        shutil.rmtree(again / "tuned" / "16.5" / "artifact")
        kept = listing(again / "tuned" / "8")
        words = [str(again) if word == str(out) else word for word in words]
        assert cli(*words).status == 0
        assert (again / "frontier.json").read_bytes() == (out / "frontier.json").read_bytes()
        assert listing(again / "tuned" / "8") == kept

    def test_the_looks_are_counted(self, folder):
        out, _ = folder
        looks = [json_of(out / "tuned" / name / "summary.json")["run"]["looks"] for name in ("8", "16.5")]
        assert looks == [1, 2]

    def test_cycles_are_bounded(self, cli, arguments, market, tmp_path):
        more = ["--tuned", "--tune", market.ranges["tune"], "--cycles", "1"]
        assert cli(*arguments(*more, points="8,9")).status == 0
        assert len(json_of(tmp_path / "out" / "tuned" / "8" / "summary.json")["cycles"]) == 1


class TestRefusals:
    @pytest.mark.parametrize(
        ("more", "given", "words"),
        [
            ([], {"sessions": None}, "--sessions FROM:TO is missing"),
            ([], {"sessions": "train"}, "0 sessions stand before those judged, at least 20"),
            ([], {"points": "5"}, "name 2 to 40 different ones"),
            ([], {"points": "5,many"}, "'5,many' is no list of numbers; write 0,5,16.5,30"),
            (["--hold", "1.5"], {}, "hold_rate_ratio"),
            (["--tuned"], {}, "--tune FROM:TO is missing"),
        ],
    )
    def test_one_line_and_nothing_left(self, cli, arguments, tmp_path, more, given, words):
        ended = cli(*arguments(*more, **given))
        assert ended.status == 2
        assert words in ended.complaint
        assert not (tmp_path / "out").exists()

    def test_tuning_on_sessions_that_judge(self, cli, arguments, market, tmp_path):
        ended = cli(*arguments("--tuned", "--tune", market.ranges["test"]))
        assert "does not lie before --sessions" in ended.complaint

    def test_tuning_on_sessions_that_gold_has_seen(self, cli, arguments, market):
        ended = cli(*arguments("--tuned", "--tune", market.ranges["train"]))
        assert "which gold has seen" in ended.complaint

    def test_tuning_from_a_candidate(self, cli, arguments, tuned, market):
        ended = cli(*arguments("--tuned", "--tune", market.ranges["tune"], gold=tuned / "artifact"))
        assert "--tuned starts from a gold; name its gold" in ended.complaint

    def test_two_policies(self, cli, arguments, market):
        assert "exclude each other" in cli(*arguments(market.gold)).complaint

    def test_a_folder_of_another_frontier(self, cli, arguments, tmp_path):
        assert cli(*arguments()).status == 0
        before = listing(tmp_path / "out")
        assert "holds a frontier of other settings, points" in cli(*arguments(points="2,13")).complaint
        assert listing(tmp_path / "out") == before

    def test_a_folder_of_something_else(self, cli, arguments, tmp_path):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "letter").write_text("dear")
        assert "is not an empty folder" in cli(*arguments()).complaint


def test_a_candidate_keeps_its_rules_and_is_led_through_other_budgets(cli, arguments, tuned, tmp_path):
    assert cli(*arguments(gold=tuned / "artifact")).status == 0
    record = json_of(tmp_path / "out" / "frontier.json")
    assert record["policy"]["role"] == "candidate"


@pytest.mark.slow
def test_the_sample_is_judged_on_its_select_sessions_never_on_the_test_range(cli, tmp_path):
    assert cli("frontier", "--points", "0,16.5", "--out", tmp_path / "out").status == 0
    data = json_of(tmp_path / "out" / "frontier.json")["data"]
    assert data["sessions"] == "2020-12-15:2021-03-18"
    assert (data["test_sessions"], data["seen_sessions"], data["synthetic"]) == (0, 0, True)
    rows = json_of(tmp_path / "out" / "frontier.json")["rows"]
    assert "oracle" in {row["arm"] for row in rows}
