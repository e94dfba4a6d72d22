"""What layers do with batches of any kind; no other file here knows how batches are made."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from ragmask import arrow
from ragmask.arrays.coerce import to_numpy
from ragmask.arrays.host import read_only
from ragmask.arrays.protocol import Array, Bools
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


def side_by_side(parts: list[Any], axis: int = -1) -> Any:
    """Batches of one kind joined along an axis; of masks, a Ragged has its first part's."""
    first = parts[0]
    if not isinstance(first, Ragged | Padded):
        return np.concatenate(parts, axis)
    arrays = [part._dense()[0] for part in parts]
    if isinstance(first, Padded):
        return Padded(np.concatenate(arrays, axis))
    for part in parts[1:]:
        first._check_same_rows(part, "its inputs")
    return first.compact().with_values(np.concatenate(arrays, axis if axis < 0 else axis - 1))


# -- several batches ------------------------------------------------------------------------


def of_one_kind(parts: Sequence[Any]) -> list[Any]:
    """The same batches, or specs; arrays beside a Padded become Padded, without a mask."""
    kinds = {_kind_of(part) for part in parts}
    if kinds == {"Padded", "ndarray"}:
        return [part if _kind_of(part) == "Padded" else _padded(part) for part in parts]
    if len(kinds) > 1:
        raise UnsupportedTypeError(
            f"its inputs must be of one kind; got {', '.join(sorted(kinds))}: make them one, with "
            "to_padded() or Ragged.from_padded()"
        )
    return list(parts)


def _kind_of(part: Any) -> str:
    return part.class_name if isinstance(part, Spec) else type(part).__name__


def _padded(array: Any) -> Any:
    return replace(array, kind="padded") if isinstance(array, Spec) else Padded(array)


def whole_shape(batch: Any) -> Any:
    """A batch's shape as far as it has one: None for the time of a Ragged, and a Spec's rows."""
    if isinstance(batch, Ragged):
        return (len(batch), None, *batch.item_shape)
    return batch.shape


def broadcast(parts: list[Any]) -> Spec:
    """What is known of batches, or specs, put together number by number.

    As in Keras, what has fewer axes than others is the same for a row's every step.
    """
    shapes = list(map(whole_shape, parts))
    rank = max(map(len, shapes))
    whole = [part for part, shape in zip(parts, shapes, strict=True) if len(shape) == rank]
    first: Spec = spec_of(of_one_kind(whole)[0])
    time = 2 if first.kind == "ragged" else 1  # axes that broadcasting does not concern
    lower = [part for part, shape in zip(parts, shapes, strict=True) if len(shape) < rank]
    is_misfit = len({shape[0] for shape in shapes}) > 1
    is_misfit |= any(spec_of(part).kind != "dense" for part in lower)
    with suppress(ValueError):
        sizes = [((1,) * (rank - len(one)) + one[1:])[time - 1 :] for one in shapes]
        if not is_misfit:
            return first.of((*first.shape[:time], *np.broadcast_shapes(*sizes)))
    told = " and ".join(dict.fromkeys(map(shown_shape, shapes)))
    raise InvalidInputError(f"its inputs do not fit each other: they have shapes {told}")


def aligned(parts: list[Any]) -> tuple[list[Array], list[Bools | None], Callable[[Array], Any]]:
    """The values of batches that `broadcast` took, as numpy broadcasts them, with their masks, and
    what makes such a batch of others."""
    rank = max(len(whole_shape(part)) for part in parts)
    ragged = first_of(Ragged, parts)
    values, masks = [], []
    for part in parts:
        array, mask = part._dense() if isinstance(part, Ragged | Padded) else (part, None)
        if isinstance(part, Ragged):
            ragged._check_same_rows(part, "its inputs")
        else:
            ones = (1,) * (rank - array.ndim - (ragged is not None))
            if ragged is not None:
                array = np.repeat(array, ragged.lengths, axis=0)
            array = array.reshape(len(array), *ones, *array.shape[1:])
        values.append(array)
        masks.append(None if mask is None else mask.reshape(*mask.shape, *(1,) * (rank - 2)))
    if ragged is not None:
        return values, masks, lambda made: ragged._like(made, None)
    return values, masks, Padded if first_of(Padded, parts) is not None else lambda made: made
