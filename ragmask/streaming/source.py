"""The files of a data set: what their footers say, and which row groups a filter leaves."""

import difflib
import hashlib
import json
import re
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from itertools import compress, product
from operator import and_
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from ragmask import arrow
from ragmask.arrow import Nulls, check_nulls
from ragmask.errors import InvalidInputError, StreamError
from ragmask.rows.checks import check_count
from ragmask.streaming.files import Found, Paths, find_files
from ragmask.streaming.formats import File, Options, Wanted, naming, read_footer
from ragmask.streaming.memory import in_memory, path_of
from ragmask.streaming.plan import Portion, count_in
from ragmask.streaming.retry import Retry
from ragmask.streaming.steps import Step

_FOOTERS_AT_ONCE = 8  # requests in flight, where files are far away
_MOST_FLOATS = 3  # columns of a filter, up to which statistics are looked at
_WHOLE = re.compile(r"-?[0-9]{1,18}")  # what int64 holds for certain

Missing = Literal["error", "null"]
Items = Literal["vectors"] | Mapping[str, int] | None


@dataclass(frozen=True)
class Group:
    """A row group: its file, its number there, its rows, and the first one's number in the data."""

    file: File
    index: int
    rows: int
    first_row: int = 0
    keys: tuple[tuple[str, str | None], ...] = ()

    @property
    def span(self) -> tuple[int, int]:
        """The numbers of its rows in the data set, from the first to one past the last."""
        return self.first_row, self.first_row + self.rows

    def __str__(self) -> str:
        piece = "row group" if self.file.format == "parquet" else "record batch"
        return f"{self.file.path}: {piece} {self.index}"


