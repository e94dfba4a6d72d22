"""What lengths alone tell: quantiles, a histogram, and the cost of padding. Pure functions.

`lengths` is always int64 (rows,), in the order of the rows.
"""

from typing import NamedTuple

import numpy as np

from ragmask.devices import Ints

QUANTILES = {"min": 0.0, "5%": 0.05, "25%": 0.25, "50%": 0.5, "75%": 0.75}
QUANTILES |= {"95%": 0.95, "99%": 0.99, "max": 1.0}

WINDOW_BATCHES = 16
"""Batches' worth of rows that are grouped by length together, where grouping is meant."""


class Bin(NamedTuple):
    """Rows of `first` to `last` steps, both included."""

    first: int
    last: int
    rows: int


class Cut(NamedTuple):
    """What a maxlen takes away."""

    rows: int
    steps: int


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


def widths(lengths: Ints, rows: int, multiple_of: int = 1) -> Ints:
    """The padded width of each batch of `rows` rows."""
    if lengths.size == 0:
        return np.empty(0, np.int64)
    longest = np.maximum.reduceat(lengths, np.arange(0, lengths.size, rows))
    rounded: Ints = -(-longest // multiple_of) * multiple_of
    return rounded


def padded_steps(lengths: Ints, rows: int, multiple_of: int = 1) -> int:
    """The steps of all padded batches of `rows` rows, padding included."""
    width = widths(lengths, rows, multiple_of)
    missing = width.size * rows - lengths.size
    return int(width.sum()) * rows - (missing * int(width[-1]) if missing else 0)


def padding_share(lengths: Ints, rows: int, multiple_of: int = 1) -> float:
    """The share of the padded batches that is padding; 0 where nothing is padded."""
    steps = padded_steps(lengths, rows, multiple_of)
    return 1 - int(lengths.sum()) / steps if steps else 0.0


def grouped(lengths: Ints, window: int) -> Ints:
    """Lengths sorted inside each window of `window` rows."""
    whole = lengths.size // window * window
    windows = np.sort(lengths[:whole].reshape(-1, window), axis=1)
    return np.concatenate([windows.reshape(-1), np.sort(lengths[whole:])])


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
