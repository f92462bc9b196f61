"""Zips that older versions of stable-baselines3, sb3-contrib and torch wrote (``make_old_zips.py``)."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from tools.hostile_zips import Entry, raw_zip

from stairways.errors import ArtifactError
from stairways.learning.interchange.agreement import agreement_of, observations
from stairways.learning.interchange.archive import MODEL_LIMITS
from stairways.learning.interchange.layout import ForeignOrder
from stairways.learning.interchange.sb3_import import read_sb3_zip
from stairways.learning.interchange.tensor_file import TensorFile
from stairways.policies.program import compile_program
from stairways.policies.spec import PolicySpec

OLD = sorted((Path(__file__).resolve().parent / "old").glob("*.zip"))
KINDS = {
    "PPO": PolicySpec(hidden=(8,)),
    "RecurrentPPO": PolicySpec(kind="lstm", hidden=(8,), lstm_hidden=32),
}


def test_there_are_three_environments_of_each_kind():
    assert [path.name.partition("-")[0] for path in OLD].count("PPO") == 3
    assert len(OLD) == 6


@pytest.mark.parametrize("path", OLD, ids=lambda path: path.stem)
def test_its_tensors_are_those_that_torch_reads(path):
    with zipfile.ZipFile(path) as archive:
        content = archive.read("policy.pth")
    theirs = torch.load(io.BytesIO(content), weights_only=True)  # noqa: TID251 - the oracle
    ours = TensorFile(content, "policy.pth").tensors()
    assert list(ours) == list(theirs)
    assert all(ours[name].tobytes() == theirs[name].numpy().tobytes() for name in ours)


@pytest.mark.parametrize("path", OLD, ids=lambda path: path.stem)
def test_the_actor_acts_as_the_model_did_where_it_was_made(path):
    kind, version, _, _ = path.stem.split("-")
    spec = KINDS[kind]
    order = ForeignOrder.of(spec, ("AAA", "BBB"), None, None)
    policy = read_sb3_zip(path.read_bytes(), path.name, spec, order)
    assert policy.version == version
    steps = [
        np.array([int(digit) for digit in line])
        for line in path.with_suffix(".txt").read_text(encoding="ascii").splitlines()
    ]
    told = iter(steps)
    found = agreement_of(compile_program(spec, policy.weights), observations(spec), lambda _: next(told))
    assert found.n_equal == found.n == 10_000, found


@pytest.mark.parametrize(
    ("version", "words"), [(b"1.8.0", "written by stable-baselines3 1.8.0"), (b"new", "is no version")]
)
def test_a_version_that_is_too_old_or_none(version, words):
    content = raw_zip([Entry("policy.pth", b"PK"), Entry("_stable_baselines3_version", version)])
    assert len(content) < MODEL_LIMITS.file_bytes
    spec = KINDS["PPO"]
    with pytest.raises(ArtifactError, match=words):
        read_sb3_zip(content, "x.zip", spec, ForeignOrder.of(spec, ("AAA", "BBB"), None, None))
