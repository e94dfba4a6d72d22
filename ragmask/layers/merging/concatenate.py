"""Batches side by side, or one behind the other."""

from functools import reduce
from typing import Any

import numpy as np

from ragmask.batches.masks import with_mask
from ragmask.batches.padded import Padded
from ragmask.batches.ragged import Ragged
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.layers.batch import each, mask_of, of_one_kind, side_by_side, spec_of, whole_shape
from ragmask.layers.layer import Layer
from ragmask.layers.merging.numbers import masks_for, parts_of
from ragmask.layers.registry import register
from ragmask.layers.spec import Spec, common_dtype, shown_shape, total
from ragmask.ops.split import temporal_concat


@register
class Concatenate(Layer):
    """Several batches side by side: their features (`axis=-1`), or one behind the other (`axis=1`).

    >>> import ragmask as rm
    >>> a = rm.Ragged.from_rows([[[1.0]], [[2.0], [3.0]]])
    >>> rm.layers.Concatenate()([a, a]).item_shape
    (2,)

    Side by side, a step is kept that one of them keeps, and a batch without a mask keeps all;
    behind each other each keeps its own. Rows of unequal lengths are an error, but for `axis=1`.
    Arrays are joined along any axis.
    """

    _masks_itself = True
    supports_masking = True

    def __init__(self, axis: int = -1, **options: Any) -> None:
        super().__init__(**options)
        if type(axis) is not int:
            raise UnsupportedTypeError(f"layer {self.name!r}: axis is an integer; got {axis!r}")
        self.axis = axis

    def call(self, inputs: Any) -> Any:
        parts = of_one_kind(parts_of(self, inputs))
        axis = self._joined_axis(parts)
        dtype = common_dtype(part.dtype for part in parts)
        parts = [
            part if part.dtype == dtype else each(part, lambda values: values.astype(dtype))
            for part in parts
        ]
        if axis == 1 and isinstance(parts[0], Ragged | Padded):
            return temporal_concat(parts)
        return with_mask(side_by_side(parts, axis), self.compute_mask(parts, mask_of(parts)))

    def compute_output(self, inputs: Any) -> Spec:
        parts = of_one_kind(parts_of(self, inputs))
        axis = self._joined_axis(parts)
        shape = list(parts[0].shape)
        shape[axis] = total(part.shape[axis] for part in parts)
        joined: Spec = parts[0].of(tuple(shape), common_dtype(part.dtype for part in parts))
        return joined.masked(any(part.is_masked for part in parts))

    def _joined_axis(self, parts: list[Any]) -> int:
        """Counted from the first; it is there, and all the others are equally long."""
        shapes = list(map(whole_shape, parts))
        rank = len(shapes[0])
        axis = self.axis + rank if self.axis < 0 else self.axis
        if spec_of(parts[0]).kind != "dense":
            if rank == 2 and self.axis != 1:
                raise InvalidInputError(
                    "its inputs' steps are numbers, not features to lie side by side; "
                    "axis=1 joins them in time"
                )
            if axis == 0:
                raise InvalidInputError("axis must be -1 (features) or 1 (time); got 0")
        if not 0 <= axis < rank:
            told = shown_shape(shapes[0])
            raise InvalidInputError(f"axis must be one of its inputs', {told}; got {self.axis}")
        for shape in shapes[1:]:
            if len(shape) != rank or any(
                one != other
                for at, (one, other) in enumerate(zip(shapes[0], shape, strict=True))
                if at != axis
            ):
                raise InvalidInputError(
                    f"its inputs differ in more than axis {axis}: {shown_shape(shapes[0])} and "
                    f"{shown_shape(shape)}"
                )
        return axis

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        masks = masks_for(self, inputs, mask)
        given = [one for one in masks if one is not None]
        if not given:
            return None
        if self._is_time(inputs[0]):
            pairs = zip(inputs, masks, strict=True)
            kept = [_all_kept(part) if one is None else one for part, one in pairs]
            return temporal_concat(kept)
        if len(given) < len(masks):  # a batch without a mask keeps every step
            return np.logical_or(given[0], True)
        return reduce(np.logical_or, given)

    def _is_time(self, batch: Any) -> bool:
        rank = len(batch.shape) if hasattr(batch, "shape") else len(whole_shape(batch))
        return self.axis in (1, 1 - rank)


def _all_kept(batch: Any) -> Any:
    """A mask that keeps every step of a batch."""
    if isinstance(batch, Ragged):
        rows = batch.compact()
        return Ragged._of(rows._rows.masked(None).over(np.ones(rows.n_steps, np.bool_)))
    return np.ones(batch.shape[:2], np.bool_)


def concatenate(inputs: Any, axis: int = -1, **options: Any) -> Any:
    """`Concatenate(axis, **options)(inputs)`, as Keras has it.

    >>> import ragmask as rm
    >>> pair = rm.Ragged.from_rows([[1], [2]]), rm.Ragged.from_rows([[3], []])
    >>> rm.layers.concatenate(pair, axis=1).to_rows()
    [array([1, 3]), array([2])]
    """
    return Concatenate(axis, **options)(inputs)
