"""``stairways rollback``: the way back, its rehearsal, and what comes after it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stairways.cli import options, registries
from stairways.cli.registries import DEFAULT_FOLDER

if TYPE_CHECKING:
    from stairways.config import Settings
    from stairways.live.drill import DrillOutcome, WayBack
    from stairways.live.rollback import RollbackOutcome
    from stairways.registry.history_records import DrillRecord
    from stairways.registry.registry import Registry

app = typer.Typer(help="The way back, and its rehearsal.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """The way back, and its rehearsal."""


@app.command("now")
def now(
    reason: Annotated[str, typer.Option("--reason", help="Why; it is paged and kept.")],
    to: Annotated[str | None, typer.Option("--to", help="A model; by default the best earlier one.")] = None,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from", help="What shall go; by default what is live, unless a rollback put it there."
        ),
    ] = None,
    registry: registries.Folder = DEFAULT_FOLDER,
    database: registries.Database = None,
    by: registries.By = None,
    config: options.Config = None,
    as_json: options.AsJson = False,
) -> int:
    """Go back now: what is live is quarantined for good.

    Where nothing verifies that could be gone back to, the service is stopped.
    """
    import time

    from stairways.config import load_settings
    from stairways.errors import StorageError
    from stairways.live.rollback import RollbackOrder, roll_back
    from stairways.live.targets import choose_target, ensure_target
    from stairways.registry.manifest import is_digest

    since = time.monotonic()
    settings = load_settings(config, {})
    with registries.opened_in_need(registry, database) as opened:
        restarter, pager = registries.restarter_and_pager(settings, registry)
        failed = opened.store.champion()
        if failed is None:
            raise StorageError("nothing is live", where=str(registry))
        _ensure_meant(opened, failed, from_)
        target: str | None
        if to:
            # a whole digest needs no database
            target = to if is_digest(to) else opened.resolve(to)
            ensure_target(opened, failed, target)
        else:
            target = choose_target(opened, failed, settings.resolved_triggers()).digest
        order = RollbackOrder("person", reason, registries.who(by), failed, target, opened.clock())
        outcome = roll_back(opened, restarter, pager, order, since=since)
    return _told(outcome, as_json=as_json)


def _ensure_meant(opened: Registry, failed: str, from_: str | None) -> None:
    """Refuse to bar what a way back has only just led to: the watch may have been quicker than a person."""
    from stairways.errors import StorageError
    from stairways.live.targets import just_gone_back_to
    from stairways.registry.manifest import is_digest

    if from_ is not None:
        meant = from_ if is_digest(from_) else opened.resolve(from_)
        if meant != failed:
            raise StorageError(f"{failed[:12]} is live, not {meant[:12]}", where="--from")
    elif just_gone_back_to(opened) == failed:
        raise StorageError(
            f"a rollback has led to {failed[:12]}, and nobody resumed since",
            where=str(opened.root),
            remedy=f"if that shall go too: `stairways rollback now --from {failed[:12]}`",
        )


@app.command("finish")
def finish(
    registry: registries.Folder = DEFAULT_FOLDER,
    database: registries.Database = None,
    config: options.Config = None,
    as_json: options.AsJson = False,
) -> int:
    """Take up every promotion, rollback and drill that a killed process left."""
    from stairways.config import load_settings
    from stairways.live.rehearsal import take_up, withdraw
    from stairways.live.rollback import go_on
    from stairways.registry.promotion import recover

    settings = load_settings(config, {})
    with registries.opened(registry, database) as opened:
        restarter, pager = registries.restarter_and_pager(settings, registry)
        with opened.store.lock():
            opened.store.clean()
            lines = recover(opened)
        withdraw(opened)
        outcomes = go_on(opened, restarter, pager, settings.resolved_triggers())
        lines += take_up(opened, registries.who(None))
    for line in lines:
        typer.echo(line)
    status = [_told(outcome, as_json=as_json) for outcome in outcomes]
    if not lines and not outcomes:
        typer.echo("nothing was left")
    return max(status, default=0)


@app.command("resume")
def resume(
    reason: Annotated[str, typer.Option("--reason", help="What was found and done.")],
    registry: registries.Folder = DEFAULT_FOLDER,
    database: registries.Database = None,
    by: registries.By = None,
) -> int:
    """Let promotions go on after a rollback."""
    from stairways.live.rollback import resume as let_go_on

    with registries.opened(registry, database) as opened:
        names = let_go_on(opened, registries.who(by), reason)
    typer.echo(f"promotions go on after {', '.join(names)}" if names else "no rollback latched")
    return 0


@app.command("list")
def listing(
    registry: registries.Folder = DEFAULT_FOLDER,
    database: registries.Database = None,
    as_json: options.AsJson = False,
) -> int:
    """Show every rollback there was."""
    with registries.opened(registry, database) as opened:
        rows = [vars(record) for record in opened.history.rollbacks()]
    if not as_json:
        rows = [row | {"trigger": "drill"} if row["is_drill"] else row for row in rows]
    columns = ("detected_at", "trigger", "failed_model", "target_model", "seconds_to_serving")
    registries.show(rows, columns, as_json=as_json, below="reason")
    return 0


@app.command("drill")
def drill(
    sample: Annotated[
        bool, typer.Option("--sample", help="In a fresh registry with a service of its own.")
    ] = False,
    repeat: Annotated[int, typer.Option("--repeat", min=1, max=1_000, help="How often.")] = 1,
    registry: registries.Folder = DEFAULT_FOLDER,
    database: registries.Database = None,
    by: registries.By = None,
    config: options.Config = None,
    as_json: options.AsJson = False,
) -> int:
    """Rehearse the way back against the running service, under load, and measure it."""
    from stairways.config import load_settings
    from stairways.live.drill import drill as rehearse
    from stairways.live.drill_sample import sample_service
    from stairways.live.watch import Watch
    from stairways.tuning.shipped import shipped_gold

    settings = load_settings(config, {})

    def told(number: int, way: WayBack) -> None:
        if not as_json:
            typer.echo(f"{number + 1:>4}  {_line_of(way)}")

    def gone(folder: Path, *, on_sample: bool) -> DrillOutcome:
        with registries.opened(folder, None if on_sample else database) as opened:
            own = _paging_to(settings, folder / "pages.jsonl") if on_sample else settings
            restarter, pager = registries.restarter_and_pager(own, folder)
            return rehearse(
                opened,
                Watch(opened, restarter, pager, settings.resolved_triggers()),
                by=registries.who(by),
                repeat=repeat,
                most_seconds=settings.rollback.drill_seconds,
                watch_seconds=settings.rollback.watch_seconds,
                on_sample=on_sample,
                told=told,
            )

    if sample:
        with sample_service(shipped_gold()) as folder:
            outcome = gone(folder, on_sample=True)
        kept = _kept(outcome.record, registry, database)
    else:
        outcome, kept = gone(registry, on_sample=False), True
    if as_json:
        typer.echo(json.dumps(outcome.as_record() | {"recorded": kept}, indent=2))
        return 0 if outcome.record.passed else 1
    seconds = outcome.record.median_seconds_to_serving
    serving = "the target did not serve" if seconds is None else f"{seconds:.3f} s to serving in the median"
    typer.echo(f"{'passed' if outcome.record.passed else 'FAILED'}: {serving} of {outcome.record.n}")
    typer.echo(f"recorded in {registry}" if kept else f"not recorded: {registry} is no registry")
    return 0 if outcome.record.passed else 1


def _kept(record: DrillRecord, registry: Path, database: str | None) -> bool:
    """Record a drill on a sample in the registry at hand, if there is one: a first promotion needs it."""
    from stairways.errors import StorageError
    from stairways.registry.store import Store

    try:
        Store(registry).require()
    except StorageError:
        return False
    with registries.opened(registry, database) as opened:
        opened.history.record_drill(record)
    return True


def _paging_to(settings: Settings, file: Path) -> Settings:
    """Return settings whose pages go to a file: a drill in a registry of its own calls nobody."""
    paging = settings.paging.model_copy(update={"to": "log", "log_file": file, "least_severity": "info"})
    return settings.model_copy(update={"paging": paging})


def _line_of(way: WayBack) -> str:
    serving = "never" if way.seconds_to_serving is None else f"{way.seconds_to_serving:.3f} s"
    answers = (
        f"{way.n_answers:,} answers, {way.n_wrong} wrong, {way.n_dropped} lost, {way.n_retried} asked again"
    )
    failed = f"; failed: {', '.join(way.failed_steps)}" if way.failed_steps else ""
    return f"seen {way.seconds_to_detect:.3f} s, serving {serving}; {answers}{failed}"


def _told(outcome: RollbackOutcome, *, as_json: bool) -> int:
    rows = [vars(step) for step in outcome.steps]
    registries.show(rows, ("name", "status", "seconds"), as_json=as_json, wide="detail")
    if not as_json:
        seconds = outcome.seconds_to_serving
        serving = "" if seconds is None else f", serving after {seconds:.2f} s"
        typer.echo(f"{outcome.what_happened()}{serving}; promotions wait for `rollback resume`")
        if not outcome.finished:
            typer.echo("not every step is done: see why, then `stairways rollback finish`", err=True)
    return 0 if outcome.finished else 3
