"""Kills a process at many points of some work on a registry, and looks at what it left.

    python kill_points.py WORK FOLDER COUNT

A process is forked for each point and traced: before the line of the registry's own code with that number it
sends itself SIGKILL. What is left is opened as a next process would open it. Prints one JSON object.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from artifacts import ManualClock, Workplace, candidate_of, gold_artifact, workplace

import stairways
from stairways.registry.history import Stage
from stairways.registry.promotion import recover
from stairways.registry.registry import Registry

ROOT = str(Path(stairways.__file__).parent)
GOLD = gold_artifact()
FIRST, SECOND = candidate_of(GOLD), candidate_of(GOLD, 1)
Work = Callable[[Workplace], object]


def prepared(folder: Path) -> Workplace:
    """Make a registry in which one candidate is champion and another could be."""
    place = workplace(folder)
    place.drilled()
    place.promote(GOLD.digest, Stage.GOLD)
    place.promote(place.add(FIRST))
    place.add(SECOND)
    return place


def promotion(place: Workplace) -> object:
    """Promote the second."""
    return place.promote(SECOND.digest)


WORKS: dict[str, Work] = {"promotion": promotion}


def traced(work: Work, place: Workplace, kill_at: int | None) -> list[tuple[str, int]]:
    """Do some work, note each line of our own code, and die before one of them."""
    lines: list[tuple[str, int]] = []

    def local(frame, event: str, _: object) -> object:
        if event == "line":
            lines.append((frame.f_code.co_filename, frame.f_lineno))
            if len(lines) == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
        return local

    def trace(frame, event: str, _: object) -> object:
        return local if frame.f_code.co_filename.startswith(ROOT) else None

    sys.settrace(trace)
    try:
        work(place)
    finally:
        sys.settrace(None)
    return lines


def chosen(lines: list[tuple[str, int]], count: int) -> list[int]:
    """Return the steps to die before: where lines of code are met first and last.

    Half of them are the last such steps, where the link is replaced and all is finished; the others stand
    evenly among the rest.
    """
    first: dict[tuple[str, int], int] = {}
    last: dict[tuple[str, int], int] = {}
    for step, line in enumerate(lines, 1):
        first.setdefault(line, step)
        last[line] = step
    steps = sorted({*first.values(), *last.values()})
    rest, ending = steps[: -(count // 2)], steps[-(count // 2) :]
    n_rest = count - len(ending)
    return sorted({*ending, *(rest[number * (len(rest) - 1) // (n_rest - 1)] for number in range(n_rest))})


def in_child(task: Callable[[], int]) -> int:
    """Run a task in a forked process; return its exit status, negative for a signal."""
    child = os.fork()
    if child == 0:
        status = 70
        try:
            status = task()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def reopened(template: Workplace, folder: Path) -> Workplace:
    """Open a copy of a registry, its clock a minute on."""
    clock = ManualClock(template.clock.at)
    clock.at = clock.at.replace(minute=clock.at.minute + 1)
    return Workplace(Registry.open(folder / "registry", clock), template.key, clock, folder / "artifacts")


def faults_after(template: Workplace, folder: Path) -> list[str]:
    """Recover a registry and return what is wrong with it."""
    place = reopened(template, folder)
    registry = place.registry
    with registry.store.lock():
        registry.store.clean()
        recover(registry)
    faults = [f"audit row {fault.seq} {fault.what}" for fault in registry.verify_audit()]
    live = [model for model in registry.history.models() if model.is_production]
    champions = [model for model in registry.history.models() if model.role == Stage.CHAMPION]
    link = registry.store.champion()
    if [model.model_id for model in live] != [link]:
        faults.append(f"link {str(link)[:8]}, in production {[model.model_id[:8] for model in live]}")
    if [model.model_id for model in champions] != [link]:
        faults.append(f"link {str(link)[:8]}, champions {[model.model_id[:8] for model in champions]}")
    if link not in (FIRST.digest, SECOND.digest):
        faults.append(f"champion {link}")
    if link is not None:
        registry.read(link)
    present = registry.history.tenures()[-1]
    if present.model_id != link or present.ended_at is not None:
        faults.append(f"link {str(link)[:8]}, tenure of {present.model_id[:8]}")
    if registry.journal.pending():
        faults.append("the journal is not finished")
    leftovers = [path.name for path in registry.root.glob(".champion*")]
    faults += [f"left {name}" for name in leftovers]
    # and it can go on
    if link == FIRST.digest and not place.promote(SECOND.digest).promoted:
        faults.append("the promotion can't be repeated")
    registry.close()
    return faults


def main() -> None:
    """Kill, look, and say what was found."""
    work, folder, count = WORKS[sys.argv[1]], Path(sys.argv[2]), int(sys.argv[3])
    template = prepared(folder / "template")
    template.registry.close()
    shutil.copytree(folder / "template", folder / "whole", symlinks=True)
    place = reopened(template, folder / "whole")
    lines = traced(work, place, None)
    place.registry.close()
    points = chosen(lines, count)
    killed, found, ends = 0, {}, {FIRST.digest: 0, SECOND.digest: 0}
    for point in points:
        copy = folder / f"at{point}"
        shutil.copytree(folder / "template", copy, symlinks=True)

        def task(copy: Path = copy, point: int = point) -> int:
            traced(work, reopened(template, copy), point)
            return 0

        killed += in_child(task) == -signal.SIGKILL
        ends[(copy / "registry" / "champion").readlink().name] += 1
        faults = faults_after(template, copy)
        if faults:
            found[point] = faults
        shutil.rmtree(copy)
    result = {"lines": len(lines), "points": len(points), "killed": killed, "faults": found}
    sys.stdout.write(json.dumps(result | {"links": list(ends.values())}))


if __name__ == "__main__":
    main()
