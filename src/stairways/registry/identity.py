"""Whose database it is: a name that the registry's folder and its database both hold.

Two registries on one database would each promote beside the other, and a database that was put in another's
place would answer for models that it never saw. Both are refused when a registry is opened.
"""

from __future__ import annotations

import datetime as dt
import secrets
from pathlib import Path

from sqlalchemy import Engine, insert, select

from stairways.errors import StorageError
from stairways.registry.canonical import JsonObject
from stairways.registry.connection import reading, writing
from stairways.registry.schema import RegistryIdentity
from stairways.registry.sealed import read_sealed, write_sealed
from stairways.registry.store import Store

IDENTITY_FILE = "registry.json"
FIND_DATABASE = (
    "name it by --database or STAIRWAYS_DATABASE, restore it from a backup, or begin an empty one: "
    "`stairways registry create`, then `stairways registry reconcile`"
)
"""What to do where a registry's database is not there, or is another."""
_RECORD = "registry"
_NAMING_SECONDS = 5.0
"""How long one that has no name yet waits for a writer."""
_REMEDY = "restore it from a backup of the folder"


def bind(root: Path, engine: Engine, now: dt.datetime, *, anew: bool = False) -> None:
    """Hold the names of folder and database against each other; a registry that has none gets one in both.

    Args:
        root: Folder of the registry.
        engine: Its database.
        now: The time.
        anew: Whether a database that has no name may become this registry's although it had another: the
            wish of whoever lost that and begins an empty one.

    Raises:
        StorageError: If folder and database are not of the same registry; nothing is changed then.
    """
    own = _read(root)
    if own is None or not own["bound"]:
        # one after the other: of two at once the folder would keep one name, the database the other
        with Store(root).lock(_NAMING_SECONDS):
            _bind(root, engine, now, anew=anew)
    else:
        _bind(root, engine, now, anew=anew)


def _bind(root: Path, engine: Engine, now: dt.datetime, *, anew: bool) -> None:
    own = _read(root)
    theirs = _of_database(engine)
    if own is None and theirs is None:
        own = {"id": secrets.token_hex(16), "bound": False}
        _write(root, own)
    if own is None:
        raise StorageError(
            f"the database is that of registry {str(theirs)[:8]}, and the folder has no name",
            where=str(root),
            remedy=f"restore {IDENTITY_FILE} from a backup of the folder, or name another database",
        )
    name = str(own["id"])
    if own["bound"] and theirs is None and not anew:
        raise StorageError(
            f"its database is another: it knows nothing of registry {name[:8]}",
            where=str(root),
            remedy=FIND_DATABASE,
        )
    if theirs is None:
        theirs = _claimed(engine, name, now)
    if theirs != name:
        raise StorageError(
            f"its database is that of registry {theirs[:8]}, not of {name[:8]}",
            where=str(root),
            remedy="give each registry a database of its own: --database or STAIRWAYS_DATABASE",
        )
    if not own["bound"]:
        _write(root, {"id": name, "bound": True})


def _read(root: Path) -> JsonObject | None:
    place = root / IDENTITY_FILE
    if not place.exists():
        return None
    found = read_sealed(place, _RECORD, remedy=_REMEDY)
    if not isinstance(found.get("id"), str) or not isinstance(found.get("bound"), bool):
        raise StorageError("names no registry", where=str(place), remedy=_REMEDY)
    return found


def _write(root: Path, record: JsonObject) -> None:
    write_sealed(root / IDENTITY_FILE, _RECORD, record)


def _of_database(engine: Engine) -> str | None:
    with reading(engine) as connection:
        return connection.execute(select(RegistryIdentity.registry_id)).scalar_one_or_none()


def _claimed(engine: Engine, name: str, now: dt.datetime) -> str:
    """Write a name into a database that had none; return the one that stands there then."""
    try:
        with writing(engine, durable=True) as connection:
            values = {"one": 1, "registry_id": name, "bound_at": now}
            connection.execute(insert(RegistryIdentity).values(values))
    except StorageError:
        # another process was faster
        found = _of_database(engine)
        if found is None:
            raise
        return found
    return name
