"""A live process that goes on from its state decides as one that never stopped."""

from __future__ import annotations

import random

import pytest
from test_decider import LOOP, RULES, lead

from builders import random_sessions
from markets import SHORT_REGIME, random_program
from stairways.control import Multipliers
from stairways.control.tilt import tilt_state
from stairways.errors import ArtifactError, MismatchError, StairwaysError, StorageError
from stairways.live.decider import Decider
from stairways.live.state import LiveState, read_state, write_state
from stairways.market.feature_stream import FeatureStream
from stairways.market.features import FeatureConstants, compute_features
from stairways.registry.canonical import canonical_json, parse_json_object
from stairways.registry.generations import previous_of, sealed
from stairways.trading.account import Account

WARM = 4


@pytest.fixture(scope="module")
def prepared():
    sessions = random_sessions(
        seed=8, n_sessions=12, n_symbols=2, interval_minutes=10, half_days=[6], segments=[7]
    )
    raw = compute_features(sessions, SHORT_REGIME)
    return sessions, FeatureConstants.fit(raw, sessions, slice(0, WARM))


def day(sessions, stop):
    """Return the date of the last of so many sessions."""
    return sessions.dates[stop - 1].item()


def decider_of(stream, state=None):
    return Decider(random_program(3), stream, RULES, mode="sampled", run_seed=7, loop=LOOP, state=state)


@pytest.mark.parametrize("stop", [5, 6, 7, 8, 10])
def test_it_goes_on_to_the_bit(prepared, tmp_path, stop):
    sessions, constants = prepared
    whole = decider_of(FeatureStream.after(sessions.select(slice(0, WARM)), constants, SHORT_REGIME))
    account = Account(RULES, 2)
    lead(whole, sessions.select(slice(0, stop)), account, WARM)
    place = tmp_path / "state.json"
    write_state(
        place, LiveState(whole.stream, whole.loop_state, day(sessions, stop)), "a" * 64, alarm=pytest.fail
    )
    state = read_state(place, constants, "a" * 64, alarm=pytest.fail)
    assert state.behind == day(sessions, stop)
    resumed = decider_of(state.stream, state.loop)
    assert resumed.multipliers == whole.multipliers != LOOP.start
    cash = account.cash_usd
    expected = lead(whole, sessions, account, stop)
    again = Account(RULES, 2)
    again.cash_usd = cash
    assert lead(resumed, sessions, again, stop) == expected


def written(prepared, place, *stops):
    """Write the states behind so many sessions, one after the other, and return the dates."""
    sessions, constants = prepared
    for stop in stops:
        stream = FeatureStream.after(sessions.select(slice(0, stop)), constants, SHORT_REGIME)
        state = LiveState(stream, tilt_state(Multipliers(0.5, -0.5), 0.4), day(sessions, stop))
        write_state(place, state, "a" * 64, alarm=pytest.fail)
    return [day(sessions, stop) for stop in stops]


def test_one_of_another_artifact_or_version_is_refused_and_nothing_falls_back(prepared, tmp_path):
    place, constants = tmp_path / "state.json", prepared[1]
    written(prepared, place, WARM, WARM + 1)
    with pytest.raises(MismatchError, match="a state of artifact aaaaaaaaaaaa, not of bbbbbbbbbbbb"):
        read_state(place, constants, "b" * 64, alarm=pytest.fail)
    content = parse_json_object(place.read_bytes().partition(b"\n")[2])
    for change, words in (({"version": 1}, "version 1 is not 2"), ({"loop": [0.0]}, "the tilt's state")):
        place.write_bytes(sealed(canonical_json(content | change)))
        with pytest.raises(ArtifactError, match=words):
            read_state(place, constants, "a" * 64, alarm=pytest.fail)
    place.write_bytes(sealed(b"[]"))
    with pytest.raises(ArtifactError, match="is no state"):
        read_state(place, constants, "a" * 64, alarm=pytest.fail)


def test_whatever_bit_flips_the_state_before_is_used_and_told(prepared, tmp_path):
    place, constants = tmp_path / "state.json", prepared[1]
    before, last = written(prepared, place, WARM, WARM + 1)
    assert read_state(place, constants, "a" * 64, alarm=pytest.fail).behind == last
    whole, previous = place.read_bytes(), previous_of(place).read_bytes()
    generator, heard = random.Random(2), []
    for number in range(1, 201):
        damaged = bytearray(whole)
        if number % 2:
            damaged[generator.randrange(len(whole))] ^= 1 << generator.randrange(8)
        else:
            del damaged[generator.randrange(len(whole)) :]
        place.write_bytes(damaged)
        assert read_state(place, constants, "a" * 64, alarm=heard.append).behind == before
        assert place.read_bytes() == previous
        assert heard[-1].aside.read_bytes() == damaged
        assert len(heard) == number
        previous_of(place).write_bytes(previous)
    assert len(list(tmp_path.glob("state.json.damaged-*"))) == 200


def test_where_neither_is_whole(prepared, tmp_path):
    place, constants = tmp_path / "state.json", prepared[1]
    with pytest.raises(
        StorageError, match=r"state\.json is missing .*; make it anew from the history of bars"
    ):
        read_state(place, constants, "a" * 64, alarm=pytest.fail)
    written(prepared, place, WARM, WARM + 1)
    place.write_bytes(b"")
    previous_of(place).write_bytes(b"")
    with pytest.raises(
        ArtifactError, match=r"state\.json is empty and state\.json\.previous is empty; make it"
    ):
        read_state(place, constants, "a" * 64, alarm=pytest.fail)


@pytest.mark.parametrize("stop", [6, 7, 8])
def test_from_the_state_before_the_sessions_since_give_what_they_gave(prepared, tmp_path, stop):
    sessions, constants = prepared
    place, heard = tmp_path / "state.json", []
    whole = decider_of(FeatureStream.after(sessions.select(slice(0, WARM)), constants, SHORT_REGIME))
    account = Account(RULES, 2)
    lead(whole, sessions.select(slice(0, stop - 1)), account, WARM)
    cash = account.cash_usd
    write_state(
        place,
        LiveState(whole.stream, whole.loop_state, day(sessions, stop - 1)),
        "a" * 64,
        alarm=pytest.fail,
    )
    expected = lead(whole, sessions.select(slice(0, stop)), account, stop - 1)
    write_state(
        place, LiveState(whole.stream, whole.loop_state, day(sessions, stop)), "a" * 64, alarm=pytest.fail
    )
    torn = bytearray(place.read_bytes())
    torn[len(torn) // 2] ^= 4
    place.write_bytes(torn)
    state = read_state(place, constants, "a" * 64, alarm=heard.append)
    assert (len(heard), state.behind) == (1, day(sessions, stop - 1))
    resumed = decider_of(state.stream, state.loop)
    again = Account(RULES, 2)
    again.cash_usd = cash
    assert lead(resumed, sessions.select(slice(0, stop)), again, stop - 1) == expected
    assert resumed.stream.state() == whole.stream.state()
    assert resumed.loop_state.tobytes() == whole.loop_state.tobytes()


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
