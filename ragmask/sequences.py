"""Keras's `pad_sequences`, for lists of sequences that are no batch yet."""

from itertools import chain
from typing import Any

import numpy as np

from ragmask.devices import Array, Ints, check_size, read_only
from ragmask.errors import InvalidInputError
from ragmask.layout import offsets_of
from ragmask.padding import pad_rows


def pad_sequences(
    sequences: Any,
    maxlen: int | None = None,
    dtype: Any = "int32",
    padding: str = "pre",
    truncating: str = "pre",
    value: Any = 0.0,
) -> Array:
    """Keras's `pad_sequences`: the same defaults, results and errors.

    >>> import ragmask as rm
    >>> rm.pad_sequences([[1], [2, 3], [4, 5, 6]])
    array([[0, 0, 1],
           [0, 2, 3],
           [4, 5, 6]], dtype=int32)

    Parameters
    ----------
    sequences : a sized collection of lists or arrays; items of one shape.
    maxlen : the width; by default the longest sequence's length.
    dtype : of the result. Floats are cut to integers without a word, as in Keras. `object`
        and strings work too, through numpy.
    padding, truncating : "pre" or "post", the end that is padded or cut off.
    value : what fills the padding.

    Returns an array (rows, width, *item). Raises ValueError where Keras does. For masks, for
    views, and for batches that are Arrow already, use `Ragged.to_padded`.
    """
    if not hasattr(sequences, "__len__"):
        raise InvalidInputError("`sequences` must be iterable.")
    if not isinstance(sequences, list | tuple | np.ndarray):
        sequences = list(sequences)  # what is read twice must be the same twice
    lengths, item_shape = _sizes(sequences)
    width = np.max(lengths) if maxlen is None else maxlen
    is_text = np.issubdtype(dtype, np.str_) or np.issubdtype(dtype, np.bytes_)
    if isinstance(value, str) and dtype is not object and not is_text:
        raise InvalidInputError(
            f"`dtype` {dtype} is not compatible with `value`'s type: {type(value)}\n"
            "You should set `dtype=object` for variable length strings."
        )
    if any(lengths):
        if truncating not in ("pre", "post"):
            raise InvalidInputError(f'Truncating type "{truncating}" not understood')
        if padding not in ("pre", "post"):
            raise InvalidInputError(f'Padding type "{padding}" not understood')

    rows = [
        s if len(s) <= width else s[-width:] if truncating == "pre" else s[:width]
        for s in sequences
    ]
    shape = (len(sequences), width, *item_shape)
    if isinstance(width, int):
        check_size(shape, np.dtype(dtype).itemsize)
    kept = np.minimum(np.array(lengths, np.int64), width)
    steps = _end_to_end(rows, kept, item_shape, dtype) if np.ndim(value) == 0 else None
    if steps is None or maxlen == 0:
        return _pad_one_by_one(rows, lengths, np.full(shape, value, dtype), padding)
    out = np.empty(shape, dtype)
    pattern = np.full(item_shape, value, dtype)
    starts = offsets_of(kept)[:-1]
    pad_rows(
        read_only(steps),
        read_only(starts),
        read_only(kept),
        None,
        pattern,
        padding == "pre",
        out,
        None,
    )
    return out


def _sizes(sequences: Any) -> tuple[list[int], tuple[int, ...]]:
    """The length of each sequence, and the shape of a step of the first that has any."""
    lengths: list[int] = []
    item_shape: tuple[int, ...] | None = None
    for sequence in sequences:
        try:
            lengths.append(len(sequence))
            if item_shape is None and lengths[-1]:
                item_shape = np.asarray(sequence).shape[1:]
        except TypeError as error:
            raise InvalidInputError(
                f"`sequences` must be a list of iterables. Found non-iterable: {sequence}"
            ) from error
    return lengths, item_shape or ()


def _end_to_end(
    rows: list[Any], kept: Ints, item_shape: tuple[int, ...], dtype: Any
) -> Array | None:
    """All steps in one array, or None where only row by row gives what Keras gives."""
    if np.dtype(dtype).kind not in "biufc":
        return None
    rows = [row for row in rows if len(row)]
    try:
        if not rows:
            return np.empty((0, *item_shape), dtype)
        if all(type(row) is np.ndarray and row.dtype.kind in "biufc" for row in rows):
            steps = np.concatenate(rows, dtype=dtype, casting="unsafe")
        elif all(type(row) is list or type(row) is tuple for row in rows):
            steps = np.array(list(chain.from_iterable(rows)), dtype)
        else:
            return None
    except (TypeError, ValueError, OverflowError):
        return None
    # not the rows' own lengths: a list may have changed since it was measured
    return steps if steps.shape == (int(kept.sum()), *item_shape) else None


def _pad_one_by_one(rows: list[Any], lengths: list[int], out: Array, padding: str) -> Array:
    """Strings, objects and mixed rows; and each of Keras's errors, from where Keras has it."""
    item_shape = out.shape[2:]
    for position, row in enumerate(rows):
        if lengths[position] == 0:  # before it was cut: Keras looks at a row that maxlen=0 empties
            continue
        steps = np.asarray(row, dtype=out.dtype)
        if steps.shape[1:] != item_shape:
            raise InvalidInputError(
                f"Shape of sample {steps.shape[1:]} of sequence at position {position} "
                f"is different from expected shape {item_shape}"
            )
        if padding == "post":
            out[position, : len(steps)] = steps
        else:
            out[position, out.shape[1] - len(steps) :] = steps
    return out
