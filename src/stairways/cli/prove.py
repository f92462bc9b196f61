"""``stairways prove``: run the experiments behind what the project claims."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from stairways.cli import options


def prove(
    names: Annotated[list[str] | None, typer.Argument(help="Experiments; --list names them.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder; each experiment has one inside.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every experiment.")] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="The short form, with bars as wide as its sample size asks.")
    ] = False,
    bars: options.Bars = None,
    seed: options.Seed = None,
    page: Annotated[
        Path | None, typer.Option("--page", help="Write the evidence page from what stands in --out.")
    ] = None,
    show: Annotated[bool, typer.Option("--list", help="List the experiments and what each answers.")] = False,
) -> int:
    """Run named, seeded experiments; a call that was stopped goes on where it was.

    Ends with 0 where every bar holds and with 1 where one does not.
    """
    from rich.console import Console

    from stairways.errors import ConfigError
    from stairways.proof.catalogue import EXPERIMENTS
    from stairways.proof.evidence import check_page, write_page
    from stairways.proof.folder import RESULTS
    from stairways.proof.runner import check_bars, load, run_experiment
    from stairways.proof.terminal import CellWatcher, print_bars, print_list

    console = Console()
    if show:
        print_list(console, [load(path) for path in EXPERIMENTS.values()])
        return 0
    unknown = [name for name in names or [] if name not in EXPERIMENTS]
    if unknown:
        raise ConfigError(
            f"there is no experiment {', '.join(unknown)}", remedy=f"choose from {', '.join(EXPERIMENTS)}"
        )
    if everything == bool(names):
        raise ConfigError("name experiments, or give --all", remedy="stairways prove --list names them")
    folder = options.place(out, "--out")
    if page is not None:
        check_page(page)
    chosen = [name for name in EXPERIMENTS if everything or name in (names or [])]
    needing = [name for name in chosen if load(EXPERIMENTS[name]).data == "real"]
    if bars is None and needing:
        raise ConfigError(
            f"--bars is missing: {', '.join(needing)} run on real bars",
            remedy="name the folder of the bars, or name the other experiments",
        )
    for name in chosen:
        check_bars(load(EXPERIMENTS[name]), bars)
    passed = True
    for name in chosen:
        with CellWatcher(console) as watcher:
            outcome = run_experiment(
                EXPERIMENTS[name],
                folder / name,
                seed=0 if seed is None else seed,
                quick=quick,
                bars=bars,
                follower=watcher,
            )
        print_bars(console, outcome)
        passed = passed and outcome.passed
    if page is not None:
        standing = [name for name in EXPERIMENTS if (folder / name / RESULTS).is_file()]
        write_page(
            [folder / name for name in standing],
            page,
            command=_command(quick, bars, seed),
            missing=[name for name in EXPERIMENTS if name not in standing],
        )
    return 0 if passed else 1


def _command(quick: bool, bars: Path | None, seed: int | None) -> str:
    words = ["stairways", "prove", "--all"]
    words += ["--quick"] if quick else []
    words += ["--seed", str(seed)] if seed is not None else []
    words += ["--bars", "BARS"] if bars is not None else []
    return shlex.join([*words, "--out", "DIR", "--page", "PAGE"])
