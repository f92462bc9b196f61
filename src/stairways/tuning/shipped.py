"""The gold artifact that is shipped with the package, for the sample market."""

from __future__ import annotations

from importlib import resources
from pathlib import Path


def shipped_gold() -> Path:
    """Return the folder of the shipped gold."""
    return Path(str(resources.files("stairways") / "data" / "gold"))
