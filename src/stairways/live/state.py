"""Where a live process stands between two sessions, on disk: it goes on from there without its history.

One JSON file, written in one piece, with the digest of its content and of the artifact it belongs to.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stairways.control.tilt import TILT_STATE
from stairways.errors import ArtifactError, MismatchError
from stairways.market.feature_stream import FeatureStream
from stairways.registry.canonical import JsonObject, canonical_digest, canonical_json
from stairways.registry.files import read_json_object, write_bytes_atomic

if TYPE_CHECKING:
    from stairways.market.features import FeatureConstants

STATE_VERSION = 1
_REMEDY = "make it anew from the history of bars"


class LiveState(NamedTuple):
    """What a decider goes on from.

    Attributes:
        stream: Features and regime, between sessions.
        loop: ``(TILT_STATE,)`` state of the tilt; its multipliers alone would forget the fast lane.
    """

    stream: FeatureStream
    loop: NDArray[np.float64]


def write_state(path: Path, state: LiveState, artifact_digest: str) -> None:
    """Write a state in one piece.

    Args:
        path: The file.
        state: As it stands between two sessions.
        artifact_digest: Of the artifact that decides with it.

    Raises:
        StairwaysError: If a session is open.
        StorageError: If it can't be written; what stood there stays.
    """
    content: JsonObject = {
        "version": STATE_VERSION,
        "artifact": artifact_digest,
        "loop": state.loop.tolist(),
        "stream": state.stream.state(),
    }
    write_bytes_atomic(path, canonical_json({"content": content, "sha256": canonical_digest(content)}))


def read_state(path: Path, constants: FeatureConstants, artifact_digest: str) -> LiveState:
    """Return the state in a file.

    Raises:
        ArtifactError: If it is damaged or of another version.
        MismatchError: If it belongs to another artifact.
    """
    found = read_json_object(path, remedy=_REMEDY)
    content = found.get("content")
    if not isinstance(content, dict) or found.get("sha256") != canonical_digest(content):
        raise ArtifactError("its digest is not that of its content", where=str(path), remedy=_REMEDY)
    if content.get("version") != STATE_VERSION:
        raise ArtifactError(
            f"version {content.get('version')} is not {STATE_VERSION}", where=str(path), remedy=_REMEDY
        )
    if content.get("artifact") != artifact_digest:
        raise MismatchError(
            f"a state of artifact {str(content.get('artifact'))[:12]}, not of {artifact_digest[:12]}",
            where=str(path),
            remedy=_REMEDY,
        )
    loop = np.array(content["loop"], np.float64)
    if loop.shape != (TILT_STATE,) or not np.isfinite(loop).all():
        raise ArtifactError("the tilt's state is damaged", where=str(path), remedy=_REMEDY)
    return LiveState(FeatureStream.from_state(content["stream"], constants), loop)
