"""One value a row, at each of its steps."""

from typing import Any

import torch
from torch import Tensor

from ragmask.errors import InvalidInputError
from ragmask.interop.torch.custom.arrays import array_of, bits, rows_of, tensor_of
from ragmask.interop.torch.custom.define import define, fake
from ragmask.interop.torch.custom.steps import temporal_pool
from ragmask.ops.repeat import repeated


@define("temporal_repeat")
def temporal_repeat(values: Tensor, offsets: Tensor, mask: Tensor | None, n: int) -> Tensor:
    """`n` steps; masked ones are 0."""
    none = values.new_empty((n, 0), dtype=torch.bool)  # what rows are checked against
    rows = rows_of(none, offsets, mask)
    if values.ndim == 0 or len(values) != len(rows):
        raise InvalidInputError(
            f"there must be one value for each of {len(rows)} rows; got shape {tuple(values.shape)}"
        )
    steps = repeated(array_of(bits(values), "values"), rows.layout, rows.mask)
    return tensor_of(steps).view(values.dtype)


@fake(temporal_repeat)
def _(values: Tensor, offsets: Tensor, mask: Tensor | None, n: int) -> Tensor:
    return values.new_empty((n, *values.shape[1:]))


def _keep(ctx: Any, inputs: Any, output: Tensor) -> None:
    _, offsets, mask, _ = inputs
    ctx.save_for_backward(offsets, mask)


def _undo(ctx: Any, gradient: Tensor) -> Any:
    exact = gradient.float() if gradient.dtype == torch.bfloat16 else gradient
    of_values = temporal_pool(exact, *ctx.saved_tensors, "sum")
    return of_values.to(gradient.dtype), None, None, None


temporal_repeat.register_autograd(_undo, setup_context=_keep)
