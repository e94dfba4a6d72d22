"""What callers say about rows, checked: counts, sides, and whether two batches have equal rows."""

from typing import Literal

import numpy as np

from ragmask.arrays.protocol import AnyArray, Arrays
from ragmask.errors import InvalidInputError

Side = Literal["pre", "post"]


def check_choice(name: str, given: object, *choices: str) -> None:
    """Raise where what was given is none of the texts to choose from."""
    if not isinstance(given, str) or given not in choices:
        which = " or ".join(f'"{choice}"' for choice in choices)
        raise InvalidInputError(f"{name} must be {which}; got {given!r}")


def check_side(name: str, side: str) -> None:
    check_choice(name, side, "pre", "post")


def check_count(name: str, count: object, least: int = 0, most: int | None = None) -> int:
    """`count` as an int of at least `least`, and at most `most`."""
    if isinstance(count, bool) or not isinstance(count, int | np.integer):
        raise InvalidInputError(f"{name} must be an integer; got {count!r}")
    if count < least:
        raise InvalidInputError(f"{name} must be at least {least}; got {count}")
    if most is not None and count > most:
        raise InvalidInputError(f"{name} must be at most {most}; got {count}")
    return int(count)


def check_same_lengths(arrays: Arrays, first: AnyArray, second: AnyArray, what: str) -> None:
    """Raise, naming the row, where two batches differ in their number of rows or a length."""
    if first is second:
        return
    if first.size != second.size:
        raise InvalidInputError(f"{what} have {first.size} and {second.size} rows")
    row = arrays.first_difference(first, second)
    if row >= 0:
        one, other = arrays.number_at(first, row), arrays.number_at(second, row)
        raise InvalidInputError(f"{what} differ in row {row}: {one} steps and {other} steps")
