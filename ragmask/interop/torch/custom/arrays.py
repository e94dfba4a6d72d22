"""Tensors as what ragmask's ops take, once they are checked, and their results as tensors."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ragmask.arrays.coerce import values_array
from ragmask.batches.ragged import Ragged
from ragmask.errors import InvalidInputError
from ragmask.interop.torch.memory import writable
from ragmask.rows.rows import Rows


def rows_of(values: Tensor, offsets: Tensor, mask: Tensor | None = None) -> Rows:
    """Rows over the tensors' own memory, once they are checked."""
    kept = None if mask is None else as_is(mask)
    ragged = Ragged.from_offsets(as_is(values), as_is(offsets), kept)
    if not ragged.is_compact:
        raise InvalidInputError(
            f"offsets must go from 0 to {len(values)}, the number of steps; they cover "
            f"{ragged.n_steps}"
        )
    return ragged._rows


def tensor_of(array: Any) -> Tensor:
    """A tensor over the memory of an op's result."""
    if isinstance(array, np.ndarray):
        return torch.from_numpy(writable(array))
    native = array.native() if hasattr(array, "native") else array
    tensor: Tensor = torch.as_tensor(native)
    return tensor


def array_of(tensor: Tensor, what: str) -> Any:
    return values_array(as_is(tensor), what)


def as_is(tensor: Tensor) -> Any:
    """Its memory: numpy's array where it can be, of which nothing has to be found out."""
    plain = tensor.detach().contiguous()
    if plain.is_cpu:
        with suppress(TypeError, RuntimeError):  # whoever reads the tensor says what is wrong
            return plain.numpy()
    return plain


def bits(values: Tensor) -> Tensor:
    """Something to copy in the place of values that numpy does not know."""
    return values.view(torch.int16) if values.dtype == torch.bfloat16 else values


def own_steps(ragged: Ragged, dtype: torch.dtype) -> Tensor:
    """The rows' steps, end to end, in memory that is nobody else's."""
    taken, arrays = ragged.compact()._rows.values, ragged._rows.arrays
    steps = tensor_of(taken)
    if not arrays.is_host or np.may_share_memory(taken, ragged._rows.values):
        steps = steps.clone()
    return steps.view(dtype)


def array_like(tensor: Tensor | None, shape: Sequence[int], like: Tensor, what: str) -> Any:
    """The array of a tensor, if there is one, of this shape, and of another's dtype.

    A kernel does not look, and anyone may call the op of a gradient.
    """
    if tensor is None:
        return None
    if tuple(tensor.shape) != tuple(shape) or tensor.dtype != like.dtype:
        raise InvalidInputError(
            f"{what} must be {like.dtype} {tuple(shape)}; got {tensor.dtype} {tuple(tensor.shape)}"
        )
    return array_of(tensor, what)
