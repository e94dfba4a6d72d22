"""Attention: an op that also gives what its gradient takes, and the gradient."""

from typing import Any

import torch
from torch import Tensor

from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.interop.torch.custom.arrays import array_like, rows_of, tensor_of
from ragmask.interop.torch.custom.define import define, fake, no_second
from ragmask.ops.attention import attend, attention_gradient, checked_seen, sizes_of
from ragmask.rows.rows import Rows


@define("temporal_attention")
def temporal_attention(
    q: Tensor,
    q_offsets: Tensor,
    q_mask: Tensor | None,
    k: Tensor,
    v: Tensor,
    k_offsets: Tensor,
    k_mask: Tensor | None,
    left: int,
    right: int,
    scale: float,
) -> tuple[Tensor, Tensor]:
    """(outputs, the logarithms of the sums of exp(score), (n_steps, heads))."""
    queries, keys, values = _checked(q, q_offsets, q_mask, k, v, k_offsets, k_mask)
    heads, _, _, value_dim = sizes_of(queries, keys, values)
    arrays = queries.arrays
    out = arrays.empty((*q.shape[:-1], value_dim), queries.dtype)
    log_sum = arrays.empty((len(q), heads), queries.dtype)
    seen = checked_seen(False, (left, right), scale, 1)
    attend(queries, keys, values, seen, queries.layout.end_to_end.starts, out, log_sum)
    return tensor_of(out), tensor_of(log_sum)


@define("temporal_attention_gradient")
def _gradient(
    q: Tensor,
    q_offsets: Tensor,
    q_mask: Tensor | None,
    k: Tensor,
    v: Tensor,
    k_offsets: Tensor,
    k_mask: Tensor | None,
    out: Tensor,
    log_sum: Tensor,
    gradient: Tensor,
    left: int,
    right: int,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    queries, keys, values = _checked(q, q_offsets, q_mask, k, v, k_offsets, k_mask)
    heads, _, _, value_dim = sizes_of(queries, keys, values)
    shape = *q.shape[:-1], value_dim
    given = (
        array_like(out, shape, q, "out"),
        array_like(log_sum, (len(q), heads), q, "log_sum"),
        array_like(gradient, shape, q, "the gradient"),
    )
    seen = checked_seen(False, (left, right), scale, 1)
    of_q, of_k, of_v = map(tensor_of, attention_gradient(queries, keys, values, seen, *given))
    return of_q, of_k, of_v


@fake(temporal_attention)
def _(
    q: Tensor,
    q_offsets: Tensor,
    q_mask: Tensor | None,
    k: Tensor,
    v: Tensor,
    k_offsets: Tensor,
    k_mask: Tensor | None,
    left: int,
    right: int,
    scale: float,
) -> tuple[Tensor, Tensor]:
    heads = q.shape[1] if q.ndim == 3 else 1
    return q.new_empty((*q.shape[:-1], v.shape[-1])), q.new_empty((q.shape[0], heads))


@fake(_gradient)
def _(
    q: Tensor,
    q_offsets: Tensor,
    q_mask: Tensor | None,
    k: Tensor,
    v: Tensor,
    k_offsets: Tensor,
    k_mask: Tensor | None,
    out: Tensor,
    log_sum: Tensor,
    gradient: Tensor,
    left: int,
    right: int,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)


def _keep(ctx: Any, inputs: Any, output: Any) -> None:
    *tensors, ctx.left, ctx.right, ctx.scale = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors, *output)


def _undo(ctx: Any, gradient: Tensor | None, _: Any) -> Any:
    of_q = of_k = of_v = None
    if gradient is not None:
        seen = ctx.left, ctx.right, ctx.scale
        of_q, of_k, of_v = _gradient(*ctx.saved_tensors, gradient, *seen)
    return of_q, None, None, of_k, of_v, None, None, None, None, None


temporal_attention.register_autograd(_undo, setup_context=_keep)
no_second(_gradient)


def _checked(
    q: Tensor,
    q_offsets: Tensor,
    q_mask: Tensor | None,
    k: Tensor,
    v: Tensor,
    k_offsets: Tensor,
    k_mask: Tensor | None,
) -> tuple[Rows, Rows, Rows]:
    dtypes = {q.dtype, k.dtype, v.dtype}
    if dtypes not in ({torch.float32}, {torch.float64}):
        raise UnsupportedTypeError(
            "temporal_attention: q, k and v are float32 or float64, all the same; got "
            f"{q.dtype}, {k.dtype} and {v.dtype}"
        )
    if len(k) != len(v):
        raise InvalidInputError(f"k and v have {len(k)} and {len(v)} steps")
    queries, keys = rows_of(q, q_offsets, q_mask), rows_of(k, k_offsets, k_mask)
    values = rows_of(v, k_offsets, k_mask)
    if len(queries) != len(keys):
        raise InvalidInputError(f"q and k have {len(queries)} and {len(keys)} rows")
    return queries, keys, values
