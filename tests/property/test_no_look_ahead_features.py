"""No look-ahead: what comes after bar t changes no feature and no regime value up to bar t."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import random_sessions
from stairways.market.features import FeatureConstants, build_table, compute_features
from stairways.market.regime import RegimeConfig
from stairways.market.sessions import Sessions

CONFIG = RegimeConfig(window_sessions=2, warm_up_sessions=1)


def _with_another_future(sessions: Sessions, session: int, bar: int, seed: int) -> Sessions:
    """Replace every bar after (session, bar) by garbage that is still a price."""
    rng = np.random.default_rng(seed)
    later = np.zeros(sessions.close.shape[:2], dtype=bool)
    later[session, bar + 1 :] = True
    later[session + 1 :] = True
    later &= np.arange(sessions.max_bars) < sessions.n_bars[:, None]
    changed = {}
    for name in ("open", "high", "low", "close", "volume"):
        array = np.array(getattr(sessions, name))
        array[later] = rng.lognormal(3.0, 2.0, array[later].shape)
        changed[name] = array
    changed["filled"] = np.array(sessions.filled) ^ later[..., None]
    return replace(sessions, **changed)


def _past(sessions: Sessions, session: int, bar: int) -> list[bytes]:
    """Return the bytes of everything known at (session, bar), with constants of the first session."""
    raw = compute_features(sessions, CONFIG)
    table = build_table(raw, FeatureConstants.fit(raw, sessions, slice(0, 1)))
    arrays = (
        raw.values,
        raw.regime.z,
        raw.regime.score,
        raw.regime.neutral,
        raw.regime.carried,
        table.values,
        table.score,
        table.neutral,
        table.carried,
    )
    known = [part.tobytes() for array in arrays for part in (array[:session], array[session, : bar + 1])]
    return [*known, repr(raw.regime.state_before(session)).encode()]


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    n_sessions=st.integers(2, 7),
    n_symbols=st.integers(1, 3),
    interval_minutes=st.sampled_from([10, 15]),
    data=st.data(),
)
def test_the_future_changes_nothing_up_to_now(seed, n_sessions, n_symbols, interval_minutes, data):
    index = st.integers(1, n_sessions - 1)
    sessions = random_sessions(
        seed,
        n_sessions,
        n_symbols,
        interval_minutes,
        half_days=data.draw(st.lists(index, max_size=2), label="half days"),
        segments=data.draw(st.lists(index, max_size=2, unique=True), label="segments"),
        filled_ratio=0.1,
    )
    session = data.draw(index, label="session")
    bar = data.draw(st.integers(0, int(sessions.n_bars[session]) - 1), label="bar")
    known = _past(sessions, session, bar)
    assert known == _past(_with_another_future(sessions, session, bar, seed + 1), session, bar)
    assert known == _past(sessions.select(slice(0, session + 1)), session, bar)


def test_the_check_itself_can_fail():
    """Garbage at the bar itself, not after it, is seen: the comparison is not vacuous."""
    sessions = random_sessions(1, 4, 2, 10)
    assert _past(sessions, 2, 25) != _past(_with_another_future(sessions, 2, 24, 9), 2, 25)
