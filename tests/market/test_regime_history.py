"""The whole-history form of the regime detector: the streaming form's numbers, bit for bit."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from builders import random_sessions
from stairways.errors import BarsError, MismatchError, RangeError
from stairways.market.regime import DEFAULT_REGIME, RegimeConfig, RegimeDetector
from stairways.market.regime_history import regime_history

QUICK = RegimeConfig(window_sessions=3, warm_up_sessions=2)


def _assert_streaming_agrees(sessions, config):
    series = regime_history(sessions, config)
    detector = RegimeDetector(config, sessions.n_symbols)
    for i in range(len(sessions)):
        assert series.state_before(i) == detector.state()
        detector.start_session()
        for t in range(sessions.n_bars[i]):
            reading = detector.update(sessions.open[i, t], sessions.close[i, t])
            assert reading.z == tuple(series.z[i, t])
            assert reading.score == series.score[i, t]
            assert (reading.neutral, reading.carried) == (series.neutral[i, t], series.carried[i, t])
        detector.end_session()
    assert series.end_state == detector.state()


@pytest.mark.parametrize("n_symbols", [1, 2, 3])
@pytest.mark.parametrize("interval_minutes", [5, 15])
def test_history_equals_streaming_bit_for_bit(n_symbols, interval_minutes):
    sessions = random_sessions(
        21, 12, n_symbols, interval_minutes, half_days=(0, 6), segments=(3, 7), filled_ratio=0.2
    )
    _assert_streaming_agrees(sessions, QUICK)


def test_history_equals_streaming_at_the_defaults():
    _assert_streaming_agrees(random_sessions(22, 60, 2, 15, half_days=(55,), segments=(51,)), DEFAULT_REGIME)


def test_inputs_by_hand():
    """Two symbols that double and halve in turn: returns of opposite sign, correlation -1."""
    sessions = random_sessions(0, 1, 2, 15)
    close = np.empty((1, 26, 2))
    close[0, :, 0] = np.where(np.arange(26) % 2 == 0, 200.0, 100.0)
    close[0, :, 1] = np.where(np.arange(26) % 2 == 0, 50.0, 100.0)
    open_ = np.concatenate((np.full((1, 1, 2), 100.0), close[:, :-1]), axis=1)
    moments = regime_history(replace(sessions, open=open_, close=close)).session_moments[0]
    assert moments[0].tolist() == [7.0] * 3  # bars 19 to 25
    # 20 bars later the price is where it was; returns are +1 and -1/2 in turn: deviation 3/4
    assert moments[1] == pytest.approx([0.0, 0.75, 2.0], abs=1e-15)
    assert moments[3] == pytest.approx([0.0, 0.0, 0.0], abs=1e-25)


def test_a_symbol_that_does_not_move_counts_as_correlation_zero():
    sessions = random_sessions(2, 1, 2, 15)
    close, open_ = np.array(sessions.close), np.array(sessions.open)
    close[..., 1] = open_[..., 1] = 10.0
    still = regime_history(replace(sessions, open=open_, close=close))
    assert still.session_moments[0, 1, 2] == 1.0
    growth = 10.0 * 1.001 ** np.arange(27)  # equal returns but for rounding
    open_, close = open_.copy(), close.copy()
    open_[0, :, 1], close[0, :, 1] = growth[:-1], growth[1:]
    assert regime_history(replace(sessions, open=open_, close=close)).session_moments[0, 1, 2] == 1.0


def test_a_history_goes_on_from_a_saved_state():
    sessions = random_sessions(23, 14, 2, 10, half_days=(8,), segments=(5,))
    whole = regime_history(sessions, QUICK)
    for index in (0, 1, 4, 13, 14):
        saved = json.loads(json.dumps(whole.state_before(index), allow_nan=False))
        tail = regime_history(sessions.select(slice(index, None)), QUICK, start=saved)
        assert tail.z.tobytes() == whole.z[index:].tobytes()
        assert tail.score.tobytes() == whole.score[index:].tobytes()
        assert (tail.neutral == whole.neutral[index:]).all()
        assert tail.end_state == whole.end_state


def test_the_state_before_a_session_is_that_of_a_history_that_ends_there():
    sessions = random_sessions(24, 8, 2, 10)
    whole = regime_history(sessions, QUICK)
    assert whole.state_before(5) == regime_history(sessions.select(slice(0, 5)), QUICK).end_state
    for index in (-1, 9):
        with pytest.raises(RangeError, match="among 8"):
            whole.state_before(index)


def test_the_warm_up_runs_across_segments_and_counts_sessions():
    sessions = random_sessions(25, 53, 2, 15, segments=(10, 40))
    series = regime_history(sessions)
    assert series.neutral[:50].all()
    assert not series.neutral[50:].any()
    assert not series.score[:50].any()
    assert not series.z[:50].any()
    assert not series.score[50, :19].any()  # carried from the last neutral session
    assert (series.score[50, 19:] != 0.0).all()
    assert (series.score[51, :19] == series.score[50, -1]).all()
    assert series.carried[:, :19].all()
    assert not series.carried[:, 19:].any()
    assert np.abs(series.score).max() <= 3.0


def test_foreign_states_and_unusable_prices_are_refused():
    sessions = random_sessions(26, 3, 2, 10)
    with pytest.raises(MismatchError, match="3 symbols, the bars have 2"):
        regime_history(sessions, QUICK, start=RegimeDetector(QUICK, 3).state())
    with pytest.raises(MismatchError, match="asked for"):
        regime_history(sessions, QUICK, start=RegimeDetector(DEFAULT_REGIME, 2).state())
    started = RegimeDetector(QUICK, 2)
    started.start_session()
    with pytest.raises(MismatchError, match="bar 0 of a session"):
        regime_history(sessions, QUICK, start=started.state())
    close = np.array(sessions.close)
    close[2, 3, 0] = np.inf
    with pytest.raises(BarsError, match="AAA 2024-01-04: close of bar 3 is inf"):
        regime_history(replace(sessions, close=close), QUICK)
