"""Between rows and padded arrays: the one place where rows × width comes to be."""

import math
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from ragmask.arrays.coerce import (
    arrays_of,
    as_words,
    check_mask,
    check_no_overlap,
    check_numbers,
    index_array,
    number_dtype,
    out_array,
    same_device,
    to_array,
    to_numpy,
    values_array,
)
from ragmask.arrays.protocol import AnyArray, Array, Facts, check_size
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.kernels.registry import PACK, PAD
from ragmask.rows.checks import Side, check_count, check_side
from ragmask.rows.layout import Layout
from ragmask.rows.rows import Rows

# which kinds of numbers may pad a batch of times or complex numbers; the others take any real
_FITTING_KINDS = {"c": "biufc", "m": "ium", "M": "iuM"}


def to_padded(
    rows: Rows,
    maxlen: int | None,
    padding: Side,
    truncating: Side,
    value: Any,
    multiple_of: int | None,
    dtype: npt.DTypeLike | None,
    out: tuple[Any, Any] | None,
) -> tuple[AnyArray, AnyArray]:
    """(rows, width, *item) values and (rows, width) mask."""
    check_side("padding", padding)
    check_side("truncating", truncating)
    width = padded_width(rows, maxlen, multiple_of)
    if maxlen is not None:
        rows = rows.truncate(int(maxlen), truncating)

    target = rows.dtype if dtype is None else number_dtype(dtype)
    if target != rows.dtype:
        if not np.can_cast(rows.dtype, target, "safe"):
            raise UnsupportedTypeError(
                f"{rows.dtype} does not fit {target} without loss: convert it "
                f"first, with r.with_values(r.values.astype({target.name!r}))"
            )
        rows = rows.compact()
        rows = rows.over(rows.arrays.as_dtype(rows.values, target))

    item = item_of(value, rows.dtype, rows.item_shape)
    out_values, out_mask = _output((len(rows), width, *rows.item_shape), rows, out)
    pad_rows(rows, item, padding == "pre", out_values, out_mask)
    return out_values, out_mask


