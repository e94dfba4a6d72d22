"""Ops that put each row's steps in another order, number them, or add them up in order."""

from typing import Any

import torch
from torch import Tensor

from ragmask.batches.ragged import Ragged
from ragmask.interop.torch.custom.arrays import array_like, bits, rows_of, tensor_of
from ragmask.interop.torch.custom.define import define, fake, no_second
from ragmask.ops.cumsum import cumsum_gradient
from ragmask.ops.cumsum import temporal_cumsum as numpy_cumsum
from ragmask.ops.flip import temporal_flip as numpy_flip
from ragmask.ops.sort import temporal_argsort as numpy_argsort

# -- flip: its gradient is a flip


@define("temporal_flip")
def temporal_flip(values: Tensor, offsets: Tensor, mask: Tensor | None) -> Tensor:
    flipped = numpy_flip(Ragged._of(rows_of(bits(values), offsets, mask)))
    return tensor_of(flipped._rows.values).view(values.dtype)


@fake(temporal_flip)
def _(values: Tensor, offsets: Tensor, mask: Tensor | None) -> Tensor:
    return _like(values)


def _keep_flip(ctx: Any, inputs: Any, output: Tensor) -> None:
    ctx.save_for_backward(*inputs[1:])


def _undo_flip(ctx: Any, gradient: Tensor) -> Any:
    return temporal_flip(gradient, *ctx.saved_tensors), None, None


temporal_flip.register_autograd(_undo_flip, setup_context=_keep_flip)


# -- sums so far

_UNSIGNED = torch.uint8, torch.uint16, torch.uint32, torch.uint64


@define("temporal_cumsum")
def temporal_cumsum(values: Tensor, offsets: Tensor, mask: Tensor | None) -> Tensor:
    sums = numpy_cumsum(Ragged._of(rows_of(values, offsets, mask)))
    return tensor_of(sums._rows.values)


@define("temporal_cumsum_gradient")
def _cumsum_gradient(gradient: Tensor, offsets: Tensor, mask: Tensor | None) -> Tensor:
    rows = rows_of(gradient, offsets, mask)
    of_sums = array_like(gradient, gradient.shape, gradient, "the gradient")
    return tensor_of(cumsum_gradient(rows, of_sums))


@fake(temporal_cumsum)
def _(values: Tensor, offsets: Tensor, mask: Tensor | None) -> Tensor:
    dtype = values.dtype
    if not dtype.is_floating_point:
        dtype = torch.uint64 if dtype in _UNSIGNED else torch.int64
    return values.new_empty(values.shape, dtype=dtype)


@fake(_cumsum_gradient)
def _(gradient: Tensor, offsets: Tensor, mask: Tensor | None) -> Tensor:
    return _like(gradient)


def _undo_cumsum(ctx: Any, gradient: Tensor) -> Any:
    return _cumsum_gradient(gradient, *ctx.saved_tensors), None, None


temporal_cumsum.register_autograd(_undo_cumsum, setup_context=_keep_flip)
no_second(_cumsum_gradient)


# -- sorting: values are taken by the steps' numbers, in torch itself


@define("temporal_argsort")
def temporal_argsort(
    values: Tensor, offsets: Tensor, mask: Tensor | None, descending: bool
) -> Tensor:
    """int64, of the values' shape: which step comes where, counted from its row's first."""
    rows = Ragged._of(rows_of(values, offsets, mask))
    return tensor_of(numpy_argsort(rows, descending=descending)._rows.values)


@fake(temporal_argsort)
def _(values: Tensor, offsets: Tensor, mask: Tensor | None, descending: bool) -> Tensor:
    return values.new_empty(values.shape, dtype=torch.int64)


def _like(values: Tensor) -> Tensor:
    return torch.empty_like(values, memory_format=torch.contiguous_format)
