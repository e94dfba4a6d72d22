"""How each kind of file says what it holds, and how its row groups are decoded.

"Row group" names the piece that is decoded in one go: a Parquet row group, a record batch of an
Arrow IPC file or stream, or a piece of a table in memory.
"""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from ragmask import arrow
from ragmask.errors import RagmaskError, StreamError
from ragmask.streaming.files import Stamp
from ragmask.streaming.retry import Retry
from ragmask.streaming.sizes import Heavy, heavy_groups

Format = Literal["parquet", "arrow", "stream", "table"]

_PARQUET_MAGIC, _ENCRYPTED_MAGIC, _ARROW_MAGIC = b"PAR1", b"PARE", b"ARROW1"
_STREAM_MAGIC = b"\xff\xff\xff\xff"
_PACKED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"PK\x03\x04": "zip"}
_RAW = (OSError, pa.ArrowException, ValueError, TypeError, LookupError, RuntimeError, OverflowError)
_PIECE = 16_384  # rows at a time, where a row group is too large for one array


class Wanted(NamedTuple):
    """A column to read: one of the file's, and the path from it to a field of its structs."""

    top: str
    path: tuple[str, ...] = ()

    def __str__(self) -> str:
        return ".".join([self.top, *self.path])


class Options(NamedTuple):
    """How files are read."""

    memory_map: bool = True
    verify: bool = False
    decryption: Any = None

    def parquet(self) -> dict[str, Any]:
        return {
            "page_checksum_verification": self.verify,
            "decryption_properties": self.decryption,
        }


@dataclass(frozen=True)
class File:
    """What a file's footer says, and the stamp by which a later change is noticed."""

    path: str
    format: Format
    stamp: Stamp
    schema: Any
    group_rows: tuple[int, ...]
    heavy: tuple[Heavy, ...] = ()


@contextmanager
def naming(where: object, what: str = "cannot be read") -> Iterator[None]:
    """Errors of Arrow and of the system as StreamErrors that say where they came from."""
    try:
        yield
    except StreamError:
        raise
    except RagmaskError as error:
        raise StreamError(f"{where}: {error}") from error
    except _RAW as error:
        hint = ""
        if "encrypt" in str(error).lower() or "decrypt" in str(error).lower():
            hint = ": it is encrypted, and needs decryption_properties= with its keys"
        raise StreamError(f"{where} {what}: {error}{hint}") from error


# -- footers ------------------------------------------------------------------------------


def read_footer(
    storage: Any,
    path: str,
    options: Options,
    retry: Retry,
    stop: threading.Event | None = None,
) -> File:
    """Schema and row counts of a file; its first bytes tell its format."""
    with naming(path):
        if storage.is_local:
            return _footer(storage, path, options)
        return retry.run(lambda: _footer(storage, path, options), path, stop)


def _footer(storage: Any, path: str, options: Options) -> File:
    stamp = storage.stamp(path)
    table = storage.table(path)
    if table is not None:
        return _checked(File(path, "table", stamp, table.schema, table.group_rows))
    with storage.open(path) as file:
        head = file.read(len(_ARROW_MAGIC))
        if head.startswith(_ENCRYPTED_MAGIC) and options.decryption is None:
            raise StreamError(f"{path} is encrypted: pass decryption_properties= with its keys")
        if head.startswith((_PARQUET_MAGIC, _ENCRYPTED_MAGIC)):
            with pq.ParquetFile(file, **options.parquet()) as parquet:
                metadata, schema = parquet.metadata, parquet.schema_arrow
            rows = tuple(metadata.row_group(i).num_rows for i in range(metadata.num_row_groups))
            if sum(rows) != metadata.num_rows or min(rows, default=0) < 0:
                raise StreamError(
                    f"{path} is damaged: its footer counts {metadata.num_rows} rows, and its "
                    f"row groups {sum(rows)}"
                )
            return _checked(
                File(path, "parquet", stamp, schema, rows, heavy_groups(metadata, rows))
            )
    if head.startswith(_STREAM_MAGIC):
        with open_batches(storage, path, "stream", options) as reader:
            schema, rows = reader.schema, reader.count_rows()
        return _checked(File(path, "stream", stamp, schema, rows))
    if head == _ARROW_MAGIC:
        with open_batches(storage, path, "arrow", options) as reader:
            schema = reader.schema
        # a record batch says its rows only when it is read: read its cheapest column
        with open_batches(storage, path, "arrow", options, _cheapest(schema)) as reader:
            rows = reader.count_rows()
        return _checked(File(path, "arrow", stamp, schema, rows))
    packed = next((name for magic, name in _PACKED.items() if head.startswith(magic)), None)
    why = f"it is packed with {packed}: unpack it first" if packed else f"it begins with {head!r}"
    raise StreamError(f"{path} is neither a Parquet nor an Arrow IPC file ({why})")


