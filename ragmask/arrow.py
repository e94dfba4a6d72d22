"""Arrow arrays to bare arrays and back: the only core module that touches Arrow's buffers.

Numbers, timestamps and durations without nulls keep their memory. Traps, all of pyarrow's
making: `ListArray.values` and `FixedSizeListArray.values` ignore the array's own slice while
`ListArray.offsets` honours it; `flatten()` drops what lies under null lists; a null list may
cover a stretch of values, so validity decides, not length.
"""

from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ragmask.devices import Array, Bools, Ints, read_only
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.layout import check_rows, offsets_of

Nulls = Literal["empty", "error"]
Kind = Literal["ragged", "struct", "scalar", "other"]


class Rows(NamedTuple):
    """The bare arrays of a Ragged: checked, and safe to run a kernel on."""

    values: Array
    starts: Ints
    lengths: Ints
    mask: Bools | None


class _Lists(NamedTuple):
    """List rows before their items are read: chunks of items, and rows along their sequence."""

    items: list[Any]
    item_type: Any
    starts: Ints
    lengths: Ints


def kind_of(type_: Any) -> Kind:
    """What a column of this Arrow type becomes: Ragged, several of them, numpy, or itself."""
    if isinstance(type_, pa.FixedShapeTensorType):
        return "ragged" if len(type_.shape) > 0 else "scalar"
    if isinstance(type_, pa.BaseExtensionType):
        return kind_of(type_.storage_type)
    if _is_list(type_):
        if _is_items(type_.value_type):
            return "ragged"
        return "struct" if pa.types.is_struct(type_.value_type) else "other"
    return "scalar" if _is_items(type_) else "other"


def read_rows(source: Any, nulls: Nulls = "empty") -> Rows:
    """The rows of a list array in any of Arrow's layouts."""
    chunks, type_ = _chunks(source)
    kind = kind_of(type_)
    if kind != "ragged":
        raise UnsupportedTypeError(f"a Ragged cannot hold Arrow's {type_}: {_remedy(type_, kind)}")
    lists = _read_lists(chunks, type_, nulls)
    values, mask = _join([_read_items(items) for items in lists.items], lists.item_type)
    return Rows(read_only(values), lists.starts, lists.lengths, mask)


def read_fields(source: Any, nulls: Nulls = "empty") -> dict[str, Rows | Any]:
    """The fields of a `list<struct<…>>`: Rows that share starts and lengths.

    A field that is no number comes as an Arrow list array.
    """
    chunks, type_ = _chunks(source)
    lists = _read_lists(chunks, type_, nulls)
    # flatten() carries a null struct over to its fields, field() would not
    split = [items.flatten() for items in lists.items]
    fields: dict[str, Rows | Any] = {}
    for position in range(lists.item_type.num_fields):
        field = lists.item_type.field(position)
        items = [parts[position] for parts in split]
        if _is_items(field.type):
            values, mask = _join([_read_items(part) for part in items], field.type)
            fields[field.name] = Rows(read_only(values), lists.starts, lists.lengths, mask)
        else:
            offsets = offsets_of(lists.lengths)
            steps = np.repeat(lists.starts - offsets[:-1], lists.lengths) + np.arange(offsets[-1])
            whole = _one_array(pa.chunked_array(items, field.type))
            _validate(whole, full=True)
            fields[field.name] = pa.LargeListArray.from_arrays(pa.array(offsets), whole.take(steps))
    return fields


def read_strings(source: Any, nulls: Nulls = "empty") -> tuple[Any, Ints | None, Ints | None]:
    """The strings of a string or list-of-string array as one Arrow array, and the rows along it.

    starts and lengths are None for an array of one string a row.
    """
    chunks, type_ = _chunks(source)
    starts = lengths = None
    if _is_list(type_):
        lists = _read_lists(chunks, type_, nulls)
        chunks, type_, starts, lengths = lists.items, lists.item_type, lists.starts, lists.lengths
    strings = type_.value_type if pa.types.is_dictionary(type_) else type_
    if not is_string(strings) and not pa.types.is_null(strings):
        raise UnsupportedTypeError(f"words must be strings or lists of strings; got {type_}")
    array = _one_array(pa.chunked_array(chunks, type_))
    _validate(array, full=True)  # a bad offset or index inside would read foreign memory
    return array, starts, lengths


