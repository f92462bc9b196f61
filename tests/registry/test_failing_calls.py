"""Every call by which a registry changes its disk or its database fails once, one at a time.

A full disk and a broken one are told, what was live goes on, and nothing is left that a next process can't
finish.
"""

import errno
import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from unittest.mock import patch

import pytest
from failing_calls import Call, Disk, Fault, Gate, How, Statements, sqlite_error
from kill_points import FIRST, GOLD, SECOND, faults_after, faults_of, prepared, reopened
from sqlalchemy import Engine, event

from registries import Workplace, candidate_of, judged, workplace
from stairways.errors import StairwaysError
from stairways.live.rollback import RollbackOrder, RollbackOutcome, roll_back
from stairways.live.supervisor import SERVICE_FILE, SERVICE_FOLDER
from stairways.monitoring.pager import Delivery, FlushReport
from stairways.registry.artifact import write_artifact
from stairways.registry.canonical import canonical_json
from stairways.registry.history_records import Stage
from stairways.registry.promotion import PromotionOutcome
from stairways.registry.signatures import sign_artifact
from stairways.registry.store import Store

THIRD = candidate_of(GOLD, 2)
CODES = [errno.ENOSPC, errno.EIO]
DATABASE_SAYS = {errno.ENOSPC: "database or disk is full", errno.EIO: "disk I/O error"}
MEMORY = Path("/dev/shm")  # noqa: S108 - where there is one, thousands of files are made and removed sooner
FEWEST = 5
SAME_LINES = 4
CHANGE_NOTHING = ("fsync", "SELECT", "PRAGMA")
PAGE = 4_096


