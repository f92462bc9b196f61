"""The clock that commands hand to what they run."""

from __future__ import annotations

import datetime as dt


def utc_now() -> dt.datetime:
    """Return the present instant in UTC."""
    return dt.datetime.now(dt.UTC)
