"""Artifact: a policy on disk with everything that gives it its meaning, and nothing that runs.

::

    FOLDER/
      weights.safetensors   float32 tensors by name
      artifact.json         what it is: all content that counts for its identity
      record.json           how it was made: seeds, steps, wall time, measured figures, versions
      manifest.json         size and SHA-256 of each other file, both digests, format version
      signature.json        where somebody signed it, who and when; see :mod:`.signatures`

The digest is one of content. When and where an artifact was packed, and its record, don't enter it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np
from numpy.typing import NDArray

from stairways.errors import ArtifactError, MismatchError
from stairways.registry.canonical import JsonObject, canonical_json, plain_json
from stairways.registry.files import FolderSnapshot, read_folder, storage_error, write_folder_atomic
from stairways.registry.manifest import (
    ALL_FILES,
    ARTIFACT_FILE,
    FORMAT_VERSION,
    MANIFEST_FILE,
    RECORD_FILE,
    SIGNATURE_FILE,
    WEIGHTS_FILE,
    Manifest,
    check_folder,
    check_format,
    check_keys,
    damaged,
    expect_equal,
    is_digest,
    parse_object,
)

MAX_FILE_BYTES = 256 * 1024**2

_INTERVALS_MINUTES = (1, 5)
_ACTIONS_PER_LEG = 3
_DIGEST_DOMAIN = b"stairways artifact\n"
_WEIGHTS_DOMAIN = b"stairways weights\n"

Role = Literal["gold", "candidate"]
Weights = dict[str, NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class Artifact:
    """A policy and its meaning, as a value; compare artifacts by their digest.

    JSON parts and arrays are copied in, and the arrays are read-only.

    Attributes:
        role: "gold" for a baseline, "candidate" for what a cycle made of one.
        policy: Specification of the policy, JSON.
        weights: float32 tensors by name, all finite.
        symbols: Symbols in the order of the legs.
        interval_minutes: Length of a bar, 1 or 5.
        n_actions: 3 to the power of the number of symbols.
        reward_version: Name of the reward it was trained on.
        features: Constants of the features, JSON.
        regime_state: State of the regime detector, JSON.
        environment: Costs, unit fraction, gross limit and what else the environment needs, JSON.
        controller: Actuator, set points, gains, saved multipliers and mode, JSON; None if it has none.
        data_digest: SHA-256 of the bars it was trained on.
        data_source: Where they came from, in words.
        parent_digest: Digest of the artifact it was made from; None for gold.
        format_version: Version of the format on disk.
    """

    role: Role
    policy: JsonObject
    weights: Weights
    symbols: tuple[str, ...]
    interval_minutes: int
    n_actions: int
    reward_version: str
    features: JsonObject
    regime_state: JsonObject
    environment: JsonObject
    controller: JsonObject | None
    data_digest: str
    data_source: str
    parent_digest: str | None
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        for name in ("policy", "features", "regime_state", "environment"):
            object.__setattr__(self, name, _json_object(name, getattr(self, name)))
        if self.controller is not None:
            object.__setattr__(self, "controller", _json_object("controller", self.controller))
        object.__setattr__(self, "weights", _frozen_weights(self.weights))
        self._check_scalars()
        self._check_parent()

    @property
    def weights_digest(self) -> str:
        """SHA-256 over names, shapes, dtype and bytes of the tensors alone."""
        return digest_weights(self.weights)

    @property
    def digest(self) -> str:
        """Identity: SHA-256 over the canonical content and the digest of the weights."""
        hasher = hashlib.sha256(_DIGEST_DOMAIN)
        hasher.update(canonical_json(self.content()))
        hasher.update(b"\n" + self.weights_digest.encode("ascii"))
        return hasher.hexdigest()

    def content(self) -> JsonObject:
        """Return what artifact.json holds: everything but the weights, in plain JSON types."""
        named = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "weights"}
        return named | {"symbols": list(self.symbols)}

    def _check_scalars(self) -> None:
        symbols = self.symbols
        named = isinstance(symbols, tuple) and all(isinstance(name, str) and name for name in symbols)
        if not named or not symbols or len(set(symbols)) != len(symbols):
            _refuse("symbols", symbols, "a tuple of different names")
        if self.role not in ("gold", "candidate"):
            _refuse("role", self.role, "'gold' or 'candidate'")
        if not _is_int(self.interval_minutes) or self.interval_minutes not in _INTERVALS_MINUTES:
            _refuse("interval_minutes", self.interval_minutes, "1 or 5")
        n_actions = _ACTIONS_PER_LEG ** len(symbols)
        if not _is_int(self.n_actions) or self.n_actions != n_actions:
            _refuse("n_actions", self.n_actions, f"{n_actions} for {len(symbols)} symbols")
        if not _is_int(self.format_version) or self.format_version != FORMAT_VERSION:
            _refuse("format_version", self.format_version, f"{FORMAT_VERSION}")
        for name in ("reward_version", "data_source"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value:
                _refuse(name, value, "text that is not empty")
        if not is_digest(self.data_digest):
            _refuse("data_digest", self.data_digest, "a SHA-256 in lower-case hex")

    def _check_parent(self) -> None:
        if self.role == "gold":
            if self.parent_digest is not None:
                _refuse("parent_digest", self.parent_digest, "none for gold")
        elif not is_digest(self.parent_digest):
            _refuse("parent_digest", self.parent_digest, "the digest of its gold, in lower-case hex")


@dataclass(frozen=True, eq=False)
class LoadedArtifact:
    """An artifact read from disk, with every byte checked.

    Attributes:
        artifact: What it is.
        record: How it was made.
        digest: Its identity.
    """

    artifact: Artifact
    record: JsonObject
    digest: str


def digest_weights(weights: Mapping[str, NDArray[np.float32]]) -> str:
    """Return the SHA-256 over names, shapes, dtype and little-endian bytes, in the order of names."""
    hasher = hashlib.sha256(_WEIGHTS_DOMAIN)
    for name in sorted(weights):
        array = np.ascontiguousarray(weights[name], dtype="<f4").reshape(weights[name].shape)
        hasher.update(canonical_json([name, list(array.shape), "float32", array.nbytes]) + b"\n")
        hasher.update(array.tobytes())
    return hasher.hexdigest()


def write_artifact(folder: Path, artifact: Artifact, record: JsonObject, *, replace: bool = False) -> str:
    """Write an artifact; it stands whole at its place, or what was there before does.

    Args:
        folder: Where it shall stand; missing parents are made.
        artifact: What to write.
        record: How it was made, JSON; not part of the identity.
        replace: Whether an artifact that stands there gives way. Nothing but an artifact ever does.

    Returns:
        The digest.

    Raises:
        ArtifactError: If something stands there already, or the record has no JSON form.
        StorageError: If the disk is full or the folder can't be written.
    """
    _check_place(folder, replace=replace)
    digest = artifact.digest
    files = _encode_files(artifact, _json_object("record", record))
    files[MANIFEST_FILE] = Manifest.of(files, digest=digest, weights_digest=artifact.weights_digest).encode()
    write_folder_atomic(folder, files, replace=replace)
    return digest


def read_artifact(folder: Path) -> LoadedArtifact:
    """Read an artifact, checking size and SHA-256 of every file before any but the manifest is parsed.

    Raises:
        ArtifactError: If a file is missing, unknown, damaged or of a newer format, or the content is
            not what an artifact holds.
        StorageError: If the folder can't be read.
    """
    return load_artifact(folder, read_folder(folder, ALL_FILES, max_file_bytes=MAX_FILE_BYTES))


def load_artifact(folder: Path, snapshot: FolderSnapshot) -> LoadedArtifact:
    """Check and parse files that were read already, as :func:`read_artifact` does."""
    manifest = check_folder(folder, snapshot)
    content = parse_object(folder / ARTIFACT_FILE, snapshot.contents[ARTIFACT_FILE])
    record = parse_object(folder / RECORD_FILE, snapshot.contents[RECORD_FILE])
    weights = _parse_weights(folder / WEIGHTS_FILE, snapshot.contents[WEIGHTS_FILE])
    artifact = _build(folder / ARTIFACT_FILE, content, weights)
    weights_digest, digest = artifact.weights_digest, artifact.digest
    expect_equal(folder / MANIFEST_FILE, "weights_digest", weights_digest, manifest.weights_digest)
    expect_equal(folder / MANIFEST_FILE, "digest", digest, manifest.digest)
    return LoadedArtifact(artifact, record, digest)


def ensure_matches(
    artifact: Artifact,
    *,
    symbols: tuple[str, ...],
    interval_minutes: int,
    n_actions: int,
    reward_version: str,
) -> None:
    """Refuse an artifact that was made for another environment.

    Raises:
        MismatchError: With every value that differs: the artifact's and the environment's.
    """
    asked: dict[str, Any] = {
        "symbols": tuple(symbols),
        "interval_minutes": interval_minutes,
        "n_actions": n_actions,
        "reward_version": reward_version,
    }
    differing = [
        f"{name} {_shown(getattr(artifact, name))}, not {_shown(value)}"
        for name, value in asked.items()
        if getattr(artifact, name) != value
    ]
    if differing:
        raise MismatchError(
            f"the artifact was made for {' and '.join(differing)}",
            where=f"artifact {artifact.digest[:12]}",
            remedy="use an artifact made for this environment, or ask for the environment it was made for",
        )


def _refuse(name: str, found: object, expected: str) -> NoReturn:
    raise ArtifactError(f"{name} is {found!r}, expected {expected}", remedy="correct the value")


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _shown(value: object) -> str:
    return ",".join(value) if isinstance(value, tuple) else str(value)


def _json_object(name: str, value: object) -> JsonObject:
    if not isinstance(value, dict):
        _refuse(name, value, "a JSON object")
    try:
        copy: JsonObject = plain_json(value, name)
    except ValueError as error:
        raise ArtifactError(str(error), remedy="use plain JSON values") from error
    return copy


def _frozen_weights(weights: Mapping[str, NDArray[np.float32]]) -> Weights:
    if not weights:
        _refuse("weights", weights, "at least one tensor")
    return {name: _frozen_tensor(name, weights[name]) for name in sorted(weights, key=str)}


def _frozen_tensor(name: object, array: object) -> NDArray[np.float32]:
    if not isinstance(name, str) or not name or name == "__metadata__":
        _refuse("name of a tensor", name, "text that is not empty")
    if not isinstance(array, np.ndarray) or array.dtype != np.float32:
        _refuse(f"weights {name!r}", getattr(array, "dtype", type(array).__name__), "a float32 array")
    if not np.isfinite(array).all():
        bad = int(array.size - np.isfinite(array).sum())
        raise ArtifactError(
            f"weights {name!r} hold {bad} of {array.size} values that are not finite",
            remedy="go back to weights that are",
        )
    copy = np.array(array, dtype="<f4", order="C")
    copy.setflags(write=False)
    return copy


def _check_place(folder: Path, *, replace: bool) -> None:
    """Refuse a place that holds something; an empty folder is free, an artifact may be replaced."""
    entries = _entries(folder)
    if entries is not None and not entries:
        return
    if entries is None or MANIFEST_FILE not in entries or not entries <= {*ALL_FILES, SIGNATURE_FILE}:
        what, taken = "something that is no artifact stands there", True
    else:
        what, taken = "an artifact stands there already", not replace
    if taken:
        raise ArtifactError(what, where=str(folder), remedy="choose another folder")


def _entries(folder: Path) -> set[str] | None:
    """Return the names in a folder, none where nothing stands; None for a link or a file."""
    try:
        if folder.is_symlink():
            return None
        if not folder.exists():
            return set()
        return {path.name for path in folder.iterdir()} if folder.is_dir() else None
    except OSError as error:
        raise storage_error(error, folder) from error


def _encode_files(artifact: Artifact, record: JsonObject) -> dict[str, bytes]:
    from safetensors.numpy import save

    return {
        ARTIFACT_FILE: canonical_json(artifact.content(), indent=2),
        RECORD_FILE: canonical_json(record, indent=2),
        WEIGHTS_FILE: save(artifact.weights),
    }


def _parse_weights(path: Path, content: bytes) -> Weights:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        weights: Weights = load(content)
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise damaged(path, f"expected float32 tensors, found {error}") from error
    return weights


def _build(path: Path, content: JsonObject, weights: Weights) -> Artifact:
    check_format(path, content.get("format_version"))
    check_keys(path, content, {field.name for field in fields(Artifact)} - {"weights"})
    if isinstance(content["symbols"], list):
        content = content | {"symbols": tuple(content["symbols"])}
    try:
        return Artifact(**content, weights=weights)
    except ArtifactError as error:
        raise ArtifactError(
            error.what, where=str(path.parent), remedy="take a whole copy of the artifact"
        ) from error
