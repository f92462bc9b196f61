"""Two generations: whatever happens to one of them, the other stands, and somebody hears of it."""

import errno
import os
import random
import resource
import signal
import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest

from stairways.errors import ArtifactError, MismatchError, StorageError
from stairways.registry import generations
from stairways.registry.generations import (
    Found,
    previous_of,
    read_generation,
    sealed,
    write_generation,
)

OLD, NEW, NEWER = (word * 700 for word in (b"old", b"new", b"newer"))


@pytest.fixture
def heard():
    return []


@pytest.fixture
def place(tmp_path):
    return tmp_path / "state"


@pytest.fixture(params=["exchange", "two renames"])
def swap(request, monkeypatch):
    if request.param == "two renames":
        monkeypatch.setattr(generations, "exchange", lambda one, other: False)
    return request.param


def as_it_is(content, _place):
    return content


def read(place, parse=as_it_is) -> Found:
    return read_generation(place, parse, remedy="make it anew")


def write_all(place, *contents, alarm):
    for content in contents:
        write_generation(place, content, alarm=alarm)


def listing(folder):
    return sorted(path.name for path in folder.iterdir())


class TestWriting:
    def test_exactly_two_generations_stand(self, place, swap, heard):
        for number in range(5):
            write_generation(place, b"%d" % number, alarm=heard.append)
            assert read(place) == Found(b"%d" % number, place, None)
            if number:
                assert previous_of(place).read_bytes() == sealed(b"%d" % (number - 1))
        assert listing(place.parent) == ["state", "state.previous"]
        assert heard == []

    @pytest.mark.parametrize("content", [b"", b"\n", b"a\nb", bytes(range(256)) * 9])
    def test_any_content_comes_back(self, place, heard, content):
        write_generation(place, content, alarm=heard.append)
        assert read(place).value == content

    def test_the_older_one_is_renamed_not_written_again(self, place, heard, swap):
        write_all(place, OLD, alarm=heard.append)
        inode = place.stat().st_ino
        write_all(place, NEW, alarm=heard.append)
        assert previous_of(place).stat().st_ino == inode

    def test_what_the_disk_gives_back_is_compared(self, place, heard, monkeypatch):
        write_all(place, OLD, NEW, alarm=heard.append)
        monkeypatch.setattr(generations, "_read_back", lambda staged: staged.read_bytes()[:-1])
        with pytest.raises(StorageError, match="gave back something else than was written"):
            write_generation(place, NEWER, alarm=heard.append)
        assert read(place).value == NEW
        assert previous_of(place).read_bytes() == sealed(OLD)
        assert listing(place.parent) == ["state", "state.previous"]

    @pytest.mark.parametrize("name", ["state", "state.previous"])
    def test_a_damaged_one_never_takes_the_place_of_a_good_one(self, place, swap, heard, name):
        write_all(place, OLD, NEW, alarm=heard.append)
        damaged = place.with_name(name)
        flip(damaged, 999)
        rotten = damaged.read_bytes()
        write_generation(place, NEWER, alarm=heard.append)
        assert read(place) == Found(NEWER, place, None)
        assert previous_of(place).read_bytes() == sealed(OLD if name == "state" else NEW)
        assert place.with_name("state.damaged-1").read_bytes() == rotten
        assert [damage.place.name for damage in heard] == [name]
        assert heard[0].line() == (
            f"{damaged} does not match its digest; kept as state.damaged-1; nothing is lost"
        )

    def test_each_damaged_one_is_kept(self, place, heard):
        write_all(place, OLD, NEW, alarm=heard.append)
        for number in (1, 2, 3):
            flip(place, number)
            write_generation(place, NEWER, alarm=heard.append)
            assert len({path.read_bytes() for path in place.parent.glob("*.damaged-*")}) == number
        assert len(heard) == 3
        assert read(place).value == NEWER
        assert previous_of(place).read_bytes() == sealed(OLD)

    def test_leftovers_of_its_own_killed_writers_go_and_those_of_others_stay(self, place, heard):
        for name in (".state.00ff.tmp", ".state.json.00ff.tmp", ".other.00ff.tmp"):
            place.with_name(name).write_text("half")
        write_generation(place, OLD, alarm=heard.append)
        assert listing(place.parent) == [".other.00ff.tmp", ".state.json.00ff.tmp", "state"]


