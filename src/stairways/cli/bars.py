"""``stairways bars``: what is in a folder of bars."""

from __future__ import annotations

import typer

from stairways.cli import options

app = typer.Typer(help="Look at bars on disk.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Look at bars on disk."""


@app.command("check")
def check(
    bars: options.Bars = None,
    symbols: options.Symbols = None,
    interval: options.Interval = None,
    config: options.Config = None,
    strict: options.Strict = False,
    split_table: options.Splits = None,
    as_json: options.AsJson = False,
) -> int:
    """Load bars and report what was kept, filled and dropped."""
    from stairways.config import load_settings
    from stairways.errors import ConfigError
    from stairways.market.loading import load_bars
    from stairways.market.splits import SplitTable

    overrides = options.market_overrides(bars, None, symbols, interval, strict, split_table)
    overrides |= options.call_overrides(json_output=as_json)
    settings = load_settings(config, overrides)
    market = settings.market
    if market.bars is None:
        raise ConfigError("--bars is missing", remedy="name the folder of the bars")
    splits = SplitTable.from_csv(market.split_table) if market.split_table is not None else None
    loaded = load_bars(
        market.bars, market.symbols, market.interval_minutes, strict=market.strict, splits=splits
    )
    if settings.call.json_output:
        import json

        record = {**loaded.quality.as_record(), "digest": loaded.sessions.digest}
        typer.echo(json.dumps(record, indent=2, allow_nan=False))
    else:
        from rich.console import Console

        Console().print(loaded.quality.as_table())
    return 0
