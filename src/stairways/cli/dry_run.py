"""``stairways dry-run``: a few thousand steps before a tuning."""

from __future__ import annotations

from typing import Annotated

import typer

from stairways.cli import options

LEARNER = (
    "Trained here: PPO in a pool of accounts, which shows that warm start, episodes, reward, controller and "
    "regime work. A tuning of a feed-forward policy under the tilt trains on all actions instead, unless "
    "--algorithm ppo is asked for."
)


def dry_run(
    gold: options.Gold = None,
    bars: options.Bars = None,
    sample: options.Sample = None,
    symbols: options.Symbols = None,
    interval: options.Interval = None,
    tune: Annotated[str | None, typer.Option("--tune", help="FROM:TO, session dates to tune on.")] = None,
    seed: options.Seed = None,
    preset: options.Preset = None,
    actuator: options.Actuator = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Steps; 5,000 by default.")] = None,
    validate_warmstart: Annotated[
        bool | None,
        typer.Option(
            "--validate-warmstart/--no-validate-warmstart",
            help="Judge too whether the warm start acts exactly as gold.",
        ),
    ] = None,
    config: options.Config = None,
    strict: options.Strict = False,
    split_table: options.Splits = None,
    as_json: options.AsJson = False,
) -> int:
    """Check warm start, episodes, reward, controller and regime in a short run of PPO in a pool.

    A tuning of a feed-forward policy under the tilt trains on all actions along recorded sessions instead.
    """
    from rich.console import Console

    from stairways.reporting.terminal import Bands, TerminalWatcher, print_data, print_verdicts
    from stairways.tuning.dry_run import dry_run as run_dry

    overrides = options.market_overrides(bars, sample, symbols, interval, strict, split_table)
    overrides |= options.given(seed=seed)
    overrides |= options.call_overrides(gold=gold, json_output=as_json)
    if validate_warmstart is not None:
        overrides.setdefault("call", {})["validate_warmstart"] = validate_warmstart
    overrides["ranges"] = options.given(tune=tune)
    overrides["dry_run"] = options.given(steps=steps)
    overrides["control"] = {"actuator": {"kind": actuator}} if actuator else {}
    settings = options.settings_for_gold(config, overrides, preset)
    console = Console(stderr=settings.call.json_output)
    options.announce_market(console, settings)
    with TerminalWatcher(console, Bands.of(settings.resolved_gate())) as watcher:
        outcome = run_dry(
            settings,
            options.place(settings.call.gold, "--gold"),
            watcher=watcher,
            validate_warm_start=settings.call.validate_warmstart,
        )
    if settings.call.json_output:
        import json

        typer.echo(json.dumps(outcome.as_record(), indent=2, allow_nan=False))
    else:
        print_verdicts(console, outcome.verdicts)
        print_data(console, outcome.as_record()["data"], settings.market.bars)
        console.print(LEARNER, soft_wrap=True, markup=False)
    return 0 if outcome.passed else 1
