"""Adam's state as plain arrays, for a checkpoint."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


def adam_arrays(optimizer: torch.optim.Adam) -> dict[str, NDArray[Any]]:
    """Return the state of every parameter that has one."""
    arrays: dict[str, NDArray[Any]] = {}
    for index, parameter in enumerate(_parameters(optimizer)):
        state = optimizer.state.get(parameter)
        if state:
            arrays[f"{index}.step"] = np.array([float(state["step"])])
            arrays[f"{index}.first"] = state["exp_avg"].cpu().numpy().copy()
            arrays[f"{index}.second"] = state["exp_avg_sq"].cpu().numpy().copy()
    return arrays


def load_adam(optimizer: torch.optim.Adam, arrays: dict[str, NDArray[Any]]) -> None:
    """Take a state back; parameters without one start fresh."""
    optimizer.state.clear()
    for index, parameter in enumerate(_parameters(optimizer)):
        if f"{index}.step" in arrays:
            optimizer.state[parameter] = {
                "step": torch.tensor(float(arrays[f"{index}.step"][0])),
                "exp_avg": torch.from_numpy(np.array(arrays[f"{index}.first"])).to(parameter.device),
                "exp_avg_sq": torch.from_numpy(np.array(arrays[f"{index}.second"])).to(parameter.device),
            }


def _parameters(optimizer: torch.optim.Adam) -> list[torch.nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
