"""The page of figures: the table of docs/performance.md, from the recorded run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.__main__ import RESULTS

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
BEGIN, END = "<!-- table: written by make bench -->", "<!-- end of table -->"


def figure(value: float | None) -> str:
    """Return a figure with three significant digits and separators."""
    if value is None:
        return "-"
    if abs(value) >= 1_000:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.3g}"


def line(row: dict[str, Any]) -> str:
    """Return a row of the table."""
    low, high = row["spread"]
    suffix = "x" if row["peer"] is not None else ""
    verdict = {True: "holds", False: "**missed**", None: "-"}[row["passed"]]
    peer = f"{figure(row['peer'])} ({row['against']})" if row["peer"] is not None else "-"
    return (
        f"| {row['name']} | {figure(row['ours'])} {row['unit']} | {peer} "
        f"| {figure(row['observed'])}{suffix} ({figure(low)} to {figure(high)}) | {row['bar'] or '-'} "
        f"| {verdict} | {row['note']} |"
    )


def table(record: dict[str, Any]) -> str:
    """Return the table and the machine it was measured on."""
    machine = record["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    lines = [
        "| what | stairways | peer | observed (least to largest of the rounds) | bar | | |",
        "|---|---|---|---|---|---|---|",
        *(line(row) for row in record["rows"]),
        "",
        f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}, Python {machine['python']}; "
        f"{versions}.",
    ]
    return "\n".join(lines)


def write_page() -> None:
    """Replace the table of the page; what stands around it stays.

    Raises:
        ValueError: If the page has lost the marks around its table.
    """
    record = json.loads(RESULTS.read_text(encoding="utf-8"))
    page = PAGE.read_text(encoding="utf-8")
    if BEGIN not in page or END not in page:
        raise ValueError(f"{PAGE} lacks {BEGIN} or {END}")
    before, rest = page.split(BEGIN, 1)
    _, after = rest.split(END, 1)
    PAGE.write_text(f"{before}{BEGIN}\n{table(record)}\n{END}{after}", encoding="utf-8")
