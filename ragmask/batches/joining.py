"""The rows of several batches as one batch."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ragmask import arrow
from ragmask.arrays.host import HOST, read_only
from ragmask.arrays.memory import empty, joined
from ragmask.arrays.protocol import Array, Bools
from ragmask.batches.nested import NestedRagged
from ragmask.batches.ragged import Ragged
from ragmask.errors import UnsupportedTypeError
from ragmask.rows.layout import Layout
from ragmask.rows.rows import Rows, copy_rows


def concatenate(parts: Sequence[Ragged]) -> Ragged:
    """The rows of several batches as one compact batch: one copy, of their own steps alone."""
    if len(parts) == 1:
        return parts[0]
    if any(isinstance(part, NestedRagged) for part in parts):
        return _nested(parts)
    for part in parts:
        part._host_only("concatenating")
    rows = [part._rows for part in parts]
    lengths = read_only(joined([one.lengths for one in rows]))
    layout = Layout.of_lengths(HOST, lengths)
    form = arrow.joined_form([one.form for one in rows], [len(one) for one in rows])
    if any(one.mask is not None or _kind(one) != _kind(rows[0]) for one in rows):
        values, mask = joined_steps([one.compact() for one in rows])
        return Ragged._of(Rows(read_only(values), layout, mask, form))
    return Ragged._of(Rows(read_only(_joined_values(rows, layout)), layout, None, form))


def _kind(rows: Rows) -> tuple[Any, ...]:
    return rows.values.dtype, rows.values.shape[1:]


def _joined_values(parts: Sequence[Rows], layout: Layout) -> Array:
    """The steps of rows of one kind, each copied once to where it is to lie."""
    first = parts[0].values
    out = empty((layout.n_steps, *first.shape[1:]), first.dtype)
    done = steps = 0
    for rows in parts:
        begin, n = rows.layout.begin, rows.n_steps
        if begin is None:
            copy_rows(rows.values, rows.layout, layout.starts[done : done + len(rows)], out)
        else:
            np.copyto(out[steps : steps + n], rows.values[begin : begin + n])
        done, steps = done + len(rows), steps + n
    return out


def _nested(parts: Sequence[Ragged]) -> NestedRagged:
    """The rows of several batches of rows of rows: those of both levels, one behind the other."""
    nested = [part for part in parts if isinstance(part, NestedRagged)]
    if len(nested) < len(parts):
        raise UnsupportedTypeError("a NestedRagged is joined with others of its kind alone")
    outer = concatenate([Ragged._of(part._own()[0]) for part in nested])
    inner = concatenate([part.inner for part in nested])
    return NestedRagged._made(outer._rows, inner._rows)


def joined_steps(parts: Sequence[Rows]) -> tuple[Array, Bools | None]:
    """The steps of compact rows, end to end, and their mask if one of them has any."""
    mask = None
    if any(rows.mask is not None for rows in parts):
        mask = joined([np.ones(r.n_steps, np.bool_) if r.mask is None else r.mask for r in parts])
    return joined([rows.values for rows in parts]), mask
