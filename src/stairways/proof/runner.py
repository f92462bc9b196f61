"""Runs an experiment: cells two at a time, each result kept, so that a stopped run goes on."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import shutil
import signal
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from stairways.errors import ConfigError, StairwaysError, StorageError
from stairways.market.bars import FILE_SUFFIXES
from stairways.proof.experiment import Cell, Experiment, Findings, Job
from stairways.proof.folder import CELLS, RESULTS, WORK, command_of, error_file, write_findings
from stairways.proof.sources import code_of
from stairways.registry.canonical import canonical_digest, canonical_json
from stairways.registry.files import remove_stale, write_text_atomic
from stairways.tuning.run_folder import RunFolder, read_sealed, write_sealed
from stairways.tuning.versions import library_versions

if TYPE_CHECKING:
    from multiprocessing.context import SpawnContext
    from multiprocessing.process import BaseProcess

PROCESSES = 2
WORK_IDENTITY = "identity"
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
        """Whether there are bars and every one holds."""
        return self.findings.passed


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

    A cell counts as done where its arguments, seed, form, bars, code, library versions and all cells of
    lower stages are those of before, and its result is what was written. The work folder counts for one
    such set of cells only. ``results.json`` is taken away first: while it stands, it is the result.

    Args:
        path: ``module:Class`` of the experiment; processes import it again.
        folder: Where it is written; a folder of the same experiment goes on.
        seed: Run seed.
        quick: Whether the short form is asked for.
        bars: Folder of real bars, if there is one.
        follower: Follows the cells.
        processes: Cells that run at a time.

    Raises:
        ConfigError: If the experiment needs real bars and there are none.
        StorageError: If the folder holds something else, or another process works in it.
        StairwaysError: If a cell fails; those that were finished stand.
    """
    experiment = load(path)
    check_bars(experiment, bars)
    job = Job(seed, quick, bars, folder / WORK)
    cells = list(experiment.cells(job))
    _check_keys(cells)
    _check_folder(folder, experiment)
    (folder / CELLS).mkdir(parents=True, exist_ok=True)
    with RunFolder(folder).held():
        return _run(path, experiment, cells, job, folder, follower, processes)


def _run(
    path: str,
    experiment: Experiment,
    cells: Sequence[Cell],
    job: Job,
    folder: Path,
    follower: Follower,
    processes: int,
) -> Outcome:
    for place in (folder, folder / CELLS):
        remove_stale(place)
    common = _common(path, job)
    identities = _identities(cells, common)
    results = _kept(folder, cells, identities, work_stands=_claim_work(job.work, common))
    (folder / RESULTS).unlink(missing_ok=True)
    follower.began(experiment, len(cells), len(results))
    todo = [cell for cell in cells if cell.key not in results]
    for stage in sorted({cell.stage for cell in todo}):
        chosen = [cell for cell in todo if cell.stage == stage]
        results |= _run_stage(path, chosen, identities, job, folder, follower, processes)
    findings = experiment.conclude(job, {cell.key: results[cell.key]["result"] for cell in cells})
    meta = {
        "experiment": experiment.name,
        "title": experiment.title,
        "question": experiment.question,
        "data": experiment.data,
        "command": command_of(experiment.name, job),
        "seed": job.seed,
        "quick": job.quick,
        "n_cells": len(cells),
        "cell_seconds": round(sum(results[cell.key]["seconds"] for cell in cells), 1),
        "module": path,
        "code": common["code"],
        "versions": common["versions"],
    }
    write_findings(folder, meta, findings)
    return Outcome(experiment.name, folder, findings)


def check_bars(experiment: Experiment, bars: Path | None) -> None:
    """Refuse to begin without the real bars that were named or are needed.

    Raises:
        ConfigError: If an experiment on real bars has none, or what was named is no folder.
    """
    if experiment.data == "real" and bars is None:
        raise ConfigError(
            f"{experiment.name} runs on real bars",
            where="--bars",
            remedy="name their folder, or leave it out",
        )
    if bars is not None and not bars.is_dir():
        raise ConfigError("is no folder", where=f"--bars {bars}", remedy="name the folder of the bars")


