"""ragmask beside what people use today, as Markdown tables.

    python asv_benchmarks/compare.py [TOPIC …] [--only WORD …]

Topics: padding, stream, startup, recurrent, ops, steps, layers, overhead, train, pipelines,
tokenize, mixing.
`--only lstm` measures the rows that have the word in their first cell or in their table's name.
Clusters have scripts of their own: compare_ray.py and compare_spark.py.

Calls are interleaved and the least time of several rounds counts. Each peer runs its fastest
documented path, with its own defaults for threads; the ops run on two threads each.
`pip install "ragmask[peers]"` brings the peers.
"""

import argparse
import inspect
import platform
import sys
import tempfile
from functools import partial
from importlib import metadata
from itertools import islice
from pathlib import Path

import compare_layers
import compare_mixing
import compare_ops
import compare_overhead
import compare_pipelines
import compare_recurrent
import compare_steps
import compare_tokenize
import compare_train
import numpy as np
import pyarrow.parquet as pq
from benchmarks.common import (
    IMPORT,
    IMPORT_ALL,
    IMPORT_PEERS,
    bucketed,
    compile_all_seconds,
    fastest,
    fastest_start,
    first_batch_seconds,
    first_lstm_seconds,
    import_seconds,
    padding_buffers,
    parquet_file,
    ragged,
    read_bucketed,
    read_padded,
    read_shuffled,
    read_stream,
    resume_and_decode,
    sgemms,
    state_in_the_middle,
    streaming_peak_bytes,
)
from machine import busy, processor
from tables import Row, against, choose, installed, rows_of, show_memory, show_rate, wanted

import ragmask as rm

PACKAGES = (
    "ragmask",
    "numpy",
    "numba",
    "pyarrow",
    "keras",
    "torch",
    "jax",
    "onnxruntime",
    "awkward",
    "datasets",
    "grain",
    "tokenizers",
)


# -- padding ------------------------------------------------------------------------------


def padding():
    """4,096 log-normal rows of int32 (median 40, at most 512 steps)."""
    batch = ragged(4_096)
    arrays = batch.to_rows()
    lists = [row.tolist() for row in arrays]
    shape = (len(batch), batch.max_length)

    def numpy_mask():
        out = np.zeros(shape, np.int32)
        keep = np.arange(shape[1]) < batch.lengths[:, None]
        out[keep] = batch.values
        return out, keep

    keras = installed("keras", KERAS_BACKEND="jax" if installed("jax") else "torch")
    keras_pad = keras and keras.utils.pad_sequences
    row = partial(against, "to_padded, fresh arrays", batch.to_padded)
    yield row("Keras pad_sequences, arrays", keras and partial(keras_pad, arrays), target=8)
    yield row("NumPy, assigning through a mask", numpy_mask, target=2)
    yield from padding_in_torch(row, batch, arrays)
    for name, rows in (("arrays", arrays), ("Python lists", lists)):
        yield against(
            f"pad_sequences, {name}",
            partial(rm.pad_sequences, rows),
            f"Keras pad_sequences, {name}",
            keras and partial(keras_pad, rows),
        )

    large = ragged(100_000)
    out = padding_buffers(len(large), large.max_length)

    def fill():
        for array in out:
            array.fill(0)

    yield against(
        f"to_padded, reused {sum(array.nbytes for array in out) / 1e6:.0f} MB",
        partial(large.to_padded, out=out),
        "NumPy, filling the same bytes",
        fill,
        of="time",
        target=1.6,
    )


def padding_in_torch(row, batch, arrays):
    torch = installed("torch")
    if not torch:
        yield row("torch pad_sequence", None)
        return
    tensors = [torch.tensor(array) for array in arrays]
    pad = torch.nn.utils.rnn.pad_sequence
    yield row("torch pad_sequence, tensors", partial(pad, tensors, batch_first=True))
    nested = torch.nested.nested_tensor(tensors, layout=torch.jagged)
    yield row(
        "torch nested (jagged) to_padded_tensor",
        partial(nested.to_padded_tensor, 0, output_size=(len(batch), batch.max_length)),
    )


