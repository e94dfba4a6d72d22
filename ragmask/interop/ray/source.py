"""Data sets as ray.data.Datasets: a read task a window, planned from footers alone."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import ray
import ray.data
from ray.data import Datasource, ReadTask
from ray.data.block import BlockMetadata

import ragmask
from ragmask.arrow import Nulls
from ragmask.errors import UnsupportedTypeError
from ragmask.interop.ray.workers import check_version, cpus
from ragmask.rows.checks import check_count
from ragmask.streaming.batch import read_batch
from ragmask.streaming.files import Paths
from ragmask.streaming.formats import Options, open_parquet
from ragmask.streaming.groups import Group
from ragmask.streaming.plan import Order, Span, Window
from ragmask.streaming.reader import Decoded, Reader
from ragmask.streaming.retry import Retry
from ragmask.streaming.settings import WINDOW_ROWS
from ragmask.streaming.source import Items, Missing, Source

_TASKS_A_CPU = 2
_LEAST_ROWS = 1_000
_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "FLOAT": 4, "DOUBLE": 8}  # in memory, about


def read(
    paths: Paths,
    columns: Iterable[str] | None = None,
    *,
    filter: Any = None,
    filesystem: Any = None,
    nulls: Nulls = "empty",
    items: Items = None,
    missing: Missing = "error",
    verify: bool = False,
    decryption_properties: Any = None,
    retries: int = 4,
    timeout: float = 60.0,
    window_rows: int | None = None,
    concurrency: int | None = None,
) -> ray.data.Dataset:
    """Ragged data from Parquet or Arrow IPC files as a ray.data.Dataset, in file order.

        dataset = read("s3://bucket/folder", ["tokens", "label"], filter=[("label", "==", 3)])
        for batch in dataset.iter_torch_batches(collate_fn=Collate(to="torch")):
            ...

    Footers are read here, and decide what each task reads: a window of whole row groups, which its
    worker opens for itself. Nothing else is read of the files but the wanted columns of row groups
    that the filter does not rule out. A task's block is a pyarrow Table: lists stay Arrow's lists,
    and every column has the type that it has in the files.

    paths, columns, filter, filesystem, nulls, missing, verify, decryption_properties, retries,
        timeout : as for `ragmask.stream`. Files must lie where all workers see them.
    items : as for `ragmask.stream`; lists of lists become lists of fixed-size lists, which are
        vectors to `Collate` and `Apply`. "vectors" looks at the data for the sizes, here.
    window_rows : a task reads as many whole row groups as make up so many rows, but at least one.
        By default as many as give each CPU of the cluster two windows, and at most 100,000.
    concurrency : the most tasks that read at a time.

    The dataset keeps its order (`dataset.context.execution_options.preserve_order`). Raises
    StreamError, naming the file and the column, for what is wrong with paths and footers. What
    turns out only when a task reads is the cause of Ray's error.
    """
    source = Source.open(
        paths,
        columns,
        nulls,
        Options(verify=bool(verify), decryption=decryption_properties),
        filter=filter,
        filesystem=filesystem,
        retry=Retry(retries, timeout),
        missing=missing,
        items=items,
    )
    if source.storage.filesystem is None:
        raise UnsupportedTypeError(
            "read takes paths, which workers open for themselves: ray.data.from_arrow(table) "
            "takes what is in memory"
        )
    source = source.anchored()
    if window_rows is None:
        # as ray.data would; some windows a CPU, for they differ in what they cost
        if not ray.is_initialized():
            ray.init()
        tasks = _TASKS_A_CPU * cpus()
        window_rows = min(WINDOW_ROWS, max(_LEAST_ROWS, -(-source.num_rows // tasks)))
    windows = _Windows(source, check_count("window_rows", window_rows, 1))
    dataset: ray.data.Dataset = ray.data.read_datasource(
        windows,
        # as many as there are: Ray would cut blocks in two, and then join no task with these
        override_num_blocks=len(windows.get_read_tasks(1)),
        concurrency=concurrency,
    )
    dataset.context.execution_options.preserve_order = True
    return dataset


class _Windows(Datasource):
    """The windows of a source."""

    def __init__(self, source: Source, window_rows: int) -> None:
        super().__init__()
        self._source = source
        self._order = Order([group.rows for group in source.groups], None, source.pieces)
        # a data set of no rows is one window, by which its columns are known
        windows = self._order.windows(0, self._order.rows, window_rows)
        self._windows = windows or [Window(0, 0)]
        self._schema = _table(source, Reader(source).empty()).schema
        self._in_memory = _in_memory(source)

    def get_name(self) -> str:
        return "Ragmask"

    def estimate_inmemory_data_size(self) -> int:
        return sum(map(self._bytes, self._source.groups))

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None
    ) -> list[ReadTask]:
        limit = {} if per_task_row_limit is None else {"per_task_row_limit": per_task_row_limit}
        return [self._task(window, limit) for window in self._windows]

    def _task(self, window: Window, limit: dict[str, Any]) -> ReadTask:
        source = self._source
        groups = [source.groups[span.group] for span in self._order.spans(window)]
        metadata = BlockMetadata(
            num_rows=window.rows if source.filter is None else None,
            size_bytes=sum(map(self._bytes, groups)),
            input_files=tuple(dict.fromkeys(group.file.path for group in groups)),
            exec_stats=None,
        )
        read = partial(_read, ragmask.__version__, _of_groups(source, groups))
        read.__name__ = "read"  # type: ignore[attr-defined]  # Ray's warnings tell it
        return ReadTask(read, metadata, self._schema, **limit)

    def _bytes(self, group: Group) -> int:
        """What it takes in memory, about: by the size of its file, and the first one's footer."""
        share = group.rows / max(1, sum(group.file.group_rows))
        return int(group.file.stamp.size * self._in_memory * share)


