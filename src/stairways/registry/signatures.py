"""Signatures: who vouches for an artifact or a record, and whether we believe it.

What is signed is a short canonical text: a domain, the SHA-256 of the content, the key's name and the
instant. An artifact's content is its manifest, which holds the SHA-256 of every other file::

    FOLDER/
      ...
      manifest.json
      signature.json        key, instant and signature of the manifest

The signature is no part of the artifact's identity: the same content signed by two people is one artifact.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

from stairways.errors import SignatureError
from stairways.registry.artifact import MAX_FILE_BYTES, LoadedArtifact, load_artifact
from stairways.registry.canonical import JsonObject, canonical_json, parse_json_object
from stairways.registry.files import FolderSnapshot, read_folder, write_folder_atomic
from stairways.registry.keys import SigningKey, TrustedKey, TrustList
from stairways.registry.manifest import ALL_FILES, MANIFEST_FILE, SIGNATURE_FILE, check_folder

ALGORITHM = "ed25519"
SIGNATURE_VERSION = 1
SIGNATURE_BYTES = 64
ARTIFACT_DOMAIN = "stairways artifact"
CLOCK_TOLERANCE = dt.timedelta(minutes=5)
"""How far ahead of ours the clock of somebody who signs may be."""

_FIELDS = {"algorithm", "key_id", "signature", "signed_at", "version"}


@dataclass(frozen=True)
class Signature:
    """A signature, not yet believed.

    Attributes:
        key_id: Name of the key.
        signed_at: When, as the signer says.
        value: 64 bytes.
    """

    key_id: str
    signed_at: dt.datetime
    value: bytes

    @classmethod
    def of(cls, domain: str, content: bytes, key: SigningKey, at: dt.datetime) -> Self:
        """Sign some content; ``at`` is kept in UTC.

        Raises:
            SignatureError: If ``at`` has no time zone.
        """
        if at.tzinfo is None:
            raise SignatureError(f"{at} has no time zone", where="signature")
        at = at.astimezone(dt.UTC)
        return cls(key.key_id, at, key.sign(_message(domain, content, key.key_id, at)))

    def as_record(self) -> JsonObject:
        """Return the signature as JSON."""
        return {
            "algorithm": ALGORITHM,
            "key_id": self.key_id,
            "signature": self.value.hex(),
            "signed_at": self.signed_at.isoformat(),
            "version": SIGNATURE_VERSION,
        }

    def encode(self) -> bytes:
        """Return the one form that a signature has on disk."""
        return canonical_json(self.as_record(), indent=2)

    @classmethod
    def parse(cls, record: Any, where: str) -> Self:
        """Return the signature in a JSON object.

        Raises:
            SignatureError: If it is none, or of a kind that is not known.
        """
        try:
            if set(record) != _FIELDS:
                raise ValueError(f"its fields are {', '.join(sorted(record))}")  # noqa: TRY301
            if (record["algorithm"], record["version"]) != (ALGORITHM, SIGNATURE_VERSION):
                raise ValueError(f"it is of {record['algorithm']}, version {record['version']}")  # noqa: TRY301
            signed_at = dt.datetime.fromisoformat(record["signed_at"])
            found = cls(str(record["key_id"]), signed_at, bytes.fromhex(record["signature"]))
            # one form alone, so that no byte of it can change unseen
            canonical = found.as_record() == record and signed_at.tzinfo is not None
            if not canonical or len(found.value) != SIGNATURE_BYTES:
                raise ValueError("it is not in its canonical form")  # noqa: TRY301
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise SignatureError(f"is no signature: {error}", where=where, remedy=_SIGN) from error
        return found

    def verify(
        self, domain: str, content: bytes, trust: TrustList, *, where: str, now: dt.datetime | None
    ) -> TrustedKey:
        """Return whose signature of some content this is.

        Args:
            domain: What kind of content it is.
            content: The bytes that were signed.
            trust: Whom we believe.
            where: What it stands at, for the error.
            now: The present instant; None for what was let in once: a clock that was set back since says
                nothing about it, and must bar nothing that serves.

        Raises:
            SignatureError: If the key is unknown, no longer counts or did not sign this, or if the
                signature is from the future.
        """
        key = trust.find(self.key_id)
        if key is None:
            raise SignatureError(
                f"signed by key {self.key_id}, which is not in the trust list", where=where, remedy=_TRUST
            )
        self._check_key(key, where)
        if now is not None and self.signed_at > now + CLOCK_TOLERANCE:
            raise SignatureError(
                f"signed at {self.signed_at.isoformat()}, and here it is {_utc(now)}",
                where=where,
                remedy="check the clocks of both machines",
            )
        if not _is_signed(bytes.fromhex(key.public), self.value, self._message(domain, content)):
            raise SignatureError(
                f"the signature of {key.name} (key {key.key_id}) does not fit the content",
                where=where,
                remedy="take a whole copy of what was signed",
            )
        return key

    def _check_key(self, key: TrustedKey, where: str) -> None:
        why = f" ({key.reason})" if key.reason else ""
        if key.revoked_at is not None:
            raise SignatureError(
                f"key {key.key_id} of {key.name} was revoked{why}", where=where, remedy=_SIGN
            )
        if key.retired_at is not None and self.signed_at >= key.retired_at:
            raise SignatureError(
                f"key {key.key_id} of {key.name} was retired before it signed this{why}",
                where=where,
                remedy=_SIGN,
            )

    def _message(self, domain: str, content: bytes) -> bytes:
        return _message(domain, content, self.key_id, self.signed_at)


_SIGN = "sign it with a key that counts: `stairways sign`"
_TRUST = "add the key with `stairways keys trust` if you know whose it is"


@dataclass(frozen=True, eq=False)
class TrustedArtifact:
    """An artifact of which every byte was checked, and whose signer is believed.

    Attributes:
        loaded: The artifact.
        signature: Its signature.
        signer: Whose it is.
    """

    loaded: LoadedArtifact
    signature: Signature
    signer: TrustedKey


def sign_artifact(folder: Path, key: SigningKey, at: dt.datetime) -> Signature:
    """Sign an artifact where it stands; a signature that is there gives way.

    Raises:
        ArtifactError: If anything in it is damaged: what is not whole is not signed.
        StorageError: If it can't be written; the artifact stays as it was.
    """
    snapshot = _read(folder)
    load_artifact(folder, snapshot)
    signature = Signature.of(ARTIFACT_DOMAIN, snapshot.contents[MANIFEST_FILE], key, at)
    files = {name: snapshot.contents[name] for name in ALL_FILES}
    write_folder_atomic(folder, {**files, SIGNATURE_FILE: signature.encode()}, replace=True)
    return signature


def read_trusted(folder: Path, trust: TrustList, now: dt.datetime | None) -> TrustedArtifact:
    """Read an artifact that somebody in the trust list has signed; nothing of another is parsed.

    Raises:
        SignatureError: If it is not signed, or not by somebody who counts.
        ArtifactError: If anything in it is damaged.
        StorageError: If the folder can't be read.
    """
    return trusted(folder, _read(folder), trust, now)


def trusted(
    folder: Path, snapshot: FolderSnapshot, trust: TrustList, now: dt.datetime | None
) -> TrustedArtifact:
    """Check files that were read already, as :func:`read_trusted` does."""
    place = folder / SIGNATURE_FILE
    if SIGNATURE_FILE not in snapshot.contents:
        raise SignatureError("the artifact is not signed", where=str(folder), remedy=_SIGN)
    content = snapshot.contents[SIGNATURE_FILE]
    try:
        record = parse_json_object(content)
    except ValueError as error:
        raise SignatureError(f"is no signature: {error}", where=str(place), remedy=_SIGN) from error
    signature = Signature.parse(record, str(place))
    if signature.encode() != content:
        raise SignatureError("is no signature in its canonical form", where=str(place), remedy=_SIGN)
    if MANIFEST_FILE not in snapshot.contents:
        check_folder(folder, snapshot)
    manifest = snapshot.contents[MANIFEST_FILE]
    signer = signature.verify(ARTIFACT_DOMAIN, manifest, trust, where=str(folder), now=now)
    return TrustedArtifact(load_artifact(folder, snapshot), signature, signer)


def _read(folder: Path) -> FolderSnapshot:
    return read_folder(folder, (*ALL_FILES, SIGNATURE_FILE), max_file_bytes=MAX_FILE_BYTES)


def _utc(at: dt.datetime) -> str:
    return at.astimezone(dt.UTC).isoformat()


def _message(domain: str, content: bytes, key_id: str, at: dt.datetime) -> bytes:
    return canonical_json(
        {
            "content_sha256": sha256(content).hexdigest(),
            "domain": domain,
            "key_id": key_id,
            "signed_at": at.isoformat(),
            "version": SIGNATURE_VERSION,
        }
    )


def _is_signed(public: bytes, value: bytes, message: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(public).verify(value, message)
    except InvalidSignature:
        return False
    return True
