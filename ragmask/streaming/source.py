"""The files of a data set, and what their footers say of its columns, row groups and rows."""

import hashlib
import json
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from ragmask import arrow
from ragmask.arrow import Nulls, check_nulls
from ragmask.errors import InvalidInputError
from ragmask.rows.checks import check_choice, check_count
from ragmask.streaming.cache import Cache
from ragmask.streaming.files import Found, Paths, find_files
from ragmask.streaming.filtering import left_by_statistics, read_filter
from ragmask.streaming.formats import File, Options, Wanted, naming, read_footer
from ragmask.streaming.groups import Group, groups_of, pieces_of
from ragmask.streaming.memory import in_memory, path_of
from ragmask.streaming.names import (
    Fields,
    by_name,
    field_of,
    find_column,
    key_schema,
    one_of_each,
    split_name,
    unified_fields,
    with_shared_schemas,
)
from ragmask.streaming.plan import Portion, count_in, rows_in
from ragmask.streaming.retry import Retry
from ragmask.streaming.steps import Step

_FOOTERS_AT_ONCE = 8  # requests in flight, where files are far away

Missing = Literal["error", "null"]
Items = Literal["vectors"] | Mapping[str, int] | None


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
    cache: Cache | None = None
    portions: tuple[Portion, ...] = ()
    rows: tuple[int, int | None] = (0, None)  # of the data set: the first, and one past the last
    types: tuple[tuple[str, Any], ...] = ()  # of columns that are to be read as others
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
        cache: Cache | None = None,
    ) -> "Source":
        """Find the files and check the wanted columns against the first of them."""
        check_nulls(nulls)
        check_choice("missing", missing, "error", "null")
        if cache is not None and options.decryption is not None:
            raise InvalidInputError("cache= would keep what is encrypted in plain on the disk")
        retry = retry or Retry()
        paths = [path_of(one) for one in paths] if isinstance(paths, list) else path_of(paths)
        storage, found = in_memory(paths) or find_files(paths, filesystem, retry)
        first = read_footer(storage, found[0].path, options, retry)
        keys = key_schema(found, first)
        names = [*first.schema.names, *keys.names]
        if isinstance(columns, str):
            columns = [columns]
        if isinstance(columns, Mapping) or not isinstance(columns, Iterable | None):
            raise InvalidInputError(f"columns is a list of names; got {columns!r}")
        wanted = tuple(names if columns is None else columns)
        if not wanted:
            raise InvalidInputError("columns is empty")
        fields = by_name(first.schema, keys)
        seen: set[str] = set()
        for name in wanted:
            if missing == "error":
                find_column(first, name, fields)
            if str(name) in seen:
                raise InvalidInputError(f"columns names {name!r} twice")
            seen.add(str(name))
        expression, used = read_filter(filter, pa.schema([*first.schema, *keys]))
        source = cls(
            storage,
            found,
            wanted,
            nulls,
            options,
            first,
            expression,
            used,
            retry,
            missing,
            items,
            None if storage.is_local else cache,
        )
        source._check_items()
        return source

    def _check_items(self) -> None:
        if self.items is None or (isinstance(self.items, str) and self.items == "vectors"):
            return
        if not isinstance(self.items, Mapping):
            raise InvalidInputError(f'items is "vectors" or {{column: width}}; got {self.items!r}')
        for name, width in self.items.items():
            if name not in self.columns:
                raise InvalidInputError(f"items names {name!r}, which is not a column to read")
            check_count(f"items[{name!r}]", width)

    @property
    def is_local(self) -> bool:
        return bool(self.storage.is_local)

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(one.path for one in self.found)

    @cached_property
    def key_schema(self) -> Any:
        """The columns that come from the names of folders."""
        return key_schema(self.found, self.first)

    @cached_property
    def _first_fields(self) -> Fields:
        return by_name(self.first.schema, self.key_schema)

    @property
    def first_schema(self) -> Any:
        """The wanted columns as the first file has them, or as steps leave them.

        Those that it lacks are left out. A step has looked at all files' footers.
        """
        if self.steps:
            return self.schema
        fields = map(self.first_field, self.columns)
        return pa.schema([one for one in fields if one is not None])

    def first_field(self, name: str) -> Any:
        """The field of a column as `first_schema` has it; None where that lacks it."""
        if self.steps:
            return self.schema.field(name)
        return field_of(self._first_fields, name)

    @cached_property
    def full_schema(self) -> Any:
        """Every column there is, in the type that holds what all files have in it."""
        used = {*self.filter_columns, *(self.split(name).top for name in self.columns)}
        used -= set(self.key_schema.names)
        fields = unified_fields(self.first, self.files, used)
        keys = [one for one in self.key_schema if one.name not in fields]
        return pa.schema([*fields.values(), *keys], self.first.schema.metadata)

    @cached_property
    def _full_fields(self) -> Fields:
        return by_name(self.full_schema)

    @cached_property
    def schema(self) -> Any:
        """The Arrow schema of the wanted columns, as the steps leave them."""
        full = self.full_schema
        in_files = pa.schema([self.field(name) for name in self.columns], full.metadata)
        return reduce(lambda schema, step: step.fields(schema), self.steps, in_files)

    @property
    def column_names(self) -> tuple[str, ...]:
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
        found = field_of(self._full_fields, name)
        if found is None:
            find_column(self.first, name, self._full_fields)
        return found.with_type(dict(self.types).get(name, found.type))

    def split(self, name: str) -> Wanted:
        """The file's column that holds a wanted one, and the path to it from there."""
        return split_name(name, self._first_fields)

    def in_files(self, columns: Iterable[str]) -> list[Wanted]:
        """These columns and the filter's, less those that are names of folders."""
        wanted = [*map(self.split, columns), *map(Wanted, self.filter_columns)]
        keys = self.key_schema.names
        return [one for one in dict.fromkeys(wanted) if one.top not in keys]

    def part(self, portion: Portion) -> "Source":
        """Those of the rows that belong to a portion. Footers are read once for all parts."""
        portions = (*self.portions, portion)
        return replace(self, portions=portions, widths=self.widths, whole=self.whole or self)

    def as_types(self, types: Mapping[str, Any]) -> "Source":
        """The same, with some columns read as types that hold theirs without loss."""
        made = [name for name in types if self.schema.field(name) != self._stored(name)]
        if made:
            raise InvalidInputError(
                f"column {made[0]!r} is made by {self.steps[-1].method}, as "
                f"{self.schema.field(made[0]).type}, and is to be {types[made[0]]}: make it of one "
                "type in all sources"
            )
        types_ = (*self.types, *types.items())
        return replace(self, types=types_, widths=self.widths, whole=self.whole or self)

    def _stored(self, name: str) -> Any:
        """The field of a column as it lies in the files; None where it is made by a step."""
        return self.field(name) if name in self.columns else None

    def told(self) -> dict[str, Any]:
        """What a state says of the rows that are read of the data set."""
        told: dict[str, Any] = {"filter": self.filter_text}
        if self.portions:
            told["split"] = [[*part.key, part.low, part.high] for part in self.portions]
        if self.steps:
            told["steps"] = [step.told for step in self.steps]
        if self.rows != (0, None):
            told["first"], told["last"] = self.rows
        if self.filter is not None:
            told["row_groups"] = len(self.groups)  # that statistics did not rule out
        return told

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
        files = list(with_shared_schemas(files))
        if self.missing == "error":
            for file in one_of_each(files):
                fields = by_name(file.schema, self.key_schema)
                for name in [*self.columns, *self.filter_columns]:
                    find_column(file, name, fields, '; missing="null" reads nulls there')
        return tuple(files)

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """Every row group that the filter's look at statistics leaves, from the footers alone."""
        if self.whole is not None:
            return self.whole.groups
        groups: list[Group] = []
        first_row = 0
        for found, file in zip(self.found, self.files, strict=True):
            left, sizes = self._left_by_statistics(found, file), self._sizes_of(file)
            groups += groups_of(file, found.keys, first_row, left, sizes)
            first_row += sum(file.group_rows)
        return tuple(groups)

    def _sizes_of(self, file: File) -> dict[int, int]:
        """The bytes that the wanted columns take in those row groups that are not small."""
        if not file.heavy:
            return {}
        type_ = pa.struct(list(file.schema))
        leaves = {
            leaf
            for one in self.in_files(self.columns)
            for leaf in arrow.leaves_at(type_, [one.top, *one.path])
        }
        return {
            index: sum(size for leaf, size in enumerate(sizes) if leaf in leaves)
            for index, sizes in file.heavy
        }

    @cached_property
    def pieces(self) -> dict[int, int]:
        """Groups that are windows of their own; those of one row group have the same number."""
        return pieces_of(self.groups)

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
        storage = self.storage.here()

        def read() -> set[int] | None:
            return left_by_statistics(storage, file.path, self.filter, schema, keys)

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
        return [count_in(self.portions, *self.clip(group.span)) for group in self.groups]

    def clip(self, span: tuple[int, int]) -> tuple[int, int]:
        """Those of the rows `[first, last)` of the data set that are to be read."""
        first, last = self.rows
        begin = min(max(span[0], first), span[1])
        return begin, span[1] if last is None else max(begin, min(span[1], last))

    def rows_from(self, skip: int, take: int | None) -> "Source":
        """Of the rows that are to be read, not the first `skip`, and of the others `take`."""
        first = self._row(skip)
        last = self.rows[1] if take is None else self._row(skip + take)
        return replace(self, rows=(first, last), widths=self.widths, whole=self.whole or self)

    def _row(self, number: int) -> int:
        """The number in the data set of one of the rows that are to be read, or of the end."""
        first, last = self.rows
        if not self.portions:
            return first + number if last is None else min(first + number, last)
        for group, rows in zip(self.groups, self.group_rows, strict=True):
            if number < rows:
                begin, end = self.clip(group.span)
                return begin + int(rows_in(self.portions, begin, end)[number])
            number -= rows
        if last is not None:
            return last
        return self.groups[-1].span[1] if self.groups else first

    @property
    def described(self) -> str:
        """What follows "Stream of" when one is printed."""
        files, (first, last) = len(self.found), self.rows
        text = f"{files} file{'s' * (files != 1)}"
        if self.rows != (0, None):
            text += f", rows {first:,} to " + ("the last" if last is None else f"{last:,}")
        return text

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
        made = {
            "files": len(told),
            "rows": sum(sum(file.group_rows) for file in self.files),
            "digest": _digest(told),
        }
        if self.pieces:  # which the wanted columns have a say in
            made["pieces"] = _digest([self.groups[number].span for number in self.pieces])
        return made


def _digest(told: Any) -> str:
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]
