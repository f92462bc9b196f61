"""Functions without branches or calls, which the compiler turns into vector code where a loop takes them.

torch's hyperbolic tangent of a layer takes as long as a product with a matrix of 64 columns. This one is a
quotient of two polynomials (Lambert's continued fraction, as in the actor, here in float32 throughout),
within 4e-7 of the exact value. The exponential is a power of two times the series of what is left.
"""

from __future__ import annotations

import math

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

_LEAST = -708.0
"""The exponential of what is less counts as that of this: 3e-308."""
_PER_LN2 = 1.0 / math.log(2.0)
# ln 2 in two parts: the first has so few digits that its product with a power is exact
_LN2_HIGH = 6.93145751953125e-1
_LN2_LOW = 1.42860682030941723212e-6
_C2, _C3, _C4, _C5, _C6, _C7, _C8, _C9, _C10, _C11 = (1.0 / math.factorial(k) for k in range(2, 12))
_BIAS, _DIGITS = 1023, 52
"""Of a float64: what its exponent is stored with, and the bits behind it."""


@njit(cache=True, inline="always", error_model="numpy")
def exp64(x: float) -> float:
    """Return the exponential of a number below 700, within 1e-14 of its value; NaN stays NaN."""
    x = _LEAST if x < _LEAST else x
    power = math.floor(x * _PER_LN2 + 0.5)
    r = x - power * _LN2_HIGH - power * _LN2_LOW
    series = ((((_C11 * r + _C10) * r + _C9) * r + _C8) * r + _C7) * r + _C6
    series = ((((((series * r + _C5) * r + _C4) * r + _C3) * r + _C2) * r) + 1.0) * r + 1.0
    return series * np.int64((np.int64(power) + _BIAS) << _DIGITS).view(np.float64)


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
