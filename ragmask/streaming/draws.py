"""Draws of a mixture's sources: a pure function of the seed, the epoch, the number and weights."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ragmask.arrays.protocol import Ints
from ragmask.streaming.feeds import Feed, Taken
from ragmask.streaming.mixture import Mixture, bounds
from ragmask.streaming.places import AnyPlace, LatePlace, MixedPlace
from ragmask.streaming.plan import draws_of

_SOURCES = 4  # what a key is for; arrange.py has 1 and 2, epoch.py 3
_BLOCK = 256  # numbers, for which a function of the share is asked once


class Drawn(NamedTuple):
    """Sources by number, uint16 (draws,), and how many of each.

    `weights` are those at the first; `blocks`, of a function that is asked in blocks, the draws
    from which on it gave others. `place` is behind all draws, but for its stands.
    """

    codes: Any
    counts: list[int]
    weights: tuple[float, ...]
    blocks: list[tuple[int, tuple[float, ...]]]
    place: MixedPlace


class Drawing:
    """Draws from what feeds have, by the weights of a mixture or those given.

    step : between the numbers of a rank.
    sizes : the rows that each source has in a rank, as far as footers tell.
    in_blocks : a function of the share is asked every 256 numbers, and else once a call.
    """

    def __init__(
        self,
        mixture: Mixture,
        epoch: int,
        feeds: Sequence[Feed],
        step: int,
        sizes: Sequence[float] = (),
        *,
        in_blocks: bool = False,
        weights: tuple[float, ...] | None = None,
    ) -> None:
        self._mixture, self._feeds, self._step, self._sizes = mixture, feeds, step, sizes
        self._key = (_SOURCES, mixture.seed, epoch)
        self._weights = weights
        if weights is None and not mixture.is_curriculum:
            self._weights = mixture.constant
        self._in_blocks = in_blocks

    def begin(self, place: MixedPlace) -> MixedPlace:
        """At the start of an epoch: with until="first", an empty source ends it at once."""
        if self._mixture.until == "all":
            return place
        weights = self._weights or self._weights_at(place, [0] * len(self._feeds))
        pairs = zip(weights, self._feeds, strict=True)
        return place._replace(is_over=any(weight and not feed.has(1) for weight, feed in pairs))

    def draw(self, place: MixedPlace, most: int) -> Drawn:
        """The sources of the next numbers, of so many at most, and fewer at the end."""
        counts = [0] * len(self._feeds)
        chunks: list[Ints] = []
        blocks: list[tuple[int, tuple[float, ...]]] = []
        number, weights, is_over, left = place.number, place.weights, place.is_over, most
        if place.left is not None:
            left = most = min(most, place.left)
        first: tuple[float, ...] = ()
        while left and not is_over:
            # a window keeps its weights to its end
            fresh = (not self._in_blocks and first) or self._fresh(weights, place, counts)
            first, wanted = first or fresh, left
            if self._weights is None and self._in_blocks:
                if not blocks or blocks[-1][1] is not fresh:
                    blocks.append((most - left, fresh))
                weights, end = fresh, self._end_of_block(number)
                wanted = min(left, -(-(end - number) // self._step))
            codes, is_over = self._draw(number, wanted, fresh, counts)
            if not len(codes):
                break
            for code, count in enumerate(np.bincount(codes, minlength=len(counts)).tolist()):
                counts[code] += count
            chunks.append(codes)
            number += len(codes) * self._step
            left -= len(codes)
            if weights is not None and number >= end:
                weights = None
        after = behind(place, most - left, self._step)
        if chunks:  # so that a place says the same, whatever was drawn together
            is_first = self._mixture.until == "first"
            fresh = self._fresh(weights, place, counts)
            is_next = not (is_first and is_over) and len(self._draw(number, 1, fresh, counts)[0])
            is_over = after.left == 0 or not is_next
        place = after._replace(weights=weights, is_over=is_over)
        codes = np.concatenate([np.empty(0, np.uint16), *chunks])
        return Drawn(codes, counts, first, blocks, place)

    def _draw(
        self, number: int, wanted: int, weights: tuple[float, ...], before: Sequence[int]
    ) -> tuple[Ints, bool]:
        """The sources of so many numbers, or of fewer up to where one has nothing left.

        before : how many of each were drawn, and are not taken yet.
        """
        is_first = self._mixture.until == "first"
        if len(self._feeds) == 1:
            has = self._feeds[0].has(before[0] + wanted) - before[0]
            return np.zeros(has, np.uint16), is_first and has < wanted
        if not is_first:
            weights = self._of_those_left(weights, before)
            if not any(weights):
                return np.empty(0, np.uint16), True
        numbers = range(number, number + wanted * self._step, self._step)
        draws = draws_of(self._key, numbers)
        codes = np.searchsorted(bounds(weights), draws, side="right").astype(np.uint16)
        cut, is_over = len(codes), False
        for code, count in enumerate(np.bincount(codes, minlength=len(weights)).tolist()):
            if not count:
                continue
            # "all" looks one further: what comes after a source's last row is drawn without it
            has = self._feeds[code].has(before[code] + count + (not is_first)) - before[code]
            if has < count + (not is_first):
                where = np.flatnonzero(codes[:cut] == code)
                at = has if is_first else has - 1
                if at < len(where):
                    cut, is_over = int(where[at]) + (not is_first), is_first
        return codes[:cut], is_over

    def _of_those_left(self, weights: Sequence[float], drawn: Sequence[int]) -> tuple[float, ...]:
        """The weights of the sources that have more than what was drawn of them; else 0."""
        return tuple(
            weight if weight and feed.has(count + 1) > count else 0.0
            for weight, feed, count in zip(weights, self._feeds, drawn, strict=True)
        )

    def _fresh(
        self, known: tuple[float, ...] | None, place: MixedPlace, drawn: Sequence[int]
    ) -> tuple[float, ...]:
        """The weights in force, unless they have nothing left to draw; else the function's."""
        known = self._weights or known
        if known and not self._weights and self._mixture.until == "all":
            known = known if any(self._of_those_left(known, drawn)) else None
        return known or self._weights_at(place, drawn)

    def _end_of_block(self, number: int) -> int:
        size = _BLOCK * self._step
        return (number // size + 1) * size

    def _weights_at(self, place: MixedPlace, drawn: Sequence[int]) -> tuple[float, ...]:
        """The weights that the function gives for the share that is done."""
        done = [stand.done + count for stand, count in zip(place.stands, drawn, strict=True)]
        pairs = [(a, b) for a, b in zip(done, self._sizes, strict=True) if 0 < b < float("inf")]
        if self._mixture.until == "first":
            share = max((a / b for a, b in pairs), default=0.0)
        else:
            share = sum(a for a, _ in pairs) / (sum(b for _, b in pairs) or 1)
        return self._mixture.weights_at(min(1.0, share))


class InOrder:
    """Where a rank stands behind some of the rows that were drawn together."""

    def __init__(
        self, begin: MixedPlace, end: MixedPlace, drawn: Drawn, taken: Sequence[Taken], step: int
    ) -> None:
        self._begin, self._end, self._step = begin, end, step
        self._codes, self._blocks = drawn.codes, drawn.blocks
        self._taken = [one.without_windows() for one in taken]

    def __call__(self, at: int) -> AnyPlace:
        return self._end if at == len(self._codes) else LatePlace(self, at)

    def place(self, at: int) -> MixedPlace:
        counts = np.bincount(self._codes[:at], minlength=len(self._taken)).tolist()
        stands = tuple(one.stand(count) for one, count in zip(self._taken, counts, strict=True))
        return behind(self._begin, at, self._step)._replace(
            stands=stands, weights=self._weights_at(at)
        )

    def _weights_at(self, at: int) -> tuple[float, ...] | None:
        """The weights in force; None where they are to be asked for."""
        known = [block for block in self._blocks if block[0] <= at]
        return known[-1][1] if known and known[-1][0] < at else None


def behind(place: MixedPlace, drawn: int, step: int) -> MixedPlace:
    """A place so many draws further, but for its stands."""
    left = None if place.left is None else place.left - drawn
    return place._replace(number=place.number + drawn * step, left=left)
