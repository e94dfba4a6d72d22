"""Rows: values, where each row lies in them, and which steps count. What ops and kernels see."""

import math
from typing import Any

import numpy as np

from ragmask.arrays.coerce import as_words
from ragmask.arrays.host import HOST
from ragmask.arrays.protocol import AnyArray, Array, Arrays, Bools, Ints
from ragmask.kernels.registry import COMPACT, COUNT_KEPT, EMBEDDING_GRADIENT, TURN
from ragmask.rows.checks import Side
from ragmask.rows.layout import Layout


class Rows:
    """values (n, *item), where rows lie in them, and mask bool (n,) along them, or None.

    Immutable, known to lie inside the values, on the host or on a device: `arrays` says what can
    be done there. A view is another Rows over the same values. form, an `arrow.Form` or None, says
    how they are written to Arrow again.
    """

    __slots__ = ("form", "layout", "mask", "values")

    def __init__(
        self, values: AnyArray, layout: Layout, mask: AnyArray | None = None, form: Any = None
    ) -> None:
        self.values, self.layout, self.form = values, layout, form
        self.mask = None if mask is None else layout.arrays.frozen(mask)

    @property
    def arrays(self) -> Arrays:
        return self.layout.arrays

    @property
    def starts(self) -> AnyArray:
        return self.layout.starts

    @property
    def lengths(self) -> AnyArray:
        return self.layout.lengths

    @property
    def n_steps(self) -> int:
        return self.layout.n_steps

    @property
    def item_shape(self) -> tuple[int, ...]:
        """The shape of one step."""
        shape: tuple[int, ...] = self.values.shape[1:]
        return shape

    @property
    def dtype(self) -> np.dtype[Any]:
        dtype: np.dtype[Any] = self.values.dtype
        return dtype

    @property
    def is_compact(self) -> bool:
        """Whether the rows cover the values one after another, with no gap or overlap."""
        layout = self.layout
        return layout.begin == 0 and layout.n_steps == len(self.values)

    @property
    def lie_end_to_end(self) -> bool:
        """Whether each row with a step begins where the one before it ended."""
        layout = self.layout
        return layout.begin is not None or self.arrays.has_no_gaps(layout.starts, layout.lengths)

    def __len__(self) -> int:
        return len(self.layout)

    # -- views

    def over(self, values: AnyArray) -> "Rows":
        """The same rows of as many other values."""
        return Rows(values, self.layout, self.mask, self.form)

    def masked(self, mask: AnyArray | None) -> "Rows":
        """The same rows with a mask along the values, or without one."""
        return Rows(self.values, self.layout, mask, self.form)

    def formed(self, form: Any) -> "Rows":
        """The same rows, to be written to Arrow in another form."""
        return Rows(self.values, self.layout, self.mask, form)

    def pick(self, rows: slice | AnyArray) -> "Rows":
        """Some rows, whose numbers are known to be right."""
        form = None if self.form is None else self.form.pick(rows)
        return Rows(self.values, self.layout.pick(rows), self.mask, form)

    def truncate(self, maxlen: int, side: Side) -> "Rows":
        """Rows of at most `maxlen` steps; `side` is the end that is cut off."""
        return Rows(self.values, self.layout.truncate(maxlen, side), self.mask, self.form)

    def compact(self) -> "Rows":
        """The rows end to end, covering their values, masked steps and their mask with them.

        Itself where it is compact already; no copy where the rows lie end to end somewhere in the
        values; else one copy of the rows' own steps.
        """
        if self.is_compact:
            return self
        begin, n, mask = self.layout.begin, self.n_steps, self.mask
        if begin is not None:
            values = self.values[begin : begin + n]
            mask = None if mask is None else mask[begin : begin + n]
        else:
            values = self._copied(self.values)
            mask = None if mask is None else self._copied(mask)
        return Rows(values, self.layout.end_to_end, mask, self.form)

    def compact_mask(self) -> AnyArray | None:
        """The mask of the rows' own steps, end to end."""
        if self.mask is None or self.is_compact:
            return self.mask
        return self._copied(self.mask)

    def _copied(self, values: AnyArray) -> AnyArray:
        """The rows' own steps of these values, end to end."""
        out = self.arrays.empty((self.n_steps, *values.shape[1:]), values.dtype)
        copy_rows(values, self.layout, self.layout.end_to_end.starts, out)
        return self.arrays.read_only(out)


