"""Streams under torch's DataLoader, and torchdata's StatefulDataLoader."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch.utils.data import DataLoader
from torchdata.stateful_dataloader import StatefulDataLoader

import ragmask as rm
from ragmask.data import JAPANESE_VOWELS
from ragmask.interop.torch import StreamDataset, TensorBatch, from_jagged, to_padded

ROWS = 230
WAYS = [(0, None)] + [
    (workers, method) for method in ("fork", "spawn", "forkserver") for workers in (1, 2)
]
# Python warns of a fork beside threads
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning"),  # torchdata's
]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    lengths = np.random.default_rng(0).integers(0, 30, ROWS)
    table = pa.table(
        {
            "ids": [[row] * length for row, length in enumerate(lengths.tolist())],
            "label": np.arange(ROWS, dtype=np.int16),
            "name": [f"row {row}" for row in range(ROWS)],
        }
    )
    path = tmp_path_factory.mktemp("data") / "rows.parquet"
    pq.write_table(table, path, row_group_size=19)
    return path


def dataset_of(path, rank=0, world_size=1, even=False, **batch):
    stream = rm.stream(path).shuffle(seed=1, window_rows=60).shard(rank, world_size, even=even)
    return StreamDataset(stream.batch(**(batch or {"tokens": 120, "column": "ids"})))


def loader_of(dataset, workers=0, method=None, kind=DataLoader, **options):
    return kind(
        dataset,
        batch_size=None,
        num_workers=workers,
        multiprocessing_context=method,
        **options,
    )


def rows_of(batches):
    return [row for batch in batches for row in batch.row_ids.tolist()]


def padded(batch):
    values, mask = to_padded(batch["ids"])
    return {"ids": values, "mask": mask}


@pytest.mark.parametrize(("workers", "method"), WAYS)
def test_every_row_comes_once_and_its_state_resumes(path, workers, method):
    dataset = dataset_of(path)
    batches = list(loader_of(dataset, workers, method))
    assert sorted(rows_of(batches)) == list(range(ROWS))
    for batch in batches[:3]:
        assert isinstance(batch, TensorBatch)
        assert batch["label"].tolist() == batch.row_ids.tolist()
        assert [set(row.tolist()) for row in from_jagged(batch["ids"])] == [
            {row} if length else set()
            for row, length in zip(batch.row_ids, batch["ids"].offsets().diff(), strict=True)
        ]
        assert batch["name"].to_pylist() == [f"row {row}" for row in batch.row_ids]
        assert batch.num_rows == len(batch.row_ids)

    # the start of a process takes a second, but for a fork
    some = len(batches) // 2
    for seen in [some] if method in ("spawn", "forkserver") else [1, 2, some, len(batches)]:
        states = {batch.state["rank"]: batch.state for batch in batches[:seen]}
        again = dataset_of(path)
        again.load_state_dict(json.loads(json.dumps(list(states.values()))))
        rest = list(loader_of(again, workers, method))
        # batches of several workers come in turns, which begin anew
        assert sorted(rows_of(rest)) == sorted(rows_of(batches[seen:]))
        if workers < 2:
            assert rows_of(rest) == rows_of(batches[seen:])


@pytest.mark.parametrize("seen", [1, 4, 9])
@pytest.mark.parametrize(("before", "after"), [(2, 0), (0, 2), (2, 1), (1, 2)])
def test_what_is_left_goes_to_another_number_of_workers(path, before, after, seen):
    batches = list(loader_of(dataset_of(path), before, "fork" if before else None))
    states = {batch.state["rank"]: batch.state for batch in batches[:seen]}
    dataset = dataset_of(path)
    dataset.load_state_dict(list(states.values()))
    rest = list(loader_of(dataset, after, "fork" if after else None))
    assert sorted(rows_of(batches[:seen]) + rows_of(rest)) == list(range(ROWS))


@pytest.mark.parametrize(("workers", "persistent"), [(0, False), (2, False), (2, True)])
def test_epochs_differ_and_a_loaded_one_is_gone_on_with_once(path, workers, persistent):
    dataset = dataset_of(path)
    options = {"persistent_workers": True} if persistent else {}
    loader = loader_of(dataset, workers, "fork" if workers else None, **options)
    epochs = []
    for epoch in range(3):
        dataset.set_epoch(epoch)
        epochs.append(list(loader))
    orders = [tuple(rows_of(batches)) for batches in epochs]
    assert len(set(orders)) == 3
    assert all(sorted(order) == list(range(ROWS)) for order in orders)

    # stopped in the second epoch: the first worker has begun it, and others may not have
    states = {batch.state["rank"]: batch.state for batch in [*epochs[0], epochs[1][0]]}
    again = dataset_of(path)
    again.load_state_dict(list(states.values()))
    loader = loader_of(again, workers, "fork" if workers else None, **options)
    again.set_epoch(1)
    assert sorted(rows_of(list(loader))) == sorted(rows_of(epochs[1][1:]))
    again.set_epoch(2)
    assert rows_of(list(loader)) == list(orders[2])


def test_without_workers_epochs_advance_by_themselves(path):
    loader = loader_of(dataset_of(path))
    assert [{batch.state["epoch"] for batch in loader} for _ in range(3)] == [{0}, {1}, {2}]


@pytest.mark.parametrize("batch", [{"rows": 16}, {"tokens": 120, "column": "ids"}])
def test_even_ranks_and_workers_deliver_equally_many_batches(path, batch):
    counts, rows = [], []
    for rank in range(3):
        dataset = dataset_of(path, rank, 3, even=True, **batch)
        batches = list(loader_of(dataset, 2, "fork"))
        for worker in range(2):
            own = [one for one in batches if one.state["rank"] == 2 * rank + worker]
            counts.append(len(own))
        rows += rows_of(one for one in batches if not one.repeated)
    assert len(set(counts)) == 1
    assert sorted(rows) == list(range(ROWS))


def test_a_rank_of_which_nothing_was_seen_is_missed(path):
    batches = list(loader_of(dataset_of(path, 0, 2), 2, "fork"))
    dataset = dataset_of(path)
    dataset.load_state_dict([batches[0].state])
    with pytest.raises(rm.InvalidInputError, match="without rank 2: pass the states of all 4"):
        next(iter(dataset))


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("every", [1, 3])
def test_the_stateful_loader_goes_on(path, workers, every):
    def loader():
        return loader_of(
            dataset_of(path),
            workers,
            "fork" if workers else None,
            StatefulDataLoader,
            snapshot_every_n_steps=every,
        )

    whole = [rows_of([batch]) for batch in loader()]
    for seen in (0, 1, 5, len(whole) - 1):
        first = loader()
        batches = iter(first)
        for _ in range(seen):
            next(batches)
        state = first.state_dict()
        del batches
        second = loader()
        second.load_state_dict(state)
        assert [rows_of([batch]) for batch in second] == whole[seen:]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_batches_are_converted_where_they_are_read(path, method):
    stream = rm.stream(path).batch(rows=50)
    loader = loader_of(StreamDataset(stream, convert=padded), 1, method)
    for batch in loader:
        assert set(batch) == {"ids", "mask"}
        assert (
            batch["mask"].sum()
            == (batch["ids"].shape[1] * len(batch.row_ids)) - (~batch["mask"]).sum()
        )
        assert batch.state["workers"] == 1


def test_a_conversion_to_something_else_is_refused(path):
    dataset = StreamDataset(rm.stream(path).batch(rows=50), convert=lambda batch: batch.num_rows)
    with pytest.raises(rm.UnsupportedTypeError, match="convert must return a mapping; got int"):
        next(iter(dataset))
    with pytest.raises(rm.UnsupportedTypeError, match="takes a Stream; got str"):
        StreamDataset("rows.parquet")
    for state in ([], {}, [{"rank": 0}], [3]):
        with pytest.raises(rm.InvalidInputError, match="load_state_dict takes the states"):
            dataset.load_state_dict(state)


@pytest.mark.parametrize(("workers", "method"), [(0, None), (2, "fork")])
def test_japanese_vowels(workers, method):
    stream = rm.stream(JAPANESE_VOWELS).shuffle(seed=0).batch(tokens=512, column="frames")
    loader = loader_of(StreamDataset(stream), workers, method)
    batches = list(loader)
    assert sorted(rows_of(batches)) == list(range(640))
    assert sum(batch["frames"].values().shape[0] for batch in batches) == 9961
    assert all(torch.isfinite(batch["frames"].values()).all() for batch in batches)
