"""What changes the champion survives kill -9 at every point that is tried: 360 in all."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

POINTS = {"promotion": 120, "rollback": 120, "restoration": 60, "reconciliation": 60}
HERE = Path(__file__).parent


@pytest.mark.slow
@pytest.mark.parametrize("work", POINTS)
def test_what_was_killed_is_finished_or_taken_back(tmp_path, work):
    done = subprocess.run(
        [sys.executable, str(HERE / "kill_points.py"), work, str(tmp_path), str(POINTS[work])],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["faults"] == {}
    assert found["points"] == found["killed"] == POINTS[work]
    # both ends were met: before the link was replaced, and after
    assert min(found["links"]) > 10
