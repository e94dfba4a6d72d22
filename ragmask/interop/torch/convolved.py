"""Layers that convolve, on RaggedTensors."""

from typing import Any

import torch
from torch import Tensor

from ragmask import layers
from ragmask.interop.torch import functional
from ragmask.interop.torch.ragged import RaggedTensor, made, offsets_of


def convolved(layer: Any, x: RaggedTensor, kernel: Tensor, bias: Tensor | None) -> RaggedTensor:
    """What a Conv1D or DepthwiseConv1D gives before its activation; masked steps become 0."""
    counts, before = layer.counts(x.lengths)
    offsets, device = offsets_of(counts), x.device
    row = torch.arange(len(x), device=device).repeat_interleave(counts)
    number = torch.arange(len(row), device=device) - offsets[:-1][row]
    firsts = (x.offsets[:-1] - before)[row] + number * layer.stride
    met = [_met(x, row, firsts + tap * layer.dilation) for tap in range(layer.taps)]
    steps = firsts + layer.before
    if isinstance(layer, layers.DepthwiseConv1D):
        sums = _depthwise(layer, x, kernel, bias).index_select(0, steps)
    else:
        sums = _product(layer, x, kernel, met)
        sums = sums if bias is None else sums + bias
    if x.mask is None:
        return made(sums, offsets)
    mask = x.mask[steps]
    if layer.padding == "valid":
        mask = torch.stack([mask, *(kept for _, kept in met)]).all(0)
    return made(torch.where(mask[:, None], sums, 0), offsets, mask)


def _met(x: RaggedTensor, row: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """(places, whether there is a kept step of the row); 0 for a place outside it."""
    inside = (places >= x.offsets[row]) & (places < x.offsets[row + 1])
    places = torch.where(inside, places, 0)
    return places, inside if x.mask is None else inside & x.mask[places]


def _depthwise(layer: Any, x: RaggedTensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
    """Of all steps, each feature as often as the layer multiplies it."""
    x = x.with_values(x.values.repeat_interleave(layer.depth_multiplier, 1))
    causal, dilation = layer.padding != "same", layer.dilation
    sums = functional.temporal_conv(x, kernel.flatten(1), bias, causal=causal, dilation=dilation)
    return sums.values


def _product(
    layer: Any, x: RaggedTensor, kernel: Tensor, met: list[tuple[Tensor, Tensor]]
) -> Tensor:
    """The sum of each tap's product; a group of features makes its own filters."""
    taps, features, filters = kernel.shape
    groups = kernel.reshape(taps, features, layer.groups, filters // layer.groups)
    sums = x.values.new_zeros(len(met[0][0]), layer.groups, filters // layer.groups)
    for (places, kept), weights in zip(met, groups, strict=True):
        steps = torch.where(kept[:, None], x.values.index_select(0, places), 0)
        steps = steps.reshape(len(steps), layer.groups, features)
        sums = sums + torch.einsum("ngc,cgf->ngf", steps, weights)
    return sums.flatten(1)
