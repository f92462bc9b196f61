"""The runner of experiments: stages, what is kept, what is run again, what stops it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from toys import N_CELLS, Silent, is_alive, marks, wait_for

from stairways.errors import ConfigError, StairwaysError, StorageError, TrainingError
from stairways.proof.experiment import Bar, Cell, Job
from stairways.proof.runner import run_experiment
from stairways.tuning.run_folder import RunFolder

BASE = [f"base-{i}" for i in range(N_CELLS)]


def run(name, folder, *, seed=0, quick=False, bars=None, processes=2, follower=None):
    return run_experiment(
        f"toys:{name}",
        folder,
        seed=seed,
        quick=quick,
        bars=bars,
        follower=follower or Silent(),
        processes=processes,
    )


def results_of(folder):
    """Return what must not depend on how often a call was broken off."""
    content = json.loads((folder / "results.json").read_text())
    content.pop("cell_seconds")
    return json.dumps(content)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder of the toy that nothing happened to."""
    folder = tmp_path_factory.mktemp("whole") / "toy"
    return folder, run("Toy", folder)


def test_stages_run_in_order_and_the_conclusion_sees_every_cell(whole):
    folder, outcome = whole
    ran = marks(folder.parent)
    assert sorted(ran[:-1]) == BASE
    assert ran[-1] == "top"
    assert outcome.findings.bars[0].observed == 0 + 1 + 4 + 9
    assert outcome.findings.bars[0].passed
    assert not outcome.passed


def test_a_second_call_runs_nothing_and_writes_the_same(whole, tmp_path):
    folder, _ = whole
    before, ran = results_of(folder), marks(folder.parent)
    follower = Silent()
    run("Toy", folder, follower=follower)
    assert (follower.total, follower.kept, follower.keys) == (N_CELLS + 1, N_CELLS + 1, [])
    assert (results_of(folder), marks(folder.parent)) == (before, ran)


class TestWhatIsKept:
    @pytest.fixture
    def folder(self, tmp_path):
        run("Toy", tmp_path / "toy")
        (tmp_path / "marks.txt").unlink()
        return tmp_path / "toy"

    def test_a_changed_argument_runs_its_cell_and_those_that_build_on_it(self, folder):
        run("Changed", folder)
        assert marks(folder.parent) == ["base-0", "top"]

    def test_another_form_runs_everything(self, folder):
        run("Toy", folder, quick=True)
        assert sorted(marks(folder.parent)) == ["base-0", "base-1", "top"]
        # what the long form left must not reach the short one's top
        assert json.loads((folder / "cells" / "top.json").read_text())["result"]["result"]["sum"] == 1

    def test_another_seed_runs_everything(self, folder):
        assert run("Toy", folder, seed=5).findings.bars[0].observed == 14 + 5 * N_CELLS
        assert len(marks(folder.parent)) == N_CELLS + 1

    def test_other_bars_run_everything(self, folder, tmp_path):
        run("Toy", folder, bars=tmp_path)
        assert len(marks(folder.parent)) == N_CELLS + 1

    def test_a_damaged_cell_runs_again(self, folder):
        (folder / "cells" / "top.json").write_text('{"identity": "')
        assert run("Toy", folder).findings.bars[0].passed
        assert marks(folder.parent) == ["top"]

    def test_an_edited_result_runs_again(self, folder):
        place = folder / "cells" / "top.json"
        entry = json.loads(place.read_text())
        entry["result"]["result"]["sum"] += 1
        place.write_text(json.dumps(entry))
        assert run("Toy", folder).findings.bars[0].passed
        assert marks(folder.parent) == ["top"]

    def test_what_another_seed_left_in_the_work_folder_is_not_taken_over(self, folder):
        (folder / "work" / "left.txt").write_text("1000")
        run("Toy", folder, seed=1)
        assert not (folder / "work" / "left.txt").exists()

    def test_a_copy_of_the_bars_is_the_same_bars(self, tmp_path):
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "bars.csv").write_text("a bar\n")
        os.utime(tmp_path / "two" / "bars.csv", (1, 1))
        run("Toy", tmp_path / "toy", bars=tmp_path / "one")
        (tmp_path / "marks.txt").unlink()
        run("Toy", tmp_path / "toy", bars=tmp_path / "two")
        assert marks(tmp_path) == []
        (tmp_path / "two" / "bars.csv").write_text("b bar\n")
        run("Toy", tmp_path / "toy", bars=tmp_path / "two")
        assert len(marks(tmp_path)) == N_CELLS + 1

    def test_a_lost_work_folder_runs_everything_that_built_on_it(self, folder):
        for path in (folder / "work").iterdir():
            path.unlink()
        (folder / "work").rmdir()
        (folder / "cells" / "top.json").unlink()
        assert run("Toy", folder).findings.bars[0].passed
        assert len(marks(folder.parent)) == N_CELLS + 1


