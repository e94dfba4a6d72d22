"""`starts` and `lengths`: the checks they must pass, and the views that touch nothing else.

Those on a device are for device_rows.py.
"""

from typing import Literal

import numpy as np

from ragmask import device_rows
from ragmask.device_array import DeviceArray
from ragmask.devices import Ints, read_only
from ragmask.errors import InvalidInputError

Side = Literal["pre", "post"]
LARGEST = 2**63 - 1  # what numpy and the kernels can count


def check_rows(n: int, starts: Ints, lengths: Ints) -> device_rows.Facts | None:
    """Raise, naming the first bad row, unless every row lies inside `n` steps.

    A kernel does not check bounds: this is what stands between it and foreign memory. Gives what
    a device told of its rows, which is not to be asked for twice.
    """
    if starts.shape != lengths.shape:
        raise InvalidInputError(
            f"starts and lengths must be equally long; got {starts.size} and {lengths.size}"
        )
    if isinstance(starts, DeviceArray):
        facts = device_rows.look(n, starts, lengths)
        if facts.first_bad >= 0:
            start, length = (device_rows.number_at(a, facts.first_bad) for a in (starts, lengths))
            raise _outside(n, facts.first_bad, start, length)
        if facts.longest * lengths.size >= 2**63:
            raise InvalidInputError("these rows could have more than 2**63 steps between them")
        return facts
    # n - starts cannot overflow where starts >= 0, and starts + lengths could
    bad = (starts < 0) | (lengths < 0) | (lengths > n - starts)
    if bad.any():
        row = int(bad.argmax())
        raise _outside(n, row, int(starts[row]), int(lengths[row]))
    return None


def _outside(n: int, row: int, start: int, length: int) -> InvalidInputError:
    fault = (
        f"its start {start} is negative"
        if start < 0
        else f"its length {length} is negative"
        if length < 0
        else f"it covers steps {start} to {start + length}, and there are {n}"
    )
    return InvalidInputError(f"row {row} does not lie inside the values: {fault}")


def rows_between(n: int, offsets: Ints) -> tuple[Ints, Ints, device_rows.Facts | None]:
    """(starts, lengths, what a device told) of the rows between offsets, once these are checked."""
    if isinstance(offsets, DeviceArray) and offsets.size:
        starts, lengths = offsets[:-1], device_rows.differences(offsets)
        return starts, lengths, check_rows(n, starts, lengths)
    check_offsets(n, offsets)
    return offsets[:-1], read_only(np.diff(offsets)), None


def check_offsets(n: int, offsets: Ints) -> None:
    """Raise, naming the first bad row, unless `offsets` rise from 0 or more to `n` or less."""
    if offsets.size == 0:
        raise InvalidInputError("offsets need one more entry than there are rows; got none at all")
    if offsets[0] < 0:
        raise InvalidInputError(f"offsets start at {offsets[0]}; they must be 0 or more")
    falls = offsets[1:] < offsets[:-1]
    if falls.any():
        row = int(falls.argmax())
        raise InvalidInputError(
            f"offsets decrease at row {row}, from {offsets[row]} to {offsets[row + 1]}"
        )
    if offsets[-1] > n:
        row = int(np.argmax(offsets > n)) - 1
        raise InvalidInputError(
            f"offsets run past the values in row {max(row, 0)}: "
            f"they end at {offsets[-1]}, and there are {n} steps"
        )


def check_side(name: str, side: str) -> None:
    if side not in ("pre", "post"):
        raise InvalidInputError(f'{name} must be "pre" or "post"; got {side!r}')


def check_count(name: str, count: object, least: int = 0, most: int | None = None) -> int:
    """`count` as an int of at least `least`, and at most `most`."""
    if isinstance(count, bool) or not isinstance(count, int | np.integer):
        raise InvalidInputError(f"{name} must be an integer; got {count!r}")
    if count < least:
        raise InvalidInputError(f"{name} must be at least {least}; got {count}")
    if most is not None and count > most:
        raise InvalidInputError(f"{name} must be at most {most}; got {count}")
    return int(count)


def truncate(starts: Ints, lengths: Ints, maxlen: int, side: Side) -> tuple[Ints, Ints]:
    """Rows of at most `maxlen` steps; `side` is the end that is cut off."""
    if isinstance(starts, DeviceArray):
        most = min(maxlen, LARGEST)
        return device_rows.cut(starts, lengths, 0, most, from_end=side == "pre")
    kept = np.minimum(lengths, min(maxlen, LARGEST))
    return read_only(starts + (lengths - kept) if side == "pre" else starts), read_only(kept)


def total_steps(lengths: Ints) -> int:
    """The sum of all lengths, or an error where rows overlap so much that int64 cannot count."""
    if int(lengths.max(initial=0)) * lengths.size >= 2**63 and lengths.sum(dtype=float) >= 2**63:
        raise InvalidInputError("these rows have more than 2**63 steps between them")
    return int(lengths.sum())


def offsets_of(lengths: Ints) -> Ints:
    """Where rows begin and end once they are laid end to end, (rows + 1,)."""
    if isinstance(lengths, DeviceArray):
        return device_rows.offsets_of(lengths)
    total_steps(lengths)
    offsets = np.zeros(lengths.size + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def row_and_step(lengths: Ints, at: int) -> tuple[int, int]:
    """Which step of which row is number `at` when rows lie end to end."""
    if isinstance(lengths, DeviceArray):  # on the way to an error
        lengths = lengths.to_host()
    offsets = offsets_of(lengths)
    row = int(np.searchsorted(offsets, at, side="right")) - 1
    return row, at - int(offsets[row])


def is_end_to_end(starts: Ints, lengths: Ints) -> bool:
    """Whether each row begins where the one before it ended."""
    return bool(np.array_equal(starts[1:], starts[:-1] + lengths[:-1]))


def extent(starts: Ints, lengths: Ints) -> tuple[int | None, int]:
    """Where rows that lie end to end begin, None where they do not; and the steps of all rows."""
    if isinstance(starts, DeviceArray):
        facts = device_rows.look(LARGEST, starts, lengths)
        return facts.first_start if facts.is_end_to_end else None, facts.steps
    begin = int(starts[0]) if starts.size else 0
    return begin if is_end_to_end(starts, lengths) else None, total_steps(lengths)


def same_lengths(first: Ints, second: Ints, what: str) -> None:
    """Raise, naming the row, where two batches differ in their number of rows or a length."""
    if first.size != second.size:
        raise InvalidInputError(f"{what} have {first.size} and {second.size} rows")
    if isinstance(first, DeviceArray):
        row = device_rows.first_difference(first, second)
        if row >= 0:
            raise InvalidInputError(f"{what} differ in row {row}")
        return
    differs = first != second
    if differs.any():
        row = int(differs.argmax())
        raise InvalidInputError(
            f"{what} differ in row {row}: {first[row]} steps and {second[row]} steps"
        )
