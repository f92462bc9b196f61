"""Tables of the commands on a registry: one line a row, and whatever is long wrapped, never cut."""

from __future__ import annotations

import datetime as dt
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

LEAST_WIDTH = 40
_DIGEST_LETTERS, _SHOWN_DIGITS = 64, 12
_HEADINGS = {
    "added_at": "added",
    "began_at": "from",
    "detected_at": "detected",
    "ended_at": "to",
    "failed_model": "from",
    "key_id": "key",
    "model_id": "model",
    "n_changed": "changed",
    "n_parameters": "parameters",
    "retired_at": "retired",
    "revoked_at": "revoked",
    "seconds_to_serving": "serving s",
    "target_model": "to",
}


def table(
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[str],
    width: int,
    *,
    wide: str | None = None,
    below: str | None = None,
) -> list[str]:
    """Return the lines of a table.

    Args:
        rows: Values by column.
        columns: Names of the columns, in order.
        width: Letters of a line.
        wide: A further column, the last one, whose text is wrapped within what is left.
        below: A value that is shown below its row, where there is one.
    """
    cells = [
        [_heading(name) for name in columns],
        *([text_of(row.get(name)) for name in columns] for row in rows),
    ]
    widths = [max(len(line[k]) for line in cells) for k in range(len(columns))]
    indent = sum(widths) + 2 * len(widths)
    lines = []
    for number, parts in enumerate(cells):
        row = None if number == 0 else rows[number - 1]
        line = "".join(f"{part:<{length}}  " for part, length in zip(parts, widths, strict=True))
        if wide is not None:
            text = _heading(wide) if row is None else text_of(row.get(wide))
            first, *more = wrapped(text, width - indent)
            lines += [line + first, *(" " * indent + part for part in more)]
        else:
            lines.append(line)
        if row is not None and below is not None and row.get(below) not in (None, "", {}):
            lines += [f"    {part}" for part in wrapped(text_of(row[below]), width - 4)]
    return [line.rstrip() for line in lines]


def record(values: Mapping[str, Any], width: int) -> list[str]:
    """Return the lines of one record: a value a line, a list's entries below each other."""
    indent = max(map(len, values), default=0) + 2
    lines = []
    for name, value in values.items():
        entries = value if isinstance(value, list | tuple) else [value]
        parts = [part for entry in entries for part in wrapped(text_of(entry), width - indent)] or ["-"]
        lines += [
            f"{name.replace('_', ' ') if k == 0 else '':<{indent}}{part}" for k, part in enumerate(parts)
        ]
    return [line.rstrip() for line in lines]


def wrapped(text: str, width: int) -> list[str]:
    """Return a text in lines of a width, or of the least that can be read."""
    return textwrap.wrap(text, max(width, LEAST_WIDTH), break_on_hyphens=False) or [""]


def text_of(value: object) -> str:
    """Return a value as it is shown: instants to the second, of a digest the first digits."""
    if value is None or value == "":
        return "-"
    for kind, shown in _SHOWN:
        if isinstance(value, kind):
            return shown(value)
    # what others wrote must not steer the terminal
    text = "".join(letter if letter.isprintable() else " " for letter in str(value))
    is_digest = len(text) == _DIGEST_LETTERS and set(text) <= set("0123456789abcdef")
    return text[:_SHOWN_DIGITS] if is_digest else text


def _of_mapping(value: Mapping[str, Any]) -> str:
    return "; ".join(f"{name.replace('_', ' ')}: {text_of(value[name])}" for name in sorted(value))


_SHOWN: tuple[tuple[Any, Callable[[Any], str]], ...] = (
    (dt.datetime, lambda value: f"{value.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S}Z"),
    (bool, lambda value: "yes" if value else "no"),
    (float, lambda value: f"{value:.4g}"),
    (Mapping, _of_mapping),
    (list | tuple, lambda value: ", ".join(map(text_of, value)) or "none"),
)


def _heading(name: str) -> str:
    return _HEADINGS.get(name, name.replace("_", " "))
