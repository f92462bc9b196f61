"""Features and regime of a part: the whole history's numbers, bit for bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import random_sessions
from stairways.errors import BarsError, MismatchError
from stairways.market.feature_part import features_of_part
from stairways.market.features import RawFeatures, compute_features
from stairways.market.regime import RegimeConfig
from stairways.market.samples import sample_market
from stairways.market.sessions import Sessions

QUICK = RegimeConfig(window_sessions=3, warm_up_sessions=4)


def assert_same(found: RawFeatures, whole: RawFeatures, part: slice) -> None:
    assert found.symbols == whole.symbols
    assert np.array_equal(found.n_bars, whole.n_bars[part])
    assert found.values.tobytes() == whole.values[part].tobytes()
    for field in ("z", "score", "neutral", "carried"):
        assert getattr(found.regime, field).tobytes() == getattr(whole.regime, field)[part].tobytes()
    for index in range(part.stop - part.start + 1):
        assert found.regime.state_before(index) == whole.regime.state_before(part.start + index)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1000),
    n_symbols=st.integers(1, 3),
    interval=st.sampled_from((5, 10, 15, 30)),
    half_days=st.sets(st.integers(0, 11)),
    segments=st.sets(st.integers(1, 11)),
    ends=st.tuples(st.integers(0, 11), st.integers(1, 12)).filter(lambda ends: ends[0] < ends[1]),
    begun=st.integers(0, 3),
)
def test_a_part_equals_the_whole(seed, n_symbols, interval, half_days, segments, ends, begun):
    sessions = random_sessions(
        seed, 12 + begun, n_symbols, interval, half_days=sorted(half_days), segments=sorted(segments)
    )
    start = compute_features(sessions, QUICK).regime.state_before(begun) if begun else None
    later, part = sessions.select(slice(begun, None)), slice(*ends)
    whole = compute_features(later, QUICK, regime_start=start)
    assert_same(features_of_part(later, part, QUICK, regime_start=start), whole, part)


@pytest.mark.parametrize("part", [slice(0, 20), slice(45, 60), slice(99, 110)])
def test_a_part_of_a_sample_market_equals_the_whole(part: slice) -> None:
    sessions = sample_market("planted", n_sessions=110).sessions
    assert_same(features_of_part(sessions, part, threads=2), compute_features(sessions), part)


def _with_price(sessions: Sessions, session: int, value: float) -> Sessions:
    close = sessions.close.copy()
    close[session, 3, 0] = value
    return replace(sessions, close=close)


@pytest.mark.parametrize("session", [0, 11])
def test_every_session_is_checked_whichever_part_is_asked_for(session: int) -> None:
    sessions = _with_price(random_sessions(1, 12), session, -1.0)
    with pytest.raises(BarsError, match="close of bar 3"):
        features_of_part(sessions, slice(8, 10), QUICK)


def test_a_state_of_another_config_is_refused() -> None:
    sessions = random_sessions(1, 12)
    state = compute_features(sessions, QUICK).regime.state_before(2)
    with pytest.raises(MismatchError, match="asked for"):
        features_of_part(sessions, slice(8, 10), RegimeConfig(), regime_start=state)
