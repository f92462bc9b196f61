"""The same with an LSTM, a group of its own because its peer takes a quarter of an hour."""

from __future__ import annotations

from benchmarks.harness import Row
from benchmarks.time_to_sharpe import row_of


def rows() -> list[Row]:
    """An LSTM of 64 units."""
    return [row_of("lstm")]
