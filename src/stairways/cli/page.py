"""``stairways page``: try out paging, and look after the pages that wait."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from stairways.cli import options

if TYPE_CHECKING:
    from stairways.config import Settings
    from stairways.monitoring.page import Page
    from stairways.monitoring.pager import Delivery, Pager

app = typer.Typer(help="Page people on call.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Page people on call."""


@app.command("test")
def test(
    severity: Annotated[
        str,
        options.choice(
            "--severity", "info", "warning", "error", "critical", help="How severe it says it is."
        ),
    ] = "info",
    resolve: Annotated[bool, typer.Option("--resolve", help="Say that it is over right after.")] = False,
    config: options.Config = None,
    as_json: options.AsJson = False,
) -> int:
    """Send a page that says that it is a test."""
    from stairways.errors import PagingError

    settings = _settings(config, as_json)
    # A test is for whether pages arrive; the bound that withholds some of them would answer nothing.
    open_to_all = settings.paging.model_copy(update={"least_severity": "info"})
    pager = _pager(settings.model_copy(update={"paging": open_to_all}))
    deliveries = [pager.send(page) for page in _test_pages(severity, resolve)]
    lines = [line for delivery in deliveries for line in (_told(delivery), *delivery.notes)]
    _print(settings, {"deliveries": [delivery.as_record() for delivery in deliveries]}, lines)
    for delivery in deliveries:
        if delivery.outcome != "delivered":
            raise PagingError(
                f"the test page was not delivered: {delivery.reason}",
                remedy="it waits in the spool; stairways page flush sends it",
            )
    return 0


@app.command("flush")
def flush(config: options.Config = None, as_json: options.AsJson = False) -> int:
    """Send the pages that wait, in order."""
    from stairways.errors import PagingError

    settings = _settings(config, as_json)
    report = _pager(settings).flush()
    lines = [f"delivered {len(report.delivered)}, left {report.left}"]
    lines += [f"refused {line}" for line in report.refused]
    lines += [f"damaged {line}" for line in report.damaged]
    _print(settings, report.as_record(), [*lines, *report.notes])
    if not report.clean:
        wrong = f"{len(report.refused)} refused, {len(report.damaged)} damaged, {report.left} left"
        raise PagingError(
            f"not all pages were delivered: {wrong}{f' ({report.reason})' if report.reason else ''}",
            where=str(settings.paging.spool_folder),
        )
    return 0


@app.command("spool")
def spool(config: options.Config = None, as_json: options.AsJson = False) -> int:
    """List the pages that wait, and how many were set aside."""
    from stairways.monitoring.paging import spool_of
    from stairways.monitoring.spool import DAMAGED, REFUSED

    settings = _settings(config, as_json)
    held = spool_of(settings.paging)
    waiting = [record for entry in held.entries() if (record := _listed(held, entry)) is not None]
    aside = {where: held.aside(where) for where in (REFUSED, DAMAGED)}
    lines = [" ".join(str(value) for value in record.values()) for record in waiting]
    lines.append(
        f"waiting {len(waiting)}, " + ", ".join(f"{where} {len(names)}" for where, names in aside.items())
    )
    _print(settings, {"waiting": waiting, **aside}, lines)
    return 0


def _settings(config: Any, as_json: bool) -> Settings:
    from stairways.config import load_settings

    return load_settings(config, options.call_overrides(json_output=as_json))


def _pager(settings: Settings) -> Pager:
    import os

    import stamina.instrumentation

    from stairways.monitoring.paging import pager_of

    # The library would write its retries to standard output, among the command's own words.
    stamina.instrumentation.set_on_retry_hooks([])
    return pager_of(settings.paging, os.environ)


def _test_pages(severity: Any, resolve: bool) -> list[Page]:
    import platform

    from stairways.cli.clock import utc_now
    from stairways.monitoring.page import Page, incident_key

    host = platform.node() or "unnamed host"
    first = Page(
        summary="TEST page from stairways: nothing has happened",
        severity=severity,
        source=host,
        component="paging",
        dedup_key=incident_key("paging", "test", host),
        occurred_at=utc_now(),
        details={"test": True},
    )
    over = first.model_copy(update={"action": "resolve", "occurred_at": utc_now()})
    return [first, over] if resolve else [first]


def _told(delivery: Delivery) -> str:
    requests = f"{delivery.attempts} request{'' if delivery.attempts == 1 else 's'}"
    return f"{delivery.outcome} after {delivery.seconds:.2f} s and {requests}: {delivery.dedup_key}"


def _listed(held: Any, entry: Any) -> dict[str, Any] | None:
    from stairways.monitoring.spool import DamagedPageError

    try:
        page = held.peek(entry)
    except DamagedPageError as error:
        return {"name": entry.name, "damaged": str(error)}
    if page is None:
        return None
    return {
        "occurred_at": page.occurred_at.isoformat(timespec="seconds"),
        "severity": page.severity,
        "action": page.action,
        "dedup_key": page.dedup_key,
        "summary": page.summary,
    }


def _print(settings: Settings, record: dict[str, Any], lines: list[str]) -> None:
    if settings.call.json_output:
        import json

        typer.echo(json.dumps(record, indent=2, allow_nan=False))
        return
    for line in lines:
        typer.echo("".join(letter if letter.isprintable() else " " for letter in line))
