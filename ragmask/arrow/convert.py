"""The same values in another Arrow type, several arrays in one, and the check of all of them."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ragmask.arrays.host import is_end_to_end
from ragmask.arrays.protocol import Bools, Ints
from ragmask.arrow.lists import (
    ListRows,
    bits_of,
    list_rows,
    primitive,
    steps_of,
    validity,
)
from ragmask.arrow.types import (
    fields_of,
    has_fixed_size,
    is_list,
    is_list_view,
    is_struct,
    shown,
    tensor_shape,
    wide,
    with_items,
    workable,
)
from ragmask.errors import InvalidInputError

_INT32 = np.iinfo(np.int32).max
_DAY = {"s": 86_400, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}


def validate(array: Any, full: bool = True) -> None:
    """Arrow's own look at all of an array or table: what passes can be read without harm."""
    try:
        array.validate(full=full)
    except pa.ArrowException as error:
        what = f"array of {array.type}" if hasattr(array, "type") else "table"
        raise InvalidInputError(
            f"this Arrow {what} is broken, read it again from its source: {error}"
        ) from error


def to_workable(array: Any) -> Any:
    """The same values in a type that Arrow's kernels know."""
    return to_type(array, workable(array.type))


def to_type(array: Any, type_: Any) -> Any:
    """The same values in another type: exact, or an error."""
    if array.type.equals(type_, check_metadata=True):
        return array
    if isinstance(array, pa.ChunkedArray):
        return pa.chunked_array([to_type(chunk, type_) for chunk in array.chunks], type_)
    have = array.type
    if isinstance(type_, pa.FixedShapeTensorType) and has_fixed_size(have):
        return type_.wrap_array(_tensor_storage(array, type_))
    if isinstance(type_, pa.BaseExtensionType) and type_.storage_type != have:
        if isinstance(type_, pa.Bool8Type) and pa.types.is_boolean(have):
            return type_.wrap_array(array.cast(pa.int8()))
        return type_.wrap_array(to_type(array, type_.storage_type))
    if isinstance(type_, pa.BaseExtensionType):
        return type_.wrap_array(array)
    if isinstance(have, pa.BaseExtensionType):
        return to_type(array.storage, type_)
    if pa.types.is_null(have):
        return pa.nulls(len(array), type_)
    if pa.types.is_null(type_) and array.null_count == len(array):
        return pa.nulls(len(array))
    if pa.types.is_run_end_encoded(have):
        return to_type(_without_run_ends(array), type_)
    if pa.types.is_dictionary(have):
        values = to_workable(array.dictionary)
        if not pa.types.is_dictionary(type_):
            return to_type(values.take(array.indices), type_)
        indices = array.indices.cast(type_.index_type)
        values = to_type(array.dictionary, type_.value_type)
        return pa.DictionaryArray.from_arrays(indices, values, ordered=type_.ordered)
    if pa.types.is_run_end_encoded(type_):
        return _with_run_ends(to_type(array, type_.value_type), type_)
    if pa.types.is_dictionary(type_):
        encoded = to_type(array, workable(type_.value_type)).dictionary_encode()
        return to_type(encoded, type_)
    if is_struct(have) and is_struct(type_):
        return _struct(array, type_)
    if pa.types.is_map(have) and pa.types.is_map(type_):
        return _map(array, type_)
    is_nested = is_list(have) or has_fixed_size(have)
    if is_nested and (is_list(type_) or has_fixed_size(type_)):
        return _list(array, type_)
    return _flat(array, type_)


def like(array: Any, type_: Any) -> Any:
    """The array in the type its column came in, where that still holds it; else as it is."""
    if array.type.equals(type_, check_metadata=True) or shown(array.type) != shown(type_):
        return array
    try:
        return to_type(array, type_)
    except (pa.ArrowException, InvalidInputError):  # a day of 25 hours, a dictionary too large
        return array


def take(array: Any, places: Any) -> Any:
    """Values by number, of any type; a null number gives a null."""
    return to_type(to_workable(array).take(places), array.type)


def join(arrays: list[Any], type_: Any) -> Any:
    """Arrays of one type end to end; in a wider one where that has no room for them."""
    if len(arrays) == 1:
        return arrays[0]
    if not arrays:
        return pa.nulls(0, type_)
    try:
        return pa.concat_arrays(arrays)
    except (pa.ArrowInvalid, pa.ArrowCapacityError, pa.ArrowNotImplementedError):
        wider = wide(type_)
        return pa.concat_arrays([to_type(array, wider) for array in arrays])


