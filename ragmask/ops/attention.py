"""Attention over the steps of rows."""

import math
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from ragmask.arrays.coerce import same_device
from ragmask.arrays.host import HOST
from ragmask.arrays.protocol import AnyArray
from ragmask.batches.padded import Padded
from ragmask.batches.ragged import Ragged
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.kernels.kernel import Kernel
from ragmask.kernels.registry import ATTENTION, ATTENTION_GRADIENT
from ragmask.ops.input import Input, floats
from ragmask.rows.checks import check_count, check_same_lengths
from ragmask.rows.layout import Layout
from ragmask.rows.rows import Rows

UNLIMITED = 2**62  # steps
NO_MASK = HOST.full(True, (0,), np.bool_)
NO_MASK.flags.writeable = False


class Seen(NamedTuple):
    """Which keys a query sees, and what its products with them are multiplied by.

    Those from `left` steps before its own to `right` behind it.
    """

    left: int
    right: int
    scale: float

    @property
    def is_limited(self) -> bool:
        """Whether it matters where in their rows queries and keys are."""
        return min(self.left, self.right) < UNLIMITED


def temporal_attention(
    q: Ragged | Padded | Any,
    k: Ragged | Padded | Any,
    v: Ragged | Padded | Any,
    *,
    causal: bool = False,
    window: int | tuple[int | None, int | None] | None = None,
    scale: float | None = None,
    mask: Any = None,
) -> Any:
    """For each step of q the mean of a row's steps of v, weighed by softmax(scale · q · k).

    >>> import numpy as np
    >>> import ragmask as rm
    >>> x = rm.Ragged.from_rows([np.eye(2), np.ones((3, 2))], "float32")
    >>> rm.temporal_attention(x, x, x, causal=True)
    Ragged(2 rows, 5 steps, 2 float32, lengths 2–3)
      [[1. 0.] [0.3302 0.6698]]
      [[1. 1.] [1. 1.] [1. 1.]]

    Parameters
    ----------
    q : Ragged, Padded, array (rows, width, *item), or Arrow's lists, of steps (heads, dim); or
        (dim,), which is one head. float16 (computed in float32), float32 or float64.
    k, v : the same, of q's dtype, with as many rows as q, and each of one length in both. Steps
        (key heads, dim) and (key heads, value dim): q has as many heads, or a multiple, and each
        head of k and v serves so many neighbours among q's.
    causal : a query sees no key behind its own step.
    window : (left, right), or one number for both: it sees no key farther before or behind its own
        step than that. 0 is that step alone, None no limit.
    scale : 1/√dim by default.
    mask : which steps are keys, in the place of k's and v's own masks, of which both must keep a
        key: a Ragged of bools with k's lengths, or bools (n_steps,); (rows, width) for Padded and
        arrays. True = keep.

    Returns q's kind, with q's mask, of steps (heads, value dim). A masked query, and one that sees
    no key, gets 0. NaN and inf are as for `temporal_softmax`, of keys that are seen.

    Where rows of q and k differ in length, their last steps stand side by side, as in torch's
    varlen_attn. The row of a Padded with a mask ends with the last step that it keeps.

    A. Vaswani et al. (2017). Scores are made block by block, and never kept, as in T. Dao et al.
    (2022). Raises InvalidInputError, naming the row, where k and v differ in length.
    """
    queries, keys, values = Input.of(q, None, "q"), Input.of(k, mask, "k"), Input.of(v, None, "v")
    same_device(q=queries.rows.values, k=keys.rows.values, v=values.rows.values)
    dtype = queries.rows.dtype
    if not dtype == keys.rows.dtype == values.rows.dtype:
        raise UnsupportedTypeError(
            f"q, k and v must be of one dtype; got {dtype}, {keys.rows.dtype} and "
            f"{values.rows.dtype}"
        )
    q_rows, k_rows, v_rows = (
        floats(given.rows, name) for given, name in ((queries, "q"), (keys, "k"), (values, "v"))
    )
    sizes = sizes_of(q_rows, k_rows, v_rows)
    seen = checked_seen(causal, window, scale, sizes[2])
    k_rows, v_rows = together(k_rows, v_rows, mask is not None)
    arrays, out_starts = queries.arrays, queries.out_starts
    output = queries.output((*q_rows.item_shape[:-1], sizes[3]), dtype, None)
    target = output if q_rows.dtype == dtype else arrays.empty(output.shape, q_rows.dtype)
    if seen.is_limited:
        k_rows, v_rows = ending_as(k_rows, k), ending_as(v_rows, k)
        if isinstance(q, Padded) and q._mask is not None:
            q_rows = ending_as(q_rows, q)
            out_starts = q_rows.starts
            arrays.assign(arrays.full(0, target.shape, target.dtype), target)
    log_sum = arrays.empty((len(target), sizes[0]), HOST.computed(dtype))
    attend(q_rows, k_rows, v_rows, seen, out_starts, target, log_sum)
    if target is not output:
        arrays.assign(target, output)
    return queries.give(output, queries.rows.compact_mask())


def checked_seen(causal: Any, window: Any, scale: Any, dim: int) -> Seen:
    """What `temporal_attention` is asked for, of heads of so many numbers."""
    if not isinstance(causal, bool | np.bool_):
        raise InvalidInputError(f"causal must be True or False; got {causal!r}")
    if scale is None:
        scale = dim**-0.5
    elif isinstance(scale, bool) or not isinstance(scale, Real) or not math.isfinite(scale):
        raise InvalidInputError(f"scale must be a finite number, or None for 1/√dim; got {scale!r}")
    sides = window if isinstance(window, tuple | list) else (window, window)
    if len(sides) != 2:
        raise InvalidInputError(
            f"window must be (left, right), or one number for both; got {window!r}"
        )
    left, right = (
        UNLIMITED if side is None else min(check_count("window", side), UNLIMITED) for side in sides
    )
    return Seen(left, 0 if causal else right, float(scale))


