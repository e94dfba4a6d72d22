"""Texts to ids of tokens: by Hugging Face's tokenizers, or by any function."""

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ragmask.arrays.host import HOST, read_only
from ragmask.arrays.protocol import Array, Ints
from ragmask.batches.nested import NestedRagged
from ragmask.batches.ragged import Ragged
from ragmask.errors import InvalidInputError, MissingExtraError, UnsupportedTypeError
from ragmask.rows.layout import Layout
from ragmask.rows.rows import Rows

# What is encoded in one go: enough to keep all cores busy, and no more, for an Encoding takes some
# 90 bytes a token.
_PIECE_ROWS = 8192
_PIECE_BYTES = 2 << 20


class Encoded(NamedTuple):
    """The tokens of some texts: a row each, and where each lies in its text, where asked for."""

    ids: Rows
    offsets: Rows | None = None


class Encoder(Protocol):
    """What makes rows of tokens out of texts."""

    @property
    def told(self) -> Any: ...

    def check(self, dtype: np.dtype[Any], offsets: bool) -> None:
        """Raise where ids of this dtype, or offsets, cannot be had."""
        ...

    def encode(self, texts: Any, numbers: Ints, dtype: np.dtype[Any], offsets: bool) -> Encoded:
        """texts : a string array without nulls; numbers : of its rows in the data set."""
        ...


def encoder_of(tokenizer: Any, special_tokens: bool) -> Encoder:
    """What encodes by a tokenizer of any kind that `Stream.tokenize` takes."""
    if isinstance(tokenizer, str | os.PathLike):
        return _of_file(os.fspath(tokenizer), special_tokens)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:  # of transformers, which cuts off by what each call says
        return _of_object(backend, special_tokens, keeps_truncation=False)
    if hasattr(tokenizer, "to_str") and hasattr(tokenizer, "encode_batch"):
        return _of_object(tokenizer, special_tokens, keeps_truncation=True)
    if hasattr(tokenizer, "convert_tokens_to_ids"):
        raise UnsupportedTypeError(
            f"{type(tokenizer).__name__} is not one of the fast tokenizers: pass a function, "
            'lambda texts: tokenizer(texts.to_pylist())["input_ids"]'
        )
    if not callable(tokenizer):
        raise UnsupportedTypeError(
            "tokenize takes a tokenizers.Tokenizer, a fast tokenizer of transformers, the path of "
            f"a tokenizer.json, or a function of a string array; got {tokenizer!r}"
        )
    if not special_tokens:
        raise InvalidInputError(
            "special_tokens=False is for tokenizers: a function adds what it adds"
        )
    return Function(tokenizer)


# -- Hugging Face's -----------------------------------------------------------------------


def _tokenizers() -> Any:
    try:
        import tokenizers
    except ImportError as error:
        raise MissingExtraError(
            'this needs tokenizers, which pip install "ragmask[text]" brings'
        ) from error
    return tokenizers


def _of_object(given: Any, special_tokens: bool, keeps_truncation: bool) -> "HuggingFace":
    """By a copy: whoever sets padding on theirs later changes no stream."""
    make = _tokenizers().Tokenizer.from_str
    try:
        own = make(given.to_str())
    except Exception as error:  # of parts that are written in Python
        raise InvalidInputError(
            f"the tokenizer cannot be copied: {error}; pass a function that uses it, "
            "lambda texts: [one.ids for one in tokenizer.encode_batch(texts.to_pylist())]"
        ) from error
    own.no_padding()
    if not keeps_truncation:
        own.no_truncation()
    as_text = bool(getattr(given, "encode_special_tokens", False))
    return HuggingFace(own, special_tokens, as_text, _digest(own))


def _of_file(path: str, special_tokens: bool) -> "HuggingFace":
    """By its path alone, absolute: it is read again in each process that encodes."""
    place = Path(path).absolute()
    place = place / "tokenizer.json" if place.is_dir() else place
    return HuggingFace(str(place), special_tokens, False, _digest(_read(place)))


