"""What one worker hands to the next: what is kept of every client, in one sealed file."""

from __future__ import annotations

from pathlib import Path

from stairways.registry.canonical import JsonObject
from stairways.registry.sealed import read_sealed, write_sealed

MEMORY_FILE = "clients.json"
_MEMORY = "memory"
_PRIVATE = 0o600


def write_memory(path: Path, memory: JsonObject) -> None:
    """Write a memory in one piece.

    Raises:
        StorageError: If it can't be written; what stood there stays.
    """
    write_sealed(path, _MEMORY, memory, mode=_PRIVATE)


def read_memory(path: Path) -> JsonObject:
    """Return the memory in a file, empty where there is none.

    Raises:
        StorageError: If it is damaged.
    """
    if not path.exists():
        return {}
    return read_sealed(path, _MEMORY, remedy="remove it: clients begin with an empty memory then")
