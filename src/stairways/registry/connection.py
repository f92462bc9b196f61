"""Connections to gate.db: how they are set up, which schema they accept, how their faults are told."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError, StatementError

from stairways.errors import StairwaysError, StorageError
from stairways.registry.canonical import canonical_json
from stairways.registry.schema import Base

NEWEST_REVISION = "0003"
KNOWN_REVISIONS = ("0001", "0002", NEWEST_REVISION)
MIGRATIONS_FOLDER = Path(__file__).parent / "migrations"

CONNECT_SECONDS = 5
"""How long a connection to PostgreSQL may take to come about: a way back can't wait for minutes."""
_VERSION_TABLE = "alembic_version"
_BUSY_TIMEOUT_SECONDS = 30
_STATEMENT_SECONDS = 120
_WRITES = "stairways_writes"
_DURABLE = "stairways_durable"
_SQLITE_REMEDIES = {
    "SQLITE_BUSY": "another process is writing; try again when it has finished",
    "SQLITE_FULL": "free some space or choose another folder",
    "SQLITE_IOERR": "free some space and check the disk",
    "SQLITE_READONLY": "choose a folder that you may write to, or change its rights",
    "SQLITE_CANTOPEN": "choose a folder that exists and that you may write to",
    "SQLITE_NOTADB": "give the path of a gate.db, or of a file that is not there yet",
    "SQLITE_CORRUPT": "restore the file from a backup",
    "SQLITE_CONSTRAINT_FOREIGNKEY": "record what the row refers to first: the run, then its cycles",
    "SQLITE_CONSTRAINT": "the row contradicts one that stands; check its identifiers",
}

# https://www.postgresql.org/docs/current/errcodes-appendix.html; a class is its first two letters
_POSTGRESQL_REMEDIES = {
    "23503": _SQLITE_REMEDIES["SQLITE_CONSTRAINT_FOREIGNKEY"],
    "23": _SQLITE_REMEDIES["SQLITE_CONSTRAINT"],
    "53": "free some space and connections on the database's server",
    "25006": "the database takes no writes now; find its primary server",
    "28": "check the user and the rights in the database's URL",
    "3D": "create the database first, or check its name in the URL",
    "40": "another process was writing; try again",
    "55P03": "another process is writing; try again when it has finished",
}


def without_password(url: str) -> str:
    """Return a database URL with its password hidden; what is no URL stays as it is."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        return url
    return url if parsed.password is None else parsed.render_as_string(hide_password=True)


def sqlite_url(path: Path) -> str:
    """Return the URL of a SQLite file, whatever signs its path holds."""
    return URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)


def make_engine(url: str) -> Engine:
    """Return an engine whose SQLite connections keep foreign keys, wait for locks and begin explicitly.

    Raises:
        StorageError: If the URL names no database that can be used.
    """
    try:
        parsed = make_url(url)
        engine = create_engine(parsed, json_serializer=_json_text, connect_args=_bounds(parsed))
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        raise StorageError(
            f"no database URL: {error}", remedy="give sqlite:///PATH or postgresql://USER@HOST/NAME"
        ) from error
    if engine.dialect.name == "sqlite":
        _check_folder(parsed)
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    if engine.dialect.name == "postgresql":
        event.listen(engine, "connect", _set_up_postgresql)
    return engine


def prepare(engine: Engine) -> None:
    """Accept a current schema, create or upgrade ours, refuse any other.

    Raises:
        StorageError: If the schema is foreign or newer, or the database can't be read or written.
    """
    with storage_errors(engine):
        with engine.connect() as connection:
            revision = _revision(connection)
        _keep_write_ahead_log(engine)
        if revision != NEWEST_REVISION:
            with writing(engine) as connection:
                _migrate(connection)


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Give a connection to read from one state of the database."""
    with storage_errors(engine), engine.connect() as connection:
        yield connection


@contextmanager
def writing(engine: Engine, *, durable: bool = False) -> Iterator[Connection]:
    """Give a connection in one write transaction; all of it is committed, or nothing.

    Args:
        engine: The database.
        durable: Whether a commit must outlast a power cut; without it the last ones before it may be lost,
            and what stands is whole either way. PostgreSQL's always last.
    """
    with storage_errors(engine), engine.connect() as connection:
        connection.execution_options(**{_WRITES: True, _DURABLE: durable})
        with connection.begin():
            yield connection


@contextmanager
def storage_errors(engine: Engine) -> Iterator[None]:
    """Turn what the database refuses into one line with what to do."""
    try:
        yield
    except SQLAlchemyError as error:
        cause = error.orig if isinstance(error, StatementError) else None
        if isinstance(cause, StairwaysError):
            raise cause from error
        raise StorageError(str(cause or error), where=_shown(engine), remedy=_remedy(error)) from error


