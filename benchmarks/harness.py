"""How speed is compared: the same work on both sides, in turns, and the median of the ratios of each round.

A machine's speed drifts within minutes, so figures of one side alone mean little. In each round every
contestant does its work once, in an order that turns from round to round; a ratio is taken within the round,
and its spread over the rounds is printed beside the median.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

Work = Callable[[], float]
"""Does some work once and returns how many units of it were done (steps, bars, files)."""


@dataclass(frozen=True)
class Bar:
    """What a row must reach.

    Attributes:
        limit: The bound.
        at_least: Whether more is better; if not, the bound is an upper one.
        text: The bar in words.
    """

    limit: float
    at_least: bool
    text: str

    def holds(self, observed: float) -> bool:
        """Whether a measured value reaches it; NaN does not."""
        return observed >= self.limit if self.at_least else observed <= self.limit


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: What was done.
        unit: Of ``ours`` and ``peer``.
        ours: This project's figure, the median over the rounds.
        peer: The peer's, None where there is none.
        against: Who the peer is.
        observed: What the bar judges: the ratio of ours to the peer's, or ours.
        spread: Least and largest of it over the rounds.
        bar: What ``observed`` must reach.
        rounds: Number of rounds.
        note: What else a reader must know.
    """

    name: str
    unit: str
    ours: float
    peer: float | None
    against: str
    observed: float
    spread: tuple[float, float]
    bar: Bar | None
    rounds: int
    note: str = ""
    more: Mapping[str, float] = field(default_factory=dict)

    @property
    def passed(self) -> bool | None:
        """Whether the bar holds; None where the row has none."""
        return None if self.bar is None else self.bar.holds(self.observed)

    def record(self) -> dict[str, Any]:
        """Return the row as plain JSON."""
        return {
            "name": self.name,
            "unit": self.unit,
            "ours": self.ours,
            "peer": self.peer,
            "against": self.against,
            "observed": self.observed,
            "spread": list(self.spread),
            "bar": None if self.bar is None else self.bar.text,
            "passed": self.passed,
            "rounds": self.rounds,
            "note": self.note,
            **({"more": dict(self.more)} if self.more else {}),
        }


def rates(
    contestants: Mapping[str, Work],
    rounds: int,
    *,
    clock: Callable[[], float] = time.perf_counter,
    warm_up: bool = True,
) -> dict[str, list[float]]:
    """Return units per second of each contestant in each round.

    Args:
        contestants: Work by name.
        rounds: Rounds that count.
        clock: Seconds.
        warm_up: Whether everyone works once before the first round: what is compiled, loaded or cached on a
            first call is no part of a rate.

    Raises:
        ValueError: If a contestant says it did nothing.
    """
    names = list(contestants)
    found: dict[str, list[float]] = {name: [] for name in names}
    if warm_up:
        for work in contestants.values():
            work()
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            began = clock()
            done = contestants[name]()
            seconds = clock() - began
            if not done > 0:
                raise ValueError(f"{name} did {done} units of work")
            found[name].append(done / seconds)
    return found


def ratios(ours: Sequence[float], peer: Sequence[float]) -> list[float]:
    """Return our rate over the peer's in each round."""
    return [one / other for one, other in zip(ours, peer, strict=True)]


def ratio_row(
    name: str,
    unit: str,
    found: Mapping[str, Sequence[float]],
    *,
    ours: str,
    peer: str,
    bar: Bar | None,
    note: str = "",
) -> Row:
    """Return the row of two contestants: the median of the rounds' ratios and their spread."""
    each = ratios(found[ours], found[peer])
    return Row(
        name=name,
        unit=unit,
        ours=median(found[ours]),
        peer=median(found[peer]),
        against=peer,
        observed=median(each),
        spread=(min(each), max(each)),
        bar=bar,
        rounds=len(each),
        note=note,
    )


def value_row(name: str, unit: str, values: Sequence[float], *, bar: Bar | None, note: str = "") -> Row:
    """Return the row of a figure that no peer has: the median over the rounds."""
    return Row(
        name=name,
        unit=unit,
        ours=median(values),
        peer=None,
        against="",
        observed=median(values),
        spread=(min(values), max(values)),
        bar=bar,
        rounds=len(values),
        note=note,
    )
