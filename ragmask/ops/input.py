"""One form for every input of an op: rows to read, and the kind to give back."""

import math
from typing import Any, Literal, NamedTuple

import numpy as np

from ragmask import arrow
from ragmask.arrays.coerce import check_no_overlap, out_array, same_device, to_array
from ragmask.arrays.protocol import AnyArray, Arrays
from ragmask.batches.masks import kept_steps, masked_rows
from ragmask.batches.nested import NestedRagged
from ragmask.batches.padded import Padded
from ragmask.batches.ragged import Ragged
from ragmask.errors import InvalidInputError, RagmaskError, UnsupportedTypeError
from ragmask.rows.rows import Rows


class Input(NamedTuple):
    """The rows an op reads, and what it was given them as.

    An op writes its output steps row after row, at `out_starts`. Of a NestedRagged, the rows are
    its inner ones.
    """

    rows: Rows
    kind: Literal["ragged", "nested", "padded", "dense", "arrow"]
    width: int
    source: Any = None  # of Arrow and a NestedRagged, what was given

    @classmethod
    def of(cls, x: Any, mask: Any = None, what: str = "x") -> "Input":
        """Rows of a Ragged, a NestedRagged, a Padded, a dense (rows, width, *item) array, or
        Arrow's lists.

        A mask passed by hand takes the place of the input's own.
        """
        if arrow.is_arrow(mask) and not isinstance(mask, Ragged):
            mask = Ragged._of(arrow_rows(mask, "mask"))
        if isinstance(x, NestedRagged):
            if isinstance(mask, NestedRagged):
                x._check_same_rows(mask, "x and its mask")
                mask = mask.inner
            rows = x.inner._rows
            return cls(rows if mask is None else masked_rows(rows, mask), "nested", 0, x)
        if isinstance(x, Ragged):
            return cls(x._rows if mask is None else masked_rows(x._rows, mask), "ragged", 0)
        if arrow.is_arrow(x):
            rows = arrow_rows(x, what)
            return cls(rows if mask is None else masked_rows(rows, mask), "arrow", 0, x)
        kind: Literal["padded", "dense"] = "padded" if isinstance(x, Padded) else "dense"
        if kind == "dense":
            array = to_array(x, what, spaced=True)
            if array.ndim < 2:
                is_thing = array.ndim == 0 and array.dtype == object
                got = type(x).__name__ if is_thing else f"an array of shape {array.shape}"
                is_lazy = type(x).__module__.startswith("polars.")
                hint = ": import ragmask.interop.polars, and call x.ragmask" if is_lazy else ""
                raise InvalidInputError(
                    f"{what} must be a Ragged, a Padded, an array (rows, width, …) or an Arrow "
                    f"array of lists; got {got}{hint}"
                )
            x = Padded(array)
        if mask is not None:
            x = Padded(x._values, kept_steps(mask) if isinstance(mask, Padded) else mask)
        return cls(x._rows, kind, x.shape[1])

    @property
    def arrays(self) -> Arrays:
        return self.rows.arrays

    @property
    def is_ragged(self) -> bool:
        """Whether rows may differ in length."""
        return self.kind not in ("padded", "dense")

    @property
    def out_starts(self) -> AnyArray:
        """Where each row's output begins when rows lie end to end."""
        return self.rows.layout.end_to_end.starts

    def output(
        self, item_shape: tuple[int, ...], dtype: Any, out: Any, *also_read: AnyArray
    ) -> AnyArray:
        """Where the op writes, (n_steps, *item): fresh, or the caller's `out`."""
        rows = self.rows
        if out is None:
            return rows.arrays.empty((rows.n_steps, *item_shape), dtype)
        if isinstance(out, Ragged):
            raise UnsupportedTypeError("out must be an array: a Ragged is immutable")
        lead = (rows.n_steps,) if self.is_ragged else (len(rows), self.width)
        target = out_array("values", out, (*lead, *item_shape), np.dtype(dtype))
        same_device(x=rows.values, out=target)
        check_no_overlap(target, rows.values, rows.mask, *also_read)
        return target.reshape(rows.n_steps, *item_shape)

    def give(self, values: AnyArray, mask: AnyArray | None) -> Any:
        """Output steps, end to end, as the kind of the input. A mask makes dense Padded."""
        arrays = self.arrays
        if self.is_ragged:
            layout = self.rows.layout.end_to_end
            return self.give_view(Rows(arrays.read_only(values), layout, mask, self.rows.form))
        lead = (len(self.rows), self.width)
        values = values.reshape(*lead, *values.shape[1:])
        if self.kind == "dense" and mask is None:
            return arrays.native(values)
        return Padded._of(values, None if mask is None else mask.reshape(lead))

    def give_view(self, rows: Rows) -> Any:
        """Rows as a Ragged, or as the Arrow array that the input was; null lists stay null."""
        if self.kind == "ragged":
            return Ragged._of(rows)
        if self.kind == "nested":
            return self.source._with_rows(rows, None if rows.form is None else rows.form.valid)
        return arrow.as_kind_of(arrow.write_rows(rows), self.source)

    def give_rows(self, array: AnyArray) -> Any:
        """One entry a row (rows, *item): of Arrow an array of its own, null where a list was.

        Of a NestedRagged, one entry an inner row: a Ragged of its rows.
        """
        if self.kind == "nested":
            return self.source._with_entries(self.arrays.read_only(array))
        if self.kind != "arrow":
            return array
        form = self.rows.form
        items = arrow.write_items(np.ascontiguousarray(array), None if form is None else form.valid)
        return arrow.as_kind_of(items, self.source)