def is_string(type_: Any) -> bool:
    return bool(
        pa.types.is_string(type_)
        or pa.types.is_large_string(type_)
        or pa.types.is_string_view(type_)
    )


def read_scalars(source: Any) -> Any:
    """A column of one value a row: numpy, a numpy masked array where there are nulls, or Arrow."""
    chunks, type_ = _chunks(source)
    if kind_of(type_) == "scalar":
        values, mask = _join([_read_items(chunk) for chunk in chunks], type_)
        return read_only(values) if mask is None else np.ma.MaskedArray(values, ~mask)
    array = _one_array(pa.chunked_array(chunks, type_))
    if pa.types.is_dictionary(type_):
        _validate(array, full=True)
        return array.dictionary_decode()
    return array


def owns_memory(values: Any) -> bool:
    """Whether a numpy array looks into an Arrow buffer, which numpy may believe to be writable."""
    owner = values
    while owner is not None and not isinstance(owner, pa.Buffer):
        owner = owner.obj if isinstance(owner, memoryview) else getattr(owner, "base", None)
    return owner is not None


def write_rows(values: Array, offsets: Ints, mask: Bools | None) -> Any:
    """A list array (large list from 2^31 items on) over the memory of compact rows."""
    items = _write_items(values, mask)
    small = offsets[-1] <= np.iinfo(np.int32).max
    list_type = pa.list_(items.type) if small else pa.large_list(items.type)
    stored = offsets.astype(np.int32) if small else offsets
    return pa.Array.from_buffers(
        list_type, offsets.size - 1, [None, pa.py_buffer(stored)], children=[items]
    )


def write_scalars(column: Any) -> Any:
    """An Arrow array of one value a row; an array of vectors becomes fixed-size lists."""
    if isinstance(column, np.ndarray) and column.ndim > 1:
        mask = np.ma.getmask(column)
        if mask is not np.ma.nomask and mask.any():
            raise UnsupportedTypeError("an array of masked vectors cannot become Arrow")
        return _write_items(np.ascontiguousarray(column), None)
    if isinstance(column, np.ma.MaskedArray):
        return pa.array(column.data, mask=np.ma.getmaskarray(column))
    return pa.array(column)


# -- the list layouts ---------------------------------------------------------------------


def _chunks(source: Any) -> tuple[list[Any], Any]:
    """The arrays of anything Arrow, and their type; a table of one column is that column."""
    if not isinstance(source, pa.Array | pa.ChunkedArray):
        if hasattr(source, "__arrow_c_stream__"):
            source = pa.chunked_array(source)
        elif hasattr(source, "__arrow_c_array__"):
            source = pa.array(source)
        else:
            raise UnsupportedTypeError(
                f"from_arrow takes Arrow arrays and what offers the Arrow PyCapsule interface; "
                f"got {type(source).__name__}: use Ragged.from_rows for lists and numpy arrays"
            )
    chunks = source.chunks if isinstance(source, pa.ChunkedArray) else [source]
    type_ = source.type
    for chunk in chunks:
        _validate(chunk)
    if pa.types.is_struct(type_) and type_.num_fields > 0:
        names = [type_.field(i).name for i in range(type_.num_fields)]
        if len(names) > 1:
            raise UnsupportedTypeError(
                f"this is a table of the columns {', '.join(names)}: pass one of them"
            )
        # flatten() carries a null struct over to its field, field() would not
        return [chunk.flatten()[0] for chunk in chunks], type_.field(0).type
    return chunks, type_


def _read_lists(chunks: list[Any], type_: Any, nulls: Nulls) -> _Lists:
    """Rows of every chunk, their starts counted along the chunks' items laid end to end."""
    if nulls not in ("empty", "error"):
        raise InvalidInputError(f'nulls must be "empty" or "error"; got {nulls!r}')
    items, starts, lengths = [], [], []
    rows = steps = 0
    for chunk in chunks:
        if nulls == "error" and chunk.null_count:
            row = rows + int(np.argmin(_validity(chunk)))
            raise InvalidInputError(
                f'row {row} is null: fill it, or pass nulls="empty" to read it as an empty row'
            )
        chunk_items, chunk_starts, chunk_lengths = _read_list(chunk)
        items.append(chunk_items)
        starts.append(chunk_starts + steps if steps else chunk_starts)
        lengths.append(chunk_lengths)
        rows += len(chunk)
        steps += len(chunk_items)
    empty = read_only(np.empty(0, np.int64))
    return _Lists(
        items,
        _item_type(type_),
        read_only(np.concatenate(starts) if len(starts) != 1 else starts[0]) if starts else empty,
        read_only(np.concatenate(lengths) if len(lengths) != 1 else lengths[0])
        if starts
        else empty,
    )


