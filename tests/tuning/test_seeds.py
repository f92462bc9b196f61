"""Seeds: independent streams; the numbers are part of every result and never change."""

from __future__ import annotations

import numpy as np

from stairways.tuning.seeds import Stream, key, stream


def test_the_numbers_of_the_streams_never_change():
    assert {purpose.name: int(purpose) for purpose in Stream} == {
        "DECISIONS": 1,
        "WEIGHTS": 2,
        "ENVIRONMENTS": 3,
        "TRAINING": 4,
        "BOOTSTRAP": 5,
        "SHADOW": 6,
        "PROBE": 7,
        "OVER_HOLD": 8,
        "AUTHORITY": 9,
    }


def test_every_run_purpose_and_index_has_a_stream_of_its_own():
    """Row 20: the plan's 24 pairs of cycle and day gave 10 seeds."""
    keys = {
        key(run, purpose, *indices)
        for run in range(5)
        for purpose in Stream
        for indices in [(), *((cycle,) for cycle in range(8)), *((c, d) for c in range(8) for d in range(3))]
    }
    assert len(keys) == 5 * len(Stream) * (1 + 8 + 24)


def test_a_key_is_the_first_number_of_its_stream():
    sequence = np.random.SeedSequence(7, spawn_key=(int(Stream.SHADOW), 3))
    assert key(7, Stream.SHADOW, 3) == int(sequence.generate_state(1, np.uint64)[0])
    assert stream(7, Stream.SHADOW, 3).state == sequence.state
