"""An epoch of a mixture: a draw decides which source each row, or batch, comes from.

Ranks draw numbers of their own, rank r of w the numbers r, r + w, r + 2w, …; a source is that of a
number by the seed, the epoch, the number and the weights alone. Each rank has its own share of
every source, and reads it in the source's own order.

Rows are drawn, and joined, a window at a time; what is then done with them (shuffled, bucketed,
packed, cut into batches) is done as with a window of files.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import repeat

import numpy as np

from ragmask.arrays.protocol import Ints
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.streaming.ahead import Decoders, run_ahead
from ragmask.streaming.arrange import Arranged, Buckets, Key, Rows
from ragmask.streaming.batch import Batch, read_batch
from ragmask.streaming.columns import take_columns
from ragmask.streaming.cutting import Cut, Opened, cut
from ragmask.streaming.delivery import AnyEpoch, Columns
from ragmask.streaming.draws import Drawing, Drawn, InOrder
from ragmask.streaming.epoch import Epoch
from ragmask.streaming.feeds import BatchFeed, CountedFeed, EpochOf, Feed, RowFeed, Taken
from ragmask.streaming.maps import mapped
from ragmask.streaming.measures import Loop
from ragmask.streaming.mixed_places import MixedPlaces
from ragmask.streaming.mixture import AnySource, Mixture, Recipe
from ragmask.streaming.origins import Origins, Part, join, numbers_of, pick_ids
from ragmask.streaming.places import AnyPlace, MixedPlace, Opening, Stand, Stint
from ragmask.streaming.plan import Deal, number_of_batches
from ragmask.streaming.settings import Settings, Shard

_MIXED_AHEAD = 1  # windows; what they are made of is decoded further ahead


def epoch_of(
    source: AnySource,
    settings: Settings,
    number: int,
    deals: tuple[Deal, ...] = (),
    loop: Loop | None = None,
) -> AnyEpoch:
    """An epoch of files, or of a mixture, measured by a loop."""
    if isinstance(source, Mixture):
        return MixedEpoch(source, settings, number, loop or Loop())
    return Epoch(source, settings, number, deals, loop or Loop())


@dataclass(frozen=True)
class MixedEpoch(MixedPlaces):
    """What all ranks read of a mixture in one epoch, and what this one delivers."""

    def _epoch_of(self, recipe: Recipe, shard: Shard) -> EpochOf:
        """Epochs of a source, as this rank has a share of them."""
        settings = replace(recipe.settings, shard=shard)
        return lambda number, deals: epoch_of(recipe.source, settings, number, deals, self.loop)

    # -- reading ----------------------------------------------------------------------------

    def batches(self, rank: int, place: AnyPlace) -> Generator[Cut, None, None]:
        rows, drop_last = self.settings.rows, self.settings.drop_last
        assert rows is not None
        if self.mixture.kind == "batches":
            yield from super().batches(rank, place)
            return
        decoders = Decoders(self.settings.prefetch)
        windows = self.opened(rank, place, decoders)
        ahead = min(_MIXED_AHEAD, self.settings.prefetch)

        def step(_: None) -> Opened | None:
            return next(windows, None)

        try:
            with closing(run_ahead(step, repeat(None), ahead, decoders.close)) as steps:
                yield from cut(iter(partial(next, steps), None), place, rows, drop_last)
        finally:
            decoders.close()
            windows.close()

    def cuts(
        self, rank: int, place: AnyPlace, decoders: Decoders, columns: Columns = None
    ) -> Generator[Cut, None, None]:
        if self.mixture.kind == "rows":
            return super().cuts(rank, place, decoders, columns)

        def open_(recipe: Recipe, epoch: AnyEpoch, stint: Stint) -> Generator[Cut, None, None]:
            wanted = None if columns is None else needed(recipe.settings)
            return epoch.cuts(rank, stint.place, decoders, wanted)

        place = self._at(rank, place)
        stands = () if place.is_over else place.stands
        feeds = [
            BatchFeed(stints, partial(open_, recipe))
            for recipe, stints in self._stints(stands, self._shard(rank))
        ]
        return self._drawn_batches(place, feeds, is_read=columns is None)

    def _drawn_batches(
        self, place: MixedPlace, feeds: Sequence[BatchFeed], is_read: bool
    ) -> Generator[Cut, None, None]:
        names = self.mixture.names
        with _closing(feeds):
            for begin, drawn, taken, end in self._drawn(place, feeds, 1):
                code = int(drawn.codes[0])
                part = taken[code].pieces[0].opened.window.take(0, 1)
                if is_read:
                    part = _read(self.mixture.recipes[code], part)
                if names:
                    numbers = numbers_of(part.row_ids)
                    codes = np.full(len(numbers), code, np.uint16)
                    part = part._replace(row_ids=Origins(numbers, codes, names))
                yield Cut(begin, end, part)
                del part, taken

    def opened(
        self, rank: int, place: AnyPlace, decoders: Decoders, columns: Columns = None
    ) -> Generator[Opened, None, None]:
        place = self._at(rank, place)
        stands = () if place.is_over else place.stands
        feeds = self._feeds(stands, self._shard(rank), decoders, columns)
        reopen = partial(self._reopened, decoders=decoders, columns=columns)
        return self._opened(rank, place, feeds, reopen)

    def _opened(
        self,
        rank: int,
        place: MixedPlace,
        feeds: Sequence[RowFeed],
        reopen: Callable[[Opening], Arranged],
    ) -> Generator[Opened, None, None]:
        with _closing(feeds):
            for at, one in enumerate(place.open):
                window = reopen(one)
                if one.item >= window.items:
                    raise InvalidInputError(
                        f"the state is damaged: {one.item} items of a window are done, which has "
                        f"{window.items}"
                    )
                rest = place._replace(open=place.open[at + 1 :])
                yield Opened(window, one.item, partial(_inside, rest, one, window.items))
                del window
            if place.is_over:
                return
            place = place._replace(open=())
            for begin, drawn, taken, end in self._drawn(place, feeds, self.window_rows):
                window = self._arranged(drawn.codes, taken, self._key(begin.number))
                yield Opened(window, 0, self._behind(rank, begin, end, drawn, taken, window.items))
                del window, taken

    def _drawn(
        self, place: MixedPlace, feeds: Sequence[Feed], most: int
    ) -> Generator[tuple[MixedPlace, Drawn, list[Taken], MixedPlace], None, None]:
        """Window after window of so many draws at most: the place before it, the draws, what they
        took of each source, and the place behind it."""
        drawing, place = self._drawing(feeds, place)
        while True:
            begin = place
            if begin.skip:  # as though they were delivered
                place = place._replace(left=None)
            size = most
            if self.keeps_order:  # then a window may be of any size: about what is decoded
                held = max(sum(feed.held for feed in feeds), 1)
                size = min(most, held + -held % (self.settings.rows or 1))
            drawn = drawing.draw(place, min(size, begin.skip or size))
            if not len(drawn.codes):
                return
            taken = [feed.take(count) for feed, count in zip(feeds, drawn.counts, strict=True)]
            place = drawn.place._replace(stands=tuple(feed.stand for feed in feeds))
            if begin.skip:
                place = place._replace(skip=begin.skip - len(drawn.codes), left=begin.left)
                continue
            yield begin, drawn, taken, place
            del taken

    def _behind(
        self,
        rank: int,
        begin: MixedPlace,
        end: MixedPlace,
        drawn: Drawn,
        taken: Sequence[Taken],
        items: int,
    ) -> Callable[[int], AnyPlace]:
        """Where the rank stands behind some items of a window."""
        size = self.settings.shard.world_size
        if self.keeps_order:
            return InOrder(begin, end, drawn, taken, size)
        rows = len(drawn.codes)
        one = Opening(begin.number, rows, 0, rank, size, drawn.weights, begin.stands)
        return partial(_inside, end, one, items)

    def _reopened(self, one: Opening, decoders: Decoders, columns: Columns) -> Arranged:
        """A window as it was drawn before."""
        feeds = self._feeds(one.stands, Shard(one.rank, one.world_size), decoders, columns)
        with _closing(feeds):
            drawing = Drawing(self.mixture, self.number, feeds, one.world_size, weights=one.weights)
            drawn = drawing.draw(MixedPlace(one.number, one.stands), one.rows)
            taken = [feed.take(count) for feed, count in zip(feeds, drawn.counts, strict=True)]
            return self._arranged(drawn.codes, taken, self._key(one.number))

    def _key(self, number: int) -> Key:
        settings = self.settings
        if settings.shuffle:
            return settings.shuffle.seed, self.number, number
        # what was arranged by length comes in random order again, as from a shuffled source
        if settings.arrangement.by_length and self.mixture.is_shuffled:
            return self.mixture.seed, self.number, number
        return None

    def _shard(self, rank: int) -> Shard:
        return Shard(rank, self.settings.shard.world_size)

    def _feeds(
        self, stands: Sequence[Stand], shard: Shard, decoders: Decoders, columns: Columns
    ) -> list[RowFeed]:
        def open_(epoch: AnyEpoch, stint: Stint) -> Generator[Opened, None, None]:
            return epoch.opened(shard.rank, stint.place, decoders, columns)

        return [RowFeed(stints, open_) for _, stints in self._stints(stands, shard)]

    def _drawing(self, feeds: Sequence[Feed], place: MixedPlace) -> tuple[Drawing, MixedPlace]:
        """Draws from feeds that stand at a place; it is over where an empty one ends it."""
        size = self.settings.shard.world_size
        in_blocks = self.mixture.kind == "rows" and self.keeps_order
        sizes = [recipe.rows_in_all / size for recipe in self.mixture.recipes]
        drawing = Drawing(self.mixture, self.number, feeds, size, sizes, in_blocks=in_blocks)
        begins = place.number < size and not place.open and not place.is_over
        return drawing, drawing.begin(place) if begins else place

    def _arranged(self, codes: Ints, taken: Sequence[Taken], key: Key) -> Arranged:
        """The rows of each source, joined in the order of their draws, and arranged."""
        parts = [
            opened.window.take(begin, end) for one in taken for _, opened, begin, end in one.pieces
        ]
        columns, row_ids = join(parts)
        if self.mixture.names:
            counts = [sum(piece.end - piece.begin for piece in one.pieces) for one in taken]
            sources = np.repeat(np.arange(len(taken), dtype=np.uint16), counts)
            row_ids = Origins(numbers_of(row_ids), sources, self.mixture.names)
        if (codes[1:] != codes[:-1]).any():
            order = np.empty(len(codes), np.int64)
            order[np.argsort(codes, kind="stable")] = np.arange(len(codes))
            columns, row_ids = take_columns(columns, order), pick_ids(row_ids, order)
        arrange = self.loop.time_arranging(self.settings.arrangement.arrange)
        arranged: Arranged = arrange(dict(columns), row_ids, key)
        return arranged

    # -- counting ---------------------------------------------------------------------------

    def rows_left(self, rank: int, place: AnyPlace) -> int:
        if self.mixture.kind == "batches":
            raise UnsupportedTypeError(
                "num_rows of this stream is unknown: it draws whole batches, of which len() or "
                "count_batches() tells the number"
            )
        place = self._at(rank, place)
        return sum(one.rows - one.item for one in place.open) + sum(self._sizes(rank, place))

    def _sizes(self, rank: int, place: MixedPlace) -> Iterator[int]:
        """The rows of each window, or numbers of batches, that a rank will draw."""
        if place.is_over:
            return
        self._check_end()
        feeds = [
            CountedFeed(self._size_in(recipe, stints, rank), stints.stand)
            for recipe, stints in self._stints(place.stands, self._shard(rank))
        ]
        for _, drawn, _, _ in self._drawn(place, feeds, self.window_rows):
            yield len(drawn.codes)

    def _check_end(self) -> None:
        if self.mixture.is_endless:
            raise UnsupportedTypeError(
                "this mixture has no end: its sources are repeated without one; take() some of it"
            )

    def count_batches(self, rank: int, place: AnyPlace) -> int:
        settings = self.settings
        arrangement, place = settings.arrangement, self._at(rank, place)
        assert settings.rows is not None
        is_counted = counts_alone(self.mixture, settings)
        if is_counted and not (self.mixture.is_curriculum and self.mixture.kind == "batches"):
            assert isinstance(arrangement, Rows | Buckets)
            items = sum(arrangement.items_of(one.rows) - one.item for one in place.open)
            items += sum(map(arrangement.items_of, self._sizes(rank, place)))
            return number_of_batches(items, settings.rows, settings.drop_last)
        self._check_end()
        decoders = Decoders(settings.prefetch)
        try:
            with closing(self.cuts(rank, place, decoders, needed(settings))) as cuts:
                return sum(1 for _ in cuts)
        finally:
            decoders.close()


def counts_alone(source: AnySource, settings: Settings) -> bool:
    """Whether row counts alone decide how many batches there are."""
    if source.filter is not None or not isinstance(settings.arrangement, Rows | Buckets):
        return False
    if not isinstance(source, Mixture) or source.kind == "rows":
        return True
    return all(counts_alone(recipe.source, recipe.settings) for recipe in source.recipes)


@contextmanager
def _closing(feeds: Sequence[Feed]) -> Iterator[None]:
    try:
        yield
    finally:
        for feed in feeds:
            feed.close()


def _inside(end: MixedPlace, one: Opening, items: int, at: int) -> MixedPlace:
    """The place behind `at` of an open window's items; `end` is that behind all."""
    return end if at == items else end._replace(open=(one._replace(item=at), *end.open))


def _read(recipe: Recipe, part: Part) -> Part:
    """A batch of a source as its own stream would deliver it."""
    batch = part.columns
    if not isinstance(batch, Batch):
        batch = read_batch(dict(batch), *recipe.fields)
    return part._replace(columns=mapped(batch, recipe.maps))


def needed(settings: Settings) -> tuple[str, ...]:
    """The columns that decide what is cut into batches."""
    arrangement = settings.arrangement
    return () if isinstance(arrangement, Rows) else (arrangement.column,)
