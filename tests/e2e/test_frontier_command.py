"""``stairways frontier``: what it writes, that it goes on, what it refuses."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace

import pytest
from workbench import json_of, listing

from stairways.cli.main import run
from stairways.registry.artifact import read_artifact, write_artifact
from stairways.tuning import versions
from stairways.tuning.run_folder import RunFolder

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
            summary = json_of(out / "tuned" / str(row["set_point"]) / "summary.json")
            candidate = summary["candidate"]
            assert row["net_bps"] == candidate["mean_net_bps"]
            assert row["trades_per_session"] == candidate["trades_per_session"]
            assert summary["control"]["points"]["trades_per_session"] == row["set_point"]
            assert row["above_tilt_bps"] != 0.0

    def test_the_gates_bands_are_the_users_moved_with_the_set_point(self, folder):
        out, _ = folder
        bands = json_of(out / "frontier.json")["gate_bands"]
        assert bands == json_of(out / "plan.json")["gate_bands"]
        # 10 to 24 around 16.5 in the settings
        assert [each["trades_band"] for each in bands] == [[1.5, 15.5], [10.0, 24.0]]
        for each in bands:
            gate = json_of(out / "tuned" / str(each["set_point"]) / "summary.json")["gate"]
            assert {**gate, **each} == {**gate, "set_point": each["set_point"]}

    def test_a_stopped_call_goes_on_to_the_same_result(self, folder, tmp_path, cli):
        out, words = folder
        again = tmp_path / "out"
        shutil.copytree(out, again)
        (again / "frontier.json").unlink()
        # as if it had been killed in the middle of the second tuning
        (again / "tuned" / "16.5" / "summary.json").unlink()
        shutil.rmtree(again / "tuned" / "16.5" / "artifact")
        kept = listing(again / "tuned" / "8.0")
        words = [str(again) if word == str(out) else word for word in words]
        assert cli(*words).status == 0
        assert (again / "frontier.json").read_bytes() == (out / "frontier.json").read_bytes()
        assert listing(again / "tuned" / "8.0") == kept

    @pytest.fixture
    def copied(self, folder, tmp_path):
        """A copy of the finished frontier, and the words that go on in it."""
        out, words = folder
        again = tmp_path / "out"
        shutil.copytree(out, again)
        return again, [str(again) if word == str(out) else word for word in words]

    def test_another_artifact_at_a_finished_point_is_refused(self, copied, cli):
        out, words = copied
        place = out / "tuned" / "8.0" / "artifact"
        standing = read_artifact(place)
        weights = {name: value * 2 for name, value in standing.artifact.weights.items()}
        other = replace(standing.artifact, weights=weights)
        write_artifact(place, other, standing.record, replace=True)
        told = f"{place}: holds the artifact {other.digest[:12]}, the tuning made {standing.digest[:12]}"
        assert cli(*words).complaint == f"{told}; choose another --out"

    @pytest.mark.parametrize(
        ("changed", "words"),
        [
            ("{", "is damaged"),
            ({"result": {"artifact": "0" * 64}}, "was changed after it was written"),
            ({"identity": {}}, "was changed after it was written"),
        ],
    )
    def test_a_damaged_seal_is_refused(self, copied, cli, changed, words):
        out, command = copied
        seal = out / "tuned" / "8.0.json"
        seal.write_text(changed if changed == "{" else json.dumps(json_of(seal) | changed))
        assert f"{seal}: {words}" in cli(*command).complaint

    def test_a_seal_of_another_point_is_refused(self, copied, cli):
        out, words = copied
        shutil.copy(out / "tuned" / "16.5.json", out / "tuned" / "8.0.json")
        assert "was made with something else: set_point is 8.0, not 16.5" in cli(*words).complaint

    def test_points_that_lie_close_have_folders_of_their_own(self, cli, arguments, market, tmp_path):
        more = ["--tuned", "--tune", market.ranges["tune"], "--cycles", "1"]
        assert cli(*arguments(*more, points="8,8.0000001")).status == 0
        tuned = tmp_path / "out" / "tuned"
        assert {path.name for path in tuned.iterdir() if path.is_dir()} == {"8.0", "8.0000001"}
        for name in ("8.0", "8.0000001"):
            points = json_of(tuned / name / "summary.json")["control"]["points"]
            assert points["trades_per_session"] == float(name)

    def test_the_looks_are_counted(self, folder):
        out, _ = folder
        looks = [json_of(out / "tuned" / name / "summary.json")["run"]["looks"] for name in ("8.0", "16.5")]
        assert looks == [1, 2]

    def test_cycles_are_bounded(self, cli, arguments, market, tmp_path):
        more = ["--tuned", "--tune", market.ranges["tune"], "--cycles", "1"]
        assert cli(*arguments(*more, points="8,9")).status == 0
        assert len(json_of(tmp_path / "out" / "tuned" / "8.0" / "summary.json")["cycles"]) == 1


def _numpy():
    return {"versions": versions.library_versions() | {"numpy": "0.1"}}


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

    @pytest.mark.parametrize("more", [[], ["--points", "many"], ["--gold", "none"], ["--config", "none.yml"]])
    def test_bars_that_are_not_there_are_said_before_anything_else(self, cli, tmp_path, more):
        ended = cli("frontier", "--bars", tmp_path / "nowhere", *more)
        assert f"{tmp_path / 'nowhere'}: there is no such folder; give" in ended.complaint

    def test_two_policies(self, cli, arguments, market):
        assert "exclude each other" in cli(*arguments(market.gold)).complaint

    def test_a_folder_of_another_frontier(self, cli, arguments, tmp_path):
        assert cli(*arguments()).status == 0
        before = listing(tmp_path / "out")
        ended = cli(*arguments(points="2,13"))
        assert "holds another frontier: points is [2.0, 13.0], not [2.0, 12.0]; choose" in ended.complaint
        assert "settings.seed is 8, not 7" in cli(*arguments("--seed", "8")).complaint
        assert listing(tmp_path / "out") == before

    def test_a_folder_of_other_code_or_libraries(self, cli, arguments, tmp_path, monkeypatch):
        assert cli(*arguments()).status == 0
        before = listing(tmp_path / "out")
        for change, words in (
            ({"code": "0" * 64}, "code is 0000"),
            (_numpy(), "versions.numpy is 0.1"),
        ):
            made = versions.made_with() | change
            monkeypatch.setattr("stairways.tuning.frontier.made_with", lambda made=made: made)
            assert f"holds another frontier: {words}" in cli(*arguments()).complaint
        assert listing(tmp_path / "out") == before

    @pytest.mark.parametrize("content", ["", "{", "[]", '{"a": NaN}', "\x80"])
    def test_a_damaged_plan(self, cli, arguments, tmp_path, content):
        assert cli(*arguments()).status == 0
        place = tmp_path / "out" / "plan.json"
        place.write_bytes(content.encode("latin-1"))
        assert f"{place}: is damaged" in cli(*arguments()).complaint
        assert "choose another --out" in cli(*arguments()).complaint

    def test_what_a_killed_writer_left_does_not_stand_in_the_way(self, cli, arguments, tmp_path):
        out = tmp_path / "out"
        out.mkdir()
        (out / ".plan.json.0123456789abcdef.tmp").write_text("{")
        assert cli(*arguments()).status == 0
        (out / ".frontier.json.0123456789abcdef.tmp").write_text("{")
        assert cli(*arguments()).status == 0
        assert {path.name for path in out.iterdir()} == FILES

    def test_another_process_in_the_folder(self, cli, arguments, tmp_path):
        assert cli(*arguments()).status == 0
        with RunFolder(tmp_path / "out").held():
            assert "another process works on this run" in cli(*arguments()).complaint

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
