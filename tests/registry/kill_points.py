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
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rolling_back import Nobody

import stairways
from registries import ManualClock, Workplace, candidate_of, gold_artifact, workplace
from stairways.live.reconcile import reconcile
from stairways.live.rehearsal import take_up
from stairways.live.rollback import KIND, RollbackOrder, go_on, roll_back
from stairways.registry.history_records import Stage
from stairways.registry.promotion import recover
from stairways.registry.registry import Registry
from stairways.registry.store import DRILL_LOCK, LOCK_FILE, ROLLBACK_LOCK
from stairways.registry.stories import differences

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


def rollback(place: Workplace) -> object:
    """Go back from the first to gold."""
    registry = place.registry
    order = RollbackOrder(
        "drawdown", "NAV fell", "watch", FIRST.digest, GOLD.digest, registry.clock(), is_drill=False
    )
    return roll_back(registry, Nobody(), Nobody(), order)


def rehearsed(place: Workplace) -> None:
    """Go the way of a drill, and do not come back."""
    registry = place.registry
    order = RollbackOrder(
        "person", "DRILL", "ann", FIRST.digest, GOLD.digest, registry.clock(), is_drill=True
    )
    roll_back(registry, Nobody(), Nobody(), order)


def restoration(place: Workplace) -> object:
    """Put back what the drill went back from."""
    return take_up(place.registry, "ann")


def database_lost(place: Workplace) -> None:
    """Go a drill's way and come back, go back for real, and lose the database."""
    rehearsed(place)
    restoration(place)
    rollback(place)
    place.registry.close()
    for file in place.registry.root.glob("gate.db*"):
        file.unlink()
    place.registry = Registry.create(place.registry.root, place.clock)


def reconciliation(place: Workplace) -> object:
    """Bring the empty database to what the folder knows."""
    return reconcile(place.registry, "ann", "the disk was lost")


WORKS: dict[str, Work] = {
    "promotion": promotion,
    "rollback": rollback,
    "restoration": restoration,
    "reconciliation": reconciliation,
}
BEFORE: dict[str, Callable[[Workplace], None]] = {
    "restoration": rehearsed,
    "reconciliation": database_lost,
}
"""What was done before the work that is killed."""
ENDS = {
    "promotion": (FIRST.digest, SECOND.digest),
    "rollback": (FIRST.digest, GOLD.digest),
    "restoration": (GOLD.digest, FIRST.digest),
    "reconciliation": (GOLD.digest,),
}
"""What may be live when a process was killed in the middle."""
SETTLED = {"restoration": (FIRST.digest,)}
"""What alone may be live when it was followed up, where that is less."""
LOCKS = (LOCK_FILE, ROLLBACK_LOCK, DRILL_LOCK)


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


def faults_after(
    template: Workplace, folder: Path, ends: Sequence[str | None], follow: Work = lambda place: None
) -> list[str]:
    """Follow up what was left in a registry, and return what is wrong with it then."""
    place = reopened(template, folder)
    registry = place.registry
    begun = [name for name, entry in registry.journal.pending().items() if entry["kind"] == KIND]
    with registry.store.lock():
        registry.store.clean()
        recover(registry)
    go_on(registry, Nobody(), Nobody())
    follow(place)
    faults = [*faults_of(registry, ends), *differences(registry)]
    link = registry.store.champion()
    if begun and (link != GOLD.digest or not registry.store.is_quarantined(FIRST.digest)):
        faults.append("a rollback that was begun did not arrive")
    if begun and not (registry.store.is_latched and registry.history.latched()):
        faults.append("a rollback does not latch")
    # and it can go on
    if link == FIRST.digest and SECOND.digest in ends and not place.promote(SECOND.digest).promoted:
        faults.append("the promotion can't be repeated")
    registry.close()
    return faults


def faults_of(registry: Registry, ends: Sequence[str | None]) -> list[str]:
    """Return what is wrong with a registry in which nothing is under way."""
    faults = [f"audit row {fault.seq} {fault.what}" for fault in registry.verify_audit()]
    live = [model.model_id for model in registry.history.models() if model.is_production]
    champions = [model.model_id for model in registry.history.models() if model.role == Stage.CHAMPION]
    present = [(one.model_id, one.ended_at) for one in registry.history.tenures()[-1:]]
    link = registry.store.champion()
    if live != ([] if link is None else [link]):
        faults.append(f"link {_short(link)}, in production {[_short(one) for one in live]}")
    if champions != ([] if link in (None, GOLD.digest) else [link]):
        faults.append(f"link {_short(link)}, champions {[_short(one) for one in champions]}")
    if present != ([] if link is None else [(link, None)]):
        faults.append(f"link {_short(link)}, tenure {[(_short(one), ended) for one, ended in present]}")
    if link not in ends:
        faults.append(f"champion {_short(link)}")
    if link is not None:
        registry.read(link)
    if registry.journal.pending():
        faults.append("the journal is not finished")
    hidden = (path for path in sorted(registry.root.rglob(".*")) if path.name not in LOCKS)
    return faults + [f"left {path.relative_to(registry.root)}" for path in hidden]


def _short(digest: str | None) -> str:
    return "none" if digest is None else digest[:8]


def main() -> None:
    """Kill, look, and say what was found."""
    name, folder, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    work = WORKS[name]
    follow = work if name in BEFORE else lambda place: None
    template = prepared(folder / "template")
    if name in BEFORE:
        BEFORE[name](template)
    template.registry.close()
    shutil.copytree(folder / "template", folder / "whole", symlinks=True)
    place = reopened(template, folder / "whole")
    lines = traced(work, place, None)
    place.registry.close()
    points = chosen(lines, count)
    killed, found, ends = 0, {}, dict.fromkeys(ENDS[name], 0)
    for point in points:
        copy = folder / f"at{point}"
        shutil.copytree(folder / "template", copy, symlinks=True)

        def task(copy: Path = copy, point: int = point) -> int:
            traced(work, reopened(template, copy), point)
            return 0

        killed += in_child(task) == -signal.SIGKILL
        ends[(copy / "registry" / "champion").readlink().name] += 1
        faults = faults_after(template, copy, SETTLED.get(name, ENDS[name]), follow)
        if faults:
            found[point] = faults
        shutil.rmtree(copy)
    result = {"lines": len(lines), "points": len(points), "killed": killed, "faults": found}
    sys.stdout.write(json.dumps(result | {"links": list(ends.values())}))


if __name__ == "__main__":
    main()
