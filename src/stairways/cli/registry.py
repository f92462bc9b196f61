"""``stairways registry``: models that are known, what was live when, and what led to it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stairways.cli import options, registries
from stairways.cli.registries import DEFAULT_FOLDER
from stairways.cli.tables import text_of

if TYPE_CHECKING:
    from stairways.registry.registry import Registry

app = typer.Typer(help="Models that are known, and what was live when.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Models that are known, and what was live when."""


@app.command("create")
def create(registry: registries.Folder = DEFAULT_FOLDER, database: registries.Database = None) -> int:
    """Make a registry; one that is there stays as it is."""
    from stairways.cli.clock import utc_now
    from stairways.registry.registry import Registry

    Registry.create(registry, utc_now, database).close()
    typer.echo(f"{registry}: ready; trust a key next: `stairways keys new`, `stairways keys trust`")
    return 0


@app.command("add")
def add(
    artifact: Annotated[Path, typer.Argument(help="Folder of a signed artifact.")],
    registry: registries.Folder = DEFAULT_FOLDER,
    database: registries.Database = None,
    by: registries.By = None,
) -> int:
    """Take a signed artifact in."""
    with registries.opened(registry, database) as opened:
        model = opened.add(artifact, registries.who(by))
    typer.echo(f"{model.model_id}: added, a {model.role}")
    return 0


@app.command("list")
def listing(
    registry: registries.Folder = DEFAULT_FOLDER,
    database: registries.Database = None,
    as_json: options.AsJson = False,
) -> int:
    """Show every model and where it stands."""
    with registries.opened(registry, database) as opened:
        rows = [
            {
                "model": model.model_id,
                "stage": model.role,
                "live": model.is_production,
                "added_at": model.created_at,
                "accepted": model.performance.get("accepted"),
            }
            for model in opened.history.models()
        ]
    registries.show(rows, ("model", "stage", "live", "added_at", "accepted"), as_json=as_json)
    return 0


@app.command("live")
def live(
    at: Annotated[str | None, typer.Option("--at", help="An instant: 2026-07-01T14:30:00Z.")] = None,
    registry: registries.Folder = DEFAULT_FOLDER,
    database: registries.Database = None,
    as_json: options.AsJson = False,
) -> int:
    """Show what was live at an instant and who put it there; without one, all that ever was."""
    columns = ("model_id", "began_at", "ended_at", "cause", "put_by")
    with registries.opened(registry, database) as opened:
        if at is None:
            rows = [vars(tenure) for tenure in opened.history.tenures()]
        else:
            found = opened.history.live_at(_instant(at))
            rows = [] if found is None else [vars(found)]
    registries.show(rows, columns, as_json=as_json)
    return 0


@app.command("show")
def show(
    model: registries.Model,
    registry: registries.Folder = DEFAULT_FOLDER,
    database: registries.Database = None,
    as_json: options.AsJson = False,
) -> int:
    """Show all that led to a model: data, parent, cycle, verdicts, waivers, promotions."""
    with registries.opened(registry, database) as opened:
        record = _lineage(opened, opened.resolve(model))
    registries.show_record(record, as_json=as_json)
    return 0


@app.command("diff")
def diff(
    model: registries.Model,
    reference: Annotated[str, typer.Argument(help="The model to compare with.")],
    registry: registries.Folder = DEFAULT_FOLDER,
    database: registries.Database = None,
    as_json: options.AsJson = False,
) -> int:
    """Show which parameters differ between two models, layer by layer."""
    from stairways.registry.parameter_audit import layer_changes

    with registries.opened(registry, database) as opened:
        one, other = opened.resolve(model), opened.resolve(reference)
        promotions = opened.history.promotions(one)
        changes = layer_changes(
            opened.read(one).loaded.artifact.weights,
            opened.read(other).loaded.artifact.weights,
            reference_id=other,
            authorized_by=promotions[-1].authorized_by if promotions else "-",
            validation_passed=bool(promotions) and not promotions[-1].waivers,
        )
    columns = ("layer", "n_parameters", "n_changed", "l2_norm", "relative", "largest")
    registries.show([vars(change) for change in changes], columns, as_json=as_json)
    return 0


@app.command("backup")
def backup(
    place: Annotated[Path, typer.Argument(help="A folder that is not there yet.")],
    registry: registries.Folder = DEFAULT_FOLDER,
    database: registries.Database = None,
) -> int:
    """Copy the registry while it works."""
    from stairways.registry.upkeep import back_up

    with registries.opened(registry, database) as opened:
        back_up(opened, place)
        inside = opened.engine.dialect.name == "sqlite"
    if inside:
        typer.echo(f"{place}: a whole registry; check it with `stairways registry check --registry {place}`")
    else:
        typer.echo(f"{place}: all but the database, which PostgreSQL's own tools copy (pg_dump)")
    return 0


@app.command("check")
def check(
    registry: registries.Folder = DEFAULT_FOLDER,
    database: registries.Database = None,
    as_json: options.AsJson = False,
) -> int:
    """Check database, audit log, artifacts, champion and journal."""
    from stairways.registry.upkeep import look_after

    with registries.opened(registry, database) as opened:
        findings = look_after(opened)
    registries.show([vars(one) for one in findings], ("name", "whole"), as_json=as_json, wide="detail")
    return 0 if all(one.whole for one in findings) else 1


@app.command("reconcile")
def reconcile(
    reason: Annotated[str, typer.Option("--reason", help="What was lost or restored; kept for good.")],
    registry: registries.Folder = DEFAULT_FOLDER,
    database: registries.Database = None,
    by: registries.By = None,
) -> int:
    """Bring a database that was lost or restored to what the folder knows."""
    from stairways.live.reconcile import reconcile as bring_together

    with registries.opened(registry, database) as opened:
        lines = bring_together(opened, registries.who(by), reason)
    for line in lines or ("folder and database agree",):
        typer.echo(line)
    return 0


def _lineage(opened: Registry, digest: str) -> dict[str, Any]:
    trusted = opened.read(digest)
    artifact, record = trusted.loaded.artifact, trusted.loaded.record
    model = opened.history.find(digest)
    return {
        "model": digest,
        "stage": None if model is None else model.role,
        "live": model is not None and model.is_production,
        "signed_by": f"{trusted.signer.name} at {text_of(trusted.signature.signed_at)}",
        "data_digest": artifact.data_digest,
        "data_source": artifact.data_source,
        "parent": artifact.parent_digest,
        "symbols": list(artifact.symbols),
        "interval_minutes": artifact.interval_minutes,
        "run": record.get("run_id"),
        "cycle": record.get("cycle"),
        "accepted": record.get("accepted"),
        "verdicts": [
            f"{one['name']} {'passed' if one['passed'] else 'FAILED'}" for one in record.get("verdicts", ())
        ],
        "waivers": [f"{one.verdict} by {one.name}: {one.reason}" for one in opened.history.waivers(digest)],
        "promotions": [
            f"{one.stage_from} to {one.stage_to} by {one.authorized_by} at {text_of(one.at)}: {one.reason}"
            for one in opened.history.promotions(digest)
        ],
    }


def _instant(text: str) -> Any:
    import datetime as dt

    from stairways.errors import ConfigError

    try:
        instant = dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"no instant: {text}", where="--at", remedy="write 2026-07-01T14:30:00Z") from error
    if instant.tzinfo is None:
        raise ConfigError("no time zone", where=f"--at {text}", remedy="end it with Z or an offset")
    return instant
