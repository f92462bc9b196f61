"""Runs an experiment: cells two at a time, each result kept, so that a stopped run goes on."""

from __future__ import annotations

import hashlib
import importlib
import json
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from itertools import groupby
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from stairways.errors import ConfigError, StorageError
from stairways.proof.experiment import Cell, Experiment, Findings, Job
from stairways.proof.folder import CELLS, WORK, command_of, write_findings
from stairways.registry.canonical import canonical_json, parse_json_object
from stairways.registry.files import write_bytes_atomic
from stairways.tuning.versions import library_versions

if TYPE_CHECKING:
    from multiprocessing.context import SpawnContext

PROCESSES = 2
KEY = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")


class Follower(Protocol):
    """Follows the cells of an experiment."""

    def began(self, experiment: Experiment, total: int, kept: int) -> None:
        """An experiment begins; ``kept`` cells stand from before."""

    def finished(self, cell: Cell, seconds: float) -> None:
        """A cell is done."""


@dataclass(frozen=True)
class Outcome:
    """How an experiment ended.

    Attributes:
        experiment: Its name.
        folder: Where everything stands.
        findings: What it found.
    """

    experiment: str
    folder: Path
    findings: Findings

    @property
    def passed(self) -> bool:
        """Whether every bar holds."""
        return all(bar.passed for bar in self.findings.bars)


def load(path: str) -> Experiment:
    """Return the experiment that stands at ``module:Class``."""
    module, _, name = path.partition(":")
    made: Experiment = getattr(importlib.import_module(module), name)()
    return made


def run_experiment(
    path: str,
    folder: Path,
    *,
    seed: int,
    quick: bool,
    bars: Path | None,
    follower: Follower,
    processes: int = PROCESSES,
) -> Outcome:
    """Run what is not there yet, conclude and write the folder.

    Args:
        path: ``module:Class`` of the experiment; processes import it again.
        folder: Where it is written; a folder of the same experiment, seed and form goes on.
        seed: Run seed.
        quick: Whether the short form is asked for.
        bars: Folder of real bars, if there is one.
        follower: Follows the cells.
        processes: Cells that run at a time.

    Raises:
        ConfigError: If the experiment needs real bars and there are none.
        StorageError: If the folder holds something else.
    """
    experiment = load(path)
    if experiment.data == "real" and bars is None:
        raise ConfigError(
            f"{experiment.name} runs on real bars",
            where="--bars",
            remedy="name their folder, or leave it out",
        )
    job = Job(seed, quick, bars, folder / WORK)
    cells = list(experiment.cells(job))
    _check_keys(cells)
    _check_folder(folder, experiment)
    for place in (folder / CELLS, job.work):
        place.mkdir(parents=True, exist_ok=True)
    results = _kept(folder, cells, job)
    follower.began(experiment, len(cells), len(results))
    todo = [cell for cell in cells if cell.key not in results]
    for _, stage in groupby(sorted(todo, key=lambda cell: cell.stage), key=lambda cell: cell.stage):
        results |= _run_stage(path, list(stage), job, folder, follower, processes)
    ordered = {cell.key: results[cell.key]["result"] for cell in cells}
    findings = experiment.conclude(job, ordered)
    meta = {
        "experiment": experiment.name,
        "title": experiment.title,
        "question": experiment.question,
        "data": experiment.data,
        "command": command_of(experiment.name, job),
        "seed": seed,
        "quick": quick,
        "n_cells": len(cells),
        "cell_seconds": round(sum(results[cell.key]["seconds"] for cell in cells), 1),
        "versions": library_versions(),
    }
    write_findings(folder, meta, findings)
    return Outcome(experiment.name, folder, findings)


def _run_stage(
    path: str, cells: Sequence[Cell], job: Job, folder: Path, follower: Follower, processes: int
) -> dict[str, dict[str, Any]]:
    """Run the cells of one stage; an error or Ctrl-C stops it, and what was finished stands."""
    context: SpawnContext = get_context("spawn")
    done: dict[str, dict[str, Any]] = {}
    with ProcessPoolExecutor(min(processes, len(cells)), mp_context=context) as pool:
        running: dict[Future[dict[str, Any]], Cell] = {pool.submit(work, path, c, job): c for c in cells}
        try:
            while running:
                ready, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in ready:
                    cell = running.pop(future)
                    entry = {**future.result(), "identity": _identity(cell, job)}
                    write_bytes_atomic(_place(folder, cell), canonical_json(entry, indent=1))
                    done[cell.key] = entry
                    follower.finished(cell, entry["seconds"])
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in list((pool._processes or {}).values()):
                process.terminate()
            raise
    return done


def work(path: str, cell: Cell, job: Job) -> dict[str, Any]:
    """Run one cell in a process of its own."""
    began = time.perf_counter()
    result = load(path).run(cell, job)
    # what is kept and what the conclusion reads must be the same, whether it was resumed or not
    plain = json.loads(canonical_json(result))
    return {"result": plain, "seconds": round(time.perf_counter() - began, 2)}


def _identity(cell: Cell, job: Job) -> str:
    """Return a digest of what a cell's result depends on, beside the code."""
    bars = None if job.bars is None else str(job.bars.resolve())
    content = {"arguments": cell.arguments, "seed": job.seed, "quick": job.quick, "bars": bars}
    content["versions"] = library_versions()
    return hashlib.sha256(canonical_json(content)).hexdigest()


def _kept(folder: Path, cells: Sequence[Cell], job: Job) -> dict[str, dict[str, Any]]:
    kept = {}
    for cell in cells:
        place = _place(folder, cell)
        if place.is_file():
            entry = parse_json_object(place.read_bytes())
            if entry.get("identity") == _identity(cell, job):
                kept[cell.key] = dict(entry)
    return kept


def _place(folder: Path, cell: Cell) -> Path:
    return folder / CELLS / f"{cell.key}.json"


def _check_keys(cells: Sequence[Cell]) -> None:
    keys = [cell.key for cell in cells]
    if not keys or len(set(keys)) != len(keys) or not all(k and set(k) <= KEY for k in keys):
        raise ValueError(f"cells need different keys fit for a file: {keys}")


def _check_folder(folder: Path, experiment: Experiment) -> None:
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / CELLS).is_dir())):
        raise StorageError(
            f"is no folder of the experiment {experiment.name}",
            where=str(folder),
            remedy="choose another --out",
        )
