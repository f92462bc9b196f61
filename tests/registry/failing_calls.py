"""Refuses one call: each by which some work on a registry changes the disk or the database, one at a time.

The functions of ``os`` that lead to the disk, the C library's exchange of two names, and what SQLAlchemy asks
of SQLite are counted here where they mean the registry, and one of them is answered with an error.
"""

from __future__ import annotations

import builtins
import ctypes
import errno
import io
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any
from unittest.mock import patch

from kill_points import ROOT
from sqlalchemy import Engine

_CHANGES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_OF_PATHS = {"mkdir": 0, "unlink": 0, "remove": 0, "rmdir": 0, "truncate": 0, "chmod": 0}
_OF_PATHS |= {"rename": 1, "replace": 1, "symlink": 1, "link": 1}
_OF_DESCRIPTORS = ("write", "pwrite", "writev", "fsync", "fdatasync", "ftruncate", "fchmod")
_EXCHANGES = ("renameat2", "renamex_np")
_TAKE_SPACE = ("open", "write", "symlink", "mkdir")


class How(StrEnum):
    """How a call fails."""

    REFUSED = "refused"
    """Nothing is done, once."""
    DONE = "done"
    """All or half of it is done and an error is told: a disk that breaks, a folder on another machine."""
    LASTING = "lasting"
    """Nothing is done, then and at every later call; on a full disk names can still be changed."""


@dataclass(frozen=True)
class Fault:
    """The call that fails, by its number from 1, and how."""

    number: int
    code: int
    how: How = How.REFUSED


@dataclass(frozen=True)
class Call:
    """A call, and the lines of our own code that led to it, innermost first."""

    name: str
    lines: tuple[str, ...]


@dataclass
class Gate:
    """Lets calls through, notes them, and fails one.

    Attributes:
        fault: Which.
        look: Called before and after each.
        calls: All that there were.
        failed: How many were answered with an error.
    """

    fault: Fault | None
    look: Callable[[], None] = lambda: None
    calls: list[Call] = field(default_factory=list)
    failed: int = 0
    _looks: bool = False

    def let(
        self,
        name: str,
        work: Callable[[], Any],
        error: Callable[[int], Exception],
        *,
        half: Callable[[], Any] | None = None,
        takes_space: bool = False,
    ) -> Any:
        """Do it, or raise the error.

        Args:
            name: What the system calls it.
            work: What it does.
            error: Makes the error of a code.
            half: What is done of it where it fails in the middle; by default all.
            takes_space: Whether a full disk can't do it.
        """
        if self._looks:
            return work()
        self.calls.append(Call(name, _own_lines()))
        self._look()
        try:
            if self._fails(takes_space=takes_space):
                assert self.fault is not None
                self.failed += 1
                if self.fault.how is How.DONE:
                    (half or work)()
                raise error(self.fault.code)
            return work()
        finally:
            self._look()

    def _look(self) -> None:
        # what the look itself reads is not counted
        self._looks = True
        try:
            self.look()
        finally:
            self._looks = False

    def _fails(self, *, takes_space: bool) -> bool:
        fault, number = self.fault, len(self.calls)
        if fault is None or number < fault.number:
            return False
        if number == fault.number:
            return True
        return fault.how is How.LASTING and (takes_space or fault.code != errno.ENOSPC)


def _own_lines() -> tuple[str, ...]:
    lines = []
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(ROOT):
            lines.append(f"{name.removeprefix(ROOT + os.sep)}:{frame.f_lineno}")
        frame = frame.f_back
    return tuple(lines)


