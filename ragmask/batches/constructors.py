"""What a Ragged is made from."""

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from ragmask import arrow
from ragmask.arrays.coerce import (
    arrays_of,
    index_array,
    mask_array,
    number_dtype,
    same_device,
    to_numpy,
    values_array,
)
from ragmask.arrays.host import HOST, read_only
from ragmask.arrays.memory import joined
from ragmask.arrays.protocol import Array
from ragmask.batches.arrow_cuda import read_rows_on_device
from ragmask.batches.padded import Padded
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.rows import padding
from ragmask.rows.layout import Layout
from ragmask.rows.rows import Rows


class Constructors:
    """The class methods that make a Ragged."""

    __slots__ = ("_rows",)

    _rows: Rows
    # (outer rows, inner rows) as a NestedRagged. nested.py sets it, which builds on Ragged.
    _nested: ClassVar[Callable[[Rows, Rows], Any]]

    @classmethod
    def _of(cls, rows: Rows) -> Self:
        """Over rows that are known to lie inside their values."""
        made = cls.__new__(cls)
        made._rows = rows
        return made

    @classmethod
    def from_offsets(cls, values: Any, offsets: Any, mask: Any = None) -> Self:
        """Rows between neighbouring offsets, the layout of Arrow's lists.

        >>> import ragmask as rm
        >>> rm.Ragged.from_offsets([1, 2, 3], [0, 2, 2, 3]).lengths
        array([2, 0, 1])

        values (n, *item); offsets integers (rows + 1,), never decreasing, within 0 to n;
        mask bool (n,) or None. Raises InvalidInputError, naming the row, otherwise.
        """
        values, offsets = values_array(values), index_array(offsets, "offsets")
        mask = None if mask is None else mask_array(mask, values.shape[:1])
        same_device(values=values, offsets=offsets, mask=mask)
        layout = Layout.between(arrays_of(values), len(values), offsets)
        return cls._of(Rows(values, layout, mask))

    @classmethod
    def from_rows(cls, rows: Iterable[Any], dtype: npt.DTypeLike | None = None) -> Self:
        """Rows given one by one: lists of numbers, of lists, or arrays. One copy.

        >>> import ragmask as rm
        >>> rm.Ragged.from_rows([[1, 2, 3], [], [4.5]])
        Ragged(3 rows, 4 steps, float64, lengths 0–3)
          [1.0 2.0 3.0]
          []
          [4.5]

        dtype is by default what numpy makes of all rows that are not empty. Raises
        InvalidInputError, naming the row, where steps differ in shape or do not fit `dtype`.
        Rows of rows of unequal lengths are for `NestedRagged.from_rows`.
        """
        return cls._of(rows_of(rows, dtype))

    @classmethod
    def from_arrow(cls, array: Any, nulls: arrow.Nulls = "empty", items: Any = None) -> Self:
        """Rows of an Arrow list array, or of anything with the Arrow PyCapsule interface.

        >>> import pyarrow as pa
        >>> import ragmask as rm
        >>> rm.Ragged.from_arrow(pa.array([[1, None, 3], None, [4]]))
        Ragged(3 rows, 4 steps, int64, lengths 0–3, masked)
          [1 · 3]
          []
          [4]

        Lists, large lists, list views, fixed-size lists and fixed-shape tensors, chunked or
        sliced. One chunk of numbers, timestamps or durations without null items is not copied;
        bools, dates, dictionaries and null items cost one copy. A null item keeps its place
        with mask False and value 0. An array on a CUDA device (`__arrow_c_device_array__`, as
        cuDF's) stays there: its numbers keep their memory, and what lies under a null.
        Lists of lists become a NestedRagged, rows of rows.

        nulls : "empty" reads a null list as an empty row, "error" raises and names it.
        items : of lists of lists of one size, that size, or "vectors" to find it: the inner lists
            become steps of so many features.

        The rows remember their type and which lists were null: `to_arrow()` gives them back.

        Raises UnsupportedTypeError for other types, with what to do; InvalidInputError for
        offsets that leave the values.
        """
        rows = read_rows_on_device(array, nulls)
        if rows is None:
            array = arrow.arrow_array(array)
            if items is None and arrow.is_nested(arrow.workable(array.type)):
                nested: Self = cls._nested(*arrow.read_nested(array, nulls))
                return nested
            rows = arrow.read_rows(array, nulls, items)
        return cls._of(rows)

    @classmethod
    def from_padded(
        cls, values: Any, mask: Any = None, *, lengths: Any = None, value: Any = None
    ) -> Self:
        """The rows of a dense array without their padding, as views of it.

        >>> import numpy as np
        >>> import ragmask as rm
        >>> rm.Ragged.from_padded(np.array([[1, 2, 0], [0, 0, 0]]), value=0)
        Ragged(2 rows, 2 steps, int64, lengths 0–2)
          [1 2]
          []

        What is padding is said by one of `mask` (bool (rows, width), True = keep), `lengths`
        (integers (rows,), padding comes after) or `value` (steps all of whose features equal
        it). By none of them, rows are kept whole. Padding lies at the ends of a row: steps
        between that are masked stay in place and stay masked, and those that merely equal
        `value` are data. A Padded is taken with its mask.

        Raises InvalidInputError for shapes that disagree.
        """
        if isinstance(values, Padded):
            if mask is not None and values.mask is not None:
                raise InvalidInputError("the Padded has a mask of its own: pass its .values")
            values, mask = values.values, values.mask if mask is None else mask
        return cls._of(padding.from_padded(values, mask, lengths, value))


