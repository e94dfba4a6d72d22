"""Tables as files of each kind."""

import pyarrow as pa
import pyarrow.parquet as pq


def write(path, table, kind="file", rows=None):
    if kind == "parquet":
        pq.write_table(table, path, row_group_size=rows)
        return path
    opened = pa.ipc.new_stream if kind == "stream" else pa.ipc.new_file
    with pa.OSFile(str(path), "wb") as file, opened(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=rows)
    return path
