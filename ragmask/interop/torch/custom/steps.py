"""Ops that look at each row's steps: softmax, pooling, embedding and masking."""

from typing import Any

import torch
from torch import Tensor

from ragmask.batches.ragged import Ragged
from ragmask.interop.torch.custom.arrays import array_like, array_of, bits, rows_of, tensor_of
from ragmask.interop.torch.custom.define import define, fake, no_second
from ragmask.ops.embeddings import checked_ids, embedding_gradient
from ragmask.ops.embeddings import embedding as numpy_embedding
from ragmask.ops.masks import masking as numpy_masking
from ragmask.ops.pool import NUMBERED, checked_how, pool_gradient
from ragmask.ops.pool import temporal_pool as numpy_pool
from ragmask.ops.softmax import softmax_gradient
from ragmask.ops.softmax import temporal_softmax as numpy_softmax

# -- softmax


@define("temporal_softmax")
def temporal_softmax(values: Tensor, offsets: Tensor, mask: Tensor | None) -> Tensor:
    soft = numpy_softmax(Ragged._of(rows_of(values, offsets, mask)))
    return tensor_of(soft._rows.values)


@define("temporal_softmax_gradient")
def _softmax_gradient(
    soft: Tensor, offsets: Tensor, mask: Tensor | None, gradient: Tensor
) -> Tensor:
    rows = rows_of(soft, offsets, mask)
    of_soft = array_like(gradient, soft.shape, soft, "the gradient")
    return tensor_of(softmax_gradient(rows, of_soft))


@fake(temporal_softmax)
def _(values: Tensor, offsets: Tensor, mask: Tensor | None) -> Tensor:
    return torch.empty_like(values, memory_format=torch.contiguous_format)


@fake(_softmax_gradient)
def _(soft: Tensor, offsets: Tensor, mask: Tensor | None, gradient: Tensor) -> Tensor:
    return torch.empty_like(soft)


def _keep_softmax(ctx: Any, inputs: Any, output: Tensor) -> None:
    _, offsets, mask = inputs
    ctx.save_for_backward(output, offsets, mask)


def _undo_softmax(ctx: Any, gradient: Tensor) -> Any:
    return _softmax_gradient(*ctx.saved_tensors, gradient), None, None


temporal_softmax.register_autograd(_undo_softmax, setup_context=_keep_softmax)
no_second(_softmax_gradient)


# -- pooling

_UNSIGNED = torch.uint8, torch.uint16, torch.uint32, torch.uint64


@define("temporal_pool")
def temporal_pool(values: Tensor, offsets: Tensor, mask: Tensor | None, how: str) -> Tensor:
    pooled = numpy_pool(Ragged._of(rows_of(values, offsets, mask)), checked_how(how))
    return tensor_of(pooled)


@define("temporal_pool_gradient")
def _pool_gradient(
    values: Tensor, offsets: Tensor, mask: Tensor | None, gradient: Tensor, how: str
) -> Tensor:
    rows = rows_of(values, offsets, mask)
    shape = len(rows), *values.shape[1:]
    of_pooled = array_like(gradient, shape, values, "the gradient")
    return tensor_of(pool_gradient(rows, checked_how(how), of_pooled))


@fake(temporal_pool)
def _(values: Tensor, offsets: Tensor, mask: Tensor | None, how: str) -> Tensor:
    dtype, shape = values.dtype, (offsets.shape[0] - 1, *values.shape[1:])
    if how in NUMBERED:
        dtype = torch.int64
    elif not dtype.is_floating_point and how in ("mean", "std", "logsumexp"):
        dtype = torch.float64
    elif not dtype.is_floating_point and how == "sum":
        dtype = torch.uint64 if dtype in _UNSIGNED else torch.int64
    return values.new_empty(shape[:1] if how == "count" else shape, dtype=dtype)


@fake(_pool_gradient)
def _(values: Tensor, offsets: Tensor, mask: Tensor | None, gradient: Tensor, how: str) -> Tensor:
    return torch.empty_like(values, memory_format=torch.contiguous_format)


