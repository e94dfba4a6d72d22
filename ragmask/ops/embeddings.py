"""Vectors for ids."""

import math
from typing import Any

import numpy as np

from ragmask.arrays.coerce import as_words, same_device, values_array
from ragmask.arrays.protocol import AnyArray
from ragmask.batches.padded import Padded
from ragmask.batches.ragged import Ragged
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.kernels.registry import EMBEDDING
from ragmask.ops.input import Input
from ragmask.rows.rows import Rows, add_steps


def embedding(
    ids: Ragged | Padded | Any,
    table: Any,
    *,
    mask_zero: bool = False,
    mask: Any = None,
    out: Any = None,
) -> Any:
    """Look up a row of `table` for each id.

    >>> import numpy as np
    >>> import ragmask as rm
    >>> table = np.arange(10.0).reshape(5, 2)
    >>> rm.embedding(rm.Ragged.from_rows([[1, 0], [4]]), table, mask_zero=True)
    Ragged(2 rows, 3 steps, 2 float64, lengths 1–2, masked)
      [[2. 3.] ·]
      [[8. 9.]]

    Parameters
    ----------
    ids : Ragged, Padded, array (rows, width) or Arrow's lists, of integers of any type.
    table : (vocabulary, *item), any dtype of numbers.
    mask_zero : mask the steps of id 0, and-ed with the mask the ids have. Row 0 of the table is
        still what is looked up there, as in Keras.
    mask : takes the place of the ids' own: a Ragged of bools with their lengths, or bools
        (n_steps,); (rows, width) for Padded and arrays. True = keep.
    out : an array to write to: (n_steps, *item), or (rows, width, *item) for Padded and arrays.

    Returns steps of shape item, in the ids' own kind; an array becomes Padded with `mask_zero`.
    A masked step holds zeros, and its id is not looked at. Raises InvalidInputError, naming row,
    step, id and vocabulary, for any other id outside the table, before anything is read.
    """
    table = values_array(table, "table")
    given = Input.of(ids, mask, what="ids")
    same_device(ids=given.rows.values, table=table)
    rows = checked_ids(given.rows, len(table))
    arrays, numbers = rows.arrays, rows.values

    item_shape = table.shape[1:]
    output = given.output(item_shape, table.dtype, out, table)
    item_bytes = math.prod(item_shape) * table.itemsize
    if item_bytes and rows.n_steps:
        table_words, out_words = as_words(item_bytes, table, output)
        rows.layout.run(
            EMBEDDING,
            item_bytes,
            numbers,
            rows.starts,
            rows.lengths,
            rows.mask,
            table_words,
            item_bytes // out_words.itemsize,
            rows.starts,
            out_words,
        )
    kept = arrays.kept_nonzero(rows.mask, numbers) if mask_zero else rows.mask
    return given.give(output, kept)


def checked_ids(rows: Rows, vocabulary: int) -> Rows:
    """Rows end to end, of ids as int64: inside the table where they are not masked."""
    rows = rows.compact()
    if rows.item_shape or (rows.dtype.kind not in "iu" and rows.n_steps):
        raise UnsupportedTypeError(
            f"ids must be integers, one a step; got {rows.dtype} of shape {rows.item_shape}"
        )
    arrays = rows.arrays
    numbers: AnyArray = arrays.frozen(arrays.as_dtype(rows.values, np.int64))
    index = arrays.first_outside(numbers, rows.mask, 0, vocabulary)
    if index >= 0:
        row, step = rows.layout.row_and_step(index)
        number = arrays.number_at(rows.values, index)
        raise InvalidInputError(
            f"row {row}, step {step}: id {number} is outside the table, "
            f"whose vocabulary has {vocabulary} rows"
        )
    return rows.over(numbers)


def embedding_gradient(ids: Rows, vocabulary: int, gradient: AnyArray) -> AnyArray:
    """The table's gradient, (vocabulary, *item): of each id, the sum of its kept steps' in order.

    ids are compact, from `checked_ids`, with the mask of the op's output; gradient (n_steps, *item)
    of floats. What arrives at a masked step is ignored.
    """
    return add_steps(ids.arrays, gradient, ids.values, ids.mask, vocabulary)
