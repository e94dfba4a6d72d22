"""exp, tanh and sigmoid of the kernels, against numpy's in a wider type."""

import numba
import numpy as np
import pytest

from ragmask.kernels import math as kernels_math

FLOATS = [np.float32, np.float64]
NAN, INF = np.nan, np.inf


def loop_over(function):
    @numba.njit(error_model="numpy")  # as compile.py compiles kernels, but for the cache
    def loop(x, out):
        for at in range(x.size):
            out[at] = function(x[at])

    return loop


LOOPS = {name: loop_over(getattr(kernels_math, name)) for name in ("exp", "tanh", "sigmoid")}


def computed(name, numbers, dtype):
    x = np.asarray(numbers, dtype)
    out = np.empty_like(x)
    LOOPS[name](x, out)
    return out


def numbers(dtype):
    """Every magnitude the type has, and the range in which the functions bend, densely."""
    logarithms = np.linspace(np.log2(np.finfo(dtype).smallest_subnormal), 6.6, 100_000)
    magnitudes = np.exp2(logarithms).astype(dtype)
    return np.concatenate(
        [np.linspace(-110, 110, 1_000_001).astype(dtype), magnitudes, -magnitudes]
    )


@pytest.mark.parametrize(("dtype", "ulps"), [(np.float32, 2), (np.float64, 1)])
def test_exp_is_within_ulps(dtype, ulps):
    x = numbers(dtype)
    with np.errstate(over="ignore", under="ignore"):
        true = np.exp(x.astype(np.longdouble))
    info = np.finfo(dtype)
    out = computed("exp", x, dtype)
    normal = (true >= info.tiny) & (true <= info.max)
    error = np.abs(out - true)[normal] / np.spacing(true[normal].astype(dtype))
    assert error.max() < ulps
    assert (out[true > info.max] == np.inf).all()
    assert (out[true < info.tiny] < info.tiny).all()


@pytest.mark.parametrize(("dtype", "relative"), [(np.float32, 5e-7), (np.float64, 5e-16)])
def test_tanh_is_within_its_relative_error(dtype, relative):
    """But for subnormal steps, near which the rational function's terms leave float32's range."""
    x = numbers(dtype)
    true = np.tanh(x.astype(np.longdouble))
    out = computed("tanh", x, dtype)
    subnormal_steps = 200 * np.finfo(dtype).smallest_subnormal
    assert (np.abs(out - true) <= relative * np.abs(true) + subnormal_steps).all()
    assert np.abs(out).max() == 1
    np.testing.assert_array_equal(computed("tanh", -x, dtype), -out)


@pytest.mark.parametrize(("dtype", "absolute"), [(np.float32, 3e-7), (np.float64, 3e-16)])
def test_sigmoid_is_within_its_absolute_error(dtype, absolute):
    x = numbers(dtype)
    small = np.exp(-np.abs(x.astype(np.longdouble)))
    true = np.where(x < 0, small, 1) / (1 + small)
    out = computed("sigmoid", x, dtype)
    assert np.abs(out - true).max() <= absolute
    assert out.min() >= 0
    assert out.max() <= 1


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    ("name", "x", "expected"),
    [
        ("exp", [0, -0.0, INF, -INF, NAN, 1e30, -1e30], [1, 1, INF, 0, NAN, INF, 0]),
        ("tanh", [0, INF, -INF, NAN, 1e30, -1e30], [0, 1, -1, NAN, 1, -1]),
        ("sigmoid", [0, -0.0, INF, -INF, NAN, 1e30, -1e30], [0.5, 0.5, 1, 0, NAN, 1, 0]),
    ],
)
def test_edges(name, x, expected, dtype):
    np.testing.assert_allclose(computed(name, x, dtype), expected, 3e-7, 0)


@pytest.mark.parametrize("dtype", FLOATS)
def test_subnormal_numbers(dtype):
    tiny = np.finfo(dtype).smallest_subnormal * np.array([1, -1, 1000, -1000], dtype)
    assert (computed("exp", tiny, dtype) == 1).all()
    assert (computed("sigmoid", tiny, dtype) == 0.5).all()
    assert np.signbit(computed("tanh", [-0.0], dtype)).all()


def test_exp_of_float32_at_the_ends_of_its_range():
    largest = np.log(np.float64(np.finfo(np.float32).max))
    below = np.nextafter(np.float32(largest), np.float32(0))
    out = computed("exp", [below, np.nextafter(np.float32(largest), np.float32(100))], np.float32)
    assert np.finfo(np.float32).max * 0.999 < out[0] < np.inf
    assert out[1] == np.inf


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", LOOPS)
def test_a_number_is_the_same_wherever_it_stands(name, dtype):
    """In the vectorised part of a loop and in its remainder alike."""
    x = np.random.default_rng(0).normal(0, 5, 67)
    together = computed(name, x, dtype)
    alone = [computed(name, [number], dtype)[0] for number in x]
    assert together.tobytes() == np.array(alone, dtype).tobytes()
