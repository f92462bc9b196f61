"""The evidence page: nothing typed, nothing left out."""

from __future__ import annotations

import json
import shutil

import pytest
from toys import Silent

from stairways.errors import StorageError
from stairways.proof.evidence import write_page
from stairways.proof.runner import run_experiment


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("evidence")
    for name in ("Toy", "Holding", "Barless"):
        run_experiment(
            f"toys:{name}",
            place / name,
            seed=0,
            quick=name != "Toy",
            bars=None,
            follower=Silent(),
            processes=1,
        )
    return [place / name for name in ("Toy", "Holding", "Barless")]


@pytest.fixture
def page(folders, tmp_path):
    write_page(folders, tmp_path / "evidence.md", command="stairways prove --all", missing=["leaks"])
    return tmp_path / "evidence.md"


def test_every_bar_is_named_missed_ones_too(page):
    text = page.read_text()
    assert text.count(r"the sum \| all") == 2
    assert "| a wonder | not measured | > 0 | **no** |" in text
    assert "nothing is shown" in text


def test_the_overview_counts_and_names_form_and_seed(page):
    lines = [line for line in page.read_text().splitlines() if line.startswith("| [Squares")]
    assert [line.split(" | ")[1:5] for line in lines] == [
        ["**1 of 2**", "full", "0", "synthetic"],
        ["1 of 1", "quick", "0", "synthetic"],
        ["**0 of 0**", "quick", "0", "synthetic"],
    ]


def test_what_was_not_run_is_said(page):
    assert "| leaks | **not run** |" in page.read_text()


def test_pictures_stand_beside_the_page(page):
    text = page.read_text()
    for name in ("toy-curve.png", "holding-curve.png", "barless-curve.png"):
        assert f"](images/evidence/{name})" in text
        assert (page.parent / "images" / "evidence" / name).stat().st_size > 100
    assert "](curve.png)" not in text


def test_an_unfinished_experiment_is_refused(folders, tmp_path):
    with pytest.raises(StorageError, match="holds no finished experiment; run it first"):
        write_page([*folders, tmp_path], tmp_path / "evidence.md", command="x")
    assert not (tmp_path / "evidence.md").exists()


def test_a_damaged_result_is_refused(folders, tmp_path):
    folder = tmp_path / "Toy"
    shutil.copytree(folders[0], folder)
    (folder / "results.json").write_text('{"bars": [')
    with pytest.raises(StorageError, match=r"results\.json: can't be read .*; run it again"):
        write_page([folder], tmp_path / "evidence.md", command="x")


def test_a_folder_of_other_code_is_marked(folders, page, tmp_path):
    assert "not today's" not in page.read_text()
    folder = tmp_path / "Toy"
    shutil.copytree(folders[0], folder)
    results = json.loads((folder / "results.json").read_text())
    (folder / "results.json").write_text(json.dumps({**results, "code": "f" * 64}))
    write_page([folder], tmp_path / "evidence.md", command="x")
    assert f"`{'f' * 12}`, **not today's**" in (tmp_path / "evidence.md").read_text()


def test_what_a_folder_says_of_itself_is_not_believed(folders, tmp_path):
    folder = tmp_path / "Toy"
    shutil.copytree(folders[0], folder)
    results = json.loads((folder / "results.json").read_text())
    (folder / "results.json").write_text(json.dumps({**results, "passed": True}))
    write_page([folder], tmp_path / "evidence.md", command="x")
    assert "| **1 of 2** | full |" in (tmp_path / "evidence.md").read_text()


def test_equal_folders_give_equal_pages(folders, page, tmp_path):
    other = tmp_path / "other" / "evidence.md"
    write_page(folders, other, command="stairways prove --all", missing=["leaks"])
    assert other.read_bytes() == page.read_bytes()
