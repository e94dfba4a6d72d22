"""The data that benchmarks and compare.py share, and how they measure."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numba
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import ragmask as rm
import ragmask.kernels.cpu

# What is loaded on first use, in the process that asv forks the others from: once for all.
for name in dir(rm):
    getattr(rm, name)
numba.njit(lambda: None)()
if find_spec("numba_cuda") is not None:
    from numba import cuda  # no GPU is touched yet: a forked process could not use it

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


def ragged_of(lengths, item_shape=(), dtype=np.float32, seed=0):
    """A compact batch of rows of these lengths: normal numbers, or ids below the vocabulary."""
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    rng, shape = np.random.default_rng(seed), (offsets[-1], *item_shape)
    if np.issubdtype(dtype, np.integer):
        values = rng.integers(0, _VOCABULARY, shape, dtype)
    else:
        values = rng.standard_normal(shape, dtype)
    return rm.Ragged.from_offsets(values, offsets)


def log_normal_to(steps, seed=0):
    """Log-normal lengths of so many steps in all; the last row is cut to fit."""
    lengths = log_normal_lengths(steps // 40 + 64, np.random.default_rng(seed))
    ends = np.minimum(np.cumsum(lengths), steps)
    return np.diff(ends[: np.searchsorted(ends, steps) + 1], prepend=0)


def embedding_table(features=64):
    return np.random.default_rng(1).standard_normal((_VOCABULARY, features), np.float32)


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


def fastest(*functions: Callable[[], object], rounds=7, seconds=0.3, calls=1):
    """The least seconds of each function, in interleaved rounds, after one call to warm up.

    At least so many rounds, and more until so many seconds have gone by: whatever else the
    machine does then hits all of them alike. A turn has at least so many calls: where the one
    before leaves threads spinning, the first is not to be trusted.
    """
    for function in functions:
        function()
    best = [float("inf")] * len(functions)
    end = time.perf_counter() + seconds
    while rounds > 0 or time.perf_counter() < end:
        for position, function in enumerate(functions):
            best[position] = min(best[position], _fastest_of_a_turn(function, calls))
        rounds -= 1
    return best


def _fastest_of_a_turn(function, calls, seconds=0.01):
    """Several calls where they are short: the first finds the caches full of the others' data."""
    best, end = float("inf"), time.perf_counter() + seconds
    while True:
        begin = time.perf_counter()
        function()
        now = time.perf_counter()
        best, calls = min(best, now - begin), calls - 1
        if calls < 1 and now > end:
            return best


def ratio(function, limit):
    """The time of `function`, in times of `limit`'s. asv takes a rise for a regression."""
    ours, theirs = fastest(function, limit)
    return ours / theirs


def python(code, *arguments, **environment):
    """The number that `code` prints in an interpreter of its own."""
    path = os.pathsep.join([str(_FOLDER), *filter(None, [os.environ.get("PYTHONPATH")])])
    process = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": path, **environment},
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


# -- devices ------------------------------------------------------------------------------

DEVICES = ["cpu", "cuda"]


@cache
def has_gpu():
    """Whether there are numba-cuda, a driver and a GPU."""
    return find_spec("numba_cuda") is not None and cuda.is_available()


def require(device):
    """For `setup`: the error by which asv leaves a benchmark out."""
    if device == "cuda" and not has_gpu():
        raise NotImplementedError("needs numba-cuda, a CUDA driver and a GPU")


def moved(batch, device):
    """A batch, or an array, on that device."""
    if device == "cpu" or batch is None:
        return batch
    if isinstance(batch, np.ndarray):
        return cuda.to_device(batch)
    return batch.to_device()


def buffer(shape, dtype, device):
    """An array for `out=`, its pages touched."""
    return moved(np.ones(shape, dtype), device)


def finish(device):
    """Wait for the device: a call only hands work over to it."""
    if device == "cuda":
        cuda.synchronize()


def finished(function, device):
    """The same function, which waits for what it has begun."""

    def run():
        function()
        finish(device)

    return run


def copying(nbytes, device):
    """A function that copies so many bytes from one buffer to another, on that device."""
    source, out = (buffer(nbytes, np.uint8, device) for _ in range(2))
    if device == "cpu":
        return lambda: np.copyto(out, source)
    return finished(lambda: out.copy_to_device(source), device)


# -- ops ----------------------------------------------------------------------------------


