"""Opening a market for an artifact."""

from __future__ import annotations

import numpy as np

from builders import random_sessions
from stairways.market.dataset import OpenedMarket
from stairways.market.regime import RegimeConfig

REGIME = RegimeConfig(window_sessions=3, warm_up_sessions=4)


def test_a_saved_regime_goes_on_where_it_stood():
    sessions = random_sessions(3, 12)
    whole = OpenedMarket(sessions, None, None).with_features(REGIME)
    later = OpenedMarket(sessions.select(slice(8, 12)), None, None)
    cold = later.with_features(REGIME)
    warm = later.with_features(REGIME, regime_start=whole.raw.regime.state_before(8))
    assert cold.raw.regime.neutral.any()
    assert not warm.raw.regime.neutral.any()
    assert np.array_equal(warm.raw.regime.score, whole.raw.regime.score[8:])
    assert np.array_equal(warm.raw.regime.z, whole.raw.regime.z[8:])
