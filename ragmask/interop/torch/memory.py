"""Memory and dtypes of tensors, and what may be converted at all."""

from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ragmask import arrow
from ragmask.arrays.coerce import number_dtype
from ragmask.arrays.protocol import Array
from ragmask.batches.ragged import Ragged
from ragmask.errors import InvalidInputError, UnsupportedTypeError

# which numpy dtype comes closest to the ones that torch has not
_TORCH_KNOWS = {"M": "int64", "m": "int64", "f": "float64", "c": "complex128"}


def writable(values: Array) -> Array:
    """A writable view where the owner of the memory lets anyone write to it, else a copy.

    torch has no read-only tensors.
    """
    if values.flags.aligned and not arrow.owns_memory(values):
        shared = values.view()
        with suppress(ValueError):  # numpy's word for memory that is read-only at its owner
            shared.flags.writeable = True
            return shared
    return values.copy()


def array_of(tensor: torch.Tensor, what: str) -> Array:
    """A numpy view of a tensor, or an error that says how to make one.

    Floats that numpy does not have, bfloat16 and those of 8 bits, are copied as float32, exactly.
    """
    check_plain(tensor, what)
    narrow = tensor.dtype.is_floating_point and tensor.dtype.itemsize <= 2
    if narrow and tensor.dtype != torch.float16:
        with suppress(NotImplementedError):  # of two in a byte
            tensor = tensor.float()
    try:
        array: Array = tensor.numpy()
    except (TypeError, RuntimeError) as error:
        raise UnsupportedTypeError(
            f"{what} of {tensor.dtype} cannot be read as a numpy array ({error}): "
            f"cast it first, for instance with {what}.float()"
        ) from error
    return array


def torch_dtype(dtype: np.dtype[Any]) -> torch.dtype:
    try:
        return torch.from_numpy(np.empty(0, dtype)).dtype
    except TypeError as error:
        raise UnsupportedTypeError(
            f"torch has no {dtype}: convert it first, with "
            f"r.with_values(r.values.astype({_TORCH_KNOWS.get(dtype.kind, dtype.name)!r}))"
        ) from error


def numpy_dtype(dtype: torch.dtype | npt.DTypeLike) -> np.dtype[Any]:
    if not isinstance(dtype, torch.dtype):
        return number_dtype(dtype)
    try:
        known: np.dtype[Any] = torch.empty(0, dtype=dtype, device="cpu").numpy().dtype
    except (TypeError, RuntimeError) as error:
        raise UnsupportedTypeError(
            f"numpy has no {dtype}: leave dtype out, and cast the tensor with values.to({dtype})"
        ) from error
    return known


def check_ragged(ragged: Ragged, function: str) -> None:
    if not isinstance(ragged, Ragged):
        raise UnsupportedTypeError(f"{function} takes a Ragged; got {name_of(ragged)}")


def check_unmasked(ragged: Ragged, what: str) -> None:
    if ragged.mask is not None:
        raise InvalidInputError(
            f"{what} has no mask, and the Ragged has one: drop its masked steps first, "
            "or use to_padded, which gives the mask too"
        )


def check_plain(tensor: torch.Tensor, what: str) -> None:
    if tensor.device.type != "cpu":
        raise UnsupportedTypeError(
            f"{what} lives on {tensor.device}, and nothing is moved silently: take {what}.cpu()"
        )
    if tensor.requires_grad:
        raise UnsupportedTypeError(
            f"{what} requires grad, which a Ragged cannot carry: take {what}.detach()"
        )


def name_of(given: object) -> str:
    if isinstance(given, torch.Tensor):
        return f"a tensor of layout {given.layout}"
    return type(given).__name__
