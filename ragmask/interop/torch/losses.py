"""Losses over real steps. The same rows give the same loss and gradients, to the bit.

A row's steps are added up in their order by `temporal_pool`, and the rows' sums in the order of
their size: neither padding, nor the order of rows, nor threads change a bit.
"""

from typing import Any, Literal

import torch
from torch import Tensor

from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.interop.torch import custom
from ragmask.interop.torch.functional import computed, temporal_pool
from ragmask.interop.torch.ragged import RaggedTensor, check_ragged_tensor, made

Reduction = Literal["mean", "sum", "none"]
Over = Literal["steps", "rows"]


def cross_entropy(
    logits: RaggedTensor,
    targets: RaggedTensor | Tensor,
    *,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
    over: Over = "steps",
) -> Any:
    """torch's cross entropy, over the steps that are kept and not ignored.

    >>> import torch
    >>> import ragmask.interop.torch as rt
    >>> logits = rt.RaggedTensor(torch.zeros(3, 4), torch.tensor([0, 2, 3]))
    >>> rt.cross_entropy(logits, torch.tensor([0, 3, -100]))
    tensor(1.3863)

    logits : steps of (classes,). targets : a class a step, a RaggedTensor of the same rows or a
        tensor (n_steps,). A step is masked where either is.
    weight, ignore_index, label_smoothing : as torch's; a mean divides by the weights that count.
    reduction : "mean" divides by the steps that count, "sum" does not, "none" gives a RaggedTensor
        of each step's loss, 0 where it does not count.
    over : "rows" takes the mean of each row first, and then of the rows that have such a step
        ("none": a tensor (rows,)).

    No step that counts gives 0, with gradient 0. A target outside the classes is an error. Of
    float16 and bfloat16 logits the loss is computed, and given back, in float32, as by autocast.
    """
    check_ragged_tensor(logits, "logits")
    values, kept = _targets(logits, targets, "targets")
    if logits.values.ndim != 2 or values.ndim != 1 or values.dtype.is_floating_point:
        raise InvalidInputError(
            "logits have steps of shape (classes,) and targets an integer a step; got "
            f"{tuple(logits.item_shape)} and {values.dtype} {tuple(values.shape[1:])}"
        )
    if not 0 <= label_smoothing <= 1:
        raise InvalidInputError(f"label_smoothing must be from 0 to 1; got {label_smoothing}")
    values = values.long()
    kept = kept & (values != ignore_index)
    values = torch.where(kept, values, 0)
    classes = logits.values.shape[1]
    if not torch.compiler.is_compiling():
        _check_classes(logits, values, classes)
    inside = _kept_or_0(_floats(logits, "logits"), kept)
    weight = None if weight is None else weight.to(inside.dtype)
    probabilities = inside.log_softmax(1)
    losses = torch.nn.functional.nll_loss(probabilities, values, weight, reduction="none")
    if label_smoothing:  # torch's own adds up a step's classes in an order that depends on threads
        weighted = probabilities if weight is None else probabilities * weight
        losses = (1 - label_smoothing) * losses - label_smoothing * _mean_of_items(weighted)
    shares = kept if weight is None else torch.where(kept, weight[values], 0)
    return _reduced(logits, torch.where(kept, losses, 0), shares, reduction, over)


def mean_squared_error(
    prediction: RaggedTensor,
    target: RaggedTensor | Tensor,
    *,
    reduction: Reduction = "mean",
    over: Over = "steps",
) -> Any:
    """The squared difference, its mean over a step's numbers, and over the kept steps.

    >>> import torch
    >>> import ragmask.interop.torch as rt
    >>> x = rt.RaggedTensor(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0, 2, 3]))
    >>> rt.mean_squared_error(x, torch.zeros(3))
    tensor(4.6667)

    target : a RaggedTensor of the same rows, or a tensor (n_steps, *item). reduction and over are
    as for `cross_entropy`.
    """
    check_ragged_tensor(prediction, "prediction")
    values, kept = _targets(prediction, target, "target")
    _check_same_shape(prediction, values)
    one, other = _kept_or_0(_floats(prediction, "prediction"), kept), _kept_or_0(values, kept)
    losses = _mean_of_items((one - other.to(one.dtype)).square())
    return _reduced(prediction, losses, kept, reduction, over)


def binary_cross_entropy(
    prediction: RaggedTensor,
    target: RaggedTensor | Tensor,
    *,
    from_logits: bool = False,
    weight: Tensor | None = None,
    reduction: Reduction = "mean",
    over: Over = "steps",
) -> Any:
    """torch's binary cross entropy of probabilities, or of logits, over the kept steps.

    >>> import torch
    >>> import ragmask.interop.torch as rt
    >>> x = rt.RaggedTensor(torch.tensor([0.5, 0.5, 0.9]), torch.tensor([0, 2, 3]))
    >>> rt.binary_cross_entropy(x, torch.ones(3))
    tensor(0.4972)

    target : a RaggedTensor of the same rows, or a tensor (n_steps, *item), 0 to 1. weight :
    broadcast over a step's numbers. reduction and over are as for `cross_entropy`; of a step's
    numbers it takes the mean.
    """
    check_ragged_tensor(prediction, "prediction")
    values, kept = _targets(prediction, target, "target")
    _check_same_shape(prediction, values)
    one, other = _kept_or_0(_floats(prediction, "prediction"), kept), _kept_or_0(values, kept)
    other = other.to(one.dtype)
    if from_logits:
        of_numbers = (1 - other) * one - _log_sigmoid(one)
        of_numbers = of_numbers if weight is None else of_numbers * weight
    else:
        of_numbers = torch.nn.functional.binary_cross_entropy(one, other, weight, reduction="none")
    losses = _mean_of_items(_kept_or_0(of_numbers, kept))
    return _reduced(prediction, losses, kept, reduction, over)


