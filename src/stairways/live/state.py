"""Where a live process stands between two sessions, on disk: it goes on from there without its history.

One sealed file of JSON, and the one before it; each says which artifact it belongs to and which session it
stands behind.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stairways.control.tilt import TILT_STATE
from stairways.errors import ArtifactError, MismatchError
from stairways.market.feature_stream import FeatureStream
from stairways.registry.canonical import JsonObject, canonical_json, parse_json_object
from stairways.registry.generations import Alarm, read_generation, write_generation

if TYPE_CHECKING:
    from stairways.market.features import FeatureConstants

STATE_VERSION = 2
_REMEDY = "make it anew from the history of bars"


class LiveState(NamedTuple):
    """What a decider goes on from.

    Attributes:
        stream: Features and regime, between sessions.
        loop: ``(TILT_STATE,)`` state of the tilt; its multipliers alone would forget the fast lane.
        behind: Exchange date of the last session in it; every session since is to be led through.
    """

    stream: FeatureStream
    loop: NDArray[np.float64]
    behind: dt.date


def write_state(path: Path, state: LiveState, artifact_digest: str, *, alarm: Alarm) -> None:
    """Write a state; the one that stood there becomes the previous one.

    Args:
        path: The file.
        state: As it stands between two sessions.
        artifact_digest: Of the artifact that decides with it.
        alarm: Called for each of the older ones that is found damaged.

    Raises:
        StairwaysError: If a session is open.
        StorageError: If it can't be written; what stood there stays.
    """
    content: JsonObject = {
        "version": STATE_VERSION,
        "artifact": artifact_digest,
        "behind": state.behind.isoformat(),
        "loop": state.loop.tolist(),
        "stream": state.stream.state(),
    }
    write_generation(path, canonical_json(content), alarm=alarm)


def read_state(path: Path, constants: FeatureConstants, artifact_digest: str, *, alarm: Alarm) -> LiveState:
    """Return the state in a file, or the one before it where that file is damaged or missing.

    Its date tells which: the sessions since are led through again, with the bars and fills on record, and
    give what they gave.

    Args:
        path: The file.
        constants: Of the features.
        artifact_digest: Of the artifact that is to decide with it.
        alarm: Called where one of the two is damaged; the damaged one is kept aside.

    Raises:
        ArtifactError: If neither is whole, or it is of another version.
        MismatchError: If it belongs to another artifact.
        StorageError: If there is none, or it can't be read.
    """

    def parsed(content: bytes, place: Path) -> LiveState:
        return _state_of(content, place, constants, artifact_digest)

    found = read_generation(path, parsed, remedy=_REMEDY)
    if found.damage is not None:
        alarm(found.damage)
        found.settle()
    return found.value


def _state_of(content: bytes, place: Path, constants: FeatureConstants, artifact_digest: str) -> LiveState:
    try:
        words = parse_json_object(content)
    except ValueError as error:
        raise ArtifactError(f"is no state ({error})", where=str(place), remedy=_REMEDY) from error
    if words.get("version") != STATE_VERSION:
        raise ArtifactError(
            f"version {words.get('version')} is not {STATE_VERSION}", where=str(place), remedy=_REMEDY
        )
    if words.get("artifact") != artifact_digest:
        raise MismatchError(
            f"a state of artifact {str(words.get('artifact'))[:12]}, not of {artifact_digest[:12]}",
            where=str(place),
            remedy=_REMEDY,
        )
    loop = np.array(words["loop"], np.float64)
    if loop.shape != (TILT_STATE,) or not np.isfinite(loop).all():
        raise ArtifactError("the tilt's state is damaged", where=str(place), remedy=_REMEDY)
    stream = FeatureStream.from_state(words["stream"], constants)
    return LiveState(stream, loop, dt.date.fromisoformat(words["behind"]))
