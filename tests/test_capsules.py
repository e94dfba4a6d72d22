"""Device memory read through DLPack and Arrow: host memory, labelled as a CUDA device's."""

import ctypes
import gc
import weakref
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ragmask import arrow
from ragmask.arrays import arrow_capsule, capsules, dlpack
from ragmask.arrays.arrow_capsule import read_arrow_device
from ragmask.arrays.dlpack import device_of, read_dlpack
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from tests.strategies import FLOATS, INTEGERS, fewer

CPU, CUDA, PINNED, ROCM, MANAGED = 1, 2, 3, 10, 13
CODES = {"i": 0, "u": 1, "f": 2, "c": 5, "b": 6}
LISTS = [pa.list_, pa.large_list, pa.list_view, pa.large_list_view]
ROWS = [[1, 2, 3], [], None, [4], [5, None, 6], [7]]

new_capsule = ctypes.PYFUNCTYPE(
    ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p
)(("PyCapsule_New", ctypes.pythonapi))
address_in = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)


def look(memory):
    """A copy of what lies at a Memory, which here the host may look at."""
    interface = memory.__cuda_array_interface__
    shape, dtype = interface["shape"], np.dtype(interface["typestr"])
    count = int(np.prod(shape))
    if count == 0:
        assert interface["data"][0] == 0
        return np.empty(shape, dtype)
    raw = ctypes.string_at(interface["data"][0], count * dtype.itemsize)
    return np.frombuffer(raw, dtype).reshape(shape)


def is_null(nulls, n):
    """Bools, True = null."""
    if nulls.bits is None:
        return np.zeros(n, bool)
    bits = np.unpackbits(look(nulls.bits), bitorder="little")[nulls.bit_offset :]
    return bits[:n] == 0


LENT = []  # what was lent stays where it is until it is given back, as the protocols ask


# -- DLPack -------------------------------------------------------------------------------


class Lender:
    """A hand-made tensor over a numpy array: counts how often its deleter is called."""

    def __init__(self, array, *, versioned=True, name=None, said=CUDA, **fields):
        self.deleted, self.asked, self.said = 0, [], said
        self.versioned = versioned
        self.name = name or (b"dltensor_versioned" if versioned else b"dltensor")
        self.array = array
        self.shape = (ctypes.c_int64 * array.ndim)(*array.shape)
        steps = [step // array.itemsize for step in array.strides]
        self.strides = (ctypes.c_int64 * array.ndim)(*steps)
        self.deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self.delete)
        self.managed = dlpack._VersionedTensor() if versioned else dlpack._ManagedTensor()
        if versioned:
            self.managed.major = fields.pop("major", 1)
            self.managed.flags = fields.pop("flags", 0)
        self.managed.deleter = ctypes.cast(self.deleter, ctypes.c_void_p)
        tensor = self.managed.tensor
        tensor.data, tensor.device_type, tensor.device_id = array.ctypes.data, CUDA, 3
        tensor.ndim, tensor.lanes = array.ndim, 1
        tensor.code, tensor.bits = CODES[array.dtype.kind], 8 * array.itemsize
        tensor.shape = self.shape
        tensor.strides = self.strides
        for field, value in fields.items():
            setattr(tensor, field, value)

    def delete(self, pointer):
        assert pointer == ctypes.addressof(self.managed)
        self.deleted += 1

    def __dlpack_device__(self):
        return self.said, 3

    def __dlpack__(self, **asked):
        if not self.versioned and "max_version" in asked:
            raise TypeError("unexpected keyword argument 'max_version'")
        LENT.append(self)
        self.asked.append(asked)
        self.capsule = new_capsule(ctypes.addressof(self.managed), self.name, None)
        return self.capsule


