"""The hyperbolic tangent of float32 arrays, in loops that the compiler turns into vector code.

torch's takes as long as a product with a matrix of 64 columns. This one is a quotient of two polynomials
(Lambert's continued fraction, as in the actor, here in float32 throughout), within 4e-7 of the exact value.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stairways.policies.actor import lambert

_BOUND = np.float32(8.5)
"""Beyond it the tangent is 1 to the last place."""
(_A0, _A1, _A2, _A3, _A4, _A5, _A6), (_B0, _B1, _B2, _B3, _B4, _B5, _B6) = (
    tuple(np.float32(coefficient) for coefficient in side) for side in lambert(13)
)
_ONE = np.float32(1.0)


@njit(cache=True, inline="always", error_model="numpy")
def tanh32(x: np.float32) -> np.float32:
    """Return the hyperbolic tangent; NaN stays NaN."""
    x = _BOUND if x > _BOUND else x
    x = -_BOUND if x < -_BOUND else x
    s = x * x
    above = ((((((_A0 * s + _A1) * s + _A2) * s + _A3) * s + _A4) * s + _A5) * s + _A6) * x
    below = (((((_B0 * s + _B1) * s + _B2) * s + _B3) * s + _B4) * s + _B5) * s + _B6
    return above / below


@njit(cache=True, error_model="numpy")
def tanh_in_place(values: NDArray[np.float32]) -> None:
    """Replace ``(n,)`` values by their tangent."""
    for i in range(len(values)):
        values[i] = tanh32(values[i])


@njit(cache=True, error_model="numpy")
def through_tanh(gradient: NDArray[np.float32], tangent: NDArray[np.float32]) -> None:
    """Multiply ``(n,)`` gradients by 1 - tanh², in place."""
    for i in range(len(gradient)):
        gradient[i] *= _ONE - tangent[i] * tangent[i]
