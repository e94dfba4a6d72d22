"""The rows of several batches as one batch."""

from collections.abc import Sequence

import numpy as np

from ragmask import arrow
from ragmask.arrays.host import HOST, read_only
from ragmask.arrays.memory import joined
from ragmask.batches.nested import NestedRagged
from ragmask.batches.ragged import Ragged
from ragmask.errors import UnsupportedTypeError
from ragmask.rows.layout import Layout
from ragmask.rows.rows import Rows


def concatenate(parts: Sequence[Ragged]) -> Ragged:
    """The rows of several batches as one compact batch: one copy, of their own steps alone."""
    if len(parts) == 1:
        return parts[0]
    if any(isinstance(part, NestedRagged) for part in parts):
        return _nested(parts)
    for part in parts:
        part._host_only("concatenating")
    compact = [part._rows.compact() for part in parts]
    mask = None
    if any(rows.mask is not None for rows in compact):
        mask = joined([np.ones(r.n_steps, np.bool_) if r.mask is None else r.mask for r in compact])
    lengths = read_only(joined([rows.lengths for rows in compact]))
    form = arrow.joined_form([rows.form for rows in compact], [len(rows) for rows in compact])
    values = read_only(joined([rows.values for rows in compact]))
    return Ragged._of(Rows(values, Layout.of_lengths(HOST, lengths), mask, form))


def _nested(parts: Sequence[Ragged]) -> NestedRagged:
    """The rows of several batches of rows of rows: those of both levels, one behind the other."""
    nested = [part for part in parts if isinstance(part, NestedRagged)]
    if len(nested) < len(parts):
        raise UnsupportedTypeError("a NestedRagged is joined with others of its kind alone")
    outer = concatenate([Ragged._of(part._own()[0]) for part in nested])
    inner = concatenate([part.inner for part in nested])
    return NestedRagged._made(outer._rows, inner._rows)
