"""Verdicts: a decision as data, the same object in log, database, report and terminal."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

SKILL_MARK = "skill_proven"
"""The verdict that every later output of a candidate shows, whether skill is required or not."""


class Group(StrEnum):
    """What a verdict speaks of; a gate passes when every required group does."""

    BEHAVIOUR = "behaviour"
    SAFETY = "safety"
    SKILL = "skill"
    INFORMATION = "information"


@dataclass(frozen=True)
class Verdict:
    """One judged question.

    Attributes:
        name: Stable identifier, ``snake_case``.
        group: What it speaks of; ``INFORMATION`` never gates.
        passed: Whether it passed.
        observed: What was measured; None where nothing could be (then it failed).
        threshold: The bound in words, with its unit.
        n: Sample size behind ``observed``.
        reason: One sentence for a person.
        interval: Two-sided confidence interval of ``observed``, where there is one.
    """

    name: str
    group: Group
    passed: bool
    observed: float | None
    threshold: str
    n: int
    reason: str
    interval: tuple[float, float] | None = None

    def as_record(self) -> dict[str, Any]:
        """Return the verdict as plain JSON types."""
        record = asdict(self)
        record["group"] = self.group.value
        record["interval"] = list(self.interval) if self.interval is not None else None
        return record


@dataclass(frozen=True)
class GateResult:
    """The verdicts of one gate; fails closed.

    Attributes:
        verdicts: Every verdict given.
        required: Names that must be present and passed.
    """

    verdicts: tuple[Verdict, ...]
    required: tuple[str, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """Names that were required and never judged."""
        given = {verdict.name for verdict in self.verdicts}
        return tuple(name for name in self.required if name not in given)

    @property
    def passed(self) -> bool:
        """Whether every required verdict is there and passed."""
        by_name = {verdict.name: verdict for verdict in self.verdicts}
        return bool(self.required) and all(name in by_name and by_name[name].passed for name in self.required)

    @property
    def skill_proven(self) -> bool:
        """Whether the mark of proven skill was given and passed."""
        return any(verdict.name == SKILL_MARK and verdict.passed for verdict in self.verdicts)

    def failures(self) -> tuple[str, ...]:
        """Names of required verdicts that are missing or did not pass, in order."""
        passed = {verdict.name for verdict in self.verdicts if verdict.passed}
        return tuple(name for name in self.required if name not in passed)


def find(verdicts: Iterable[Verdict], name: str) -> Verdict:
    """Return the verdict of that name.

    Raises:
        KeyError: If it was never given.
    """
    for verdict in verdicts:
        if verdict.name == name:
            return verdict
    raise KeyError(name)
