"""A change of the trust list stands in the list and in the audit log, or in neither, whatever fails."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from registries import ManualClock, Workplace, workplace
from stairways.errors import SigningKeyError, StorageError
from stairways.registry import trust_changes
from stairways.registry.audit import AuditEntry
from stairways.registry.keys import SigningKey, TrustList
from stairways.registry.registry import Registry
from stairways.registry.sealed import read_sealed, write_sealed
from stairways.registry.trust_changes import PENDING_FILE, TAKEN_BACK

DIE = """
import datetime as dt, os, signal, sys
from pathlib import Path
from stairways.registry import trust_changes
from stairways.registry.registry import Registry

folder, key_id, at, point = sys.argv[1:]
at = dt.datetime.fromisoformat(at)
write = trust_changes.write_trust

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def write_and_die(*arguments):
    write(*arguments)
    die()

if point == "before the list":
    trust_changes.write_trust = die
if point == "behind the list":
    trust_changes.write_trust = write_and_die
if point == "behind the commit":
    trust_changes._remove = die
with Registry.open(Path(folder), lambda: at) as registry:
    registry.change_trust(lambda known: known.revoked(key_id, "lost", at), "ann", "key.revoked", key_id)
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request, tmp_path) -> Workplace:
    """A registry that trusts one key."""
    url = None if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    made = workplace(tmp_path, url=url)
    yield made
    made.registry.close()


@pytest.fixture
def killed(tmp_path):
    """Revoke the key of a registry in a process that is killed at a point; return the registry."""

    def kill_at(point: str) -> Workplace:
        made = workplace(tmp_path)
        made.registry.close()
        words = [made.registry.root, made.key.key_id, made.clock().isoformat(), point]
        done = subprocess.run([sys.executable, "-c", DIE, *map(str, words)], check=False)
        assert done.returncode == -signal.SIGKILL
        clock = ManualClock(made.clock())
        return Workplace(Registry.open(made.registry.root, clock), made.key, clock, made.folder)

    return kill_at


def revoke(place: Workplace, reason: str = "lost") -> None:
    key_id, now = place.key.key_id, place.clock()
    place.registry.change_trust(
        lambda known: known.revoked(key_id, reason, now), "ann", "key.revoked", key_id
    )


def trust_another(place: Workplace) -> str:
    key, now = SigningKey.new(), place.clock()
    place.registry.change_trust(
        lambda known: known.added(key.public, "bob", now), "bob", "key.trusted", key.key_id
    )
    return key.key_id


def notes(place: Workplace, action: str = "key.revoked") -> list[AuditEntry]:
    return [entry for entry in place.registry.history.audit_entries() if entry.action == action]


def is_revoked(place: Workplace) -> bool:
    return place.registry.store.trust().find(place.key.key_id).revoked_at is not None


def is_settled(place: Workplace) -> bool:
    """Return whether nothing is under way, and the log is whole."""
    pending = place.registry.root / PENDING_FILE
    return not pending.exists() and place.registry.verify_audit() == ()


def test_a_change_stands_in_both(place):
    revoke(place)
    assert is_revoked(place)
    (note,) = notes(place)
    assert (note.actor, note.subject, note.details["keys"]) == ("ann", place.key.key_id, 1)
    assert is_settled(place)


def test_a_change_of_no_sense_begins_nothing(place):
    revoke(place)
    with pytest.raises(SigningKeyError):
        revoke(place)
    assert len(notes(place)) == 1
    assert is_settled(place)


def test_a_list_that_can_not_be_written_is_not_noted(place, monkeypatch):
    def full(*_):
        raise StorageError("No space left on device")

    before = place.registry.store.trust_file.read_bytes()
    monkeypatch.setattr(trust_changes, "write_trust", full)
    with pytest.raises(StorageError, match="No space left"):
        revoke(place)
    monkeypatch.undo()
    assert place.registry.store.trust_file.read_bytes() == before
    assert notes(place) == []
    assert is_settled(place)
    revoke(place)
    assert len(notes(place)) == 1


