"""``stairways backtest``: lead an artifact through a scenario, or walk forward through one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stairways.cli import options

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from stairways.config import Settings
    from stairways.tuning.run_folder import Watcher
    from stairways.tuning.scenarios import Scenario

RECORD_FILE, PICTURE = "backtest.json", "backtest"


def backtest(
    artifact: Annotated[
        Path | None, typer.Argument(help="Artifact folder; without one the shipped gold is taken.")
    ] = None,
    scenario: Annotated[
        str | None,
        typer.Option(
            "--scenario",
            help="2022_bear_market, 2023_bull_market, 2024_choppy_market (NAME:SEED draws another "
            "synthetic year) or a YAML file.",
        ),
    ] = None,
    bars: options.Bars = None,
    symbols: options.Symbols = None,
    interval: options.Interval = None,
    in_sample: Annotated[
        bool, typer.Option("--in-sample", help="Run on sessions seen before too; every figure says so.")
    ] = False,
    costs: Annotated[
        str | None, typer.Option("--costs", help="One-way costs of the sweep, bp: 0,1,2,5,10.")
    ] = None,
    walk_forward: Annotated[
        bool, typer.Option("--walk-forward", help="Train gold, tune it, test, and roll on.")
    ] = False,
    train_sessions: Annotated[
        int | None, typer.Option("--train-sessions", help="Sessions that train gold (200).")
    ] = None,
    tune_sessions: Annotated[
        int | None, typer.Option("--tune-sessions", help="Sessions that tune, behind them (60).")
    ] = None,
    test_sessions: Annotated[
        int | None, typer.Option("--test-sessions", help="Unseen sessions behind those (60).")
    ] = None,
    step_sessions: Annotated[
        int | None, typer.Option("--step-sessions", help="From one window to the next (the test's length).")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the report; of the windows in a walk.")
    ] = None,
    seed: options.Seed = None,
    config: options.Config = None,
    as_json: options.AsJson = False,
) -> int:
    """Lead an artifact through a scenario, beside its gold and the baselines.

    Ends with 0 where the target Sharpe ratio is met on every market of the scenario, with 1 where it is
    not. A walk-forward makes its own golds and candidates; the target is then that of all its unseen
    sessions together.
    """
    from stairways.errors import ConfigError
    from stairways.tuning.scenarios import find_scenario

    lengths = options.given(train=train_sessions, tune=tune_sessions, test=test_sessions, step=step_sessions)
    overrides = options.market_overrides(bars, None, symbols, interval, False, None)
    overrides |= options.given(seed=seed)
    overrides |= options.call_overrides(out=out, json_output=as_json)
    found = None if scenario is None else find_scenario(scenario)
    if walk_forward:
        refused = [("an artifact", artifact), ("--in-sample", in_sample or None), ("--costs", costs)]
        for name, value in refused:
            if value is not None:
                raise ConfigError(
                    f"{name} does not go with --walk-forward",
                    remedy="a walk makes its own golds and candidates and judges unseen sessions alone",
                )
        return _walk(found, config, overrides, lengths)
    if lengths:
        raise ConfigError(f"--{next(iter(lengths))}-sessions needs --walk-forward")
    if found is None:
        raise ConfigError("--scenario is missing", remedy="name a scenario or a YAML file")
    return _backtest(found, artifact, config, overrides, costs, in_sample=in_sample)


def _backtest(
    scenario: Scenario,
    artifact: Path | None,
    config: Path | None,
    overrides: dict[str, Any],
    costs: str | None,
    *,
    in_sample: bool,
) -> int:
    from stairways.config import load_settings
    from stairways.tuning.backtest import COSTS_BPS, backtest, parse_costs
    from stairways.tuning.course import Subject
    from stairways.tuning.evaluate import settings_base
    from stairways.tuning.shipped import shipped_gold

    swept = COSTS_BPS if costs is None else parse_costs(costs)
    named = artifact if artifact is not None else load_settings(config, {}).call.artifact
    folder = shipped_gold() if named is None else options.place(named, "ARTIFACT")
    settings = load_settings(config, overrides, base=settings_base(folder))
    _refuse_taken(settings)
    subject = Subject.read(folder, settings)
    result = backtest(
        scenario, subject, settings, costs_bps=swept, in_sample=in_sample, shipped=named is None
    )
    _write(settings, result.record)
    if settings.call.json_output:
        _print_json(result.record)
    else:
        from rich.console import Console

        from stairways.reporting.backtest_terminal import print_backtest

        print_backtest(Console(), result.record)
    return 0 if result.met else 1


def _walk(
    scenario: Scenario | None, config: Path | None, overrides: dict[str, Any], lengths: dict[str, int]
) -> int:
    from rich.console import Console

    from stairways.cli.clock import utc_now
    from stairways.config import load_settings
    from stairways.errors import ConfigError
    from stairways.market.bars import bar_files
    from stairways.reporting.backtest_terminal import print_walk
    from stairways.reporting.terminal import Bands, TerminalWatcher
    from stairways.tuning.scenarios import PLAN_TARGET_SHARPE
    from stairways.tuning.walk_forward import WalkForward, WindowSizes, walk_record

    settings = load_settings(config, overrides)
    if settings.market.bars is None:
        if scenario is None:
            raise ConfigError("--bars or --scenario is missing", remedy="name what the walk goes through")
        change = {"bars": scenario.bars, "sample": scenario.sample or settings.market.sample}
        settings = settings.model_copy(update={"market": settings.market.model_copy(update=change)})
    if settings.market.bars is not None:
        bar_files(settings.market.bars)
    lengths.setdefault("step", lengths.get("test", WindowSizes.test))
    console = Console(stderr=settings.call.json_output)

    def watch(stage: str) -> AbstractContextManager[Watcher]:
        console.print(stage, style="bold", soft_wrap=True, highlight=False)
        return TerminalWatcher(console, Bands.of(settings.resolved_gate()))

    out = options.place(settings.call.out, "--out")
    tested = None if scenario is None else scenario.dates
    walk = WalkForward(settings, WindowSizes(**lengths), out, clock=utc_now, watch=watch, tested=tested)
    target = PLAN_TARGET_SHARPE if scenario is None else scenario.target_sharpe
    record = walk_record(walk, walk.run(), target)
    _write_walk(out, record)
    if settings.call.json_output:
        _print_json(record)
    else:
        print_walk(console, record, out)
    return 0 if record["met"] else 1


def _refuse_taken(settings: Settings) -> None:
    """Refuse a folder that holds something before the work begins."""
    from stairways.errors import StorageError

    out = settings.call.out
    if out is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise StorageError("is not an empty folder", where=str(out), remedy="choose another --out")


def _write(settings: Settings, record: dict[str, Any]) -> None:
    if settings.call.out is None:
        return
    from stairways.registry.files import write_folder_atomic
    from stairways.reporting.backtest_picture import backtest_picture
    from stairways.tuning.backtest import IN_SAMPLE

    files = {RECORD_FILE: _json_text(record).encode()}
    for course in record["courses"]:
        kind = "synthetic" if course["data"]["synthetic"] else "real"
        mark = f"{IN_SAMPLE}: " if course["sample"] == IN_SAMPLE else ""
        title = f"{mark}{record['scenario']['name']}, {course['data']['source']}"
        name = PICTURE if len(record["courses"]) == 1 else f"{PICTURE}-{kind}"
        drawn = backtest_picture(title, course["series"], course["policies"], course["costs"], ours="policy")
        files |= {f"{name}.{suffix}": picture for suffix, picture in drawn.items()}
    write_folder_atomic(options.place(settings.call.out, "--out"), files)


def _write_walk(out: Path, record: dict[str, Any]) -> None:
    from stairways.registry.files import write_bytes_atomic, write_text_atomic
    from stairways.reporting.backtest_picture import backtest_picture

    pooled = record["pooled"]
    title = f"Walk-forward, {pooled['n_windows']} windows, {record['data']['source']}"
    drawn = backtest_picture(title, pooled["series"], pooled["policies"], {}, ours="candidate")
    for suffix, picture in drawn.items():
        write_bytes_atomic(out / f"{PICTURE}.{suffix}", picture)
    write_text_atomic(out / RECORD_FILE, _json_text(record))


def _print_json(record: dict[str, Any]) -> None:
    typer.echo(_json_text(record))


def _json_text(record: dict[str, Any]) -> str:
    import json

    return json.dumps(record, indent=2, allow_nan=False)
