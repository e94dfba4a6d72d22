"""Hugging Face's Datasets as streams, and streams as IterableDatasets."""

import itertools
import json
import pickle

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Array2D, ClassLabel, Dataset, Features, LargeList, List, Value
from datasets.distributed import split_dataset_by_node
from torch.utils.data import DataLoader
from torchdata.stateful_dataloader import StatefulDataLoader

import ragmask as rm
from ragmask.data import JAPANESE_VOWELS
from ragmask.interop.datasets import to_iterable_dataset
from tests.interpreters import run_python

ROWS = 230
FEATURES = Features(
    {
        "ids": List(Value("int64")),
        "large": LargeList(Value("float32")),
        "frames": List(List(Value("float32"), length=2)),
        "pair": List(Value("int8"), length=2),
        "label": ClassLabel(names=["even", "odd"]),
        "name": Value("string"),
        "spans": List({"at": Value("int32"), "word": Value("string")}),
        "inside": {"deep": List(Value("int16"))},
        "words": List(Value("string")),
        "grid": Array2D((2, 2), "float64"),
        "when": Value("timestamp[us]"),
    }
)
pytestmark = [
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),  # on one core
    pytest.mark.filterwarnings("ignore:Specifying null_placement:FutureWarning"),  # Dataset.sort's
    pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning"),  # torchdata's
]


def row(number):
    few = number % 4
    return {
        "ids": [number] * few,
        "large": [0.5] * few,
        "frames": [[number, -number]] * few,
        "pair": [number % 100, 1],
        "label": number % 2,
        "name": f"row {number}",
        "spans": [{"at": number, "word": "a"}] * few,
        "inside": {"deep": [few]},
        "words": ["x"] * few,
        "grid": [[number, 1], [2, 3]],
        "when": number,
    }


@pytest.fixture(scope="module", autouse=True)
def no_bars():
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


@pytest.fixture(scope="module")
def in_memory():
    columns = {name: [row(number)[name] for number in range(ROWS)] for name in FEATURES}
    return Dataset.from_dict(columns, features=FEATURES)


