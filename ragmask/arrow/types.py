"""What an Arrow type is: each question is asked here, with extension types seen through."""

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import pyarrow as pa

Kind = Literal["ragged", "struct", "vector", "scalar", "other"]


def kind_of(type_: Any) -> Kind:
    """What a column of this Arrow type becomes.

    "ragged": a Ragged. "struct": a dict of columns, of lists of structs and structs of lists.
    "vector": as many numbers in each row, of a fixed shape. "scalar": one number, bool or time a
    row. "other": it stays Arrow.
    """
    stored = storage_of(type_)
    if pa.types.is_struct(stored):
        fields = [stored.field(index).type for index in range(stored.num_fields)]
        return "struct" if fields and all(map(is_list, fields)) else "other"
    if is_list(stored):
        if is_items(stored.value_type):
            return "ragged"
        return "struct" if is_struct(stored.value_type) else "other"
    if not is_items(type_):
        return "struct" if has_fixed_size(type_) and is_struct(stored.value_type) else "other"
    return "vector" if item_shape(type_) else "scalar"


def is_nested(type_: Any) -> bool:
    """Whether rows of this type are rows of rows: lists of any size, of lists that may differ."""
    if isinstance(type_, pa.FixedShapeTensorType) or not (is_list(type_) or has_fixed_size(type_)):
        return False
    return is_list(item_type(type_)) and kind_of(item_type(type_)) == "ragged"


def is_list_of_lists(type_: Any) -> bool:
    """Whether rows are lists of any kind, of lists of any kind, whatever is in those."""
    type_ = workable(type_)
    return _is_lists(type_) and _is_lists(item_type(type_))


def _is_lists(type_: Any) -> bool:
    return is_list(type_) or has_fixed_size(type_)


def storage_of(type_: Any) -> Any:
    """The type without what an extension type says about it."""
    while isinstance(type_, pa.BaseExtensionType):
        type_ = type_.storage_type
    return type_


def is_list(type_: Any) -> bool:
    """Whether rows of this type are lists that may differ in length."""
    type_ = storage_of(type_)
    return is_list_view(type_) or pa.types.is_list(type_) or pa.types.is_large_list(type_)


def is_list_view(type_: Any) -> bool:
    return bool(pa.types.is_list_view(type_) or pa.types.is_large_list_view(type_))


def has_fixed_size(type_: Any) -> bool:
    return bool(pa.types.is_fixed_size_list(storage_of(type_)))


def is_struct(type_: Any) -> bool:
    return bool(pa.types.is_struct(storage_of(type_)))


def is_string(type_: Any) -> bool:
    type_ = storage_of(type_)
    return bool(
        pa.types.is_string(type_)
        or pa.types.is_large_string(type_)
        or pa.types.is_string_view(type_)
    )


def is_binary(type_: Any) -> bool:
    return bool(
        pa.types.is_binary(type_)
        or pa.types.is_large_binary(type_)
        or pa.types.is_binary_view(type_)
    )


def is_items(type_: Any) -> bool:
    """Whether an item of this type is a number, or a block of numbers of a fixed shape."""
    type_ = storage_of(type_)
    if (
        pa.types.is_fixed_size_list(type_)
        or pa.types.is_dictionary(type_)
        or pa.types.is_run_end_encoded(type_)
    ):
        return is_items(type_.value_type)
    is_interval = pa.types.is_interval(type_)
    return bool(
        pa.types.is_boolean(type_)
        or pa.types.is_integer(type_)
        or pa.types.is_floating(type_)
        or (pa.types.is_temporal(type_) and not is_interval)
        or pa.types.is_null(type_)
    )


def is_plain(type_: Any) -> bool:
    """Whether values are numbers in a buffer, or lists of them: no indices below the rows'."""
    while is_list(type_) or has_fixed_size(type_):
        type_ = storage_of(type_).value_type
        if is_list(type_):
            return False
    return bool(pa.types.is_primitive(type_))


def item_shape(type_: Any) -> tuple[int, ...]:
    """The shape of one value of a type of numbers: () where it is a single one."""
    if isinstance(type_, pa.FixedShapeTensorType):
        return tensor_shape(type_)
    type_ = storage_of(type_)
    if pa.types.is_fixed_size_list(type_):
        return (type_.list_size, *item_shape(type_.value_type))
    return ()


def tensor_shape(type_: Any) -> tuple[int, ...]:
    """The shape a fixed-shape tensor is to be seen in, which may not be that it is stored in."""
    shape = tuple(type_.shape)
    return tuple(shape[axis] for axis in type_.permutation or range(len(shape)))


def item_type(type_: Any) -> Any:
    """The type of a list's items; of a tensor, of what lies along its first axis."""
    if isinstance(type_, pa.FixedShapeTensorType):
        item = type_.value_type
        for size in reversed(tensor_shape(type_)[1:]):
            item = pa.list_(item, size)
        return item
    return storage_of(type_).value_type


