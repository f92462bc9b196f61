"""Sealed files: a JSON object and the SHA-256 of its canonical form, in one file written in one piece."""

from __future__ import annotations

import hashlib
from pathlib import Path

from stairways.errors import StorageError
from stairways.registry.canonical import JsonObject, canonical_digest, canonical_json
from stairways.registry.files import read_json_object, write_bytes_atomic

_DIGEST = "sha256"


def write_sealed(
    path: Path, name: str, content: JsonObject, *, indent: int | None = None, mode: int = 0o666
) -> None:
    """Write an object under a name of its own, with its digest beside it.

    Raises:
        StorageError: If it can't be written; what stood there stays.
    """
    sealed = {name: content, _DIGEST: canonical_digest(content)}
    write_bytes_atomic(path, canonical_json(sealed, indent=indent), mode=mode)


def write_sealed_form(path: Path, name: str, canonical: bytes, *, mode: int = 0o666) -> None:
    """Write an object of which the canonical form is at hand, as :func:`write_sealed` does.

    Raises:
        StorageError: If it can't be written; what stood there stays.
    """
    digest = hashlib.sha256(canonical).hexdigest()
    seal = canonical_json(_DIGEST) + b":" + canonical_json(digest)
    write_bytes_atomic(path, b"{" + canonical_json(name) + b":" + canonical + b"," + seal + b"}", mode=mode)


def read_sealed(path: Path, name: str, *, remedy: str) -> JsonObject:
    """Return the object in a sealed file.

    Raises:
        StorageError: If it can't be read or is damaged.
    """
    sealed = read_json_object(path, remedy=remedy)
    content = sealed.get(name)
    if not isinstance(content, dict) or sealed.get(_DIGEST) != canonical_digest(content):
        raise StorageError("its digest is not that of its content", where=str(path), remedy=remedy)
    return content
