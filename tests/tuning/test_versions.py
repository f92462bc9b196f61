"""The digest of the code: what makes results counts, what shows them does not."""

from __future__ import annotations

import ast
import shutil
from importlib.metadata import version

import pytest

from stairways.tuning import versions


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Return a copy of the package that the digest is taken of."""
    copy = tmp_path / "stairways"
    shutil.copytree(versions.PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(versions, "PACKAGE", copy)
    return copy


def digest() -> str:
    return versions.code_digest.__wrapped__()


def test_a_copy_has_the_same_digest(package):
    there = digest()
    (package / "__pycache__" / "compiled-1").mkdir(parents=True)
    (package / "__pycache__" / "compiled-1" / "kernel.nbi").write_bytes(b"machine code")
    assert digest() == there


@pytest.mark.parametrize(
    "place",
    [
        "control/tilt.py",
        "data/gold/weights.safetensors",
        "config.py",
        "reporting/summary.py",
    ],
)
def test_what_makes_results_counts(package, place):
    before = digest()
    (package / place).write_bytes((package / place).read_bytes() + b"\n")
    assert digest() != before


@pytest.mark.parametrize("place", ["cli/tune.py", "reporting/page.py", "proof/known_runs.py"])
def test_what_shows_them_does_not(package, place):
    before = digest()
    (package / place).write_bytes((package / place).read_bytes() + b"\n")
    assert digest() == before


def test_a_file_that_moved_counts(package):
    before = digest()
    (package / "errors.py").rename(package / "mistakes.py")
    assert digest() != before


def test_a_result_depends_on_code_and_libraries():
    made = versions.made_with()
    assert made == {"code": versions.code_digest(), "versions": versions.library_versions()}


def test_libraries_that_produce_numbers_are_named():
    named = versions.library_versions()
    for library in ("numpy", "scipy", "numba", "torch", "polars", "gymnasium"):
        assert named[library] == version(library)


def test_what_is_imported_from_a_presenting_room_where_results_are_made_draws_or_counts():
    """A module at the top of which a presenting one is imported takes more than pictures from it."""
    imported = set()
    for room in ("control", "envs", "evaluation", "learning", "market", "policies", "trading", "tuning"):
        for path in (versions.PACKAGE / room).glob("*.py"):
            imported |= {
                node.module
                for node in ast.parse(path.read_text(encoding="utf-8")).body
                if isinstance(node, ast.ImportFrom) and node.module
            }
    shown = {name.removeprefix("stairways.") for name in imported if name.startswith("stairways.reporting")}
    assert shown == {place.removesuffix(".py").replace("/", ".") for place in versions.COUNTED}
