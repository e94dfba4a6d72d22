"""Columns by name: those of a file, the fields inside of them, and folders that are columns."""

import difflib
import re
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain
from typing import Any

import pyarrow as pa

from ragmask import arrow
from ragmask.errors import StreamError
from ragmask.streaming.files import Found
from ragmask.streaming.formats import File, Wanted

_WHOLE = re.compile(r"-?[0-9]{1,18}")  # what int64 holds for certain

Fields = Mapping[str, Any]  # pyarrow's, by name


def by_name(*schemas: Any) -> Fields:
    """The fields of schemas by name, the first of a name: pyarrow looks through all for each."""
    fields: dict[str, Any] = {}
    for one in chain.from_iterable(schemas):
        fields.setdefault(one.name, one)
    return fields


def split_name(name: str, tops: Container[str]) -> Wanted:
    """A column's own name wins over the path to a field; of several, the longest name does."""
    parts = str(name).split(".")
    for cut in range(len(parts), 0, -1):
        top = ".".join(parts[:cut])
        if top in tops:
            return Wanted(top, tuple(parts[cut:]))
    return Wanted(str(name))


def field_of(fields: Fields, name: str) -> Any:
    """The field of a column, or of a field of its structs; None where there is none."""
    one = split_name(name, fields)
    top = fields.get(one.top)
    if top is None or not one.path:
        return top
    type_ = arrow.field_at(top.type, list(one.path))
    return None if type_ is None else pa.field(name, type_)


def find_column(file: File, name: str, fields: Fields, remedy: str = "") -> None:
    """Raise where a file lacks a column."""
    if field_of(fields, name) is None:
        near = difflib.get_close_matches(str(name), fields, 1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise StreamError(
            f"{file.path}: no column {name!r}{hint}; it has {', '.join(fields)}{remedy}"
        )


def with_shared_schemas(files: Iterable[File]) -> Iterator[File]:
    """The files; equal schemas, one after the other or as the first, are one object.

    So that whoever looks at every file looks at each schema once.
    """
    first: Any = None
    before: Any = None
    for file in files:
        for known in (first, before):
            if known is not None and file.schema.equals(known, check_metadata=True):
                file = replace(file, schema=known)
                break
        first, before = first or file.schema, file.schema
        yield file


def one_of_each(files: Iterable[File]) -> Iterator[File]:
    """One file of each schema object."""
    firsts: dict[int, File] = {}
    for file in files:
        firsts.setdefault(id(file.schema), file)
    return iter(firsts.values())


def unified_fields(first: File, files: Iterable[File], used: set[str]) -> dict[str, Any]:
    """The fields of the first file, and those used of the others: types that hold all values."""
    fields: dict[str, Any] = {one.name: one for one in first.schema}
    came = dict.fromkeys(fields, first.path)
    lacking: set[str] = set()
    for file in one_of_each(files):
        own = {one.name: one for one in file.schema if one.name in used}
        lacking |= used - own.keys()
        for one in own.values():
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
    return {
        name: one.with_nullable(True) if name in lacking else one for name, one in fields.items()
    }


def key_schema(found: tuple[Found, ...], first: File) -> Any:
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
