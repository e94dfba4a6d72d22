"""Windows in the order of delivery, cut into batches."""

from collections.abc import Callable, Generator, Iterable
from typing import Any, NamedTuple

from ragmask.streaming.origins import Part, join
from ragmask.streaming.places import AnyPlace


class Opened(NamedTuple):
    """A window of which `at` items are delivered; `after` says where a rank stands behind so many.

    `window` is None where only that is still to be known.
    """

    window: Any
    at: int
    after: Callable[[int], AnyPlace]


class Cut(NamedTuple):
    """A batch before it is mapped, and the places where it begins and ends."""

    begin: AnyPlace
    end: AnyPlace
    part: Part


def cut(
    windows: Iterable[Opened], begin: AnyPlace, rows: int, drop_last: bool
) -> Generator[Cut, None, None]:
    """Batches of so many items; one that spans windows is joined."""
    parts: list[Part] = []
    missing = rows
    end = begin
    for window, at, after in windows:
        while at < window.items:
            until = min(window.items, at + missing)
            parts.append(window.take(at, until))
            missing -= until - at
            at = until
            if missing == 0:
                end = after(at)
                yield Cut(begin, end, join(parts))
                begin, parts, missing = end, [], rows
        end = after(window.items)
        del window, after  # let go of it before waiting for the next
    if parts and not drop_last:
        yield Cut(begin, end, join(parts))
