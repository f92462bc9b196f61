"""What a live process remembers of the bars behind it: so many, the oldest forgotten first."""

from __future__ import annotations

from typing import Generic, TypeVar

from stairways.errors import ConfigError

Value = TypeVar("Value")


class Recall(Generic[Value]):
    """Values by bar, at most so many.

    Args:
        size: Bars that are remembered.

    Raises:
        ConfigError: If it is below 1.
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ConfigError(f"{size} bars can't be remembered", remedy="remember at least 1")
        self.size = size
        self._values: dict[tuple[int, int], Value] = {}

    def __len__(self) -> int:
        return len(self._values)

    def note(self, date: int, bar: int, value: Value) -> None:
        """Remember a bar's value.

        Args:
            date: Days since 1970-01-01 of the session.
            bar: From 0.
            value: What to remember.
        """
        if len(self._values) == self.size:
            del self._values[next(iter(self._values))]
        self._values[date, bar] = value

    def of(self, date: int, bar: int) -> Value | None:
        """Return a bar's value; None if it was never noted, or is forgotten."""
        return self._values.get((date, bar))
