"""What a loop over a stream does, and where its time goes, counted while it runs."""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, Self, TypeVar

import numpy as np
import pyarrow as pa

from ragmask.arrays.protocol import Ints
from ragmask.arrow import Fields
from ragmask.batches.ragged import Ragged
from ragmask.streaming.columns import Column, lengths_of
from ragmask.streaming.cpu_time import cpu_seconds
from ragmask.streaming.plan import Span

Phase = Literal["waiting", "mapping", "consuming"]
PHASES: tuple[Phase, ...] = ("waiting", "mapping", "consuming")
Made = TypeVar("Made")

# batches whose lengths are added up together: to ask each for its sum and its longest is dear
_BATCHES = 512
_ROWS = 1 << 16


class Steps(NamedTuple):
    """The steps of a column in all batches, as they are and padded to each batch's longest row."""

    real: int = 0
    padded: int = 0

    @property
    def padding(self) -> float:
        """The share of padding in padded batches."""
        return 1 - self.real / self.padded if self.padded else 0.0


class Loop:
    """One loop over a stream: what it has delivered, and on what it has spent its time.

    The consumer's time is cut into phases: it is `waiting` for the stream, `mapping` (functions
    given to `map` run on its thread), or `consuming`. Times of threads that decode run beside it.
    """

    def __init__(self) -> None:
        self.epoch, self.column = 0, ""  # the column whose steps count; "" for every ragged one
        self.rows = self.batches = 0
        self.rows_read = self.bytes_read = 0  # by threads that are ahead of the consumer
        self.reading = self.decoding = self.tokenizing = self.arranging = 0.0
        self.waiting = self.mapping = self.consuming = 0.0
        self.tell: Callable[[Loop], object] | None = None  # hears of each batch
        self.close: Callable[[Loop], object] | None = None
        self.finished = False
        self._phase: Phase | None = None
        self._since = 0.0
        self._steps: dict[str, Steps] = {}
        self._names: list[str] = []  # of the columns whose steps count
        self._lengths: deque[list[Ints]] = deque()  # theirs, of batches not added up yet
        self._rows_waiting = 0
        self._lock = threading.Lock()

    # -- on the consumer's thread ---------------------------------------------------------

    def __enter__(self) -> Self:
        self._phase, self._since = "waiting", time.perf_counter()
        return self

    def __exit__(self, kind: Any, *error: object) -> None:
        self.finished = kind is None
        try:
            if self.close is not None:
                self.close(self)
        finally:
            for phase, seconds in self.seconds().items():
                setattr(self, phase, seconds)
            self._phase = self.tell = self.close = None

    def map(self) -> None:
        """A batch has come, and functions may change it."""
        now = time.perf_counter()
        self.waiting += now - self._since
        self._phase, self._since = "mapping", now

    def hand_over(self, columns: Mapping[str, Column], rows: int, repeated: bool = False) -> None:
        """The consumer gets a batch of so many rows, which was made of these columns."""
        if not self.batches:
            self._names = [self.column] if self.column else _ragged_ones(columns)
        self.batches += 1
        self.rows += 0 if repeated else rows
        self._lengths.append([_lengths(name, columns[name]) for name in self._names])
        self._rows_waiting += rows
        if self._rows_waiting > _ROWS or len(self._lengths) > _BATCHES:
            self._rows_waiting = 0
            self._add_up()
        if self.tell is not None:
            self.tell(self)
        now = time.perf_counter()
        self.mapping += now - self._since
        self._phase, self._since = "consuming", now

    def wait(self) -> None:
        """The consumer asks for the next batch."""
        now = time.perf_counter()
        self.consuming += now - self._since
        self._phase, self._since = "waiting", now

    def _add_up(self) -> None:
        with self._lock:
            taken = [self._lengths.popleft() for _ in range(len(self._lengths))]
            for number, name in enumerate(self._names):
                filled = [batch[number] for batch in taken if len(batch[number])]
                before = self._steps.get(name, Steps())
                if not filled:
                    continue
                sizes = np.array([len(lengths) for lengths in filled])
                lengths = np.concatenate(filled)
                longest = np.maximum.reduceat(lengths, np.append(0, sizes[:-1].cumsum()))
                real, padded = int(lengths.sum()), int(longest @ sizes)
                self._steps[name] = Steps(before.real + real, before.padded + padded)

    # -- from any thread ------------------------------------------------------------------

    def time_decoding(self, decode: Callable[[list[Span]], Made]) -> Callable[[list[Span]], Made]:
        """The function, timed: what it spends asleep is reading, and the rest decoding."""

        def timed(spans: list[Span]) -> Made:
            begun, cpu = time.perf_counter(), cpu_seconds()
            decoded: Any = decode(spans)
            cpu = cpu_seconds() - cpu
            spent = time.perf_counter() - begun
            read = sum(map(bytes_of, decoded.columns.values()))
            with self._lock:
                self.decoding += min(cpu, spent)
                self.reading += max(0.0, spent - cpu)
                self.bytes_read += read
                self.rows_read += sum(span.last - span.first for span in spans)
            return decoded  # type: ignore[no-any-return]

        return timed

    def time_tokenizing(self, change: Callable[[Made], Made]) -> Callable[[Made], Made]:
        """The function, timed; a tokenizer works in threads of its own, while this one sleeps."""

        def timed(decoded: Made) -> Made:
            begun = time.perf_counter()
            changed = change(decoded)
            with self._lock:
                self.tokenizing += time.perf_counter() - begun
            return changed

        return timed

    def time_arranging(self, arrange: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""

        def timed(*args: Any) -> Any:
            begun = time.perf_counter()
            arranged = arrange(*args)
            with self._lock:
                self.arranging += time.perf_counter() - begun
            return arranged

        return timed

    def steps(self) -> dict[str, Steps]:
        """Of each column that is looked at, so far."""
        self._add_up()
        return {name: self._steps.get(name, Steps()) for name in self._names}

    def seconds(self) -> dict[Phase, float]:
        """Of each phase, up to now where the loop runs."""
        spent, phase = {name: getattr(self, name) for name in PHASES}, self._phase
        if phase is not None:
            spent[phase] += max(0.0, time.perf_counter() - self._since)
        return spent


class Watch:
    """A stream's last loop. It stays where it is: copies and pickles of it are new ones."""

    def __init__(self) -> None:
        self.loop: Loop | None = None

    def __reduce__(self) -> Any:
        return Watch, ()


def _ragged_ones(columns: Mapping[str, Column]) -> list[str]:
    """The columns whose rows have lengths that are at hand."""
    frames = {name: one.frame if isinstance(one, Fields) else one for name, one in columns.items()}
    return [name for name, frame in frames.items() if isinstance(frame, Ragged)]


def _lengths(name: str, column: Column) -> Ints:
    # a batch may be of few rows, and cost little: its measures are to cost less
    return column._rows.lengths if type(column) is Ragged else lengths_of(name, column)


def bytes_of(column: Column) -> int:
    """What a column's rows take in memory."""
    if isinstance(column, dict):
        return sum(map(bytes_of, column.values()))
    if isinstance(column, Ragged):
        return int(column.n_steps * column.dtype.itemsize * np.prod(column.item_shape, dtype=int))
    return int(column.nbytes) if isinstance(column, np.ndarray | pa.Array) else 0
