"""Words to ids and back."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from reprlib import repr as short
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ragmask import arrow
from ragmask.arrays.host import read_only
from ragmask.arrays.memory import empty
from ragmask.arrays.protocol import LARGEST, Array, Bools
from ragmask.batches.nested import NestedRagged
from ragmask.batches.ragged import Ragged
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.files import read_json, shown, whole_file
from ragmask.rows.checks import check_count
from ragmask.rows.rows import host_rows

_FORMAT = "ragmask vocabulary 1"
_MOST_ID = LARGEST - 1  # so that len() can count it
_BUILD_ROWS = 32_768  # rows counted at a time


class Vocabulary:
    """Words and their ids: 0 is kept for padding, unknown words have one id of their own.

    >>> import pyarrow as pa
    >>> import ragmask as rm
    >>> sentences = pa.array([["a", "cat", "and", "a", "dog"], ["a", "cat"]])
    >>> vocabulary = rm.Vocabulary.build(sentences)
    >>> vocabulary
    Vocabulary(6 ids: 0 padding, 1 unknown, 'a', 'cat', 'and', 'dog')
    >>> vocabulary.encode(pa.array([["a", "dog", "barks"], []]))
    Ragged(2 rows, 3 steps, int64, lengths 0–3)
      [2 5 1]
      []

    words get the ids from 1 on, in their order, leaving out `unknown_id`. With `unknown_id=0`
    unknown words are padding. Raises InvalidInputError for a word that appears twice, or that holds
    a lone surrogate.
    """

    __slots__ = ("_ids", "_words", "unknown_id")

    def __init__(self, words: Iterable[str], unknown_id: int = 1) -> None:
        self.unknown_id = check_count("unknown_id", unknown_id, most=_MOST_ID)
        self._ids: dict[str, int] = {}
        self._words: dict[int, str] = {}
        next_id = 1
        for word in words:
            next_id += next_id == self.unknown_id
            if not isinstance(word, str):
                raise UnsupportedTypeError(f"words must be strings; got {word!r}")
            if word in self._ids:
                raise InvalidInputError(f"the word {word!r} appears twice")
            self._ids[word] = next_id
            self._words[next_id] = word
            next_id += 1
        try:
            "".join(self._ids).encode()
        except UnicodeEncodeError as error:
            raise InvalidInputError(
                f"a word holds a lone surrogate, {error.object[error.start]!r}, which no file and "
                "no Arrow array can: read the words with errors='replace'"
            ) from error

    @classmethod
    def build(
        cls,
        source: Any,
        column: str | None = None,
        max_size: int | None = None,
        unknown_id: int = 1,
    ) -> "Vocabulary":
        """Collect the words of a stream's column, or of an Arrow array, the most frequent first.

        source : a Stream, or what `encode` takes: an Arrow array of strings, lists of strings or
            lists of such lists (dictionary-encoded and chunked ones too), a Series, numpy's
            strings, Python lists. A stream is read once, from its start, in bounded memory.
        column : of a stream; needed where it has several columns of words.
        max_size : keep the most frequent words only, so that `len()` is at most this.

        Words of equal frequency stand in the order of their code points, so that the same data
        gives the same ids. Nulls are no words.
        """
        if max_size is not None:
            check_count("max_size", max_size, max(2, unknown_id + 1))
        counted = None
        for array in _arrays(source, column):
            array = arrow.arrow_array(array)
            if arrow.is_list_of_lists(array.type):
                array, _, _ = arrow.read_list_items(array)
            strings, _, _ = arrow.read_strings(array)
            if pa.types.is_dictionary(strings.type):
                strings = strings.dictionary_decode()
            counts = pc.value_counts(strings.cast(pa.large_string()).drop_null())
            table = pa.table({"word": counts.field(0), "count": counts.field(1)})
            if counted is not None:
                table = pa.concat_tables([counted, table])
                table = table.group_by("word").aggregate([("count", "sum")])
                table = table.rename_columns(["word", "count"])
            counted = table
        if counted is None:
            return cls([], unknown_id)
        order = pc.sort_indices(counted, sort_keys=[("count", "descending"), ("word", "ascending")])
        if max_size is not None:
            order = order.slice(0, min(max_size, LARGEST) - (1 if unknown_id == 0 else 2))
        return cls(counted["word"].take(order).to_pylist(), unknown_id)

    def encode(self, words: Any) -> Any:
        """The ids of an Arrow array of strings, as int64; of lists of strings, as a Ragged.

        Of lists of lists, documents of sentences of words, as a NestedRagged.

        >>> import ragmask as rm
        >>> rm.Vocabulary(["yes", "no"]).encode(["no", "maybe"])
        array([3, 1])

        Lists and chunks of any layout, dictionary-encoded or not; Python lists, numpy arrays of
        strings, lists of such arrays, and Series of pandas or polars too. A null word is masked,
        with id 0; a null list is an empty row. Raises UnsupportedTypeError for anything but
        strings.
        """
        words = arrow.arrow_array(_as_arrow(words))
        if arrow.is_list_of_lists(words.type):
            lists, begins, sizes = arrow.read_list_items(words)
            if arrow.is_list_of_lists(lists.type):
                raise UnsupportedTypeError(
                    "words must be strings, lists of strings or lists of such lists; got "
                    f"{words.type}"
                )
            valid = lists.is_valid().to_numpy(zero_copy_only=False) if lists.null_count else None
            outer = host_rows(sizes, begins, sizes, valid)
            return NestedRagged._made(outer, self.encode(lists)._rows)
        strings, starts, lengths = arrow.read_strings(words)
        ids, mask = self._look_up(strings)
        if starts is not None and lengths is not None:
            return Ragged._of(host_rows(read_only(ids), starts, lengths, mask))
        return ids if mask is None else np.ma.MaskedArray(ids, ~mask)

    def _look_up(self, strings: Any) -> tuple[Array, Bools | None]:
        # Each distinct word is looked up once. pyarrow's index_in would hash the whole vocabulary
        # anew for each batch: 10 times slower on batches of 4,000 words, with 57,000 known.
        if not pa.types.is_dictionary(strings.type):
            strings = strings.cast(pa.large_string()).dictionary_encode()
        distinct = strings.dictionary.to_pylist()
        ids = np.fromiter(
            (0 if word is None else self._ids.get(word, self.unknown_id) for word in distinct),
            np.int64,
            len(distinct),
        )
        places = strings.indices
        if places.null_count == 0 and strings.dictionary.null_count == 0:
            return _taken(ids, places), None
        mask: Bools = places.is_valid().to_numpy(zero_copy_only=False)
        if not len(ids):  # every place is null
            return np.zeros(len(mask), np.int64), read_only(mask)
        places = places.fill_null(0)
        mask &= _taken(np.array([word is not None for word in distinct]), places)
        return np.where(mask, _taken(ids, places), 0), read_only(mask)

    def decode(self, ids: Any) -> Any:
        """The words of ids: an Arrow array, or a list array for a Ragged.

        >>> import ragmask as rm
        >>> rm.Vocabulary(["yes", "no"]).decode(rm.Ragged.from_rows([[3, 2], [1]])).to_pylist()
        [['no', 'yes'], [None]]

        Padding, unknown and masked ids are null. Of a NestedRagged, lists of lists.
        """
        if isinstance(ids, NestedRagged):
            lists = self.decode(ids.inner)
            return pa.LargeListArray.from_arrays(pa.array(ids.offsets), lists)
        rows = ids.compact() if isinstance(ids, Ragged) else None
        numbers = np.asarray(ids) if rows is None else rows.values
        if numbers.ndim != 1:
            raise InvalidInputError(f"ids must be one a step; got shape {numbers.shape}")
        words = pa.array([self._words.get(number) for number in numbers.tolist()], pa.string())
        if rows is None:
            return words
        if rows.mask is not None:
            words = pc.if_else(pa.array(rows.mask), words, None)
        return pa.LargeListArray.from_arrays(pa.array(rows.offsets), words)

    @property
    def words(self) -> list[str]:
        """The known words, in the order of their ids."""
        return list(self._ids)

    def __len__(self) -> int:
        """The number of ids, padding and unknown included: the rows an embedding table needs."""
        return max(self.unknown_id, max(self._words, default=0)) + 1

    def __contains__(self, word: object) -> bool:
        return word in self._ids

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Vocabulary):
            return NotImplemented
        return (self.words, self.unknown_id) == (other.words, other.unknown_id)

    __hash__ = None  # type: ignore[assignment]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a JSON file of the words, atomically.

        Raises StreamError, naming the file, where the disk is full, or the name is that of a link
        or of anything else that is no file.
        """
        with whole_file(path) as file:
            file.write(self.to_json())

    def to_json(self) -> bytes:
        """What `save` writes."""
        told = {"format": _FORMAT, "unknown_id": self.unknown_id, "words": self.words}
        return json.dumps(told, ensure_ascii=False).encode("utf-8")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Vocabulary":
        """Read what `save` wrote.

        Raises InvalidInputError, naming the file, for anything else, and StreamError where it
        cannot be read.
        """
        try:
            told = read_json(Path(path))
            if not isinstance(told, dict) or told.get("format") != _FORMAT:
                found = told.get("format") if isinstance(told, dict) else told
                raise InvalidInputError(f"its format is {short(found)}, not {_FORMAT!r}")
            words = told.get("words")
            if not isinstance(words, list):
                raise InvalidInputError(f"its words must be a list of strings; got {short(words)}")
            unknown_id: Any = told.get("unknown_id")
            return cls(words, unknown_id)
        except (InvalidInputError, UnsupportedTypeError) as error:
            raise InvalidInputError(f"{shown(path)} is not a saved vocabulary: {error}") from error

    def __repr__(self) -> str:
        names = {0: "0 padding"}
        names[self.unknown_id] = "0 padding and unknown" if self.unknown_id == 0 else ""
        if self.unknown_id > 0:
            names[self.unknown_id] = f"{self.unknown_id} unknown"
        shown = [names[id_] for id_ in sorted(names)] + [repr(word) for word in self.words[:4]]
        more = ", …" if len(self._ids) > 4 else ""
        return f"Vocabulary({len(self):,} ids: {', '.join(shown)}{more})"