@pytest.fixture(scope="module")
def saved(in_memory, tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "saved"
    in_memory.save_to_disk(folder, num_shards=3)
    return folder


@pytest.fixture
def on_disk(saved):
    return datasets.load_from_disk(saved)


def table_of(stream, **batch):
    return stream.batch(**(batch or {"rows": 64})).to_arrow()


def rows_of(given):
    return [int(name.removeprefix("row ")) for name in given]


# -- Datasets as streams ------------------------------------------------------------------

VIEWS = {
    "as it is": lambda dataset: dataset,
    "select": lambda dataset: dataset.select([7, 3, 3, 229, 0]),
    "a range": lambda dataset: dataset.select(range(100, 180)),
    "shuffled": lambda dataset: dataset.shuffle(seed=3),
    "filtered": lambda dataset: dataset.filter(lambda label: label == 1, input_columns="label"),
    "sorted": lambda dataset: dataset.sort("name", reverse=True),
    "split": lambda dataset: dataset.train_test_split(0.3, seed=1)["test"],
    "sharded": lambda dataset: dataset.shard(4, 1, contiguous=False),
    "in a format": lambda dataset: dataset.with_format("torch", columns=["ids"]),
    "joined": lambda dataset: datasets.concatenate_datasets([dataset, dataset.select([5, 1])]),
    "twice": lambda dataset: dataset.shuffle(seed=1).select(range(40)).shuffle(seed=2),
    "empty": lambda dataset: dataset.select([]),
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
@pytest.mark.parametrize("where", ["memory", "disk"])
def test_a_dataset_is_streamed_in_its_own_order(in_memory, on_disk, view, where):
    dataset = view(in_memory if where == "memory" else on_disk)
    wanted = dataset.with_format("arrow")[:]
    stream = rm.stream(dataset)
    assert stream.num_rows == len(dataset)
    got = table_of(stream)
    assert got.schema.names == list(FEATURES)
    assert Features.from_arrow_schema(got.schema) == FEATURES
    assert got.to_pylist() == wanted.to_pylist()
    for batch in stream.batch(rows=64):
        assert isinstance(batch["ids"], rm.Ragged)
        assert batch["frames"].item_shape == (2,)


@pytest.mark.parametrize("view", ["as it is", "shuffled"])
def test_a_datasets_stream_is_shuffled_sharded_and_resumed(on_disk, view):
    dataset = VIEWS[view](on_disk)

    def stream():
        return rm.stream(pickle.loads(pickle.dumps(dataset)), ["name", "ids"])

    shuffled = stream().shuffle(seed=0, window_rows=80).batch(tokens=32, column="ids")
    batches = list(shuffled)
    assert sorted(rows_of(n for b in batches for n in b["name"].to_pylist())) == list(range(ROWS))
    again = pickle.loads(pickle.dumps(shuffled))
    again.load_state_dict(json.loads(json.dumps(batches[4].state)))
    assert [b["name"] for b in again] == [b["name"] for b in batches[5:]]
    shares = [table_of(stream().shard(rank, 3)) for rank in range(3)]
    assert pa.concat_tables(shares)["name"].to_pylist() == dataset["name"][:]


def test_the_state_of_another_order_is_refused(on_disk):
    first = rm.stream(on_disk.shuffle(seed=1)).batch(rows=10)
    state = next(iter(first)).state
    with pytest.raises(rm.InvalidInputError, match="of another data set"):
        rm.stream(on_disk.shuffle(seed=2)).batch(rows=10).load_state_dict(state)


def test_a_mapped_dataset_is_not_copied(on_disk):
    chunks = on_disk.data.column("ids").chunks
    begins = {chunk.values.buffers()[1].address for chunk in chunks}
    batches = rm.stream(on_disk, ["ids"]).batch(rows=1000)
    window = rm.stream(on_disk, ["ids"]).batch(rows=len(chunks[0]))
    first = next(iter(window))["ids"]
    assert first.values.__array_interface__["data"][0] in begins
    assert sum(batch.num_rows for batch in batches) == ROWS


def test_many_small_batches_are_gathered(in_memory, tmp_path):
    """Rows by number, from more record batches than rows are picked of each."""
    path = tmp_path / "small.arrow"
    with pa.ipc.new_stream(path, in_memory.data.schema) as writer:
        for batch in in_memory.data.table.to_batches(max_chunksize=2):
            writer.write_batch(batch)
    dataset = Dataset.from_file(str(path)).shuffle(seed=0)
    assert table_of(rm.stream(dataset))["name"].to_pylist() == dataset["name"][:]


def test_broken_offsets_in_a_mapped_file_are_an_error(tmp_path):
    lists = pa.ListArray.from_arrays(pa.array([0, 2, 3, 4], pa.int32()), pa.array([1, 2, 3, 4]))
    path = tmp_path / "data.arrow"
    with pa.ipc.new_stream(path, pa.schema([("ids", lists.type)])) as writer:
        writer.write_table(pa.table({"ids": lists}))
    content = path.read_bytes()
    good = np.array([0, 2, 3, 4], np.int32).tobytes()
    assert content.count(good) == 1
    path.write_bytes(content.replace(good, np.array([0, 2, 9, 4], np.int32).tobytes()))
    dataset = Dataset.from_file(str(path))
    for one in (dataset, dataset.select([2, 0, 1])):
        with pytest.raises(rm.StreamError, match=r"<dataset 0>: record batch 0.*broken"):
            table_of(rm.stream(one))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda d: datasets.DatasetDict(a=d, b=d),
            r"this one has 'a', 'b': rm.stream\(splits\['a'",
        ),
        (lambda d: datasets.DatasetDict(), "reads one split of a DatasetDict"),
        (lambda d: d.to_iterable_dataset(), "got an IterableDataset, whose rows"),
        (lambda d: [d, "rows.parquet"], "paths or data in memory, not both"),
    ],
)
def test_what_is_no_dataset_of_rows(in_memory, make, message):
    with pytest.raises(rm.UnsupportedTypeError, match=message):
        rm.stream(make(in_memory))


def test_a_dataset_without_columns():
    with pytest.raises(rm.InvalidInputError, match="columns is empty"):
        rm.stream(Dataset.from_dict({}))


