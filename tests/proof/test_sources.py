"""What an experiment's results depend on: its own modules, not those of others, nor what shows them."""

from __future__ import annotations

import pytest

from stairways.proof import sources
from stairways.proof.catalogue import EXPERIMENTS
from stairways.proof.sources import code_of, reached


def test_modules_are_reached_from_inside_functions_and_through_others():
    names = set(reached("stairways.proof.known_answers"))
    assert {"known_answers", "known_runs", "plants", "experiment"} <= {
        one.rpartition(".")[2] for one in names
    }
    assert not [one for one in names if "noise" in one or one.endswith("_findings")]


def test_what_an_experiment_never_runs_does_not_count():
    names = set(reached("stairways.proof.known_answers"))
    assert {"stairways", "stairways.registry.artifact", "stairways.tuning.run"} <= names
    rooms = {".".join(name.split(".")[:2]) for name in names}
    assert "stairways.live" not in rooms
    assert "stairways.cli" not in rooms
    assert "stairways.registry.promotion" not in names
    # a class is imported by name like a module, and is none
    assert not [name for name in names if name.rpartition(".")[2][:1].isupper()]


def test_what_only_shows_results_does_not_count_and_what_makes_figures_does():
    names = set(reached("stairways.proof.known_answers"))
    assert "stairways.reporting.summary" in names
    assert "stairways.reporting.pictures" not in names


def test_every_file_of_data_counts(monkeypatch, tmp_path):
    data = tmp_path / "gold.bin"
    data.write_bytes(b"weights")
    monkeypatch.setattr(sources, "PACKAGE", tmp_path)
    monkeypatch.setattr(sources, "reached", lambda module: {})
    before = code_of("own_toy:Toy")
    data.write_bytes(b"other weights")
    assert code_of("own_toy:Toy") != before


def test_every_experiment_counts_itself_first():
    for path in EXPERIMENTS.values():
        assert next(iter(reached(path.partition(":")[0]))) == path.partition(":")[0]


@pytest.fixture
def modules(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_toy.py").write_text("def run():\n    from stairways.proof import streams\n")
    return tmp_path


def test_an_edit_of_the_experiment_counts(modules):
    assert set(reached("own_toy")) >= {"own_toy", "stairways.proof.streams"}
    before = code_of("own_toy:Toy")
    assert code_of("own_toy:Toy") == before
    (modules / "own_toy.py").write_text("def run():\n    from stairways.proof import plants\n")
    assert code_of("own_toy:Toy") != before
