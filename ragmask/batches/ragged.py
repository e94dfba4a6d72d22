"""Ragged: rows of unequal length, as views of values laid end to end."""

from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from ragmask import arrow
from ragmask.arrays.coerce import (
    arrays_of,
    index_array,
    mask_array,
    same_device,
    to_array,
    values_array,
)
from ragmask.arrays.cuda_array import Library, move_to_device
from ragmask.arrays.host import HOST, read_only
from ragmask.arrays.protocol import LARGEST, AnyArray, Array, Bools, Facts, Ints
from ragmask.batches.access import steps_at
from ragmask.batches.constructors import Constructors
from ragmask.batches.elementwise import Elementwise
from ragmask.batches.padded import Padded
from ragmask.batches.picture import Drawing, Piece, Row, whole
from ragmask.batches.show import count, item_name, with_rows
from ragmask.errors import InvalidInputError, RowIndexError, UnsupportedTypeError
from ragmask.rows import padding as pads
from ragmask.rows.checks import Side, check_count, check_same_lengths, check_side
from ragmask.rows.layout import Layout
from ragmask.rows.rows import Rows, kept_counts, turn_rows


class Ragged(Constructors, Elementwise):
    """Rows of unequal length as views of one values array. Immutable.

    >>> import ragmask as rm
    >>> r = rm.Ragged([1, 2, 3, 4, 5], starts=[0, 3, 5], lengths=[3, 2, 0])
    >>> r
    Ragged(3 rows, 5 steps, int64, lengths 0–3)
      [1 2 3]
      [4 5]
      []
    >>> r[::-1].truncate(2).to_padded(value=-1).values
    array([[-1, -1],
           [ 4,  5],
           [ 1,  2]])

    Row i is `values[starts[i] : starts[i] + lengths[i]]`. Rows may come in any order, leave
    gaps, overlap or be empty. Indexing, truncating and sorting give new views of the same
    values, in time that grows with the rows alone.

    Parameters
    ----------
    values : (n, *item), numbers, bools, times or durations. C-contiguous arrays are not copied.
    starts, lengths : integers (rows,), copied, and checked once.
    mask : bool (n,), True = keep, or None. It runs along `values`.

    values and mask are not copied: writing to the arrays they came from changes the batch.

    numpy's ufuncs, operators and comparisons work on each step and keep rows and mask:
    `ids != 0` is a Ragged of bools. Raises InvalidInputError, naming the row, for rows that
    do not lie inside the values; UnsupportedTypeError for dtypes that are no numbers.
    """

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, values: Any, starts: Any, lengths: Any, mask: Any = None) -> None:
        values = values_array(values)
        starts, lengths = index_array(starts, "starts"), index_array(lengths, "lengths")
        mask = None if mask is None else mask_array(mask, values.shape[:1])
        same_device(values=values, starts=starts, lengths=lengths, mask=mask)
        layout = Layout.checked(arrays_of(values), len(values), starts, lengths)
        self._rows = Rows(values, layout, mask)

    # -- what it holds --------------------------------------------------------------------

    @property
    def values(self) -> Array:
        """(n, *item), read-only. A view's rows need not cover it.

        On a device, an array of the library that the memory came from.
        """
        return self._rows.arrays.given_out(self._rows.values)

    @property
    def starts(self) -> Ints:
        """int64 (rows,): where each row begins in `values`."""
        return self._rows.arrays.given_out(self._rows.starts)

    @property
    def lengths(self) -> Ints:
        """int64 (rows,): the steps of each row, masked ones included."""
        return self._rows.arrays.given_out(self._rows.lengths)

    @property
    def mask(self) -> Bools | None:
        """bool (n,) along `values`, True = keep; None where every step counts."""
        mask = self._rows.mask
        return None if mask is None else self._rows.arrays.given_out(mask)

    @property
    def device(self) -> str:
        """Where it lives: "cpu", or "cuda:0"."""
        return self._rows.arrays.place

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._rows.dtype

    @property
    def item_shape(self) -> tuple[int, ...]:
        """The shape of one step: () for numbers, (features,) for vectors."""
        return self._rows.item_shape

    @property
    def n_steps(self) -> int:
        """The sum of all lengths."""
        return self._rows.n_steps

    @property
    def max_length(self) -> int:
        """The longest row's length; 0 where there are no rows."""
        return self._rows.layout.longest

    @property
    def is_compact(self) -> bool:
        """Whether the rows cover the values one after another, with no gap or overlap."""
        return self._rows.is_compact

    @property
    def offsets(self) -> Ints:
        """int64 (rows + 1,): row i is `values[offsets[i] : offsets[i + 1]]`.

        Raises InvalidInputError unless `is_compact`.
        """
        if not self.is_compact:
            raise InvalidInputError("only a compact Ragged has offsets: call compact() first")
        return self._rows.arrays.given_out(self._rows.layout.offsets)

    # -- views ----------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Array]:
        for row in range(len(self)):
            yield self[row]

    @overload
    def __getitem__(self, rows: int) -> Array: ...
    @overload
    def __getitem__(self, rows: tuple[Any, Any]) -> Any: ...
    @overload
    def __getitem__(self, rows: slice | Sequence[int] | Array) -> "Ragged": ...
    def __getitem__(self, rows: Any) -> Any:
        """One row as an array (`r[3]`), or several as a view (`r[2:5]`, `r[[4, 0]]`, by bools).

        >>> import ragmask as rm
        >>> r = rm.Ragged.from_rows([[1, 2, 3], [], [4, 5]])
        >>> r[0, -1], r[[0, 2], 1]
        (np.int64(3), array([2, 5]))

        Of two, `r[row, step]` is one step; arrays of both, which broadcast, give an array of steps.
        Negative steps count from their row's end. With masked steps these are numpy masked arrays.
        Raises RowIndexError and StepIndexError, naming the row, for what is not there.
        """
        if isinstance(rows, tuple) and len(rows) == 2:
            self._host_only("single steps by number")
            return steps_at(self._rows, *rows)
        if isinstance(rows, int | np.integer) and not isinstance(rows, bool):
            return self._row(int(rows))
        picked = rows if isinstance(rows, slice) else self._row_numbers(rows)
        return Ragged._of(self._rows.pick(picked))

    def _row(self, row: int) -> Array:
        if not -len(self) <= row < len(self):
            raise RowIndexError(f"row {row} of a batch of {len(self)} rows")
        self._host_only("one row by number")
        values, mask = self._row_parts(row)
        if mask is None:
            return values
        dropped = ~mask.reshape(-1, *(1 for _ in self.item_shape))
        return np.ma.MaskedArray(values, np.broadcast_to(dropped, values.shape))

    def _row_parts(self, row: int) -> tuple[Array, Bools | None]:
        """A row's values, and their mask."""
        rows = self._rows
        start = int(rows.starts[row])
        steps = slice(start, start + int(rows.lengths[row]))
        return rows.values[steps], None if rows.mask is None else rows.mask[steps]

    def _row_numbers(self, rows: Any) -> AnyArray:
        if isinstance(rows, Ragged | Padded | tuple):
            raise UnsupportedTypeError(
                f"rows are picked by an integer, a slice or an array; got {type(rows).__name__}"
            )
        arrays, picked = self._rows.arrays, to_array(rows, "the index")
        if type(picked) is not type(self._rows.starts):
            same_device(rows=self._rows.starts, index=picked)
        if picked.dtype == np.bool_:
            if picked.shape != (len(self),):
                raise InvalidInputError(
                    f"an index of bools needs one for each of {len(self)} rows; "
                    f"got shape {picked.shape}"
                )
            return arrays.index_of_bools(picked)
        numbers = index_array(picked, "the index")
        outside = arrays.first_outside(numbers, None, -len(self), len(self))
        if outside >= 0:
            number = arrays.number_at(numbers, outside)
            raise RowIndexError(f"row {number} of a batch of {len(self)} rows")
        return numbers

    def truncate(self, maxlen: int, side: Side = "post") -> "Ragged":
        """Rows of at most `maxlen` steps, as a view; `side` is the end that is cut off.

        >>> import ragmask as rm
        >>> rm.Ragged.from_rows([[1, 2, 3], [4]]).truncate(2, side="pre").to_rows()
        [array([2, 3]), array([4])]
        """
        check_side("side", side)
        return Ragged._of(self._rows.truncate(check_count("maxlen", maxlen), side))

    def with_values(self, values: Any) -> "Ragged":
        """The same rows and mask over other values, (n, *any item), step for step as `.values` has.

        >>> import numpy as np
        >>> import ragmask as rm
        >>> r = rm.Ragged.from_rows([[1, 3], [3]])
        >>> r.with_values(r.values - np.repeat(rm.temporal_pool(r), r.lengths)).to_rows()
        [array([-1.,  1.]), array([0.])]

        The rows must lie end to end, in their order, as those of `compact()` do: in any other
        view, one value a step in the order of rows would land on other rows' steps. Raises
        InvalidInputError for such views, and for another number of steps.
        """
        other = values_array(values)
        same_device(rows=self._rows.values, values=other)
        if not self._rows.lie_end_to_end:
            raise InvalidInputError(
                "the rows of this view do not lie end to end, so values in the order of its rows "
                "would be given to others: r = r.compact() first, then r.with_values(...)"
            )
        if len(other) != len(self._rows.values):
            raise InvalidInputError(
                f"the values must be {len(self._rows.values)} steps, as many as `.values` has "
                f"now; got {len(other)}"
            )
        return Ragged._of(self._rows.over(other))

    def compact(self) -> "Ragged":
        """The rows end to end, covering their values; masked steps and their mask stay.

        Itself where it is compact already; no copy where the rows lie end to end somewhere
        in the values; else one copy of the rows' own steps.
        """
        rows = self._rows.compact()
        return self if rows is self._rows else Ragged._of(rows)

    def roll(self, n: Any) -> "Ragged":
        """Each row's kept steps moved on by `n`, the last ones to its front, as numpy's roll does.

        >>> import ragmask as rm
        >>> rm.Ragged.from_rows([[1, 2, 3], [], [4, 5]]).roll(1).to_rows()
        [array([3, 1, 2]), array([], dtype=int64), array([5, 4])]

        n : an integer, or one for each row; negative ones move steps back, and a row may be gone
            through several times. Masked steps stay where they are, and are 0.

        Returns a copy, compact. Raises InvalidInputError for another count of integers than rows.
        """
        rows, arrays = self._rows, self._rows.arrays
        if isinstance(n, int) or to_array(n, "n").ndim == 0:
            shifts = arrays.full(check_count("n", n, -LARGEST, LARGEST), (len(self),), np.int64)
        else:
            shifts = index_array(n, "n")
            same_device(values=rows.values, n=shifts)
            if len(shifts) != len(self):
                raise InvalidInputError(
                    f"n must be one integer, or one for each of {len(self)} rows; got {len(shifts)}"
                )
        out = arrays.empty((rows.n_steps, *rows.item_shape), rows.dtype)
        turn_rows(rows, shifts, False, out)
        layout = rows.layout.end_to_end
        return Ragged._of(Rows(arrays.read_only(out), layout, rows.compact_mask(), rows.form))

    def drop_masked(self) -> "Ragged":
        """The rows without their masked steps, which makes them shorter; itself without a mask.

        >>> import ragmask as rm
        >>> rm.masking(rm.Ragged.from_rows([[1.0, 0.0], [0.0]])).drop_masked().to_rows()
        [array([1.]), array([], dtype=float64)]

        One copy of the kept steps. Raises DeviceError on a CUDA device.
        """
        if self._rows.mask is None:
            return self
        self._host_only("drop_masked()")
        rows = self._rows.compact()
        mask: Any = rows.mask
        # a copy, since others may write to the mask, of bools whose bytes are 0 or 1
        kept = mask.view(np.uint8) != 0
        values, lengths = rows.values[kept], kept_counts(rows.masked(kept))
        layout = Layout.of_lengths(HOST, read_only(lengths))
        return Ragged._of(Rows(read_only(values), layout, None, rows.form))

    # -- to other shapes ------------------------------------------------------------------

    def to_padded(
        self,
        maxlen: int | None = None,
        *,
        padding: Side = "post",
        truncating: Side = "post",
        value: Any = 0,
        multiple_of: int | None = None,
        dtype: npt.DTypeLike | None = None,
        out: Padded | tuple[Any, Any] | None = None,
    ) -> Padded:
        """A dense array of the rows, and the mask of what is real in it.

        >>> import ragmask as rm
        >>> r = rm.Ragged.from_rows([[711, 632, 71], [73, 8, 3215, 55, 927]])
        >>> r.to_padded(maxlen=4)
        Padded(2 rows of 4 steps, int64, 7 kept)
          [711 632 71 ·]
          [73 8 3215 55]

        Parameters
        ----------
        maxlen : the width; by default the longest row's length.
        padding, truncating : "post" or "pre", the end that is padded or cut off.
        value : what padding holds: a number, or one step (*item).
        multiple_of : rounds the width up, for hardware that likes it.
        dtype : of the result. One that could lose something is refused.
        out : a Padded of the right shape, or a pair of flat buffers (values, mask) with room
            enough, of whose front a view is returned. Fresh pages cost more than the padding:
            in a loop, pass buffers.

        Returns a Padded: values (rows, width, *item), mask (rows, width). Masked steps keep
        their value, and their mask. Raises InvalidInputError for a negative maxlen, an unknown
        word, a value or an `out` that does not fit; UnsupportedTypeError for a lossy dtype.
        """
        target = (out._values, out._mask) if isinstance(out, Padded) else out
        options = maxlen, padding, truncating, value, multiple_of, dtype, target
        return Padded._of(*pads.to_padded(self._rows, *options))

    def to_arrow(self) -> Any:
        """A pyarrow list array (a large list from 2^31 steps on), masked steps as nulls.

        Rows that came from Arrow are written as the type they had, where they still fit it, and
        null lists as null again.

        >>> import ragmask as rm
        >>> rm.Ragged.from_rows([[1, 2], []]).to_arrow().to_pylist()
        [[1, 2], []]

        Numbers keep the memory of the compact form. Steps of a shape become fixed-size lists.
        """
        self._host_only("to_arrow()")
        return arrow.write_rows(self._rows)

    def __arrow_c_array__(self, requested_schema: Any = None) -> tuple[Any, Any]:
        """The Arrow PyCapsule interface: `pa.array(r)`, `pa.table({"x": r})`, `pl.Series(r)`."""
        capsules: tuple[Any, Any] = self.to_arrow().__arrow_c_array__(requested_schema)
        return capsules

    def to_rows(self) -> list[Array]:
        """Each row as an array: a view, or a numpy masked array where there is a mask."""
        return list(self)

    # -- between host and device ----------------------------------------------------------

    def to_device(self, library: Library = "numba", device: int = 0) -> "Ragged":
        """A copy on a CUDA device; needs the extra `cuda` or `cuda12`. Itself where it is there.

            batch = ragged.to_device()
            vectors = rm.embedding(batch, table)      # runs there, and stays there
            vectors.to_host()

        library : "numba", "torch" or "cupy": who allocates, whose current stream the work runs on,
            and whose arrays `.values` and the ops give back.
        device : its number.

        Only the rows' own steps are copied. Raises DeviceError where there is no GPU, or where
        the batch lives on another one already.
        """
        if self._rows.arrays.is_on_device(device):
            return self
        rows = self._rows.compact()
        arrays = rows.values, rows.starts, rows.lengths, rows.mask
        values, starts, lengths, mask = move_to_device(library, device, *arrays)
        known: Facts = {"n_steps": rows.n_steps, "longest": rows.layout.longest, "begin": 0}
        return Ragged._of(Rows(values, Layout(arrays_of(values), starts, lengths, known), mask))

    def to_host(self) -> "Ragged":
        """A copy in the host's memory; itself where it is there. Only the rows' own steps move."""
        arrays = self._rows.arrays
        if arrays.is_host:
            return self
        rows = self._rows.compact()
        layout = Layout.between(HOST, rows.n_steps, read_only(arrays.to_host(rows.layout.offsets)))
        mask = None if rows.mask is None else arrays.to_host(rows.mask)
        return Ragged._of(Rows(read_only(arrays.to_host(rows.values)), layout, mask))

    def _host_only(self, what: str) -> None:
        self._rows.arrays.host_only(
            f"{what} is for batches on the host, and this one lives on {{place}}: "
            "call to_host() first"
        )

    # -- Python's and numpy's protocols ---------------------------------------------------

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        raise UnsupportedTypeError(
            "a Ragged is no dense array: take .values for its steps or .to_padded() for a "
            "(rows, width) array with a mask"
        )

    def _dense(self) -> tuple[Array, Bools | None]:
        self._rows.arrays.host_only(
            "numpy does not reach {place}: compute with the library whose array .values is, and "
            "put the result back with with_values()"
        )
        rows = self._rows.compact()
        return rows.values, rows.mask

    def _like(self, values: Array, mask: Bools | None) -> "Ragged":
        rows = self._rows
        return Ragged._of(Rows(read_only(values), rows.layout.end_to_end, mask, rows.form))

    def _check_same_rows(self, other: "Ragged", what: str) -> None:
        check_same_lengths(self._rows.arrays, self._rows.lengths, other._rows.lengths, what)

    def __reduce__(self) -> Any:
        self._host_only("pickling")
        rows = self._rows.compact()
        return _restored, (rows.values, rows.layout.offsets, rows.mask, rows.form)

    def __repr__(self) -> str:
        head = f"Ragged({', '.join(self._told())})"
        return with_rows(head, len(self), self._row_parts) if self._rows.arrays.is_host else head

    def _repr_html_(self) -> str:
        return whole(self._drawing())

    def _told(self) -> list[str]:
        """What the first line says of it."""
        rows = self._rows
        told = [count(len(self), "row"), count(self.n_steps, "step")]
        told.append(item_name(self.item_shape, self.dtype))
        is_host = rows.arrays.is_host
        if len(self):
            span = f"{rows.lengths.min()}–" if is_host else "to "
            told.append(f"lengths {span}{self.max_length}")
        if rows.mask is not None:
            told.append("masked")
        return told if is_host else [*told, f"on {self.device}"]

    def _drawing(self) -> Drawing:
        def row(number: int) -> Row:
            return Row([Piece(*self._row_parts(number))])

        return Drawing(
            "Ragged", self._told(), len(self), row if self._rows.arrays.is_host else None
        )


def _restored(values: Any, offsets: Any, mask: Any, form: arrow.Form | None) -> Ragged:
    """A Ragged as it was pickled."""
    rows = Ragged.from_offsets(values, offsets, mask)._rows
    return Ragged._of(Rows(rows.values, rows.layout, rows.mask, form))
