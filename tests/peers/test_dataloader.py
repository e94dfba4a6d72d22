"""Streams under torch's DataLoader, and torchdata's StatefulDataLoader."""

import datetime
import json
import os
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch.utils.data import DataLoader
from torchdata.stateful_dataloader import StatefulDataLoader

import ragmask as rm
from ragmask.data import JAPANESE_VOWELS
from ragmask.interop.torch import StreamDataset, TensorBatch, TensorList, from_jagged, to_padded
from ragmask.streaming.state import sealed
from tests.interpreters import run_python

ROWS = 230
WAYS = [(0, None)] + [
    (workers, method) for method in ("fork", "spawn", "forkserver") for workers in (1, 2)
]
pytestmark = [
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),  # on one core
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


@pytest.fixture(scope="module")
def skewed(tmp_path_factory):
    """The first of two workers has ten times as many batches as the second."""
    lengths = [30] * 40 + [1] * (ROWS - 40)
    table = pa.table({"ids": [[row] * length for row, length in enumerate(lengths)]})
    path = tmp_path_factory.mktemp("data") / "skewed.parquet"
    pq.write_table(table, path, row_group_size=20)
    return path


def skewed_dataset(path):
    return StreamDataset(rm.stream(path).batch(tokens=60, column="ids"))


def states_of(batches):
    """The last state seen from each worker."""
    return list({batch.state["rank"]: batch.state for batch in batches}.values())


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

    # but for a fork, the start of a process takes seconds
    some = len(batches) // 2
    few = [some] * (method == "spawn" and workers == 1)
    for seen in few if method in ("spawn", "forkserver") else [1, 2, some, len(batches)]:
        again = dataset_of(path)
        again.load_state_dict(json.loads(json.dumps(states_of(batches[:seen]))))
        rest = list(loader_of(again, workers, method))
        # batches of several workers come in turns, which begin anew
        assert sorted(rows_of(rest)) == sorted(rows_of(batches[seen:]))
        if workers < 2:
            assert rows_of(rest) == rows_of(batches[seen:])


@pytest.mark.parametrize("seen", [1, 4, 9])
@pytest.mark.parametrize(("before", "after"), [(2, 0), (0, 2), (2, 1), (1, 2)])
def test_what_is_left_goes_to_another_number_of_workers(path, before, after, seen):
    batches = list(loader_of(dataset_of(path), before, "fork" if before else None))
    dataset = dataset_of(path)
    dataset.load_state_dict(states_of(batches[:seen]))
    rest = list(loader_of(dataset, after, "fork" if after else None))
    assert sorted(rows_of(batches[:seen]) + rows_of(rest)) == list(range(ROWS))


@pytest.mark.parametrize(("before", "after"), [(2, 2), (2, 0), (1, 2), (0, 0)])
def test_what_is_left_goes_into_batches_of_another_size(path, before, after):
    def loader(rows, workers, states=()):
        dataset = dataset_of(path, rows=rows)
        if states:
            dataset.load_state_dict(states)
        return loader_of(dataset, workers, "fork" if workers else None)

    first = list(loader(8, before))[:7]
    second = list(loader(16, after, states_of(first)))
    assert {len(batch.row_ids) for batch in second} > {16}
    assert sorted(rows_of([*first, *second])) == list(range(ROWS))
    # what was seen of one worker alone tells where the others began, after rows were dealt anew
    seen = [batch for batch in second[:3] if batch.state["rank"] == 0]
    third = list(loader(5, 1, states_of(seen)))
    assert sorted(rows_of([*first, *seen, *third])) == list(range(ROWS))


@pytest.mark.parametrize("after", [0, 1, 2])
@pytest.mark.parametrize("seen", [1, 5, 20])
def test_what_was_resumed_resumes_again(skewed, seen, after):
    first = list(loader_of(skewed_dataset(skewed), 2, "fork"))[:10]
    dataset = skewed_dataset(skewed)
    dataset.load_state_dict(states_of(first))
    # the second worker came to its end before, and is not seen again
    second = list(loader_of(dataset, 2, "fork"))[:seen]
    assert {batch.state["rank"] for batch in second} == {0}
    dataset = skewed_dataset(skewed)
    dataset.load_state_dict(states_of(second))
    rest = list(loader_of(dataset, after, "fork" if after else None))
    assert sorted(rows_of([*first, *second, *rest])) == list(range(ROWS))


def test_a_state_loaded_into_workers_that_persist_is_refused(path):
    dataset = dataset_of(path)
    loader = loader_of(dataset, 2, "fork", persistent_workers=True)
    batches = list(loader)
    dataset.load_state_dict(states_of(batches[:3]))
    with pytest.raises(rm.StreamError, match="make a new DataLoader"):
        list(loader)
    assert sorted(rows_of(loader_of(dataset, 2, "fork"))) == sorted(rows_of(batches[3:]))