# -- stream -------------------------------------------------------------------------------


def stream(rows=400_000):
    """A Parquet file of 400,000 such rows, list<int32> and a label, in row groups of 20,000."""
    with tempfile.TemporaryDirectory() as folder:
        path = parquet_file(rows, folder)
        out = padding_buffers()
        rate = partial(show_rate, rows)
        row = partial(
            against,
            peer="pyarrow read_table",
            run_peer=partial(pq.read_table, path),
            show=rate,
        )
        yield row("batches of 1,024, Ragged", partial(read_stream, path), target=0.85)
        padded = partial(read_padded, path, out)
        yield row("batches of 1,024, padded, reused buffers", padded, target=0.6)
        shuffled = partial(read_shuffled, path, out)
        yield row("shuffled, batches of 1,024, padded", shuffled, target=0.6)
        what = "shuffled, bucketed to 16,384 padded steps ({:.1%} real steps), padded"
        if wanted(what):
            report = bucketed(path).measure_padding()
            what = what.format(report.real / report.padded)
            yield row(what, partial(read_bucketed, path, out), target=0.5)
        what = "resuming a shuffled stream, to its first batch"
        if wanted(what):
            ours, theirs = resume_and_decode(path, state_in_the_middle(path))
            peer = "pyarrow, decoding one window of 100,000 rows"
            yield Row(what, ours, peer, theirs, of="time", target=2)
        yield from stream_of_huggingface(path, rows, padded, rate)

        what = f"peak memory of the padded stream, {4 * rows:,} rows"
        if wanted(what):
            yield Row(
                what,
                streaming_peak_bytes(parquet_file(4 * rows, folder)),
                f"ragmask, {rows:,} rows",
                streaming_peak_bytes(path),
                of="memory",
                target=1.15,
                show=show_memory,
            )


def stream_of_huggingface(path, rows, padded, rate, slow_rows=40_000):
    """Padded batches of 1,024 from `datasets`: row by row, and its quicker ways of batches."""
    what = "batches of 1,024, padded, reused buffers"
    if not wanted(what):
        return
    cache = tempfile.mkdtemp(dir=path.parent)
    torch = installed("torch")
    datasets = installed("datasets", HF_HUB_OFFLINE="1", HF_DATASETS_CACHE=cache)
    if not torch or not datasets:
        yield against(what, padded, "HuggingFace datasets, with torch", None, show=rate)
        return
    pad = partial(torch.nn.utils.rnn.pad_sequence, batch_first=True)
    loader = torch.utils.data.DataLoader

    def collate(steps):
        tokens = pad([torch.as_tensor(step["tokens"]) for step in steps])
        return tokens, torch.as_tensor([int(step["label"]) for step in steps])

    def collate_batch(batch):
        tokens = pad([torch.as_tensor(row) for row in batch["tokens"]])
        return tokens, torch.as_tensor(batch["label"])

    def collate_table(table):
        tokens = table["tokens"].combine_chunks()
        lengths = tokens.value_lengths().to_pylist()
        split = torch.tensor(tokens.flatten().to_numpy()).split(lengths)
        return pad(split), torch.tensor(table["label"].to_numpy())

    def open_as(kind):
        data = datasets.load_dataset("parquet", data_files=str(path), split="train", streaming=True)
        return data.with_format(kind) if kind else data

    def by_rows(kind):
        return loader(open_as(kind), batch_size=1024, collate_fn=collate)

    def by_batches(kind):
        return loader(open_as(kind).batch(1024), batch_size=None, collate_fn=collate_batch)

    def by_tables():
        return map(collate_table, open_as("arrow").iter(1024))

    def scaled(batches, of_rows):
        """Seconds of all rows, from those of the first few; and once more, the best of both."""
        count = of_rows // 1024
        run = lambda: sum(len(labels) for _, labels in islice(batches(), count))  # noqa: E731
        done = run()
        (seconds,) = fastest(run, rounds=1, seconds=0)
        return seconds * rows / done

    (ours,) = fastest(padded, rounds=3)
    kinds = {"Python": None, "NumPy": "numpy", "torch": "torch"}

    def best(make):
        return min((scaled(partial(make, kind), slow_rows), name) for name, kind in kinds.items())

    seconds, kind = best(by_rows)
    yield Row(
        what,
        ours,
        f"HuggingFace streaming, DataLoader(batch_size=1024), {kind} rows",
        seconds,
        target=40,
        show=rate,
    )
    seconds, kind = best(by_batches)
    peer = f"HuggingFace streaming, .batch(1024), {kind} batches"
    yield Row(what, ours, peer, seconds, show=rate)
    peer = "HuggingFace streaming, Arrow tables split by hand"
    yield Row(what, ours, peer, scaled(by_tables, rows), show=rate)


