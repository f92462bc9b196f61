"""The feature stream beside the table of the whole history: the same numbers, bit for bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from builders import random_sessions
from stairways.errors import BarsError, MismatchError, StairwaysError
from stairways.market.feature_stream import FeatureStream
from stairways.market.features import FeatureConstants, build_table, compute_features
from stairways.market.regime import RegimeConfig, RegimeDetector
from stairways.trading.observation import observe, position_columns

QUICK = RegimeConfig(window_sessions=3, warm_up_sessions=4)


def table_of(sessions):
    raw = compute_features(sessions, QUICK)
    constants = FeatureConstants.fit(raw, sessions, slice(0, len(sessions) // 2))
    return observe(sessions, build_table(raw, constants)), constants


def lead(stream, sessions, first, *, segments=True):
    """Lead a stream through sessions from ``first`` on; yield (session, bar, row, reading)."""
    for i in range(first, len(sessions)):
        new = segments and i > 0 and sessions.segment[i] != sessions.segment[i - 1]
        stream.start_session(int(sessions.n_bars[i]), new_segment=bool(new))
        for b in range(int(sessions.n_bars[i])):
            row, reading = stream.update(sessions.open[i, b], sessions.close[i, b], sessions.volume[i, b])
            yield i, b, row, reading
        stream.end_session()


@pytest.mark.parametrize("n_symbols", [2, 3])
@pytest.mark.parametrize("interval_minutes", [5, 1])
@pytest.mark.parametrize("first", [0, 11])
def test_a_stream_is_the_history_bit_for_bit(n_symbols, interval_minutes, first):
    sessions = random_sessions(seed=4, n_sessions=30, n_symbols=n_symbols, interval_minutes=interval_minutes)
    segment = np.where(np.arange(len(sessions)) < 22, 0, 1)
    sessions = replace(sessions, segment=segment)
    market, constants = table_of(sessions)
    stream = FeatureStream.after(sessions.select(slice(0, first)), constants, QUICK)
    met = 0
    for i, b, row, reading in lead(stream, sessions, first):
        assert row.tobytes() == market.rows[i, b].tobytes(), (i, b)
        assert reading.score == market.score[i, b]
        assert reading.neutral == market.neutral[i, b]
        met += 1
    assert met == sessions.n_bars[first:].sum()
    assert (row[position_columns(n_symbols)] == 0.0).all()


def test_bars_without_volume_are_those_of_the_history():
    sessions = random_sessions(seed=5, n_sessions=12, n_symbols=2, interval_minutes=5)
    volume = sessions.volume.copy()
    volume[:, ::3, 0] = 0.0
    sessions = replace(sessions, volume=volume)
    market, constants = table_of(sessions)
    stream = FeatureStream.after(sessions.select(slice(0, 0)), constants, QUICK)
    for i, b, row, _ in lead(stream, sessions, 0):
        assert row.tobytes() == market.rows[i, b].tobytes(), (i, b)


def test_a_detector_that_has_seen_the_history_goes_on():
    sessions = random_sessions(seed=6, n_sessions=12, n_symbols=2, interval_minutes=5)
    market, constants = table_of(sessions)
    state = compute_features(sessions.select(slice(0, 8)), QUICK).regime.end_state
    stream = FeatureStream.after(
        sessions.select(slice(5, 8)), constants, detector=RegimeDetector.from_state(state)
    )
    assert [reading.score for *_, reading in lead(stream, sessions, 8)] == [
        market.score[i, b] for i in range(8, 12) for b in range(sessions.n_bars[i])
    ]


def test_what_is_out_of_order_or_unusable_is_refused():
    sessions = random_sessions(seed=7, n_sessions=6, n_symbols=2, interval_minutes=5)
    _, constants = table_of(sessions)
    bar = (sessions.open[0, 0], sessions.close[0, 0], sessions.volume[0, 0])
    stream = FeatureStream.after(sessions.select(slice(0, 0)), constants, QUICK)
    with pytest.raises(StairwaysError, match="no session is open"):
        stream.update(*bar)
    with pytest.raises(StairwaysError, match="no session is open"):
        stream.end_session()
    with pytest.raises(StairwaysError, match="a session of 79 bars, 1 to 78 are known"):
        stream.start_session(79)
    stream.start_session(1)
    with pytest.raises(BarsError, match="a volume of bar 0 is negative or not finite"):
        stream.update(bar[0], bar[1], [1.0, -1.0])
    with pytest.raises(BarsError, match="not positive and finite"):
        stream.update(bar[0], [0.0, 1.0], bar[2])
    stream.update(*bar)
    with pytest.raises(StairwaysError, match="the session of 1 bars is over"):
        stream.update(*bar)
    with pytest.raises(MismatchError, match="the regime detector is of 3 symbols"):
        FeatureStream(constants, RegimeDetector(QUICK, 3), 78)
    other = random_sessions(seed=7, n_sessions=2, n_symbols=3, interval_minutes=5)
    with pytest.raises(MismatchError, match="constants of"):
        FeatureStream.after(other, constants, QUICK)
