"""The mathematics that CPU and CUDA kernels share: functions of one number.

Each has a float32 and a float64 form; a kernel calls `exp`, `tanh` or `sigmoid` and gets the
form of its argument. They have no call and no branch, so that LLVM vectorises the loop around
them, but for exp of float64, which is libm's: float32's tanh was measured at 0.4 ns an element,
libm's in float64 at 2.6 ns.
"""

import math
from typing import Any

import numpy as np

from ragmask.kernels.compile import inline
from ragmask.kernels.intrinsics import (
    bits_to_float32,
    bits_to_float64,
    float64_to_bits,
    multiply_add,
)
from ragmask.kernels.overloads import by_precision

f4 = np.float32
# what is added to these loses its fraction, on CPUs and GPUs alike
_ROUND, _ROUND64 = f4(1.5 * 2**23), 1.5 * 2**52


@inline
def _exp32(x: Any) -> Any:
    """Cephes' expf: 2^n · e^r with |r| <= ln 2 / 2, and a polynomial for e^r. Error < 2 ulp.

    Results that float32 could only hold as subnormal numbers are 0.
    """
    inside = x if x > f4(-88.0) else f4(-88.0)
    inside = inside if inside < f4(89.0) else f4(89.0)
    n = multiply_add(inside, f4(1.44269504088896341), _ROUND) - _ROUND
    r = multiply_add(n, f4(-0.693359375), inside)
    r = multiply_add(n, f4(2.12194440e-4), r)
    y = f4(1.9875691500e-4)
    y = multiply_add(y, r, f4(1.3981999507e-3))
    y = multiply_add(y, r, f4(8.3334519073e-3))
    y = multiply_add(y, r, f4(4.1665795894e-2))
    y = multiply_add(y, r, f4(1.6666665459e-1))
    y = multiply_add(y, r, f4(5.0000001201e-1))
    y = multiply_add(y * r, r, r) + f4(1)
    # 2^n in two halves: n may be 128, whose power float32 cannot hold
    half = np.int32(n) >> np.int32(1)
    y = y * _power_of_two(half) * _power_of_two(np.int32(n) - half)
    y = y if x >= f4(-87.33654) else f4(0)
    y = y if x <= f4(88.72283) else f4(np.inf)
    return x if x != x else y


@inline
def _decay32(x: Any) -> Any:
    """The same of numbers up to 0, in two thirds of the instructions; larger ones count as 88."""
    inside = f4(-87.33654) if x < f4(-87.33654) else x
    inside = f4(88.0) if inside > f4(88.0) else inside
    n = multiply_add(inside, f4(1.44269504088896341), _ROUND) - _ROUND
    r = multiply_add(n, f4(-0.693359375), inside)
    r = multiply_add(n, f4(2.12194440e-4), r)
    y = f4(1.9875691500e-4)
    y = multiply_add(y, r, f4(1.3981999507e-3))
    y = multiply_add(y, r, f4(8.3334519073e-3))
    y = multiply_add(y, r, f4(4.1665795894e-2))
    y = multiply_add(y, r, f4(1.6666665459e-1))
    y = multiply_add(y, r, f4(5.0000001201e-1))
    y = multiply_add(y * r, r, r) + f4(1)
    y = y * _power_of_two(np.int32(n))
    return f4(0) if x < f4(-87.33654) else y


@inline
def _power_of_two(n: Any) -> Any:
    return bits_to_float32((n + np.int32(127)) << np.int32(23))


@inline
def _tanh32(x: Any) -> Any:
    """Eigen's rational tanh: an odd polynomial of degree 13 over an even one of degree 6."""
    inside = f4(-7.99881172180175781) if x < f4(-7.99881172180175781) else x
    inside = f4(7.99881172180175781) if inside > f4(7.99881172180175781) else inside
    square = inside * inside
    p = f4(-2.76076847742355e-16)
    p = multiply_add(p, square, f4(2.00018790482477e-13))
    p = multiply_add(p, square, f4(-8.60467152213735e-11))
    p = multiply_add(p, square, f4(5.12229709037114e-08))
    p = multiply_add(p, square, f4(1.48572235717979e-05))
    p = multiply_add(p, square, f4(6.37261928875436e-04))
    p = multiply_add(p, square, f4(4.89352455891786e-03))
    q = f4(1.19825839466702e-06)
    q = multiply_add(q, square, f4(1.18534705686654e-04))
    q = multiply_add(q, square, f4(2.26843463243900e-03))
    q = multiply_add(q, square, f4(4.89352518554385e-03))
    return inside * p / q


