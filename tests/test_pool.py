"""One step out of each row."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from ragmask.ops.pool import How
from tests import reference
from tests.strategies import (
    FLOATS,
    INTEGERS,
    as_kind,
    lists_of,
    over,
    padded_rows_of,
    raggeds,
    rows_of,
    with_normals,
)

NAN, INF = np.nan, np.inf

HOWS = get_args(How)
ITEM_SHAPES = st.sampled_from([(), (1,), (3,), (16,), (40,), (2, 2), (0,)])
KINDS = st.sampled_from(["ragged", "padded", "dense"])
TOLERANCES = {"float16": 3e-3, "float32": 3e-6, "float64": 1e-13}


def shape_of(batch, how, item_shape):
    return (len(batch),) if how == "count" else (len(batch), *item_shape)


def expected_of(batch, how, item_shape):
    features = int(np.prod(item_shape))
    pooled = reference.temporal_pool(*lists_of(batch), how, features)
    return np.array(pooled).reshape(shape_of(batch, how, item_shape))


@given(
    raggeds(dtypes=("uint8",), item_shapes=[()], max_steps=40),
    KINDS,
    st.sampled_from(HOWS),
    st.sampled_from(FLOATS),
    ITEM_SHAPES,
    st.sampled_from([0.0, 0.1, 0.8]),
)
def test_floats_are_the_reference(ragged, kind, how, dtype, item_shape, specials):
    batch = as_kind(with_normals(ragged, dtype, item_shape, specials), kind)
    pooled = rm.temporal_pool(batch, how)
    tolerance = TOLERANCES[dtype] * 10
    np.testing.assert_allclose(pooled, expected_of(batch, how, item_shape), tolerance, tolerance)
    expected_dtype = np.int64 if how in ("count", "argmax") else dtype
    assert (type(pooled), pooled.dtype) == (np.ndarray, expected_dtype)
    assert pooled.shape == shape_of(ragged, how, item_shape)


@pytest.mark.slow
@given(
    raggeds(dtypes=(*INTEGERS, "bool"), item_shapes=[(), (3,)]),
    KINDS,
    st.sampled_from(HOWS),
)
def test_integers_are_the_reference(ragged, kind, how):
    ragged = over(ragged, ragged.values // 16 if ragged.dtype != bool else ragged.values)
    batch = as_kind(ragged, kind)
    pooled = rm.temporal_pool(batch, how)
    expected = expected_of(batch, how, ragged.item_shape)
    if how in ("mean", "std", "logsumexp"):
        np.testing.assert_allclose(pooled, expected, 1e-12, 1e-3)
        assert pooled.dtype == np.float64
    else:
        assert pooled.tolist() == expected.tolist()
        widest = np.uint64 if ragged.dtype.kind == "u" else np.int64
        dtypes = {"sum": widest, "argmax": np.int64, "count": np.int64}
        assert pooled.dtype == dtypes.get(how, ragged.dtype)


@given(raggeds(), KINDS)
def test_steps_of_anything_are_counted(ragged, kind):
    batch = as_kind(ragged, kind)
    pooled = rm.temporal_pool(batch, "count")
    assert pooled.dtype == np.int64
    masks = [[True] * batch.shape[1]] * len(batch) if kind == "dense" else mask_rows(batch)
    assert pooled.tolist() == [sum(row) for row in masks]


def mask_rows(batch):
    return rows_of(batch)[1] if isinstance(batch, rm.Ragged) else padded_rows_of(batch)[1]


@given(raggeds(dtypes=("int8", "float32"), item_shapes=[()], max_steps=40))
def test_where_the_maximum_is_the_maximum_is(ragged):
    some = np.flatnonzero(rm.temporal_pool(ragged, "count"))
    places = rm.temporal_pool(ragged, "argmax")[some]
    found = np.ma.getdata(ragged[some, places])
    np.testing.assert_array_equal(found, rm.temporal_pool(ragged, "max")[some])


@given(
    raggeds(dtypes=("float32", "float64"), item_shapes=[()], max_steps=40),
    st.sampled_from([how for how in HOWS if how not in ("std", "logsumexp")]),
)
def test_numbers_have_the_bits_of_vectors(ragged, how):
    """Though they are added up in a register. Of any bits: NaN, infinities, -0."""
    with np.errstate(all="ignore"):
        values = np.stack([ragged.values, ragged.values], 1)
        vectors = rm.temporal_pool(over(ragged, values), how)
        numbers = rm.temporal_pool(ragged, how)
    vectors = vectors if how == "count" else vectors[:, 0]
    assert np.array_equal(numbers, vectors, equal_nan=how not in ("count", "argmax"))
    assert np.signbit(numbers[numbers == 0]).tolist() == np.signbit(vectors[vectors == 0]).tolist()


@pytest.mark.parametrize("features", [1, 3])
@pytest.mark.parametrize("first", [1e4, -1e6])
def test_a_deviation_is_right_however_large_the_mean_is(features, first):
    """Also where the first step is nothing like the others."""
    x = 1e4 + np.random.default_rng(0).standard_normal((4000, features))
    x[0] = first
    x = x.astype(np.float32)
    pooled = rm.temporal_pool(rm.Ragged(x, [0, 1], [4000, 3999]), "std")
    expected = [x.astype(float).std(0), x[1:].astype(float).std(0)]
    np.testing.assert_allclose(pooled, expected, 5e-5 if first < 0 else 2e-6)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("item_shape", [(), (2,)])
def test_equal_steps_have_no_deviation(dtype, item_shape):
    x = np.full((70, *item_shape), 0.1, dtype)
    assert not rm.temporal_pool(rm.Ragged(x, [0, 3, 5], [70, 60, 1]), "std").any()


@pytest.mark.parametrize("item_shape", [(), (2,)])
@pytest.mark.parametrize("top", [1e4, -1e4, 80.0])
def test_powers_beyond_any_float_have_a_logarithm(top, item_shape):
    x = np.full((50, *item_shape), top, np.float32)
    pooled = rm.temporal_pool(rm.Ragged(x, [0], [50]), "logsumexp")
    np.testing.assert_allclose(pooled, np.full_like(pooled, top + np.log(50)), 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["int64", "uint64", "int8"])
def test_the_largest_and_smallest_integers(dtype):
    info = np.iinfo(dtype)
    ragged = rm.Ragged(np.array([info.min, info.max, info.min], dtype), [0, 0], [3, 1])
    assert rm.temporal_pool(ragged, "max").tolist() == [info.max, info.min]
    assert rm.temporal_pool(ragged, "min").tolist() == [info.min, info.min]
    assert rm.temporal_pool(ragged, "argmax").tolist() == [1, 0]
    assert rm.temporal_pool(ragged, "last").tolist() == [info.min, info.min]


@pytest.mark.parametrize("item_shape", [(), (2,)])
@pytest.mark.parametrize("dtype", FLOATS)
def test_a_nan_is_the_maximum_and_the_minimum_wherever_it_stands(dtype, item_shape):
    rows = [
        [NAN, 1, INF],
        [1, NAN, NAN],
        [1, 2, NAN],
        [-INF, -INF],
        [INF, INF],
        [-3, -2],
        [0, -0.0],
    ]
    expected = {
        "max": [NAN, NAN, NAN, -INF, INF, -2, 0],
        "min": [NAN, NAN, NAN, -INF, INF, -3, 0],
        "argmax": [0, 1, 2, 0, 0, 1, 0],
        "logsumexp": [NAN, NAN, NAN, -INF, INF, np.log(np.exp(-3) + np.exp(-2)), np.log(2)],
    }
    batch = rm.Ragged.from_rows(rows, dtype)
    batch = over(batch, np.broadcast_to(batch.values.reshape(-1, *[1] * len(item_shape)),
                                        (batch.n_steps, *item_shape)))  # fmt: skip
    for how, numbers in expected.items():
        for column in rm.temporal_pool(batch, how).reshape(len(rows), -1).T:
            np.testing.assert_allclose(column, numbers, 1e-3)


@pytest.mark.parametrize("item_shape", [(), (2,)])
@pytest.mark.parametrize("how", HOWS)
def test_masked_steps_do_not_count(how, item_shape):
    values, mask = np.array([NAN, 3, INF, 5, -INF]), [False, True, False, True, False]
    values = np.broadcast_to(values.reshape(5, *[1] * len(item_shape)), (5, *item_shape))
    expected = {
        **{"mean": 4, "sum": 8, "max": 5, "min": 3, "first": 3, "last": 5, "count": 2, "argmax": 3},
        **{"std": 1, "logsumexp": np.log(np.exp(3) + np.exp(5))},
    }[how]
    nothing = {"argmax": -1, "logsumexp": -INF}.get(how, 0)
    pooled = rm.temporal_pool(rm.Ragged(values, [0, 0, 2], [5, 1, 0], mask), how)
    for column in pooled.reshape(3, -1).T:
        np.testing.assert_allclose(column, [expected, nothing, nothing], 1e-12)


@pytest.mark.parametrize("how", ["average", "MEAN", "", None, 1, ["mean"]])
def test_another_word_is_refused(how):
    with pytest.raises(rm.InvalidInputError, match=r"how must be one of 'mean', 'sum'.*; got"):
        rm.temporal_pool(rm.Ragged.from_rows([[1.0]]), how)


@pytest.mark.parametrize("how", [how for how in HOWS if how != "count"])
@pytest.mark.parametrize("dtype", ["complex64", "datetime64[s]", "timedelta64[s]", "g"])
def test_other_dtypes_are_refused(dtype, how):
    with pytest.raises(rm.UnsupportedTypeError, match="takes floats, integers and bools; got"):
        rm.temporal_pool(rm.Ragged(np.zeros(1, dtype), [0], [1]), how)
