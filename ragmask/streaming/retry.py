"""Reads from afar: tried again where they fail, and given up on where they stall."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from ragmask.errors import StreamError
from ragmask.layout import check_count

Result = TypeVar("Result")

_FIRST_WAIT = 0.1  # seconds; each further one is twice as long
_FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)


@dataclass(frozen=True)
class Retry:
    """How often to try again, and how many seconds one try may take."""

    retries: int = 4
    timeout: float = 60.0

    def __post_init__(self) -> None:
        check_count("retries", self.retries)

    def run(self, read: Callable[[], Result], what: object, stop: threading.Event) -> Result:
        """What `read` gives. Raises StreamError, naming `what`, once no try is left.

        An error that another try cannot change is raised at once, as it is.
        """
        for attempt in range(self.retries + 1):
            try:
                return _within(self.timeout, read, stop)
            except (OSError, EOFError) as error:
                if isinstance(error, _FINAL | StreamError):
                    raise
                if attempt == self.retries:
                    raise StreamError(
                        f"{what} cannot be read, after {attempt + 1} tries: {error}"
                    ) from error
            if stop.wait(_FIRST_WAIT * 2**attempt):
                raise StreamError(f"{what}: the stream was closed")
        raise AssertionError


def _within(seconds: float, read: Callable[[], Result], stop: threading.Event) -> Result:
    """What `read` gives, or TimeoutError.

    A read that hangs cannot be stopped, only left: it runs on a thread of its own, which ends
    when the read does, or with the process.
    """
    answers: SimpleQueue[tuple[bool, Any]] = SimpleQueue()

    def answer() -> None:
        try:
            answers.put((True, read()))
        except BaseException as error:
            answers.put((False, error))

    threading.Thread(target=answer, name="ragmask-read", daemon=True).start()
    end = time.monotonic() + seconds
    while True:
        try:
            done, result = answers.get(timeout=min(0.1, max(0.0, end - time.monotonic())))
        except Empty:
            if stop.is_set():
                raise TimeoutError("the stream was closed") from None
            if time.monotonic() >= end:
                raise TimeoutError(f"no answer within {seconds:g} seconds") from None
        else:
            if done:
                return result  # type: ignore[no-any-return]
            raise result
