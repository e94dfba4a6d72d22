"""Work done ahead of who needs it, in the background, and never far ahead."""

import os
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import TypeVar

from ragmask.errors import StreamError
from ragmask.threads import get_num_threads

Task = TypeVar("Task")
Done = TypeVar("Done")

# Two threads decode at the rate of pyarrow's own read_table. One window more waits its turn,
# so that neither has to wait for the consumer.
_DECODERS = 2
AHEAD = _DECODERS + 1


def run_ahead(
    run: Callable[[Task], Done],
    tasks: Iterable[Task],
    ahead: int = AHEAD,
    stop: Callable[[], None] = lambda: None,
) -> Generator[Done, None, None]:
    """What `run` makes of each task, in order, at most `ahead` of them done or begun.

    An error comes out where its result would have. Closing ends the threads; `stop` is called
    before they are waited for, and makes a `run` under way give up. With `ahead` 0, everything
    runs on the caller's thread, and so does what is left once the main thread has ended.
    """
    if ahead == 0:
        try:
            yield from map(run, tasks)
        finally:
            stop()
        return
    process, is_ending = os.getpid(), sys.is_finalizing
    pool = ThreadPoolExecutor(min(_DECODERS, ahead, get_num_threads()), "ragmask-decode")
    waiting: deque[Callable[[], Done]] = deque()
    coming = iter(tasks)

    def begin(task: Task) -> Callable[[], Done]:
        try:
            return pool.submit(run, task).result
        except RuntimeError:  # no thread begins any more: the interpreter is about to end
            return partial(run, task)

    try:
        while True:
            check_process(process)
            # the one about to be handed over is not ahead any more
            waiting.extend(map(begin, islice(coming, ahead + 1 - len(waiting))))
            if not waiting:
                return
            yield waiting.popleft()()
    finally:
        if not is_ending():  # else the threads have ended, and modules may be gone already
            stop()
            pool.shutdown(wait=os.getpid() == process, cancel_futures=True)


def check_process(process: int) -> None:
    """Raise StreamError in any other process: a fork copies a loop, and not its threads."""
    if os.getpid() != process:
        raise StreamError("this loop began before a fork: begin a new one in the child")
