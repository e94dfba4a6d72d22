"""How far a loop over a stream has come, told to a function or shown by a bar."""

import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from typing import Any, NamedTuple, Protocol

from ragmask.errors import MissingExtraError, UnsupportedTypeError
from ragmask.streaming.delivery import AnyEpoch
from ragmask.streaming.measures import Loop, Watch
from ragmask.streaming.state import State

_EVERY = 0.1  # seconds


class Progressed(NamedTuple):
    """How far a loop has come: `rows` of the `total` of its epoch, those of an earlier loop that
    it went on from among them, and the batches that it has delivered itself."""

    rows: int
    total: int | None
    batches: int
    epoch: int


Show = bool | Callable[[Progressed], object]


def check_progress(progress: Any) -> Any:
    """What `progress=` is, checked before there is anything to show.

    Raises MissingExtraError where a bar is wanted and neither tqdm nor rich is there.
    """
    if not isinstance(progress, bool) and not callable(progress):
        raise UnsupportedTypeError(
            "progress is True for a bar, or a function of how far the loop has come; "
            f"got {progress!r}"
        )
    if progress is True:
        _bar_kind()
    return progress


def begin_loop(watch: Watch, epoch: AnyEpoch, start: State) -> Loop:
    """The measures of a loop over an epoch from `start` on, and who is told of it."""
    loop, settings = epoch.loop, epoch.settings
    watch.loop = loop
    loop.epoch = epoch.number
    loop.column = getattr(settings.arrangement, "column", "")
    show = settings.progress
    if show is False or (show is True and settings.shard.rank > 0):
        return loop
    told = _teller(epoch, start)
    if show is True:
        show = _Shown(told(loop))
        loop.close = lambda loop: show.close(loop, told(loop))
        loop.tell = lambda loop: show.tell(loop, told(loop))
    else:
        loop.tell = lambda loop: show(told(loop))
    return loop


def _teller(epoch: AnyEpoch, start: State) -> Callable[[Loop], Progressed]:
    """A function that says how far the loop has come."""
    rank = epoch.settings.shard.rank
    total = before = None
    with suppress(UnsupportedTypeError):  # a mixture may have no end
        total = epoch.rows_left(rank, epoch.begin(rank))
        before = total - epoch.rows_left(rank, start.place)
    # a filter keeps nobody knows how many: then rows count as they are read
    is_filtered = epoch.is_filtered

    def told(loop: Loop) -> Progressed:
        rows = (before or 0) + (loop.rows_read if is_filtered else loop.rows)
        if total is not None:
            rows = total if loop.finished else min(rows, total)
        return Progressed(rows, total, loop.batches, loop.epoch)

    return told


# -- bars ---------------------------------------------------------------------------------


class _Bar(Protocol):
    def move(self, rows: int, facts: str) -> None: ...

    def close(self) -> None: ...


class _Shown:
    """A bar over the rows of an epoch, drawn ten times a second at most."""

    def __init__(self, told: Progressed) -> None:
        kind = _Tqdm if _bar_kind() == "tqdm" else _Rich
        self._bar: _Bar = kind(f"epoch {told.epoch}", told.rows, told.total)
        self._drawn = 0.0

    def tell(self, loop: Loop, told: Progressed) -> None:
        now = time.monotonic()
        if now - self._drawn >= _EVERY:
            self._drawn = now
            self._bar.move(told.rows, _facts(loop))

    def close(self, loop: Loop, told: Progressed) -> None:
        try:
            self._bar.move(told.rows, _facts(loop))
        finally:
            self._bar.close()


def _facts(loop: Loop) -> str:
    """The share of padding in what was delivered."""
    steps = loop.steps().values()
    real, padded = sum(one.real for one in steps), sum(one.padded for one in steps)
    return f"{1 - real / padded:.1%} padding" if padded else ""


def _bar_kind() -> str:
    for package in ("tqdm", "rich"):
        if sys.modules.get(package) or (package not in sys.modules and find_spec(package)):
            return package
    raise MissingExtraError(
        'progress=True needs tqdm or rich: pip install "ragmask[progress]"; or pass a function'
    )


class _Tqdm:
    """A bar of tqdm, in notebooks one of theirs."""

    def __init__(self, what: str, rows: int, total: int | None) -> None:
        from tqdm.auto import tqdm

        self._bar = tqdm(desc=what, initial=rows, total=total, unit=" rows", leave=None)

    def move(self, rows: int, facts: str) -> None:
        self._bar.set_postfix_str(facts, refresh=False)
        self._bar.update(rows - self._bar.n)

    def close(self) -> None:
        self._bar.close()


class _Rich:
    """A line of rich's display, of which a process has one at a time: bars share it."""

    _lock = threading.Lock()
    _display: Any = None
    _process = 0
    _bars = 0

    def __init__(self, what: str, rows: int, total: int | None) -> None:
        with _Rich._lock:
            if _Rich._display is None or _Rich._process != os.getpid():
                _Rich._display, _Rich._process, _Rich._bars = _rich_display(), os.getpid(), 0
                _Rich._display.start()
            _Rich._bars += 1
            self._display = _Rich._display
        self._task = self._display.add_task(what, total=total, completed=rows, facts="")

    def move(self, rows: int, facts: str) -> None:
        self._display.update(self._task, completed=rows, facts=facts)

    def close(self) -> None:
        with _Rich._lock:
            self._display.stop_task(self._task)
            if self._display is not _Rich._display:
                return
            _Rich._bars -= 1
            if not _Rich._bars:
                _Rich._display = None
                self._display.stop()


def _rich_display() -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[facts]}"),
        console=Console(stderr=True),
    )
