"""Decodes windows: the wanted columns of some row groups, in one piece."""

import threading
from itertools import accumulate, groupby
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from ragmask import arrow
from ragmask.devices import Ints
from ragmask.errors import RagmaskError, StreamError
from ragmask.ragged import Ragged
from ragmask.streaming.columns import Column, join_columns
from ragmask.streaming.plan import Span
from ragmask.streaming.ranges import ReadAhead, chunks
from ragmask.streaming.retry import GivenUpError
from ragmask.streaming.source import File, Group, Source, open_arrow


class Decoded(NamedTuple):
    """The columns of some rows, and the rows' numbers in the data set, int64 (rows,)."""

    columns: dict[str, Column]
    row_ids: Ints


class Reader:
    """Decodes row groups. Safe on several threads: each opens its own file.

    Made in the process that iterates; `close` makes reads from afar give up.
    """

    def __init__(self, source: Source, columns: tuple[str, ...] | None = None) -> None:
        self._source = source
        self._columns = source.columns if columns is None else columns
        self._storage = source.storage.here()
        self._open = threading.local()
        self._metadata: dict[str, Any] = {}
        self._stop = threading.Event()

    def close(self) -> None:
        self._stop.set()

    def read(self, spans: list[Span]) -> Decoded:
        """The rows of a window, in file order and one piece: a copy only where it has to join."""
        groups = self._source.groups

        def found(span: Span) -> Any:
            return groups[span.group].file.path, groups[span.group].keys

        runs = groupby(sorted(spans), key=found)
        parts = [self._read_run(list(run)) for _, run in runs]
        if len(parts) == 1:
            return parts[0]
        columns = join_columns([part.columns for part in parts])
        return Decoded(columns, np.concatenate([part.row_ids for part in parts]))

    def _read_run(self, spans: list[Span]) -> Decoded:
        """The rows of some row groups of one file."""
        try:
            return self._decode(spans)
        except GivenUpError:
            raise
        except RagmaskError:
            if len(spans) > 1:  # the error is to name one row group
                for span in spans:
                    self._decode([span])
            raise

    def _decode(self, spans: list[Span]) -> Decoded:
        source = self._source
        groups = [source.groups[span.group] for span in spans]
        table = _cut(self.read_table(groups), groups, spans)
        row_ids = np.concatenate(
            [
                np.arange(group.first_row + span.first, group.first_row + span.last)
                for group, span in zip(groups, spans, strict=True)
            ]
        )
        if source.filter is not None:
            table, row_ids = self._filtered(groups, table, row_ids)
        columns = {}
        for name in self._columns:
            try:
                columns[name] = read_column(table[name], source.nulls)
            except (RagmaskError, pa.ArrowException) as error:
                raise StreamError(f"{groups[0]}, column {name!r}: {error}") from error
        return Decoded(columns, row_ids)

    def _filtered(self, groups: list[Group], table: Any, row_ids: Ints) -> tuple[Any, Ints]:
        try:
            scanner = pads.dataset(table).scanner(
                columns={"keep": self._source.filter}, use_threads=False
            )
            kept = scanner.to_table()["keep"].fill_null(False)
            return table.filter(kept), row_ids[np.asarray(kept.to_numpy(), np.bool_)]
        except pa.ArrowException as error:
            raise StreamError(f"{groups[0]} cannot be filtered: {error}") from error

    def read_table(self, groups: list[Group]) -> Any:
        """Row groups of one file as a pyarrow Table of the wanted columns, and the filter's."""
        source, file = self._source, groups[0].file
        try:
            if self._storage.is_local:
                table = self._read_file(self._opened(file), file, groups)
            else:
                table = self._read_afar(file, groups)
            for name, value in source.key_values(groups[0].keys).items():
                field = pa.field(name, value.type)
                table = table.append_column(field, pa.repeat(value, table.num_rows))
            table = table.select(list(dict.fromkeys([*self._columns, *source.filter_columns])))
            table.validate()
            return table
        except StreamError:
            raise
        except (OSError, pa.ArrowException) as error:
            raise StreamError(f"{groups[0]} cannot be read: {error}") from error

    def _read_afar(self, file: File, groups: list[Group]) -> Any:
        more = f" and {len(groups) - 1} more" if len(groups) > 1 else ""
        return self._source.retry.run(
            lambda: self._read_file(self._open_afar(file, groups), file, groups),
            f"{groups[0]}{more}",
            self._stop,
        )

    def _read_file(self, opened: Any, file: File, groups: list[Group]) -> Any:
        indices = [group.index for group in groups]
        if file.format == "parquet":
            return opened.read_row_groups(
                indices, columns=self._source.in_files(self._columns), use_threads=False
            )
        table = pa.Table.from_batches([opened.get_batch(index) for index in indices])
        return table.select(self._source.in_files(self._columns))

    def _opened(self, file: File) -> Any:
        """A local file, opened once a thread."""
        self._check_unchanged(file)
        if getattr(self._open, "path", None) != file.path:
            self._open.file = _open_local(file, self._source)
            self._open.path = file.path
        return self._open.file

    def _open_afar(self, file: File, groups: list[Group]) -> Any:
        """Another's file, opened for each read: one that was given up on may still be in use."""
        self._check_unchanged(file)
        if file.format == "arrow":
            return open_arrow(self._storage, file.path, memory_map=False)
        opened = self._storage.filesystem.open_input_file(file.path)
        metadata = self._metadata.get(file.path) or pq.read_metadata(opened)
        self._metadata = {file.path: metadata}  # spares the next read the footer
        if not self._storage.is_python:
            return pq.ParquetFile(opened, metadata=metadata, pre_buffer=True)
        columns = self._source.in_files(self._columns)
        wanted = chunks(metadata, [group.index for group in groups], columns)
        ahead = pa.PythonFile(ReadAhead(opened, wanted), mode="r")
        return pq.ParquetFile(ahead, metadata=metadata, pre_buffer=False)

    def _check_unchanged(self, file: File) -> None:
        if not file.stamp.is_still(self._storage.stamp(file.path)):
            raise StreamError(f"{file.path}: the file changed while it was being streamed")


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


def _cut(table: Any, groups: list[Group], spans: list[Span]) -> Any:
    """The spans' rows of whole row groups laid end to end."""
    if all(span.last - span.first == group.rows for span, group in zip(spans, groups, strict=True)):
        return table
    starts = accumulate((group.rows for group in groups), initial=0)
    return pa.concat_tables(
        [
            table.slice(start + span.first, span.last - span.first)
            for start, span in zip(starts, spans, strict=False)
        ]
    )


def _open_local(file: File, source: Source) -> Any:
    if file.format == "parquet":
        # never mapped: a file cut short under a map would kill the process
        return pq.ParquetFile(file.path, pre_buffer=False)
    if source.memory_map:
        mapped = pa.memory_map(file.path)
        reader = pa.ipc.open_file(mapped)
        if reader.num_record_batches == 0 or _lies_in(mapped, reader.get_batch(0)):
            return reader
    # decompressing copies anyway, and a plain read cannot meet a page that is gone
    return open_arrow(source.storage, file.path, memory_map=False)


def _lies_in(mapped: Any, batch: Any) -> bool:
    """Whether a record batch's buffers are the file's own pages, that is, not compressed."""
    pages = mapped.read_buffer()
    begin, end = pages.address, pages.address + pages.size
    buffers = [buffer for column in batch.columns for buffer in column.buffers() if buffer]
    return all(begin <= buffer.address < end for buffer in buffers if buffer.size)
