"""What is known of a batch before there is one."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from ragmask.arrays.coerce import check_numbers
from ragmask.batches.padded import Padded
from ragmask.batches.ragged import Ragged
from ragmask.errors import InvalidInputError, UnsupportedTypeError

Shape = tuple[int | None, ...]
_CLASSES = {"ragged": "Ragged", "padded": "Padded", "dense": "ndarray"}


@dataclass(frozen=True, slots=True)
class Spec:
    """A batch's kind, shape and dtype, and whether it is masked.

    shape : with None for rows, and for the time of a Ragged.
    """

    shape: Shape
    dtype: np.dtype[Any]
    kind: Literal["ragged", "padded", "dense"] = "dense"
    is_masked: bool = False

    @property
    def has_time(self) -> bool:
        """Whether the second axis is surely time: of an array (rows, n) it may be features."""
        return self.kind != "dense" or len(self.shape) > 2

    @property
    def item_shape(self) -> Any:
        """Of a step, where the second axis is time."""
        return self.shape[2:]

    @property
    def input_shape(self) -> Shape:
        """With None for rows and time, as a layer's `build` gets it."""
        return (None, None, *self.item_shape) if self.has_time else self.shape

    @property
    def numbers(self) -> int:
        """How many numbers a row has, of one step where that is not known."""
        return math.prod(1 if size is None else size for size in self.shape[1:])

    @property
    def class_name(self) -> str:
        return _CLASSES[self.kind]

    def of(self, shape: Shape, dtype: Any = None) -> "Spec":
        """Such a batch of another shape and dtype."""
        return replace(self, shape=shape, dtype=self.dtype if dtype is None else np.dtype(dtype))

    def of_items(self, *item_shape: int, dtype: Any = None) -> "Spec":
        """Such a batch of steps of another shape."""
        return self.of((*self.shape[:2], *item_shape), dtype)

    def masked(self, is_masked: bool = True) -> "Spec":
        """The same with a mask or without; a dense array with one becomes Padded."""
        kind = "padded" if is_masked and self.kind == "dense" else self.kind
        return replace(self, kind=kind, is_masked=is_masked)

    def with_mask(self, mask: Any) -> "Spec":
        """The same with this mask, or what is known of one, in the place of its own."""
        if isinstance(mask, Spec):
            self._check_mask(mask)
        return self.masked(mask is not None)

    def _check_mask(self, mask: "Spec") -> None:
        if mask.dtype != np.bool_:
            raise UnsupportedTypeError(
                f"mask must be bool, True = keep; got {mask.dtype}: pass mask.astype(bool)"
            )
        if mask.kind == "ragged" and self.kind != "ragged":
            raise InvalidInputError(
                f"the mask is a Ragged, and the batch an array of shape {shown_shape(self.shape)}"
            )
        is_flat = self.kind == "ragged" and mask.shape == (None,)
        if mask.shape != self.shape[:2] and not is_flat:
            raise InvalidInputError(
                f"mask has shape {shown_shape(mask.shape)}; its values need "
                f"{shown_shape(self.shape[:2])}"
            )

    def example(self, steps: int) -> Any:
        """A made-up row, on which a layer can be tried."""
        size = [steps if size is None else size for size in self.shape[1:]]
        values = np.zeros((1, *size), self.dtype)
        if self.kind == "dense":
            return values
        mask = np.ones(values.shape[:2], np.bool_) if self.is_masked else None
        if self.kind == "padded":
            return Padded(values, mask)
        return Ragged.from_offsets(values[0], [0, steps], None if mask is None else mask[0])


def is_shape(given: Any) -> bool:
    """Whether it is one shape, and not a structure of several."""
    return isinstance(given, list | tuple) and all(
        one is None or (hasattr(one, "__index__") and not isinstance(one, bool)) for one in given
    )


def shown_shape(shape: Any) -> str:
    return str(shape).replace("None", "·")


def total(sizes: Iterable[int | None]) -> int | None:
    """Their sum, where all are known."""
    known = list(sizes)
    return None if None in known else sum(size or 0 for size in known)


def common_dtype(dtypes: Iterable[Any]) -> np.dtype[Any]:
    """The dtype of several that meet: as in Keras, integers beside floats become such floats."""
    given = [np.dtype(dtype) for dtype in dtypes]
    for dtype in given:
        check_numbers(dtype, "one of its inputs")
    try:
        return np.result_type(*([dtype for dtype in given if dtype.kind in "fc"] or given))
    except TypeError as error:
        told = " and ".join(map(str, given))
        raise UnsupportedTypeError(f"its inputs do not go together: they are {told}") from error


# -- what ops and layers take -------------------------------------------------------------


def check_one(spec: Any) -> None:
    """Raise for several batches."""
    if not isinstance(spec, Spec):
        raise UnsupportedTypeError(f"it takes one batch; got a {type(spec).__name__}")


def check_steps(spec: Spec, what: str = "x") -> None:
    """Raise for what has no steps."""
    check_one(spec)
    if len(spec.shape) < 2:
        raise InvalidInputError(
            f"{what} must be a Ragged, a Padded or an array (rows, width, …); "
            f"got an array of shape {shown_shape(spec.shape)}"
        )


def check_floats(spec: Spec) -> None:
    """Raise for numbers that kernels do not compute in."""
    if spec.dtype.kind != "f" or spec.dtype.itemsize > 8:
        raise UnsupportedTypeError(
            f"x must be float16, float32 or float64; got {spec.dtype}: convert it first, "
            "with with_values(values.astype('float32'))"
        )


def features_of(layer: str, shape: Any) -> int:
    """The size of a step's vector, in the shape that a layer is built for."""
    if not isinstance(shape, tuple) or len(shape) < 2 or shape[-1] is None:
        raise InvalidInputError(
            f"layer {layer!r} takes steps of features, (rows, time, features), or "
            f"(rows, features); got shape {shown_shape(shape)}"
        )
    return int(shape[-1])
