"""Padded: a dense batch and its mask."""

from typing import Any

import numpy as np

from ragmask.arrays.coerce import arrays_of, check_mask, same_device
from ragmask.arrays.protocol import AnyArray, Array, Arrays, Bools
from ragmask.batches.elementwise import Elementwise
from ragmask.batches.picture import Drawing, Piece, Row, whole
from ragmask.batches.show import count, item_name, with_rows
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.rows.padding import dense_array, dense_rows
from ragmask.rows.rows import Rows


class Padded(Elementwise):
    """A dense batch: values (rows, width, *item), and the mask of the steps that count.

    >>> import numpy as np
    >>> import ragmask as rm
    >>> rm.Padded(np.array([[1, 2], [3, 0]]), np.array([[True, True], [True, False]]))
    Padded(2 rows of 2 steps, int64, 3 kept)
      [1 2]
      [3 ·]

    Parameters
    ----------
    values : (rows, width, *item), any dtype of numbers, bools, times or durations. Taken
        without a copy where each row is contiguous.
    mask : bool (rows, width), True = keep; or None where every step counts.

    numpy's ufuncs, operators and comparisons work on each step and keep the mask. Raises
    InvalidInputError for shapes that disagree, UnsupportedTypeError for other dtypes.
    """

    __slots__ = ("_mask", "_values")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, values: Any, mask: Any = None) -> None:
        self._values = dense_array(values)
        self._mask = None if mask is None else check_mask(mask, self._values.shape[:2])
        same_device(values=self._values, mask=self._mask)

    @classmethod
    def _of(cls, values: AnyArray, mask: AnyArray | None) -> "Padded":
        """Of arrays that are known to fit each other."""
        padded = cls.__new__(cls)
        padded._values, padded._mask = values, mask
        return padded

    @property
    def values(self) -> Array:
        """(rows, width, *item). On a device, an array of the library its memory came from."""
        return self._arrays.given_out(self._values)

    @property
    def mask(self) -> Bools | None:
        """bool (rows, width), True = keep; None where every step counts."""
        return None if self._mask is None else self._arrays.given_out(self._mask)

    @property
    def device(self) -> str:
        """Where it lives: "cpu", or "cuda:0"."""
        return self._arrays.place

    def to_host(self) -> "Padded":
        """A copy in the host's memory; itself where it is there."""
        arrays = self._arrays
        if arrays.is_host:
            return self
        mask = None if self._mask is None else arrays.to_host(self._mask)
        return Padded._of(arrays.to_host(self._values), mask)

    @property
    def _arrays(self) -> Arrays:
        return arrays_of(self._values)

    @property
    def _rows(self) -> Rows:
        """Its rows at full width, as a view."""
        return dense_rows(self._values, self._mask)

    @property
    def shape(self) -> tuple[int, ...]:
        return self._values.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._values.dtype

    @property
    def item_shape(self) -> tuple[int, ...]:
        """The shape of one step: () for numbers, (features,) for vectors."""
        return self._values.shape[2:]

    def __len__(self) -> int:
        return len(self._values)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        raise UnsupportedTypeError("a Padded has values and a mask: take .values, and mind .mask")

    def _dense(self) -> tuple[Array, Bools | None]:
        self._arrays.host_only(
            "numpy does not reach {place}: compute with the library whose array .values is"
        )
        return self._values, self._mask

    def _like(self, values: Array, mask: Bools | None) -> "Padded":
        return Padded._of(values, mask)

    def _check_same_rows(self, other: "Padded", what: str) -> None:
        if self.shape[:2] != other.shape[:2]:
            raise InvalidInputError(
                f"{what} differ in rows and width: {self.shape[:2]} and {other.shape[:2]}"
            )

    def __repr__(self) -> str:
        head = f"Padded({', '.join(self._told())})"
        return with_rows(head, len(self), self._row_parts) if self._arrays.is_host else head

    def _repr_html_(self) -> str:
        return whole(self._drawing())

    def _told(self) -> list[str]:
        """What the first line says of it."""
        rows, width = self.shape[:2]
        told = [f"{count(rows, 'row')} of {count(width, 'step')}"]
        told.append(item_name(self.item_shape, self.dtype))
        if not self._arrays.is_host:
            return [*told, f"on {self.device}"]
        kept = rows * width if self._mask is None else int(self._mask.sum())
        return [*told, f"{kept} kept"]

    def _drawing(self) -> Drawing:
        def row(number: int) -> Row:
            return Row([Piece(*self._row_parts(number))])

        is_host = self._arrays.is_host
        return Drawing("Padded", self._told(), len(self), row if is_host else None, is_padded=True)

    def _row_parts(self, row: int) -> tuple[Array, Bools | None]:
        """A row's values, and their mask."""
        return self._values[row], None if self._mask is None else self._mask[row]
