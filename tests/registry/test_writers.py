"""Several processes at once on one registry, a few seconds here; tools/registry_writers.py takes a minute."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools" / "registry_writers.py"


@pytest.mark.slow
@pytest.mark.parametrize("more", [(), ("--postgres",)], ids=["sqlite", "postgresql"])
def test_nothing_that_was_acknowledged_is_lost(more, request):
    if more:
        request.getfixturevalue("postgres_server")
    done = subprocess.run(
        [sys.executable, str(TOOL), "--seconds", "4", "--writers", "4", *more],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["champions"] == 1
