"""Cutting rows in time, and joining them again."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ragmask import device_rows
from ragmask.device_array import DeviceArray, is_on_device, same_device
from ragmask.devices import Array, empty, native, read_only, to_array, to_numpy
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.layout import LARGEST, check_count, offsets_of
from ragmask.ops.steps import Steps
from ragmask.padded import Padded
from ragmask.padding import copy_rows
from ragmask.ragged import Ragged

# Each section is a batch of its own, even one of no steps: numbers that no data has, which would
# never end and fill the memory slowly.
MOST_SECTIONS = 1 << 20
_MOST_ROWS = 1 << 32  # of all sections together, at 16 bytes


def temporal_split(x: Ragged | Padded | Any, sections: int = 2, *, width: int | None = None) -> Any:
    """Cut time into `sections` equal spans of the padded width; each row has its steps in each.

    >>> import ragmask as rm
    >>> first, second = rm.temporal_split(rm.Ragged.from_rows([[1, 2, 3], [1, 2, 3, 4, 5, 6]]))
    >>> first.to_rows(), second.to_rows()
    ([array([1, 2, 3]), array([1, 2, 3])], [array([], dtype=int64), array([4, 5, 6])])

    The width is that of the array, or the longest row of a Ragged; `width` sets another, at least
    as long. Returns a list of views, masks included: nothing is copied. Raises InvalidInputError
    where the width is no multiple of `sections`, saying both, and for more than 2**20 sections.
    """
    sections = check_count("sections", sections, 1, MOST_SECTIONS)
    if isinstance(x, Ragged):
        longest, what = x.max_length, "the longest row"
    else:
        dense = x._values if isinstance(x, Padded) else to_array(x, "x", spaced=True)
        if dense.ndim < 2:
            raise InvalidInputError(f"x must have rows and steps; got shape {dense.shape}")
        longest, what = dense.shape[1], "the array's width"
    total = longest if width is None else check_count("width", width, most=LARGEST)
    if not isinstance(x, Ragged) and total != longest:
        raise InvalidInputError(f"width {total} is not {what}, {longest}: pad to it first")
    if total < longest:
        raise InvalidInputError(f"width {total} is less than {what}, {longest}")
    if total % sections:
        multiple = -(-total // sections) * sections
        raise InvalidInputError(
            f"{total} steps ({'width' if width is not None else what}) cannot be cut into "
            f"{sections} equal sections: pass width={multiple}, or pad to it"
        )
    span = total // sections
    begins = [section * span for section in range(sections)]
    if isinstance(x, Ragged):
        if sections * len(x) > _MOST_ROWS:
            raise InvalidInputError(
                f"{len(x)} rows in {sections} sections are more rows than fit any memory: split "
                "fewer rows at a time"
            )
        return [_span(x, begin, span) for begin in begins]
    parts = [_columns(dense, begin, span) for begin in begins]
    if not isinstance(x, Padded):
        return [native(part) for part in parts]
    masks = [None if x._mask is None else _columns(x._mask, begin, span) for begin in begins]
    return [Padded._trusted(part, mask) for part, mask in zip(parts, masks, strict=True)]


def _columns(dense: Array, begin: int, span: int) -> Array:
    if isinstance(dense, DeviceArray):
        return dense.columns(begin, begin + span)
    return dense[:, begin : begin + span]


def _span(rows: Ragged, begin: int, span: int) -> Ragged:
    """Each row's steps from `begin` to `begin + span`. Fresh memory is what costs here."""
    if isinstance(rows._starts, DeviceArray):
        cut: Any = device_rows.cut(rows._starts, rows._lengths, begin, span)
        return Ragged._trusted(rows._values, *cut, rows._mask)
    if begin == 0:
        starts, lengths = rows.starts, np.minimum(rows.lengths, span)
    else:
        skipped = np.minimum(rows.lengths, begin)
        lengths = rows.lengths - skipped
        np.minimum(lengths, span, out=lengths)
        starts = np.add(rows.starts, skipped, out=skipped)
    return Ragged._trusted(rows._values, read_only(starts), read_only(lengths), rows._mask)


def temporal_concat(xs: Sequence[Any]) -> Any:
    """Join batches in time, row by row: the inverse of `temporal_split`.

    >>> import ragmask as rm
    >>> a, b = rm.Ragged.from_rows([[1], [2, 3]]), rm.Ragged.from_rows([[4, 5], []])
    >>> rm.temporal_concat([a, b]).to_rows()
    [array([1, 4, 5]), array([2, 3])]

    All parts are of one kind: Ragged (equal numbers of rows, of any lengths), Padded or arrays
    (joined along time, as Keras does). Their steps have one shape; dtypes become numpy's common
    one. A part without a mask counts as kept. Parts that lie one behind the other in the same
    values are joined as a view; others are copied once. Raises InvalidInputError for parts that
    disagree.
    """
    if isinstance(xs, Ragged | Padded):
        raise UnsupportedTypeError(
            f"temporal_concat takes a list of parts; got one {type(xs).__name__}"
        )
    parts = list(xs)
    if not parts:
        raise InvalidInputError("temporal_concat needs at least one part")
    if any(is_on_device(part if not hasattr(part, "_values") else part._values) for part in parts):
        return _join_on_device(parts)
    kinds = {type(part) if isinstance(part, Ragged | Padded) else np.ndarray for part in parts}
    if len(kinds) > 1:
        names = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise UnsupportedTypeError(f"parts must be of one kind; got {names}")
    if kinds == {Ragged}:
        return _join_ragged(parts)
    dense = [part.values if isinstance(part, Padded) else to_numpy(part, "x") for part in parts]
    for position, part in enumerate(dense):
        if part.ndim < 2 or (len(part), *part.shape[2:]) != (len(dense[0]), *dense[0].shape[2:]):
            raise InvalidInputError(
                f"part {position} has shape {part.shape}, and part 0 {dense[0].shape}: "
                "only their widths may differ"
            )
    _common_dtype(dense)
    values = np.concatenate(dense, axis=1)
    if kinds == {np.ndarray}:
        return values
    mask = None
    if any(part.mask is not None for part in parts):
        mask = np.concatenate(
            [
                np.ones(part.shape[:2], np.bool_) if part.mask is None else part.mask
                for part in parts
            ],
            axis=1,
        )
    return Padded._trusted(values, mask)


