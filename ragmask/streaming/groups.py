"""Row groups of files, and the pieces in which large ones are read."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ragmask.streaming.formats import File
from ragmask.streaming.sizes import piece_rows


@dataclass(frozen=True)
class Group:
    """A row group, or a piece of a large one: its file, its number there, its rows, and the first
    one's number in the data.
    """

    file: File
    index: int
    rows: int
    first_row: int = 0
    keys: tuple[tuple[str, str | None], ...] = ()
    begin: int = 0  # its first row in the row group, of which it may be a piece
    piece_rows: int = 0  # of each piece but the last; 0 where it may share a window with others

    @property
    def is_piece(self) -> bool:
        return 0 < self.piece_rows < self.file.group_rows[self.index]

    @property
    def span(self) -> tuple[int, int]:
        """The numbers of its rows in the data set, from the first to one past the last."""
        return self.first_row, self.first_row + self.rows

    def __str__(self) -> str:
        piece = "row group" if self.file.format == "parquet" else "record batch"
        rows = f", rows {self.begin}–{self.begin + self.rows - 1}" if self.is_piece else ""
        return f"{self.file.path}: {piece} {self.index}{rows}"


def groups_of(
    file: File,
    keys: tuple[tuple[str, str | None], ...],
    first_row: int,
    left: Collection[int] | None,
    sizes: Mapping[int, int],
) -> Iterator[Group]:
    """The groups of a file whose rows are numbered from `first_row`.

    left : the row groups that a filter leaves; None: all. sizes : the bytes of those that are not
    small.
    """
    for index, rows in enumerate(file.group_rows):
        if left is None or index in left:
            each = piece_rows(rows, sizes[index]) if index in sizes else 0
            for begin in range(0, rows, each) if each else (0,):
                size = min(each or rows, rows - begin)
                yield Group(file, index, size, first_row + begin, keys, begin, each)
        first_row += rows


def pieces_of(groups: Sequence[Group]) -> dict[int, int]:
    """Groups that are windows of their own; those of one row group have the same number."""
    firsts = ((number, one.begin) for number, one in enumerate(groups) if one.piece_rows)
    pieces: dict[int, int] = {}
    for number, begin in firsts:
        pieces[number] = pieces[number - 1] if begin else number
    return pieces