def test_several_datasets_are_one_stream(in_memory):
    halves = [in_memory.select(range(100, ROWS)), in_memory.select(range(100))]
    names = table_of(rm.stream(halves))["name"].to_pylist()
    assert rows_of(names) == [*range(100, ROWS), *range(100)]


# -- folders ------------------------------------------------------------------------------


def test_a_saved_folder_is_its_data_and_not_its_caches(in_memory, tmp_path):
    in_memory.save_to_disk(tmp_path / "saved", num_shards=2)
    dataset = datasets.load_from_disk(tmp_path / "saved")
    dataset.filter(lambda label: label == 1, input_columns="label")
    dataset.map(lambda one: {"more": one["label"]})
    assert list((tmp_path / "saved").glob("cache-*.arrow"))
    for folder in (tmp_path / "saved", tmp_path):  # as it is, and below another
        assert rows_of(table_of(rm.stream(folder))["name"].to_pylist()) == list(range(ROWS))
    (tmp_path / "saved" / "data-00001-of-00002.arrow").unlink()
    with pytest.raises(rm.StreamError, match=r"state.json names data-00001-of-00002.arrow, and"):
        rm.stream(tmp_path / "saved")


def test_the_librarys_own_folder_is_its_data_and_not_its_caches(path, tmp_path):
    dataset = datasets.load_dataset(
        "parquet", data_files=str(path), split="train", cache_dir=str(tmp_path)
    )
    dataset.filter(lambda label: label == 1, input_columns="label")
    assert list(tmp_path.rglob("cache-*.arrow"))
    assert rows_of(table_of(rm.stream(tmp_path))["name"].to_pylist()) == list(range(ROWS))


def test_the_splits_of_a_saved_dict_are_named(in_memory, tmp_path):
    splits = datasets.DatasetDict(train=in_memory, test=in_memory.select([4]))
    splits.save_to_disk(tmp_path / "all")
    with pytest.raises(rm.StreamError, match=r"DatasetDict, train, test: .*all/train"):
        rm.stream(tmp_path / "all")
    assert rm.stream(tmp_path / "all" / "test").num_rows == 1


@pytest.mark.parametrize("state", ['{"step": 3}', "[]", "{", '{"_data_files": 3}', ""])
def test_a_state_that_something_else_wrote_is_passed_over(tmp_path, state):
    pq.write_table(pa.table({"ids": [[1], []]}), tmp_path / "a.parquet")
    (tmp_path / "state.json").write_text(state)
    (tmp_path / "dataset_dict.json").write_text(state)
    assert rm.stream(tmp_path).num_rows == 2


def test_an_order_of_rows_that_an_old_version_saved(tmp_path):
    state = {"_data_files": [{"filename": "dataset.arrow"}]}
    state["_indices_data_files"] = [{"filename": "indices.arrow"}]
    (tmp_path / "state.json").write_text(json.dumps(state))
    (tmp_path / "dataset.arrow").touch()
    with pytest.raises(rm.StreamError, match="saved by an old version"):
        rm.stream(tmp_path)


# -- streams as IterableDatasets ----------------------------------------------------------


