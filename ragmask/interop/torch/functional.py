"""The operations on RaggedTensors, differentiable."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, TypeVar

import torch
from torch import Tensor

from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.interop.torch import custom
from ragmask.interop.torch.checks import check_width
from ragmask.interop.torch.ragged import RaggedTensor, check_ragged_tensor, made, offsets_of
from ragmask.kernels.cells import GRU, LSTM, RNN, Cell
from ragmask.ops.pool import How, checked_how
from ragmask.rows.checks import check_count

_HALVES = torch.float16, torch.bfloat16
_WEIGHTS = "kernel", "recurrent_kernel", "bias"

T = TypeVar("T")


def embedding(ids: RaggedTensor, table: Tensor, *, mask_zero: bool = False) -> RaggedTensor:
    """Look up a row of `table` for each id.

    >>> import torch
    >>> import ragmask.interop.torch as rt
    >>> ids = rt.RaggedTensor(torch.tensor([1, 0, 2]), torch.tensor([0, 2, 3]))
    >>> rt.embedding(ids, torch.eye(3), mask_zero=True).mask
    tensor([ True, False,  True])

    ids : RaggedTensor of integers; table (vocabulary, *item).
    mask_zero : mask the steps of id 0, and-ed with the mask that the ids have.

    A masked step holds zeros, but for those of id 0, which hold row 0. The gradient of the table
    adds up each id's kept steps in their order: it is the same on any number of threads. Raises
    InvalidInputError, naming row, step and id, for an id outside the table.
    """
    check_ragged_tensor(ids, "ids")
    if ids.dtype.is_floating_point or ids.dtype.is_complex:
        raise UnsupportedTypeError(f"ids must be integers; got {ids.dtype}")
    vectors = custom.embedding(ids.values, ids.offsets, ids.mask, table, mask_zero)
    mask = ids.mask
    if mask_zero:
        mask = ids.values != 0 if mask is None else mask & (ids.values != 0)
    return made(vectors, ids.offsets, mask)


def masking(x: RaggedTensor, mask_value: float = 0.0) -> RaggedTensor:
    """Mask the steps all of whose features equal `mask_value`; they become 0.

    >>> import torch
    >>> import ragmask.interop.torch as rt
    >>> x = rt.RaggedTensor(torch.tensor([[0.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 2]))
    >>> rt.masking(x).mask
    tensor([False,  True])
    """
    check_ragged_tensor(x)
    values, dtype = computed(x.values)
    values, mask = custom.masking(values, x.offsets, x.mask, mask_value)
    return made(values.to(dtype), x.offsets, mask)


def temporal_softmax(x: RaggedTensor) -> RaggedTensor:
    """Softmax over the kept steps of each row, for each feature by itself; masked steps get 0.

    >>> import torch
    >>> import ragmask.interop.torch as rt
    >>> x = rt.RaggedTensor(torch.tensor([1.0, 1.0, 2.0]), torch.tensor([0, 2, 3]))
    >>> rt.temporal_softmax(x).values
    tensor([0.5000, 0.5000, 1.0000])

    float32 and float64; float16 and bfloat16 are computed in float32.
    """
    check_ragged_tensor(x)
    values, dtype = computed(x.values)
    soft = custom.temporal_softmax(values, x.offsets, x.mask)
    return made(soft.to(dtype), x.offsets, x.mask)


def temporal_pool(x: RaggedTensor, how: How = "mean") -> Tensor:
    """One step out of each row's kept ones, (rows, *item): see `ragmask.temporal_pool` for words.

    >>> import torch
    >>> import ragmask.interop.torch as rt
    >>> x = rt.RaggedTensor(torch.tensor([1.0, 3.0, 5.0]), torch.tensor([0, 2, 2, 3]))
    >>> rt.temporal_pool(x)
    tensor([2., 0., 5.])

    The gradient of a maximum or minimum goes to the first of equals; "std" has none where it is 0,
    and gives 0; "argmax" and "count" are integers, which have none. float16 and bfloat16 are
    computed in float32.
    """
    check_ragged_tensor(x)
    values, dtype = computed(x.values)
    pooled: Tensor = custom.temporal_pool(values, x.offsets, x.mask, checked_how(how))
    return pooled.to(dtype) if dtype in _HALVES and pooled.is_floating_point() else pooled


def temporal_repeat(values: Tensor, like: RaggedTensor) -> RaggedTensor:
    """Each row's value, of (rows, *item), at each of its steps in `like`: the way back from a pool.

    >>> import torch
    >>> import ragmask.interop.torch as rt
    >>> x = rt.RaggedTensor(torch.tensor([1.0, 3.0, 5.0]), torch.tensor([0, 2, 2, 3]))
    >>> rt.temporal_repeat(rt.temporal_pool(x), x).values
    tensor([2., 2., 5.])

    Of any dtype. The rows and the mask are like's, and masked steps are 0. A value's gradient is
    the sum over its row's kept steps, in their order. Raises InvalidInputError where there is not
    one value a row.
    """
    check_ragged_tensor(like, "like")
    if not isinstance(values, Tensor):
        raise UnsupportedTypeError(f"values must be a tensor; got {type(values).__name__}")
    steps = custom.temporal_repeat(values, like.offsets, like.mask, like.n_steps)
    return made(steps, like.offsets, like.mask)


def concatenate(batches: Sequence[RaggedTensor]) -> RaggedTensor:
    """The rows of several batches, one batch behind the other: one copy of their steps.

    >>> import torch
    >>> import ragmask.interop.torch as rt
    >>> x = rt.RaggedTensor(torch.tensor([1, 2, 3]), torch.tensor([0, 2, 3]))
    >>> both = rt.concatenate([x, x[1:]])
    >>> both.values, both.lengths
    (tensor([1, 2, 3, 3]), tensor([2, 1, 1]))

    Steps have one dtype and shape. A batch without a mask counts as kept. Raises InvalidInputError
    for no batch, and, naming the batch, for other steps than the first one's.
    """
    parts = list(batches)
    if not parts:
        raise InvalidInputError("concatenate needs at least one batch, to know what a step is")
    for number, part in enumerate(parts):
        check_ragged_tensor(part, f"batch {number}")
        if (part.dtype, part.item_shape) != (parts[0].dtype, parts[0].item_shape):
            raise InvalidInputError(
                f"batch {number} has {part.dtype} steps of shape {tuple(part.item_shape)}, and "
                f"batch 0 {parts[0].dtype} ones of {tuple(parts[0].item_shape)}: give all of them "
                "one dtype and shape first"
            )
    mask = None
    if any(part.mask is not None for part in parts):
        mask = torch.cat([all_kept(part) for part in parts])
    lengths = torch.cat([part.lengths for part in parts])
    return made(torch.cat([part.kept_values() for part in parts]), offsets_of(lengths), mask)


def temporal_conv(
    x: RaggedTensor,
    kernel: Tensor,
    bias: Tensor | None = None,
    *,
    causal: bool = True,
    dilation: int = 1,
) -> RaggedTensor:
    """Weigh the steps around each step and add them up, for each feature by itself.

    >>> import torch
    >>> import ragmask.interop.torch as rt
    >>> x = rt.RaggedTensor(torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([0, 3, 4]))
    >>> rt.temporal_conv(x, torch.tensor([10.0, 1.0])).values
    tensor([ 1., 12., 23.,  4.])

    kernel (taps, *item) and bias (*item,) or None, as for `ragmask.temporal_conv`, of x's dtype,
    float32 or float64; float16 and bfloat16 are computed in float32. A depthwise torch.nn.Conv1d's
    kernel is `weight[:, 0].T`. A masked step counts as 0 and gets 0. The gradients of kernel and
    bias are sums over rows in an order that the number of rows alone says.
    """
    check_ragged_tensor(x)
    for name, weight in ("kernel", kernel), ("bias", bias):
        if not isinstance(weight, Tensor) and (weight is not None or name == "kernel"):
            raise UnsupportedTypeError(f"{name} must be a tensor; got {type(weight).__name__}")
    check_count("dilation", dilation, 1)
    values, dtype = computed(x.values)
    weights = computed(kernel)[0], None if bias is None else computed(bias)[0]
    out = custom.temporal_conv(values, x.offsets, x.mask, *weights, bool(causal), dilation)
    return made(out.to(dtype), x.offsets, x.mask)


def temporal_split(
    x: RaggedTensor, sections: int = 2, *, width: int | None = None
) -> list[RaggedTensor]:
    """Cut time into `sections` equal spans of the padded width, as `ragmask.temporal_split` does.

    >>> import torch
    >>> import ragmask.interop.torch as rt
    >>> x = rt.RaggedTensor(torch.tensor([1, 2, 3, 4, 5]), torch.tensor([0, 4, 5]))
    >>> [part.values.tolist() for part in rt.temporal_split(x)]
    [[1, 2, 5], [3, 4]]

    Each span is a copy of its steps.
    """
    check_ragged_tensor(x)
    check_count("sections", sections, 1)
    lengths = x.lengths
    if width is not None:
        check_width(x, width)
    total = x.longest if width is None else width
    if total % sections:
        multiple = -(-total // sections) * sections
        raise InvalidInputError(
            f"{total} steps cannot be cut into {sections} equal sections: pass width={multiple}"
        )
    span = total // sections
    begins = [lengths.clamp(max=section * span) for section in range(sections + 1)]
    starts = x.offsets[:-1]
    return [x.taken(starts + begin, end - begin) for begin, end in pairwise(begins)]


def temporal_concat(xs: Sequence[RaggedTensor]) -> RaggedTensor:
    """Join batches in time, row by row: the inverse of `temporal_split`.

    >>> import torch
    >>> import ragmask.interop.torch as rt
    >>> x = rt.RaggedTensor(torch.tensor([1, 2, 3]), torch.tensor([0, 2, 3]))
    >>> rt.temporal_concat([x, x]).values
    tensor([1, 2, 1, 2, 3, 3])
    """
    parts = list(xs)
    if not parts:
        raise InvalidInputError("temporal_concat needs at least one part")
    for number, part in enumerate(parts):
        check_ragged_tensor(part, f"part {number}")
        if len(part) != len(parts[0]) or part.item_shape != parts[0].item_shape:
            raise InvalidInputError(
                f"part {number} has {len(part)} rows of steps of shape {tuple(part.item_shape)}, "
                f"and part 0 {len(parts[0])} of {tuple(parts[0].item_shape)}"
            )
    begins = [0]
    for part in parts[:-1]:
        begins.append(begins[-1] + part.n_steps)
    lengths = torch.stack([part.lengths for part in parts], 1)  # (rows, parts)
    starts = torch.stack(
        [part.offsets[:-1] + begin for part, begin in zip(parts, begins, strict=True)], 1
    )
    places = starts.flatten(), lengths.flatten()
    values = custom.take_rows(torch.cat([part.kept_values() for part in parts]), *places)
    mask = None
    if any(part.mask is not None for part in parts):
        mask = custom.take_rows(torch.cat([all_kept(part) for part in parts]), *places)
    return made(values, offsets_of(lengths.sum(1)), mask)


def lstm(
    x: RaggedTensor,
    kernel: Tensor,
    recurrent_kernel: Tensor,
    bias: Tensor,
    initial_state: tuple[Tensor, Tensor] | None = None,
    *,
    go_backwards: bool = False,
) -> tuple[RaggedTensor, tuple[Tensor, Tensor]]:
    """Run an LSTM over the kept steps of each row; (outputs, (h, c)).

    >>> import torch
    >>> import ragmask.interop.torch as rt
    >>> x = rt.RaggedTensor(torch.ones(3, 2), torch.tensor([0, 1, 3]))
    >>> outputs, (h, c) = rt.lstm(x, torch.ones(2, 12), torch.ones(3, 12), torch.zeros(12))
    >>> outputs.values.shape, h.shape
    (torch.Size([3, 3]), torch.Size([2, 3]))

    kernel (features, 4 · units), recurrent_kernel (units, 4 · units) and bias (4 · units,) as
    those of `ragmask.LSTMWeights`, gates i, f, g, o; h, c and initial states (rows, units). All of
    one dtype, float32 or float64. Steps of float16 and bfloat16 are computed in float32, and so are
    those that autocast made.

    The output of a masked step repeats the one before it, and its gradient is not looked at. What
    the gradient takes of a step, 5 numbers a unit, is kept only where something requires grad.
    """
    outputs, (h, c) = recur(LSTM, x, kernel, recurrent_kernel, bias, initial_state, go_backwards)
    return outputs, (h, c)


def gru(
    x: RaggedTensor,
    kernel: Tensor,
    recurrent_kernel: Tensor,
    bias: Tensor,
    initial_state: Tensor | None = None,
    *,
    go_backwards: bool = False,
) -> tuple[RaggedTensor, Tensor]:
    """Run a gated recurrent unit over the kept steps of each row; (outputs, h).

    >>> import torch
    >>> import ragmask.interop.torch as rt
    >>> x = rt.RaggedTensor(torch.ones(3, 2), torch.tensor([0, 1, 3]))
    >>> outputs, h = rt.gru(x, torch.ones(2, 9), torch.ones(3, 9), torch.zeros(2, 9))
    >>> h.shape
    torch.Size([2, 3])

    As `lstm`, with kernel (features, 3 · units), recurrent_kernel (units, 3 · units) and bias
    (2, 3 · units) as those of `ragmask.GRUWeights`, gates z, r, h.
    """
    states = None if initial_state is None else (initial_state,)
    outputs, (h,) = recur(GRU, x, kernel, recurrent_kernel, bias, states, go_backwards)
    return outputs, h


def rnn(
    x: RaggedTensor,
    kernel: Tensor,
    recurrent_kernel: Tensor,
    bias: Tensor,
    initial_state: Tensor | None = None,
    *,
    go_backwards: bool = False,
) -> tuple[RaggedTensor, Tensor]:
    """Run a simple recurrent layer, of tanh, over the kept steps of each row; (outputs, h).

    >>> import torch
    >>> import ragmask.interop.torch as rt
    >>> x = rt.RaggedTensor(torch.ones(3, 2), torch.tensor([0, 1, 3]))
    >>> outputs, h = rt.rnn(x, torch.ones(2, 3), torch.ones(3, 3), torch.zeros(3))
    >>> h.shape
    torch.Size([2, 3])

    As `lstm`, with kernel (features, units), recurrent_kernel (units, units), bias (units,).
    """
    states = None if initial_state is None else (initial_state,)
    outputs, (h,) = recur(RNN, x, kernel, recurrent_kernel, bias, states, go_backwards)
    return outputs, h


def recur(
    cell: Cell,
    x: RaggedTensor,
    kernel: Tensor,
    recurrent_kernel: Tensor,
    bias: Tensor,
    states: Sequence[Tensor] | None,
    go_backwards: bool,
) -> tuple[RaggedTensor, tuple[Tensor, ...]]:
    check_ragged_tensor(x)
    for name, weight in zip(_WEIGHTS, (kernel, recurrent_kernel, bias), strict=True):
        if not isinstance(weight, Tensor):
            raise UnsupportedTypeError(f"{name} must be a tensor; got {type(weight).__name__}")
    values, dtype = computed(x.values)
    weights = [computed(weight)[0] for weight in (kernel, recurrent_kernel, bias)]
    units = recurrent_kernel.shape[0]
    if states is None:
        initial = values.new_zeros((cell.states, len(x), units))
    else:
        initial = computed(torch.stack(list(states)))[0]
    tensors = values, *weights, initial
    keep = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    outputs, last, _ = custom.RECURRENT[cell.name](
        values, x.offsets, x.mask, *weights, initial, go_backwards, keep
    )
    return made(outputs.to(dtype), x.offsets, x.mask), last.to(dtype).unbind(0)


def computed(values: Tensor) -> tuple[Tensor, torch.dtype]:
    """In the dtype that is computed in, and the dtype that is to be given back."""
    return values.float() if values.dtype in _HALVES else values, values.dtype


def all_kept(x: RaggedTensor) -> Tensor:
    """Its mask, or one that keeps every step."""
    if x.mask is not None:
        return x.mask
    return torch.ones(x.n_steps, dtype=torch.bool, device=x.device)


def each(x: T, function: Callable[[Tensor], Tensor]) -> T | RaggedTensor:
    """A tensor, or the values of a RaggedTensor, put through a function."""
    if isinstance(x, RaggedTensor):
        return x.with_values(function(x.values))
    values: Any = x
    result: T | Any = function(values)
    return result
