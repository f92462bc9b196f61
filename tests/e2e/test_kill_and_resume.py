"""A run that is killed, interrupted or starved at any moment goes on to the same result."""

from __future__ import annotations

import datetime as dt
import errno
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import Moment, command, command_that_dies, finish, start, words_of
from workbench import FAST, json_of, listing, merged, write_yaml

from stairways.registry.connection import sqlite_url
from stairways.registry.database import GateDatabase
from stairways.registry.records import RunStatus
from stairways.tuning.run_folder import RunFolder

CYCLES = 5
FIVE_CYCLES = merged(FAST, {"tune": {"cycles": CYCLES, "early_stop_cycles": 9, "steps_per_cycle": 800}})
SAME_COMMAND = "what was finished stands, give the same command again to go on"
ANEW = "nothing is kept, give the same command again to start anew"
OWN_TO_A_RUN = ("run_id", "wall_seconds", "resumed", "database")
MOMENTS = [
    Moment("run.started"),
    Moment("cycle.started", 1),
    Moment("cycle.finished", 4),
    Moment("gate.judged", 4, syncs=1),
    Moment("gate.judged", 4, syncs=2),
    Moment("gate.judged", 4, syncs=4),
    Moment("gate.judged", 5, syncs=2),
    Moment("test.looked_at"),
    Moment("verdict.given", 12, syncs=2),
    Moment("run.finished"),
]


@pytest.fixture(autouse=True)
def _short_page(monkeypatch):
    """The page has tests of its own; the processes started here write the real one."""
    monkeypatch.setattr("stairways.reporting.page.summary_page", lambda _summary: "<!doctype html>")


@pytest.fixture(scope="session")
def five_cycles(market, tmp_path_factory):
    """Arguments of a run of five cycles in a folder of its own."""
    config = write_yaml(tmp_path_factory.mktemp("five") / "five.yml", FIVE_CYCLES)

    def arguments(folder: Path, *more: str) -> list[str]:
        return market.tune(folder / "run", "--seed", "11", *more, config=config)

    return arguments


@pytest.fixture(scope="session")
def unbroken(five_cycles, tmp_path_factory):
    """Result of the run that nothing happened to, made by another process."""
    folder = tmp_path_factory.mktemp("unbroken")
    process = start(command, five_cycles(folder), str(folder / "log"))
    assert finish(process) == 1, words_of(str(folder / "log"))[1]
    return result_of(folder)


def result_of(folder: Path) -> dict:
    """Return everything of a run that must not depend on when it was broken off."""
    run = folder / "run"
    summary = json_of(run / "summary.json")
    for name in OWN_TO_A_RUN:
        summary["run"].pop(name)
    files = listing(run)
    record = json_of(run / "artifact" / "record.json")
    record.pop("run_id")
    run_id = json_of(run / "run.json")["run_id"]
    with GateDatabase.open(sqlite_url(folder / "gate.db")) as database:
        cycles = [
            {
                name: value
                for name, value in vars(cycle).items()
                if name not in ("run_id", "start_ts", "end_ts", "created_at")
            }
            for cycle in database.cycles(run_id)
        ]
        looks = [
            (look.first_date, look.artifact_digest) for look in database.looks(summary["run"]["look_key"])
        ]
        models = [(model.model_id, model.cycle_id, model.performance) for model in database.models(run_id)]
        drifts = [drift.relative_drift for drift in database.drifts(run_id)]
        end = database.run(run_id)
    return {
        "summary": summary,
        "weights": files["artifact/weights.safetensors"],
        "artifact": files["artifact/artifact.json"],
        "record": record,
        "names": sorted(files),
        "cycles": cycles,
        "looks": looks,
        "models": models,
        "drifts": drifts,
        "status": (end.status, end.steps),
    }


