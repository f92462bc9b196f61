import dataclasses
import errno
import hashlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from stairways.errors import ArtifactError, MismatchError, StorageError
from stairways.registry.artifact import (
    Artifact,
    digest_weights,
    ensure_matches,
    read_artifact,
    write_artifact,
)
from stairways.registry.canonical import canonical_json, parse_json_object, plain_json
from stairways.registry.manifest import ALL_FILES, LISTED_FILES, Manifest

RECORD = {"seeds": [1, 2], "steps": 409_600, "wall_seconds": 12.5, "versions": {"numpy": "2.4.6"}}


def make_artifact(**changes) -> Artifact:
    values = {
        "role": "candidate",
        "policy": {"kind": "mlp", "hidden": [64, 64], "regime_gate": True},
        "weights": {
            "actor.weight": np.arange(12, dtype=np.float32).reshape(3, 4) / 7,
            "actor.bias": np.array([0.1, -0.0, 3e38], dtype=np.float32),
        },
        "symbols": ("NVDA", "MSFT"),
        "interval_minutes": 5,
        "n_actions": 9,
        "reward_version": "nav-kelly-1",
        "features": {"mean": [0.1, 1e-300], "scale": [1.0, 2.5]},
        "regime_state": {"sessions_seen": 50, "sum": 0.30000000000000004},
        "environment": {"unit_fraction": 0.15, "max_gross": 1.0, "long_only": False},
        "controller": {"actuator": "tilt", "multipliers": [0.5, -0.25]},
        "data_digest": "ab" * 32,
        "data_source": "SYNTHETIC planted é",
        "parent_digest": "cd" * 32,
    }
    return Artifact(**(values | changes))


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def forge(folder: Path, changes: dict[str, bytes]) -> None:
    """Change files and make the manifest's sizes and SHA-256 agree; its digests stay."""
    old = json.loads((folder / "manifest.json").read_bytes())
    files = files_of(folder) | changes
    forged = Manifest.of(files, digest=old["digest"], weights_digest=old["weights_digest"])
    for name, content in (changes | {"manifest.json": forged.encode()}).items():
        (folder / name).write_bytes(content)


@pytest.fixture
def folder(tmp_path) -> Path:
    write_artifact(tmp_path / "artifact", make_artifact(), RECORD)
    return tmp_path / "artifact"


def test_what_was_written_is_read(folder):
    artifact, loaded = make_artifact(), read_artifact(folder)
    assert loaded.digest == artifact.digest == loaded.artifact.digest
    assert loaded.record == RECORD
    assert loaded.artifact.content() == artifact.content()
    assert list(loaded.artifact.weights) == ["actor.bias", "actor.weight"]
    for name, array in artifact.weights.items():
        found = loaded.artifact.weights[name]
        assert found.dtype == np.float32
        assert found.shape == array.shape
        assert found.tobytes() == array.tobytes()
    assert sorted(files_of(folder)) == sorted(ALL_FILES)


def test_gold_without_controller_is_read(tmp_path):
    gold = make_artifact(role="gold", parent_digest=None, controller=None)
    digest = write_artifact(tmp_path / "gold", gold, {})
    assert read_artifact(tmp_path / "gold").digest == digest
    assert read_artifact(tmp_path / "gold").artifact.controller is None


def test_digest_by_hand():
    artifact = make_artifact()
    weights = hashlib.sha256(b"stairways weights\n")
    weights.update(b'["actor.bias",[3],"float32",12]\n')
    weights.update(bytes.fromhex("cdcccc3d00000080") + np.float32(3e38).tobytes())
    weights.update(b'["actor.weight",[3,4],"float32",48]\n')
    weights.update((np.arange(12, dtype="<f4") / np.float32(7)).tobytes())
    assert artifact.weights_digest == weights.hexdigest()
    content = (
        '{"controller":{"actuator":"tilt","multipliers":[0.5,-0.25]},"data_digest":"' + "ab" * 32 + '",'
        '"data_source":"SYNTHETIC planted é",'
        '"environment":{"long_only":false,"max_gross":1.0,"unit_fraction":0.15},'
        '"features":{"mean":[0.1,1e-300],"scale":[1.0,2.5]},"format_version":1,"interval_minutes":5,"n_actions":9,'
        '"parent_digest":"' + "cd" * 32 + '","policy":{"hidden":[64,64],"kind":"mlp","regime_gate":true},'
        '"regime_state":{"sessions_seen":50,"sum":0.30000000000000004},"reward_version":"nav-kelly-1",'
        '"role":"candidate","symbols":["NVDA","MSFT"]}'
    )
    expected = hashlib.sha256(f"stairways artifact\n{content}\n{weights.hexdigest()}".encode())
    assert artifact.digest == expected.hexdigest()


