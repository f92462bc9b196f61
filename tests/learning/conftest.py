"""Run torch as the project runs it, and leave it as it was."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from stairways.learning.runtime import prepare_torch

sys.path.insert(0, str(Path(__file__).resolve().parent))


@pytest.fixture(autouse=True)
def _project_torch() -> Iterator[None]:
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    prepare_torch()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)
