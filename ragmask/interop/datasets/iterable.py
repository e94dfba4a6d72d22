"""A stream as an IterableDataset: its tables, where it stands, and its shares for workers."""

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import datasets
import pyarrow as pa
from datasets.iterable_dataset import _BaseExamplesIterable

from ragmask import arrow
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.interop.datasets.features import features_of
from ragmask.rows.checks import check_count
from ragmask.streaming.batch import Batch
from ragmask.streaming.sink import alike
from ragmask.streaming.stream import Stream

_EPOCHS = 1 << 62
_MOST_SHARDS = 1 << 16
_ROWS = 1000  # that are made Python's at a time


def to_iterable_dataset(
    stream: Stream, *, batches: bool = False, num_shards: int = 16
) -> datasets.IterableDataset:
    """A stream's rows as an IterableDataset of Hugging Face's, with its Features.

    >>> import ragmask as rm
    >>> from ragmask.data import JAPANESE_VOWELS
    >>> from ragmask.interop.datasets import to_iterable_dataset
    >>> stream = rm.stream(JAPANESE_VOWELS, ["speaker", "frames"]).shuffle(seed=0)
    >>> dataset = to_iterable_dataset(stream)
    >>> first = next(iter(dataset))["speaker"]
    >>> dataset.set_epoch(1)  # the stream's: another order
    >>> batched = stream.batch(tokens=1024, column="frames")
    >>> by_tokens = to_iterable_dataset(batched, batches=True)
    >>> [len(batch["speaker"]) for batch in by_tokens.take(3)]
    [53, 56, 48]

    batches : make each example a batch of the stream, a list of so many rows in each column, as
        `IterableDataset.batch` does. Else examples are rows, whatever batches they came in.
    num_shards : among how many workers and nodes it can be divided. A worker of a DataLoader, and
        a node of `split_dataset_by_node`, reads its own share, `stream.shard(…)`; together they
        read every row once. Without workers it is read in one piece.

    Rows come in the stream's order, which a shuffled stream draws anew for each epoch:
    `set_epoch(n)` is the stream's nth from where it stood, and `IterableDataset.shuffle(seed)`
    another one yet, besides its buffer. `state_dict` holds the state of the stream, and
    `load_state_dict` goes on from there without reading again what came before; torchdata's
    StatefulDataLoader does so for workers.

    Memory is the stream's: one batch at a time beyond what it reads ahead. Columns have the
    features that they were saved with (ClassLabel, Array2D, …), where their types are still those.
    Dictionaries become their values, views of lists lists.

    Raises UnsupportedTypeError for columns of types that datasets does not have, and for what is no
    stream; InvalidInputError for a stream into which a state was loaded.
    """
    if not isinstance(stream, Stream):
        raise UnsupportedTypeError(
            f"to_iterable_dataset takes a Stream; got {type(stream).__name__}"
        )
    if stream._progress.start is not None:
        raise InvalidInputError(
            "a state was loaded into the stream: make the IterableDataset of a new one, and load "
            "its own states into that"
        )
    if batches and stream._settings.rows is None:
        raise InvalidInputError("choose the batches first: .batch(rows=256)")
    num_shards = check_count("num_shards", num_shards, 1, _MOST_SHARDS)
    features = features_of(pa.RecordBatchReader.from_stream(stream).schema)
    if batches:
        features = datasets.Features({name: datasets.List(one) for name, one in features.items()})
    examples = StreamExamples(
        stream._cut(), features.arrow_schema, bool(batches), num_shards, stream._progress.epoch
    )
    return datasets.IterableDataset(examples, info=datasets.DatasetInfo(features=features))


class StreamExamples(_BaseExamplesIterable):  # type: ignore[misc]
    """What an IterableDataset reads: the stream's share of one worker, in one epoch.

    Its state is that of the stream after the last batch, and how many rows of the next are done.
    """

    def __init__(
        self, stream: Stream, schema: Any, batches: bool, num_shards: int, epoch: int
    ) -> None:
        super().__init__()
        self._stream, self._schema, self._batches = stream, schema, batches
        self._num_shards, self._epoch = num_shards, epoch

    # -- its examples, as rows and in Arrow

    def __iter__(self) -> Iterator[tuple[int, dict[str, Any]]]:
        for number, table, state in self._tables():
            told: dict[str, Any] | None = self._state_dict
            for first in range(0, len(table), _ROWS):
                for row in table.slice(first, _ROWS).to_pylist():
                    if told:
                        told["rows"] += 1
                    yield number, row
            if told:
                told.update(stream=state, rows=0)

    @property
    def iter_arrow(self) -> Any:
        return self._iter_arrow

    def _iter_arrow(self) -> Iterator[tuple[int, Any]]:
        for number, table, state in self._tables():
            if self._state_dict:
                self._state_dict.update(stream=state, rows=0)
            yield number, table

    def _tables(self) -> Iterator[tuple[int, Any, str]]:
        """The tables left from where the state stands, and the state of the stream after each."""
        shard = self._stream._settings.shard
        stream = self._stream.shard(shard.rank, shard.world_size, even=shard.even)
        stream.set_epoch(self._epoch)
        begin: dict[str, Any] = self._state_dict or {"stream": None, "rows": 0}
        if begin["stream"]:
            stream.load_state_dict(json.loads(begin["stream"]))
        done = begin["rows"]
        states: list[str] = []

        def tables() -> Iterator[Any]:
            for batch in stream:
                states.append(json.dumps(batch.state))
                yield self._table(batch)

        for number, table in enumerate(alike(tables(), self._schema)):
            yield number, table.slice(done) if done else table, states.pop()
            done = 0

    def _table(self, batch: Batch) -> Any:
        table = batch.to_arrow()
        if not self._batches:
            return table
        ends = pa.array([0, len(table)], pa.int32())
        lists = [
            pa.ListArray.from_arrays(ends, arrow.one_array(column)) for column in table.columns
        ]
        return pa.table(lists, names=table.column_names)

    # -- what datasets asks of it

    def _init_state_dict(self) -> dict[str, Any]:
        self._state_dict = {"stream": None, "rows": 0, "type": type(self).__name__}
        return self._state_dict

    def shuffle_data_sources(self, generator: Any) -> "StreamExamples":
        """The stream in another epoch. Of epoch n, datasets gives a generator of the seed n."""
        seed = getattr(generator.bit_generator.seed_seq, "entropy", None)
        if not isinstance(seed, int):
            seed = int(deepcopy(generator).integers(_EPOCHS))
        return self._with(epoch=(self._epoch + seed) % _EPOCHS)

    def shard_data_sources(
        self, num_shards: int, index: int, contiguous: bool = True
    ) -> "StreamExamples":
        shard, size = self._stream._settings.shard, min(num_shards, self._num_shards)
        rank, world_size = shard.rank * size + index, shard.world_size * size
        left = len(self.split_shard_indices_by_worker(size, index))
        return self._with(
            stream=self._stream.shard(rank, world_size, even=shard.even), num_shards=left
        )

    def reshard_data_sources(self) -> "StreamExamples":
        return self

    @property
    def num_shards(self) -> int:
        return self._num_shards

    @property
    def sleep_on_threads_shutdown(self) -> bool:
        return False

    def _with(self, **changes: Any) -> "StreamExamples":
        settings = {
            "stream": self._stream,
            "schema": self._schema,
            "batches": self._batches,
            "num_shards": self._num_shards,
            "epoch": self._epoch,
        }
        return StreamExamples(**(settings | changes))
