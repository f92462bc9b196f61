"""The folder an experiment fills: results.json, tables as CSV and Markdown, pictures, the command."""

from __future__ import annotations

import csv
import io
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stairways.proof.experiment import markdown_row
from stairways.registry.canonical import canonical_json
from stairways.registry.files import write_bytes_atomic, write_text_atomic

if TYPE_CHECKING:
    from stairways.proof.experiment import Findings, Job, Table

CELLS, WORK = "cells", "work"
RESULTS, REPORT, COMMAND = "results.json", "report.md", "command.txt"


def command_of(name: str, job: Job) -> str:
    """Return the command that repeats an experiment, as a person types it."""
    words = ["stairways", "prove", name, "--seed", str(job.seed)]
    words += ["--quick"] if job.quick else []
    words += ["--bars", "BARS"] if job.bars is not None else []
    return shlex.join([*words, "--out", "DIR"])


def error_file(folder: Path, key: str) -> Path:
    """Return where the full account of a cell's failure is kept until the cell succeeds."""
    return folder / CELLS / f"{key}.error.txt"


def write_findings(folder: Path, meta: dict[str, Any], findings: Findings) -> None:
    """Write everything that people and programs read; ``results.json`` last, so that it marks the end."""
    from stairways.reporting.rendering import svg_and_png

    for table in findings.tables:
        write_text_atomic(folder / f"{table.name}.csv", table_csv(table))
        write_text_atomic(folder / f"{table.name}.md", table.markdown())
    for plot in findings.plots:
        for suffix, picture in svg_and_png(plot.name, plot.size_points, plot.draw).items():
            write_bytes_atomic(folder / f"{plot.name}.{suffix}", picture)
    write_text_atomic(folder / COMMAND, meta["command"] + "\n")
    write_text_atomic(folder / REPORT, report(meta, findings))
    content = {
        **meta,
        "rows": [dict(row) for row in findings.rows],
        "bars": [bar.as_record() for bar in findings.bars],
        "passed": findings.passed,
        "tables": [table.name for table in findings.tables],
        "plots": [{"name": plot.name, "title": plot.title} for plot in findings.plots],
    }
    write_bytes_atomic(folder / RESULTS, canonical_json(content, indent=1))


def table_csv(table: Table) -> str:
    """Return every field of a table's rows as CSV."""
    names = list(dict.fromkeys(name for row in table.rows for name in row))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, names, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(dict(row) for row in table.rows)
    return buffer.getvalue()


def report(meta: dict[str, Any], findings: Findings) -> str:
    """Return an experiment's page in Markdown; pictures and tables stand beside it."""
    parts = [
        f"## {meta['title']}\n",
        f"*{meta['question']}*\n",
        f"    {meta['command']}\n",
        bars_markdown(findings),
    ]
    parts.append(findings.text.strip() + "\n")
    parts += [f"![{plot.title}]({plot.name}.png)\n\n*{plot.title}*\n" for plot in findings.plots]
    parts += [f"**{table.title}**\n\n{table.markdown()}" for table in findings.tables]
    return "\n".join(parts)


def bars_markdown(findings: Findings) -> str:
    """Return the bars as a table: what was asked, what was measured, whether it holds."""
    if not findings.bars:
        return "**No bar was set: nothing is shown.**\n"
    lines = ["| what | measured | bar | holds | |", "|---|---|---|---|---|"]
    for bar in findings.bars:
        measured = "not measured" if bar.observed is None else observed_text(bar.observed)
        holds = "yes" if bar.passed else "**no**"
        lines.append(markdown_row([bar.name, measured, bar.threshold, holds, bar.note]))
    return "\n".join(lines) + "\n"


def observed_text(observed: float | str) -> str:
    """Return a measured figure with four significant digits."""
    return observed if isinstance(observed, str) else f"{observed:.4g}"
