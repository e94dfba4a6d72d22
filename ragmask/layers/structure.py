"""Structures of batches: one, or lists, tuples and dicts of them."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ragmask.batches.padded import Padded
from ragmask.batches.ragged import Ragged


class Leaf:
    """What stands for a batch in a structure."""


def map_structure(function: Callable[[Any], Any], structure: Any) -> Any:
    """The same structure of what a function gives for each of its leaves."""
    if isinstance(structure, list):
        if structure and first_of(Leaf | Ragged | Padded | np.ndarray, structure) is None:
            return function(structure)  # numbers, which are a batch
        return [map_structure(function, one) for one in structure]
    if isinstance(structure, tuple):
        return tuple(map_structure(function, one) for one in structure)
    if isinstance(structure, dict):
        return {key: map_structure(function, one) for key, one in structure.items()}
    return function(structure)


def first_of(kind: Any, structure: Any) -> Any:
    """The first leaf of a kind, or None."""
    return next(leaves_of(kind, structure), None)


def leaves_of(kind: Any, structure: Any) -> Iterator[Any]:
    if isinstance(structure, kind):
        yield structure
    elif isinstance(structure, list | tuple):
        for one in structure:
            yield from leaves_of(kind, one)
    elif isinstance(structure, dict):
        for one in structure.values():
            yield from leaves_of(kind, one)
