"""The files of a data set: what their footers say, and which row groups a filter leaves.

"Row group" names the piece that is decoded in one go: a Parquet row group, or a record batch
of an Arrow IPC file.
"""

import difflib
import hashlib
import json
import re
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, reduce
from itertools import compress, product
from operator import and_
from typing import Any, Literal

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from ragmask.arrow import Nulls
from ragmask.errors import InvalidInputError, StreamError
from ragmask.streaming.files import Found, Paths, Stamp, Storage, find_files
from ragmask.streaming.retry import Retry

_PARQUET_MAGIC, _ARROW_MAGIC = b"PAR1", b"ARROW1"
_FOOTERS_AT_ONCE = 8  # requests in flight, where files are far away
_MOST_FLOATS = 3  # columns of a filter, up to which statistics are looked at
_WHOLE = re.compile(r"-?[0-9]{1,18}")  # what int64 holds for certain


@dataclass(frozen=True)
class File:
    """What a file's footer says, and the stamp by which a later change is noticed."""

    path: str
    format: Literal["parquet", "arrow"]
    stamp: Stamp
    schema: Any
    group_rows: tuple[int, ...]


@dataclass(frozen=True)
class Group:
    """A row group: its file, its number there, its rows, and the first one's number in the data."""

    file: File
    index: int
    rows: int
    first_row: int = 0
    keys: tuple[tuple[str, str | None], ...] = ()

    def __str__(self) -> str:
        piece = "row group" if self.file.format == "parquet" else "record batch"
        return f"{self.file.path}: {piece} {self.index}"


