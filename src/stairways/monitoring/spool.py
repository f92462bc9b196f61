"""The spool: pages that wait on disk, one file each, in the order in which they must be sent.

A page's file is claimed by a lock that dies with its process. Who sends one page of an incident holds
the oldest file of that incident, so that two processes neither send a page twice nor let one page of an
incident overtake another, while different incidents pass each other freely.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import hashlib
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stairways.errors import PagingError, StorageError
from stairways.monitoring.page import Page
from stairways.registry.canonical import JsonObject, canonical_digest, canonical_json, parse_json_object
from stairways.registry.files import remove_stale, storage_error, write_bytes_atomic

REFUSED, DAMAGED = "refused", "damaged"
"""Folders inside the spool for what is set aside; a person looks there."""

_FORMAT = "stairways.page/1"
_LOCK = ".lock"
_POLL_SECONDS = 0.01
_MAX_FILE_BYTES = 4_000_000
_NAME = re.compile(r"(\d{20})-([0-9a-f]{16})-[0-9a-f]{8}\.json")
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class DamagedPageError(ValueError):
    """A spooled file that is no whole page; says why."""


@dataclass(frozen=True, order=True)
class Entry:
    """A page that waits; entries sort in the order in which they are to be sent.

    Attributes:
        name: Name of its file: when it happened in microseconds (later, if something that waits is
            younger), the digest of its incident, and a token.
    """

    name: str

    @property
    def stamp(self) -> int:
        """Microseconds that order it."""
        return int(self.name[:20])

    @property
    def incident(self) -> str:
        """Digest of its de-duplication key, shortened."""
        return self.name[21:37]


def incident_digest(dedup_key: str) -> str:
    """Return the digest that stands in the names of an incident's pages."""
    return hashlib.sha256(dedup_key.encode("utf-8")).hexdigest()[:16]


class Claim:
    """A spooled page that nobody else can send while this is held."""

    def __init__(self, folder: Path, entry: Entry, descriptor: int) -> None:
        self._folder = folder
        self._descriptor = descriptor
        self.entry = entry

    def read(self) -> Page:
        """Return the page.

        Raises:
            DamagedPageError: If the file is no whole page.
            StorageError: If it can't be read.
        """
        path = self._folder / self.entry.name
        try:
            size = os.fstat(self._descriptor).st_size
            content = os.pread(self._descriptor, _MAX_FILE_BYTES, 0)
        except OSError as error:
            raise storage_error(error, path) from error
        if size > _MAX_FILE_BYTES:
            raise DamagedPageError(f"{size} bytes are too many for a page")
        return _parse(content, self.entry)

    def remove(self) -> None:
        """Remove the page: it was delivered.

        Raises:
            StorageError: If it can't be removed; it will be sent again then.
        """
        path = self._folder / self.entry.name
        try:
            path.unlink()
        except OSError as error:
            raise storage_error(error, path) from error

    def set_aside(self, where: str) -> Path:
        """Move the file to ``refused`` or ``damaged``; return its new place.

        Raises:
            StorageError: If it can't be moved.
        """
        return _set_aside(self._folder, self.entry.name, where)