def failing(function, code, at):
    calls = count(1)

    def wrapper(*args, **kwargs):
        if next(calls) == at:
            raise OSError(code, os.strerror(code))
        return function(*args, **kwargs)

    return wrapper


class TestRefusedBySystem:
    """Whatever call fails, and how often: a whole generation stands, and nothing half-written."""

    @pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO])
    @pytest.mark.parametrize("function", ["write", "fsync", "open", "rename", "replace"])
    @pytest.mark.parametrize("at", [1, 2, 3])
    def test_one_call_fails(self, place, swap, heard, monkeypatch, function, code, at):
        write_all(place, OLD, NEW, alarm=heard.append)
        monkeypatch.setattr(os, function, failing(getattr(os, function), code, at))
        failed = False
        try:
            write_generation(place, NEWER, alarm=heard.append)
        except StorageError:
            failed = True
        monkeypatch.undo()
        names = [name for name in listing(place.parent) if not name.startswith("state.damaged")]
        assert names in (["state", "state.previous"], ["state"])
        assert read(place).value in ({NEW, NEWER} if failed else {NEWER})
        assert read(place).damage is None
        write_generation(place, b"last", alarm=heard.append)
        assert read(place).value == b"last"

    def test_files_that_can_not_grow(self, place, heard):
        write_all(place, OLD, NEW, alarm=heard.append)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))
        try:
            with pytest.raises(StorageError, match="free some space"):
                write_generation(place, b"x" * 20_000, alarm=heard.append)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert read(place) == Found(NEW, place, None)
        assert listing(place.parent) == ["state", "state.previous"]

    def test_a_read_only_folder(self, public_folder, without_rights, heard):
        place = public_folder / "state"
        write_all(place, OLD, NEW, alarm=heard.append)
        flip(place, 500)
        with without_rights(public_folder):
            with pytest.raises(StorageError, match="may write to"):
                write_generation(place, NEWER, alarm=heard.append)
            found = read(place)
            assert found.value == OLD
            with pytest.raises(StorageError, match="may write to"):
                found.settle()
        assert listing(public_folder) == ["state", "state.previous"]

    def test_no_rights_are_no_damage(self, place, heard, monkeypatch):
        write_all(place, OLD, NEW, alarm=heard.append)
        monkeypatch.setattr(os, "open", failing(os.open, errno.EACCES, 1))
        with pytest.raises(StorageError, match="Permission denied"):
            read(place)

    def test_a_sector_that_can_not_be_read_is_damage(self, place, heard, monkeypatch):
        write_all(place, OLD, NEW, alarm=heard.append)
        monkeypatch.setattr(os, "open", failing(os.open, errno.EIO, 1))
        found = read(place)
        assert (found.value, found.damage.reason) == (OLD, "can't be read (Input/output error)")


def flip(path, bit):
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


