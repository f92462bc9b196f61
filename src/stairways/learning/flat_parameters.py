"""Trained parameters side by side in one vector: their norm and Adam's step are one operation each."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class FlatParameters:
    """Moves parameters into one vector, and their gradients into another.

    The parameters stay what and where they are for everyone else: views of the vectors. Their gradients are
    there from the start, as zeros, and are added to.

    Args:
        groups: Parameters, each in one group; a group is clipped by its own norm.
    """

    def __init__(self, groups: Sequence[Sequence[nn.Parameter]]) -> None:
        every = [parameter for group in groups for parameter in group]
        self.vector = nn.Parameter(torch.cat([p.detach().reshape(-1) for p in every]))
        self.gradient = torch.zeros_like(self.vector)
        self.vector.grad = self.gradient
        self.groups: list[Tensor] = []
        first = 0
        for group in groups:
            began = first
            for parameter in group:
                stop = first + parameter.numel()
                parameter.data = self.vector.data[first:stop].view_as(parameter)
                parameter.grad = self.gradient[first:stop].view_as(parameter)
                first = stop
            self.groups.append(self.gradient[began:first])

    def clip(self, most: float) -> None:
        """Scale each group's gradient to a norm of ``most`` at most, as torch's ``clip_grad_norm_`` does."""
        for gradient in self.groups:
            norm = torch.linalg.vector_norm(gradient)
            gradient.mul_((most / (norm + 1e-6)).clamp(max=1.0))