class Relabelled:
    """A real lender on the host, whose capsules are labelled as a CUDA device's."""

    def __init__(self, array):
        self.array = array

    def __dlpack_device__(self):
        return CUDA, 0

    def __dlpack__(self, *, stream, **asked):
        capsule = self.array.__dlpack__(**asked)
        versioned = "versioned" in repr(capsule)
        kind = dlpack._VersionedTensor if versioned else dlpack._ManagedTensor
        name = b"dltensor_versioned" if versioned else b"dltensor"
        kind.from_address(address_in(capsule, name)).tensor.device_type = CUDA
        return capsule


@pytest.mark.parametrize("versioned", [True, False])
@pytest.mark.parametrize("dtype", [*INTEGERS, *FLOATS, "complex64", "complex128", "bool"])
def test_every_dtype_is_read(dtype, versioned):
    array = np.arange(6).astype(dtype).reshape(2, 3)
    memory = read_dlpack(Lender(array, versioned=versioned), "values", 1)
    assert (memory.shape, memory.dtype, memory.device) == ((2, 3), array.dtype, 3)
    assert memory.pointer == array.ctypes.data
    np.testing.assert_array_equal(look(memory), array)


@pytest.mark.slow
@fewer(4)  # each collects garbage, which takes its time among many tests
@given(
    shape=st.lists(st.integers(0, 3), max_size=4),
    transposed=st.booleans(),
    step=st.sampled_from([1, 2, -1]),
)
@example(shape=[2, 1, 3], transposed=False, step=1)
def test_numpys_own_capsules_are_read_or_refused_for_their_strides(shape, transposed, step):
    array = np.arange(float(np.prod(shape, dtype=int))).reshape(shape)
    array = array[::step] if shape else array
    array = array.T if transposed else array
    if not array.flags.c_contiguous:
        with pytest.raises(InvalidInputError, match="is not contiguous: pass a contiguous copy"):
            read_dlpack(Relabelled(array), "values", 1)
        return
    memory = read_dlpack(Relabelled(array), "values", 1)
    gc.collect()
    np.testing.assert_array_equal(look(memory), array)


def test_the_memory_of_a_real_lender_lives_as_long_as_it_is_looked_at():
    class Kept(np.ndarray):
        pass

    array = np.arange(1000.0).view(Kept)
    gone = weakref.ref(array)
    memory = read_dlpack(Relabelled(array), "values", 1)
    del array
    gc.collect()
    assert look(memory)[-1] == 999
    assert gone() is not None
    del memory
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("stream", [-1, 1, 2, 0x7F00DEADBEEF])
def test_the_consumers_stream_is_passed_on(stream):
    new, old = Lender(np.arange(3)), Lender(np.arange(3), versioned=False)
    read_dlpack(new, "values", stream)
    read_dlpack(old, "values", stream)
    assert new.asked == [{"stream": stream, "max_version": (1, 0)}]
    assert old.asked == [{"stream": stream}]


@pytest.mark.parametrize("versioned", [True, False])
def test_the_deleter_is_called_once_when_the_memory_goes(versioned):
    lender = Lender(np.arange(3), versioned=versioned)
    memory = read_dlpack(lender, "values", 1)
    assert f'"used_{lender.name.decode()}"' in repr(lender.capsule)
    owner = memory.owner
    del memory
    gc.collect()
    assert lender.deleted == 0  # whoever keeps the owner keeps the memory
    del owner
    gc.collect()
    assert lender.deleted == 1


def test_a_lender_may_have_no_deleter():
    lender = Lender(np.arange(3))
    lender.managed.deleter = None
    memory = read_dlpack(lender, "values", 1)
    assert look(memory).tolist() == [0, 1, 2]
    del memory
    assert lender.deleted == 0


def test_memory_shows_itself_to_cuda_libraries():
    array = np.arange(6.0, dtype=np.float32)
    memory = read_dlpack(Lender(array), "values", 1)
    assert memory.__cuda_array_interface__ == {
        "shape": (6,),
        "typestr": "<f4",
        "data": (array.ctypes.data, False),
        "strides": None,
        "version": 3,
    }
    assert repr(memory) == f"Memory(float32, shape (6,), at {array.ctypes.data:#x} of device 3)"
    assert read_dlpack(Lender(array, flags=1), "values", 1).__cuda_array_interface__["data"][1]


