"""Arrow's list layouts, read and written: values and masks."""

import datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from tests.arrow_lists import (
    LISTS,
    NUMBERS,
    TIMES,
    lists_of,
    of_numbers,
    tensor_array,
    to_pylist,
)
from tests.strategies import raggeds, rows_of

COPIED = {  # stored otherwise than numpy stores them
    pa.bool_(): "bool",
    pa.date32(): "datetime64[D]",
    pa.time32("s"): "timedelta64[s]",
    pa.time32("ms"): "timedelta64[ms]",
}


# -- layouts ------------------------------------------------------------------------------


@pytest.mark.parametrize("make_type", [*LISTS, lambda items: pa.list_(items, 2)])
@pytest.mark.parametrize("part", [slice(0, None), slice(1, None), slice(1, 3), slice(0, 0)])
def test_every_layout_and_its_slices(make_type, part):
    rows = [[1, 2], [3, 4], None, [5, None]]
    array = pa.array(rows, make_type(pa.int16()))[part]
    ragged = rm.Ragged.from_arrow(array)
    assert to_pylist(ragged) == [row or [] for row in rows[part]]
    assert ragged.dtype == np.int16


@pytest.mark.parametrize("make_type", LISTS)
def test_chunks_are_joined(make_type):
    type_ = make_type(pa.int64())
    chunks = [pa.array(rows, type_) for rows in ([[1], [2, 3]], [], [None, [4]], [[5, None]])]
    chunks[0] = chunks[0][1:]
    ragged = rm.Ragged.from_arrow(pa.chunked_array(chunks))
    assert to_pylist(ragged) == [[2, 3], [], [4], [5, None]]


@pytest.mark.parametrize(
    "type_",
    [
        *[make_type(pa.int8()) for make_type in LISTS],
        pa.list_(pa.int8(), 3),
        pa.list_(pa.list_(pa.float32(), 3)),
        pa.list_(pa.bool8()),
        pa.list_(pa.null()),
        pa.list_(pa.dictionary(pa.int8(), pa.int64())),
        pa.list_(pa.run_end_encoded(pa.int32(), pa.int64())),
        pa.list_(pa.fixed_shape_tensor(pa.int8(), [2, 3])),
        pa.fixed_shape_tensor(pa.int8(), [4, 2, 3]),
        pa.fixed_shape_tensor(pa.int8(), [3, 4, 2], permutation=[1, 2, 0]),
    ],
    ids=str,
)
def test_no_chunks_at_all_keep_the_type(type_):
    ragged = rm.Ragged.from_arrow(pa.chunked_array([], type_))
    assert (len(ragged), ragged.n_steps) == (0, 0)
    shapes = {"fixed_shape_tensor[value_type=int8, shape=[2,3]]": (2, 3)}
    if "tensor" in str(type_):
        assert ragged.item_shape == shapes.get(str(type_.value_type), (2, 3))
    if "list<item: float>[3]" in str(type_):
        assert ragged.item_shape == (3,)


def test_list_views_in_any_order_with_gaps_and_overlaps():
    array = pa.ListViewArray.from_arrays([4, 0, 1, 9], [2, 3, 2, 0], pa.array(range(10)))
    assert to_pylist(rm.Ragged.from_arrow(array)) == [[4, 5], [0, 1, 2], [1, 2], []]


@pytest.mark.parametrize("nulls", ["empty", "error"])
def test_a_null_list_over_items(nulls):
    array = pa.ListArray.from_arrays(
        [0, 2, 5, 6], pa.array(range(6)), mask=pa.array([False, True, False])
    )
    for given_array in (array, array.cast(pa.large_list(pa.int64()))):
        if nulls == "empty":
            assert to_pylist(rm.Ragged.from_arrow(given_array)) == [[0, 1], [], [5]]
        else:
            with pytest.raises(rm.InvalidInputError, match="row 1 is null: fill it"):
                rm.Ragged.from_arrow(given_array, nulls="error")


def test_a_null_is_counted_through_the_chunks():
    array = pa.chunked_array([[[1], [2]], [[3], None]])
    with pytest.raises(rm.InvalidInputError, match="row 3 is null"):
        rm.Ragged.from_arrow(array, nulls="error")
    with pytest.raises(rm.InvalidInputError, match=r'"empty" or "error"; got .drop'):
        rm.Ragged.from_arrow(array, nulls="drop")


def test_a_null_item_keeps_its_place_as_zero():
    ragged = rm.Ragged.from_arrow(pa.array([[7, None], [None, 9]]))
    assert ragged.values.tolist() == [7, 0, 0, 9]
    assert ragged.mask.tolist() == [True, False, False, True]


