"""One epoch of a stream: its windows decoded, arranged, cut into batches, and where each ends."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ragmask.errors import InvalidInputError
from ragmask.streaming.ahead import AHEAD, run_ahead
from ragmask.streaming.arrange import (
    PLAIN,
    Arranged,
    Buckets,
    Budget,
    Key,
    Packing,
    Part,
    Rounding,
    Rows,
)
from ragmask.streaming.columns import join_columns, lengths_of
from ragmask.streaming.measures import Loop
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
from ragmask.streaming.source import Source
from ragmask.streaming.state import Even, State

WINDOW_ROWS = 100_000
_GROUP_ORDER = 3  # what a key is for; arrange.py has 1 and 2


@dataclass(frozen=True)
class Shuffle:
    seed: int
    window_rows: int


@dataclass(frozen=True)
class Shard:
    rank: int = 0
    world_size: int = 1
    even: bool = False


@dataclass(frozen=True)
class Settings:
    """All that decides what a stream delivers, but for the files, the epoch and the maps."""

    rows: int | None = None
    drop_last: bool = False
    budget: Budget | None = None
    buckets: Buckets | None = None
    rounding: Rounding = PLAIN
    packing: Packing | None = None
    shuffle: Shuffle | None = None
    shard: Shard = Shard()
    prefetch: int = AHEAD
    progress: Any = field(default=False, compare=False)  # what is shown of it, see progress.py

    def __post_init__(self) -> None:
        rows = self.buckets.rows if self.buckets else self.rows
        if self.shuffle and rows and self.shuffle.window_rows < rows:
            raise InvalidInputError(
                f"a window of {self.shuffle.window_rows:,} rows is smaller than a batch of "
                f"{rows:,}: shuffle(window_rows=) must be at least the batch's rows"
            )

    @property
    def arrangement(self) -> Rows | Buckets | Budget | Packing:
        return self.packing or self.budget or self.buckets or Rows()

    @property
    def window_rows(self) -> int:
        if self.shuffle:
            return self.shuffle.window_rows
        # rows in file order need no company: each row group is a window
        return 0 if isinstance(self.arrangement, Rows) else WINDOW_ROWS

    def __str__(self) -> str:
        """What follows "Stream of 3 files" when one is printed."""
        text = ""
        if self.budget:
            text += f" in batches of at most {self.budget.tokens:,} padded steps"
        elif self.buckets:
            text += f" in batches of {self.buckets.rows:,} rows of similar lengths"
        elif self.rows is not None:
            text += f" in batches of {self.rows:,} {'sequences' if self.packing else 'rows'}"
        if self.rounding != PLAIN:
            steps, rows = self.rounding.multiple_of, self.rounding.rows_multiple
            text += f"\n  padded to multiples of {steps:,} steps and {rows:,} rows"
        if self.shuffle:
            window = f"{self.shuffle.window_rows:,} rows a window"
            text += f"\n  shuffled by seed {self.shuffle.seed}, {window}"
        if self.packing:
            text += f"\n  packed into sequences of {self.packing.length:,} steps"
        if self.shard.world_size > 1:
            text += f"\n  rank {self.shard.rank} of {self.shard.world_size}"
        return text

    def to_dict(self) -> dict[str, Any]:
        """What must be the same for a state to mean the same."""
        arrangement, buckets = self.arrangement, self.buckets
        told = {
            "seed": self.shuffle and self.shuffle.seed,
            "window_rows": self.window_rows,
            "rows": buckets.rows if buckets else self.rows,
            "drop_last": buckets.drop_last if buckets else self.drop_last,
            "tokens": self.budget and self.budget.tokens,
            "bucket": True if buckets else self.budget and self.budget.bucket,
            "pack": self.packing and self.packing.length,
            "column": None if isinstance(arrangement, Rows) else arrangement.column,
        }
        if self.budget:  # it decides which rows a batch has; left out where states never had it
            told |= {name: number for name, number in asdict(self.rounding).items() if number > 1}
        return told


class Delivery(NamedTuple):
    """A batch before it is mapped, and the state after it."""

    part: Part
    state: State
    repeated: bool = False


@dataclass(frozen=True)
class Epoch:
    """What all ranks read in one epoch, and what this one delivers."""

    source: Source
    settings: Settings
    number: int
    deals: tuple[Deal, ...] = ()
    loop: Loop = field(default_factory=Loop, compare=False, repr=False)

    @cached_property
    def order(self) -> Order:
        rows = self.source.group_rows
        shuffle = self.settings.shuffle
        return Order(rows, (_GROUP_ORDER, shuffle.seed, self.number) if shuffle else None)

    @cached_property
    def hands(self) -> list[list[Window]]:
        """The windows of every rank."""
        settings = self.settings
        world_size = settings.shard.world_size
        return windows_of_ranks(self.order, settings.window_rows, world_size, self.deals)

    def check(self, place: Place) -> None:
        """Raise InvalidInputError where this rank cannot stand there."""
        ahead = left(self.hands[self.settings.shard.rank], place)
        if place.repeats and ahead and not self.settings.drop_last:
            raise InvalidInputError("the state is damaged: it repeats batches before the last")
        for window in (*ahead, *(window for hand in self.hands for window in hand)):
            if not self.settings.packing and window.done >= window.rows:
                raise _beyond(window.done, window.rows)

    def key(self, window: Window) -> Key:
        shuffle = self.settings.shuffle
        return (shuffle.seed, self.number, window.first) if shuffle else None

    # -- counting -------------------------------------------------------------------------

    def batches_of_ranks(self) -> list[int]:
        """How many batches each rank has; where rows' contents decide it, by one pass over them."""
        return self._count_batches(self.hands)

    def batches_left(self, state: State) -> int:
        """How many batches this rank has from a state on; also by one pass, where one is needed."""
        ahead = left(self.hands[self.settings.shard.rank], state.place)
        (batches,) = self._count_batches([ahead])
        if not self.settings.shard.even:
            return batches
        even = state.even or self.even()
        return batches + even.due - state.place.repeats

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

    def even(self) -> Even:
        """The batches that this rank repeats at its end, so that all have equally many."""
        batches, rank = self.batches_of_ranks(), self.settings.shard.rank
        most, own = max(batches), batches[rank]
        return Even(most - own, rank if own else batches.index(most))

    # -- delivering -----------------------------------------------------------------------

    def deliver(self, start: State) -> Generator[Delivery, None, None]:
        """The batches from `start` to the end, in the order of delivery."""
        shard = self.settings.shard
        even = (start.even or self.even()) if shard.even else None
        state = start._replace(even=even)
        last = None
        with closing(self._batches(self.hands[shard.rank], start.place)) as batches:
            for begin, end, part in batches:
                if even:
                    even = even._replace(window=begin.window, item=begin.item)
                    last = part if even.due else None
                state = state._replace(place=end, even=even)
                yield Delivery(part, state)
        if not even:
            return
        place = state.place
        if not self.settings.drop_last:  # a filter may have left nothing of the last windows
            place = Place(len(self.hands[shard.rank]))
        for done in range(start.place.repeats, even.due):
            last = last or self._first(even)
            place = place._replace(repeats=done + 1)
            yield Delivery(last, state._replace(place=place), repeated=True)

    def _first(self, even: Even) -> Part:
        """The batch to repeat."""
        place = Place(even.window, even.item)
        with closing(self._batches(self.hands[even.lender], place)) as batches:
            for _, _, part in batches:
                return part
        raise InvalidInputError(
            f"the state is damaged: it repeats a batch that is not there, {even}"
        )

    def _batches(
        self, hand: Sequence[Window], place: Place
    ) -> Generator[tuple[Place, Place, Part], None, None]:
        """Batches, each with the places where it begins and ends."""
        settings = self.settings
        assert settings.rows is not None
        parts: list[Part] = []
        missing = settings.rows
        begin = place
        with closing(self._windows(hand[place.window :])) as windows:
            for number, window in enumerate(windows, place.window):
                at = max(hand[number].done, place.item if number == place.window else 0)
                if at and at >= window.items:
                    raise _beyond(at, window.items)
                while at < window.items:
                    until = min(window.items, at + missing)
                    parts.append(window.take(at, until))
                    missing -= until - at
                    at = until
                    if missing == 0:
                        end = Place(number, at) if at < window.items else Place(number + 1)
                        yield begin, end, _join(parts)
                        begin, parts, missing = end, [], settings.rows
                del window  # let go of it before waiting for the next
        if parts and not settings.drop_last:
            yield begin, Place(len(hand)), _join(parts)

    def _windows(self, windows: Sequence[Window]) -> Generator[Arranged, None, None]:
        """Windows decoded and arranged, in the background."""
        reader = Reader(self.source)
        decode = self.loop.time_decoding(reader.read)
        arrange = self.loop.time_arranging(self.settings.arrangement.arrange)

        def read(window: Window) -> Arranged:
            decoded = decode(self.order.spans(window))
            arranged: Arranged = arrange(decoded.columns, decoded.row_ids, self.key(window))
            return arranged

        with closing(run_ahead(read, windows, self.settings.prefetch, reader.close)) as decoded:
            yield from decoded


def _beyond(done: int, items: int) -> InvalidInputError:
    return InvalidInputError(
        f"the state is damaged: it says that {done} items of a window are done, which has {items}"
    )


def _join(parts: list[Part]) -> Part:
    if len(parts) == 1:
        return parts[0]
    columns = join_columns([part.columns for part in parts])
    return Part(columns, np.concatenate([part.row_ids for part in parts]))
