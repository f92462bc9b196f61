"""``stairways prove``: names, refusals, statuses, the page."""

from __future__ import annotations

import re

import pytest
from toys import marks

from stairways.cli.main import run
from stairways.proof.catalogue import EXPERIMENTS
from stairways.proof.experiment import Experiment
from stairways.proof.runner import load

TOYS = {"toy": "toys:Toy", "holding": "toys:Holding", "real": "toys:Real", "refusing": "toys:Refusing"}


@pytest.fixture
def toys(monkeypatch):
    monkeypatch.setattr("stairways.proof.catalogue.EXPERIMENTS", TOYS)


@pytest.fixture
def prove(toys, capsys):
    def command(*words):
        status = run(["prove", *map(str, words)])
        said = capsys.readouterr()
        assert "Traceback" not in said.out + said.err
        return status, said.out, said.err

    return command


def test_bars_that_hold_end_with_0(prove, tmp_path):
    status, out, err = prove("holding", "--quick", "--out", tmp_path)
    assert (status, err) == (0, "")
    assert "holding: Squares, added, 3 cells" in out
    assert re.search(r"base-0: \d+\.\d s, \d of 3", out)
    assert "holds  the sum | all: 1 (bar: = 1)" in out


def test_a_missed_bar_ends_with_1_and_is_named(prove, tmp_path):
    status, out, _ = prove("toy", "holding", "--quick", "--out", tmp_path)
    assert status == 1
    assert "MISSED a wonder: not measured (bar: > 0)" in out
    assert (tmp_path / "holding" / "results.json").exists()
    assert "kept" not in out
    assert "3 of them kept from before" in prove("toy", "--quick", "--out", tmp_path)[1]


def test_a_seed_reaches_the_cells(prove, tmp_path):
    assert "the sum | all: 5" in prove("holding", "--quick", "--seed", 2, "--out", tmp_path)[1]


def test_a_cell_that_fails_ends_with_one_line(prove, tmp_path):
    status, _, err = prove("refusing", "--quick", "--out", tmp_path)
    assert status == 3
    assert err == "stairways: cell base-1, over-hold stage: does not go on; try again\n"
    assert marks(tmp_path) == ["base-0"]


def test_the_page_is_made_of_what_stands(prove, tmp_path):
    page = tmp_path / "docs" / "evidence.md"
    page.parent.mkdir()
    prove("toy", "--quick", "--out", tmp_path / "runs")
    prove("holding", "--quick", "--out", tmp_path / "runs", "--page", page)
    text = page.read_text()
    assert "    stairways prove --all --quick --out DIR --page PAGE\n" in text
    assert "a wonder" in text
    assert "| real | **not run** |" in text


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["wonder", "--out", "x"], "there is no experiment wonder; choose from toy, holding, real, refusing"),
        (["--out", "x"], "name experiments, or give --all; stairways prove --list names them"),
        (["toy", "--all", "--out", "x"], "name experiments, or give --all"),
        (["toy"], "--out is missing"),
        (["--all", "--out", "x"], "--bars is missing: real run on real bars"),
        (["toy", "--bars", "nowhere", "--out", "x"], "--bars nowhere: is no folder"),
        (["toy", "--seed", "-1", "--out", "x"], "seed"),
        (["toy", "--out", "x", "--page", "."], "--page .: is no Markdown file; name a file that ends in .md"),
    ],
)
def test_refusals_are_one_line_and_leave_nothing(prove, tmp_path, monkeypatch, words, complaint):
    monkeypatch.chdir(tmp_path)
    status, out, err = prove(*words)
    assert (status, out) == (2, "")
    assert err.startswith("stairways: ")
    assert err.count("\n") == 1
    assert complaint in err
    assert list(tmp_path.iterdir()) == []


def test_the_list_names_each_with_its_question(prove):
    status, out, _ = prove("--list")
    assert status == 0
    lines = out.splitlines()
    assert lines[0] == "toy: Do squares add up?"
    assert lines[2] == "real, real bars: Do squares add up?"
    assert lines[-1].startswith("stairways prove NAME --out DIR runs one")


def test_the_catalogue_and_its_experiments_agree():
    for name, path in EXPERIMENTS.items():
        experiment = load(path)
        assert isinstance(experiment, Experiment)
        assert experiment.name == name
        assert experiment.title
        assert experiment.question.endswith("?")
