"""The code that an experiment's results come from: every module of the package that its module reaches.

A mend of what an experiment never runs then asks for no new run of it.
"""

from __future__ import annotations

import ast
import hashlib
from importlib.util import find_spec
from pathlib import Path

from stairways.tuning.versions import COUNTED, LEFT_OUT, PACKAGE

ROOT = PACKAGE.name
PRESENTING = ("_findings", "_report", "_plots", "_pictures")
"""Endings of names of modules of this room that conclude and draw from what cells gave."""


def code_of(path: str) -> str:
    """Return a digest of all that the cells of the experiment at ``module:Class`` run.

    That is every module that the experiment imports, inside functions too and however indirectly, without
    what only shows results, and every file of the package that is no code: the gold that is shipped, the
    calendar.
    """
    content = hashlib.sha256()
    for name, file in reached(path.partition(":")[0]).items():
        content.update(f"{name}\0".encode() + file.read_bytes())
    for file in _data():
        content.update(f"{file.relative_to(PACKAGE).as_posix()}\0".encode() + file.read_bytes())
    return content.hexdigest()


def reached(module: str) -> dict[str, Path]:
    """Return the modules of the package that a module reaches, itself first, each with its file."""
    found: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in found or _only_shows(name):
            continue
        file = _file_of(name)
        if file is None:
            continue
        found[name] = file
        # importing a module runs the packages around it
        waiting += sorted(_imported(file) | {name.rpartition(".")[0]} - {""})
    return {name: found[name] for name in sorted(found, key=lambda one: (one != module, one))}


def _only_shows(name: str) -> bool:
    parts = name.split(".")
    if parts[0] != ROOT or len(parts) < 3:
        return False
    if parts[1] == "proof":
        return name.endswith(PRESENTING)
    return parts[1] in LEFT_OUT and f"{'/'.join(parts[1:])}.py" not in COUNTED


def _file_of(name: str) -> Path | None:
    """Return the file of a module, None for what is none: a class or a function that is imported by name."""
    if not name.startswith(f"{ROOT}."):
        spec = find_spec(name)
        return None if spec is None or spec.origin is None else Path(spec.origin)
    # by its place: to ask the import system would run every package around it
    place = PACKAGE.parent.joinpath(*name.split("."))
    files = (place / "__init__.py", place.with_suffix(".py"))
    return next((file for file in files if file.is_file()), None)


def _imported(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in names if name == ROOT or name.startswith(f"{ROOT}.")}


def _data() -> list[Path]:
    return [
        path
        for path in sorted(PACKAGE.rglob("*"))
        if path.is_file()
        and path.suffix != ".py"
        and "__pycache__" not in path.parts
        and path.relative_to(PACKAGE).parts[0] not in LEFT_OUT
    ]
