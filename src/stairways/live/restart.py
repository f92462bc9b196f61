"""Restarting the service, whoever keeps it up: the built-in supervisor, systemd, Docker, or a command."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from stairways.errors import ServiceError
from stairways.live.supervisor import tell_supervisor
from stairways.operations_config import ServiceConfig

SHOWN_LETTERS = 300


class Restarter(Protocol):
    """Replaces the process that answers."""

    def restart(self) -> str:
        """Restart the service; return how, in words.

        Raises:
            ServiceError: If it could not be done.
        """

    def stop(self) -> str:
        """Stop the service: what answers wrongly must rather not answer.

        Raises:
            ServiceError: If it could not be done.
        """


class SupervisorRestarter:
    """The built-in supervisor.

    Args:
        registry: Folder of the registry that it serves.
        seconds: How long a restart may take.
    """

    def __init__(self, registry: Path, seconds: float) -> None:
        self._registry = registry
        self._seconds = seconds

    def restart(self) -> str:
        """Have the worker replaced, connections waiting meanwhile."""
        answer = tell_supervisor(self._registry, "restart", self._seconds)
        return f"worker {answer['generation']} (pid {answer['pid']}) after {answer['seconds']:.2f} s"

    def stop(self) -> str:
        """Have the supervisor end."""
        tell_supervisor(self._registry, "stop", self._seconds)
        return "the supervisor ends"


class CommandRestarter:
    """Commands of somebody else's: systemd's, Docker's, one's own.

    Args:
        restart: Words of the command that restarts.
        stop: Words of the one that stops; none where there is no such command.
        seconds: How long one may take.
    """

    def __init__(self, restart: Sequence[str], stop: Sequence[str], seconds: float) -> None:
        self._restart = tuple(restart)
        self._stop = tuple(stop)
        self._seconds = seconds

    @classmethod
    def of_systemd(cls, unit: str, seconds: float) -> CommandRestarter:
        """Return the restarter of a systemd unit."""
        return cls(("systemctl", "restart", unit), ("systemctl", "stop", unit), seconds)

    @classmethod
    def of_docker(cls, container: str, seconds: float) -> CommandRestarter:
        """Return the restarter of a Docker container."""
        return cls(("docker", "restart", container), ("docker", "stop", container), seconds)

    def restart(self) -> str:
        """Run the command that restarts."""
        return self._run(self._restart)

    def stop(self) -> str:
        """Run the command that stops."""
        return self._run(self._stop)

    def _run(self, words: tuple[str, ...]) -> str:
        if not words:
            raise ServiceError("no command for it is set", where="service", remedy="set service.stop_command")
        shown = " ".join(words)
        # a file and no pipe: what the command leaves running would hold the pipe open, and us with it
        with tempfile.TemporaryFile() as errors:
            try:
                status = subprocess.run(
                    words,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=errors,
                    timeout=self._seconds,
                    check=False,
                ).returncode
            except OSError as error:
                raise ServiceError(f"could not be run ({error})", where=shown) from error
            except subprocess.TimeoutExpired as error:
                raise ServiceError(f"did not end within {self._seconds:g} s", where=shown) from error
            errors.seek(0)
            said = errors.read().decode(errors="replace").strip()[-SHOWN_LETTERS:]
        if status != 0:
            raise ServiceError(f"ended with {status}: {said}", where=shown)
        return shown


def restarter_of(config: ServiceConfig, registry: Path) -> Restarter:
    """Return the restarter that the settings name."""
    seconds = config.restart_seconds
    if config.restart == "systemd":
        return CommandRestarter.of_systemd(config.unit, seconds)
    if config.restart == "docker":
        return CommandRestarter.of_docker(config.container, seconds)
    if config.restart == "command":
        return CommandRestarter(config.restart_command, config.stop_command, seconds)
    return SupervisorRestarter(registry, seconds)
