"""Rows of several batches as one batch."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from tests.strategies import over, raggeds, rows_of


@st.composite
def parts_of(draw):
    """Up to 4 batches of one dtype and item, in any layout."""
    first = draw(raggeds())
    like = raggeds(dtypes=(str(first.dtype),), item_shapes=[first.item_shape])
    return [first, *draw(st.lists(like, max_size=3))]


@given(parts_of())
def test_rows_stay_as_they_are(parts):
    joined = rm.concatenate(parts)
    assert isinstance(joined, rm.Ragged)
    assert joined.is_compact or len(parts) == 1
    assert (joined.dtype, joined.item_shape) == (parts[0].dtype, parts[0].item_shape)
    for of_all, of_parts in zip(
        rows_of(joined), zip(*map(rows_of, parts), strict=True), strict=True
    ):
        assert of_all == [row for rows in of_parts for row in rows]
    assert (joined.mask is None) == all(part.mask is None for part in parts)


@given(parts_of(), st.booleans())
def test_padded_of_one_width_stay_padded(parts, dense):
    width = max(part.max_length for part in parts)
    padded = [part.to_padded(width) for part in parts]
    given_parts = [one.values for one in padded] if dense else padded
    joined = rm.concatenate(given_parts)
    values = joined if dense else joined.values
    assert type(joined) is type(given_parts[0])
    assert values.tobytes() == b"".join(one.values.tobytes() for one in padded)
    assert values.shape == (sum(map(len, parts)), width, *parts[0].item_shape)
    if not dense:
        assert joined.mask.tobytes() == b"".join(one.mask.tobytes() for one in padded)


def test_other_kinds_become_ragged_without_their_padding():
    ragged = rm.Ragged.from_rows([[1, 2], []])
    narrow, wide = ragged.to_padded(), ragged.to_padded(5, padding="pre")
    for parts in ([narrow, wide], [ragged, wide], [narrow, ragged.to_arrow()]):
        joined = rm.concatenate(parts)
        assert [row.tolist() for row in joined] == [[1, 2], [], [1, 2], []]
        assert joined.mask is None
    joined = rm.concatenate([ragged, np.array([[7, 8, 9]])])
    assert [row.tolist() for row in joined] == [[1, 2], [], [7, 8, 9]]
    hole = rm.Padded(np.array([[1, 2, 3, 0]]), np.array([[True, False, True, False]]))
    joined = rm.concatenate([ragged, hole])
    assert joined.mask.tolist() == [True, True, True, False, True]


def test_padded_with_a_mask_and_arrays_without():
    dense, mask = np.arange(4).reshape(2, 2), np.array([[True, False], [True, True]])
    joined = rm.concatenate([dense, rm.Padded(dense, mask), rm.Padded(dense)])
    assert joined.mask.tolist() == [[True, True]] * 2 + mask.tolist() + [[True, True]] * 2
    assert rm.concatenate([rm.Padded(dense), dense]).mask is None
    assert rm.concatenate([dense, dense[:, ::-1]]).tolist() == [[0, 1], [2, 3], [1, 0], [3, 2]]
    wide = np.arange(8).reshape(2, 4)
    parts = [*rm.temporal_split(rm.Padded(wide)), *rm.temporal_split(wide)]
    assert rm.concatenate(parts).values.tolist() == [[0, 1], [4, 5], [2, 3], [6, 7]] * 2


@pytest.mark.parametrize("list_of", [pa.list_, pa.large_list, pa.list_view])
def test_arrow_stays_arrow_with_its_nulls(list_of):
    one = pa.array([[1, None], None], list_of(pa.int16()))
    other = pa.chunked_array([[[3]], [None, []]], list_of(pa.int16()))
    joined = rm.concatenate([one, other])
    assert joined.type == one.type
    assert joined.to_pylist() == [[1, None], None, [3], None, []]
    joined = rm.concatenate([one, pa.array([[5]], pa.list_(pa.int16(), 1))])
    assert joined.to_pylist() == [[1, None], None, [5]]


def test_one_batch_is_itself():
    ragged = rm.Ragged.from_rows([[1, 2], [3]])[::-1]
    for batch in (ragged, ragged.to_padded(), ragged.to_arrow()):
        assert rm.concatenate([batch]) is batch
    assert rm.concatenate(iter([ragged])) is ragged


FIRST = rm.Ragged.from_rows([[1.0, 2.0]])


@pytest.mark.parametrize(
    ("batches", "says"),
    [
        ([], "at least one batch"),
        ([FIRST, FIRST.with_values(FIRST.values.astype("f4"))], r"batch 1 has float32 steps"),
        ([FIRST, FIRST, FIRST.with_values(np.zeros((2, 3)))], r"batch 2 has .* shape \(3,\)"),
        ([FIRST, [1.0]], "batch 1 must be a Ragged"),
        ([FIRST, None], "batch 1 must be a Ragged"),
        (FIRST, "a list of batches; got one Ragged"),
        (FIRST.to_padded(), "a list of batches; got one Padded"),
        (np.zeros((2, 2)), "a list of batches; got one ndarray"),
        (pa.array([[1]]), "a list of batches; got one ListArray"),
    ],
)
def test_what_does_not_fit_is_refused(batches, says):
    with pytest.raises((rm.InvalidInputError, rm.UnsupportedTypeError), match=says):
        rm.concatenate(batches)


# -- masked steps taken out -------------------------------------------------------------------


@given(raggeds())
def test_masked_steps_are_taken_out(ragged):
    dropped = ragged.drop_masked()
    rows, masks = rows_of(ragged)
    kept = [
        [step for step, keep in zip(row, keeps, strict=True) if keep]
        for row, keeps in zip(rows, masks, strict=True)
    ]
    assert rows_of(dropped)[0] == kept
    assert dropped.mask is None
    assert (dropped.dtype, dropped.item_shape) == (ragged.dtype, ragged.item_shape)
    if ragged.mask is None:
        assert dropped is ragged
    else:
        assert dropped.is_compact
        assert dropped.lengths.tolist() == rm.temporal_pool(ragged, "count").tolist()


def test_null_lists_stay_null_where_null_items_are_taken_out():
    lists = pa.array([[1, None, 3], None, [None]])
    assert rm.Ragged.from_arrow(lists).drop_masked().to_arrow().to_pylist() == [[1, 3], None, []]


def test_what_was_taken_out_is_a_copy():
    values, mask = np.arange(4), np.array([True, False, True, True])
    dropped = rm.Ragged(values, [0], [4], mask).drop_masked()
    mask[:], values[:] = False, 9
    assert dropped.to_rows()[0].tolist() == [0, 2, 3]


def test_a_mask_of_other_bytes_counts_what_it_takes():
    mask = np.array([2, 0, 255, 1], np.uint8).view(bool)
    dropped = rm.Ragged(np.arange(4), [0, 2], [2, 2], mask).drop_masked()
    assert [row.tolist() for row in dropped] == [[0], [2, 3]]


# -- single steps ---------------------------------------------------------------------------


@given(raggeds(), st.data())
def test_single_steps_are_those_of_rows(ragged, data):
    rows = [row for row in range(len(ragged)) if ragged.lengths[row]]
    shape = data.draw(st.sampled_from([(), (3,), (2, 2), (0,)] if rows else [(0,)]))
    size = int(np.prod(shape))
    ids = [data.draw(st.sampled_from(rows)) for _ in range(size)]
    steps = [data.draw(st.integers(-length, length - 1)) for length in ragged.lengths[ids]]
    negative = [row - data.draw(st.sampled_from([0, len(ragged)])) for row in ids]
    dtype = data.draw(st.sampled_from(["int64", "int16"]))
    found = ragged[
        np.reshape(np.array(negative, dtype), shape), np.reshape(steps, shape).astype(int)
    ]
    expected = [ragged[row][step] for row, step in zip(ids, steps, strict=True)]
    assert np.shape(found) == (*shape, *ragged.item_shape)
    mask = np.ma.getmaskarray(found).reshape(size, int(np.prod(ragged.item_shape)))
    assert mask.tolist() == [np.ma.getmaskarray(step).reshape(-1).tolist() for step in expected]
    flat = np.reshape(np.ma.getdata(found), (size, *ragged.item_shape))
    for one, step in zip(flat, expected, strict=True):
        assert step is np.ma.masked or one.tobytes() == np.ma.getdata(step).tobytes()
    assert isinstance(found, np.ma.MaskedArray) == (ragged.mask is not None) or shape == ()


def test_numbers_of_rows_and_steps_broadcast():
    r = rm.Ragged(np.arange(9), [6, 0], [3, 4])
    assert r[[[0], [1]], [0, -1]].tolist() == [[6, 8], [0, 3]]
    assert r[1, [0, 1, 2]].tolist() == [0, 1, 2]
    assert r[np.array([0, 1], np.uint8), 2].tolist() == [8, 2]
    assert r[-1, -4] == 0
    assert r[[], []].shape == (0,)


def test_a_masked_step_is_masked():
    r = rm.Ragged(np.arange(4), [0, 2], [2, 2], np.array([True, False, True, True]))
    assert r[0, 1] is np.ma.masked
    assert r[0, 0] == 0
    assert r[[0, 0], [0, 1]].mask.tolist() == [False, True]
    vectors = over(r, np.arange(8).reshape(4, 2))
    assert vectors[0, 1].mask.tolist() == [True, True]


@pytest.mark.parametrize(
    ("index", "error", "says"),
    [
        ((3, 0), rm.RowIndexError, "^row 3 of a batch of 3 rows"),
        ((-4, 0), rm.RowIndexError, "^row -4 of a batch"),
        (([0, 9], 0), rm.RowIndexError, "index 1: row 9 of a batch of 3"),
        ((0, 2), rm.StepIndexError, "^step 2 of row 0, which has 2 steps"),
        ((1, 0), rm.StepIndexError, "^step 0 of row 1, which has 0 steps"),
        ((-1, -2), rm.StepIndexError, "^step -2 of row 2, which has 1 step$"),
        (([[0], [2]], [0, 1]), rm.StepIndexError, r"index \(1, 1\): step 1 of row 2"),
        ((2**62, 0), rm.RowIndexError, "row 4611686018427387904 of"),
        ((0, -(2**63)), rm.StepIndexError, "step -9223372036854775808 of row 0"),
        ((np.uint64(2**63), 0), rm.InvalidInputError, "past the int64 range"),
        (([0, 1], [0, 0, 0]), rm.InvalidInputError, r"\(2,\), and of steps, \(3,\), do not"),
        ((0, slice(None)), rm.UnsupportedTypeError, r"r\[row, step\].*got slice for the steps"),
        ((slice(2), 0), rm.UnsupportedTypeError, "got slice for the rows"),
        ((..., 0), rm.UnsupportedTypeError, "got ellipsis"),
        ((0, None), rm.UnsupportedTypeError, "got None"),
        ((True, 0), rm.UnsupportedTypeError, "got bool for the rows"),
        ((0, [True, False]), rm.UnsupportedTypeError, "got bool for the steps"),
        ((0, 0.5), rm.UnsupportedTypeError, "got float64 for the steps"),
        ((0, "1"), rm.UnsupportedTypeError, "got str for the steps"),
        ((0,), rm.UnsupportedTypeError, "rows are picked by .*; got tuple"),
        ((0, 0, 0), rm.UnsupportedTypeError, "rows are picked by .*; got tuple"),
        ((rm.Ragged.from_rows([[0]]), 0), rm.UnsupportedTypeError, "rows cannot be read"),
    ],
)
def test_steps_that_are_not_there(index, error, says):
    with pytest.raises(error, match=says):
        rm.Ragged(np.arange(3), [0, 2, 2], [2, 0, 1])[index]
