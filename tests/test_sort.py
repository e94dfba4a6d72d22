"""Steps in the order of their values."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from tests import reference
from tests.strategies import (
    FLOATS,
    INTEGERS,
    as_kind,
    assert_rows,
    lists_of,
    over,
    raggeds,
)

KINDS = st.sampled_from(["ragged", "padded", "dense"])
ITEM_SHAPES = st.sampled_from([(), (1,), (3,), (2, 2), (0,)])
LAYOUTS = raggeds(dtypes=("uint8",), item_shapes=[()], max_steps=40)
NAN, INF = np.nan, np.inf


def with_equals(ragged, dtype, item_shape=(), seed=0):
    """The same rows over few numbers, each of which comes often; of floats some are special."""
    random = np.random.default_rng(seed)
    values = random.integers(0, 5, (len(ragged.values), *item_shape)).astype(dtype)
    if np.dtype(dtype).kind == "f":
        special = random.choice([NAN, INF, -INF, -0.0, -1.0], values.shape)
        values = np.where(random.random(values.shape) < 0.4, special, values).astype(dtype)
    return over(ragged, values)


def check(batch, descending):
    made = rm.temporal_sort(batch, descending=descending)
    steps = rm.temporal_argsort(batch, descending=descending)
    rows, masks = lists_of(batch)
    expected, kept = reference.temporal_sort(rows, masks, descending)
    assert_rows(lists_of(made)[0], expected)
    assert lists_of(made)[1] == lists_of(steps)[1] == kept
    assert lists_of(steps)[0] == reference.temporal_argsort(rows, masks, descending)
    assert type(made) is type(steps) is type(batch)
    assert (made.dtype, steps.dtype) == (batch.dtype, np.int64)


@pytest.mark.slow
@given(LAYOUTS, KINDS, st.sampled_from(FLOATS), ITEM_SHAPES, st.booleans())
def test_floats_are_the_reference(ragged, kind, dtype, item_shape, descending):
    check(as_kind(with_equals(ragged, dtype, item_shape), kind), descending)


@pytest.mark.slow
@given(raggeds(dtypes=(*INTEGERS, "bool"), item_shapes=[(), (2,)]), KINDS, st.booleans())
def test_integers_are_the_reference(ragged, kind, descending):
    check(as_kind(ragged, kind), descending)


@pytest.mark.slow
@given(LAYOUTS, KINDS, st.integers(0, 45), ITEM_SHAPES)
def test_the_largest_are_the_reference(ragged, kind, k, item_shape):
    batch = as_kind(with_equals(ragged, "float32", item_shape), kind)
    values, steps = rm.temporal_topk(batch, k)
    rows, masks = lists_of(batch)
    expected = reference.temporal_topk(rows, masks, k)
    assert (values.dtype, steps.dtype) == ("float32", np.int64)
    for made, wanted in zip((values, steps), expected, strict=True):
        assert type(made) is type(batch)
        if kind == "ragged":
            assert made.is_compact
            assert made.mask is None
            assert_rows(lists_of(made)[0], wanted)
        else:
            assert made.shape[1] == min(k, batch.shape[1])
            kept = [len(row) for row in wanted]
            found, masks = lists_of(made)
            assert [sum(row) for row in masks] == kept
            assert_rows([row[:n] for row, n in zip(found, kept, strict=True)], wanted)
            assert not any(
                any(step) for row, n in zip(found, kept, strict=True) for step in row[n:]
            )


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64", "uint64"])
@pytest.mark.parametrize("masked", [False, True])
def test_long_rows_are_numpys(dtype, masked):
    """Several runs have to be merged, and a few are taken of the largest."""
    random = np.random.default_rng(0)
    lengths = np.array([5000, 64, 65, 0, 129, 1000, 4097])
    n = int(lengths.sum())
    values = random.integers(0, 500, n).astype(dtype)
    if dtype.startswith("f"):
        values[random.random(n) < 0.1] = NAN
        values[random.random(n) < 0.1] = -0.0
    mask = random.random(n) < 0.7 if masked else None
    batch = rm.Ragged(values, np.cumsum(lengths) - lengths, lengths, mask)
    found, order = rm.temporal_sort(batch), rm.temporal_argsort(batch)
    largest, steps = rm.temporal_topk(batch, 70)
    for row in range(len(batch)):
        numbers, place = np.ma.getdata(batch[row]), np.arange(lengths[row])
        if masked:
            place = np.flatnonzero(mask[batch.starts[row] :][: lengths[row]])
        expected = place[np.argsort(numbers[place], kind="stable")]
        assert np.ma.compressed(order[row]).tolist() == expected.tolist()
        assert np.ma.compressed(found[row]).tobytes() == numbers[expected].tobytes()
        backwards = place[::-1][np.argsort(numbers[place[::-1]], kind="stable")][::-1][:70]
        assert steps[row].tolist() == backwards.tolist()
        assert largest[row].tobytes() == numbers[backwards].tobytes()


@pytest.mark.slow
@given(LAYOUTS, st.sampled_from(["datetime64[ns]", "timedelta64[s]", "datetime64[D]"]))
def test_dates_are_numpys_row_by_row(ragged, dtype):
    numbers = np.random.default_rng(0).integers(-3, 3, len(ragged.values))
    values = np.where(numbers == 0, -(2**63), numbers).astype(dtype)
    batch = rm.Ragged(values, ragged.starts, ragged.lengths)
    for row, found in zip(batch, rm.temporal_sort(batch), strict=True):
        assert found.dtype == dtype
        assert found.tobytes() == np.sort(row, kind="stable").tobytes()
    assert rm.temporal_topk(batch, 2)[0].dtype == dtype


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["int64", "uint64", "int8", "uint32"])
def test_the_largest_and_smallest_integers(dtype):
    """The smallest int64 is NaT only where there are dates."""
    info = np.iinfo(dtype)
    ragged = rm.Ragged(np.array([1, info.max, info.min], dtype), [0], [3])
    assert rm.temporal_sort(ragged).values.tolist() == [info.min, 1, info.max]
    assert rm.temporal_argsort(ragged, descending=True).values.tolist() == [1, 0, 2]


def test_equals_stay_in_their_order():
    x = rm.Ragged.from_rows([[0.0, -0.0, 1.0, -0.0, NAN, 1.0, NAN]])
    assert rm.temporal_argsort(x).values.tolist() == [0, 1, 3, 2, 5, 4, 6]
    assert rm.temporal_argsort(x, descending=True).values.tolist() == [4, 6, 2, 5, 0, 1, 3]
    assert np.signbit(rm.temporal_sort(x).values[:3]).tolist() == [False, True, True]
    values, steps = rm.temporal_topk(x, 3)
    assert steps.values.tolist() == [4, 6, 2]
    np.testing.assert_array_equal(values.values, [NAN, NAN, 1.0])


def test_masked_steps_go_to_the_end():
    mask = np.array([True, False, True, False])
    x = rm.Ragged([3.0, NAN, 1.0, -9.0], [0], [4], mask)
    for made, expected in (
        (rm.temporal_sort(x), [1.0, 3.0, 0.0, 0.0]),
        (rm.temporal_argsort(x), [2, 0, 0, 0]),
        (rm.temporal_sort(x, descending=True), [3.0, 1.0, 0.0, 0.0]),
    ):
        assert made.values.tolist() == expected
        assert made.mask.tolist() == [True, True, False, False]
    assert [made.values.tolist() for made in rm.temporal_topk(x, 3)] == [[3.0, 1.0], [0, 2]]


def test_out_is_written_to():
    x, out, steps = rm.Ragged.from_rows([[2.0, 1.0], [3.0]]), np.full(5, 7.0), np.full(3, 7)
    assert np.shares_memory(rm.temporal_sort(x, out=out).values, out)
    assert out.tolist() == [1.0, 2.0, 3.0, 7.0, 7.0]
    assert np.shares_memory(rm.temporal_argsort(x, out=steps).values, steps)
    assert steps.tolist() == [1, 0, 0]
    halves = np.zeros(3, np.float16)
    rm.temporal_sort(rm.Ragged.from_rows([[2.0, 1.0], [3.0]], "float16"), out=halves)
    assert halves.tolist() == [1.0, 2.0, 3.0]


def test_arrow_lists_are_arrow_lists_again():
    array = pa.array([[3, None, 1], None, []], pa.large_list(pa.int16()))
    assert rm.temporal_sort(array).type == array.type
    assert rm.temporal_sort(array).to_pylist() == [[1, 3, None], None, []]
    assert rm.temporal_argsort(array).type == pa.large_list(pa.int64())
    assert rm.temporal_argsort(array).to_pylist() == [[2, 0, None], None, []]
    values, steps = rm.temporal_topk(array, 1)
    assert values.type == array.type
    assert values.to_pylist() == [[3], None, []]
    assert steps.to_pylist() == [[0], None, []]


@pytest.mark.parametrize("op", [rm.temporal_sort, rm.temporal_argsort])
@pytest.mark.parametrize("dtype", ["complex64", "g"])
def test_other_dtypes_are_refused(op, dtype):
    with pytest.raises(rm.UnsupportedTypeError, match=rf"{op.__name__} takes floats.*got"):
        op(rm.Ragged(np.zeros(1, dtype), [0], [1]))
    with pytest.raises(rm.UnsupportedTypeError, match="temporal_topk takes floats"):
        rm.temporal_topk(rm.Ragged(np.zeros(1, dtype), [0], [1]), 1)


@pytest.mark.parametrize("k", [-1, 1.0, None, "2", True])
def test_k_is_a_number_of_steps(k):
    with pytest.raises(rm.InvalidInputError, match="k must be"):
        rm.temporal_topk(rm.Ragged.from_rows([[1]]), k)


@pytest.mark.parametrize("descending", [1, "yes", None])
def test_descending_is_a_bool(descending):
    for op in (rm.temporal_sort, rm.temporal_argsort):
        with pytest.raises(rm.InvalidInputError, match="descending must be True or False"):
            op(rm.Ragged.from_rows([[1]]), descending=descending)


@pytest.mark.parametrize("x", [np.array([[object()]]), np.zeros(3), [[1], [2, 3]], "abc"])
def test_what_is_no_batch_is_refused(x):
    for op in (rm.temporal_sort, rm.temporal_flip, lambda x: rm.temporal_topk(x, 1)):
        with pytest.raises(rm.RagmaskError):
            op(x)
