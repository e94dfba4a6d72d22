"""Arrow: where nothing is copied, the PyCapsule interface, and what is refused."""

import numpy as np
import pyarrow as pa
import pytest

import ragmask as rm
from ragmask import arrow
from tests.arrow_lists import LISTS, NUMBERS, TIMES, lists_of, of_numbers, tensor_array, to_pylist

ROWS = [[1, 2, 3], [], [4], [5, 6]]


def address(items):
    """Where the items of a primitive array begin."""
    width = items.type.bit_width // 8
    return items.buffers()[1].address + items.offset * width


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
        (pa.list_(pa.list_(pa.list_(pa.int8()))), "flatten a level"),
        (pa.list_(pa.list_(pa.string())), "through a vocabulary"),
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
