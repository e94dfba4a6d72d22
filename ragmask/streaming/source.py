"""The files of a data set: finding them, what their footers say, and decoding one row group.

"Row group" names the piece that is decoded in one go: a Parquet row group, or a record batch
of an Arrow IPC file.
"""

import difflib
import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from glob import glob, has_magic
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from ragmask import arrow
from ragmask.errors import InvalidInputError, RagmaskError, StreamError
from ragmask.ragged import Ragged
from ragmask.streaming.batch import Column

Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]

_SUFFIXES = (".parquet", ".pq", ".arrow", ".feather", ".ipc")
_PARQUET_MAGIC, _ARROW_MAGIC = b"PAR1", b"ARROW1"


@dataclass(frozen=True)
class File:
    """What a file's footer says, and the stamp by which a later change is noticed."""

    path: str
    format: Literal["parquet", "arrow"]
    stamp: tuple[int, int]
    schema: Any
    group_rows: tuple[int, ...]


@dataclass(frozen=True)
class Group:
    """A row group: its file, its number in the file, and its rows."""

    file: File
    index: int
    rows: int

    def __str__(self) -> str:
        piece = "row group" if self.file.format == "parquet" else "record batch"
        return f"{self.file.path}: {piece} {self.index}"


@dataclass(frozen=True)
class Source:
    """Files with the same columns. Holds no open file, so it can be pickled."""

    paths: tuple[str, ...]
    columns: tuple[str, ...]
    nulls: arrow.Nulls
    memory_map: bool
    first: File = field(repr=False)

    @classmethod
    def open(
        cls, paths: Paths, columns: Iterable[str] | None, nulls: arrow.Nulls, memory_map: bool
    ) -> "Source":
        """Find the files and check the wanted columns against the first of them."""
        if nulls not in ("empty", "error"):
            raise InvalidInputError(f'nulls must be "empty" or "error"; got {nulls!r}')
        found = tuple(find_files(paths))
        first = read_footer(found[0], memory_map)
        names = first.schema.names
        if isinstance(columns, str):
            columns = [columns]
        wanted = tuple(names if columns is None else columns)
        if not wanted:
            raise InvalidInputError("columns names no column")
        for position, name in enumerate(wanted):
            _check_column(first, name)
            if name in wanted[:position]:
                raise InvalidInputError(f"columns names {name!r} twice")
        return cls(found, wanted, nulls, memory_map, first)

    @property
    def schema(self) -> Any:
        """The Arrow schema of the wanted columns."""
        return pa.schema([self.first.schema.field(name) for name in self.columns])

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """Every row group of every file, from the footers alone."""
        groups: list[Group] = []
        for path in self.paths:
            file = self.first if path == self.first.path else read_footer(path, self.memory_map)
            for name in self.columns:
                _check_column(file, name)
                here, there = file.schema.field(name).type, self.first.schema.field(name).type
                if here != there:
                    raise StreamError(
                        f"{path}: column {name!r} is {here}, and {there} in {self.first.path}"
                    )
            groups += (Group(file, index, rows) for index, rows in enumerate(file.group_rows))
        return tuple(groups)

    @property
    def num_rows(self) -> int:
        return sum(group.rows for group in self.groups)


