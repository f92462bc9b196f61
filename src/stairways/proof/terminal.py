"""What a person sees in the terminal while experiments run."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from stairways.proof.folder import observed_text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from stairways.proof.experiment import Cell, Experiment
    from stairways.proof.runner import Outcome


class CellWatcher:
    """Follows the cells of one experiment; a context manager that leaves the console as it found it."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._done = self._total = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def began(self, experiment: Experiment, total: int, kept: int) -> None:
        """Say what begins, and show a bar on a terminal."""
        self._done, self._total = kept, total
        kept_words = f", {kept} of them kept from before" if kept else ""
        self.console.print(f"{experiment.name}: {experiment.title}, {total} cells{kept_words}", style="bold")
        if self.console.is_terminal and kept < total:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=self.console,
                transient=True,
            )
            self._progress.start()
            self._task = self._progress.add_task(experiment.name, total=total, completed=kept)

    def finished(self, cell: Cell, seconds: float) -> None:
        """Move the bar, or say a line where there is none."""
        self._done += 1
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=self._done, description=cell.key)
        else:
            line = f"  {cell.key}: {seconds:.1f} s, {self._done} of {self._total}"
            self.console.print(line, soft_wrap=True, highlight=False)


def print_bars(console: Console, outcome: Outcome) -> None:
    """Print the bars of an experiment and where its folder stands."""
    from rich.text import Text

    for bar in outcome.findings.bars:
        measured = "not measured" if bar.observed is None else observed_text(bar.observed)
        line = Text("  ").append("holds  " if bar.passed else "MISSED ", "green" if bar.passed else "red")
        line.append(f"{bar.name}: {measured} (bar: {bar.threshold})")
        if bar.note:
            line.append(f"  {bar.note}", style="dim")
        console.print(line, soft_wrap=True)
    if not outcome.findings.bars:
        console.print("  [red]no bar was set[/]: nothing is shown, and that does not pass", soft_wrap=True)
    console.print(f"  {outcome.folder}", soft_wrap=True, highlight=False)


def print_list(console: Console, experiments: Sequence[Experiment]) -> None:
    """Print the experiments there are, and how one is run."""
    for experiment in experiments:
        needs = ", real bars" if experiment.data == "real" else ""
        console.print(f"[bold]{experiment.name}[/]{needs}: {experiment.question}", soft_wrap=True)
    ends = "[dim]stairways prove NAME --out DIR runs one, --all every one; --quick is the short form[/]"
    console.print(ends, soft_wrap=True, highlight=False)