@dataclass(frozen=True)
class Source:
    """Files with the same columns. Holds no open file, so it can be pickled."""

    storage: Storage
    found: tuple[Found, ...]
    columns: tuple[str, ...]
    nulls: Nulls
    memory_map: bool
    first: File = field(repr=False)
    filter: Any = None
    filter_columns: tuple[str, ...] = ()
    retry: Retry = field(default_factory=Retry)

    @classmethod
    def open(
        cls,
        paths: Paths,
        columns: Iterable[str] | None,
        nulls: Nulls,
        memory_map: bool,
        *,
        filter: Any = None,
        filesystem: Any = None,
        retry: Retry | None = None,
    ) -> "Source":
        """Find the files and check the wanted columns against the first of them."""
        if nulls not in ("empty", "error"):
            raise InvalidInputError(f'nulls must be "empty" or "error"; got {nulls!r}')
        retry = retry or Retry()
        storage, found = find_files(paths, filesystem, retry)
        first = read_footer(storage, found[0].path, memory_map, retry)
        keys = _key_schema(found, first)
        names = [*first.schema.names, *keys.names]
        if isinstance(columns, str):
            columns = [columns]
        wanted = tuple(names if columns is None else columns)
        if not wanted:
            raise InvalidInputError("columns names no column")
        for position, name in enumerate(wanted):
            _check_column(first, name, names)
            if name in wanted[:position]:
                raise InvalidInputError(f"columns names {name!r} twice")
        expression, used = _read_filter(filter, pa.schema([*first.schema, *keys]))
        return cls(storage, found, wanted, nulls, memory_map, first, expression, used, retry)

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(one.path for one in self.found)

    @cached_property
    def key_schema(self) -> Any:
        """The columns that come from the names of folders."""
        return _key_schema(self.found, self.first)

    @property
    def full_schema(self) -> Any:
        """Every column there is."""
        return pa.schema([*self.first.schema, *self.key_schema])

    @property
    def schema(self) -> Any:
        """The Arrow schema of the wanted columns."""
        return pa.schema([self.full_schema.field(name) for name in self.columns])

    def in_files(self, columns: Iterable[str]) -> list[str]:
        """These columns and the filter's, less those that are names of folders."""
        every = dict.fromkeys([*columns, *self.filter_columns])
        return [name for name in every if name not in self.key_schema.names]

    @cached_property
    def files(self) -> tuple[File, ...]:
        """Every file's footer."""
        stop = threading.Event()
        storage = self.storage.here()

        def read(found: Found) -> File:
            if found.path == self.first.path:
                return self.first
            return read_footer(storage, found.path, self.memory_map, self.retry, stop)

        if self.storage.is_local or len(self.found) < 3:
            files = [read(found) for found in self.found]
        else:
            with ThreadPoolExecutor(_FOOTERS_AT_ONCE, "ragmask-footers") as pool:
                try:
                    files = list(pool.map(read, self.found))
                finally:
                    stop.set()
        for file in files:
            for name in self.in_files(self.columns):
                _check_column(file, name, file.schema.names)
                here, there = file.schema.field(name).type, self.first.schema.field(name).type
                if here != there:
                    raise StreamError(
                        f"{file.path}: column {name!r} is {here}, and {there} in {self.first.path}"
                    )
        return tuple(files)

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """Every row group that the filter's look at statistics leaves, from the footers alone."""
        groups: list[Group] = []
        first_row = 0
        for found, file in zip(self.found, self.files, strict=True):
            left = self._left_by_statistics(found, file)
            for index, rows in enumerate(file.group_rows):
                if left is None or index in left:
                    groups.append(Group(file, index, rows, first_row, found.keys))
                first_row += rows
        return tuple(groups)

    def _left_by_statistics(self, found: Found, file: File) -> set[int] | None:
        """The row groups that may hold rows the filter keeps; None where it cannot be told."""
        if self.filter is None or file.format != "parquet":
            return None
        types = [self.full_schema.field(name).type for name in self.filter_columns]
        if any(map(pa.types.is_struct, types)):
            return None
        keys = self.key_values(found.keys)
        in_file = [name for name in self.filter_columns if name not in keys]
        fields = [file.schema.field(name) for name in in_file]
        nans = [
            (field.name, pa.scalar(float("nan"), field.type))
            for field in fields
            if pa.types.is_floating(field.type)
        ]
        if len(nans) > _MOST_FLOATS:
            return None
        storage = self.storage.here()

        def read() -> set[int]:
            left = set()
            where: tuple[Any, ...] = (file.path, storage.filesystem)
            if not storage.is_local:  # read once, and on this thread
                footer = pa.BufferOutputStream()
                with storage.filesystem.open_input_file(file.path) as opened:
                    pq.read_metadata(opened).write_metadata_file(footer)
                where = (footer.getvalue(),)
            # statistics pass over NaNs: a row group is ruled out where NaNs would be too
            for chosen in product([False, True], repeat=len(nans)):
                fragment = pads.ParquetFileFormat().make_fragment(
                    *where,
                    partition_expression=_equal(keys | dict(compress(nans, chosen))),
                )
                subset = fragment.subset(self.filter, schema=self.full_schema)
                left |= {group.id for group in subset.row_groups}
            return left

        try:
            return read() if storage.is_local else self.retry.run(read, file.path)
        except StreamError:
            raise
        except (OSError, pa.ArrowException) as error:
            raise StreamError(f"{file.path} cannot be filtered: {error}") from error

    def key_values(self, keys: tuple[tuple[str, str | None], ...]) -> dict[str, Any]:
        """The values of folder names as Arrow scalars."""
        texts = dict(keys)
        return {
            field.name: pa.scalar(texts.get(field.name), pa.string()).cast(field.type)
            for field in self.key_schema
        }

    @property
    def filter_text(self) -> str | None:
        return None if self.filter is None else str(self.filter)

    @property
    def num_rows(self) -> int:
        return sum(group.rows for group in self.groups)

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        """What tells this data set from another: its files' names, sizes and rows, in order."""
        told = [
            [file.path.rpartition("/")[2], file.stamp.size, list(file.group_rows)]
            for file in self.files
        ]
        return {
            "files": len(told),
            "rows": sum(sum(file.group_rows) for file in self.files),
            "digest": hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16],
        }


