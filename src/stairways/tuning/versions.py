"""Versions of what a result depends on."""

from __future__ import annotations

import hashlib
import platform
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parents[1]
LEFT_OUT = ("cli", "reporting", "proof")
"""Rooms that show results, and that of the experiments, each of which counts the modules it reaches
(:func:`stairways.proof.sources.code_of`)."""
COUNTED = ("reporting/summary.py",)
"""Files of those rooms that make figures all the same: what backtests, evaluations and tunings report."""

LIBRARIES = ("stairways", "torch", "numpy", "scipy", "numba", "polars", "gymnasium", "safetensors")


def library_versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that produce numbers."""
    return {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES}


def made_with() -> dict[str, Any]:
    """Return what every result depends on beside its arguments: the code and the library versions."""
    return {"code": code_digest(), "versions": library_versions()}


@cache
def code_digest() -> str:
    """Return a digest of every file of the package that makes results, the shipped gold included.

    What only shows them is left out, so that a better picture asks for no new run.
    """
    content = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*")):
        parts, name = path.relative_to(PACKAGE).parts, path.relative_to(PACKAGE).as_posix()
        counts = parts[0] not in LEFT_OUT or name in COUNTED
        if path.is_file() and counts and "__pycache__" not in parts:
            content.update(f"{name}\0".encode() + path.read_bytes())
    return content.hexdigest()
