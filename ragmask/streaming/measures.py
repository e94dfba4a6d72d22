"""What a loop over a stream does, and where its time goes, counted while it runs."""

import threading
import time
from collections.abc import Callable
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
        self.reading = self.decoding = self.arranging = 0.0
        self.seconds: dict[Phase, float] = {"waiting": 0.0, "mapping": 0.0, "consuming": 0.0}
        self.tell: Callable[[Loop], object] | None = None  # hears of each batch
        self.close: Callable[[Loop], object] | None = None
        self.finished = False
        self._phase: Phase | None = None
        self._since = 0.0
        self._steps: dict[str, Steps] = {}
        self._lengths: dict[str, list[Ints]] = {}  # of batches that are not added up yet
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
            self._enter(None)
            self.tell = self.close = None

    def map(self) -> None:
        """A batch has come, and functions may change it."""
        self._enter("mapping")

    def hand_over(self, columns: dict[str, Column], rows: int, repeated: bool = False) -> None:
        """The consumer gets a batch of so many rows, which was made of these columns."""
        self._enter("consuming")
        with self._lock:
            if not self.batches:
                self._lengths = {name: [] for name in self._measured(columns)}
            self.batches += 1
            self.rows += 0 if repeated else rows
            for name, waiting in self._lengths.items():
                waiting.append(lengths_of(name, columns[name]))
            self._rows_waiting += rows
            if self._rows_waiting > _ROWS or self.batches % _BATCHES == 0:
                self._add_up()
        if self.tell is not None:
            self.tell(self)

    def wait(self) -> None:
        """The consumer asks for the next batch."""
        self._enter("waiting")

    def _enter(self, phase: Phase | None) -> None:
        now = time.perf_counter()
        if self._phase is not None:
            self.seconds[self._phase] += now - self._since
        self._phase, self._since = phase, now

    def _measured(self, columns: dict[str, Column]) -> list[str]:
        if self.column:
            return [self.column]
        return [name for name, column in columns.items() if _is_ragged(column)]

    def _add_up(self) -> None:
        for name, waiting in self._lengths.items():
            filled = [lengths for lengths in waiting if len(lengths)]
            waiting.clear()
            if not filled:
                continue
            sizes = np.array([len(lengths) for lengths in filled])
            lengths = np.concatenate(filled)
            longest = np.maximum.reduceat(lengths, np.append(0, sizes[:-1].cumsum()))
            before = self._steps.get(name, Steps())
            real, padded = int(lengths.sum()), int(longest @ sizes)
            self._steps[name] = Steps(before.real + real, before.padded + padded)
        self._rows_waiting = 0

    # -- from any thread ------------------------------------------------------------------

    def time_decoding(self, decode: Callable[[list[Span]], Made]) -> Callable[[list[Span]], Made]:
        """The function, timed: what it spends off the CPU is reading, and the rest decoding."""

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
        with self._lock:
            self._add_up()
            return {name: self._steps.get(name, Steps()) for name in self._lengths}

    def seconds_so_far(self) -> dict[Phase, float]:
        """Of each phase, up to now where the loop runs."""
        seconds, phase = dict(self.seconds), self._phase
        if phase is not None:
            seconds[phase] += max(0.0, time.perf_counter() - self._since)
        return seconds


class Watch:
    """A stream's last loop. It stays where it is: copies and pickles of it are new ones."""

    def __init__(self) -> None:
        self.loop: Loop | None = None

    def __reduce__(self) -> Any:
        return Watch, ()


def _is_ragged(column: Column) -> bool:
    """Whether rows have lengths that are at hand."""
    return isinstance(column.frame if isinstance(column, Fields) else column, Ragged)


def bytes_of(column: Column) -> int:
    """What a column's rows take in memory."""
    if isinstance(column, dict):
        return sum(map(bytes_of, column.values()))
    if isinstance(column, Ragged):
        return int(column.n_steps * column.dtype.itemsize * np.prod(column.item_shape, dtype=int))
    return int(column.nbytes) if isinstance(column, np.ndarray | pa.Array) else 0