def test_byte_offset_counts():
    array = np.arange(6)
    lender = Lender(array[:4], byte_offset=16)
    assert look(read_dlpack(lender, "values", 1)).tolist() == [2, 3, 4, 5]


def test_no_strides_mean_contiguous():
    for shape in [(), (4,), (2, 2)]:
        array = np.arange(np.prod(shape, dtype=int)).reshape(shape)
        memory = read_dlpack(Lender(array, strides=None), "values", 1)
        np.testing.assert_array_equal(look(memory), array)


@pytest.mark.parametrize("byte_offset", [0, 24])
def test_arrays_of_no_elements_need_no_memory(byte_offset):
    array = np.empty((3, 0, 2))
    memory = read_dlpack(Lender(array, data=None, byte_offset=byte_offset), "values", 1)
    assert (memory.pointer, memory.shape) == (0, (3, 0, 2))


@pytest.mark.parametrize("device_type", [CUDA, MANAGED])
def test_managed_memory_is_on_the_device_too(device_type):
    lender = Lender(np.arange(3), said=device_type, device_type=device_type)
    assert device_of(lender) == 3
    assert read_dlpack(lender, "values", 1).device == 3


@pytest.mark.parametrize(
    ("device_type", "message"),
    [
        (CPU, "values is in the host's memory"),
        (PINNED, "values is in the host's memory"),
        (ROCM, "on a device of type 10"),
    ],
)
def test_other_devices_are_refused(device_type, message):
    says_so = Lender(np.arange(3), said=device_type)
    with pytest.raises(UnsupportedTypeError, match=message):
        read_dlpack(says_so, "values", 1)
    assert says_so.asked == []

    hides_it = Lender(np.arange(3), device_type=device_type)
    with pytest.raises(UnsupportedTypeError, match=message):
        read_dlpack(hides_it, "values", 1)
    assert hides_it.deleted == 1


@pytest.mark.parametrize("versioned", [True, False])
@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"code": 4, "bits": 16}, "bfloat16"),
        ({"code": 2, "bits": 32, "lanes": 4}, "float32x4"),
        ({"lanes": 0}, "int64x0"),
        ({"code": 2, "bits": 128}, "float128"),
        ({"code": 0, "bits": 4}, "int4"),
        ({"code": 6, "bits": 1}, "bool1"),
        ({"code": 3}, "DLPack type 3 of 64 bits"),
        ({"code": 10, "bits": 8}, "DLPack type 10 of 8 bits"),
        ({"code": 255, "bits": 255}, "DLPack type 255 of 255 bits"),
    ],
)
def test_other_dtypes_are_refused_by_name(fields, name, versioned):
    lender = Lender(np.arange(3), versioned=versioned, **fields)
    with pytest.raises(UnsupportedTypeError, match=f"the ids has dtype {name};.*convert it first"):
        read_dlpack(lender, "the ids", 1)
    assert lender.deleted == 1


@pytest.mark.parametrize(
    "array",
    [np.arange(6)[::2], np.arange(6)[::-1], np.ones((2, 3)).T, np.broadcast_to(1.0, (2, 3))],
)
def test_strides_are_refused(array):
    lender = Lender(np.asarray(array))
    with pytest.raises(InvalidInputError, match="is not contiguous: pass a contiguous copy"):
        read_dlpack(lender, "values", 1)
    assert lender.deleted == 1


