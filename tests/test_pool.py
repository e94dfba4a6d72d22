"""One step out of each row."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from tests import reference
from tests.strategies import FLOATS, INTEGERS, as_kind, lists_of, over, raggeds, with_normals

HOWS = ("mean", "sum", "max", "first", "last")
TOLERANCES = {"float16": 3e-3, "float32": 3e-6, "float64": 1e-13}


def expected_of(batch, how, item_shape):
    features = int(np.prod(item_shape))
    pooled = reference.temporal_pool(*lists_of(batch), how, features)
    return np.array(pooled).reshape(len(batch), *item_shape)


@given(
    raggeds(dtypes=("uint8",), item_shapes=[()], max_steps=40),
    st.sampled_from(["ragged", "padded", "dense"]),
    st.sampled_from(HOWS),
    st.sampled_from(FLOATS),
    st.sampled_from([(), (1,), (3,), (16,), (40,), (2, 2), (0,)]),
    st.sampled_from([0.0, 0.1, 0.8]),
)
def test_floats_are_the_reference(ragged, kind, how, dtype, item_shape, specials):
    batch = as_kind(with_normals(ragged, dtype, item_shape, specials), kind)
    pooled = rm.temporal_pool(batch, how)
    tolerance = TOLERANCES[dtype] * 10
    np.testing.assert_allclose(pooled, expected_of(batch, how, item_shape), tolerance, tolerance)
    assert (type(pooled), pooled.dtype) == (np.ndarray, dtype)
    assert pooled.shape == (len(ragged), *item_shape)


@given(
    raggeds(dtypes=(*INTEGERS, "bool"), item_shapes=[(), (3,)]),
    st.sampled_from(["ragged", "padded", "dense"]),
    st.sampled_from(HOWS),
)
def test_integers_are_the_reference(ragged, kind, how):
    ragged = over(ragged, ragged.values // 16 if ragged.dtype != bool else ragged.values)
    batch = as_kind(ragged, kind)
    pooled = rm.temporal_pool(batch, how)
    expected = expected_of(batch, how, ragged.item_shape)
    if how == "mean":
        np.testing.assert_allclose(pooled, expected, 1e-12, 1e-3)
        assert pooled.dtype == np.float64
    else:
        assert pooled.tolist() == expected.tolist()
        widest = np.uint64 if ragged.dtype.kind == "u" else np.int64
        assert pooled.dtype == (widest if how == "sum" else ragged.dtype)


@pytest.mark.parametrize("dtype", ["int64", "uint64", "int8"])
def test_the_largest_and_smallest_integers(dtype):
    info = np.iinfo(dtype)
    ragged = rm.Ragged(np.array([info.min, info.max, info.min], dtype), [0, 0], [3, 1])
    assert rm.temporal_pool(ragged, "max").tolist() == [info.max, info.min]
    assert rm.temporal_pool(ragged, "last").tolist() == [info.min, info.min]


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_nan_is_the_maximum_wherever_it_stands(dtype):
    rows = [[np.nan, 1, np.inf], [1, np.nan, 2], [1, 2, np.nan], [-np.inf, -np.inf], [-3, -2]]
    pooled = rm.temporal_pool(rm.Ragged.from_rows(rows, dtype), "max")
    np.testing.assert_array_equal(pooled, [np.nan, np.nan, np.nan, -np.inf, -2])


@pytest.mark.parametrize("how", HOWS)
def test_masked_steps_do_not_count(how):
    values, mask = np.array([np.nan, 3, np.nan, 5, np.nan]), [False, True, False, True, False]
    expected = {"mean": 4, "sum": 8, "max": 5, "first": 3, "last": 5}[how]
    pooled = rm.temporal_pool(rm.Ragged(values, [0, 0, 2], [5, 1, 0], mask), how)
    assert pooled.tolist() == [expected, 0, 0]


@pytest.mark.parametrize("how", ["average", "MEAN", "", None, 1, ["mean"]])
def test_another_word_is_refused(how):
    with pytest.raises(rm.InvalidInputError, match=r"how must be one of 'sum', 'mean'.*; got"):
        rm.temporal_pool(rm.Ragged.from_rows([[1.0]]), how)


@pytest.mark.parametrize("dtype", ["complex64", "datetime64[s]", "timedelta64[s]", "g"])
def test_other_dtypes_are_refused(dtype):
    with pytest.raises(rm.UnsupportedTypeError, match="takes floats, integers and bools; got"):
        rm.temporal_pool(rm.Ragged(np.zeros(1, dtype), [0], [1]))
