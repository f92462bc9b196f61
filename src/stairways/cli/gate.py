"""``stairways gate``: what the gate asks, and what it can see."""

from __future__ import annotations

from typing import Annotated

import typer

from stairways.cli import options

app = typer.Typer(help="What the gate asks.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """What the gate asks."""


@app.command("explain")
def explain(
    config: options.Config = None,
    sessions: Annotated[
        int | None, typer.Option("--sessions", min=1, help="Unseen sessions at hand: show the power there.")
    ] = None,
    preset: options.Preset = None,
    as_json: options.AsJson = False,
) -> int:
    """Print every judge with its bound, and how many sessions it takes to show what is there."""
    from stairways.config import load_settings
    from stairways.evaluation.gate_explained import explain_gate
    from stairways.tuning.seeds import Stream, stream

    settings = load_settings(config, options.call_overrides(json_output=as_json), preset)
    record = explain_gate(settings.resolved_gate(), sessions, stream(settings.seed, Stream.BOOTSTRAP))
    if settings.call.json_output:
        import json

        typer.echo(json.dumps(record, indent=2, allow_nan=False))
    else:
        from rich.console import Console

        from stairways.reporting.gate_terminal import print_gate

        print_gate(Console(), record)
    return 0
