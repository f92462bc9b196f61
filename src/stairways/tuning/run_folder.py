"""Run folder: where a run keeps its log, its settings, its checkpoints and what it made."""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from stairways.config import setting_differences
from stairways.errors import StorageError
from stairways.registry.canonical import canonical_digest, canonical_json, parse_json_object
from stairways.registry.files import (
    read_json_object,
    remove_stale,
    storage_error,
    write_bytes_atomic,
    write_folder_atomic,
    write_text_atomic,
)
from stairways.registry.generations import Alarm, Found, read_generation, sealed, write_generation
from stairways.tuning.checkpoint import (
    CHECKPOINT_FILE,
    REMEDY,
    START,
    Checkpoint,
    checkpoint_bytes,
    parse_checkpoint,
)

if TYPE_CHECKING:
    from stairways.learning.reports import RolloutReport

LOG_FILE = "training.log"
CONFIG_FILE = "config.json"
RUN_FILE = "run.json"
SUMMARY_FILE = "summary.json"
PAGE_FILE = "summary.html"
PICTURE_FILE = "summary.png"
GOLD_FOLDER = "gold"
DATABASE_FILE = "gate.db"

MOST_SHOWN = 3
"""Differences between two identities that a message shows."""

Clock = Callable[[], dt.datetime]


class Watcher(Protocol):
    """Who follows a run while it goes: a terminal, a test, nobody."""

    def stage(self, name: str, steps: int) -> None:
        """A stage of so many steps begins; 0 steps for work without a count."""

    def rollout(self, report: RolloutReport) -> None:
        """A rollout is done."""

    def event(self, word: str, name: str, fields: dict[str, Any]) -> None:
        """Something happened that the log holds too."""


class Silent:
    """A watcher that watches nothing."""

    def stage(self, name: str, steps: int) -> None:
        """Do nothing."""

    def rollout(self, report: RolloutReport) -> None:
        """Do nothing."""

    def event(self, word: str, name: str, fields: dict[str, Any]) -> None:
        """Do nothing."""


@dataclass(frozen=True)
class RunLog:
    """The log of a run: one line per event, fit for ``tail -f`` and ``grep``.

    Attributes:
        path: The file.
        clock: Tells the time.
        watcher: Follows the events too.
    """

    path: Path
    clock: Clock
    watcher: Watcher

    def event(self, word: str, name: str, **fields: Any) -> None:
        """Write one line: time, a word such as CYCLE, SHADOW or GATE, the event, its fields."""
        stamp = self.clock().isoformat(timespec="milliseconds")
        parts = [f"{key}={_shown(value)}" for key, value in fields.items()]
        line = " ".join([stamp, word, name, *parts])
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            raise storage_error(error, self.path) from error
        self.watcher.event(word, name, fields)


