"""Atomic writes: a file or folder stands whole at its place, or what was there before does.

Everything is built under a temporary name beside its place, brought to the disk, and renamed. The
writer holds a lock on the temporary entry that dies with its process, so that leftovers of a killed
one can be told from work in progress.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from stairways.errors import StorageError
from stairways.registry.canonical import JsonObject, parse_json_object

_TEMPORARY_SUFFIX = ".tmp"
_ASIDE_SUFFIX = ".aside"
_READ_ATTEMPTS = 100

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_NO_EXCHANGE = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})

# renameat2(2) of Linux and renamex_np(2) of macOS; both swap two names in one step.
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_RENAME_SWAP = 2


@dataclass(frozen=True)
class FolderSnapshot:
    """One folder as it stood at one moment.

    Attributes:
        entries: Names of everything in it, sorted.
        contents: Bytes of the files that were asked for and are there.
    """

    entries: tuple[str, ...]
    contents: Mapping[str, bytes]


def storage_error(error: OSError, place: Path) -> StorageError:
    """Return the one line that tells a user what the system refused, where, and what to do."""
    code = error.errno
    if code in _FULL:
        remedy = "free some space or choose another folder"
    elif code in _FORBIDDEN:
        remedy = "choose a folder that you may write to, or change its rights"
    elif code in (errno.ENOENT, errno.ENOTDIR):
        remedy = "check the path"
    else:
        remedy = "check the disk and the path"
    return StorageError(error.strerror or str(error), where=str(place), remedy=remedy)


def ensure_writable(place: Path) -> None:
    """Refuse a place that can't be written before hours of work end there.

    Raises:
        StorageError: If its parent can't be made or written.
    """
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place.parent):
            pass
    except OSError as error:
        raise storage_error(error, place.parent) from error


def write_bytes_atomic(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Write a file so that readers see the old content or the new, never a part.

    Args:
        path: Where the file shall stand; its folder must exist.
        content: All of it.
        mode: Rights of the file, less what the umask takes; narrow from the first byte on.

    Raises:
        StorageError: If the disk is full, the folder is missing or can't be written; the old file
            stands then, and nothing is left beside it.
    """
    with as_storage_error(path), temporary(path, folder=False, mode=mode) as (staged, descriptor):
        write_all(descriptor, content)
        staged.replace(path)
        sync_folder(path.parent)


def write_private_file(path: Path, content: bytes) -> None:
    """Write a new file that its owner alone may read.

    Raises:
        StorageError: If something stands there, or it can't be written.
    """
    with as_storage_error(path):
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
        try:
            write_all(descriptor, content)
        finally:
            os.close(descriptor)
        sync_folder(path.parent)


def write_text_atomic(path: Path, text: str) -> None:
    """Write a UTF-8 text file as :func:`write_bytes_atomic` does."""
    write_bytes_atomic(path, text.encode("utf-8"))


