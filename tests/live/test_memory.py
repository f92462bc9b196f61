"""What one worker hands to the next comes back to the bit, or not at all."""

from __future__ import annotations

import json
import stat

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stairways.errors import StorageError
from stairways.live import memory as memory_module
from stairways.live.memory import read_memory, write_memory
from stairways.registry import sealed as sealed_module
from stairways.registry.canonical import canonical_json
from stairways.registry.sealed import write_sealed

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
MEMORIES = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**70), 2**70) | NUMBERS | st.text("aé\n", max_size=5),
        lambda inner: st.lists(inner, max_size=4),
        max_leaves=10,
    ),
    max_size=4,
)


@settings(max_examples=50, deadline=None)
@given(MEMORIES)
def test_what_was_written_is_read(tmp_path_factory, memory):
    place = tmp_path_factory.mktemp("memory") / "clients.json"
    write_memory(place, memory)
    found = read_memory(place)
    assert found == memory
    # equal is not enough: 0.0 == -0.0 == 0
    assert repr(sorted(found.items())) == repr(sorted(memory.items()))


CLIENTS = st.fixed_dictionaries(
    {"clients": MEMORIES, "model": st.text("ab"), "order": st.lists(st.text("ab"))}
)


@settings(max_examples=50, deadline=None)
@given(MEMORIES | CLIENTS)
def test_the_bytes_are_those_of_every_sealed_file(tmp_path_factory, memory):
    folder = tmp_path_factory.mktemp("memory")
    write_memory(folder / "clients.json", memory)
    write_sealed(folder / "sealed.json", "memory", memory)
    assert (folder / "clients.json").read_bytes() == (folder / "sealed.json").read_bytes()


def test_no_more_than_a_client_is_encoded_in_one_call(tmp_path, monkeypatch):
    """Nobody is answered during such a call, in whatever thread it is made."""
    clients = {f"client-{number}": {"loop": [number]} for number in range(5)}
    seen = []

    def encoded(value, **options):
        seen.append(str(value).count("loop"))
        return canonical_json(value, **options)

    monkeypatch.setattr(memory_module, "canonical_json", encoded)
    monkeypatch.setattr(sealed_module, "canonical_json", encoded)
    write_memory(tmp_path / "clients.json", {"clients": clients, "model": "m", "order": list(clients)})
    assert max(seen) == 1
    assert sum(seen) == 5
    assert read_memory(tmp_path / "clients.json")["clients"] == clients


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=20))
def test_single_precision_comes_back_to_the_bit(tmp_path_factory, numbers):
    place = tmp_path_factory.mktemp("memory") / "clients.json"
    state = np.array(numbers, np.float32)
    write_memory(place, {"state": state.tolist()})
    assert np.array(read_memory(place)["state"], np.float32).tobytes() == state.tobytes()


def test_there_is_none_before_the_first(tmp_path):
    assert read_memory(tmp_path / "clients.json") == {}


def test_the_last_one_counts_and_only_its_owner_reads_it(tmp_path):
    place = tmp_path / "clients.json"
    for number in range(3):
        write_memory(place, {"number": number})
    assert read_memory(place) == {"number": 2}
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["clients.json"]


@pytest.mark.parametrize("change", ["a number", "no seal", "another seal", "cut", "empty", "a list"])
def test_a_damaged_one_is_refused(tmp_path, change):
    place = tmp_path / "clients.json"
    write_memory(place, {"clients": {"ann": 1.5}})
    text = place.read_text()
    sealed = json.loads(text)
    damaged = {
        "a number": text.replace("1.5", "1.25"),
        "no seal": json.dumps({"memory": sealed["memory"]}),
        "another seal": json.dumps(sealed | {"sha256": "0" * 64}),
        "cut": text[:-5],
        "empty": "",
        "a list": "[]",
    }
    place.write_text(damaged[change])
    with pytest.raises(StorageError, match="remove it: clients begin with an empty memory then"):
        read_memory(place)


def test_what_can_not_be_written_leaves_the_old_one(tmp_path):
    place = tmp_path / "clients.json"
    write_memory(place, {"number": 1})
    with pytest.raises(ValueError, match="not finite"):
        write_memory(place, {"number": float("nan")})
    with pytest.raises(StorageError, match="check the path"):
        write_memory(tmp_path / "missing" / "clients.json", {"number": 2})
    assert read_memory(place) == {"number": 1}