def read_footer(
    storage: Storage,
    path: str,
    memory_map: bool = True,
    retry: Retry | None = None,
    stop: threading.Event | None = None,
) -> File:
    """Schema and row counts of a Parquet or Arrow IPC file; its first bytes tell which."""

    def read() -> File:
        stamp = storage.stamp(path)
        with storage.filesystem.open_input_file(path) as file:
            head = file.read(len(_ARROW_MAGIC))
            if head.startswith(_PARQUET_MAGIC):
                metadata = pq.read_metadata(file)
                groups = range(metadata.num_row_groups)
                rows = [metadata.row_group(index).num_rows for index in groups]
                schema = metadata.schema.to_arrow_schema()
                return _checked(File(path, "parquet", stamp, schema, tuple(rows)))
        if head == _ARROW_MAGIC:
            with open_arrow(storage, path, memory_map) as reader:
                schema = reader.schema
            # a record batch says its rows only when it is read: read its cheapest column
            with open_arrow(storage, path, memory_map, [_cheapest(schema)]) as reader:
                rows = [reader.get_batch(i).num_rows for i in range(reader.num_record_batches)]
            return _checked(File(path, "arrow", stamp, schema, tuple(rows)))
        raise StreamError(
            f"{path} is neither a Parquet nor an Arrow IPC file (it begins with {head!r}); "
            "an Arrow IPC stream, without a footer, must be written as a file first"
        )

    try:
        if storage.is_local:
            return read()
        return (retry or Retry()).run(read, path, stop or threading.Event())
    except StreamError:
        raise
    except (OSError, pa.ArrowException) as error:
        raise StreamError(f"{path} cannot be read: {error}") from error


def open_arrow(
    storage: Storage, path: str, memory_map: bool, fields: list[int] | None = None
) -> Any:
    """A reader of an Arrow IPC file, of all its columns or some."""
    if storage.is_local:
        file = pa.memory_map(path) if memory_map else pa.OSFile(path)
    else:
        file = storage.filesystem.open_input_file(path)
    return pa.ipc.open_file(file, options=pa.ipc.IpcReadOptions(included_fields=fields))


def _checked(file: File) -> File:
    names = file.schema.names
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise StreamError(f"{file.path}: several columns are named {', '.join(sorted(twice))}")
    return file


def _check_column(file: File, name: str, names: list[str]) -> None:
    if name not in names:
        near = difflib.get_close_matches(str(name), names, 1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise StreamError(f"{file.path}: no column {name!r}{hint}; it has {', '.join(names)}")


def _cheapest(schema: Any) -> int:
    """The column that costs least to read: of a fixed width, and of the smallest."""

    def cost(position: int) -> int:
        try:
            return int(schema.field(position).type.bit_width)
        except ValueError:
            return 1 << 30

    return min(range(len(schema)), key=cost, default=0)


# -- folders that are columns, and filters ------------------------------------------------


def _key_schema(found: tuple[Found, ...], first: File) -> Any:
    """int64 where every folder's value is a whole number, else string. A file's own column wins."""
    texts: dict[str, set[str | None]] = {}
    for one in found:
        for name, text in one.keys:
            texts.setdefault(name, set()).add(text)
    fields = []
    for name, values in texts.items():
        whole = all(text is None or _WHOLE.fullmatch(text) for text in values)
        if name not in first.schema.names:
            fields.append(pa.field(name, pa.int64() if whole else pa.string()))
    return pa.schema(fields)


def _equal(values: dict[str, Any]) -> Any:
    """An expression that says what some rows have in common; None where that is nothing."""
    parts = [
        pads.field(name) == value if value.is_valid else pads.field(name).is_null()
        for name, value in values.items()
    ]
    return reduce(and_, parts) if parts else None


def _read_filter(given: Any, schema: Any) -> tuple[Any, tuple[str, ...]]:
    """The filter as an expression, and the columns it looks at."""
    if given is None:
        return None, ()
    try:
        expression = pq.filters_to_expression(given)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"the filter {given!r} cannot be read: {error}") from error

    if "FieldPath(" in str(expression):
        raise InvalidInputError(f"the filter {expression} must give columns by name")

    def binds(names: list[str]) -> bool:
        part = pa.schema([schema.field(name) for name in names])
        table = part.empty_table()
        scanner = pads.dataset(table).scanner(columns={"keep": expression})
        if not pa.types.is_boolean(scanner.projected_schema.field("keep").type):
            raise InvalidInputError(f"the filter {expression} is no condition: it gives no bools")
        return True

    def needs(name: str) -> bool:
        try:
            return not binds([other for other in schema.names if other != name])
        except pa.ArrowException:
            return True

    try:
        binds(schema.names)
    except pa.ArrowException as error:
        why = str(error).splitlines()[0]
        raise InvalidInputError(
            f"the filter {expression} does not fit the columns {', '.join(schema.names)}: {why}"
        ) from error
    return expression, tuple(name for name in schema.names if needs(name))
