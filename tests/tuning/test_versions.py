"""The digest of the code: what makes results counts, what shows them does not."""

from __future__ import annotations

import shutil

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
    "place", ["control/tilt.py", "proof/streams.py", "data/gold/weights.safetensors", "config.py"]
)
def test_what_makes_results_counts(package, place):
    before = digest()
    (package / place).write_bytes((package / place).read_bytes() + b"\n")
    assert digest() != before


@pytest.mark.parametrize("place", ["cli/tune.py", "reporting/page.py", "proof/known_findings.py"])
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
