"""Work done ahead of who needs it, in the background, and never far ahead."""

import os
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Any, Generic, TypeVar

from ragmask.errors import StreamError
from ragmask.streaming.plan import Window
from ragmask.threads import get_num_threads

Task = TypeVar("Task")
Done = TypeVar("Done")

# Two threads decode at the rate of pyarrow's own read_table. One window more waits its turn,
# so that neither has to wait for the consumer.
_DECODERS = 2
AHEAD = _DECODERS + 1


class Workers:
    """Threads for work ahead, of the process that makes them.

    With `ahead` 0 everything runs on the thread that asks for what was begun, and so does what is
    left once the main thread has ended.
    """

    def __init__(self, ahead: int) -> None:
        self._process, self._is_ending = os.getpid(), sys.is_finalizing
        size = min(_DECODERS, ahead, get_num_threads())
        self._pool = ThreadPoolExecutor(size, "ragmask-decode") if ahead else None

    def begin(self, run: Callable[[Task], Done], task: Task) -> Callable[[], Done]:
        """What gives `run(task)` once it is done, or raises its error."""
        if self._pool is not None:
            try:
                return self._pool.submit(run, task).result
            except RuntimeError:  # no thread begins any more: the interpreter is about to end
                pass
        return partial(run, task)

    def check(self) -> None:
        """Raise StreamError in a process that has none of these threads."""
        check_process(self._process)

    def close(self, stop: Callable[[], None]) -> None:
        """End the threads; `stop` comes first, and makes a `run` under way give up."""
        if self._pool is None:
            stop()
        elif not self._is_ending():  # else the threads have ended, and modules may be gone already
            stop()
            self._pool.shutdown(wait=os.getpid() == self._process, cancel_futures=True)


def run_ahead(
    run: Callable[[Task], Done],
    tasks: Iterable[Task],
    ahead: int = AHEAD,
    stop: Callable[[], None] = lambda: None,
) -> Generator[Done, None, None]:
    """What `run` makes of each task, in order, at most `ahead` of them done or begun.

    An error comes out where its result would have. Closing ends the threads; `stop` is called
    before they are waited for, and makes a `run` under way give up. With `ahead` 0, everything
    runs on the caller's thread.
    """
    workers = Workers(ahead)
    waiting: deque[Callable[[], Done]] = deque()
    coming = iter(tasks)
    begin = partial(workers.begin, run)
    try:
        while True:
            workers.check()
            # the one about to be handed over is not ahead any more
            waiting.extend(map(begin, islice(coming, ahead + 1 - len(waiting))))
            if not waiting:
                return
            yield waiting.popleft()()
    finally:
        workers.close(stop)


class Line(Generic[Done]):
    """One reader's windows: how many rows of them were handed over, and wait to be."""

    def __init__(self, read: Callable[[Window], Done], windows: Iterable[Window]) -> None:
        self.read, self.coming = read, iter(windows)
        self.waiting: deque[tuple[int, Callable[[], Done]]] = deque()
        self.rows_waiting = self.rows_handed = 0
        self.next = next(self.coming, None)

    @property
    def need(self) -> float:
        """How soon it will have nothing left, as far as that can be told from what it gave."""
        return self.rows_waiting / (self.rows_handed + 1)


class Decoders:
    """Threads that decode for several readers of windows, each in an order of its own.

    At most `ahead` windows are done or begun, of all readers together, and one more where a
    reader that is asked has none. What will be needed first is begun first.
    """

    def __init__(self, ahead: int) -> None:
        self._workers, self._ahead = Workers(ahead), ahead
        self._lines: list[Line[Any]] = []
        self._stops: list[Callable[[], None]] = []

    def read(
        self, read: Callable[[Window], Done], windows: Iterable[Window], stop: Callable[[], None]
    ) -> Generator[Done, None, None]:
        """What `read` makes of each window, in order; begun as soon as it is called."""
        line = Line(read, windows)
        self._lines.append(line)
        self._stops.append(stop)
        self._fill()
        return self._results(line, stop)

    def _results(self, line: Line[Done], stop: Callable[[], None]) -> Generator[Done, None, None]:
        try:
            while line.waiting or line.next is not None:
                self._workers.check()
                if not line.waiting:
                    self._begin(line)
                rows, result = line.waiting.popleft()
                self._fill()
                line.rows_waiting -= rows
                line.rows_handed += rows
                yield result()
        finally:
            self._lines.remove(line)
            self._stops.remove(stop)
            stop()  # a source that is repeated has a reader each epoch

    def _begin(self, line: Line[Any]) -> None:
        window = line.next
        assert window is not None
        line.waiting.append((window.rows, self._workers.begin(line.read, window)))
        line.rows_waiting += window.rows
        line.next = next(line.coming, None)

    def _fill(self) -> None:
        for _ in range(self._ahead - sum(len(line.waiting) for line in self._lines)):
            lines = [line for line in self._lines if line.next is not None]
            if lines:
                self._begin(min(lines, key=lambda line: line.need))

    def close(self) -> None:
        """End the threads, and give up what they are at."""

        def stop() -> None:
            for one in self._stops:
                one()

        self._workers.close(stop)


def check_process(process: int) -> None:
    """Raise StreamError in any other process: a fork copies a loop, and not its threads."""
    if os.getpid() != process:
        raise StreamError("this loop began before a fork: begin a new one in the child")
