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
import sys
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
    """Name the cache folder in the environment; call it before numba loads.

    In a folder that is named there one of our own is taken, for the same reason. A folder that is named and
    can't be written is told on standard error, and another is taken: numba would without a word keep its
    files beside the sources, where the code of an older state may stand, or give up.

    Raises:
        OSError: If no folder at all can be written.
    """
    package = Path(__file__).resolve().parent
    folder = f"compiled-{sources_digest(package)}"
    named, refusal = os.environ.get(VARIABLE), None
    if named:
        # a process of ours hands on what it took
        place = Path(named) if Path(named).name == folder else Path(named) / folder
        refusal = _refusal(place)
        if refusal is None:
            os.environ[VARIABLE] = str(place)
            return
    places = [package / "__pycache__" / folder]
    with suppress(RuntimeError):
        places.append(Path.home() / ".cache" / "stairways" / folder)
    found = next((one for one in places if _refusal(one) is None), None)
    if found is None:
        # compiled anew by each process: a folder in a shared place could hold somebody else's code
        home = Path(tempfile.mkdtemp(prefix="stairways-compiled-"))
        atexit.register(shutil.rmtree, home, ignore_errors=True)
        found = home / folder
    os.environ[VARIABLE] = str(found)
    if refusal is not None:
        reason = refusal.strerror or refusal
        sys.stderr.write(
            f"stairways: {VARIABLE}={named}: {reason}; compiled code is kept in {found} instead: "
            "name a folder that you may write to, or none\n"
        )


def _refusal(folder: Path) -> OSError | None:
    """Return why numba can't keep files in a folder, None if it can.

    Every source folder has one of its own in it: what another user has made there can't be written either.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for place in (folder, *filter(Path.is_dir, folder.iterdir())):
            with tempfile.TemporaryFile(dir=place):
                pass
    except OSError as error:
        return error
    return None
