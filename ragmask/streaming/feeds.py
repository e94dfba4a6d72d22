"""One source of a mixture in one rank: what comes next of it, epoch after epoch."""

from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from typing import Any, NamedTuple, Protocol

from ragmask.streaming.cutting import Cut, Opened
from ragmask.streaming.delivery import AnyEpoch
from ragmask.streaming.origins import Part, numbers_of
from ragmask.streaming.places import Stand, Stint, settled

EpochOf = Callable[[int, tuple[Any, ...]], AnyEpoch]
"""An epoch of a source, by its number and how its rows were dealt out."""


class Piece(NamedTuple):
    """Rows `[begin, end)` of a window, or a batch, and the stints where it was opened."""

    stints: tuple[Stint, ...]
    opened: Opened
    begin: int
    end: int


class Taken(NamedTuple):
    """The next rows of a source, in pieces, and where it stood before them."""

    pieces: Sequence[Piece]
    before: Stand

    def without_windows(self) -> "Taken":
        """The same, as far as `stand` needs it."""
        pieces = [
            piece._replace(opened=piece.opened._replace(window=None)) for piece in self.pieces
        ]
        return self._replace(pieces=pieces)

    def stand(self, rows: int) -> Stand:
        """Where the source stands behind so many of them."""
        done = self.before.done + rows
        for stints, opened, begin, end in self.pieces:
            if rows <= end - begin:
                if not rows:
                    break
                place = settled(opened.after(begin + rows))
                return Stand((stints[0]._replace(place=place), *stints[1:]), done)
            rows -= end - begin
        return self.before._replace(done=done)


class Feed(Protocol):
    """What is left of a source, and where it stands."""

    stand: Stand

    @property
    def held(self) -> int:
        """The rows that are decoded."""

    def has(self, wanted: int) -> int:
        """How many rows, or batches, of so many it still has."""

    def take(self, count: int) -> Taken:
        """The next ones, of which it has so many."""

    def close(self) -> None: ...


class Stints:
    """The epochs that a source has left in a rank, one after the other."""

    def __init__(self, epoch_of: EpochOf, stand: Stand, last: int | None) -> None:
        self.epoch_of, self.stints, self.last = epoch_of, stand.stints, last
        self.stand = stand

    @property
    def epoch(self) -> AnyEpoch | None:
        """The one that it is in; None at the end of the last."""
        current = self.stints[0]
        if current.epoch == self.last:
            return None
        return self.epoch_of(current.epoch, current.deals)

    def advance(self) -> None:
        self.stints = self.stints[1:] or (Stint(self.stints[0].epoch + 1),)


class RowFeed:
    """Rows of a source, as its windows give them."""

    def __init__(
        self, stints: Stints, open_: Callable[[AnyEpoch, Stint], Generator[Opened, None, None]]
    ) -> None:
        self._stints, self._open = stints, open_
        self.stand = stints.stand
        self._held: deque[Piece] = deque()
        self._rows = 0
        self._windows: Generator[Opened, None, None] | None = None
        self._is_empty = False
        self.begin()

    def begin(self) -> bool:
        """Begin to read the epoch that the source is in; False at its end."""
        epoch = self._stints.epoch
        if epoch is None or self._is_empty:
            return False
        stint = self._stints.stints[0]
        self._is_empty = stint == Stint(stint.epoch)  # unless it has a row
        self._windows = self._open(epoch, stint)
        return True

    def has(self, wanted: int) -> int:
        while self._rows < wanted and self._pull():
            pass
        return min(wanted, self._rows)

    @property
    def held(self) -> int:
        return self._rows

    def _pull(self) -> bool:
        """Open the next window that has rows; False if there is none."""
        while self._windows is not None or self.begin():
            assert self._windows is not None
            for opened in self._windows:
                rows = opened.window.items - opened.at
                if rows > 0:
                    self._is_empty = False
                    piece = Piece(self._stints.stints, opened, opened.at, opened.window.items)
                    self._held.append(piece)
                    self._rows += rows
                    return True
            self._windows = None
            if self._is_empty and self._stints.last is None:
                return False  # else an epoch without a row would be repeated for ever
            self._stints.advance()
        return False

    def take(self, count: int) -> Taken:
        pieces, before = [], self.stand
        self._rows -= count
        while count:
            piece = self._held.popleft()
            rows = piece.end - piece.begin
            if rows > count:
                cut = piece.begin + count
                self._held.appendleft(piece._replace(begin=cut))
                piece = piece._replace(end=cut)
            pieces.append(piece)
            count -= piece.end - piece.begin
        taken = Taken(pieces, before)
        self.stand = taken.stand(sum(piece.end - piece.begin for piece in pieces))
        return taken

    def close(self) -> None:
        if self._windows is not None:
            self._windows.close()
        self._held.clear()


class BatchFeed(RowFeed):
    """Batches of a source; each counts as a window of one item."""

    def __init__(
        self, stints: Stints, cuts: Callable[[AnyEpoch, Stint], Generator[Cut, None, None]]
    ) -> None:
        def open_(epoch: AnyEpoch, stint: Stint) -> Generator[Opened, None, None]:
            return _as_windows(cuts(epoch, stint))

        super().__init__(stints, open_)

    def take(self, count: int) -> Taken:
        """The next batches; `stand` counts their rows."""
        done, taken = self.stand.done, super().take(count)
        rows = sum(len(numbers_of(one.opened.window.part.row_ids)) for one in taken.pieces)
        self.stand = self.stand._replace(done=done + rows)
        return taken


class One:
    """A batch as a window."""

    items = 1

    def __init__(self, part: Part) -> None:
        self.part = part

    def take(self, first: int, last: int) -> Part:
        return self.part


def _as_windows(cuts: Generator[Cut, None, None]) -> Generator[Opened, None, None]:
    with closing(cuts):
        for _, end, part in cuts:
            yield Opened(One(part), 0, lambda _, end=end: end)  # type: ignore[misc]
            del part


class CountedFeed:
    """The number of rows of a source, or of its batches, where nothing has to be read for it."""

    def __init__(self, rows: float, stand: Stand) -> None:
        self._rows, self.stand = rows, stand

    @property
    def held(self) -> int:
        return self.has(1 << 20)

    def has(self, wanted: int) -> int:
        return int(min(wanted, self._rows))

    def take(self, count: int) -> Taken:
        self._rows -= count
        taken = Taken((), self.stand)
        self.stand = taken.stand(count)
        return taken

    def close(self) -> None:
        pass