def _keep_pool(ctx: Any, inputs: Any, output: Tensor) -> None:
    values, offsets, mask, ctx.how = inputs
    if ctx.how in NUMBERED:
        ctx.mark_non_differentiable(output)
    ctx.save_for_backward(values, offsets, mask)


def _undo_pool(ctx: Any, gradient: Tensor) -> Any:
    return _pool_gradient(*ctx.saved_tensors, gradient, ctx.how), None, None, None


temporal_pool.register_autograd(_undo_pool, setup_context=_keep_pool)
no_second(_pool_gradient)


# -- embedding


@define("embedding")
def embedding(
    ids: Tensor, offsets: Tensor, mask: Tensor | None, table: Tensor, mask_zero: bool
) -> Tensor:
    rows = Ragged._of(rows_of(ids, offsets, mask))
    vectors = numpy_embedding(rows, array_of(bits(table), "table"))
    return tensor_of(vectors._rows.values).view(table.dtype)


@define("embedding_gradient")
def _embedding_gradient(
    ids: Tensor,
    offsets: Tensor,
    mask: Tensor | None,
    gradient: Tensor,
    vocabulary: int,
    mask_zero: bool,
) -> Tensor:
    rows, dtype = checked_ids(rows_of(ids, offsets, mask), vocabulary), gradient.dtype
    if dtype == torch.bfloat16:
        gradient = gradient.float()
    if mask_zero:  # a step of id 0 is masked in what was given back
        rows = rows.masked(rows.arrays.kept_nonzero(rows.mask, rows.values))
    shape = len(ids), *gradient.shape[1:]
    of_steps = array_like(gradient, shape, gradient, "the gradient")
    return tensor_of(embedding_gradient(rows, vocabulary, of_steps)).to(dtype)


@fake(embedding)
def _(ids: Tensor, offsets: Tensor, mask: Tensor | None, table: Tensor, mask_zero: bool) -> Tensor:
    return table.new_empty((ids.shape[0], *table.shape[1:]))


@fake(_embedding_gradient)
def _(
    ids: Tensor,
    offsets: Tensor,
    mask: Tensor | None,
    gradient: Tensor,
    vocabulary: int,
    mask_zero: bool,
) -> Tensor:
    return gradient.new_empty((vocabulary, *gradient.shape[1:]))


def _keep_embedding(ctx: Any, inputs: Any, output: Tensor) -> None:
    ids, offsets, mask, table, ctx.mask_zero = inputs
    ctx.vocabulary = table.shape[0]
    ctx.save_for_backward(ids, offsets, mask)


def _undo_embedding(ctx: Any, gradient: Tensor) -> Any:
    of_table = _embedding_gradient(*ctx.saved_tensors, gradient, ctx.vocabulary, ctx.mask_zero)
    return None, None, None, of_table, None


embedding.register_autograd(_undo_embedding, setup_context=_keep_embedding)
no_second(_embedding_gradient)


# -- masking


@define("masking")
def masking(
    values: Tensor, offsets: Tensor, mask: Tensor | None, mask_value: float
) -> tuple[Tensor, Tensor]:
    given = Ragged._of(rows_of(values, offsets, mask))
    kept = numpy_masking(given, mask_value)._rows
    return tensor_of(kept.values), tensor_of(kept.mask)


@fake(masking)
def _(
    values: Tensor, offsets: Tensor, mask: Tensor | None, mask_value: float
) -> tuple[Tensor, Tensor]:
    empty = torch.empty_like(values, memory_format=torch.contiguous_format)
    return empty, values.new_empty(values.shape[:1], dtype=torch.bool)


def _keep_masking(ctx: Any, inputs: Any, output: Any) -> None:
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(output[1])


def _undo_masking(ctx: Any, gradient: Tensor, _: Any) -> Any:
    (kept,) = ctx.saved_tensors
    kept = kept.view(-1, *[1] * (gradient.ndim - 1))
    return torch.where(kept, gradient, 0), None, None, None


masking.register_autograd(_undo_masking, setup_context=_keep_masking)
