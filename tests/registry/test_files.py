import errno
import fcntl
import os
import resource
import subprocess
import sys
import threading
from itertools import count
from pathlib import Path

import pytest

from stairways.errors import StorageError
from stairways.registry import files
from stairways.registry.files import (
    ensure_writable,
    holds_only_leftovers,
    read_folder,
    read_json_object,
    remove_stale,
    replace_folder,
    restore_folder,
    write_bytes_atomic,
    write_folder_atomic,
    write_text_atomic,
)

NAMES = ("a", "b", "c")


def contents(value: int, size: int = 50) -> dict[str, bytes]:
    return {name: f"{name} {value} ".encode() * size for name in NAMES}


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def failing(function, code: int, at: int):
    calls = count(1)

    def wrapper(*args, **kwargs):
        if next(calls) == at:
            raise OSError(code, os.strerror(code))
        return function(*args, **kwargs)

    return wrapper


@pytest.fixture(params=["exchange", "two renames"])
def swap(request, monkeypatch):
    if request.param == "two renames":
        monkeypatch.setattr(files, "exchange", lambda one, other: False)
    elif sys.platform not in ("linux", "darwin"):
        pytest.skip("the system can't exchange two names")
    return request.param


def test_file_is_written_and_written_over(tmp_path):
    place = tmp_path / "summary.json"
    write_text_atomic(place, "één")
    assert place.read_bytes() == "één".encode()
    write_bytes_atomic(place, b"\x00" * 100_000)
    assert place.read_bytes() == b"\x00" * 100_000
    assert listing(tmp_path) == ["summary.json"]


def test_new_file_has_the_rights_of_any_other(tmp_path):
    (tmp_path / "plain").write_text("x")
    write_text_atomic(tmp_path / "ours", "x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_bytes_written_in_part_are_finished(tmp_path, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:7]))
    write_bytes_atomic(tmp_path / "file", bytes(range(100)))
    assert (tmp_path / "file").read_bytes() == bytes(range(100))


@pytest.mark.parametrize("function", ["write", "fsync", "open"])
@pytest.mark.parametrize(
    ("code", "word"), [(errno.ENOSPC, "space"), (errno.EROFS, "rights"), (errno.EIO, "disk")]
)
def test_file_that_cant_be_written_leaves_the_old_one(tmp_path, monkeypatch, function, code, word):
    place = tmp_path / "file"
    place.write_text("old")
    monkeypatch.setattr(os, function, failing(getattr(os, function), code, 1))
    with pytest.raises(StorageError, match=word) as raised:
        write_text_atomic(place, "new")
    monkeypatch.undo()
    assert str(place) in raised.value.line()
    assert place.read_text() == "old"
    assert listing(tmp_path) == ["file"]


def test_file_larger_than_the_system_allows_leaves_nothing(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))
    try:
        with pytest.raises(StorageError, match="space"):
            write_bytes_atomic(tmp_path / "file", b"x" * 20_000)
        with pytest.raises(StorageError, match="space"):
            write_folder_atomic(tmp_path / "folder", {"small": b"x", "large": b"x" * 20_000})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert listing(tmp_path) == []


def test_read_only_folder_is_refused(public_folder, without_rights):
    with without_rights(public_folder):
        with pytest.raises(StorageError, match="write to"):
            write_text_atomic(public_folder / "file", "x")
        with pytest.raises(StorageError, match="write to"):
            write_folder_atomic(public_folder / "folder", contents(1))
    assert listing(public_folder) == []


def test_missing_folder_is_refused(tmp_path):
    with pytest.raises(StorageError, match="check the path"):
        write_text_atomic(tmp_path / "missing" / "file", "x")


def test_interruption_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_folder_atomic(tmp_path / "folder", contents(1))
    assert listing(tmp_path) == []


def test_folder_is_written_with_its_parents(tmp_path):
    write_folder_atomic(tmp_path / "run" / "artifact", contents(1))
    assert {path.name: path.read_bytes() for path in (tmp_path / "run" / "artifact").iterdir()} == contents(1)
    assert listing(tmp_path / "run") == ["artifact"]


def test_only_an_empty_place_is_free(tmp_path):
    (tmp_path / "empty").mkdir()
    write_folder_atomic(tmp_path / "empty", contents(1))
    for place in (tmp_path / "empty", tmp_path / "file"):
        (tmp_path / "file").write_text("x")
        with pytest.raises(StorageError, match="stands there already"):
            write_folder_atomic(place, contents(2))
    assert listing(tmp_path) == ["empty", "file"]
    assert read_folder(tmp_path / "empty", NAMES, max_file_bytes=10_000).contents == contents(1)


def test_folder_is_replaced(tmp_path, swap):
    place = tmp_path / "folder"
    for value in range(3):
        write_folder_atomic(place, contents(value), replace=True)
        assert read_folder(place, NAMES, max_file_bytes=10_000).contents == contents(value)
    assert listing(tmp_path) == ["folder"]


