import datetime as dt
import json
import random
from pathlib import Path

import pytest

from registries import HOUR, NOON, RECORD, make_artifact, signed_folder, trusting
from stairways.errors import ArtifactError, SignatureError, StorageError
from stairways.registry.artifact import read_artifact, write_artifact
from stairways.registry.keys import SigningKey, TrustList
from stairways.registry.manifest import ALL_FILES, SIGNATURE_FILE
from stairways.registry.signatures import Signature, read_trusted, sign_artifact

POSITIONS = 1_000


@pytest.fixture
def key() -> SigningKey:
    return SigningKey.new()


@pytest.fixture
def folder(tmp_path, key) -> Path:
    return signed_folder(tmp_path / "artifact", key)


def test_a_signed_artifact_is_believed(folder, key):
    found = read_trusted(folder, trusting(key), NOON + HOUR)
    assert found.loaded.digest == make_artifact().digest
    assert found.loaded.record == RECORD
    assert (found.signer.name, found.signer.key_id) == ("signer 0", key.key_id)
    assert found.signature.signed_at == NOON


def test_the_signature_is_no_part_of_the_identity(folder, key, tmp_path):
    other = signed_folder(tmp_path / "other", SigningKey.new())
    assert read_artifact(folder).digest == read_artifact(other).digest == make_artifact().digest
    again = signed_folder(tmp_path / "again", key)
    for name in (*ALL_FILES, SIGNATURE_FILE):
        assert (again / name).read_bytes() == (folder / name).read_bytes()


def test_without_a_signature_nothing_is_believed(tmp_path, key):
    write_artifact(tmp_path / "plain", make_artifact(), RECORD)
    with pytest.raises(SignatureError, match="not signed"):
        read_trusted(tmp_path / "plain", trusting(key), NOON)


@pytest.mark.parametrize("trust", [TrustList(), trusting(SigningKey.new())])
def test_an_unknown_key_is_refused(folder, key, trust):
    with pytest.raises(SignatureError, match=f"{key.key_id}, which is not in the trust list"):
        read_trusted(folder, trust, NOON)


def test_a_retired_key_counts_for_what_it_signed_before(folder, key):
    later = trusting(key).retired(key.key_id, "rotated", NOON + HOUR)
    assert read_trusted(folder, later, NOON + 2 * HOUR).signer.key_id == key.key_id
    for retired_at in (NOON, NOON - HOUR):
        before = trusting(key).retired(key.key_id, "rotated", retired_at)
        with pytest.raises(SignatureError, match=r"retired before it signed this \(rotated\)"):
            read_trusted(folder, before, NOON + 2 * HOUR)


def test_a_revoked_key_counts_for_nothing(folder, key):
    trust = trusting(key).revoked(key.key_id, "laptop lost", NOON + HOUR)
    with pytest.raises(SignatureError, match=r"was revoked \(laptop lost\)"):
        read_trusted(folder, trust, NOON + 2 * HOUR)


def test_a_signature_from_the_future_is_refused(folder, key):
    read_trusted(folder, trusting(key), NOON - dt.timedelta(minutes=5))
    with pytest.raises(SignatureError, match="clocks"):
        read_trusted(folder, trusting(key), NOON - dt.timedelta(minutes=5, seconds=1))


def test_a_signature_of_other_content_is_refused(folder, key, tmp_path):
    other = signed_folder(tmp_path / "other", key, make_artifact(1))
    (folder / SIGNATURE_FILE).write_bytes((other / SIGNATURE_FILE).read_bytes())
    with pytest.raises(SignatureError, match="does not fit the content"):
        read_trusted(folder, trusting(key), NOON)


