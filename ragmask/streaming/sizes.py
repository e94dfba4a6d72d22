"""What the row groups of Parquet files come to in memory, from their footers alone."""

from collections.abc import Sequence
from typing import Any, NamedTuple

ALONE = 1 << 26  # bytes from which on a row group is a window of its own
_PIECE_BYTES = 1 << 27
_PIECE_ROWS = 1 << 20  # pyarrow's row groups have so many, where nobody says another number
_ROW_NUMBER = 8  # bytes, and as many for a place in an order

_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8, "INT96": 8}
_OFFSET = 8  # of a text, whose own bytes are what the footer says


class Heavy(NamedTuple):
    """A row group that takes much memory: its number, and the bytes of each Parquet column."""

    number: int
    sizes: tuple[int, ...]


def heavy_groups(metadata: Any, group_rows: Sequence[int]) -> tuple[Heavy, ...]:
    """Those of a file that may have to stand alone, or to be read in pieces."""
    columns = [metadata.schema.column(place) for place in range(metadata.num_columns)]
    widths = [_WIDTHS.get(one.physical_type, max(one.length or 0, _OFFSET)) for one in columns]
    found = []
    for index, rows in enumerate(group_rows):
        group = metadata.row_group(index)
        # dictionaries and runs make equal values small in a file: it is their number that counts
        sizes = tuple(
            max(chunk.num_values * width, chunk.total_uncompressed_size)
            for chunk, width in zip(map(group.column, range(len(widths))), widths, strict=True)
        )
        if sum(sizes) + rows * _ROW_NUMBER >= ALONE or rows > _PIECE_ROWS:
            found.append(Heavy(index, sizes))
    return tuple(found)


def piece_rows(rows: int, size: int) -> int:
    """The rows of each piece but the last of a row group of so many rows and bytes.

    0 where it is small, and may share a window with others.

    >>> piece_rows(1000, 10 << 20), piece_rows(1000, 100 << 20), piece_rows(1000, 500 << 20)
    (0, 1000, 250)
    """
    size += rows * _ROW_NUMBER
    pieces = max(-(-size // _PIECE_BYTES), -(-rows // _PIECE_ROWS))
    if pieces < 2:
        return rows if size >= ALONE else 0
    return -(-rows // min(rows, pieces))
