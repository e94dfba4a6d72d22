"""Copies of torch's StreamDataset under workers that persist: each has an epoch of its own."""

import copy
import io
import multiprocessing
import pickle

import pytest
import torch
from torch.utils.data import DataLoader

import ragmask as rm
from ragmask.data import JAPANESE_VOWELS
from ragmask.interop.torch import StreamDataset

ROWS = 640
pytestmark = [
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),  # on one core
    pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning"),  # torchdata's
]


class Wrapper:
    """What holds a dataset, as trainers do."""

    def __init__(self, dataset):
        self.dataset = dataset


def saved(dataset):
    file = io.BytesIO()
    torch.save({"dataset": dataset}, file)
    file.seek(0)
    return torch.load(file, weights_only=False)["dataset"]


WAYS = {
    "pickle": lambda dataset: pickle.loads(pickle.dumps(dataset)),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
    "save": saved,
    "a wrapper's": lambda dataset: copy.deepcopy(Wrapper(dataset)).dataset,
    "a copy's": lambda dataset: copy.copy(pickle.loads(pickle.dumps(copy.copy(dataset)))),
}


def dataset_of():
    stream = rm.stream(JAPANESE_VOWELS, ["frames", "speaker"]).shuffle(seed=0, window_rows=100)
    return StreamDataset(stream.batch(rows=64))


def loader_of(dataset, method="fork", workers=2):
    return DataLoader(
        dataset, None, num_workers=workers, multiprocessing_context=method, persistent_workers=True
    )


def epochs_in(loader):
    batches = list(loader)
    assert sorted(rows_of(batches)) == list(range(ROWS))
    return {batch.state["epoch"] for batch in batches}


def rows_of(batches):
    return [row for batch in batches for row in batch.row_ids.tolist()]


def check_epochs(dataset, copied, *how):
    """Each delivers the epochs that it is told to, in turns with the other."""
    ours, theirs = loader_of(dataset, *how), loader_of(copied, *how)
    for epoch in (3, 4):
        dataset.set_epoch(epoch)
        copied.set_epoch(epoch + 10)
        assert (epochs_in(theirs), epochs_in(ours)) == ({epoch + 10}, {epoch})


@pytest.mark.parametrize("way", WAYS)
def test_a_copys_workers_hear_of_its_epochs_and_of_no_other(way):
    dataset = dataset_of()
    check_epochs(dataset, WAYS[way](dataset))


def test_workers_that_are_spawned_hear_of_them_too():
    dataset = dataset_of()
    check_epochs(dataset, pickle.loads(pickle.dumps(dataset)), "spawn", 1)  # each takes seconds


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_stands_where_the_dataset_does(way):
    dataset = dataset_of()
    dataset.set_epoch(2)
    batches = list(dataset)
    dataset.load_state_dict(batches[2].state)
    copied, state = WAYS[way](dataset), dataset.state_dict()
    assert copied.state_dict() == state
    for each in (copied, dataset):
        rest = list(loader_of(each))
        assert sorted(rows_of(rest)) == sorted(rows_of(batches[3:]))

    copied.load_state_dict(batches[5].state)
    assert rows_of(copied) == rows_of(batches[6:])
    assert copied.state_dict()["epoch"] == 3
    assert dataset.state_dict() == state


@pytest.mark.parametrize("way", ["pickle", "deepcopy", "copy"])
def test_a_copys_loader_says_that_a_state_came_too_late(way):
    copied = WAYS[way](dataset_of())
    loader = loader_of(copied)
    batches = list(loader)
    copied.load_state_dict(batches[0].state)
    with pytest.raises(rm.StreamError, match="make a new DataLoader"):
        list(loader)


def run_rank(dataset, told):
    """Two epochs with workers, and one without, in a process of a rank's own."""
    loader = loader_of(dataset)
    for epoch in (5, 6):
        dataset.set_epoch(epoch)
        told.put(epochs_in(loader))
    list(dataset)
    told.put({dataset.state_dict()["epoch"]})


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_ranks_that_were_given_one_dataset_have_epochs_of_their_own(method):
    dataset = dataset_of()
    dataset.set_epoch(1)
    context = multiprocessing.get_context(method)
    told = context.Queue()
    rank = context.Process(target=run_rank, args=(dataset, told))
    rank.start()
    assert [told.get(timeout=120) for _ in range(3)] == [{5}, {6}, {7}]
    rank.join()
    assert dataset.state_dict()["epoch"] == 1
