"""Incidents: what stands in their folder under such a name and is none is a fault, and holds nobody up."""

from __future__ import annotations

import datetime as dt
import os
import socket
from pathlib import Path

import pytest

from stairways.errors import InputError, StorageError
from stairways.live.incidents import MOST_INCIDENT_BYTES, Incident, Incidents

NOON = dt.datetime(2026, 7, 1, 12, tzinfo=dt.UTC)
REPORTED = Incident("dora", "it buys at every open", NOON)


@pytest.fixture
def incidents(tmp_path):
    """A folder in which one incident was reported."""
    made = Incidents(tmp_path)
    made.report(REPORTED)
    return made


def bind(path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.close()


def huge(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 40)


def of_size(n_bytes: int) -> bytes:
    """Return an incident of so many bytes."""
    text = '{"at": "2026-07-01T12:00:00+00:00", "is_drill": false, "name": "ann", "reason": "%s"}'
    return (text % ("r" * (n_bytes - len(text) + 2))).encode()


STRANGERS = {
    "a FIFO": (os.mkfifo, "no regular file"),
    "a device": (lambda path: os.mknod(path, 0o020666, os.makedev(1, 5)), "no regular file"),
    "a socket": (bind, "no regular file"),
    "a folder": (Path.mkdir, "no regular file"),
    "a link": (lambda path: path.symlink_to("/dev/zero"), "no regular file"),
    "a link to nothing": (lambda path: path.symlink_to("nothing"), "no regular file"),
    "too large a file": (
        lambda path: path.write_bytes(of_size(MOST_INCIDENT_BYTES + 1)),
        f"more than {MOST_INCIDENT_BYTES} bytes",
    ),
    "a huge file": (huge, f"more than {MOST_INCIDENT_BYTES} bytes"),
}


@pytest.mark.parametrize("name", ["0-first", "9-last", "two\nlines"])
@pytest.mark.parametrize("kind", STRANGERS)
def test_what_is_no_file_of_ours_is_a_fault_and_the_rest_is_read(incidents, kind, name):
    make, words = STRANGERS[kind]
    try:
        make(incidents.folder / f"{name}.json")
    except PermissionError:
        pytest.skip("needs the right to make a device")
    found, (fault,) = incidents.look()
    assert list(found.values()) == [REPORTED]
    assert f".json: is no incident ({words}); see who wrote it" in fault.line()
    assert "\n" not in fault.line()
    with pytest.raises(StorageError, match=words):
        incidents.open()


def test_a_name_that_is_no_text_is_a_fault_that_can_be_told(incidents):
    path = os.fsencode(incidents.folder) + b"/\xff.json"
    Path(os.fsdecode(path)).write_bytes(of_size(200))
    found, (fault,) = incidents.look()
    assert list(found.values()) == [REPORTED]
    assert "is no incident" in fault.line()
    assert fault.line().encode("utf-8")


def test_as_much_as_is_read_can_be_reported_and_no_more(incidents):
    content = of_size(MOST_INCIDENT_BYTES)
    assert len(content) == MOST_INCIDENT_BYTES
    (incidents.folder / "largest.json").write_bytes(content)
    found, faults = incidents.look()
    assert (len(found), faults) == (2, ())
    longest = Incident("ann", "r" * MOST_INCIDENT_BYTES, NOON)
    with pytest.raises(InputError, match="at most; give a shorter reason"):
        incidents.report(longest)
    assert len(incidents.look()[0]) == 2
