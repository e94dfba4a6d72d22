"""Functions of the caller's that change batches."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.streaming.batch import Batch, derived

MapFunction = Callable[[Batch], Batch | Mapping[str, Any]]


def mapped(batch: Batch, functions: Sequence[MapFunction]) -> Batch:
    """A batch after one function after the other."""
    for function in functions:
        batch = derived(_columns_of(function, batch), batch)
    return batch


def _columns_of(function: MapFunction, batch: Batch) -> Mapping[str, Any]:
    """What a map makes of a batch."""
    name = getattr(function, "__name__", repr(function))
    try:
        result = function(batch)
    except StopIteration as error:
        raise InvalidInputError(
            f"map({name}) raised StopIteration, which would end the loop early: give next() a "
            "default inside the function"
        ) from error
    if isinstance(result, Mapping):
        return result
    raise UnsupportedTypeError(
        f"map({name}) must return a Batch or a dict of columns; got {type(result).__name__}"
    )
