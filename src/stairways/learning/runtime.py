"""Torch as the project runs it: one thread, deterministic, with generators of its own."""

from __future__ import annotations

import numpy as np
import torch


def prepare_torch() -> None:
    """Bind torch to one thread, so that results repeat and processes don't fight for cores."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)


def generator_of(seed: np.random.SeedSequence) -> torch.Generator:
    """Return a generator seeded by a seed sequence."""
    return torch.Generator().manual_seed(int(seed.generate_state(1, np.uint64)[0] >> 1))