def arrow_rows(source: Any, what: str) -> Rows:
    """The rows of anything Arrow; lists of lists of one size are lists of vectors."""
    is_nested = False
    try:
        array = arrow.arrow_array(source)
        is_nested = arrow.is_list(array.type) and arrow.is_nested(array.type)
        return arrow.read_rows(array, items="vectors" if is_nested else None)
    except RagmaskError as error:
        how = f"; for rows of rows, pass Ragged.from_arrow({what}) itself" if is_nested else ""
        raise type(error)(f"{what} cannot be read by Ragged.from_arrow: {error}{how}") from error


def floats(rows: Rows, what: str) -> Rows:
    """The rows in the dtype that kernels take: on the host float16 becomes float32."""
    dtype = rows.dtype
    if dtype.kind != "f" or dtype.itemsize > 8:
        how = "with with_values(values.astype('float32'))"
        if rows.form is not None:
            how = "by a cast of the column to lists of float32"
        raise UnsupportedTypeError(
            f"{what} must be float16, float32 or float64; got {dtype}: convert it first, {how}"
        )
    computed = rows.arrays.computed(dtype)
    return rows if computed == dtype else as_dtype(rows, computed)


def as_dtype(rows: Rows, dtype: Any) -> Rows:
    """The rows' own steps in another dtype."""
    rows, arrays = rows.compact(), rows.arrays
    return rows.over(arrays.read_only(arrays.as_dtype(rows.values, dtype)))


def summed_dtypes(rows: Rows, op: str) -> tuple[np.dtype[Any], np.dtype[Any]]:
    """The dtype in which kernels take numbers that they add up, and that of the sums."""
    dtype = rows.dtype
    if dtype.kind == "f" and dtype.itemsize <= 8:
        return rows.arrays.computed(dtype), dtype
    if dtype.kind in "biu":
        widest = np.dtype(np.uint64 if dtype.kind == "u" else np.int64)
        return widest, widest
    raise UnsupportedTypeError(f"{op} takes floats, integers and bools; got {dtype}")


def flat_items(values: AnyArray) -> AnyArray:
    """(n, features): the items of a batch as vectors."""
    return values.reshape(len(values), math.prod(values.shape[1:]))
