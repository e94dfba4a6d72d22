"""A stream's batches in passes: as many for each of Keras's epochs as it was told."""

from collections.abc import Callable, Generator
from copy import copy
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

from ragmask.arrays.protocol import Ints
from ragmask.errors import InvalidInputError
from ragmask.streaming.ahead import run_ahead
from ragmask.streaming.batch import Batch
from ragmask.streaming.stream import Stream

_STATES = 16  # that are kept, for Keras may fetch batches ahead of those it trains on


class Fed(NamedTuple):
    """A batch as Keras takes it, the numbers of its rows, and the state after it."""

    arrays: tuple[Any, ...]
    row_ids: Ints | None
    state: dict[str, Any]


class Passes:
    """Batches of one epoch after the other, in passes that begin and end where Keras's epochs do.

    A pass has the batches of an epoch, or what is left of one that was resumed. Keras asks how
    many those are before its first epoch alone. Where another has more or fewer, its passes go
    on through the sequence of all epochs' batches, and a new `plan` begins with a whole one.
    """

    def __init__(self, stream: Stream, ahead: int) -> None:
        self.stream = stream
        self.state = stream._start().to_dict()  # after the last batch that was taken
        self.row_ids: list[Ints] = []  # of the last pass
        self.states: dict[int, dict[str, Any]] = {}  # after the last few of its batches
        self.whole = 0  # batches of a pass that begins with an epoch
        self._ahead = ahead
        self._left = 0  # batches of the first pass
        self._size = self._taken = 0  # batches of the pass under way
        self._start, self._epoch = self.state, 0  # where it began
        self._follows = False  # the next batch is that after the last one
        self._batches: Generator[Fed, None, None] | None = None
        self._next: list[Fed] = []  # taken to see whether there is one
        self._counted: dict[Any, int] = {}

    def __copy__(self) -> "Passes":
        """Passes that stand where these do, on a stream of their own."""
        made = object.__new__(type(self))
        own = {"row_ids": [*self.row_ids], "states": {**self.states}}
        made.__dict__.update(self.__dict__, stream=copy(self.stream), **own)
        made._batches, made._next = None, []
        if self._follows:
            made.stream.load_state_dict(self.state)
        return made

    @property
    def is_planned(self) -> bool:
        return self.whole > 0

    @property
    def size_of_next(self) -> int:
        """The batches of the pass under way, which would begin anew, or of the one after it."""
        if self._taken < self._size:
            return self._size
        return self.whole if self._size else self._left

    def plan(self) -> None:
        """Stand where a pass begins: that under way, or a whole epoch; and count its batches."""
        if self._follows:
            if self._taken < self._size:
                self.stream.load_state_dict(self._start)
            else:
                self.stream.set_epoch(self._epoch + 1)
        self.stand()
        epoch = self.state["epoch"]
        if self.state["place"] == [0, 0, 0] and not self.state["deals"]:
            self._left = self.whole = self._count(epoch)
        else:
            self._left, self.whole = self._count(), self._count(epoch + 1)
            if not self._left:  # it was the state of an epoch's last batch
                self.stream.set_epoch(epoch + 1)
                self.state, self._left = self.stream._start().to_dict(), self.whole
        if not self.whole:
            raise InvalidInputError("the stream has no batch, and Keras needs one")

    def stand(self) -> None:
        """Begin the next pass where the stream stands."""
        self._close()
        self.state = self.stream._start().to_dict()
        self._size = self._taken = self._left = self.whole = 0

    def begin(self, convert: Callable[[Batch], tuple[Any, ...]]) -> None:
        """Begin a pass, of batches that `convert` makes arrays of.

        It must not refer to the passes: garbage in a circle may be collected on one of the
        stream's own threads, which cannot wait for itself to end.
        """
        if not self.is_planned or self._taken < self._size:
            self.plan()
        follows = self._size > 0
        self._size = self.size_of_next
        self._epoch = self._epoch + 1 if follows else self.state["epoch"]
        self._start, self._taken = self.state, 0
        self.row_ids, self.states = [], {}
        self._convert = partial(_fed, convert)

    def take(self) -> tuple[Any, ...]:
        """The next batch."""
        if self._taken == self._size:
            raise InvalidInputError(f"the pass of {self._size} batches is over")
        fed = self._next.pop() if self._next else self._follow()
        number, self._taken = self._taken, self._taken + 1
        self.state = fed.state
        if fed.row_ids is not None:
            self.row_ids.append(fed.row_ids)
        if self._taken == self._size:
            self._look_ahead()
        self.states[number] = self.state
        self.states.pop(number - _STATES, None)
        return fed.arrays

    def _follow(self) -> Fed:
        """The next batch of the stream, of another epoch perhaps."""
        for _ in range(2):
            if self._batches is None:
                self._batches = run_ahead(self._convert, self.stream, self._ahead)
                self._follows = True
            for fed in self._batches:
                return fed
            self._close()
        raise InvalidInputError("an epoch of the stream has no batch, and Keras needs one")

    def _look_ahead(self) -> None:
        """See whether the epoch is over; if it is, the next one's turn has come."""
        assert self._batches is not None
        self._next = list(islice(self._batches, 1))
        if not self._next:
            self._close()
            self.state = self.stream.state_dict()

    def _close(self) -> None:
        if self._batches is not None:
            self._batches.close()
        self._batches, self._next, self._follows = None, [], False

    def _count(self, epoch: int | None = None) -> int:
        """The batches from where the stream stands, or of an epoch: counted once."""
        key: Any = self.state["checksum"]
        if epoch is not None:
            key = "any" if self.stream._has_one_order else epoch
        if key not in self._counted:
            self._counted[key] = self.stream.count_batches(epoch)
        return self._counted[key]


def _fed(convert: Callable[[Batch], tuple[Any, ...]], batch: Batch) -> Fed:
    return Fed(convert(batch), batch.row_ids, batch.state or {})
