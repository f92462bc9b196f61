"""Where numba keeps compiled code: a folder named after the sources it was compiled from.

numba's own cache watches only the file of the function that is cached. One that calls a compiled
function of another file would go on running that file's old code after an edit; a folder of its own
for every state of the sources makes that impossible.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import tempfile
from contextlib import suppress
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
    if VARIABLE in os.environ:
        return
    package = Path(__file__).resolve().parent
    places = [package / "__pycache__"]
    with suppress(RuntimeError):
        places.append(Path.home() / ".cache" / "stairways")
    home = next(filter(_can_be_written, places), None)
    if home is None:
        # compiled anew by each process: a folder in a shared place could hold somebody else's code
        home = Path(tempfile.mkdtemp(prefix="stairways-compiled-"))
        atexit.register(shutil.rmtree, home, ignore_errors=True)
    os.environ[VARIABLE] = str(home / f"compiled-{sources_digest(package)}")


def _can_be_written(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)
