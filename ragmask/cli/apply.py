"""`ragmask apply`: a data set through a saved model, batch by batch, into a Parquet file."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.markup import escape

from ragmask.cli.progress import progress_bar
from ragmask.errors import InvalidInputError
from ragmask.layers.model import Model
from ragmask.layers.saving import load_model
from ragmask.streaming.ahead import run_ahead
from ragmask.streaming.batch import Batch
from ragmask.streaming.sink import write_parquet
from ragmask.streaming.stream import stream


def run(
    model_path: str,
    source: Sequence[str],
    target: str,
    inputs: Sequence[str],
    keep: Sequence[str],
    rows: int,
    console: Console,
) -> None:
    """Read, compute, write; rows stay in the files' order."""
    model = load_model(model_path)
    columns = columns_of(model, inputs)
    keep = list(dict.fromkeys(keep))
    clash = [name for name in keep if name in model.output_names]
    if clash:
        raise InvalidInputError(
            f"column {clash[0]!r} cannot be kept: an output of the model bears that name"
        )
    wanted = list(dict.fromkeys([*(name.partition(".")[0] for name in columns.values()), *keep]))
    there = stream(list(source)).schema.names
    for name in wanted:
        if name not in there:
            needs = [entry for entry, column in columns.items() if column == name]
            why = f", which is the model's input {needs[0]!r}" if needs else ""
            raise InvalidInputError(
                f"there is no column {name!r}{why}; there are {', '.join(there)}: "
                "say which with --input INPUT=COLUMN"
            )
    batches = stream(list(source), wanted).batch(rows=rows)
    with progress_bar() as progress:
        task = progress.add_task("rows", total=batches.num_rows)
        tables = applied(batches, table_of(model, columns, keep))

        def counted() -> Iterator[Any]:
            for table in tables:
                progress.advance(task, len(table))
                yield table

        written = write_parquet(counted(), target)
    size = os.path.getsize(target)  # noqa: PTH202
    names = ", ".join([*keep, *model.output_names])
    console.print(f"{written:,} rows to {escape(target)}: {escape(names)} ({size / 1e6:,.1f} MB)")


def applied(batches: Any, compute: Callable[[Batch], Any]) -> Iterator[Any]:
    """Tables, computed on another thread while those before them are written."""
    computing = run_ahead(lambda part: [compute(batch) for batch in part], _one_by_one(batches), 1)
    for tables in computing:
        yield from tables


def _one_by_one(batches: Any) -> Iterator[list[Batch]]:
    for batch in batches:
        yield [batch]


def columns_of(model: Model, given: Sequence[str]) -> dict[str, str]:
    """{input: column}: its own name, or what `--input input=column` says."""
    names = model._entry_names()
    columns = {name: name for name in names}
    for text in given:
        name, equals, column = text.partition("=")
        if not equals or not column:
            raise InvalidInputError(f"--input is INPUT=COLUMN; got {text!r}")
        if name not in columns:
            raise InvalidInputError(
                f"the model has no input {name!r}; it has {', '.join(map(repr, names))}"
            )
        columns[name] = column
    return columns


def table_of(
    model: Model, columns: Mapping[str, str], keep: Sequence[str]
) -> Callable[[Batch], Any]:
    """A function from a batch to the table that is written of it."""

    def compute(batch: Batch) -> Any:
        inputs = {name: _encoded(model, name, batch[column]) for name, column in columns.items()}
        outputs = model(inputs)
        if isinstance(outputs, dict):
            outputs = list(outputs.values())
        elif not isinstance(outputs, list | tuple):
            outputs = [outputs]
        made = {name: batch[name] for name in keep}
        named = dict(zip(model.output_names, map(_column, outputs), strict=True))
        return Batch({**made, **named}).to_arrow()

    return compute


def _encoded(model: Model, name: str, column: Any) -> Any:
    """A column of strings as the ids of the input's vocabulary."""
    if not isinstance(column, pa.Array | pa.ChunkedArray):
        return column
    if name not in model.vocabularies:
        raise InvalidInputError(
            f"input {name!r} is a column of {column.type}, and the model was saved without a "
            "vocabulary for it: model.save(path, vocabulary=…)"
        )
    return model.vocabularies[name].encode(column)


def _column(output: Any) -> Any:
    """Vectors, one a row, as lists of one size; anything else as a Batch takes it."""
    if not isinstance(output, np.ndarray) or output.ndim < 2:
        return output
    lists: Any = pa.array(np.ascontiguousarray(output).reshape(-1))
    for size in reversed(output.shape[1:]):
        lists = pa.FixedSizeListArray.from_arrays(lists, size)
    return lists
