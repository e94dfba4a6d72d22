"""One form for every input of an op: rows to read, and the kind to give back."""

import math
from typing import Any, Literal, NamedTuple

import numpy as np

from ragmask.arrays.coerce import check_no_overlap, out_array, same_device, to_array
from ragmask.arrays.protocol import AnyArray, Arrays
from ragmask.batches.masks import kept_steps, masked_rows
from ragmask.batches.padded import Padded
from ragmask.batches.ragged import Ragged
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.rows.rows import Rows


class Input(NamedTuple):
    """The rows an op reads, and what it was given them as.

    An op writes its output steps row after row, at `out_starts`.
    """

    rows: Rows
    kind: Literal["ragged", "padded", "dense"]
    width: int

    @classmethod
    def of(cls, x: Any, mask: Any = None, what: str = "x") -> "Input":
        """Rows of a Ragged, a Padded or a dense (rows, width, *item) array.

        A mask passed by hand takes the place of the input's own.
        """
        if isinstance(x, Ragged):
            return cls(x._rows if mask is None else masked_rows(x._rows, mask), "ragged", 0)
        kind: Literal["padded", "dense"] = "padded" if isinstance(x, Padded) else "dense"
        if kind == "dense":
            array = to_array(x, what, spaced=True)
            if array.ndim < 2:
                raise InvalidInputError(
                    f"{what} must be a Ragged, a Padded or an array (rows, width, …); "
                    f"got an array of shape {array.shape}"
                )
            x = Padded(array)
        if mask is not None:
            x = Padded(x._values, kept_steps(mask) if isinstance(mask, Padded) else mask)
        return cls(x._rows, kind, x.shape[1])

    @property
    def arrays(self) -> Arrays:
        return self.rows.arrays

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
        lead = (rows.n_steps,) if self.kind == "ragged" else (len(rows), self.width)
        target = out_array("values", out, (*lead, *item_shape), np.dtype(dtype))
        same_device(x=rows.values, out=target)
        check_no_overlap(target, rows.values, rows.mask, *also_read)
        return target.reshape(rows.n_steps, *item_shape)

    def give(self, values: AnyArray, mask: AnyArray | None) -> Any:
        """Output steps, end to end, as the kind of the input. A mask makes dense Padded."""
        arrays = self.arrays
        if self.kind == "ragged":
            layout = self.rows.layout.end_to_end
            return Ragged._of(Rows(arrays.read_only(values), layout, mask))
        lead = (len(self.rows), self.width)
        values = values.reshape(*lead, *values.shape[1:])
        if self.kind == "dense" and mask is None:
            return arrays.native(values)
        return Padded._of(values, None if mask is None else mask.reshape(lead))


def floats(rows: Rows, what: str) -> Rows:
    """The rows in the dtype that kernels take: on the host float16 becomes float32."""
    dtype = rows.dtype
    if dtype.kind != "f" or dtype.itemsize > 8:
        raise UnsupportedTypeError(
            f"{what} must be float16, float32 or float64; got {dtype}: convert it first, "
            "with with_values(values.astype('float32'))"
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
