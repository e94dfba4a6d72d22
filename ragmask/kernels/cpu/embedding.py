"""Rows of a table, looked up by id."""

from typing import Any

from ragmask.kernels.compile import njit
from ragmask.kernels.constants import LINE_BYTES
from ragmask.kernels.cpu.pad import copy, repeat
from ragmask.kernels.intrinsics import prefetch

AHEAD = 8  # steps: asking that early for a table's rows made this 2.2 times as fast


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

    ids and mask are the caller's memory: what another thread writes there after they were checked
    gives other numbers, but nothing outside the table is read.
    """
    last = table.size - words  # where the last row begins
    for row in range(first_row, last_row):
        length = lengths[row]
        row_ids = ids[starts[row] : starts[row] + length]
        for step in range(length):
            if step + AHEAD < length:
                coming = row_ids[step + AHEAD] * words
                for word in range(0, words, LINE_BYTES // table.itemsize):
                    prefetch(table, coming + word)
            to = (out_starts[row] + step) * words
            if mask is None or (mask[starts[row] + step] and last >= 0):
                copy(table, max(0, min(row_ids[step] * words, last)), words, out, to)
            else:
                repeat(0, words, out, to)


@njit
def group(ids: Any, mask: Any, starts: Any, lengths: Any, order: Any) -> None:
    """The kept steps of each id together, in order: a stable counting sort, on one thread.

    ids int64 (n,), mask bool (n,) or None; out come starts and lengths int64 (vocabulary,), where
    each id's steps lie in order int64 (n,). As in `embedding`, another thread that writes to ids
    or mask changes results, and nothing outside is written.
    """
    lengths[:] = 0
    for step in range(ids.size):
        row = ids[step]
        if (mask is None or mask[step]) and 0 <= row < lengths.size:
            lengths[row] += 1
    end = 0
    for row in range(lengths.size):
        end += lengths[row]
        starts[row] = end
    order[:] = 0
    for step in range(ids.size - 1, -1, -1):  # from the back, so that ends become starts
        row = ids[step]
        if (mask is None or mask[step]) and 0 <= row < lengths.size and starts[row] > 0:
            starts[row] -= 1
            order[starts[row]] = step


@njit
def embedding_gradient(
    first_row: int,
    last_row: int,
    gradient: Any,
    starts: Any,
    lengths: Any,
    order: Any,
    out: Any,
) -> None:
    """From the gradient of looked up steps to that of the table: a row's steps added in order.

    gradient (n, features) and out (vocabulary, features), both float32 or both float64; starts,
    lengths int64 (vocabulary,) and order int64 (n,) from `group`.
    """
    features = gradient.shape[1]
    for row in range(first_row, last_row):
        row_out = out[row]
        row_out[:] = -0.0 if lengths[row] > 0 else 0.0  # -0 leaves every number as it is
        for place in range(starts[row], starts[row] + lengths[row]):
            if place + AHEAD < order.size:
                coming = order[place + AHEAD] * features
                for feature in range(0, features, LINE_BYTES // gradient.itemsize):
                    prefetch(gradient, coming + feature)
            step = gradient[order[place]]
            for feature in range(features):
                row_out[feature] += step[feature]