class Spool:
    """A folder of pages that wait.

    Args:
        folder: Its place; made where it is missing, with rights for its owner alone.
        max_pages: Files that may lie in it, those set aside included.
        max_bytes: Bytes that may lie in it.
    """

    def __init__(self, folder: Path, *, max_pages: int, max_bytes: int) -> None:
        self.folder = folder
        self._max_pages = max_pages
        self._max_bytes = max_bytes

    def prepare(self) -> None:
        """Make the folder, or check that nobody else can read the one that stands there.

        Raises:
            StorageError: If it can't be made, is someone else's, or others have rights on it.
        """
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = self.folder.stat()
        except OSError as error:
            raise storage_error(error, self.folder) from error
        rights = stat.S_IMODE(status.st_mode)
        if rights & 0o077 or status.st_uid != os.geteuid():
            raise StorageError(
                f"others have rights on the spool ({rights:04o}, user {status.st_uid})",
                where=str(self.folder),
                remedy="give it to the user that pages alone: chmod 700",
            )

    def put(self, page: Page, wait_seconds: float) -> Entry:
        """Write a page behind everything that waits; once this returns, it survives the process.

        Args:
            page: The page.
            wait_seconds: How long to wait for another process that is writing.

        Raises:
            PagingError: If the spool is full, or another process holds it for too long.
            StorageError: If it can't be written.
        """
        self.prepare()
        content = _content(page)
        with self._locked(wait_seconds):
            self._check_room(len(content))
            incident = incident_digest(page.dedup_key)
            # Clocks go back: what is written later must not be sent earlier.
            newest = max((entry.stamp for entry in self.entries()), default=-1)
            stamp = max((page.occurred_at - _EPOCH) // dt.timedelta(microseconds=1), newest + 1)
            entry = Entry(f"{stamp:020d}-{incident}-{secrets.token_hex(4)}.json")
            write_bytes_atomic(self.folder / entry.name, content, mode=0o600)
        return entry

    def entries(self) -> list[Entry]:
        """Return what waits, in the order in which it is to be sent.

        Raises:
            StorageError: If the folder can't be read.
        """
        return sorted(Entry(file.name) for file in _files(self.folder) if _is_page(file))

    @contextmanager
    def claim(self, entry: Entry) -> Iterator[Claim | None]:
        """Hold a page for as long as it is being sent; None if it is gone, or another holds it.

        Raises:
            StorageError: If its file can't be opened.
        """
        descriptor = _open(self.folder / entry.name)
        try:
            held = descriptor is not None and self._lock_file(entry, descriptor)
            yield Claim(self.folder, entry, descriptor) if descriptor is not None and held else None
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def peek(self, entry: Entry) -> Page | None:
        """Return a page without claiming it; None if it is gone.

        Raises:
            DamagedPageError: If the file is no whole page.
            StorageError: If it can't be read.
        """
        descriptor = _open(self.folder / entry.name)
        if descriptor is None:
            return None
        try:
            return Claim(self.folder, entry, descriptor).read()
        finally:
            os.close(descriptor)

    def holds(self, entry: Entry) -> bool:
        """Tell whether a page still waits."""
        return os.path.lexists(self.folder / entry.name)

    def tidy(self) -> tuple[str, ...]:
        """Set aside what is no page of ours, and remove what killed writers left.

        Returns:
            The files that were set aside, each with the reason.

        Raises:
            StorageError: If the folder can't be read or changed.
        """
        if not self.folder.exists():
            return ()
        remove_stale(self.folder)
        strange = sorted(
            file.name
            for file in _files(self.folder)
            if not (_is_page(file) or file.name.startswith(".") or file.name in (REFUSED, DAMAGED))
        )
        return tuple(f"{_set_aside(self.folder, name, DAMAGED)}: no page of the spool" for name in strange)

    def aside(self, where: str) -> list[str]:
        """Return the names of what lies in ``refused`` or ``damaged``.

        Raises:
            StorageError: If the folder can't be read.
        """
        return sorted(file.name for file in _files(self.folder / where))

    def _check_room(self, coming_bytes: int) -> None:
        files = [
            file
            for folder in (self.folder, self.folder / REFUSED, self.folder / DAMAGED)
            for file in _files(folder)
            if file.is_file(follow_symlinks=False) and not file.name.startswith(".")
        ]
        held_bytes = sum(_size(file) for file in files)
        if len(files) >= self._max_pages or held_bytes + coming_bytes > self._max_bytes:
            raise PagingError(
                f"the spool is full: {len(files)} pages of {self._max_pages}, {held_bytes} bytes and "
                f"{coming_bytes} more of {self._max_bytes}",
                where=str(self.folder),
                remedy="run stairways page flush, look through refused and damaged, or raise the limits",
            )

    @contextmanager
    def _locked(self, wait_seconds: float) -> Iterator[None]:
        """Hold the right to add pages; a stopped process that holds it must not hold up a rollback."""
        path = self.folder / _LOCK
        flags = os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(path, flags, 0o600)
        except OSError as error:
            raise storage_error(error, path) from error
        try:
            deadline = time.monotonic() + wait_seconds
            while not _try_lock(descriptor, path):
                if time.monotonic() >= deadline:
                    raise PagingError(
                        f"another process has held the spool for {wait_seconds:g} s",
                        where=str(path),
                        remedy="end the process that holds it",
                    )
                time.sleep(_POLL_SECONDS)
            yield
        finally:
            os.close(descriptor)

    def _lock_file(self, entry: Entry, descriptor: int) -> bool:
        # Whoever held it may have sent it between our opening and our lock; no name comes twice.
        return _try_lock(descriptor, self.folder / entry.name) and self.holds(entry)


def _content(page: Page) -> bytes:
    record = page.as_record()
    return canonical_json({"format": _FORMAT, "page": record, "digest": canonical_digest(record)})


def _parse(content: bytes, entry: Entry) -> Page:
    try:
        record: JsonObject = parse_json_object(content)
        sound = canonical_digest(record.get("page")) == record.get("digest")
        page = Page.from_record(record["page"]) if sound and record.get("format") == _FORMAT else None
    except (KeyError, ValueError) as error:
        raise DamagedPageError(" ".join(str(error).split())[:200]) from error
    if not sound:
        raise DamagedPageError("its digest does not match its content")
    if page is None:
        raise DamagedPageError(f"its format {str(record.get('format'))[:60]!r} is not {_FORMAT}")
    if incident_digest(page.dedup_key) != entry.incident:
        raise DamagedPageError("its name belongs to another incident")
    return page


def _files(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise storage_error(error, folder) from error


def _is_page(file: os.DirEntry[str]) -> bool:
    return _NAME.fullmatch(file.name) is not None and file.is_file(follow_symlinks=False)


def _size(file: os.DirEntry[str]) -> int:
    try:
        return file.stat(follow_symlinks=False).st_size
    except FileNotFoundError:
        return 0


def _open(path: Path) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise storage_error(error, path) from error


def _try_lock(descriptor: int, path: Path) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise storage_error(error, path) from error
    return True


def _set_aside(folder: Path, name: str, where: str) -> Path:
    place = folder / where / name
    try:
        place.parent.mkdir(mode=0o700, exist_ok=True)
        if os.path.lexists(place):
            place = place.with_name(f"{name}.{secrets.token_hex(4)}")
        (folder / name).rename(place)
    except OSError as error:
        raise storage_error(error, folder / name) from error
    return place
