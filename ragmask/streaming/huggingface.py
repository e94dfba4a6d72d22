"""Hugging Face's data sets as streams read them: Datasets, and folders that `save_to_disk` wrote.

The library is never imported here: whoever has a Dataset has imported it.
"""

import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ragmask import arrow
from ragmask.arrays.protocol import Ints
from ragmask.errors import StreamError, UnsupportedTypeError

STATE_FILE, SPLITS_FILE, INFO_FILE = "state.json", "dataset_dict.json", "dataset_info.json"
CACHE_FILES = r"cache-[^/]*\.arrow"  # what map and filter leave beside the data

_PIECE_ROWS = 65_536  # at most, of one large piece of a table
_GATHERED_BYTES = 8 << 20  # about so much is picked by number in one go
_FEW = 8  # rows a record batch, from which on they are picked batch by batch


def is_dataset(given: Any) -> bool:
    """Whether it is a Dataset. Raises UnsupportedTypeError for what holds several, or no rows."""
    names = {cls.__name__ for cls in type(given).__mro__ if _is_library(cls.__module__)}
    if "DatasetDict" in names:
        splits = ", ".join(map(repr, given))
        raise UnsupportedTypeError(
            f"a stream reads one split of a DatasetDict, and this one has {splits}: "
            f"rm.stream(splits[{next(iter(given), 'train')!r}])"
        )
    if names & {"IterableDataset", "IterableDatasetDict"}:
        raise UnsupportedTypeError(
            f"got an {type(given).__name__}, whose rows can be neither counted nor found again: "
            "stream the files it reads, or a Dataset: load_dataset(…, streaming=False)"
        )
    return "Dataset" in names


def _is_library(module: str) -> bool:
    return module in (
        "datasets.arrow_dataset",
        "datasets.dataset_dict",
        "datasets.iterable_dataset",
    )


class DatasetRows:
    """The rows of a Dataset, in the order of its indices, where it has some.

    Read over the files it maps: nothing is copied, or looked at, before its turn has come. A pickle
    has the files' names.
    """

    def __init__(self, table: Any, indices: Any) -> None:
        self._table, self._indices = table, indices
        self.schema = table.schema
        self._ends = np.cumsum(_chunk_rows(table), dtype=np.int64)  # of the table's record batches
        self._numbers: Ints | None = None if indices is None else _numbers(indices)
        self.group_rows = self._groups()
        self._starts = np.cumsum([0, *self.group_rows], dtype=np.int64)
        self.digest = 0 if self._numbers is None else zlib.crc32(self._numbers.data)

    @classmethod
    def of(cls, dataset: Any) -> "DatasetRows":
        return cls(dataset.data, dataset._indices)

    def _groups(self) -> tuple[int, ...]:
        """The rows of each piece that is read in one go."""
        if self._numbers is None:
            return tuple(
                min(_PIECE_ROWS, rows - first)
                for rows in np.diff(self._ends, prepend=0).tolist()
                for first in range(0, rows, _PIECE_ROWS)
            )
        total = len(self._numbers)
        size = 1
        if len(self._ends):
            some = self._table.fast_slice(0, int(min(self._ends[0], 1024)))
            size = max(1, some.nbytes // max(1, some.num_rows))
        rows = max(1, min(_PIECE_ROWS, _GATHERED_BYTES // size))
        return tuple(min(rows, total - first) for first in range(0, total, rows))

    def read(self, indices: Sequence[int], wanted: Sequence[Any]) -> Any:
        names = list(dict.fromkeys(one.top for one in wanted))
        parts = [self._group(index, names) for index in indices]
        return pa.concat_tables(parts) if len(parts) > 1 else parts[0]

    def _group(self, index: int, names: list[str]) -> Any:
        first, last = map(int, self._starts[index : index + 2])
        if self._numbers is None:
            return _checked(self._table.fast_slice(first, last - first), names)
        return self._gathered(self._numbers[first:last], names)

    def _gathered(self, numbers: Ints, names: list[str]) -> Any:
        """Rows by number, as a table."""
        at = np.searchsorted(self._ends, numbers, "right")
        batches = np.unique(at)
        if len(batches) * _FEW > len(numbers):
            return _checked(self._table.fast_gather(numbers), names)
        parts, order = [], []
        for batch in batches.tolist():
            where = np.flatnonzero(at == batch)
            begin = int(self._ends[batch - 1]) if batch else 0
            rows = _checked(self._table.fast_slice(begin, int(self._ends[batch]) - begin), names)
            parts.append(_taken(rows, numbers[where] - begin))
            order.append(where)
        back = np.argsort(np.concatenate(order))
        return parts[0] if len(parts) == 1 else _taken(pa.concat_tables(parts), back)

    def __reduce__(self) -> Any:
        return DatasetRows, (self._table, self._indices)


def _chunk_rows(table: Any) -> list[int]:
    """The rows of a table's record batches, as its first column has them."""
    chunks = table.column(0).iterchunks() if table.num_columns else []
    return [len(chunk) for chunk in chunks if len(chunk)]


def _numbers(indices: Any) -> Ints:
    return np.ascontiguousarray(indices.column(0).to_numpy(), np.int64)


def _checked(table: Any, names: list[str]) -> Any:
    table = table.select(names)
    arrow.validate(table)  # nobody has looked at what lies in a mapped file
    return table


def _taken(table: Any, places: Ints) -> Any:
    columns = [arrow.take(arrow.one_array(column), pa.array(places)) for column in table.columns]
    return pa.Table.from_arrays(columns, schema=table.schema)


# -- folders ------------------------------------------------------------------------------


def read_told(text: bytes) -> Mapping[str, Any]:
    """What a file of JSON beside the data says; nothing where that is no object."""
    try:
        told = json.loads(text)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def refuse_splits(told: Mapping[str, Any], folder: str) -> None:
    """Raise where a folder holds the splits of a DatasetDict, which are several data sets."""
    splits = told.get("splits")
    if isinstance(splits, list) and splits:
        raise StreamError(
            f"{folder} holds the splits of a DatasetDict, {', '.join(map(str, splits))}: stream "
            f"one of them, {folder}/{splits[0]}"
        )


def data_files(told: Mapping[str, Any], folder: str) -> list[str] | None:
    """The files that are the data, by what `save_to_disk` says; others there are its caches.

    None where it was something else that wrote the state.
    """
    files = told.get("_data_files")
    if not isinstance(files, list):
        return None
    if told.get("_indices_data_files"):
        raise StreamError(
            f"{folder} was saved by an old version of datasets, with an order of rows in a file of "
            "its own: stream datasets.load_from_disk(…) instead"
        )
    return [str(one.get("filename")) for one in files if isinstance(one, dict)]
