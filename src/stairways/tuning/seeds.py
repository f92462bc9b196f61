"""Seeds: independent streams spawned from the one seed of a run."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """What a stream of random numbers is for; the numbers are part of the result and never change."""

    DECISIONS = 1
    WEIGHTS = 2
    ENVIRONMENTS = 3
    TRAINING = 4
    BOOTSTRAP = 5
    SHADOW = 6
    PROBE = 7
    OVER_HOLD = 8
    AUTHORITY = 9


def stream(run_seed: int, purpose: Stream, *indices: int) -> np.random.SeedSequence:
    """Return the seed sequence of a purpose, and of a cycle or session within it."""
    return np.random.SeedSequence(run_seed, spawn_key=(int(purpose), *indices))


def key(run_seed: int, purpose: Stream, *indices: int) -> int:
    """Return the 64-bit key of a stream, for decisions keyed by (run, session, bar)."""
    return int(stream(run_seed, purpose, *indices).generate_state(1, np.uint64)[0])
