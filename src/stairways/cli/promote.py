"""``stairways promote``, ``waive`` and ``audit``."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stairways.cli import options, registries
from stairways.cli.registries import DEFAULT_FOLDER

if TYPE_CHECKING:
    from stairways.registry.history_records import WaiverRecord
    from stairways.registry.promotion import Check
    from stairways.registry.registry import Registry

audit_app = typer.Typer(help="What happened to models, and whether that was changed.", no_args_is_help=True)


@audit_app.callback()
def _group() -> None:
    """What happened to models, and whether that was changed."""


def promote(
    model: registries.Model,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept for good.")],
    to: Annotated[
        str, options.choice("--to", "challenger", "champion", "gold", help="gold makes gold live.")
    ] = "champion",
    registry: registries.Folder = DEFAULT_FOLDER,
    database: registries.Database = None,
    by: registries.By = None,
    config: options.Config = None,
    as_json: options.AsJson = False,
) -> int:
    """Promote a model if every condition holds, and show each."""
    from stairways.config import load_settings
    from stairways.registry.history_records import Stage
    from stairways.registry.promotion import promote as try_to_promote

    settings = load_settings(config, {})
    with registries.opened(registry, database) as opened:
        digest = opened.resolve(model)
        outcome = try_to_promote(
            opened,
            digest,
            to=Stage(to),
            by=registries.who(by),
            reason=reason,
            gate=settings.resolved_gate(),
            drill_every=dt.timedelta(days=settings.rollback.drill_every_days),
        )
    rows = [vars(check) | {"reason": _reason(check, as_json=as_json)} for check in outcome.checks]
    registries.show(rows, ("name", "passed"), as_json=as_json, wide="reason")
    if not as_json:
        failures = ", ".join(check.name for check in outcome.failures())
        typer.echo(f"{digest[:12]} is {to}" if outcome.promoted else f"not promoted: {failures}")
    return 0 if outcome.promoted else 1


def _reason(check: Check, *, as_json: bool) -> str:
    return (
        check.reason if as_json or check.waived_by is None else f"{check.reason}; waived by {check.waived_by}"
    )


def waive(
    model: registries.Model,
    verdict: Annotated[str, typer.Argument(help="The verdict that may fail.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; shown in every later report.")],
    name: Annotated[str, typer.Option("--name", help="Who answers for it.")],
    key: registries.Key = None,
    registry: registries.Folder = DEFAULT_FOLDER,
    database: registries.Database = None,
) -> int:
    """Let one failed verdict of one model pass, by your signed word."""
    from stairways.config import load_settings
    from stairways.errors import ConfigError
    from stairways.evaluation.gates import required_names
    from stairways.registry.keys import read_signing_key
    from stairways.registry.registry import new_operation_id
    from stairways.registry.waivers import make_waiver, verify_waiver

    names = required_names(load_settings(None, {}).resolved_gate())
    if verdict not in names:
        raise ConfigError(
            f"no required verdict: {verdict}", where="waive", remedy=f"one of {', '.join(names)}"
        )
    with registries.opened(registry, database) as opened:
        now, digest = opened.clock(), opened.resolve(model)
        for standing in opened.history.waivers(digest):
            if standing.verdict == verdict and _counts(opened, standing):
                raise ConfigError(
                    f"{verdict} is waived already, by {standing.name}", where=f"model {digest[:12]}"
                )
        waiver = make_waiver(
            waiver_id=f"waiver-{new_operation_id(now)}",
            model_id=digest,
            verdict=verdict,
            name=name,
            reason=reason,
            at=now,
            key=read_signing_key(key),
        )
        # a word that does not count would stand in the way of one that does
        verify_waiver(waiver, opened.store.trust(), now)
        opened.history.waive(waiver)
    typer.echo(f"{verdict} of {waiver.model_id[:12]} is waived by {name}")
    return 0


def _counts(opened: Registry, waiver: WaiverRecord) -> bool:
    from stairways.errors import SignatureError
    from stairways.registry.waivers import verify_waiver

    try:
        verify_waiver(waiver, opened.store.trust(), opened.clock())
    except SignatureError:
        return False
    return True


@audit_app.command("show")
def show(
    last: Annotated[int, typer.Option("--last", min=1, help="How many rows.")] = 50,
    subject: Annotated[str | None, typer.Option("--subject", help="Rows about this alone.")] = None,
    registry: registries.Folder = DEFAULT_FOLDER,
    database: registries.Database = None,
    as_json: options.AsJson = False,
) -> int:
    """Show the last rows of the audit log."""
    with registries.opened(registry, database) as opened:
        rows = [vars(entry) for entry in opened.history.audit_entries(subject=subject, last=last)]
    registries.show(rows, ("seq", "at", "actor", "action", "subject"), as_json=as_json, below="details")
    return 0


@audit_app.command("verify")
def verify(
    head: Annotated[list[Path] | None, typer.Option("--head", help="A signed head kept elsewhere.")] = None,
    registry: registries.Folder = DEFAULT_FOLDER,
    database: registries.Database = None,
    as_json: options.AsJson = False,
) -> int:
    """Find any row that was changed, deleted, inserted or moved."""
    with registries.opened(registry, database) as opened:
        faults = opened.verify_audit(tuple(head or ()))
        seq = opened.history.audit_head().seq
    if as_json or faults:
        registries.show([vars(fault) for fault in faults], ("seq",), as_json=as_json, wide="what")
    elif not faults:
        typer.echo(f"{seq} rows, each as it was written")
    return 1 if faults else 0


@audit_app.command("sign")
def sign(
    key: registries.Key = None,
    registry: registries.Folder = DEFAULT_FOLDER,
    database: registries.Database = None,
) -> int:
    """Sign where the log ends; a copy kept elsewhere finds out whoever rewrites it."""
    from stairways.registry.keys import read_signing_key

    with registries.opened(registry, database) as opened:
        signed = opened.sign_audit(read_signing_key(key))
    typer.echo(f"row {signed.head.seq} is signed by key {signed.signature.key_id}; keep a copy elsewhere")
    return 0


@audit_app.command("clock")
def clock(
    reason: Annotated[str, typer.Option("--reason", help="What was wrong with the clock.")],
    key: registries.Key = None,
    registry: registries.Folder = DEFAULT_FOLDER,
    database: registries.Database = None,
    by: registries.By = None,
) -> int:
    """Say, signed, that the clock had run ahead and is right now: what was refused since goes on."""
    from stairways.registry.keys import read_signing_key

    with registries.opened(registry, database) as opened:
        entry = opened.correct_clock(registries.who(by), reason, read_signing_key(key))
    ahead = entry.details["tenures"]
    count = f"; {len(ahead)} became live before that, now at the latest" if ahead else ""
    typer.echo(f"row {entry.seq} says that the clock had run ahead to {entry.details['last_at']}{count}")
    return 0