def write_folder_atomic(place: Path, contents: Mapping[str, bytes], *, replace: bool = False) -> None:
    """Write a folder of files so that readers see all of them or none.

    Args:
        place: Where the folder shall stand; missing parents are made.
        contents: Bytes by file name.
        replace: Whether a folder that stands there gives way; without it only an empty one does.

    Raises:
        StorageError: If the disk is full, the place is taken or can't be written; what stood there
            before stands still.
    """
    with as_storage_error(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        restore_folder(place)
        with temporary(place, folder=True) as (staged, descriptor):
            for name, content in contents.items():
                _write_new_file(staged / name, content)
            os.fsync(descriptor)
            if replace:
                replace_folder(staged, place)
            else:
                _claim(staged, place)


def replace_folder(staged: Path, place: Path) -> None:
    """Put a finished folder in the place of another; both must lie on one file system.

    Where the system can exchange two names in one step, there is no moment without a folder. Where
    it can't, the old one is set aside for the blink between two renames, and :func:`read_folder` and
    :func:`restore_folder` know where to find it.

    Raises:
        StorageError: If the folder can't be replaced; the old one stands then.
    """
    with as_storage_error(place):
        if not place.exists():
            staged.rename(place)
        elif exchange(staged, place):
            sync_folder(place.parent)
            _discard(staged)
        else:
            _replace_by_two_renames(staged, place)
        sync_folder(place.parent)


def restore_folder(place: Path) -> bool:
    """Put back a folder that a killed writer had set aside; return whether there was one."""
    aside = _aside(place)
    with as_storage_error(place):
        if not aside.exists():
            return False
        if place.exists():
            shutil.rmtree(aside)
            return False
        aside.rename(place)
        sync_folder(place.parent)
        return True


def remove_stale(folder: Path, *, of: str = "") -> tuple[Path, ...]:
    """Remove what killed writers left in a folder; what a living writer holds stays.

    Args:
        folder: Where to look.
        of: Name of the one file whose leftovers are meant; by default those of everything.

    Returns:
        The temporary names that were removed, sorted.

    Raises:
        StorageError: If the folder can't be read or cleaned.
    """
    with as_storage_error(folder):
        for aside in sorted(folder.glob(f".*{_ASIDE_SUFFIX}")):
            name = aside.name[1 : -len(_ASIDE_SUFFIX)]
            if of in ("", name):
                restore_folder(folder / name)
        left = sorted(folder.glob(f".*{_TEMPORARY_SUFFIX}"))
        meant = [path for path in left if not of or _leftover_of(of).fullmatch(path.name)]
        return tuple(path for path in meant if _removed_if_abandoned(path))


def holds_only_leftovers(folder: Path, name: str) -> bool:
    """Tell whether a folder is empty but for what killed writers of one of its files left.

    Args:
        folder: A folder that is there.
        name: Name of the file; temporary entries of others don't count as its leftovers.
    """
    leftover = _leftover_of(name)
    with as_storage_error(folder):
        return all(leftover.fullmatch(path.name) for path in folder.iterdir())


def read_json_object(path: Path, *, remedy: str) -> JsonObject:
    """Read a file that holds one JSON object.

    Args:
        path: The file.
        remedy: What a user can do where it is damaged.

    Raises:
        StorageError: If it can't be read, or its bytes are no JSON object.
    """
    with as_storage_error(path):
        content = path.read_bytes()
    try:
        return parse_json_object(content)
    except ValueError as error:
        raise StorageError(f"is damaged ({error})", where=str(path), remedy=remedy) from error


def read_folder(place: Path, names: Sequence[str], *, max_file_bytes: int) -> FolderSnapshot:
    """Read some files of a folder, all from one and the same folder even while it is being replaced.

    Args:
        place: The folder; a link to one is followed, links inside it are not.
        names: Files wanted; those that are missing are left out of the answer.
        max_file_bytes: A larger file is refused before it is read.

    Raises:
        StorageError: If the folder is missing or unreadable, an entry wanted is no regular file or
            too large, or the folder is replaced without pause.
    """
    with as_storage_error(place):
        for _ in range(_READ_ATTEMPTS):
            snapshot = _read_once(place, names, max_file_bytes)
            if snapshot is not None:
                return snapshot
    raise StorageError(
        f"the folder was replaced during each of {_READ_ATTEMPTS} readings",
        where=str(place),
        remedy="try again when its writer has finished",
    )


@contextmanager
def as_storage_error(place: Path) -> Iterator[None]:
    """Turn what the system refuses within into the one line of :func:`storage_error`."""
    try:
        yield
    except OSError as error:
        raise storage_error(error, place) from error


@contextmanager
def temporary(place: Path, *, folder: bool, mode: int = 0o666) -> Iterator[tuple[Path, int]]:
    """Give a locked temporary sibling and its descriptor; whatever is left of it goes in the end.

    Raises:
        OSError: If it can't be made.
    """
    path, descriptor = _create_temporary(place, folder=folder, mode=mode)
    try:
        yield path, descriptor
    finally:
        os.close(descriptor)
        with suppress(OSError):
            _remove(path)


def _create_temporary(place: Path, *, folder: bool, mode: int) -> tuple[Path, int]:
    while True:
        path = place.with_name(f".{place.name}.{secrets.token_hex(8)}{_TEMPORARY_SUFFIX}")
        if folder:
            path.mkdir()
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            except FileNotFoundError:
                # remove_stale of another process came before it could be held
                if not place.parent.is_dir():
                    raise
                continue
        else:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # or between the creation and the lock
        if path.exists():
            return path, descriptor
        os.close(descriptor)


def _leftover_of(name: str) -> re.Pattern[str]:
    return re.compile(rf"\.{re.escape(name)}\.[0-9a-f]+{re.escape(_TEMPORARY_SUFFIX)}")


def _removed_if_abandoned(path: Path) -> bool:
    """Remove what no living writer holds; return whether it was removed.

    The lock is kept until it is gone: a writer that had made it and not locked it yet waits for that, sees
    that it is gone, and makes another.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _remove(path)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_all(descriptor: int, content: bytes) -> None:
    """Write all of it and bring it to the disk.

    Raises:
        OSError: If the disk is full or fails.
    """
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
    os.fsync(descriptor)


def _write_new_file(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        write_all(descriptor, content)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk.

    Raises:
        OSError: If the disk fails.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _claim(staged: Path, place: Path) -> None:
    try:
        staged.rename(place)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise StorageError(
                "something stands there already", where=str(place), remedy="choose another folder"
            ) from error
        raise
    sync_folder(place.parent)


def _aside(place: Path) -> Path:
    return place.with_name(f".{place.name}{_ASIDE_SUFFIX}")


def _replace_by_two_renames(staged: Path, place: Path) -> None:
    aside = _aside(place)
    place.rename(aside)
    try:
        staged.rename(place)
    except OSError:
        aside.rename(place)
        raise
    sync_folder(place.parent)
    _discard(aside)


def _discard(old: Path) -> None:
    # The new folder stands already: what can't be removed now is for remove_stale, no failure.
    shutil.rmtree(old, ignore_errors=True)


def exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step; return False where the system or file system can't.

    Raises:
        OSError: If it could, and was refused.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    first, second = os.fsencode(one), os.fsencode(other)
    if sys.platform == "linux" and hasattr(libc, "renameat2"):
        failed = libc.renameat2(_AT_FDCWD, first, _AT_FDCWD, second, _RENAME_EXCHANGE)
    elif sys.platform == "darwin" and hasattr(libc, "renamex_np"):
        failed = libc.renamex_np(first, second, _RENAME_SWAP)
    else:
        return False
    if not failed:
        return True
    code = ctypes.get_errno()
    if code in _NO_EXCHANGE:
        return False
    raise OSError(code, os.strerror(code), str(other))


def _read_once(place: Path, names: Sequence[str], max_file_bytes: int) -> FolderSnapshot | None:
    """Read through one directory descriptor; None if that folder was replaced before all was read."""
    folder = _open_folder(place)
    try:
        entries = tuple(sorted(os.listdir(folder)))  # noqa: PTH208 - of a descriptor, not of a path
        wanted = [name for name in names if name in entries]
        contents = {name: _read_file(folder, place / name, max_file_bytes) for name in wanted}
        # A folder is only emptied after it was replaced: what is missing now was missing before.
        if len(contents) == len(names) or _still_stands(place, folder):
            return FolderSnapshot(entries, contents)
    except FileNotFoundError:
        if _still_stands(place, folder):
            raise
    finally:
        os.close(folder)
    return None


def _still_stands(place: Path, folder: int) -> bool:
    now = _open_folder(place)
    try:
        return os.path.samestat(os.fstat(now), os.fstat(folder))
    finally:
        os.close(now)


def _open_folder(place: Path) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY
    try:
        return os.open(place, flags)
    except FileNotFoundError:
        try:
            return os.open(_aside(place), flags)
        except FileNotFoundError:
            # The writer may have finished between the two looks.
            return os.open(place, flags)


def _read_file(folder: int, path: Path, max_file_bytes: int) -> bytes:
    try:
        descriptor = os.open(path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise StorageError("is a link", where=str(path), remedy="put the file itself there") from error
        raise
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise StorageError("is no regular file", where=str(path), remedy="put the file itself there")
        if status.st_size > max_file_bytes:
            raise StorageError(
                f"{status.st_size} bytes, more than the {max_file_bytes} allowed",
                where=str(path),
                remedy="check where the folder comes from",
            )
        with os.fdopen(descriptor, "rb", closefd=False) as stream:
            return stream.read(max_file_bytes)
    finally:
        os.close(descriptor)
