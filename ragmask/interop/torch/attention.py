"""Attention on RaggedTensors, and on tensors by torch's own signature; differentiable."""

from typing import Any

import torch
from torch import Tensor

from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.interop.torch import custom
from ragmask.interop.torch.functional import all_kept, computed
from ragmask.interop.torch.ragged import RaggedTensor, check_ragged_tensor, made, offsets_of
from ragmask.ops.attention import checked_seen


def temporal_attention(
    q: RaggedTensor,
    k: RaggedTensor,
    v: RaggedTensor,
    *,
    causal: bool = False,
    window: int | tuple[int | None, int | None] | None = None,
    scale: float | None = None,
) -> RaggedTensor:
    """For each step of q the mean of a row's steps of v, weighed by softmax(scale · q · k).

    >>> import torch
    >>> import ragmask.interop.torch as rt
    >>> x = rt.RaggedTensor(torch.eye(3).view(3, 1, 3), torch.tensor([0, 1, 3]))
    >>> rt.temporal_attention(x, x, x, causal=True).values[:2, 0]
    tensor([[1., 0., 0.],
            [0., 1., 0.]])

    Steps (heads, dim), and (key heads, dim) and (key heads, value dim) of k and v, which have the
    same rows; and all else as `ragmask.temporal_attention` says. A key is one that the masks of
    both k and v keep; masked queries get 0. float32 and float64; float16 and bfloat16 are computed
    in float32. The gradient makes the scores again, in memory for one block of them.
    """
    for name, x in (("q", q), ("k", k), ("v", v)):
        check_ragged_tensor(x, name)
    check_same_offsets(k, v)
    seen = checked_seen(causal, window, scale, q.values.shape[-1])
    mask = k.mask if v.mask is None or v.mask is k.mask else v.mask & all_kept(k)
    values, dtype = computed(q.values)
    others = computed(k.values)[0], computed(v.values)[0]
    out, _ = custom.temporal_attention(values, q.offsets, q.mask, *others, k.offsets, mask, *seen)
    return made(out.to(dtype), q.offsets, q.mask)


def check_same_offsets(k: RaggedTensor, v: RaggedTensor) -> None:
    """Raise unless keys and values have the same rows: where this is compiled, when it runs."""
    if k.offsets is v.offsets:
        return
    if len(k) != len(v):
        raise InvalidInputError(f"k and v have {len(k)} and {len(v)} rows")
    if torch.compiler.is_compiling():
        torch._assert_async((k.offsets == v.offsets).all(), "rows of k and v differ in length")
    elif (other := torch.nonzero(k.lengths != v.lengths)).numel():
        row = int(other[0])
        raise InvalidInputError(
            f"k and v differ in row {row}: {k.lengths[row]} steps and {v.lengths[row]} steps"
        )


def varlen_attn(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seq_q: Tensor,
    cu_seq_k: Tensor | None,
    max_q: int,
    max_k: int,
    *,
    return_aux: Any = None,
    scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1),
    enable_gqa: bool = False,
    seqused_k: Tensor | None = None,
    block_table: Tensor | None = None,
    num_splits: int | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """torch.nn.attention.varlen.varlen_attn, on CPUs too, with its gradient.

    >>> import torch
    >>> import ragmask.interop.torch as rt
    >>> x, offsets = torch.eye(3).view(3, 1, 3), torch.tensor([0, 1, 3], dtype=torch.int32)
    >>> rt.varlen_attn(x, x, x, offsets, offsets, 2, 2, window_size=(-1, 0))[:2, 0]
    tensor([[1., 0., 0.],
            [0., 1., 0.]])

    Everything as torch's takes and gives it, and on CUDA tensors it is torch's own: query (T_q,
    heads, dim), key and value (T_k, heads, dim), cu_seq_q and cu_seq_k where rows begin and end.
    On a CPU float32 and float64 are taken too, float16 and bfloat16 computed in float32; every
    row's bits are its own, whatever num_splits says; and block_table is refused. The logarithms
    that `return_aux` asks for are (heads, T_q), as torch gives them.
    """
    if query.is_cuda:
        from torch.nn.attention.varlen import varlen_attn as on_cuda

        options = {"return_aux": return_aux, "scale": scale, "window_size": window_size}
        options |= {"enable_gqa": enable_gqa, "seqused_k": seqused_k, "num_splits": num_splits}
        rows = cu_seq_q, cu_seq_k, max_q, max_k
        result: Any = on_cuda(query, key, value, *rows, block_table=block_table, **options)
        return result  # type: ignore[no-any-return]
    if block_table is not None or cu_seq_k is None:
        raise UnsupportedTypeError(
            "varlen_attn on a CPU takes no block_table, and needs cu_seq_k: gather the pages of "
            "keys and values first, with key.flatten(0, 1)[places]"
        )
    for name, tensor in (("query", query), ("key", key), ("value", value)):
        if tensor.ndim != 3:
            raise InvalidInputError(
                f"{name} must be (steps, heads, dim); got {tuple(tensor.shape)}"
            )
    if not enable_gqa and query.shape[1] != key.shape[1]:
        raise InvalidInputError(
            f"query and key have {query.shape[1]} and {key.shape[1]} heads: pass enable_gqa=True"
        )
    if len(window_size) != 2 or min(window_size) < -1:
        raise InvalidInputError(
            f"window_size is (left, right), and -1 is no limit; got {window_size!r}"
        )
    left, right = (None if side == -1 else side for side in window_size)
    seen = checked_seen(False, (left, right), scale, query.shape[-1])
    offsets, k_offsets = cu_seq_q.long(), cu_seq_k.long()
    if seqused_k is not None:
        lengths = seqused_k.long()
        key, value = (custom.take_rows(x, k_offsets[:-1], lengths) for x in (key, value))
        k_offsets = offsets_of(lengths)
    (q, dtype), (k, _), (v, _) = map(computed, (query, key, value))
    out, log_sum = custom.temporal_attention(q, offsets, None, k, v, k_offsets, None, *seen)
    if return_aux is not None and return_aux.lse:
        return out.to(dtype), log_sum.t().float().contiguous()
    outputs: Tensor = out.to(dtype)
    return outputs
