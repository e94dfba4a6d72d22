"""Bare arrays to Arrow arrays, over the same memory, in the type that they once came in."""

from typing import Any

import numpy as np
import pyarrow as pa

from ragmask.arrays.protocol import Bools, Ints
from ragmask.arrow.convert import build_list, build_struct, like, to_type
from ragmask.arrow.items import write_items
from ragmask.arrow.read import Form
from ragmask.arrow.types import fields_of, has_fixed_size, is_list, item_type, shown, storage_of
from ragmask.errors import UnsupportedTypeError
from ragmask.rows.rows import Rows


def write_rows(rows: Rows) -> Any:
    """A list array over the memory of rows, once they are compact: a large list from 2^31 items on.

    Rows that came from Arrow go back as the lists they were, null ones included, with items of
    the type that they had while the values still fit it.
    """
    rows = rows.compact()
    form: Form = rows.form or Form()
    items = write_items(rows.values, rows.mask)
    type_, valid = form.type, form.valid
    if type_ is not None:
        items = _items_like(items, item_type(type_))
    return write_lists(type_, items, rows.starts, rows.lengths, valid)


def write_nested(outer: Rows, inner: Rows) -> Any:
    """A list array of list arrays: compact rows, and the inner rows that lie along them."""
    form: Form = outer.form or Form()
    type_ = (inner.form or Form()).type
    lists = write_rows(inner.formed(Form(type_, outer.mask)))
    return write_lists(form.type, lists, outer.starts, outer.lengths, form.valid)


def _items_like(items: Any, type_: Any) -> Any:
    """Items of the type that they came in; vectors as lists, where those were lists of one size."""
    if has_fixed_size(items.type) and is_list(type_):
        is_same = shown(item_type(items.type)) == shown(item_type(type_))
        return to_type(items, type_) if is_same else items
    return like(items, type_)


def write_lists(type_: Any, items: Any, starts: Ints, lengths: Ints, valid: Bools | None) -> Any:
    """Lists of the type they came in, of these items."""
    stored = pa.list_(items.type) if type_ is None else storage_of(type_)
    if not (is_list(stored) or has_fixed_size(stored)):
        stored = pa.list_(items.type)
    field = stored.value_field.with_type(items.type)
    lists = build_list(stored, items, starts, lengths, valid, field)
    return lists if type_ is None else like(lists, type_)


def write_fields(children: list[Any], type_: Any, present: Bools | None, rows: int) -> Any:
    """Structs of a type, of its fields' arrays."""
    fields = fields_of(type_)
    arrays = [like(child, field.type) for child, field in zip(children, fields, strict=True)]
    made = [
        field.with_type(array.type).with_nullable(field.nullable or bool(array.null_count))
        for field, array in zip(fields, arrays, strict=True)
    ]
    structs = build_struct(arrays, pa.struct(made), present, rows)
    return like(structs, type_)


def write_scalars(column: Any) -> Any:
    """An Arrow array of one value a row; an array of vectors becomes fixed-size lists."""
    if isinstance(column, np.ndarray) and column.ndim > 1:
        valid = None
        if np.ma.is_masked(column):
            masked = np.ma.getmaskarray(column).reshape(len(column), -1)
            valid = np.asarray(~masked.all(axis=1))
            if masked[valid].any():
                raise UnsupportedTypeError(
                    "a partially masked array of vectors cannot become Arrow"
                )
        return write_items(np.ascontiguousarray(np.ma.getdata(column)), valid)
    if isinstance(column, np.ma.MaskedArray):
        return pa.array(column.data, mask=np.ma.getmaskarray(column))
    return pa.array(column)
