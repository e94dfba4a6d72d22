"""The tables of compare.py on streams that mix, take up again, keep and open many files.

Calls are interleaved and the least time of several rounds counts. `pip install "ragmask[peers]"`
and `pip install grain` bring the peers.
"""

import tempfile
from functools import partial
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from benchmarks.common import fastest, parquet_file
from tables import Row, against, installed, show_rate, wanted

import ragmask as rm

ROWS = 400_000
_FEW = 20_000  # rows, of peers that hand over one after the other
_BATCH = 256


def read(stream):
    """The rows of a stream."""
    return sum(batch.num_rows for batch in stream)


def two_files(rows, folder):
    parts = [Path(folder) / name for name in ("a", "b")]
    for part in parts:
        part.mkdir()
    return [parquet_file(rows, part) for part in parts]


def mixture(paths, change=lambda stream: stream):
    sources = {path.parent.name: change(rm.stream(path)) for path in paths}
    return rm.mix(sources, dict.fromkeys(sources, 1.0), seed=0, until="all")


# -- mixing -------------------------------------------------------------------------------


def mix(rows=ROWS):
    """Two files of log-normal rows of int32 (median 40) drawn evenly, in batches of 256 rows."""
    with tempfile.TemporaryDirectory() as folder:
        paths = two_files(rows, folder)
        both, column = rm.stream(paths), "tokens"
        shuffled = mixture(paths, lambda stream: stream.shuffle(0))
        by_tokens = {"tokens": 16_384, "column": column}
        ways = {
            "in file order": (mixture(paths).batch(_BATCH), both.batch(_BATCH)),
            "shuffled": (shuffled.batch(_BATCH), both.shuffle(0).batch(_BATCH)),
            "by 16,384 padded steps": (
                shuffled.batch(**by_tokens),
                both.shuffle(0).batch(**by_tokens),
            ),
            "packed to 2,048 steps": (
                shuffled.pack(2048, column).batch(8),
                both.shuffle(0).pack(2048, column).batch(8),
            ),
        }
        show = partial(show_rate, 2 * rows)
        for what, (mixed, unmixed) in ways.items():
            runs = partial(read, mixed), partial(read, unmixed)
            yield against(what, runs[0], "the same rows unmixed", runs[1], target=0.8, show=show)
        yield from _peers(paths, 2 * rows)


def _peers(paths, rows):
    few = min(_FEW, rows)
    ours = partial(read, mixture(paths).batch(_BATCH))

    def beside(what, peer, theirs, target):
        """Rows a second, of all rows and of a few."""
        if not wanted(what):
            return None
        seconds, others = fastest(ours, theirs)
        show = partial(show_rate, 1)
        return Row(what, seconds / rows, peer, others / few, target=target, show=show)

    grain = installed("grain")
    if grain:

        def by_grain():
            sources = [grain.experimental.ParquetIterDataset(str(path)) for path in paths]
            mixed = grain.IterDataset.mix(sources, [0.5, 0.5])
            return sum(1 for _ in islice(mixed, few))

        yield beside("rows of two sources", "Grain, `IterDataset.mix`", by_grain, 3)
    datasets = installed("datasets")
    if datasets:
        datasets.disable_progress_bars()
        with tempfile.TemporaryDirectory() as cache:
            sources = [
                datasets.Dataset.from_parquet(str(path), cache_dir=cache).to_iterable_dataset()
                for path in paths
            ]
            options = {"probabilities": [0.5, 0.5], "seed": 0}
            mixed = datasets.interleave_datasets(sources, **options)
            by_datasets = lambda: sum(1 for _ in islice(mixed, few))  # noqa: E731
            peer = "datasets, `interleave_datasets`"
            yield beside("rows of two sources, one by one", peer, by_datasets, 50)


def resume(rows=ROWS):
    """The first batch after a state in the middle of a mixture of two shuffled files."""
    with tempfile.TemporaryDirectory() as folder:
        paths = two_files(rows, folder)
        for what, stream in {
            "in batches of 256 rows": mixture(paths, lambda s: s.shuffle(0)).batch(_BATCH),
            "by 16,384 padded steps": mixture(paths, lambda s: s.shuffle(0)).batch(
                tokens=16_384, column="tokens"
            ),
        }.items():
            middle = stream.count_batches(0) // 2
            state = next(islice(stream, middle, None)).state

            def first(stream=stream, state=state):
                stream.load_state_dict(state)
                return next(iter(stream))

            def windows():
                return [next(iter(rm.stream(p).shuffle(0).batch(_BATCH))) for p in paths]

            peer = "one window of each source"
            yield against(what, first, peer, windows, of="time", target=2)


# -- files --------------------------------------------------------------------------------


def files(rows=ROWS, count=10_000):
    """Files from afar that are kept nearby, read again; and many files, opened."""
    fsspec = installed("fsspec")
    if fsspec:
        with tempfile.TemporaryDirectory() as folder:
            far = Path(folder) / "far"
            far.mkdir()
            path = parquet_file(rows, far)
            filesystem = fsspec.filesystem("dir", path=str(path.parent), target_protocol="file")
            kept = rm.stream(path.name, filesystem=filesystem, cache=Path(folder) / "kept")
            kept, local = kept.batch(_BATCH), rm.stream(path).batch(_BATCH)
            assert read(kept) == rows
            runs = partial(read, kept), partial(read, local)
            show = partial(show_rate, rows)
            peer = "the same files on the disk"
            yield against("kept row groups", runs[0], peer, runs[1], target=0.9, show=show)
    what = f"{count:,} files of 10 rows, to the first batch"
    if wanted(what):
        with tempfile.TemporaryDirectory() as folder:
            table = pa.table({"ids": pa.array([[1, 2]] * 10, pa.list_(pa.int32()))})
            for number in range(count):
                pq.write_table(table, Path(folder) / f"{number:05}.parquet")

            def begin():
                stream = rm.stream(folder).batch(_BATCH)
                return len(stream), next(iter(stream))

            (seconds,) = fastest(begin)
            yield Row(what, seconds, "–", of="seconds", target=5)


TABLES = (mix, resume, files)
