"""A batch: the columns of some rows, by name."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ragmask import arrow
from ragmask.arrays.protocol import Ints
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.streaming.columns import (
    Column,
    column_to_arrow,
    describe,
    face,
    num_rows,
    own,
    read_column,
)
from ragmask.streaming.origins import Origins, RowIds, numbers_of
from ragmask.streaming.picture import draw_batch

Fields = Mapping[str, Any]  # of columns that come from files: their pyarrow fields


class Batch(Mapping[str, Column]):
    """The columns of some rows: `batch["tokens"]`.

    >>> import numpy as np
    >>> import ragmask as rm
    >>> batch = rm.Batch({"tokens": rm.Ragged.from_rows([[1, 2], [3]]), "label": np.array([0, 1])})
    >>> batch
    Batch of 2 rows
      tokens  Ragged, 3 steps of int64, lengths 1–2
      label   array of int64
    >>> batch["tokens"].to_padded().values
    array([[1, 2],
           [3, 0]])

    Lists of numbers are Ragged; numbers, bools and times numpy arrays (masked arrays where
    there are nulls); the fields of a `list<struct<a, b>>` column are `batch["col.a"]`,
    `batch["col.b"]`, and `batch["col"]` is a dict of both; anything else is a pyarrow array.

    A batch of a stream also has `state`, from which the stream goes on after this batch;
    `row_ids`, int64, the numbers in the data set of the rows read for it, files in order and
    before any filter (one a row, unless a map changed the rows; one a piece of a row, where
    rows are packed); `sources`, in a mixture, the name of the source of each of these, by which
    `row_ids` count; and `repeated`, True where `shard(even=True)` delivers rows once more.

    Raises InvalidInputError, naming the column, where numbers of rows differ.
    """

    __slots__ = (
        "_columns",
        "_faces",
        "_fields",
        "_metadata",
        "_origins",
        "_state",
        "num_rows",
        "repeated",
    )

    def __init__(self, columns: Mapping[str, Column]) -> None:
        self._columns = dict(columns)
        self._faces: dict[str, Column] = {}  # of those that are handed over as something else
        self._fields: Fields = {}
        self._metadata: Any = None
        self._state: Any = None
        self._origins: RowIds | None = None
        self.repeated = False
        self.num_rows = 0
        for position, (name, column) in enumerate(self._columns.items()):
            rows = num_rows(name, column)
            if position and rows != self.num_rows:
                first = next(iter(self._columns))
                raise InvalidInputError(
                    f"column {name!r} has {rows} rows, and {first!r} has {self.num_rows}"
                )
            self.num_rows = rows

    @classmethod
    def from_arrow(cls, table: Any, nulls: arrow.Nulls = "empty") -> "Batch":
        """The columns of a pyarrow Table, or of anything that is a table in Arrow.

        >>> import pyarrow as pa
        >>> import ragmask as rm
        >>> rm.Batch.from_arrow(pa.table({"tokens": [[1, 2], [3]], "label": [0, 1]}))
        Batch of 2 rows
          tokens  Ragged, 3 steps of int64, lengths 1–2
          label   array of int64

        A record batch, a DataFrame of polars or pandas, a relation of DuckDB: columns come as a
        stream's do, numbers in one chunk without a copy, and `to_arrow` gives them back.

        nulls : "empty" reads a null list as an empty row, "error" raises and names it.

        Raises UnsupportedTypeError for what is no table; InvalidInputError for a broken one.
        """
        arrow.check_nulls(nulls)
        try:
            given = pa.table(table)
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise UnsupportedTypeError(
                f"from_arrow takes a table in Arrow; got {type(table).__name__}: {error}"
            ) from error
        arrow.validate(given)
        columns = {
            name: read_column(arrow.to_workable(column), nulls)
            for name, column in zip(given.column_names, given.columns, strict=True)
        }
        batch = cls(columns)
        batch._fields = {field.name: field for field in given.schema}
        batch._metadata, batch.num_rows = given.schema.metadata, given.num_rows
        return batch

    @property
    def state(self) -> dict[str, Any] | None:
        """What `Stream.load_state_dict` takes to go on after this batch; small, JSON-able."""
        if self._state is None or isinstance(self._state, dict):
            return self._state
        state: dict[str, Any] = self._state.to_dict()
        return state

    @property
    def row_ids(self) -> Ints | None:
        """The numbers of the batch's rows in the data set, int64; None where no stream read it."""
        return None if self._origins is None else numbers_of(self._origins)

    @property
    def sources(self) -> NDArray[np.str_] | None:
        """The names of the sources of the rows that `row_ids` counts; None without a mixture."""
        origins = self._origins
        return np.array(origins.names)[origins.codes] if isinstance(origins, Origins) else None

    def __getitem__(self, name: str) -> Column:
        if name in self._columns:
            column = self._columns[name]
            if not isinstance(column, pa.Array) or name not in self._fields:
                return column
            if name not in self._faces:
                self._faces[name] = face(column)
            return self._faces[name]
        parts = str(name).split(".")
        for cut in range(1, len(parts)):
            found = self._columns.get(".".join(parts[:cut]))
            for part in parts[cut:]:
                found = found.get(part) if isinstance(found, dict) else None
            if found is not None:
                return found
        raise KeyError(f"no column {name!r}; the batch has {', '.join(self._columns)}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        """The number of columns; `num_rows` is that of rows."""
        return len(self._columns)

    def to_arrow(self) -> Any:
        """A pyarrow Table of the columns.

        >>> import ragmask as rm
        >>> rm.Batch({"tokens": rm.Ragged.from_rows([[1, 2], [3]])}).to_arrow().to_pydict()
        {'tokens': [[1, 2], [3]]}

        A column that came from a file has the type that it has there, and its nulls; also under
        another name, where a map handed it on unchanged, and also with other values under its
        own name, as long as that type can hold them.
        """
        arrays, fields = [], []
        for name, column in self._columns.items():
            known = self._fields.get(name)
            array = column_to_arrow(name, column, None if known is None else known.type)
            field = pa.field(name, array.type)
            if known is not None and array.type == known.type:
                field = known.with_nullable(known.nullable or bool(array.null_count))
            arrays.append(array)
            fields.append(field)
        return pa.Table.from_arrays(arrays, schema=pa.schema(fields, self._metadata))

    def __arrow_c_array__(self, requested_schema: Any = None) -> tuple[Any, Any]:
        """The Arrow PyCapsule interface, as a struct of the columns: `pa.record_batch(batch)`."""
        table = self.to_arrow()
        arrays = [arrow.one_array(column) for column in table.columns]
        batch = pa.RecordBatch.from_arrays(arrays, schema=table.schema)
        capsules: tuple[Any, Any] = batch.__arrow_c_array__(requested_schema)
        return capsules

    def __reduce__(self) -> Any:
        columns = {name: own(column) for name, column in self._columns.items()}
        told = self.state, self._origins, self.repeated
        return _restored, (columns, told, dict(self._fields), self._metadata)

    def __repr__(self) -> str:
        texts: dict[str, str] = {}
        for name in self._columns:
            column = self[name]
            if isinstance(column, dict):
                texts |= {f"{name}.{field}": describe(part) for field, part in column.items()}
            else:
                texts[name] = describe(column)
        widest = max(map(len, texts), default=0)
        lines = [f"  {name:<{widest}}  {text}" for name, text in texts.items()]
        return "\n".join([f"Batch of {self.num_rows:,} rows", *lines])

    def _repr_html_(self) -> str:
        return draw_batch(self.num_rows, self._columns, self._fields)


def read_batch(columns: dict[str, Column], fields: Fields, metadata: Any) -> Batch:
    """A batch of a window's columns, which are known to have equally many rows."""
    batch = Batch.__new__(Batch)  # __init__ would ask each column for its rows
    batch._columns, batch._fields, batch._metadata = columns, fields, metadata
    batch._faces, batch._state, batch._origins, batch.repeated = {}, None, None, False
    batch.num_rows = num_rows(*next(iter(columns.items()))) if columns else 0
    return batch


def twin(batch: Batch) -> Batch:
    """The same batch, to be delivered by itself."""
    made = read_batch(batch._columns, batch._fields, batch._metadata)
    made.num_rows = batch.num_rows
    return made


def delivered(batch: Batch, state: Any, row_ids: RowIds, repeated: bool) -> Batch:
    """A batch as a stream hands it over."""
    batch._state, batch._origins, batch.repeated = state, row_ids, repeated
    return batch


def _restored(columns: dict[str, Column], told: tuple[Any, ...], *form: Any) -> Batch:
    """A batch as it was pickled."""
    batch = Batch(columns)
    batch._fields, batch._metadata = form
    return delivered(batch, *told)


def derived(columns: Mapping[str, Column], given: Batch) -> Batch:
    """A batch made of another: what is handed on unchanged stays what it was in the files."""
    came = {id(given[name]): name for name in given}
    stored: dict[str, Column] = {}
    fields: dict[str, Any] = {}
    for name in columns:
        column = columns[name]
        source = came.get(id(column), name)
        stored[name] = given._columns[source] if id(column) in came else column
        if source in given._fields:
            fields[name] = given._fields[source].with_name(name)
    batch = Batch(stored)
    batch._fields, batch._metadata = fields, given._metadata
    return batch
