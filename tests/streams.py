"""Small data sets and streams of them, drawn by Hypothesis, and what their batches hold."""

import json
import math
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

import ragmask as rm
from tests.reference import part_of

SCHEMA = pa.schema(
    {
        "number": pa.int64(),
        "ids": pa.list_(pa.int32()),
        "words": pa.list_(pa.string()),
        "name": pa.string(),
        "score": pa.float64(),
        "keep": pa.bool_(),
    }
)
SHARES, SPLIT_SEED = {"most": 0.7, "few": 0.3}, 1
FILTER = [("number", ">=", 2), ("keep", "==", True)]


# -- data ---------------------------------------------------------------------------------


class Rows(NamedTuple):
    """A data set as what it is written from: of each file, of each row group, the lengths."""

    files: tuple[tuple[str, tuple[tuple[int | None, ...], ...]], ...]

    @property
    def lengths(self):
        return [length or 0 for _, groups in self.files for group in groups for length in group]


LENGTHS = st.sampled_from([None, 0, 1, 1, 2, 3, 5, 9])
GROUPS = st.lists(st.lists(LENGTHS, max_size=6).map(tuple), max_size=4).map(tuple)
DATA = st.lists(
    st.tuples(st.sampled_from(["parquet", "arrow"]), GROUPS), min_size=1, max_size=3
).map(lambda files: Rows(tuple(files)))


def table_of(first, lengths):
    """Rows of these lengths; all that is in a row follows from its number."""
    numbers = range(first, first + len(lengths))
    rows = [(number, length) for number, length in zip(numbers, lengths, strict=True)]
    columns = {
        "number": list(numbers),
        "ids": [ids_of(*row) if row[1] is not None else None for row in rows],
        "words": [[f"{number}-{step}" for step in range(length or 0)] for number, length in rows],
        "name": [f"row {number}" if number % 4 else None for number in numbers],
        "score": [number / 2 if number % 3 else None for number in numbers],
        "keep": [keeps(number) for number in numbers],
    }
    return pa.table(columns, SCHEMA)


def ids_of(number, length):
    return [10 * number + step if step != 1 else None for step in range(length)]


def keeps(number):
    return number % 5 != 3


def write(folder, data):
    first = 0
    for position, (kind, groups) in enumerate(data.files):
        path = Path(folder) / f"{position}.{kind}"
        parquet = kind == "parquet"
        opened = pq.ParquetWriter if parquet else pa.ipc.new_file
        with opened(path, SCHEMA) as writer:
            for lengths in groups:
                table = table_of(first, lengths)
                if parquet:
                    writer.write_table(table)
                else:  # a table of no rows has no record batch
                    (batch,) = table.to_batches() or [pa.RecordBatch.from_pylist([], SCHEMA)]
                    writer.write_batch(batch)
                first += len(lengths)
    return folder


@contextmanager
def written(data):
    with TemporaryDirectory() as folder:
        yield write(folder, data)


# -- streams ------------------------------------------------------------------------------


class Setup(NamedTuple):
    """The settings of a stream, but for its shard."""

    rows: int | None = None
    drop_last: bool = False
    tokens: int | None = None
    bucket: bool = True  # with tokens
    bucketed: bool = False  # with rows
    pack: int | None = None
    seed: int | None = None
    window_rows: int = 100
    filtered: bool = False
    mapped: bool = False
    prefetch: int = 0
    rounding: tuple[int, int] = (1, 1)
    part: str | None = None
    steps: tuple[tuple[str, tuple], ...] = ()  # methods on columns, and what they are given

    def stream(self, folder, rank=0, world_size=1, *, even=False):
        stream = rm.stream(folder, filter=FILTER if self.filtered else None)
        for method, arguments in self.steps:
            stream = getattr(stream, method)(*arguments)
        if self.part:
            stream = stream.split(SHARES, SPLIT_SEED)[self.part]
        stream = stream.prefetch(self.prefetch).shard(rank, world_size, even=even)
        if self.seed is not None:
            stream = stream.shuffle(self.seed, self.window_rows)
        if self.pack:
            stream = stream.pack(self.pack, "ids")
        steps, rows = self.rounding
        rounding = {"multiple_of": steps, "rows_multiple": rows}
        if self.tokens:
            stream = stream.batch(tokens=self.tokens, column="ids", bucket=self.bucket, **rounding)
        elif self.bucketed:
            stream = stream.batch(self.rows, self.drop_last, column="ids", bucket=True)
        else:
            stream = stream.batch(self.rows, self.drop_last, **rounding)
        return stream.map(twice) if self.mapped else stream

    def row_ids(self, data):
        """The rows of an epoch, once for each piece that packing makes of them."""
        pieces = Counter()
        for number, length in enumerate(data.lengths):
            if self.part and part_of(number, SHARES, SPLIT_SEED) != self.part:
                continue
            if not self.filtered or (number >= 2 and keeps(number)):
                pieces[number] = max(1, math.ceil(length / self.pack)) if self.pack else 1
        return pieces


def twice(batch):
    return {**batch, "twice": batch["ids"] * 2}


@st.composite
def setups(draw, filters=(False, True), drops=(False, True)):
    rows = draw(st.integers(1, 5))
    kind = draw(st.sampled_from(["rows", "rows in buckets", "tokens", "pack"]))
    setup = Setup(
        part=draw(st.sampled_from([None, None, *SHARES])),
        rounding=draw(st.sampled_from([(1, 1), (4, 1), (1, 3), (4, 2)])),
        filtered=draw(st.sampled_from(filters)),
        mapped=draw(st.booleans()),
        prefetch=draw(st.integers(0, 3)),
    )
    if draw(st.booleans()):
        setup = setup._replace(
            seed=draw(st.integers(0, 3)), window_rows=rows + draw(st.integers(0, 12))
        )
    if kind == "tokens":
        return setup._replace(tokens=draw(st.integers(1, 20)), bucket=draw(st.booleans()))
    if kind == "pack":
        setup = setup._replace(pack=draw(st.integers(1, 12)))
    bucketed = kind == "rows in buckets"
    return setup._replace(rows=rows, drop_last=draw(st.sampled_from(drops)), bucketed=bucketed)


# -- what batches hold --------------------------------------------------------------------


def plain(column):
    if isinstance(column, dict):
        return {name: plain(part) for name, part in column.items()}
    if isinstance(column, rm.Ragged):
        return [row.tolist() for row in column]
    return column.to_pylist() if isinstance(column, pa.Array) else column.tolist()


def contents(batch):
    """All there is to a batch, to compare."""
    columns = {name: plain(column) for name, column in batch.items()}
    return columns, batch.row_ids.tolist(), batch.repeated, batch.state


def row_ids(batches):
    return Counter(number for batch in batches for number in batch.row_ids.tolist())


def as_json(state):
    """The state as it comes back from a file."""
    return json.loads(json.dumps(state))


def resumed(setup, folder, state, rank=0, world_size=1, *, even=False):
    stream = setup.stream(folder, rank, world_size, even=even)
    stream.load_state_dict(as_json(state))
    return stream


WORLDS = st.integers(1, 5)
SMALL = Rows((("parquet", ((1, 2, None), (), (5, 0, 3, 1))), ("arrow", ((9, 1), (2, 2, 2)))))