def chunks_of(array: Any) -> list[Any]:
    return list(array.chunks) if isinstance(array, pa.ChunkedArray) else [array]


def one_array(array: Any) -> Any:
    """An array, or a chunked array's chunks end to end."""
    return join(chunks_of(array), array.type)


def field_of(array: Any, path: list[str]) -> Any:
    """The field at a path through structs, also below lists; null where a struct above it is."""
    if not path:
        return array
    if isinstance(array.type, pa.BaseExtensionType):
        return field_of(array.storage, path)
    if is_list(array.type) or has_fixed_size(array.type):
        rows = list_rows(array)
        items = field_of(rows.items, path)
        field = array.type.value_field.with_type(items.type).with_nullable(True)
        kept = array.type if is_list(array.type) else pa.list_(field)
        return build_list(kept, items, rows.starts, rows.lengths, rows.valid, field)
    # flatten() carries a null struct over to its fields, field() would not
    inner = array.flatten()[array.type.get_field_index(path[0])]
    return field_of(inner, path[1:])


# -- by kind ------------------------------------------------------------------------------


def _list(array: Any, type_: Any) -> Any:
    rows = list_rows(array)
    if is_list(type_) and is_list(array.type):
        items = to_type(rows.items, type_.value_type)
        return build_list(type_, items, rows.starts, rows.lengths, rows.valid)
    if not is_list(type_):
        size, present = type_.list_size, np.ones(len(array), np.bool_)
        present = present if rows.valid is None else rows.valid
        bad = present & (rows.lengths != size)
        if bad.any():
            row = int(bad.argmax())
            raise InvalidInputError(
                f"row {row} has {rows.lengths[row]} items, and {type_} holds {size} in each"
            )
    items = to_type(items_of_rows(rows), type_.value_type)
    ends = np.cumsum(rows.lengths)
    return build_list(type_, items, ends - rows.lengths, rows.lengths, rows.valid)


def _struct(array: Any, type_: Any) -> Any:
    fields = fields_of(type_)
    names = [field.name for field in fields_of(array.type)]
    if sorted(names) != sorted(field.name for field in fields):
        raise InvalidInputError(f"{array.type} has other fields than {type_}")
    parts = array.flatten()
    if names == [field.name for field in fields]:
        order = list(range(len(names)))
    else:
        order = [names.index(field.name) for field in fields]
    children = [
        to_type(parts[position], field.type) for position, field in zip(order, fields, strict=True)
    ]
    return build_struct(children, type_, validity(array), len(array))


def build_struct(children: list[Any], type_: Any, valid: Any, rows: int) -> Any:
    """A struct array of a type over its fields' arrays."""
    return pa.Array.from_buffers(type_, rows, [bits_of(valid)], children=children)


def _map(array: Any, type_: Any) -> Any:
    keys = to_type(array.keys, type_.key_type)
    items = to_type(array.items, type_.item_type)
    entries_type = type_.field(0).type
    entries = build_struct([keys, items], entries_type, None, len(keys))
    offsets = pa.py_buffer(np.ascontiguousarray(primitive(array.offsets)))
    bits = bits_of(validity(array))
    return pa.Array.from_buffers(type_, len(array), [bits, offsets], children=[entries])


def _flat(array: Any, type_: Any) -> Any:
    """Numbers, times and texts: looked at anew where the bits stay, and else cast."""
    have = array.type
    if pa.types.is_duration(have) and pa.types.is_time(type_) and have.unit == type_.unit:
        counts = array.view(pa.int64())
        limits = pc.min_max(counts)
        lowest, highest = limits["min"].as_py(), limits["max"].as_py()
        if lowest is not None and (lowest < 0 or highest >= _DAY[type_.unit]):
            raise InvalidInputError("a time of day lies between 0 and 24 hours")
        return (counts.cast(pa.int32()) if pa.types.is_time32(type_) else counts).view(type_)
    same_bits = pa.types.is_timestamp(have) and (
        (pa.types.is_timestamp(type_) and have.unit == type_.unit)
        or (pa.types.is_date64(type_) and have.unit == "ms")
    )
    return array.view(type_) if same_bits else array.cast(type_)


def _without_run_ends(array: Any) -> Any:
    """By hand, for Arrow decodes numbers and texts alone."""
    ends = primitive(array.run_ends)
    steps = np.arange(array.offset, array.offset + len(array))
    return to_workable(array.values).take(pa.array(np.searchsorted(ends, steps, side="right")))


