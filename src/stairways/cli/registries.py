"""What the commands on a registry share: its options, opening it, and tables."""

from __future__ import annotations

import datetime as dt
import getpass
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

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
Database = Annotated[
    str | None,
    typer.Option("--database", help="URL of its database; by default gate.db in the folder."),
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


def show(rows: Sequence[dict[str, Any]], columns: Sequence[str], *, as_json: bool) -> None:
    """Print rows as a table, or as JSON with all they hold."""
    if as_json:
        typer.echo(json.dumps(list(rows), indent=2, default=_plain))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(_text(row.get(column)) for column in columns))
    Console().print(table if rows else "none")


def show_record(record: dict[str, Any], *, as_json: bool) -> None:
    """Print one record, a line for each of its values, or as JSON."""
    if as_json:
        typer.echo(json.dumps(record, indent=2, default=_plain))
        return
    width = max(map(len, record), default=0)
    for name, value in record.items():
        typer.echo(f"{name.replace('_', ' '):<{width}}  {_text(value)}")


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, dt.datetime):
        return f"{value.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S}Z"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    text = str(value)
    # a digest's first digits name it
    return text[:12] if len(text) == 64 and set(text) <= set("0123456789abcdef") else text


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, dt.datetime | dt.date) else str(value)
