"""Runs a row kernel over all rows on N threads: the only parallelism in ragmask.

Rows are cut into chunks of equal cost, not of equal number. The caller and its helpers take
chunks from one queue, and the caller never waits for a helper that has not begun, so small
work and busy machines cost nothing. Which thread takes a chunk changes no result: a kernel
writes each row by itself.
"""

import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from ragmask import share
from ragmask.errors import InvalidInputError

# A hand-over to another thread was measured at 50-160 µs; less work than this stays here.
WORTH_A_THREAD_NS = 200_000
_CHUNKS_PER_THREAD = 2

_lock = threading.Lock()
_num_threads: int | None = None  # that somebody set
_share: tuple[object, int] = (None, 1)  # else: settings, and the share that they made
_pool: ThreadPoolExecutor | None = None


def get_num_threads() -> int:
    """The number of threads a kernel runs on.

    >>> import ragmask as rm
    >>> rm.get_num_threads() >= 1
    True

    It is what `set_num_threads` set, else RAGMASK_NUM_THREADS, else this process's share of the
    machine: OMP_NUM_THREADS, else the CPUs of the task of Ray or Spark that it runs, else those
    that it may use, by its affinity and its container's quota.
    """
    global _share, _pool
    if _num_threads is not None:
        return _num_threads
    settings = share.settings()
    if settings != _share[0]:  # a worker may run a task of other CPUs than the one before
        with _lock:
            _share, _pool = (settings, share.num_threads()), None
    return _share[1]


def set_num_threads(n: int) -> None:
    """Run kernels on `n` threads from now on, the caller's own included.

    >>> import ragmask as rm
    >>> rm.set_num_threads(2)

    Results never depend on it. Raises InvalidInputError unless `n` is an integer of at least 1.
    """
    global _num_threads, _pool
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise InvalidInputError(f"set_num_threads takes an integer of at least 1; got {n!r}")
    with _lock:
        old, _pool, _num_threads = _pool, None, int(n)
    if old is not None:
        old.shutdown(wait=False)


def run_rows(
    kernel: Callable[..., Any],
    rows: int,
    cost_ns: float | npt.NDArray[Any],
    *args: Any,
) -> None:
    """Call `kernel(first_row, last_row, *args)` on ranges that together cover all rows.

    `cost_ns` is a guess of a row's nanoseconds: a number for all rows alike, or one a row.
    """
    run_chunks(kernel, _chunks(rows, cost_ns), *args)


def run_chunks(kernel: Callable[..., Any], chunks: list[tuple[int, int]], *args: Any) -> None:
    """Call `kernel(first_row, last_row, *args)` for each chunk, on as many threads as there are."""
    if len(chunks) < 2:
        for first_row, last_row in chunks:
            kernel(first_row, last_row, *args)
        return

    todo = deque(chunks)

    def drain() -> None:
        while True:
            try:
                first_row, last_row = todo.popleft()
            except IndexError:
                return
            kernel(first_row, last_row, *args)

    helpers = _call_helpers(drain, min(get_num_threads(), len(chunks)) - 1)
    try:
        drain()
    finally:  # on Ctrl-C too: nobody writes into the output once this call has ended
        todo.clear()
        _wait_for([helper for helper in helpers if not helper.cancel()])


def _chunks(
    rows: int, cost_ns: float | npt.NDArray[Any], num_threads: int | None = None
) -> list[tuple[int, int]]:
    """Ranges of rows of about equal cost; one range where threads would not pay."""
    if rows == 0:
        return []
    total = float(cost_ns.sum()) if isinstance(cost_ns, np.ndarray) else cost_ns * rows
    if total < WORTH_A_THREAD_NS:
        return [(0, rows)]
    num_threads = num_threads or get_num_threads()
    if num_threads == 1:
        return [(0, rows)]
    wanted = min(rows, num_threads * _CHUNKS_PER_THREAD)
    if isinstance(cost_ns, np.ndarray):
        shares = np.arange(1, wanted) * (total / wanted)
        cuts = np.searchsorted(np.cumsum(cost_ns), shares, side="left") + 1
    else:
        cuts = np.arange(1, wanted) * rows // wanted
    edges = [0, *np.unique(np.clip(cuts, 1, rows)).tolist(), rows]
    return [(first, last) for first, last in pairwise(edges) if first < last]


def _call_helpers(task: Callable[[], None], count: int) -> list[Future[None]]:
    global _pool
    with _lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(max(1, get_num_threads() - 1), "ragmask")
        pool = _pool
    helpers: list[Future[None]] = []
    try:
        for _ in range(count):
            helpers.append(pool.submit(task))
    except RuntimeError:  # the interpreter is shutting down, or another caller re-made the pool
        pass
    return helpers


def _wait_for(helpers: list[Future[None]]) -> None:
    """Wait until every helper has ended, then raise: an interrupt, or else a helper's error."""
    interrupt: BaseException | None = None
    while True:
        try:
            wait(helpers)
            break
        except BaseException as error:  # Ctrl-C while a helper still writes
            interrupt = error
    if interrupt is not None:
        raise interrupt
    for helper in helpers:
        helper.result()


def _forget_pool_in_child() -> None:
    """A fork copies the pool but not its threads, and may have another share."""
    global _lock, _pool, _share
    _lock, _pool, _share = threading.Lock(), None, (None, 1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool_in_child)
