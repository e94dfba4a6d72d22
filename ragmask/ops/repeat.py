"""One value a row, over its steps."""

import math
from typing import Any

from ragmask import arrow
from ragmask.arrays.coerce import as_words, same_device, to_array, values_array
from ragmask.arrays.host import HOST
from ragmask.arrays.protocol import AnyArray
from ragmask.batches.nested import NestedRagged
from ragmask.batches.padded import Padded
from ragmask.batches.ragged import Ragged
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.kernels.registry import REPEAT
from ragmask.ops.input import Input, arrow_rows
from ragmask.rows.checks import check_same_lengths
from ragmask.rows.layout import Layout


def temporal_repeat(values: Any, like: Ragged | Padded | Any) -> Any:
    """Each row's value at each of its steps: the way back from what `temporal_pool` gives.

    >>> import ragmask as rm
    >>> x = rm.Ragged.from_rows([[1.0, 3.0], [5.0], []])
    >>> x - rm.temporal_repeat(rm.temporal_pool(x), x)
    Ragged(3 rows, 3 steps, float64, lengths 0–2)
      [-1.0 1.0]
      [0.0]
      []

    Parameters
    ----------
    values : an array (rows, *item) of any dtype, or an array of Arrow's, one item a row. For a
        NestedRagged the Ragged that `temporal_pool` gives of it, one item an inner row.
    like : Ragged, Padded, array (rows, width, *any item) or Arrow's lists, whose rows and mask are
        taken; its numbers are not looked at.

    Returns like's kind, of values' dtype and item. Masked steps are 0. Null lists stay null, and
    the steps of a null value are masked: null in Arrow's lists. Raises InvalidInputError where
    there is not one value a row.
    """
    given = Input.of(like, what="like")
    if isinstance(like, NestedRagged) and isinstance(values, Ragged):
        check_same_lengths(HOST, values._rows.lengths, like.lengths, "values and like")
        values = values._rows.compact().values
    numbers, valid = _one_a_row(values, len(given.rows))
    arrays, layout = given.arrays, given.rows.layout.end_to_end
    same_device(values=numbers, like=given.rows.values)
    mask = given.rows.compact_mask()
    if valid is not None:
        mask = arrays.frozen(repeated(valid, layout, mask))
    return given.give(repeated(numbers, layout, mask), mask)


def _one_a_row(values: Any, rows: int) -> tuple[AnyArray, AnyArray | None]:
    """(rows, *item), and which of them are there, or None if all are."""
    if isinstance(values, Ragged | Padded):
        raise UnsupportedTypeError(
            f"values are an array, one a row; got a {type(values).__name__}: temporal_pool makes "
            "one value of each of its rows"
        )
    valid = None
    if arrow.is_arrow(values):
        all_of_them = arrow_rows(arrow.as_one_list(values), "values").compact()
        values, valid = all_of_them.values, all_of_them.mask
    if to_array(values, "values").ndim == 0:
        raise InvalidInputError(f"values must be one a row, (rows, *item); got {values!r}")
    numbers = values_array(values)
    if len(numbers) != rows:
        raise InvalidInputError(
            f"there must be one value for each of {rows} rows; got {len(numbers)}, of shape "
            f"{numbers.shape}"
        )
    return numbers, valid


def repeated(values: AnyArray, layout: Layout, mask: AnyArray | None) -> AnyArray:
    """(n_steps, *item): each row's value at its kept steps, and 0 at those that are masked.

    layout is of rows end to end, and mask bool (n_steps,), or None, runs along them.
    """
    arrays, item_shape = layout.arrays, values.shape[1:]
    out = arrays.empty((layout.n_steps, *item_shape), values.dtype)
    item_bytes = math.prod(item_shape) * values.dtype.itemsize
    if out.size:
        words, out_words = as_words(item_bytes, values, out)
        n_words = item_bytes // words.itemsize
        place = layout.starts, layout.lengths, mask
        layout.run(REPEAT, item_bytes, words, *place, n_words, out_words)
    return out
