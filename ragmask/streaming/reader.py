"""Decodes windows: the wanted columns of some row groups, in one piece."""

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate, groupby
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads

from ragmask import arrow
from ragmask.arrays.protocol import Ints
from ragmask.errors import RagmaskError, StreamError
from ragmask.streaming.columns import Column, join_columns, read_column
from ragmask.streaming.formats import (
    Batches,
    File,
    RowGroups,
    Wanted,
    naming,
    open_batches,
    open_parquet,
)
from ragmask.streaming.groups import Group
from ragmask.streaming.pieces import Pieces
from ragmask.streaming.plan import Span, rows_in
from ragmask.streaming.ranges import ReadAhead, chunks
from ragmask.streaming.retry import GivenUpError, within
from ragmask.streaming.source import Source

_BUFFER, _BUFFER_AFAR = 1 << 20, 1 << 23  # bytes of a column's pages that are read at once


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
        names = source.column_names if columns is None else columns
        self._columns, *self._given = source.needed(names)  # of the files, and by each step
        self._storage = source.storage.here()
        self._open = threading.local()
        self._metadata: dict[str, Any] = {}
        self._stop = threading.Event()
        self._pieces = Pieces(self._begin, self._step)
        self._wanted = source.in_files(self._columns)
        made = [*map(source.split, self._columns), *map(Wanted, source.filter_columns)]
        self._fields = {one: source.field(str(one)) for one in dict.fromkeys(made)}
        self._of_schemas: dict[int, list[Wanted]] = {}

    def close(self) -> None:
        self._stop.set()

    def read(self, spans: list[Span]) -> Decoded:
        """The rows of a window, changed by each step."""
        return self.changed(self.unchanged(spans))

    def unchanged(self, spans: list[Span]) -> Decoded:
        """Columns as they lie in the files, in file order and one piece: a copy only where it has
        to join."""
        groups = self._source.groups

        def found(span: Span) -> Any:
            return groups[span.group].file.path, groups[span.group].keys

        runs = groupby(sorted(spans), key=found)
        parts = [self._read_run(list(run)) for _, run in runs]
        if len(parts) == 1:
            return parts[0]
        columns = join_columns([part.columns for part in parts])
        return Decoded(columns, np.concatenate([part.row_ids for part in parts]))

    def changed(self, decoded: Decoded) -> Decoded:
        """The same rows, after each step."""
        columns, row_ids = decoded
        for step, names in zip(self._source.steps, self._given, strict=True):
            columns = step.run(columns, names, row_ids)
        return Decoded(columns, row_ids)

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
        table, row_ids = self._cut(self.read_table(groups), groups, spans)
        if source.filter is not None:
            table, row_ids = self._filtered(groups, table, row_ids)
        columns = {}
        for name in self._columns:
            with naming(f"{groups[0]}, column {name!r}"):
                columns[name] = read_column(self._items(name, table[name]), source.nulls)
        return Decoded(columns, row_ids)

    def _cut(self, table: Any, groups: list[Group], spans: list[Span]) -> tuple[Any, Ints]:
        """The spans' rows of row groups laid end to end, and their numbers in the data set."""
        portions, clip = self._source.portions, self._source.clip
        if not portions:
            begins = [clip(group.span)[0] for group in groups]
            found = [
                np.arange(begin + span.first, begin + span.last)
                for begin, span in zip(begins, spans, strict=True)
            ]
            moved = [
                Span(
                    span.group,
                    span.first + begin - group.first_row,
                    span.last + begin - group.first_row,
                )
                for begin, group, span in zip(begins, groups, spans, strict=True)
            ]
            return _slices(table, groups, moved), np.concatenate(found)
        kept, row_ids = np.zeros(len(table), np.bool_), []
        starts = accumulate((group.rows for group in groups), initial=0)
        for start, group, span in zip(starts, groups, spans, strict=False):
            begin, end = clip(group.span)
            rows = begin + rows_in(portions, begin, end)[span.first : span.last]
            kept[start - group.first_row + rows] = True
            row_ids.append(rows)
        return table.filter(pa.array(kept)), np.concatenate(row_ids)

    def empty(self) -> Decoded:
        """No rows of every column."""
        columns = {}
        for name in self._columns:
            type_ = arrow.workable(self._source.field(name).type)
            columns[name] = read_column(self._items(name, pa.chunked_array([], type_)))
        return self.changed(Decoded(columns, np.empty(0, np.int64)))

    def _filtered(self, groups: list[Group], table: Any, row_ids: Ints) -> tuple[Any, Ints]:
        source = self._source
        with naming(groups[0], "cannot be filtered"):
            scanner = pads.dataset(table.select(list(source.filter_columns))).scanner(
                columns={"keep": source.filter}, use_threads=False
            )
            kept = scanner.to_table()["keep"].fill_null(False)
            return table.filter(kept), row_ids[np.asarray(kept.to_numpy(), np.bool_)]

    def _items(self, name: str, column: Any) -> Any:
        """Lists of lists that are to be read as lists of vectors, as such."""
        items, widths = self._source.items, self._source.widths
        if items is None:
            return column
        if items == "vectors":
            item = arrow.item_type(column.type) if arrow.is_list(column.type) else None
            if item is None or not (arrow.is_list(item) and arrow.kind_of(item) == "ragged"):
                return column
            if name not in widths:
                found = arrow.vector_width(column)
                widths.setdefault(name, self._width(name) if found is None else found)
            return arrow.as_vectors(column, widths[name])
        return arrow.as_vectors(column, items[name]) if name in items else column

    def _width(self, name: str) -> int:
        """The size of the first vector there is in a column; 0 where there is none."""
        reader = Reader(self._source.without_steps(), (name,))
        for group in self._source.groups:
            width = arrow.vector_width(reader.read_table([group])[name])
            if width is not None:
                return width
        return 0

    def read_table(self, groups: list[Group]) -> Any:
        """Row groups of one file as a pyarrow Table of the wanted columns, and the filter's.

        Their types are those of `Source.full_schema`, in a form that Arrow's kernels know.
        """
        file = groups[0].file
        with naming(groups[0]):
            wanted = self._wanted_of(file)
            try:
                table = self._read(file, groups, wanted)
            except (OSError, ValueError, RuntimeError, pa.ArrowException, RagmaskError) as error:
                if not isinstance(error, GivenUpError):
                    self._name_the_column(file, groups, wanted)
                raise
            rows = sum(group.rows for group in groups)
            if table.num_rows != rows:
                raise StreamError(
                    f"{groups[0]} is damaged: {table.num_rows} rows were decoded, and its footer "
                    f"counts {rows}"
                )
            return self._columns_of(table, groups)

    def _wanted_of(self, file: File) -> list[Wanted]:
        """What there is in a file of the wanted columns. Files of one schema share it."""
        key = id(file.schema)
        if key not in self._of_schemas:
            names = set(file.schema.names)
            self._of_schemas[key] = [one for one in self._wanted if one.top in names]
        return self._of_schemas[key]

    def _columns_of(self, table: Any, groups: list[Group]) -> Any:
        source = self._source
        keys = source.key_values(groups[0].keys)
        columns: dict[str, Any] = {}
        arrays = dict(zip(table.column_names, table.columns, strict=True))
        for one, field in self._fields.items():
            if one.top in keys:
                array = pa.chunked_array([pa.repeat(keys[one.top], len(table))])
            elif one.top in arrays:
                array = arrays[one.top]
            else:
                array = pa.chunked_array([pa.nulls(len(table), field.type)])
                columns[str(one)] = arrow.to_workable(array)
                continue
            with naming(f"{groups[0]}, column {one.top!r}"):
                if one.path:
                    chunks = [
                        arrow.field_of(arrow.to_workable(chunk), list(one.path))
                        for chunk in array.chunks
                    ]
                    type_ = arrow.workable(field.type)
                    chunks = [arrow.to_type(chunk, type_) for chunk in chunks]
                    array = pa.chunked_array(chunks, type_)
                elif one.top not in keys:
                    array = arrow.to_type(array, field.type)
                columns[str(one)] = arrow.to_workable(array)
        made = pa.table(columns)
        return made if columns else table.select([])

    def _name_the_column(self, file: File, groups: list[Group], wanted: list[Wanted]) -> None:
        """Raise an error that names the column, where one of them alone cannot be read either."""
        for group in groups if len(wanted) > 1 else []:
            for one in wanted:
                with naming(f"{group}, column {str(one)!r}"):
                    self._read(file, [group], [one])

    def _read(self, file: File, groups: list[Group], wanted: list[Wanted]) -> Any:
        cache = self._source.cache
        if cache is None or not file.stamp.mtime_ns:
            return self._decoded(file, groups, wanted)
        told = [self._told(group, wanted) for group in groups]
        memory_map = self._source.options.memory_map
        tables = [cache.find(one, memory_map) for one in told]
        lacking = [group for group, table in zip(groups, tables, strict=True) if table is None]
        if lacking:
            read = self._decoded(file, lacking, wanted)
            if len(read) != sum(group.rows for group in lacking):
                return read  # which is damaged, as will be said
            first = 0
            for at, group in enumerate(groups):
                if tables[at] is None:
                    tables[at] = read.slice(first, group.rows)
                    cache.keep(told[at], tables[at])
                    first += group.rows
        return pa.concat_tables(tables) if len(tables) > 1 else tables[0]

    def _told(self, group: Group, wanted: list[Wanted]) -> Any:
        """What tells a row group's columns from any others."""
        file, storage = group.file, self._storage
        columns = [tuple(one) for one in wanted]
        rows = group.index, group.begin, group.rows
        verify = self._source.options.verify
        return storage.name, file.path, tuple(file.stamp[:2]), rows, columns, verify

    def _decoded(self, file: File, groups: list[Group], wanted: list[Wanted]) -> Any:
        tables = []
        for are_pieces, some in groupby(groups, lambda group: group.is_piece):
            if are_pieces:
                tables += [self._read_piece(group, wanted) for group in some]
            else:
                tables.append(self._read_whole(file, list(some), wanted))
        return pa.concat_tables(tables) if len(tables) > 1 else tables[0]

    def _read_piece(self, group: Group, wanted: list[Wanted]) -> Any:
        if self._storage.is_local:
            self._check_unchanged(group.file)
            table = self._pieces.read(group, wanted, lambda read: read())
        else:  # it is the reads on the way that may take so long, and not all of them together
            retry = replace(self._source.retry, timeout=math.inf)
            table = self._pieces.read(
                group, wanted, lambda read: retry.run(read, group, self._stop)
            )
        if table is None:
            raise StreamError(f"{group} is damaged: it ends before")
        return table

    def _begin(self, group: Group, wanted: Sequence[Wanted]) -> Iterator[Any]:
        """The tables of a row group's pieces, of which no more is in memory than needs be."""
        storage, file, buffered = self._storage, group.file, _BUFFER_AFAR
        if storage.is_local:
            buffered = _BUFFER
        else:
            self._check_unchanged(file)
        place = file.path if storage.on_disk else storage.open(file.path)
        opened = open_parquet(place, self._source.options, pre_buffer=False, buffer_size=buffered)
        yield from opened.read_on(group.index, wanted, group.piece_rows)

    def _step(self, read: Callable[[], Any]) -> Any:
        if self._storage.is_local:
            return read()
        return within(self._source.retry.timeout, read, self._stop)

    def _read_whole(self, file: File, groups: list[Group], wanted: list[Wanted]) -> Any:
        indices = [group.index for group in groups]
        if self._storage.is_local:
            return self._opened(file).read(indices, wanted)
        more = f" and {len(groups) - 1} more" if len(groups) > 1 else ""
        return self._source.retry.run(
            lambda: self._open_afar(file, indices, wanted).read(indices, wanted),
            f"{groups[0]}{more}",
            self._stop,
        )

    def _opened(self, file: File) -> Any:
        """A local file, opened once a thread."""
        self._check_unchanged(file)
        if getattr(self._open, "path", None) != file.path:
            self._open.file = self._open_local(file)
            self._open.path = file.path
        return self._open.file

    def _open_local(self, file: File) -> Any:
        storage, options = self._storage, self._source.options
        if file.format == "table":
            return storage.table(file.path)
        if file.format == "parquet":
            place = file.path if storage.on_disk else storage.open(file.path)
            return open_parquet(place, options, pre_buffer=False)
        return open_batches(storage, file.path, file.format, options, self._positions(file))

    def _open_afar(
        self, file: File, indices: Sequence[int], wanted: Sequence[Wanted]
    ) -> RowGroups | Batches:
        """Another's file, opened for each read: one that was given up on may still be in use."""
        self._check_unchanged(file)
        storage, options = self._storage, self._source.options
        if file.format != "parquet":
            return open_batches(storage, file.path, file.format, options, self._positions(file))
        opened, known = storage.open(file.path), self._metadata.get(file.path)
        if not storage.is_python:
            groups = open_parquet(opened, options, metadata=known, pre_buffer=True)
        else:
            groups = open_parquet(opened, options, metadata=known, pre_buffer=False)
            ranges = chunks(groups.metadata, indices, groups.physical(wanted))
            ahead = pa.PythonFile(ReadAhead(opened, ranges), mode="r")
            groups = open_parquet(ahead, options, metadata=groups.metadata, pre_buffer=False)
        self._metadata = {file.path: groups.metadata}  # spares the next read the footer
        return groups

    def _positions(self, file: File) -> list[int]:
        """The wanted columns' numbers: no others are read, or decompressed."""
        tops = {one.top for one in self._wanted}
        return [at for at, name in enumerate(file.schema.names) if name in tops]

    def _check_unchanged(self, file: File) -> None:
        if not file.stamp.is_still(self._storage.stamp(file.path)):
            raise StreamError(f"{file.path}: the file changed while it was being streamed")


def _slices(table: Any, groups: list[Group], spans: list[Span]) -> Any:
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
