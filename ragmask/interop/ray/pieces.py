"""A stream's epoch in pieces that other processes deliver, batch by batch as the stream would."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import accumulate, islice
from typing import NamedTuple

from ragmask.errors import InvalidInputError
from ragmask.interop.ray.workers import anchored
from ragmask.streaming.batch import Batch
from ragmask.streaming.epoch import WINDOW_ROWS
from ragmask.streaming.plan import Place, number_of_batches
from ragmask.streaming.state import State
from ragmask.streaming.stream import Stream


class Piece(NamedTuple):
    """Batches one after the other: where they begin, and how many they are."""

    start: State
    batches: int


def sendable(stream: Stream) -> Stream:
    """The stream for processes elsewhere, which decode on the thread that computes."""
    if stream._settings.rows is None:
        raise InvalidInputError("choose the batches first: .batch(rows=256)")
    if stream._settings.shard.even:
        raise InvalidInputError("shard(even=True) repeats rows: pass a stream without it")
    made = replace(stream.prefetch(0), _source=anchored(stream._source))
    made._progress.start, made._progress.epoch = stream._progress.start, stream._progress.epoch
    return made


def pieces(stream: Stream, workers: int) -> list[Piece]:
    """What is left of the epoch, in as few pieces as keep so many workers busy.

    Each ends where a batch does: at the first one after a window's end where there are windows
    enough, for a window that is cut is decoded on both sides of the cut.
    """
    settings, start = stream._settings, stream._start()
    rows = settings.rows
    assert rows is not None
    epoch, first = stream._epoch(start), start.place.window
    windows = epoch.hands[settings.shard.rank][first:]
    done = [window.done for window in windows]
    if done:
        done[0] = max(done[0], start.place.item)
    with closing(epoch.count_items(windows)) as counts:
        sizes = [items - less for items, less in zip(counts, done, strict=True)]
    starts = list(accumulate(sizes, initial=0))

    def place(batch: int) -> Place:
        item = batch * rows
        window = bisect_right(starts, item) - 1
        return Place(first + window, done[window] + item - starts[window])

    batches = number_of_batches(starts[-1], rows, settings.drop_last)
    # the batches in which windows end, and the first of the next
    ends = [-(-end // rows) for end in starts[1:]]
    most = max(1, -(-batches // workers))
    least = min(max(1, WINDOW_ROWS // rows), -(-most // 4))
    made, begin = [], 0
    while begin < batches:
        position = bisect_left(ends, begin + least)
        until = min(ends[position] if position < len(ends) else batches, begin + most, batches)
        made.append(Piece(start._replace(place=place(begin)), until - begin))
        begin = until
    return made


def batches_of(stream: Stream, piece: Piece) -> Iterator[Batch]:
    batches = stream._batches(piece.start)
    with closing(batches):  # type: ignore[type-var]
        yield from islice(batches, piece.batches)