def test_folder_that_cant_be_replaced_stands(tmp_path, swap, monkeypatch):
    place = tmp_path / "folder"
    write_folder_atomic(place, contents(1))
    fsync = os.fsync
    for at in range(1, 6):
        monkeypatch.setattr(os, "fsync", failing(fsync, errno.ENOSPC, at))
        with pytest.raises(StorageError, match="space"):
            write_folder_atomic(place, contents(2), replace=True)
        found = read_folder(place, NAMES, max_file_bytes=10_000).contents
        # The fifth call is the one on the parent, when the new folder stands already.
        assert found == contents(1 if at <= 4 else 2)


def test_failed_second_rename_puts_the_old_folder_back(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "exchange", lambda one, other: False)
    write_folder_atomic(tmp_path / "old", contents(1))
    write_folder_atomic(tmp_path / "new", contents(2))
    monkeypatch.setattr(os, "rename", failing(os.rename, errno.EIO, 2))
    with pytest.raises(StorageError):
        replace_folder(tmp_path / "new", tmp_path / "old")
    assert listing(tmp_path) == ["new", "old"]
    assert (tmp_path / "old" / "a").read_bytes() == contents(1)["a"]


def test_folder_set_aside_is_read_and_restored(tmp_path):
    place = tmp_path / "folder"
    write_folder_atomic(tmp_path / ".folder.aside", contents(1))
    assert read_folder(place, NAMES, max_file_bytes=10_000).contents == contents(1)
    assert restore_folder(place)
    assert not restore_folder(place)
    assert listing(tmp_path) == ["folder"]
    write_folder_atomic(tmp_path / ".folder.aside", contents(2))
    assert not restore_folder(place)
    assert read_folder(place, NAMES, max_file_bytes=10_000).contents == contents(1)


def test_writer_restores_what_a_killed_one_set_aside(tmp_path, swap):
    place = tmp_path / "folder"
    write_folder_atomic(tmp_path / ".folder.aside", contents(1))
    with pytest.raises(StorageError, match="stands there already"):
        write_folder_atomic(place, contents(2))
    assert listing(tmp_path) == ["folder"]
    place.rename(tmp_path / ".folder.aside")
    write_folder_atomic(place, contents(2), replace=True)
    assert listing(tmp_path) == ["folder"]
    assert read_folder(place, NAMES, max_file_bytes=10_000).contents == contents(2)


def test_stale_names_go_and_others_stay(tmp_path):
    (tmp_path / ".one.00ff.tmp").write_text("half")
    (tmp_path / ".two.00ff.tmp").mkdir()
    (tmp_path / ".two.00ff.tmp" / "a").write_text("half")
    (tmp_path / ".three.aside").mkdir()
    for name in ("kept.tmp", ".hidden", "file"):
        (tmp_path / name).write_text("x")
    assert [path.name for path in remove_stale(tmp_path)] == [".one.00ff.tmp", ".two.00ff.tmp"]
    assert listing(tmp_path) == [".hidden", "file", "kept.tmp", "three"]


@pytest.mark.parametrize("when", ["before it is held", "before it is locked"])
def test_what_was_just_made_may_be_cleaned_away_and_is_made_again(tmp_path, monkeypatch, when):
    """Another process cleans up in the blink between a writer's making a folder and holding it."""
    seam = ("open", os.open) if when == "before it is held" else ("flock", fcntl.flock)
    module = os if seam[0] == "open" else fcntl
    cleaned = []

    def after_a_cleaner(*arguments, **options):
        if not cleaned:
            cleaned.append(True)
            monkeypatch.setattr(module, *seam)
            assert len(remove_stale(tmp_path)) == 1
        return seam[1](*arguments, **options)

    monkeypatch.setattr(module, seam[0], after_a_cleaner)
    write_folder_atomic(tmp_path / "place", {"a": b"1"})
    assert cleaned
    assert (tmp_path / "place" / "a").read_bytes() == b"1"
    assert [path.name for path in tmp_path.iterdir()] == ["place"]


def test_work_of_a_living_writer_is_not_stale(tmp_path, monkeypatch):
    fsync, removed = os.fsync, []

    def cleaning_fsync(descriptor):
        removed.extend(remove_stale(tmp_path))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", cleaning_fsync)
    write_text_atomic(tmp_path / "file", "x")
    write_folder_atomic(tmp_path / "folder", contents(1))
    assert removed == []
    assert listing(tmp_path) == ["file", "folder"]


def test_writer_begins_again_if_cleaned_before_its_lock(tmp_path, monkeypatch):
    flock, seen = files.fcntl.flock, []

    def cleaned_once(descriptor, operation):
        if not seen:
            seen.append(listing(tmp_path))
            (tmp_path / seen[0][0]).unlink()
        flock(descriptor, operation)

    monkeypatch.setattr(files.fcntl, "flock", cleaned_once)
    write_text_atomic(tmp_path / "file", "x")
    assert (tmp_path / "file").read_text() == "x"


def test_odd_entries_are_refused(tmp_path):
    (tmp_path / "large").write_bytes(b"x" * 11)
    (tmp_path / "link").symlink_to(tmp_path / "large")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name, word in (("large", "11 bytes"), ("link", "link"), ("folder", "regular"), ("pipe", "regular")):
        with pytest.raises(StorageError, match=word):
            read_folder(tmp_path, [name], max_file_bytes=10)
    snapshot = read_folder(tmp_path, ["missing"], max_file_bytes=10)
    assert snapshot.entries == ("folder", "large", "link", "pipe")
    assert snapshot.contents == {}


