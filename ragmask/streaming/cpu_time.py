"""The time on a CPU of work that a thread does, or has another thread do for it."""

import threading
import time
from pathlib import Path

_SCHEDULED = Path("/proc/thread-self/schedstat")  # Linux: on a CPU, ready for one, how often
_lent = threading.local()


def cpu_seconds() -> float:
    """What this thread has spent on a CPU so far, or ready for one, and others in its name."""
    lent: float = getattr(_lent, "seconds", 0.0)
    return time.thread_time() + _queued_seconds() + lent


def _queued_seconds() -> float:
    """How long this thread was ready and had no CPU, where the system tells: else, on a machine
    that is busy, it would seem to have waited for a disk."""
    try:
        return int(_SCHEDULED.read_bytes().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


def lend(seconds: float) -> None:
    """Add what another thread has spent for this one."""
    _lent.seconds = getattr(_lent, "seconds", 0.0) + seconds