def _taken(values: Array, places: Any) -> Array:
    """The values at these places, which another thread may write to after they were checked."""
    places = places.to_numpy(zero_copy_only=False)
    return values.take(places, mode="clip", out=empty(places.shape, values.dtype))


def _as_arrow(words: Any) -> Any:
    """Python's and numpy's words as an Arrow array; others come as they are."""
    if isinstance(words, np.ndarray):
        words = words.tolist()
    if not isinstance(words, list | tuple):
        if any(hasattr(words, f"__arrow_c_{kind}__") for kind in ("array", "stream")):
            return words
        raise UnsupportedTypeError(
            "words must be an Arrow array, a numpy array, a Series or a list; "
            f"got {type(words).__name__}: put one word into a list"
        )
    rows = [row.tolist() if isinstance(row, np.ndarray) else row for row in words]
    try:
        array = pa.array(rows, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise UnsupportedTypeError(f"words must be strings or lists of strings: {error}") from error
    if pa.types.is_binary(getattr(array.type, "value_type", array.type)):
        raise UnsupportedTypeError(
            'words must be strings, and these are bytes: decode them first, with .astype("U") '
            "where they are an array of ASCII"
        )
    return array


def _arrays(source: Any, column: str | None) -> Iterable[Any]:
    """The column's arrays, batch by batch; or the array itself."""
    if not (hasattr(source, "schema") and hasattr(source, "batch")):
        return [_as_arrow(source)]
    if column is None:
        names = [field.name for field in source.schema if _holds_words(field.type)]
        if len(names) != 1:
            which = f"which of {', '.join(names)}" if names else "no column of words is there"
            raise InvalidInputError(f"name the column of words ({which}): build(stream, column=…)")
        column = names[0]
    name = column
    return (batch[name] for batch in source.batch(rows=_BUILD_ROWS))


def _holds_words(type_: Any) -> bool:
    item = getattr(type_, "value_type", type_)
    return arrow.is_string(getattr(item, "value_type", item))
