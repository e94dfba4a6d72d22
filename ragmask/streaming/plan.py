"""Who reads which rows, in which order: pure functions of a few integers.

An epoch has an order of row groups: as they lie in the files, or permuted. All its rows, in that
order, are numbered from 0. Each rank has a share of them, and a share is cut into windows of whole
row groups, decoded together. Inside a window rows are arranged (see arrange.py) into items:
single rows, batches, or packed sequences. A place in an epoch is a window and a number of items.

Since a window's arrangement depends on the window alone, nothing else has to be replayed to go on
from a place, and windows can be dealt out again to another number of ranks.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, groupby, pairwise
from math import fsum
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from ragmask.arrays.protocol import Bools, Ints
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


# -- parts of a data set ------------------------------------------------------------------


class Portion(NamedTuple):
    """Rows whose draw, by the key, falls in `[low, high)`, of the draws `[0, DRAWS)`.

    A row's draw depends on its number in the data set and on the key alone.
    """

    key: tuple[int, ...]
    low: int
    high: int

    def holds(self, first: int, last: int) -> Bools:
        """Which of the rows `[first, last)` of the data set belong to it."""
        draws = draws_of(self.key, range(first, last))
        held: Bools = (draws >= np.uint64(self.low)) & (draws < np.uint64(self.high))
        return held


def check_shares(shares: Any) -> tuple[list[str], list[float]]:
    """The names of parts, and their shares, which together are 1."""
    if not isinstance(shares, Mapping):
        raise InvalidInputError(
            f'split takes the shares of parts by name, {{"train": 0.9, "valid": 0.1}}; '
            f"got {shares!r}"
        )
    if not shares:
        raise InvalidInputError("split needs a part at least: the shares are empty")
    for name, share in shares.items():
        if not isinstance(name, str) or not name:
            raise InvalidInputError(f"a part's name is a text; got {name!r}")
        if isinstance(share, bool) or not isinstance(share, _NUMBERS) or not 0 < share <= 1:
            raise InvalidInputError(
                f"the share of a part is a number above 0 and at most 1; got {share!r} for {name!r}"
            )
    sizes = [float(share) for share in shares.values()]
    if abs(fsum(sizes) - 1) > 1e-6:
        raise InvalidInputError(
            f"the shares of {', '.join(map(repr, shares))} must sum to 1; they sum to "
            f"{fsum(sizes):.6g}"
        )
    return list(shares), sizes


def cut_at(shares: Sequence[float]) -> list[tuple[int, int]]:
    """The draws of each part, where parts have these shares of 1."""
    ends = [round(end * DRAWS) for end in accumulate(shares)]
    return list(pairwise([0, *ends[:-1], DRAWS]))


def count_in(portions: Sequence[Portion], first: int, last: int) -> int:
    """How many of the rows `[first, last)` belong to all portions."""
    if not portions:
        return last - first
    return sum(int(np.count_nonzero(part)) for part in _holding(portions, first, last))


def rows_in(portions: Sequence[Portion], first: int, last: int) -> Ints:
    """Those of the rows `[first, last)` that belong to all portions, less `first`."""
    held = [np.empty(0, np.bool_), *_holding(portions, first, last)]
    return np.flatnonzero(np.concatenate(held))


def _holding(portions: Sequence[Portion], first: int, last: int) -> Iterator[Bools]:
    """Which rows belong to all portions, a piece at a time: a row group may be of any size."""
    for begin in range(first, last, _DRAWN_AT_ONCE):
        end = min(last, begin + _DRAWN_AT_ONCE)
        yield np.logical_and.reduce([portion.holds(begin, end) for portion in portions])


def draws_of(key: tuple[int, ...], numbers: range) -> Any:
    """A draw for each number, uint64, less than `DRAWS`; each depends on its number and the key.

    By two rounds of splitmix64 (G. Steele et al., 2014).
    """
    begin, turn = np.random.SeedSequence(key).generate_state(2, np.uint64)
    draws = np.arange(numbers.start, numbers.stop, numbers.step, dtype=np.uint64)
    draws = draws * np.uint64(0x9E3779B97F4A7C15) + begin
    for _ in range(2):
        draws ^= turn
        draws ^= draws >> np.uint64(30)
        draws *= np.uint64(0xBF58476D1CE4E5B9)
        draws ^= draws >> np.uint64(27)
        draws *= np.uint64(0x94D049BB133111EB)
        draws ^= draws >> np.uint64(31)
    return draws >> np.uint64(11)


DRAWS = 1 << 53  # what a float counts without loss
_DRAWN_AT_ONCE = 1 << 18
_NUMBERS = (int, float, np.integer, np.floating)


# -- an epoch's order ---------------------------------------------------------------------


_NO_PIECES: Mapping[int, int] = MappingProxyType({})


class Order:
    """Row groups in an epoch's order, and where each begins. Empty ones are left out.

    pieces : numbers of groups that are windows of their own. Those with the same value are pieces
        of one row group, and stay together and in order: they can only be read on.
    """

    def __init__(
        self,
        group_rows: Sequence[int],
        key: tuple[int, ...] | None = None,
        pieces: Mapping[int, int] = _NO_PIECES,
    ) -> None:
        filled = [group for group, rows in enumerate(group_rows) if rows]
        if key is not None:
            together = [list(some) for _, some in groupby(filled, lambda one: pieces.get(one, one))]
            order = shuffled(len(together), *key)
            filled = [group for position in order for group in together[position]]
        self.groups = filled
        self._pieces = pieces
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
        """Rows `[first, last)` in windows: as many whole row groups as fit, but at least one.

        A piece of a large row group is one by itself.
        """
        if first == last:
            return []
        position = bisect_right(self.starts, first)
        inner = self.starts[position : bisect_left(self.starts, last)]
        windows: list[Window] = []
        is_open = False
        for group, (begin, end) in enumerate(pairwise([first, *inner, last]), position - 1):
            joins = self.groups[group] not in self._pieces
            if is_open and joins and end - windows[-1].first <= window_rows:
                windows[-1] = Window(windows[-1].first, end)
            else:
                windows.append(Window(begin, end))
            is_open = joins
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
