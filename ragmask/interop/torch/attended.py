"""Layers of attention, on RaggedTensors."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ragmask import layers
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.interop.torch.attention import temporal_attention
from ragmask.interop.torch.ragged import RaggedTensor


def multi_head_attention(
    layer: layers.MultiHeadAttention,
    query: Any,
    weights: Mapping[int, Tensor],
    value: Any,
    key: Any = None,
    use_causal_mask: bool = False,
    **options: Any,
) -> Any:
    _check_attention(layer, options)
    window = layer.sliding_window
    if use_causal_mask or window is not None:
        _check_equal_rows(layer, query, value)
    projections = (
        (layer.query_dense, query),
        (layer.key_dense, value if key is None else key),
        (layer.value_dense, value),
    )
    mixed = temporal_attention(
        *(_projected(dense, x, weights) for dense, x in projections),
        causal=bool(use_causal_mask),
        window=None if window is None else window - 1,
    )
    if layer.use_gate:
        gate = _projected(layer.gate_dense, query, weights).values.sigmoid()
        mixed = mixed.with_values(mixed.values * gate)
    return _projected(layer.output_dense, mixed, weights, 2)


def _projected(
    dense: Any, x: RaggedTensor, weights: Mapping[int, Tensor], axes: int = 1
) -> RaggedTensor:
    """The product over the last so many axes of a step."""
    total = torch.tensordot(x.values, weights[id(dense.kernel)], axes)
    return x.with_values(total if dense.bias is None else total + weights[id(dense.bias)])


def attention(
    layer: layers.Attention,
    xs: Any,
    weights: Mapping[int, Tensor],
    use_causal_mask: bool = False,
    **options: Any,
) -> Any:
    _check_attention(layer, options)
    query, value, *rest = xs
    key = (rest[0] if rest else value).with_mask(None)
    if use_causal_mask:
        _check_equal_rows(layer, query, value)
    q, k, v = (x.with_values(x.values[:, None]) for x in (query, key, value))
    if layer.scale is not None:
        q = q.with_values(q.values * weights[id(layer.scale)])
    mixed = temporal_attention(q, k, v, causal=bool(use_causal_mask), scale=1.0)
    return mixed.with_values(mixed.values[:, 0])


def _check_attention(layer: Any, options: Mapping[str, Any]) -> None:
    for name in ("attention_mask", "query_mask", "value_mask", "key_mask"):
        if options.get(name) is not None:
            raise UnsupportedTypeError(f"layer {layer.name!r} has {name}, which to_torch knows not")
    if options.get("return_attention_scores"):
        raise UnsupportedTypeError(
            f"layer {layer.name!r} returns its attention scores, which are not kept here"
        )


def _check_equal_rows(layer: Any, query: RaggedTensor, value: RaggedTensor) -> None:
    """With a causal mask or a window it would matter where unequal rows begin."""
    if query.offsets is not value.offsets and not torch.equal(query.offsets, value.offsets):
        raise InvalidInputError(
            f"layer {layer.name!r} has a causal mask or a window, and rows of its query and value "
            "differ in length: to_torch knows those of equal length alone"
        )