@inline
def _sigmoid32(x: Any) -> Any:
    return multiply_add(f4(0.5), _tanh32(f4(0.5) * x), f4(0.5))


@inline
def _exp64(x: Any) -> Any:
    return math.exp(x)


@inline
def _tanh64(x: Any) -> Any:
    """Cephes' tanh: a rational function near 0, 1 - 2 / (e^2x + 1) beyond. Error < 2 ulp."""
    size = abs(x)
    square = x * x
    p = multiply_add(square, -9.64399179425052238628e-1, -9.92877231001918586564e1)
    p = multiply_add(p, square, -1.61468768441708447952e3)
    q = square + 1.12811678491632931402e2
    q = multiply_add(q, square, 2.23548839060100448583e3)
    q = multiply_add(q, square, 4.84406305325125486048e3)
    is_small = size < 0.625
    over = size * square * p if is_small else -2.0
    under = q if is_small else _exp_below_64(2.0 * size) + 1.0
    y = (size if is_small else 1.0) + over / under
    sign = float64_to_bits(x) & np.int64(-(2**63))
    return bits_to_float64(float64_to_bits(y) | sign)


@inline
def _exp_below_64(x: Any) -> Any:
    """e^x of 0 to 64, and e^64 beyond."""
    return _exp_inside64(64.0 if x > 64.0 else x)


@inline
def _decay64(x: Any) -> Any:
    """e^x of numbers up to 0; larger ones count as 700. Results below 1e-307 are 0."""
    inside = -707.0 if x < -707.0 else x
    y = _exp_inside64(700.0 if inside > 700.0 else inside)
    return 0.0 if x < -707.0 else y


@inline
def _exp_inside64(x: Any) -> Any:
    """e^x where float64 holds it: 2^n · e^r, |r| <= ln 2 / 2, by Taylor's polynomial."""
    shifted = multiply_add(x, 1.4426950408889634, _ROUND64)
    n = shifted - _ROUND64
    r = multiply_add(n, -6.93145751953125e-1, x)
    r = multiply_add(n, -1.42860682030941723212e-6, r)
    y = 1 / 6227020800.0
    y = multiply_add(y, r, 1 / 479001600.0)
    y = multiply_add(y, r, 1 / 39916800.0)
    y = multiply_add(y, r, 1 / 3628800.0)
    y = multiply_add(y, r, 1 / 362880.0)
    y = multiply_add(y, r, 1 / 40320.0)
    y = multiply_add(y, r, 1 / 5040.0)
    y = multiply_add(y, r, 1 / 720.0)
    y = multiply_add(y, r, 1 / 120.0)
    y = multiply_add(y, r, 1 / 24.0)
    y = multiply_add(y, r, 1 / 6.0)
    y = multiply_add(y, r, 0.5)
    y = multiply_add(y * r, r, r) + 1.0
    # n lies in the last bits of what was shifted: AVX2 turns no float64 into an int64
    return y * bits_to_float64((float64_to_bits(shifted) + np.int64(1023)) << np.int64(52))


@inline
def _sigmoid64(x: Any) -> Any:
    return multiply_add(0.5, _tanh64(0.5 * x), 0.5)


exp = by_precision(_exp32, _exp64)
decay = by_precision(_decay32, _decay64)
tanh = by_precision(_tanh32, _tanh64)
sigmoid = by_precision(_sigmoid32, _sigmoid64)


@inline
def _zero32(x: Any) -> Any:
    return f4(0)


@inline
def _zero64(x: Any) -> Any:
    return 0.0


zero = by_precision(_zero32, _zero64)
