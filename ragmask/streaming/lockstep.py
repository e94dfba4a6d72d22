"""Where all ranks stand that have delivered equally many batches, told by the state of one."""

from bisect import bisect_left
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from itertools import accumulate, islice

from ragmask.errors import InvalidInputError
from ragmask.streaming.ahead import Decoders
from ragmask.streaming.delivery import AnyEpoch
from ragmask.streaming.epoch import Epoch
from ragmask.streaming.mixed import MixedEpoch, needed
from ragmask.streaming.places import AnyPlace, settled
from ragmask.streaming.plan import Place, Window, number_of_batches
from ragmask.streaming.state import Even, State


@dataclass(frozen=True)
class Hand:
    """What a rank has in an epoch: windows, where their items end, and how batches are cut."""

    windows: list[Window]
    ends: list[int]
    rows: int
    drop_last: bool

    @property
    def batches(self) -> int:
        return number_of_batches(self.ends[-1], self.rows, self.drop_last)

    def delivered(self, place: Place) -> int:
        """How many batches were, repeats and all."""
        items = self.ends[place.window]
        if place.item:
            items += max(0, place.item - self.windows[place.window].done)
        return -(-items // self.rows) + place.repeats

    def after(self, batches: int) -> Place:
        """The place behind so many of its batches, as delivering them would leave it."""
        items = min(batches * self.rows, self.ends[-1])
        if not items:
            return Place()
        if items < batches * self.rows:
            return Place(len(self.windows))  # looked for more, in windows of which none was left
        window = bisect_left(self.ends, items) - 1
        if items == self.ends[window + 1]:
            return Place(window + 1)
        return Place(window, self.windows[window].done + items - self.ends[window])


def in_lockstep(epoch: AnyEpoch, state: State) -> list[State]:
    """The states of all ranks, of which each has delivered as many batches, or all that it has.

    A pass over lengths, or over a filter's columns, where those decide how many items there are.
    """
    epoch.check(state.place)
    if isinstance(epoch, MixedEpoch):
        return _mixed(epoch, state)
    assert isinstance(epoch, Epoch)
    settings, items = epoch.settings, epoch.items_of(epoch.hands)
    assert settings.rows is not None
    hands = [
        Hand(windows, list(accumulate(items, initial=0)), settings.rows, settings.drop_last)
        for windows, items in zip(epoch.hands, items, strict=True)
    ]
    batches = [hand.batches for hand in hands]
    assert isinstance(state.place, Place)
    delivered, most = hands[state.rank].delivered(state.place), max(batches)
    states = []
    for rank, hand in enumerate(hands):
        own, even = min(delivered, batches[rank]), None
        place = hand.after(own)
        if state.even:
            begin = hand.after(max(own - 1, 0))
            lender = rank if batches[rank] else batches.index(most)
            even = Even(most - batches[rank], lender, begin)
            if delivered > own:
                place = place if settings.drop_last else Place(len(hand.windows))
                place = place._replace(repeats=delivered - own)
        states.append(state._replace(rank=rank, place=place, even=even))
    if states[state.rank].place != state.place:
        raise InvalidInputError(
            f"the state is damaged: it stands at {state.place}, where no batch of {settings.rows} "
            "ends"
        )
    return states


def _mixed(epoch: MixedEpoch, state: State) -> list[State]:
    """The same for a mixture, of which each rank draws from the start of the epoch."""
    if state.even:
        raise InvalidInputError(
            "lockstep=True is not for mixtures with shard(even=True): pass the states of all ranks"
        )
    if state.place == Place():
        return [state._replace(rank=rank) for rank in range(state.world_size)]

    def ends(rank: int) -> Generator[AnyPlace, None, None]:
        decoders = Decoders(epoch.settings.prefetch)
        try:
            with closing(epoch.cuts(rank, Place(), decoders, needed(epoch.settings))) as cuts:
                yield from (end for _, end, _ in cuts)
        finally:
            decoders.close()

    with closing(ends(state.rank)) as own:
        numbers = (number for number, end in enumerate(own, 1) if settled(end) == state.place)
        delivered = next(numbers, None)
    if delivered is None:
        raise InvalidInputError(
            "the rows were dealt out anew in this epoch, or the weights changed: lockstep=True "
            "cannot tell where the others stand; pass the states of all ranks"
        )
    states = []
    for rank in range(state.world_size):
        with closing(ends(rank)) as others:
            places = [Place(), *islice(others, delivered)]
        states.append(state._replace(rank=rank, place=settled(places[-1])))
    return states