def test_nulls_of_other_rows_make_no_mask():
    array = pa.array([[None, 1], [2, 3]])[1:]
    assert rm.Ragged.from_arrow(array).mask is None


def test_items_outside_the_rows_are_left_behind():
    array = pa.array([[0] * 1000, [1, 2], [0] * 1000])[1:2]
    assert len(rm.Ragged.from_arrow(array).values) == 2


# -- items --------------------------------------------------------------------------------


@pytest.mark.parametrize("type_", NUMBERS, ids=str)
def test_every_width_of_number(type_):
    ragged = rm.Ragged.from_arrow(pa.array([[1, None], [3]], pa.list_(type_)))
    assert ragged.dtype == type_.to_pandas_dtype()
    assert to_pylist(ragged) == [[1, None], [3]]


@pytest.mark.parametrize(("type_", "dtype"), [*TIMES.items(), *COPIED.items()], ids=str)
def test_bools_and_times(type_, dtype):
    array = lists_of(of_numbers(type_, range(5)), [1, 3, 5])
    ragged = rm.Ragged.from_arrow(array)
    assert ragged.dtype == dtype
    scale = 86_400_000 if pa.types.is_date64(type_) else 1
    expected = np.array([1, 0, 1, 0]) if dtype == "bool" else np.arange(1, 5) * scale
    assert (ragged.values == expected.astype(dtype)).all()


def test_a_time_of_day_is_the_time_since_midnight():
    array = pa.array([[datetime.time(1, 2, 3)]], pa.list_(pa.time32("ms")))
    assert rm.Ragged.from_arrow(array).values[0] == np.timedelta64(3_723_000, "ms")


@pytest.mark.parametrize("part", [slice(0, None), slice(1, 3)])
def test_fixed_size_lists_are_steps_of_a_shape(part):
    rows = [[[[1, 2, 3], [4, 5, 6]]], [], [[[7, 8, 9], [0, 1, 2]]] * 2]
    type_ = pa.list_(pa.list_(pa.list_(pa.int32(), 3), 2))
    ragged = rm.Ragged.from_arrow(pa.array(rows, type_)[part])
    assert ragged.item_shape == (2, 3)
    assert to_pylist(ragged) == rows[part]


def test_a_null_step_of_a_shape_is_masked():
    ragged = rm.Ragged.from_arrow(
        pa.array([[[1, 2], None], [[3, 4]]], pa.list_(pa.list_(pa.int8(), 2)))
    )
    assert ragged.values.tolist() == [[1, 2], [0, 0], [3, 4]]
    assert ragged.mask.tolist() == [True, False, True]


def test_a_null_feature_is_refused():
    array = pa.array([[[1, 2], [3, None]]], pa.list_(pa.list_(pa.int8(), 2)))
    with pytest.raises(
        rm.InvalidInputError, match=r"item 1 .* some of its 2 features are null.*fill"
    ):
        rm.Ragged.from_arrow(array)


@pytest.mark.parametrize("permutation", [None, [0, 1], [1, 0]])
def test_a_tensor_is_a_row_and_a_list_of_tensors_too(permutation):
    tensors = tensor_array(permutation)
    expected = tensors.to_numpy_ndarray()
    assert [row.tolist() for row in rm.Ragged.from_arrow(tensors)] == expected.tolist()
    lists = pa.ListArray.from_arrays([0, 2], tensors)
    assert rm.Ragged.from_arrow(lists)[0].tolist() == expected.tolist()
    assert rm.Ragged.from_arrow(tensors[1:])[0].tolist() == expected[1].tolist()


def test_a_null_tensor_is_an_empty_row():
    storage = pa.array([[1, 2, 3, 4], None], pa.list_(pa.int8(), 4))
    tensors = pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.int8(), [2, 2]), storage)
    assert to_pylist(rm.Ragged.from_arrow(tensors)) == [[[1, 2], [3, 4]], []]


def test_bool8_is_bool():
    items = pa.ExtensionArray.from_storage(pa.bool8(), pa.array([0, 1, None, 5], pa.int8()))
    ragged = rm.Ragged.from_arrow(pa.ListArray.from_arrays([0, 4], items))
    assert ragged.dtype == bool
    assert to_pylist(ragged) == [[False, True, None, True]]


def test_a_dictionary_is_its_values():
    items = pa.array([1.5, None, 1.5, 2.5]).dictionary_encode()
    ragged = rm.Ragged.from_arrow(pa.ListArray.from_arrays([0, 1, 4], items))
    assert to_pylist(ragged) == [[1.5], [None, 1.5, 2.5]]


