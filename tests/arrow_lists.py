"""Arrow's lists of any layout over any items."""

import numpy as np
import pyarrow as pa

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

LISTS = [pa.list_, pa.large_list, pa.list_view, pa.large_list_view]


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


TENSORS = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def tensor_array(permutation=None):
    shape = TENSORS.shape[1:]
    type_ = pa.fixed_shape_tensor(pa.float32(), shape, permutation=permutation)
    storage = pa.FixedSizeListArray.from_arrays(pa.array(TENSORS.reshape(-1)), 12)
    return pa.ExtensionArray.from_storage(type_, storage)
