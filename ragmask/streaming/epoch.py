"""An epoch of files: its windows decoded and arranged, and how many items each holds."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

from ragmask.errors import InvalidInputError
from ragmask.streaming.ahead import Decoders, run_ahead
from ragmask.streaming.arrange import Arranged, Buckets, Key, Rows
from ragmask.streaming.columns import lengths_of
from ragmask.streaming.cutting import Opened
from ragmask.streaming.delivery import AnyEpoch, Columns
from ragmask.streaming.measures import Loop
from ragmask.streaming.places import AnyPlace
from ragmask.streaming.plan import (
    Deal,
    Order,
    Place,
    Window,
    left,
    number_of_batches,
    windows_of_ranks,
)
from ragmask.streaming.reader import Decoded, Reader
from ragmask.streaming.settings import Settings
from ragmask.streaming.source import Source

_GROUP_ORDER = 3  # what a key is for; arrange.py has 1 and 2, mixed.py 4


@dataclass(frozen=True)
class Epoch(AnyEpoch):
    """What all ranks read of files in one epoch, and what this one delivers."""

    source: Source
    settings: Settings
    number: int
    deals: tuple[Deal, ...] = ()
    loop: Loop = field(default_factory=Loop, compare=False, repr=False)

    @cached_property
    def order(self) -> Order:
        rows = self.source.group_rows
        shuffle = self.settings.shuffle
        key = (_GROUP_ORDER, shuffle.seed, self.number) if shuffle else None
        return Order(rows, key, self.source.pieces)

    @property
    def is_filtered(self) -> bool:
        return self.source.filter is not None

    @cached_property
    def hands(self) -> list[list[Window]]:
        """The windows of every rank."""
        settings = self.settings
        world_size = settings.shard.world_size
        return windows_of_ranks(self.order, settings.window_rows, world_size, self.deals)

    def check(self, place: AnyPlace) -> None:
        if not isinstance(place, Place):
            raise InvalidInputError("the state is damaged: it stands in a mixture")
        ahead = left(self.hands[self.settings.shard.rank], place)
        if place.repeats and ahead and not self.settings.drop_last:
            raise InvalidInputError("the state is damaged: it repeats batches before the last")
        for window in (*ahead, *(window for hand in self.hands for window in hand)):
            if not self.settings.packing and window.done >= window.rows:
                raise _beyond(window.done, window.rows)

    def key(self, window: Window) -> Key:
        shuffle = self.settings.shuffle
        return (shuffle.seed, self.number, window.first) if shuffle else None

    def end(self, rank: int, place: AnyPlace) -> Place:
        return Place(len(self.hands[rank]))

    def deal(
        self, stints: list[tuple[AnyPlace, tuple[Deal, ...]] | None], rank: int, world_size: int
    ) -> tuple[AnyPlace, tuple[Deal, ...]]:
        places = tuple(stint and _plain(stint[0]) for stint in stints)
        deals = next(stint[1] for stint in stints if stint)
        return Place(), (*deals, Deal(places))

    # -- counting -------------------------------------------------------------------------

    def rows_left(self, rank: int, place: AnyPlace) -> int:
        are_rows = isinstance(self.settings.arrangement, Rows)  # else items that are done are not
        windows = left(self.hands[rank], _plain(place))
        return sum(window.rows - (window.done if are_rows else 0) for window in windows)

    def count_batches(self, rank: int, place: AnyPlace) -> int:
        (batches,) = self._count_batches([left(self.hands[rank], _plain(place))])
        return batches

    def batches_of_ranks(self) -> list[int]:
        return self._count_batches(self.hands)  # in one pass

    def _count_batches(self, hands: Sequence[Sequence[Window]]) -> list[int]:
        """How many batches are left in each of several hands."""
        settings = self.settings
        assert settings.rows is not None
        items = map(sum, self.items_of(hands))
        return [number_of_batches(count, settings.rows, settings.drop_last) for count in items]

    def items_of(self, hands: Sequence[Sequence[Window]]) -> list[list[int]]:
        """How many items are left in each window of several hands."""
        windows = [window for hand in hands for window in hand]
        with closing(self.count_items(windows)) as counts:
            return [[next(counts) - window.done for window in hand] for hand in hands]

    def count_items(self, windows: Sequence[Window]) -> Generator[int, None, None]:
        """What windows hold."""
        arrangement = self.settings.arrangement
        if isinstance(arrangement, Rows | Buckets):
            if self.source.filter is None:
                yield from (arrangement.items_of(window.rows) for window in windows)
                return
            for _, decoded in self._decoded(windows, ()):
                yield arrangement.items_of(len(decoded.row_ids))
            return
        for window, lengths in self.lengths(windows):
            yield arrangement.count(lengths, self.key(window))

    def lengths(self, windows: Sequence[Window]) -> Iterator[tuple[Window, Any]]:
        """The lengths of the budget's or packing's column, window by window."""
        arrangement = self.settings.arrangement
        assert not isinstance(arrangement, Rows)
        column = arrangement.column
        for window, decoded in self._decoded(windows, (column,)):
            yield window, lengths_of(column, decoded.columns[column])

    def _decoded(
        self, windows: Sequence[Window], columns: tuple[str, ...]
    ) -> Iterator[tuple[Window, Decoded]]:
        """Some columns of the rows that the filter keeps, in the background."""
        reader = Reader(self.source, columns)

        def read(window: Window) -> tuple[Window, Decoded]:
            return window, reader.read(self.order.spans(window))

        with closing(run_ahead(read, windows, stop=reader.close)) as decoded:
            yield from decoded

    # -- delivering -----------------------------------------------------------------------

    def opened(
        self, rank: int, place: AnyPlace, decoders: Decoders, columns: Columns = None
    ) -> Generator[Opened, None, None]:
        place = _plain(place)
        hand = self.hands[rank]
        reader = Reader(self.source, columns)
        decode = self.loop.time_decoding(reader.unchanged)
        change = self.loop.time_tokenizing(reader.changed)
        arrange = self.loop.time_arranging(self.settings.arrangement.arrange)

        def read(window: Window) -> Arranged:
            decoded = change(decode(self.order.spans(window)))
            arranged: Arranged = arrange(decoded.columns, decoded.row_ids, self.key(window))
            return arranged

        arranged = decoders.read(read, hand[place.window :], reader.close)
        return self._opened(hand, place, arranged)

    def _opened(
        self, hand: Sequence[Window], place: Place, arranged: Generator[Arranged, None, None]
    ) -> Generator[Opened, None, None]:
        with closing(arranged):
            for number, window in enumerate(arranged, place.window):
                at = max(hand[number].done, place.item if number == place.window else 0)
                if at and at >= window.items:
                    raise _beyond(at, window.items)
                yield Opened(window, at, partial(_after, number, window.items))
                del window  # let go of it before waiting for the next


def _after(number: int, items: int, at: int) -> Place:
    """The place behind `at` of a window's items."""
    return Place(number, at) if at < items else Place(number + 1)


def _plain(place: AnyPlace) -> Place:
    assert isinstance(place, Place)
    return place


def _beyond(done: int, items: int) -> InvalidInputError:
    return InvalidInputError(
        f"the state is damaged: it says that {done} items of a window are done, which has {items}"
    )
