"""Who reads which rows, in which order: pure functions of a few integers.

An epoch has an order of row groups: as they lie in the files, or permuted. All its rows, in that
order, are numbered from 0. Each rank has a share of them, and a share is cut into windows of whole
row groups, decoded together. Inside a window rows are arranged (see arrange.py) into items:
single rows, batches, or packed sequences. A place in an epoch is a window and a number of items.

Since a window's arrangement depends on the window alone, nothing else has to be replayed to go on
from a place, and windows can be dealt out again to another number of ranks.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np

from ragmask.arrays.protocol import Ints
from ragmask.errors import InvalidInputError


class Span(NamedTuple):
    """Rows `[first, last)` of a row group."""

    group: int
    first: int
    last: int


class Window(NamedTuple):
    """Rows `[first, last)` of the epoch's order, less the first `done` items made of them."""

    first: int
    last: int
    done: int = 0

    @property
    def rows(self) -> int:
        return self.last - self.first


class Place(NamedTuple):
    """Where a rank stands: `item` items of its window number `window` are delivered.

    At its end, `repeats` counts the batches it has delivered once more.
    """

    window: int = 0
    item: int = 0
    repeats: int = 0


class Deal(NamedTuple):
    """Where the ranks stood when their rows were dealt out anew; None: it was done."""

    places: tuple[Place | None, ...]


def shuffled(n: int, *key: int) -> Ints:
    """0 to n - 1 in an order that the key decides, on every machine and numpy alike.

    >>> shuffled(5, 42, 0).tolist()
    [4, 0, 3, 2, 1]

    numpy keeps the raw bits of a seed for good, and not what its own shuffles make of them.
    """
    from ragmask.kernels import cpu

    bits = np.random.PCG64(np.random.SeedSequence(key)).random_raw(n)
    order = np.empty(n, np.int64)
    cpu.shuffle((bits >> np.uint64(32)).astype(np.uint32), order)
    return order


class Order:
    """Row groups in an epoch's order, and where each begins. Empty ones are left out."""

    def __init__(self, group_rows: Sequence[int], key: tuple[int, ...] | None = None) -> None:
        filled = [group for group, rows in enumerate(group_rows) if rows]
        if key is not None:
            filled = [filled[position] for position in shuffled(len(filled), *key)]
        self.groups = filled
        self.starts = list(accumulate((group_rows[group] for group in filled), initial=0))

    @property
    def rows(self) -> int:
        return self.starts[-1]

    def spans(self, window: Window) -> list[Span]:
        """The parts of row groups that make up a window."""
        spans = []
        position = bisect_right(self.starts, window.first) - 1
        while position < len(self.groups) and self.starts[position] < window.last:
            start, end = self.starts[position : position + 2]
            first, last = max(start, window.first), min(end, window.last)
            spans.append(Span(self.groups[position], first - start, last - start))
            position += 1
        return spans

    def windows(self, first: int, last: int, window_rows: int) -> list[Window]:
        """Rows `[first, last)` in windows: as many whole row groups as fit, but at least one."""
        if first == last:
            return []
        inner = self.starts[bisect_right(self.starts, first) : bisect_left(self.starts, last)]
        windows: list[Window] = []
        for begin, end in pairwise([first, *inner, last]):
            if windows and end - windows[-1].first <= window_rows:
                windows[-1] = Window(windows[-1].first, end)
            else:
                windows.append(Window(begin, end))
        return windows


def share(rows: int, rank: int, world_size: int) -> tuple[int, int]:
    """The rows `[first, last)` of a rank; shares differ by one row at most.

    >>> [share(10, rank, 3) for rank in range(3)]
    [(0, 3), (3, 6), (6, 10)]
    """
    return rows * rank // world_size, rows * (rank + 1) // world_size


def deal(left: Iterable[Sequence[Window]], world_size: int) -> list[list[Window]]:
    """Windows dealt out to ranks: the largest first, each to whoever has fewest rows so far."""
    hands: list[list[Window]] = [[] for _ in range(world_size)]
    rows = [0] * world_size
    windows = sorted((window for hand in left for window in hand), key=lambda w: (-w.rows, w.first))
    for window in windows:
        rank = rows.index(min(rows))
        hands[rank].append(window)
        rows[rank] += window.rows
    return [sorted(hand, key=lambda window: window.first) for hand in hands]


def windows_of_ranks(
    order: Order, window_rows: int, world_size: int, deals: Sequence[Deal] = ()
) -> list[list[Window]]:
    """The windows of every rank, after rows were dealt out anew, if they were."""
    sizes = [*(len(one.places) for one in deals), world_size]
    hands = [
        order.windows(*share(order.rows, rank, sizes[0]), window_rows) for rank in range(sizes[0])
    ]
    for one, size in zip(deals, sizes[1:], strict=True):
        pairs = zip(hands, one.places, strict=True)
        hands = deal([left(hand, place) for hand, place in pairs], size)
    return hands


def left(windows: Sequence[Window], place: Place | None) -> list[Window]:
    """What a rank has before it."""
    if place is None or place == Place(len(windows), 0, place.repeats):
        return []
    if place.window >= len(windows):
        raise InvalidInputError(
            f"the state is damaged: it stands at item {place.item} of window {place.window}, and "
            f"its rank has {len(windows)} windows"
        )
    opened = windows[place.window]
    opened = opened._replace(done=max(opened.done, place.item))
    return [opened, *windows[place.window + 1 :]]


def number_of_batches(items: int, items_a_batch: int, drop_last: bool) -> int:
    return items // items_a_batch if drop_last else -(-items // items_a_batch)
