"""``stairways tune``: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from stairways.cli import options


def tune(
    out: Annotated[Path | None, typer.Option("--out", help="Run folder.")] = None,
    gold: options.Gold = None,
    bars: options.Bars = None,
    sample: options.Sample = None,
    symbols: options.Symbols = None,
    interval: options.Interval = None,
    tune: Annotated[str | None, typer.Option("--tune", help="FROM:TO, session dates to tune on.")] = None,
    test: Annotated[str | None, typer.Option("--test", help="FROM:TO, unseen sessions.")] = None,
    seed: options.Seed = None,
    preset: options.Preset = None,
    actuator: options.Actuator = None,
    mode: options.Mode = None,
    cycles: Annotated[int | None, typer.Option("--cycles", min=1, help="Cycles at most.")] = None,
    steps_per_cycle: Annotated[
        int | None,
        typer.Option("--steps-per-cycle", min=1, help="Transitions of a cycle of PPO, exactly."),
    ] = None,
    algorithm: Annotated[
        Literal["auto", "all_actions", "ppo"] | None,
        options.choice("--algorithm", "auto", "all_actions", "ppo", help="What trains."),
    ] = None,
    early_stop_threshold: Annotated[
        float | None,
        typer.Option(
            "--early-stop-threshold",
            help="Least relative gain over a positive Sharpe ratio.",
        ),
    ] = None,
    shadow_replay_days: Annotated[
        int | None, typer.Option("--shadow-replay-days", min=1, help="Last sessions, never trained on.")
    ] = None,
    database: Annotated[
        str | None, typer.Option("--database", help="URL of gate.db; by default beside the run folder.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out, with its settings.")
    ] = False,
    config: options.Config = None,
    strict: options.Strict = False,
    split_table: options.Splits = None,
) -> int:
    """Tune a gold policy into its band and judge every cycle.

    Without --gold and --bars it tunes the shipped gold on the synthetic sample market.
    """
    from rich.console import Console

    from stairways.cli.clock import utc_now
    from stairways.reporting.terminal import Bands, TerminalWatcher, print_outcome
    from stairways.tuning.run import TuneRun

    if resume and config is None:
        config, started_from = options.of_run(out)
        gold = gold or started_from
    overrides = options.market_overrides(bars, sample, symbols, interval, strict, split_table)
    overrides |= options.given(seed=seed)
    overrides |= options.call_overrides(out=out, gold=gold, resume=resume, database=database)
    overrides["ranges"] = options.given(tune=tune, test=test)
    overrides["tune"] = tune_overrides(cycles, steps_per_cycle, early_stop_threshold, shadow_replay_days)
    overrides["tune"] |= options.given(algorithm=algorithm)
    overrides["control"] = options.given(mode=mode) | ({"actuator": {"kind": actuator}} if actuator else {})
    settings = options.settings_for_gold(config, overrides, preset)
    gold_folder = options.place(settings.call.gold, "--gold")
    console = Console()
    with TerminalWatcher(console, Bands.of(settings.resolved_gate())) as watcher:
        run = TuneRun(
            settings,
            gold_folder,
            options.place(settings.call.out, "--out"),
            clock=utc_now,
            watcher=watcher,
            resume=settings.call.resume,
        )
        options.announce_market(console, settings)
        outcome = run.run()
    print_outcome(console, outcome.summary, outcome.folder)
    return 0 if outcome.accepted else 1


def tune_overrides(
    cycles: int | None,
    steps_per_cycle: int | None,
    early_stop_threshold: float | None,
    shadow_replay_days: int | None,
) -> dict[str, Any]:
    """Return the cycle settings that were given."""
    overrides = options.given(
        cycles=cycles, steps_per_cycle=steps_per_cycle, shadow_replay_days=shadow_replay_days
    )
    if early_stop_threshold is not None:
        overrides["improvement"] = {"improvement_threshold": early_stop_threshold}
    return overrides
