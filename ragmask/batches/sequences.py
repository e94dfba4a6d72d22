"""Keras's `pad_sequences`, for lists of sequences that are no batch yet."""

from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa

from ragmask.arrays.host import HOST, offsets_of, read_only
from ragmask.arrays.memory import joined
from ragmask.arrays.protocol import Array, Ints, check_size
from ragmask.arrow import arrow_array, kind_of, read_rows
from ragmask.errors import InvalidInputError
from ragmask.rows.layout import Layout
from ragmask.rows.padding import pad_rows
from ragmask.rows.rows import Rows


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
    sequences : a sized collection of lists or arrays; items of one shape. Arrow list arrays, and
        what offers the Arrow stream interface (Series of polars), are padded without a list being
        made of them: a null list is an empty row.
    maxlen : the width; by default the longest sequence's length.
    dtype : of the result. Floats are cut to integers without a word, as in Keras. `object`
        and strings work too, through numpy.
    padding, truncating : "pre" or "post", the end that is padded or cut off.
    value : what fills the padding.

    Returns an array (rows, width, *item). Raises ValueError where Keras does, and for a null
    among the numbers of an Arrow row. For masks and for views, use `Ragged.to_padded`.
    """
    lists = _as_arrow(sequences)
    if lists is not None:
        padded = _pad_arrow(lists, maxlen, dtype, padding, truncating, value)
        if padded is not None:
            return padded
        sequences = [[] if row is None else row for row in lists.to_pylist()]
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
    return _pad(steps, offsets_of(kept)[:-1], kept, width, value, padding)


def _pad(steps: Array, starts: Ints, lengths: Ints, width: Any, value: Any, padding: str) -> Array:
    """Rows that are no longer than `width`, by the kernel."""
    item_shape = steps.shape[1:]
    out = HOST.empty((len(lengths), width, *item_shape), steps.dtype)
    rows = Rows(read_only(steps), Layout(HOST, read_only(starts), read_only(lengths)))
    pad_rows(rows, np.full(item_shape, value, steps.dtype), padding == "pre", out, None)
    return out


def _as_arrow(sequences: Any) -> Any:
    """The Arrow array that is given, or that a Series offers; None for anything else."""
    if isinstance(sequences, pa.Array | pa.ChunkedArray):
        return sequences
    if not hasattr(sequences, "__arrow_c_stream__"):
        return None
    try:
        offered = pa.chunked_array(sequences)
    except (pa.ArrowException, TypeError):  # pandas offers what Arrow may have no type for
        return None
    return None if pa.types.is_struct(offered.type) else offered  # of a table


def _pad_arrow(
    lists: Any, maxlen: Any, dtype: Any, padding: str, truncating: str, value: Any
) -> Array | None:
    """Numbers, as numbers; None where only Python's lists give what Keras gives, its errors too."""
    target = np.dtype(dtype)
    sides = ("pre", "post")
    if (
        kind_of(lists.type) not in ("ragged", "vector")
        or target.kind not in "biufc"
        or np.ndim(value)
        or isinstance(value, str)
        or padding not in sides
        or truncating not in sides
        or (maxlen is not None and not (isinstance(maxlen, int | np.integer) and maxlen > 0))
    ):
        return None
    rows = read_rows(arrow_array(lists))
    if rows.dtype.kind not in "biuf" or not rows.lengths.any():
        return None
    width = int(rows.layout.longest if maxlen is None else maxlen)
    rows = rows.truncate(width, "pre" if truncating == "pre" else "post").compact()
    if rows.mask is not None and not rows.mask.all():
        row, _ = rows.layout.row_and_step(int(rows.mask.argmin()))
        raise InvalidInputError(
            f"row {row} holds a null, which is no number: fill it, or pad with "
            "Ragged.from_arrow(…).to_padded(), whose mask leaves it out"
        )
    values = rows.values
    if target.kind in "iu" and len(values):
        limits = np.iinfo(target)
        if not (limits.min <= values.min().item() and values.max().item() <= limits.max):
            return None
    steps = HOST.as_dtype(values, target)
    return _pad(steps, rows.starts, rows.lengths, width, value, padding)


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
            steps = joined(rows, dtype)
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