class TestKilled:
    @pytest.mark.parametrize("moment", MOMENTS, ids=lambda m: f"{m.event}-{m.count}-{m.syncs}")
    def test_a_killed_run_resumes_to_the_result_of_an_unbroken_one(
        self, cli, five_cycles, unbroken, tmp_path, moment
    ):
        process = start(command_that_dies, five_cycles(tmp_path), str(tmp_path / "log"), moment)
        assert finish(process) == -signal.SIGKILL
        ended = cli(*five_cycles(tmp_path, "--resume"))
        assert (ended.status, ended.err) == (1, "")
        assert result_of(tmp_path) == unbroken

    def test_each_cycle_stands_once_and_the_look_counts_once(self, unbroken):
        assert [cycle["cycle_id"] for cycle in unbroken["cycles"]] == list(range(1, CYCLES + 1))
        assert len(unbroken["drifts"]) == CYCLES
        assert len(unbroken["looks"]) == len(unbroken["models"]) == 1
        assert unbroken["summary"]["run"]["looks"] == 1
        assert unbroken["status"] == (RunStatus.FINISHED, 800 * CYCLES)
        assert not [name for name in unbroken["names"] if name.startswith(".") or ".tmp" in name]

    def test_killed_again_and_again_at_any_time(self, cli, five_cycles, unbroken, tmp_path):
        for pause in (0.6, 0.9):
            more = ["--resume"] if (tmp_path / "run" / "run.json").exists() else []
            process = start(command, five_cycles(tmp_path, *more), str(tmp_path / "log"))
            process.join(pause)
            process.kill()
            assert finish(process) in (-signal.SIGKILL, 1)
        more = ["--resume"] if (tmp_path / "run" / "run.json").exists() else []
        assert cli(*five_cycles(tmp_path, *more)).status == 1
        assert result_of(tmp_path) == unbroken

    def test_the_folder_is_all_that_a_resume_needs(self, cli, five_cycles, unbroken, tmp_path):
        process = start(command_that_dies, five_cycles(tmp_path), str(tmp_path / "log"), MOMENTS[0])
        assert finish(process) == -signal.SIGKILL
        ended = cli("tune", "--out", str(tmp_path / "run"), "--resume")
        assert (ended.status, ended.err) == (1, "")
        assert result_of(tmp_path) == unbroken
        refused = cli("tune", "--out", str(tmp_path / "run"), "--resume", "--seed", "12345")
        assert refused.status == 2
        assert "seed is 12345, not " in refused.err

    def test_a_moved_run_goes_on_with_the_database_beside_it(self, cli, five_cycles, unbroken, tmp_path):
        (tmp_path / "first").mkdir()
        process = start(command_that_dies, five_cycles(tmp_path / "first"), str(tmp_path / "log"), MOMENTS[0])
        assert finish(process) == -signal.SIGKILL
        (tmp_path / "first").rename(tmp_path / "second")
        assert cli(*five_cycles(tmp_path / "second", "--resume")).status == 1
        assert result_of(tmp_path / "second") == unbroken
        assert not (tmp_path / "first").exists()

    def test_resuming_a_finished_run_changes_nothing(self, cli, five_cycles, unbroken, tmp_path):
        assert cli(*five_cycles(tmp_path)).status == 1
        assert cli(*five_cycles(tmp_path, "--resume")).status == 1
        assert result_of(tmp_path) == unbroken


def flip(path: Path, seed: int) -> None:
    content = bytearray(path.read_bytes())
    bit = random.Random(seed).randrange(8 * len(content))
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def into_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES = {
    "flipped": lambda path: flip(path, 1),
    "flipped elsewhere": lambda path: flip(path, 2),
    "torn": lambda path: path.write_bytes(path.read_bytes()[:5_000]),
    "empty": lambda path: path.write_bytes(b""),
    "missing": Path.unlink,
    "a folder": into_a_folder,
}