class Reader:
    """Decodes row groups. Safe on several threads: each opens its own file."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._open = threading.local()

    def read(self, group: Group) -> dict[str, Column]:
        """The columns of one row group."""
        source, table = self._source, self.read_table(group)
        columns = {}
        for name in source.columns:
            try:
                columns[name] = read_column(table[name], source.nulls)
            except (RagmaskError, pa.ArrowException) as error:
                raise StreamError(f"{group}, column {name!r}: {error}") from error
        return columns

    def read_table(self, group: Group) -> Any:
        """One row group as a pyarrow Table or RecordBatch of the wanted columns."""
        source, file = self._source, group.file
        if _stamp(file.path) != file.stamp:
            raise StreamError(f"{file.path}: the file changed while it was being streamed")
        try:
            if getattr(self._open, "path", None) != file.path:
                self._open.file = _open(file, source.memory_map)
                self._open.path = file.path
            if file.format == "parquet":
                table = self._open.file.read_row_group(
                    group.index, columns=list(source.columns), use_threads=False
                )
            else:
                table = self._open.file.get_batch(group.index)
            table = table.select(list(source.columns))
            table.validate()
            return table
        except (OSError, pa.ArrowException) as error:
            raise StreamError(f"{group} cannot be read: {error}") from error


def read_column(array: Any, nulls: arrow.Nulls) -> Column:
    """An Arrow column in the form that a batch holds it in."""
    kind = arrow.kind_of(array.type)
    if kind == "ragged":
        return Ragged._trusted(*arrow.read_rows(array, nulls))
    if kind == "struct":
        fields = arrow.read_fields(array, nulls)
        return {
            name: Ragged._trusted(*rows) if isinstance(rows, arrow.Rows) else rows
            for name, rows in fields.items()
        }
    return arrow.read_scalars(array)


def find_files(paths: Paths) -> list[str]:
    """The files that paths, folders and globs name, each folder's and glob's in sorted order."""
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    if not given:
        raise InvalidInputError("no path was given")
    found: list[str] = []
    for one in given:
        if "://" in str(one):
            raise StreamError(f"{one}: only local paths can be streamed")
        path = Path(one).expanduser()
        if path.is_dir():
            files = sorted(
                str(file)
                for file in path.rglob("*")
                if file.suffix in _SUFFIXES and not _is_hidden(file.relative_to(path))
            )
            if not files:
                raise StreamError(f"{path}: the folder holds no {', '.join(_SUFFIXES)} file")
        elif path.exists():
            files = [str(path)]
        elif has_magic(str(path)):
            matches = glob(str(path), recursive=True)  # noqa: PTH207, Path.glob takes no absolute one
            files = sorted(match for match in matches if Path(match).is_file())
            if not files:
                raise StreamError(f"{path}: no file matches")
        else:
            raise StreamError(f"{path}: there is no such file or folder")
        found += files
    return found


def read_footer(path: str, memory_map: bool = True) -> File:
    """Schema and row counts of a Parquet or Arrow IPC file; its first bytes tell which."""
    try:
        stamp = _stamp(path)
        with Path(path).open("rb") as file:
            head = file.read(len(_ARROW_MAGIC))
        if head.startswith(_PARQUET_MAGIC):
            metadata = pq.read_metadata(path)
            rows = [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)]
            schema = metadata.schema.to_arrow_schema()
            return _checked(File(path, "parquet", stamp, schema, tuple(rows)))
        if head == _ARROW_MAGIC:
            with _open_arrow(path, memory_map) as reader:
                schema = reader.schema
            # a record batch says its rows only when it is read: read its cheapest column
            with _open_arrow(path, memory_map, [_cheapest(schema)]) as reader:
                rows = [reader.get_batch(i).num_rows for i in range(reader.num_record_batches)]
            return _checked(File(path, "arrow", stamp, schema, tuple(rows)))
    except (OSError, pa.ArrowException) as error:
        raise StreamError(f"{path} cannot be read: {error}") from error
    raise StreamError(
        f"{path} is neither a Parquet nor an Arrow IPC file (it begins with {head!r}); "
        "an Arrow IPC stream, without a footer, must be written as a file first"
    )


def _checked(file: File) -> File:
    names = file.schema.names
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise StreamError(f"{file.path}: several columns are named {', '.join(sorted(twice))}")
    return file


def _check_column(file: File, name: str) -> None:
    names = file.schema.names
    if name not in names:
        near = difflib.get_close_matches(str(name), names, 1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise StreamError(f"{file.path}: no column {name!r}{hint}; it has {', '.join(names)}")


def _open(file: File, memory_map: bool) -> Any:
    if file.format == "parquet":
        # never mapped: a file cut short under a map would kill the process
        return pq.ParquetFile(file.path, pre_buffer=False)
    if memory_map:
        mapped = pa.memory_map(file.path)
        reader = pa.ipc.open_file(mapped)
        if reader.num_record_batches == 0 or _lies_in(mapped, reader.get_batch(0)):
            return reader
    # decompressing copies anyway, and a plain read cannot meet a page that is gone
    return _open_arrow(file.path, False)


def _open_arrow(path: str, memory_map: bool, fields: list[int] | None = None) -> Any:
    file = pa.memory_map(path) if memory_map else pa.OSFile(path)
    return pa.ipc.open_file(file, options=pa.ipc.IpcReadOptions(included_fields=fields))


def _cheapest(schema: Any) -> int:
    """The column that costs least to read: of a fixed width, and of the smallest."""

    def cost(position: int) -> int:
        try:
            return int(schema.field(position).type.bit_width)
        except ValueError:
            return 1 << 30

    return min(range(len(schema)), key=cost, default=0)


def _lies_in(mapped: Any, batch: Any) -> bool:
    """Whether a record batch's buffers are the file's own pages, that is, not compressed."""
    pages = mapped.read_buffer()
    begin, end = pages.address, pages.address + pages.size
    buffers = [buffer for column in batch.columns for buffer in column.buffers() if buffer]
    return all(begin <= buffer.address < end for buffer in buffers if buffer.size)


def _stamp(path: str) -> tuple[int, int]:
    try:
        status = Path(path).stat()
    except OSError as error:
        raise StreamError(f"{path} cannot be read: {error}") from error
    return status.st_size, status.st_mtime_ns


def _is_hidden(path: Path) -> bool:
    return any(part.startswith((".", "_")) for part in path.parts)