def test_strides_of_axes_that_have_one_index_do_not_matter():
    lender = Lender(np.arange(6).reshape(1, 6))
    lender.strides[0] = -77
    assert look(read_dlpack(lender, "values", 1)).tolist() == [[0, 1, 2, 3, 4, 5]]
    lender = Lender(np.empty((3, 0)))
    lender.strides[0] = lender.strides[1] = -77
    assert look(read_dlpack(lender, "values", 1)).shape == (3, 0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"data": None}, r"shape \(3,\) and int64, but no memory"),
        ({"byte_offset": 4}, "not a multiple of 8.*pass a copy"),
        ({"shape": None}, "no shape for its 1 dimensions"),
        ({"ndim": -1}, "no shape for its -1 dimensions"),
        ({"ndim": 2**31 - 1}, "no shape for its 2147483647 dimensions"),
        ({"shape": (ctypes.c_int64 * 1)(-3)}, r"negative shape \(-3,\)"),
    ],
)
def test_broken_tensors_are_refused(fields, message):
    lender = Lender(np.arange(3), **fields)
    with pytest.raises(InvalidInputError, match=message):
        read_dlpack(lender, "values", 1)
    assert lender.deleted == 1


def test_a_layout_of_the_future_is_refused():
    lender = Lender(np.arange(3), major=2, ndim=-1, code=99)
    with pytest.raises(UnsupportedTypeError, match="values is of DLPack 2"):
        read_dlpack(lender, "values", 1)
    assert lender.deleted == 1


@pytest.mark.parametrize("name", [b"used_dltensor", b"used_dltensor_versioned", b"arrow_schema"])
def test_capsules_of_other_names_are_left_alone(name):
    lender = Lender(np.arange(3), name=name)
    with pytest.raises(InvalidInputError, match=name.decode()):
        read_dlpack(lender, "values", 1)
    assert lender.deleted == 0
    assert f'"{name.decode()}"' in repr(lender.capsule)


def test_what_is_no_capsule_is_refused():
    array = SimpleNamespace(__dlpack__=lambda **_: 17, __dlpack_device__=lambda: (CUDA, 0))
    with pytest.raises(InvalidInputError, match="gave 17"):
        read_dlpack(array, "values", 1)


def test_a_lender_that_refuses_is_quoted():
    def refuse(**_):
        raise BufferError("it requires grad")

    array = SimpleNamespace(__dlpack__=refuse, __dlpack_device__=lambda: (CUDA, 0))
    with pytest.raises(
        UnsupportedTypeError, match=r"values .*\(SimpleNamespace\): it requires grad"
    ):
        read_dlpack(array, "values", 1)


class Raises:
    @property
    def __dlpack_device__(self):
        raise RuntimeError("not today")


@pytest.mark.parametrize(
    "array",
    [
        *(None, 3, [1], "cuda", np.arange(3), np.ndarray, pa.array([1]), Raises(), Lender),
        Lender(np.arange(3), said=CPU),
        Lender(np.arange(3), said=ROCM),
        *(
            SimpleNamespace(__dlpack_device__=lambda odd=odd: odd)
            for odd in (None, (), 2, (2,), (2, "0!"), ("cuda", 0), (2, 0, 0), (None, None))
        ),
        SimpleNamespace(__dlpack_device__=(2, 0)),
    ],
)
def test_odd_objects_are_on_no_device(array):
    assert device_of(array) is None


# -- Arrow --------------------------------------------------------------------------------


class ArrowLender:
    """pyarrow's own capsules, labelled as a CUDA device's: counts how often they are released."""

    def __init__(self, array, change=None, event=None, device_type=CUDA):
        self.released = 0
        self.schema, self.capsule = array.__arrow_c_device_array__()
        self.lent = self.structure()
        self.lent.device_type, self.lent.device_id = device_type, 5
        self.lent.sync_event = event
        self.true = arrow_capsule._ArrowArray.from_buffer_copy(self.lent.array)
        self.release = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self.count)
        self.lent.array.release = ctypes.cast(self.release, ctypes.c_void_p)
        if change:
            change(self.lent.array, self.child())

    def structure(self):
        pointer = address_in(self.capsule, b"arrow_device_array")
        return arrow_capsule._DeviceArray.from_address(pointer)

    def child(self):
        lists = self.lent.array
        return (
            arrow_capsule._ArrowArray.from_address(lists.children[0]) if lists.n_children else None
        )

    def count(self, pointer):
        self.released += 1
        # pyarrow frees what its structure lists, so that it gets the true one back
        ctypes.memmove(pointer, ctypes.addressof(self.true), ctypes.sizeof(self.true))
        capsules._Deleter(self.true.release)(pointer)

    def __arrow_c_device_array__(self, requested_schema=None, **_):
        LENT.append(self)
        return self.schema, self.capsule