def padded_width(rows: Rows, maxlen: int | None, multiple_of: int | None) -> int:
    """How many steps wide a padded array of the rows is."""
    width = rows.layout.longest if maxlen is None else check_count("maxlen", maxlen)
    multiple = 1 if multiple_of is None else check_count("multiple_of", multiple_of, 1)
    return -(-width // multiple) * multiple


def pad_rows(
    rows: Rows, item: Array, pre: bool, out_values: AnyArray, out_mask: AnyArray | None
) -> None:
    """Run the kernel on words: items of any dtype and shape are moved by their size in bytes."""
    arrays, values = rows.arrays, rows.values
    n_rows, width = out_values.shape[:2]
    if item.nbytes == 0:  # steps without features: only the mask has anything to write
        item = np.zeros(1, np.uint8)
        out_values = arrays.empty((n_rows, width), np.uint8)
        values = arrays.empty((len(values),), np.uint8)
    pattern, words, out_words = as_words(item.nbytes, item, arrays.read_only(values), out_values)
    shape = pattern.size, width, pre
    if pattern.size > 1 and (pattern == pattern[0]).all():
        pattern = pattern[:1]
    pattern.setflags(write=False)
    rows.layout.run(
        PAD,
        width * (item.nbytes + 1),
        words,
        rows.starts,
        rows.lengths,
        rows.mask,
        arrays.from_host(pattern),
        shape,
        out_words,
        None if out_mask is None else out_mask.reshape(-1),
    )


def pack_rows(rows: Rows, step_starts: AnyArray, out: AnyArray) -> None:
    """Copy rows, the longest first, step by step: step s of row i to step_starts[s] + i."""
    if out.size == 0:
        return
    item_bytes = out.nbytes // len(out)
    words, out_words = as_words(item_bytes, rows.values, out)
    rows.layout.run(
        PACK,
        item_bytes,
        words,
        rows.starts,
        rows.lengths,
        item_bytes // words.itemsize,
        step_starts,
        out_words,
    )


def from_padded(values: Any, mask: Any, lengths: Any, value: Any) -> Rows:
    """Rows as views of a (rows, width, *item) array, and their interior mask along its steps.

    What is padding is said by `mask`, `lengths` or `value`; by none of them, nothing is.
    """
    said = [
        name
        for name, given in (("mask", mask), ("lengths", lengths), ("value", value))
        if given is not None
    ]
    if len(said) > 1:
        raise InvalidInputError(f"{' and '.join(said)} both say what is padding: pass one of them")
    dense = dense_array(values)
    arrays, (rows, width) = arrays_of(dense), dense.shape[:2]
    if lengths is not None:
        kept = index_array(lengths, "lengths")
        same_device(values=dense, lengths=kept)
        if kept.size != rows:
            raise InvalidInputError(f"{kept.size} lengths were given for {rows} rows")
        row, _ = arrays.first_bad_row(width, arrays.full(0, (rows,), np.int64), kept)
        if row >= 0:
            length = arrays.number_at(kept, row)
            raise InvalidInputError(f"row {row} cannot have {length} steps of {width}")
        return dense_rows(dense, None, kept)
    if value is not None:
        mask = arrays.nonpadding(dense, item_of(value, dense.dtype, dense.shape[2:]))
    if mask is None:
        return dense_rows(dense, None)
    present = check_mask(mask, (rows, width))
    same_device(values=dense, mask=present)
    # of steps that merely equal `value`, those between others are data
    line, starts, kept, interior = arrays.kept_rows(dense, present, want_mask=value is None)
    return Rows(line, Layout(arrays, starts, kept), interior)


def dense_rows(dense: AnyArray, mask: AnyArray | None, lengths: AnyArray | None = None) -> Rows:
    """A dense array's rows as a view: at full width, or their first steps."""
    arrays, (rows, width) = arrays_of(dense), dense.shape[:2]
    line, starts, mask = arrays.line_of(dense, mask)
    facts: Facts = {}
    if lengths is None:
        lengths = arrays.read_only(arrays.full(width, (rows,), np.int64))
        facts = {"n_steps": rows * width, "longest": width if rows else 0}
    return Rows(line, Layout(arrays, starts, lengths, facts), mask)


def dense_array(values: Any) -> AnyArray:
    """(rows, width, *item) numbers, each row contiguous; the rows may be spaced wider."""
    dense = to_array(values, "values", spaced=True)
    if dense.ndim < 2:
        raise InvalidInputError(
            f"padded values have rows and steps, (rows, width, …); got shape {dense.shape}"
        )
    check_numbers(dense.dtype, "values")
    if isinstance(dense, np.ndarray):
        plain = dense.dtype.isnative and dense.flags.aligned
        if len(dense) and not (plain and dense[0].flags.c_contiguous):
            return values_array(dense)
    return dense.view(dense.dtype)  # its owner could change its shape in place


def item_of(value: Any, dtype: np.dtype[Any], item_shape: tuple[int, ...]) -> Array:
    """`value` as one step in the batch's dtype, or an error where it does not fit."""
    if _is_zero(value, dtype):
        return np.zeros(item_shape, dtype)
    given = to_numpy(value, "value")
    if given.dtype.kind in _FITTING_KINDS.get(dtype.kind, "biuf"):
        with np.errstate(all="ignore"):
            item = given.astype(dtype)
        if dtype.kind in "mM":
            fits = given.dtype.kind in "iu" or _is_same_time(given, item)
        elif dtype.kind in "fc":
            fits = bool((np.isfinite(item) | ~np.isfinite(given)).all())
        else:
            fits = bool((item == given).all())
        if fits:
            with suppress(ValueError):  # of another shape
                return np.ascontiguousarray(np.broadcast_to(item, item_shape))
    raise InvalidInputError(
        f"value {value!r} does not fit a batch of {dtype} steps of shape {item_shape}"
    )


def _is_zero(value: Any, dtype: np.dtype[Any]) -> bool:
    """Whether it is what nearly everyone pads with, and fits: a float is no time, and -0.0 no 0."""
    if type(value) is float:
        return value == 0 and math.copysign(1, value) > 0 and dtype.kind not in "mM"
    return type(value) is int and value == 0


def _is_same_time(given: Array, item: Array) -> bool:
    """Whether no finer unit was cut off and nothing overflowed on the way to the batch's unit."""
    if np.datetime_data(given.dtype)[0] == "generic":  # NaT, or a count of the batch's own unit
        return True
    return bool(((item.astype(given.dtype) == given) | np.isnat(given)).all())


def _output(
    shape: tuple[int, ...], rows: Rows, out: tuple[Any, Any] | None
) -> tuple[AnyArray, AnyArray]:
    """Where to write: fresh arrays, the caller's of that shape, or the front of flat buffers."""
    values, mask = rows.values, rows.mask
    if out is None:
        return rows.arrays.empty(shape, values.dtype), rows.arrays.empty(shape[:2], np.bool_)
    check_size(shape, values.itemsize)
    if not isinstance(out, tuple) or len(out) != 2:
        raise UnsupportedTypeError(
            "out must be a Padded or a pair of flat buffers (values, mask); "
            f"got {type(out).__name__}"
        )
    out_values = out_array("values", out[0], shape, values.dtype)
    out_mask = out_array("mask", out[1], shape[:2], np.dtype(np.bool_))
    same_device(rows=values, **{"out's values": out_values, "out's mask": out_mask})
    check_no_overlap(out_values, values, mask, out_mask)
    check_no_overlap(out_mask, values, mask)
    return out_values, out_mask