def host_rows(
    values: Array, starts: Ints, lengths: Ints, mask: Bools | None = None, form: Any = None
) -> Rows:
    """Rows of numpy arrays that are known to fit each other."""
    return Rows(HOST.frozen(values), Layout(HOST, starts, lengths), mask, form)


def copy_rows(values: AnyArray, layout: Layout, out_starts: AnyArray, out: AnyArray) -> None:
    """Copy rows to places in `out`, an array of the same dtype and item shape."""
    if out.size == 0:
        return
    item_bytes = out.nbytes // len(out)
    # of values that may be written to, the kernel would be compiled once more
    words, out_words = as_words(item_bytes, layout.arrays.frozen(values), out)
    layout.run(
        COMPACT,
        item_bytes,
        words,
        layout.starts,
        layout.lengths,
        item_bytes // words.itemsize,
        out_starts,
        out_words,
    )


def kept_counts(rows: Rows) -> AnyArray:
    """How many steps of each row are kept, int64 (rows,)."""
    arrays, out = rows.arrays, rows.arrays.empty((len(rows),), np.int64)
    if rows.mask is None:
        arrays.assign(rows.lengths, out)
    else:
        rows.layout.run(COUNT_KEPT, 0, rows.mask, rows.starts, rows.lengths, out)
    return out


def turn_rows(rows: Rows, shifts: AnyArray, backwards: bool, out: AnyArray) -> None:
    """Write the rows to `out`, end to end, their kept steps turned around or moved on in a circle.

    shifts int64 (rows,) says by how many kept steps; masked ones stay where they are, as 0.
    """
    if out.size == 0:
        return
    item_bytes = out.nbytes // len(out)
    words, out_words = as_words(item_bytes, rows.arrays.frozen(rows.values), out)
    rows.layout.run(
        TURN,
        item_bytes,
        words,
        rows.starts,
        rows.lengths,
        rows.mask,
        item_bytes // words.itemsize,
        shifts,
        backwards,
        rows.layout.end_to_end.starts,
        out_words,
    )


def add_rows(values: AnyArray, layout: Layout, n: int) -> AnyArray:
    """The transpose of copying rows out of `n` steps: (n, *item), and 0 where no row lies.

    values are the rows' steps, end to end. Where rows overlap, their sum: a step was looked up like
    a row of a table, and gets its gradient as one does. Floats, or any numbers if none overlap.
    Where the rows are the steps themselves, values themselves and no copy.
    """
    arrays, places = layout.arrays, layout.end_to_end
    if layout.begin == 0 and layout.n_steps == n:
        return values
    if rows_overlap(arrays.to_host(layout.starts), arrays.to_host(layout.lengths)):
        steps = arrays.empty((layout.n_steps,), np.int64)
        copy_rows(arrays.arange(0, 1, n), layout, places.starts, steps)
        return add_steps(arrays, values, steps, None, n)
    out = arrays.full(0, (n, *values.shape[1:]), values.dtype)
    copy_rows(arrays.frozen(values), places, layout.starts, out)
    return out


def rows_overlap(starts: Ints, lengths: Ints) -> bool:
    """Whether a step is in two rows."""
    some = lengths > 0
    starts, ends = starts[some], (starts + lengths)[some]
    order = np.argsort(starts, kind="stable")
    return bool((ends[order[:-1]] > starts[order[1:]]).any())


def add_steps(
    arrays: Arrays, values: AnyArray, ids: AnyArray, mask: AnyArray | None, n: int
) -> AnyArray:
    """(n, *item): in each place the sum of the kept steps whose id it is, in their order.

    values (n_steps, *item) of floats; ids int64 (n_steps,); mask bool (n_steps,) or None.
    """
    item_shape, dtype = values.shape[1:], values.dtype
    features, computed = math.prod(item_shape), HOST.computed(dtype)
    if not values.size:
        return arrays.full(0, (n, *item_shape), dtype)
    out = arrays.empty((n, features), computed)
    starts, lengths, order = arrays.grouped(arrays.frozen(ids), mask, n)
    Layout(arrays, starts, lengths).run(
        EMBEDDING_GRADIENT,
        features,
        arrays.frozen(arrays.as_dtype(values, computed)).reshape(len(values), features),
        starts,
        lengths,
        order,
        out,
    )
    return arrays.as_dtype(out.reshape(n, *item_shape), dtype)