def words_type(type_: Any) -> Any:
    """The type of a dictionary's values, or itself."""
    type_ = storage_of(type_)
    return type_.value_type if pa.types.is_dictionary(type_) else type_


# -- twins: types for the same values -----------------------------------------------------


def workable(type_: Any) -> Any:
    """The type for the same values that Arrow's kernels know: no string views, no run ends."""
    if isinstance(type_, pa.BaseExtensionType):
        stored = workable(type_.storage_type)
        return type_ if stored == type_.storage_type else stored
    if pa.types.is_string_view(type_):
        return pa.large_string()
    if pa.types.is_binary_view(type_):
        return pa.large_binary()
    if pa.types.is_run_end_encoded(type_):
        return workable(type_.value_type)
    return _rebuilt(type_, workable)


def wide(type_: Any) -> Any:
    """The type for the same values that has room for 2^63 of them, and no dictionaries."""
    if isinstance(type_, pa.BaseExtensionType):
        stored = wide(type_.storage_type)
        return type_ if stored == type_.storage_type else stored
    if is_string(type_):
        return pa.large_string()
    if is_binary(type_):
        return pa.large_binary()
    if pa.types.is_dictionary(type_) or pa.types.is_run_end_encoded(type_):
        return wide(type_.value_type)
    if is_list(type_):
        return pa.large_list(_with_type(type_.value_field, wide))
    return _rebuilt(type_, wide)


def storable(type_: Any) -> Any:
    """The type for the same values that Parquet can hold: no run ends, and no views of texts,
    which pyarrow cannot cut into pages."""
    if isinstance(type_, pa.BaseExtensionType):
        stored = storable(type_.storage_type)
        return type_ if stored == type_.storage_type else stored
    if pa.types.is_run_end_encoded(type_):
        return storable(type_.value_type)
    if pa.types.is_string_view(type_):
        return pa.large_string()
    if pa.types.is_binary_view(type_):
        return pa.large_binary()
    return _rebuilt(type_, storable)


def shown(type_: Any) -> Any:
    """The type that numpy's form of the values, written plainly, comes back as.

    Two types are shown alike where they differ only in how the same values are kept.
    """
    if isinstance(type_, pa.Bool8Type):
        return pa.bool_()
    if isinstance(type_, pa.FixedShapeTensorType):
        item = shown(type_.value_type)
        for size in reversed(tensor_shape(type_)):
            item = pa.list_(item, size)
        return item
    if isinstance(type_, pa.BaseExtensionType):
        # a type of its own, but for those that are numbers to numpy
        return shown(type_.storage_type) if is_items(type_) or is_list(type_) else type_
    if pa.types.is_dictionary(type_) or pa.types.is_run_end_encoded(type_):
        return shown(type_.value_type)
    if is_string(type_):
        return pa.large_string()
    if is_binary(type_):
        return pa.large_binary()
    if is_list(type_):
        return pa.large_list(shown(type_.value_type))
    if pa.types.is_fixed_size_list(type_):
        return pa.list_(shown(type_.value_type), type_.list_size)
    if pa.types.is_struct(type_):
        return pa.struct([pa.field(field.name, shown(field.type)) for field in fields_of(type_)])
    if pa.types.is_map(type_):
        return pa.map_(shown(type_.key_type), shown(type_.item_type))
    if pa.types.is_timestamp(type_):
        return pa.timestamp(type_.unit)
    if pa.types.is_time(type_):
        return pa.duration(type_.unit)
    if pa.types.is_date64(type_):
        return pa.timestamp("ms")
    return pa.float64() if pa.types.is_null(type_) else type_


def fields_of(type_: Any) -> list[Any]:
    type_ = storage_of(type_)
    return [type_.field(index) for index in range(type_.num_fields)]


def with_items(type_: Any, field: Any) -> Any:
    """The list type with other items."""
    if pa.types.is_list(type_):
        return pa.list_(field)
    if pa.types.is_large_list(type_):
        return pa.large_list(field)
    if pa.types.is_list_view(type_):
        return pa.list_view(field)
    if pa.types.is_large_list_view(type_):
        return pa.large_list_view(field)
    return pa.list_(field, type_.list_size)


def _rebuilt(type_: Any, twin: Any) -> Any:
    """A nested type of other children; itself where they stay what they are."""
    if is_list(type_) or has_fixed_size(type_):
        field = _with_type(type_.value_field, twin)
        return type_ if field.equals(type_.value_field, True) else with_items(type_, field)
    if pa.types.is_struct(type_):
        fields = [_with_type(field, twin) for field in fields_of(type_)]
        same = all(a.equals(b, True) for a, b in zip(fields, fields_of(type_), strict=True))
        return type_ if same else pa.struct(fields)
    if pa.types.is_map(type_):
        key, item = _with_type(type_.key_field, twin), _with_type(type_.item_field, twin)
        if key.equals(type_.key_field, True) and item.equals(type_.item_field, True):
            return type_
        return pa.map_(key, item, keys_sorted=type_.keys_sorted)
    if pa.types.is_dictionary(type_):
        values = twin(type_.value_type)
        if values == type_.value_type:
            return type_
        return pa.dictionary(type_.index_type, values, type_.ordered)
    return type_