def test_digest_is_one_of_content(tmp_path):
    artifact = make_artifact()
    other = make_artifact(
        weights={name: np.asfortranarray(artifact.weights[name]) for name in sorted(artifact.weights)},
        policy=dict(reversed(artifact.policy.items())),
    )
    first = write_artifact(tmp_path / "one", artifact, RECORD)
    second = write_artifact(tmp_path / "deep" / "two", other, {"wall_seconds": 99.0})
    assert first == second
    assert (tmp_path / "one" / "record.json").read_bytes() != (tmp_path / "deep/two/record.json").read_bytes()


@pytest.mark.parametrize(
    "change",
    [
        {"role": "gold", "parent_digest": None},
        {"policy": {"kind": "mlp", "hidden": [64, 65], "regime_gate": True}},
        {"weights": {"a": np.zeros((2, 3), np.float32)}},
        {"symbols": ("MSFT", "NVDA")},
        {"symbols": ("NVDA", "MSFT", "SPY"), "n_actions": 27},
        {"interval_minutes": 1},
        {"reward_version": "2"},
        {"features": {}},
        {"regime_state": {"sessions_seen": 50.0, "sum": 0.30000000000000004}},
        {"environment": {}},
        {"controller": None},
        {"data_digest": "00" * 32},
        {"data_source": "other"},
        {"parent_digest": "00" * 32},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_field_counts(change):
    assert make_artifact(**change).digest != make_artifact().digest


def test_names_and_shapes_of_weights_count():
    zeros = np.zeros(6, np.float32)
    digests = {
        digest_weights(weights)
        for weights in (
            {"a": zeros},
            {"b": zeros},
            {"a": zeros.reshape(2, 3)},
            {"a": zeros.reshape(3, 2)},
            {"a": -zeros},
            {"a": zeros[:3], "b": zeros[:3]},
            {"a": zeros[:0], "b": zeros},
            {"a": zeros[0]},
        )
    }
    assert len(digests) == 8


def test_artifact_keeps_its_own_copies():
    array, policy = np.zeros(3, np.float32), {"hidden": [64]}
    artifact = make_artifact(weights={"a": array}, policy=policy)
    before = artifact.digest
    array[0] = 1
    policy["hidden"].append(64)
    assert artifact.digest == before
    with pytest.raises(ValueError, match="read-only"):
        artifact.weights["a"][0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        artifact.role = "gold"


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"role": "champion"}, "champion"),
        ({"role": "gold"}, "none for gold"),
        ({"parent_digest": None}, "digest of its gold"),
        ({"parent_digest": "AB" * 32}, "lower-case"),
        ({"data_digest": "ab"}, "data_digest"),
        ({"symbols": ()}, "symbols"),
        ({"symbols": ["NVDA", "MSFT"]}, "symbols"),
        ({"symbols": ("NVDA", "NVDA")}, "symbols"),
        ({"interval_minutes": 2}, "1 or 5"),
        ({"interval_minutes": True}, "1 or 5"),
        ({"n_actions": 27}, "9 for 2"),
        ({"reward_version": ""}, "reward_version"),
        ({"data_source": None}, "data_source"),
        ({"format_version": 2}, "format_version"),
        ({"policy": []}, "JSON object"),
        ({"policy": {"a": float("nan")}}, "policy.a"),
        ({"policy": {1: 2}}, "not text"),
        ({"features": {"a": [np.float32(1)]}}, r"features.a\[0\]"),
        ({"controller": {"a": {1, 2}}}, "set"),
        ({"weights": {}}, "at least one"),
        ({"weights": {"": np.zeros(1, np.float32)}}, "tensor"),
        ({"weights": {"a": np.zeros(1)}}, "float64"),
        ({"weights": {"a": [0.0]}}, "list"),
        ({"weights": {"a": np.array([0, np.inf, np.nan], np.float32)}}, "2 of 3"),
    ],
)
def test_bad_content_is_refused(change, word):
    with pytest.raises(ArtifactError, match=word):
        make_artifact(**change)


