"""The code that an experiment's results come from: the package's, and the modules of this room it reaches.

A mend of one experiment then asks for no new run of the others.
"""

from __future__ import annotations

import ast
import hashlib
from importlib.util import find_spec
from pathlib import Path

from stairways.tuning.versions import code_digest

ROOM = "stairways.proof"
PRESENTING = ("_findings", "_report", "_plots", "_pictures")
"""Endings of names of modules that conclude and draw from what cells gave."""


def code_of(path: str) -> str:
    """Return a digest of all code that the cells of the experiment at ``module:Class`` run.

    That is the package without what shows results, and every module of this room that the experiment
    imports, inside functions too and however indirectly.
    """
    content = hashlib.sha256(code_digest().encode())
    for name, file in reached(path.partition(":")[0]).items():
        content.update(f"{name}\0".encode() + file.read_bytes())
    return content.hexdigest()


def reached(module: str) -> dict[str, Path]:
    """Return the modules of this room that a module reaches, itself first, each with its file."""
    found: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in found or name.endswith(PRESENTING):
            continue
        spec = find_spec(name)
        if spec is None or spec.origin is None:
            continue
        found[name] = Path(spec.origin)
        waiting += sorted(_imported(found[name]))
    return {name: found[name] for name in sorted(found, key=lambda one: (one != module, one))}


def _imported(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == ROOM:
            names |= {f"{ROOM}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return {name for name in names if name.startswith(f"{ROOM}.")}
