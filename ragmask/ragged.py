"""Ragged: rows of unequal length, as views of values laid end to end."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt
from numpy.lib.mixins import NDArrayOperatorsMixin

from ragmask import arrow, device_rows, elementwise, padding
from ragmask.arrow_device import read_rows_on_device
from ragmask.device_array import DeviceArray, Library, move_to_device, same_device
from ragmask.devices import (
    Array,
    Bools,
    Ints,
    given_out,
    index_array,
    mask_array,
    number_dtype,
    read_only,
    to_numpy,
    values_array,
)
from ragmask.errors import DeviceError, InvalidInputError, RowIndexError, UnsupportedTypeError
from ragmask.layout import (
    Side,
    check_count,
    check_rows,
    check_side,
    extent,
    is_end_to_end,
    offsets_of,
    rows_between,
    same_lengths,
    total_steps,
    truncate,
)
from ragmask.padded import Padded
from ragmask.show import count, item_name, with_rows


class Ragged(NDArrayOperatorsMixin):
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

    __slots__ = (
        "_form",
        "_is_compact",
        "_lengths",
        "_mask",
        "_max_length",
        "_n_steps",
        "_starts",
        "_values",
    )
    __hash__ = None  # type: ignore[assignment]

    _values: Array
    _starts: Ints
    _lengths: Ints
    _mask: Bools | None
    _form: arrow.Form | None  # how it is written to Arrow again
    _is_compact: bool | None
    _n_steps: int | None
    _max_length: int | None

    # -- constructors ---------------------------------------------------------------------

    def __init__(self, values: Any, starts: Any, lengths: Any, mask: Any = None) -> None:
        values = values_array(values)
        starts, lengths = index_array(starts, "starts"), index_array(lengths, "lengths")
        mask = None if mask is None else mask_array(mask, values.shape[:1])
        same_device(values=values, starts=starts, lengths=lengths, mask=mask)
        facts = check_rows(len(values), starts, lengths)
        self._set(values, starts, lengths, mask)._remember(facts)

    def _set(
        self,
        values: Array,
        starts: Ints,
        lengths: Ints,
        mask: Bools | None,
        form: arrow.Form | None = None,
    ) -> "Ragged":
        self._values, self._starts, self._lengths, self._form = values, starts, lengths, form
        writable = isinstance(mask, np.ndarray) and mask.flags.writeable
        self._mask = read_only(mask) if mask is not None and writable else mask
        self._is_compact = self._n_steps = self._max_length = None
        return self

    def _remember(self, facts: device_rows.Facts | None) -> "Ragged":
        """What a device told of the rows when they were checked."""
        if facts is not None:
            self._n_steps, self._max_length = facts.steps, facts.longest
            covers = facts.steps == len(self._values) and facts.first_start == 0
            self._is_compact = facts.is_end_to_end and covers
        return self

    def _look(self) -> None:
        """Ask the device, once, how many steps there are, how long the longest row is, …"""
        self._remember(device_rows.look(len(self._values), self._starts, self._lengths))

    @classmethod
    def _trusted(
        cls,
        values: Array,
        starts: Ints,
        lengths: Ints,
        mask: Bools | None,
        form: arrow.Form | None = None,
    ) -> "Ragged":
        """For rows that are known to lie inside the values."""
        return cls.__new__(cls)._set(values, starts, lengths, mask, form)

    @classmethod
    def from_offsets(cls, values: Any, offsets: Any, mask: Any = None) -> "Ragged":
        """Rows between neighbouring offsets, the layout of Arrow's lists.

        >>> import ragmask as rm
        >>> rm.Ragged.from_offsets([1, 2, 3], [0, 2, 2, 3]).lengths
        array([2, 0, 1])

        values (n, *item); offsets integers (rows + 1,), never decreasing, within 0 to n;
        mask bool (n,) or None. Raises InvalidInputError, naming the row, otherwise.
        """
        values, offsets = values_array(values), index_array(offsets, "offsets")
        mask = None if mask is None else mask_array(mask, values.shape[:1])
        same_device(values=values, offsets=offsets, mask=mask)
        starts, lengths, facts = rows_between(len(values), offsets)
        return cls._trusted(values, starts, lengths, mask)._remember(facts)

    @classmethod
    def from_rows(cls, rows: Iterable[Any], dtype: npt.DTypeLike | None = None) -> "Ragged":
        """Rows given one by one: lists of numbers, of lists, or arrays. One copy.

        >>> import ragmask as rm
        >>> rm.Ragged.from_rows([[1, 2, 3], [], [4.5]])
        Ragged(3 rows, 4 steps, float64, lengths 0–3)
          [1.0 2.0 3.0]
          []
          [4.5]

        dtype is by default what numpy makes of all rows that are not empty. Raises
        InvalidInputError, naming the row, where steps differ in shape or do not fit `dtype`.
        """
        parts = [_row_array(row, position, dtype) for position, row in enumerate(rows)]
        lengths = np.array([len(part) for part in parts], np.int64)
        full = [part for part in parts if len(part)] or parts[:1]
        for position, part in enumerate(parts):
            if len(part) and part.shape[1:] != full[0].shape[1:]:
                raise InvalidInputError(
                    f"row {position} has steps of shape {part.shape[1:]}, "
                    f"and the rows before it {full[0].shape[1:]}"
                )
        try:
            values = np.concatenate(full) if full else np.empty(0, dtype)
        except TypeError as error:
            kinds = ", ".join(sorted({str(part.dtype) for part in full}))
            raise UnsupportedTypeError(f"the rows have no dtype in common: {kinds}") from error
        offsets = read_only(offsets_of(lengths))
        return cls._trusted(values_array(values), offsets[:-1], read_only(lengths), None)

    @classmethod
    def from_arrow(cls, array: Any, nulls: arrow.Nulls = "empty", items: Any = None) -> "Ragged":
        """Rows of an Arrow list array, or of anything with the Arrow PyCapsule interface.

        >>> import pyarrow as pa
        >>> import ragmask as rm
        >>> rm.Ragged.from_arrow(pa.array([[1, None, 3], None, [4]]))
        Ragged(3 rows, 4 steps, int64, lengths 0–3, masked)
          [1 · 3]
          []
          [4]

        Lists, large lists, list views, fixed-size lists and fixed-shape tensors, chunked or
        sliced. One chunk of numbers, timestamps or durations without null items is not copied;
        bools, dates, dictionaries and null items cost one copy. A null item keeps its place
        with mask False and value 0. An array on a CUDA device (`__arrow_c_device_array__`, as
        cuDF's) stays there: its numbers keep their memory, and what lies under a null.

        nulls : "empty" reads a null list as an empty row, "error" raises and names it.
        items : of lists of lists of one size, that size, or "vectors" to find it: the inner lists
            become steps of so many features.

        The rows remember their type and which lists were null: `to_arrow()` gives them back.

        Raises UnsupportedTypeError for other types, with what to do; InvalidInputError for
        offsets that leave the values.
        """
        on_device = read_rows_on_device(array, nulls)
        if on_device is not None:
            return cls._trusted(*on_device[0])._remember(on_device[1])
        return cls._trusted(*arrow.read_rows(arrow.arrow_array(array), nulls, items))

    @classmethod
    def from_padded(
        cls, values: Any, mask: Any = None, *, lengths: Any = None, value: Any = None
    ) -> "Ragged":
        """The rows of a dense array without their padding, as views of it.

        >>> import numpy as np
        >>> import ragmask as rm
        >>> rm.Ragged.from_padded(np.array([[1, 2, 0], [0, 0, 0]]), value=0)
        Ragged(2 rows, 2 steps, int64, lengths 0–2)
          [1 2]
          []

        What is padding is said by one of `mask` (bool (rows, width), True = keep), `lengths`
        (integers (rows,), padding comes after) or `value` (steps all of whose features equal
        it). By none of them, rows are kept whole. Padding lies at the ends of a row: steps
        between that are masked stay in place and stay masked, and those that merely equal
        `value` are data. A Padded is taken with its mask.

        Raises InvalidInputError for shapes that disagree.
        """
        if isinstance(values, Padded):
            if mask is not None and values.mask is not None:
                raise InvalidInputError("the Padded has a mask of its own: pass its .values")
            values, mask = values.values, values.mask if mask is None else mask
        return cls._trusted(*padding.from_padded(values, mask, lengths, value))

    # -- what it holds --------------------------------------------------------------------

    @property
    def values(self) -> Array:
        """(n, *item), read-only. A view's rows need not cover it.

        On a device, an array of the library that the memory came from.
        """
        return given_out(self._values)

    @property
    def starts(self) -> Ints:
        """int64 (rows,): where each row begins in `values`."""
        return given_out(self._starts)

    @property
    def lengths(self) -> Ints:
        """int64 (rows,): the steps of each row, masked ones included."""
        return given_out(self._lengths)

    @property
    def mask(self) -> Bools | None:
        """bool (n,) along `values`, True = keep; None where every step counts."""
        return None if self._mask is None else given_out(self._mask)

    @property
    def device(self) -> str:
        """Where it lives: "cpu", or "cuda:0"."""
        return self._values.place if isinstance(self._values, DeviceArray) else "cpu"

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._values.dtype

    @property
    def item_shape(self) -> tuple[int, ...]:
        """The shape of one step: () for numbers, (features,) for vectors."""
        return self._values.shape[1:]

    @property
    def n_steps(self) -> int:
        """The sum of all lengths."""
        if self._n_steps is None and isinstance(self._lengths, DeviceArray):
            self._look()
        if self._n_steps is None:
            self._n_steps = total_steps(self._lengths)
        return self._n_steps

    @property
    def max_length(self) -> int:
        """The longest row's length; 0 where there are no rows."""
        if self._max_length is None and isinstance(self._lengths, DeviceArray):
            self._look()
        if self._max_length is None:
            self._max_length = int(self._lengths.max(initial=0))
        return self._max_length

    @property
    def is_compact(self) -> bool:
        """Whether the rows cover the values one after another, with no gap or overlap."""
        if self._is_compact is None and isinstance(self._lengths, DeviceArray):
            self._look()
        if self._is_compact is None:
            begins = len(self) == 0 or int(self._starts[0]) == 0
            covers = self.n_steps == len(self._values)
            self._is_compact = begins and covers and is_end_to_end(self._starts, self._lengths)
        return self._is_compact

    @property
    def offsets(self) -> Ints:
        """int64 (rows + 1,): row i is `values[offsets[i] : offsets[i + 1]]`.

        Raises InvalidInputError unless `is_compact`.
        """
        if not self.is_compact:
            raise InvalidInputError("only a compact Ragged has offsets: call compact() first")
        return given_out(self._offsets())

    def _offsets(self) -> Ints:
        return read_only(offsets_of(self._lengths))

    # -- views ----------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[Array]:
        for row in range(len(self)):
            yield self[row]

    @overload
    def __getitem__(self, rows: int) -> Array: ...
    @overload
    def __getitem__(self, rows: slice | Sequence[int] | Array) -> "Ragged": ...
    def __getitem__(self, rows: Any) -> Any:
        """One row as an array (`r[3]`), or several as a view (`r[2:5]`, `r[[4, 0]]`, by bools).

        A row with masked steps is a numpy masked array.
        """
        if isinstance(rows, int | np.integer) and not isinstance(rows, bool):
            return self._row(int(rows))
        return self._pick(rows if isinstance(rows, slice) else self._row_numbers(rows))

    def _pick(self, rows: slice | Array) -> "Ragged":
        """Several rows, whose numbers are known to be right."""
        if isinstance(self._starts, DeviceArray):
            return self._pick_on_device(rows)
        # contiguous: a kernel would be compiled once more for strided starts
        starts, lengths = (np.ascontiguousarray(a[rows]) for a in (self._starts, self._lengths))
        form = self._form
        if form is not None and form.valid is not None:
            form = form.pick(rows)
        return Ragged._trusted(
            self._values, read_only(starts), read_only(lengths), self._mask, form
        )

    def _pick_on_device(self, rows: Any) -> "Ragged":
        starts, lengths = self._starts, self._lengths
        if isinstance(rows, slice):
            first, last, by = rows.indices(len(self))
            if by == 1:
                rows = slice(first, last)
                return Ragged._trusted(self._values, starts[rows], lengths[rows], self._mask)
            rows = device_rows.progression(first, by, len(range(first, last, by)), starts)
        starts, lengths = device_rows.take(starts, rows), device_rows.take(lengths, rows)
        return Ragged._trusted(self._values, starts, lengths, self._mask)

    def _row(self, row: int) -> Array:
        if not -len(self) <= row < len(self):
            raise RowIndexError(f"row {row} of a batch of {len(self)} rows")
        if isinstance(self._starts, DeviceArray):
            raise self._for_the_host("one row by number")
        start = int(self._starts[row])
        steps = slice(start, start + int(self._lengths[row]))
        values = self._values[steps]
        if self._mask is None:
            return values
        dropped = ~self._mask[steps].reshape(-1, *(1 for _ in self.item_shape))
        return np.ma.MaskedArray(values, np.broadcast_to(dropped, values.shape))

    def _row_numbers(self, rows: Any) -> Array:
        if isinstance(rows, Ragged | Padded | tuple):
            raise UnsupportedTypeError(
                f"rows are picked by an integer, a slice or an array; got {type(rows).__name__}"
            )
        if isinstance(self._starts, DeviceArray):
            return self._row_numbers_on_device(rows)
        picked = to_numpy(rows, "the index")
        if picked.dtype == np.bool_:
            if picked.shape != (len(self),):
                raise InvalidInputError(
                    f"an index of bools needs one for each of {len(self)} rows; "
                    f"got shape {picked.shape}"
                )
            return picked.copy()  # starts and lengths are picked one after the other
        numbers = index_array(rows, "the index")
        outside = (numbers < -len(self)) | (numbers >= len(self))
        if outside.any():
            raise RowIndexError(f"row {numbers[outside.argmax()]} of a batch of {len(self)} rows")
        return numbers

    def _row_numbers_on_device(self, rows: Any) -> Array:
        numbers = index_array(rows, "the index")
        same_device(rows=self._starts, index=numbers)
        at = device_rows.first_outside(numbers, None, -len(self), len(self))
        if at >= 0:
            number = device_rows.number_at(numbers, at)
            raise RowIndexError(f"row {number} of a batch of {len(self)} rows")
        return numbers

    def truncate(self, maxlen: int, side: Side = "post") -> "Ragged":
        """Rows of at most `maxlen` steps, as a view; `side` is the end that is cut off.

        >>> import ragmask as rm
        >>> rm.Ragged.from_rows([[1, 2, 3], [4]]).truncate(2, side="pre").to_rows()
        [array([2, 3]), array([4])]
        """
        check_side("side", side)
        starts, lengths = truncate(self._starts, self._lengths, check_count("maxlen", maxlen), side)
        return Ragged._trusted(self._values, starts, lengths, self._mask, self._form)

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
        same_device(rows=self._values, values=other)
        if not self._lies_end_to_end():
            raise InvalidInputError(
                "the rows of this view do not lie end to end, so values in the order of its rows "
                "would be given to others: r = r.compact() first, then r.with_values(...)"
            )
        if len(other) != len(self._values):
            raise InvalidInputError(
                f"the values must be {len(self._values)} steps, as many as `.values` has now; "
                f"got {len(other)}"
            )
        return self._over(other)

    def _lies_end_to_end(self) -> bool:
        """Whether each row with a step begins where the one before it ended."""
        if self._is_compact or extent(self._starts, self._lengths)[0] is not None:
            return True
        if self.device != "cpu":
            return False
        some = self._lengths > 0
        return is_end_to_end(self._starts[some], self._lengths[some])

    def _over(self, values: Array) -> "Ragged":
        """The same rows over as many values, whatever is known of them with them."""
        rows = Ragged._trusted(values, self._starts, self._lengths, self._mask, self._form)
        rows._is_compact, rows._n_steps = self._is_compact, self._n_steps
        rows._max_length = self._max_length
        return rows

    def _masked(self, mask: Bools | None) -> "Ragged":
        """The same rows with a mask along the values, or without one."""
        rows = self._over(self._values)
        rows._mask = mask
        return rows

    def compact(self) -> "Ragged":
        """The rows end to end, covering their values; masked steps and their mask stay.

        Itself where it is compact already; no copy where the rows lie end to end somewhere
        in the values; else one copy of the rows' own steps.
        """
        if self.is_compact:
            return self
        values, starts, mask = padding.compact(
            self._values, self._starts, self._lengths, self._mask
        )
        return Ragged._trusted(values, starts, self._lengths, mask, self._form)

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
        from ragmask.padding import to_padded

        target = (out._values, out._mask) if isinstance(out, Padded) else out
        longest = self.max_length if maxlen is None else 0
        return Padded._trusted(
            *to_padded(
                self._values,
                self._starts,
                self._lengths,
                self._mask,
                longest,
                maxlen,
                padding,
                truncating,
                value,
                multiple_of,
                dtype,
                target,
            )
        )

    def to_arrow(self) -> Any:
        """A pyarrow list array (a large list from 2^31 steps on), masked steps as nulls.

        Rows that came from Arrow are written as the type they had, where they still fit it, and
        null lists as null again.

        >>> import ragmask as rm
        >>> rm.Ragged.from_rows([[1, 2], []]).to_arrow().to_pylist()
        [[1, 2], []]

        Numbers keep the memory of the compact form. Steps of a shape become fixed-size lists.
        """
        if self.device != "cpu":
            raise self._for_the_host("to_arrow()")
        rows = self.compact()
        return arrow.write_rows(rows._values, rows.offsets, rows._mask, rows._form)

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
        if isinstance(self._values, DeviceArray):
            if self._values.device != device:
                raise DeviceError(f"the batch lives on {self.device}: call to_host() first")
            return self
        rows = self.compact()
        arrays = move_to_device(
            library, device, rows._values, rows._starts, rows._lengths, rows._mask
        )
        moved: Any = Ragged._trusted(*arrays)
        moved._n_steps, moved._max_length = rows.n_steps, rows.max_length
        moved._is_compact = True
        return moved  # type: ignore[no-any-return]

    def to_host(self) -> "Ragged":
        """A copy in the host's memory; itself where it is there. Only the rows' own steps move."""
        if self.device == "cpu":
            return self
        rows: Any = self.compact()
        offsets = read_only(rows._offsets().to_host())
        mask = None if rows._mask is None else rows._mask.to_host()
        values = read_only(rows._values.to_host())
        return Ragged._trusted(values, offsets[:-1], read_only(np.diff(offsets)), mask)

    def _for_the_host(self, what: str) -> DeviceError:
        return DeviceError(
            f"{what} is for batches on the host, and this one lives on {self.device}: "
            "call to_host() first"
        )

    # -- Python's and numpy's protocols ---------------------------------------------------

    def __bool__(self) -> bool:
        raise elementwise.ambiguous("Ragged")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        raise UnsupportedTypeError(
            "a Ragged is no dense array: take .values for its steps or .to_padded() for a "
            "(rows, width) array with a mask"
        )

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        for given in inputs:
            if isinstance(given, Ragged) and given.device != "cpu":
                raise DeviceError(
                    f"numpy does not reach {given.device}: compute with the library whose array "
                    ".values is, and put the result back with with_values()"
                )
        return elementwise.apply(Ragged, ufunc, method, inputs, options)

    def _dense(self) -> tuple[Array, Bools | None]:
        rows = self.compact()
        return rows._values, rows._mask

    def _like(self, values: Array, mask: Bools | None) -> "Ragged":
        starts = read_only(offsets_of(self._lengths)[:-1])
        return Ragged._trusted(read_only(values), starts, self._lengths, mask, self._form)

    def _check_same_rows(self, other: "Ragged", what: str) -> None:
        same_lengths(self._lengths, other._lengths, what)

    def __reduce__(self) -> Any:
        if self.device != "cpu":
            raise self._for_the_host("pickling")
        rows = self.compact()
        return _restored, (rows._values, rows.offsets, rows._mask, rows._form)

    def __repr__(self) -> str:
        head = f"Ragged({count(len(self), 'row')}, {count(self.n_steps, 'step')}, "
        head += item_name(self.item_shape, self.dtype)
        if len(self):
            shortest = "" if self.device != "cpu" else f"{self._lengths.min()}–"
            head += f", lengths {shortest or 'to '}{self.max_length}"
        if self._mask is not None:
            head += ", masked"
        if self.device != "cpu":
            return f"{head}, on {self.device})"

        def show(row: int) -> tuple[Array, Bools | None]:
            start = int(self._starts[row])
            steps = slice(start, start + int(self._lengths[row]))
            return self._values[steps], None if self._mask is None else self._mask[steps]

        return with_rows(f"{head})", len(self), show)


def _restored(values: Any, offsets: Any, mask: Any, form: arrow.Form | None) -> Ragged:
    """A Ragged as it was pickled."""
    rows = Ragged.from_offsets(values, offsets, mask)
    rows._form = form
    return rows


def concatenate(parts: Sequence[Ragged]) -> Ragged:
    """The rows of several batches as one compact batch: one copy, of their own steps alone."""
    if len(parts) == 1:
        return parts[0]
    for part in parts:
        if part.device != "cpu":
            raise part._for_the_host("concatenating")
    compact = [part.compact() for part in parts]
    mask = None
    if any(part.mask is not None for part in compact):
        mask = np.concatenate(
            [
                np.ones(part.n_steps, np.bool_) if part.mask is None else part.mask
                for part in compact
            ]
        )
    lengths = np.concatenate([part.lengths for part in compact])
    return Ragged._trusted(
        read_only(np.concatenate([part.values for part in compact])),
        read_only(offsets_of(lengths)[:-1]),
        read_only(lengths),
        mask,
        arrow.joined_form([part._form for part in parts], [len(part) for part in parts]),
    )


def _row_array(row: Any, position: int, dtype: npt.DTypeLike | None) -> Array:
    what = f"row {position}"
    array = to_numpy(row, what)
    if dtype is not None:
        given = array
        try:
            with np.errstate(invalid="ignore"):
                array = given.astype(number_dtype(dtype), copy=False)
        except (OverflowError, TypeError, ValueError) as error:
            raise InvalidInputError(f"{what} cannot be read as {dtype}: {error}") from error
        if given.dtype.kind == "c" and array.dtype.kind != "c":
            raise InvalidInputError(f"{what} is complex, which {array.dtype} cannot hold")
        if array.dtype.kind in "biu" and given.dtype.kind in "biuf" and (array != given).any():
            raise InvalidInputError(
                f"{what} has values that do not fit {array.dtype}, as {given[array != given][0]}"
            )
    if array.ndim == 0:
        raise InvalidInputError(
            f"{what} is the single value {row!r}: give each row as a list or an array of steps"
        )
    if array.size == 0 and dtype is None and isinstance(row, list | tuple):
        return array
    return values_array(array, what)
