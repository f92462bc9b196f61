"""Weights out of a zip of stable-baselines3, and nothing else out of it.

Of the six entries two are read: ``policy.pth``, number by number, and the version. ``data`` holds
pickled fields in every such zip: the names of its fields are looked at, so that one which no such zip has is
refused, and none is opened. Spaces and architecture come from the specification. The optimiser's state is
another library's, and is left where it is.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stairways.errors import ArtifactError
from stairways.learning.interchange.archive import MODEL_LIMITS, TENSOR_LIMITS, Archive, legible
from stairways.learning.interchange.layout import ForeignOrder, sb3_names
from stairways.learning.interchange.tensor_file import TensorFile
from stairways.policies.spec import PolicySpec

WEIGHTS, VERSION = "policy.pth", "_stable_baselines3_version"
FIELDS = "data"
NEVER_READ = (FIELDS, "pytorch_variables.pth", "policy.optimizer.pth", "system_info.txt")
PICKLED_FIELDS = frozenset(
    {
        "_custom_logger", "_last_episode_starts", "_last_lstm_states", "_last_obs", "_last_original_obs",
        "action_noise", "action_space", "clip_range", "clip_range_vf", "device", "ent_coef", "ep_info_buffer",
        "ep_success_buffer", "learning_rate", "lr_schedule", "observation_space", "policy_class",
        "policy_kwargs", "rollout_buffer_class", "rollout_buffer_kwargs", "start_time", "target_kl",
    }
)  # fmt: skip
"""Fields that the libraries' own algorithms pickle, from version 2.0 on."""

_REMEDY = "correct the specification; it must describe the policy in the zip"
_VERSION = re.compile(rb"\d{1,3}(\.[0-9a-z]{1,8}){1,4}")
_VERSION_BYTES = 64
_FIELDS_BYTES = 4 * 2**20
_PICKLED = ":serialized:"
_FIRST_VERSION = 2
_NAMED_AT_ONCE = 6
_EXPLAINED = {
    "log_std": "a continuous or state-dependent head",
    "critic.": "a critic without an LSTM beside an actor with one (enable_critic_lstm: false)",
    "features_extractor.": "a features extractor with weights of its own",
    "pi_features_extractor.": "a features extractor with weights of its own",
    "mlp_extractor.shared_net": "layers that policy and value share",
    "lstm_critic.": "an LSTM of the critic's own (critic_lstm: own)",
    "lstm_actor.": "an LSTM (kind: lstm, from sb3-contrib)",
}
"""What a tensor tells that the specification has no word for, by the start of its name."""


@dataclass(frozen=True, eq=False)
class ForeignPolicy:
    """What was taken from a zip.

    Attributes:
        weights: Weights under our names and in our order of columns and actions, float32, all finite.
        version: Version of stable-baselines3 that wrote it, in its own words.
        left_out: Entries that were never unpacked.
    """

    weights: dict[str, NDArray[np.float32]]
    version: str
    left_out: tuple[str, ...]


def read_sb3_zip(content: bytes, where: str, spec: PolicySpec, order: ForeignOrder) -> ForeignPolicy:
    """Take the weights of a PPO or RecurrentPPO out of its zip.

    Args:
        content: All bytes of the zip.
        where: Its name for errors.
        spec: What the policy is said to be.
        order: Order of its columns and actions.

    Raises:
        ArtifactError: If the zip is unsafe, damaged, too large, written before 2.0, or holds other
            tensors than the specification's; what is missing, surplus or misshapen is named.
    """
    archive = Archive(content, where, MODEL_LIMITS)
    archive.require((WEIGHTS, VERSION), (WEIGHTS, VERSION, *NEVER_READ))
    version = _version(archive)
    _check_fields(archive)
    inside = f"{where}, {WEIGHTS}"
    tensors = TensorFile(archive.read(WEIGHTS, at_most=TENSOR_LIMITS.file_bytes), inside)
    names = sb3_names(spec)
    shapes = spec.shapes()
    _check_shapes(tensors.shapes, {theirs: shapes[ours] for ours, theirs in names.items()}, inside)
    found = tensors.tensors()
    _check_finite(found, inside)
    weights = order.applied(spec, {ours: found[theirs] for ours, theirs in names.items()})
    return ForeignPolicy(weights, version, tuple(name for name in archive.names if name in NEVER_READ))


def _version(archive: Archive) -> str:
    told = archive.read(VERSION, at_most=_VERSION_BYTES)
    if not _VERSION.fullmatch(told.strip()):
        archive.refuse(f"{VERSION} is no version")
    version = told.strip().decode("ascii")
    if int(version.partition(".")[0]) < _FIRST_VERSION:
        raise ArtifactError(
            f"written by stable-baselines3 {version}",
            where=archive.where,
            remedy=f"load it with version {_FIRST_VERSION}.0 or later where it was made, and save it again",
        )
    return version


def _check_fields(archive: Archive) -> None:
    """Refuse pickled fields that no such zip has; the values of those it has are text to us."""
    if FIELDS not in archive.names:
        return
    content = archive.read(FIELDS, at_most=_FIELDS_BYTES)
    try:
        fields = json.loads(content)
    except (ValueError, RecursionError):
        archive.refuse(f"{FIELDS} is no JSON")
    if not isinstance(fields, dict):
        archive.refuse(f"{FIELDS} is no JSON object")
    pickled = {name for name, value in fields.items() if isinstance(value, dict) and _PICKLED in value}
    unknown = sorted(pickled - PICKLED_FIELDS)
    if unknown:
        archive.refuse(f"{FIELDS} has a pickled field that no such zip has: {legible(unknown[0])}")
    if content.count(f'"{_PICKLED}"'.encode()) > len(pickled):
        archive.refuse(f"{FIELDS} hides pickled fields within others")


def _check_shapes(
    found: dict[str, tuple[int, ...]], expected: dict[str, tuple[int, ...]], where: str
) -> None:
    missing = [name for name in expected if name not in found]
    surplus = [name for name in found if name not in expected]
    told = [
        f"{legible(name)} {found[name]} is not in the specification{_explanation(name)}" for name in surplus
    ]
    told += [f"{name} is missing" for name in missing]
    told += [
        f"{name} has shape {found[name]}, the specification asks for {shape}{_of_head(name, found[name])}"
        for name, shape in expected.items()
        if name in found and found[name] != shape
    ]
    if told:
        more = f"; and {len(told) - _NAMED_AT_ONCE} more" if len(told) > _NAMED_AT_ONCE else ""
        raise ArtifactError("; ".join(told[:_NAMED_AT_ONCE]) + more, where=where, remedy=_REMEDY)


def _explanation(name: str) -> str:
    found = [words for start, words in _EXPLAINED.items() if name.startswith(start)]
    return f" ({found[0]})" if found else ""


def _of_head(name: str, shape: tuple[int, ...]) -> str:
    if not name.startswith("action_net") or not shape:
        return ""
    return f" ({shape[0]} outputs: another number of symbols, or a MultiDiscrete or other head)"


def _check_finite(tensors: dict[str, NDArray[np.float32]], where: str) -> None:
    for name, tensor in tensors.items():
        bad = tensor.size - int(np.isfinite(tensor).sum())
        if bad:
            raise ArtifactError(
                f"{name} holds {bad:,} of {tensor.size:,} numbers that are not finite",
                where=where,
                remedy="the training of this policy has broken down; take an earlier save",
            )
