"""What the commands on a registry share: its options, opening it, and tables."""

from __future__ import annotations

import datetime as dt
import getpass
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stairways.cli import tables

if TYPE_CHECKING:
    from stairways.config import Settings
    from stairways.live.restart import Restarter
    from stairways.monitoring.pager import Pager
    from stairways.registry.registry import Registry

REGISTRY_VARIABLE = "STAIRWAYS_REGISTRY"
Folder = Annotated[
    Path,
    typer.Option("--registry", envvar=REGISTRY_VARIABLE, help="Folder of the registry."),
]
DATABASE_VARIABLE = "STAIRWAYS_DATABASE"
Database = Annotated[
    str | None,
    typer.Option(
        "--database", envvar=DATABASE_VARIABLE, help="URL of its database; by default gate.db in the folder."
    ),
]
By = Annotated[str | None, typer.Option("--by", help="Who does it; by default your login.")]
Key = Annotated[
    Path | None,
    typer.Option("--key", help="File of your private key; by default STAIRWAYS_SIGNING_KEY."),
]
Model = Annotated[str, typer.Argument(help="champion, gold, a digest, or its first digits.")]
DEFAULT_FOLDER = Path("registry")


def opened(folder: Path, database: str | None, *, needs_database: bool = True) -> Registry:
    """Open a registry; a way back goes without its database.

    Raises:
        StorageError: If the folder is none, or its database can't be used.
    """
    from stairways.cli.clock import utc_now
    from stairways.registry.registry import Registry

    return Registry.open(folder, utc_now, database, needs_database=needs_database)


def opened_in_need(folder: Path, database: str | None) -> Registry:
    """Open a registry for a way back: one whose database fails is opened without it, and that is said.

    Raises:
        StorageError: If the folder is none, or the database's URL is no URL.
    """
    from stairways.cli.clock import utc_now
    from stairways.errors import StorageError
    from stairways.registry.registry import Registry

    try:
        return opened(folder, database)
    except StorageError as error:
        found = Registry.open(folder, utc_now, database, needs_database=False)
        typer.echo(f"stairways: going back without the database: {error.line()}", err=True)
        return found


def who(by: str | None) -> str:
    """Return who does something: the name given, or the login.

    Raises:
        ConfigError: If there is neither.
    """
    from stairways.errors import ConfigError

    try:
        name = (by or getpass.getuser()).strip()
    except (OSError, KeyError):
        name = ""
    if not name:
        raise ConfigError("nobody is named", where="--by", remedy="say who you are")
    return name


def restarter_and_pager(settings: Settings, folder: Path) -> tuple[Restarter, Pager]:
    """Return who restarts the service, and who tells people."""
    from stairways.live.restart import restarter_of
    from stairways.monitoring.paging import pager_of

    return restarter_of(settings.service, folder), pager_of(settings.paging, os.environ)


def show(
    rows: Sequence[dict[str, Any]],
    columns: Sequence[str],
    *,
    as_json: bool,
    wide: str | None = None,
    below: str | None = None,
) -> None:
    """Print rows as a table (see :func:`stairways.cli.tables.table`), or as JSON with all they hold."""
    if as_json:
        typer.echo(json.dumps(list(rows), indent=2, default=_plain))
        return
    for line in tables.table(rows, columns, _width(), wide=wide, below=below) if rows else ["none"]:
        typer.echo(line)


def show_record(record: dict[str, Any], *, as_json: bool) -> None:
    """Print one record, a line for each of its values, or as JSON."""
    if as_json:
        typer.echo(json.dumps(record, indent=2, default=_plain))
        return
    for line in tables.record(record, _width()):
        typer.echo(line)


def _width() -> int:
    return shutil.get_terminal_size().columns


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, dt.datetime | dt.date) else str(value)
