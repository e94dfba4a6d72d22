"""Which steps count: marking those of one value, and counting those kept."""

from typing import Any

from ragmask.kernels.compile import njit
from ragmask.kernels.cpu.lanes import copy_line


@njit
def masking(
    first_row: int,
    last_row: int,
    x: Any,
    starts: Any,
    lengths: Any,
    mask: Any,
    value: Any,
    out_starts: Any,
    out: Any,
    out_mask: Any,
) -> None:
    """Copy steps, and mask those all of whose features equal `value`; masked steps become 0.

    NaN equals NaN. x (n, features); starts, lengths, out_starts int64 (rows,); mask bool (n,) or
    None; value of x's dtype; out (steps, features); out_mask bool (steps,).
    """
    is_nan = value != value
    for row in range(first_row, last_row):
        for step in range(lengths[row]):
            at, to = starts[row] + step, out_starts[row] + step
            keep = False
            for feature in range(x.shape[1]):
                one = x[at, feature]
                keep |= one == one if is_nan else one != value
            if mask is not None:
                keep = keep and mask[at]
            out_mask[to] = keep
            if keep:
                copy_line(x[at], out[to])
            else:
                out[to] = 0


@njit
def count_kept(
    first_row: int, last_row: int, mask: Any, starts: Any, lengths: Any, out: Any
) -> None:
    """How many steps of each row are kept: mask bool (n,), out int64 (rows,)."""
    for row in range(first_row, last_row):
        kept = 0
        for step in range(starts[row], starts[row] + lengths[row]):
            kept += mask[step]
        out[row] = kept
