"""``stairways gold``: train a gold policy, or import one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from stairways.cli import options

if TYPE_CHECKING:
    from stairways.tuning.gold import GoldTraining

app = typer.Typer(help="Make gold policies.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Make gold policies."""


@app.command("train")
def train(
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the artifact.")] = None,
    bars: options.Bars = None,
    sample: options.Sample = None,
    symbols: options.Symbols = None,
    interval: options.Interval = None,
    train: Annotated[str | None, typer.Option("--train", help="FROM:TO, session dates.")] = None,
    test: Annotated[str | None, typer.Option("--test", help="FROM:TO, unseen, for gold's record.")] = None,
    seed: options.Seed = None,
    policy: Annotated[
        Literal["mlp", "lstm"] | None,
        options.choice("--policy", "mlp", "lstm", help="Architecture."),
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Learning steps at most.")] = None,
    preset: options.Preset = None,
    config: options.Config = None,
    strict: options.Strict = False,
    split_table: options.Splits = None,
) -> int:
    """Train a gold: it learns first and is made to over-hold last."""
    from rich.console import Console

    from stairways.cli.clock import utc_now
    from stairways.config import load_settings
    from stairways.reporting.terminal import TerminalWatcher, print_gold
    from stairways.tuning.gold import GoldTraining

    overrides = options.market_overrides(bars, sample, symbols, interval, strict, split_table)
    overrides |= options.given(seed=seed)
    overrides |= options.call_overrides(out=out)
    overrides["ranges"] = options.given(train=train, test=test)
    overrides["gold"] = options.given(policy=policy, steps=steps)
    settings = load_settings(config, overrides, preset)
    console = Console()
    with TerminalWatcher(console) as watcher:
        place = options.place(settings.call.out, "--out")
        training = GoldTraining(settings, place, clock=utc_now, watcher=watcher)
        _check_record(training)
        options.announce_market(console, settings)
        outcome = training.run()
    print_gold(console, outcome.record, outcome.digest, outcome.folder)
    return 0 if outcome.accepted else 1


@app.command("import")
def import_(
    model: Annotated[
        Path | None, typer.Argument(help="Zip of PPO or RecurrentPPO, stable-baselines3 2.0 or later.")
    ] = None,
    spec: Annotated[
        Path | None, typer.Option("--spec", help="YAML that says what is in it (docs/interchange.md).")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the artifact.")] = None,
    bars: options.Bars = None,
    sample: options.Sample = None,
    symbols: options.Symbols = None,
    interval: options.Interval = None,
    seed: options.Seed = None,
    config: options.Config = None,
    strict: options.Strict = False,
    split_table: options.Splits = None,
) -> int:
    """Make a gold of a policy from elsewhere; no code in its file is run, and warnings have figures."""
    from rich.console import Console

    from stairways.config import load_settings
    from stairways.reporting.interchange_terminal import print_import
    from stairways.tuning.gold_import import import_gold
    from stairways.tuning.import_spec import load_import_spec

    overrides = options.market_overrides(bars, sample, symbols, interval, strict, split_table)
    overrides |= options.given(seed=seed)
    overrides |= options.call_overrides(model=model, spec=spec, out=out)
    stated = load_import_spec(options.read_place(spec, config, "spec", option="--spec"))
    settings = load_settings(config, overrides, base=stated.as_settings())
    outcome = import_gold(
        options.place(settings.call.model, "MODEL"),
        stated,
        settings,
        options.place(settings.call.out, "--out"),
    )
    print_import(Console(), outcome.record, outcome.digest, outcome.folder)
    return 0


def _check_record(training: GoldTraining) -> None:
    """Refuse test sessions so few that gold's record on them would show nothing."""
    from stairways.errors import RangeError

    dates, least = training.settings.ranges.test, training.settings.gate.min_sessions
    count = training.test.stop - training.test.start
    if dates is not None and count < least:
        raise RangeError(
            f"{count} sessions are too few for gold's record, at least {least} are needed",
            where=f"--test {dates}",
            remedy="give a longer range, or none to keep the record on sessions held out of --train",
        )
