"""Reads from afar: tried again where they fail, and given up on where they stall."""

import atexit
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from ragmask.errors import InvalidInputError, RagmaskError, StreamError
from ragmask.rows.checks import check_count
from ragmask.streaming.cpu_time import cpu_seconds, lend

Result = TypeVar("Result")

_NAME = "ragmask-read"
_FIRST_WAIT = 0.1  # seconds; each further one is twice as long
_LONGEST_WAIT = 10.0
_MOST_AT_EXIT = 5.0
_BETWEEN_LOOKS = 0.03
# another try cannot change these; anything else may be the network's, whatever a client calls it
_FINAL = (
    FileNotFoundError,
    PermissionError,
    IsADirectoryError,
    NotADirectoryError,
    NotImplementedError,
    MemoryError,
    RagmaskError,
)


_ending = threading.Event()  # the interpreter is


class GivenUpError(StreamError):
    """A read that every try has been spent on, or that nobody waits for any more."""


@dataclass(frozen=True)
class Retry:
    """How often to try again, and how many seconds one try may take."""

    retries: int = 4
    timeout: float = 60.0

    def __post_init__(self) -> None:
        check_count("retries", self.retries)
        seconds = self.timeout
        if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not seconds > 0:
            raise InvalidInputError(f"timeout must be a number of seconds above 0; got {seconds!r}")

    def run(
        self, read: Callable[[], Result], what: object, stop: threading.Event | None = None
    ) -> Result:
        """What `read` gives. Raises GivenUpError, naming `what`, once no try is left.

        An error that another try cannot change is raised at once, as it is.
        """
        stop = stop or threading.Event()
        wait = _FIRST_WAIT
        for attempt in range(self.retries + 1):
            if attempt:
                stop.wait(wait)
                wait = min(2 * wait, _LONGEST_WAIT)
            if stop.is_set():
                break
            try:
                return within(self.timeout, read, stop)
            except _FINAL:
                raise
            except Exception as error:
                if attempt == self.retries:
                    tries = "1 try" if attempt == 0 else f"{attempt + 1} tries"
                    raise GivenUpError(f"{what} cannot be read, after {tries}: {error}") from error
        raise GivenUpError(f"{what}: the stream was closed")


def within(seconds: float, read: Callable[[], Result], stop: threading.Event) -> Result:
    """What `read` gives, or TimeoutError.

    A read that hangs cannot be stopped, only left: it runs on a thread of its own, which ends
    when the read does, or with the process.
    """
    _leave_none_behind()
    if _ending.is_set():
        if threading.current_thread() is threading.main_thread():
            return read()
        threading.Event().wait()  # a daemon: it would be cut off amid the read, and abort
    answers: SimpleQueue[tuple[bool, Any, float]] = SimpleQueue()

    def answer() -> None:
        try:
            answers.put((True, read(), cpu_seconds()))
        except BaseException as error:
            answers.put((False, error, cpu_seconds()))

    threading.Thread(target=answer, name=_NAME, daemon=True).start()
    end = time.monotonic() + seconds
    while True:
        try:
            done, result, spent = answers.get(timeout=min(0.1, max(0.0, end - time.monotonic())))
        except Empty:
            if stop.is_set():
                raise TimeoutError("the stream was closed") from None
            if time.monotonic() >= end:
                raise TimeoutError(f"no answer within {seconds:g} seconds") from None
        else:
            lend(spent)
            if done:
                return result  # type: ignore[no-any-return]
            raise result


@cache
def _leave_none_behind() -> None:
    """Let reads that are under way end before the interpreter does, if they are not long.

    One that comes back into an interpreter that is being torn down would crash it.
    """

    def wait() -> None:
        _ending.set()
        end = time.monotonic() + _MOST_AT_EXIT
        quiet = 0
        # Two looks: one may be about to begin. And Arrow opens IPC files on threads of its own,
        # which let go of Python's bytes a moment after they have answered.
        while quiet < 2 and time.monotonic() < end:
            reading = any(thread.name == _NAME for thread in threading.enumerate())
            quiet = 0 if reading else quiet + 1
            time.sleep(_BETWEEN_LOOKS)

    atexit.register(wait)
