"""The routing key: who is paged. Whoever has it can wake people, so it is shown nowhere."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from stairways.errors import ConfigError
from stairways.registry.files import storage_error

HIDDEN = "[routing key]"
_MAX_FILE_BYTES = 4_096
_KEY = re.compile(r"[A-Za-z0-9_-]{16,128}")


class RoutingKey:
    """A secret that shows itself to :meth:`reveal` alone.

    Args:
        value: 16 to 128 letters, digits, ``_`` and ``-``; PagerDuty's have 32.
        where: File or variable it comes from, for the error.

    Raises:
        ConfigError: If it is something else; the message does not hold it.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str, where: str = "routing key") -> None:
        if not _KEY.fullmatch(value):
            raise ConfigError(
                f"the {len(value)} characters there are no routing key",
                where=where,
                remedy="put the integration key of an Events API v2 integration there and nothing else",
            )
        self._value = value

    def reveal(self) -> str:
        """Return the key itself, for the body of a request."""
        return self._value

    def hide_in(self, text: str) -> str:
        """Return a text without the key: a receiver may repeat what it was sent."""
        return text.replace(self._value, HIDDEN)

    def __repr__(self) -> str:
        return HIDDEN

    def __reduce__(self) -> NoReturn:
        raise TypeError("a routing key is not written anywhere")

    @classmethod
    def from_file(cls, path: Path) -> RoutingKey:
        """Read the key from a file that its owner alone may read.

        Raises:
            ConfigError: If others have rights on it, it is someone else's, or holds no key.
            StorageError: If it can't be read.
        """
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as stream:
                # Of what was opened, not of the name: the name may lead elsewhere the next moment.
                _check_rights(os.fstat(descriptor), path)
                content = stream.read(_MAX_FILE_BYTES)
        except OSError as error:
            raise storage_error(error, path) from error
        return cls(content.decode("ascii", "replace").strip(), str(path))

    @classmethod
    def from_environment(cls, name: str, environment: Mapping[str, str]) -> RoutingKey:
        """Take the key from an environment variable.

        Raises:
            ConfigError: If it is not set, or holds no key.
        """
        value = environment.get(name, "").strip()
        if not value:
            raise ConfigError(
                "the routing key is missing",
                where=f"environment variable {name}",
                remedy="set it, or name a file in paging.routing_key_file",
            )
        return cls(value, f"environment variable {name}")


def _check_rights(status: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError("is no regular file", where=str(path), remedy="name the file that holds the key")
    rights = stat.S_IMODE(status.st_mode)
    if rights & 0o077:
        raise ConfigError(
            f"others have rights on it ({rights:04o})",
            where=str(path),
            remedy="give it to its owner alone: chmod 600",
        )
    if status.st_uid not in (os.geteuid(), 0):
        raise ConfigError(
            "belongs to another user", where=str(path), remedy="make it a file of the user that pages"
        )
