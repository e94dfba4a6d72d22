"""The steps of RaggedTensors in another order, numbered, or added up in order; differentiable."""

import torch
from torch import Tensor

from ragmask.arrays.protocol import LARGEST
from ragmask.interop.torch import custom
from ragmask.interop.torch.functional import computed
from ragmask.interop.torch.ragged import RaggedTensor, check_ragged_tensor, made, offsets_of
from ragmask.ops.sort import check_flag
from ragmask.rows.checks import check_count


def temporal_flip(x: RaggedTensor) -> RaggedTensor:
    """Each row's kept steps in reverse order; masked ones stay where they are, and are 0.

    >>> import torch
    >>> import ragmask.interop.torch as rt
    >>> x = rt.RaggedTensor(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0, 2, 3]))
    >>> rt.temporal_flip(x).values
    tensor([2., 1., 3.])

    Of any dtype. Its gradient is a flip, and has one too.
    """
    check_ragged_tensor(x)
    return made(custom.temporal_flip(x.values, x.offsets, x.mask), x.offsets, x.mask)


def temporal_cumsum(x: RaggedTensor) -> RaggedTensor:
    """The sum of each row's kept steps up to each step, for each feature by itself.

    >>> import torch
    >>> import ragmask.interop.torch as rt
    >>> x = rt.RaggedTensor(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0, 2, 3]))
    >>> rt.temporal_cumsum(x).values
    tensor([1., 3., 3.])

    A masked step repeats the sum before it, and its gradient is not looked at. Sums of integers and
    bools are int64 (uint64 of unsigned ones); float16 and bfloat16 are computed in float32.
    """
    check_ragged_tensor(x)
    values, dtype = computed(x.values)
    sums = custom.temporal_cumsum(values, x.offsets, x.mask)
    return made(sums.to(dtype) if dtype.is_floating_point else sums, x.offsets, x.mask)


def temporal_sort(x: RaggedTensor, *, descending: bool = False) -> RaggedTensor:
    """Each row's kept steps in the order of their values, for each feature by itself.

    >>> import torch
    >>> import ragmask.interop.torch as rt
    >>> x = rt.RaggedTensor(torch.tensor([2.0, 1.0, 3.0]), torch.tensor([0, 2, 3]))
    >>> rt.temporal_sort(x).values
    tensor([1., 2., 3.])

    As `ragmask.temporal_sort`: equals stay in their order, a NaN is the largest, and masked steps
    go to the row's end, as 0. The gradient of a step is that of the place where it went.
    """
    steps, mask = _sorted(x, descending)
    values = x.kept_values().gather(0, steps + _starts(x, steps))
    if mask is not None:
        values = torch.where(_as_steps(mask, values), values, 0)
    return made(values, x.offsets, mask)


def temporal_argsort(x: RaggedTensor, *, descending: bool = False) -> RaggedTensor:
    """Which steps `temporal_sort` puts where, int64, counted from the row's first step.

    >>> import torch
    >>> import ragmask.interop.torch as rt
    >>> x = rt.RaggedTensor(torch.tensor([2.0, 1.0, 3.0]), torch.tensor([0, 2, 3]))
    >>> rt.temporal_argsort(x).values
    tensor([1, 0, 0])
    """
    steps, mask = _sorted(x, descending)
    return made(steps, x.offsets, mask)


def temporal_topk(x: RaggedTensor, k: int) -> tuple[RaggedTensor, RaggedTensor]:
    """The `k` largest of each row's kept steps, the largest first, and which steps they are.

    >>> import torch
    >>> import ragmask.interop.torch as rt
    >>> x = rt.RaggedTensor(torch.tensor([2.0, 1.0, 3.0]), torch.tensor([0, 2, 3]))
    >>> values, steps = rt.temporal_topk(x, 1)
    >>> values.values, steps.values
    (tensor([2., 3.]), tensor([0, 0]))

    As `ragmask.temporal_topk`: rows of as many steps as are kept, `k` at most. The gradient of a
    step that was taken is that of its place, and of another 0.
    """
    k = min(check_count("k", k), LARGEST)
    steps, mask = _sorted(x, True)
    kept = x.lengths if mask is None else _kept_counts(x)
    starts, lengths = x.offsets[:-1], kept.clamp(max=k)
    offsets = offsets_of(lengths)
    places = custom.take_rows(steps + _starts(x, steps), starts, lengths)
    values = made(x.kept_values().gather(0, places), offsets)
    return values, made(custom.take_rows(steps, starts, lengths), offsets)


def _sorted(x: RaggedTensor, descending: bool) -> tuple[Tensor, Tensor | None]:
    """Which step comes where, and the mask of that."""
    check_ragged_tensor(x)
    check_flag(descending)
    values, _ = computed(x.values.detach())
    steps = custom.temporal_argsort(values, x.offsets, x.mask, descending)
    if x.mask is None:
        return steps, None
    place = torch.arange(x.n_steps, device=x.device) - _of_rows(x, x.offsets[:-1])
    return steps, place < _of_rows(x, _kept_counts(x))


def _kept_counts(x: RaggedTensor) -> Tensor:
    """How many steps each row of a masked batch keeps."""
    assert x.mask is not None
    return offsets_of(x.mask.long())[x.offsets].diff()


def _of_rows(x: RaggedTensor, numbers: Tensor) -> Tensor:
    """One number a row, for each of its steps."""
    return numbers.repeat_interleave(x.lengths, output_size=x.n_steps)


def _starts(x: RaggedTensor, steps: Tensor) -> Tensor:
    """Where each step's row begins, beside the features of `steps`."""
    return _as_steps(_of_rows(x, x.offsets[:-1]), steps)


def _as_steps(of_steps: Tensor, values: Tensor) -> Tensor:
    """One entry a step, (n_steps, 1, …), for all of its features."""
    return of_steps.view(-1, *[1] * (values.ndim - 1))
