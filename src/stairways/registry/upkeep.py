"""Upkeep of a registry: a copy of it while it works, and a look at whether all of it is whole."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import text

from stairways.errors import StairwaysError, StorageError
from stairways.registry.connection import reading
from stairways.registry.files import storage_error
from stairways.registry.history_records import Stage
from stairways.registry.identity import IDENTITY_FILE
from stairways.registry.journal import JOURNAL_FOLDER
from stairways.registry.registry import DATABASE_FILE, HEADS_FOLDER
from stairways.registry.store import (
    ARTIFACTS_FOLDER,
    CHAMPION_LINK,
    LATCH_FILE,
    QUARANTINE_FOLDER,
    TRUST_FILE,
)
from stairways.registry.stories import differences

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from stairways.registry.registry import Registry

_FOLDERS = (ARTIFACTS_FOLDER, QUARANTINE_FOLDER, JOURNAL_FOLDER, HEADS_FOLDER)
_SHOWN = 3
_FILES = (TRUST_FILE, LATCH_FILE, IDENTITY_FILE)


@dataclass(frozen=True)
class Finding:
    """Something that was looked at.

    Attributes:
        name: What.
        whole: Whether it is as it should be.
        detail: What was found.
    """

    name: str
    whole: bool
    detail: str


def back_up(registry: Registry, place: Path) -> None:
    """Copy a registry, its database as it stands at one moment.

    Of PostgreSQL nothing is copied: its own tools do that.

    Args:
        registry: The registry; nobody promotes meanwhile.
        place: A folder that is not there yet.

    Raises:
        StorageError: If it stands already or can't be written; what was copied so far is removed then.
    """
    if place.exists():
        raise StorageError("something stands there already", where=str(place), remedy="choose another folder")
    with registry.store.lock():
        try:
            place.mkdir(parents=True)
            for name in _FOLDERS:
                if (registry.root / name).is_dir():
                    shutil.copytree(registry.root / name, place / name, symlinks=True)
            for name in _FILES:
                if (registry.root / name).exists():
                    shutil.copy2(registry.root / name, place / name)
            champion = registry.store.champion()
            if champion is not None:
                (place / CHAMPION_LINK).symlink_to(f"{ARTIFACTS_FOLDER}/{champion}")
            if registry.engine.dialect.name == "sqlite":
                _copy_database(registry.engine, place / DATABASE_FILE)
        except OSError as error:
            shutil.rmtree(place, ignore_errors=True)
            raise storage_error(error, place) from error
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise


def look_after(registry: Registry) -> tuple[Finding, ...]:
    """Look at everything: database, audit log, artifacts, link, journal."""
    return (
        _finding("database", lambda: _database(registry.engine)),
        _finding("audit log", lambda: _audit(registry)),
        *(
            _finding(f"artifact {digest[:12]}", _reader(registry, digest))
            for digest in registry.store.digests()
        ),
        _finding("history", lambda: _history(registry)),
        _finding("champion", lambda: _champion(registry)),
        _finding("journal", lambda: _journal(registry)),
    )


def _finding(name: str, look: Callable[[], str]) -> Finding:
    try:
        detail = look()
    except StairwaysError as error:
        return Finding(name, whole=False, detail=error.line())
    return Finding(name, whole=True, detail=detail)


def _database(engine: Engine) -> str:
    if engine.dialect.name != "sqlite":
        return "PostgreSQL looks after itself"
    with reading(engine) as connection:
        said = connection.execute(text("PRAGMA integrity_check")).scalars().all()
        loose = connection.execute(text("PRAGMA foreign_key_check")).all()
    if list(said) != ["ok"] or loose:
        raise StorageError(
            f"{'; '.join(said[:3])}; {len(loose)} rows refer to none",
            where=str(engine.url.database),
            remedy="restore it from a backup",
        )
    return "every page and reference is whole"


def _audit(registry: Registry) -> str:
    faults = registry.verify_audit()
    if faults:
        first = faults[0]
        raise StorageError(f"row {first.seq} {first.what} ({len(faults)} faults)", where="audit log")
    return f"{registry.history.audit_head().seq} rows, each follows from the one before"


def _history(registry: Registry) -> str:
    found = differences(registry)
    if found:
        raise StorageError(
            f"{'; '.join(found[:_SHOWN])} ({len(found)} in all)",
            where="history",
            remedy="finish what was begun: `stairways rollback finish`; after a lost or restored database "
            "`stairways registry reconcile`",
        )
    return "every promotion, rollback, drill, waiver and tenure is as the audit log has it"


def _reader(registry: Registry, digest: str) -> Callable[[], str]:
    return lambda: f"signed by {registry.read(digest).signer.name}"


def _champion(registry: Registry) -> str:
    link = registry.store.champion()
    live = [model.model_id for model in registry.history.models() if model.is_production]
    if link is None and not live:
        return "none yet"
    if link is not None:
        registry.read(link)
    if link is None or live != [link]:
        names = "is gone" if link is None else f"names {link[:12]}"
        raise StorageError(
            f"the link {names}, the database {', '.join(one[:12] for one in live) or 'none'}",
            where=str(registry.store.link),
            remedy="finish what was begun: `stairways rollback finish`, or `stairways registry reconcile`",
        )
    role = next(model.role for model in registry.history.models() if model.model_id == link)
    if role not in (Stage.CHAMPION, Stage.GOLD):
        raise StorageError(f"{link[:12]} is live and a {role}", where=str(registry.store.link))
    return f"{link[:12]}, {role}"


def _journal(registry: Registry) -> str:
    pending = registry.journal.pending()
    if pending:
        raise StorageError(
            f"{', '.join(pending)} not finished", where="journal", remedy="`stairways rollback finish`"
        )
    return "nothing under way"


def _copy_database(engine: Engine, place: Path) -> None:
    try:
        with (
            closing(sqlite3.connect(str(engine.url.database))) as source,
            closing(sqlite3.connect(place)) as target,
        ):
            source.backup(target)
    except sqlite3.Error as error:
        raise StorageError(
            str(error), where=str(place), remedy="free some space, and check the disk"
        ) from error
