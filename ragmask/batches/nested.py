"""NestedRagged: rows of rows, as views of the rows of a Ragged."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Self, overload

import numpy as np
import numpy.typing as npt

from ragmask import arrow
from ragmask.arrays.coerce import index_array, mask_array
from ragmask.arrays.host import HOST, read_only
from ragmask.arrays.protocol import Array, Bools, Ints
from ragmask.batches.constructors import rows_of
from ragmask.batches.elementwise import apply
from ragmask.batches.picture import Drawing, Piece, Row, inner_rows
from ragmask.batches.ragged import Ragged
from ragmask.batches.show import count, item_name, nested_row_text, with_lines
from ragmask.errors import InvalidInputError, RowIndexError, UnsupportedTypeError
from ragmask.rows import padding as pads
from ragmask.rows.checks import Side, check_count, check_same_lengths, check_side
from ragmask.rows.layout import Layout
from ragmask.rows.rows import Rows, host_rows


class NestedPadded(NamedTuple):
    """Rows of rows as dense arrays: values (rows, width, inner width, *item), and their mask."""

    values: Array
    mask: Bools


class NestedRagged(Ragged):
    """Rows of rows: documents of sentences of words. Immutable.

    >>> import ragmask as rm
    >>> documents = rm.NestedRagged.from_rows([[[1.0, 3.0], [5.0]], [], [[2.0, 4.0, 6.0]]])
    >>> documents
    NestedRagged(3 rows, 3 inner rows, float64, lengths 0–2, inner lengths 1–3)
      [[1.0 3.0] [5.0]]
      []
      [[2.0 4.0 6.0]]
    >>> sentences = rm.temporal_pool(documents, "mean")  # from the inside out
    >>> sentences.to_rows()
    [array([2., 5.]), array([], dtype=float64), array([4.])]
    >>> rm.temporal_pool(sentences, "mean")
    array([3.5, 0. , 4. ])

    It is a Ragged whose steps are rows themselves: row i is
    `inner[starts[i] : starts[i] + lengths[i]]`, and picking, slicing and truncating give views of
    the outer rows alone. `inner` are the inner rows of all rows, in order, as a Ragged, and
    `outer` has one step for each of them. Ops that look at steps run inside each inner row and keep
    the nesting; those that make one entry out of a row, as pooling does, make one out of each inner
    row, and so a Ragged. numpy's ufuncs and operators work on each step. What cannot take rows of
    rows raises UnsupportedTypeError: give it `inner`, and put the result back with `with_inner`.

    Parameters
    ----------
    inner : Ragged, on the host. Not copied.
    starts, lengths : integers (rows,), along the rows of `inner`; copied, and checked once.
    mask : bool (inner rows,), True = keep, or None. It runs along the rows of `inner`; those that
        were null lists in Arrow are masked too.

    A masked inner row keeps its place. Ops compute what is in it, as if it were not masked; what
    they make of it is a masked step, which the next pooling leaves out. Rows in the errors of ops
    are those of `inner`.

    Raises InvalidInputError, naming the row, for rows that do not lie inside `inner`.
    """

    __slots__ = ("_parts",)
    __hash__ = None

    # The outer rows, whose values are the lengths of the inner rows, and the inner rows.
    _parts: tuple[Rows, Rows]

    def __init__(self, inner: Any, starts: Any, lengths: Any, mask: Any = None) -> None:
        rows = _inner_rows(inner)
        starts, lengths = index_array(starts, "starts"), index_array(lengths, "lengths")
        with _along(rows):
            layout = Layout.checked(HOST, len(rows), starts, lengths)
        self._parts = NestedRagged._made(*_over(layout, rows, mask))._parts

    @classmethod
    def from_offsets(cls, inner: Any, offsets: Any, mask: Any = None) -> Self:
        """Rows between neighbouring offsets, along the rows of a Ragged.

        >>> import ragmask as rm
        >>> words = rm.Ragged.from_rows([[1, 2], [3], [4, 5]])
        >>> rm.NestedRagged.from_offsets(words, [0, 2, 3])
        NestedRagged(2 rows, 3 inner rows, int64, lengths 1–2, inner lengths 1–2)
          [[1 2] [3]]
          [[4 5]]

        offsets integers (rows + 1,), never decreasing; mask bool (inner rows,) or None.
        """
        rows, offsets = _inner_rows(inner), index_array(offsets, "offsets")
        with _along(rows):
            layout = Layout.between(HOST, len(rows), offsets)
        return cls._made(*_over(layout, rows, mask))

    @classmethod
    def from_rows(cls, rows: Iterable[Any], dtype: npt.DTypeLike | None = None) -> Self:
        """Rows given one by one, each a list of inner rows, or a Ragged of them. One copy.

        >>> import ragmask as rm
        >>> rm.NestedRagged.from_rows([[[1, 2], [3]], []]).lengths
        array([2, 0])

        Here lists of lists of one size are rows of rows too; to `Ragged.from_rows` they are rows of
        vectors. dtype and errors are those of `Ragged.from_rows`, of all inner rows.
        """
        inner: list[Any] = []
        offsets = [0]
        for position, row in enumerate(rows):
            try:
                inner.extend(_no_text(row))
            except TypeError as error:
                raise InvalidInputError(
                    f"row {position} is the single value {row!r}: give each row as a list of rows"
                ) from error
            offsets.append(len(inner))

        def name(number: int) -> str:
            row = bisect_right(offsets, number) - 1
            return f"row {row}, inner row {number - offsets[row]}"

        layout = Layout.between(HOST, len(inner), read_only(np.array(offsets, np.int64)))
        return cls._made(*_over(layout, rows_of(inner, dtype, name), None))

    @classmethod
    def from_arrow(cls, array: Any, nulls: arrow.Nulls = "empty", items: Any = None) -> Self:
        """Rows of an Arrow array of lists of lists, as `Ragged.from_arrow` reads them.

        >>> import pyarrow as pa
        >>> import ragmask as rm
        >>> rm.NestedRagged.from_arrow(pa.array([[[1, None], None], None]))
        NestedRagged(2 rows, 2 inner rows, int64, lengths 0–2, inner lengths 0–2, masked)
          [[1 ·] ·]
          []

        A null inner list keeps its place as an empty row that is masked.
        """
        read = Ragged.from_arrow(array, nulls, items)
        if not isinstance(read, cls):
            raise UnsupportedTypeError(
                "a NestedRagged takes lists of lists, and this is ragged once: Ragged.from_arrow "
                "reads it"
            )
        return read

    @classmethod
    def _made(cls, outer: Rows, inner: Rows) -> Self:
        """Of rows that are known to lie inside the inner rows. Their mask says which are null."""
        made = cls.__new__(cls)
        form = inner.form
        bare = inner if form is None or form.valid is None else inner.formed(arrow.Form(form.type))
        made._parts = outer.over(inner.lengths), bare
        return made

    @classmethod
    def _of(cls, rows: Rows) -> Self:
        raise UnsupportedTypeError(
            "a NestedRagged is made by from_rows, from_arrow and from_offsets, or of a Ragged"
        )

    # -- what it holds --------------------------------------------------------------------

    @property
    def _rows(self) -> Rows:  # type: ignore[override]
        """What all code for a Ragged reads: nothing takes the outer rows for rows of numbers."""
        raise UnsupportedTypeError(
            "this takes no NestedRagged, whose steps are rows: give it .inner and put the result "
            "back with with_inner(), or pool the inner rows first, with rm.temporal_pool"
        )

    @property
    def inner(self) -> Ragged:
        """The inner rows of all rows, in order: those of row i are
        `inner[offsets[i] : offsets[i + 1]]`. A view."""
        outer, inner = self._own()
        return Ragged._of(_with_nulls(inner, outer.mask))

    @property
    def outer(self) -> Ragged:
        """The rows with one step for each inner row: its length, masked where it is.

        >>> import ragmask as rm
        >>> r = rm.NestedRagged.from_rows([[[1, 2], [3]], []])
        >>> r.outer.to_rows()
        [array([2, 1]), array([], dtype=int64)]
        >>> r.outer.with_values(rm.temporal_pool(r.inner, "last")).to_rows()
        [array([2, 3]), array([], dtype=int64)]
        """
        return self._with_entries(self._own()[1].lengths)

    def _own(self) -> tuple[Rows, Rows]:
        """The compact rows, and those of the inner rows that they have, in order."""
        outer, inner = self._parts
        if not outer.is_compact:
            begin = outer.layout.begin
            own: Any
            if begin is None:
                own = arrow.steps_of(outer.starts, outer.lengths)
            else:
                own = slice(begin, begin + outer.n_steps)
            inner, mask = inner.pick(own), None if outer.mask is None else outer.mask[own]
            outer = Rows(inner.lengths, outer.layout.end_to_end, mask, outer.form)
            self._parts = outer, inner  # the same rows, found once
        return outer, inner

    @property
    def starts(self) -> Ints:
        """int64 (rows,): where each row begins in `inner`."""
        return self.offsets[:-1]

    @property
    def lengths(self) -> Ints:
        """int64 (rows,): the inner rows of each row, masked ones included."""
        return HOST.given_out(self._parts[0].lengths)

    @property
    def offsets(self) -> Ints:
        """int64 (rows + 1,): row i is `inner[offsets[i] : offsets[i + 1]]`."""
        return HOST.given_out(self._parts[0].layout.offsets)

    @property
    def device(self) -> str:
        """Where it lives: always "cpu"."""
        return HOST.place

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._parts[1].dtype

    @property
    def item_shape(self) -> tuple[int, ...]:
        """The shape of one step of an inner row: () for numbers, (features,) for vectors."""
        return self._parts[1].item_shape

    @property
    def n_steps(self) -> int:
        """The number of inner rows, the sum of all lengths. `inner.n_steps` are theirs."""
        return self._parts[0].n_steps

    @property
    def max_length(self) -> int:
        """The most inner rows that a row has; 0 where there are no rows."""
        return self._parts[0].layout.longest

    @property
    def is_compact(self) -> bool:
        """Whether rows and inner rows cover what they are views of, with no gap or overlap."""
        return self._own()[1].is_compact

    # -- views ----------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._parts[0])

    def __iter__(self) -> Iterator[Ragged]:  # type: ignore[override]
        for row in range(len(self)):
            yield self[row]

    @overload  # type: ignore[override]
    def __getitem__(self, rows: int) -> Ragged: ...
    @overload
    def __getitem__(self, rows: Any) -> "NestedRagged": ...
    def __getitem__(self, rows: Any) -> Any:
        """The inner rows of one row as a Ragged (`r[3]`), or several rows (`r[2:5]`, by bools)."""
        outer, inner = self._parts
        if isinstance(rows, int | np.integer) and not isinstance(rows, bool):
            if not -len(self) <= rows < len(self):
                raise RowIndexError(f"row {rows} of a batch of {len(self)} rows")
            start, length = int(outer.starts[rows]), int(outer.lengths[rows])
            place = slice(start, start + length)
            mask = None if outer.mask is None else outer.mask[place]
            return Ragged._of(_with_nulls(inner.pick(place), mask))
        if isinstance(rows, tuple):
            raise UnsupportedTypeError(
                "rows are picked by an integer, a slice or an array, and inner rows by "
                "r.with_inner(r.inner...)"
            )
        picked = rows if isinstance(rows, slice) else Ragged._of(outer)._row_numbers(rows)
        return NestedRagged._made(outer.pick(picked), inner)

    def truncate(self, maxlen: int, side: Side = "post") -> "NestedRagged":
        """Rows of at most `maxlen` inner rows, as a view; `side` is the end that is cut off.

        >>> import ragmask as rm
        >>> r = rm.NestedRagged.from_rows([[[1, 2, 3], [4, 5]], [[6]]])
        >>> r.truncate(1)
        NestedRagged(2 rows, 2 inner rows, int64, lengths 1–1, inner lengths 1–3)
          [[1 2 3]]
          [[6]]
        >>> r.with_inner(r.inner.truncate(2)).inner.lengths
        array([2, 2, 1])
        """
        check_side("side", side)
        outer, inner = self._parts
        return NestedRagged._made(outer.truncate(check_count("maxlen", maxlen), side), inner)

    def with_inner(self, inner: Ragged) -> "NestedRagged":
        """The same rows and mask over other inner rows, as many as `.inner` has.

        >>> import ragmask as rm
        >>> r = rm.NestedRagged.from_rows([[[1, 2, 3], [4]], [[5, 6]]])
        >>> r.with_inner(r.inner.truncate(1, side="pre"))
        NestedRagged(2 rows, 3 inner rows, int64, lengths 1–2, inner lengths 1–1)
          [[3] [4]]
          [[6]]

        For one number or vector an inner row, use `r.outer.with_values(...)`, which is a Ragged.
        """
        rows = _inner_rows(inner)
        if len(rows) != self.n_steps:
            raise InvalidInputError(
                f"there must be {self.n_steps} inner rows, as many as `.inner` has now; "
                f"got {len(rows)}"
            )
        return self._with_rows(rows, self._own()[0].mask)

    def _with_rows(self, inner: Rows, mask: Bools | None) -> "NestedRagged":
        """The same rows over as many other inner rows, and the mask of these."""
        return NestedRagged._made(self._own()[0].masked(mask), inner)

    def _with_entries(self, entries: Array) -> Ragged:
        """The rows of one entry for each inner row."""
        outer = self._own()[0]
        form = None if outer.form is None else outer.form.one_level_less()
        return Ragged._of(outer.over(entries).formed(form))

    def compact(self) -> "NestedRagged":
        """Rows and inner rows end to end, covering their values; masked ones stay.

        Itself where it is compact already; one copy of their own steps where they lie in gaps.
        """
        outer, inner = self._own()
        compact = inner.compact()
        return self if compact is inner else NestedRagged._made(outer, compact)

    # -- to other shapes ------------------------------------------------------------------

    def to_padded(  # type: ignore[override]
        self,
        maxlen: tuple[int | None, int | None] | None = None,
        *,
        padding: Side | tuple[Side, Side] = "post",
        truncating: Side | tuple[Side, Side] = "post",
        value: Any = 0,
        multiple_of: tuple[int | None, int | None] | None = None,
        dtype: npt.DTypeLike | None = None,
    ) -> NestedPadded:
        """Dense arrays of the rows of rows, and the mask of what is real in them.

        >>> import ragmask as rm
        >>> values, mask = rm.NestedRagged.from_rows([[[1, 2, 3], [4]], [[5]]]).to_padded((None, 2))
        >>> values
        array([[[1, 2],
                [4, 0]],
        <BLANKLINE>
               [[5, 0],
                [0, 0]]])

        Parameters
        ----------
        maxlen : (the most inner rows of a row, the most steps of an inner row); None, or either of
            them None, is the longest there is.
        padding, truncating : "post" or "pre", the end that is padded or cut off; of both levels, or
            a pair (of rows, of inner rows).
        value : what padding holds: a number, or one step (*item).
        multiple_of : rounds the widths up: a pair too.
        dtype : of the result. One that could lose something is refused.

        Returns values (rows, width, inner width, *item) and mask (rows, width, inner width), False
        in masked inner rows. One level alone is `r.inner.to_padded()`: a Padded of the inner rows.
        """
        maxlens = _pair("maxlen", maxlen)
        multiples = _pair("multiple_of", multiple_of)
        paddings, cuts = _pair("padding", padding), _pair("truncating", truncating)
        check_side("truncating", cuts[0])
        cut = self if maxlens[0] is None else self.truncate(maxlens[0], cuts[0])
        outer, inner = cut._own()
        # one more inner row, of no steps, for the places where there is none: number -1
        number = Rows(np.arange(len(inner)), outer.layout, outer.mask)
        numbers, kept = pads.to_padded(
            number, maxlens[0], paddings[0], "post", -1, multiples[0], None, None
        )
        starts, lengths = (
            np.append(part, 0)[numbers.reshape(-1)] for part in (inner.starts, inner.lengths)
        )
        values, mask = pads.to_padded(
            host_rows(inner.values, starts, lengths, inner.mask),
            maxlens[1],
            paddings[1],
            cuts[1],
            value,
            multiples[1],
            dtype,
            None,
        )
        lead = *numbers.shape, values.shape[1]
        mask = mask.reshape(lead)
        if outer.mask is not None:
            mask &= kept[:, :, None]
        return NestedPadded(values.reshape(*lead, *inner.item_shape), mask)

    def to_arrow(self) -> Any:
        """A pyarrow array of lists of lists, masked inner rows and masked steps as nulls.

        What came from Arrow is written as the type it had, where it still fits that.

        >>> import ragmask as rm
        >>> rm.NestedRagged.from_rows([[[1, 2], []], []]).to_arrow().to_pylist()
        [[[1, 2], []], []]
        """
        return arrow.write_nested(*self._own())

    def to_rows(self) -> list[list[Array]]:  # type: ignore[override]
        """Each row as the list of its inner rows: arrays, as `Ragged.to_rows` gives them."""
        return [row.to_rows() for row in self]

    def to_host(self) -> "NestedRagged":
        """Itself."""
        return self

    # -- Python's and numpy's protocols ---------------------------------------------------

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        raise UnsupportedTypeError(
            "a NestedRagged is no dense array: take .inner for its inner rows, or .to_padded() for "
            "(rows, width, inner width) values and their mask"
        )

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        bare, nested = [], []
        for given in inputs:
            if isinstance(given, NestedRagged):
                nested.append(given)
            elif isinstance(given, Ragged):
                raise UnsupportedTypeError(
                    f"numpy.{ufunc.__name__} got a NestedRagged and a Ragged: compute with .inner, "
                    "or pool the inner rows first, with rm.temporal_pool"
                )
            bare.append(given.inner if isinstance(given, NestedRagged) else given)
        mask = None
        for batch in nested:
            self._check_same_rows(batch, f"the operands of numpy.{ufunc.__name__}")
            other = batch._own()[0].mask
            if other is not None:
                mask = other if mask is None else mask & other
        results = apply(Ragged, ufunc, method, bare, options)
        if isinstance(results, tuple):
            return tuple(self._with_rows(result._rows, mask) for result in results)
        return self._with_rows(results._rows, mask)

    def _check_same_rows(self, other: Ragged, what: str) -> None:
        check_same_lengths(HOST, self.lengths, other.lengths, what)

    def __reduce__(self) -> Any:
        outer, inner = self._own()
        form = outer.form
        return _restored, (Ragged._of(inner.compact()), outer.layout.offsets, outer.mask, form)

    def __repr__(self) -> str:
        return with_lines(f"NestedRagged({', '.join(self._told())})", len(self), self._row_text)

    def _told(self) -> list[str]:
        outer, inner = self._own()
        told = [count(len(self), "row"), count(self.n_steps, "inner row")]
        told.append(item_name(self.item_shape, self.dtype))
        for name, rows in (("lengths", outer), ("inner lengths", inner)):
            if len(rows):
                told.append(f"{name} {rows.lengths.min()}–{rows.layout.longest}")
        is_masked = outer.mask is not None or inner.mask is not None
        return [*told, "masked"] if is_masked else told

    def _drawing(self) -> Drawing:
        outer, inner = self._own()
        rows = Ragged._of(inner)

        def row(number: int) -> Row:
            first, length = int(outer.starts[number]), int(outer.lengths[number])
            end, last = first + inner_rows(length), first + length
            pieces = [
                Piece(*rows._row_parts(step), outer.mask is not None and not outer.mask[step])
                for step in range(first, end)
            ]
            return Row(pieces, last - end, int(inner.lengths[end:last].sum()))

        return Drawing("NestedRagged", self._told(), len(self), row, is_nested=True)

    def _row_text(self, row: int) -> str:
        outer, inner = self._own()
        first, mask = int(outer.starts[row]), outer.mask
        rows = Ragged._of(inner)
        return nested_row_text(
            int(outer.lengths[row]),
            lambda step: (
                None
                if mask is not None and not mask[first + step]
                else rows._row_parts(first + step)
            ),
        )


def _inner_rows(inner: Any) -> Rows:
    """The rows of what a caller says are inner rows."""
    if isinstance(inner, NestedRagged):
        raise UnsupportedTypeError(
            "the inner rows are a NestedRagged, and rows of rows are all it takes: give .inner"
        )
    if not isinstance(inner, Ragged):
        raise UnsupportedTypeError(
            f"the inner rows must be a Ragged; got {type(inner).__name__}: for one entry an inner "
            "row, use r.outer.with_values(...)"
        )
    inner._host_only("rows of rows")
    return inner._rows


def _over(layout: Layout, inner: Rows, mask: Any) -> tuple[Rows, Rows]:
    """The parts of a NestedRagged: rows along inner rows, of which some are masked or null."""
    kept = None if mask is None else mask_array(mask, (len(inner),))
    if inner.form is not None and inner.form.valid is not None:
        kept = inner.form.valid if kept is None else kept & inner.form.valid
    return Rows(inner.lengths, layout, kept), inner


def _with_nulls(inner: Rows, mask: Bools | None) -> Rows:
    """Inner rows that are null lists to Arrow where they are masked."""
    if inner.form is None and mask is None:
        return inner
    return inner.formed(arrow.Form(None if inner.form is None else inner.form.type, mask))


@contextmanager
def _along(inner: Rows) -> Iterator[None]:
    """Errors about places say that they count inner rows."""
    try:
        yield
    except InvalidInputError as error:
        raise InvalidInputError(f"along {count(len(inner), 'inner row')}, {error}") from error


def _no_text(row: Any) -> Any:
    if isinstance(row, str | bytes):
        raise TypeError("a text is no list of rows")
    return row


def _pair(name: str, given: Any) -> tuple[Any, Any]:
    """An argument for both levels: (of rows, of inner rows)."""
    if isinstance(given, tuple | list) and len(given) == 2:
        return given[0], given[1]
    if given is None or isinstance(given, str):
        return given, given
    raise InvalidInputError(f"{name} must be a pair, (of rows, of inner rows); got {given!r}")


def _restored(inner: Ragged, offsets: Any, mask: Any, form: arrow.Form | None) -> NestedRagged:
    """A NestedRagged as it was pickled."""
    outer, rows = NestedRagged.from_offsets(inner, offsets, mask)._parts
    return NestedRagged._made(outer.formed(form), rows)


Ragged._nested = NestedRagged._made
