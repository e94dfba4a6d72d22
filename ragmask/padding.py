"""Between rows and padded arrays: the one place where rows × width comes to be."""

import math
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from ragmask import device_rows
from ragmask.device_array import DeviceArray, same_device
from ragmask.devices import (
    Array,
    Bools,
    Ints,
    as_words,
    beside,
    check_mask,
    check_no_overlap,
    check_size,
    converted,
    empty,
    index_array,
    number_dtype,
    out_array,
    read_only,
    run,
    to_array,
    to_numpy,
    values_array,
    word_of,
)
from ragmask.errors import DeviceError, InvalidInputError, UnsupportedTypeError
from ragmask.layout import (
    Side,
    check_count,
    check_rows,
    check_side,
    extent,
    offsets_of,
    truncate,
)

_NS_PER_BYTE = 0.03  # one core writing to memory that is there already
_NS_PER_ROW = 30.0

# which kinds of numbers may pad a batch of times or complex numbers; the others take any real
_FITTING_KINDS = {"c": "biufc", "m": "ium", "M": "iuM"}


def to_padded(
    values: Array,
    starts: Ints,
    lengths: Ints,
    mask: Bools | None,
    longest: int,
    maxlen: int | None,
    padding: Side,
    truncating: Side,
    value: Any,
    multiple_of: int | None,
    dtype: npt.DTypeLike | None,
    out: tuple[Any, Any] | None,
) -> tuple[Array, Bools]:
    """(rows, width, *item) values and (rows, width) mask of checked rows."""
    check_side("padding", padding)
    check_side("truncating", truncating)
    width = padded_width(longest, maxlen, multiple_of)
    if maxlen is not None:
        starts, lengths = truncate(starts, lengths, int(maxlen), truncating)

    target = values.dtype if dtype is None else number_dtype(dtype)
    if target != values.dtype:
        if not np.can_cast(values.dtype, target, "safe"):
            raise UnsupportedTypeError(
                f"{values.dtype} does not fit {target} without loss: convert it "
                f"first, with r.with_values(r.values.astype({target.name!r}))"
            )
        values, starts, mask = compact(values, starts, lengths, mask)
        values = converted(values, target)

    item = item_of(value, values.dtype, values.shape[1:])
    shape = (lengths.size, width, *values.shape[1:])
    out_values, out_mask = _output(shape, values, mask, out)
    pad_rows(values, starts, lengths, mask, item, padding == "pre", out_values, out_mask)
    return out_values, out_mask


