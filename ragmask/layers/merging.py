"""Layers that join batches: their sums, or side by side."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import reduce
from typing import Any

import numpy as np

from ragmask.batches.masks import with_mask
from ragmask.errors import InvalidInputError, RagmaskError, UnsupportedTypeError
from ragmask.layers.batch import (
    check_one_kind,
    check_same_lead,
    is_sequence,
    mask_of,
    shape_of,
    side_by_side,
)
from ragmask.layers.layer import Layer
from ragmask.layers.registry import register
from ragmask.layers.spec import Spec, total
from ragmask.layers.temporal import joined_in_time
from ragmask.ops.split import temporal_concat


@register
class Add(Layer):
    """The sum of several batches of equal rows; a step is kept that one of them keeps.

    >>> import ragmask as rm
    >>> a, b = rm.Ragged.from_rows([[1], [2, 3]]), rm.Ragged.from_rows([[10], [20, 30]])
    >>> rm.layers.Add()([a, b]).to_rows()
    [array([11]), array([22, 33])]

    As in Keras there is no mask where one of them has none. Rows of unequal lengths are an error.
    """

    supports_masking = True

    def call(self, inputs: Any) -> Any:
        with _fitting():
            return reduce(np.add, _parts(self, inputs))

    def compute_output(self, inputs: Any) -> Spec:
        parts = _parts(self, inputs)
        first: Spec = parts[0]
        check_one_kind([part.class_name for part in parts])
        with _fitting():
            if first.kind == "dense":
                shape = np.broadcast_shapes(*((1, *part.shape[1:]) for part in parts))
                added = first.of((None, *shape[1:]))
            else:
                widths = {part.shape[1] for part in parts}
                if len(widths) > 1:
                    raise ValueError(f"their widths are {', '.join(map(str, widths))}")
                added = first.of_items(*np.broadcast_shapes(*(part.item_shape for part in parts)))
        dtype = np.result_type(*(part.dtype for part in parts))
        return added.of(added.shape, dtype).masked(all(part.is_masked for part in parts))

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        if not isinstance(mask, list | tuple) or any(one is None for one in mask):
            return None
        return reduce(np.logical_or, mask)


@register
class Concatenate(Layer):
    """Several batches side by side: their features (`axis=-1`), or one behind the other (`axis=1`).

    >>> import ragmask as rm
    >>> a = rm.Ragged.from_rows([[[1.0]], [[2.0], [3.0]]])
    >>> rm.layers.Concatenate()([a, a]).item_shape
    (2,)

    Side by side, a step is kept that one of them keeps, and a batch without a mask keeps all;
    behind each other each keeps its own. Rows of unequal lengths are an error, but for `axis=1`.
    """

    _masks_itself = True
    supports_masking = True

    def __init__(self, axis: int = -1, **options: Any) -> None:
        super().__init__(**options)
        self.axis = axis

    def call(self, inputs: Any) -> Any:
        parts = _parts(self, inputs)
        if self._joins_time([is_sequence(part) for part in parts], len(shape_of(parts[0]))):
            return temporal_concat(parts)
        return with_mask(side_by_side(parts), self.compute_mask(inputs, mask_of(parts)))

    def compute_output(self, inputs: Any) -> Spec:
        parts = _parts(self, inputs)
        first: Spec = parts[0]
        if self._joins_time([part.has_time for part in parts], len(first.input_shape)):
            return joined_in_time(parts)
        check_one_kind([part.class_name for part in parts])
        for part in parts[1:]:
            check_same_lead(first.shape, part.shape)
        features = total(part.shape[-1] for part in parts)
        dtype = np.result_type(*(part.dtype for part in parts))
        joined = first.of((*first.shape[:-1], features), dtype)
        return joined.masked(any(part.is_masked for part in parts))

    def _joins_time(self, are_sequences: list[bool], ndim: int) -> bool:
        if self.axis == 1 and all(are_sequences):
            return True
        if ndim == 2 and any(are_sequences):
            raise InvalidInputError(
                "its inputs' steps are numbers, not features to lie side by side; "
                "axis=1 joins them in time"
            )
        if self.axis not in (-1, ndim - 1):
            raise InvalidInputError(f"axis must be -1 (features) or 1 (time); got {self.axis}")
        return False

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        if mask is None or all(one is None for one in mask):
            return None
        if self.axis == 1:
            parts = [with_mask(part, one) for part, one in zip(inputs, mask, strict=True)]
            return mask_of(temporal_concat(parts))
        if any(one is None for one in mask):  # such a batch keeps every step
            given = next(one for one in mask if one is not None)
            return np.logical_or(given, True)
        return reduce(np.logical_or, mask)


def _parts(layer: Layer, inputs: Any) -> list[Any]:
    if not isinstance(inputs, list | tuple) or not inputs:
        kind = inputs.class_name if isinstance(inputs, Spec) else type(inputs).__name__
        raise UnsupportedTypeError(f"layer {layer.name!r} takes a list of batches; got {kind}")
    return list(inputs)


@contextmanager
def _fitting() -> Iterator[None]:
    """What numpy raises for shapes that cannot be added is InvalidInputError."""
    try:
        yield
    except RagmaskError:
        raise
    except ValueError as error:
        raise InvalidInputError(f"its inputs do not fit each other: {error}") from error