def rows_in(read):
    """The rows that the buffers say, null rows and items as None."""
    values, rows = look(read.values), range(read.rows)
    if read.list_size is not None:
        assert read.offsets is read.starts is read.sizes is None
        spans = [(row * read.list_size, (row + 1) * read.list_size) for row in rows]
    elif read.offsets is not None:
        assert read.starts is read.sizes is None
        offsets = look(read.offsets).tolist()
        assert len(offsets) == (read.rows + 1 if read.rows else 0)
        spans = [(offsets[row], offsets[row + 1]) for row in rows]
    else:
        starts, sizes = look(read.starts).tolist(), look(read.sizes).tolist()
        assert len(starts) == len(sizes) == read.rows
        spans = [(start, start + size) for start, size in zip(starts, sizes, strict=True)]
    null_rows, null_items = is_null(read.nulls, read.rows), is_null(read.value_nulls, values.size)
    for nulls, found in [(read.nulls, null_rows), (read.value_nulls, null_items)]:
        assert nulls.null_count in (-1, found.sum())
    items = [None if hole else item for item, hole in zip(values, null_items, strict=True)]
    return [
        None if hole else items[first:end]
        for (first, end), hole in zip(spans, null_rows, strict=True)
    ]


def rows_on_the_host(array):
    """The rows that ragmask reads where the host can look, null rows and items as None."""
    rows = arrow.read_rows(array)
    there = np.ones(len(rows.values), bool) if rows.mask is None else rows.mask
    items = [item if valid else None for item, valid in zip(rows.values, there, strict=True)]
    spans = zip(rows.starts, rows.starts + rows.lengths, array.is_valid(), strict=True)
    return [items[first:end] if valid.as_py() else None for first, end, valid in spans]


def check_rows(array):
    lender = ArrowLender(array)
    read = read_arrow_device(lender, "column")
    assert str(rows_in(read)) == str(rows_on_the_host(array))
    assert read.rows == len(array)
    del read
    gc.collect()
    assert lender.released == 1


@st.composite
def list_arrays(draw):
    """List arrays in every layout, with nulls of rows and items, sliced within and without."""
    make_type = draw(st.sampled_from([*LISTS, "fixed"]))
    item_type = draw(st.sampled_from([pa.int8(), pa.uint16(), pa.float32(), pa.timestamp("us")]))
    item = st.integers(0, 100)
    if draw(st.booleans()):
        item = st.none() | item
    if make_type == "fixed":
        size = draw(st.integers(0, 3))
        row, list_type = st.lists(item, min_size=size, max_size=size), pa.list_(item_type, size)
    else:
        row, list_type = st.lists(item, max_size=5), make_type(item_type)
    if draw(st.booleans()):
        row = st.none() | row
    array = pa.array(draw(st.lists(row, max_size=20)), list_type)
    if make_type == "fixed" and draw(st.booleans()):  # items that begin within their buffer
        items = pa.concat_arrays([pa.array([None] * 3, item_type), array.values]).slice(3)
        if size:
            array = pa.FixedSizeListArray.from_arrays(items, size)
    first = draw(st.integers(0, len(array)))
    return array.slice(first, draw(st.integers(0, len(array) - first)))


