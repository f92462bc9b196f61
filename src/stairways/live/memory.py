"""What one worker hands to the next: what is kept of every client, in one sealed file."""

from __future__ import annotations

from pathlib import Path

from stairways.errors import StorageError
from stairways.registry.canonical import JsonObject, canonical_digest, canonical_json
from stairways.registry.files import read_json_object, write_bytes_atomic

MEMORY_FILE = "clients.json"
_PRIVATE = 0o600


def write_memory(path: Path, memory: JsonObject) -> None:
    """Write a memory in one piece.

    Raises:
        StorageError: If it can't be written; what stood there stays.
    """
    sealed = {"memory": memory, "sha256": canonical_digest(memory)}
    write_bytes_atomic(path, canonical_json(sealed), mode=_PRIVATE)


def read_memory(path: Path) -> JsonObject:
    """Return the memory in a file, empty where there is none.

    Raises:
        StorageError: If it is damaged.
    """
    if not path.exists():
        return {}
    remedy = "remove it: clients begin with an empty memory then"
    sealed = read_json_object(path, remedy=remedy)
    memory = sealed.get("memory")
    if not isinstance(memory, dict) or sealed.get("sha256") != canonical_digest(memory):
        raise StorageError("its digest is not that of its content", where=str(path), remedy=remedy)
    return memory