class Crew:
    """Restarts and tells nobody, and notes what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def restart(self) -> str:
        self.asked.append("restart")
        return "restarted"

    def stop(self) -> str:
        self.asked.append("stop")
        return "stopped"

    def send(self, page: object) -> Delivery:
        self.asked.append("page")
        return Delivery("delivered", "key", attempts=1, seconds=0.0)

    def flush(self) -> FlushReport:
        return FlushReport()


@dataclass
class Done:
    """What came of some work."""

    ends: tuple[str | None, ...]
    link: str | None
    outcome: object
    error: Exception | None
    crew: Crew
    told: str
    now: list[str]

    def faults_of_error(self) -> list[str]:
        error = self.error
        if not isinstance(error, StairwaysError):
            return [f"raised {error!r}"]
        whole = error.where and error.remedy and self.told in error.line() and "\n" not in str(error)
        return [] if whole else [f"told {error.line()!r}, where {error.where!r}, remedy {error.remedy!r}"]


FILES = frozenset({"open", "write", "fsync"})
JOURNALED = FILES | {"mkdir", "replace", "symlink"}
FINISHED = JOURNALED | {"rename"}


@dataclass(frozen=True)
class Work:
    """Something that is done to a registry, and what may be live: before, and after."""

    do: Callable[[Workplace, Crew], object]
    judge: Callable[[Done], list[str]]
    kinds: frozenset[str]
    ends: tuple[str | None, ...] = (FIRST.digest, FIRST.digest)
    template: str = "live"
    exchanges: bool = True
    commits: bool = True


def promote(place: Workplace, _: Crew) -> object:
    return place.promote(SECOND.digest)


def promote_gold(place: Workplace, _: Crew) -> object:
    return place.promote(GOLD.digest, Stage.GOLD)


def judge_promotion(done: Done) -> list[str]:
    before, after = done.ends
    if done.error is None:
        promoted = isinstance(done.outcome, PromotionOutcome) and done.outcome.promoted
        return [] if promoted and done.link == after else ["no error was told, and it is not live"]
    faults = done.faults_of_error()
    if done.link != before and f"{str(after)[:12]} is live" not in str(done.error):
        faults.append(f"told {done.error}, and the new one is live")
    return faults


def go_back(place: Workplace, crew: Crew) -> object:
    order = RollbackOrder("drawdown", "NAV fell", "watch", FIRST.digest, GOLD.digest, place.registry.clock())
    return roll_back(place.registry, crew, crew, order)


def judge_rollback(done: Done) -> list[str]:
    if not isinstance(done.outcome, RollbackOutcome):
        return [f"raised {done.error!r}"]
    swapped = done.outcome.swapped_at is not None
    faults = []
    if swapped != (done.link == GOLD.digest):
        faults.append(f"says {done.outcome.what_happened()}, live is {str(done.link)[:8]}")
    if not swapped and "stop" not in done.crew.asked:
        faults.append("the model that failed answers on")
    if "page" not in done.crew.asked:
        faults.append("nobody was told")
    failed = [step for step in done.outcome.steps if not step.settled]
    if not any(done.told in step.detail for step in failed) and (failed or done.now):
        faults.append(f"{done.now}, and the steps that failed are {failed}")
    return faults


def add(place: Workplace, _: Crew) -> object:
    return place.registry.add(place.folder / THIRD.digest, "ann")


def add_again(place: Workplace, _: Crew) -> object:
    return place.registry.add(place.folder / SECOND.digest, "ann")


def judge_addition(done: Done) -> list[str]:
    if done.error is not None:
        return done.faults_of_error()
    # what a writer could not remove goes with the next
    return [fault for fault in done.now if not fault.startswith("left ")]


NEW_CHAMPION = (FIRST.digest, SECOND.digest)
NEW_GOLD = (None, GOLD.digest)
EXCHANGE = "renamex_np" if sys.platform == "darwin" else "renameat2"
REPAIR = FILES | {"mkdir", "unlink", "rmdir"}
WORKS = {
    "promotion": Work(promote, judge_promotion, FINISHED, NEW_CHAMPION),
    "first promotion": Work(promote_gold, judge_promotion, FINISHED, NEW_GOLD, "empty"),
    "promotion without a commit": Work(promote, judge_promotion, JOURNALED, NEW_CHAMPION, commits=False),
    "first promotion without a commit": Work(
        promote_gold, judge_promotion, JOURNALED | {"unlink"}, NEW_GOLD, "empty", commits=False
    ),
    "rollback": Work(go_back, judge_rollback, FINISHED, (FIRST.digest, GOLD.digest)),
    "addition": Work(add, judge_addition, FILES | {"mkdir", "rename"}),
    "repair": Work(add_again, judge_addition, REPAIR | {EXCHANGE}, template="damaged"),
    "repair by two renames": Work(
        add_again, judge_addition, REPAIR | {"rename"}, template="damaged", exchanges=False
    ),
}
IN_DATABASE = ["promotion", "first promotion", "rollback", "addition"]


def _live(folder: Path) -> Workplace:
    place = prepared(folder)
    write_artifact(place.folder / THIRD.digest, THIRD, judged())
    sign_artifact(place.folder / THIRD.digest, place.key, place.clock())
    service = place.registry.root / SERVICE_FOLDER
    service.mkdir()
    (service / SERVICE_FILE).write_bytes(canonical_json({"address": "http://127.0.0.1:1", "control": ""}))
    return place


def _empty(folder: Path) -> Workplace:
    place = workplace(folder)
    place.drilled()
    return place


def _damaged(folder: Path) -> Workplace:
    place = _live(folder)
    (place.registry.store.place(SECOND.digest) / "weights.safetensors").write_bytes(b"damaged")
    return place


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else None) as name:
        yield Path(name)


@pytest.fixture(scope="module")
def templates(folder: Path) -> dict[str, tuple[Path, Workplace]]:
    made = {}
    for name, make in {"live": _live, "empty": _empty, "damaged": _damaged}.items():
        made[name] = (folder / name, make(folder / name))
        made[name][1].registry.close()
    return made


def contents(root: Path, digest: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (root / "artifacts" / digest).iterdir()}


@dataclass
class Case:
    """One go at some work, with a fault or without one, on a registry of its own."""

    work: Work
    template: tuple[Path, Workplace]
    folder: Path
    fault: Fault | None = None
    on_database: bool = False
    filled: int | None = None
    faults: list[str] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    failed: int = 0
    is_full: bool = False

    def run(self) -> Self:
        """Do it, judge it, and follow it up."""
        shutil.copytree(self.template[0], self.folder, symlinks=True)
        try:
            with patch("stairways.live.rollback.ServiceClient", _service_of(self.folder / "registry")):
                done = self._done()
                if self.fault is not None or self.filled is not None or self.work.commits:
                    self.faults += self.work.judge(done)
                self.faults += self._followed_up()
        finally:
            shutil.rmtree(self.folder)
        return self

    def _done(self) -> Done:
        descriptors = _descriptors()
        place = reopened(self.template[1], self.folder)
        gate = Gate(self.fault, self._look_at(place))
        crew, outcome, error = Crew(), None, None
        with ExitStack() as held:
            for stands in self._stand(place, gate):
                held.enter_context(stands)
            try:
                outcome = self.work.do(place, crew)
            except Exception as raised:  # noqa: BLE001 - whatever it is, it is judged
                error = raised
        now = [] if error else faults_of(place.registry, self.work.ends)
        link = place.registry.store.champion()
        place.registry.close()
        if (left := _descriptors() - descriptors) != 0:
            self.faults.append(f"{left} descriptors are left open")
        self.calls, self.failed = gate.calls, gate.failed
        self.is_full = DATABASE_SAYS[errno.ENOSPC] in str(error or outcome)
        return Done(self.work.ends, link, outcome, error, crew, self._told(), now)

    def _look_at(self, place: Workplace) -> Callable[[], None]:
        root, store = place.registry.root, place.registry.store
        whole = {digest: contents(root, digest) for digest in self.work.ends if digest is not None}

        def look() -> None:
            try:
                live = store.champion()
                is_whole = live is None or contents(root, live) == whole[live]
            except (OSError, KeyError, StairwaysError) as error:
                self.faults.append(f"what is live can't be read: {error!r}")
            else:
                if live not in self.work.ends or not is_whole:
                    self.faults.append(f"live is {live}")

        return look

    def _stand(self, place: Workplace, gate: Gate) -> Iterator[AbstractContextManager[object]]:
        engine = place.registry.engine
        if not self.work.commits:
            yield _no_commit(engine)
        if self.filled is not None:
            _fill(place, self.filled)
        if self.on_database:
            yield Statements(engine, gate).stands()
        else:
            yield Disk(place.registry.root, gate, exchanges=self.work.exchanges).stands()

    def _told(self) -> str:
        """Return what must be told: the system's own words, unless another error comes first."""
        if self.filled is not None:
            return DATABASE_SAYS[errno.ENOSPC]
        if self.fault is None or not self.work.commits:
            return ""
        if self.fault.how is How.DONE and not self.work.exchanges:
            # putting the old folder back meets the new one, and says so
            return ""
        return (DATABASE_SAYS.get if self.on_database else os.strerror)(self.fault.code)

    def _followed_up(self) -> list[str]:
        """Return what is wrong when the fault is gone, a next process followed up, and it is done again."""
        if self.fault is not None and self.fault.how is How.LASTING and self.work.do is go_back:
            # a journal that could never be written tells nobody: whoever sees the model live orders again
            with reopened(self.template[1], self.folder).registry as registry:
                if not registry.journal.pending() and registry.store.champion() == FIRST.digest:
                    self.work.do(Workplace(registry, *(None,) * 3), Crew())
        faults = faults_after(self.template[1], self.folder, self.work.ends)
        with reopened(self.template[1], self.folder).registry as registry:
            again = Workplace(registry, *(None,) * 2, self.folder / "artifacts")
            if self.work.do in (add, add_again):
                registry.read(self.work.do(again, Crew()).model_id)
            elif registry.store.champion() is None:
                self.work.do(again, Crew())
            else:
                return faults
            return [*faults, *(f"done again: {fault}" for fault in faults_of(registry, self.work.ends))]


