"""Two generations of one file: the current one, and the one before it for when a byte is torn or flipped.

A generation is sealed: its first line gives the SHA-256 and the size of what follows, so that no byte of it
can change unseen. A new one is brought to the disk and read back before the older of two good ones goes; what
is found damaged is told, and kept beside them under a name of its own. One process at a time may write.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from stairways.errors import ArtifactError, StairwaysError, StorageError
from stairways.registry.files import (
    as_storage_error,
    exchange,
    remove_stale,
    storage_error,
    sync_folder,
    temporary,
    write_all,
)

PREVIOUS_SUFFIX = ".previous"
DAMAGED_SUFFIX = ".damaged"

MISSING = "is missing"

_SEAL = re.compile(rb"stairways-sealed 1 sha256 [0-9a-f]{64} bytes (\d{1,15})")
_ROTTEN = frozenset({errno.EIO, errno.EBADMSG, getattr(errno, "EUCLEAN", errno.EIO)})
"""What the system answers where the medium gave way; rights and the like are no damage."""

Value = TypeVar("Value")


@dataclass(frozen=True)
class Damage:
    """A generation that is not what was written.

    Attributes:
        place: Where it stands.
        reason: What is wrong with it, as the rest of a sentence that its name begins.
        aside: Where it is kept from now on; None where there is nothing to keep.
        used: The generation that takes its place; None where it is not needed.
    """

    place: Path
    reason: str
    aside: Path | None
    used: Path | None

    def line(self) -> str:
        """Return it as one line: what is damaged, where it is kept, what is used in its place."""
        parts = [f"{self.place} {self.reason}"]
        if self.aside is not None:
            parts.append(f"kept as {self.aside.name}")
        parts.append(f"{self.used.name} is used" if self.used else "nothing is lost")
        return "; ".join(parts)


Alarm = Callable[[Damage], None]
"""Who operations hear of damage from: a log, a pager, a test. It is called before anything is moved, so that
a kill between can make it speak twice, never not at all."""


@dataclass(frozen=True)
class Found(Generic[Value]):
    """What a reader found; the disk is as it was until :meth:`settle`.

    Attributes:
        value: Content of the best whole generation.
        path: Where the current one belongs.
        damage: What is wrong with one of the two; None where nothing is.
    """

    value: Value
    path: Path
    damage: Damage | None

    @property
    def fell_back(self) -> bool:
        """Whether the value is that of the generation before."""
        return self.damage is not None and self.damage.used is not None

    def settle(self) -> None:
        """Keep the damaged one aside, and make the one that is used the current one.

        Raises:
            StorageError: If the folder can't be written; both stand then.
        """
        if self.damage is None:
            return
        with as_storage_error(self.path):
            _set_aside(self.damage)
            if self.damage.used is not None:
                self.damage.used.rename(self.path)
            sync_folder(self.path.parent)


class _DamagedError(Exception):
    """A generation is not what was written; the text is the reason of a :class:`Damage`."""


def previous_of(path: Path) -> Path:
    """Return where the generation before the current one stands."""
    return path.with_name(path.name + PREVIOUS_SUFFIX)


def sealed(content: bytes) -> bytes:
    """Return a content as it stands on the disk, its seal before it."""
    digest = hashlib.sha256(content).hexdigest()
    return f"stairways-sealed 1 sha256 {digest} bytes {len(content)}\n".encode() + content


def write_generation(path: Path, content: bytes, *, alarm: Alarm) -> None:
    """Write a new current generation; the one that was current becomes the previous one.

    Until the new one is on the disk and was read back, both old ones stand. One of them that has become
    damaged meanwhile is kept aside, and never takes the place of a good one.

    Args:
        path: Where the current one stands; its folder must exist.
        content: All of it.
        alarm: Called for each one that is found damaged.

    Raises:
        StorageError: If the disk is full, gives back something else, or can't be written; what stood
            there before stands still.
    """
    remove_stale(path.parent, of=path.name)
    stored = sealed(content)
    with as_storage_error(path), temporary(path, folder=False) as (staged, descriptor):
        write_all(descriptor, stored)
        if _read_back(staged) != stored:
            raise StorageError(
                "the disk gave back something else than was written",
                where=str(path),
                remedy="check the disk; what stood there before stands still",
            )
        for place in (path, previous_of(path)):
            damage = _damage_of(place, path)
            if damage is not None:
                alarm(damage)
                _set_aside(damage)
        _rotate(staged, path)
        sync_folder(path.parent)


def read_generation(path: Path, parse: Callable[[bytes, Path], Value], *, remedy: str) -> Found[Value]:
    """Return the current generation, or the previous one where the current is damaged or missing.

    Both are looked at, so that a damaged spare is known before it is needed. A whole one that ``parse``
    refuses is no damage: there is no other way round the refusal.

    Args:
        path: Where the current one stands.
        parse: Makes the value of a content and the place it was read from; raises what refuses it.
        remedy: What a user can do where neither is whole.

    Raises:
        ArtifactError: If neither is whole; both stay as they are.
        StorageError: If there is none, or the system refuses to read them.
        StairwaysError: What ``parse`` raises.
    """
    whole: dict[Path, bytes] = {}
    reasons: dict[Path, str] = {}
    for place in (path, previous_of(path)):
        try:
            whole[place] = _content(place)
        except FileNotFoundError:
            reasons[place] = MISSING
        except _DamagedError as error:
            reasons[place] = str(error)
    if not whole:
        refusal = StorageError if set(reasons.values()) == {MISSING} else ArtifactError
        words = " and ".join(f"{place.name} {reason}" for place, reason in reasons.items())
        raise refusal(words, where=str(path.parent), remedy=remedy)
    used = next(iter(whole))
    try:
        value = parse(whole[used], used)
    except StairwaysError as error:
        if used == path:
            raise
        words = f"{error.what}, and {path.name} {reasons[path]}"
        raise type(error)(words, where=error.where, remedy=error.remedy) from error
    return Found(value, path, _told(path, used, reasons))


def _told(path: Path, used: Path, reasons: dict[Path, str]) -> Damage | None:
    """Return what there is to tell; that a run's first generation has none before it is nothing."""
    if not reasons or (used == path and reasons[previous_of(path)] == MISSING):
        return None
    [(damaged, reason)] = reasons.items()
    aside = None if reason == MISSING else _free_name(path)
    return Damage(damaged, reason, aside, None if used == path else used)