def _join_ragged(parts: list[Ragged]) -> Ragged:
    first = parts[0]
    for position, part in enumerate(parts):
        if (len(part), part.item_shape) != (len(first), first.item_shape):
            raise InvalidInputError(
                f"part {position} has {len(part)} rows of steps of shape {part.item_shape}, "
                f"and part 0 {len(first)} of {first.item_shape}"
            )
    lengths = read_only(np.stack([part.lengths for part in parts]).sum(axis=0))
    if _follow_each_other(parts):
        return Ragged._trusted(first._values, _first_starts(parts), lengths, first._mask)
    offsets = read_only(offsets_of(lengths))
    dtype = _common_dtype(parts)
    values = empty((int(offsets[-1]), *first.item_shape), dtype, first._values)
    has_mask = any(part.mask is not None for part in parts)
    mask = np.ones(len(values), np.bool_) if has_mask else None
    at = offsets[:-1]
    for part in parts:
        if part.dtype != dtype:
            part = part.compact()
            part = part.with_values(part.values.astype(dtype))
        copy_rows(part.values, part.starts, part.lengths, read_only(at), values)
        if mask is not None and part.mask is not None:
            copy_rows(part.mask, part.starts, part.lengths, read_only(at), mask)
        at = at + part.lengths
    return Ragged._trusted(read_only(values), offsets[:-1], lengths, mask)


def _common_dtype(parts: Sequence[Any]) -> np.dtype[Any]:
    try:
        return np.result_type(*(part.dtype for part in parts))
    except TypeError as error:
        kinds = ", ".join(sorted({str(part.dtype) for part in parts}))
        raise UnsupportedTypeError(f"the parts have no dtype in common: {kinds}") from error


def _follow_each_other(parts: list[Ragged]) -> bool:
    """Whether each row's parts lie one behind the other in one array, as a split leaves them."""
    first = parts[0]
    end = first.starts + first.lengths
    for part in parts[1:]:
        if part._values is not first._values or part._mask is not first._mask:
            return False
        if not ((part.starts == end) | (part.lengths == 0)).all():
            return False
        end = np.where(part.lengths == 0, end, part.starts + part.lengths)
    return True


def _first_starts(parts: list[Ragged]) -> Any:
    """Where the first part that has any steps begins, row by row."""
    starts = parts[-1].starts
    for part in reversed(parts[:-1]):
        starts = np.where(part.lengths > 0, part.starts, starts)
    return read_only(starts)


def _join_on_device(parts: list[Any]) -> Any:
    """Parts of one kind and dtype, on one device: each row's steps are copied to their place."""
    steps = [Steps.of(part) for part in parts]
    first = steps[0]
    same_device(**{f"part {i}": part.rows._values for i, part in enumerate(steps)})
    for position, part in enumerate(steps):
        alike = part.kind == first.kind and len(part.rows) == len(first.rows)
        if not alike or part.rows.item_shape != first.rows.item_shape:
            raise InvalidInputError(
                f"part {position} has {len(part.rows)} rows of steps of shape "
                f"{part.rows.item_shape} ({part.kind}), and part 0 {len(first.rows)} of "
                f"{first.rows.item_shape} ({first.kind})"
            )
        if part.rows.dtype != first.rows.dtype:
            raise UnsupportedTypeError(
                f"part {position} is {part.rows.dtype} and part 0 {first.rows.dtype}: "
                "on a device, parts have one dtype"
            )
    lengths: Any = first.rows._lengths
    for part in steps[1:]:
        lengths = device_rows.add(lengths, part.rows._lengths)
    starts: Any = device_rows.offsets_of(lengths)[: lengths.size]
    total = sum(part.rows.n_steps for part in steps)
    values = lengths.empty((total, *first.rows.item_shape), first.rows.dtype)
    has_mask = any(part.rows._mask is not None for part in steps)
    mask = lengths.empty((total,), np.bool_) if has_mask else None
    at = starts
    for part in steps:
        place = part.rows._starts, part.rows._lengths, at
        copy_rows(part.rows._values, *place, values)
        if mask is not None:
            copy_rows(_mask_of(part.rows), *place, mask)
        at = device_rows.add(at, part.rows._lengths)
    if first.kind == "ragged":
        return Ragged._trusted(values, starts, lengths, mask)
    shape = len(first.rows), sum(part.width for part in steps)
    values = values.reshape(*shape, *first.rows.item_shape)
    if first.kind == "dense":
        return values.native()
    return Padded._trusted(values, None if mask is None else mask.reshape(shape))


def _mask_of(rows: Ragged) -> Any:
    """Its mask, or one that keeps every step."""
    if rows._mask is not None:
        return rows._mask
    return device_rows.filled(True, rows._values.shape[:1], np.bool_, rows._values)
