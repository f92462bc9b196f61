"""Promotion survives kill -9 at every point that is tried."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

POINTS = 120
HERE = Path(__file__).parent


@pytest.mark.slow
def test_a_killed_promotion_is_finished_or_taken_back(tmp_path):
    done = subprocess.run(
        [sys.executable, str(HERE / "kill_points.py"), "promotion", str(tmp_path), str(POINTS)],
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