def _checked(file: File) -> File:
    twice = [name for name, count in Counter(file.schema.names).items() if count > 1]
    if twice:
        raise StreamError(f"{file.path}: several columns are named {', '.join(sorted(twice))}")
    return file


def _cheapest(schema: Any) -> list[int]:
    """The column that costs least to read: of a fixed width, and of the smallest."""

    def cost(position: int) -> int:
        try:
            return int(schema.field(position).type.bit_width)
        except ValueError:
            return 1 << 30

    return [min(range(len(schema)), key=cost)] if len(schema) else []


# -- Arrow IPC ----------------------------------------------------------------------------


class Batches:
    """The record batches of an Arrow IPC file or stream, by number.

    A stream has no footer: it is read on from where it stands, or anew from its start.
    """

    def __init__(self, make: Any, is_stream: bool) -> None:
        self._make, self._is_stream = make, is_stream
        self._reader, self._next = make(), 0
        self.schema = self._reader.schema

    def __enter__(self) -> "Batches":
        return self

    def __exit__(self, *error: object) -> None:
        self._reader.__exit__(*error)

    def count_rows(self) -> tuple[int, ...]:
        if self._is_stream:
            return tuple(batch.num_rows for batch in self._reader)
        batches = range(self._reader.num_record_batches)
        return tuple(self._reader.get_batch(index).num_rows for index in batches)

    def read(self, indices: Sequence[int], wanted: Sequence[Wanted]) -> Any:
        batches = [self._batch(index) for index in indices]
        names = list(dict.fromkeys(one.top for one in wanted))
        table = pa.Table.from_batches(batches, self.schema).select(names)
        arrow.validate(table)  # nobody has looked at what lies in such a file
        return table

    def _batch(self, index: int) -> Any:
        if not self._is_stream:
            return self._reader.get_batch(index)
        if index < self._next:
            self._reader, self._next = self._make(), 0
        while self._next < index:
            self._reader.read_next_batch()
            self._next += 1
        self._next += 1
        return self._reader.read_next_batch()


def open_batches(
    storage: Any, path: str, format_: Format, options: Options, fields: list[int] | None = None
) -> Batches:
    """A reader of an Arrow IPC file or stream, of all its columns or some."""
    is_stream = format_ == "stream"
    opened = pa.ipc.open_stream if is_stream else pa.ipc.open_file

    def make(is_mapped: bool) -> Any:
        if storage.on_disk and is_mapped:
            return opened(pa.memory_map(path))  # to choose columns would copy them
        file = pa.OSFile(path) if storage.on_disk else storage.open(path)
        return opened(file, options=pa.ipc.IpcReadOptions(included_fields=fields))

    if storage.on_disk and options.memory_map and _is_compressed(path, is_stream):
        # decompressing copies anyway, and a plain read cannot meet a page that is gone
        options = options._replace(memory_map=False)
    return Batches(lambda: make(options.memory_map), is_stream)


