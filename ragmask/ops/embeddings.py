"""Vectors for ids."""

import math
from typing import Any

import numpy as np

from ragmask import device_rows
from ragmask.device_array import DeviceArray, same_device
from ragmask.devices import Array, as_words, read_only, run, values_array, word_of
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.layout import row_and_step
from ragmask.ops.steps import Steps
from ragmask.padded import Padded
from ragmask.ragged import Ragged


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
    table = values_array(table, "table")
    steps = Steps.of(ids, what="ids")
    same_device(ids=steps.rows._values, table=table)
    rows, numbers = checked_ids(steps, len(table))

    item_shape = table.shape[1:]
    output = steps.output(item_shape, table.dtype, out, table)
    item_bytes = math.prod(item_shape) * table.itemsize
    if item_bytes and rows.n_steps:
        word = word_of(item_bytes, table, output)
        run(
            "embedding",
            rows._lengths,
            (10.0, 5.0 + 0.2 * item_bytes),
            numbers,
            rows._starts,
            rows._lengths,
            rows._mask,
            as_words(table, word),
            item_bytes // word.itemsize,
            rows._starts,
            as_words(output, word),
        )
    return steps.give(output, without_zeros(rows._mask, numbers) if mask_zero else rows._mask)


def checked_ids(steps: Steps, vocabulary: int) -> tuple[Ragged, Array]:
    """Rows end to end, and their ids as int64: inside the table where they are not masked."""
    rows = steps.rows.compact()
    if rows.item_shape or (rows.dtype.kind not in "iu" and rows.n_steps):
        raise UnsupportedTypeError(
            f"ids must be integers, one a step; got {rows.dtype} of shape {rows.item_shape}"
        )
    numbers = read_only(rows._values.astype(np.int64, copy=False))
    _check_ids(rows, numbers, vocabulary)
    return rows, numbers


def without_zeros(mask: Any, numbers: Array) -> Any:
    """The mask, and id 0 masked too."""
    if isinstance(numbers, DeviceArray):
        return device_rows.both(mask, numbers)
    return numbers != 0 if mask is None else mask & (numbers != 0)


def _check_ids(rows: Ragged, numbers: Array, vocabulary: int) -> None:
    if isinstance(numbers, DeviceArray):
        at = device_rows.first_outside(numbers, rows._mask, 0, vocabulary)
        if at >= 0:
            raise _outside(rows, at, device_rows.number_at(numbers, at), vocabulary)
        return
    if numbers.size == 0 or (numbers.min() >= 0 and numbers.max() < vocabulary):
        return
    bad = (numbers < 0) | (numbers >= vocabulary)
    if rows.mask is not None:
        bad &= rows.mask
    if bad.any():
        at = int(bad.argmax())
        raise _outside(rows, at, int(rows.values[at]), vocabulary)


def _outside(rows: Ragged, at: int, number: int, vocabulary: int) -> InvalidInputError:
    row, step = row_and_step(rows._lengths, at)
    return InvalidInputError(
        f"row {row}, step {step}: id {number} is outside the table, "
        f"whose vocabulary has {vocabulary} rows"
    )
