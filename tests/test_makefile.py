"""The Makefile: what it says of a Python that is too old."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAKE = shutil.which("make")


def made(tmp_path, python):
    """Run ``make install`` of a copy that can install nothing, with another Python."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    arguments = [str(MAKE), "install", f"PYTHON={python}", "VENV=environment"]
    # what runs the tests may be a make, whose flags and level would be this one's too
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(
        arguments, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment
    )


@pytest.fixture
def stand_in(tmp_path):
    """Return a Python that asks a real one as whatever version it is told to be, and makes nothing."""

    def written(version):
        python = tmp_path / "python-stand-in"
        asked = f"import sys; sys.version_info = {version}; exec(sys.argv[1])"
        python.write_text(f'#!/bin/sh\ntest "$1" = -c || exit 7\nexec {sys.executable} -c "{asked}" "$2"\n')
        python.chmod(0o755)
        return python

    return written


@pytest.mark.skipif(MAKE is None, reason="there is no make here")
class TestPython:
    def test_one_that_is_too_old_is_refused_in_one_line(self, tmp_path, stand_in):
        ended = made(tmp_path, python := stand_in((3, 10, 14)))
        assert ended.returncode == 2
        complaint = f"{python} is no Python of 3.11 or later: name one, as in make PYTHON=python3.11 "
        complaint += "(and make clean first, if environment has the old one)"
        assert ended.stderr.splitlines()[0] == complaint
        assert ended.stdout == ""
        assert not (tmp_path / "environment").exists()

    def test_one_that_is_new_enough_goes_on_to_the_environment(self, tmp_path, stand_in):
        ended = made(tmp_path, python := stand_in((3, 11, 0)))
        assert f"{python} -m venv environment" in ended.stdout
        assert "is no Python" not in ended.stderr

    def test_one_that_is_not_there_is_refused_too(self, tmp_path):
        ended = made(tmp_path, "no-such-python")
        assert ended.stderr.startswith("no-such-python is no Python of 3.11 or later")