@pytest.fixture(scope="module")
def path(in_memory, tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "rows.parquet"
    table = in_memory.data.table
    grid = table.schema.get_field_index("grid")
    pq.write_table(table.remove_column(grid), path, row_group_size=19)
    return path


@pytest.fixture
def shuffled(path):
    return rm.stream(path).shuffle(seed=1, window_rows=60)


def order_of(stream, epoch):
    stream = stream.batch(rows=50)
    stream.set_epoch(epoch)
    return rows_of(name for batch in stream for name in batch["name"].to_pylist())


def names_in(examples):
    return rows_of(example["name"] for example in examples)


def test_rows_come_with_the_features_they_were_saved_with(in_memory, on_disk):
    for dataset in (in_memory, on_disk):
        again = to_iterable_dataset(rm.stream(dataset))
        assert again.features == FEATURES
        assert list(again) == list(dataset)
        tables = list(again.with_format("arrow").iter(64))
        assert pa.concat_tables(tables).to_pylist() == dataset.with_format("arrow")[:].to_pylist()


def test_arrow_stays_arrow():
    stream = rm.stream(JAPANESE_VOWELS, ["frames", "speaker"])
    dataset = to_iterable_dataset(stream).with_format("arrow")
    (table,) = itertools.islice(dataset.iter(640), 1)
    assert table["frames"].to_pylist() == stream.to_arrow()["frames"].to_pylist()
    frames = rm.Ragged.from_arrow(table["frames"])
    assert frames.item_shape == (12,)


def test_each_epoch_has_the_streams_order(shuffled):
    dataset = to_iterable_dataset(shuffled)
    mapped = dataset.map(lambda one: {"more": len(one["ids"])}, remove_columns=["spans"])
    for epoch in (0, 1, 5):
        for one in (dataset, mapped):
            one.set_epoch(epoch)
            assert names_in(one) == order_of(shuffled, epoch)
    fixed = to_iterable_dataset(rm.stream(JAPANESE_VOWELS, ["speaker"]))
    orders = []
    for epoch in (0, 1):
        fixed.set_epoch(epoch)
        orders.append(list(fixed))
    assert orders[0] == orders[1]
    assert names_in(to_iterable_dataset(shuffled).shuffle(seed=1, buffer_size=9)) != order_of(
        shuffled, 0
    )


@pytest.mark.parametrize("kind", [None, "arrow", "numpy"])
@pytest.mark.parametrize("seen", [1, 59, 61, 150, ROWS])
def test_a_state_goes_on_at_the_next_row(shuffled, kind, seen):
    def begun():
        dataset = to_iterable_dataset(shuffled.batch(rows=60)).select_columns(["name"])
        dataset = dataset if kind is None else dataset.with_format(kind)
        dataset.set_epoch(2)
        return dataset

    def name(example):
        return example["name"][0].as_py() if kind == "arrow" else str(example["name"])

    dataset = begun()
    first = [name(one) for one in itertools.islice(dataset, seen)]
    state = json.loads(json.dumps(dataset.state_dict()))
    again = begun()
    again.load_state_dict(state)
    assert rows_of([*first, *map(name, again)]) == order_of(shuffled, 2)


def test_going_on_reads_nothing_again(path, monkeypatch):
    read = []

    def noted(batch):
        read.append(batch.num_rows)
        return batch

    stream = rm.stream(path, ["name"]).batch(rows=10).map(noted)
    dataset = to_iterable_dataset(stream)
    list(itertools.islice(dataset, 105))
    state = dataset.state_dict()
    again = to_iterable_dataset(stream)
    read.clear()
    again.load_state_dict(state)
    assert names_in(again) == list(range(105, ROWS))
    assert sum(read) <= ROWS - 100


@pytest.mark.parametrize("num_shards", [1, 3, 16])
@pytest.mark.parametrize("nodes", [2, 3, 5])
def test_nodes_share_the_rows(shuffled, nodes, num_shards):
    dataset = to_iterable_dataset(shuffled, num_shards=num_shards).select_columns(["name"])
    shares = [names_in(split_dataset_by_node(dataset, node, nodes)) for node in range(nodes)]
    assert sorted(itertools.chain(*shares)) == list(range(ROWS))
    if num_shards % nodes == 0:
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_workers_of_nodes_share_the_rows(shuffled):
    """Of which the second node has one more."""
    found = []
    for node in range(2):
        dataset = to_iterable_dataset(shuffled, num_shards=6).select_columns(["name"])
        loader = DataLoader(
            split_dataset_by_node(dataset, node, 2),
            batch_size=None,
            num_workers=1 + node,
            multiprocessing_context="fork",
        )
        found += names_in(loader)
    assert sorted(found) == list(range(ROWS))


def test_a_stateful_loader_goes_on(shuffled):
    def loader():
        dataset = to_iterable_dataset(shuffled).select_columns(["name"])
        return StatefulDataLoader(
            dataset, batch_size=None, num_workers=2, multiprocessing_context="fork"
        )

    first = loader()
    iterator = iter(first)
    seen = names_in(itertools.islice(iterator, 77))
    state = first.state_dict()
    del iterator
    again = loader()
    again.load_state_dict(state)
    assert sorted([*seen, *names_in(again)]) == list(range(ROWS))


def test_examples_can_be_batches(shuffled):
    stream = shuffled.batch(tokens=40, column="ids")
    dataset = to_iterable_dataset(stream, batches=True)
    assert dataset.features["ids"] == List(List(Value("int64")))
    examples = list(dataset.select_columns(["ids", "name"]))
    batches = list(shuffled.batch(tokens=40, column="ids"))
    assert [one["name"] for one in examples] == [one["name"].to_pylist() for one in batches]
    assert [one["ids"] for one in examples] == [
        [ids.tolist() for ids in one["ids"]] for one in batches
    ]
    assert max(len(one["ids"]) * max(map(len, one["ids"])) for one in examples) <= 40
    head = to_iterable_dataset(stream, batches=True)
    list(itertools.islice(head, 4))
    again = to_iterable_dataset(stream, batches=True)
    again.load_state_dict(head.state_dict())
    assert [one["name"] for one in again] == [one["name"] for one in examples[4:]]
    with pytest.raises(rm.InvalidInputError, match="choose the batches first"):
        to_iterable_dataset(shuffled, batches=True)


def test_types_that_datasets_keeps_otherwise(tmp_path):
    lists = pa.ListViewArray.from_arrays([0, 2], [2, 1], pa.array([1, 2, 3]))
    table = pa.table(
        {
            "views": lists,
            "kinds": pa.array(["a", "b"]).dictionary_encode(),
            "inside": pa.array([["a"], ["b"]], pa.list_(pa.dictionary(pa.int8(), pa.string()))),
            "runs": pa.RunEndEncodedArray.from_arrays([2], [7]),
            "text": pa.array(["a", None], pa.string_view()),
            "null": pa.nulls(2),
            "none": pa.array([None, [1]]),
        }
    )
    dataset = to_iterable_dataset(rm.stream(table))
    assert dataset.features["views"] == List(Value("int64"))
    assert dataset.features["kinds"] == Value("string")
    assert list(dataset) == table.to_pylist()


def test_types_that_datasets_does_not_have_are_named():
    pairs = pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64()))
    spans = pa.array([None], pa.month_day_nano_interval())
    table = pa.table({"pairs": pairs, "good": [1], "spans": spans})
    with pytest.raises(
        rm.UnsupportedTypeError, match=r"column 'pairs' is of map.*, column 'spans'"
    ):
        to_iterable_dataset(rm.stream(table))
    assert list(to_iterable_dataset(rm.stream(table, ["good"]))) == [{"good": 1}]


