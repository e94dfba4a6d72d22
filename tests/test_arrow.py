"""Arrow's list layouts, read and written: values, masks, addresses, and what is refused."""

import datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from ragmask import arrow
from tests.strategies import raggeds, rows_of

NUMBERS = [
    *(pa.int8(), pa.int16(), pa.int32(), pa.int64()),
    *(pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
    *(pa.float16(), pa.float32(), pa.float64()),
]
TIMES = {
    pa.timestamp("s"): "datetime64[s]",
    pa.timestamp("ms"): "datetime64[ms]",
    pa.timestamp("us", "Europe/Paris"): "datetime64[us]",
    pa.timestamp("ns", "UTC"): "datetime64[ns]",
    pa.duration("s"): "timedelta64[s]",
    pa.duration("ns"): "timedelta64[ns]",
    pa.time64("us"): "timedelta64[us]",
    pa.time64("ns"): "timedelta64[ns]",
    pa.date64(): "datetime64[ms]",
}
COPIED = {  # stored otherwise than numpy stores them
    pa.bool_(): "bool",
    pa.date32(): "datetime64[D]",
    pa.time32("s"): "timedelta64[s]",
    pa.time32("ms"): "timedelta64[ms]",
}
LISTS = [pa.list_, pa.large_list, pa.list_view, pa.large_list_view]
ROWS = [[1, 2, 3], [], [4], [5, 6]]


def of_numbers(type_, numbers):
    """Numbers as an array of any primitive type: what 3 means there does not matter."""
    if pa.types.is_boolean(type_):
        return pa.array([number % 2 == 1 for number in numbers], type_)
    if pa.types.is_date64(type_):
        numbers = [number * 86_400_000 for number in numbers]
    width = pa.int32() if type_.bit_width == 32 else pa.int64()
    whole = type_ if type_ in NUMBERS else width
    return pa.array(numbers, whole).view(type_)


def lists_of(items, offsets, make_type=pa.list_):
    """Any of the four variable layouts over items."""
    large = make_type in (pa.large_list, pa.large_list_view)
    indices = np.array(offsets, np.int64 if large else np.int32)
    if make_type in (pa.list_, pa.large_list):
        buffers = [None, pa.py_buffer(indices)]
    else:
        buffers = [None, pa.py_buffer(indices[:-1]), pa.py_buffer(np.diff(indices))]
    return pa.Array.from_buffers(make_type(items.type), len(offsets) - 1, buffers, children=[items])


def to_pylist(ragged):
    """As pyarrow's: a masked step is None, whatever its shape."""
    kept = np.ones(len(ragged.values), bool) if ragged.mask is None else ragged.mask
    return [
        [
            ragged.values[step].tolist() if kept[step] else None
            for step in range(start, start + length)
        ]
        for start, length in zip(ragged.starts, ragged.lengths, strict=True)
    ]


def address(items):
    """Where the items of a primitive array begin."""
    width = items.type.bit_width // 8
    return items.buffers()[1].address + items.offset * width


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


TENSORS = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def tensor_array(permutation=None):
    shape = TENSORS.shape[1:]
    type_ = pa.fixed_shape_tensor(pa.float32(), shape, permutation=permutation)
    storage = pa.FixedSizeListArray.from_arrays(pa.array(TENSORS.reshape(-1)), 12)
    return pa.ExtensionArray.from_storage(type_, storage)


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


# -- where nothing is copied --------------------------------------------------------------


@pytest.mark.parametrize("make_type", LISTS)
@pytest.mark.parametrize("type_", [*NUMBERS, *TIMES], ids=str)
def test_numbers_and_times_keep_their_memory(make_type, type_):
    items = of_numbers(type_, range(6))
    for array in (
        lists_of(items, [0, 2, 2, 6], make_type),
        lists_of(items[1:], [1, 3, 5], make_type)[1:],
        pa.chunked_array([lists_of(items, [0, 6], make_type)]),
    ):
        chunk = array.chunk(0) if isinstance(array, pa.ChunkedArray) else array
        first = chunk.offsets[0].as_py() if chunk.offset == 0 else 3
        ragged = rm.Ragged.from_arrow(array)
        assert ragged.values.ctypes.data == address(chunk.values[first:])


def test_fixed_size_lists_keep_their_memory():
    items = pa.array(range(12), pa.float32())
    rows = pa.FixedSizeListArray.from_arrays(items, 3)
    assert rm.Ragged.from_arrow(rows).values.ctypes.data == address(items)
    assert rm.Ragged.from_arrow(rows[1:]).values.ctypes.data == address(items[3:])
    steps = pa.ListArray.from_arrays([0, 1, 4], rows)
    assert rm.Ragged.from_arrow(steps).values.ctypes.data == address(items)
    assert rm.Ragged.from_arrow(steps[1:]).values.ctypes.data == address(items[3:])


def test_tensors_keep_their_memory():
    tensors = tensor_array()
    items = tensors.storage.values
    assert rm.Ragged.from_arrow(tensors).values.ctypes.data == address(items)
    lists = pa.ListArray.from_arrays([0, 2], tensors)
    assert rm.Ragged.from_arrow(lists).values.ctypes.data == address(items)


def test_null_lists_cost_no_copy_of_the_items():
    items = pa.array(range(6))
    array = pa.ListArray.from_arrays([0, 2, 5, 6], items, mask=pa.array([False, True, False]))
    assert rm.Ragged.from_arrow(array).values.ctypes.data == address(items)


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int32", "int64", "float16", "float64"])
@pytest.mark.parametrize("shape", [(), (2,), (3, 2)])
@pytest.mark.parametrize("masked", [False, True])
def test_to_arrow_keeps_the_memory_of_numbers(dtype, shape, masked):
    values = np.ones((6, *shape), dtype)
    mask = np.array([True, False] * 3) if masked else None
    items = rm.Ragged.from_offsets(values, [0, 2, 6], mask).to_arrow().values
    for _ in shape:
        items = items.values
    assert address(items) == values.ctypes.data


def test_there_and_back_is_the_same_memory():
    values = np.arange(6.0)
    again = rm.Ragged.from_arrow(rm.Ragged.from_offsets(values, [1, 3, 6]).to_arrow())
    assert again.values.ctypes.data == values[1:].ctypes.data


def test_rows_do_not_change_with_arrows_memory():
    """Rows were checked once; Arrow's offsets may lie in memory that its owner goes on using."""
    for make_type in LISTS:
        offsets = np.array([0, 2, 3], np.int64 if "large" in make_type.__name__ else np.int32)
        sizes = np.diff(offsets)
        is_view = "view" in make_type.__name__
        buffers = [None, pa.py_buffer(offsets[:-1] if is_view else offsets)]
        buffers += [pa.py_buffer(sizes)] if is_view else []
        items = pa.array([1, 2, 3])
        array = pa.Array.from_buffers(make_type(items.type), 2, buffers, children=[items])
        ragged = rm.Ragged.from_arrow(array)
        offsets[:], sizes[:] = 10**9, 10**9
        assert to_pylist(ragged) == [[1, 2], [3]]


# -- what comes through the PyCapsule interface -------------------------------------------


class Capsule:
    """An object that is Arrow to those who ask, and nothing else."""

    def __init__(self, array):
        self.array = array

    def __arrow_c_array__(self, requested_schema=None):
        return self.array.__arrow_c_array__(requested_schema)


class StreamCapsule:
    def __init__(self, array):
        self.array = array

    def __arrow_c_stream__(self, requested_schema=None):
        return self.array.__arrow_c_stream__(requested_schema)


@pytest.mark.parametrize(
    "source",
    [
        Capsule(pa.array(ROWS)),
        StreamCapsule(pa.chunked_array([ROWS[:2], ROWS[2:]])),
        pa.table({"ids": ROWS}),
        pa.record_batch({"ids": pa.array(ROWS)}),
        pa.record_batch({"ids": pa.array([[0], *ROWS])})[1:],
        pa.table({"ids": ROWS}).to_reader(),
    ],
    ids=["array", "stream", "table", "record batch", "sliced record batch", "reader"],
)
def test_anything_with_the_interface_is_taken(source):
    assert to_pylist(rm.Ragged.from_arrow(source)) == ROWS


def test_a_capsule_keeps_its_memory():
    array = pa.array(ROWS)
    assert rm.Ragged.from_arrow(Capsule(array)).values.ctypes.data == address(array.values)


def test_of_a_table_one_column_is_taken():
    with pytest.raises(rm.UnsupportedTypeError, match="table of the columns a, b: pass one"):
        rm.Ragged.from_arrow(pa.table({"a": ROWS, "b": ROWS}))


@pytest.mark.parametrize("source", [ROWS, np.zeros((2, 3)), "ids", None, 5], ids=repr)
def test_what_is_not_arrow_is_pointed_to_from_rows(source):
    with pytest.raises(rm.UnsupportedTypeError, match=r"use Ragged\.from_rows"):
        rm.Ragged.from_arrow(source)


# -- what is refused ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type_", "message"),
    [
        (pa.list_(pa.string()), "through a vocabulary"),
        (pa.list_(pa.large_string()), "through a vocabulary"),
        (pa.list_(pa.string_view()), "through a vocabulary"),
        (pa.string(), "through a vocabulary"),
        (pa.list_(pa.dictionary(pa.int8(), pa.string())), "through a vocabulary"),
        (pa.list_(pa.struct([("a", pa.int8())])), r"rm\.stream\(\) gives each"),
        (pa.list_(pa.list_(pa.int8())), 'items="vectors" makes'),
        (pa.list_(pa.list_view(pa.int8())), 'items="vectors" makes'),
        (pa.list_(pa.month_day_nano_interval()), "cast it first"),
        (pa.list_(pa.decimal128(5)), "cast it first"),
        (pa.list_(pa.binary()), "cast it first"),
        (pa.map_(pa.int8(), pa.int8()), "cast it first"),
        (pa.int8(), "its numpy array is what you want"),
        (pa.timestamp("s"), "its numpy array is what you want"),
    ],
    ids=str,
)
def test_other_types_are_named_with_what_to_do(type_, message):
    with pytest.raises(rm.UnsupportedTypeError, match=f"cannot hold Arrow's .*: .*{message}"):
        rm.Ragged.from_arrow(pa.array([], type_))


