"""The largest and the least of figures that a bar is held against, where none and NaN may not pass."""

from __future__ import annotations

import math
from collections.abc import Iterable


def largest(values: Iterable[float]) -> float | None:
    """Return the largest value; NaN where one is NaN, None where there is none.

    The built-in ``max`` passes over a NaN behind another value.
    """
    found = [float(value) for value in values]
    if not found:
        return None
    return math.nan if any(map(math.isnan, found)) else max(found)


def least(values: Iterable[float]) -> float | None:
    """Return the least value; NaN where one is NaN, None where there is none."""
    found = largest(-float(value) for value in values)
    return None if found is None else -found
