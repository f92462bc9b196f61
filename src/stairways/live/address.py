"""Addresses of the service: a Unix socket, or a port of the machine itself."""

from __future__ import annotations

import ipaddress
import os
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

from stairways.errors import ConfigError, StorageError
from stairways.registry.files import storage_error

BACKLOG = 1_024
"""Connections that wait while one worker gives way to another."""
LONGEST_SOCKET_PATH = 100
_SOCKET_RIGHTS = 0o600


@dataclass(frozen=True)
class Address:
    """Where the service listens: either a socket's path, or a host and a port.

    Attributes:
        path: Of a Unix socket, None for TCP.
        host: Of the machine itself.
        port: 0 takes a free one.
    """

    path: Path | None = None
    host: str = "127.0.0.1"
    port: int = 0

    def __post_init__(self) -> None:
        if self.path is not None:
            length = len(os.fsencode(self.path))
            if length > LONGEST_SOCKET_PATH:
                raise ConfigError(
                    f"{length} bytes, a socket's path has {LONGEST_SOCKET_PATH} at most",
                    where=str(self.path),
                    remedy="choose a shorter one with --socket, or --port",
                )
            return
        if not _is_loopback(self.host):
            raise ConfigError(
                "is not this machine itself: the API has no passwords",
                where=self.host,
                remedy="use 127.0.0.1",
            )

    @classmethod
    def parse(cls, text: str) -> Address:
        """Return the address behind :meth:`__str__`."""
        if text.startswith("unix:"):
            return cls(path=Path(text.removeprefix("unix:")))
        host, _, port = text.removeprefix("http://").rpartition(":")
        return cls(host=host, port=int(port))

    def __str__(self) -> str:
        return f"unix:{self.path}" if self.path is not None else f"http://{self.host}:{self.port}"

    def listen(self) -> tuple[socket.socket, Address]:
        """Return a listening socket, and the address with its port.

        Raises:
            StorageError: If somebody listens there already, or the place can't be used.
        """
        if self.path is not None:
            return self._listen_at_path(self.path), self
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((self.host, self.port))
            listener.listen(BACKLOG)
        except OSError as error:
            listener.close()
            raise StorageError(
                error.strerror or str(error), where=str(self), remedy="choose another --port"
            ) from error
        return listener, Address(host=self.host, port=listener.getsockname()[1])

    def _listen_at_path(self, path: Path) -> socket.socket:
        if os.path.lexists(path):
            _require_left_behind(path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            path.unlink(missing_ok=True)
            listener.bind(str(path))
            path.chmod(_SOCKET_RIGHTS)
            listener.listen(BACKLOG)
        except OSError as error:
            listener.close()
            raise storage_error(error, path) from error
        return listener


def _require_left_behind(path: Path) -> None:
    """Refuse a place that is taken by anything but the socket of a process that is gone."""
    try:
        is_socket = stat.S_ISSOCK(path.lstat().st_mode)
        taken = is_socket and is_heard(path)
    except OSError as error:
        raise storage_error(error, path) from error
    if not is_socket:
        raise StorageError(
            "something that is no socket stands there", where=str(path), remedy="choose another --socket"
        )
    if taken:
        raise StorageError(
            "somebody listens there already", where=str(path), remedy="stop it, or choose another --socket"
        )


def is_heard(path: Path) -> bool:
    """Return whether somebody listens at a Unix socket.

    Raises:
        OSError: If it can't be asked.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except (BlockingIOError, TimeoutError):
            # so many wait for it that there is no room for one more
            return True
    return True


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