def _run_stage(
    path: str,
    cells: Sequence[Cell],
    identities: Mapping[str, str],
    job: Job,
    folder: Path,
    follower: Follower,
    processes: int,
) -> dict[str, dict[str, Any]]:
    """Run the cells of one stage; an error or Ctrl-C stops it, and what was finished stands."""
    context: SpawnContext = get_context("spawn")
    done: dict[str, dict[str, Any]] = {}
    n_workers = min(processes, len(cells))
    with ProcessPoolExecutor(n_workers, mp_context=context, initializer=_answer_to_parent) as pool:
        running: dict[Future[dict[str, Any]], Cell] = {pool.submit(work, path, c, job): c for c in cells}
        try:
            while running:
                ready, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in sorted(ready, key=lambda one: one.exception() is not None):
                    cell = running.pop(future)
                    identity = {"cell": identities[cell.key]}
                    entry = write_sealed(_place(folder, cell), identity, _result(future, cell, folder))
                    error_file(folder, cell.key).unlink(missing_ok=True)
                    done[cell.key] = entry
                    follower.finished(cell, entry["seconds"])
        except BaseException:
            # the pool forgets its processes when it shuts down, and would wait for the cells they run
            workers = list((pool._processes or {}).values())
            pool.shutdown(wait=False, cancel_futures=True)
            for process in workers:
                process.terminate()
            raise
    return done


def _answer_to_parent() -> None:
    """Leave Ctrl-C, which reaches every process of a terminal, to the parent, and never outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


def _result(future: Future[dict[str, Any]], cell: Cell, folder: Path) -> dict[str, Any]:
    """Return what a cell gave; a failure becomes one line, and the whole account stays beside the cells.

    Raises:
        StairwaysError: If the cell failed; of the cell's own kind where it has one.
    """
    error = future.exception()
    if error is None:
        return future.result()
    place = error_file(folder, cell.key)
    write_text_atomic(place, "".join(traceback.format_exception(error)))
    if isinstance(error, StairwaysError):
        where = f"cell {cell.key}, {error.where}" if error.where else f"cell {cell.key}"
        raise type(error)(error.what, where=where, remedy=error.remedy) from error
    raise StairwaysError(
        f"{type(error).__name__}: {error}",
        where=f"cell {cell.key}",
        remedy=f"what was finished stands; the rest is in {place}",
    ) from error


def work(path: str, cell: Cell, job: Job) -> dict[str, Any]:
    """Run one cell in a process of its own."""
    began = time.perf_counter()
    result = load(path).run(cell, job)
    # what is kept and what the conclusion reads must be the same, whether it was resumed or not
    plain = json.loads(canonical_json(result))
    return {"result": plain, "seconds": round(time.perf_counter() - began, 2)}


def _common(path: str, job: Job) -> dict[str, Any]:
    """Return what every result of a job depends on, the code included."""
    return {
        "seed": job.seed,
        "quick": job.quick,
        "bars": _content(job.bars),
        "code": code_of(path),
        "versions": library_versions(),
    }


def _identities(cells: Sequence[Cell], common: Mapping[str, Any]) -> dict[str, str]:
    """Return a digest of what each cell's result depends on.

    A cell may read what any cell of a lower stage left in the work folder, so those belong to it.
    """
    found: dict[str, str] = {}
    for cell in sorted(cells, key=lambda one: one.stage):
        before = [found[other.key] for other in cells if other.stage < cell.stage]
        found[cell.key] = canonical_digest({**common, "arguments": cell.arguments, "before": before})
    return found


def _content(bars: Path | None) -> dict[str, str] | None:
    """Return what tells one folder of bars from another: the digest of each file that is read of it."""
    if bars is None:
        return None
    found = {}
    for path in sorted(bars.iterdir()):
        if path.suffix.lower() in FILE_SUFFIXES and path.is_file():
            with path.open("rb") as file:
                found[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _claim_work(work: Path, common: dict[str, Any]) -> bool:
    """Return whether the work folder holds what this job left; begin it anew where another filled it."""
    mine, place = canonical_digest(common), work / WORK_IDENTITY
    try:
        if place.read_text(encoding="utf-8") == mine:
            return True
    except (OSError, ValueError):
        pass
    if work.exists():
        shutil.rmtree(work)
    work.mkdir()
    write_text_atomic(place, mine)
    return False


def _kept(
    folder: Path, cells: Sequence[Cell], identities: Mapping[str, str], *, work_stands: bool
) -> dict[str, dict[str, Any]]:
    """Return the results of before that still hold.

    None do where cells build on each other and the folder they share is gone.
    """
    if not work_stands and len({cell.stage for cell in cells}) > 1:
        return {}
    kept = {}
    for cell in cells:
        entry = _entry(_place(folder, cell), identities[cell.key])
        if entry is not None:
            kept[cell.key] = entry
    return kept


def _entry(place: Path, identity: str) -> dict[str, Any] | None:
    """Return what a cell left; None where it left nothing, or not this, or the file was changed."""
    try:
        return read_sealed(place, {"cell": identity}, remedy="")
    except StorageError:
        return None


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
