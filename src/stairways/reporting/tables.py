"""Tables and paths in the terminal: no digit is lost and no path is broken, whatever the width."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

LEAST_WIDTH = 80
WRAPPED = ("threshold", "policy")


def print_table(console: Console, table: Table) -> None:
    """Print a table at 80 columns or more: a narrower console folds its lines, but loses no digit."""
    from rich.text import Text

    options = console.options.update(width=max(console.width, LEAST_WIDTH))
    for line in console.render_lines(table, options, pad=False):
        parts = [(part.text, part.style or "") for part in line]
        text = Text.assemble(*parts)
        text.rstrip()
        console.print(text, soft_wrap=True)


def print_path(console: Console, words: str, path: Path) -> None:
    """Print a path in one piece, so that it can be copied from any width."""
    from rich.text import Text

    console.print(Text(f"{words}: {path}"), soft_wrap=True)


def table_of(columns: Sequence[str], *, right: Sequence[str], title: str | None = None) -> Table:
    """Return an empty table of the house's look; columns in ``right`` are set flush right."""
    from rich import box
    from rich.table import Table

    table = Table(
        title=title, title_justify="left", title_style="bold", caption_justify="left", box=box.SIMPLE_HEAD,
        pad_edge=False, padding=(0, 1, 0, 0), show_edge=False, header_style="dim",
    )  # fmt: skip
    for name in columns:
        side = "right" if name in right else "left"
        table.add_column(name, justify=side, no_wrap=name not in WRAPPED)  # type: ignore[arg-type]
    return table
