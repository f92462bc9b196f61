"""The parameter audit: which tensors differ between two artifacts, and by how much."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from stairways.registry.history_records import LayerChange

if TYPE_CHECKING:
    from numpy.typing import NDArray


def layer_changes(
    weights: Mapping[str, NDArray[np.float32]],
    reference: Mapping[str, NDArray[np.float32]],
    *,
    reference_id: str,
    authorized_by: str,
    validation_passed: bool,
) -> tuple[LayerChange, ...]:
    """Return the change of each tensor, by name.

    A tensor that the other has not, or has in another shape, counts as wholly new: its relative change is
    None, its norm is its own. One that only the other has is not listed, since nothing of it acts.

    Args:
        weights: Tensors of the model by name.
        reference: Tensors of the other.
        reference_id: Digest of the other.
        authorized_by: Who promotes.
        validation_passed: Whether every required verdict passed.
    """
    return tuple(
        _change(name, weights[name], reference.get(name), reference_id, authorized_by, validation_passed)
        for name in sorted(weights)
    )


def _change(
    name: str,
    own: NDArray[np.float32],
    other: NDArray[np.float32] | None,
    reference_id: str,
    authorized_by: str,
    validation_passed: bool,
) -> LayerChange:
    same_shape = other is not None and other.shape == own.shape
    base = other.astype(np.float64) if same_shape and other is not None else np.zeros(own.shape)
    difference = own.astype(np.float64) - base
    norm, of_base = float(np.linalg.norm(difference)), float(np.linalg.norm(base))
    return LayerChange(
        reference_id=reference_id,
        layer=name,
        n_parameters=own.size,
        n_changed=int(np.count_nonzero(difference)) if same_shape else own.size,
        l2_norm=norm,
        relative=norm / of_base if same_shape and of_base > 0.0 else None,
        largest=float(np.abs(difference).max(initial=0.0)),
        authorized_by=authorized_by,
        validation_passed=validation_passed,
    )
