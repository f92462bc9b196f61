"""``stairways keys``, ``sign`` and ``verify``: who vouches for an artifact, and whom we believe."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stairways.cli import options, registries
from stairways.cli.registries import DEFAULT_FOLDER
from stairways.cli.tables import text_of

if TYPE_CHECKING:
    from stairways.registry.keys import TrustList
    from stairways.registry.registry import Registry

app = typer.Typer(help="Keys that sign, and keys that are believed.", no_args_is_help=True)

_KeyId = Annotated[str, typer.Argument(help="Name of the key, as `keys list` shows it.")]
_Reason = Annotated[str, typer.Option("--reason", help="Why; kept in the trust list.")]
_OpenSSF = Annotated[
    bool, typer.Option("--openssf", help="In the OpenSSF format, by an EC key; needs the extra openssf.")
]
_Bundle = Annotated[
    Path | None, typer.Option("--bundle", help="With --openssf: the signature; by default ARTIFACT.sig.")
]


@app.callback()
def _group() -> None:
    """Keys that sign, and keys that are believed."""


@app.command("new")
def new(
    file: Annotated[Path, typer.Argument(help="Where the private key shall stand.")],
    openssf: Annotated[
        bool, typer.Option("--openssf", help="An EC key of P-256, for the OpenSSF format alone.")
    ] = False,
) -> int:
    """Make a key: the private one in FILE, for you alone, and the public one in FILE.pub."""
    if openssf:
        from stairways.registry.openssf import new_openssf_key

        key_id, public = new_openssf_key(file)
    else:
        from stairways.registry.keys import SigningKey

        key = SigningKey.new()
        key_id, public = key.key_id, key.write(file)
    typer.echo(f"key {key_id}: {file} signs, {public} is for others to trust")
    return 0


@app.command("trust")
def trust(
    public: Annotated[Path, typer.Argument(help="File of the public key.")],
    name: Annotated[str, typer.Option("--name", help="Whose it is.")],
    registry: registries.Folder = DEFAULT_FOLDER,
    database: registries.Database = None,
    by: registries.By = None,
) -> int:
    """Believe what a key signs from now on."""
    from stairways.registry.keys import key_id_of, read_public_key

    with registries.opened(registry, database) as opened:
        key = read_public_key(public)
        key_id = key_id_of(key)
        _change(opened, by, "key.trusted", key_id, lambda known, now: known.added(key, name, now))
    typer.echo(f"key {key_id} of {name} is trusted")
    return 0


@app.command("list")
def listing(registry: registries.Folder = DEFAULT_FOLDER, as_json: options.AsJson = False) -> int:
    """Show whose keys count, and since when."""
    from stairways.registry.store import Store

    rows = [vars(key) for key in Store(registry).trust().keys]
    columns = ("key_id", "added_at", "retired_at", "revoked_at")
    registries.show(rows, columns, as_json=as_json, wide="name", below="reason")
    return 0


@app.command("retire")
def retire(
    key_id: _KeyId,
    reason: _Reason,
    registry: registries.Folder = DEFAULT_FOLDER,
    database: registries.Database = None,
    by: registries.By = None,
) -> int:
    """Believe nothing new of a key; what it signed before counts."""
    with registries.opened(registry, database) as opened:
        _change(opened, by, "key.retired", key_id, lambda known, now: known.retired(key_id, reason, now))
    typer.echo(f"key {key_id} is retired")
    return 0


@app.command("revoke")
def revoke(
    key_id: _KeyId,
    reason: _Reason,
    registry: registries.Folder = DEFAULT_FOLDER,
    database: registries.Database = None,
    by: registries.By = None,
) -> int:
    """Believe nothing of a key, whenever it signed: somebody else may have it."""
    with registries.opened(registry, database) as opened:
        _change(opened, by, "key.revoked", key_id, lambda known, now: known.revoked(key_id, reason, now))
        champion = opened.store.champion()
        served = None if champion is None else _signer_of(opened, champion)
    typer.echo(f"key {key_id} is revoked")
    if served is not None:
        typer.echo(f"the champion is no longer believed: {served}; sign it anew or roll back", err=True)
    return 0


def _change(
    opened: Registry,
    by: str | None,
    action: str,
    key_id: str,
    change: Callable[[TrustList, dt.datetime], TrustList],
) -> None:
    now = opened.clock()
    opened.change_trust(lambda known: change(known, now), registries.who(by), action, key_id)


def _signer_of(opened: Registry, digest: str) -> str | None:
    from stairways.errors import StairwaysError

    try:
        opened.read(digest, opened.clock())
    except StairwaysError as error:
        return error.what
    return None


def sign(
    artifact: Annotated[Path, typer.Argument(help="Folder of the artifact.")],
    key: registries.Key = None,
    openssf: _OpenSSF = False,
    bundle: _Bundle = None,
) -> int:
    """Sign an artifact where it stands, or in a file beside it with --openssf."""
    if openssf:
        return _sign_openssf(artifact, key, bundle)
    _refuse_without_openssf(("--bundle", bundle))
    from stairways.cli.clock import utc_now
    from stairways.registry.keys import read_signing_key
    from stairways.registry.signatures import sign_artifact

    signature = sign_artifact(artifact, read_signing_key(key), utc_now())
    typer.echo(f"{artifact}: signed by key {signature.key_id} at {text_of(signature.signed_at)}")
    return 0


def verify(
    artifact: Annotated[Path, typer.Argument(help="Folder of the artifact.")],
    registry: registries.Folder = DEFAULT_FOLDER,
    openssf: _OpenSSF = False,
    public: Annotated[
        Path | None,
        typer.Option(
            "--public", help="With --openssf: the public key to believe, whatever the trust list says."
        ),
    ] = None,
    bundle: _Bundle = None,
) -> int:
    """Check every byte of an artifact, and who signed it."""
    if openssf:
        return _verify_openssf(artifact, public, bundle)
    _refuse_without_openssf(("--public", public), ("--bundle", bundle))
    from stairways.cli.clock import utc_now
    from stairways.registry.signatures import read_trusted
    from stairways.registry.store import Store

    found = read_trusted(artifact, Store(registry).trust(), utc_now())
    typer.echo(
        f"{found.loaded.digest}: signed by {found.signer.name} (key {found.signer.key_id}) "
        f"at {text_of(found.signature.signed_at)}; every byte is as it was signed"
    )
    return 0


def _sign_openssf(artifact: Path, key: Path | None, bundle: Path | None) -> int:
    from stairways.errors import SigningKeyError
    from stairways.registry.openssf import bundle_beside, sign_openssf

    if key is None:
        raise SigningKeyError(
            "no private key was given", where="--openssf", remedy="name its file with --key"
        )
    place = bundle or bundle_beside(artifact)
    digest = sign_openssf(artifact, key, place).digest
    typer.echo(f"{digest}: signed in the OpenSSF format by {key}, in {place}")
    return 0


def _verify_openssf(artifact: Path, public: Path | None, bundle: Path | None) -> int:
    from stairways.errors import SigningKeyError
    from stairways.registry.openssf import bundle_beside, verify_openssf

    if public is None:
        raise SigningKeyError(
            "no public key was given", where="--openssf", remedy="name its file with --public"
        )
    place = bundle or bundle_beside(artifact)
    digest = verify_openssf(artifact, public, place).digest
    typer.echo(f"{digest}: {place} is signed by the key in {public}; every byte is as it was signed")
    return 0


def _refuse_without_openssf(*given: tuple[str, Path | None]) -> None:
    from stairways.errors import ConfigError

    for name, value in given:
        if value is not None:
            raise ConfigError("is for the OpenSSF format alone", where=name, remedy="add --openssf")