def test_a_folder_that_can_not_be_written_changes_nothing(public_folder, without_rights):
    place = workplace(public_folder / "deep")
    with without_rights(place.registry.root), pytest.raises(StorageError):
        revoke(place)
    assert not is_revoked(place)
    assert notes(place) == []
    assert is_settled(place)


def test_a_database_that_can_not_commit_leaves_the_old_list(place, monkeypatch):
    seen = []
    dialect = place.registry.engine.dialect

    def failed(_):
        seen.append(is_revoked(place))
        raise dialect.dbapi.OperationalError("disk I/O error")

    with monkeypatch.context() as patch, pytest.raises(StorageError, match="disk I/O error"):
        patch.setattr(dialect, "do_commit", failed)
        revoke(place)
    assert seen == [True]
    assert not is_revoked(place)
    assert notes(place) == []
    assert is_settled(place)
    revoke(place)
    assert len(notes(place)) == 1


def unheard_of(place: Workplace, monkeypatch) -> None:
    """Let the next note be committed, and the word of it be lost."""
    note = place.registry.history.note

    def unheard(*arguments):
        note(*arguments)
        raise StorageError("the connection was lost")

    monkeypatch.setattr(place.registry.history, "note", unheard)


def test_a_commit_that_was_not_heard_of_stands_in_both(place, monkeypatch):
    with monkeypatch.context() as patch:
        unheard_of(place, patch)
        with pytest.raises(StorageError, match="the connection was lost"):
            revoke(place)
    assert is_revoked(place)
    assert len(notes(place)) == 1
    trust_another(place)
    assert is_revoked(place)
    assert len(notes(place)) == 1
    assert is_settled(place)


def test_a_commit_that_can_not_be_asked_after_is_followed_up(place, monkeypatch):
    def lost(**_):
        raise StorageError("the connection was lost")

    with monkeypatch.context() as patch:
        unheard_of(place, patch)
        patch.setattr(place.registry.history, "audit_entries", lost)
        with pytest.raises(StorageError, match="the connection was lost"):
            revoke(place)
        assert not is_revoked(place)
        # nor does another change pass over it
        with pytest.raises(StorageError, match="the connection was lost"):
            trust_another(place)
    key_id = trust_another(place)
    assert not is_revoked(place)
    assert place.registry.store.trust().find(key_id) is not None
    (note,), (back,) = notes(place), notes(place, TAKEN_BACK)
    assert (back.actor, back.subject, back.details["action"]) == ("ann", place.key.key_id, "key.revoked")
    assert back.details["change_id"] == note.details["change_id"]
    assert is_settled(place)


@pytest.mark.parametrize("point", ["before the list", "behind the list", "behind the commit"])
def test_a_process_that_is_killed_is_followed_up(killed, point):
    place = killed(point)
    written = point != "before the list"
    assert is_revoked(place) == written
    assert len(notes(place)) == (point == "behind the commit")
    trust_another(place)
    # what was in force is noted, with when it began; what was not begun leaves no trace
    assert is_revoked(place) == written
    assert len(notes(place)) == written
    if point == "behind the list":
        (note,) = notes(place)
        assert (note.actor, note.subject) == ("ann", place.key.key_id)
        assert note.details["happened_at"] < note.at.isoformat()
    assert is_settled(place)
    if not written:
        revoke(place)
        assert is_revoked(place)
    place.registry.close()


@pytest.mark.parametrize("damage", ["cut", "another shape"])
def test_what_was_begun_and_is_not_understood_is_told(killed, damage):
    place = killed("behind the list")
    file = place.registry.root / PENDING_FILE
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-9])
    else:
        begun = read_sealed(file, "change", remedy="")
        write_sealed(file, "change", begun | {"details": []})
    before = place.registry.store.trust()
    with pytest.raises(StorageError, match="move it away, and see that `stairways keys list`"):
        trust_another(place)
    assert place.registry.store.trust() == before != TrustList()
    file.unlink()
    trust_another(place)
    place.registry.close()
