"""Tensors without unpickling: equal to torch's own reading of sound files, and clear about others."""

from __future__ import annotations

import io
import random
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stairways.errors import ArtifactError
from stairways.learning.interchange.tensor_file import TensorFile


def saved(state, **more):
    content = io.BytesIO()
    torch.save(state, content, **more)  # noqa: TID251 - the form that is read
    return content.getvalue()


def told_by_torch(content):
    return torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")  # noqa: TID251


def a_state(seed=0):
    generator = torch.Generator().manual_seed(seed)
    network = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.Tanh(), torch.nn.Linear(7, 1))
    return {
        name: torch.randn(value.shape, generator=generator) for name, value in network.state_dict().items()
    }


def assert_equal_to_torch(content):
    ours, theirs = TensorFile(content, "x.pth"), told_by_torch(content)
    assert list(ours.shapes) == list(theirs)
    for name, tensor in ours.tensors().items():
        assert tensor.dtype == np.float32
        assert tensor.shape == ours.shapes[name] == tuple(theirs[name].shape)
        assert tensor.tobytes() == theirs[name].contiguous().numpy().tobytes()


class TestSoundFiles:
    def test_a_state_dict_of_a_module(self):
        assert_equal_to_torch(saved(torch.nn.LSTM(6, 32, 2).state_dict()))

    def test_plain_dictionaries(self):
        assert_equal_to_torch(saved(a_state()))

    def test_tensors_that_share_a_storage(self):
        flat = torch.arange(30.0)
        assert_equal_to_torch(saved({"a": flat[:12].reshape(3, 4), "b": flat[12:], "c": flat[4:8]}))

    def test_scalars_empty_tensors_and_single_columns(self):
        one = torch.ones(3, 4)[:, :1].contiguous()
        assert_equal_to_torch(saved({"s": torch.tensor(2.5), "e": torch.zeros(0, 3), "c": one}))

    def test_many_tensors_and_long_names(self):
        assert_equal_to_torch(
            saved({f"{'layer.' * 40}{n}": torch.full((n % 5, 2), float(n)) for n in range(200)})
        )

    def test_a_large_storage(self):
        assert_equal_to_torch(saved({"w": torch.randn(300, 300, generator=torch.Generator().manual_seed(1))}))

    def test_a_model_that_lay_on_a_gpu(self):
        moved = program_changed(
            lambda program: program.replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0")
        )
        assert moved != program_changed(lambda program: program)
        theirs = told_by_torch(SOUND)
        for name, tensor in TensorFile(moved, "x.pth").tensors().items():
            assert tensor.tobytes() == theirs[name].numpy().tobytes()


class TestOtherFiles:
    @pytest.mark.parametrize(
        ("state", "words"),
        [
            ({"a": torch.zeros(2, dtype=torch.float64)}, "DoubleStorage, not float32"),
            ({"a": torch.zeros(2, dtype=torch.int64)}, "LongStorage, not float32"),
            ({"a": torch.zeros(3, 4).t()}, "does not lie row by row"),
            ({"a": 3}, "which is no tensor"),
            ({"a": {"b": torch.zeros(2)}}, "which is no tensor"),
            ({3: torch.zeros(2)}, "a key that is no text"),
            ({}, "makes no state dict"),
            ([torch.zeros(2)], "instruction 0x5d"),
            (torch.zeros(2), "makes no state dict"),
            (torch.nn.Linear(2, 2), "asks for 'torch.nn.modules.linear.Linear'"),
            ({"a": torch.nn.Parameter(torch.zeros(2))}, "asks for 'torch._utils._rebuild_parameter'"),
            ({"a": torch.zeros(2).to_sparse()}, "asks for"),
        ],
    )
    def test_what_is_no_state_dict_of_float32(self, state, words):
        with pytest.raises(ArtifactError, match=words) as caught:
            TensorFile(saved(state), "x.pth")
        assert caught.value.where == "x.pth"

    def test_the_form_before_torch_1_6(self):
        with pytest.raises(ArtifactError, match=r"plain pickle, as torch wrote before 1\.6"):
            TensorFile(saved(a_state(), _use_new_zipfile_serialization=False), "x.pth")

    def test_a_newer_protocol(self):
        with pytest.raises(ArtifactError, match="written in protocol 4, not 2"):
            TensorFile(saved(a_state(), pickle_protocol=4), "x.pth")

    def test_numbers_of_the_other_end(self):
        content = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(saved(a_state()))) as source, zipfile.ZipFile(content, "w") as target:
            for name in source.namelist():
                order = name.endswith("byteorder")
                target.writestr(name, b"big" if order else source.read(name))
        with pytest.raises(ArtifactError, match="not little-endian"):
            TensorFile(content.getvalue(), "x.pth")


SOUND = saved(a_state())


def program_changed(change):
    content = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(SOUND)) as source, zipfile.ZipFile(content, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            target.writestr(name, change(data) if name.endswith("data.pkl") else data)
    return content.getvalue()


def refused_or_read(content):
    """Whatever the bytes are, there is an answer or one line, and what is read has the stated shapes."""
    try:
        file = TensorFile(content, "x.pth")
        found = file.tensors()
    except ArtifactError as error:
        assert "\n" not in error.line()
    else:
        assert {name: tensor.shape for name, tensor in found.items()} == file.shapes


class TestDamage:
    @settings(max_examples=300)
    @given(st.integers(0, len(SOUND) - 1), st.integers(1, 255))
    def test_a_changed_byte(self, at, change):
        damaged = bytearray(SOUND)
        damaged[at] ^= change
        refused_or_read(bytes(damaged))

    @settings(max_examples=100)
    @given(st.integers(0, len(SOUND) - 1))
    def test_a_cut(self, length):
        refused_or_read(SOUND[:length])

    @settings(max_examples=300)
    @given(st.randoms(use_true_random=False))
    def test_a_changed_program(self, rng: random.Random):
        def change(program):
            made = bytearray(program)
            for _ in range(rng.randint(1, 4)):
                made[rng.randrange(len(made))] = rng.choice(
                    b"\x80cXJKM\x8a\x88\x89N(qrhj)t\x85\x86\x87}suRQb.\x00\xff"
                )
            return bytes(made)

        refused_or_read(program_changed(change))

    @settings(max_examples=200)
    @given(st.binary(max_size=400))
    def test_any_program(self, program):
        refused_or_read(program_changed(lambda _: b"\x80\x02" + program + b"."))