def test_a_signature_under_another_name_or_instant_is_refused(folder, key):
    other = SigningKey.new()
    record = json.loads((folder / SIGNATURE_FILE).read_bytes())
    trust = trusting(key, other)
    for change in ({"key_id": other.key_id}, {"signed_at": (NOON - HOUR).isoformat()}):
        changed = Signature.parse(record | change, "here")
        (folder / SIGNATURE_FILE).write_bytes(changed.encode())
        with pytest.raises(SignatureError, match="does not fit the content"):
            read_trusted(folder, trust, NOON)


def test_a_signature_speaks_of_one_kind_of_content(key):
    signature = Signature.of("one", b"content", key, NOON)
    trust = trusting(key)
    assert signature.verify("one", b"content", trust, where="", now=NOON).key_id == key.key_id
    for domain, content in (("two", b"content"), ("one", b"content ")):
        with pytest.raises(SignatureError, match="does not fit"):
            signature.verify(domain, content, trust, where="", now=NOON)


def test_the_instant_is_kept_in_utc(key):
    east = dt.datetime(2026, 7, 1, 14, tzinfo=dt.timezone(2 * HOUR))
    assert Signature.of("one", b"", key, east) == Signature.of("one", b"", key, NOON)
    with pytest.raises(SignatureError, match="no time zone"):
        Signature.of("one", b"", key, dt.datetime(2026, 7, 1))


@pytest.mark.parametrize(
    "change",
    [
        {"algorithm": "none"},
        {"version": 2},
        {"signature": "00"},
        {"signature": "zz" * 64},
        {"signed_at": "2026-07-01T12:00:00"},
        {"signed_at": "2026-07-01T12:00:00Z"},
        {"signed_at": 3},
        {"more": 1},
    ],
)
def test_what_is_no_signature_is_refused(folder, key, change):
    record = json.loads((folder / SIGNATURE_FILE).read_bytes()) | change
    (folder / SIGNATURE_FILE).write_text(json.dumps(record, indent=2, sort_keys=True) + "\n")
    with pytest.raises(SignatureError):
        read_trusted(folder, trusting(key), NOON)


def test_every_single_bit_counts(folder, key):
    """A thousand positions, drawn over the bits of every file: each flip is refused."""
    trust = trusting(key)
    draw = random.Random(7)
    files = [*ALL_FILES, SIGNATURE_FILE]
    refused = 0
    for number in range(POSITIONS):
        path = folder / files[number % len(files)]
        whole = path.read_bytes()
        bit = draw.randrange(8 * len(whole))
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(ArtifactError):
            read_trusted(folder, trust, NOON)
        refused += 1
        path.write_bytes(whole)
    assert refused == POSITIONS
    read_trusted(folder, trust, NOON)


def test_what_is_damaged_is_not_signed(folder, key):
    path = folder / "weights.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    before = (folder / SIGNATURE_FILE).read_bytes()
    with pytest.raises(ArtifactError, match="SHA-256"):
        sign_artifact(folder, key, NOON)
    assert (folder / SIGNATURE_FILE).read_bytes() == before


def test_signing_again_gives_one_signature(folder, key):
    other = SigningKey.new()
    sign_artifact(folder, other, NOON + HOUR)
    assert read_trusted(folder, trusting(other), NOON + HOUR).signature.signed_at == NOON + HOUR
    assert sorted(entry.name for entry in folder.iterdir()) == sorted((*ALL_FILES, SIGNATURE_FILE))


def test_what_can_not_be_written_stays_as_it_was(public_folder, key, without_rights):
    folder = signed_folder(public_folder / "inner" / "artifact", key)
    before = (folder / SIGNATURE_FILE).read_bytes()
    with without_rights(folder.parent), pytest.raises(StorageError, match="may write"):
        sign_artifact(folder, SigningKey.new(), NOON)
    assert (folder / SIGNATURE_FILE).read_bytes() == before


def test_an_artifact_written_anew_has_lost_its_signature(folder, key):
    write_artifact(folder, make_artifact(), RECORD, replace=True)
    with pytest.raises(SignatureError, match="not signed"):
        read_trusted(folder, trusting(key), NOON)