def _set_aside(damage: Damage) -> None:
    if damage.aside is not None:
        damage.place.rename(damage.aside)


def _damage_of(place: Path, path: Path) -> Damage | None:
    try:
        _content(place)
    except FileNotFoundError:
        return None
    except _DamagedError as error:
        return Damage(place, str(error), _free_name(path), None)
    return None


def _content(place: Path) -> bytes:
    """Return the content of a whole generation."""
    try:
        stored = _stored(place)
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in _ROTTEN:
            raise _DamagedError(f"can't be read ({error.strerror})") from error
        raise storage_error(error, place) from error
    seal, _, content = stored.partition(b"\n")
    if stored == sealed(content):
        return content
    if not stored:
        raise _DamagedError("is empty")
    found = _SEAL.fullmatch(seal)
    if found is None:
        raise _DamagedError("has no whole seal")
    if int(found[1]) != len(content):
        raise _DamagedError(f"holds {len(content):,} bytes, not the {int(found[1]):,} of its seal")
    raise _DamagedError("does not match its digest")


def _stored(place: Path) -> bytes:
    if place.is_symlink():
        raise _DamagedError("is a link")
    descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _DamagedError("is no regular file")
        return _all_of(descriptor)
    finally:
        os.close(descriptor)


def _read_back(staged: Path) -> bytes:
    descriptor = os.open(staged, os.O_RDONLY)
    try:
        if hasattr(os, "posix_fadvise"):
            # What the memory still holds proves nothing of the disk.
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        return _all_of(descriptor)
    finally:
        os.close(descriptor)


def _all_of(descriptor: int) -> bytes:
    with os.fdopen(descriptor, "rb", closefd=False) as file:
        return file.read()


def _free_name(path: Path) -> Path:
    names = (path.with_name(f"{path.name}{DAMAGED_SUFFIX}-{number}") for number in itertools.count(1))
    return next(name for name in names if not os.path.lexists(name))


def _rotate(staged: Path, path: Path) -> None:
    """Make the staged file the current generation and the current one the previous, by renames alone."""
    previous = previous_of(path)
    if not path.exists():
        staged.rename(path)
    elif exchange(staged, path):
        # Both names hold a whole one, the older under the temporary name.
        staged.replace(previous)
    else:
        path.rename(previous)
        try:
            staged.rename(path)
        except OSError:
            previous.rename(path)
            raise
