import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from registries import HOUR, NOON, make_artifact, signed_folder, trusting
from stairways.errors import ArtifactError, SignatureError, StorageError
from stairways.registry.artifact import write_artifact
from stairways.registry.keys import SigningKey, write_trust
from stairways.registry.signatures import sign_artifact
from stairways.registry.store import Store

SWAPS = 10_000
HAMMER = """
import sys
from pathlib import Path
from stairways.registry.store import Store
from stairways.registry.manifest import MANIFEST_FILE
import json
store, one, other, stop = Store(Path(sys.argv[1])), sys.argv[2], sys.argv[3], Path(sys.argv[4])
reads = wrong = 0
print("ready", flush=True)
while not stop.exists():
    for _ in range(100):
        digest = store.champion()
        wrong += digest not in (one, other)
        manifest = json.loads((store.link / MANIFEST_FILE).read_bytes())
        wrong += manifest["digest"] not in (one, other)
        reads += 1
print(reads, wrong)
"""


@pytest.fixture
def key() -> SigningKey:
    return SigningKey.new()


@pytest.fixture
def store(tmp_path, key) -> Store:
    store = Store(tmp_path / "registry")
    store.create()
    write_trust(store.trust_file, trusting(key))
    return store


def added(store: Store, folder: Path, key: SigningKey, number: int = 0) -> str:
    place = signed_folder(folder / str(number), key, make_artifact(number))
    return store.add(place, NOON).artifact.loaded.digest


def test_what_was_added_is_read(store, tmp_path, key):
    digest = added(store, tmp_path, key)
    assert digest == make_artifact().digest
    assert store.digests() == (digest,)
    assert store.read(digest, NOON).loaded.artifact.content() == make_artifact().content()
    assert store.champion() is None


def test_what_is_not_signed_by_somebody_who_counts_is_not_taken_in(store, tmp_path):
    place = signed_folder(tmp_path / "foreign", SigningKey.new())
    with pytest.raises(SignatureError, match="not in the trust list"):
        store.add(place, NOON)
    assert store.digests() == ()


def test_an_artifact_is_judged_by_the_trust_of_today(store, tmp_path, key):
    digest = added(store, tmp_path, key)
    write_trust(store.trust_file, trusting(key).revoked(key.key_id, "lost", NOON))
    with pytest.raises(SignatureError, match="revoked"):
        store.read(digest, NOON + HOUR)


def test_adding_again_changes_nothing_unless_it_was_damaged(store, tmp_path, key):
    digest = added(store, tmp_path, key)
    place = store.place(digest)
    before = {path.name: path.stat().st_ino for path in place.iterdir()}
    store.add(tmp_path / "0", NOON)
    assert {path.name: path.stat().st_ino for path in place.iterdir()} == before
    (place / "weights.safetensors").write_bytes(b"x")
    with pytest.raises(ArtifactError):
        store.read(digest, NOON)
    assert store.add(tmp_path / "0", NOON).artifact.loaded.digest == digest
    assert store.read(digest, NOON).loaded.digest == digest


def test_the_same_content_signed_by_another_key_takes_its_place(store, tmp_path, key):
    """So a key is exchanged before it is revoked, and what serves always has a signature that counts."""
    other = SigningKey.new()
    write_trust(store.trust_file, trusting(key, other))
    digest = added(store, tmp_path, key)
    sign_artifact(tmp_path / "0", other, NOON)
    taken = store.add(tmp_path / "0", NOON)
    assert taken.replaced
    assert store.read(digest).signer.key_id == other.key_id
    # and is not written again
    assert not store.add(tmp_path / "0", NOON).replaced


def test_another_record_under_another_signature_replaces_nothing_that_counts(store, tmp_path, key):
    other = SigningKey.new()
    write_trust(store.trust_file, trusting(key, other))
    digest = added(store, tmp_path, key)
    before = store.read(digest).loaded.record
    write_artifact(tmp_path / "again", make_artifact(0), {"steps": 1, "accepted": True})
    sign_artifact(tmp_path / "again", other, NOON)
    assert not store.add(tmp_path / "again", NOON).replaced
    assert store.read(digest).loaded.record == before
    assert store.read(digest).signer.key_id == key.key_id


def test_an_artifact_under_anothers_name_is_refused(store, tmp_path, key):
    one, other = added(store, tmp_path, key), make_artifact(1).digest
    store.place(one).rename(store.place(other))
    with pytest.raises(ArtifactError, match=f"holds the artifact {one[:12]}"):
        store.read(other, NOON)
    with pytest.raises(ArtifactError, match="no such artifact"):
        store.read(one, NOON)


@pytest.mark.parametrize("name", ["", "..", "../../etc", "A" * 64, "a" * 63])
def test_only_digests_are_names(store, name):
    with pytest.raises(ArtifactError, match="no digest"):
        store.read(name, NOON)
    with pytest.raises(ArtifactError, match="no digest"):
        store.swap(name)


def test_the_link_names_the_champion(store, tmp_path, key):
    one, other = added(store, tmp_path, key), added(store, tmp_path, key, 1)
    for digest in (one, other, other, one):
        store.swap(digest)
        assert store.champion() == digest
        assert store.link.resolve() == store.place(digest).resolve()
    assert sorted(path.name for path in store.root.iterdir()) == ["artifacts", "champion", "trust.json"]


