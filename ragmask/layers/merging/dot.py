"""Products of two batches, summed up along an axis of each."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ragmask.arrays.protocol import Array
from ragmask.batches.padded import Padded
from ragmask.batches.ragged import Ragged
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.layers.batch import of_one_kind, spec_of, whole_shape
from ragmask.layers.layer import Layer
from ragmask.layers.merging.numbers import fitting, parts_of
from ragmask.layers.registry import register
from ragmask.layers.spec import Spec, common_dtype, shown_shape

_LONGEST = 1e7  # what vectors are multiplied by at most, that their length be 1: Keras's number


@register
class Dot(Layer):
    """The products of two batches, summed up along an axis of each: (rows, the axes that are left).

    >>> import ragmask as rm
    >>> weights = rm.Ragged.from_rows([[0.5, 0.5], [1.0]])
    >>> vectors = rm.Ragged.from_rows([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0]]])
    >>> rm.layers.Dot(axes=1)([weights, vectors])
    array([[2., 3.],
           [5., 6.]])

    axes : the axis of both, or (of the first, of the second), with rows as 0: 1 is time where a
        batch has time, and -1 the features. Of vectors (rows, features) it gives (rows, 1).
    normalize : make the vectors along these axes as long as 1 first: their cosine.

    Arrays may have any number of axes. A Ragged goes with another of the same rows over time, or
    with vectors (rows, features) over features, which gives a number a step; a number for each two
    steps is an error. As in Keras masked steps count, and the output has no mask.
    """

    supports_masking = True

    def __init__(self, axes: int | Sequence[int], normalize: bool = False, **options: Any) -> None:
        super().__init__(**options)
        pair = axes if isinstance(axes, list | tuple) else (axes, axes)
        if len(pair) != 2 or not all(type(axis) is int for axis in pair):
            kind = InvalidInputError if isinstance(axes, list | tuple) else UnsupportedTypeError
            raise kind(f"layer {self.name!r}: axes is an integer, or two; got {axes!r}")
        self.axes = axes
        self.normalize = bool(normalize)
        self._pair = tuple(pair)

    def call(self, inputs: Any) -> Any:
        first, second = parts_of(self, inputs, 2)
        axes = self._axes_of(first, second)
        like = _in_time([first, second], axes)
        if isinstance(first, Ragged) and isinstance(second, Ragged):
            return self._over_time(first, second)
        if isinstance(like, Ragged):
            lengths = like.lengths
            steps = [
                one._dense()[0] if one is like else np.repeat(one, lengths, axis=0)
                for one in (first, second)
            ]
            return like._like(self._product(steps, (1, 1))[:, 0], None)
        arrays = [one._dense()[0] if isinstance(one, Padded) else one for one in (first, second)]
        product = self._product(arrays, axes)
        return product if like is None else Padded(product)

    def compute_output(self, inputs: Any) -> Spec:
        first, second = parts_of(self, inputs, 2)
        axes = self._axes_of(first, second)
        like = _in_time([first, second], axes)
        left = _without(first.shape, axes[0]) + _without(second.shape, axes[1])[1:]
        nothing = [np.empty((0, 1), part.dtype) for part in (first, second)]
        dtype = self._product(nothing, (1, 1)).dtype
        return Spec((*left, 1)[: max(2, len(left))], dtype, "dense" if like is None else like.kind)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return None

    def _axes_of(self, first: Any, second: Any) -> tuple[int, int]:
        """Which axes are summed along, counted from the first; or an error for what has none."""
        shapes = whole_shape(first), whole_shape(second)
        one, other = (
            axis + len(shape) if axis < 0 else axis
            for axis, shape in zip(self._pair, shapes, strict=True)
        )
        told = f"{shown_shape(shapes[0])} and {shown_shape(shapes[1])}"
        if not (0 < one < len(shapes[0]) and 0 < other < len(shapes[1])):
            raise InvalidInputError(
                f"axes={self.axes!r} are not axes of its inputs, of shapes {told}, behind rows"
            )
        kinds = [spec_of(part).kind for part in (first, second)]
        ranks = len(shapes[0]), len(shapes[1])
        if kinds == ["ragged", "ragged"]:
            if (one, other) == (2, 2):
                raise UnsupportedTypeError(
                    "over the features of two Raggeds it would give a number for each two steps of "
                    "a row: MultiHeadAttention sums up over these without keeping them, and "
                    "arrays, as of to_padded(), may have them"
                )
            is_known = (one, other) == (1, 1) and max(ranks) < 4
        elif "ragged" in kinds:
            at = kinds.index("ragged")
            is_known = (one, other)[at] == 2 and (ranks[at], ranks[1 - at]) == (3, 2)
            if not is_known or "padded" in kinds:
                of_one_kind([first, second])  # which they are not
        else:
            is_known = True
        if not is_known:
            raise UnsupportedTypeError(
                f"of Raggeds it sums up over the time of two, (rows, time, features), or over the "
                f"features of one and of an array (rows, features); got {told} along axes {one} "
                f"and {other}: make them arrays, with to_padded()"
            )
        if shapes[0][0] != shapes[1][0] or shapes[0][one] != shapes[1][other]:
            raise InvalidInputError(
                f"its inputs do not fit each other along axes {one} and {other}: they have shapes "
                f"{told}"
            )
        return one, other

    def _product(self, arrays: Sequence[Array], axes: tuple[int, int]) -> Array:
        dtype = common_dtype(array.dtype for array in arrays)
        if self.normalize and dtype.kind in "biu":
            dtype = np.dtype(np.float32)
        exact = np.dtype(np.float32) if dtype == np.float16 else dtype
        with fitting(), np.errstate(all="ignore"):
            x, y = (
                np.moveaxis(array, axis, -1).astype(exact, copy=False)
                for array, axis in zip(arrays, axes, strict=True)
            )
            if self.normalize:
                x, y = _unit(x), _unit(y)
            left = *x.shape[1:-1], *y.shape[1:-1]
            x, y = (
                array.reshape(len(array), math.prod(array.shape[1:-1]), array.shape[-1])
                for array in (x, y)
            )
            product: Array = np.matmul(x, y.swapaxes(1, 2)).astype(dtype, copy=False)
        return product.reshape(len(x), *(left or (1,)))

    def _over_time(self, first: Ragged, second: Ragged) -> Array:
        """The products of each row's steps, summed up."""
        first._check_same_rows(second, "its inputs")
        x, y = (
            part._dense()[0].reshape(part.n_steps, math.prod(part.item_shape))
            for part in (first, second)
        )
        dtype = self._product([x[:0, :1], y[:0, :1]], (1, 1)).dtype
        sums = np.zeros((len(first), x.shape[1], y.shape[1]), dtype)
        end = 0
        for row, length in enumerate(first.lengths.tolist()):
            begin, end = end, end + length
            sums[row] = self._product([x[None, begin:end], y[None, begin:end]], (1, 1))[0]
        return sums.reshape(len(first), *(first.item_shape + second.item_shape or (1,)))


def _in_time(parts: list[Any], axes: tuple[int, int]) -> Any:
    """The batch, or spec, whose time is behind the rows of the product; None where nothing is."""
    for part, axis in zip(parts, axes, strict=True):
        if len(whole_shape(part)) > 2:
            return part if axis != 1 and spec_of(part).kind != "dense" else None
    return None


def _without(shape: Any, axis: int) -> Any:
    return shape[:axis] + shape[axis + 1 :]


def _unit(vectors: Array) -> Array:
    """Vectors as long as 1; those of zeros stay."""
    squares = np.sum(np.square(vectors), axis=-1, keepdims=True)
    one = squares.dtype.type(1)
    scaled: Array = vectors * np.minimum(one / np.sqrt(squares), squares.dtype.type(_LONGEST))
    return scaled


def dot(inputs: Any, axes: int | Sequence[int] = -1, **options: Any) -> Any:
    """`Dot(axes, **options)(inputs)`, as Keras has it.

    >>> import numpy as np
    >>> import ragmask as rm
    >>> rm.layers.dot([np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]])])
    array([[11.]])
    """
    return Dot(axes, **options)(inputs)
