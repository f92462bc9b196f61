"""The folder of an experiment: what programs and people find in it."""

from __future__ import annotations

import csv
import json
import struct
from io import StringIO
from xml.etree import ElementTree

import pytest
from toys import Silent

from stairways.proof.experiment import Bar, Column, Findings, Job, Table
from stairways.proof.folder import bars_markdown, command_of, table_csv
from stairways.proof.runner import run_experiment


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("folder") / "toy"
    run_experiment("toys:Toy", place, seed=3, quick=True, bars=None, follower=Silent(), processes=1)
    return place


def test_everything_is_there(folder):
    names = {path.name for path in folder.iterdir() if path.is_file()}
    assert names == {
        "results.json", "report.md", "command.txt", "squares.csv", "squares.md", "curve.svg", "curve.png",
    }  # fmt: skip


def test_results_hold_rows_and_bars(folder):
    results = json.loads((folder / "results.json").read_text())
    assert results["rows"] == [{"number": 0, "square": 3}, {"number": 1, "square": 4}]
    total = {"name": "the sum | all", "observed": 7.0, "threshold": "= 7", "passed": True}
    wonder = {"name": "a wonder", "observed": None, "threshold": "> 0", "passed": False, "note": ""}
    assert results["bars"] == [{**total, "note": "of every cell"}, wonder]
    assert results["passed"] is False
    assert (results["seed"], results["quick"], results["n_cells"]) == (3, True, 3)
    assert results["versions"]["stairways"]


def test_the_command_repeats_it(folder, tmp_path):
    assert (folder / "command.txt").read_text() == "stairways prove toy --seed 3 --quick --out DIR\n"
    job = Job(1, False, tmp_path, tmp_path)
    assert command_of("x", job) == "stairways prove x --seed 1 --bars BARS --out DIR"


def test_the_report_names_every_bar_missed_or_not(folder):
    report = (folder / "report.md").read_text()
    assert r"| the sum \| all | 7 | = 7 | yes | of every cell |" in report
    assert "| a wonder | not measured | > 0 | **no** |  |" in report
    assert "## Squares, added" in report
    assert "Squares were *added*." in report
    assert "![Squares over numbers.](curve.png)" in report


def test_no_bars_are_said_to_show_nothing():
    assert "nothing is shown" in bars_markdown(Findings([], [], [], [], ""))


def test_pictures_open(folder):
    png = (folder / "curve.png").read_bytes()
    assert struct.unpack(">II", png[16:24]) == (400, 200)
    assert ElementTree.fromstring((folder / "curve.svg").read_text()).tag.endswith("svg")  # noqa: S314


class TestTables:
    rows = ({"name": "a", "value": 1.25}, {"name": "b|c", "other": 2}, {"name": "d", "value": None})
    table = Table("t", "T", [Column("name", "{name}"), Column("value, bp", "{value:+.1f}")], rows)

    def test_a_row_without_a_field_shows_a_dash(self):
        assert self.table.markdown().splitlines() == [
            "| name | value, bp |",
            "|---|---|",
            "| a | +1.2 |",
            r"| b\|c | - |",
            "| d | - |",
        ]

    def test_csv_holds_every_field(self):
        found = list(csv.DictReader(StringIO(table_csv(self.table))))
        assert found[0] == {"name": "a", "value": "1.25", "other": ""}
        assert found[1] == {"name": "b|c", "value": "", "other": "2"}

    def test_a_value_without_a_template_is_a_mistake(self):
        with pytest.raises(ValueError, match="format"):
            Column("x", "{name:.2f}").text({"name": "a"})


def test_figures_have_four_digits():
    bars = [Bar("x", 0.123456, "< 1", True), Bar("y", "3 of 3", "3", True)]
    shown = bars_markdown(Findings([], bars, [], [], ""))
    assert "| x | 0.1235 | < 1 | yes |  |" in shown
    assert "| y | 3 of 3 | 3 | yes |  |" in shown
