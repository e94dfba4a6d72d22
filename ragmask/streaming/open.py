"""`rm.stream`: a data set opened as a Stream."""

import os
from collections.abc import Iterable
from typing import Any

from ragmask.arrow import Nulls
from ragmask.streaming.cache import DEFAULT_BYTES, Cache
from ragmask.streaming.files import Paths
from ragmask.streaming.formats import Options
from ragmask.streaming.progress import Show, check_progress
from ragmask.streaming.retry import Retry
from ragmask.streaming.settings import Settings
from ragmask.streaming.source import Items, Missing, Source
from ragmask.streaming.stream import Stream


def stream(
    paths: Paths,
    columns: Iterable[str] | None = None,
    *,
    filter: Any = None,
    filesystem: Any = None,
    nulls: Nulls = "empty",
    memory_map: bool = True,
    items: Items = None,
    missing: Missing = "error",
    verify: bool = False,
    decryption_properties: Any = None,
    retries: int = 4,
    timeout: float = 60.0,
    cache: str | os.PathLike[str] | None = None,
    cache_bytes: int | None = DEFAULT_BYTES,
    progress: Show = False,
) -> Stream:
    """Stream ragged data from Parquet or Arrow IPC files, or from a table in memory.

    >>> import ragmask as rm
    >>> from ragmask.data import JAPANESE_VOWELS
    >>> s = rm.stream(JAPANESE_VOWELS, columns=["frames", "speaker"]).batch(rows=256)
    >>> for batch in s:
    ...     print(batch["frames"].n_steps, batch["frames"].to_padded().shape)
    4091 (256, 26, 12)
    3964 (256, 29, 12)
    1906 (128, 25, 12)

    Parameters
    ----------
    paths : a file, a folder (searched through, in sorted order), a glob, a URI such as
        "s3://bucket/folder", or several of them. A file's first bytes tell its format: Parquet,
        an Arrow IPC file, or an Arrow IPC stream, as Hugging Face's save_to_disk writes it.
        Folders named `key=value` below a folder or glob become columns. Also what is in memory:
        anything with `__arrow_c_stream__` (tables of pyarrow, polars, pandas, DuckDB), bytes, and
        files open in binary mode (read whole, unless they lie on a disk). And a Dataset of Hugging
        Face's, over the files it maps and in the order that select, shuffle or filter gave it; a
        format that is set on it is not looked at.
    columns : names of those to read; by default all. `"answers.start"` is a field of structs, or
        of lists of them, at any depth; nothing else of its column is read.
    filter : keep only rows for which it is true: a pyarrow.compute expression, or tuples as
        `[("label", "==", 3)]`. Row groups whose statistics rule them out are not read.
    filesystem : a pyarrow.fs or fsspec file system that the paths are on.
    nulls : "empty" reads a null list as an empty row, "error" raises and names it. A column of
        any kind of lists is looked at.
    items : of lists of lists of one size, {column: size}, or "vectors" to find it for all such
        columns: their inner lists are read as steps of so many features, (n, size).
    missing : "null" reads a column that a file lacks as nulls, "error" names the file.
    verify : check the checksums of Parquet's pages, where the writer put them in: pyarrow does
        with `write_page_checksum=True`, parquet-mr (Spark) by default. Without, a damaged page
        may decode to other values in silence.
    decryption_properties : of pyarrow.parquet.encryption, for encrypted Parquet files.
    memory_map : map uncompressed Arrow IPC files, whose batches are then views of the file.
        Who cuts a file short under a map kills the process that reads it; False avoids it.
        Parquet files are never mapped.
    retries, timeout : for files that are not local: how often a failed read is tried again,
        after 0.1, 0.2, 0.4, … seconds, and after how many seconds one counts as failed.
    cache : a folder on a disk nearby, for files that are not local: decoded row groups are kept in
        it, the wanted columns alone, and later epochs, streams and processes read them there. Files
        are told apart by path, size and time of change, as they were when the stream was opened; a
        file system that tells no time of change, or version, is not kept.
    cache_bytes : what the folder holds at most, about; those that were not used for longest go.
        By default 32 GiB; None is without bound.
    progress : True shows how far each loop has come: a bar of tqdm or else rich, over the epoch's
        rows, on rank 0. Or a function, called after each batch, on every rank, with a named tuple
        `(rows, total, batches, epoch)`. With a filter, rows count as they are read.

    Returns a Stream. Raises StreamError, naming the file and the column, for a path that is
    not there, an empty folder, an unreadable file or a missing column; InvalidInputError for
    a filter that does not fit the columns.

    Files may differ in how they keep a column, as long as one type holds the values of all
    without loss: list or large list, int32 or int64, dictionaries or plain, nulls alone.
    """
    settings = Settings(progress=check_progress(progress))
    source = Source.open(
        paths,
        columns,
        nulls,
        Options(bool(memory_map), bool(verify), decryption_properties),
        filter=filter,
        filesystem=filesystem,
        retry=Retry(retries, timeout),
        missing=missing,
        items=items,
        cache=Cache.of(cache, cache_bytes),
    )
    return Stream(source, settings)
