"""What a rank delivers in an epoch: batches, the state after each, and repeats at its end."""

from abc import ABC, abstractmethod
from collections.abc import Generator
from contextlib import closing
from typing import NamedTuple

from ragmask.errors import InvalidInputError
from ragmask.streaming.ahead import Decoders
from ragmask.streaming.cutting import Cut, Opened, cut
from ragmask.streaming.measures import Loop
from ragmask.streaming.origins import Part
from ragmask.streaming.places import AnyPlace, settled
from ragmask.streaming.plan import Deal, Place
from ragmask.streaming.settings import Settings
from ragmask.streaming.state import Even, State

Columns = tuple[str, ...] | None
"""The columns to read; None: all."""


class Delivery(NamedTuple):
    """A batch before it is mapped, and the state after it."""

    part: Part
    state: State
    repeated: bool = False


class AnyEpoch(ABC):
    """An epoch as ranks deliver it, whatever its rows come from."""

    settings: Settings
    number: int
    loop: Loop

    @abstractmethod
    def opened(
        self, rank: int, place: AnyPlace, decoders: Decoders, columns: Columns = None
    ) -> Generator[Opened, None, None]:
        """The windows that a rank has from a place on, decoded by `decoders`."""

    @property
    @abstractmethod
    def is_filtered(self) -> bool:
        """Whether a filter decides how many rows there are."""

    @abstractmethod
    def check(self, place: AnyPlace) -> None:
        """Raise InvalidInputError where this rank cannot stand there."""

    @abstractmethod
    def end(self, rank: int, place: AnyPlace) -> AnyPlace:
        """Where a rank stands that looked for more behind its last batch, at `place`."""

    @abstractmethod
    def rows_left(self, rank: int, place: AnyPlace) -> int:
        """The rows that a rank has from a place on, as far as footers tell: before any filter."""

    @abstractmethod
    def count_batches(self, rank: int, place: AnyPlace) -> int:
        """The batches of a rank from a place on; by a pass over rows' contents, if they decide."""

    @abstractmethod
    def deal(
        self, stints: "list[tuple[AnyPlace, tuple[Deal, ...]] | None]", rank: int, world_size: int
    ) -> "tuple[AnyPlace, tuple[Deal, ...]]":
        """What one of `world_size` ranks has of what is left.

        stints : where each rank stood, and how rows had been dealt out to it; None: it was done.
        """

    def cuts(
        self, rank: int, place: AnyPlace, decoders: Decoders, columns: Columns = None
    ) -> Generator[Cut, None, None]:
        """The batches that a rank has from a place on."""
        rows, drop_last = self.settings.rows, self.settings.drop_last
        assert rows is not None
        with closing(self.opened(rank, place, decoders, columns)) as windows:
            yield from cut(windows, place, rows, drop_last)

    def batches(self, rank: int, place: AnyPlace) -> Generator[Cut, None, None]:
        """The same, by threads of their own."""
        decoders = Decoders(self.settings.prefetch)
        try:
            with closing(self.cuts(rank, place, decoders)) as cuts:
                yield from cuts
        finally:
            decoders.close()

    # -- counting -------------------------------------------------------------------------

    def batches_of_ranks(self) -> list[int]:
        """How many batches each rank has in this epoch, as rows were dealt out."""
        return [
            self.count_batches(rank, self.begin(rank))
            for rank in range(self.settings.shard.world_size)
        ]

    def begin(self, rank: int) -> AnyPlace:
        """Where a rank begins."""
        return Place()

    def batches_left(self, state: State) -> int:
        """How many batches this rank has from a state on."""
        batches = self.count_batches(self.settings.shard.rank, state.place)
        if not self.settings.shard.even:
            return batches
        even = state.even or self.even()
        return batches + even.due - settled(state.place).repeats

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
        with closing(self.batches(shard.rank, start.place)) as batches:
            for begin, end, part in batches:
                if even:
                    even = even._replace(begin=begin)
                    last = part if even.due else None
                state = state._replace(place=end, even=even)
                yield Delivery(part, state)
        if not even:
            return
        place = self.begin(shard.rank) if state.place == Place() else state.place
        if not self.settings.drop_last:  # a filter may have left nothing of the last windows
            place = self.end(shard.rank, place)
        for done in range(settled(start.place).repeats, even.due):
            last = last or self._first(even)
            place = settled(place)._replace(repeats=done + 1)
            yield Delivery(last, state._replace(place=place), repeated=True)

    def _first(self, even: Even) -> Part:
        """The batch to repeat."""
        with closing(self.batches(even.lender, even.begin)) as batches:
            for _, _, part in batches:
                return part
        raise InvalidInputError(
            f"the state is damaged: it repeats a batch that is not there, {even}"
        )
