"""Cutting rows in time, and joining them again."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ragmask import arrow
from ragmask.arrays.coerce import arrays_of, same_device, to_array
from ragmask.arrays.protocol import LARGEST, AnyArray
from ragmask.batches.padded import Padded
from ragmask.batches.ragged import Ragged
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.ops.input import Input, as_dtype
from ragmask.rows.checks import check_count
from ragmask.rows.layout import Layout
from ragmask.rows.rows import Rows, copy_rows

# Each section is a batch of its own, even one of no steps: numbers that no data has, which would
# never end and fill the memory slowly.
MOST_SECTIONS = 1 << 20
_MOST_ROWS = 1 << 32  # of all sections together, at 16 bytes
_NAMES = {
    "ragged": "Ragged",
    "nested": "NestedRagged",
    "padded": "Padded",
    "dense": "ndarray",
    "arrow": "Arrow",
}


def temporal_split(x: Ragged | Padded | Any, sections: int = 2, *, width: int | None = None) -> Any:
    """Cut time into `sections` equal spans of the padded width; each row has its steps in each.

    >>> import ragmask as rm
    >>> first, second = rm.temporal_split(rm.Ragged.from_rows([[1, 2, 3], [1, 2, 3, 4, 5, 6]]))
    >>> first.to_rows(), second.to_rows()
    ([array([1, 2, 3]), array([1, 2, 3])], [array([], dtype=int64), array([4, 5, 6])])

    The width is that of the array, or the longest row of a Ragged or of Arrow's lists; `width` sets
    another, at least as long. Returns a list of views, masks included: nothing is copied, but to
    write Arrow's lists again. Raises InvalidInputError
    where the width is no multiple of `sections`, saying both, and for more than 2**20 sections.
    """
    sections = check_count("sections", sections, 1, MOST_SECTIONS)
    given = Input.of(x) if isinstance(x, Ragged) or arrow.is_arrow(x) else None
    if given is not None:
        longest, what = given.rows.layout.longest, "the longest row"
    else:
        dense = x._values if isinstance(x, Padded) else to_array(x, "x", spaced=True)
        if dense.ndim < 2:
            raise InvalidInputError(f"x must have rows and steps; got shape {dense.shape}")
        longest, what = dense.shape[1], "the array's width"
    total = longest if width is None else check_count("width", width, most=LARGEST)
    if given is None and total != longest:
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
    if given is not None:
        rows = given.rows
        if sections * len(rows) > _MOST_ROWS:
            raise InvalidInputError(
                f"{len(rows)} rows in {sections} sections are more rows than fit any memory: split "
                "fewer rows at a time"
            )
        layouts = (rows.layout.span(begin, span) for begin in begins)
        return [
            given.give_view(Rows(rows.values, layout, rows.mask, rows.form)) for layout in layouts
        ]
    columns = arrays_of(dense).columns
    parts = [columns(dense, begin, begin + span) for begin in begins]
    if not isinstance(x, Padded):
        return [arrays_of(part).native(part) for part in parts]
    masks = [None if x._mask is None else columns(x._mask, begin, begin + span) for begin in begins]
    return [Padded._of(part, mask) for part, mask in zip(parts, masks, strict=True)]


def temporal_concat(xs: Sequence[Any]) -> Any:
    """Join batches in time, row by row: the inverse of `temporal_split`.

    >>> import ragmask as rm
    >>> a, b = rm.Ragged.from_rows([[1], [2, 3]]), rm.Ragged.from_rows([[4, 5], []])
    >>> rm.temporal_concat([a, b]).to_rows()
    [array([1, 4, 5]), array([2, 3])]

    All parts are of one kind: Ragged or Arrow's lists (equal numbers of rows, of any lengths),
    Padded or arrays (joined along time, as Keras does). Their steps have one shape; dtypes become
    numpy's common one. A part without a mask counts as kept; a list is null where all its parts
    are. Parts that lie one behind the other in the same values are joined as a view; others are
    copied once. Raises InvalidInputError for parts that disagree.
    """
    if isinstance(xs, Ragged | Padded):
        raise UnsupportedTypeError(
            f"temporal_concat takes a list of parts; got one {type(xs).__name__}"
        )
    given = list(xs)
    if not given:
        raise InvalidInputError("temporal_concat needs at least one part")
    parts = [Input.of(part, what=f"part {number}") for number, part in enumerate(given)]
    kinds = {part.kind for part in parts}
    if len(kinds) > 1:
        names = ", ".join(sorted(_NAMES[kind] for kind in kinds))
        raise UnsupportedTypeError(f"parts must be of one kind; got {names}")
    same_device(**{f"part {number}": part.rows.values for number, part in enumerate(parts)})
    first, rows = parts[0], [part.rows for part in parts]
    for number, part in enumerate(parts):
        if first.kind == "nested":
            first.source._check_same_rows(part.source, f"part 0 and part {number}")
        _check_fits(number, part, first)
    if first.is_ragged:
        joined, form = _joined_view(rows), arrow.form_in_time([one.form for one in rows])
        if joined is None:
            values, layout, mask = _joined_copy(rows)
            joined = Rows(first.arrays.read_only(values), layout, mask)
        return first.give_view(Rows(joined.values, joined.layout, joined.mask, form))
    values, _, mask = _joined_copy(rows)
    lead = len(first.rows), sum(part.width for part in parts)
    values = values.reshape(*lead, *first.rows.item_shape)
    if first.kind == "dense":
        return first.arrays.native(values)
    return Padded._of(values, None if mask is None else mask.reshape(lead))


def _check_fits(number: int, part: Input, first: Input) -> None:
    rows, others = part.rows, first.rows
    if (len(rows), rows.item_shape) == (len(others), others.item_shape):
        return
    if not part.is_ragged:
        shape = len(rows), part.width, *rows.item_shape
        other = len(others), first.width, *others.item_shape
        raise InvalidInputError(
            f"part {number} has shape {shape}, and part 0 {other}: only their widths may differ"
        )
    raise InvalidInputError(
        f"part {number} has {len(rows)} rows of steps of shape {rows.item_shape}, "
        f"and part 0 {len(others)} of {others.item_shape}"
    )


def _joined_copy(parts: list[Rows]) -> tuple[AnyArray, Layout, AnyArray | None]:
    """Values, layout and mask of each row's parts one behind the other, in new memory."""
    arrays = parts[0].arrays
    dtype = arrays.common_dtype([rows.dtype for rows in parts])
    lengths = parts[0].lengths
    for rows in parts[1:]:
        lengths = arrays.add(lengths, rows.lengths)
    layout = Layout.of_lengths(arrays, lengths)
    values = arrays.empty((layout.n_steps, *parts[0].item_shape), dtype)
    has_mask = any(rows.mask is not None for rows in parts)
    mask: AnyArray = arrays.full(True, (len(values),), np.bool_) if has_mask else None
    starts = layout.starts
    for rows in parts:
        if rows.mask is not None:
            copy_rows(rows.mask, rows.layout, starts, mask)
        if rows.dtype != dtype:
            rows = as_dtype(rows, dtype)
        copy_rows(rows.values, rows.layout, starts, values)
        starts = arrays.add(starts, rows.lengths)
    return values, layout, mask


def _joined_view(parts: list[Rows]) -> Rows | None:
    """Rows whose parts lie one behind the other in one array, as a split leaves them; or None."""
    first = parts[0]
    if any(rows.values is not first.values or rows.mask is not first.mask for rows in parts):
        return None
    layout = first.arrays.joined_in_time([(rows.starts, rows.lengths) for rows in parts])
    return None if layout is None else Rows(first.values, Layout(first.arrays, *layout), first.mask)