def _shown(engine: Engine) -> str:
    url = engine.url
    return str(url.database) if engine.dialect.name == "sqlite" else url.render_as_string()


def _remedy(error: SQLAlchemyError) -> str:
    cause = error.orig if isinstance(error, DBAPIError) else None
    name = getattr(cause, "sqlite_errorname", "") if isinstance(cause, sqlite3.Error) else ""
    for prefix, remedy in _SQLITE_REMEDIES.items():
        if name.startswith(prefix):
            return remedy
    state = getattr(cause, "sqlstate", None) or ""
    for prefix, remedy in _POSTGRESQL_REMEDIES.items():
        if state.startswith(prefix):
            return remedy
    return "check the database and its URL"


def _json_text(value: Any) -> str:
    return canonical_json(value).decode("utf-8")


def _check_folder(url: URL) -> None:
    if url.database is None or url.database in ("", ":memory:"):
        raise StorageError(
            "a database in memory is gone with its process", where=str(url), remedy="give sqlite:///PATH"
        )
    folder = Path(url.database).parent
    if not folder.is_dir():
        raise StorageError(
            "the folder is not there", where=str(folder), remedy="create it, or check the path"
        )


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    # The driver's own implicit transactions begin too late for readers and not at all for DDL.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_SECONDS * 1000}")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.close()


def _bounds(url: URL) -> dict[str, Any]:
    """Return how long a server may take to answer; what the URL says itself counts."""
    if url.get_backend_name() != "postgresql" or "connect_timeout" in url.query:
        return {}
    return {"connect_timeout": CONNECT_SECONDS}


def _set_up_postgresql(connection: Any, _record: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SET lock_timeout = '{_BUSY_TIMEOUT_SECONDS}s'")
        cursor.execute(f"SET statement_timeout = '{_STATEMENT_SECONDS}s'")
    connection.commit()


def _begin_sqlite(connection: Connection) -> None:
    # A writer takes its lock at once: one that reads first and writes later can't wait, only fail.
    options = connection.get_execution_options()
    writes = options.get(_WRITES, False)
    if writes:
        level = "FULL" if options.get(_DURABLE, False) else "NORMAL"
        connection.exec_driver_sql(f"PRAGMA synchronous = {level}")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _keep_write_ahead_log(engine: Engine) -> None:
    """Switch a SQLite file to its write-ahead log, in which readers and a writer don't wait for another."""
    if engine.dialect.name != "sqlite":
        return
    connection = engine.raw_connection()
    try:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        (mode,) = cursor.fetchone() or ("unknown",)
        cursor.close()
    except sqlite3.Error as error:
        raise DBAPIError("PRAGMA journal_mode = WAL", None, error) from error
    finally:
        connection.close()
    if mode != "wal":
        raise StorageError(
            f"the file system keeps no write-ahead log (journal mode {mode})",
            where=_shown(engine),
            remedy="put the database on a local disk",
        )


def _revision(connection: Connection) -> str | None:
    """Return the revision of our schema, None for a database without tables; refuse any other."""
    tables = set(inspect(connection).get_table_names())
    if tables <= {_VERSION_TABLE}:
        return None
    where = _shown(connection.engine)
    ours = set(Base.metadata.tables)
    if _VERSION_TABLE not in tables or not tables & ours:
        raise StorageError(
            f"the database holds other tables ({', '.join(sorted(tables)[:5])})",
            where=where,
            remedy="give the path of a gate.db, or of a file that is not there yet",
        )
    found = connection.execute(text(f"SELECT version_num FROM {_VERSION_TABLE}")).scalars().all()  # noqa: S608 - a constant
    revision = str(found[0]) if len(found) == 1 else None
    if revision not in KNOWN_REVISIONS:
        raise StorageError(
            f"schema revision {', '.join(found) or 'none'}, newest known {NEWEST_REVISION}",
            where=where,
            remedy="update stairways to the version that wrote it, or start a new database",
        )
    if revision == NEWEST_REVISION and not ours <= tables:
        raise StorageError(
            f"tables are missing ({', '.join(sorted(ours - tables))})",
            where=where,
            remedy="restore the file from a backup",
        )
    return revision


def _migrate(connection: Connection) -> None:
    """Bring the schema to the newest revision, in the caller's transaction."""
    # Asked again under the lock: another process may have been faster.
    if _revision(connection) == NEWEST_REVISION:
        return
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS_FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, NEWEST_REVISION)
