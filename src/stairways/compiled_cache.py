"""Where numba keeps compiled code: a folder named after the sources it was compiled from.

numba's own cache watches only the file of the function that is cached. One that calls a compiled
function of another file would go on running that file's old code after an edit; a folder of its own
for every state of the sources makes that impossible.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

VARIABLE = "NUMBA_CACHE_DIR"
MARK = b"njit"


def sources_digest(package: Path) -> str:
    """Return a digest of every source file of a package that holds compiled functions."""
    content = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        text = path.read_bytes()
        if MARK in text:
            content.update(str(path.relative_to(package)).encode() + b"\0" + text)
    return content.hexdigest()[:16]


def use_own_cache() -> None:
    """Name the cache folder in the environment, unless it names one; call it before numba loads."""
    package = Path(__file__).resolve().parent
    home = package / "__pycache__"
    if not os.access(package, os.W_OK):
        home = Path.home() / ".cache" / "stairways"
    os.environ.setdefault(VARIABLE, str(home / f"compiled-{sources_digest(package)}"))