def _read_list(array: Any) -> tuple[Any, Ints, Ints]:
    """One list array as (items, starts, lengths); items begin and end with the rows in use."""
    if isinstance(array.type, pa.FixedShapeTensorType):
        values, mask = _read_items(array)
        rows, width, *item_shape = values.shape
        lengths = np.full(rows, width, np.int64) if mask is None else mask * np.int64(width)
        items = _write_items(values.reshape(rows * width, *item_shape), None)
        return items, np.arange(rows, dtype=np.int64) * width, lengths
    if isinstance(array.type, pa.BaseExtensionType):
        return _read_list(array.storage)

    items, type_ = array.values, array.type
    if pa.types.is_fixed_size_list(type_):
        lengths = np.full(len(array), type_.list_size, np.int64)
        starts = (array.offset + np.arange(len(array), dtype=np.int64)) * type_.list_size
    elif pa.types.is_list_view(type_) or pa.types.is_large_list_view(type_):
        starts = _primitive(array.offsets).astype(np.int64)
        lengths = _primitive(array.sizes).astype(np.int64)
    else:
        offsets = _primitive(array.offsets).astype(np.int64)  # a copy: it is trusted from here on
        starts, lengths = offsets[:-1], offsets[1:] - offsets[:-1]
        if not array.null_count and lengths.size and _rise(offsets, lengths, len(items)):
            first, last = int(offsets[0]), int(offsets[-1])
            return items.slice(first, last - first), starts - first if first else starts, lengths
    if array.null_count:
        lengths = np.where(_validity(array), lengths, 0)
        if pa.types.is_list_view(type_) or pa.types.is_large_list_view(type_):
            starts = np.where(lengths > 0, starts, 0)  # under a null they may be anything
    check_rows(len(items), starts, lengths)

    used = lengths > 0
    first = int(starts[used].min(initial=len(items)))
    last = int((starts + lengths)[used].max(initial=0))
    if first >= last:
        return items.slice(0, 0), np.zeros_like(lengths), lengths
    # empty rows stay between their neighbours, so that rows end to end are seen to be
    return items.slice(first, last - first), np.clip(starts - first, 0, last - first), lengths


def _rise(offsets: Ints, lengths: Ints, n: int) -> bool:
    """Whether offsets lie in order within `n` items: then nothing more has to be looked at."""
    inside = offsets[0] >= 0 and offsets[-1] <= n
    return bool(inside and lengths.min() >= 0 and lengths.max() <= n)


# -- items --------------------------------------------------------------------------------


def _read_items(items: Any) -> tuple[Array, Bools | None]:
    """(n, *item) values, and the mask of items that are not null, or None if all are there."""
    type_ = items.type
    if isinstance(type_, pa.FixedShapeTensorType):
        values, mask = _read_items(items.storage)
        values = values.reshape(len(items), *type_.shape)
        axes = (axis + 1 for axis in type_.permutation or range(len(type_.shape)))
        return np.ascontiguousarray(values.transpose(0, *axes)), mask
    if isinstance(type_, pa.BaseExtensionType):
        values, mask = _read_items(items.storage)
        return (values != 0 if isinstance(type_, pa.Bool8Type) else values), mask
    if pa.types.is_dictionary(type_):
        _validate(items, full=True)  # a bad index or run end would read foreign memory
        return _read_items(items.dictionary_decode())
    if pa.types.is_run_end_encoded(type_):
        _validate(items, full=True)
        return _read_items(pc.run_end_decode(items))
    if pa.types.is_null(type_):
        return np.zeros(len(items)), np.zeros(len(items), np.bool_) if len(items) else None

    mask = _validity(items) if items.null_count else None
    if pa.types.is_fixed_size_list(type_):
        size = type_.list_size
        inner, inner_mask = _read_items(items.values.slice(items.offset * size, len(items) * size))
        values = inner.reshape(len(items), size, *inner.shape[1:])
        if inner_mask is not None:
            holes = ~inner_mask.reshape(len(items), size).all(axis=1)
            if mask is not None:
                holes &= mask
            if holes.any():
                raise InvalidInputError(
                    f"item {int(holes.argmax())} is there but some of its {size} features are "
                    "null: a mask drops whole steps, so fill the features first"
                )
    else:
        values = _primitive(items)
    if mask is not None:
        values = values.copy()
        values[~mask] = np.zeros((), values.dtype)
    return values, mask


