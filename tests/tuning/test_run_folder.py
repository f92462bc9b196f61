"""The run folder: begun whole or not at all, checked before it is touched, a log that can be grepped."""

from __future__ import annotations

import datetime as dt
import math
import random

import numpy as np
import pytest

from stairways.errors import ArtifactError, MismatchError, StorageError
from stairways.registry.generations import Found, sealed
from stairways.tuning.checkpoint import START, Checkpoint, cycles_again
from stairways.tuning.run_folder import (
    RunFolder,
    RunLog,
    Silent,
    differences,
    read_sealed,
    write_sealed,
)

STATE = {"run_id": "abc", "code": "0", "versions": {"numpy": "2"}, "started_at": "now"}
NAMES = ["checkpoint", "config.json", "run.json"]
NOON = dt.datetime(2026, 1, 2, 12, 0, 0, 123_456, tzinfo=dt.UTC)


@pytest.fixture
def begun(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.begin({"seed": 1}, STATE)
    return folder


class TestBegin:
    def test_settings_and_identity_stand_in_it_at_once(self, begun):
        assert sorted(path.name for path in begun.path.iterdir()) == NAMES
        assert begun.read_json("run.json") == STATE
        assert begun.read_json("config.json") == {"seed": 1}

    def test_an_empty_folder_is_free_and_a_begun_one_is_not(self, tmp_path, begun):
        (tmp_path / "free").mkdir()
        free = RunFolder(tmp_path / "free")
        free.check(resume=False)
        free.begin({}, {})
        with pytest.raises(StorageError):
            begun.begin({}, {})
        assert begun.read_json("config.json") == {"seed": 1}

    def test_what_has_no_json_form_leaves_nothing(self, tmp_path):
        with pytest.raises(ValueError, match="JSON"):
            RunFolder(tmp_path / "run").begin({"x": math.nan}, {})
        assert list(tmp_path.iterdir()) == []

    def test_checks_write_nothing(self, tmp_path, begun):
        begun.check(resume=True)
        with pytest.raises(StorageError, match="holds a run already"):
            begun.check(resume=False)
        RunFolder(tmp_path / "none").check(resume=False)
        with pytest.raises(StorageError, match="holds no run to resume"):
            RunFolder(tmp_path / "none").check(resume=True)
        assert [path.name for path in tmp_path.iterdir()] == ["run"]

    def test_what_a_killed_writer_left_is_taken_away(self, begun):
        (begun.path / ".checkpoint.0123.tmp").mkdir()
        (begun.path / ".summary.json.0123.tmp").write_text("{")
        begun.clean()
        assert sorted(path.name for path in begun.path.iterdir()) == NAMES


class TestCheckpoint:
    def write(self, folder, cycle, arrays=None, state=STATE):
        kept = arrays or {"a": np.full(3, cycle)}
        folder.write_checkpoint(Checkpoint(kept, {"cycle": cycle}), state, alarm=pytest.fail)

    def test_a_run_begins_with_one(self, begun):
        assert begun.read_checkpoint(STATE) == Found(START, begun.path / "checkpoint", None)

    def test_it_comes_back_as_it_was(self, begun):
        arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([2**63 - 1], np.int64)}
        for cycle in (1, 2):
            self.write(begun, cycle, arrays)
        found = begun.read_checkpoint(STATE)
        assert found.damage is None
        again, plain = found.value
        assert plain == {"cycle": 2}
        assert again.keys() == arrays.keys()
        for name, array in arrays.items():
            assert again[name].dtype == array.dtype
            assert (again[name] == array).all()

    def test_a_damaged_one_gives_way_to_the_one_before(self, begun):
        for cycle in (1, 2):
            self.write(begun, cycle)
        path = begun.path / "checkpoint"
        whole = path.read_bytes()
        for bit in random.Random(0).sample(range(8 * len(whole)), 300):
            content = bytearray(whole)
            content[bit // 8] ^= 1 << bit % 8
            path.write_bytes(content)
            found = begun.read_checkpoint(STATE)
            assert (found.value.cycle, found.fell_back) == (1, True)

    def test_the_first_cycle_s_gives_way_to_the_beginning(self, begun):
        self.write(begun, 1)
        (begun.path / "checkpoint").write_bytes(b"")
        found = begun.read_checkpoint(STATE)
        assert (found.value, cycles_again(found, 1)) == (START, 1)

    @pytest.mark.parametrize(("recorded", "again"), [(3, 1), (4, 2), (0, 1)])
    def test_cycles_done_again_are_those_on_record(self, begun, recorded, again):
        for cycle in (1, 2, 3):
            self.write(begun, cycle)
        assert cycles_again(begun.read_checkpoint(STATE), recorded) == 0
        (begun.path / "checkpoint").unlink()
        assert cycles_again(begun.read_checkpoint(STATE), recorded) == again

    @pytest.mark.parametrize(
        "change", [{"run_id": "def"}, {"code": "1"}, {"versions": {"numpy": "3"}}, {"config_digest": "9"}]
    )
    def test_one_of_another_run_is_refused_and_nothing_falls_back(self, begun, change):
        self.write(begun, 1)
        self.write(begun, 2, state=STATE | change)
        with pytest.raises(MismatchError, match=f"is of another run: {next(iter(change))}.* is .*, not "):
            begun.read_checkpoint(STATE)

    @pytest.mark.parametrize(
        "content", [b"", b"{}", b"[]\n", b'{"identity": {}, "plain": {}}\n', b'{"identity": 1}\nxxxxxxxxxxxx']
    )
    def test_a_whole_file_of_something_else_is_refused(self, begun, content):
        (begun.path / "checkpoint").write_bytes(sealed(content))
        with pytest.raises(ArtifactError, match="checkpoint: is not what a run writes; put"):
            begun.read_checkpoint(STATE)

    def test_without_any_there_is_nothing_to_go_on_from(self, begun):
        (begun.path / "checkpoint").unlink()
        with pytest.raises(StorageError, match=r"checkpoint is missing and checkpoint\.previous is missing"):
            begun.read_checkpoint(STATE)


class TestLog:
    def test_one_line_per_event(self, tmp_path):
        seen = []

        class Watching(Silent):
            def event(self, word, name, fields):
                seen.append((word, name, fields))

        log = RunLog(tmp_path / "training.log", lambda: NOON, Watching())
        log.event(
            "CYCLE", "cycle.finished", cycle=1, hold_rate=0.55123456789, reason="two words\nand a break"
        )
        log.event("GATE", "gate.judged", passed=True, failures="")
        assert (tmp_path / "training.log").read_text().splitlines() == [
            "2026-01-02T12:00:00.123+00:00 CYCLE cycle.finished cycle=1 hold_rate=0.551235 "
            'reason="two words\\nand a break"',
            '2026-01-02T12:00:00.123+00:00 GATE gate.judged passed=True failures=""',
        ]
        assert [name for _, name, _ in seen] == ["cycle.finished", "gate.judged"]

    def test_a_place_that_can_not_be_written(self, tmp_path):
        with pytest.raises(StorageError, match=r"training\.log"):
            RunLog(tmp_path / "none" / "training.log", lambda: NOON, Silent()).event("RUN", "run.started")


def test_two_processes_can_not_hold_one_run(tmp_path):
    folder = RunFolder(tmp_path)
    with folder.held(), pytest.raises(StorageError, match="another process works on this run"), folder.held():
        pass
    with folder.held():
        pass


class TestDifferences:
    def test_places_values_and_digests_in_brief(self):
        before = {"a": {"b": 1, "c": 2}, "code": "0" * 64, "same": [1], "text": "x" * 99}
        now = {"a": {"b": 1, "c": 3}, "code": "f" * 64, "same": [1], "text": "y"}
        told = f"a.c is 3, not 2; code is {'f' * 60}..., not {'0' * 60}...; text is y, not {'x' * 60}..."
        assert differences(before, now) == told

    def test_what_is_new_what_is_gone_and_nothing(self):
        assert differences({"a": 1}, {"b": 2}) == "a is None, not 1; b is 2, not None"
        assert differences({"a": 1}, {"a": 1}) == ""

    def test_three_are_enough(self):
        assert differences({}, dict.fromkeys("abcd", 1)).count(" is ") == 3


class TestSealed:
    def test_what_is_written_is_read(self, tmp_path):
        place = tmp_path / "window.json"
        identity, result = (
            {"dates": ("a", "b"), "seed": 1},
            {"net": [1.0, -0.1, 1e-300], "n": 3, "none": None},
        )
        assert write_sealed(place, identity, result) == result
        assert read_sealed(place, identity, remedy="go") == result

    def test_something_else_is_refused(self, tmp_path):
        place = tmp_path / "window.json"
        write_sealed(place, {"seed": 1}, {"net": 1.0})
        with pytest.raises(StorageError) as raised:
            read_sealed(place, {"seed": 2}, remedy="take it away")
        assert raised.value.line() == f"{place}: was made with something else: seed is 2, not 1; take it away"

    @pytest.mark.parametrize(
        ("old", "new"), [("1.5", "2.5"), ('"seed": 1', '"seed": 2'), ('"net"', '"met"'), ('"result"', '"r"')]
    )
    def test_a_changed_one_is_refused(self, tmp_path, old, new):
        place = tmp_path / "window.json"
        write_sealed(place, {"seed": 1}, {"net": 1.5})
        text = place.read_text()
        assert old in text
        place.write_text(text.replace(old, new))
        for seed in (1, 2):
            with pytest.raises(StorageError, match="was changed after it was written"):
                read_sealed(place, {"seed": seed}, remedy="go")
