"""The data that benchmarks and compare.py share, and how they measure."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import ragmask as rm
import ragmask.kernels.cpu  # loads Numba once, in the process that asv forks the others from

ROW_GROUP = 20_000
WIDTH = 512
_VOCABULARY = 50_000
_FOLDER = Path(__file__).parents[1]


def log_normal_lengths(rows, rng):
    """Like sentences or sessions: most are short, a few very long; 11 % of the padded array."""
    return np.minimum(WIDTH, np.ceil(rng.lognormal(np.log(40), 0.9, rows))).astype(np.int64)


def ragged(rows, dtype=np.int32, item_shape=(), seed=0):
    """A compact batch of log-normal rows."""
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(log_normal_lengths(rows, rng))])
    values = rng.integers(0, _VOCABULARY, (offsets[-1], *item_shape), np.int32).astype(dtype)
    return rm.Ragged.from_offsets(values, offsets)


def parquet_file(rows, folder="."):
    """A file of `tokens`, list<int32>, and `label`, int8; by default in the current folder.

    asv runs a benchmark in a folder that it deletes, and repeats `setup`: it is written once.
    Row group by row group, so that writing it needs less memory than streaming it.
    """
    path = Path(folder) / f"{rows}.parquet"
    if path.exists():
        return path
    schema = pa.schema({"tokens": pa.list_(pa.int32()), "label": pa.int8()})
    with pq.ParquetWriter(path, schema) as writer:
        for first in range(0, rows, ROW_GROUP):
            part = ragged(min(ROW_GROUP, rows - first), seed=first)
            labels = np.arange(len(part)).astype(np.int8)
            writer.write_table(pa.table([part.to_arrow(), labels], schema=schema), ROW_GROUP)
    return path


def fastest(*functions: Callable[[], object], rounds=7, seconds=0.3):
    """The least seconds of each function, in interleaved rounds, after one call to warm up.

    At least so many rounds, and more until so many seconds have gone by: whatever else the
    machine does then hits all of them alike.
    """
    for function in functions:
        function()
    best = [float("inf")] * len(functions)
    end = time.perf_counter() + seconds
    while rounds > 0 or time.perf_counter() < end:
        for position, function in enumerate(functions):
            best[position] = min(best[position], _fastest_of_a_turn(function))
        rounds -= 1
    return best


def _fastest_of_a_turn(function, seconds=0.01):
    """Several calls where they are short: the first finds the caches full of the others' data."""
    best, end = float("inf"), time.perf_counter() + seconds
    while True:
        begin = time.perf_counter()
        function()
        now = time.perf_counter()
        best = min(best, now - begin)
        if now > end:
            return best


def ratio(function, limit):
    """The time of `function`, in times of `limit`'s. asv takes a rise for a regression."""
    ours, theirs = fastest(function, limit)
    return ours / theirs


def python(code, *arguments):
    """The number that `code` prints in an interpreter of its own."""
    path = os.pathsep.join([str(_FOLDER), *filter(None, [os.environ.get("PYTHONPATH")])])
    process = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return float(process.stdout)


def peak_bytes():
    """The most memory that this process has had.

    Linux's ru_maxrss begins at that of the process it was started from; VmHWM does not.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


# -- streaming, as benchmarks and compare.py do it ----------------------------------------


def read_stream(path, rows=1024):
    """Every batch as a Ragged."""
    for batch in rm.stream(path).batch(rows=rows):
        _ = batch["tokens"].values, batch["label"]


def read_padded(path, out, rows=1024):
    """Every batch padded into the same buffers."""
    for batch in rm.stream(path).batch(rows=rows):
        _ = batch["tokens"].to_padded(out=out), batch["label"]


def padding_buffers(rows=1024, width=WIDTH, dtype=np.int32):
    """Flat (values, mask) for `to_padded(out=)`, their pages touched."""
    return np.ones(rows * width, dtype), np.ones(rows * width, np.bool_)


def streaming_peak_bytes(path):
    return python(
        "import sys\n"
        "from benchmarks.common import padding_buffers, peak_bytes, read_padded\n"
        "read_padded(sys.argv[1], padding_buffers())\n"
        "print(peak_bytes())",
        path,
    )


# -- starting up --------------------------------------------------------------------------


def import_seconds(statement):
    return python(
        f"import time\nbegin = time.perf_counter()\n{statement}\nprint(time.perf_counter() - begin)"
    )


def first_batch_seconds():
    """Until the first padded batch, once `import numba` is done. The first call fills the cache."""
    return python(
        "import numba, time\n"
        "begin = time.perf_counter()\n"
        "import ragmask as rm\n"
        "rm.Ragged.from_rows([[1, 2, 3], [4]]).to_padded()\n"
        "print(time.perf_counter() - begin)"
    )


IMPORT_PEERS = "import numpy, pyarrow"
IMPORT = "import ragmask"
IMPORT_ALL = "from ragmask import *"  # names load on first use: this uses them all


def fastest_start(*starts: Callable[[], float], rounds=5):
    """The least seconds that each of them reports, interleaved."""
    reported = [[start() for start in starts] for _ in range(rounds)]
    return [min(seconds) for seconds in zip(*reported, strict=True)]