def test_run_ends_are_decoded():
    items = pa.RunEndEncodedArray.from_arrays([2, 3, 5], [7, None, 9])
    ragged = rm.Ragged.from_arrow(pa.ListArray.from_arrays([1, 3, 5], items))
    assert to_pylist(ragged) == [[7, None], [9, 9]]


def test_items_of_the_null_type_are_all_masked():
    ragged = rm.Ragged.from_arrow(pa.array([[None, None], []], pa.list_(pa.null())))
    assert ragged.lengths.tolist() == [2, 0]
    assert ragged.mask.tolist() == [False, False]


# -- agreement with pyarrow ---------------------------------------------------------------

ITEMS = {
    "int8": (pa.int8(), st.integers(-128, 127)),
    "uint64": (pa.uint64(), st.integers(0, 2**64 - 1)),
    "float64": (pa.float64(), st.floats(allow_nan=False)),
    "bool": (pa.bool_(), st.booleans()),
    "date32": (pa.date32(), st.dates()),
    "duration": (pa.duration("us"), st.timedeltas(datetime.timedelta(-9), datetime.timedelta(9))),
    "vectors": (pa.list_(pa.int32(), 2), st.lists(st.integers(0, 9), min_size=2, max_size=2)),
    "dictionary": (pa.dictionary(pa.int8(), pa.int64()), st.integers(0, 9)),
}


@st.composite
def list_arrays(draw):
    """List arrays of every layout: sliced, chunked, with null lists and null items."""
    item_type, items = ITEMS[draw(st.sampled_from(sorted(ITEMS)))]
    make_type = draw(st.sampled_from([*LISTS, "fixed"]))
    if draw(st.booleans()):
        items = st.none() | items
    sizes = (2, 2) if make_type == "fixed" else (0, 4)
    rows = st.lists(st.none() | st.lists(items, min_size=sizes[0], max_size=sizes[1]), max_size=5)
    type_ = pa.list_(item_type, 2) if make_type == "fixed" else make_type(item_type)
    chunks = []
    for _ in range(draw(st.integers(1, 3))):
        chunk = pa.array(draw(rows), type_)
        chunks.append(chunk[draw(st.integers(0, 2)) : draw(st.integers(2, 6))])
    return chunks[0] if len(chunks) == 1 and draw(st.booleans()) else pa.chunked_array(chunks)


@given(list_arrays())
def test_from_arrow_says_what_pyarrow_says(array):
    rows = [[] if row is None else row for row in array.to_pylist()]
    assert to_pylist(rm.Ragged.from_arrow(array)) == rows


ARROW_DTYPES = (
    *("int8", "uint16", "int64", "float16", "float32", "bool"),
    *("datetime64[D]", "datetime64[ns]", "timedelta64[ms]"),
)


@given(raggeds(dtypes=ARROW_DTYPES, item_shapes=[(), (3,), (2, 2), (0,)], tame=True))
def test_to_arrow_and_back(ragged):
    array = ragged.to_arrow()
    array.validate(full=True)
    again = rm.Ragged.from_arrow(array)
    rows, masks = rows_of(ragged)
    if not again.n_steps:
        assert again.lengths.tolist() == ragged.lengths.tolist()
        return
    zero = np.zeros(ragged.item_shape, ragged.dtype).tobytes()
    expected = [
        [step if kept else zero for step, kept in zip(row, mask, strict=True)]
        for row, mask in zip(rows, masks, strict=True)
    ]
    assert rows_of(again) == (expected, masks)
    assert again.dtype == ragged.dtype
    assert again.item_shape == ragged.item_shape


def test_to_arrow_writes_masked_steps_as_nulls():
    ragged = rm.Ragged(np.arange(6).reshape(3, 2), [1, 0], [2, 1], [True, False, True])
    assert ragged.to_arrow().to_pylist() == [[None, [4, 5]], [[0, 1]]]
    assert ragged.to_arrow().type == pa.list_(pa.list_(pa.int64(), 2))


@pytest.mark.parametrize("dtype", ["complex64", "longdouble", "datetime64[h]", "timedelta64[D]"])
def test_to_arrow_says_what_arrow_has_no_type_for(dtype):
    with pytest.raises(rm.UnsupportedTypeError, match="Arrow has no"):
        rm.Ragged(np.zeros(2, dtype), [0], [2]).to_arrow()


def test_nat_is_written_as_a_null():
    ragged = rm.Ragged(np.array(["NaT", "2020"], "M8[s]"), [0], [2])
    assert ragged.to_arrow().to_pylist() == [[None, datetime.datetime(2020, 1, 1)]]