@fewer(4)
@given(array=list_arrays())
def test_rows_are_those_of_the_host(array):
    check_rows(array)


@pytest.mark.parametrize("make_type", LISTS)
def test_each_layout_reads_its_own_buffers(make_type):
    array = pa.array(ROWS, make_type(pa.float32()))
    read = read_arrow_device(ArrowLender(array), "column")
    large = make_type in (pa.large_list, pa.large_list_view)
    index = np.dtype("int64" if large else "int32")
    if make_type in (pa.list_, pa.large_list):
        assert look(read.offsets).tolist() == array.offsets.to_pylist()
        assert read.offsets.dtype == index
    else:
        assert look(read.starts).tolist() == array.offsets.to_pylist()
        assert look(read.sizes).tolist() == array.sizes.to_pylist()
        assert read.starts.dtype == read.sizes.dtype == index
    assert read.values.pointer == array.values.buffers()[1].address
    assert (read.values.shape, read.values.dtype, read.values.device) == ((8,), np.float32, 5)
    assert (read.nulls.null_count, read.value_nulls.null_count) == (1, 1)
    assert read.values.read_only


def test_fixed_size_lists_begin_at_their_first_row():
    array = pa.array([[1, 2], [3, 4], None, [5, None], [7, 8]], pa.list_(pa.int16(), 2)).slice(1, 3)
    read = read_arrow_device(ArrowLender(array), "column")
    assert (read.rows, read.list_size, read.values.shape) == (3, 2, (6,))
    assert look(read.values)[[0, 1, 4]].tolist() == [3, 4, 5]
    assert is_null(read.value_nulls, 6)[[0, 1, 4, 5]].tolist() == [False, False, False, True]
    assert is_null(read.nulls, 3).tolist() == [False, True, False]
    assert read.value_nulls.null_count == -1  # of all five rows, some are counted elsewhere


def test_lists_over_a_slice_of_items():
    items = pa.array(range(100, 120), pa.int64()).slice(7, 6)
    array = pa.ListArray.from_arrays([0, 2, 2, 6], items)
    read = read_arrow_device(ArrowLender(array.slice(1)), "column")
    assert look(read.offsets).tolist() == [2, 2, 6]
    assert look(read.values).tolist() == [107, 108, 109, 110, 111, 112]


def test_bits_of_nulls_begin_within_a_byte():
    array = pa.array([None, *[[row] for row in range(18)], None, [19]]).slice(11, 9)
    nulls = read_arrow_device(ArrowLender(array), "column").nulls
    assert (nulls.bit_offset, nulls.bits.shape) == (3, (2,))
    assert nulls.bits.pointer == array.buffers()[0].address + 1
    assert is_null(nulls, 9).tolist() == [False] * 8 + [True]


@pytest.mark.parametrize(
    ("item_type", "dtype"),
    [
        *((pa.from_numpy_dtype(np.dtype(name)), name) for name in (*INTEGERS, *FLOATS)),
        (pa.timestamp("s"), "datetime64[s]"),
        (pa.timestamp("ns", "UTC"), "datetime64[ns]"),
        (pa.duration("ms"), "timedelta64[ms]"),
    ],
)
def test_every_item_type_is_read(item_type, dtype):
    numbers = np.arange(5).astype(dtype)
    array = pa.ListArray.from_arrays([0, 2, 5], pa.array(numbers, item_type))
    values = read_arrow_device(ArrowLender(array), "column").values
    assert values.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(look(values), numbers)


@pytest.mark.parametrize(
    "list_type", [*(make(pa.int32()) for make in LISTS), pa.list_(pa.int32(), 2)]
)
def test_no_rows_need_no_buffers(list_type):
    def drop(lists, items):
        for array in (lists, items):
            for position in range(array.n_buffers):
                array.buffers[position] = None

    read = read_arrow_device(ArrowLender(pa.array([], list_type), drop), "column")
    assert rows_in(read) == []
    check_rows(pa.array([], list_type))