class TestReading:
    @pytest.fixture
    def two(self, place, heard):
        write_all(place, OLD, NEW, alarm=heard.append)
        return place

    def falls_back(self, place):
        found = read(place)
        assert found.value == OLD
        assert found.fell_back
        assert found.damage.used == previous_of(place)
        return found

    def test_every_bit_of_the_seal_and_hundreds_of_the_content(self, two):
        whole = two.read_bytes()
        seal = len(sealed(b"")) + 3
        bits = set(range(8 * seal)) | set(random.Random(3).sample(range(8 * len(whole)), 500))
        for bit in sorted(bits):
            flip(two, bit)
            self.falls_back(two)
            two.write_bytes(whole)
        assert not read(two).fell_back

    def test_cut_at_many_lengths_or_grown(self, two):
        whole = two.read_bytes()
        for length in [*range(120), *random.Random(4).sample(range(120, len(whole)), 200)]:
            two.write_bytes(whole[:length])
            reason = self.falls_back(two).damage.reason
            assert ("is empty" if length == 0 else "seal") in reason
        for more in (b"\0", b"\n", whole):
            two.write_bytes(whole + more)
            self.falls_back(two)
        two.write_bytes(b"\0" * len(whole))
        assert self.falls_back(two).damage.reason == "has no whole seal"

    @pytest.mark.parametrize("kind", ["folder", "pipe", "link", "dangling link"])
    def test_something_else_in_its_place(self, two, kind):
        two.unlink()
        if kind == "folder":
            two.mkdir()
            (two / "kept").write_text("x")
        elif kind == "pipe":
            os.mkfifo(two)
        else:
            two.symlink_to(previous_of(two) if kind == "link" else "nowhere")
        found = self.falls_back(two)
        assert found.damage.reason == ("is a link" if "link" in kind else "is no regular file")
        found.settle()
        assert read(two) == Found(OLD, two, None)
        assert os.path.lexists(found.damage.aside)
        assert listing(two.parent) == ["state", "state.damaged-1"]

    def test_it_is_kept_aside_and_the_previous_one_becomes_current(self, two, heard):
        for number in (1, 2):
            flip(two, 777)
            rotten = two.read_bytes()
            found = self.falls_back(two)
            assert two.read_bytes() == rotten
            found.settle()
            assert two.with_name(f"state.damaged-{number}").read_bytes() == rotten
            assert read(two) == Found(OLD, two, None)
            write_generation(two, NEW, alarm=heard.append)
        assert heard == []

    def test_a_missing_one_leaves_nothing_to_keep(self, two):
        two.unlink()
        found = self.falls_back(two)
        assert found.damage.line() == f"{two} is missing; state.previous is used"
        found.settle()
        assert listing(two.parent) == ["state"]
        assert read(two) == Found(OLD, two, None)

    def test_a_damaged_spare_is_told_before_it_is_needed(self, two):
        flip(previous_of(two), 8_000)
        found = read(two)
        assert (found.value, found.fell_back) == (NEW, False)
        assert found.damage.line() == (
            f"{previous_of(two)} does not match its digest; kept as state.damaged-1; nothing is lost"
        )
        found.settle()
        assert listing(two.parent) == ["state", "state.damaged-1"]

    @pytest.mark.parametrize("damage", ["missing", "flipped", "empty"])
    def test_where_neither_is_whole_nothing_is_moved(self, two, damage):
        flip(two, 5)
        if damage == "missing":
            previous_of(two).unlink()
        elif damage == "empty":
            previous_of(two).write_bytes(b"")
        else:
            flip(previous_of(two), 9_999)
        before = {path: path.read_bytes() for path in two.parent.iterdir()}
        words = {"missing": "is missing", "empty": "is empty", "flipped": "does not match its digest"}[damage]
        for _ in range(2):
            with pytest.raises(ArtifactError) as raised:
                read(two)
            assert raised.value.line() == (
                f"{two.parent}: state has no whole seal and state.previous {words}; make it anew"
            )
        assert {path: path.read_bytes() for path in two.parent.iterdir()} == before

    def test_where_there_is_none(self, place):
        with pytest.raises(StorageError, match=r"state is missing and state\.previous is missing"):
            read(place)

    def test_what_is_whole_and_refused_is_no_damage(self, two):
        def refuse(content, place):
            raise MismatchError(f"is of another: {content[:3].decode()}", where=place.name, remedy="go")

        with pytest.raises(MismatchError) as raised:
            read(two, refuse)
        assert raised.value.line() == "state: is of another: new; go"
        flip(two, 8_000)
        before = {path: path.read_bytes() for path in two.parent.iterdir()}
        with pytest.raises(MismatchError) as raised:
            read(two, refuse)
        assert raised.value.line() == (
            "state.previous: is of another: old, and state does not match its digest; go"
        )
        assert {path: path.read_bytes() for path in two.parent.iterdir()} == before