def padded_width(longest: int, maxlen: int | None, multiple_of: int | None) -> int:
    """How many steps wide a padded array of rows is of which the longest is so long."""
    width = longest if maxlen is None else check_count("maxlen", maxlen)
    multiple = 1 if multiple_of is None else check_count("multiple_of", multiple_of, 1)
    return -(-width // multiple) * multiple


def compact(
    values: Array, starts: Ints, lengths: Ints, mask: Bools | None
) -> tuple[Array, Ints, Bools | None]:
    """Values, starts and mask of the rows laid end to end; a copy only where they are not yet."""
    begin, steps = extent(starts, lengths)
    offsets = read_only(offsets_of(lengths))
    if begin is not None:
        part = None if mask is None else mask[begin : begin + steps]
        return values[begin : begin + steps], offsets[:-1], part
    out = empty((steps, *values.shape[1:]), values.dtype, values)
    copy_rows(values, starts, lengths, offsets[:-1], out)
    if mask is not None:
        kept = empty(out.shape[:1], np.bool_, out)
        copy_rows(mask, starts, lengths, offsets[:-1], kept)
        mask = read_only(kept)
    return read_only(out), offsets[:-1], mask


def copy_rows(values: Array, starts: Ints, lengths: Ints, out_starts: Ints, out: Array) -> None:
    """Copy checked rows to places in `out`, an array of the same dtype and item shape."""
    if out.size == 0:
        return
    item_bytes = out.nbytes // len(out)
    word = word_of(item_bytes, values, out)
    run(
        "compact",
        lengths,
        (_NS_PER_ROW, _NS_PER_BYTE * 2 * item_bytes),
        as_words(values, word),
        starts,
        lengths,
        item_bytes // word.itemsize,
        out_starts,
        as_words(out, word),
    )


def pack_rows(values: Array, starts: Ints, lengths: Ints, step_starts: Ints, out: Array) -> None:
    """Copy checked rows, the longest first, step by step: step s of row i to step_starts[s] + i."""
    if out.size == 0:
        return
    item_bytes = out.nbytes // len(out)
    word = word_of(item_bytes, values, out)
    run(
        "pack",
        lengths,
        (_NS_PER_ROW, _NS_PER_BYTE * 2 * item_bytes),
        as_words(values, word),
        starts,
        lengths,
        item_bytes // word.itemsize,
        step_starts,
        as_words(out, word),
    )


def from_padded(
    values: Any, mask: Any, lengths: Any, value: Any
) -> tuple[Array, Ints, Ints, Bools | None]:
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
    rows, width = dense.shape[:2]
    if isinstance(dense, DeviceArray):
        return _from_padded_on_device(dense, mask, lengths, value)
    if lengths is not None:
        kept = index_array(lengths, "lengths")
        if kept.size != rows:
            raise InvalidInputError(f"{kept.size} lengths were given for {rows} rows")
        bad = (kept < 0) | (kept > width)
        if bad.any():
            row = int(bad.argmax())
            raise InvalidInputError(f"row {row} cannot have {kept[row]} steps of {width}")
        steps, starts, _ = end_to_end(dense, None)
        return steps, starts, kept, None
    if value is not None:
        item = item_of(value, dense.dtype, dense.shape[2:])
        is_padding = dense == item
        if (item != item).any():  # NaN is NaN here
            is_padding |= (dense != dense) & (item != item)
        first, kept = _span(~is_padding.all(axis=tuple(range(2, dense.ndim))))
        steps, starts, _ = end_to_end(dense, None)
        return steps, read_only(starts + first), read_only(kept), None
    if mask is not None:
        present = check_mask(mask, (rows, width))
        first, kept = _span(present)
        has_holes = int(present.sum()) < int(kept.sum())
        steps, starts, interior = end_to_end(dense, present if has_holes else None)
        return steps, read_only(starts + first), read_only(kept), interior
    steps, starts, _ = end_to_end(dense, None)
    return steps, starts, read_only(np.full(rows, width, np.int64)), None


def _from_padded_on_device(
    dense: Any, mask: Any, lengths: Any, value: Any
) -> tuple[Any, Any, Any, Any]:
    if value is not None:
        raise DeviceError(
            "value= is for arrays on the host: pass mask= here, computed by the array's own "
            "library as values != value"
        )
    rows, width = dense.shape[:2]
    whole = device_rows.filled(width, (rows,), np.int64, dense)
    if mask is None and lengths is None:
        return *end_to_end(dense, None)[:2], whole, None
    if lengths is not None:
        kept: Any = index_array(lengths, "lengths")
        same_device(values=dense, lengths=kept)
        if kept.size != rows:
            raise InvalidInputError(f"{kept.size} lengths were given for {rows} rows")
        check_rows(width, device_rows.filled(0, (rows,), np.int64, dense), kept)
        return *end_to_end(dense, None)[:2], kept, None
    present = check_mask(mask, (rows, width))
    same_device(values=dense, mask=present)
    steps, starts, line = end_to_end(dense, present)
    first, kept, has_holes = device_rows.spans(line, starts, whole)
    return steps, first, kept, line if has_holes else None


def dense_array(values: Any) -> Array:
    """(rows, width, *item) numbers, each row contiguous; the rows may be spaced wider."""
    dense = to_array(values, "values", spaced=True)
    if dense.ndim < 2:
        raise InvalidInputError(
            f"padded values have rows and steps, (rows, width, …); got shape {dense.shape}"
        )
    values_array(dense[:0])  # for its look at the dtype
    if isinstance(dense, DeviceArray):
        return dense
    plain = dense.dtype.isnative and dense.flags.aligned
    if len(dense) and not (plain and dense[0].flags.c_contiguous):
        return values_array(dense)
    return dense.view()  # its owner could change its shape in place


def end_to_end(dense: Array, mask: Bools | None) -> tuple[Array, Ints, Bools | None]:
    """A dense array as one line of steps, where its rows start, and its mask along that line.

    No copy where rows are evenly spaced and the mask's alike, as a temporal split leaves them.
    """
    (rows, width), item_shape = dense.shape[:2], dense.shape[2:]
    item_bytes = math.prod(item_shape) * dense.itemsize
    if isinstance(dense, DeviceArray):
        return _end_to_end_on_device(dense, mask)
    spacing = dense.strides[0] // item_bytes if item_bytes and rows > 1 else width
    is_even = dense.strides[0] == spacing * item_bytes and spacing > width > 0
    if is_even and (mask is None or mask.strides == (spacing, 1)):
        n = (rows - 1) * spacing + width
        strides = (item_bytes, *dense.strides[2:])
        line = np.lib.stride_tricks.as_strided(dense, (n, *item_shape), strides, writeable=False)
        if mask is not None:
            mask = np.lib.stride_tricks.as_strided(mask, (n,), (1,), writeable=False)
    else:
        spacing = width
        line = np.ascontiguousarray(dense).reshape(rows * width, *item_shape)
        mask = None if mask is None else np.ascontiguousarray(mask).reshape(-1)
    starts = np.arange(rows, dtype=np.int64) * spacing
    return read_only(line), read_only(starts), None if mask is None else read_only(mask)


def _end_to_end_on_device(dense: DeviceArray, mask: Any) -> tuple[Any, Any, Any]:
    (rows, width), item_shape = dense.shape[:2], dense.shape[2:]
    item_bytes = math.prod(item_shape) * dense.itemsize
    spacing = dense.spacing // item_bytes if item_bytes else width
    if mask is not None and mask.spacing != spacing:
        dense, mask = device_rows.contiguous(dense), device_rows.contiguous(mask)
        spacing = width
    starts = device_rows.progression(0, spacing, rows, dense)
    n = (rows - 1) * spacing + width if rows else 0
    line = DeviceArray(
        dense.pointer, (n, *item_shape), dense.dtype, dense.owner, dense.library, dense.device
    )
    if mask is not None:
        mask = DeviceArray(mask.pointer, (n,), np.bool_, mask.owner, mask.library, mask.device)
    return line, starts, mask


# -- what the kernel needs ----------------------------------------------------------------


def pad_rows(
    values: Array,
    starts: Ints,
    lengths: Ints,
    mask: Bools | None,
    pattern: Array,
    pre: bool,
    out_values: Array,
    out_mask: Bools | None,
) -> None:
    """Run the kernel on words: items of any dtype and shape are moved by their size in bytes."""
    rows, width = out_values.shape[:2]
    if pattern.nbytes == 0:  # steps without features: only the mask has anything to write
        pattern = np.zeros(1, np.uint8)
        out_values = empty((rows, width), np.uint8, values)
        values = empty((len(values),), np.uint8, values)
    word = word_of(pattern.nbytes, values, out_values)
    item = as_words(pattern, word)
    uniform = bool((item == item[0]).all())
    run(
        "pad",
        lengths,
        (_NS_PER_ROW + _NS_PER_BYTE * width * (pattern.nbytes + 1), 0.0),
        as_words(read_only(values), word),
        starts,
        lengths,
        mask,
        beside(read_only(item[:1] if uniform else item), values),
        (item.size, width, pre),
        as_words(out_values, word),
        None if out_mask is None else out_mask.reshape(-1),
    )


def item_of(value: Any, dtype: np.dtype[Any], item_shape: tuple[int, ...]) -> Array:
    """`value` as one step in the batch's dtype, or an error where it does not fit."""
    if type(value) is int and value == 0:  # what nearly everyone pads with fits every dtype
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


def _is_same_time(given: Array, item: Array) -> bool:
    """Whether no finer unit was cut off and nothing overflowed on the way to the batch's unit."""
    if np.datetime_data(given.dtype)[0] == "generic":  # NaT, or a count of the batch's own unit
        return True
    return bool(((item.astype(given.dtype) == given) | np.isnat(given)).all())


def _output(
    shape: tuple[int, ...], values: Array, mask: Bools | None, out: tuple[Any, Any] | None
) -> tuple[Array, Bools]:
    """Where to write: fresh arrays, the caller's of that shape, or the front of flat buffers."""
    check_size(shape, values.itemsize)  # of the caller's buffers too
    if out is None:
        return empty(shape, values.dtype, values), empty(shape[:2], np.bool_, values)
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


def _span(present: Bools) -> tuple[Ints, Ints]:
    """Where each row's first kept step is, and how many steps lead to its last."""
    width = present.shape[1]
    if width == 0:
        return np.zeros(len(present), np.int64), np.zeros(len(present), np.int64)
    some = present.any(axis=1)
    first = present.argmax(axis=1)
    last = width - present[:, ::-1].argmax(axis=1)
    # another thread may write to the mask between these looks at it: then the span is another one,
    # but lies inside the row
    return np.where(some, first, 0), np.where(some, np.maximum(last - first, 0), 0)
