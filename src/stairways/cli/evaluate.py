"""``stairways evaluate``: judge any artifact on any sessions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stairways.cli import options


def evaluate(
    artifact: Annotated[Path | None, typer.Argument(help="Artifact folder.")] = None,
    sessions: Annotated[
        str | None, typer.Option("--sessions", help="FROM:TO, session dates to judge.")
    ] = None,
    bars: options.Bars = None,
    sample: options.Sample = None,
    symbols: options.Symbols = None,
    interval: options.Interval = None,
    gold: Annotated[
        Path | None, typer.Option("--gold", help="Its gold; by default the one beside it or shipped.")
    ] = None,
    mode: options.Mode = None,
    seed: options.Seed = None,
    fills: Annotated[Path | None, typer.Option("--fills", help="Write every fill to this CSV.")] = None,
    nav: Annotated[Path | None, typer.Option("--nav", help="Write the NAV at each bar's end.")] = None,
    config: options.Config = None,
    strict: options.Strict = False,
    split_table: options.Splits = None,
    as_json: options.AsJson = False,
) -> int:
    """Judge an artifact as it is deployed, beside its gold and the baselines."""
    from stairways.cli.clock import utc_now
    from stairways.config import load_settings
    from stairways.evaluation.exports import fills_csv, nav_csv
    from stairways.registry.files import write_text_atomic
    from stairways.tuning.evaluate import POLICY, settings_base
    from stairways.tuning.evaluate import evaluate as judge

    overrides = options.market_overrides(bars, sample, symbols, interval, strict, split_table)
    overrides |= options.given(seed=seed)
    overrides["ranges"] = options.given(sessions=sessions)
    overrides["control"] = options.given(mode=mode)
    overrides |= options.call_overrides(gold=gold, fills=fills, nav=nav, json_output=as_json)
    judged = options.read_place(artifact, config, "artifact")
    settings = load_settings(config, overrides, base=settings_base(judged))
    call = settings.call
    result = judge(judged, settings, gold=call.gold, clock=utc_now)
    if call.fills is not None:
        write_text_atomic(options.place(call.fills, "--fills"), fills_csv(result.replays[POLICY]))
    if call.nav is not None:
        write_text_atomic(options.place(call.nav, "--nav"), nav_csv(result.replays[POLICY]))
    if call.json_output:
        import json

        typer.echo(json.dumps(result.record, indent=2, allow_nan=False))
    else:
        from rich.console import Console

        from stairways.reporting.terminal import print_evaluation

        console = Console()
        options.announce_market(console, settings)
        print_evaluation(console, result.record, settings.market.bars)
    return 0 if result.gate.passed else 1