def _join(parts: list[tuple[Array, Bools | None]], item_type: Any) -> tuple[Array, Bools | None]:
    """The items of all chunks, end to end. One chunk keeps its memory."""
    if not parts:
        parts = [_read_items(_no_items(item_type))]
    if len(parts) == 1:
        return parts[0]
    values = np.concatenate([values for values, _ in parts])
    if all(mask is None for _, mask in parts):
        return values, None
    masks = [np.ones(len(values), np.bool_) if mask is None else mask for values, mask in parts]
    return values, np.concatenate(masks)


def _primitive(array: Any) -> Array:
    """The buffer of a primitive array without its validity, honouring the array's slice."""
    type_ = array.type
    stored, shown = _numpy_dtypes(type_)
    buffer = array.buffers()[1]
    if len(array) == 0 or buffer is None:
        return np.zeros(len(array), shown)
    if pa.types.is_boolean(type_):
        return _unpack(buffer, array.offset, len(array))
    values = np.frombuffer(buffer, stored, len(array), array.offset * stored.itemsize)
    if not values.flags.aligned:
        values = values.copy()
    return values.view(shown) if stored.itemsize == shown.itemsize else values.astype(shown)


def _numpy_dtypes(type_: Any) -> tuple[np.dtype[Any], np.dtype[Any]]:
    """How Arrow stores a type, and as which dtype it is shown. Numpy has no time of day."""
    if pa.types.is_date32(type_):
        return np.dtype(np.int32), np.dtype("datetime64[D]")
    if pa.types.is_date64(type_):
        return np.dtype(np.int64), np.dtype("datetime64[ms]")
    if pa.types.is_timestamp(type_):
        return np.dtype(np.int64), np.dtype(f"datetime64[{type_.unit}]")
    if pa.types.is_duration(type_):
        return np.dtype(np.int64), np.dtype(f"timedelta64[{type_.unit}]")
    if pa.types.is_time(type_):
        stored = np.int32 if pa.types.is_time32(type_) else np.int64
        return np.dtype(stored), np.dtype(f"timedelta64[{type_.unit}]")
    dtype = np.dtype(type_.to_pandas_dtype())
    return dtype, dtype


def _write_items(values: Array, mask: Bools | None) -> Any:
    """(n, *item) values as n Arrow items: numbers, or fixed-size lists nested as deep as `item`."""
    items = _write_leaf(values.reshape(-1), mask if values.ndim == 1 else None)
    for axis in range(values.ndim - 1, 0, -1):
        count = int(np.prod(values.shape[:axis]))
        validity = _bits(mask) if axis == 1 and mask is not None else None
        fixed = pa.list_(items.type, values.shape[axis])
        items = pa.Array.from_buffers(fixed, count, [validity], children=[items])
    return items


def _write_leaf(flat: Array, mask: Bools | None) -> Any:
    """A primitive Arrow array over the memory of `flat`."""
    dtype = flat.dtype
    if dtype.kind == "b":
        return pa.array(flat, mask=None if mask is None else ~mask)
    if dtype.kind in "mM":
        unit, count = np.datetime_data(dtype)
        if unit not in ("D", "s", "ms", "us", "ns") or count != 1 or dtype == "timedelta64[D]":
            raise UnsupportedTypeError(
                f"Arrow has no {dtype}: convert it to s, ms, us or ns with with_values()"
            )
        return pa.array(flat, mask=None if mask is None else ~mask)
    try:
        type_ = pa.from_numpy_dtype(dtype)
    except (pa.ArrowNotImplementedError, TypeError) as error:
        raise UnsupportedTypeError(f"Arrow has no type for {dtype} items") from error
    validity = None if mask is None else _bits(mask)
    return pa.Array.from_buffers(type_, flat.size, [validity, pa.py_buffer(flat)])