def _log_sigmoid(x: Tensor) -> Tensor:
    """Of each number alone: torch's own gives others bits to the last numbers of a tensor."""
    is_above = x > 0
    distance = torch.where(is_above, x, -x)
    return torch.where(is_above, 0, x) - (-distance).exp().log1p()


def _targets(x: RaggedTensor, targets: Any, what: str) -> tuple[Tensor, Tensor]:
    """A value for each step, and which steps are kept."""
    values, kept = targets, x.mask
    if isinstance(targets, RaggedTensor):
        same = targets.offsets is x.offsets or (
            targets.offsets.shape == x.offsets.shape
            and (torch.compiler.is_compiling() or torch.equal(targets.offsets, x.offsets))
        )
        if not same:
            raise InvalidInputError(f"{what} have other rows than what they are compared with")
        values = targets.values
        if targets.mask is not None:
            kept = targets.mask if kept is None else kept & targets.mask
    elif not isinstance(targets, Tensor):
        raise UnsupportedTypeError(
            f"{what} must be a RaggedTensor or a tensor; got {type(targets).__name__}"
        )
    if values.shape[:1] != x.values.shape[:1]:
        raise InvalidInputError(
            f"{what} have {values.shape[0] if values.ndim else 'no'} steps; there are {x.n_steps}"
        )
    if kept is None:
        kept = torch.ones(x.n_steps, dtype=torch.bool, device=x.device)
    return values, kept


def _check_same_shape(prediction: RaggedTensor, values: Tensor) -> None:
    if values.shape != prediction.values.shape:
        raise InvalidInputError(
            f"target has steps of shape {tuple(values.shape[1:])}, and the prediction of "
            f"{tuple(prediction.item_shape)}"
        )


def _check_classes(x: RaggedTensor, values: Tensor, classes: int) -> None:
    outside = (values < 0) | (values >= classes)
    if outside.any():
        at = int(outside.int().argmax())
        row = int(torch.searchsorted(x.offsets, at, right=True)) - 1
        raise InvalidInputError(
            f"row {row}, step {at - int(x.offsets[row])}: target {int(values[at])} is none of "
            f"{classes} classes"
        )


def _floats(x: RaggedTensor, what: str) -> Tensor:
    """Values that a loss can be computed from."""
    if not x.dtype.is_floating_point:
        raise UnsupportedTypeError(f"{what} must be floats; got {x.dtype}")
    return computed(x.values)[0]


def _kept_or_0(values: Tensor, kept: Tensor) -> Tensor:
    """A masked step is 0, and NaN goes neither into it nor back out of it."""
    return torch.where(kept.view(-1, *[1] * (values.ndim - 1)), values, 0)


def _mean_of_items(values: Tensor) -> Tensor:
    """(n_steps,): added up in order, whatever the number of threads."""
    items = values.flatten(1) if values.ndim > 1 else values[:, None]
    n, size = items.shape
    if size == 1:
        return items[:, 0]
    offsets = torch.arange(n + 1, device=values.device) * size
    mean: Tensor = custom.temporal_pool(items.flatten(), offsets, None, "mean")
    return mean


def _reduced(x: RaggedTensor, losses: Tensor, shares: Tensor, reduction: str, over: str) -> Any:
    """losses (n_steps,), 0 where a step does not count, and its share of a mean's divisor.

    Added up in float64: it costs little beside what the losses came from, and counts are exact.
    """
    if reduction not in ("mean", "sum", "none"):
        raise InvalidInputError(f'reduction must be "mean", "sum" or "none"; got {reduction!r}')
    if over not in ("steps", "rows"):
        raise InvalidInputError(f'over must be "steps" or "rows"; got {over!r}')
    if over == "steps" and reduction == "none":
        return made(losses, x.offsets)
    result = temporal_pool(made(losses.double(), x.offsets), "sum")
    if over == "rows" or shares.dtype != torch.bool:
        shares = temporal_pool(made(shares.double(), x.offsets), "sum")
    if over == "rows":
        result, shares = _divided(result, shares), shares > 0
    if reduction != "none":
        result = _in_any_order(result)
    if reduction == "mean":  # steps, and rows, are counted
        is_counted = shares.dtype == torch.bool
        result = _divided(result, shares.sum() if is_counted else _in_any_order(shares))
    return result.to(losses.dtype)


def _in_any_order(numbers: Tensor) -> Tensor:
    """Their sum, from the least on: the same bits in whatever order they come."""
    offsets = torch.tensor([0, 1], device=numbers.device) * len(numbers)
    total: Tensor = custom.temporal_pool(numbers.sort().values, offsets, None, "sum")
    return total[0]


def _divided(sums: Tensor, shares: Tensor) -> Tensor:
    """0 where nothing counts."""
    return torch.where(shares > 0, sums / torch.where(shares > 0, shares, 1), 0)
