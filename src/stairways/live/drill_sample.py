"""A drill in a registry and with a service of its own: nothing of anybody's is touched."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stairways.errors import ServiceError
from stairways.live.address import Address
from stairways.live.client import ServiceClient
from stairways.live.drill import make_sample
from stairways.live.supervisor import service_record, tell_supervisor

START_SECONDS = 60.0
_LOOK_SECONDS = 0.05


@contextmanager
def sample_service(gold: Path) -> Iterator[Path]:
    """Give the folder of a fresh registry whose service runs; both are gone afterwards.

    Args:
        gold: Artifact to make it from.

    Raises:
        ServiceError: If the service does not come up.
    """
    with tempfile.TemporaryDirectory(prefix="stairways-drill-") as name:
        folder = Path(name)
        make_sample(folder, gold, lambda: dt.datetime.now(dt.UTC)).close()
        registry = folder / "registry"
        command = [sys.executable, "-m", "stairways.live.supervisor", str(registry), str(folder / "socket")]
        process = subprocess.Popen(command)
        try:
            _wait_until_ready(registry, process)
            yield registry
            tell_supervisor(registry, "stop", START_SECONDS)
            process.wait(START_SECONDS)
        finally:
            process.kill()
            process.wait()


def _wait_until_ready(registry: Path, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            address = Address.parse(str(service_record(registry)["address"]))
        except ServiceError:
            time.sleep(_LOOK_SECONDS)
            continue
        with ServiceClient(address, START_SECONDS) as client:
            client.ready()
            return
    raise ServiceError(
        f"the drill's own service did not come up within {START_SECONDS:g} s", where=str(registry)
    )
