"""What layers do with batches of any kind; no other file here knows how batches are made."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ragmask import arrow
from ragmask.arrays.coerce import to_numpy
from ragmask.arrays.host import read_only
from ragmask.arrays.protocol import Array
from ragmask.batches.masks import with_mask
from ragmask.batches.padded import Padded
from ragmask.batches.ragged import Ragged
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.layers.graph import BATCHES, first_of
from ragmask.layers.spec import Spec, shown_shape
from ragmask.rows.rows import Rows


def as_batch(given: Any) -> Any:
    """A batch as ops take it; lists of numbers become arrays, and None stays None."""
    if (
        given is None
        or isinstance(given, Ragged | Padded)
        or hasattr(given, "__cuda_array_interface__")
    ):
        return given
    array = to_numpy(given, "inputs")  # which refuses masked arrays
    if array is given:
        return given
    if array.dtype == object or array.ndim == 0:
        hint = ": read it with Ragged.from_arrow" if arrow.is_arrow(given) else ""
        raise UnsupportedTypeError(
            f"a layer takes a Ragged, a Padded or an array; got {type(given).__name__}{hint}"
        )
    return read_only(array)


def spec_of(batch: Any) -> Any:
    """What would be known of a batch before it is there."""
    if batch is None or isinstance(batch, Spec):
        return batch
    batch = as_batch(batch)
    if isinstance(batch, Ragged):
        shape = None, None, *batch.item_shape
        return Spec(shape, batch.dtype, "ragged", batch._rows.mask is not None)
    kind: Any = "padded" if isinstance(batch, Padded) else "dense"
    is_masked = isinstance(batch, Padded) and batch.mask is not None
    return Spec((None, *batch.shape[1:]), batch.dtype, kind, is_masked)


def shape_of(batch: Any) -> Any:
    """A batch's shape, with None for rows and time."""
    if batch is None:
        return None
    if isinstance(batch, Ragged | Padded):
        return (None, None, *batch.item_shape)
    if isinstance(batch, Spec):
        return batch.input_shape
    return (None, *batch.shape[1:]) if batch.ndim < 3 else (None, None, *batch.shape[2:])


def is_sequence(batch: Any) -> bool:
    """Whether a batch surely has time: the second axis of an array may be features."""
    return isinstance(batch, Ragged | Padded) or batch.ndim > 2


def are_ids(batch: Any) -> bool:
    """Whether each step is an integer: the second axis of such an array is time, of any width."""
    if isinstance(batch, Ragged | Padded):
        return batch.dtype.kind in "iu" and not batch.item_shape
    if isinstance(batch, Spec):
        return batch.dtype.kind in "iu" and len(batch.shape) == 2
    return isinstance(batch, np.ndarray) and batch.dtype.kind in "iu" and batch.ndim == 2


def mask_of(batch: Any) -> Any:
    """The mask a batch carries, or None; for a list or dict of batches, one of them or None."""
    if isinstance(batch, list | tuple):
        masks = [mask_of(one) for one in batch]
        return None if all(mask is None for mask in masks) else masks
    if isinstance(batch, dict):
        by_name = {key: mask_of(one) for key, one in batch.items()}
        return None if all(mask is None for mask in by_name.values()) else by_name
    if isinstance(batch, Ragged) and batch._rows.mask is not None:
        return Ragged._of(Rows(batch._rows.mask, batch._rows.layout))
    return batch.mask if isinstance(batch, Padded) else None


def with_masks(batch: Any, mask: Any) -> Any:
    """Batches, or specs, with these masks in the place of their own."""
    if isinstance(batch, list | tuple):
        masks = mask if isinstance(mask, list | tuple) else [mask] * len(batch)
        if len(masks) != len(batch):
            raise InvalidInputError(f"{len(masks)} masks were given for {len(batch)} batches")
        return [with_masks(one, other) for one, other in zip(batch, masks, strict=True)]
    if isinstance(batch, dict):
        by_name = mask if isinstance(mask, dict) else dict.fromkeys(batch, mask)
        return {key: with_masks(one, by_name.get(key)) for key, one in batch.items()}
    if isinstance(mask, list | tuple | dict) and first_of(BATCHES | Spec, mask) is not None:
        raise InvalidInputError(
            f"a {type(mask).__name__} of masks was given for one batch; "
            "a layer that joins batches says in compute_mask(inputs, mask) what becomes of theirs"
        )
    if isinstance(batch, Spec) or isinstance(mask, Spec):
        return spec_of(batch).with_mask(mask)
    return with_mask(batch, mask)


def each(batch: Any, function: Callable[[Array], Array]) -> Any:
    """The same batch, its values put through a function of arrays (…, features)."""
    with np.errstate(invalid="ignore", over="ignore"):  # padding may hold anything
        if isinstance(batch, Ragged):
            rows = batch.compact()
            return rows.with_values(function(rows._rows.values))
        if isinstance(batch, Padded):
            return Padded(function(batch.values), batch.mask)
        return function(batch)


def reverse(batch: Any) -> Any:
    """Each row's steps from its end, and its mask with them."""
    if isinstance(batch, Ragged):
        rows = batch.compact()
        row_of = np.repeat(rows.starts * 2 + rows.lengths - 1, rows.lengths)
        order = row_of - np.arange(len(row_of))
        mask = None if rows.mask is None else rows.mask[order]
        reversed_rows = rows.with_values(rows.values[order])
        return with_mask(reversed_rows, mask)
    if isinstance(batch, Padded):
        return Padded(batch.values[:, ::-1], None if batch.mask is None else batch.mask[:, ::-1])
    return np.ascontiguousarray(batch[:, ::-1])


def side_by_side(parts: list[Any]) -> Any:
    """Batches of one kind with their features joined; of masks, a Ragged has its first part's."""
    first = parts[0]
    check_one_kind([type(part).__name__ for part in parts])
    if isinstance(first, Ragged):
        rows = [part.compact() for part in parts]
        for part in rows[1:]:
            rows[0]._check_same_rows(part, "its inputs")
        return rows[0].with_values(np.concatenate([part._rows.values for part in rows], axis=-1))
    arrays = [part.values if isinstance(part, Padded) else part for part in parts]
    for array in arrays[1:]:
        check_same_lead(arrays[0].shape, array.shape)
    joined = np.concatenate(arrays, axis=-1)
    return Padded(joined) if isinstance(first, Padded) else joined


def check_one_kind(classes: list[str]) -> None:
    if len(set(classes)) > 1:
        raise UnsupportedTypeError(
            f"its inputs must be of one kind; got {', '.join(sorted(set(classes)))}: make them "
            "one, with to_padded() or Ragged.from_padded()"
        )


def check_same_lead(shape: Any, other: Any) -> None:
    """Raise where arrays that are to lie side by side differ in more than their features."""
    if shape[:-1] != other[:-1]:
        raise InvalidInputError(
            f"its inputs differ in rows or time: {shown_shape(shape)} and {shown_shape(other)}"
        )
