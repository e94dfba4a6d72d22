"""Softmax over time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from tests import reference
from tests.strategies import FLOATS, as_kind, assert_rows, lists_of, over, raggeds, with_normals

ITEM_SHAPES = [(), (1,), (3,), (16,), (33,), (2, 2), (0,)]
# a sum of 70 terms is rounded 70 times, and all one way where the terms are equal
TOLERANCES = {"float16": 1e-3, "float32": 4e-6, "float64": 1e-13}


@given(
    raggeds(dtypes=("uint8",), item_shapes=[()], max_steps=70),
    st.sampled_from(["ragged", "padded", "dense"]),
    st.sampled_from(FLOATS),
    st.sampled_from(ITEM_SHAPES),
    st.sampled_from([0.0, 0.1, 0.8]),
)
def test_it_is_the_reference(ragged, kind, dtype, item_shape, specials):
    batch = as_kind(with_normals(ragged, dtype, item_shape, specials), kind)
    soft = rm.temporal_softmax(batch)
    rows, masks = lists_of(batch)
    assert_rows(lists_of(soft)[0], reference.temporal_softmax(rows, masks), TOLERANCES[dtype])
    assert lists_of(soft)[1] == masks
    assert type(soft) is type(batch)
    assert soft.dtype == dtype


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("scale", [1e-3, 1, 1e4])
def test_kept_steps_add_up_to_one(dtype, scale):
    values = np.random.default_rng(0).standard_normal((500, 3)) * scale
    mask = np.random.default_rng(1).random(500) < 0.8
    soft = rm.temporal_softmax(rm.Ragged(values.astype(dtype), [0, 1, 200], [1, 199, 300], mask))
    for row in soft:
        sums = np.ma.filled(row, 0).sum(axis=0, dtype=np.float64)
        np.testing.assert_allclose(sums[sums > 0], 1, 4e-3 if dtype == "float16" else 1e-6)
    assert (soft.values[~mask] == 0).all()


INF, NAN = np.inf, np.nan


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([-INF, -INF], [0, 0]),
        ([-INF], [0]),
        ([0, -INF, 0], [0.5, 0, 0.5]),
        ([NAN, 0], [NAN, NAN]),
        ([NAN, -INF], [NAN, NAN]),
        ([NAN], [NAN]),
        ([INF, 0], [NAN, NAN]),
        ([INF], [NAN]),
        ([6e4, 6e4], [0.5, 0.5]),
        ([6e4, -6e4], [1, 0]),
        ([-6e4, -6e4], [0.5, 0.5]),
    ],
)
def test_infinities_and_nans(dtype, row, expected):
    """In their own row and feature alone, and not where they are masked."""
    values = np.zeros((len(row) + 4, 2))
    values[2 : 2 + len(row), 1] = row
    batch = rm.Ragged(values.astype(dtype), [0, 2, 2 + len(row)], [2, len(row), 2])
    soft = rm.temporal_softmax(batch)
    np.testing.assert_array_equal(soft[1][:, 1], np.array(expected, dtype))
    np.testing.assert_allclose(soft[1][:, 0], 1 / len(row), 1e-3)
    for neighbour in (soft[0], soft[2]):
        assert (neighbour == 0.5).all()

    masked = np.r_[values[:2], values]
    mask = np.r_[True, True, False, False, np.zeros(len(row), bool), True, True]
    soft = rm.temporal_softmax(rm.Ragged(masked.astype(dtype), [0], [len(masked)], mask))
    assert soft.values[mask].tolist() == [[0.25, 0.25]] * 4
    assert (soft.values[~mask] == 0).all()


@pytest.mark.parametrize("dtype", ["int64", "bool", "uint8", "complex64", "datetime64[s]", "g"])
def test_only_floats_have_a_softmax(dtype):
    with pytest.raises(rm.UnsupportedTypeError, match="must be float16, float32 or float64; got"):
        rm.temporal_softmax(rm.Ragged(np.zeros(2, dtype), [0], [2]))


def test_the_remedy_for_integers_works():
    ragged = rm.Ragged.from_rows([[1, 1], [3]])
    soft = rm.temporal_softmax(over(ragged, ragged.values.astype("float32")))
    assert soft.values.tolist() == [0.5, 0.5, 1]


@pytest.mark.parametrize("operation", [rm.temporal_softmax, rm.temporal_pool, rm.temporal_flip])
def test_lists_of_unequal_length_are_told_to_be_a_ragged_batch(operation):
    with pytest.raises(rm.UnsupportedTypeError, match=r"unequal length are rm\.Ragged\.from_rows"):
        operation([[1.0, 2.0], [3.0]])