def _of_groups(source: Source, groups: Sequence[Group]) -> Source:
    """The source of some row groups alone, in the types of all of them, and small to send."""
    paths = {group.file.path for group in groups}
    made = replace(source, found=tuple(one for one in source.found if one.path in paths))
    made.widths.update(source.widths)
    made.__dict__.update(
        full_schema=source.full_schema, key_schema=source.key_schema, groups=tuple(groups)
    )
    return made


def _read(version: str, source: Source) -> Iterator[Any]:
    """In a worker: the rows of a window as a table."""
    check_version(version)
    reader = Reader(source)
    spans = [Span(number, 0, group.rows) for number, group in enumerate(source.groups)]
    yield _table(source, reader.read(spans) if spans else reader.empty())


def _table(source: Source, decoded: Decoded) -> Any:
    """Columns in the types of the files; vectors, which are none there, as they were found."""
    fields = {one.name: one for one in source.schema if one.name not in source.widths}
    for name in source.items if isinstance(source.items, dict) else ():
        fields.pop(name, None)
    return read_batch(decoded.columns, fields, source.schema.metadata).to_arrow()


def _in_memory(source: Source) -> float:
    """How many bytes in memory a byte of a file becomes, by the footer of the first one."""
    first = source.first
    if first.format != "parquet":
        return 1.0
    storage = source.storage.here()

    def read() -> float:
        place = first.path if storage.on_disk else storage.open(first.path)
        opened = open_parquet(place, source.options)
        wanted = opened.physical(
            [one for one in source.in_files(source.columns) if one.top in first.schema.names]
        )
        return _bytes_of(opened.metadata, wanted) / max(1, first.stamp.size)

    return read() if storage.is_local else source.retry.run(read, first.path)


def _bytes_of(metadata: Any, wanted: Sequence[str]) -> int:
    """What the columns of a Parquet file take in memory, about."""
    total = 0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        chunks = map(group.column, range(group.num_columns))
        for chunk in chunks:
            path = chunk.path_in_schema
            if any(path == name or path.startswith(f"{name}.") for name in wanted):
                values = chunk.num_values * _WIDTHS.get(chunk.physical_type, 0)
                total += max(values, chunk.total_uncompressed_size) + 4 * group.num_rows
    return total
