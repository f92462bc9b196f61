"""Best so far: what a run would hand on, and how a checkpoint keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from stairways.control.tilt import Multipliers
from stairways.evaluation.bootstrap import ReturnSeries


@dataclass(frozen=True, eq=False)
class Best:
    """The best so far, and what the run would hand on.

    Attributes:
        cycle: Cycle it comes from; 0 is gold itself.
        returns: Its returns on the select sessions.
        weights: Its weights; None for gold.
        multipliers: Its multipliers.
        score_bps: Mean net result on the select sessions; -inf for gold and where the gate failed.
        improved: Whether it beat what was best before it.
    """

    cycle: int
    returns: ReturnSeries
    weights: dict[str, NDArray[np.float32]] | None = None
    multipliers: Multipliers | None = None
    score_bps: float = -np.inf
    improved: bool = False

    @property
    def in_band(self) -> bool:
        """Whether its cycle passed the gate."""
        return bool(np.isfinite(self.score_bps))

    def arrays(self, name: str) -> dict[str, NDArray[Any]]:
        """Return its arrays for a checkpoint, under a name."""
        kept: dict[str, NDArray[Any]] = {f"{name}.weights.{n}": v for n, v in (self.weights or {}).items()}
        return kept | {f"{name}.returns": self.returns.returns_ratio}

    def as_record(self) -> dict[str, Any]:
        """Return the rest as plain JSON types."""
        return {
            "cycle": self.cycle,
            "multipliers": None if self.multipliers is None else list(self.multipliers),
            "score_bps": self.score_bps if self.in_band else None,
            "improved": self.improved,
        }

    @classmethod
    def restored(
        cls,
        name: str,
        arrays: Mapping[str, NDArray[Any]],
        record: Mapping[str, Any],
        dates: NDArray[np.datetime64],
    ) -> Self:
        """Return what a checkpoint kept under a name; ``dates`` are those of the select sessions."""
        prefix = f"{name}.weights."
        weights = {n.removeprefix(prefix): v for n, v in arrays.items() if n.startswith(prefix)}
        saved, score = record["multipliers"], record["score_bps"]
        return cls(
            cycle=int(record["cycle"]),
            returns=ReturnSeries(dates, arrays[f"{name}.returns"]),
            weights=weights or None,
            multipliers=None if saved is None else Multipliers(float(saved[0]), float(saved[1])),
            score_bps=-np.inf if score is None else float(score),
            improved=bool(record["improved"]),
        )


def better_fallback(kept: Best | None, candidate: Best, *, passed: bool) -> Best:
    """Return the best in-band cycle by its select result; an in-band one always beats one that is not."""
    candidate = candidate if passed else replace(candidate, score_bps=-np.inf)
    if kept is None or not kept.in_band:
        return candidate
    return candidate if candidate.score_bps > kept.score_bps else kept