def broken_list(make_type, first, second=None):
    """Three items under indices that are corrupted after Arrow's own look at them."""
    dtype = np.int64 if "large" in make_type.__name__ else np.int32
    stored = [np.zeros(len(first), dtype)]
    if second is not None:
        stored.append(np.zeros(len(second), dtype))
    rows = len(first) - (second is None)
    items = pa.array([1, 2, 3])
    buffers = [None, *(pa.py_buffer(array) for array in stored)]
    array = pa.Array.from_buffers(make_type(items.type), rows, buffers, children=[items])
    for memory, corrupt in zip(stored, (first, second), strict=False):
        memory[:] = corrupt
    return array


@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        ([0, 3, 1, 3], "row 1 .* length -2 is negative"),
        ([0, 9, 3], "row 0 .* covers steps 0 to 9, and there are 3"),
        ([0, -1, 3], "row 0 .* length -1 is negative"),
        ([-1, 2, 3], "broken.*[Nn]egative"),
        ([0, 2, 9], "broken.*larger than values array"),
        ([0, 2, 2**31 - 1], "broken.*larger than values array"),
    ],
)
@pytest.mark.parametrize("make_type", [pa.list_, pa.large_list])
def test_corrupt_offsets_are_refused(make_type, offsets, message):
    with pytest.raises(rm.InvalidInputError, match=message):
        rm.Ragged.from_arrow(broken_list(make_type, offsets))


