"""Arrow's numbers, and blocks of them of a fixed shape, as numpy arrays with a mask, and back."""

from typing import Any

import numpy as np
import pyarrow as pa

from ragmask.arrays.memory import contiguous, copied
from ragmask.arrays.protocol import Array, Bools
from ragmask.arrow.convert import to_type
from ragmask.arrow.lists import bits_of, primitive, seen_through, validity
from ragmask.arrow.types import storage_of, workable
from ragmask.errors import InvalidInputError, UnsupportedTypeError


def read_items(items: Any) -> tuple[Array, Bools | None]:
    """(n, *item) values, and the mask of items that are not null, or None if all are there."""
    type_ = items.type
    if isinstance(type_, pa.FixedShapeTensorType):
        values, mask = read_items(items.storage)
        values = values.reshape(len(items), *type_.shape)
        axes = (axis + 1 for axis in type_.permutation or range(len(type_.shape)))
        return contiguous(values.transpose(0, *axes)), mask
    if isinstance(type_, pa.BaseExtensionType):
        values, mask = read_items(items.storage)
        return (values != 0 if isinstance(type_, pa.Bool8Type) else values), mask
    if pa.types.is_dictionary(type_):
        return read_items(to_type(items, workable(type_.value_type)))
    if pa.types.is_null(type_):
        return np.zeros(len(items)), np.zeros(len(items), np.bool_) if len(items) else None

    mask = validity(items)
    if pa.types.is_fixed_size_list(type_):
        size = type_.list_size
        inner, inner_mask = read_items(items.values.slice(items.offset * size, len(items) * size))
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
        values = primitive(items)
    if mask is not None:
        values = copied(values)
        values[~mask] = np.zeros((), values.dtype)
    return values, mask


def read_blocks(items: Any) -> tuple[Array, Bools | None]:
    """(n, *item) values, and a mask of that shape, feature by feature; None if all are there."""
    type_ = items.type
    if isinstance(type_, pa.FixedShapeTensorType):
        axes = (0, *(axis + 1 for axis in type_.permutation or range(len(type_.shape))))
        stored = read_blocks(items.storage)
        values, mask = (
            part if part is None else part.reshape(len(items), *type_.shape).transpose(axes)
            for part in stored
        )
        return np.ascontiguousarray(values), mask
    if not pa.types.is_fixed_size_list(storage_of(type_)):
        return read_items(items)
    items = seen_through(items)
    size = items.type.list_size
    inner, inner_mask = read_blocks(items.values.slice(items.offset * size, len(items) * size))
    values = inner.reshape(len(items), size, *inner.shape[1:])
    valid = validity(items)
    if inner_mask is None and valid is None:
        return values, None
    mask = np.ones(values.shape, np.bool_)
    if inner_mask is not None:
        mask &= inner_mask.reshape(values.shape)
    if valid is not None:
        mask &= valid.reshape(-1, *(1 for _ in values.shape[1:]))
    return values, mask


def write_items(values: Array, mask: Bools | None) -> Any:
    """(n, *item) values as n Arrow items: numbers, or fixed-size lists nested as deep as `item`."""
    items = _write_leaf(values.reshape(-1), mask if values.ndim == 1 else None)
    for axis in range(values.ndim - 1, 0, -1):
        count = int(np.prod(values.shape[:axis]))
        validity = bits_of(mask) if axis == 1 else None
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
    return pa.Array.from_buffers(type_, flat.size, [bits_of(mask), pa.py_buffer(flat)])
