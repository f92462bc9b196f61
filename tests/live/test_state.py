"""A live process that goes on from its state decides as one that never stopped."""

from __future__ import annotations

import json

import pytest
from test_decider import LOOP, RULES, lead

from builders import random_sessions
from markets import SHORT_REGIME, random_program
from stairways.control import Multipliers
from stairways.control.tilt import tilt_state
from stairways.errors import ArtifactError, MismatchError, StairwaysError
from stairways.live.decider import Decider
from stairways.live.state import LiveState, read_state, write_state
from stairways.market.feature_stream import FeatureStream
from stairways.market.features import FeatureConstants, compute_features
from stairways.trading.account import Account

WARM = 4


@pytest.fixture(scope="module")
def prepared():
    sessions = random_sessions(
        seed=8, n_sessions=12, n_symbols=2, interval_minutes=10, half_days=[6], segments=[7]
    )
    raw = compute_features(sessions, SHORT_REGIME)
    return sessions, FeatureConstants.fit(raw, sessions, slice(0, WARM))


def decider_of(stream, state=None):
    return Decider(random_program(3), stream, RULES, mode="sampled", run_seed=7, loop=LOOP, state=state)


@pytest.mark.parametrize("stop", [5, 6, 7, 8, 10])
def test_it_goes_on_to_the_bit(prepared, tmp_path, stop):
    sessions, constants = prepared
    whole = decider_of(FeatureStream.after(sessions.select(slice(0, WARM)), constants, SHORT_REGIME))
    account = Account(RULES, 2)
    lead(whole, sessions.select(slice(0, stop)), account, WARM)
    place = tmp_path / "state.json"
    write_state(place, LiveState(whole.stream, whole.loop_state), "a" * 64)
    state = read_state(place, constants, "a" * 64)
    resumed = decider_of(state.stream, state.loop)
    assert resumed.multipliers == whole.multipliers != LOOP.start
    cash = account.cash_usd
    expected = lead(whole, sessions, account, stop)
    again = Account(RULES, 2)
    again.cash_usd = cash
    assert lead(resumed, sessions, again, stop) == expected


def test_what_is_damaged_or_of_another_is_refused(prepared, tmp_path):
    sessions, constants = prepared
    stream = FeatureStream.after(sessions.select(slice(0, WARM)), constants, SHORT_REGIME)
    place = tmp_path / "state.json"
    write_state(place, LiveState(stream, tilt_state(Multipliers(0.5, -0.5), 0.4)), "a" * 64)
    with pytest.raises(MismatchError, match="a state of artifact aaaaaaaaaaaa, not of bbbbbbbbbbbb"):
        read_state(place, constants, "b" * 64)
    content = json.loads(place.read_text())
    content["content"]["stream"]["carried"][0][0] += 1e-9
    place.write_text(json.dumps(content))
    with pytest.raises(ArtifactError, match="its digest is not that of its content"):
        read_state(place, constants, "a" * 64)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("carried", [[0.0]]),
        ("carried", None),
        ("profile", [[[1.0]]]),
        ("profile", [[[1.0, 2.0]]] * 99),
        ("fresh_segment", 1),
        ("max_bars", "many"),
        ("version", 99),
    ],
)
def test_a_state_that_makes_no_sense_is_refused(prepared, name, value):
    sessions, constants = prepared
    stream = FeatureStream.after(sessions.select(slice(0, WARM)), constants, SHORT_REGIME)
    good = stream.state()
    assert FeatureStream.from_state(good, constants).state() == good
    with pytest.raises(ArtifactError):
        FeatureStream.from_state({**good, name: value}, constants)
    with pytest.raises(ArtifactError):
        FeatureStream.from_state({k: v for k, v in good.items() if k != name}, constants)


def test_no_state_is_taken_within_a_session_or_put_on_other_symbols(prepared):
    sessions, constants = prepared
    stream = FeatureStream.after(sessions.select(slice(0, WARM)), constants, SHORT_REGIME)
    other = {**stream.state(), "symbols": ["X", "Y"]}
    with pytest.raises(MismatchError, match="'X', 'Y'"):
        FeatureStream.from_state(other, constants)
    stream.start_session(5)
    with pytest.raises(StairwaysError, match="between sessions"):
        stream.state()