class TestDamaged:
    """A run is killed, its checkpoint is damaged, and it goes on from the one before to the same result."""

    @pytest.fixture
    def killed(self, five_cycles, tmp_path):
        def until(moment: Moment, *more: str) -> Path:
            process = start(command_that_dies, five_cycles(tmp_path, *more), str(tmp_path / "log"), moment)
            assert finish(process) == -signal.SIGKILL
            return tmp_path / "run" / "checkpoint"

        return until

    def same_result_with(self, folder, unbroken, *kept):
        """Check the result, and that the damaged files stand beside it."""
        result = result_of(folder)
        for name in kept:
            result["names"].remove(name)
        assert result == unbroken

    @pytest.mark.parametrize("damage", DAMAGES)
    def test_the_checkpoint_before_is_used(self, cli, five_cycles, unbroken, tmp_path, killed, damage):
        checkpoint = killed(Moment("gate.judged", 4))
        DAMAGES[damage](checkpoint)
        damaged = checkpoint.read_bytes() if checkpoint.is_file() else None
        ended = cli(*five_cycles(tmp_path, "--resume"))
        assert (ended.status, ended.err) == (1, "")
        again = "checkpoint.previous is used, cycles done again: 1 (800 steps)"
        [alert] = [line for line in ended.out.splitlines() if "ALERT checkpoint " in line]
        assert alert.endswith(again)
        kept = [] if damage == "missing" else ["checkpoint.damaged-1"]
        assert all(f"kept as {name}; " in alert for name in kept)
        self.same_result_with(tmp_path, unbroken, *kept)
        for name in kept:
            aside = checkpoint.with_name(name)
            assert aside.is_dir() if damaged is None else aside.read_bytes() == damaged
        logged = [
            line for line in (tmp_path / "run" / "training.log").read_text().splitlines() if "dam" in line
        ]
        assert len(logged) == 1
        assert " RUN checkpoint.damaged file=checkpoint reason=" in logged[0]
        assert logged[0].endswith("used=checkpoint.previous cycles_again=1 steps_again=800")

    def test_the_first_cycle_s_has_the_beginning_before_it(
        self, cli, five_cycles, unbroken, tmp_path, killed
    ):
        flip(killed(Moment("cycle.started", 2)), 3)
        ended = cli(*five_cycles(tmp_path, "--resume"))
        assert (ended.status, ended.err) == (1, "")
        assert "checkpoint.previous is used, cycles done again: 1 (800 steps)" in ended.out
        self.same_result_with(tmp_path, unbroken, "checkpoint.damaged-1")

    def test_damaged_again_and_again(self, cli, five_cycles, unbroken, tmp_path, killed):
        flip(killed(Moment("cycle.started", 3)), 4)
        flip(killed(Moment("cycle.started", 3), "--resume"), 5)
        flip(killed(Moment("test.looked_at"), "--resume"), 6)
        ended = cli(*five_cycles(tmp_path, "--resume"))
        assert (ended.status, ended.err) == (1, "")
        self.same_result_with(tmp_path, unbroken, *(f"checkpoint.damaged-{number}" for number in (1, 2, 3)))

    def test_while_the_run_goes_on(self, cli, five_cycles, unbroken, tmp_path, monkeypatch):
        """The disk damages each checkpoint behind the run's back: none takes the place of a good one."""
        write = RunFolder.write_checkpoint

        def damaging(self, checkpoint, state, *, alarm):
            write(self, checkpoint, state, alarm=alarm)
            if checkpoint.cycle in (2, 3):
                flip(self.path / "checkpoint", checkpoint.cycle)

        monkeypatch.setattr(RunFolder, "write_checkpoint", damaging)
        ended = cli(*five_cycles(tmp_path))
        monkeypatch.undo()
        assert (ended.status, ended.err) == (1, "")
        assert ended.out.count("no step is lost") == 2
        self.same_result_with(tmp_path, unbroken, "checkpoint.damaged-1", "checkpoint.damaged-2")
        (tmp_path / "run" / "checkpoint").unlink()
        assert cli(*five_cycles(tmp_path, "--resume")).status == 1
        self.same_result_with(tmp_path, unbroken, "checkpoint.damaged-1", "checkpoint.damaged-2")

    def test_the_spare(self, cli, five_cycles, unbroken, tmp_path, killed):
        flip(killed(Moment("gate.judged", 4)).with_name("checkpoint.previous"), 7)
        ended = cli(*five_cycles(tmp_path, "--resume"))
        assert (ended.status, ended.err) == (1, "")
        assert "ALERT checkpoint.previous " in ended.out
        assert "kept as checkpoint.damaged-1; no step is lost" in ended.out
        self.same_result_with(tmp_path, unbroken, "checkpoint.damaged-1")


