"""What an experiment is: cells of work that run by themselves, and a conclusion from their results."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from stairways.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Job:
    """One call of an experiment.

    Attributes:
        seed: Run seed; everything random in the experiment is spawned from it.
        quick: Whether the short form is asked for; its bars are wider by what its sample size costs.
        bars: Folder of real bars; None where there is none.
        work: Folder where cells keep what later cells need (golds, artifacts), made before the first.
    """

    seed: int
    quick: bool
    bars: Path | None
    work: Path

    def real_bars(self) -> Path:
        """Return the folder of real bars.

        Raises:
            ConfigError: If there is none; an experiment on real bars never falls back to made ones.
        """
        if self.bars is None:
            raise ConfigError("--bars is missing: this experiment runs on real bars")
        return self.bars


@dataclass(frozen=True)
class Cell:
    """A piece of work that is run in a process of its own and whose result is kept.

    Attributes:
        key: Name within the experiment, fit for a file: letters, digits, ``-`` and ``_``.
        arguments: What it is run with, plain JSON types.
        stage: Cells of a lower stage are finished before it begins.
    """

    key: str
    arguments: dict[str, Any] = field(default_factory=dict)
    stage: int = 0


@dataclass(frozen=True)
class Bar:
    """One figure that must hold.

    Attributes:
        name: What is asked, a few words.
        observed: The figure measured; None where it could not be, which never passes. A number that is
            not finite counts as none.
        threshold: What it is held against, in words with the unit.
        passed: Whether it holds.
        note: What a reader must know beside it: sample size, interval, mode.
    """

    name: str
    observed: float | str | None
    threshold: str
    passed: bool
    note: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.observed, float) and not math.isfinite(self.observed):
            object.__setattr__(self, "observed", None)
        if self.passed and self.observed is None:
            raise ValueError(f"bar {self.name!r} passes without a figure")

    def as_record(self) -> dict[str, Any]:
        """Return the bar as plain JSON types."""
        return {
            "name": self.name,
            "observed": self.observed,
            "threshold": self.threshold,
            "passed": self.passed,
            "note": self.note,
        }


def markdown_row(cells: Sequence[str]) -> str:
    """Return cells as one row of a Markdown table."""
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


@dataclass(frozen=True)
class Column:
    """One column of a table that people read.

    Attributes:
        heading: Its heading, with the unit.
        template: How a row becomes a cell: a format string over the row's fields, such as
            ``{net_bps:+.2f} [{low_bps:+.2f}, {high_bps:+.2f}]``. A row without one of them shows a dash.
    """

    heading: str
    template: str

    def text(self, row: Row) -> str:
        """Return the cell of a row."""
        from string import Formatter

        for _, name, _, _ in Formatter().parse(self.template):
            if name is not None and row.get(name) is None:
                return "-"
        return self.template.format_map(dict(row))


@dataclass(frozen=True)
class Table:
    """Rows as people read them; the CSV beside it holds every field of the rows.

    Attributes:
        name: Name of its files.
        title: Heading.
        columns: What is shown of a row.
        rows: The rows, plain JSON types.
    """

    name: str
    title: str
    columns: Sequence[Column]
    rows: Sequence[Row]

    def markdown(self) -> str:
        """Return the table in Markdown, without its title."""
        lines = [
            markdown_row([column.heading for column in self.columns]),
            "|" + "---|" * len(self.columns),
            *(markdown_row([column.text(row) for column in self.columns]) for row in self.rows),
        ]
        return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Plot:
    """A picture of the result.

    Attributes:
        name: Name of its files.
        title: What it shows, one sentence; it stands under the picture and is its text for those who
            can't see it.
        draw: Draws it into an empty figure of the house style.
        size_points: Width and height.
    """

    name: str
    title: str
    draw: Callable[[Figure], None]
    size_points: tuple[float, float] = (760.0, 380.0)


@dataclass(frozen=True)
class Findings:
    """What an experiment found.

    Attributes:
        rows: Every measured row, flat and of plain JSON types: the content of ``results.json``.
        bars: What must hold, and whether it does.
        tables: What people read.
        plots: What people look at.
        text: Paragraphs in Markdown: setting, how it was measured, what it means, what fell short.
            Figures in it are formatted from the results, never typed.
    """

    rows: Sequence[Row]
    bars: Sequence[Bar]
    tables: Sequence[Table]
    plots: Sequence[Plot]
    text: str

    @property
    def passed(self) -> bool:
        """Whether there are bars and every one holds: nothing asked is nothing shown."""
        return bool(self.bars) and all(bar.passed for bar in self.bars)


class Experiment(ABC):
    """One named experiment. Instances hold nothing: everything comes with the job and the cell."""

    name: ClassVar[str]
    title: ClassVar[str]
    question: ClassVar[str]
    """What it answers, one sentence."""
    data: ClassVar[Literal["synthetic", "real", "none"]] = "synthetic"

    @abstractmethod
    def cells(self, job: Job) -> Sequence[Cell]:
        """Return the work to be done; equal for equal jobs."""

    @abstractmethod
    def run(self, cell: Cell, job: Job) -> dict[str, Any]:
        """Run one cell and return plain JSON types; called in a process of its own.

        Equal job and cell give equal results, wall times apart. A call of the same cell that was killed may
        have left something in the work folder.
        """

    @abstractmethod
    def conclude(self, job: Job, results: Mapping[str, dict[str, Any]]) -> Findings:
        """Draw the conclusion from the results of every cell, by key."""
