"""``stairways frontier``: what a budget of trades costs and earns."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from stairways.cli import options


def frontier(
    artifact: Annotated[Path | None, typer.Argument(help="Artifact folder; by default --gold.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder that is filled.")] = None,
    gold: options.Gold = None,
    bars: options.Bars = None,
    sample: options.Sample = None,
    symbols: options.Symbols = None,
    interval: options.Interval = None,
    sessions: Annotated[
        str | None,
        typer.Option("--sessions", help="FROM:TO, sessions that judge; by default the sample's select ones."),
    ] = None,
    points: Annotated[
        str | None, typer.Option("--points", help="Set points of trades per session: 0,5,16.5,30.")
    ] = None,
    tuned: Annotated[
        bool,
        typer.Option(
            "--tuned",
            help="Also tune a policy at each set point, from the gold; the gate's bands of trades, your own "
            "or the default ones, move with the set point and keep their widths.",
        ),
    ] = False,
    tune: Annotated[
        str | None, typer.Option("--tune", help="FROM:TO, sessions to tune on, before those that judge.")
    ] = None,
    cycles: Annotated[
        int | None, typer.Option("--cycles", min=1, help="Tuning cycles at each set point, at most.")
    ] = None,
    hold: Annotated[
        float | None, typer.Option("--hold", help="Set point of the hold rate, between 0 and 1.")
    ] = None,
    seed: options.Seed = None,
    mode: options.Mode = None,
    config: options.Config = None,
    strict: options.Strict = False,
    split_table: options.Splits = None,
    as_json: options.AsJson = False,
) -> int:
    """Show net result, costs and Sharpe ratio against the set point of trades per session.

    A call that was stopped goes on in its folder.
    """
    from rich.console import Console

    from stairways.cli.clock import utc_now
    from stairways.config import load_settings
    from stairways.errors import ConfigError
    from stairways.reporting.frontier_terminal import print_frontier
    from stairways.reporting.terminal import TerminalWatcher
    from stairways.tuning.evaluate import settings_base
    from stairways.tuning.frontier import POINTS, Frontier
    from stairways.tuning.run_folder import Silent
    from stairways.tuning.shipped import shipped_gold

    overrides = options.market_overrides(bars, sample, symbols, interval, strict, split_table)
    overrides |= options.given(seed=seed)
    overrides |= options.call_overrides(out=out, gold=gold, artifact=artifact, json_output=as_json)
    overrides["ranges"] = options.given(sessions=sessions, tune=tune)
    overrides["control"] = options.given(mode=mode) | (
        {"points": _hold_point(hold)} if hold is not None else {}
    )
    overrides["tune"] = options.given(cycles=cycles)
    call = load_settings(config, overrides).call
    if call.artifact is not None and call.gold is not None:
        raise ConfigError("an artifact and --gold exclude each other", remedy="name one of them")
    policy = call.artifact or call.gold or shipped_gold()
    settings = load_settings(config, overrides, base=settings_base(policy))
    place = options.place(settings.call.out, "--out")
    console = Console()
    with TerminalWatcher(console) as watcher:
        made = Frontier(
            settings,
            policy,
            place,
            points=POINTS if points is None else parsed_points(points),
            tuned=tuned,
            clock=utc_now,
            watcher=Silent() if settings.call.json_output else watcher,
        )
        outcome = made.run()
    if settings.call.json_output:
        import json

        typer.echo(json.dumps(outcome.record, indent=2, allow_nan=False))
    else:
        print_frontier(console, outcome.record, outcome.folder)
    return 0


def parsed_points(text: str) -> tuple[float, ...]:
    """Return the numbers of a list such as ``0,5,16.5``.

    Raises:
        ConfigError: If a part is no number.
    """
    from stairways.errors import ConfigError

    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigError(
            f"{text!r} is no list of numbers", where="--points", remedy="write 0,5,16.5,30"
        ) from error


def _hold_point(hold: float) -> dict[str, Any]:
    return {
        "hold_rate_ratio": hold,
        "lowest_hold_rate_ratio": min(0.25, hold),
        "highest_hold_rate_ratio": max(0.85, hold),
    }
