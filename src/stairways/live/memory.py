"""What one worker hands to the next: what is kept of every client, in one sealed file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from stairways.registry.canonical import JsonObject, canonical_json
from stairways.registry.sealed import read_sealed, write_sealed_form

MEMORY_FILE = "clients.json"
_MEMORY = "memory"
_PRIVATE = 0o600


def write_memory(path: Path, memory: JsonObject) -> None:
    """Write a memory in one piece.

    It is encoded a client at a time: while one call of the encoder goes on no other thread gets a turn, and
    with thousands of clients in one call that would be a second without an answer.

    Raises:
        StorageError: If it can't be written; what stood there stays.
    """
    canonical = _by_name(
        memory,
        lambda part: _by_name(part, canonical_json) if isinstance(part, dict) else canonical_json(part),
    )
    write_sealed_form(path, _MEMORY, canonical, mode=_PRIVATE)


def read_memory(path: Path) -> JsonObject:
    """Return the memory in a file, empty where there is none.

    Raises:
        StorageError: If it is damaged.
    """
    if not path.exists():
        return {}
    return read_sealed(path, _MEMORY, remedy="remove it: clients begin with an empty memory then")


def _by_name(whole: JsonObject, encoded: Callable[[Any], bytes]) -> bytes:
    """Return the canonical form of an object from those of its parts."""
    parts = (canonical_json(name) + b":" + encoded(whole[name]) for name in sorted(whole))
    return b"{" + b",".join(parts) + b"}"
