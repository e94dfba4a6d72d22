"""Mixtures, what is taken of streams, and repeated ones, in the pipelines of others."""

import json
from collections import Counter
from itertools import islice

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from torch.utils.data import DataLoader
from torchdata.stateful_dataloader import StatefulDataLoader

import ragmask as rm
from ragmask.interop.datasets import to_iterable_dataset
from ragmask.interop.keras import StreamDataset as KerasDataset
from ragmask.interop.torch import StreamDataset
from ragmask.streaming.parts import Parts

pytestmark = pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning")
ROWS = {"a": 90, "b": 50}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    for name, rows in ROWS.items():
        numbers = np.arange(rows, dtype=np.int64)
        ids = [[int(number) + 1] * (1 + number % 7) for number in numbers]
        table = pa.table({"ids": pa.array(ids, pa.list_(pa.int32())), "number": numbers})
        pq.write_table(table, folder / f"{name}.parquet", row_group_size=13)
    return folder


def mixture(folder, until="all"):
    sources = {name: rm.stream(folder / f"{name}.parquet").shuffle(1) for name in ROWS}
    return rm.mix(sources, {"a": 1, "b": 1}, seed=3, until=until)


WAYS = {
    "rows": lambda folder: mixture(folder).batch(rows=8),
    "tokens": lambda folder: mixture(folder).batch(tokens=40, column="ids"),
    "batches": lambda folder: rm.mix(
        {name: rm.stream(folder / f"{name}.parquet").batch(rows=6) for name in ROWS}, until="all"
    ),
}


def every_row():
    return Counter((name, number) for name, rows in ROWS.items() for number in range(rows))


def rows_of(batches):
    return Counter(
        pair
        for batch in batches
        for pair in zip(batch.sources.tolist(), batch.row_ids.tolist(), strict=True)
    )


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("workers", [0, 2])
def test_workers_of_a_loader_share_a_mixture_and_go_on(folder, way, workers):
    def loader():
        dataset = StreamDataset(WAYS[way](folder))
        return dataset, DataLoader(dataset, batch_size=None, num_workers=workers)

    _, batches = loader()
    begun = list(islice(iter(batches), 5))
    states = {batch.state["rank"]: json.loads(json.dumps(batch.state)) for batch in begun}
    resumed, rest = loader()
    resumed.load_state_dict(list(states.values()))
    assert rows_of(begun) + rows_of(rest) == every_row()
    assert rows_of(loader()[1]) == every_row()


def test_the_stateful_loader_goes_on_in_a_mixture(folder):
    def loader():
        dataset = StreamDataset(WAYS["tokens"](folder))
        return StatefulDataLoader(dataset, batch_size=None, num_workers=2)

    first = loader()
    begun = list(islice(iter(first), 5))
    second = loader()
    second.load_state_dict(first.state_dict())
    assert rows_of(begun) + rows_of(second) == every_row()


def test_a_loader_goes_on_behind_repeated_epochs(folder):
    stream = rm.stream(folder / "a.parquet").shuffle(1).batch(rows=30).repeat(2)
    dataset = StreamDataset(stream)
    loader = DataLoader(dataset, batch_size=None)
    epochs = [[batch.row_ids.tolist() for batch in loader] for _ in range(2)]
    assert all(len(epoch) == 6 for epoch in epochs)
    assert epochs[0] != epochs[1]
    assert len({tuple(batch) for epoch in epochs for batch in epoch}) == 12


def test_keras_fits_on_a_mixture(folder):
    stream = mixture(folder, "first").batch(tokens=64, column="ids", multiple_of=8)
    dataset = KerasDataset(stream, x="ids", y="number")
    layers = [keras.layers.Embedding(200, 4, mask_zero=True), keras.layers.LSTM(3)]
    model = keras.Sequential([*layers, keras.layers.Dense(1)])
    model.compile(loss="mse")
    assert len(model.fit(dataset, epochs=3, verbose=0).history["loss"]) == 3
    counted = [stream.count_batches(epoch) for epoch in range(3)]
    assert len(dataset) in counted


def test_hugging_faces_examples_are_those_of_the_mixture(folder):
    dataset = to_iterable_dataset(mixture(folder).batch(rows=8))
    numbers = Counter(example["number"] for example in dataset)
    assert numbers == Counter([*range(90), *range(50)])


def test_parts_for_other_processes_are_of_files_alone(folder):
    stream = rm.stream(folder / "a.parquet").batch(rows=8)
    for refused in (mixture(folder), stream.take(3), stream.repeat(2)):
        with pytest.raises(rm.InvalidInputError, match="read by one process"):
            Parts.of(refused)