def test_a_map_that_changes_columns_midway():
    def odd(batch):
        return {"late" if 50 in batch["at"] else "at": batch["at"]}

    stream = rm.stream(pa.table({"at": np.arange(100)})).map(odd).batch(rows=10)
    dataset = to_iterable_dataset(stream)
    with pytest.raises(rm.InvalidInputError, match="has other columns than the first"):
        list(dataset)


@pytest.mark.parametrize(
    ("make", "options", "error", "message"),
    [
        (lambda s: list(s.batch(rows=5)), {}, rm.UnsupportedTypeError, "takes a Stream; got list"),
        (lambda s: s, {"num_shards": 0}, rm.InvalidInputError, "num_shards must be"),
    ],
)
def test_what_cannot_be_an_iterable_dataset(shuffled, make, options, error, message):
    with pytest.raises(error, match=message):
        to_iterable_dataset(make(shuffled), **options)


def test_a_stream_with_a_state_is_refused(shuffled):
    stream = shuffled.batch(rows=20)
    stream.load_state_dict(next(iter(stream)).state)
    with pytest.raises(rm.InvalidInputError, match="a state was loaded into the stream"):
        to_iterable_dataset(stream)


def test_an_empty_stream():
    table = pa.table({"ids": pa.array([], pa.list_(pa.int64()))})
    dataset = to_iterable_dataset(rm.stream(table))
    assert (list(dataset), dataset.features) == ([], Features(ids=List(Value("int64"))))


def test_a_loop_that_is_left_ends_without_a_word(path):
    code = f"""
import ragmask as rm
from ragmask.interop.datasets import to_iterable_dataset

dataset = to_iterable_dataset(rm.stream({str(path)!r}, ["name"]))
its = iter(dataset), dataset.with_format("arrow").iter(5)
print(len([next(it) for it in its]))
"""
    assert run_python(code) == "2"