def recurrent_weights(cell, features, units):
    """Of an "LSTM", a "GRU" or an "RNN"."""
    kind = getattr(rm, f"{cell}Weights")
    bound = units**-0.5  # as torch begins
    rng, columns = np.random.default_rng(2), kind.cell.gates * units
    bias = (2, columns) if kind.cell.apart else (columns,)
    shapes = (features, columns), (units, columns), bias
    return kind(*(rng.uniform(-bound, bound, size).astype("f4") for size in shapes))


def lstm_weights(features, units):
    return recurrent_weights("LSTM", features, units)


def recurrent_flops(batch, weights):
    """Of its matrix products, all that a peak rate of sgemm could bound."""
    depth, columns = weights.features + weights.units, weights.cell.gates * weights.units
    return 2 * depth * columns * batch.n_steps


SGEMM_SIZES = ((512, 512, 512), (1024, 1024, 1024), (4096, 192, 512), (2048, 384, 1024))


def sgemms(multiply=np.matmul, convert=lambda array: array, dtype=np.float32):
    """(flops, a product of two matrices, of float32 or float64) for a few sizes."""
    for rows, depth, columns in SGEMM_SIZES:
        left, right = np.ones((rows, depth), dtype), np.ones((depth, columns), dtype)
        left, right = convert(left), convert(right)
        yield 2 * rows * depth * columns, lambda a=left, b=right: multiply(a, b)


def sgemms_on(device):
    """By NumPy, or on a GPU by torch, in float32 proper. For `setup`, as `require` is."""
    if device == "cpu":
        return sgemms()
    if find_spec("torch") is None:
        raise NotImplementedError("needs torch, for its products on a GPU")
    torch = import_module("torch")
    torch.backends.cuda.matmul.allow_tf32 = False
    products = sgemms(torch.mm, lambda array: torch.tensor(array, device=device))
    return ((flops, finished(run, device)) for flops, run in products)


def with_sgemm(function, products):
    """Seconds of a function, and the best rate of products that take turns with it."""
    seconds, *others = fastest(function, *(run for _, run in products), calls=2)
    pairs = zip(products, others, strict=True)
    return seconds, max(flops / other for (flops, _), other in pairs)


def skewed_lengths(rows=1_000, short=20, longest=20_000):
    """One very long row among short ones."""
    return np.concatenate([np.random.default_rng(0).integers(1, short, rows), [longest]])


def op_memory(op, rows=1_000, longest=20_000):
    """Peak memory of "softmax" or "lstm" on a skewed batch, in bytes of its arrays."""
    return python(
        "import sys\n"
        "from benchmarks.common import skewed_op_memory\n"
        "print(skewed_op_memory(sys.argv[1], *map(int, sys.argv[2:])))",
        op,
        rows,
        longest,
    )


def skewed_op_memory(op, rows, longest):
    """To be run in a process of its own: it counts from what the process has at first."""
    run = {"softmax": rm.temporal_softmax, "lstm": lambda x: rm.lstm(x, weights).outputs}[op]
    weights = lstm_weights(64, 128)
    run(ragged_of([2, 1] * 2_000, (64,)))  # compiles, and starts the threads
    before = forget_peak()
    batch = ragged_of(skewed_lengths(rows, longest=longest), (64,))
    result = run(batch)
    return (peak_bytes() - before) / (batch.values.nbytes + result.values.nbytes)


def forget_peak():
    """The memory of this process now; `peak_bytes` counts from it on Linux."""
    forget = Path("/proc/self/clear_refs")
    if forget.exists():
        forget.write_text("5")
    return peak_bytes()


# -- streaming, as benchmarks and compare.py do it ----------------------------------------


def read_stream(path, rows=1024):
    """Every batch as a Ragged."""
    for batch in rm.stream(path).batch(rows=rows):
        _ = batch["tokens"].values, batch["label"]


def read_padded(path, out, rows=1024):
    """Every batch padded into the same buffers."""
    for batch in rm.stream(path).batch(rows=rows):
        _ = batch["tokens"].to_padded(out=out), batch["label"]


def read_shuffled(path, out, rows=1024):
    """Likewise, in an order of windows of 100,000 rows."""
    for batch in rm.stream(path).shuffle(seed=0).batch(rows=rows):
        _ = batch["tokens"].to_padded(out=out), batch["label"]