@pytest.mark.parametrize("event", [None, 0x7F0012345678])
def test_the_event_is_handed_over(event):
    assert (
        read_arrow_device(ArrowLender(pa.array([[1]]), event=event), "column").sync_event == event
    )


def test_managed_arrow_memory_is_on_the_device_too():
    assert read_arrow_device(ArrowLender(pa.array([[1]]), device_type=MANAGED), "c").rows == 1


@pytest.mark.parametrize("kept", ["values", "starts", "sizes", "nulls", "value_nulls"])
def test_any_memory_keeps_all_of_it_until_the_last_goes(kept):
    lender = ArrowLender(pa.array(ROWS, pa.list_view(pa.int64())))
    read = read_arrow_device(lender, "column")
    part = getattr(read, kept)
    part = part.bits if kept.endswith("nulls") else part
    before = look(part)
    del read
    gc.collect()
    assert lender.released == 0
    np.testing.assert_array_equal(look(part), before)
    del part
    gc.collect()
    assert lender.released == 1


def test_arrows_memory_lives_as_long_as_it_is_looked_at():
    numbers = np.arange(1000.0)
    gone = weakref.ref(numbers)
    array = pa.ListArray.from_arrays([0, 1000], pa.array(numbers))
    capsule_maker = ArrowLender(array)
    read = read_arrow_device(capsule_maker, "column")
    del array, numbers
    gc.collect()
    assert look(read.values)[-1] == 999
    assert gone() is not None
    del read
    gc.collect()
    assert gone() is None


def test_the_capsule_owes_nothing_once_read():
    lender = ArrowLender(pa.array([[1]]))
    read = read_arrow_device(lender, "column")
    with pytest.raises(InvalidInputError, match="was released: export it again"):
        read_arrow_device(lender, "column")
    assert look(read.values).tolist() == [1]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (pa.array([[[1]]]), r"list<item: list<item: int64>>"),
        (pa.array([["a"]]), r"list<item: string>"),
        (pa.array([[{"a": 1}]]), r"list<item: struct<a: int64>>"),
        (pa.array([[None]]), r"list<item: null>"),
        (pa.array([[1]], pa.list_(pa.date32())), r"list<item: date32\[day\]>"),
        (pa.array([[1]], pa.list_(pa.decimal128(5))), r"list<item: decimal128\(5, 0\)>"),
        (pa.array([["a"]], pa.list_(pa.dictionary(pa.int8(), pa.string()))), "dictionary"),
        (pa.array([[True]]), "list<item: bool> .*packed.* cast them to uint8"),
        (pa.array([1, 2]), "int64 .* pass a list array of numbers"),
        (pa.array(["a"]), "string .* pass a list array of numbers"),
        (pa.array([{"a": [1]}]), r"struct<a: list<item: int64>> .* pass a list array"),
        (pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())), "map<string, int64>"),
    ],
)
def test_other_types_are_refused_by_name(array, message):
    lender = ArrowLender(array)
    with pytest.raises(UnsupportedTypeError, match=f"the column is Arrow's .*{message}"):
        read_arrow_device(lender, "the column")
    assert lender.released == 1


@pytest.mark.parametrize(
    ("device_type", "message"),
    [
        (CPU, "column is in the host's memory: read it as any other Arrow array"),
        (PINNED, "column is in the host's memory"),
        (ROCM, "on a device of type 10"),
    ],
)
def test_arrow_on_other_devices_is_refused(device_type, message):
    lender = ArrowLender(pa.array([[1]]), device_type=device_type)
    with pytest.raises(UnsupportedTypeError, match=message):
        read_arrow_device(lender, "column")
    assert lender.released == 1


def set_to(which, **fields):
    def change(lists, items):
        for field, value in fields.items():
            setattr(lists if which == "lists" else items, field, value)

    return change


