"""The bytes of a Parquet file that are wanted, in few reads, all on the thread that asks.

pyarrow's own `pre_buffer` reads on Arrow's threads. Where a file system is Python code, one of
those may be the last to hold a file or its bytes, and a thread that lets go of a Python object
while the interpreter ends is ended there by it: "terminate called without an active exception".
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

_HOLE = 1 << 16  # bytes that are not wanted cost less than another read
_MOST = 1 << 25  # bytes of a read of several chunks


class ReadAhead:
    """A file opened for reading, with ranges `[begin, end)` of it read at once."""

    closed = False

    def __init__(self, file: Any, ranges: Iterable[tuple[int, int]]) -> None:
        self._file, self._at = file, 0
        self._parts = [(begin, file.read_at(end - begin, begin)) for begin, end in _joined(ranges)]

    def read(self, size: int) -> Any:
        begin = self._at
        for first, part in self._parts:
            if first <= begin and begin + size <= first + len(part):
                self._at += size
                return memoryview(part)[begin - first : begin - first + size]
        found = self._file.read_at(size, begin)
        self._at += len(found)
        return found

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._file.size() if whence == 2 else 0)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def close(self) -> None:
        self._file.close()


def chunks(
    metadata: Any, groups: Sequence[int], columns: Sequence[str]
) -> Iterator[tuple[int, int]]:
    """Where the chunks of these columns lie, in these row groups."""
    for group in map(metadata.row_group, groups):
        for chunk in map(group.column, range(group.num_columns)):
            # a name may hold dots, as those between a column and its parts are
            if any(f"{chunk.path_in_schema}.".startswith(f"{name}.") for name in columns):
                begin = chunk.data_page_offset
                if chunk.dictionary_page_offset is not None:
                    begin = min(begin, chunk.dictionary_page_offset)
                yield begin, begin + chunk.total_compressed_size


def _joined(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """In order, and those that are near each other as one."""
    joined: list[tuple[int, int]] = []
    for begin, end in sorted(ranges):
        if joined and begin - joined[-1][1] <= _HOLE and end - joined[-1][0] <= _MOST:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((begin, end))
    return joined