def _service_of(root: Path) -> type:
    class Service:
        """Answers with what is live."""

        def __init__(self, *_: object) -> None: ...

        def __enter__(self) -> "Service":
            return self

        def __exit__(self, *_: object) -> None: ...

        def close(self) -> None: ...

        def ready(self) -> str | None:
            return Store(root).champion()

        def health(self) -> dict[str, str]:
            return {"status": "ok"}

        memory = health

    return Service


def _no_commit(engine: Engine) -> AbstractContextManager[object]:
    def refused(_: object) -> None:
        raise sqlite_error(errno.ENOSPC)

    return patch.object(engine.dialect, "do_commit", refused)


def _fill(place: Workplace, letters: int) -> None:
    """Let the database grow no more, its last page filled so far."""
    registry = place.registry
    registry.history.note(place.clock(), "ann", "test.filled", "pages", {"letters": "x" * letters})
    with registry.engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    registry.engine.dispose()

    def limit(connection: sqlite3.Connection, _: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages}").close()

    event.listen(registry.engine, "connect", limit)


def _descriptors() -> int:
    return len(os.listdir("/dev/fd"))  # noqa: PTH208 - only how many


def tried(
    template: tuple[Path, Workplace],
    folder: Path,
    work: Work,
    code: int,
    how: How,
    *,
    on_database: bool = False,
) -> list[Call]:
    """Let calls fail in turn; return all that there were, after nothing was found wrong with any.

    Every call is refused once. Of those that came from the same lines, a step of the way back and the next
    say, only the first and the last fail in other ways; what changes nothing can't be done and told an error.
    """

    def case(fault: Fault | None) -> Case:
        return Case(work, template, folder / "case", fault, on_database).run()

    whole = case(None)
    assert whole.faults == []
    assert whole.failed == 0
    assert len(whole.calls) >= FEWEST
    found = []
    for number, call in enumerate(whole.calls, 1):
        if how is not How.REFUSED and number not in bounds(whole.calls, call):
            continue
        if how is How.DONE and call.name in CHANGE_NOTHING:
            continue
        one = case(Fault(number, code, how))
        assert one.calls[number - 1] == call
        assert one.failed == 1 or (how is How.LASTING and one.failed > 1)
        if one.faults:
            found.append(f"{number} {call.name} at {call.lines[:SAME_LINES]}: {one.faults}")
    assert not found, "\n".join(found)
    return whole.calls


