"""Ragged to torch's PackedSequence, and back."""

import numpy as np
import torch
from torch.nn.utils.rnn import PackedSequence

from ragmask.arrays.coerce import index_array
from ragmask.arrays.host import offsets_of, read_only, total_steps
from ragmask.arrays.protocol import Ints
from ragmask.batches.ragged import Ragged
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.interop.torch.memory import (
    array_of,
    check_ragged,
    check_unmasked,
    name_of,
    torch_dtype,
)
from ragmask.rows.padding import pack_rows


def to_packed(ragged: Ragged) -> PackedSequence:
    """What torch's pack_padded_sequence(..., enforce_sorted=False) gives, without the padding.

    >>> import ragmask as rm
    >>> from ragmask.interop.torch import to_packed
    >>> packed = to_packed(rm.Ragged.from_rows([[1], [2, 3, 4], [5, 6]]))
    >>> packed.data, packed.batch_sizes
    (tensor([2, 5, 1, 3, 6, 4]), tensor([3, 2, 1]))
    >>> packed.sorted_indices
    tensor([1, 2, 0])

    The longest row comes first; equally long rows keep their order. One copy, of the rows' own
    steps.

    Raises InvalidInputError for a Ragged with a mask, without rows or with an empty row, which
    it names; UnsupportedTypeError for dtypes that torch does not have.
    """
    check_ragged(ragged, "to_packed")
    check_unmasked(ragged, "a PackedSequence")
    dtype = torch_dtype(ragged.dtype)
    if len(ragged) == 0:
        raise InvalidInputError("a PackedSequence has one row at least; the batch has none")
    if not ragged.lengths.all():
        raise InvalidInputError(
            f"row {int(ragged.lengths.argmin())} is empty, and a PackedSequence holds no empty "
            "rows: leave them out, with r[r.lengths > 0]"
        )
    order = np.argsort(-ragged.lengths, kind="stable")
    rows = ragged._rows.pick(order)
    lengths = rows.lengths
    sizes = len(ragged) - np.searchsorted(lengths[::-1], np.arange(lengths[0]), side="right")
    data = torch.empty((ragged.n_steps, *ragged.item_shape), dtype=dtype, device="cpu")
    step_starts = read_only(offsets_of(sizes)[:-1])
    pack_rows(rows, step_starts, data.numpy())
    indices = (sizes, order, _inverse(order))
    return PackedSequence(data, *(torch.from_numpy(array) for array in indices))


def from_packed(packed: PackedSequence) -> Ragged:
    """The rows of a PackedSequence, in their order before they were sorted. One copy.

    >>> import torch
    >>> from torch.nn.utils.rnn import pack_sequence
    >>> from ragmask.interop.torch import from_packed
    >>> rows = [torch.tensor([1]), torch.tensor([2, 3, 4])]
    >>> from_packed(pack_sequence(rows, enforce_sorted=False)).to_rows()
    [array([1]), array([2, 3, 4])]

    bfloat16 and floats of 8 bits, which numpy does not have, become float32, exactly.

    Raises InvalidInputError for batch sizes or indices that cannot be right;
    UnsupportedTypeError for anything else, for data that requires grad or lives on another
    device, and for other dtypes that numpy does not have.
    """
    if not isinstance(packed, PackedSequence):
        raise UnsupportedTypeError(f"from_packed takes a PackedSequence; got {name_of(packed)}")
    data = array_of(packed.data, "packed.data")
    sizes = index_array(array_of(packed.batch_sizes, "packed.batch_sizes"), "batch_sizes")
    _check_batch_sizes(sizes, data.shape)
    rows = int(sizes[0]) if sizes.size else 0
    place = _places(packed.unsorted_indices, rows)
    lengths = (sizes.size - np.searchsorted(sizes[::-1], np.arange(rows), side="right"))[place]
    offsets = offsets_of(lengths)
    steps = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
    values = np.take(data, offsets_of(sizes)[steps] + np.repeat(place, lengths), axis=0)
    return Ragged.from_offsets(values, offsets)


def _check_batch_sizes(sizes: Ints, shape: tuple[int, ...]) -> None:
    """Raise unless the sizes fall from step to step, to 1 or more, and count all of the data."""
    if not shape:
        raise InvalidInputError("packed.data is a single value; it must have a step axis")
    falls = sizes[1:] <= sizes[:-1]
    if not falls.all():
        step = int(falls.argmin())
        raise InvalidInputError(
            f"batch_sizes grow after step {step}, from {sizes[step]} to {sizes[step + 1]}"
        )
    if sizes.size and sizes[-1] < 1:
        raise InvalidInputError(f"batch_sizes must be 1 or more; got {sizes[-1]}")
    if total_steps(sizes) != shape[0]:
        raise InvalidInputError(
            f"batch_sizes count {total_steps(sizes)} steps, and packed.data has {shape[0]}"
        )


def _places(unsorted_indices: torch.Tensor | None, rows: int) -> Ints:
    """Where each row stands among the sorted ones."""
    if unsorted_indices is None:
        return np.arange(rows)
    place = index_array(array_of(unsorted_indices, "unsorted_indices"), "unsorted_indices")
    if not np.array_equal(np.sort(place), np.arange(rows)):
        raise InvalidInputError(f"unsorted_indices must name each of {rows} rows once")
    return place


def _inverse(order: Ints) -> Ints:
    inverse = np.empty_like(order)
    inverse[order] = np.arange(order.size)
    return inverse
