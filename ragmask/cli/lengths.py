"""What lengths alone tell: quantiles, a histogram, and the cost of padding. Pure functions.

`lengths` is always int64 (rows,), in the order of the rows.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ragmask.arrays.protocol import Ints
from ragmask.streaming.arrange import PLAIN, Buckets, Budget, Packing, Rounding
from ragmask.streaming.plan import Window

QUANTILES = {"min": 0.0, "5%": 0.05, "25%": 0.25, "50%": 0.5, "75%": 0.75}
QUANTILES |= {"95%": 0.95, "99%": 0.99, "max": 1.0}


class Bin(NamedTuple):
    """Rows of `first` to `last` steps, both included."""

    first: int
    last: int
    rows: int


class Cut(NamedTuple):
    """What a maxlen takes away."""

    rows: int
    steps: int


class Batches(NamedTuple):
    """Rows in batches: batch i is `lengths[ends[i] : ends[i + 1]]`."""

    lengths: Ints
    ends: Ints

    @property
    def number(self) -> int:
        return len(self.ends) - 1

    def shapes(self, multiple_of: int = 1, rows_multiple: int = 1) -> Ints:
        """Rows and width of each batch, padded: (batches, 2)."""
        longest = np.maximum.reduceat(self.lengths, self.ends[:-1])
        widths = -(-longest // multiple_of) * multiple_of
        rows = -(-np.diff(self.ends) // rows_multiple) * rows_multiple
        return np.stack([rows, widths], axis=1)

    def number_of_shapes(self, multiple_of: int = 1, rows_multiple: int = 1) -> int:
        return len(np.unique(self.shapes(multiple_of, rows_multiple), axis=0))

    def padded_steps(self, multiple_of: int = 1, rows_multiple: int = 1) -> int:
        """The steps of all padded batches, padding included."""
        return int(self.shapes(multiple_of, rows_multiple).prod(axis=1).sum())

    def padding_share(self, multiple_of: int = 1) -> float:
        """The share of the padded batches that is padding; 0 where nothing is padded."""
        steps = self.padded_steps(multiple_of)
        return 1 - int(self.lengths.sum()) / steps if steps else 0.0

    def truncated(self, maxlen: int) -> "Batches":
        """The same rows in the same batches, cut to `maxlen` steps."""
        return Batches(np.minimum(self.lengths, maxlen), self.ends)


def quantile(lengths: Ints, share: float) -> int:
    """The smallest length that at least `share` of the rows do not exceed."""
    return int(np.quantile(lengths, share, method="inverted_cdf"))


def histogram(lengths: Ints, most_bins: int = 16) -> list[Bin]:
    """Bins of equal, round width, and a last one for the longest 1% where they lie far out."""
    if lengths.size == 0:
        return []
    shortest, longest = int(lengths.min()), int(lengths.max())
    body = quantile(lengths, 0.99)
    if longest - shortest < 2 * (body - shortest):
        body = longest
    width = _round_up(-(-(body - shortest + 1) // most_bins))
    first = shortest // width * width
    bins = max(1, -(-(body + 1 - first) // width))
    counts = np.bincount(np.minimum((lengths - first) // width, bins), minlength=bins + 1)
    if not counts[bins]:
        counts = counts[:bins]
    lows = [first + width * position for position in range(len(counts))]
    highs = [*(low - 1 for low in lows[1:]), longest]
    return [
        Bin(max(low, shortest), high, int(rows))
        for low, high, rows in zip(lows, highs, counts, strict=True)
    ]


def by_rows(lengths: Ints, rows: int) -> Batches:
    """What `Stream.batch(rows=)` makes."""
    return Batches(lengths, np.append(np.arange(0, lengths.size, rows), lengths.size))


def by_tokens(
    lengths: Ints, windows: Sequence[Window], tokens: int, rounding: Rounding = PLAIN
) -> Batches:
    """What `Stream.batch(tokens=)` makes of these windows."""
    return _cut(lengths, windows, Budget(tokens, column="", bucket=True, rounding=rounding))


def by_length(lengths: Ints, windows: Sequence[Window], rows: int) -> Batches:
    """What `Stream.batch(rows=, bucket=True)` makes of these windows."""
    return _cut(lengths, windows, Buckets(rows, column=""))


def _cut(lengths: Ints, windows: Sequence[Window], arrangement: Budget | Buckets) -> Batches:
    ordered, ends = [lengths[:0]], [np.zeros(1, np.int64)]
    for window in windows:
        rows = lengths[window.first : window.last]
        order, cuts = arrangement.cut(rows, None)
        ordered.append(rows[order])
        ends.append(window.first + cuts[1:])
    return Batches(np.concatenate(ordered), np.concatenate(ends))


def packed(lengths: Ints, windows: Sequence[Window], length: int) -> Ints:
    """The lengths of the sequences that `Stream.pack` makes of these windows."""
    packing, sequences = Packing(length, column=""), [lengths[:0]]
    for window in windows:
        _, _, sizes, ends = packing.lay(lengths[window.first : window.last], None)
        sequences.append(np.diff(np.append(0, sizes.cumsum())[ends]))
    return np.concatenate(sequences)


def evenly(lengths: Ints, number: int) -> Batches:
    """So many batches of rows as they come."""
    return Batches(lengths, np.linspace(0, lengths.size, number + 1).astype(np.int64))


def tokens_for(lengths: Ints, rows: int) -> int:
    """The power of two by which `Stream.batch(tokens=)` makes batches of about `rows` rows."""
    return int(2 ** round(np.log2(rows * mean_cost(lengths))))


def mean_cost(lengths: Ints) -> float:
    """The mean steps of a row, of which an empty one has one: so `tokens=` counts."""
    return float(np.maximum(lengths, 1).mean())


def cut(lengths: Ints, maxlen: int) -> Cut:
    """How many rows a maxlen shortens, and how many steps it drops."""
    over = np.maximum(lengths - maxlen, 0)
    return Cut(int(np.count_nonzero(over)), int(over.sum()))


def _round_up(width: int) -> int:
    """The next of 1, 2, 5, 10, 20, 50, …"""
    size = 1
    while True:
        for step in (1, 2, 5):
            if width <= step * size:
                return step * size
        size *= 10
