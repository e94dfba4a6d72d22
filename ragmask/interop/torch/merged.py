"""Layers that join batches, on tensors and RaggedTensors."""

from collections.abc import Callable
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from ragmask import layers
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.interop.torch import functional
from ragmask.interop.torch.ragged import RaggedTensor
from ragmask.layers import Layer


def merged(layer: Any, xs: Any, *_: Any, **__: Any) -> Any:
    like = next((one for one in xs if isinstance(one, RaggedTensor)), None)
    if like is not None:  # vectors are the same for a row's every step
        bare = like.with_mask(None)
        xs = [
            one
            if isinstance(one, RaggedTensor)
            else bare.with_values(one.repeat_interleave(like.lengths, 0))
            for one in xs
        ]
    masks: list[Any] = [one.mask if isinstance(one, RaggedTensor) else None for one in xs]
    joined = _alike(layer, xs, lambda values: MERGING[type(layer)](_of_one_rank(values), masks))
    if not isinstance(joined, RaggedTensor):
        return joined
    has_all = all(mask is not None for mask in masks)
    return joined.with_mask(reduce(torch.logical_or, masks) if has_all else None)


def _product(values: list[Tensor], masks: list[Any]) -> Tensor:
    """A masked step counts as 1, and what all of them mask is 0."""
    pairs = zip(values, masks, strict=True)
    product = reduce(torch.mul, [torch.where(_wide(mask, one), one, 1) for one, mask in pairs])
    if any(mask is None for mask in masks):
        return product
    return torch.where(_wide(reduce(torch.logical_or, masks), product), product, 0)


def _extreme(of_two: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    """Masked steps of one are left to the others."""

    def of_all(values: list[Tensor], masks: list[Any]) -> Tensor:
        result, kept = values[0], masks[0]
        for one, mask in zip(values[1:], masks[1:], strict=True):
            other = torch.where(_wide(mask, one), one, result)
            result = of_two(torch.where(_wide(kept, result), result, other), other)
            kept = None if kept is None or mask is None else kept | mask
        return result

    return of_all


def _wide(mask: Tensor | None, values: Tensor) -> Tensor:
    """A mask of steps beside their values; all True where there is none."""
    if mask is None:
        return torch.ones((), dtype=torch.bool, device=values.device)
    return mask.reshape(-1, *(1,) * (values.ndim - 1))


def _of_one_rank(values: list[Tensor]) -> list[Tensor]:
    """What has fewer axes is the same for a row's every step."""
    rank = max(one.ndim for one in values)
    return [one.reshape(len(one), *(1,) * (rank - one.ndim), *one.shape[1:]) for one in values]


def concatenated(layer: Any, xs: Any, *_: Any, **__: Any) -> Any:
    are_ragged = [isinstance(one, RaggedTensor) for one in xs]
    rank = (xs[0].values.ndim + 1) if are_ragged[0] else xs[0].ndim
    axis = layer.axis % rank
    if axis == 1 and all(are_ragged):
        return functional.temporal_concat(xs)
    joined = _alike(layer, xs, lambda values: torch.cat(values, axis - rank))
    if not isinstance(joined, RaggedTensor) or all(one.mask is None for one in xs):
        return joined
    return joined.with_mask(reduce(torch.logical_or, map(functional.all_kept, xs)))


def _alike(layer: Layer, xs: Any, function: Callable[[list[Tensor]], Tensor]) -> Any:
    """Of tensors, or RaggedTensors of the same rows."""
    first = xs[0]
    for one in xs[1:]:
        if isinstance(one, RaggedTensor) is not isinstance(first, RaggedTensor):
            raise UnsupportedTypeError(
                f"layer {layer.name!r}: its inputs are RaggedTensors or tensors, and not both"
            )
        if isinstance(one, RaggedTensor) and not torch.equal(one.offsets, first.offsets):
            raise InvalidInputError(f"layer {layer.name!r}: its inputs have other rows")
    if not isinstance(first, RaggedTensor):
        return function(list(xs))
    return first.with_values(function([one.values for one in xs]))


MERGING: dict[type[Layer], Callable[..., Tensor]] = {
    layers.Add: lambda values, masks: reduce(torch.add, values),
    layers.Average: lambda values, masks: reduce(torch.add, values) / len(values),
    layers.Maximum: _extreme(torch.maximum),
    layers.Minimum: _extreme(torch.minimum),
    layers.Multiply: _product,
    layers.Subtract: lambda values, masks: reduce(torch.sub, values),
}
