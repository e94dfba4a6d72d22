"""Ragged to torch's jagged and padded tensors, and back."""

from typing import Any

import numpy.typing as npt
import torch

from ragmask.arrays.protocol import check_size
from ragmask.batches.ragged import Ragged
from ragmask.errors import UnsupportedTypeError
from ragmask.interop.torch.memory import (
    array_of,
    check_plain,
    check_ragged,
    check_unmasked,
    name_of,
    numpy_dtype,
    torch_dtype,
    writable,
)
from ragmask.rows.checks import Side
from ragmask.rows.padding import padded_width


def to_jagged(ragged: Ragged) -> torch.Tensor:
    """A nested tensor of layout torch.jagged.

    >>> import ragmask as rm
    >>> from ragmask.interop.torch import to_jagged
    >>> jagged = to_jagged(rm.Ragged.from_rows([[1, 2, 3], [], [4]]))
    >>> jagged.values(), jagged.offsets()
    (tensor([1, 2, 3, 4]), tensor([0, 3, 3, 4]))

    values (n, *item) and offsets int64 (rows + 1,), with the shortest and longest length known.

    Rows that lie end to end in memory anyone may write to, a numpy array's or a tensor's, are
    not copied: writing to the tensor then changes the batch, as with torch.from_numpy. Rows
    in Arrow's memory, or in any other that its owner marked read-only, are copied once; so are
    rows that do not lie end to end.

    Raises InvalidInputError for a Ragged with a mask; UnsupportedTypeError for dtypes that
    torch does not have.
    """
    check_ragged(ragged, "to_jagged")
    check_unmasked(ragged, "a jagged tensor")
    torch_dtype(ragged.dtype)
    rows = ragged.compact()
    lengths = rows.lengths
    return torch.nested.nested_tensor_from_jagged(
        torch.from_numpy(writable(rows.values)),
        torch.from_numpy(writable(rows.offsets)),
        min_seqlen=int(lengths.min()) if len(rows) else 0,
        max_seqlen=rows.max_length,
    )


def from_jagged(tensor: torch.Tensor) -> Ragged:
    """The rows of a nested tensor of layout torch.jagged, over the tensor's own memory.

    >>> import torch
    >>> from ragmask.interop.torch import from_jagged
    >>> values, offsets = torch.tensor([1, 2, 3]), torch.tensor([0, 2, 3])
    >>> from_jagged(torch.nested.nested_tensor_from_jagged(values, offsets))
    Ragged(2 rows, 3 steps, int64, lengths 1–2)
      [1 2]
      [3]

    Rows with holes between them (the tensor has lengths()) stay where they are. Where another
    dimension is the ragged one, as behind `transpose(1, 2)`, it becomes the first: of (rows, heads,
    j, width), items are (heads, width). Values that are not contiguous then are copied. bfloat16
    and floats of 8 bits, which numpy does not have, become float32, exactly.

    Raises InvalidInputError, naming the row, for offsets or lengths that leave the values;
    UnsupportedTypeError for other tensors, for one that requires grad or lives on another device,
    and for other dtypes that numpy does not have.
    """
    if not isinstance(tensor, torch.Tensor) or tensor.layout != torch.jagged:
        raise UnsupportedTypeError(
            "from_jagged takes a nested tensor of layout torch.jagged; got "
            f"{name_of(tensor)}: padded tensors are read by Ragged.from_padded"
        )
    check_plain(tensor, "tensor")
    jagged: Any = tensor
    dimension = [isinstance(size, int) for size in jagged.shape].index(False)
    values = array_of(jagged.values().movedim(dimension - 1, 0), "tensor")
    offsets, lengths = jagged.offsets().numpy(), jagged.lengths()
    if lengths is None:
        return Ragged.from_offsets(values, offsets)
    return Ragged(values, offsets[:-1], lengths)


def to_padded(
    ragged: Ragged,
    maxlen: int | None = None,
    *,
    padding: Side = "post",
    truncating: Side = "post",
    value: Any = 0,
    multiple_of: int | None = None,
    dtype: torch.dtype | npt.DTypeLike | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """A dense tensor of the rows, and the bool tensor of what is real in it.

    >>> import ragmask as rm
    >>> from ragmask.interop.torch import to_padded
    >>> values, mask = to_padded(rm.Ragged.from_rows([[1, 2, 3], [4]]), padding="pre", value=-1)
    >>> values
    tensor([[ 1,  2,  3],
            [-1, -1,  4]])
    >>> mask
    tensor([[ True,  True,  True],
            [False, False,  True]])

    values (rows, width, *item), mask (rows, width), True = keep. `dtype` may be torch's or
    numpy's; the other options are those of `Ragged.to_padded`. Rows are written straight into
    the tensors' memory; only another dtype costs a conversion before.

    Raises what `Ragged.to_padded` raises; UnsupportedTypeError for dtypes that torch or numpy
    does not have.
    """
    check_ragged(ragged, "to_padded")
    target = ragged.dtype if dtype is None else numpy_dtype(dtype)
    width = padded_width(ragged._rows, maxlen, multiple_of)
    shape = (len(ragged), width, *ragged.item_shape)
    check_size(shape, target.itemsize)
    values = torch.empty(shape, dtype=torch_dtype(target), device="cpu")
    mask = torch.empty(shape[:2], dtype=torch.bool, device="cpu")
    ragged.to_padded(
        maxlen,
        padding=padding,
        truncating=truncating,
        value=value,
        multiple_of=multiple_of,
        dtype=target,
        out=(values.numpy(), mask.numpy()),
    )
    return values, mask
