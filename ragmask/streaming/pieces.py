"""Row groups that are read piece by piece: Parquet's can only be read on, from their start."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from ragmask.streaming.formats import Wanted
from ragmask.streaming.groups import Group

_OPEN = 2  # row groups at once: as many as threads decode

Begin = Callable[[Group, Sequence[Wanted]], Iterator[Any]]
Step = Callable[[Callable[[], Any]], Any]


class Pieces:
    """The pieces of row groups, each row group decoded once. Safe on several threads.

    begin : gives the tables of a row group, in order, from its start.
    step : takes the next of them, by calling what it is given.
    """

    def __init__(self, begin: Begin, step: Step) -> None:
        self._begin, self._step = begin, step
        self._lock = threading.Lock()
        self._opened: OrderedDict[Any, _Opened] = OrderedDict()

    def read(
        self, group: Group, wanted: Sequence[Wanted], attempt: Callable[[Callable[[], Any]], Any]
    ) -> Any:
        """A piece as a table; `attempt` calls what reads it, once or more often."""
        key = (group.file.path, group.index, tuple(wanted))
        with self._lock:
            opened = self._opened.setdefault(key, _Opened())
            self._opened.move_to_end(key)
            while len(self._opened) > _OPEN:
                self._opened.popitem(last=False)
        with opened.lock:
            table = attempt(
                lambda: opened.read(group, lambda: self._begin(group, wanted), self._step)
            )
        if opened.is_done:
            with self._lock:
                self._opened.pop(key, None)
        return table


class _Opened:
    """A row group that is being read."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._close()

    def _close(self) -> None:
        self._tables: Iterator[Any] | None = None
        self._rest: list[Any] = []
        self._at = 0
        self._passed: tuple[int, Any] | None = None  # the last piece that nobody has asked for yet
        self._ended = False

    @property
    def is_done(self) -> bool:
        return self._ended and self._passed is None

    def read(self, group: Group, begin: Callable[[], Iterator[Any]], step: Step) -> Any:
        """Go on to a piece. What is passed over on the way may be another thread's, and is kept."""
        try:
            if self._passed and self._passed[0] == group.begin:
                table, self._passed = self._passed[1], None
                return table
            if self._tables is None or group.begin < self._at:
                self._close()
                self._tables = begin()
            while self._at < group.begin:
                self._passed = self._at, self._next(group, step)
            return self._next(group, step)
        except BaseException:
            self._close()  # a read that was given up on may go on: nobody is to meet it
            raise

    def _next(self, group: Group, step: Step) -> Any:
        assert self._tables is not None
        total = group.file.group_rows[group.index]
        want = min(group.piece_rows, total - self._at)
        parts, self._rest = self._rest, []
        rows = sum(map(len, parts))
        while rows < want:
            table = step(lambda tables=self._tables: next(tables, None))  # type: ignore[misc]
            if table is None:
                break
            parts.append(table)
            rows += len(table)
        if rows > want:
            last = parts.pop()
            cut = len(last) - (rows - want)
            parts.append(last.slice(0, cut))
            self._rest = [last.slice(cut)]
        self._at += want
        self._ended = self._at == total
        return pa.concat_tables(parts) if parts else None