def bounds(calls: list[Call], like: Call) -> tuple[int, int]:
    """Return the numbers of the first and last calls of a kind that came from the same lines as one."""
    key = (like.name, like.lines[:SAME_LINES])
    same = [number for number, call in enumerate(calls, 1) if (call.name, call.lines[:SAME_LINES]) == key]
    return same[0], same[-1]


@pytest.mark.parametrize("code", CODES, ids=errno.errorcode.get)
@pytest.mark.parametrize("name", WORKS)
def test_a_call_that_is_refused(templates, folder, name, code):
    work = WORKS[name]
    calls = tried(templates[work.template], folder, work, code, How.REFUSED)
    assert work.kinds <= {call.name for call in calls}


@pytest.mark.parametrize("name", WORKS)
def test_a_call_that_was_done_and_told_an_error(templates, folder, name):
    work = WORKS[name]
    tried(templates[work.template], folder, work, errno.EIO, How.DONE)


@pytest.mark.parametrize("code", CODES, ids=errno.errorcode.get)
@pytest.mark.parametrize("name", ["addition", "promotion", "promotion without a commit", "rollback"])
def test_a_disk_that_fails_from_a_call_on(templates, folder, name, code):
    work = WORKS[name]
    tried(templates[work.template], folder, work, code, How.LASTING)


@pytest.mark.parametrize(
    ("how", "code"),
    [(How.REFUSED, errno.ENOSPC), (How.REFUSED, errno.EIO), (How.DONE, errno.EIO)],
    ids=["refused-ENOSPC", "refused-EIO", "done-EIO"],
)
@pytest.mark.parametrize("name", IN_DATABASE)
def test_a_statement_or_a_commit_that_fails(templates, folder, name, how, code):
    work = WORKS[name]
    calls = tried(templates[work.template], folder, work, code, how, on_database=True)
    assert {call.name for call in calls} >= {"BEGIN", "SELECT", "INSERT", "UPDATE", "COMMIT"}


@pytest.mark.parametrize("name", ["promotion", "rollback", "addition"])
def test_a_database_that_is_full(templates, folder, name):
    """SQLite itself says so, where the last page is too full for what is written."""
    work = WORKS[name]
    n_full = 0
    for filled in range(0, PAGE, PAGE // 12):
        case = Case(work, templates[work.template], folder / "case", filled=filled).run()
        assert case.faults == [], filled
        n_full += case.is_full
    assert n_full > 0
