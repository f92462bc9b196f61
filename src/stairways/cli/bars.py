"""``stairways bars``: what is in a folder of bars."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stairways.cli import options

app = typer.Typer(help="Look at bars on disk.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Look at bars on disk."""


@app.command("check")
def check(
    bars: Annotated[Path, typer.Option("--bars", help="Folder of Parquet or CSV bars.")],
    symbols: Annotated[str, typer.Option("--symbols", help="Symbols, such as NVDA,MSFT.")],
    interval: Annotated[str, typer.Option("--interval", help="1min or 5min.")],
    config: options.Config = None,
    strict: options.Strict = False,
    split_table: options.Splits = None,
    as_json: options.AsJson = False,
) -> int:
    """Load bars and report what was kept, filled and dropped."""
    from stairways.config import load_settings
    from stairways.market.loading import load_bars
    from stairways.market.splits import SplitTable

    overrides = options.market_overrides(
        bars=bars,
        sample=None,
        symbols=symbols,
        interval=interval,
        strict=strict,
        split_table=split_table,
    )
    market = load_settings(config, overrides).market
    splits = SplitTable.from_csv(market.split_table) if market.split_table is not None else None
    loaded = load_bars(bars, market.symbols, market.interval_minutes, strict=market.strict, splits=splits)
    if as_json:
        import json

        record = {**loaded.quality.as_record(), "digest": loaded.sessions.digest}
        typer.echo(json.dumps(record, indent=2, allow_nan=False))
    else:
        from rich.console import Console

        Console().print(loaded.quality.as_table())
    return 0
