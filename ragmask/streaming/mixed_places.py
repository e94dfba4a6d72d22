"""Where ranks stand in an epoch of a mixture, and how what is left is dealt out anew."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import inf

from ragmask.errors import InvalidInputError
from ragmask.streaming.arrange import Rows
from ragmask.streaming.delivery import AnyEpoch
from ragmask.streaming.feeds import EpochOf, Stints
from ragmask.streaming.measures import Loop
from ragmask.streaming.mixture import Mixture, Recipe
from ragmask.streaming.places import AnyPlace, MixedPlace, Stand, Stint, settled
from ragmask.streaming.plan import Deal, Place, share
from ragmask.streaming.settings import WINDOW_ROWS, Settings, Shard

_MOST_ROWS = 65_536  # of a window of rows in the order of their draws
_EPOCHS = 1 << 20  # so many of a source without end are an epoch of a mixture's
_MOST_NUMBERS = 1 << 60


@dataclass(frozen=True)
class MixedPlaces(AnyEpoch):
    """An epoch of a mixture, as far as places in it are concerned."""

    mixture: Mixture
    settings: Settings
    number: int
    loop: Loop = field(default_factory=Loop, compare=False, repr=False)

    @property
    def is_filtered(self) -> bool:
        return self.mixture.filter is not None

    # -- where ranks stand ------------------------------------------------------------------

    def begin(self, rank: int, world_size: int | None = None) -> MixedPlace:
        """Where a rank begins, of this number or another."""
        size = world_size or self.settings.shard.world_size
        mixture = self.mixture
        stands = tuple(Stand((Stint(self._epochs(recipe)[0]),)) for recipe in mixture.recipes)
        first, last = share(mixture.skip, rank, size)
        left = None
        if mixture.take is not None:
            begin, end = share(mixture.take, rank, size)
            left = end - begin
        return MixedPlace(rank, stands, skip=last - first, left=left)

    def _at(self, rank: int, place: AnyPlace) -> MixedPlace:
        place = settled(place)
        return place if isinstance(place, MixedPlace) else self.begin(rank)

    def _epochs(self, recipe: Recipe) -> tuple[int, int | None]:
        """The first of a source's epochs that this one has, and one past the last."""
        epochs = recipe.settings.epochs
        if epochs is None:
            return self.number * _EPOCHS, None
        return self.number * epochs, (self.number + 1) * epochs

    @abstractmethod
    def _epoch_of(self, recipe: Recipe, shard: Shard) -> EpochOf:
        """Epochs of a source, as this rank has a share of them."""

    def check(self, place: AnyPlace) -> None:
        place = settled(place)
        if place == Place():
            return
        if not isinstance(place, MixedPlace):
            raise InvalidInputError("the state is damaged: it is not that of a mixture")
        mixture = self.mixture
        if place.number > _MOST_NUMBERS or place.skip > mixture.skip:
            raise InvalidInputError(f"the state is damaged: it stands at number {place.number}")
        most = mixture.take
        if (place.left is None) != (most is None) or (place.left or 0) > (most or 0):
            raise InvalidInputError(f"the state is damaged: it has {place.left} left to take")
        if not place.is_over:
            self._check_stands(place.stands, replace(self.settings.shard, even=False))
        for one in place.open:
            if not one.item or not 0 < one.rows <= self.window_rows or one.number > _MOST_NUMBERS:
                raise InvalidInputError(f"the state is damaged: {one.item} of {one.rows} rows")
            self._check_stands(one.stands, Shard(one.rank, one.world_size))

    def _check_stands(self, stands: Sequence[Stand], shard: Shard) -> None:
        if len(stands) != len(self.mixture.recipes):
            raise InvalidInputError(
                f"the state is damaged: it is of {len(stands)} sources, and here are "
                f"{len(self.mixture.recipes)}"
            )
        for recipe, stand in zip(self.mixture.recipes, stands, strict=True):
            first, last = self._epochs(recipe)
            of = self._epoch_of(recipe, shard)
            for epoch, place, deals in stand.stints:
                if epoch < first or (last is not None and epoch > last):
                    raise InvalidInputError(
                        f"the state is damaged: a source stands in epoch {epoch}"
                    )
                if epoch != last:
                    of(epoch, deals).check(place)

    def end(self, rank: int, place: AnyPlace) -> AnyPlace:
        return self._at(rank, place)._replace(is_over=True)

    def deal(
        self, stints: list[tuple[AnyPlace, tuple[Deal, ...]] | None], rank: int, world_size: int
    ) -> tuple[AnyPlace, tuple[Deal, ...]]:
        places = [
            None if stint is None else self._of(number, stint[0], len(stints))
            for number, stint in enumerate(stints)
        ]
        going = [place for place in places if place is not None and not place.is_over]
        opened = [one for place in places if place is not None for one in place.open]
        if not going:
            over = self.begin(rank, world_size)._replace(is_over=True)
            return over._replace(open=tuple(opened[rank::world_size])), ()
        stands = [
            [None if place is None or place.is_over else place.stands[at] for place in places]
            for at in range(len(self.mixture.recipes))
        ]

        def hand(rank: int) -> tuple[Stand, ...]:
            return tuple(
                self._dealt(recipe, some, rank, world_size)
                for recipe, some in zip(self.mixture.recipes, stands, strict=True)
            )

        skip, left = 0, None
        if going[0].left is not None or any(place.skip for place in going):
            # a rank cannot deliver more than it has
            sizes = [self._size_of(hand(one), one, world_size) for one in range(world_size)]
            skips = fair(sum(place.skip for place in going), sizes)
            rest = [size - less for size, less in zip(sizes, skips, strict=True)]
            skip = skips[rank]
            if going[0].left is not None:
                left = fair(sum(place.left or 0 for place in going), rest)[rank]
        dealt = MixedPlace(
            max(place.number for place in places if place is not None) + 1 + rank,
            hand(rank),
            open=tuple(opened[rank::world_size]),
            skip=skip,
            left=left,
        )
        return dealt, ()

    def _size_of(self, stands: Sequence[Stand], rank: int, world_size: int) -> float:
        """The rows, or batches, that a rank has in all sources, before any filter."""
        return sum(
            self._size_in(recipe, stints, rank)
            for recipe, stints in self._stints(stands, Shard(rank, world_size))
        )

    def _of(self, rank: int, place: AnyPlace, world_size: int) -> MixedPlace:
        return place if isinstance(place, MixedPlace) else self.begin(rank, world_size)

    def _dealt(
        self, recipe: Recipe, stands: list[Stand | None], rank: int, world_size: int
    ) -> Stand:
        """What a rank has of what is left of a source, epoch by epoch."""
        known = [stand for stand in stands if stand is not None]
        first = min(stand.stints[0].epoch for stand in known)
        last = max(stand.stints[-1].epoch for stand in known)
        end = self._epochs(recipe)[1]
        size = len(stands)
        done = sum(stand.done for stand in known) // world_size
        dealt: list[Stint] = []
        for epoch in range(first, last + 1):
            if epoch == end:
                dealt.append(Stint(epoch))
                break
            found = [_stint_in(stand, epoch) for stand in stands]
            if all(stint is None for stint in found):
                continue
            if epoch == last and all(stint == (Place(), ()) for stint in found):
                dealt.append(Stint(epoch))
                break
            of = self._epoch_of(recipe, Shard(0, size))
            dealt.append(Stint(epoch, *of(epoch, ()).deal(found, rank, world_size)))
        return Stand(tuple(dealt), done)

    def _stints(self, stands: Sequence[Stand], shard: Shard) -> Iterator[tuple[Recipe, Stints]]:
        for recipe, stand in zip(self.mixture.recipes, stands, strict=False):
            yield recipe, Stints(self._epoch_of(recipe, shard), stand, self._epochs(recipe)[1])

    def _size_in(self, recipe: Recipe, stints: Stints, rank: int) -> float:
        """The rows, or batches, that a rank has left of a source."""
        if recipe.is_endless:
            return inf
        if stints.last is None:  # repeated, and without a row
            return 0
        size = 0
        while (epoch := stints.epoch) is not None:
            count = epoch.rows_left if self.mixture.kind == "rows" else epoch.count_batches
            size += count(rank, stints.stints[0].place)
            stints.advance()
        return size

    # -- windows ---------------------------------------------------------------------------

    @property
    def window_rows(self) -> int:
        """The rows that are drawn and arranged together."""
        settings = self.settings
        if settings.shuffle:
            return settings.shuffle.window_rows
        if not isinstance(settings.arrangement, Rows):
            return WINDOW_ROWS
        return _MOST_ROWS

    @property
    def keeps_order(self) -> bool:
        """Whether rows are delivered in the order of their draws."""
        return isinstance(self.settings.arrangement, Rows) and self.settings.shuffle is None


def _stint_in(stand: Stand | None, epoch: int) -> tuple[AnyPlace, tuple[Deal, ...]] | None:
    """Where a rank stands in an epoch of a source; None where it is done with it."""
    if stand is None or epoch < stand.stints[0].epoch:
        return None
    known = {stint.epoch: (stint.place, stint.deals) for stint in stand.stints}
    if epoch < stand.stints[-1].epoch and epoch not in known:
        return None
    return known.get(epoch, (Place(), ()))


def fair(count: int, sizes: Sequence[float]) -> list[int]:
    """A number in parts that are as equal as sizes, which they may not exceed, allow.

    >>> fair(10, [9, 2, 9])
    [4, 2, 4]
    """
    parts = [0] * len(sizes)
    while count and (open_ := [at for at, size in enumerate(sizes) if parts[at] < size]):
        each = -(-count // len(open_))
        for at in open_:
            more = int(min(each, count, sizes[at] - parts[at]))
            parts[at] += more
            count -= more
    return parts