def test_nothing_becomes_champion_that_is_not_there(store, tmp_path, key):
    digest = added(store, tmp_path, key)
    store.swap(digest)
    with pytest.raises(ArtifactError, match="no such artifact"):
        store.swap("ab" * 32)
    assert store.champion() == digest


@pytest.mark.parametrize("target", ["/etc", "artifacts/x", "artifacts", f"elsewhere/{'ab' * 32}"])
def test_a_foreign_link_is_no_champion(store, target):
    store.link.symlink_to(target)
    with pytest.raises(StorageError, match="no artifact of this registry"):
        store.champion()


def test_a_file_in_its_place_is_no_champion(store):
    store.link.write_text("x")
    with pytest.raises(StorageError, match="is no link"):
        store.champion()


def test_a_swap_that_can_not_be_written_leaves_the_champion(public_folder, key, without_rights):
    store = Store(public_folder / "registry")
    store.create()
    write_trust(store.trust_file, trusting(key))
    one, other = (added(store, public_folder, key, number) for number in (0, 1))
    store.swap(one)
    with without_rights(store.root), pytest.raises(StorageError, match="may write"):
        store.swap(other)
    assert store.champion() == one


def test_leftovers_of_a_killed_swap_are_cleaned(store, tmp_path, key):
    digest = added(store, tmp_path, key)
    store.swap(digest)
    (store.root / ".champion.0123456789abcdef.link").symlink_to(f"artifacts/{digest}")
    with store.lock():
        store.clean()
    assert not list(store.root.glob(".champion*"))
    assert store.champion() == digest


def test_what_is_left_of_any_file_is_removed(store, tmp_path, key):
    digest = added(store, tmp_path, key)
    store.quarantine(digest, "failed")
    store.latch("r1", "failed")
    left = [
        store.root / ".latched.json.00ff.tmp",
        store.root / ".trust.json.00ff.tmp",
        store.root / "quarantine" / f".{digest}.00ff.tmp",
        store.artifacts / f".{digest}.00ff.tmp",
    ]
    for path in left:
        path.write_text("half")
    store.clean()
    assert not any(path.exists() for path in left)
    assert store.is_latched
    assert store.is_quarantined(digest)


def test_a_link_that_is_replaced_leaves_nothing_to_remove(store, tmp_path, key, monkeypatch):
    """Or a disk that breaks there would be told of a link that was replaced all the same."""
    digest = added(store, tmp_path, key)

    def broken(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "unlink", broken)
    store.swap(digest)
    assert store.champion() == digest


def test_readers_never_see_a_moment_without_a_champion(store, tmp_path, key):
    """Two processes read link and manifest while the link is replaced ten thousand times."""
    one, other = added(store, tmp_path, key), added(store, tmp_path, key, 1)
    store.swap(one)
    stop = tmp_path / "stop"
    readers = [
        subprocess.Popen(
            [sys.executable, "-c", HAMMER, str(store.root), one, other, str(stop)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for reader in readers:
        assert reader.stdout.readline() == "ready\n"
    for number in range(SWAPS):
        store.swap(other if number % 2 == 0 else one)
    stop.touch()
    counts = [tuple(map(int, reader.communicate(timeout=60)[0].split())) for reader in readers]
    assert all(reads > 0 for reads, _ in counts)
    assert [wrong for _, wrong in counts] == [0, 0]


def test_the_lock_is_held_by_one(store):
    order = []
    with store.lock():
        waiting = threading.Thread(target=lambda: _note(store, order))
        waiting.start()
        with pytest.raises(StorageError, match=r"held it for 0\.05 s"), store.lock(0.05):
            pass
        order.append("first")
    waiting.join(timeout=30)
    assert order == ["first", "second"]


def _note(store: Store, order: list[str]) -> None:
    with store.lock(30):
        order.append("second")


def test_the_lock_dies_with_its_process(store):
    code = (
        "import os, signal, sys; from pathlib import Path; from stairways.registry.store import Store\n"
        "with Store(Path(sys.argv[1])).lock():\n    os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(store.root)], check=False)
    assert done.returncode == -9
    with store.lock(0.05):
        pass


def test_a_folder_that_is_no_registry_is_refused(tmp_path):
    with pytest.raises(StorageError, match="registry create"):
        Store(tmp_path).require()


def test_creating_again_keeps_what_is_there(store, tmp_path, key):
    digest = added(store, tmp_path, key)
    trust = store.trust()
    store.create()
    assert store.digests() == (digest,)
    assert store.trust() == trust


def test_artifacts_are_copies(store, tmp_path, key):
    digest = added(store, tmp_path, key)
    other = SigningKey.new()
    sign_artifact(tmp_path / "0", other, NOON)
    (tmp_path / "0" / "weights.safetensors").write_bytes(b"")
    assert store.read(digest, NOON).signer.key_id == key.key_id
    assert not any(path.samefile(tmp_path / "0") for path in store.artifacts.iterdir())