def test_the_state_of_the_main_process_follows_what_is_loaded_and_set(path):
    dataset = dataset_of(path)
    batches = list(dataset)
    assert dataset.state_dict()["epoch"] == 1
    dataset.load_state_dict(batches[2].state)
    began = {"began": dataset.state_dict()["began"]}
    assert dataset.state_dict() == sealed(batches[2].state | began)
    assert rows_of(dataset) == rows_of(batches[3:])
    dataset.set_epoch(5)
    assert (dataset.state_dict()["epoch"], dataset.state_dict()["place"]) == (5, [0, 0, 0])


def test_a_loop_open_at_a_fork_ends_in_the_child(path):
    batches = iter(dataset_of(path))
    next(batches)
    child = os.fork()
    if child == 0:
        try:
            next(batches)
        except rm.StreamError:
            os._exit(7)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert len(list(batches)) > 0


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
    again = dataset_of(path)
    again.load_state_dict(states_of([*epochs[0], epochs[1][0]]))
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


def test_ranks_in_different_epochs_are_not_of_one_moment(path):
    first, second = list(dataset_of(path, 0, 2)), dataset_of(path, 1, 2)
    second.set_epoch(1)
    with pytest.raises(rm.InvalidInputError, match="rank 0 is in epoch 0 and rank 1 in epoch"):
        dataset_of(path).load_state_dict([first[0].state, next(iter(second)).state])


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


def stateful_loader(dataset, workers):
    return loader_of(dataset, workers, "fork" if workers else None, StatefulDataLoader)


@pytest.mark.parametrize("seen", [6, 12, -1])
def test_a_worker_done_before_others_stays_done_in_the_stateful_loader(skewed, seen):
    whole = [rows_of([batch]) for batch in stateful_loader(skewed_dataset(skewed), 2)]
    first = stateful_loader(skewed_dataset(skewed), 2)
    batches = iter(first)
    for _ in whole[:seen]:
        next(batches)
    second = stateful_loader(skewed_dataset(skewed), 2)
    second.load_state_dict(first.state_dict())
    rest = list(second)
    assert [rows_of([batch]) for batch in rest] == whole[seen:]

    # each worker was given its own state, and batches after that know of no other
    dataset = skewed_dataset(skewed)
    dataset.load_state_dict(rest[0].state)
    with pytest.raises(rm.InvalidInputError, match="without rank 1: pass the states of all 2"):
        next(iter(dataset))


@pytest.mark.parametrize("workers", [0, 2])
def test_the_stateful_loader_goes_on_to_the_next_epoch(path, workers):
    dataset = dataset_of(path)
    dataset.set_epoch(4)
    first = stateful_loader(dataset, workers)
    list(first)
    dataset = dataset_of(path)
    second = stateful_loader(dataset, workers)
    second.load_state_dict(first.state_dict())
    for epoch in (5, 6):
        dataset.set_epoch(epoch)
        batches = list(second)
        assert {batch.state["epoch"] for batch in batches} == {epoch}
        assert sorted(rows_of(batches)) == list(range(ROWS))


def test_columns_that_torch_does_not_have_pass_through(tmp_path):
    days = [datetime.datetime(2020, 1, day) for day in range(1, 29)]
    names = [f"{day:%A}" for day in days]
    table = pa.table({"day": days, "name": names, "count": [None, *range(27)], "ids": [[1]] * 28})
    pq.write_table(table, tmp_path / "days.parquet")
    dataset = StreamDataset(rm.stream(tmp_path / "days.parquet").batch(rows=2))
    batches = list(loader_of(dataset, 1, "fork"))
    assert [day for batch in batches for day in batch["day"].to_pylist()] == days
    assert [name for batch in batches for name in batch["name"].to_pylist()] == names
    assert batches[0]["count"].tolist() == [None, 0]
    # a slice is sent without the rows around it
    assert all(batch["name"].get_total_buffer_size() < 100 for batch in batches)


def test_pinned_batches_keep_their_state(path, monkeypatch):
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor, *device: tensor.clone())
    batch = next(iter(dataset_of(path)))
    pinned = torch.utils.data._utils.pin_memory.pin_memory(batch)
    assert isinstance(pinned, TensorBatch)
    assert pinned["label"].tolist() == batch["label"].tolist()
    for other in (pinned, pickle.loads(pickle.dumps(batch))):
        assert (other.state, other.num_rows) == (batch.state, batch.num_rows)
        assert other.row_ids.tolist() == batch.row_ids.tolist()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_batches_are_converted_where_they_are_read(path, method):
    stream = rm.stream(path).batch(rows=50)
    loader = loader_of(StreamDataset(stream, convert=padded), 1, method)
    for batch in loader:
        assert set(batch) == {"ids", "mask"}
        assert batch["mask"].shape == batch["ids"].shape
        assert (
            batch["ids"][batch["mask"]].numpy() == np.repeat(batch.row_ids, batch["mask"].sum(1))
        ).all()
        assert batch.state["workers"] == 1


def as_pair(batch):
    values, _ = to_padded(batch["ids"])
    return {"ids": values, "names": batch["name"]}, torch.tensor(batch["label"])


