"""What the kernels of a recurrence take, and what they all do with it.

A unit has 4 sums in a step, side by side, and 4 weights for the state of each unit: see
`packed_for_cuda`. A cell is a device function `(sums, carry) -> (state, carry)`: from a unit's 4
sums, and the number that it carries from step to step, to its new state and number. An LSTM carries
its cell state; other cells carry their state, and have the same arrays for h and c.
"""

from typing import Any, NamedTuple

from ragmask.kernels.compile import cuda_device
from ragmask.kernels.cuda.teams import i8, u8
from ragmask.kernels.intrinsics import load_4


class RowArrays(NamedTuple):
    """The rows: int64 (rows,), and a mask of all steps."""

    order: Any  # the rows, those with the most kept steps first
    starts: Any  # among the steps of gates
    lengths: Any
    mask: Any  # bool (n,) or None
    out_starts: Any  # among the steps of out


class States(NamedTuple):
    """The states before and after each row, (rows, units); c is what a cell carries."""

    h0: Any
    c0: Any
    h: Any
    c: Any


class Options(NamedTuple):
    """How rows are read, and what a masked step gets: 0, or the output before it."""

    backwards: bool
    zero_output_for_mask: bool


@cuda_device
def direction_of(options: Any) -> Any:
    backwards, _ = options
    return i8(-1) if backwards else i8(1)


@cuda_device
def first_step(start: int, length: int, direction: int) -> int:
    """The step of a row that is read first."""
    return start + (length - 1 if direction < 0 else i8(0))


@cuda_device
def first_kept(mask: Any, at: int, end: int, direction: int) -> int:
    """The first kept step from `at` on, or `end`."""
    if mask is not None:
        while at != end and not mask[u8(at)]:
            at += direction
    return at


@cuda_device
def fill_steps(
    value: Any, at: int, end: int, direction: int, shift: int, unit: int, out: Any
) -> None:
    """One unit's outputs of masked steps."""
    while at != end:
        out[u8(at + shift), u8(unit)] = value
        at += direction


@cuda_device
def weights_between(recurrent: Any, source: int, unit: int, units: int) -> Any:
    """The weights of a unit's state in another's gates; zeros past the last unit."""
    if unit < units and source < units:
        return load_4(recurrent, (source * units + unit) * 4)
    nothing = recurrent.dtype.type(0)
    return nothing, nothing, nothing, nothing