def _json_text(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if any(c.isspace() for c in text) or text == "" else text


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return the first places in which two identities differ, as ``place is now, not before``; or nothing.

    Args:
        before: What a folder was made with, JSON.
        now: What is asked for, JSON.
    """
    return "; ".join(setting_differences(dict(before), dict(now))[:MOST_SHOWN])


def write_sealed(path: Path, identity: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
    """Write a result with the identity of what made it and a SHA-256 of both.

    Args:
        path: Where it shall stand; its folder must exist.
        identity: Everything that the result depends on, JSON.
        result: The result, JSON.

    Returns:
        The result as :func:`read_sealed` gives it back.

    Raises:
        StorageError: If it can't be written.
    """
    content = canonical_json({"identity": dict(identity), "result": dict(result)})
    sealed = parse_json_object(content) | {"sha256": hashlib.sha256(content).hexdigest()}
    write_bytes_atomic(path, canonical_json(sealed, indent=1))
    return dict(sealed["result"])


def read_sealed(path: Path, identity: Mapping[str, Any], *, remedy: str) -> dict[str, Any]:
    """Read a result that must be whole, and made by what is asked for now.

    Args:
        path: Where :func:`write_sealed` wrote it.
        identity: Everything that the result depends on, JSON.
        remedy: What a user can do where it is not.

    Raises:
        StorageError: If it is damaged, was changed after it was written, or was made with something else.
    """
    sealed = read_json_object(path, remedy=remedy)
    content = {name: sealed.get(name) for name in ("identity", "result")}
    before, result = content["identity"], content["result"]
    if (
        sealed.get("sha256") != canonical_digest(content)
        or not isinstance(before, dict)
        or not isinstance(result, dict)
    ):
        raise StorageError("was changed after it was written", where=str(path), remedy=remedy)
    found = differences(before, parse_json_object(canonical_json(dict(identity))))
    if found:
        raise StorageError(f"was made with something else: {found}", where=str(path), remedy=remedy)
    return result


@dataclass(frozen=True)
class RunFolder:
    """Paths of a run and how to write them without leaving halves.

    Attributes:
        path: The folder.
    """

    path: Path

    def check(self, *, resume: bool) -> None:
        """Check that a run can begin here, or that there is one to resume; nothing is written.

        Raises:
            StorageError: If something stands there already, or there is no run to resume.
        """
        started = (self.path / RUN_FILE).exists()
        if resume and not started:
            raise StorageError("holds no run to resume", where=str(self.path), remedy="leave --resume away")
        if started and not resume:
            raise StorageError(
                "holds a run already", where=str(self.path), remedy="add --resume or choose another --out"
            )
        if not started and self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise StorageError("is not an empty folder", where=str(self.path), remedy="choose another --out")

    def make_parent(self) -> None:
        """Make the folder that the run folder, and gate.db beside it, will stand in.

        Raises:
            StorageError: If it can't be made.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(error, self.path.parent) from error

    def begin(self, config: dict[str, Any], state: dict[str, Any]) -> None:
        """Make the folder with settings, identity and first checkpoint of a run in it, or nothing at all."""
        files = {
            CONFIG_FILE: _json_text(config).encode(),
            RUN_FILE: _json_text(state).encode(),
            CHECKPOINT_FILE: sealed(checkpoint_bytes(START, state)),
        }
        write_folder_atomic(self.path, files)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder, so that no other process works on the same run.

        Raises:
            StorageError: If another process holds it.
        """
        try:
            descriptor = os.open(self.path, os.O_RDONLY)
        except OSError as error:
            raise storage_error(error, self.path) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StorageError(
                "another process works on this run", where=str(self.path), remedy="wait for it, or stop it"
            ) from error
        else:
            yield
        finally:
            os.close(descriptor)

    def clean(self) -> None:
        """Take away what a killed writer left half-written."""
        remove_stale(self.path)

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Write a JSON file, whole or not at all; NaN is refused."""
        write_text_atomic(self.path / name, _json_text(content))

    def read_json(self, name: str) -> dict[str, Any]:
        """Read a JSON file of this run.

        Raises:
            StorageError: If it is missing or damaged.
        """
        try:
            content = json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise StorageError(f"can't be read ({error})", where=str(self.path / name)) from error
        if not isinstance(content, dict):
            raise StorageError("is not what a run writes", where=str(self.path / name))
        return content

    def write_checkpoint(self, checkpoint: Checkpoint, state: dict[str, Any], *, alarm: Alarm) -> None:
        """Write the training state; the one before it becomes the previous one, and stands until then.

        Args:
            checkpoint: The training state.
            state: Content of run.json.
            alarm: Called for each of the older ones that is found damaged.

        Raises:
            StorageError: If it can't be written; what stood there before stands still.
        """
        write_generation(self.path / CHECKPOINT_FILE, checkpoint_bytes(checkpoint, state), alarm=alarm)

    def read_checkpoint(self, state: dict[str, Any]) -> Found[Checkpoint]:
        """Return the last checkpoint, or the one before it where the last is damaged; nothing is moved.

        Args:
            state: Content of run.json.

        Raises:
            ArtifactError: If neither is whole.
            MismatchError: If it is of another run.
            StorageError: If there is none, or it can't be read.
        """
        return read_generation(
            self.path / CHECKPOINT_FILE,
            lambda content, place: parse_checkpoint(content, place, state),
            remedy=REMEDY,
        )
