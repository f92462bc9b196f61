"""Checkpoint: the training state after a finished cycle, and the run it belongs to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stairways.config import setting_differences
from stairways.errors import ArtifactError, MismatchError
from stairways.registry.generations import Found

CHECKPOINT_FILE = "checkpoint"
REMEDY = "put a sound copy of one of them back, or start a new run"

_IDENTITY = ("run_id", "config_digest", "gold_digest", "data_digest", "code", "versions")
_ANOTHER = "put the run's own checkpoint back, or start a new run"


class Checkpoint(NamedTuple):
    """The training state after a cycle.

    Attributes:
        arrays: Weights, the optimiser's state, generators, accounts, results so far.
        plain: Everything else as plain JSON types; ``cycle`` is the last finished one.
    """

    arrays: Mapping[str, NDArray[Any]]
    plain: Mapping[str, Any]

    @property
    def cycle(self) -> int:
        """The last finished cycle; 0 before the first."""
        return int(self.plain["cycle"])


START = Checkpoint({}, {"cycle": 0})
"""What a run begins with, so that its first cycle has something to fall back to: all of it follows from the
settings."""


def checkpoint_bytes(checkpoint: Checkpoint, state: Mapping[str, Any]) -> bytes:
    """Return the content of a checkpoint: a line of JSON, then its arrays as safetensors.

    Args:
        checkpoint: The training state.
        state: Content of run.json, whose identity goes in.

    Raises:
        ValueError: If a plain value has no JSON form.
    """
    from safetensors.numpy import save

    arrays = {name: np.ascontiguousarray(value) for name, value in checkpoint.arrays.items()}
    words = {"identity": _identity(state), "plain": checkpoint.plain}
    return json.dumps(words, allow_nan=False).encode() + b"\n" + save(arrays)


def parse_checkpoint(content: bytes, place: Path, state: Mapping[str, Any]) -> Checkpoint:
    """Return a checkpoint that must be of the run it is read for.

    Args:
        content: What :func:`checkpoint_bytes` made.
        place: Where it was read from.
        state: Content of run.json.

    Raises:
        ArtifactError: If it is not what a run writes.
        MismatchError: If it is of another run, or of other settings, gold, bars or code.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    line, _, tensors = content.partition(b"\n")
    try:
        words = json.loads(line)
        identity, plain = dict(words["identity"]), dict(words["plain"])
        found = Checkpoint(load(tensors), {**plain, "cycle": int(plain["cycle"])})
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ArtifactError("is not what a run writes", where=str(place), remedy=_ANOTHER) from error
    changed = setting_differences(_identity(state), identity)
    if changed:
        raise MismatchError(f"is of another run: {changed[0]}", where=str(place), remedy=_ANOTHER)
    return found


def cycles_again(found: Found[Checkpoint], recorded: int) -> int:
    """Return how many finished cycles are done again from a checkpoint.

    Args:
        found: What stands in the run folder.
        recorded: The last cycle that gate.db has; a damaged checkpoint can't tell its own.
    """
    if not found.fell_back:
        return 0
    return max(recorded - found.value.cycle, 1)


def _identity(state: Mapping[str, Any]) -> dict[str, Any]:
    return {name: state.get(name) for name in _IDENTITY}
