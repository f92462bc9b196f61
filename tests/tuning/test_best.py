"""The best so far: which cycle is handed on, and what a checkpoint keeps of it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ledgers import session_dates
from stairways.control.tilt import Multipliers
from stairways.evaluation.bootstrap import ReturnSeries
from stairways.tuning.best import Best, better_fallback

DATES = session_dates(4)


def made(cycle, score=-np.inf, **changes):
    returns = ReturnSeries(DATES, np.arange(4) * 0.001 * cycle)
    weights = {"policy.head.bias": np.full(9, cycle, np.float32)}
    return Best(
        cycle,
        returns,
        **({"weights": weights, "multipliers": Multipliers(1.5, -0.25)} | changes),
        score_bps=score,
    )


@pytest.mark.parametrize(
    ("kept", "candidate", "passed", "chosen"),
    [
        (None, made(1, 3.0), True, (1, True)),
        (None, made(1, 3.0), False, (1, False)),
        (made(1, 2.0), made(2, 3.0), True, (2, True)),
        (made(1, 3.0), made(2, 2.0), True, (1, True)),
        (made(1, 3.0), made(2, 3.0), True, (1, True)),
        (made(1, -5.0), made(2, 9.0), False, (1, True)),
        (made(1), made(2, -9.0), True, (2, True)),
        (made(1), made(2, 9.0), False, (2, False)),
    ],
)
def test_the_best_in_band_is_kept_and_one_in_band_beats_one_that_is_not(kept, candidate, passed, chosen):
    found = better_fallback(kept, candidate, passed=passed)
    assert (found.cycle, found.in_band) == chosen


@pytest.mark.parametrize(
    "best",
    [
        made(3, 1.25, improved=True),
        made(2),
        made(0, weights=None, multipliers=None),
        made(1, multipliers=None),
    ],
)
def test_a_checkpoint_gives_it_back(best):
    arrays = best.arrays("best") | {"other.weights.x": np.zeros(1), "step": np.zeros(1)}
    record = json.loads(json.dumps(best.as_record(), allow_nan=False))
    again = Best.restored("best", arrays, record, DATES)
    assert again.as_record() == best.as_record()
    assert again.score_bps == best.score_bps
    assert (again.returns.returns_ratio == best.returns.returns_ratio).all()
    assert (again.weights is None) == (best.weights is None)
    for name, value in (best.weights or {}).items():
        assert (again.weights[name] == value).all()
