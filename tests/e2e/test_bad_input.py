"""Bad input: one clear line with what, where and what to do, exit status 2, nothing left behind."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from workbench import FAST, SYMBOLS, frame_of, json_of, listing, made_sessions, merged, write_yaml

from stairways.registry.artifact import read_artifact, write_artifact

COMMANDS = ("bars", "gold", "dry-run", "tune", "evaluate")
WITH_GOLD = ("dry-run", "tune", "evaluate")


def arguments_of(command, market, out, *, bars=None, gold=None, ranges=None, more=()):
    """Return a sound command, or one with another folder of bars, gold or ranges."""
    dates = market.ranges | {"sessions": market.ranges["test"]} | (ranges or {})
    bars = [] if bars is False else ["--bars", str(bars or market.bars)]
    place = [*bars, "--symbols", ",".join(SYMBOLS), "--interval", "5min", "--config", str(market.config)]
    gold = str(gold or market.gold)
    train, tune, test = (["--" + name, dates[name]] for name in ("train", "tune", "test"))
    exports = ["--fills", str(out / "fills.csv"), "--nav", str(out / "nav.csv")]
    start = {
        "bars": ["bars", "check"],
        "gold": ["gold", "train", "--out", str(out / "gold"), *train, *test],
        "dry-run": ["dry-run", "--gold", gold, *tune],
        "tune": ["tune", "--gold", gold, "--out", str(out / "run"), *tune, *test],
        "evaluate": ["evaluate", gold, "--sessions", dates["sessions"], *exports],
    }[command]
    return [*start, *place, *more]


@pytest.fixture
def refused(cli, tmp_path):
    """Run a command that must be refused, and return its complaint."""

    def check(arguments, *words, status=2):
        before = listing(tmp_path)
        ended = cli(*arguments)
        assert ended.status == status, ended
        for word in words:
            assert word in ended.complaint
        assert listing(tmp_path) == before
        return ended.complaint

    return check


def price(column, value):
    return lambda frame: frame.with_columns(
        pl.when(pl.int_range(pl.len()) == 40).then(value).otherwise(pl.col(column)).alias(column)
    )


def halve_from_the_fifth_day(frame):
    later = pl.col("timestamp").dt.date() >= frame["timestamp"].dt.date().unique().sort()[4]
    return frame.with_columns(
        pl.when(later).then(pl.col(name) / 2.0).otherwise(pl.col(name)).alias(name)
        for name in ("open", "high", "low", "close")
    )


FAULTS = {
    "unsorted": (lambda frame: frame.reverse(), ["NVDA", "unsorted", "sort by symbol and timestamp"]),
    "duplicate": (lambda frame: pl.concat([frame[:41], frame[40:]]), ["NVDA", "2012-01-03", "twice"]),
    "naive": (
        lambda frame: frame.with_columns(pl.col("timestamp").dt.replace_time_zone(None)),
        ["NVDA", "no time zone"],
    ),
    "local text": (
        lambda frame: frame.with_columns(
            pl.col("timestamp").dt.convert_time_zone("America/New_York").dt.strftime("%Y-%m-%d %H:%M:%S")
        ),
        ["no time zone", "2012-01-03 09:30:00"],
    ),
    "shifted to local clock": (
        lambda frame: frame.with_columns(pl.col("timestamp").dt.offset_by("-5h")),
        ["NVDA"],
    ),
    "nan": (price("close", float("nan")), ["NVDA", "2012-01-03"]),
    "negative": (price("low", -1.0), ["NVDA", "2012-01-03"]),
    "zero": (price("open", 0.0), ["NVDA", "2012-01-03"]),
    "split": (halve_from_the_fifth_day, ["NVDA 2012-01-09", "looks like a split of 2 for 1", "split table"]),
    "no column": (lambda frame: frame.drop("volume"), ["no column volume"]),
}


@pytest.fixture(scope="session")
def short():
    """Ten sessions, by symbol."""
    sessions = made_sessions(n_sessions=10)
    return {symbol: frame_of(sessions, symbol) for symbol in SYMBOLS}


def write_bars(folder: Path, frames, *, csv: bool = False) -> Path:
    folder.mkdir(exist_ok=True)
    for symbol, frame in frames.items():
        if csv:
            frame.write_csv(folder / f"{symbol}.csv")
        else:
            frame.write_parquet(folder / f"{symbol}.parquet")
    return folder


class TestBars:
    @pytest.mark.parametrize("command", COMMANDS)
    @pytest.mark.parametrize("name", FAULTS)
    def test_bars_that_can_not_be_used(self, market, refused, short, tmp_path, command, name):
        spoil, words = FAULTS[name]
        frames = short | {"NVDA": spoil(short["NVDA"])}
        bars = write_bars(tmp_path / "bars", frames, csv=name in ("local text", "unsorted"))
        refused(arguments_of(command, market, tmp_path, bars=bars), *words)

    @pytest.mark.parametrize("command", COMMANDS)
    def test_a_missing_symbol(self, market, refused, short, tmp_path, command):
        bars = write_bars(tmp_path / "bars", {"NVDA": short["NVDA"]})
        refused(arguments_of(command, market, tmp_path, bars=bars), "no bars of MSFT", "symbols there: NVDA")

    @pytest.mark.parametrize("command", COMMANDS)
    def test_no_folder_and_an_empty_one(self, market, refused, tmp_path, command):
        refused(arguments_of(command, market, tmp_path, bars=tmp_path / "none"), "no such folder")
        (tmp_path / "empty").mkdir()
        refused(arguments_of(command, market, tmp_path, bars=tmp_path / "empty"), "no Parquet or CSV file")

    def test_a_file_that_is_no_parquet(self, market, refused, short, tmp_path):
        bars = write_bars(tmp_path / "bars", short)
        (bars / "NVDA.parquet").write_bytes(b"PAR1 but nothing else")
        refused(arguments_of("tune", market, tmp_path, bars=bars), "can't be read", "NVDA.parquet")

    @pytest.mark.parametrize("command", ["bars", "gold"])
    def test_an_interval_that_does_not_match(self, market, refused, tmp_path, command):
        arguments = arguments_of(command, market, tmp_path, more=["--interval", "1min"])
        refused(arguments, "NVDA has no bars of 1 min", "intervals there: 5 min")

    @pytest.mark.parametrize("command", COMMANDS)
    def test_strict_refuses_a_session_that_would_be_dropped(self, market, refused, short, tmp_path, command):
        thin = pl.concat([short["NVDA"][:80], short["NVDA"][100:]])
        bars = write_bars(tmp_path / "bars", short | {"NVDA": thin})
        arguments = arguments_of(command, market, tmp_path, bars=bars, more=["--strict"])
        refused(arguments, "1 sessions would be dropped", "2012-01-04 NVDA")


class TestRanges:
    OF = {"gold": "train", "dry-run": "tune", "tune": "test", "evaluate": "sessions"}  # noqa: RUF012

    @pytest.mark.parametrize("command", OF)
    @pytest.mark.parametrize(
        ("dates", "words"),
        [
            ("2012-07-14:2012-07-15", ["no session between 2012-07-14 and 2012-07-15", "140 sessions"]),
            ("2013-01-02:2013-02-01", ["no session between", "2012-01-03 to 2012-07-23"]),
            ("2012-07-20:2012-07-10", ["ends before it starts"]),
            ("2012-07-20", ["no range", "FROM:TO"]),
            ("2012-07-20:soon", ["soon is no date", "FROM:TO"]),
        ],
    )
    def test_a_range_without_sessions_or_sense(self, market, refused, tmp_path, command, dates, words):
        name = self.OF[command]
        later = {"test": "2014-01-02:2014-02-01"} if name == "train" else {}
        arguments = arguments_of(command, market, tmp_path, ranges={name: dates} | later)
        refused(arguments, *words, name)

    def test_a_record_of_gold_on_a_few_sessions(self, market, refused, tmp_path):
        arguments = arguments_of("gold", market, tmp_path)
        arguments[arguments.index("--test") + 1] = ":".join(str(market.sessions.dates[i]) for i in (110, 128))
        refused(arguments, "19 sessions are too few", "at least 20", "--test 2012-")

    @pytest.mark.parametrize("command", ["gold", "tune"])
    def test_a_range_left_empty_by_dropped_sessions(self, market, refused, tmp_path, command):
        """The only session of the range lacks a quarter of its bars."""
        sessions = market.sessions
        day = sessions.dates[-1]
        frames = {symbol: frame_of(sessions, symbol) for symbol in SYMBOLS}
        frames["MSFT"] = frames["MSFT"][:-20]
        bars = write_bars(tmp_path / "bars", frames)
        arguments = arguments_of(command, market, tmp_path, bars=bars, ranges={"test": f"{day}:{day}"})
        refused(arguments, f"no session between {day} and {day}", "139 sessions", "--test")

    @pytest.mark.parametrize(
        ("command", "first", "second"), [("tune", "tune", "test"), ("gold", "train", "test")]
    )
    def test_ranges_that_overlap_or_stand_in_the_wrong_order(
        self, market, refused, tmp_path, command, first, second
    ):
        one, other = market.ranges[first], market.ranges[second]
        touching = f"{one.partition(':')[2]}:{other.partition(':')[2]}"
        for ranges in ({second: touching}, {first: other, second: one}):
            arguments = arguments_of(command, market, tmp_path, ranges=ranges)
            refused(arguments, f"--{first}", f"--{second}", "disjoint and in this order")

    def test_a_range_that_does_not_fit_the_defaults_of_the_sample_market(self, refused, tmp_path):
        arguments = ["tune", "--out", str(tmp_path / "run"), "--test", "2015-01-02:2015-12-31"]
        refused(arguments, "sample market planted", "disjoint and in this order", "name --tune too")

    def test_a_tuning_range_that_gold_has_seen(self, market, refused, tmp_path):
        last = market.ranges["train"].partition(":")[2]
        tune = f"{last}:{market.ranges['tune'].partition(':')[2]}"
        arguments = arguments_of("tune", market, tmp_path, ranges={"tune": tune})
        refused(arguments, f"--tune {tune} does not lie behind {market.ranges['train']}", "gold has seen")

    @pytest.mark.parametrize("command", ["dry-run", "tune"])
    def test_a_tuning_range_too_short(self, market, refused, tmp_path, command):
        first = market.ranges["tune"].partition(":")[0]
        dates = f"{first}:2012-04-05"
        arguments = arguments_of(command, market, tmp_path, ranges={"tune": dates})
        refused(arguments, f"--tune {dates} holds", "give at least 12 sessions")

    @pytest.mark.parametrize(
        ("command", "missing"),
        [
            ("gold", "train"),
            ("tune", "tune"),
            ("tune", "test"),
            ("dry-run", "tune"),
            ("evaluate", "sessions"),
            ("bars", "bars"),
        ],
    )
    def test_a_range_that_is_missing(self, market, refused, tmp_path, command, missing):
        arguments = arguments_of(command, market, tmp_path)
        at = arguments.index(f"--{missing}")
        refused(arguments[:at] + arguments[at + 2 :], f"--{missing}", "missing")


@contextmanager
def another(gold: Path, folder: Path, **changes):
    """Write the gold with other content under a manifest that fits it."""
    loaded = read_artifact(gold)
    write_artifact(folder, replace(loaded.artifact, **changes), loaded.record)
    yield folder


class TestArtifacts:
    @pytest.mark.parametrize("command", WITH_GOLD)
    def test_made_for_other_symbols(self, market, refused, tmp_path, command):
        arguments = arguments_of(command, market, tmp_path, more=["--symbols", "MSFT,NVDA"])
        refused(arguments, "made for symbols NVDA,MSFT, not MSFT,NVDA")

    @pytest.mark.parametrize("command", WITH_GOLD)
    def test_made_for_another_interval(self, market, refused, tmp_path, command):
        arguments = arguments_of(command, market, tmp_path, more=["--interval", "1min"])
        refused(arguments, "made for interval_minutes 5, not 1")

    @pytest.mark.parametrize("command", WITH_GOLD)
    def test_made_for_other_actions(self, market, refused, tmp_path, command):
        arguments = arguments_of(command, market, tmp_path, more=["--symbols", "NVDA,MSFT,AAPL"])
        refused(arguments, "n_actions 9, not 27", "symbols NVDA,MSFT, not NVDA,MSFT,AAPL")

    @pytest.mark.parametrize("command", WITH_GOLD)
    def test_made_with_another_reward(self, market, refused, tmp_path, command):
        with another(market.gold, tmp_path / "other", reward_version="old/0") as gold:
            refused(arguments_of(command, market, tmp_path, gold=gold), "reward_version old/0, not ")

    @pytest.mark.parametrize("command", WITH_GOLD)
    @pytest.mark.parametrize("name", ["weights.safetensors", "artifact.json", "record.json", "manifest.json"])
    def test_damaged(self, market, refused, tmp_path, command, name):
        for number, spoil in enumerate((self._flip, self._cut, Path.unlink)):
            gold = tmp_path / f"gold-{number}"
            shutil.copytree(market.gold, gold)
            spoil(gold / name)
            refused(arguments_of(command, market, tmp_path, gold=gold), f"gold-{number}")

    @staticmethod
    def _flip(path):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)

    @staticmethod
    def _cut(path):
        path.write_bytes(path.read_bytes()[:-7])

    @pytest.mark.parametrize("command", WITH_GOLD)
    def test_no_artifact_at_all(self, market, refused, tmp_path, command):
        (tmp_path / "empty").mkdir()
        (tmp_path / "file").write_text("no folder")
        for name in ("empty", "file", "none"):
            refused(arguments_of(command, market, tmp_path, gold=tmp_path / name), name)

    def test_content_under_a_sound_manifest_that_is_not_understood(self, market, refused, tmp_path):
        environment = read_artifact(market.gold).artifact.environment
        changes = environment | {"trading": environment["trading"] | {"unit_fraction": 7}}
        with another(market.gold, tmp_path / "odd", environment=changes) as gold:
            refused(arguments_of("tune", market, tmp_path, gold=gold), "not understood", "unit_fraction")

    def test_an_architecture_that_can_not_be_warm_started(self, market, refused, tmp_path):
        config = write_yaml(tmp_path / "c.yml", merged(FAST, {"tune": {"regime": "concat"}}))
        refused(market.tune(tmp_path / "run", config=config), "can't be warm-started into concat")

    def test_the_wrong_gold_beside_a_candidate(self, market, tuned, refused, tmp_path):
        arguments = market.evaluate(tuned / "artifact", "--gold", tuned / "artifact")
        refused(arguments, "--gold", "the artifact was made from")


class TestSettings:
    @pytest.mark.parametrize("command", COMMANDS)
    @pytest.mark.parametrize(
        ("content", "words"),
        [
            ("tune: {cycels: 3}", ["c.yml, tune.cycels", "no such setting", "did you mean cycles?"]),
            ("tune: {cycles: 0}", ["c.yml, tune.cycles", "greater than or equal to 1, not 0"]),
            ("control: {actuator: {kind: tlit}}", ["control.actuator: unknown kind tlit", "kind: tilt"]),
            ("seed: [", ["c.yml", "no YAML"]),
            ("- seed", ["c.yml", "mapping of settings"]),
        ],
    )
    def test_a_config_file_that_can_not_be_used(self, market, refused, tmp_path, command, content, words):
        config = tmp_path / "c.yml"
        config.write_text(content)
        refused(arguments_of(command, market, tmp_path, more=["--config", str(config)]), *words)

    def test_a_config_file_that_is_not_there(self, market, refused, tmp_path):
        refused(market.tune(tmp_path / "run", config=tmp_path / "c.yml"), "c.yml", "No such file")

    @pytest.mark.parametrize(
        ("command", "more", "words"),
        [
            ("tune", ["--steps-per-cycle", "401"], ["401 steps", "multiple of a rollout of 400"]),
            ("gold", ["--steps", "1000"], ["1000 steps", "choose a multiple of 33280"]),
            ("dry-run", ["--steps", "501"], ["501 steps", "multiple of a rollout"]),
            ("tune", ["--cycles", "0"], ["--cycles", "greater than or equal to 1"]),
            ("tune", ["--seed", "-1"], ["--seed", "greater than or equal to 0"]),
            ("tune", ["--seed", str(2**64)], ["seed", str(2**64)]),
            ("tune", ["--seed", "seven"], ["--seed", "valid integer"]),
            ("tune", ["--actuator", "bonus"], ["--actuator", "bonus"]),
            ("tune", ["--preset", "best"], ["--preset", "best"]),
            ("tune", ["--mode", "random"], ["--mode: unknown value random; choose sampled or greedy"]),
            ("tune", ["--shadow-replay-days", "49"], ["--tune", "sessions"]),
            ("tune", ["--early-stop-threshold", "-1"], ["improvement_threshold", "-1"]),
            ("tune", ["--database", "oracle9i"], ["no database URL", "sqlite:///PATH"]),
            ("tune", ["--database", "sqlite:////nowhere/at/all/gate.db"], ["/nowhere/at/all"]),
            ("gold", ["--policy", "gru"], ["--policy", "gru"]),
            ("evaluate", ["--mode", "random"], ["--mode: unknown value random; choose sampled or greedy"]),
            ("bars", ["--symbols", "NVDA"], ["two or three different symbols"]),
            ("bars", ["--symbols", "NVDA,NVDA"], ["two or three different symbols"]),
            *((command, ["--interval", "3min"], ["--interval: unknown value 3min; choose 1min or 5min"])
              for command in COMMANDS),
            ("tune", ["--preset", "paln"], ["--preset: unknown value paln; choose default or plan"]),
            ("tune", ["--algorithm", "a2c"], ["--algorithm: unknown value a2c; choose auto or all_actions"]),
            ("dry-run", ["--actuator", "tild"], ["--actuator: unknown value tild; choose reward or tilt"]),
            ("gold", ["--policy", "mlq"], ["--policy: unknown value mlq; choose mlp or lstm"]),
            *((command, ["--nope"], ["No such option: --nope", "--help"]) for command in COMMANDS),
            *((command, ["--sample", "planted"], ["--bars and --sample exclude each other"])
              for command in COMMANDS[1:]),
        ],
    )  # fmt: skip
    def test_a_value_that_can_not_be(self, market, refused, tmp_path, command, more, words):
        refused(arguments_of(command, market, tmp_path, more=more), *words)

    @pytest.mark.parametrize("command", COMMANDS[1:])
    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("plantd", ["--sample: unknown sample market plantd", "planted, planted-hard, noise"]),
            ("planted:x", ["seed x is not a whole number"]),
        ],
    )
    def test_an_unknown_sample(self, market, refused, tmp_path, command, name, words):
        refused(arguments_of(command, market, tmp_path, bars=False, more=["--sample", name]), *words)

    def test_bars_without_a_gold(self, market, refused, tmp_path):
        for command in ("tune", "dry-run"):
            arguments = arguments_of(command, market, tmp_path)
            at = arguments.index("--gold")
            refused(arguments[:at] + arguments[at + 2 :], "--gold is missing", "sample market")

    def test_an_unknown_command_and_a_missing_option(self, refused):
        refused(["tuen"], "No such command 'tuen'", "--help")
        refused(["tune"], "--out is missing", "call.out")
        refused(["evaluate"], "ARTIFACT is missing", "call.artifact")


class TestPlaces:
    @pytest.mark.parametrize("command", ["gold", "tune"])
    def test_out_is_taken(self, market, refused, tmp_path, command):
        for place in ("run", "gold"):
            (tmp_path / place).mkdir()
            (tmp_path / place / "notes.txt").write_text("mine")
        refused(arguments_of(command, market, tmp_path), "not an empty folder", "choose another --out")

    @pytest.mark.parametrize("command", ["gold", "tune"])
    def test_out_is_a_file_or_below_one(self, market, refused, tmp_path, command):
        (tmp_path / "file").write_text("mine")
        for place in (tmp_path / "file", tmp_path / "file" / "run"):
            refused(arguments_of(command, market, tmp_path, more=["--out", str(place)]), "file")

    def test_a_run_stands_there_already(self, market, tuned, refused):
        before = listing(tuned)
        refused(market.tune(tuned, "--seed", "7"), "holds a run already", "add --resume")
        assert listing(tuned) == before

    def test_nothing_to_resume(self, market, refused, tmp_path):
        refused(market.tune(tmp_path / "run", "--resume"), "holds no run to resume", "leave --resume away")

    @pytest.mark.parametrize("change", ["seed", "cycles", "gold", "bars", "code", "versions"])
    def test_resumed_as_something_else(self, market, tuned, refused, tmp_path, change):
        place = tmp_path / "run"
        shutil.copytree(tuned, place)
        arguments = market.tune(place, "--resume")
        words = [str(place), "resume with the same settings, gold, bars and installation"]
        if change == "seed":
            arguments += ["--seed", "8"]
            words.append("seed is 8, not 7")
        elif change == "cycles":
            arguments += ["--seed", "7", "--cycles", "4"]
            words.append("tune.cycles is 4, not 3")
        elif change == "gold":
            weights = {name: value * 2 for name, value in read_artifact(market.gold).artifact.weights.items()}
            with another(market.gold, tmp_path / "other", weights=weights) as gold:
                arguments += ["--seed", "7", "--gold", str(gold)]
            words.append("gold has digest")
        else:
            arguments += ["--seed", "7"]
            other = {
                "bars": ("data_digest", "0" * 64),
                "code": ("code", "0" * 64),
                "versions": ("versions", {}),
            }
            name, value = other[change]
            (place / "run.json").write_text(json.dumps(json_of(place / "run.json") | {name: value}))
            words.append(
                "the data has digest" if change == "bars" else "started by other code or other versions"
            )
        refused(arguments, *words)

    @pytest.mark.parametrize("name", ["run.json", "config.json"])
    def test_resumed_with_a_damaged_run_folder(self, market, tuned, cli, tmp_path, name):
        place = tmp_path / "run"
        shutil.copytree(tuned, place)
        (place / name).write_text("{")
        ended = cli(*market.tune(place, "--resume", "--seed", "8" if name == "config.json" else "7"))
        assert ended.status == 2
        assert name in ended.complaint

    def test_resumed_with_both_checkpoints_damaged(self, market, tuned, cli, tmp_path):
        place = tmp_path / "run"
        shutil.copytree(tuned, place)
        for name in ("checkpoint", "checkpoint.previous"):
            (place / name).write_bytes((place / name).read_bytes()[:-1])
        before = {path: path.read_bytes() for path in place.glob("checkpoint*")}
        for _ in range(2):
            ended = cli(*market.tune(place, "--resume", "--seed", "7"))
            assert ended.status == 2
            assert re.search(
                r"run: checkpoint holds .* of its seal and checkpoint\.previous holds .* of its seal; put a",
                ended.complaint,
            )
            assert {path: path.read_bytes() for path in place.glob("checkpoint*")} == before

    def test_resumed_with_the_checkpoint_of_another_run(self, market, tuned, cli, tmp_path):
        place, other = tmp_path / "run", tmp_path / "other"
        shutil.copytree(tuned, place)
        assert cli(*market.tune(other, "--seed", "8")).status in (0, 1)
        shutil.copy(other / "checkpoint", place / "checkpoint")
        before = {path: path.read_bytes() for path in place.glob("checkpoint*")}
        for _ in range(2):
            ended = cli(*market.tune(place, "--resume", "--seed", "7"))
            assert ended.status == 2
            assert "checkpoint: is of another run: config_digest is " in ended.complaint
            assert {path: path.read_bytes() for path in place.glob("checkpoint*")} == before

    @pytest.mark.parametrize("name", ["run_id", "started_at"])
    def test_resumed_with_half_an_identity(self, market, tuned, refused, tmp_path, name):
        place = tmp_path / "run"
        shutil.copytree(tuned, place)
        state = {key: value for key, value in json_of(place / "run.json").items() if key != name}
        (place / "run.json").write_text(json.dumps(state))
        refused(market.tune(place, "--resume", "--seed", "7"), f"run.json: lacks {name}; start a new run")

    @pytest.mark.parametrize("command", ["gold", "tune", "evaluate"])
    def test_a_read_only_folder(self, market, refused, tmp_path, command):
        with read_only(tmp_path / "ro") as folder:
            arguments = arguments_of(command, market, folder)
            refused(arguments, str(folder), "may write to")

    def test_places_without_a_name(self, market, cli, refused, tmp_path, monkeypatch):
        """An empty working folder is a place like any other; a folder is no file."""
        (tmp_path / "here").mkdir()
        monkeypatch.chdir(tmp_path / "here")
        for name in ("fills", "nav"):
            refused(market.evaluate(market.gold, f"--{name}", "."), "here")
        monkeypatch.setattr("stairways.reporting.page.summary_page", lambda _summary: "<!doctype html>")
        assert cli(*market.tune(Path(), "--seed", "7")).status == 1
        assert json_of(tmp_path / "here" / "summary.json")["run"]["steps"] == 1200

    def test_fills_into_a_folder_that_is_not_there(self, market, refused, tmp_path):
        arguments = arguments_of("evaluate", market, tmp_path / "none")
        refused(arguments, "fills.csv", "check the path")


@contextmanager
def read_only(folder: Path):
    """Give a folder that can't be written, even by root: an empty file system mounted read-only."""
    folder.mkdir()
    if os.geteuid() != 0:
        folder.chmod(0o500)
        yield folder
        folder.chmod(0o700)
        return
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "ro,size=64k", "stairways", folder], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("root writes everywhere, and nothing can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


class TestSmallDisk:
    """A file system of a few pages, for real."""

    @pytest.mark.parametrize("command", ["gold", "tune", "evaluate"])
    def test_a_disk_that_fills_up(self, market, cli, tmp_path, command):
        folder = tmp_path / "small"
        folder.mkdir()
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=16k", "stairways", folder], check=False, capture_output=True
        )
        if mounted.returncode != 0:
            pytest.skip("nothing can be mounted here")
        try:
            more = ["--config", str(tiny_gold(tmp_path))] if command == "gold" else []
            ended = cli(*arguments_of(command, market, folder, more=more))
            assert ended.status == 2, ended
            assert str(folder) in ended.complaint
            assert "free some space" in ended.complaint
            left = {name for name in listing(folder) if not name.startswith("gate.db")}
            assert not left
        finally:
            subprocess.run(["umount", folder], check=True)


def tiny_gold(folder: Path) -> Path:
    """Return settings that train a gold in a moment."""
    gold = {
        "steps": 400,
        "hidden": [16, 16],
        "ppo": {"n_envs": 8, "n_steps": 50, "minibatch": 200, "epochs": 2},
        "over_hold_ratio": 0.2,
        "over_hold_trades": 500.0,
        "least_progress": 0.0,
    }
    return write_yaml(folder / "gold.yml", {"gold": gold})