class Disk:
    """Stands between the code and the system's calls that change a folder.

    Args:
        root: The folder.
        gate: Where the calls pass.
        exchanges: Whether two names can be exchanged in one step here.
    """

    def __init__(self, root: Path, gate: Gate, *, exchanges: bool = True) -> None:
        self._root = os.fspath(root)
        self._gate = gate
        self._exchanges = exchanges
        self._opened: dict[int, str] = {}
        self._os = {name: getattr(os, name) for name in ("open", *_OF_PATHS, *_OF_DESCRIPTORS)}
        self._io_open = io.open

    @contextmanager
    def stands(self) -> Iterator[None]:
        """Stand there for a while."""
        with ExitStack() as held:
            held.enter_context(patch.object(os, "open", self._open))
            for name, at in _OF_PATHS.items():
                held.enter_context(patch.object(os, name, self._of_path(name, at)))
            for name in _OF_DESCRIPTORS:
                held.enter_context(patch.object(os, name, self._of_descriptor(name)))
            for module in (io, builtins):
                held.enter_context(patch.object(module, "open", self._never_for_writing))
            libc = ctypes.CDLL
            held.enter_context(
                patch.object(ctypes, "CDLL", lambda *args, **kw: _Libc(self, libc(*args, **kw)))
            )
            yield

    def _inside(self, path: Any, dir_fd: int | None) -> str | None:
        text = os.fsdecode(path)
        if dir_fd is not None:
            text = os.path.join(self._opened.get(dir_fd, ""), text)  # noqa: PTH118 - as the system does
        return text if text == self._root or text.startswith(self._root + os.sep) else None

    def _let(self, name: str, work: Callable[[], Any], **options: Any) -> Any:
        options.setdefault("takes_space", name in _TAKE_SPACE)
        return self._gate.let(name, work, lambda code: OSError(code, os.strerror(code)), **options)

    def _open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        real = self._os["open"]
        place = self._inside(path, dir_fd)

        def work() -> int:
            descriptor: int = real(path, flags, mode, dir_fd=dir_fd)
            self._opened[descriptor] = place or ""
            return descriptor

        if place is None or not flags & _CHANGES:
            return work()
        is_new = not os.path.lexists(place)
        return int(self._let("open", work, half=lambda: os.close(work()), takes_space=is_new))

    def _of_path(self, name: str, at: int) -> Callable[..., Any]:
        real = self._os[name]

        def call(*args: Any, **options: Any) -> Any:
            dir_fd = options.get("dst_dir_fd" if at else "dir_fd")
            if self._inside(args[at], dir_fd) is None:
                return real(*args, **options)
            return self._let(name, lambda: real(*args, **options))

        return call

    def _of_descriptor(self, name: str) -> Callable[..., Any]:
        real = self._os[name]

        def call(descriptor: int, *rest: Any) -> Any:
            if self._inside(self._opened.get(descriptor, ""), None) is None:
                return real(descriptor, *rest)
            if name in ("fsync", "fdatasync"):
                # what the system holds is enough for a test
                return self._let(name, lambda: None)
            if name == "write":
                (content,) = rest
                half = memoryview(content)[: len(content) // 2]
                return self._let(name, lambda: real(descriptor, content), half=lambda: real(descriptor, half))
            return self._let(name, lambda: real(descriptor, *rest))

        return call

    def _never_for_writing(self, file: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
        place = self._opened.get(file, "") if isinstance(file, int) else file
        if set(mode) & set("wax+") and self._inside(place, None) is not None:
            raise AssertionError(f"{place} is written past the calls that are counted")
        return self._io_open(file, mode, *args, **options)

    def exchange(self, name: str, work: Callable[[], int]) -> int:
        """Exchange two names as the C library does: 0, or -1 and a code."""
        if not self._exchanges:
            ctypes.set_errno(errno.EINVAL)
            return -1
        try:
            return int(self._let(name, work))
        except OSError as error:
            ctypes.set_errno(error.errno or 0)
            return -1


class _Libc:
    def __init__(self, disk: Disk, real: Any) -> None:
        self._disk = disk
        self._real = real

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._real, name)
        if name not in _EXCHANGES:
            return function
        return lambda *args: self._disk.exchange(name, lambda: function(*args))


class Statements:
    """Stands between SQLAlchemy and SQLite: every statement and commit is a call.

    Args:
        engine: The database.
        gate: Where the calls pass.
    """

    def __init__(self, engine: Engine, gate: Gate) -> None:
        self._dialect = engine.dialect
        self._gate = gate

    @contextmanager
    def stands(self) -> Iterator[None]:
        """Stand there for a while."""
        real = self._dialect
        execute, plain, committed = real.do_execute, real.do_execute_no_params, real.do_commit

        def do_execute(cursor: Any, statement: str, *rest: Any, **options: Any) -> Any:
            return self._let(statement, lambda: execute(cursor, statement, *rest, **options))

        def do_plain(cursor: Any, statement: str, *rest: Any, **options: Any) -> Any:
            return self._let(statement, lambda: plain(cursor, statement, *rest, **options))

        def do_commit(connection: Any) -> Any:
            return self._let("COMMIT", lambda: committed(connection))

        with (
            patch.object(real, "do_execute", do_execute),
            patch.object(real, "do_execute_no_params", do_plain),
            patch.object(real, "do_commit", do_commit),
        ):
            yield

    def _let(self, statement: str, work: Callable[[], Any]) -> Any:
        return self._gate.let(statement.split(maxsplit=1)[0], work, sqlite_error)


def sqlite_error(code: int) -> sqlite3.OperationalError:
    """Return what SQLite says where the system answers it with a code."""
    name, words = _SQLITE_WORDS[code]
    error = sqlite3.OperationalError(words)
    error.sqlite_errorname = name
    return error


_SQLITE_WORDS = {
    errno.ENOSPC: ("SQLITE_FULL", "database or disk is full"),
    errno.EIO: ("SQLITE_IOERR_WRITE", "disk I/O error"),
}
