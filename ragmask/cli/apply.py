"""`ragmask apply`: a data set through a saved model, batch by batch, into Parquet."""

from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.markup import escape

from ragmask.cli.progress import progress_bar
from ragmask.cli.targets import check_target
from ragmask.errors import InvalidInputError
from ragmask.streaming.open import stream
from ragmask.streaming.sink import write_parquet
from ragmask.streaming.stream import Stream
from ragmask.tables import TableModel

Engine = Literal["local", "ray", "spark"]


def run(
    model_path: str,
    source: Sequence[str],
    target: str,
    inputs: Sequence[str],
    keep: Sequence[str],
    rows: int,
    engine: Engine,
    workers: int | None,
    console: Console,
) -> None:
    """Read, compute, write; rows stay in the files' order.

    What does not fit is told here, before an engine starts.
    """
    if workers is not None and engine == "local":
        raise InvalidInputError("--workers is for --engine ray or spark: local is this process")
    model = TableModel(model_path, keep, _pairs(inputs))
    data = stream(list(source))
    check_target(data.paths, target)
    batches = stream(list(source), model.columns(data.schema.names)).batch(rows=rows)
    model.check(batches.schema)
    with progress_bar() as progress:
        task = progress.add_task("rows", total=batches.num_rows)

        def advance(rows: int) -> None:
            progress.update(task, completed=rows)

        if engine == "local":
            written = _apply(model, batches, target, advance)
        else:
            apply_stream = _apply_stream_of(engine)
            written = apply_stream(model, batches, target, workers=workers, progress=advance)
    names = ", ".join(model.output_names)
    size = _size(Path(target)) / 1e6
    console.print(f"{written:,} rows to {escape(target)}: {escape(names)} ({size:,.1f} MB)")


def _apply(model: TableModel, batches: Stream, target: str, advance: Callable[[int], None]) -> int:
    # no thread of its own: the stream decodes ahead, and the model's loops take all cores
    def tables() -> Iterator[Any]:
        rows = 0
        for batch in batches:
            yield model(batch)
            advance(rows := rows + batch.num_rows)

    return write_parquet(tables(), target, empty=lambda: model(batches.empty_batch()))


def _apply_stream_of(engine: str) -> Any:
    """The engine's `apply_stream(model, stream, target, *, workers, progress) -> rows`."""
    return import_module(f"ragmask.interop.{engine}").apply_stream


def _size(path: Path) -> int:
    """Of a file, or of the parts in a folder."""
    files = path.iterdir() if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files)


def _pairs(given: Sequence[str]) -> dict[str, str]:
    """{input: column} of `--input input=column`."""
    pairs = {}
    for text in given:
        name, equals, column = text.partition("=")
        if not equals or not column:
            raise InvalidInputError(f"--input is INPUT=COLUMN; got {text!r}")
        pairs[name] = column
    return pairs
