"""Trips: what a rollback trigger found, the same object in log, database, pager and report.

A trigger has five outcomes, and two of them are no health: *not enough data* is what time mends, *could not
be measured* is what somebody must mend. Neither rolls back by itself. Where acting blind is worse than
standing still the trigger is fail-closed: while it could not be measured the caller must place no new order.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Outcome(StrEnum):
    """What a trigger came to."""

    HEALTHY = "healthy"
    WARNED = "warned"
    TRIPPED = "tripped"
    NOT_ENOUGH = "not enough data"
    UNMEASURED = "could not be measured"


class Consequence(StrEnum):
    """What follows when a trigger trips."""

    ROLLBACK = "rollback"
    ALERT = "alert"


@dataclass(frozen=True)
class Trip:
    """One trigger, judged.

    Attributes:
        name: Stable identifier, ``snake_case``.
        outcome: What it came to.
        consequence: What follows when it trips.
        fail_closed: Whether nobody may trade while it could not be measured.
        observed: What was measured; None where nothing could be.
        threshold: The bound in words, with its unit.
        n: Sample size behind ``observed``.
        reason: One sentence for a person.
    """

    name: str
    outcome: Outcome
    consequence: Consequence
    fail_closed: bool
    observed: float | None
    threshold: str
    n: int
    reason: str

    @property
    def tripped(self) -> bool:
        """Whether the trigger tripped, whatever follows."""
        return self.outcome is Outcome.TRIPPED

    @property
    def rolls_back(self) -> bool:
        """Whether the model must go."""
        return self.tripped and self.consequence is Consequence.ROLLBACK

    @property
    def stops(self) -> bool:
        """Whether no new order may be placed: blind, where blindness is not borne."""
        return self.fail_closed and self.outcome is Outcome.UNMEASURED

    def as_record(self) -> dict[str, Any]:
        """Return the trip as plain JSON types."""
        record = asdict(self)
        return record | {"outcome": self.outcome.value, "consequence": self.consequence.value}


def first_tripped(trips: Iterable[Trip]) -> Trip | None:
    """Return the first trigger that rolls back; None where none does."""
    return next((trip for trip in trips if trip.rolls_back), None)


def rolls_back(trips: Iterable[Trip]) -> bool:
    """Tell whether any trigger rolls back."""
    return first_tripped(trips) is not None


def stopping(trips: Iterable[Trip]) -> tuple[str, ...]:
    """Return the names of fail-closed triggers that could not be measured."""
    return tuple(trip.name for trip in trips if trip.stops)


def unmeasured(trips: Iterable[Trip]) -> tuple[str, ...]:
    """Return the names of all triggers that could not be measured."""
    return tuple(trip.name for trip in trips if trip.outcome is Outcome.UNMEASURED)
