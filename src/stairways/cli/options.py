"""Options that several commands share, the same words everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from stairways.config import Settings


def choice(option: str, *names: str, help: str) -> Any:  # noqa: A002 - as typer calls it
    """Return an option that takes one of a few names; another is refused with those there are."""

    def parsed(text: str) -> str:
        from stairways.errors import ConfigError

        if text not in names:
            raise ConfigError(f"unknown value {text}", where=option, remedy=f"choose {' or '.join(names)}")
        return text

    return typer.Option(option, parser=parsed, metavar=f"[{'|'.join(names)}]", help=help)


Config = Annotated[Path | None, typer.Option("--config", help="YAML file with any of the settings.")]
Bars = Annotated[Path | None, typer.Option("--bars", help="Folder of Parquet or CSV bars, found by content.")]
Sample = Annotated[
    str | None,
    typer.Option(
        "--sample",
        help="Synthetic market: planted, planted-hard, noise, 2022_bear_market, 2023_bull_market, "
        "2024_choppy_market; NAME:SEED for another seed.",
    ),
]
Symbols = Annotated[
    str | None, typer.Option("--symbols", help="Two or three symbols in the order of the legs: NVDA,MSFT.")
]
Interval = Annotated[str | None, choice("--interval", "1min", "5min", help="Length of a bar.")]
Strict = Annotated[
    bool, typer.Option("--strict", help="Refuse bars with sessions that would have to be dropped.")
]
Splits = Annotated[Path | None, typer.Option("--split-table", help="CSV of splits: symbol,date,ratio.")]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Run seed; every stream comes from it.")]
Mode = Annotated[str | None, choice("--mode", "sampled", "greedy", help="Deployment mode.")]
Actuator = Annotated[
    Literal["reward", "tilt"] | None,
    choice("--actuator", "reward", "tilt", help="What the controller drives."),
]
Preset = Annotated[
    Literal["default", "plan"] | None,
    choice(
        "--preset",
        "default",
        "plan",
        help="plan: controller, targets and shadow rule exactly as the plan has them.",
    ),
]
Gold = Annotated[Path | None, typer.Option("--gold", help="Gold artifact; by default the shipped one.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


def market_overrides(
    bars: Path | None,
    sample: str | None,
    symbols: str | None,
    interval: str | None,
    strict: bool,
    split_table: Path | None,
) -> dict[str, Any]:
    """Return the market settings that were given on the command line.

    Raises:
        ConfigError: If both a folder and a sample are named, or there is no such sample.
        BarsError: If the folder is not there or holds no bars.
    """
    from stairways.errors import ConfigError
    from stairways.market.bars import bar_files

    if bars is not None and sample is not None:
        raise ConfigError("--bars and --sample exclude each other", remedy="name one of them")
    market: dict[str, Any] = {}
    if bars is not None:
        # said before anything else is asked for
        bar_files(bars)
        # the folder of a run must say where they are to a resume from anywhere
        market["bars"] = str(bars.resolve())
    if sample is not None:
        _check_sample(sample)
        market |= {"sample": sample, "bars": None}
    if symbols is not None:
        market["symbols"] = tuple(part.strip() for part in symbols.split(","))
    if interval is not None:
        market["interval"] = interval
    if strict:
        market["strict"] = True
    if split_table is not None:
        market["split_table"] = str(split_table)
    return {"market": market} if market else {}


def _check_sample(name: str) -> None:
    from stairways.errors import ConfigError
    from stairways.market.samples import sample_spec

    try:
        sample_spec(name)
    except ConfigError as error:
        raise ConfigError(error.what, where=error.where or "--sample", remedy=error.remedy) from error


def announce_market(console: Console, settings: Settings) -> None:
    """Print, before anything else, which market a command works on: SYNTHETIC in so many words."""
    from rich.text import Text

    market = settings.market
    what = f"{','.join(market.symbols)}, {market.interval}"
    if market.bars is None:
        line = Text(f"SYNTHETIC market {market.sample} (no --bars was given): {what}", style="yellow")
    else:
        line = Text(f"Bars in {market.bars}: {what}")
    console.print(line, soft_wrap=True)


def place(path: Path | None, option: str) -> Path:
    """Return a path that ends in a name, so that temporary names can stand beside it.

    Raises:
        ConfigError: If it was given neither on the command line nor in the file.
    """
    from stairways.errors import ConfigError

    if path is None:
        setting = f"call.{option.strip('-').lower()}"
        raise ConfigError(
            f"{option} is missing", remedy=f"name it on the command line, or as {setting} in --config"
        )
    return path if path.name not in ("", "..") else path.resolve()


def read_place(path: Path | None, config: Path | None, name: str, *, option: str | None = None) -> Path:
    """Return what a command reads first, from the command line or from the file's ``call`` section.

    Args:
        path: What was given on the command line.
        config: The file.
        name: Its name in the section.
        option: Its name on the command line; without one it is an argument.

    Raises:
        ConfigError: If it was given in neither.
    """
    from stairways.config import load_settings

    given = path if path is not None else getattr(load_settings(config, {}).call, name)
    return place(given, option or name.upper())


def settings_for_gold(config: Path | None, overrides: dict[str, Any], preset: Any) -> Settings:
    """Resolve settings on top of the rules that the gold was made for.

    Raises:
        ConfigError: If real bars are named without a gold: the shipped one is for the sample market.
    """
    from stairways.config import load_settings
    from stairways.errors import ConfigError
    from stairways.tuning.shipped import shipped_gold
    from stairways.unpacking import unpack

    first = load_settings(config, overrides, preset)
    if first.call.gold is None and first.market.bars is not None:
        raise ConfigError(
            "--gold is missing: the shipped gold is for the sample market only",
            remedy="train one with `stairways gold train --bars ...`",
        )
    gold = first.call.gold or shipped_gold()
    rules = unpack(gold).rules.model_dump(mode="json")
    merged = {**overrides, "call": {**overrides.get("call", {}), "gold": str(gold)}}
    return load_settings(config, merged, preset, base={"trading": rules})


def of_run(out: Path | None) -> tuple[Path | None, Path | None]:
    """Return the settings and the gold that the run in a folder was started with; None where none stands.

    What is damaged is not said here: the run itself reads both again, and refuses.
    """
    import json

    from stairways.tuning.run_folder import CONFIG_FILE, RUN_FILE

    if out is None or not (out / CONFIG_FILE).is_file():
        return None, None
    try:
        gold = json.loads((out / RUN_FILE).read_text(encoding="utf-8")).get("gold")
    except (OSError, ValueError, AttributeError):
        gold = None
    return out / CONFIG_FILE, Path(gold) if isinstance(gold, str) else None


def call_overrides(**values: Any) -> dict[str, Any]:
    """Return what was given of a call, paths as text; a flag that was not raised leaves the file's."""
    found = {n: str(v) if isinstance(v, Path) else v for n, v in given(**values).items() if v is not False}
    return {"call": found} if found else {}


def given(**values: Any) -> dict[str, Any]:
    """Return the values that are not None."""
    return {name: value for name, value in values.items() if value is not None}
