"""The CPU time of work that a thread does, or has another thread do for it."""

import threading
import time

_lent = threading.local()


def cpu_seconds() -> float:
    """What this thread has spent on the CPU so far, and others in its name."""
    lent: float = getattr(_lent, "seconds", 0.0)
    return time.thread_time() + lent


def lend(seconds: float) -> None:
    """Add what another thread has spent for this one."""
    _lent.seconds = getattr(_lent, "seconds", 0.0) + seconds