class TestInterrupted:
    def test_ctrl_c_exits_with_130_and_one_line_and_the_run_goes_on(
        self, cli, five_cycles, unbroken, tmp_path
    ):
        program = Path(sys.executable).with_name("stairways")
        log = tmp_path / "run" / "training.log"
        with subprocess.Popen(
            [program, *five_cycles(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            while not log.exists() or "cycle.finished" not in log.read_text(encoding="utf-8"):
                assert process.poll() is None, process.stderr.read()
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            err = process.communicate(timeout=60)[1]
        assert process.returncode == 130
        assert err.startswith("stairways: interrupted") and err.count("\n") == 1
        assert "--resume" in err
        assert log.read_text(encoding="utf-8").endswith("RUN run.stopped reason=KeyboardInterrupt\n")
        run_id = json_of(tmp_path / "run" / "run.json")["run_id"]
        with GateDatabase.open(sqlite_url(tmp_path / "gate.db")) as database:
            assert database.run(run_id).status == RunStatus.INTERRUPTED
        assert cli(*five_cycles(tmp_path, "--resume")).status == 1
        assert result_of(tmp_path) == unbroken

    def test_ctrl_c_while_gold_trains_leaves_nothing(self, cli, market, tmp_path, monkeypatch):
        def interrupt(*_arguments, **_named):
            raise KeyboardInterrupt

        monkeypatch.setattr("stairways.learning.trainer.Trainer.train", interrupt)
        arguments = ["gold", "train", "--out", tmp_path / "gold", *market.options("train", "test")]
        ended = cli(*arguments, "--steps", "33280")
        assert ended.status == 130
        assert ended.complaint.startswith("interrupted")
        assert listing(tmp_path) == {}

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["tune"], "what was finished stands, add --resume to go on"),
            (["frontier"], SAME_COMMAND),
            (["frontier", "--tuned", "--gold", "tune"], SAME_COMMAND),
            (["prove", "frontier"], SAME_COMMAND),
            (["backtest", "--walk-forward"], SAME_COMMAND),
            (["backtest", "--scenario", "2022_bear_market"], ANEW),
            (["evaluate", "tune"], ANEW),
            (["gold", "train"], ANEW),
            (["dry-run"], ANEW),
            (["cross-asset"], ANEW),
        ],
    )
    def test_each_command_is_told_how_it_goes_on(self, cli, monkeypatch, arguments, words):
        def interrupt(*_arguments, **_named):
            raise KeyboardInterrupt

        monkeypatch.setattr("stairways.cli.main.app", interrupt)
        ended = cli(*arguments)
        assert (ended.status, ended.complaint) == (130, f"interrupted; {words}")


class TestFullDisk:
    @pytest.mark.parametrize("writes", [1, 2, 3, 4, 8, 13, 17, 20])
    def test_at_any_write_one_line_nothing_half_written_and_the_run_goes_on(
        self, cli, five_cycles, unbroken, tmp_path, monkeypatch, writes
    ):
        write, seen = os.write, []

        def full(descriptor, content):
            seen.append(len(content))
            if len(seen) >= writes:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return write(descriptor, content)

        monkeypatch.setattr("stairways.registry.files.os.write", full)
        ended = cli(*five_cycles(tmp_path))
        monkeypatch.undo()
        assert ended.status == 2
        assert "No space left on device; free some space" in ended.complaint
        assert not [name for name in listing(tmp_path) if ".tmp" in name]
        started = (tmp_path / "run").exists()
        assert started == (writes > 3)
        assert cli(*five_cycles(tmp_path, *(["--resume"] if started else []))).status == 1
        assert result_of(tmp_path) == unbroken

    def test_a_log_that_can_not_be_written(self, cli, five_cycles, unbroken, tmp_path, monkeypatch):
        opened, seen = Path.open, []

        def full(self, *arguments, **named):
            if self.name == "training.log":
                seen.append(self)
                if len(seen) == 9:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return opened(self, *arguments, **named)

        monkeypatch.setattr(Path, "open", full)
        ended = cli(*five_cycles(tmp_path))
        monkeypatch.undo()
        assert ended.status == 2
        assert "training.log: No space left on device" in ended.complaint
        assert cli(*five_cycles(tmp_path, "--resume")).status == 1
        assert result_of(tmp_path) == unbroken

    @pytest.mark.parametrize("limit", [2_000, 60_000])
    def test_files_that_can_not_grow(self, cli, five_cycles, unbroken, tmp_path, limit):
        """The kernel itself refuses: files may not grow beyond a limit."""
        process = start(command, five_cycles(tmp_path), str(tmp_path / "log"), limit)
        assert finish(process) == 2
        err = words_of(str(tmp_path / "log"))[1]
        assert err.startswith("stairways: ") and err.count("\n") == 1
        assert not [name for name in listing(tmp_path) if ".tmp" in name]
        more = ["--resume"] if (tmp_path / "run").exists() else []
        assert cli(*five_cycles(tmp_path, *more)).status == 1
        assert result_of(tmp_path) == unbroken


def test_a_failed_run_says_so_in_the_database(cli, five_cycles, tmp_path, monkeypatch):
    def full(*_arguments, **_named):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "checkpoint")

    monkeypatch.setattr("stairways.tuning.run_folder.RunFolder.write_checkpoint", full)
    ended = cli(*five_cycles(tmp_path))
    assert ended.status == 2
    assert "the disk is full" in ended.complaint
    run_id = json_of(tmp_path / "run" / "run.json")["run_id"]
    with GateDatabase.open(sqlite_url(tmp_path / "gate.db")) as database:
        run = database.run(run_id)
        assert (run.status, run.steps) == (RunStatus.FAILED, 800)
        assert len(database.cycles(run_id)) == 1
        assert run.ended_at is not None and run.ended_at <= dt.datetime.now(dt.UTC)
