"""Torch as the project runs it: one thread, deterministic, with generators of its own."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch

from stairways.errors import ConfigError

CPU = torch.device("cpu")


def prepare_torch() -> None:
    """Bind torch to one thread, so that results repeat and processes don't fight for cores."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)


def generator_of(seed: np.random.SeedSequence) -> torch.Generator:
    """Return a generator seeded by a seed sequence."""
    return torch.Generator().manual_seed(int(seed.generate_state(1, np.uint64)[0] >> 1))


def device_of(wanted: Literal["auto", "cpu", "cuda"], *, mixed_precision: bool = False) -> torch.device:
    """Return where networks train.

    Args:
        wanted: ``auto`` takes a GPU where there is one.
        mixed_precision: Whether products shall be taken in bfloat16.

    Raises:
        ConfigError: If a GPU is asked for and there is none, or mixed precision of a CPU without it.
    """
    there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        reason = "torch was built for the CPU" if torch.version.cuda is None else "torch sees no GPU"
        raise ConfigError(
            f"there is no CUDA device here: {reason}", where="performance.device", remedy="choose auto or cpu"
        )
    device = CPU if wanted == "cpu" or not there else torch.device("cuda")
    if mixed_precision and device.type == "cpu" and not has_bfloat16():
        raise ConfigError(
            "this CPU has no bfloat16 products: they would take longer and cost precision",
            where="performance.mixed_precision",
            remedy="switch it off, or train on a GPU",
        )
    return device


def has_bfloat16() -> bool:
    """Whether this CPU multiplies in bfloat16 by itself (AVX-512 BF16 or AMX)."""
    found = torch.cpu.get_capabilities()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))
