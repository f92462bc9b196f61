"""Promotion and rollback survive kill -9 at every point that is tried: 240 in all."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

POINTS = 120
HERE = Path(__file__).parent


@pytest.mark.slow
@pytest.mark.parametrize("work", ["promotion", "rollback"])
def test_what_was_killed_is_finished_or_taken_back(tmp_path, work):
    done = subprocess.run(
        [sys.executable, str(HERE / "kill_points.py"), work, str(tmp_path), str(POINTS)],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["faults"] == {}
    assert found["points"] == found["killed"] == POINTS
    # both ends were met: before the link was replaced, and after
    assert min(found["links"]) > 10