def bucketed(path, tokens=16_384):
    """Batches of so many padded steps, of rows of similar lengths, shuffled."""
    return rm.stream(path).shuffle(seed=0).batch(tokens=tokens, column="tokens")


def read_bucketed(path, out):
    for batch in bucketed(path):
        _ = batch["tokens"].to_padded(out=out), batch["label"]


def real_share(path):
    """The share of the bucketed batches' padded steps that is no padding."""
    report = bucketed(path).measure_padding()
    return report.real / report.padded


def pack_fill(path, length=512):
    """The share of packed sequences that is filled."""
    batches = rm.stream(path).shuffle(seed=0).pack(length, "tokens").batch(rows=64)
    rows, steps = zip(
        *((batch.num_rows, batch["tokens"].n_steps) for batch in batches), strict=True
    )
    return sum(steps) / (sum(rows) * length)


def state_in_the_middle(path):
    """Of a shuffled stream, half-way through an epoch."""
    stream = rm.stream(path).shuffle(seed=0).batch(rows=1024)
    states = [batch.state for batch in stream]
    return states[len(states) // 2]


def resume_and_decode(path, state, rounds=5):
    """Seconds from a new stream to its first batch after `state`; and of decoding one window."""
    pairs = [(_resume(path, state), _decode_window(path)) for _ in range(rounds)]
    return [min(seconds) for seconds in zip(*pairs, strict=True)]


def _resume(path, state):
    begin = time.perf_counter()
    stream = rm.stream(path).shuffle(seed=0).batch(rows=1024)
    stream.load_state_dict(state)
    batches = iter(stream)
    next(batches)
    seconds = time.perf_counter() - begin
    batches.close()  # waits for the windows that were begun ahead
    return seconds


def _decode_window(path, rows=100_000):
    """As much of the file as one window is, by pyarrow on one thread."""
    begin = time.perf_counter()
    file = pq.ParquetFile(path)
    groups = range(rows // file.metadata.row_group(0).num_rows)
    file.read_row_groups(list(groups), use_threads=False)
    return time.perf_counter() - begin


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


def first_lstm_seconds():
    """Until the first LSTM's result, likewise."""
    return python(
        "import numba, time\n"
        "import numpy as np\n"
        "begin = time.perf_counter()\n"
        "import ragmask as rm\n"
        "weights = rm.LSTMWeights(*(np.ones(size, 'f4') for size in ((2, 12), (3, 12), 12)))\n"
        "rm.lstm(rm.Ragged.from_rows([np.ones((3, 2), 'f4')]), weights)\n"
        "print(time.perf_counter() - begin)"
    )


def compile_all_seconds(dtypes=("float32", "float64")):
    """Every kernel for these dtypes, with and without a mask, and an empty cache."""
    with tempfile.TemporaryDirectory() as folder:
        return python(
            "import sys\n"
            "from benchmarks.common import call_all_seconds\n"
            "print(call_all_seconds(sys.argv[1:]))",
            *dtypes,
            NUMBA_CACHE_DIR=folder,
        )


def call_all_seconds(dtypes):
    """Each op once for each kernel that it can compile."""
    begin = time.perf_counter()
    for dtype in dtypes:
        weights = rm.LSTMWeights(*(np.ones(size, dtype) for size in ((2, 12), (3, 12), 12)))
        for mask in (None, np.array([True, True, False, True])):
            steps = rm.Ragged.from_offsets(np.ones((4, 2), dtype), [0, 3, 4], mask)
            ids = rm.Ragged.from_offsets(np.zeros(4, np.int64), [0, 3, 4], mask)
            rm.Ragged.from_padded(steps.to_padded())
            rm.embedding(ids, np.ones((1, 2), dtype))
            rm.masking(steps)
            rm.temporal_concat([steps, steps])
            rm.temporal_softmax(steps)
            rm.temporal_pool(steps)
            for outputs in (True, False):
                rm.lstm(steps, weights, outputs=outputs)
    return time.perf_counter() - begin


IMPORT_PEERS = "import numpy, pyarrow"
IMPORT = "import ragmask"
IMPORT_ALL = "from ragmask import *"  # names load on first use: this uses them all


def fastest_start(*starts: Callable[[], float], rounds=5):
    """The least seconds that each of them reports, interleaved."""
    reported = [[start() for start in starts] for _ in range(rounds)]
    return [min(seconds) for seconds in zip(*reported, strict=True)]