@pytest.mark.parametrize("name", ["missing", "file"])
def test_place_that_is_no_folder_is_refused(tmp_path, name):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="check the path"):
        read_folder(tmp_path / name, NAMES, max_file_bytes=10)


def test_readers_see_one_whole_folder(tmp_path, swap, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    place = tmp_path / "folder"
    write_folder_atomic(place, contents(0))
    finished = threading.Event()

    def write():
        for value in range(1, 300):
            write_folder_atomic(place, contents(value), replace=True)
        finished.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    while not finished.is_set():
        snapshot = read_folder(place, NAMES, max_file_bytes=10_000)
        value = int(snapshot.contents["a"].split()[1])
        assert snapshot.contents == contents(value)
        assert snapshot.entries == NAMES
        seen.add(value)
    writer.join()
    assert len(seen) > 1


KILLER = """
import os, signal, sys
os.fsync = lambda descriptor: None  # a kill loses nothing that the system holds
from pathlib import Path
from stairways.registry import files
from stairways.registry.files import read_folder, remove_stale, write_bytes_atomic, write_folder_atomic

root, mode = Path(sys.argv[1]), sys.argv[2]
if mode == "two renames":
    files.exchange = lambda one, other: False
old = {"a": b"old a", "b": b"old b"}
new = {"a": b"new a", "b": b"new b", "c": b"new c"}


def write(place, content, replace):
    if mode == "file":
        write_bytes_atomic(place, content["a"])
    else:
        write_folder_atomic(place, content, replace=replace)


def read(place):
    if mode == "file":
        return {"a": place.read_bytes()}
    return read_folder(place, "abc", max_file_bytes=99).contents


def kill_at(point):
    calls = 0
    def profile(frame, event, function):
        nonlocal calls
        if event == "c_call" and function.__module__ in ("posix", "fcntl", "_ctypes"):
            calls += 1
            if calls == point:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.setprofile(profile)


outcomes, point = [], 0
while True:
    point += 1
    place = root / str(point) / "place"
    place.parent.mkdir()
    write(place, old, False)
    child = os.fork()
    if child == 0:
        kill_at(point)
        write(place, new, True)
        sys.setprofile(None)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    found = read(place)
    expected = [{"a": content["a"]} if mode == "file" else content for content in (old, new)]
    assert found in expected, (point, found)
    outcomes.append(expected.index(found))
    remove_stale(place.parent)
    assert read(place) == found, point
    assert [path.name for path in place.parent.iterdir()] == ["place"], (point, list(place.parent.iterdir()))
    write(place, new, True)
    assert read(place) == expected[1]
    if not os.WIFSIGNALED(status):
        break
assert point > 10 and outcomes == sorted(outcomes) and set(outcomes) == {0, 1}, outcomes
print(point)
"""


@pytest.mark.parametrize("mode", ["file", "exchange", "two renames"])
def test_kill_at_any_system_call_leaves_old_or_new(tmp_path, mode):
    done = subprocess.run(
        [sys.executable, "-c", KILLER, str(tmp_path), mode], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("names", "only"),
    [
        ([], True),
        ([".plan.json.0123456789abcdef.tmp", ".plan.json.00.tmp"], True),
        ([".plan.json.0123456789abcdef.tmp", "letter"], False),
        ([".letter.0123456789abcdef.tmp"], False),
        ([".planXjson.0123456789abcdef.tmp"], False),
        (["plan.json"], False),
    ],
)
def test_leftovers_of_one_file_are_told_from_anything_else(tmp_path, names, only):
    for name in names:
        (tmp_path / name).write_text("{")
    assert holds_only_leftovers(tmp_path, "plan.json") is only


def test_an_object_is_read_and_a_damaged_one_is_one_line(tmp_path):
    place = tmp_path / "plan.json"
    place.write_text('{"a": [1, 2.5]}')
    assert read_json_object(place, remedy="go") == {"a": [1, 2.5]}
    for content in (b"", b"{", b"[]", b"\x80", b'{"a": 1, "a": 2}'):
        place.write_bytes(content)
        with pytest.raises(StorageError) as raised:
            read_json_object(place, remedy="take it away")
        assert raised.value.line().startswith(f"{place}: is damaged (")
        assert raised.value.line().endswith("; take it away")
    with pytest.raises(StorageError, match="No such file"):
        read_json_object(tmp_path / "none", remedy="go")


class TestEnsureWritable:
    def test_missing_parents_are_made_and_nothing_is_left(self, tmp_path):
        ensure_writable(tmp_path / "a" / "b" / "place")
        assert list((tmp_path / "a" / "b").iterdir()) == []

    def test_a_parent_that_is_a_file(self, tmp_path):
        (tmp_path / "file").write_text("mine")
        with pytest.raises(StorageError, match="file"):
            ensure_writable(tmp_path / "file" / "place")
