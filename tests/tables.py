"""Small tables, in files and out of them."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.streams import plain


def table_of(numbers):
    ids = [[number] * (number % 4) for number in numbers]
    return pa.table({"number": numbers, "ids": pa.array(ids, pa.list_(pa.int64()))})


def write(path, table, group_rows=3):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".arrow":
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=group_rows)
    else:
        pq.write_table(table, path, row_group_size=group_rows)
    return path


def column(stream, name="number"):
    """A column of the whole stream, as a list."""
    return [value for batch in stream.batch(4) for value in plain(batch[name])]
