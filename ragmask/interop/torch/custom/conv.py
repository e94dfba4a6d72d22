"""Convolution over the steps of each row."""

from typing import Any

import torch
from torch import Tensor

from ragmask.batches.ragged import Ragged
from ragmask.errors import UnsupportedTypeError
from ragmask.interop.torch.custom.arrays import array_like, array_of, rows_of, tensor_of
from ragmask.interop.torch.custom.define import define, fake, no_second
from ragmask.ops.conv import check_shape, conv_gradient
from ragmask.ops.conv import temporal_conv as numpy_conv


@define("temporal_conv")
def temporal_conv(
    values: Tensor,
    offsets: Tensor,
    mask: Tensor | None,
    kernel: Tensor,
    bias: Tensor | None,
    causal: bool,
    dilation: int,
) -> Tensor:
    check_weights(values, kernel, bias)
    arrays = kernel.detach(), None if bias is None else bias.detach()
    given = Ragged._of(rows_of(values, offsets, mask))
    return tensor_of(numpy_conv(given, *arrays, causal=causal, dilation=dilation)._rows.values)


@define("temporal_conv_gradient")
def _conv_gradient(
    values: Tensor,
    offsets: Tensor,
    mask: Tensor | None,
    kernel: Tensor,
    gradient: Tensor,
    causal: bool,
    dilation: int,
    wants_values: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    check_weights(values, kernel, None)
    rows, weights = rows_of(values, offsets, mask), array_of(kernel, "kernel")
    given = array_like(gradient, values.shape, values, "the gradient")
    of_x, of_weights = conv_gradient(rows, weights, given, causal, dilation, wants_values)
    of_values = values.new_empty(0) if of_x is None else tensor_of(of_x)
    weights_and_bias = tensor_of(of_weights)  # no two results may lie in one tensor
    return of_values, weights_and_bias[:-1].clone(), weights_and_bias[-1].clone()


@fake(temporal_conv)
def _(
    values: Tensor,
    offsets: Tensor,
    mask: Tensor | None,
    kernel: Tensor,
    bias: Tensor | None,
    causal: bool,
    dilation: int,
) -> Tensor:
    return torch.empty_like(values, memory_format=torch.contiguous_format)


@fake(_conv_gradient)
def _(
    values: Tensor,
    offsets: Tensor,
    mask: Tensor | None,
    kernel: Tensor,
    gradient: Tensor,
    causal: bool,
    dilation: int,
    wants_values: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    new = values.new_empty
    return new(values.shape if wants_values else (0,)), new(kernel.shape), new(kernel.shape[1:])


def _keep_conv(ctx: Any, inputs: Any, output: Tensor) -> None:
    *tensors, _, ctx.causal, ctx.dilation = inputs
    ctx.save_for_backward(*tensors)


def _undo_conv(ctx: Any, gradient: Tensor) -> Any:
    wants, _, _, _, wants_bias, _, _ = ctx.needs_input_grad
    of_values, of_kernel, of_bias = _conv_gradient(
        *ctx.saved_tensors, gradient, ctx.causal, ctx.dilation, wants
    )
    of_bias = of_bias if wants_bias else None
    return of_values if wants else None, None, None, of_kernel, of_bias, None, None


temporal_conv.register_autograd(_undo_conv, setup_context=_keep_conv)
no_second(_conv_gradient)


def check_weights(values: Tensor, kernel: Tensor, bias: Tensor | None) -> None:
    """Raise unless all are of one dtype that is computed in, and fit each other."""
    for name, tensor in ("kernel", kernel), ("bias", bias):
        if tensor is None:
            continue
        if tensor.dtype != values.dtype or values.dtype not in (torch.float32, torch.float64):
            raise UnsupportedTypeError(
                "temporal_conv: values and weights are float32 or float64, both the same; got "
                f"{values.dtype}, and {name} of {tensor.dtype}: take x.to({tensor.dtype}), or the "
                f"layer's .to({values.dtype})"
            )
        check_shape(name, tensor.shape, tuple(values.shape[1:]), int(tensor is kernel))
