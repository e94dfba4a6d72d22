"""Which rows go together, and in which order.

Each takes the rows in order, one after another, so it runs on one thread.
"""

from typing import Any

from ragmask.kernels.compile import njit


@njit
def shuffle(bits: Any, out: Any) -> None:
    """Put 0 to rows - 1 in the order that random bits say.

    bits uint32 (rows,), out int64 (rows,). R. A. Fisher and F. Yates's shuffle, inside out
    (R. Durstenfeld, 1964): each number changes places with a random one before it, or stays.
    """
    for row in range(bits.size):
        other = (int(bits[row]) * (row + 1)) >> 32
        out[row] = out[other]
        out[other] = row


@njit
def begin_batches(lengths: Any, most_steps: int, rows_multiple: int, out: Any) -> None:
    """Mark the rows at which a batch begins, if none may cost over `most_steps` padded steps.

    lengths int64 (rows,), out bool (rows,). A batch costs rows × longest, an empty row counting
    as one step; a row that costs more than `most_steps` is a batch alone. Where a multiple of
    `rows_multiple` rows is affordable, a batch has no more rows than the largest such.
    """
    rows, longest = 0, 1
    for row in range(lengths.size):
        longest = max(longest, lengths[row])
        rows += 1
        most = most_steps // longest
        if most >= rows_multiple:
            most -= most % rows_multiple
        out[row] = rows == 1 or rows > most
        if out[row]:
            rows, longest = 1, max(1, lengths[row])


@njit
def best_fit(lengths: Any, capacity: int, free: Any, below: Any, out: Any) -> None:
    """Put each row into the fullest bin that still has room for it, or into a new one.

    lengths int64 (rows,), none over `capacity`; out int64 (rows,), the bin of each row.
    `free` int64 (capacity + 1,), of -1, keeps the last bin with so much room; `below` int64
    (rows,) the bin under it: stacks, linked. Longest first it is best-fit decreasing, which
    needs at most 11/9 of the fewest bins (D. S. Johnson, 1973).
    """
    bins = 0
    for row in range(lengths.size):
        room = lengths[row]
        while room <= capacity and free[room] < 0:
            room += 1
        if room > capacity:
            room, chosen = capacity, bins
            bins += 1
        else:
            chosen = free[room]
            free[room] = below[chosen]
        out[row] = chosen
        room -= lengths[row]
        below[chosen] = free[room]
        free[room] = chosen
