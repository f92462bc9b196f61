"""A real PostgreSQL server of one's own, for as long as the tests run."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DEBIAN = Path("/usr/lib/postgresql")
UNPRIVILEGED = "nobody"
START_SECONDS = 60


def programs() -> Path | None:
    """Return the folder of initdb and postgres, None where there is no PostgreSQL."""
    on_path = shutil.which("initdb")
    if on_path is not None:
        return Path(on_path).resolve().parent
    found = sorted(DEBIAN.glob("*/bin/initdb"))
    return found[-1].parent if found else None


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """Give the URL of a server without a password, on a Unix socket of its own.

    Args:
        folder: Of PostgreSQL's programs.
    """
    root = Path(tempfile.mkdtemp(prefix="pg-"))
    user = UNPRIVILEGED if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    if os.geteuid() == 0:
        # the server refuses to run as root
        account = pwd.getpwnam(UNPRIVILEGED)
        os.chown(root, account.pw_uid, account.pw_gid)
    data = root / "data"
    options = {"user": user} if os.geteuid() == 0 else {}
    environment = {"PATH": f"{folder}:/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": str(root)}
    subprocess.run(
        [folder / "initdb", "-D", data, "-U", "tester", "-A", "trust", "--no-sync"],
        check=True,
        capture_output=True,
        env=environment,
        cwd=root,
        **options,
    )
    process = subprocess.Popen(
        [folder / "postgres", "-D", data, "-k", root, "-c", "listen_addresses=", "-c", "max_connections=60"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
        cwd=root,
        **options,
    )
    try:
        until = time.monotonic() + START_SECONDS
        ready = [folder / "pg_isready", "-h", root, "-U", "tester", "-d", "postgres"]
        while subprocess.run(ready, capture_output=True, env=environment, check=False).returncode:
            if time.monotonic() > until or process.poll() is not None:
                raise RuntimeError("PostgreSQL did not come up")
            time.sleep(0.05)
        yield f"postgresql://tester@/postgres?host={root}"
    finally:
        process.terminate()
        process.wait(START_SECONDS)
        shutil.rmtree(root, ignore_errors=True)