@dataclass(frozen=True)
class Source:
    """Files with the same columns. Holds no open file, so it can be pickled."""

    storage: Any  # a Storage, or a Memory
    found: tuple[Found, ...]
    columns: tuple[str, ...]
    nulls: Nulls
    options: Options
    first: File = field(repr=False)
    filter: Any = None
    filter_columns: tuple[str, ...] = ()
    retry: Retry = field(default_factory=Retry)
    missing: Missing = "error"
    items: Items = None
    portions: tuple[Portion, ...] = ()
    steps: tuple[Step, ...] = ()
    widths: dict[str, int] = field(default_factory=dict, compare=False)  # of vectors, once found
    whole: "Source | None" = field(default=None, compare=False, repr=False)  # it is a part of this

    @classmethod
    def open(
        cls,
        paths: Paths,
        columns: Iterable[str] | None,
        nulls: Nulls,
        options: Options,
        *,
        filter: Any = None,
        filesystem: Any = None,
        retry: Retry | None = None,
        missing: Missing = "error",
        items: Items = None,
    ) -> "Source":
        """Find the files and check the wanted columns against the first of them."""
        check_nulls(nulls)
        if missing not in ("error", "null"):
            raise InvalidInputError(f'missing must be "error" or "null"; got {missing!r}')
        retry = retry or Retry()
        paths = [path_of(one) for one in paths] if isinstance(paths, list) else path_of(paths)
        storage, found = in_memory(paths) or find_files(paths, filesystem, retry)
        first = read_footer(storage, found[0].path, options, retry)
        keys = _key_schema(found, first)
        names = [*first.schema.names, *keys.names]
        if isinstance(columns, str):
            columns = [columns]
        wanted = tuple(names if columns is None else columns)
        if not wanted:
            raise InvalidInputError("columns is empty")
        for position, name in enumerate(wanted):
            if missing == "error":
                _find_column(first, name, pa.schema([*first.schema, *keys]))
            if name in wanted[:position]:
                raise InvalidInputError(f"columns names {name!r} twice")
        expression, used = _read_filter(filter, pa.schema([*first.schema, *keys]))
        source = cls(
            storage, found, wanted, nulls, options, first, expression, used, retry, missing, items
        )
        source._check_items()
        return source

    def _check_items(self) -> None:
        if self.items is None or self.items == "vectors":
            return
        if not isinstance(self.items, Mapping):
            raise InvalidInputError(f'items is "vectors" or {{column: width}}; got {self.items!r}')
        for name, width in self.items.items():
            if name not in self.columns:
                raise InvalidInputError(f"items names {name!r}, which is not a column to read")
            check_count(f"items[{name!r}]", width)

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(one.path for one in self.found)

    @cached_property
    def key_schema(self) -> Any:
        """The columns that come from the names of folders."""
        return _key_schema(self.found, self.first)

    @property
    def first_schema(self) -> Any:
        """The wanted columns as the first file has them, or as steps leave them.

        Those that it lacks are left out. A step has looked at all files' footers.
        """
        if self.steps:
            return self.schema
        schema = pa.schema([*self.first.schema, *self.key_schema])
        fields = (_field_of(schema, name) for name in self.columns)
        return pa.schema([one for one in fields if one is not None])

    def first_field(self, name: str) -> Any:
        """The field of a column as `first_schema` has it; None where that lacks it."""
        if self.steps:
            return self.schema.field(name)
        return _field_of(pa.schema([*self.first.schema, *self.key_schema]), name)

    @cached_property
    def full_schema(self) -> Any:
        """Every column there is, in the type that holds what all files have in it."""
        fields: dict[str, Any] = {one.name: one for one in self.first.schema}
        came = dict.fromkeys(fields, self.first.path)
        used = {*self.filter_columns, *(self.split(name).top for name in self.columns)}
        used -= set(self.key_schema.names)
        for file in self.files[1:]:
            for one in file.schema:
                if one.name not in used:
                    continue
                known = fields.setdefault(one.name, one)
                came.setdefault(one.name, file.path)
                type_ = arrow.unified(known.type, one.type)
                if type_ is None:
                    raise StreamError(
                        f"{file.path}: column {one.name!r} is {one.type}, and {known.type} in "
                        f"{came[one.name]}: no type holds both without loss"
                    )
                nullable = known.nullable or one.nullable
                fields[one.name] = known.with_type(type_).with_nullable(nullable)
        lacking = {name for file in self.files for name in used if name not in file.schema.names}
        made = [one.with_nullable(True) if one.name in lacking else one for one in fields.values()]
        keys = [one for one in self.key_schema if one.name not in fields]
        return pa.schema([*made, *keys], self.first.schema.metadata)

    @cached_property
    def schema(self) -> Any:
        """The Arrow schema of the wanted columns, as the steps leave them."""
        full = self.full_schema
        in_files = pa.schema([self.field(name) for name in self.columns], full.metadata)
        return reduce(lambda schema, step: step.fields(schema), self.steps, in_files)

    @property
    def names(self) -> tuple[str, ...]:
        """The wanted columns, as the steps leave them."""
        return tuple(self.schema.names) if self.steps else self.columns

    def needed(self, names: tuple[str, ...]) -> list[tuple[str, ...]]:
        """The columns to read for these to come out, and those that each step gives for it."""
        needed = [names]
        for step in reversed(self.steps):
            needed.append(step.needs(needed[-1]))
        return needed[::-1]

    def field(self, name: str) -> Any:
        """The field of a wanted column."""
        found = _field_of(self.full_schema, name)
        if found is None:
            _find_column(self.first, name, self.full_schema)
        return found

    def split(self, name: str) -> Wanted:
        """The file's column that holds a wanted one, and the path to it from there."""
        every = {*self.first.schema.names, *self.key_schema.names}
        return _split(name, every)

    def in_files(self, columns: Iterable[str]) -> list[Wanted]:
        """These columns and the filter's, less those that are names of folders."""
        wanted = [*map(self.split, columns), *map(Wanted, self.filter_columns)]
        keys = self.key_schema.names
        return [one for one in dict.fromkeys(wanted) if one.top not in keys]

    def part(self, portion: Portion) -> "Source":
        """Those of the rows that belong to a portion. Footers are read once for all parts."""
        portions = (*self.portions, portion)
        return replace(self, portions=portions, widths=self.widths, whole=self.whole or self)

    def with_step(self, step: Step) -> "Source":
        """The same rows, their columns changed by a step more; checked here."""
        step.fields(self.schema)
        return self._with_steps((*self.steps, step))

    def without_steps(self) -> "Source":
        """The same rows, their columns as they lie in the files."""
        return self._with_steps(()) if self.steps else self

    def _with_steps(self, steps: tuple[Step, ...]) -> "Source":
        return replace(self, steps=steps, widths=self.widths, whole=self.whole or self)

    def anchored(self) -> "Source":
        """The same files by absolute paths, for processes that may work in another folder."""
        if not self.storage.on_disk:
            return self

        def absolute(one: Any) -> Any:
            return replace(one, path=str(Path(one.path).absolute()))

        found = tuple(map(absolute, self.found))
        made = replace(self, found=found, first=absolute(self.first), whole=None)
        made.__dict__["files"] = tuple(map(absolute, self.files))  # else footers are read again
        return made

    @cached_property
    def files(self) -> tuple[File, ...]:
        """Every file's footer."""
        if self.whole is not None:
            return self.whole.files
        stop = threading.Event()
        storage = self.storage.here()

        def read(found: Found) -> File:
            if found.path == self.first.path:
                return self.first
            return read_footer(storage, found.path, self.options, self.retry, stop)

        if self.storage.is_local or len(self.found) < 3:
            files = [read(found) for found in self.found]
        else:
            with ThreadPoolExecutor(_FOOTERS_AT_ONCE, "ragmask-footers") as pool:
                try:
                    files = list(pool.map(read, self.found))
                finally:
                    stop.set()
        if self.missing == "error":
            for file in files:
                own = file.schema.names
                keys = [key for key in self.key_schema if key.name not in own]
                schema = pa.schema([*file.schema, *keys])
                for name in [*self.columns, *self.filter_columns]:
                    _find_column(file, name, schema, '; missing="null" reads nulls there')
        return tuple(files)

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """Every row group that the filter's look at statistics leaves, from the footers alone."""
        if self.whole is not None:
            return self.whole.groups
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
        if self.filter is None or file.format != "parquet" or not self.storage.filesystem:
            return None
        keys = self.key_values(found.keys)
        in_file = [name for name in self.filter_columns if name not in keys]
        if any(name not in file.schema.names for name in in_file):
            return None
        fields = [file.schema.field(name) for name in in_file]
        # narrow: a column that nobody asked for may be of a type that Arrow's data sets refuse
        schema = pa.schema([*fields, *(one for one in self.key_schema if one.name in keys)])
        encrypted = self.options.decryption is not None
        if encrypted or any(pa.types.is_struct(one.type) for one in fields):
            return None
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
                with storage.open(file.path) as opened:
                    pq.read_metadata(opened).write_metadata_file(footer)
                where = (footer.getvalue(),)
            # statistics pass over NaNs: a row group is ruled out where NaNs would be too
            for chosen in product([False, True], repeat=len(nans)):
                fragment = pads.ParquetFileFormat().make_fragment(
                    *where,
                    partition_expression=_equal(keys | dict(compress(nans, chosen))),
                )
                subset = fragment.subset(self.filter, schema=schema)
                left |= {group.id for group in subset.row_groups}
            return left

        with naming(file.path, "cannot be filtered"):
            return read() if storage.is_local else self.retry.run(read, file.path)

    def key_values(self, keys: tuple[tuple[str, str | None], ...]) -> dict[str, Any]:
        """The values of folder names as Arrow scalars."""
        texts = dict(keys)
        return {
            field.name: pa.scalar(texts.get(field.name), pa.string()).cast(field.type)
            for field in self.key_schema
        }

    @cached_property
    def group_rows(self) -> list[int]:
        """How many rows of each row group belong to this part of the data set."""
        return [count_in(self.portions, *group.span) for group in self.groups]

    @property
    def filter_text(self) -> str | None:
        return None if self.filter is None else str(self.filter)

    @property
    def num_rows(self) -> int:
        return sum(group.rows for group in self.groups)

    @property
    def known_rows(self) -> int | None:
        """The rows of all files, as far as they are known without reading another footer."""
        if len(self.found) == 1:
            return sum(self.first.group_rows)
        files = vars(self.whole or self).get("files")
        return None if files is None else sum(sum(file.group_rows) for file in files)

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


