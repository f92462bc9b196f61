"""``stairways check``: look for what must not be there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stairways.cli import options

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rich.console import Console

app = typer.Typer(help="Look for what must not be there.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Look for what must not be there."""


@app.command("leak")
def leak(
    artifact: Annotated[Path | None, typer.Argument(help="Artifact folder.")] = None,
    sessions: Annotated[
        str | None,
        typer.Option("--sessions", help="FROM:TO, dates to draw from; by default all it has not seen."),
    ] = None,
    bars: options.Bars = None,
    sample: options.Sample = None,
    symbols: options.Symbols = None,
    interval: options.Interval = None,
    mode: options.Mode = None,
    seed: options.Seed = None,
    config: options.Config = None,
    strict: options.Strict = False,
    split_table: options.Splits = None,
    as_json: options.AsJson = False,
) -> int:
    """Change the future of a sample of sessions and see whether features, decisions or fills knew it.

    Ends with 0 where nothing did, and with 1 where something did or could not be checked.
    """
    from rich.console import Console

    from stairways.config import load_settings
    from stairways.tuning.leak_check import check_artifact, leak_settings_base

    overrides = options.market_overrides(bars, sample, symbols, interval, strict, split_table)
    overrides |= options.given(seed=seed)
    overrides["ranges"] = options.given(sessions=sessions)
    overrides["control"] = options.given(mode=mode)
    overrides |= options.call_overrides(json_output=as_json)
    checked = options.read_place(artifact, config, "artifact")
    settings = load_settings(config, overrides, base=leak_settings_base(checked))
    # standard output is for the result alone
    with Console(stderr=True).status("opening the market") as status:
        progress = _Progress(status.update)
        result = check_artifact(checked, settings, stage=progress.stage, follow=progress.follow)
    if settings.call.json_output:
        import json

        typer.echo(json.dumps(result.record, indent=2, allow_nan=False))
    else:
        _show(Console(), result.record)
    return 0 if result.passed else 1


@dataclass
class _Progress:
    """Says which part of the work goes on, and how far it is."""

    say: Callable[[str], None]
    name: str = ""
    steps: int = 0
    done: int = 0

    def stage(self, name: str, steps: int) -> None:
        """A part begins; 0 steps for work without a count."""
        self.name, self.steps, self.done = name, steps, 0
        self.say(name)

    def follow(self) -> None:
        """A step is done."""
        self.done += 1
        self.say(f"{self.name}: {self.done} of {self.steps}")


def _show(console: Console, record: Mapping[str, Any]) -> None:
    """Print what was compared, the first difference, and what could not be checked."""
    from rich.markup import escape

    def say(words: str, tone: str = "") -> None:
        console.print(escape(words), style=tone or None, soft_wrap=True, highlight=False)

    data, futures, constants = record["data"], record["futures"], record["constants"]
    say(f"{data['source']}, seed {record['seed']}, {record['mode']}")
    spans = ", ".join(f"{block['first']} to {block['last']}" for block in data["checked"])
    say(f"drawn from {data['range']['n_sessions']} sessions: {spans}")
    say(
        f"compared {futures['sessions']} sessions, {futures['bars']} bars, "
        f"{futures['cut_points']} cut points with {futures['trials']} changed futures, "
        f"{futures['columns']} columns, "
        f"{futures['decisions']} decisions, {futures['fills']} fills on changed bars"
    )
    first = futures["first_difference"]
    if first is not None:
        say(f"LEAK {first['date']}, bar {first['bar']}: {first['what']}", "bold red")
        say(
            f"  {first['with_future']:.9g} with the future, {first['without_future']:.9g} without; "
            f"{first['reason']}"
        )
        say(f"  {futures['differing_trials']} of {futures['trials']} changed futures show a difference")
    for name in futures["unchecked"]:
        say(f"not checked: {name} never moved", "bold red")
    tones = {"fitted": "green"}
    words = {"fitted": "constants", "leak": "LEAK constants", "not checked": "not checked: constants"}
    say(f"{words[constants['origin']]}: {constants['reason']}", tones.get(constants["origin"], "bold red"))
    say("no leak found" if record["passed"] else "failed", "bold green" if record["passed"] else "bold red")