# -- startup ------------------------------------------------------------------------------


def startup():
    """New processes, with a warm disk and compile cache."""
    for what, statement, target in (
        (IMPORT, IMPORT, 1.25),
        (f"{IMPORT}, every name used", IMPORT_ALL, None),
    ):
        if wanted(what):
            ours, theirs = fastest_start(
                partial(import_seconds, statement), partial(import_seconds, IMPORT_PEERS)
            )
            yield Row(what, ours, IMPORT_PEERS, theirs, of="time", target=target)
    for what, start, target in (
        ("from `import numba` to a padded batch", first_batch_seconds, 1),
        ("from `import numba` to an LSTM's result", first_lstm_seconds, 2),
    ):
        if wanted(what):
            start()  # fills the compile cache
            (ours,) = fastest_start(start)
            yield Row(what, ours, "–", of="seconds", target=target)
    what = "compiling every kernel, an empty cache"
    if wanted(what):
        yield Row(what, compile_all_seconds(), "–", of="seconds", target=30)


# -- the tables ---------------------------------------------------------------------------

# a topic is one or several tables
TOPICS = {
    "padding": [padding],
    "stream": [stream],
    "startup": [startup],
    "recurrent": compare_recurrent.TABLES,
    "ops": compare_ops.TABLES,
    "steps": compare_steps.TABLES,
    "layers": compare_layers.TABLES,
    "overhead": compare_overhead.TABLES,
    "train": compare_train.TABLES,
    "pipelines": compare_pipelines.TABLES,
    "tokenize": compare_tokenize.TABLES,
    "mixing": compare_mixing.TABLES,
}


def machine():
    """The CPU, its family and rate, and the versions of everything that is compared."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0].partition(": ")[2] if names else cpu
    versions = []
    for package in PACKAGES:
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            versions.append(f"{package} –")
    products = [*sgemms()]
    times = fastest(*(run for _, run in products))
    rate = max(flops / time for (flops, _), time in zip(products, times, strict=True))
    return (
        f"{cpu} ({processor().name}; NumPy's sgemm reaches {rate / 1e9:.0f} Gflop/s), "
        f"{rm.get_num_threads()} cores, {platform.system()}, "
        f"Python {platform.python_version()}; {', '.join(versions)}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("topics", nargs="*", metavar="topic", choices=[*TOPICS, []])
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="rows with all these")
    chosen = parser.parse_args()
    choose(chosen.only)
    said = busy()
    print(machine(), flush=True)
    if said:
        print(f"\n**{said}**", flush=True)
        print(said, file=sys.stderr)
    for table in (table for topic in chosen.topics or TOPICS for table in TOPICS[topic]):
        print_table(table)


def print_table(table):
    """A table has a head only where one of its rows was chosen."""
    head = (
        f"\n### {table.__name__}\n\n{inspect.cleandoc(table.__doc__)}\n\n"
        "| what | ragmask | peer | its result | ratio | target |\n"
        "|---|---:|---|---:|---:|---:|"
    )
    for row in rows_of(table):
        if head:
            print(head)
            head = ""
        print(row, flush=True)


if __name__ == "__main__":
    sys.exit(main())
