"""Tables and files in memory, streamed like files on a disk."""

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from ragmask import arrow
from ragmask.errors import InvalidInputError, StreamError, UnsupportedTypeError
from ragmask.streaming.files import Found, Stamp
from ragmask.streaming.huggingface import DatasetRows, is_dataset

_PIECE_ROWS = 65_536  # of a table that is one large piece


@dataclass(frozen=True)
class Memory:
    """What stands where a stream of files has its file system. A name has pieces or bytes."""

    contents: dict[str, Any]

    is_local = True
    on_disk = False
    filesystem = None

    def here(self) -> "Memory":
        return self

    def stamp(self, path: str) -> Stamp:
        return Stamp(getattr(self.contents[path], "digest", 0), 0)

    def table(self, path: str) -> Any:
        """A table's pieces; None where a name has bytes."""
        content = self.contents[path]
        return None if isinstance(content, pa.Buffer) else content

    def open(self, path: str) -> Any:
        return pa.BufferReader(self.contents[path])


class Pieces:
    """The record batches of a table, looked at in full when it was taken."""

    def __init__(self, batches: Sequence[Any]) -> None:
        self._batches = batches
        self.schema = batches[0].schema
        self.group_rows = tuple(batch.num_rows for batch in batches)

    def read(self, indices: Sequence[int], wanted: Sequence[Any]) -> Any:
        batches = [self._batches[index] for index in indices]
        names = list(dict.fromkeys(one.top for one in wanted))
        return pa.Table.from_batches(batches, self.schema).select(names)


def in_memory(given: Any) -> tuple[Memory, tuple[Found, ...]] | None:
    """Tables, frames, readers and open files as a data set; None where paths were given."""
    parts = [given] if _is_content(given) else given
    if isinstance(given, str | os.PathLike) or not isinstance(parts, list | tuple):
        return None
    if not parts or not all(map(_is_content, parts)):
        if any(map(_is_content, parts)):
            raise UnsupportedTypeError("a stream reads paths or data in memory, not both")
        return None
    contents: dict[str, Any] = {}
    for number, part in enumerate(parts):
        is_table = hasattr(part, "__arrow_c_stream__") or hasattr(part, "__arrow_c_array__")
        if is_dataset(part):
            contents[f"<dataset {number}>"] = DatasetRows.of(part)
            continue
        name = f"<{'table' if is_table else 'file'} {number}>"
        contents[name] = Pieces(_batches(part, name)) if is_table else _bytes(part, name)
    return Memory(contents), tuple(map(Found, contents))


def path_of(given: Any) -> Any:
    """The path of an open file that has one, which is streamed from the disk; else the file."""
    name = getattr(given, "name", None)
    if not hasattr(given, "read") or not isinstance(name, str | bytes | os.PathLike):
        return given
    try:
        same = os.path.samestat(os.fstat(given.fileno()), Path(os.fsdecode(name)).stat())
    except (OSError, AttributeError, ValueError):
        return given
    return os.fsdecode(name) if same else given


def _is_content(given: Any) -> bool:
    return (
        is_dataset(given)
        or hasattr(given, "__arrow_c_stream__")
        or hasattr(given, "__arrow_c_array__")
        or hasattr(given, "read")
        or isinstance(given, bytes | bytearray | memoryview | pa.Buffer)
    )


def _batches(part: Any, name: str) -> list[Any]:
    try:
        table = pa.table(part)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise UnsupportedTypeError(f"{name}: it is not a table: {error}") from error
    try:
        arrow.validate(table)
    except InvalidInputError as error:
        raise StreamError(f"{name}: {error}") from error
    batches = table.to_batches(max_chunksize=_PIECE_ROWS)
    return batches or [_nothing(table.schema)]


def _nothing(schema: Any) -> Any:
    """A batch of no rows, past the check that refuses Arrow's own nulls of some nested types."""
    rows = pa.nulls(0, pa.struct(schema))
    return pa.RecordBatch.from_struct_array(rows).replace_schema_metadata(schema.metadata)


def _bytes(part: Any, name: str) -> Any:
    if not hasattr(part, "read"):
        return pa.py_buffer(part)
    content = part.getvalue() if isinstance(part, io.BytesIO) else part.read()
    if isinstance(content, str):
        raise UnsupportedTypeError(f"{name}: the file is open as text: open it in binary mode")
    return pa.py_buffer(content)