def _with_run_ends(values: Any, type_: Any) -> Any:
    index = type_.run_end_type
    try:
        encoded = pc.run_end_encode(values, run_end_type=index)
        ends, values = encoded.run_ends, encoded.values
    except pa.ArrowNotImplementedError:  # what Arrow cannot compare is a run of its own
        ends = pa.array(np.arange(1, len(values) + 1)).cast(index)
    return pa.RunEndEncodedArray.from_arrays(ends, values, type_)


def _tensor_storage(array: Any, type_: Any) -> Any:
    """Nested fixed-size lists, in the order they are seen in, as a tensor keeps them."""
    shape = tensor_shape(type_)
    flat = array
    for _ in shape:
        begin, size = flat.offset * flat.type.list_size, flat.type.list_size
        flat = flat.values.slice(begin, len(flat) * size)
    size = int(np.prod(shape))
    if type_.permutation:
        places = np.arange(len(flat)).reshape(len(array), *shape)
        back = np.argsort(type_.permutation)
        flat = flat.take(pa.array(places.transpose(0, *(axis + 1 for axis in back)).reshape(-1)))
    stored = type_.storage_type
    items = to_type(flat, stored.value_type)
    starts = np.arange(len(array)) * size
    return build_list(stored, items, starts, np.full(len(array), size), validity(array))


# -- lists -------------------------------------------------------------------------------


def items_of_rows(rows: ListRows) -> Any:
    """The rows' own items end to end, and no others: none from gaps, none from under nulls."""
    if is_end_to_end(rows.starts, rows.lengths) and len(rows.items) == int(rows.lengths.sum()):
        return rows.items
    return take(rows.items, pa.array(steps_of(rows.starts, rows.lengths)))


def build_list(
    type_: Any,
    items: Any,
    starts: Ints,
    lengths: Ints,
    valid: Bools | None,
    field: Any = None,
) -> Any:
    """A list array of this type over `items`, which are of its items' type, or `field`'s.

    Lists and large lists want rows end to end, and fixed-size lists rows of their size; where
    rows are otherwise, or too many items for 32 bits, the result is the next wider list type.
    """
    field = type_.value_field.with_type(items.type) if field is None else field
    if items.null_count and not field.nullable:
        field = field.with_nullable(True)
    rows = len(lengths)
    bits = bits_of(valid)
    ends = starts + lengths
    if pa.types.is_fixed_size_list(type_):
        size = type_.list_size
        present = lengths == size if valid is None else (lengths == size) | ~valid
        if present.all():
            full = np.arange(rows, dtype=np.int64) * size
            if len(items) != rows * size or not np.array_equal(starts, full):
                items = take(items, _places(starts, lengths, size))
                field = field.with_nullable(field.nullable or bool(items.null_count))
            return _assemble(pa.list_(field, size), rows, [bits], items)
        type_ = pa.list_(field)
    if is_list_view(type_):
        is_small = pa.types.is_list_view(type_) and len(items) <= _INT32
        dtype = np.int32 if is_small else np.int64
        made = pa.list_view(field) if is_small else pa.large_list_view(field)
        stored = [np.ascontiguousarray(a, dtype) for a in (starts, lengths)]
        return _assemble(made, rows, [bits, *map(pa.py_buffer, stored)], items)
    if not is_end_to_end(starts, lengths):
        items = take(items, pa.array(steps_of(starts, lengths)))
        ends = np.cumsum(lengths)
        starts = ends - lengths
    is_small = pa.types.is_list(type_) and len(items) <= _INT32
    offsets = np.empty(rows + 1, np.int32 if is_small else np.int64)
    offsets[:1] = starts[0] if rows else 0
    offsets[1:] = ends
    made = pa.list_(field) if is_small else with_items(pa.large_list(pa.null()), field)
    return _assemble(made, rows, [bits, pa.py_buffer(offsets)], items)


def _assemble(type_: Any, rows: int, buffers: list[Any], items: Any) -> Any:
    return pa.Array.from_buffers(type_, rows, buffers, children=[items])


def _places(starts: Ints, lengths: Ints, size: int) -> Any:
    """For each slot of fixed-size lists the item that goes there, null below a null list."""
    filled = np.repeat(lengths == size, size)
    places = np.repeat(starts, size) + np.tile(np.arange(size), len(starts))
    return pa.array(np.where(filled, places, 0), mask=~filled)
