"""A registry, its keys and its service, run by commands in processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from stairways.evaluation.gate_config import GateConfig
from stairways.evaluation.gates import required_names
from stairways.live.address import Address
from stairways.live.client import ServiceClient
from stairways.registry.artifact import read_artifact, write_artifact
from stairways.tuning.shipped import shipped_gold

COMMAND = (sys.executable, "-c", "from stairways.cli.main import main; main()")
SECONDS = 60.0


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The one line on standard error."""
        assert self.err.startswith("stairways: "), self.err
        assert self.err.count("\n") == 1, self.err
        return self.err.removeprefix("stairways: ").strip()


def write_gold(place: Path) -> str:
    """Write the shipped gold, unsigned; return its digest."""
    loaded = read_artifact(shipped_gold())
    return write_artifact(place, loaded.artifact, loaded.record)


def write_candidate(place: Path, number: int, *, failed: tuple[str, ...] = (), sharpe: float = 1.0) -> str:
    """Write a candidate with gold's content, told apart by a number, whose record has every verdict."""
    loaded = read_artifact(shipped_gold())
    weights = {name: values.copy() for name, values in loaded.artifact.weights.items()}
    weights["value.head.bias"] += number / 1_000
    artifact = replace(loaded.artifact, role="candidate", parent_digest=loaded.digest, weights=weights)
    verdicts = [
        {
            "name": name,
            "group": "behaviour",
            "passed": name not in failed,
            "observed": 0.5,
            "threshold": "as it should be",
            "n": 60,
            "reason": f"{name} was looked at",
            "interval": None,
        }
        for name in required_names(GateConfig())
    ]
    figures = {
        "drift_ratio": 0.01,
        "max_intraday_drawdown_ratio": 0.01,
        "n_sessions": 60,
        "sharpe": sharpe,
        "trades_per_session": 16.0,
    }
    return write_artifact(place, artifact, {"verdicts": verdicts, "figures": figures, "accepted": not failed})


@dataclass
class Site:
    """A folder with a registry, a key, and whatever runs there."""

    folder: Path
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def registry(self) -> Path:
        """Folder of the registry."""
        return self.folder / "registry"

    @property
    def environment(self) -> dict[str, str]:
        """What every command finds in its environment."""
        return os.environ | {
            "COLUMNS": "80",
            "STAIRWAYS_REGISTRY": str(self.registry),
            "TMPDIR": str(self.folder),
        }

    def run(self, *arguments: object, status: int = 0) -> Ran:
        """Run a command to its end, and ask for its exit status."""
        words = [*COMMAND, *map(str, arguments)]
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            cwd=self.folder,
            env=self.environment,
            check=False,
        )
        assert done.returncode == status, (arguments, done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stdout + done.stderr
        if status == 2:
            assert done.stderr.count("\n") == 1, done.stderr
        return Ran(done.returncode, done.stdout, done.stderr)

    def json(self, *arguments: object, status: int = 0) -> Any:
        """Run a command with ``--json`` and return what it prints."""
        return json.loads(self.run(*arguments, "--json", status=status).out)

    def start(self, *arguments: object) -> Path:
        """Start a command that goes on; return the file with what it says."""
        said = self.folder / f"{arguments[0]}-{len(self.running)}.txt"
        with said.open("wb") as stream:
            process = subprocess.Popen(
                [*COMMAND, *map(str, arguments)],
                stdout=stream,
                stderr=stream,
                cwd=self.folder,
                env=self.environment,
            )
        self.running.append(process)
        return said

    def serve(self) -> Path:
        """Start the service and wait until it answers."""
        said = self.start("serve", "--socket", self.folder / "socket")
        wait_for(lambda: "serving at" in said.read_text(), said)
        return said

    def watch(self) -> Path:
        """Start the watch and wait until it looks."""
        said = self.start("watch")
        wait_for(lambda: "watching" in said.read_text(), said)
        return said

    def answers(self) -> str:
        """Return the digest of the model that answers."""
        with ServiceClient(Address(path=self.folder / "socket"), 30.0) as client:
            return client.ready()

    def new_key(self, name: str) -> Path:
        """Make a key and trust it."""
        file = self.folder / f"{name}.key"
        self.run("keys", "new", file)
        self.run("keys", "trust", f"{file}.pub", "--name", name)
        return file

    def take_in(self, place: Path, key: Path) -> None:
        """Sign an artifact and add it."""
        self.run("sign", place, "--key", key)
        self.run("registry", "add", place)

    def end(self) -> None:
        """Stop everything that was started."""
        for process in self.running[::-1]:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(15.0)
            if process.poll() is None:
                process.kill()
                process.wait()


def wait_for(condition: Any, said: Path) -> None:
    """Wait until something holds."""
    until = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < until, said.read_text()
        time.sleep(0.05)


def site_with_gold(folder: Path) -> tuple[Site, Path, str]:
    """Make a registry whose gold is live and whose way back was drilled on a sample; return gold's digest."""
    site = Site(folder)
    site.run("registry", "create")
    key = site.new_key("ann")
    gold = write_gold(folder / "gold")
    site.take_in(folder / "gold", key)
    site.run("promote", "gold", "--to", "gold", "--reason", "the first model")
    return site, key, gold