# -- small things -------------------------------------------------------------------------


def _is_list(type_: Any) -> bool:
    return bool(
        pa.types.is_list(type_)
        or pa.types.is_large_list(type_)
        or pa.types.is_list_view(type_)
        or pa.types.is_large_list_view(type_)
        or pa.types.is_fixed_size_list(type_)
    )


def _is_items(type_: Any) -> bool:
    """Whether an item of this type is a number, or a block of numbers of a fixed shape."""
    if isinstance(type_, pa.BaseExtensionType):
        return _is_items(type_.storage_type)
    if pa.types.is_fixed_size_list(type_) or pa.types.is_dictionary(type_):
        return _is_items(type_.value_type)
    if pa.types.is_run_end_encoded(type_):
        return _is_items(type_.value_type)
    is_interval = pa.types.is_interval(type_)
    return bool(
        pa.types.is_boolean(type_)
        or pa.types.is_integer(type_)
        or pa.types.is_floating(type_)
        or (pa.types.is_temporal(type_) and not is_interval)
        or pa.types.is_null(type_)
    )


def _item_type(type_: Any) -> Any:
    if isinstance(type_, pa.FixedShapeTensorType):
        item = type_.value_type
        for axis in reversed((type_.permutation or range(len(type_.shape)))[1:]):
            item = pa.list_(item, type_.shape[axis])
        return item
    if isinstance(type_, pa.BaseExtensionType):
        return _item_type(type_.storage_type)
    return type_.value_type


def _no_items(item_type: Any) -> Any:
    if isinstance(item_type, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(item_type, pa.array([], item_type.storage_type))
    return pa.array([], item_type)


def _remedy(type_: Any, kind: Kind) -> str:
    if kind == "struct":
        return "it has several fields a step; rm.stream() gives each as batch['column.field']"
    if kind == "scalar":
        return "it has one value a row and no list; its numpy array is what you want"
    if _is_list(type_) and _is_list(type_.value_type):
        return "it is ragged twice; flatten one level first (pyarrow.compute.list_flatten)"
    item = type_.value_type if _is_list(type_) else type_
    if is_string(item) or pa.types.is_dictionary(item):
        return "strings become ids first, through a vocabulary"
    return "it takes lists of numbers, bools, times or fixed-size lists of them; cast it first"


def _one_array(chunked: Any) -> Any:
    combined = chunked.combine_chunks()
    if isinstance(combined, pa.ChunkedArray):
        if combined.num_chunks > 1:
            raise UnsupportedTypeError(
                f"a column of {combined.type} is too large for one array: use smaller row groups"
            )
        return combined.chunk(0) if combined.num_chunks else pa.array([], combined.type)
    return combined


def _validate(array: Any, full: bool = False) -> None:
    """Arrow's own look at an array: its buffers' sizes and outer offsets, and indices if `full`."""
    try:
        array.validate(full=full)
    except pa.ArrowInvalid as error:
        raise InvalidInputError(
            f"this Arrow array of {array.type} is broken, read it again from its source: {error}"
        ) from error


def _validity(array: Any) -> Bools:
    bits = array.buffers()[0]
    if bits is None:  # an array of nulls has no bitmap
        valid: Bools = array.is_valid().to_numpy(zero_copy_only=False)
        return valid
    return _unpack(bits, array.offset, len(array))


def _unpack(bits: Any, offset: int, count: int) -> Bools:
    """Bools from Arrow's bitmaps: 15 times faster than pyarrow's own to_numpy."""
    used = np.frombuffer(bits, np.uint8)[offset // 8 : (offset + count + 7) // 8]
    flags = np.unpackbits(used, count=offset % 8 + count, bitorder="little")
    return flags[offset % 8 :].view(np.bool_)


def _bits(mask: Bools) -> Any:
    """An Arrow bitmap of bools."""
    return pa.py_buffer(np.packbits(mask, bitorder="little"))