def test_offsets_that_wrap_around_are_refused():
    """The difference of each two is 0 or more, once int64 has overflowed."""
    offsets = np.array([0, 2**63 - 1, -2, 2], np.int64)
    assert (np.diff(offsets) >= 0).all()
    with pytest.raises(rm.InvalidInputError, match="row 0"):
        rm.Ragged.from_arrow(lists_of(pa.array([1, 2, 3]), offsets, pa.large_list))


@pytest.mark.parametrize(
    ("starts", "sizes", "message"),
    [
        ([0, 2], [2, 5], "row 1 .* covers steps 2 to 7, and there are 3"),
        ([0, 9], [2, 1], "row 1 .* covers steps 9 to 10"),
        ([0, -1], [2, 1], "row 1 .* start -1 is negative"),
        ([0, 1], [-2, 1], "row 0 .* length -2 is negative"),
        ([2**31 - 1, 0], [2**31 - 1, 1], "row 0 does not lie inside"),
    ],
)
@pytest.mark.parametrize("make_type", [pa.list_view, pa.large_list_view])
def test_corrupt_list_views_are_refused(make_type, starts, sizes, message):
    with pytest.raises(rm.InvalidInputError, match=message):
        rm.Ragged.from_arrow(broken_list(make_type, starts, sizes))