def _with_type(field: Any, twin: Any) -> Any:
    return field.with_type(twin(field.type))


# -- one type for the columns of several files --------------------------------------------


def unified(first: Any, second: Any) -> Any:
    """A type that holds the values of both without loss, or None where there is none."""
    if first == second or pa.types.is_null(second):
        return first
    if pa.types.is_null(first):
        return second
    encoded = [t for t in (first, second) if pa.types.is_dictionary(t)]
    if encoded or any(map(pa.types.is_run_end_encoded, (first, second))):
        values = unified(_values_type(first), _values_type(second))
        if values is None or len(encoded) < 2:
            return values
        index = unified(first.index_type, second.index_type)
        return pa.dictionary(index, values, first.ordered and second.ordered)
    if isinstance(first, pa.BaseExtensionType) or isinstance(second, pa.BaseExtensionType):
        return None
    for is_one, both in ((is_string, pa.large_string()), (is_binary, pa.large_binary())):
        if is_one(first) and is_one(second):
            return both
    if all(is_list(type_) or has_fixed_size(type_) for type_ in (first, second)):
        item = unified(first.value_type, second.value_type)
        if item is None:
            return None
        field = first.value_field.with_type(item).with_nullable(
            first.value_field.nullable or second.value_field.nullable
        )
        same_layout = first.id == second.id and getattr(first, "list_size", 0) == getattr(
            second, "list_size", 0
        )
        if same_layout:
            return with_items(first, field)
        small = all(pa.types.is_list(t) or has_fixed_size(t) for t in (first, second))
        return pa.list_(field) if small else pa.large_list(field)
    if is_struct(first) and is_struct(second):
        return _unified_structs(first, second)
    if pa.types.is_map(first) and pa.types.is_map(second):
        key = unified(first.key_type, second.key_type)
        item = unified(first.item_type, second.item_type)
        return pa.map_(key, item) if key is not None and item is not None else None
    if pa.types.is_decimal(first) and pa.types.is_decimal(second):
        scale = max(first.scale, second.scale)
        whole = max(first.precision - first.scale, second.precision - second.scale)
        return pa.decimal128(whole + scale, scale) if whole + scale <= 38 else None
    return _unified_numbers(first, second)


def _values_type(type_: Any) -> Any:
    is_encoded = pa.types.is_dictionary(type_) or pa.types.is_run_end_encoded(type_)
    return type_.value_type if is_encoded else type_


def _unified_structs(first: Any, second: Any) -> Any:
    theirs = {field.name: field for field in fields_of(second)}
    fields = []
    for field in fields_of(first):
        other = theirs.pop(field.name, None)
        type_ = None if other is None else unified(field.type, other.type)
        if other is None or type_ is None:
            return None
        fields.append(field.with_type(type_).with_nullable(field.nullable or other.nullable))
    return None if theirs else pa.struct(fields)


def _unified_numbers(first: Any, second: Any) -> Any:
    if not all(pa.types.is_integer(t) or pa.types.is_floating(t) for t in (first, second)):
        return None
    dtypes = [np.dtype(type_.to_pandas_dtype()) for type_ in (first, second)]
    both = np.promote_types(*dtypes)
    # numpy counts int64 as safe in float64, which holds whole numbers to 2^53 alone
    if both.kind == "f" and any(dtype.kind in "iu" and dtype.itemsize > 4 for dtype in dtypes):
        return None
    return pa.from_numpy_dtype(both)


# -- fields of structs, by their path -----------------------------------------------------


def field_at(type_: Any, path: list[str]) -> Any:
    """The type of a field at a path through structs, below lists of them too; None without one."""
    for position, name in enumerate(path):
        stored = storage_of(type_)
        if is_list(stored) or has_fixed_size(stored):
            item = field_at(stored.value_type, path[position:])
            return None if item is None else with_items(stored, stored.value_field.with_type(item))
        if not pa.types.is_struct(stored) or stored.get_field_index(name) < 0:
            return None
        type_ = stored.field(name).type
    return type_


def leaves(type_: Any) -> int:
    """The columns that Parquet has for a type."""
    type_ = storage_of(type_)
    if pa.types.is_dictionary(type_) or pa.types.is_run_end_encoded(type_):
        return leaves(type_.value_type)
    if pa.types.is_nested(type_):
        return sum(leaves(field.type) for field in fields_of(type_))
    return 1


def leaves_at(type_: Any, path: list[str]) -> Iterator[int]:
    """Which of a type's Parquet columns belong to the field at a path."""
    stored = storage_of(type_)
    if not path:
        yield from range(leaves(stored))
    elif is_list(stored) or has_fixed_size(stored):
        yield from leaves_at(stored.value_type, path)
    else:
        before = 0
        for field in fields_of(stored):
            if field.name == path[0]:
                yield from (before + leaf for leaf in leaves_at(field.type, path[1:]))
                return
            before += leaves(field.type)