def _row_name(position: int) -> str:
    return f"row {position}"


def rows_of(
    rows: Iterable[Any], dtype: npt.DTypeLike | None, name: Callable[[int], str] = _row_name
) -> Rows:
    """Rows that are given one by one; `name` says which one an error is about."""
    parts = [_row_array(row, name(position), dtype) for position, row in enumerate(rows)]
    lengths = np.array([len(part) for part in parts], np.int64)
    full = [part for part in parts if len(part)] or parts[:1]
    for position, part in enumerate(parts):
        if len(part) and part.shape[1:] != full[0].shape[1:]:
            are_lists = part.ndim == full[0].ndim == 2
            raise InvalidInputError(
                f"{name(position)} has steps of shape {part.shape[1:]}, "
                f"and the rows before it {full[0].shape[1:]}"
                f"{': NestedRagged.from_rows takes rows of rows' if are_lists else ''}"
            )
    try:
        values = joined(full) if full else np.empty(0, dtype)
    except TypeError as error:
        kinds = ", ".join(sorted({str(part.dtype) for part in full}))
        raise UnsupportedTypeError(f"the rows have no dtype in common: {kinds}") from error
    layout = Layout.of_lengths(HOST, read_only(lengths))
    return Rows(values_array(values), layout)


def _row_array(row: Any, what: str, dtype: npt.DTypeLike | None) -> Array:
    try:
        array = to_numpy(row, what)
    except UnsupportedTypeError as error:
        if isinstance(row, list | tuple) and all(isinstance(one, list | tuple) for one in row):
            raise UnsupportedTypeError(
                f"{what} cannot be read as one array, for it holds lists of unequal lengths: "
                "NestedRagged.from_rows takes rows of rows, and nothing takes more levels"
            ) from error
        raise
    if dtype is not None:
        given = array
        try:
            with np.errstate(invalid="ignore"):
                array = given.astype(number_dtype(dtype), copy=False)
        except (OverflowError, TypeError, ValueError) as error:
            raise InvalidInputError(f"{what} cannot be read as {dtype}: {error}") from error
        if given.dtype.kind == "c" and array.dtype.kind != "c":
            raise InvalidInputError(f"{what} is complex, which {array.dtype} cannot hold")
        if array.dtype.kind in "biu" and given.dtype.kind in "biuf" and (array != given).any():
            raise InvalidInputError(
                f"{what} has values that do not fit {array.dtype}, as {given[array != given][0]}"
            )
    if array.ndim == 0:
        raise InvalidInputError(
            f"{what} is the single value {row!r}: give each row as a list or an array of steps"
        )
    if array.size == 0 and dtype is None and isinstance(row, list | tuple):
        return array
    return values_array(array, what)