class TestFailure:
    def test_one_line_names_the_cell_and_the_others_end(self, tmp_path):
        line = r"cell base-1: ValueError: a number that can't be; .*error\.txt"
        with pytest.raises(StairwaysError, match=line) as raised:
            run("Failing", tmp_path / "x")
        assert not isinstance(raised.value, ConfigError)
        assert "Traceback" in (tmp_path / "x" / "cells" / "base-1.error.txt").read_text()
        assert not (tmp_path / "x" / "results.json").exists()
        assert ends(int((tmp_path / "x" / "work" / "began").read_text()))

    def test_what_was_finished_stands_and_the_call_goes_on(self, tmp_path):
        folder = tmp_path / "x"
        with pytest.raises(TrainingError, match="cell base-1, over-hold stage: does not go on; try again"):
            run("Refusing", folder, processes=1)
        left = {path.name for path in (folder / "cells").iterdir()}
        assert {"base-0.json", "base-1.error.txt"} <= left
        assert "base-1.json" not in left
        run("Single", folder)
        # one that ran beside the failing one may have been ended with it
        assert set(marks(tmp_path)) == set(BASE)
        assert marks(tmp_path).count("base-0") == 1
        assert sorted(path.name for path in (folder / "cells").iterdir()) == [f"{key}.json" for key in BASE]

    def test_results_of_before_do_not_outlive_a_failure(self, tmp_path):
        folder = tmp_path / "x"
        run("Single", folder)
        (folder / "cells" / "base-1.json").unlink()
        with pytest.raises(TrainingError):
            run("Refusing", folder)
        assert not (folder / "results.json").exists()


def started(name, folder):
    """Start an experiment in a process of its own, which leads a group."""
    code = (
        "import sys; sys.path[:0] = sys.argv[3:]\n"
        "from pathlib import Path\n"
        "from toys import Silent\n"
        "from stairways.proof import catalogue\n"
        "catalogue.EXPERIMENTS = {sys.argv[1]: 'toys:' + sys.argv[1]}\n"
        "from stairways.cli.main import run\n"
        "if __name__ == '__main__':\n"
        "    sys.exit(run(['prove', sys.argv[1], '--out', sys.argv[2]]))\n"
    )
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / "started.py"
    script.write_text(code)
    return subprocess.Popen(
        [sys.executable, str(script), name, str(folder), str(Path(__file__).parent)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    folder = tmp_path_factory.mktemp("single") / "x"
    run("Single", folder)
    return results_of(folder)


def ends(process: int) -> bool:
    """Tell whether a process ends within a minute."""
    deadline = time.monotonic() + 60
    while is_alive(process) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not is_alive(process)


def test_a_killed_call_takes_its_cells_along_and_goes_on_to_the_same_result(tmp_path, single):
    process = started("Endless", tmp_path)
    folder = tmp_path / "Endless"
    wait_for(folder / "work" / "began")
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert ends(int((folder / "work" / "began").read_text()))
    assert (folder / "cells" / "base-0.json").exists()
    run("Single", folder)
    assert results_of(folder) == single
    assert marks(tmp_path).count("base-0") == 1


def test_ctrl_c_ends_everything_with_one_line_and_goes_on_to_the_same_result(tmp_path, single):
    process = started("Interrupted", tmp_path)
    _, complaint = process.communicate(timeout=240)
    folder = tmp_path / "Interrupted"
    assert process.returncode == 130
    assert complaint.startswith("stairways: interrupted; what was finished stands")
    assert complaint.count("\n") == 1
    assert ends(int((folder / "work" / "began").read_text()))
    run("Single", folder)
    assert results_of(folder) == single
    assert marks(tmp_path).count("base-0") == 1


class TestRefusals:
    def test_an_experiment_on_real_bars_without_bars(self, tmp_path):
        with pytest.raises(ConfigError, match="--bars: real runs on real bars"):
            run("Real", tmp_path / "x")
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("name", ["Toy", "Real"])
    def test_bars_that_are_not_there(self, tmp_path, name):
        with pytest.raises(ConfigError, match=r"--bars .*nowhere: is no folder"):
            run(name, tmp_path / "x", bars=tmp_path / "nowhere")
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_of_something_else(self, tmp_path):
        (tmp_path / "letter.txt").write_text("dear")
        with pytest.raises(StorageError, match="is no folder of the experiment toy"):
            run("Toy", tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]

    def test_a_folder_that_another_process_works_in(self, tmp_path):
        (tmp_path / "x" / "cells").mkdir(parents=True)
        with RunFolder(tmp_path / "x").held(), pytest.raises(StorageError, match="another process"):
            run("Toy", tmp_path / "x")

    @pytest.mark.parametrize("keys", [[], ["a", "a"], ["a/b"], [""]])
    def test_keys_that_do_not_fit_files(self, tmp_path, monkeypatch, keys):
        monkeypatch.setattr("toys.Toy.cells", lambda self, job: [Cell(key) for key in keys])
        with pytest.raises(ValueError, match="different keys"):
            run("Toy", tmp_path / "x")

    def test_there_are_no_made_up_bars(self, tmp_path):
        with pytest.raises(ConfigError, match="--bars is missing"):
            Job(0, False, None, tmp_path).real_bars()
        assert Job(0, False, tmp_path, tmp_path).real_bars() == tmp_path


class TestPassing:
    def test_every_bar_must_hold(self, tmp_path):
        assert run("Holding", tmp_path / "x", quick=True).passed
        assert json.loads((tmp_path / "x" / "results.json").read_text())["passed"] is True

    def test_no_bars_are_no_pass(self, tmp_path):
        assert not run("Barless", tmp_path / "x", quick=True).passed
        assert json.loads((tmp_path / "x" / "results.json").read_text())["passed"] is False

    @pytest.mark.parametrize("observed", [None, float("nan"), float("inf")])
    def test_a_bar_without_a_figure_cannot_pass(self, observed):
        with pytest.raises(ValueError, match="passes without a figure"):
            Bar("wonder", observed, "> 0", True)
        assert Bar("wonder", observed, "> 0", False).as_record()["observed"] is None
