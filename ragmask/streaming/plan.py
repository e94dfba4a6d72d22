"""Which rows go into which batch: pure functions of a few integers."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Span(NamedTuple):
    """Rows `[first, last)` of a row group."""

    group: int
    first: int
    last: int


def batches_in_order(group_rows: Iterable[int], rows: int, drop_last: bool) -> Iterator[list[Span]]:
    """Batches of `rows` rows in file order, each the spans that make it up.

    >>> list(batches_in_order([3, 2], rows=2, drop_last=False))  # doctest: +NORMALIZE_WHITESPACE
    [[Span(group=0, first=0, last=2)],
     [Span(group=0, first=2, last=3), Span(group=1, first=0, last=1)],
     [Span(group=1, first=1, last=2)]]
    """
    batch: list[Span] = []
    missing = rows
    for group, available in enumerate(group_rows):
        first = 0
        while first < available:
            last = min(available, first + missing)
            batch.append(Span(group, first, last))
            missing -= last - first
            first = last
            if missing == 0:
                yield batch
                batch, missing = [], rows
    if batch and not drop_last:
        yield batch


def number_of_batches(num_rows: int, rows: int, drop_last: bool) -> int:
    return num_rows // rows if drop_last else -(-num_rows // rows)
