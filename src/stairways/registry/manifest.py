"""Manifest: what ties the files of an artifact together, and the one form its bytes may have."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from stairways.errors import ArtifactError
from stairways.registry.canonical import JsonObject, canonical_json, parse_json_object
from stairways.registry.files import FolderSnapshot

FORMAT_VERSION = 1

WEIGHTS_FILE = "weights.safetensors"
ARTIFACT_FILE = "artifact.json"
RECORD_FILE = "record.json"
MANIFEST_FILE = "manifest.json"
SIGNATURE_FILE = "signature.json"
LISTED_FILES = (ARTIFACT_FILE, RECORD_FILE, WEIGHTS_FILE)
ALL_FILES = (*LISTED_FILES, MANIFEST_FILE)

_HEX_DIGITS = frozenset("0123456789abcdef")
_DIGEST_LENGTH = 64


@dataclass(frozen=True)
class FileEntry:
    """Size in bytes and SHA-256 of one file."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What an artifact's folder claims to hold.

    Attributes:
        files: Entry of each file but the manifest itself, by name.
        digest: Identity of the artifact.
        weights_digest: Digest of its tensors alone.
        format_version: Version of the format on disk.
    """

    files: Mapping[str, FileEntry]
    digest: str
    weights_digest: str
    format_version: int = FORMAT_VERSION

    @classmethod
    def of(cls, files: Mapping[str, bytes], *, digest: str, weights_digest: str) -> Self:
        """Return the manifest of files that are about to be written."""
        entries = {name: FileEntry(len(files[name]), _sha256(files[name])) for name in LISTED_FILES}
        return cls(entries, digest, weights_digest)

    def encode(self) -> bytes:
        """Return the one form that a manifest has on disk."""
        files = {name: {"sha256": entry.sha256, "size": entry.size} for name, entry in self.files.items()}
        content = {
            "digest": self.digest,
            "files": files,
            "format_version": self.format_version,
            "weights_digest": self.weights_digest,
        }
        return canonical_json(content, indent=2)


def check_folder(folder: Path, snapshot: FolderSnapshot) -> Manifest:
    """Check that a folder holds what its manifest says: no file more or less, no byte changed.

    Raises:
        ArtifactError: With the file, what was expected and what was found.
    """
    if MANIFEST_FILE not in snapshot.contents:
        _check_entries(folder, snapshot)
    # The version comes before the entries: a newer format may have files that this one doesn't know.
    manifest = _parse_manifest(folder / MANIFEST_FILE, snapshot.contents[MANIFEST_FILE])
    _check_entries(folder, snapshot)
    for name, entry in manifest.files.items():
        expect_equal(folder / name, "size in bytes", len(snapshot.contents[name]), entry.size)
        expect_equal(folder / name, "SHA-256", _sha256(snapshot.contents[name]), entry.sha256)
    return manifest


def parse_object(path: Path, content: bytes) -> JsonObject:
    """Parse the JSON object of one file.

    Raises:
        ArtifactError: If the bytes are none.
    """
    try:
        return parse_json_object(content)
    except ValueError as error:
        raise damaged(path, f"expected a JSON object, found an error: {error}") from error


def check_format(path: Path, version: object) -> None:
    """Refuse a format that this version can't read.

    Raises:
        ArtifactError: With what to do about a newer one.
    """
    known = isinstance(version, int) and not isinstance(version, bool)
    if known and isinstance(version, int) and version > FORMAT_VERSION:
        raise ArtifactError(
            f"format_version: expected {FORMAT_VERSION} or older, found {version}",
            where=str(path),
            remedy="update stairways, or write the artifact again with this version",
        )
    if not known or version != FORMAT_VERSION:
        raise damaged(path, f"format_version: expected {FORMAT_VERSION}, found {version!r}")


def check_keys(path: Path, found: Mapping[str, Any], expected: set[str]) -> None:
    """Refuse a JSON object with keys missing or unknown.

    Raises:
        ArtifactError: With the keys.
    """
    missing, unknown = sorted(expected - set(found)), sorted(set(found) - expected)
    if missing or unknown:
        raise damaged(
            path,
            f"expected the keys {', '.join(sorted(expected))}; "
            f"missing: {', '.join(missing) or 'none'}; unknown: {', '.join(unknown) or 'none'}",
        )


def expect_equal(path: Path, name: str, found: object, expected: object) -> None:
    """Refuse a value that is not the one stated.

    Raises:
        ArtifactError: With both values.
    """
    if found != expected:
        raise damaged(path, f"{name}: expected {expected}, found {found}")


def damaged(path: Path, what: str) -> ArtifactError:
    """Return the error for something that is not as it was written."""
    return ArtifactError(what, where=str(path), remedy="take a whole copy of the artifact")


def is_digest(value: object) -> bool:
    """Return whether a value is a SHA-256 in lower-case hex."""
    return isinstance(value, str) and len(value) == _DIGEST_LENGTH and _HEX_DIGITS.issuperset(value)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _check_entries(folder: Path, snapshot: FolderSnapshot) -> None:
    expected = f"expected {', '.join(ALL_FILES)}"
    missing = [name for name in ALL_FILES if name not in snapshot.entries]
    if missing:
        raise damaged(folder, f"{expected}; missing: {', '.join(missing)}")
    unknown = [name for name in snapshot.entries if name not in (*ALL_FILES, SIGNATURE_FILE)]
    if unknown:
        raise ArtifactError(
            f"{expected}; found also: {', '.join(unknown)}",
            where=str(folder),
            remedy="check where the folder comes from, and remove the files if they are yours",
        )


def _parse_manifest(path: Path, content: bytes) -> Manifest:
    parsed = parse_object(path, content)
    check_format(path, parsed.get("format_version"))
    check_keys(path, parsed, {"digest", "files", "format_version", "weights_digest"})
    manifest = Manifest(_parse_entries(path, parsed["files"]), parsed["digest"], parsed["weights_digest"])
    # Nothing hashes the manifest: only its one canonical form is taken, so no byte of it can change.
    if manifest.encode() != content:
        raise damaged(path, "expected the canonical form, found another")
    return manifest


def _parse_entries(path: Path, files: object) -> dict[str, FileEntry]:
    if not isinstance(files, dict):
        raise damaged(path, f"files: expected a JSON object, found {type(files).__name__}")
    check_keys(path, files, set(LISTED_FILES))
    return {name: _parse_entry(path, name, listed) for name, listed in sorted(files.items())}


def _parse_entry(path: Path, name: str, listed: object) -> FileEntry:
    if not isinstance(listed, dict):
        raise damaged(path, f"{name}: expected size and SHA-256, found {type(listed).__name__}")
    check_keys(path, listed, {"sha256", "size"})
    return FileEntry(listed["size"], listed["sha256"])
