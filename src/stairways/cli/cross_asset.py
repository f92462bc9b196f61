"""``stairways cross-asset``: a policy on three symbols."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stairways.cli import options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console


def cross_asset(
    artifact: Annotated[Path | None, typer.Argument(help="Artifact folder, of two legs or of three.")] = None,
    symbols: Annotated[
        str | None, typer.Option("--symbols", help="Three symbols in the order of the legs: NVDA,MSFT,AAPL.")
    ] = None,
    sessions: Annotated[
        str | None,
        typer.Option("--sessions", help="FROM:TO, session dates to judge; by default all it has not seen."),
    ] = None,
    bars: options.Bars = None,
    sample: options.Sample = None,
    interval: options.Interval = None,
    mode: options.Mode = None,
    seed: options.Seed = None,
    config: options.Config = None,
    strict: options.Strict = False,
    split_table: options.Splits = None,
    as_json: options.AsJson = False,
) -> int:
    """Judge an artifact on three symbols: one of two legs through its pairs, one of three as it is.

    A pair has a third of the capital. A symbol the artifact was not made for gets feature constants of its
    own earlier sessions. Fails at a drawdown over 3 % in any year or a Sharpe ratio of 0 or less.
    """
    from rich.console import Console

    from stairways.cli.clock import utc_now
    from stairways.config import load_settings
    from stairways.tuning.cross_asset import cross_asset_base, judge_cross_asset

    overrides = options.market_overrides(bars, sample, symbols, interval, strict, split_table)
    overrides |= options.given(seed=seed)
    overrides["ranges"] = options.given(sessions=sessions)
    overrides["control"] = options.given(mode=mode)
    overrides |= options.call_overrides(json_output=as_json)
    judged = options.read_place(artifact, config, "artifact")
    settings = load_settings(config, overrides, base=cross_asset_base(judged))
    # standard output is for the result alone
    with Console(stderr=True).status("leading the accounts through their sessions"):
        result = judge_cross_asset(judged, settings, clock=utc_now)
    if settings.call.json_output:
        import json

        typer.echo(json.dumps(result.record, indent=2, allow_nan=False))
    else:
        _show(Console(width=max(Console().width, LEAST_WIDTH)), result.record)
    return 0 if result.gate.passed else 1


LEAST_WIDTH = 96
FORMS = {"pairs": "through its pairs, a third of the capital each", "native": "all three legs at once"}


def _show(console: Console, record: Mapping[str, Any]) -> None:
    """Print the accounts, the baselines beside them, and the verdicts."""
    from rich.markup import escape
    from rich.table import Table

    from stairways.reporting.page import words_of
    from stairways.reporting.terminal import print_verdicts

    def say(words: str, tone: str | None = None) -> None:
        console.print(escape(words), style=tone, soft_wrap=True, highlight=False)

    dates = record["data"]["sessions"]
    say(f"{record['data']['source']}, {dates['n_sessions']:,} sessions {dates['first']} to {dates['last']}")
    say(f"{','.join(record['symbols'])}: {FORMS[record['form']]}; {record['run']['mode']}")
    for one in record["fitted_constants"]:
        place = "the artifact's own range" if one["in_range"] else "sessions before those judged"
        say(
            f"{one['symbol']} is new: its constants are fitted on {one['n_sessions']:,} sessions "
            f"{one['first']} to {one['last']}, {place}"
        )
    table = Table(box=None, pad_edge=False)
    headings = (
        "", "hold rate\n(chance)", "trades per\nsession", "Sharpe\n± SE", "net bp per\nsession",
        "drawdown in\nany year", "drawdown in\na session",
    )  # fmt: skip
    for heading in headings:
        table.add_column(heading, justify="left" if not heading else "right", no_wrap=True)
    rows = [("policy", record["whole"]["policy"])]
    if len(record["accounts"]) > 1:
        rows += [(f"  {name}", m) for name, m in record["by_account"]["policy"].items()]
    rows += [(words_of(name), m) for name, m in record["whole"].items() if name != "policy"]
    for name, metrics in rows:
        table.add_row(escape(name), *_cells(metrics))
    console.print(table)
    print_verdicts(console, record["verdicts"], required=record["required"])


def _cells(metrics: Mapping[str, Any]) -> tuple[str, ...]:
    from stairways.reporting.page import number, percent, sharpe_text

    return (
        f"{percent(metrics['hold_rate_ratio'])} ({percent(metrics['chance_hold_rate_ratio'])})",
        number(metrics["trades_per_session"]),
        sharpe_text(metrics),
        number(metrics["mean_net_bps"], sign=True),
        percent(metrics["year_drawdown_ratio"], 2),
        percent(metrics["max_intraday_drawdown_ratio"], 2),
    )
