"""Steps that change columns in the threads that decode, before rows are arranged."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ragmask import arrow
from ragmask.arrays.host import HOST, read_only
from ragmask.arrays.protocol import Ints
from ragmask.arrow import Form
from ragmask.batches.ragged import Ragged
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.rows.checks import Side, check_count, check_side
from ragmask.rows.layout import Layout
from ragmask.rows.rows import Rows
from ragmask.streaming.columns import Column, each_field, face, is_name, lengths_of
from ragmask.streaming.text import Encoded, Encoder, encoder_of

_MOST = 1 << 62
_SPANS = pa.list_(pa.list_(pa.int32(), 2))


class Step(Protocol):
    """A change of columns, whose rows stay what they are.

    `str()` of one says what it does, in words.
    """

    @property
    def method(self) -> str:
        """Of a stream, that adds it."""
        ...

    @property
    def told(self) -> dict[str, Any]:
        """What must be the same for a state to mean the same; of what JSON knows."""
        ...

    def fields(self, schema: Any) -> Any:
        """The schema of what comes out; raises where it does not fit what comes in."""
        ...

    def needs(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """The columns to put in, for these to come out."""
        ...

    def run(
        self, columns: Mapping[str, Column], names: tuple[str, ...], row_ids: Ints
    ) -> dict[str, Column]:
        """The named columns, of those they need; rows by their numbers, for errors."""
        ...


# -- names --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rename:
    """Columns under other names: pairs of old and new."""

    names: tuple[tuple[str, str], ...]

    method = "rename"

    @classmethod
    def of(cls, columns: Any) -> "Rename":
        if not isinstance(columns, Mapping) or not columns:
            raise InvalidInputError(
                f'rename takes new names by old ones, {{"tokens": "ids"}}; got {columns!r}'
            )
        for old, new in columns.items():
            if not is_name(new):
                raise InvalidInputError(f"a column's name is a text; got {new!r} for {old!r}")
        return cls(tuple(columns.items()))

    @property
    def told(self) -> dict[str, Any]:
        return {"rename": dict(self.names)}

    def __str__(self) -> str:
        return "renamed " + ", ".join(f"{old} to {new}" for old, new in self.names)

    def fields(self, schema: Any) -> Any:
        new = dict(self.names)
        for old in new:
            _field(schema, old)
        made = [one.with_name(new.get(one.name, one.name)) for one in schema]
        names = [one.name for one in made]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise InvalidInputError(
                f"rename would name two columns {twice!r}: choose another name, or read only one "
                "of them with columns="
            )
        return pa.schema(made, schema.metadata)

    def needs(self, names: tuple[str, ...]) -> tuple[str, ...]:
        old = {new: old for old, new in self.names}
        return tuple(old.get(name, name) for name in names)

    def run(
        self, columns: Mapping[str, Column], names: tuple[str, ...], row_ids: Ints
    ) -> dict[str, Column]:
        return {name: columns[old] for name, old in zip(names, self.needs(names), strict=True)}


# -- lengths ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Truncate:
    """Rows of at most `maxlen` steps; `side` is the end that is cut off."""

    maxlen: int
    column: str | None
    side: Side

    method = "truncate"

    @classmethod
    def of(cls, maxlen: int, column: str | None, side: Side) -> "Truncate":
        check_side("side", side)
        return cls(check_count("maxlen", maxlen, most=_MOST), column, side)

    @property
    def told(self) -> dict[str, Any]:
        return {"truncate": self.maxlen, "column": self.column, "side": self.side}

    def __str__(self) -> str:
        kept = "last" if self.side == "pre" else "first"
        return f"{self.column or 'rows'} cut to the {kept} {self.maxlen:,} steps"

    def fields(self, schema: Any) -> Any:
        ragged = [one.name for one in schema if arrow.is_list(arrow.workable(one.type))]
        if self.column is not None:
            field = _field(schema, self.column)
            if field.name not in ragged:
                raise InvalidInputError(
                    f"truncate cuts lists, and column {field.name!r} is {field.type}; ragged are: "
                    f"{', '.join(ragged) or '–'}"
                )
        elif not ragged:
            raise InvalidInputError("truncate cuts lists, and no column has any")
        return schema

    def needs(self, names: tuple[str, ...]) -> tuple[str, ...]:
        return names

    def run(
        self, columns: Mapping[str, Column], names: tuple[str, ...], row_ids: Ints
    ) -> dict[str, Column]:
        cut = partial(_cut, maxlen=self.maxlen, side=self.side)
        return {
            name: cut(columns[name]) if self._cuts(name, columns[name]) else columns[name]
            for name in names
        }

    def _cuts(self, name: str, column: Column) -> bool:
        if self.column is not None:
            return name == self.column
        try:
            lengths_of(name, column)
        except UnsupportedTypeError:
            return False
        return True


def _cut(column: Column, maxlen: int, side: Side) -> Column:
    """A Ragged as a view; of lists that Arrow holds, a copy of the steps that are left."""
    if isinstance(column, dict):
        return each_field(column, partial(_cut, maxlen=maxlen, side=side))
    if isinstance(column, Ragged):
        return Ragged._of(column._rows.truncate(maxlen, side))
    lists = arrow.list_rows(arrow.seen_through(column))
    rows = Layout(HOST, read_only(lists.starts), read_only(lists.lengths)).truncate(maxlen, side)
    return arrow.write_lists(column.type, lists.items, rows.starts, rows.lengths, lists.valid)


# -- texts --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tokenize:
    """A column of texts as ids of tokens, and where asked for as their places in the text."""

    column: str
    encoder: Encoder
    into: str
    offsets: str | None
    dtype: np.dtype[Any]
    keep: bool

    method = "tokenize"

    @classmethod
    def of(
        cls,
        column: str,
        tokenizer: Any,
        into: str,
        offsets: str | None,
        dtype: npt.DTypeLike,
        special_tokens: bool,
        keep: bool,
    ) -> "Tokenize":
        for name, given in {"into": into, "offsets": offsets}.items():
            if not is_name(given) and (name == "into" or given is not None):
                raise InvalidInputError(f"{name} is the name of a column; got {given!r}")
        try:
            kept = np.dtype(dtype).newbyteorder("=")
        except TypeError as error:
            raise UnsupportedTypeError(f"tokenize: dtype={dtype!r} is none: {error}") from error
        if kept.kind not in "iuf" or kept.itemsize > 8:
            raise UnsupportedTypeError(f"tokenize: dtype must be of numbers; got {kept}")
        encoder = encoder_of(tokenizer, bool(special_tokens))
        encoder.check(kept, offsets is not None)
        return cls(column, encoder, into, offsets, kept, bool(keep))

    @property
    def told(self) -> dict[str, Any]:
        return {
            "tokenize": self.column,
            "by": self.encoder.told,
            "into": self.into,
            "offsets": self.offsets,
            "dtype": self.dtype.name,
            "keep": self.keep,
        }

    def __str__(self) -> str:
        also = f" and {self.offsets}" if self.offsets else ""
        return f"{self.column} tokenized into {self.into}{also}"

    def fields(self, schema: Any) -> Any:
        field = _field(schema, self.column)
        _check_texts(field)
        new = [field] if self.keep else []
        new.append(pa.field(self.into, self._type))
        if self.offsets is not None:
            new.append(pa.field(self.offsets, _SPANS))
        made = []
        for one in schema:
            made += new if one.name == self.column else [one]
        names = [one.name for one in made]
        for option, name in (("into", self.into), ("offsets", self.offsets)):
            if names.count(name) > 1:
                raise InvalidInputError(
                    f"tokenize: there is a column {name!r} already: choose another name, "
                    f"{option}=…, or leave that one out with columns="
                )
        return pa.schema(made, schema.metadata)

    @property
    def _type(self) -> Any:
        return pa.list_(pa.from_numpy_dtype(self.dtype))

    def needs(self, names: tuple[str, ...]) -> tuple[str, ...]:
        new = (self.into, self.offsets)
        there = [name for name in names if name not in new]
        if len(there) < len(names) and self.column not in there:
            there.append(self.column)
        return tuple(there)

    def run(
        self, columns: Mapping[str, Column], names: tuple[str, ...], row_ids: Ints
    ) -> dict[str, Column]:
        made = dict(columns)
        if self.into in names or self.offsets in names:
            texts = face(columns[self.column])
            try:
                encoded = self._encode(texts, row_ids, self.offsets in names)
            except (InvalidInputError, UnsupportedTypeError) as error:
                raise type(error)(f"tokenize of column {self.column!r}: {error}") from error
            made[self.into] = _column(encoded.ids, texts, self._type)
            if self.offsets is not None and encoded.offsets is not None:
                made[self.offsets] = _column(encoded.offsets, texts, _SPANS)
        return {name: made[name] for name in names}

    def _encode(self, texts: Any, row_ids: Ints, offsets: bool) -> Encoded:
        if not len(texts):  # a function is not asked about nothing
            layout = Layout.of_lengths(HOST, np.empty(0, np.int64))
            spans = Rows(read_only(np.empty((0, 2), np.int32)), layout)
            return Encoded(Rows(read_only(np.empty(0, self.dtype)), layout), spans)
        filled = texts.fill_null("") if texts.null_count else texts
        return self.encoder.encode(filled, row_ids, self.dtype, offsets)


def _column(rows: Rows, texts: Any, type_: Any) -> Ragged:
    """Rows of what texts were made into; those of null texts are empty, and null in Arrow."""
    if not texts.null_count:
        return Ragged._of(rows.formed(Form(type_)))
    valid = read_only(texts.is_valid().to_numpy(zero_copy_only=False))
    lengths = read_only(np.where(valid, rows.lengths, 0))
    layout = Layout(HOST, rows.starts, lengths)
    return Ragged._of(Rows(rows.values, layout, rows.mask, Form(type_, valid)))


def _check_texts(field: Any) -> None:
    """Raise unless a column holds a text a row."""
    type_ = arrow.workable(field.type)
    if arrow.is_string(type_.value_type if pa.types.is_dictionary(type_) else type_):
        return
    remedy = "cast it to strings first"
    if arrow.is_list(type_):
        remedy = (
            "join the words of each row into a text, with pyarrow.compute.binary_join(column, "
            "' '), where the files are written; or look up words as they are, in a map, with "
            "Vocabulary.encode"
        )
    raise InvalidInputError(
        f"tokenize takes a text a row, and column {field.name!r} is {field.type}: {remedy}"
    )


def _field(schema: Any, name: str) -> Any:
    if isinstance(name, str) and name in schema.names:
        return schema.field(name)
    near = difflib.get_close_matches(str(name), schema.names, 1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise InvalidInputError(f"no column {name!r}{hint}; there are {', '.join(schema.names)}")