def as_list(batch):
    return list(as_pair(batch))


@pytest.mark.parametrize(
    ("convert", "workers", "kind"),
    [(as_list, 0, DataLoader), (as_pair, 2, DataLoader), (as_pair, 2, StatefulDataLoader)],
)
def test_pairs_of_x_and_y_keep_their_state(path, convert, workers, kind):
    dataset = dataset_of(path)
    dataset.convert = convert
    batches = list(loader_of(dataset, workers, "fork" if workers else None, kind))
    for batch in batches:
        x, y = batch
        assert isinstance(batch, TensorList)
        assert y.tolist() == batch.row_ids.tolist()
        assert len(x["ids"]) == batch.num_rows
        assert x["names"].to_pylist() == [f"row {row}" for row in batch.row_ids]
    again = dataset_of(path)
    again.load_state_dict(states_of(batches[:3]))
    rest = list(loader_of(again, workers, "fork" if workers else None))
    assert sorted(rows_of(rest)) == sorted(rows_of(batches[3:]))


def test_parts_inside_parts_are_sent_without_the_rows_around_them(path):
    def nested(batch):
        return (batch["name"], (batch["name"], {"name": batch["name"]}))

    dataset = StreamDataset(rm.stream(path).batch(rows=2), convert=nested)
    first = next(iter(dataset))
    for part in (first[0], first[1][0], first[1][1]["name"]):
        assert part.get_total_buffer_size() < 100
    assert pickle.loads(pickle.dumps(first)).state == first.state


@pytest.mark.parametrize(
    ("batch", "options"),
    [
        ({"rows": 50}, {}),
        ({"rows": 50}, {"num_workers": 1}),
        ({"tokens": 60, "column": "ids"}, {}),
        ({"tokens": 60, "column": "ids"}, {"shuffle": True}),
    ],
)
def test_a_stream_for_a_dataset_is_told_what_to_use(path, batch, options):
    stream = rm.stream(path).batch(**batch)
    with pytest.raises(rm.UnsupportedTypeError, match=r"interop.torch.StreamDataset\(stream\)"):
        next(iter(DataLoader(stream, batch_size=None, **options)))


def test_a_conversion_to_something_else_is_refused(path):
    dataset = StreamDataset(rm.stream(path).batch(rows=50), convert=lambda batch: batch.num_rows)
    with pytest.raises(
        rm.UnsupportedTypeError, match=r"convert must return a mapping, or .*; got int"
    ):
        next(iter(dataset))
    with pytest.raises(rm.UnsupportedTypeError, match="takes a Stream; got str"):
        StreamDataset("rows.parquet")
    for state in ([], {}, [{"rank": 0}], [3], {"epoch": None, "rank": 0}, {"epoch": 0}):
        with pytest.raises(rm.InvalidInputError, match="load_state_dict takes the states"):
            dataset.load_state_dict(state)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_altered_state_is_refused(path, workers):
    dataset = dataset_of(path)
    (state, *_) = (batch.state for batch in DataLoader(dataset, None, num_workers=workers))
    began = [{"place": [1, 0, 0], "even": None}] * len(state["began"])
    changes = ({"place": [1, 1, 0]}, {"epoch": 1}, {"workers": 7}, {"began": began}, {"more": 1})
    for change in changes:
        with pytest.raises(rm.InvalidInputError, match="the state is damaged or was altered"):
            dataset.load_state_dict([state | change])
    with pytest.raises(rm.InvalidInputError, match="of version 1, and this ragmask reads 3"):
        dataset.load_state_dict(state | {"version": 1})


@pytest.mark.parametrize(("workers", "method"), [(0, None), (2, "fork")])
def test_japanese_vowels(workers, method):
    stream = rm.stream(JAPANESE_VOWELS).shuffle(seed=0).batch(tokens=512, column="frames")
    loader = loader_of(StreamDataset(stream), workers, method)
    batches = list(loader)
    assert sorted(rows_of(batches)) == list(range(640))
    assert sum(batch["frames"].values().shape[0] for batch in batches) == 9961
    assert all(torch.isfinite(batch["frames"].values()).all() for batch in batches)


def test_workers_that_are_forked_find_numba_loaded():
    """It takes a second or more, of each worker in each epoch, unless the dataset has loaded it."""
    code = """
import sys
from torch.utils.data import DataLoader, get_worker_info
import ragmask as rm
from ragmask.data import JAPANESE_VOWELS
from ragmask.interop.torch import StreamDataset

before = set()

def loaded(batch):
    assert get_worker_info() is not None
    return {"new": [name for name in sys.modules if name not in before]}

stream = rm.stream(JAPANESE_VOWELS, "frames").shuffle(0, 100).batch(tokens=512, column="frames")
loader = DataLoader(StreamDataset(stream, loaded), None, num_workers=1,
                    multiprocessing_context="fork")
before.update(sys.modules)
print([name for batch in loader for name in batch["new"] if name.startswith("numba")])
"""
    assert run_python(code) == "[]"
