"""Versions of what a result depends on."""

from __future__ import annotations

import platform
from importlib.metadata import version

LIBRARIES = ("stairways", "torch", "numpy", "numba", "polars", "safetensors")


def library_versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that produce numbers."""
    return {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES}