def _split(name: str, tops: Iterable[str]) -> Wanted:
    """A column's own name wins over the path to a field; of several, the longest name does."""
    parts = str(name).split(".")
    tops = set(tops)
    for cut in range(len(parts), 0, -1):
        top = ".".join(parts[:cut])
        if top in tops:
            return Wanted(top, tuple(parts[cut:]))
    return Wanted(str(name))


def _field_of(schema: Any, name: str) -> Any:
    """The field of a column, or of a field of its structs; None where there is none."""
    one = _split(name, schema.names)
    if one.top not in schema.names:
        return None
    top = schema.field(one.top)
    if not one.path:
        return top
    type_ = arrow.field_at(top.type, list(one.path))
    return None if type_ is None else pa.field(name, type_)


def _find_column(file: File, name: str, schema: Any, remedy: str = "") -> None:
    """Raise where a file lacks a column."""
    if _field_of(schema, name) is None:
        near = difflib.get_close_matches(str(name), schema.names, 1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise StreamError(
            f"{file.path}: no column {name!r}{hint}; it has {', '.join(schema.names)}{remedy}"
        )


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
        raise InvalidInputError(f"the filter {expression} must refer to columns by name")

    used: list[str] = []
    while True:
        try:
            scanner = _scanner(pa.schema([schema.field(name) for name in used]), expression)
            break
        except pa.ArrowException as error:
            lacking = [
                name
                for name in schema.names
                if name not in used and f"FieldRef.Name({name})" in str(error)
            ]
            if not lacking:
                why = str(error).splitlines()[0]
                raise InvalidInputError(
                    f"the filter {expression} does not fit the columns "
                    f"{', '.join(schema.names)}: {why}"
                ) from error
            used.append(max(lacking, key=len))
    if not pa.types.is_boolean(scanner.projected_schema.field("keep").type):
        raise InvalidInputError(f"the filter {expression} is not a condition: it gives no bool")
    return expression, tuple(name for name in schema.names if name in used)


def _scanner(schema: Any, expression: Any) -> Any:
    """What Arrow makes of an expression over columns of these types, and of no others."""
    kept = [one.with_type(arrow.workable(one.type)) for one in schema]
    table = pa.Table.from_arrays([pa.nulls(0, one.type) for one in kept], schema=pa.schema(kept))
    return pads.dataset(table).scanner(columns={"keep": expression})