@pytest.mark.parametrize("name", ALL_FILES)
def test_any_changed_byte_is_refused(folder, name):
    path, chance = folder / name, random.Random(name)
    whole = path.read_bytes()
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= 1 << chance.randrange(8)
        path.write_bytes(changed)
        with pytest.raises(ArtifactError) as raised:
            read_artifact(folder)
        assert str(folder) in raised.value.where
    path.write_bytes(whole)
    assert read_artifact(folder).digest == make_artifact().digest


@pytest.mark.parametrize("name", ALL_FILES)
def test_cut_grown_or_rewritten_file_is_refused(folder, name):
    whole = (folder / name).read_bytes()
    for other in (
        whole[:-1],
        whole[: len(whole) // 2],
        b"",
        whole + b"\n",
        whole.replace(b"\n", b"\r\n") + b" ",
    ):
        (folder / name).write_bytes(other)
        with pytest.raises(ArtifactError):
            read_artifact(folder)


@pytest.mark.parametrize("name", ALL_FILES)
def test_missing_file_is_refused(folder, name):
    (folder / name).unlink()
    with pytest.raises(ArtifactError, match=f"missing: {name}"):
        read_artifact(folder)


def test_unknown_entries_are_refused(folder):
    (folder / "policy.pkl").write_bytes(b"x")
    with pytest.raises(ArtifactError, match=r"policy\.pkl"):
        read_artifact(folder)
    (folder / "policy.pkl").unlink()
    (folder / "sub").mkdir()
    with pytest.raises(ArtifactError, match="sub"):
        read_artifact(folder)


def test_link_for_a_file_is_refused(folder, tmp_path):
    (folder / "weights.safetensors").rename(tmp_path / "elsewhere")
    (folder / "weights.safetensors").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="link"):
        read_artifact(folder)


def test_missing_folder_is_refused(tmp_path):
    with pytest.raises(StorageError, match="check the path"):
        read_artifact(tmp_path / "none")


def test_sizes_and_digests_are_told(folder):
    (folder / "record.json").write_bytes(b"{}")
    with pytest.raises(ArtifactError, match=r"record\.json: size in bytes: expected \d+, found 2"):
        read_artifact(folder)


def test_content_exchanged_under_an_honest_manifest_is_refused(folder, tmp_path):
    write_artifact(tmp_path / "other", make_artifact(reward_version="2"), RECORD)
    forge(folder, {"artifact.json": (tmp_path / "other" / "artifact.json").read_bytes()})
    with pytest.raises(ArtifactError, match=r"manifest\.json: digest: expected"):
        read_artifact(folder)


def test_weights_exchanged_under_an_honest_manifest_are_refused(folder):
    forge(folder, {"weights.safetensors": save({"a": np.zeros(2, np.float32)})})
    with pytest.raises(ArtifactError, match="weights_digest"):
        read_artifact(folder)


