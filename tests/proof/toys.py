"""Toy experiments for the proofs of the framework; processes import them by name."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stairways.errors import TrainingError
from stairways.proof.experiment import Bar, Cell, Column, Experiment, Findings, Job, Plot, Table

N_CELLS = 4


class Silent:
    """Counts what is told."""

    def __init__(self) -> None:
        self.total = self.kept = -1
        self.keys: list[str] = []

    def began(self, experiment: Experiment, total: int, kept: int) -> None:
        self.total, self.kept = total, kept

    def finished(self, cell: Cell, seconds: float) -> None:
        self.keys.append(cell.key)


def note(job: Job, word: str) -> None:
    """Leave a mark outside the folder of the experiment, where nothing clears it away."""
    with (job.work.parent.parent / "marks.txt").open("a") as file:
        file.write(word + "\n")


def marks(folder: Path) -> list[str]:
    """Return the marks that cells of experiments in a folder left."""
    place = folder / "marks.txt"
    return place.read_text().split() if place.exists() else []


def wait_for(place: Path) -> None:
    """Wait until a file stands, at most two minutes."""
    for _ in range(2400):
        if place.exists() and place.stat().st_size:
            return
        time.sleep(0.05)
    raise TimeoutError(place)


def is_alive(process: int) -> bool:
    """Tell whether a process is there and no zombie."""
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"


class Toy(Experiment):
    """A base that squares numbers and a top that adds what the base left in the work folder."""

    name = "toy"
    title = "Squares, added"
    question = "Do squares add up?"
    factor = 1

    def cells(self, job: Job) -> Sequence[Cell]:
        count = 2 if job.quick else N_CELLS
        factors = [self.factor, 1, 1, 1]
        base = [Cell(f"base-{i}", {"number": i, "factor": factors[i]}) for i in range(count)]
        return [Cell("top", {"count": count}, stage=1), *base]

    def run(self, cell: Cell, job: Job) -> dict[str, Any]:
        note(job, cell.key)
        if cell.key == "top":
            left = sorted(job.work.glob("*.txt"))
            return {"sum": sum(int(path.read_text()) for path in left), "left": [path.stem for path in left]}
        square = cell.arguments["number"] ** 2 * cell.arguments["factor"] + job.seed
        (job.work / f"{cell.arguments['number']}.txt").write_text(str(square))
        return {"square": square}

    def conclude(self, job: Job, results: Mapping[str, dict[str, Any]]) -> Findings:
        squares = [r["square"] for key, r in results.items() if key != "top"]
        rows = [{"number": i, "square": square} for i, square in enumerate(squares)]
        columns = [Column("n | unit", "{number}"), Column("n²", "{square:.1f}")]
        table = Table("squares", "The squares", columns, rows)
        plot = Plot("curve", "Squares over numbers.", lambda figure: None, (200.0, 100.0))
        bars = self.bars(sum(squares), results["top"]["sum"])
        return Findings(rows, bars, [table], [plot], "Squares were *added*.")

    def bars(self, wanted: float, found: float) -> list[Bar]:
        """Return what must hold."""
        return [
            Bar("the sum | all", float(found), f"= {wanted}", found == wanted, "of every cell"),
            Bar("a wonder", None, "> 0", False),
        ]


class Holding(Toy):
    """The same with bars that hold."""

    name = "holding"

    def bars(self, wanted, found):
        return super().bars(wanted, found)[:1]


class Changed(Toy):
    """The same, the first cell's argument changed."""

    factor = 10


class Barless(Toy):
    """An experiment that asks nothing."""

    name = "barless"

    def bars(self, wanted, found):
        return []


class Real(Toy):
    """An experiment on real bars."""

    name = "real"
    data = "real"


class Single(Toy):
    """One stage alone."""

    def cells(self, job):
        return [cell for cell in super().cells(job) if cell.stage == 0]

    def conclude(self, job, results):
        return Findings([], [Bar("cells", float(len(results)), "all", True)], [], [], "")


class Failing(Single):
    """One cell fails with a plain error while another would take minutes."""

    name = "failing"

    def run(self, cell, job):
        if cell.key == "base-1":
            wait_for(job.work / "began")
            raise ValueError("a number\nthat can't be")
        if cell.key == "base-2":
            (job.work / "began").write_text(str(os.getpid()))
            time.sleep(300)
        return super().run(cell, job)


class Refusing(Single):
    """One cell refuses in the project's own words."""

    def run(self, cell, job):
        if cell.key == "base-1":
            raise TrainingError("does not go on", where="over-hold stage", remedy="try again")
        return super().run(cell, job)


class Endless(Single):
    """The second cell begins when the first is kept, tells so, and takes minutes."""

    def run(self, cell, job):
        if cell.key == "base-1":
            wait_for(job.work.parent / "cells" / "base-0.json")
            (job.work / "began").write_text(str(os.getpid()))
            time.sleep(300)
        return super().run(cell, job)


class Interrupted(Endless):
    """The same; every process is interrupted, as Ctrl-C does it, once the second cell runs."""

    def run(self, cell, job):
        if cell.key == "base-2":
            wait_for(job.work / "began")
            os.killpg(os.getpgid(0), signal.SIGINT)
            time.sleep(300)
        return super().run(cell, job)
