"""What compare.py's tables are made of: rows, how they show, and peers that may be missing."""

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType

from benchmarks.common import fastest

_words: list[str] = []  # that a row's table or its first cell must have
_table = ""


def choose(words):
    """Have only rows measured that have all of these words, or whose table has them in its name."""
    _words[:] = [word.lower() for word in words]


def rows_of(table):
    """The rows of a table, of those that were chosen."""
    global _table
    _table = table.__name__.replace("_", " ")
    return filter(None, table())


def wanted(what):
    """Whether a row is to be measured."""
    text = f"{_table} {what}".lower()
    return all(word in text for word in _words)


@dataclass(frozen=True)
class Row:
    """One line of a table. `of` says what the ratio and its target are of."""

    what: str
    ours: float
    peer: str
    theirs: float | None = None
    of: str = "speed"
    target: float | None = None
    show: Callable[[float], str] | None = None  # by default as a time

    @property
    def is_reached(self):
        """Whether what was measured is within its target, where there is one and a peer."""
        if self.target is None:
            return True
        if self.of == "seconds":
            return self.ours <= self.target
        if self.theirs is None:
            return True
        more = self.theirs / self.ours
        return more >= self.target if self.of == "speed" else 1 / more <= self.target

    def __str__(self):
        show = self.show or show_seconds
        theirs = ratio = "–"
        if self.theirs is not None:
            theirs = show(self.theirs)
            more = self.theirs / self.ours if self.of == "speed" else self.ours / self.theirs
            ratio = f"{more:.3g}× the {self.of}"
        target = "–"
        if self.target is not None:
            limit = f"{self.target:g} s" if self.of == "seconds" else f"{self.target:g}×"
            target = f"{'≥' if self.of == 'speed' else '≤'} {limit}"
            if not self.is_reached:
                target = f"**missed** {target}"
        cells = (self.what, show(self.ours), self.peer, theirs, ratio, target)
        return f"| {' | '.join(cells)} |"


def show_seconds(seconds):
    if seconds >= 1:
        return f"{seconds:.3g} s"
    return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} µs"


def show_rate(rows, seconds):
    rate = rows / seconds
    return f"{rate / 1e6:.3g} M rows/s" if rate >= 1e6 else f"{rate / 1e3:.3g} k rows/s"


def show_amount(amount, unit, seconds):
    """A rate: so much in so many seconds."""
    return f"{amount / seconds:.3g} {unit}"


def show_memory(amount):
    return f"{amount / 2**20:.0f} MiB"


def against(what, run, peer, run_peer, **options):
    """A Row of two functions, or of one where the peer is not installed; None where not chosen."""
    if not wanted(what):
        return None
    if run_peer is None:
        (ours,) = fastest(run)
        return Row(what, ours, f"{peer}: not installed", **options)
    ours, theirs = fastest(run, run_peer)
    return Row(what, ours, peer, theirs, **options)


def installed(name, **environment) -> ModuleType | None:
    """A peer, imported under these environment variables, or None."""
    os.environ.update(environment)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return import_module(name)
    except ImportError:
        return None