@pytest.mark.parametrize(
    ("array", "word"),
    [
        (np.array([1, np.nan], np.float32), "not finite"),
        (np.zeros(2), "float64"),
        (np.zeros(2, np.float16), "float16"),
    ],
)
def test_weights_that_are_no_finite_float32_are_refused(folder, array, word):
    forge(folder, {"weights.safetensors": save({"a": array})})
    with pytest.raises(ArtifactError, match=word):
        read_artifact(folder)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 40,
        b"\x80\x04\x95\x10" + b"\x00" * 40,
        (2**40).to_bytes(8, "little") + b"{}",
        b"\x02" + b"\x00" * 7 + b"{}",
    ],
)
def test_weights_that_are_no_safetensors_are_refused(folder, content):
    forge(folder, {"weights.safetensors": content})
    with pytest.raises(ArtifactError, match="weights"):
        read_artifact(folder)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda text: text.replace(b'"role"', b'"extra": 1,\n  "role"'), "unknown: extra"),
        (lambda text: text.replace(b'"role"', b'"rule"'), "missing: role; unknown: rule"),
        (lambda text: text.replace(b'"n_actions": 9', b'"n_actions": 9, "n_actions": 9'), "stands twice"),
        (lambda text: text.replace(b"0.15", b"NaN"), "NaN is not finite"),
        (lambda text: text.replace(b"0.15", b"1e999"), "inf is not finite"),
        (lambda text: text.replace(b'"n_actions": 9', b'"n_actions": 9.0'), "n_actions"),
        (lambda text: text.replace(b'"format_version": 1', b'"format_version": 2'), "update stairways"),
        (lambda text: text.replace(b'"format_version": 1', b'"format_version": 0'), "expected 1, found 0"),
        (lambda text: text.replace(b'"format_version": 1', b'"format_version": true'), "found True"),
        (lambda text: text.replace(b"planted", b"\xff"), "utf-8"),
        (lambda text: b"[" * 100_000, "nested"),
        (lambda text: b"[]", "list"),
        (lambda text: b"1" * 5000, "JSON object"),
    ],
)
def test_artifact_json_of_another_shape_is_refused(folder, change, word):
    text = (folder / "artifact.json").read_bytes()
    assert change(text) != text
    forge(folder, {"artifact.json": change(text)})
    with pytest.raises(ArtifactError, match=word):
        read_artifact(folder)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"format_version": 2, "signature": "x"}, "update stairways"),
        ({"format_version": "1"}, "found '1'"),
        ({"signature": "x"}, "unknown: signature"),
        ({"files": []}, "files"),
        ({"files": {}}, "missing: artifact.json"),
        ({"files": dict.fromkeys(LISTED_FILES, 1)}, "size and SHA-256"),
        ({"digest": None}, "digest"),
    ],
)
def test_manifest_of_another_shape_is_refused(folder, change, word):
    path = folder / "manifest.json"
    path.write_bytes(canonical_json(json.loads(path.read_bytes()) | change, indent=2))
    with pytest.raises(ArtifactError, match=word):
        read_artifact(folder)


def test_newer_format_with_files_of_its_own_says_to_update(folder):
    (folder / "signature.json").write_text("{}")
    path = folder / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"format_version": 1', b'"format_version": 2'))
    with pytest.raises(ArtifactError, match="update stairways"):
        read_artifact(folder)


def test_artifact_is_replaced_only_when_asked(folder):
    other = make_artifact(reward_version="2")
    with pytest.raises(ArtifactError, match="stands there already"):
        write_artifact(folder, other, {})
    assert read_artifact(folder).digest == make_artifact().digest
    assert write_artifact(folder, other, {}, replace=True) == read_artifact(folder).digest == other.digest
    assert [path.name for path in folder.parent.iterdir()] == ["artifact"]


@pytest.mark.parametrize("replace", [False, True])
def test_what_is_no_artifact_is_never_replaced(tmp_path, folder, replace):
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "letter.txt").write_text("x")
    (tmp_path / "mixed").mkdir()
    for name, content in files_of(folder).items():
        (tmp_path / "mixed" / name).write_bytes(content)
    (tmp_path / "mixed" / "notes.txt").write_text("x")
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(folder)
    for name in ("documents", "mixed", "file", "link"):
        with pytest.raises(ArtifactError, match="no artifact"):
            write_artifact(tmp_path / name, make_artifact(), {}, replace=replace)
    assert (tmp_path / "documents" / "letter.txt").exists()
    assert (tmp_path / "mixed" / "notes.txt").exists()
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("replace", [False, True])
def test_empty_folder_is_filled(tmp_path, replace):
    (tmp_path / "out").mkdir()
    digest = write_artifact(tmp_path / "out", make_artifact(), {}, replace=replace)
    assert read_artifact(tmp_path / "out").digest == digest


def test_record_without_json_form_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match=r"record\.sharpe"):
        write_artifact(tmp_path / "artifact", make_artifact(), {"sharpe": float("nan")})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("function", "at"), [(name, at) for name in ("write", "fsync") for at in (1, 2, 3, 4)] + [("mkdir", 2)]
)
def test_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch, function, at):
    whole, calls = getattr(os, function), []

    def full(*args, **kwargs):
        calls.append(args)
        if len(calls) == at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return whole(*args, **kwargs)

    old = write_artifact(tmp_path / "old", make_artifact(), {})
    monkeypatch.setattr(os, function, full)
    with pytest.raises(StorageError, match="free some space"):
        write_artifact(tmp_path / "new", make_artifact(), {})
    calls.clear()
    with pytest.raises(StorageError, match="free some space"):
        write_artifact(tmp_path / "old", make_artifact(reward_version="2"), {}, replace=True)
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert read_artifact(tmp_path / "old").digest == old