def test_int64_extremes_are_refused():
    for starts, sizes in (([2**63 - 1], [2**63 - 1]), ([1], [2**63 - 1]), ([-(2**63)], [1])):
        with pytest.raises(rm.InvalidInputError, match="row 0 does not lie inside"):
            rm.Ragged.from_arrow(broken_list(pa.large_list_view, starts, sizes))


@pytest.mark.parametrize("index", [7, -1])
def test_corrupt_dictionary_indices_are_refused(index):
    indices = pa.array([0, index], pa.int32())
    items = pa.DictionaryArray.from_arrays(indices, pa.array([1.0, 2.0]), safe=False)
    with pytest.raises(rm.InvalidInputError, match=r"broken.*[Dd]ictionary ind"):
        rm.Ragged.from_arrow(pa.ListArray.from_arrays([0, 2], items))


@pytest.mark.parametrize("run_ends", [[500, 2, 5], [-3, 2, 5], [1, 2, 3]])
def test_corrupt_run_ends_are_refused(run_ends):
    memory = np.array([1, 2, 5], np.int32)
    ends = pa.Array.from_buffers(pa.int32(), 3, [None, pa.py_buffer(memory)])
    items = pa.Array.from_buffers(
        pa.run_end_encoded(pa.int32(), pa.int64()), 5, [None], children=[ends, pa.array([7, 8, 9])]
    )
    array = pa.ListArray.from_arrays([0, 5], items)
    memory[:] = run_ends
    with pytest.raises(rm.InvalidInputError, match=r"broken.*run end"):
        rm.Ragged.from_arrow(array)


# -- what a stream reads ------------------------------------------------------------------


def test_fields_of_structs_share_their_rows():
    rows = [[{"a": 1, "b": 0.5}, {"a": None, "b": 1.5}], None, [None, {"a": 3, "b": 2.5}]]
    type_ = pa.list_(pa.struct([("a", pa.int32()), ("b", pa.float64())]))
    fields = arrow.read_fields(pa.array(rows, type_))
    ragged = {
        name: rm.Ragged(rows.values, rows.starts, rows.lengths, rows.mask)
        for name, rows in fields.items()
    }
    assert to_pylist(ragged["a"]) == [[1, None], [], [None, 3]]
    assert to_pylist(ragged["b"]) == [[0.5, 1.5], [], [None, 2.5]]


def test_a_field_that_is_no_number_is_an_arrow_list():
    type_ = pa.list_(pa.struct([("word", pa.string())]))
    rows = [[{"word": "a"}, {"word": "b"}], [], [{"word": "c"}]]
    for part in (slice(0, 3), slice(1, 3)):
        fields = arrow.read_fields(pa.array(rows, type_)[part])
        assert fields["word"].to_pylist() == [["a", "b"], [], ["c"]][part]


@pytest.mark.parametrize(
    ("type_", "kind"),
    [
        (pa.list_(pa.int8()), "ragged"),
        (pa.fixed_shape_tensor(pa.int8(), [2]), "vector"),
        (pa.list_(pa.struct([("a", pa.int8())])), "struct"),
        (pa.int8(), "scalar"),
        (pa.bool8(), "scalar"),
        (pa.dictionary(pa.int8(), pa.float32()), "scalar"),
        (pa.string(), "other"),
        (pa.list_(pa.string()), "other"),
        (pa.list_(pa.list_(pa.int8())), "other"),
    ],
    ids=str,
)
def test_kind_of(type_, kind):
    assert arrow.kind_of(type_) == kind


def test_scalars_become_numpy():
    chunks = pa.chunked_array([[1, 2], [3]])
    assert arrow.read_scalars(chunks).tolist() == [1, 2, 3]
    masked = arrow.read_scalars(pa.array([1, None]))
    assert isinstance(masked, np.ma.MaskedArray)
    assert masked.tolist() == [1, None]
    assert arrow.write_scalars(masked).to_pylist() == [1, None]
    words = pa.array(["a", "b", "a"]).dictionary_encode()
    assert arrow.read_scalars(words).to_pylist() == ["a", "b", "a"]
