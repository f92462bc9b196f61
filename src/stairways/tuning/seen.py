"""Which sessions an artifact or its gold has seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stairways.unpacking import Packed


def seen_sessions(
    packed: Packed, parent: Packed | None, source: str, dates: NDArray[np.datetime64]
) -> NDArray[np.bool_]:
    """Return which sessions an artifact or its gold has seen on the same bars, ``(n_sessions,)``.

    All real bars count as the same: a folder that was copied, renamed or added to makes nothing unseen.

    Args:
        packed: The artifact.
        parent: Its gold; None for a gold, or where it is not at hand.
        source: Where the judged bars come from.
        dates: ``(n_sessions,)`` session dates.
    """
    seen_by = [(packed, packed.seen)]
    if parent is not None:
        # what a candidate inherits was seen on its gold's bars, which may be others than its own
        own = tuple(span for span in packed.seen if span not in parent.seen)
        seen_by = [(packed, own), (parent, parent.seen)]
    found = np.zeros(len(dates), dtype=np.bool_)
    for one, ranges in seen_by:
        if _bars_of(one.artifact.data_source) == _bars_of(source):
            for span in ranges:
                first, last = np.datetime64(span.first, "D"), np.datetime64(span.last, "D")
                found |= (dates >= first) & (dates <= last)
    return found


def _bars_of(source: str) -> str:
    """Return what makes bars the same: a synthetic market's name and seed, or that they are real."""
    return source if source.startswith("SYNTHETIC") else "real bars"
