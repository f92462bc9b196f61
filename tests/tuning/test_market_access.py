"""Opening a market for an artifact."""

from __future__ import annotations

import numpy as np

from builders import random_sessions
from stairways.market.dataset import Dataset
from stairways.market.features import compute_features
from stairways.market.regime import RegimeConfig

REGIME = RegimeConfig(window_sessions=3, warm_up_sessions=4)


def test_a_saved_regime_goes_on_where_it_stood():
    sessions = random_sessions(3, 12)
    whole = Dataset(sessions, compute_features(sessions, REGIME), None, None)
    later = sessions.select(slice(8, 12))
    cold = Dataset(later, compute_features(later, REGIME), None, None)
    warm = cold.going_on(whole.raw.regime.state_before(8))
    assert cold.raw.regime.neutral.any()
    assert not warm.raw.regime.neutral.any()
    assert np.array_equal(warm.raw.regime.score, whole.raw.regime.score[8:])
    assert np.array_equal(warm.raw.regime.z, whole.raw.regime.z[8:])
