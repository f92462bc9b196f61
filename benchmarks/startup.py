"""Cold starts and memory, of whole processes."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from benchmarks.decisions import live
from benchmarks.harness import Bar, Row, value_row
from stairways.tuning.shipped import shipped_gold

ROUNDS = 5
STAIRWAYS = Path(sys.executable).parent / "stairways"


def seconds_of(*arguments: str) -> float:
    """Run a command of the product and return its wall time."""
    began = time.perf_counter()
    done = subprocess.run([str(STAIRWAYS), *arguments], check=False, capture_output=True, timeout=120)
    seconds = time.perf_counter() - began
    # an evaluation that ends with 1 was done, and its gate says no
    if done.returncode not in (0, 1):
        raise ValueError(f"{' '.join(arguments)} ended with {done.returncode}: {done.stderr.decode()[-300:]}")
    return seconds


def rows() -> list[Row]:
    """Help, an evaluation, and a live process until its first decision."""
    evaluate = ("evaluate", str(shipped_gold()), "--sessions", "2021-03-24:2021-06-18")
    commands = {"--help": (("--help",), 0.3), "evaluate, 60 sessions": (evaluate, 2.5)}
    found = []
    for name, (arguments, most) in commands.items():
        seconds_of(*arguments)
        times = [seconds_of(*arguments) for _ in range(ROUNDS)]
        found.append(
            value_row(
                f"cold start: stairways {name}",
                "s",
                times,
                bar=Bar(most, at_least=False, text=f"<= {most} s"),
                note="the files of the interpreter and the compiled code are in the page cache",
            )
        )
    live()
    runs = [live() for _ in range(ROUNDS)]
    found.append(
        value_row(
            "cold start: live process, to its first decision",
            "s",
            [run["ready_seconds"] for run in runs],
            bar=Bar(1.0, at_least=False, text="<= 1 s"),
            note=f"artifact and the state behind 60 sessions from disk; the first decision took "
            f"{median([run['first_ms'] for run in runs]):.0f} ms",
        )
    )
    found.append(
        value_row(
            "memory of the live process",
            "MB at its peak",
            [run["peak_mb"] for run in runs],
            bar=Bar(150.0, at_least=False, text="<= 150 MB"),
        )
    )
    return found