def test_read_only_folder_is_refused(public_folder, without_rights):
    with without_rights(public_folder), pytest.raises(StorageError, match="write to"):
        write_artifact(public_folder / "artifact", make_artifact(), {})
    assert list(public_folder.iterdir()) == []


KILLER = """
import os, signal, sys
os.fsync = lambda descriptor: None  # a kill loses nothing that the system holds
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_artifact import make_artifact
from stairways.registry.artifact import read_artifact, write_artifact

root, new = Path(sys.argv[1]), make_artifact(reward_version="2")
old = write_artifact(root / "artifact", make_artifact(), {})
outcomes, status, point = [], 9, 0
while os.WIFSIGNALED(status):
    point += 1
    write_artifact(root / "artifact", make_artifact(), {}, replace=True)
    child = os.fork()
    if child == 0:
        calls = 0
        def profile(frame, event, function):
            global calls
            calls += event == "c_call" and function.__module__ == "posix"
            if calls == point:
                os.kill(os.getpid(), signal.SIGKILL)
        sys.setprofile(profile)
        write_artifact(root / "artifact", new, {}, replace=True)
        sys.setprofile(None)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    outcomes.append((old, new.digest).index(read_artifact(root / "artifact").digest))
assert point > 20 and outcomes == sorted(outcomes) and set(outcomes) == {0, 1}, outcomes
"""


def test_kill_at_any_system_call_leaves_old_or_new(tmp_path):
    here = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", KILLER, str(tmp_path), here], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_match_passes_and_names_both_values():
    artifact = make_artifact()
    asked = {
        "symbols": ("NVDA", "MSFT"),
        "interval_minutes": 5,
        "n_actions": 9,
        "reward_version": "nav-kelly-1",
    }
    ensure_matches(artifact, **asked)
    for name, value, words in (
        ("symbols", ("MSFT", "NVDA"), "symbols NVDA,MSFT, not MSFT,NVDA"),
        ("interval_minutes", 1, "interval_minutes 5, not 1"),
        ("n_actions", 27, "n_actions 9, not 27"),
        ("reward_version", "3", "reward_version nav-kelly-1, not 3"),
    ):
        with pytest.raises(MismatchError, match=words):
            ensure_matches(artifact, **(asked | {name: value}))
    with pytest.raises(MismatchError, match="interval_minutes 5, not 1 and n_actions 9, not 27"):
        ensure_matches(artifact, **(asked | {"interval_minutes": 1, "n_actions": 27}))


def test_neither_torch_nor_sqlalchemy_is_loaded(folder):
    code = (
        "import sys; from pathlib import Path; from stairways.registry.artifact import read_artifact;"
        f"read_artifact(Path({str(folder)!r}));"
        "sys.exit(bool({'torch', 'sqlalchemy', 'pickle5', 'scipy', 'pandas'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=80)
@given(st.dictionaries(st.text(), json_values, max_size=4), st.sampled_from([None, 2]))
def test_canonical_form_comes_back(value, indent):
    content = canonical_json(value, indent=indent)
    found = parse_json_object(content)
    assert found == value
    assert repr(found) == repr(dict(sorted(value.items()))) or canonical_json(found, indent=indent) == content


@settings(deadline=None, max_examples=40)
@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8"), min_size=1, max_size=8).filter(
            lambda name: name != "__metadata__"
        ),
        st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=6),
        min_size=1,
        max_size=4,
    )
)
def test_any_weights_come_back(tmp_path_factory, weights):
    arrays = {name: np.array(values, np.float32) for name, values in weights.items()}
    folder = tmp_path_factory.mktemp("any") / "artifact"
    digest = write_artifact(folder, make_artifact(weights=arrays), {})
    loaded = read_artifact(folder)
    assert loaded.digest == digest
    assert {name: array.tobytes() for name, array in loaded.artifact.weights.items()} == {
        name: array.tobytes() for name, array in arrays.items()
    }


def test_tuples_become_lists_and_numbers_keep_their_type():
    assert plain_json({"a": (1, (2.0,))}) == {"a": [1, [2.0]]}
    assert canonical_json({"b": 1, "a": (1.0, np.float64(0.1), True)}) == b'{"a":[1.0,0.1,true],"b":1}'
    with pytest.raises(ValueError, match="surrogate"):
        canonical_json({"a": "\ud800"})
