"""Torch as the project runs it: one thread, deterministic, on a CPU."""

from __future__ import annotations

import torch


def prepare_torch() -> None:
    """Bind torch to one thread, so that results repeat and processes don't fight for cores."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
