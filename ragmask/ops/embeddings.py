"""Vectors for ids."""

import math
from typing import Any

import numpy as np

from ragmask.devices import Array, Bools, as_words, read_only, values_array, word_of
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.layout import row_and_step
from ragmask.ops.steps import Steps
from ragmask.padded import Padded
from ragmask.ragged import Ragged
from ragmask.threads import run_rows


def embedding(
    ids: Ragged | Padded | Any, table: Any, *, mask_zero: bool = False, out: Any = None
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
    ids : Ragged, Padded or array (rows, width) of integers of any type.
    table : (vocabulary, *item), any dtype of numbers.
    mask_zero : mask the steps of id 0, and-ed with the mask the ids have. Row 0 of the table is
        still what is looked up there, as in Keras.
    out : an array to write to: (n_steps, *item), or (rows, width, *item) for Padded and arrays.

    Returns steps of shape item, in the ids' own kind; an array becomes Padded with `mask_zero`.
    A masked step holds zeros, and its id is not looked at. Raises InvalidInputError, naming row,
    step, id and vocabulary, for any other id outside the table, before anything is read.
    """
    from ragmask.kernels import cpu

    table = values_array(table, "table")
    steps = Steps.of(ids, what="ids")
    rows = steps.rows.compact()
    if rows.item_shape or (rows.dtype.kind not in "iu" and rows.n_steps):
        raise UnsupportedTypeError(
            f"ids must be integers, one a step; got {rows.dtype} of shape {rows.item_shape}"
        )
    numbers = read_only(rows.values.astype(np.int64, copy=False))
    _check_ids(rows, numbers, len(table))

    item_shape = table.shape[1:]
    output = steps.output(item_shape, table.dtype, out, table)
    item_bytes = math.prod(item_shape) * table.itemsize
    if item_bytes and rows.n_steps:
        word = word_of(item_bytes, table, output)
        run_rows(
            cpu.embedding,
            len(rows),
            10.0 + rows.lengths * (5.0 + 0.2 * item_bytes),
            numbers,
            rows.starts,
            rows.lengths,
            rows.mask,
            as_words(table, word),
            item_bytes // word.itemsize,
            rows.starts,
            as_words(output, word),
        )
    mask: Bools | None = rows.mask
    if mask_zero:
        mask = numbers != 0 if mask is None else mask & (numbers != 0)
    return steps.give(output, mask)


def _check_ids(rows: Ragged, numbers: Array, vocabulary: int) -> None:
    if numbers.size == 0 or (numbers.min() >= 0 and numbers.max() < vocabulary):
        return
    bad = (numbers < 0) | (numbers >= vocabulary)
    if rows.mask is not None:
        bad &= rows.mask
    if bad.any():
        at = int(bad.argmax())
        row, step = row_and_step(rows.lengths, at)
        raise InvalidInputError(
            f"row {row}, step {step}: id {rows.values[at]} is outside the table, "
            f"whose vocabulary has {vocabulary} rows"
        )
