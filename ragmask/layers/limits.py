"""What a description of a model may cost, so that no small file fills the memory or never ends."""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from ragmask.arrays.protocol import Array
from ragmask.errors import InvalidInputError

MOST_NUMBERS = 1 << 28  # in the inputs and outputs of one call, of a row of one step
_SPARE_NUMBERS = 1 << 24  # of weights beyond those in the file
_CALL = 300_000  # numbers that could be multiplied in the time of a call of a layer
_BATCH = 10_000  # of what is known of a batch, which takes memory too
_PASSES = 1000  # over all weights


class _Limits:
    def __init__(self, numbers: int) -> None:
        self.weights_left = numbers + _SPARE_NUMBERS
        self.work_left = self.weights_left * _PASSES


_limits: ContextVar[_Limits | None] = ContextVar("_limits", default=None)


@contextmanager
def limited(numbers: int) -> Iterator[None]:
    """Models made inside are those of a file of weights that holds so many numbers.

    Their weights are zeros: drawing what is soon replaced would take time, and numbers from the
    generator.
    """
    token = _limits.set(_Limits(numbers))
    try:
        yield
    finally:
        _limits.reset(token)


def spend_call(weights: Iterable[Array], batches: int = 0) -> None:
    """Count a call of a layer, by its weights and the batches it takes and gives."""
    limits = _limits.get()
    if limits is not None:
        limits.work_left -= _CALL + sum(weight.size for weight in weights) + batches * _BATCH
        if limits.work_left < 0:
            raise InvalidInputError("so many calls of layers in models in models would never end")


def spend_weight(what: str, shape: tuple[int, ...]) -> bool:
    """Count a weight; whether it is one of zeros."""
    limits = _limits.get()
    if limits is None:
        return False
    limits.weights_left -= math.prod(max(1, int(size)) for size in shape)
    if limits.weights_left < 0:
        raise InvalidInputError(
            f"{what} of shape {shape} is larger than all the weights in the file"
        )
    return True
