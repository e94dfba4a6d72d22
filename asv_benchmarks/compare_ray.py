"""ragmask on Ray beside Ray's own batches, and beside its own op alone, as Markdown tables.

    python asv_benchmarks/compare_ray.py [--rows N]

Each call is a whole epoch, from files, on a cluster of this machine's CPUs; the least time of
several interleaved rounds counts. `pip install "ragmask[peers]"` brings the peers.
"""

import argparse
import logging
import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import ray
import ray.data
from benchmarks.common import fastest, parquet_file
from tables import Row, show_rate

import ragmask as rm
from ragmask.interop.ray import Apply, Collate, apply, apply_stream, iter_batches, read
from ragmask.layers import LSTM, Embedding, Input, Model
from ragmask.tables import TableModel

ROWS, MODEL_ROWS = 400_000, 200_000
BATCH = 1024


def batches(rows, folder):
    """Batches of 1,024 rows of tokens, list<int32>, log-normal lengths, and a label."""
    path = str(parquet_file(rows, folder))
    show = partial(show_rate, rows)

    def numpy():
        drain(ray.data.read_parquet(path).iter_batches(batch_format="numpy", batch_size=BATCH))

    def ours(to):
        dataset = read(path)
        drain(dataset.iter_torch_batches(batch_size=BATCH, collate_fn=Collate(to=to)))

    kinds = ("ragged", "padded", "torch")
    calls = {f'read, Collate(to="{to}")': partial(ours, to) for to in kinds}
    calls["read, iter_batches of 16,384 padded steps"] = lambda: drain(
        iter_batches(read(path), 16_384, "tokens", seed=0)
    )
    *seconds, theirs = fastest(*calls.values(), numpy, rounds=2, seconds=0)
    for what, own in zip(calls, seconds, strict=True):
        yield Row(what, own, "Ray's NumPy batches", theirs, target=5, show=show)


def models(rows, folder):
    """Embedding and LSTM, 32 × 64, of the same data: a pipeline from Parquet to blocks, or to
    Parquet, beside the model alone on batches in memory, by all threads of one process."""
    table = pq.read_table(parquet_file(rows, folder))
    path, out = Path(folder) / "few.parquet", Path(folder) / "out"
    pq.write_table(table, path, row_group_size=20_000)
    tokens = Input((None,), dtype="int32", name="tokens")
    model = Model(tokens, {"state": LSTM(64)(Embedding(50_000, 32)(tokens))})
    model.save(Path(folder) / "model")
    table_model = TableModel(model, ["label"])
    stream = rm.stream(path).batch(rows=BATCH)
    ready = list(stream)

    def alone():
        for batch in ready:
            table_model(batch)

    def tasks():
        drain(blocks(apply(read(path), model, ["label"])))

    def actors():
        given = [str(Path(folder) / "model"), ["label"]]
        cpus = int(ray.cluster_resources()["CPU"])
        options = {"batch_format": "pyarrow", "concurrency": cpus}
        drain(blocks(read(path).map_batches(Apply, fn_constructor_args=given, **options)))

    def folder_of_parts():
        shutil.rmtree(out, ignore_errors=True)
        apply_stream(table_model, stream, out)

    calls = {"apply, in tasks": tasks, "Apply, in actors": actors, "apply_stream": folder_of_parts}
    *seconds, theirs = fastest(*calls.values(), alone, rounds=2, seconds=0)
    for what, own in zip(calls, seconds, strict=True):
        target = None if what == "Apply, in actors" else 0.8  # actors begin anew in each epoch
        show = partial(show_rate, rows)
        yield Row(what, own, "the model alone", theirs, target=target, show=show)


def blocks(dataset):
    return dataset.iter_batches(batch_size=None, batch_format="pyarrow")


def drain(batches):
    for batch in batches:
        _ = batch["label"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=ROWS, help="of the batches' table")
    rows = parser.parse_args().rows
    ray.init("local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    cpus = int(ray.cluster_resources()["CPU"])
    print(f"ray {ray.__version__}, ragmask {rm.__version__}, {cpus} CPUs")
    reached = True
    for make, size in ((batches, rows), (models, min(rows, MODEL_ROWS))):
        with tempfile.TemporaryDirectory() as folder:
            print(f"\n{' '.join(make.__doc__.split())} {size:,} rows.\n")
            print("| what | ragmask | peer | its result | ratio | target |")
            print("|---|---:|---|---:|---:|---:|")
            for row in make(size, folder):
                print(row, flush=True)
                reached &= row.is_reached
    ray.shutdown()
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
