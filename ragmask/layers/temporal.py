"""Layers that cut, join, weigh and sum up time."""

from typing import Any

import numpy as np

from ragmask.arrays.protocol import LARGEST
from ragmask.batches.masks import with_mask
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.layers.batch import mask_of, of_one_kind, spec_of, with_masks
from ragmask.layers.layer import Layer
from ragmask.layers.registry import register
from ragmask.layers.spec import Spec, check_floats, check_one, check_steps, shown_shape, total
from ragmask.ops.pool import How, temporal_pool
from ragmask.ops.softmax import temporal_softmax
from ragmask.ops.split import MOST_SECTIONS, temporal_concat, temporal_split
from ragmask.rows.checks import check_count


class _Temporal(Layer):
    """Its op gives the right mask by itself."""

    _masks_itself = True
    supports_masking = True


@register
class TemporalSplit(_Temporal):
    """Cuts time, and the mask with it, into equal spans of the padded width: a list of views.

    >>> import ragmask as rm
    >>> first, second = rm.layers.TemporalSplit()(rm.Ragged.from_rows([[1, 2, 3, 4], [5]]))
    >>> first.to_rows(), second.to_rows()
    ([array([1, 2]), array([5])], [array([3, 4]), array([], dtype=int64)])

    sections : how many spans; width : cut that width, and not the longest row's. See
    `ragmask.temporal_split`.
    """

    def __init__(self, sections: int = 2, width: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.sections = check_count("sections", sections, 1, MOST_SECTIONS)
        self.width = None if width is None else check_count("width", width, most=LARGEST)

    def call(self, inputs: Any) -> Any:
        return list(temporal_split(inputs, self.sections, width=self.width))

    def compute_output(self, inputs: Spec) -> list[Spec]:
        check_steps(inputs)
        known = inputs.shape[1]
        width = known if self.width is None else self.width
        if known not in (None, width):
            raise InvalidInputError(
                f"width {width} is not the array's width, {known}: pad to it first"
            )
        if width is not None and width % self.sections:
            multiple = -(-width // self.sections) * self.sections
            what = "the array's width" if self.width is None else "width"
            raise InvalidInputError(
                f"{width} steps ({what}) cannot be cut into {self.sections} equal sections: "
                f"pass width={multiple}, or pad to it"
            )
        span = None if known is None else known // self.sections
        return [inputs.of((None, span, *inputs.item_shape))] * self.sections

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        if mask is None:
            return None
        return mask_of(temporal_split(with_mask(inputs, mask), self.sections, width=self.width))


@register
class TemporalConcat(_Temporal):
    """Joins batches in time, row by row, and their masks.

    >>> import ragmask as rm
    >>> rm.layers.TemporalConcat()([rm.Ragged.from_rows([[1]]), rm.Ragged.from_rows([[2]])])
    Ragged(1 row, 2 steps, int64, lengths 2–2)
      [1 2]
    """

    def call(self, inputs: Any) -> Any:
        return temporal_concat(of_one_kind(inputs) if isinstance(inputs, list | tuple) else inputs)

    def compute_output(self, inputs: Any) -> Spec:
        return joined_in_time(inputs)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        if mask is None:
            return None
        return mask_of(temporal_concat(of_one_kind(with_masks(inputs, mask))))


@register
class TemporalSoftmax(_Temporal):
    """Softmax over the kept steps of each row, for each feature; masked steps get 0.

    >>> import ragmask as rm
    >>> rm.layers.TemporalSoftmax()(rm.Ragged.from_rows([[1.0, 1.0], [2.0]])).to_rows()
    [array([0.5, 0.5]), array([1.])]
    """

    def call(self, inputs: Any, mask: Any = None) -> Any:
        return temporal_softmax(inputs)

    def compute_output(self, inputs: Spec) -> Spec:
        check_steps(inputs)
        check_floats(inputs)
        return inputs


@register
class TemporalPool(_Temporal):
    """The "mean", "sum", "max", "std" and so on of each row's kept steps: (rows, features).

    >>> import ragmask as rm
    >>> rm.layers.TemporalPool("max")(rm.Ragged.from_rows([[1.0, 3.0], [2.0]]))
    array([3., 2.])

    how : one of `ragmask.temporal_pool`'s words. "count" gives (rows,).
    keepdims : give (rows, 1, features), as one step.
    """

    def __init__(self, how: How = "mean", keepdims: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.how, self.keepdims = how, bool(keepdims)

    def call(self, inputs: Any, mask: Any = None) -> Any:
        pooled = temporal_pool(inputs, self.how)
        if not self.keepdims:
            return pooled
        rows, *item_shape = pooled.shape
        return pooled.reshape((rows, 1, *item_shape))

    def compute_output(self, inputs: Spec) -> Spec:
        check_steps(inputs)
        pooled = temporal_pool(np.empty((0, 0), inputs.dtype), self.how)
        time = (1,) if self.keepdims else ()
        item_shape = () if self.how == "count" else inputs.item_shape
        return Spec((None, *time, *item_shape), pooled.dtype)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return None


@register
class RepeatVector(Layer):
    """Each row of an array (rows, features) as a sequence of n equal steps.

    >>> import numpy as np
    >>> import ragmask as rm
    >>> rm.layers.RepeatVector(3)(np.ones((2, 4))).shape
    (2, 3, 4)
    """

    def __init__(self, n: int, **options: Any) -> None:
        super().__init__(**options)
        self.n = check_count("n", n, 1)

    def call(self, inputs: Any) -> Any:
        self._check_vectors(spec_of(inputs))
        return np.repeat(inputs[:, None], self.n, axis=1)

    def compute_output(self, inputs: Spec) -> Spec:
        self._check_vectors(inputs)
        rows, features = inputs.shape
        return inputs.of((rows, self.n, features))

    def _check_vectors(self, inputs: Any) -> None:
        check_one(inputs)
        if inputs.kind != "dense" or len(inputs.shape) != 2:
            raise InvalidInputError(
                f"layer {self.name!r} repeats vectors, an array (rows, features); got "
                f"{inputs.class_name} of shape {shown_shape(inputs.shape)}"
            )


def joined_in_time(parts: Any) -> Spec:
    """What is known of batches that lie one behind the other, as `temporal_concat` gives them."""
    if isinstance(parts, Spec):
        raise UnsupportedTypeError(
            f"temporal_concat takes a list of parts; got one {parts.class_name}"
        )
    if not parts:
        raise InvalidInputError("temporal_concat needs at least one part")
    for number, part in enumerate(parts):
        check_steps(part, f"part {number}")
    parts = of_one_kind(parts)
    first: Spec = parts[0]
    for number, part in enumerate(parts):
        if part.item_shape != first.item_shape:
            raise InvalidInputError(
                f"part {number} has steps of shape {part.item_shape}, "
                f"and part 0 of {first.item_shape}"
            )
    width = total(part.shape[1] for part in parts)
    dtype = np.result_type(*(part.dtype for part in parts))
    joined = first.of((None, width, *first.item_shape), dtype)
    return joined.masked(any(part.is_masked for part in parts))
