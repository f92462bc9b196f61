"""Incidents: what somebody reports for the watch to see; one sealed file each, taken out once."""

from __future__ import annotations

import datetime as dt
import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from stairways.errors import InputError, StorageError
from stairways.live.live_evidence import PersonalOrder
from stairways.registry.canonical import JsonObject, canonical_json, parse_json_object
from stairways.registry.files import storage_error, write_bytes_atomic
from stairways.registry.registry import new_operation_id

INCIDENTS_FOLDER = "incidents"
DONE_FOLDER = "done"
MOST_INCIDENT_BYTES = 64 * 1024
_SUFFIX = ".json"
_NO_FILE = frozenset({errno.ELOOP, errno.ENXIO})
"""What opening a link or a socket fails with."""


@dataclass(frozen=True)
class Incident:
    """A person's word that the model must go, or a drill's.

    Attributes:
        name: Who.
        reason: Why.
        at: When it was reported.
        is_drill: Whether it is a rehearsal.
    """

    name: str
    reason: str
    at: dt.datetime
    is_drill: bool = False

    def order(self) -> PersonalOrder:
        """Return it as the triggers take it.

        Raises:
            InputError: If a name or a reason is missing.
        """
        return PersonalOrder(self.name, self.reason)

    def as_record(self) -> JsonObject:
        """Return it as JSON."""
        return vars(self) | {"at": self.at.isoformat()}

    @classmethod
    def parse(cls, record: JsonObject) -> Self:
        """Return the incident behind :meth:`as_record`.

        Raises:
            ValueError: If it is none.
        """
        if set(record) != {"at", "is_drill", "name", "reason"}:
            raise ValueError("unknown or missing fields")
        at = dt.datetime.fromisoformat(record["at"])
        if at.tzinfo is None:
            raise ValueError("an instant without a time zone")
        found = cls(str(record["name"]), str(record["reason"]), at, bool(record["is_drill"]))
        try:
            found.order()
        except InputError as error:
            raise ValueError(error.what) from error
        return found


class Incidents:
    """The folder of incidents of a registry.

    Args:
        root: Folder of the registry.
    """

    def __init__(self, root: Path) -> None:
        self.folder = root / INCIDENTS_FOLDER
        self.done = self.folder / DONE_FOLDER

    def report(self, incident: Incident) -> str:
        """Report an incident; return its name.

        Raises:
            InputError: If a name or a reason is missing, or all of it is longer than is read.
            StorageError: If it can't be written.
        """
        incident.order()
        content = canonical_json(incident.as_record())
        if len(content) > MOST_INCIDENT_BYTES:
            raise InputError(
                f"an incident of {len(content)} bytes, {MOST_INCIDENT_BYTES} at most",
                where=str(self.folder),
                remedy="give a shorter reason",
            )
        try:
            self.done.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(error, self.done) from error
        name = new_operation_id(incident.at)
        write_bytes_atomic(self.folder / f"{name}{_SUFFIX}", content)
        return name

    def open(self) -> dict[str, Incident]:
        """Return the incidents that nobody dealt with yet, oldest first.

        Raises:
            StorageError: If one can't be read: whoever wrote it wanted something.
        """
        found, faults = self.look()
        if faults:
            raise faults[0]
        return found

    def look(self) -> tuple[dict[str, Incident], tuple[StorageError, ...]]:
        """Return the incidents that can be read, oldest first, and what is wrong with the others.

        One that is damaged hides none that another person reported.
        """
        if not self.folder.is_dir():
            return {}, ()
        found, faults = {}, []
        for path in sorted(self.folder.glob(f"*{_SUFFIX}")):
            try:
                found[path.stem] = _read(path)
            except StorageError as error:
                faults.append(error)
        return found, tuple(faults)

    def close(self, name: str) -> None:
        """Put an incident aside: it was dealt with.

        Raises:
            StorageError: If it can't be moved.
        """
        try:
            (self.folder / f"{name}{_SUFFIX}").rename(self.done / f"{name}{_SUFFIX}")
        except FileNotFoundError:
            return
        except OSError as error:
            raise storage_error(error, self.folder) from error


def _read(path: Path) -> Incident:
    # the line of a fault goes to places that take no half characters
    where = str(path).encode("utf-8", "backslashreplace").decode()
    try:
        path.name.encode("utf-8")
        return Incident.parse(parse_json_object(_content(path)))
    except OSError as error:
        raise storage_error(error, Path(where)) from error
    except (ValueError, TypeError) as error:
        raise StorageError(
            f"is no incident ({error})", where=where, remedy="see who wrote it, and move it away"
        ) from error


def _content(path: Path) -> bytes:
    """Return the bytes of a file without waiting for anybody: whoever may write here may put a pipe here.

    Raises:
        ValueError: If it is no regular file, or too large.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY)
    except OSError as error:
        if error.errno in _NO_FILE:
            raise ValueError("no regular file") from error
        raise
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("no regular file")
        with os.fdopen(descriptor, "rb", closefd=False) as stream:
            content = stream.read(MOST_INCIDENT_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(content) > MOST_INCIDENT_BYTES:
        raise ValueError(f"more than {MOST_INCIDENT_BYTES} bytes")
    return content
