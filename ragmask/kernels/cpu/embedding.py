"""Rows of a table, looked up by id."""

from typing import Any

from ragmask.kernels.jit import njit


@njit
def embedding(
    first_row: int,
    last_row: int,
    ids: Any,
    starts: Any,
    lengths: Any,
    mask: Any,
    table: Any,
    words: int,
    out_starts: Any,
    out: Any,
) -> None:
    """Copy `table[ids[step]]` to each step of `out`; a masked step gets zeros.

    ids int64 (n,), each within the table unless its step is masked; starts, lengths, out_starts
    int64 (rows,); mask bool (n,) or None; table (vocabulary · words,) and out (steps · words,)
    as flat unsigned words, so that one compiled kernel serves every dtype and width.
    """
    for row in range(first_row, last_row):
        for step in range(lengths[row]):
            at = starts[row] + step
            to = (out_starts[row] + step) * words
            if mask is None or mask[at]:
                begin = ids[at] * words
                out[to : to + words] = table[begin : begin + words]
            else:
                out[to : to + words] = 0
