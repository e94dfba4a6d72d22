"""One form for every input of an op: rows to read, and the kind to give back."""

import math
from typing import Any, Literal, NamedTuple

import numpy as np

from ragmask import device_rows
from ragmask.device_array import DeviceArray, same_device
from ragmask.devices import (
    Array,
    Bools,
    Ints,
    check_no_overlap,
    converted,
    empty,
    mask_array,
    native,
    out_array,
    read_only,
    to_array,
)
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.layout import offsets_of, same_lengths
from ragmask.padded import Padded
from ragmask.padding import copy_rows, end_to_end
from ragmask.ragged import Ragged


class Steps(NamedTuple):
    """The rows an op reads, and what it was given them as.

    An op writes its output steps row after row, at `out_starts`.
    """

    rows: Ragged
    kind: Literal["ragged", "padded", "dense"]
    width: int

    @classmethod
    def of(cls, x: Any, mask: Any = None, what: str = "x") -> "Steps":
        """Rows of a Ragged, a Padded or a dense (rows, width, *item) array.

        A mask passed by hand takes the place of the input's own.
        """
        if isinstance(x, Ragged):
            return cls(x if mask is None else _with_mask(x, mask), "ragged", 0)
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
            x = Padded(x._values, _kept(mask) if isinstance(mask, Padded) else mask)
        return cls(view_of(x), kind, x.shape[1])

    @property
    def out_starts(self) -> Ints:
        """Where each row's output begins when rows lie end to end."""
        if self.rows.is_compact:
            return self.rows._starts
        return read_only(offsets_of(self.rows._lengths)[:-1])

    def own_mask(self) -> Bools | None:
        """The mask of the rows' own steps, end to end."""
        rows = self.rows
        if rows._mask is None or rows.is_compact:
            return rows._mask
        kept = empty((rows.n_steps,), np.bool_, rows._values)
        copy_rows(rows._mask, rows._starts, rows._lengths, self.out_starts, kept)
        return read_only(kept)

    def output(self, item_shape: tuple[int, ...], dtype: Any, out: Any, *also_read: Array) -> Array:
        """Where the op writes, (n_steps, *item): fresh, or the caller's `out`."""
        rows = self.rows
        if out is None:
            return empty((rows.n_steps, *item_shape), dtype, rows._values)
        if isinstance(out, Ragged):
            raise UnsupportedTypeError("out must be an array: a Ragged is immutable")
        lead = (rows.n_steps,) if self.kind == "ragged" else (len(rows), self.width)
        target = out_array("values", out, (*lead, *item_shape), np.dtype(dtype))
        same_device(x=rows._values, out=target)
        check_no_overlap(target, rows._values, rows._mask, *also_read)
        return target.reshape(rows.n_steps, *item_shape)

    def give(self, values: Array, mask: Bools | None) -> Any:
        """Output steps, end to end, as the kind of the input. A mask makes dense Padded."""
        if self.kind == "ragged":
            rows = Ragged._trusted(read_only(values), self.out_starts, self.rows._lengths, mask)
            rows._is_compact, rows._n_steps = True, self.rows._n_steps
            rows._max_length = self.rows._max_length
            return rows
        lead = (len(self.rows), self.width)
        values = values.reshape(*lead, *values.shape[1:])
        if self.kind == "dense" and mask is None:
            return native(values)
        return Padded._trusted(values, None if mask is None else mask.reshape(lead))


def view_of(padded: Padded) -> Ragged:
    """A Padded's rows at full width, as a view: its rows may be spaced wider than they are."""
    steps, starts, mask = end_to_end(padded._values, padded._mask)
    rows, width = padded.shape[:2]
    lengths: Any
    if isinstance(starts, DeviceArray):
        lengths = device_rows.filled(width, (rows,), np.int64, starts)
    else:
        lengths = np.full(rows, width, np.int64)
    view = Ragged._trusted(steps, starts, read_only(lengths), mask)
    view._n_steps, view._max_length = rows * width, width if rows else 0
    return view


def floats(rows: Ragged, what: str) -> Ragged:
    """The rows in the dtype that a kernel computes in: float16 becomes float32."""
    if rows.dtype.kind != "f" or rows.dtype.itemsize > 8:
        raise UnsupportedTypeError(
            f"{what} must be float16, float32 or float64; got {rows.dtype}: convert it first, "
            "with with_values(values.astype('float32'))"
        )
    if rows.dtype == np.float16 and rows.device == "cpu":  # CUDA kernels read it as it is
        rows = rows.compact()
        rows = rows._over(read_only(converted(rows._values, np.float32)))
    return rows


def flat_items(values: Array) -> Array:
    """(n, features): the items of a batch as vectors."""
    return values.reshape(len(values), math.prod(values.shape[1:]))


def with_mask(x: Any, mask: Any) -> Any:
    """A batch with this mask in the place of its own, or with none."""
    if not isinstance(x, Ragged):
        values = x._values if isinstance(x, Padded) else x
        if mask is None:
            return Padded._trusted(values, None) if isinstance(x, Padded) else values
        if isinstance(mask, Ragged):
            raise InvalidInputError(
                f"the mask is a Ragged of {len(mask)} rows, and the batch an array of shape "
                f"{values.shape}"
            )
        return Padded(values, _kept(mask) if isinstance(mask, Padded) else mask)
    if mask is None:
        return x if x._mask is None else x._masked(None)
    if isinstance(mask, Ragged) and mask._mask is None and mask.dtype == np.bool_:
        rows_are_its = mask._starts is x._starts and mask._lengths is x._lengths
        if rows_are_its and len(mask._values) == len(x._values):
            return x._masked(mask._values)
    return _with_mask(x, mask)


def _with_mask(rows: Ragged, mask: Any) -> Ragged:
    rows = rows.compact()
    if isinstance(mask, Ragged):
        same_device(x=rows._values, mask=mask._values)
        same_lengths(rows._lengths, mask._lengths, "x and its mask")
        mask = _kept(mask.compact())
    kept = mask_array(mask, (rows.n_steps,))
    same_device(x=rows._values, mask=kept)
    return Ragged._trusted(rows._values, rows._starts, rows._lengths, kept)


def _kept(mask: Ragged | Padded) -> Array:
    """The bools of a mask that may be masked itself, as `ids != 0` is where ids are."""
    if mask._mask is None:
        return mask._values
    if isinstance(mask._values, DeviceArray):
        return device_rows.both(mask._mask, mask._values)
    return mask._values & mask._mask
