"""``stairways serve`` and ``watch``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stairways.cli import options, registries
from stairways.cli.registries import DEFAULT_FOLDER

if TYPE_CHECKING:
    from stairways.live.rollback import RollbackOutcome

STOP_SECONDS = 30.0
READY_SECONDS = 5.0


def serve(
    socket: Annotated[Path | None, typer.Option("--socket", help="Listen at this Unix socket.")] = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65_535, help="Or at this port; 0: any.")] = 0,
    stop: Annotated[bool, typer.Option("--stop", help="Stop the service that runs.")] = False,
    ready: Annotated[
        bool, typer.Option("--ready", help="Ask the service that runs which model answers.")
    ] = False,
    registry: registries.Folder = DEFAULT_FOLDER,
    config: options.Config = None,
) -> int:
    """Answer decisions with the champion, verified, until stopped."""
    from stairways.config import load_settings
    from stairways.live.address import Address
    from stairways.live.client import ServiceClient
    from stairways.live.supervisor import Supervisor, service_record, tell_supervisor
    from stairways.registry.store import Store

    Store(registry).require()
    if stop:
        tell_supervisor(registry, "stop", STOP_SECONDS)
        typer.echo("the service ends")
        return 0
    if ready:
        with ServiceClient(Address.parse(str(service_record(registry)["address"])), READY_SECONDS) as client:
            typer.echo(client.ready())
        return 0
    settings = load_settings(config, {})
    address = Address(path=socket.resolve()) if socket is not None else Address(port=port)
    Supervisor(
        registry.resolve(),
        address,
        seed=settings.service.seed,
        performance=settings.performance,
        say=_say,
    ).run()
    return 0


def watch(
    registry: registries.Folder = DEFAULT_FOLDER,
    database: registries.Database = None,
    evidence: Annotated[
        Path | None, typer.Option("--evidence", help="File in which whoever trades writes down each session.")
    ] = None,
    config: options.Config = None,
) -> int:
    """Watch what is live, and roll back when a trigger trips, until interrupted."""
    from stairways.config import load_settings
    from stairways.errors import StairwaysError
    from stairways.live.evidence_file import EvidenceFile
    from stairways.live.watch import Watch, page_of_end
    from stairways.registry.store import WATCH_LOCK

    settings = load_settings(config, {})
    with registries.opened_in_need(registry, database) as opened:
        restarter, pager = registries.restarter_and_pager(settings, registry)
        known = EvidenceFile(opened, evidence, settings.resolved_gate())
        watching = Watch(opened, restarter, pager, settings.resolved_triggers(), known)
        with opened.store.lock(0.0, WATCH_LOCK):
            _say(f"watching {registry}, every {settings.rollback.watch_seconds:g} s")
            try:
                watching.run(settings.rollback.watch_seconds, lambda: False, _told, _warned)
            except StairwaysError as error:
                # nobody watches from here on: that is worth a page
                pager.send(page_of_end(registry, error, opened.clock()))
                raise
    return 0


def _told(outcome: RollbackOutcome) -> None:
    failed = [f"{step.name} failed ({step.detail})" for step in outcome.steps if not step.settled]
    _say(
        "; ".join(
            [
                outcome.what_happened(),
                f"{outcome.order.trigger}: {outcome.order.reason}",
                *failed,
            ]
        )
    )


def _say(line: str) -> None:
    typer.echo(line)


def _warned(line: str) -> None:
    typer.echo(f"stairways: {line}", err=True)