def without_buffer(which, position):
    def change(lists, items):
        (lists if which == "lists" else items).buffers[position] = None

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_to("lists", n_children=0), "2 buffers and 0 children for list<"),
        (set_to("lists", n_children=2), "2 buffers and 2 children for list<"),
        (set_to("lists", n_buffers=1), "1 buffers and 1 children for list<"),
        (set_to("lists", n_buffers=3), "3 buffers and 1 children for list<"),
        (set_to("items", n_buffers=1), "1 buffers and 0 children for int64"),
        (set_to("items", n_buffers=0), "0 buffers and 0 children for int64"),
        (set_to("lists", length=-1), "length -1"),
        (set_to("lists", offset=-1), "offset -1"),
        (set_to("items", length=-5), "length -5"),
        (set_to("items", offset=-5), "offset -5"),
        (set_to("lists", null_count=-2), "-2 nulls"),
        (without_buffer("lists", 0), "1 nulls, but no bits of them"),
        (without_buffer("items", 0), "1 nulls, but no bits of them"),
        (without_buffer("lists", 1), r"shape \(7,\) and int32, but no memory"),
        (without_buffer("items", 1), r"shape \(8,\) and int64, but no memory"),
    ],
)
def test_broken_arrow_arrays_are_refused(change, message):
    lender = ArrowLender(pa.array(ROWS), change)
    with pytest.raises(InvalidInputError, match=message):
        read_arrow_device(lender, "column")
    assert lender.released == 1


@pytest.mark.parametrize("field", ["buffers", "children"])
def test_null_pointers_are_not_followed(field):
    lender = ArrowLender(pa.array([[1]]), set_to("lists", **{field: None}))
    with pytest.raises(InvalidInputError, match="null pointers for the buffers or items of list<"):
        read_arrow_device(lender, "column")
    assert lender.released == 1


def test_fixed_size_lists_past_their_items_are_refused():
    lender = ArrowLender(
        pa.array([[1, 2], [3, 4]], pa.list_(pa.int8(), 2)), set_to("items", length=3)
    )
    with pytest.raises(InvalidInputError, match=r"has 3 items; its rows of .* need 4"):
        read_arrow_device(lender, "column")
    assert lender.released == 1


def test_arrow_values_that_are_not_aligned_are_refused():
    raw = pa.py_buffer(np.arange(9).tobytes()).slice(4)
    items = pa.Array.from_buffers(pa.int64(), 8, [None, raw])
    lender = ArrowLender(pa.ListArray.from_arrays([0, 8], items))
    with pytest.raises(InvalidInputError, match="not a multiple of 8"):
        read_arrow_device(lender, "column")
    assert lender.released == 1


def test_arrow_capsules_of_other_names_are_refused():
    lender = ArrowLender(pa.array([[1]]))
    lender.schema, lender.capsule = lender.capsule, lender.schema
    with pytest.raises(InvalidInputError, match=r'"arrow_schema".* no arrow_device_array'):
        read_arrow_device(lender, "column")
    assert lender.released == 0

    lender.capsule = lender.schema
    with pytest.raises(InvalidInputError, match=r'"arrow_device_array".* no type of Arrow'):
        read_arrow_device(lender, "column")
    assert lender.released == 1


@pytest.mark.parametrize(
    ("read", "lender"),
    [
        (lambda lender: read_dlpack(lender, "values", 1), lambda: Lender(np.arange(3), lanes=2)),
        (lambda lender: read_arrow_device(lender, "column"), lambda: ArrowLender(pa.array([[""]]))),
    ],
)
def test_what_is_refused_goes_back_at_once_though_the_error_is_kept(read, lender):
    lent = lender()
    with pytest.raises(UnsupportedTypeError) as kept:
        read(lent)
    assert (lent.deleted if isinstance(lent, Lender) else lent.released) == 1
    del kept
    gc.collect()
    assert (lent.deleted if isinstance(lent, Lender) else lent.released) == 1
