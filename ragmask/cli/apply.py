"""`ragmask apply`: a data set through a saved model, batch by batch, into a Parquet file."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.markup import escape

from ragmask.batches.ragged import Ragged
from ragmask.cli.progress import progress_bar
from ragmask.errors import InvalidInputError, RagmaskError
from ragmask.layers.graph import symbols_in
from ragmask.layers.model import Model, load_model
from ragmask.streaming.batch import Batch, derived
from ragmask.streaming.open import stream
from ragmask.streaming.sink import write_parquet


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
    keep = list(dict.fromkeys(keep))
    _check_names(model, keep)
    data = stream(list(source))
    _check_target(data._source.paths, target)
    there = data.schema.names
    columns = columns_of(model, inputs)
    wanted = list(dict.fromkeys([*(_top(name, there) for name in columns.values()), *keep]))
    for name in wanted:
        if name not in there:
            needs = [entry for entry, column in columns.items() if _top(column, there) == name]
            why = f", which is the model's input {needs[0]!r}" if needs else ""
            hint = ": say which with --input INPUT=COLUMN" if needs else ""
            raise InvalidInputError(
                f"there is no column {name!r}{why}; there are {', '.join(there)}{hint}"
            )
    batches = stream(list(source), wanted).batch(rows=rows)
    with progress_bar() as progress:
        task = progress.add_task("rows", total=batches.num_rows)
        compute = table_of(model, columns, keep)

        # no thread of its own: the stream decodes ahead, and the model's loops take all cores
        def tables() -> Iterator[Any]:
            for batch in batches:
                yield compute(batch)
                progress.advance(task, batch.num_rows)

        written = write_parquet(tables(), target, empty=lambda: compute(batches.empty_batch()))
    size = Path(target).stat().st_size
    names = ", ".join([*keep, *model.output_names])
    console.print(f"{written:,} rows to {escape(target)}: {escape(names)} ({size / 1e6:,.1f} MB)")


def _check_names(model: Model, keep: Sequence[str]) -> None:
    """Raise where two columns of the output would bear one name."""
    names = model.output_names
    for name in keep:
        if name in names:
            raise InvalidInputError(
                f"column {name!r} cannot be kept: an output of the model has that name"
            )
    for name in names:
        if names.count(name) > 1:
            raise InvalidInputError(f"{names.count(name)} outputs of the model are named {name!r}")


def _check_target(paths: Sequence[str], target: str) -> None:
    """Raise where the output would take the place of what is read."""
    there = False
    with suppress(OSError):  # of a name that cannot be: it is refused once it is to be written
        there = Path(target).exists()
    for path in map(Path, paths):
        if there and path.exists() and path.samefile(target):
            raise InvalidInputError(f"{target} is the file being read: write to another one")


def _top(name: str, there: Sequence[str]) -> str:
    """The column of the file that holds a column or a field of its structs."""
    return name if name in there else name.partition(".")[0]


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
    entries = [symbol.shape for symbol in symbols_in(model.inputs)]
    shapes = dict(zip(model._entry_names(), entries, strict=True))

    def compute(batch: Batch) -> Any:
        inputs = {
            name: _input(model, name, shapes[name], batch, column)
            for name, column in columns.items()
        }
        outputs = model(inputs)
        if isinstance(outputs, dict):
            outputs = list(outputs.values())
        elif not isinstance(outputs, list | tuple):
            outputs = [outputs]
        made = {name: batch[name] for name in keep}
        named = dict(zip(model.output_names, map(_column, outputs), strict=True))
        return derived({**made, **named}, batch).to_arrow()

    def compute_or_say_where(batch: Batch) -> Any:
        try:
            return compute(batch)
        except RagmaskError as error:
            rows = batch.row_ids
            if rows is None or not rows.size:
                raise
            error.add_note(f"in rows {rows[0]:,}–{rows[-1]:,} of the data set")
            raise

    return compute_or_say_where


def _input(model: Model, name: str, shape: tuple[Any, ...], batch: Batch, column: str) -> Any:
    """A column as the model takes it.

    Strings become ids, lists vectors where the input has no time, and numbers steps of one
    where its steps are.
    """
    try:
        given = batch[column]
    except KeyError as error:
        raise InvalidInputError(f"input {name!r}: {error.args[0]}") from error
    if isinstance(given, dict):
        fields = ", ".join(f"{column}.{field}" for field in given)
        raise InvalidInputError(
            f"input {name!r}: column {column!r} has fields; say which: {fields}"
        )
    if isinstance(given, pa.Array | pa.ChunkedArray):
        if name not in model.vocabularies:
            raise InvalidInputError(
                f"input {name!r}: column {column!r} is of {given.type}; a model takes numbers, "
                "lists of them, and strings where it was saved with a vocabulary: "
                "model.save(path, vocabulary=…)"
            )
        given = model.vocabularies[name].encode(given)
    if isinstance(given, np.ma.MaskedArray):
        raise InvalidInputError(f"input {name!r}: column {column!r} has nulls")
    wanted = shape[1:]
    if wanted == (None, 1) and isinstance(given, Ragged) and given.item_shape == ():
        return Ragged._of(given._rows.over(given._rows.values[:, None]))
    return given if wanted[:1] in ((), (None,)) else _vectors(given, wanted, name, column)


def _vectors(given: Any, wanted: tuple[int, ...], name: str, column: str) -> Any:
    """Lists of one size as an array (rows, features)."""
    if isinstance(given, Ragged):
        fits = given.item_shape == wanted[1:] and bool(np.all(given.lengths == wanted[0]))
        fits = fits and given.mask is None
    else:
        fits = given.shape[1:] == wanted
    if not fits:
        shape = ", ".join(map(str, wanted))
        raise InvalidInputError(
            f"input {name!r}: column {column!r} has rows that are not {shape} numbers"
        )
    return given.compact().values.reshape(-1, *wanted) if isinstance(given, Ragged) else given


def _column(output: Any) -> Any:
    """Vectors, one a row, as lists of one size; anything else as a Batch takes it."""
    if not isinstance(output, np.ndarray) or output.ndim < 2:
        return output
    lists: Any = pa.array(np.ascontiguousarray(output).reshape(-1))
    for size in reversed(output.shape[1:]):
        lists = pa.FixedSizeListArray.from_arrays(lists, size)
    return lists
