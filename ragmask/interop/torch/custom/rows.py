"""Rows taken out of others, and padding: copies, whose gradients are copies."""

from typing import Any

import torch
from torch import Tensor

from ragmask.batches.ragged import Ragged
from ragmask.errors import InvalidInputError
from ragmask.interop.torch.custom.arrays import (
    array_like,
    as_is,
    bits,
    own_steps,
    rows_of,
    tensor_of,
)
from ragmask.interop.torch.custom.define import define, fake
from ragmask.rows.rows import add_rows


@define("take_rows")
def take_rows(values: Tensor, starts: Tensor, lengths: Tensor) -> Tensor:
    """The steps of rows that lie anywhere in `values`, end to end."""
    ragged = Ragged(as_is(bits(values)), as_is(starts), as_is(lengths))
    return own_steps(ragged, values.dtype)


@define("add_rows")
def _add_rows(gradient: Tensor, starts: Tensor, lengths: Tensor, n: int) -> Tensor:
    """The transpose: `n` steps, each the sum of the rows' steps that lie there."""
    dtype = gradient.dtype
    if dtype == torch.bfloat16:
        gradient = gradient.float()
    none = gradient.new_empty((n, 0), dtype=torch.bool)  # what rows are checked against
    layout = Ragged(as_is(none), as_is(starts), as_is(lengths))._rows.layout
    shape = layout.n_steps, *gradient.shape[1:]
    given = array_like(gradient, shape, gradient, "the gradient")
    added = add_rows(given, layout, n)
    steps = tensor_of(added)
    return (steps.clone() if added is given else steps).to(dtype)


@fake(take_rows)
def _(values: Tensor, starts: Tensor, lengths: Tensor) -> Tensor:
    n: Any = torch.library.get_ctx().new_dynamic_size()
    return values.new_empty((n, *values.shape[1:]))


@fake(_add_rows)
def _(gradient: Tensor, starts: Tensor, lengths: Tensor, n: int) -> Tensor:
    return gradient.new_empty((n, *gradient.shape[1:]))


def _keep_take(ctx: Any, inputs: Any, output: Tensor) -> None:
    values, starts, lengths = inputs
    ctx.n = values.shape[0]
    ctx.save_for_backward(starts, lengths)


def _undo_take(ctx: Any, gradient: Tensor) -> Any:
    return _add_rows(gradient, *ctx.saved_tensors, ctx.n), None, None


def _keep_add(ctx: Any, inputs: Any, output: Tensor) -> None:
    ctx.save_for_backward(*inputs[1:3])


def _undo_add(ctx: Any, gradient: Tensor) -> Any:
    return take_rows(gradient, *ctx.saved_tensors), None, None, None


take_rows.register_autograd(_undo_take, setup_context=_keep_take)
_add_rows.register_autograd(_undo_add, setup_context=_keep_add)


@define("to_padded")
def to_padded(values: Tensor, offsets: Tensor, width: int, value: float) -> Tensor:
    exact = values.float() if values.dtype == torch.bfloat16 else values
    ragged = Ragged._of(rows_of(exact, offsets))
    if width < (longest := ragged._rows.layout.longest):  # what was cut off would get a gradient
        raise InvalidInputError(f"width {width} is less than the longest row, {longest}")
    padded = ragged.to_padded(width, value=value)
    return tensor_of(padded._values).to(values.dtype)


@define("to_padded_gradient")
def _padded_gradient(gradient: Tensor, offsets: Tensor, n: int) -> Tensor:
    """The `n` steps of rows that were padded."""
    padded = Ragged.from_padded(as_is(bits(gradient)), lengths=as_is(offsets.diff()))
    if padded.n_steps != n:
        raise InvalidInputError(f"the offsets are of {padded.n_steps} steps; got n={n}")
    return own_steps(padded, gradient.dtype)


@fake(to_padded)
def _(values: Tensor, offsets: Tensor, width: int, value: float) -> Tensor:
    return values.new_empty((offsets.shape[0] - 1, width, *values.shape[1:]))


@fake(_padded_gradient)
def _(gradient: Tensor, offsets: Tensor, n: int) -> Tensor:
    return gradient.new_empty((n, *gradient.shape[2:]))


def _keep_padded(ctx: Any, inputs: Any, output: Tensor) -> None:
    values, offsets, *_ = inputs
    ctx.n = values.shape[0]
    ctx.save_for_backward(offsets)


def _undo_padded(ctx: Any, gradient: Tensor) -> Any:
    return _padded_gradient(gradient, *ctx.saved_tensors, ctx.n), None, None, None


def _keep_padded_gradient(ctx: Any, inputs: Any, output: Tensor) -> None:
    gradient, offsets, _ = inputs
    ctx.width = gradient.shape[1]
    ctx.save_for_backward(offsets)


def _undo_padded_gradient(ctx: Any, gradient: Tensor) -> Any:
    return to_padded(gradient, *ctx.saved_tensors, ctx.width, 0), None, None


to_padded.register_autograd(_undo_padded, setup_context=_keep_padded)
_padded_gradient.register_autograd(_undo_padded_gradient, setup_context=_keep_padded_gradient)
