"""Gold training with an LSTM of 64 units."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from benchmarks.harness import Bar, Row, value_row
from benchmarks.main_job import now
from stairways.config import load_settings
from stairways.tuning.gold import GoldTraining
from stairways.tuning.run_folder import Silent

STEPS = 409_600


def rows() -> list[Row]:
    """Train once."""
    settings = load_settings(None, {"seed": 0, "gold": {"policy": "lstm", "lstm_hidden": 64, "steps": STEPS}})
    with tempfile.TemporaryDirectory(prefix="stairways-bench-") as made:
        began = time.perf_counter()
        outcome = GoldTraining(settings, Path(made) / "gold", clock=now, watcher=Silent()).run()
        seconds = time.perf_counter() - began
    return [
        value_row(
            f"gold training, {STEPS:,} steps, LSTM 64",
            "s",
            [seconds],
            bar=Bar(90.0, at_least=False, text="under 90 s on 2 cores"),
            note=f"learning, over-hold and judgement; {outcome.record['steps']:,} steps in all",
        )
    ]
