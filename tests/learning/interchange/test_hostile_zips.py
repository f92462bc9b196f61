"""Zips that mean harm: each is refused in one clear line, no code runs, and little memory is spent."""

from __future__ import annotations

import base64
import json
import os

import pytest
from tools.hostile_zips import (
    HOSTILE,
    MEMORY_BAR_MB,
    SECONDS_BAR,
    Entry,
    Sound,
    measured,
    raw_zip,
    sound_zip,
)

from stairways.errors import InputError
from stairways.learning.interchange.layout import ForeignOrder
from stairways.learning.interchange.sb3_import import NEVER_READ, read_sb3_zip
from stairways.policies.spec import PolicySpec
from stairways.tuning.gold_import import read_model

SPEC = PolicySpec()
ORDER = ForeignOrder.of(SPEC, ("AAA", "BBB"), None, None)
BY_NAME = {hostile.name: hostile for hostile in HOSTILE}


@pytest.fixture(scope="module")
def sound_bytes():
    return sound_zip()


@pytest.fixture
def sound(sound_bytes, tmp_path):
    return Sound.of(sound_bytes, tmp_path / "marker")


def test_the_zip_they_are_made_of_is_sound(sound_bytes):
    policy = read_sb3_zip(sound_bytes, "model.zip", SPEC, ORDER)
    assert set(policy.weights) == set(SPEC.shapes())
    assert policy.left_out == tuple(name for name in NEVER_READ)


@pytest.mark.parametrize("name", [name for name, hostile in BY_NAME.items() if hostile.words])
def test_it_is_refused_in_one_line(sound, name):
    with pytest.raises(InputError) as caught:
        read_sb3_zip(BY_NAME[name].make(sound), "model.zip", SPEC, ORDER)
    line = caught.value.line()
    assert BY_NAME[name].words in line
    assert line.startswith("model.zip")
    assert len(line) < 700
    assert line.isprintable()
    assert caught.value.remedy
    assert not sound.marker.exists()


def test_what_is_pickled_in_data_is_never_opened(sound):
    """In the place of a field that every zip has it is not even told from a sound one: it is text."""
    [data] = [entry.content for entry in sound.entries if entry.name == "data"]
    fields = json.loads(data)
    fields["lr_schedule"] = {":type:": "x", ":serialized:": base64.b64encode(sound.bomb).decode()}
    made = raw_zip(sound.with_entry(Entry("data", json.dumps(fields).encode())))
    policy = read_sb3_zip(made, "model.zip", SPEC, ORDER)
    assert not sound.marker.exists()
    assert set(policy.weights) == set(SPEC.shapes())


def test_the_bomb_goes_off_where_it_is_opened(sound):
    """Without this, a bomb that is a dud would prove nothing."""
    import pickle  # noqa: TID251

    assert pickle.loads(sound.bomb) == 0  # noqa: S301
    assert sound.marker.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["zip bomb that claims little", "memory by bytearray", "as large as allowed", "300,000 entries"],
)
def test_what_it_costs_a_fresh_process(sound, tmp_path, name):
    path = tmp_path / "model.zip"
    path.write_bytes(BY_NAME[name].make(sound))
    cost = measured(path)
    assert BY_NAME[name].words in cost["line"]
    assert cost["peak_mb"] < MEMORY_BAR_MB
    assert cost["seconds"] < SECONDS_BAR
    assert not cost["torch"]
    assert not sound.marker.exists()


class TestTheFileItself:
    def test_ten_gigabytes_are_refused_without_reading_them(self, tmp_path):
        path = tmp_path / "model.zip"
        with path.open("wb") as stream:
            stream.truncate(10 * 2**30)
        with pytest.raises(InputError, match="10737418240 bytes, more than the 67108864 allowed"):
            read_model(path)

    def test_a_pipe_is_no_file(self, tmp_path):
        os.mkfifo(tmp_path / "model.zip")
        with pytest.raises(InputError, match="no such file"):
            read_model(tmp_path / "model.zip")

    def test_a_link_to_a_zip_is_followed(self, tmp_path):
        (tmp_path / "there").mkdir()
        (tmp_path / "there" / "model.zip").write_bytes(b"content")
        (tmp_path / "link.zip").symlink_to(tmp_path / "there" / "model.zip")
        assert read_model(tmp_path / "link.zip") == b"content"