def _read(path: Path) -> Any:
    tokenizers = _tokenizers()
    if not path.is_file():
        raise InvalidInputError(
            f"{path}: there is no such file; of a name on Hugging Face's hub, pass "
            "tokenizers.Tokenizer.from_pretrained(name)"
        )
    try:
        own = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises nothing narrower
        raise InvalidInputError(f"{path} is no tokenizer.json: {error}") from error
    own.no_padding()
    return own


def _digest(tokenizer: Any) -> str:
    return hashlib.sha256(tokenizer.to_str().encode()).hexdigest()[:16]


@dataclass(frozen=True)
class HuggingFace:
    """By a tokenizer without padding, or the path of one."""

    tokenizer: Any = field(compare=False, repr=False)
    special_tokens: bool
    specials_as_text: bool
    digest: str

    def __getstate__(self) -> dict[str, Any]:
        return {one.name: getattr(self, one.name) for one in fields(self)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    @property
    def told(self) -> dict[str, Any]:
        told = {"digest": self.digest, "special_tokens": self.special_tokens}
        return told | ({"encode_special_tokens": True} if self.specials_as_text else {})

    @cached_property
    def _own(self) -> Any:
        own = self.tokenizer
        if isinstance(own, str):
            own = _read(Path(own))
            if _digest(own) != self.digest:
                raise InvalidInputError(
                    f"{self.tokenizer}: the tokenizer changed since the stream was made"
                )
        own.encode_special_tokens = self.specials_as_text  # which no copy keeps
        return own

    def check(self, dtype: np.dtype[Any], offsets: bool) -> None:
        if dtype.kind not in "iu":
            raise InvalidInputError(f"ids are whole numbers: dtype must be an integer; got {dtype}")
        largest = max(self._own.get_vocab(with_added_tokens=True).values(), default=0)
        if largest > np.iinfo(dtype).max:
            raise InvalidInputError(
                f"{dtype} holds ids up to {np.iinfo(dtype).max:,}, and this tokenizer has them up "
                f"to {largest:,}: pass a wider dtype="
            )

    def encode(self, texts: Any, numbers: Ints, dtype: np.dtype[Any], offsets: bool) -> Encoded:
        ids, lengths, spans = [], [], []
        for first, last in _pieces(texts):
            encodings = self._encodings(texts[first:last], numbers[first:last], offsets)
            found = [one.ids for one in encodings]
            sizes = np.fromiter(map(len, found), np.int64, len(found))
            n = int(sizes.sum())
            ids.append(np.fromiter(chain.from_iterable(found), dtype, n))
            lengths.append(sizes)
            if offsets:
                pairs = chain.from_iterable(one.offsets for one in encodings)
                flat = np.fromiter(chain.from_iterable(pairs), np.int32, 2 * n)
                spans.append(flat.reshape(n, 2))
        layout = Layout.of_lengths(HOST, np.concatenate([np.empty(0, np.int64), *lengths]))
        rows = Rows(_joined(ids, np.empty(0, dtype)), layout)
        return Encoded(
            rows, Rows(_joined(spans, np.empty((0, 2), np.int32)), layout) if offsets else None
        )

    def _encodings(self, texts: Any, numbers: Ints, offsets: bool) -> list[Any]:
        given, own = _as_str(texts, numbers), self._own
        encode = own.encode_batch if offsets else own.encode_batch_fast  # which tells no offsets
        try:
            with _gate:
                found: list[Any] = encode(given, add_special_tokens=self.special_tokens)
        except Exception as error:  # tokenizers raises nothing narrower
            raise InvalidInputError(
                f"the tokenizer fails on rows {numbers.min()} to {numbers.max()}: {error}"
            ) from error
        return found


class _Gate:
    """Threads encode at once, but none while the process forks.

    A fork copies locks, and not the threads that hold them. Those that tokenizers runs are not
    copied either: a child encodes without them.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.inside: set[int] = set()  # threads
        self.was_used = False

    def __enter__(self) -> None:
        with self.changed:
            self.inside.add(threading.get_ident())
            self.was_used = True

    def __exit__(self, *error: object) -> None:
        with self.changed:
            self.inside.discard(threading.get_ident())
            self.changed.notify_all()

    def close(self) -> None:
        self.changed.acquire()
        own = threading.get_ident()  # a handler of signals forks amid anything
        self.changed.wait_for(lambda: self.inside <= {own})

    def open(self) -> None:
        self.changed.release()

    def begin_anew(self) -> None:
        self.changed, self.inside = threading.Condition(), set()
        if self.was_used:  # to ask for the threads would wait for ever
            os.environ["TOKENIZERS_PARALLELISM"] = "false"


_gate = _Gate()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_gate.close, after_in_parent=_gate.open, after_in_child=_gate.begin_anew
    )


def _pieces(texts: Any) -> Iterator[tuple[int, int]]:
    """Texts `[first, last)` that are encoded in one go."""
    rows = len(texts)
    sizes = np.asarray(pc.binary_length(texts).cast(pa.int64()))
    turns = np.cumsum(sizes) // _PIECE_BYTES, np.arange(rows) // _PIECE_ROWS
    cuts = np.flatnonzero(np.diff(turns[0]) | np.diff(turns[1])) + 1
    ends = [*map(int, cuts), rows]
    yield from zip([0, *ends[:-1]], ends, strict=True) if rows else ()


def _as_str(texts: Any, numbers: Ints) -> list[str]:
    try:
        given: list[str] = texts.to_pylist()
    except UnicodeDecodeError:
        for text, number in zip(texts, numbers, strict=True):
            try:
                text.as_py()
            except UnicodeDecodeError as error:
                raise InvalidInputError(f"row {number} is no text in UTF-8: {error}") from error
        raise
    return given


def _joined(parts: list[Array], nothing: Array) -> Array:
    return read_only(np.concatenate(parts) if parts else nothing)


# -- any function -------------------------------------------------------------------------


@dataclass(frozen=True)
class Function:
    """By what a function makes of a string array: a list array, a Ragged, or lists, a row each."""

    function: Callable[[Any], Any]

    @property
    def told(self) -> str:
        """Its name, which is all of a function that lasts."""
        named = self.function if hasattr(self.function, "__qualname__") else type(self.function)
        return str(named.__qualname__)

    def check(self, dtype: np.dtype[Any], offsets: bool) -> None:
        if offsets:
            raise InvalidInputError("offsets= needs a tokenizer: a function gives ids alone")

    def encode(self, texts: Any, numbers: Ints, dtype: np.dtype[Any], offsets: bool) -> Encoded:
        given = self.function(texts)
        try:
            rows = self._rows(given)
        except (InvalidInputError, UnsupportedTypeError) as error:
            raise type(error)(f"{self.told} must give a row of ids a text: {error}") from error
        if len(rows) != len(texts):
            raise InvalidInputError(
                f"{self.told} must give a row of ids a text: it gave {len(rows)} rows for "
                f"{len(texts)} texts"
            )
        return Encoded(self._in_dtype(rows.compact(), numbers, dtype))

    def _rows(self, given: Any) -> Rows:
        if isinstance(given, Ragged):
            made: Any = given
        elif isinstance(given, list | tuple | np.ndarray):
            made = Ragged.from_rows(given)
        else:
            made = Ragged.from_arrow(given)
        if isinstance(made, NestedRagged) or made.item_shape or made.dtype.kind not in "biuf":
            raise UnsupportedTypeError(
                f"it gave {type(given).__name__} of {made.dtype}, in steps "
                f"of shape {made.item_shape}"
            )
        rows: Rows = made._rows
        if not rows.arrays.is_host:
            raise UnsupportedTypeError("it gave rows on a device: call to_host() on them")
        return rows

    def _in_dtype(self, rows: Rows, numbers: Ints, dtype: np.dtype[Any]) -> Rows:
        values = rows.values
        if values.dtype == dtype:
            return rows
        with np.errstate(invalid="ignore", over="ignore"):
            cast = values.astype(dtype)
        wrong = (cast != values) if dtype.kind in "iu" else np.zeros(0, np.bool_)
        if wrong.any():
            row, step = rows.layout.row_and_step(int(wrong.argmax()))
            raise InvalidInputError(
                f"{self.told} gave {values[wrong.argmax()]} in step {step} of row {numbers[row]}, "
                f"which {dtype} does not hold: pass another dtype="
            )
        return rows.over(read_only(cast))
