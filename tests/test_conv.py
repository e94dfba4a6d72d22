"""Convolution over time, and its gradients."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from ragmask.ops.conv import conv_gradient
from tests import reference
from tests.strategies import (
    FLOATS,
    as_kind,
    as_rows,
    assert_rows,
    lists_of,
    over,
    raggeds,
    with_normals,
)

ITEM_SHAPES = [(), (1,), (3,), (70,), (2, 2), (0,)]
TOLERANCES = {"float16": 2e-2, "float32": 1e-4, "float64": 1e-12}
STEPS = {"dtypes": ("uint8",), "item_shapes": [()], "max_rows": 4, "max_steps": 40}
LAYOUTS, COMPACT = raggeds(**STEPS), raggeds(**STEPS, compact=True)
KINDS = st.sampled_from(["ragged", "padded", "dense"])
TAPS, DILATIONS = st.integers(1, 6), st.sampled_from([1, 2, 5, 100])
NAN = np.nan


def normals(shape, dtype="float64", seed=1):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def flat(array):
    """(n, features) as lists."""
    return array.reshape(len(array), int(np.prod(array.shape[1:]))).astype("float64").tolist()


@given(
    LAYOUTS,
    KINDS,
    st.sampled_from(FLOATS),
    st.sampled_from(ITEM_SHAPES),
    TAPS,
    st.booleans(),
    DILATIONS,
    st.booleans(),
)
def test_it_is_the_reference(ragged, kind, dtype, item_shape, taps, causal, dilation, biased):
    batch = as_kind(with_normals(ragged, dtype, item_shape), kind)
    kernel = normals((taps, *item_shape), dtype)
    bias = normals(item_shape, dtype, 2) if biased else None
    out = rm.temporal_conv(batch, kernel, bias, causal=causal, dilation=dilation)
    rows, masks = lists_of(batch)
    (biases,) = flat(np.zeros((1, *item_shape)) if bias is None else bias[None])
    expected = reference.temporal_conv(rows, masks, flat(kernel), biases, causal, dilation)
    assert_rows(lists_of(out)[0], expected, TOLERANCES[dtype])
    assert lists_of(out)[1] == masks
    assert type(out) is type(batch)
    assert out.dtype == dtype


@given(
    COMPACT,
    st.sampled_from(["float32", "float64"]),
    st.sampled_from(ITEM_SHAPES),
    TAPS,
    st.booleans(),
    DILATIONS,
)
def test_gradients_are_the_reference(ragged, dtype, item_shape, taps, causal, dilation):
    """Of a gradient that is NaN at masked steps."""
    batch = with_normals(ragged, dtype, item_shape)
    gradient = normals(batch.values.shape, dtype)
    if batch.mask is not None:
        gradient[~batch.mask] = NAN
    kernel = normals((taps, *item_shape), dtype, 2)
    of_x, of_weights = conv_gradient(batch._rows, kernel, gradient, causal, dilation)
    rows, masks = lists_of(batch)
    gradients = as_rows(batch, gradient)
    expected = reference.conv_gradient(rows, masks, flat(kernel), gradients, causal, dilation)
    tolerance = TOLERANCES[dtype]
    assert_rows(as_rows(batch, of_x), expected[0], tolerance)
    assert (of_weights.shape, of_weights.dtype, of_x.dtype) == (
        (taps + 1, *item_shape),
        *[dtype] * 2,
    )
    wanted = np.reshape([*expected[1], expected[2]], of_weights.shape)
    np.testing.assert_allclose(of_weights, wanted, tolerance, tolerance)


@given(raggeds(dtypes=("uint8",), item_shapes=[()], masked=(False,), max_steps=300), TAPS)
def test_it_is_numpys_row_by_row(ragged, taps):
    batch = with_normals(ragged, "float64")
    kernel = normals(taps)
    for causal in (True, False):
        found = rm.temporal_conv(batch, kernel, causal=causal)
        for row, out in zip(batch, found, strict=True):
            first = 0 if causal else taps - 1 - (taps - 1) // 2
            whole = np.convolve(row, kernel[::-1]) if len(row) else row
            np.testing.assert_allclose(out, whole[first : first + len(row)], 1e-12, 1e-12)


def test_a_masked_step_counts_as_nothing_and_gets_nothing():
    x = rm.Ragged([1.0, NAN, 2.0, 4.0], [0], [4], np.array([True, False, True, True]))
    out = rm.temporal_conv(x, [100.0, 1.0], 0.5)
    assert out.values.tolist() == [1.5, 0.0, 2.5, 204.5]
    assert out.mask.tolist() == [True, False, True, True]
    kept = rm.temporal_conv(x, [100.0, 1.0], mask=np.array([True, False, False, True]))
    assert kept.values.tolist() == [1.0, 0.0, 0.0, 4.0]


def test_weights_that_are_not_finite_stay_where_they_meet_steps():
    """What lies outside a row, or is masked, is not multiplied by them."""
    x = rm.Ragged.from_rows([[1.0], [2.0, 3.0]])
    assert rm.temporal_conv(x, [NAN, 1.0]).values[:2].tolist() == [1.0, 2.0]
    padded = x.to_padded(5, padding="pre", value=NAN)
    assert rm.temporal_conv(padded, [np.inf, 1.0]).values[:, -1].tolist() == [1.0, np.inf]


@pytest.mark.parametrize("features", [1, 3, 70])
def test_a_nan_reaches_no_other_row(features):
    values = normals((60, features), "float32")
    lengths = np.array([10, 20, 30])
    starts = np.cumsum(lengths) - lengths
    kernel = normals((5, features), "float32", 2)

    def run():
        batch = rm.Ragged(values, starts, lengths)
        gradient = values[::-1].copy()
        outs = [rm.temporal_conv(batch, kernel, causal=causal).values for causal in (True, False)]
        outs += [conv_gradient(batch._rows, kernel, gradient, True, 1)[0]]
        return np.concatenate([out[[*range(10), *range(30, 60)]] for out in outs])

    expected = run()
    values[10:30] = NAN
    assert np.isnan(values).any()
    found = run()[:80]  # the gradient, reversed, has the NaN in the last row
    assert found.tobytes() == expected[:80].tobytes()


@pytest.mark.parametrize("item_shape", [(), (3,), (70,)])
def test_threads_change_no_bit_of_gradients(num_threads, item_shape):
    random = np.random.default_rng(0)
    lengths = np.minimum(random.geometric(0.02, 2000), 400)
    n = int(lengths.sum())
    batch = rm.Ragged(
        normals((n, *item_shape), "float32"),
        np.cumsum(lengths) - lengths,
        lengths,
        random.random(n) < 0.8,
    )
    gradient, kernel = normals((n, *item_shape), "float32", 2), normals((4, *item_shape), "float32")
    found = []
    for threads in (1, 2, 5):
        num_threads(threads)
        parts = conv_gradient(batch._rows, kernel, gradient, True, 1)
        found.append([part.tobytes() for part in parts])
    assert found[0] == found[1] == found[2]


@given(COMPACT.filter(lambda r: r.n_steps), TAPS, st.booleans())
def test_masked_steps_around_rows_change_no_bit_of_gradients(ragged, taps, causal):
    """As a Padded has them, at any width, before rows and after."""
    batch = with_normals(ragged, "float32", (5,))
    kernel = normals((taps, 5), "float32")
    kept = np.ones(batch.n_steps, bool) if batch.mask is None else batch.mask
    gradient = normals(batch.values.shape, "float32", 2)
    expected = conv_gradient(batch._rows, kernel, gradient, causal, 1)
    for padding in ("pre", "post"):
        padded = batch.to_padded(batch.max_length + 3, padding=padding, value=NAN)
        gradients = over(batch, gradient).to_padded(batch.max_length + 3, padding=padding).values
        rows = rm.Ragged(padded.values.reshape(-1, 5), *places(padded), padded.mask.reshape(-1))
        found = conv_gradient(rows._rows, kernel, gradients.reshape(-1, 5), causal, 1)
        own = found[0].reshape(padded.shape)[padded.mask]
        assert own.tobytes() == expected[0][kept].tobytes()
        assert not found[0].reshape(padded.shape)[~padded.mask].any()
        assert found[1].tobytes() == expected[1].tobytes()


def places(padded):
    rows, width = padded.shape[:2]
    return np.arange(rows) * width, np.full(rows, width)


def differences(function, numbers):
    """The gradient of a function of an array, by central differences."""
    found, by = np.zeros(numbers.shape), 1e-6
    for place in np.ndindex(numbers.shape):
        sides = []
        for step in (by, -by):
            moved = numbers.copy()
            moved[place] += step
            sides.append(function(moved))
        found[place] = (sides[0] - sides[1]) / (2 * by)
    return found


@pytest.mark.parametrize("causal", [True, False])
def test_gradients_are_what_finite_differences_say(causal):
    x, kernel, bias, weights = (normals(shape) for shape in ((9, 2), (3, 2), (2,), (9, 2)))
    place = np.array([0, 4]), np.array([4, 5]), np.arange(9) % 4 != 1

    def loss(x, kernel, bias):
        out = rm.temporal_conv(rm.Ragged(x, *place), kernel, bias, causal=causal, dilation=2)
        return (out.values * weights).sum()

    of_x, of_weights = conv_gradient(rm.Ragged(x, *place)._rows, kernel, weights, causal, 2)
    found = of_x, of_weights[:-1], of_weights[-1]
    for number in range(3):

        def of_one(one, number=number):
            given = [x, kernel, bias]
            given[number] = one
            return loss(*given)

        expected = differences(of_one, [x, kernel, bias][number])
        np.testing.assert_allclose(found[number], expected, 1e-7, 1e-7)


def test_out_is_written_to():
    x = rm.Ragged.from_rows([[1.0, 2.0], [3.0]])
    out = np.full(5, 7.0)
    result = rm.temporal_conv(x, [1.0, 2.0], out=out)
    assert np.shares_memory(result.values, out)
    assert out.tolist() == [2.0, 5.0, 6.0, 7.0, 7.0]
    kernel = np.ones(3)
    with pytest.raises(rm.InvalidInputError, match="overlap"):
        rm.temporal_conv(x, kernel, out=kernel)


def test_weights_are_taken_in_the_dtype_of_x():
    x = rm.Ragged.from_rows([np.float32([1, 2]), np.float32([3])])
    expected = rm.temporal_conv(x, np.float32([1, 2]), np.float32(3))
    for kind in (list, np.float64, np.int8, np.float16):
        assert rm.temporal_conv(x, kind([1, 2]), 3).values.tobytes() == expected.values.tobytes()
    assert rm.temporal_conv(x, [1, 2]).dtype == np.float32


X = rm.Ragged.from_rows([[[1.0, 2.0]], [[3.0, 4.0], [5.0, 6.0]]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0, 2.0],), r"kernel must be \(taps, 2\) for steps of shape \(2,\); got \(2,\)"),
        ((np.ones((3, 1)),), r"kernel must be \(taps, 2\).*got \(3, 1\)"),
        ((np.ones((3, 2, 1)),), r"kernel must be \(taps, 2\)"),
        ((np.ones((0, 2)),), "kernel has no taps"),
        ((1.0,), "kernel"),
        ((np.ones((3, 2)), np.ones(3)), r"bias must be \(2,\) for steps .*got \(3,\)"),
        ((np.ones((3, 2)), 1.0), r"bias must be \(2,\)"),
    ],
)
def test_weights_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(rm.InvalidInputError, match=message):
        rm.temporal_conv(X, *arguments)


@pytest.mark.parametrize("dilation", [0, -1, 2**62, 2**64, 1.0, True])
def test_dilations_that_cannot_be_are_refused(dilation):
    with pytest.raises(rm.InvalidInputError, match=r"dilation must be|more than can be counted"):
        rm.temporal_conv(X, np.ones((3, 2)), dilation=dilation)


@pytest.mark.parametrize("causal", [True, False])
def test_the_largest_dilation_meets_the_own_step_alone(causal):
    found = rm.temporal_conv(X, np.ones((3, 2)), dilation=2**60, causal=causal)
    assert found.values.tolist() == X.values.tolist()


@pytest.mark.parametrize("weights", [np.zeros((2, 2), "M8[s]"), np.zeros((2, 2), complex)])
def test_weights_that_are_no_numbers_are_refused(weights):
    with pytest.raises(rm.UnsupportedTypeError, match="kernel must be numbers"):
        rm.temporal_conv(X, weights)


@pytest.mark.parametrize("dtype", ["int64", "bool", "complex64"])
def test_other_dtypes_are_refused(dtype):
    with pytest.raises(rm.UnsupportedTypeError, match="x must be float16, float32 or float64"):
        rm.temporal_conv(X.with_values(X.values.astype(dtype)), np.ones((2, 2)))


def test_what_is_no_batch_is_refused():
    with pytest.raises(rm.InvalidInputError, match="must be a Ragged"):
        rm.temporal_conv(np.zeros(3), [1.0])