KILLER = """
import os, signal, sys
os.fsync = lambda descriptor: None  # a kill loses nothing that the system holds
from pathlib import Path
from stairways.registry import generations
from stairways.registry.generations import previous_of, read_generation, sealed, write_generation

root, mode, damaged = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
if mode == "two renames":
    generations.exchange = lambda one, other: False
OLD, NEW, NEWER = (word * 700 for word in (b"old", b"new", b"newer"))
heard = []


def read(place):
    return read_generation(place, lambda content, _: content, remedy="")


def kill_at(point):
    calls = 0
    def profile(frame, event, function):
        nonlocal calls
        if event == "c_call" and function.__module__ in ("posix", "fcntl", "_ctypes", "_io"):
            calls += 1
            if calls == point:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.setprofile(profile)


def work(place):
    if damaged == "read":
        found = read(place)
        if found.damage:
            found.settle()
    else:
        write_generation(place, NEWER, alarm=lambda damage: None)


def rotten(folder):
    return sum(b"flipped" in path.read_bytes() for path in folder.iterdir() if ".tmp" not in path.name)


point = 0
seen = set()
while True:
    point += 1
    place = root / str(point) / "state"
    place.parent.mkdir()
    for content in (OLD, NEW):
        write_generation(place, content, alarm=heard.append)
    if damaged in ("current", "read"):
        place.write_bytes(b"flipped")
    elif damaged == "previous":
        previous_of(place).write_bytes(b"flipped")
    child = os.fork()
    if child == 0:
        kill_at(point)
        work(place)
        sys.setprofile(None)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    allowed = {"none": {NEW, NEWER}, "current": {OLD, NEWER}, "previous": {NEW, NEWER}, "read": {OLD}}
    found = read(place)
    assert found.value in allowed[damaged], (point, found)
    seen.add(found.value)
    assert rotten(place.parent) == (damaged != "none"), (point, list(place.parent.iterdir()))
    if damaged == "none" and mode == "exchange":
        assert found.damage is None
        assert previous_of(place).read_bytes() in (sealed(OLD), sealed(NEW))
    found.settle()
    assert read(place).damage is None or damaged == "previous"
    for content in (b"one more", b"the last"):
        write_generation(place, content, alarm=heard.append)
    assert read(place).value == b"the last" and read(place).damage is None
    assert previous_of(place).read_bytes() == sealed(b"one more")
    assert rotten(place.parent) == (damaged != "none"), (point, list(place.parent.iterdir()))
    left = [path.name for path in place.parent.iterdir() if ".damaged-" not in path.name]
    assert sorted(left) == ["state", "state.previous"], (point, left)
    if not os.WIFSIGNALED(status):
        break
assert point > 10 and seen == allowed[damaged], (point, len(seen))
print(point)
"""


@pytest.mark.parametrize("mode", ["exchange", "two renames"])
@pytest.mark.parametrize("damaged", ["none", "current", "previous", "read"])
def test_killed_at_any_system_call_a_whole_one_stands_and_nothing_is_lost(tmp_path, mode, damaged):
    done = subprocess.run(
        [sys.executable, "-c", KILLER, str(tmp_path), mode, damaged],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_killed_for_real_while_it_writes_again_and_again(tmp_path):
    """A process writes one generation after the other and is killed from outside at a random moment."""
    program = (
        "import itertools, sys\nfrom pathlib import Path\n"
        "from stairways.registry.generations import write_generation\n"
        "for number in itertools.count(int(sys.argv[2])):\n"
        "    write_generation(Path(sys.argv[1]), b'%d ' % number * 20000, alarm=print)\n"
    )
    place, last, pauses = tmp_path / "state", 0, random.Random(5)
    for _ in range(8):
        with subprocess.Popen([sys.executable, "-c", program, str(place), str(last + 1)]) as process:
            while not place.exists() or int(read(place).value.split()[0]) <= last:
                assert process.poll() is None
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(pauses.uniform(0.01, 0.1))
            process.send_signal(signal.SIGKILL)
        found = read(place)
        assert found.damage is None
        words = found.value.split()
        assert len(set(words)) == 1 and len(words) == 20_000
        last = int(words[0])
        assert previous_of(place).read_bytes() in {sealed(b"%d " % n * 20_000) for n in (last - 1, last - 2)}
    write_generation(Path(place), b"end", alarm=print)
    assert listing(tmp_path) == ["state", "state.previous"]
