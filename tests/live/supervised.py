"""A supervisor in a process of its own, whose workers can be made to fail, for the tests that need one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stairways.errors import ServiceError
from stairways.live.address import Address
from stairways.live.client import ServiceClient
from stairways.live.supervisor import service_record

PATIENCE_SECONDS = 90.0
"""A bound on hangs, and no claim."""

_SUPERVISOR = """
import sys
from pathlib import Path
from stairways.live.address import Address
from stairways.live.supervisor import Supervisor
registry, address, sys.executable = Path(sys.argv[1]), Address.parse(sys.argv[2]), sys.argv[3]
Supervisor(registry, address, seed=7, say=lambda line: print(line, flush=True)).run()
"""
_PYTHON = """#!{python}
import os, sys, time
from pathlib import Path
folder = Path(__file__).parent
def meant(name):
    return (folder / name).exists()
if meant("broken"):
    sys.exit(3)
if meant("hanging"):
    time.sleep(600)
if meant("fleeting"):
    (folder / "fleeting").unlink()
    os.write(int(sys.argv[sys.argv.index("--tell") + 1]), b"prepared\\n")
    sys.exit(3)
os.execv({python!r}, [{python!r}, *sys.argv[1:]])
"""


def until(true: Callable[[], object]) -> None:
    """Wait for something that must come."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    """Return whether a process runs, other than as a zombie."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def listens(path: Path) -> bool:
    """Return whether somebody accepts connections at a path."""
    with socket.socket(socket.AF_UNIX) as probe, suppress(OSError):
        probe.connect(str(path))
        return True
    return False


class Supervised:
    """A supervisor that runs.

    Args:
        registry: Folder.
        address: Where it shall listen.
        folder: Of its own, for what it says, and for the files that make its next workers fail.
    """

    def __init__(self, registry: Path, address: Address, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.registry = registry
        self.folder = folder
        self.socket = address.path
        python = folder / "python"
        python.write_text(_PYTHON.format(python=sys.executable))
        python.chmod(0o755)
        command = [sys.executable, "-c", _SUPERVISOR, str(registry), str(address), str(python)]
        with (folder / "said").open("ab") as said:
            self.process = subprocess.Popen(command, stdout=said, stderr=said)

    @property
    def said(self) -> str:
        """What it and its workers said."""
        return (self.folder / "said").read_text()

    def is_ready(self) -> bool:
        """Return whether its record is there."""
        assert self.process.poll() is None, self.said
        with suppress(ServiceError):
            return service_record(self.registry)["pid"] == self.process.pid
        return False

    def client(self) -> ServiceClient:
        """Return a client that waits long."""
        return ServiceClient(Address.parse(service_record(self.registry)["address"]), PATIENCE_SECONDS)

    def worker(self) -> int:
        """Return the pid of the worker that answers."""
        with self.client() as client:
            return int(client.health()["pid"])

    def make(self, fault: str) -> Path:
        """Make the next workers fail, as long as the file that is returned stands."""
        place = self.folder / fault
        place.touch()
        return place

    def end(self, by: int = signal.SIGTERM) -> int:
        """End it by a signal; return its status."""
        self.process.send_signal(by)
        return self.process.wait(PATIENCE_SECONDS)


@contextmanager
def supervised(registry: Path, address: Address, folder: Path, *, ready: bool = True) -> Iterator[Supervised]:
    """Run a supervisor; it and its workers are gone afterwards."""
    one = Supervised(registry, address, folder)
    try:
        if ready:
            until(one.is_ready)
        yield one
    finally:
        if one.process.poll() is None:
            one.process.terminate()
        try:
            one.process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            one.process.kill()
            one.process.wait()
            raise


def kill(pid: int) -> None:
    """Kill a process at once."""
    os.kill(pid, signal.SIGKILL)