def sizes_of(q: Rows, k: Rows, v: Rows) -> tuple[int, int, int, int]:
    """(heads, key heads, dim, value dim), once they are found to fit each other."""
    shapes = q.item_shape, k.item_shape, v.item_shape
    told = "steps of q, k and v have the shapes {}, {} and {}".format(*shapes)
    if len({len(shape) for shape in shapes}) > 1 or len(shapes[0]) not in (1, 2):
        raise InvalidInputError(
            f"{told}: they must be (heads, dim), (key heads, dim) and (key heads, value dim), or "
            "vectors, which are one head"
        )
    of_q, of_k, of_v = ((1, *shape)[-2:] for shape in shapes)
    if of_k[0] != of_v[0] or of_q[1] != of_k[1]:
        raise InvalidInputError(
            f"{told}: k and v must have as many heads, and those of q and k be of one size"
        )
    heads, key_heads, dim, value_dim = of_q[0], of_k[0], of_q[1], of_v[1]
    if not heads or not key_heads or not dim or heads % key_heads:
        raise InvalidInputError(
            f"{told}: {heads} heads of {dim} numbers cannot be shared out among {key_heads} heads "
            "of keys; each must serve as many, and there must be some"
        )
    return heads, key_heads, dim, value_dim


def together(k: Rows, v: Rows, has_mask: bool) -> tuple[Rows, Rows]:
    """Keys and values that lie alike, with one mask: k's own alone where the caller made it."""
    arrays = k.arrays
    check_same_lengths(arrays, k.lengths, v.lengths, "k and v")
    is_masked = v.mask is not None and v.mask is not k.mask and not has_mask
    lie_alike = k.starts is v.starts or arrays.first_difference(k.starts, v.starts) < 0
    if is_masked or not lie_alike:
        k, v = k.compact(), v.compact()
    if is_masked:
        k = k.masked(v.mask if k.mask is None else arrays.kept_nonzero(k.mask, v.mask))
    return k, Rows(v.values, k.layout, k.mask)


def ending_as(rows: Rows, batch: Any) -> Rows:
    """Rows that end with the last step that a Padded keeps, and begin with the first; compact."""
    if not isinstance(batch, Padded) or batch._mask is None:
        return rows
    arrays, rows = rows.arrays, rows.compact()
    mask = flat(batch._rows.compact_mask()).reshape(batch.shape[:2])
    _, starts, lengths, _ = arrays.kept_rows(mask, mask, False)
    return Rows(rows.values, Layout(arrays, starts, lengths), rows.mask)


def attend(
    q: Rows,
    k: Rows,
    v: Rows,
    seen: Seen,
    out_starts: AnyArray,
    out: AnyArray,
    log_sum: AnyArray,
) -> None:
    """Write what each query gets to `out`, and what the gradient takes of it to `log_sum`.

    k and v lie alike, and k has the mask of both; all of one dtype that kernels take. log_sum
    (n_steps, heads) has the logarithms of the sums of exp(score), and inf where there is no sum.
    """
    if len(q) != len(k):
        raise InvalidInputError(f"q and k have {len(q)} and {len(k)} rows")
    run(ATTENTION, q, k, v, seen, out_starts, flat(out), flat(log_sum))


def attention_gradient(
    q: Rows,
    k: Rows,
    v: Rows,
    seen: Seen,
    out: AnyArray,
    log_sum: AnyArray,
    gradient: AnyArray,
) -> tuple[AnyArray, AnyArray, AnyArray]:
    """The gradients of q, k and v, of their shapes, from that of what `attend` gave.

    q, k and v as it takes them, float32 or float64, and compact; out and log_sum as it gave them,
    and gradient of out's shape. Masked steps get 0, and what arrives there is ignored.
    """
    arrays = q.arrays
    gradients = tuple(arrays.empty(rows.values.shape, rows.dtype) for rows in (q, k, v))
    given = (flat(arrays.frozen(array)) for array in (out, log_sum, gradient))
    run(ATTENTION_GRADIENT, q, k, v, seen, *given, *map(flat, gradients))
    return gradients


def run(kernel: Kernel, q: Rows, k: Rows, v: Rows, seen: Seen, *arguments: Any) -> None:
    sizes = heads, key_heads, dim, value_dim = sizes_of(q, k, v)
    arrays, masks = q.arrays, [q.mask, k.mask]
    if arrays.is_host:  # the pairs of each row, for each head of its keys
        tasks = np.repeat(q.lengths * k.lengths * (heads // key_heads), key_heads)
        # with None in its place, each kernel would be compiled four times: that takes seconds
        masks = [NO_MASK if mask is None else mask for mask in masks]
    else:
        tasks = arrays.empty((len(q) * key_heads,), np.int64)
    arrays.run(
        kernel,
        tasks,
        dim + value_dim,
        flat(q.values),
        q.starts,
        q.lengths,
        masks[0],
        flat(k.values),
        flat(v.values),
        k.starts,
        k.lengths,
        masks[1],
        sizes,
        (seen.left, seen.right),
        arrays.twin(seen.scale, HOST.computed(q.dtype).type(seen.scale)),  # no double on a GPU
        *arguments,
    )


def flat(array: AnyArray) -> AnyArray:
    return array.reshape(-1)