def _is_compressed(path: str, is_stream: bool) -> bool:
    """Whether a record batch's buffers are other than the file's own pages."""
    with pa.memory_map(path) as mapped:
        reader = pa.ipc.open_stream(mapped) if is_stream else pa.ipc.open_file(mapped)
        try:
            batch = reader.read_next_batch() if is_stream else reader.get_batch(0)
        except (StopIteration, pa.ArrowException, ValueError, IndexError):
            return False
        mapped.seek(0)
        pages = mapped.read_buffer()
        begin, end = pages.address, pages.address + pages.size
        buffers = [buffer for column in batch.columns for buffer in column.buffers() if buffer]
        return not all(begin <= buffer.address < end for buffer in buffers if buffer.size)


# -- Parquet ------------------------------------------------------------------------------


class RowGroups:
    """The row groups of a Parquet file, by number."""

    def __init__(self, opened: Any) -> None:
        self._opened = opened
        self.metadata = opened.metadata
        self.schema = opened.schema_arrow

    def read(self, indices: Sequence[int], wanted: Sequence[Wanted]) -> Any:
        columns = self.physical(wanted)
        try:
            table = self._opened.read_row_groups(indices, columns=columns, use_threads=False)
        except (pa.ArrowNotImplementedError, pa.ArrowCapacityError, pa.ArrowInvalid):
            # too much for one array of a nested column: Arrow then reads it in pieces alone
            table = self._in_pieces(indices, columns)
        return self._checked(table, wanted)

    def read_on(self, index: int, wanted: Sequence[Wanted], rows: int) -> Iterator[Any]:
        """A row group's rows in tables of so many, or of fewer where they are too much."""
        columns, done = self.physical(wanted), 0
        for size in (rows, min(rows, _PIECE)):
            skip = done
            try:
                for batch in self._opened.iter_batches(
                    size, row_groups=[index], columns=columns, use_threads=False
                ):
                    fresh = batch.slice(min(skip, batch.num_rows))
                    skip -= batch.num_rows - fresh.num_rows
                    done += fresh.num_rows
                    if fresh.num_rows:
                        yield self._checked(pa.Table.from_batches([fresh]), wanted)
                return
            except (pa.ArrowNotImplementedError, pa.ArrowCapacityError, pa.ArrowInvalid):
                if size <= _PIECE:
                    raise

    @staticmethod
    def _checked(table: Any, wanted: Sequence[Wanted]) -> Any:
        table = table.select(list(dict.fromkeys(one.top for one in wanted)))
        # Parquet's decoder looks at all it reads but for the places in dictionaries
        arrow.validate(table.select([one.name for one in table.schema if _has_places(one.type)]))
        return table

    def _in_pieces(self, indices: Sequence[int], columns: list[str]) -> Any:
        batches = self._opened.iter_batches(
            _PIECE, row_groups=list(indices), columns=columns, use_threads=False
        )
        return pa.Table.from_batches(list(batches))

    def physical(self, wanted: Sequence[Wanted]) -> list[str]:
        """Parquet's own names of the columns that hold the wanted fields, and no others."""
        names: list[str] = []
        for one in wanted:
            if not one.path:
                names.append(one.top)
                continue
            leaves = arrow.leaves_at(pa.struct(list(self.schema)), [one.top, *one.path])
            names += [self.metadata.schema.column(leaf).path for leaf in leaves]
        return list(dict.fromkeys(names))


def _has_places(type_: Any) -> bool:
    """Whether there are dictionaries in a type."""
    if pa.types.is_dictionary(type_):
        return True
    return pa.types.is_nested(type_) and any(_has_places(f.type) for f in arrow.fields_of(type_))


def open_parquet(source: Any, options: Options, **more: Any) -> RowGroups:
    # never mapped: a file cut short under a map would kill the process
    return RowGroups(pq.ParquetFile(source, **options.parquet(), **more))
