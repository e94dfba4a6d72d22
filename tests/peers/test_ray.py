"""Data sets, batches and models on a Ray cluster of two nodes, of which one is killed."""

import logging
import os
import pickle
import re
import signal
import threading
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
import ray.data
import torch
from ray.cluster_utils import Cluster
from typer.testing import CliRunner

import ragmask as rm
import ragmask.interop.torch as rt
from ragmask.cli.app import app
from ragmask.data import JAPANESE_VOWELS
from ragmask.interop.ray import Apply, Collate, apply, apply_stream, iter_batches, read
from ragmask.streaming.sink import write_parquet
from ragmask.tables import TableModel

ROWS = 640


@pytest.fixture(scope="module")
def cluster():
    """A head, which this process is connected to, and another node; a CPU each."""
    options = {"num_cpus": 1, "object_store_memory": 256 << 20}
    made = Cluster(initialize_head=True, head_node_args={**options, "include_dashboard": False})
    made.options = options
    made.other = made.add_node(**options)
    ray.init(made.address, log_to_driver=False, logging_level=logging.ERROR)
    made.wait_for_nodes()
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four files of the recordings, numbered and with words, in row groups of 30 rows."""
    table = pq.read_table(JAPANESE_VOWELS)
    words = [[f"word {row % 7}"] * (row % 3) if row % 11 else None for row in range(ROWS)]
    table = table.append_column("row", pa.array(range(ROWS)))
    table = table.append_column("words", pa.array(words, pa.list_(pa.string())))
    folder = tmp_path_factory.mktemp("data")
    for number in range(4):
        part = table.slice(number * 160, 160)
        pq.write_table(part, folder / f"{number}.parquet", row_group_size=30)
    return folder


@pytest.fixture(scope="module")
def model():
    """Of frames and words, with products whose bits may depend on what shares their batch."""
    layers = rm.layers
    frames = layers.Input((None, 12), name="frames")
    words = layers.Input((None,), "int32", name="words")
    x = layers.LSTM(5, return_sequences=True)(frames)
    outputs = {
        "soft": layers.TemporalSoftmax()(layers.Dense(3)(x)),
        "mean": layers.Dense(4)(layers.TemporalPool()(x)),
        "state": layers.GRU(3)(layers.Embedding(9, 4, mask_zero=True)(words)),
    }
    return layers.Model([frames, words], outputs, name="two")


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model"
    vocabulary = rm.Vocabulary([f"word {number}" for number in range(7)])
    model.save(path, vocabulary={"words": vocabulary})
    return path


@pytest.fixture(scope="module")
def table_model(saved):
    return TableModel(saved, ["row", "split"])


def stream_of(folder, rows=64, **options):
    return rm.stream(folder, ["frames", "words", "row", "split"], **options).batch(rows=rows)


def blocks_of(dataset):
    batches = dataset.iter_batches(batch_size=None, batch_format="pyarrow")
    return [block for block in batches if len(block)]


def whole(folder):
    """The parts of an output, in the order of their names."""
    parts = sorted(folder.iterdir())
    assert [part.suffix for part in parts] == [".parquet"] * len(parts)
    return pa.concat_tables([pq.read_table(part) for part in parts])


def locally(model, stream, folder):
    """The table that the local engine writes."""
    path = folder / "local.parquet"
    write_parquet(map(model, stream), path, empty=lambda: model(stream.empty_batch()))
    return pq.read_table(path)


def check_equal(found, expected):
    """To the bit: a NaN equals none, and there is none."""
    assert found.schema.equals(expected.schema, check_metadata=True)
    assert found.equals(expected)


# -- read ---------------------------------------------------------------------------------


def test_a_block_is_a_window_of_whole_row_groups_in_file_order(cluster, folder):
    dataset = read(folder, window_rows=60)
    expected = pq.read_table(folder)
    assert dataset.count() == ROWS  # from footers
    assert dataset.schema().base_schema.equals(expected.schema)
    assert 0.5 < dataset.size_bytes() / expected.nbytes < 2
    assert len(dataset.input_files()) == 4
    blocks = blocks_of(dataset)
    assert [len(block) for block in blocks] == [60, 60, 40] * 4
    assert all(block.schema.equals(expected.schema) for block in blocks)
    check_equal(pa.concat_tables(blocks), expected)


def test_by_default_there_are_windows_for_every_cpu(cluster, tmp_path):
    pq.write_table(pa.table({"a": range(8000)}), tmp_path / "a.parquet", row_group_size=500)
    assert [len(block) for block in blocks_of(read(tmp_path))] == [2000] * 4


@pytest.mark.parametrize("rows", [40, 0])
def test_columns_and_a_filter_are_pushed_down(cluster, folder, rows):
    dataset = read(folder, ["row", "words"], filter=[("row", "<", rows)], window_rows=60)
    assert dataset.schema().names == ["row", "words"]
    assert dataset.count() == rows
    found = [row for block in blocks_of(dataset) for row in block["row"].to_pylist()]
    assert found == list(range(rows))


def test_a_read_task_says_what_to_read_and_is_small(cluster, tmp_path):
    table = pa.table({"a": [[1] * 50] * 50_000})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=100)
    (read_op,) = read(tmp_path, window_rows=1000)._logical_plan.sources()
    tasks = read_op.datasource.get_read_tasks(1)
    assert len(tasks) == 50
    assert all(task.metadata.num_rows == 1000 for task in tasks)
    assert all(len(ray.cloudpickle.dumps(task)) < 10_000 for task in tasks)


def test_fields_and_lists_of_lists_come_as_arrow_has_them(cluster, tmp_path):
    spans = pa.array([[{"at": 1, "to": 2}], None, []])
    nested = pa.array([[[1.0, 2.0]], [], None])
    pq.write_table(pa.table({"spans": spans, "nested": nested}), tmp_path / "a.parquet")
    dataset = read(tmp_path, ["spans.at", "nested"], items="vectors")
    (block,) = blocks_of(dataset)
    assert block.schema.equals(dataset.schema().base_schema)
    assert block["spans.at"].to_pylist() == [[1], None, []]
    vectors = Collate()(block)["nested"]
    assert (vectors.item_shape, vectors.lengths.tolist()) == ((2,), [1, 0, 0])
    (block,) = blocks_of(read(tmp_path, ["nested"], items={"nested": 2}))
    assert Collate()(block)["nested"].values.tolist() == [[1.0, 2.0]]
    (block,) = blocks_of(read(tmp_path, ["nested"]))
    assert block["nested"].to_pylist() == nested.to_pylist()


def test_relative_paths_are_those_of_the_driver(cluster, folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    assert sum(map(len, blocks_of(read(folder.name, ["row"])))) == ROWS


@pytest.mark.parametrize(
    ("paths", "options", "error", "message"),
    [
        ("nothing", {}, rm.StreamError, "nothing: there is no such file or folder"),
        (None, {"columns": ["frame"]}, rm.StreamError, "no column 'frame' .did you mean 'frames'"),
        (None, {"filter": [("nothing", "==", 1)]}, rm.InvalidInputError, "does not fit"),
        (None, {"window_rows": 0}, rm.InvalidInputError, "window_rows must be at least 1; got 0"),
        (None, {"nulls": "drop"}, rm.InvalidInputError, 'nulls must be "empty" or "error"'),
        (pa.table({"a": [1]}), {}, rm.UnsupportedTypeError, "ray.data.from_arrow"),
    ],
)
def test_what_is_wrong_with_files_is_told_in_the_driver(
    cluster, folder, paths, options, error, message
):
    with pytest.raises(error, match=message):
        read(folder if paths is None else paths, **options)


def test_what_a_worker_finds_is_told_as_what_it_is(cluster, folder, tmp_path):
    with pytest.raises(rm.StreamError, match=r"0.parquet.* column 'words'.* row 0 is null"):
        blocks_of(read(folder, ["words"], nulls="error"))
    damaged = tmp_path / "damaged.parquet"
    pq.write_table(pa.table({"a": range(10_000)}), damaged, write_page_checksum=True)
    content = bytearray(damaged.read_bytes())
    content[5_000] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(rm.StreamError, match=r"damaged\.parquet: row group 0"):
        blocks_of(read(damaged, verify=True))


# -- batches ------------------------------------------------------------------------------


def test_batches_are_those_of_a_stream(cluster, folder):
    columns = ["frames", "speaker", "words", "row"]
    dataset = read(folder, columns)
    stream = rm.stream(folder, columns).batch(rows=100)
    for to in ("ragged", "padded", "torch"):
        batches = dataset.iter_torch_batches(batch_size=100, collate_fn=Collate(to))
        for batch, expected in zip(batches, stream, strict=True):
            assert batch["words"].to_pylist() == expected["words"].to_pylist()
            frames = expected["frames"]
            if to == "ragged":
                assert isinstance(batch, rm.Batch)
                np.testing.assert_array_equal(batch["frames"].offsets, frames.compact().offsets)
                np.testing.assert_array_equal(batch["frames"].values, frames.compact().values)
            elif to == "padded":
                padded = frames.to_padded()
                np.testing.assert_array_equal(batch["frames"].numpy(), padded.values)
                np.testing.assert_array_equal(batch["frames_mask"].numpy(), padded.mask)
            else:
                np.testing.assert_array_equal(
                    batch["frames"].to_ragged().values, frames.compact().values
                )
            np.testing.assert_array_equal(np.asarray(batch["speaker"]), expected["speaker"])


@pytest.mark.parametrize("window_rows", [150, 10_000])
def test_batches_by_tokens_have_every_row_once_and_similar_ones_together(
    cluster, folder, window_rows
):
    dataset = read(folder, ["frames", "row"])
    orders = []
    for seed, epoch in ((None, 0), (0, 0), (0, 0), (0, 1)):
        batches = list(iter_batches(dataset, 700, window_rows=window_rows, seed=seed, epoch=epoch))
        for batch in batches:
            frames = batch["frames"]
            assert len(frames) * frames.max_length <= 700
        orders.append([row for batch in batches for row in batch["row"].tolist()])
        assert sorted(orders[-1]) == list(range(ROWS))
        real = sum(batch["frames"].n_steps for batch in batches)
        padded = sum(len(batch["frames"]) * batch["frames"].max_length for batch in batches)
        assert real / padded > 0.85
    assert orders[1] == orders[2]
    assert len(set(map(tuple, orders))) == 3


def test_a_shard_of_a_dataset_has_batches_by_tokens(cluster, folder):
    shards = read(folder, ["frames", "row"]).materialize().streaming_split(2, equal=True)
    rows = [[], []]

    def drain(number):
        for batch in iter_batches(shards[number], 700, "frames", collate=Collate("torch")):
            assert isinstance(batch["frames"], rt.RaggedTensor)
            rows[number] += batch["row"].tolist()

    threads = [threading.Thread(target=drain, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(rows[0]) == len(rows[1]) == ROWS // 2
    assert sorted(rows[0] + rows[1]) == list(range(ROWS))


TABLE = pa.table({"ids": [[1, 2, 3], None, [4]], "spans": [[{"at": 1}], [], []], "n": [1, 2, 3]})


def test_a_table_is_collated_without_a_cluster():
    padded = Collate("padded", maxlen=2, padding="pre", value=-1, dtype=torch.float64)(TABLE)
    assert padded["ids"].tolist() == [[1.0, 2.0], [-1.0, -1.0], [-1.0, 4.0]]
    assert padded["ids_mask"].tolist() == [[True, True], [False, False], [False, True]]
    assert list(padded) == ["ids", "ids_mask", "spans.at", "spans.at_mask", "n"]
    ragged = Collate("torch")(TABLE.slice(1))
    assert ragged["ids"].offsets.tolist() == [0, 0, 1]
    assert ragged["n"].tolist() == [2, 3]
    again = pickle.loads(pickle.dumps(Collate("padded", maxlen=2)))
    assert again(TABLE)["ids"].tolist() == [[1, 2], [0, 0], [4, 0]]


def objects(extension):
    """A column as Ray makes it of NumPy arrays of unequal length, or of anything else."""
    from ray.data.extensions import ArrowVariableShapedTensorArray

    rows = np.empty(2, object)
    rows[:] = [np.ones(2), np.ones(3)]
    return pa.table({"ids": ArrowVariableShapedTensorArray.from_numpy(rows)})


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Collate("numpy"), rm.InvalidInputError, 'to must be "ragged", "padded" or'),
        (lambda: Collate("torch", maxlen=3), rm.InvalidInputError, 'maxlen is for to="padded"'),
        (lambda: Collate("padded", maxlen=-1), rm.InvalidInputError, "maxlen must be at least"),
        (lambda: Collate(nulls="no"), rm.InvalidInputError, "nulls must be"),
        (lambda: Collate(nulls="error")(TABLE), rm.InvalidInputError, "row 1 is null"),
        (lambda: Collate()({"ids": np.ones(3)}), rm.UnsupportedTypeError, "pyarrow.*got dict"),
        (lambda: Collate()(objects(0)), rm.UnsupportedTypeError, "'ids' .* went through NumPy"),
        (
            lambda: Collate("padded")(TABLE.rename_columns(["n", "s", "n_mask"])),
            rm.InvalidInputError,
            "'n_mask' is there, and the mask of 'n' would have its name",
        ),
        (lambda: iter_batches(TABLE, 10, "ids"), rm.UnsupportedTypeError, "takes a Dataset of Ray"),
    ],
)
def test_what_cannot_be_collated_is_told(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_batches_by_tokens_say_what_is_wrong(cluster, folder):
    dataset = read(folder, ["row", "frames", "words"])
    with pytest.raises(rm.InvalidInputError, match="tokens must be at least 1; got 0"):
        iter_batches(dataset, 0)
    with pytest.raises(rm.InvalidInputError, match=r"one of frames, words: column="):
        next(iter_batches(dataset, 10))
    with pytest.raises(rm.InvalidInputError, match="column 'row' has no lengths to count"):
        next(iter_batches(dataset, 10, "row"))


# -- a model over blocks ------------------------------------------------------------------


def close(found, expected):
    """Batches differ from the local engine's here, and products may by a bit."""
    assert found.schema.names == expected.schema.names
    assert found.schema.types == expected.schema.types
    for name in found.column_names:
        one, other = found[name].to_pylist(), expected[name].to_pylist()
        if name in ("row", "split"):
            assert one == other
        else:
            for row, peer in zip(one, other, strict=True):
                np.testing.assert_allclose(row, peer, 1e-5, 1e-6)


def test_a_model_over_blocks_in_tasks_and_in_actors(cluster, folder, saved, table_model, tmp_path):
    expected = locally(table_model, stream_of(folder), tmp_path)
    dataset = read(folder, window_rows=60)
    close(pa.concat_tables(blocks_of(apply(dataset, saved, ["row", "split"], rows=50))), expected)
    actors = dataset.map_batches(
        Apply,
        fn_constructor_args=[str(saved), ["row", "split"]],
        batch_format="pyarrow",
        concurrency=2,  # all there are: reading does not wait for another
    )
    close(pa.concat_tables(blocks_of(actors)), expected)
    one = Apply(saved, ["row", "split"])
    sent = pickle.loads(pickle.dumps(one))
    table = pq.read_table(folder)
    check_equal(sent(table), one(table))
    assert sent.output_names == expected.column_names
    assert sent.check(table.schema).equals(one(table).schema)


def test_a_model_that_does_not_fit_is_told_before_a_row_is_read(cluster, folder, model, saved):
    dataset = read(folder)
    with pytest.raises(rm.InvalidInputError) as told:
        apply(dataset, model, inputs={"frames": "row", "words": "speaker"})
    assert "input 'frames'" in str(told.value)
    assert "input 'words'" in str(told.value)
    with pytest.raises(rm.InvalidInputError, match="no column 'nothing'"):
        apply(dataset, saved, keep=["nothing"])
    with pytest.raises(rm.UnsupportedTypeError, match="takes a Dataset of Ray; got Stream"):
        apply(stream_of(folder), saved)
    with pytest.raises(rm.UnsupportedTypeError, match=r'batch_format="pyarrow".*got dict'):
        Apply(saved)({"frames": np.ones(3)})


def test_a_worker_of_another_version_is_told(
    cluster, folder, saved, table_model, tmp_path, monkeypatch
):
    dataset = read(folder).materialize()
    monkeypatch.setattr(rm, "__version__", "9.9.9")
    told = "a worker has ragmask .*, and the driver has 9.9.9: install the same version"
    with pytest.raises(rm.InvalidInputError, match=told):
        apply_stream(table_model, stream_of(folder), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(rm.InvalidInputError, match=told):
        blocks_of(read(folder))
    with pytest.raises(Exception, match=told):  # Ray's UserCodeException
        blocks_of(dataset.map_batches(Apply(saved), batch_format="pyarrow"))


def test_a_task_of_one_cpu_runs_one_thread(cluster):
    @ray.remote(num_cpus=1)
    def threads():
        os.environ.pop("OMP_NUM_THREADS", None)  # which Ray sets, too
        return rm.get_num_threads()

    assert ray.get(threads.remote()) == 1


# -- apply --engine ray -------------------------------------------------------------------


@pytest.mark.parametrize("workers", [None, 1, 5])
def test_the_output_is_the_local_engine_s_to_the_bit(
    cluster, folder, table_model, tmp_path, workers
):
    heard = []
    stream = stream_of(folder)
    rows = apply_stream(
        table_model, stream, tmp_path / "out", workers=workers, progress=heard.append
    )
    assert rows == heard[-1] == ROWS
    assert heard == sorted(heard)
    assert sorted(part.name for part in (tmp_path / "out").iterdir()) == [
        f"part-{number:05}.parquet" for number in range(len(heard))
    ]
    check_equal(whole(tmp_path / "out"), locally(table_model, stream, tmp_path))
    assert rm.stream(tmp_path / "out", ["row"]).to_arrow()["row"].to_pylist() == list(range(ROWS))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["local.parquet", "out"]


@pytest.mark.parametrize("condition", [[("row", ">", 45)], [("row", "<", 0)]])
def test_the_output_of_a_filtered_stream_too(cluster, folder, table_model, tmp_path, condition):
    stream = stream_of(folder, filter=condition)
    rows = apply_stream(table_model, stream, tmp_path / "out")
    expected = locally(table_model, stream, tmp_path)
    assert rows == len(expected)
    check_equal(whole(tmp_path / "out"), expected)


def test_a_node_killed_midway_costs_no_row_and_doubles_none(cluster, folder, table_model, tmp_path):
    node, begun = cluster.other.node_id, tmp_path / "begun"

    def stuck_there(batch):
        if batch.num_rows and ray.get_runtime_context().get_node_id() == node:
            begun.touch()
            time.sleep(100)
        return batch

    def kill():
        while not begun.exists():
            time.sleep(0.01)
        cluster.remove_node(cluster.other, allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    stream = stream_of(folder, 20)
    try:
        rows = apply_stream(table_model, stream.map(stuck_there), tmp_path / "out", workers=2)
        killer.join(10)
        assert not killer.is_alive()
    finally:
        cluster.other = cluster.add_node(**cluster.options)
    assert rows == ROWS
    check_equal(whole(tmp_path / "out"), locally(table_model, stream, tmp_path))


def test_a_killed_worker_s_part_is_written_again(cluster, folder, table_model, tmp_path):
    killed = tmp_path / "killed"

    def deadly(batch):
        if batch.num_rows and batch["row"][0] > 300 and not killed.exists():
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return batch

    stream = stream_of(folder)
    assert apply_stream(table_model, stream.map(deadly), tmp_path / "out") == ROWS
    assert killed.exists()
    check_equal(whole(tmp_path / "out"), locally(table_model, stream, tmp_path))


def test_an_error_of_a_worker_is_ragmask_s_own_and_leaves_nothing(cluster, folder, saved, tmp_path):
    def bad(batch):
        if batch.num_rows and batch["row"][-1] > 600:
            raise rm.InvalidInputError("a bad row")
        return batch

    model = TableModel(saved, ["row"])
    stream = stream_of(folder)
    with pytest.raises(rm.InvalidInputError, match=r"^a bad row$") as told:
        apply_stream(model, stream.map(bad), tmp_path / "out")
    assert type(told.value) is rm.InvalidInputError
    table = pq.read_table(folder)
    vectors = table["frames"].to_pylist()
    vectors[450] = [None]
    table = table.set_column(0, "frames", pa.array(vectors, table.schema.field("frames").type))
    ids = table.append_column("ids", pa.array([[row // 70] for row in range(ROWS)]))
    pq.write_table(ids, tmp_path / "ids.parquet", row_group_size=50)
    layers = rm.layers
    x = layers.Input((None,), "int32", name="ids")
    model = TableModel(layers.Model(x, layers.LSTM(2)(layers.Embedding(6, 2)(x))))
    with pytest.raises(rm.InvalidInputError, match=r"id 6 .* 6") as told:
        apply_stream(
            model, rm.stream(tmp_path / "ids.parquet", ["ids"]).batch(rows=40), tmp_path / "o"
        )
    assert re.fullmatch(r"in rows \d+–\d+ of the data set", told.value.__notes__[-1])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ids.parquet"]


def test_names_that_are_taken_and_models_that_do_not_fit_begin_nothing(
    folder, table_model, tmp_path
):
    (tmp_path / "out").mkdir()
    stream, lacking = stream_of(folder), rm.stream(folder, ["frames", "row"]).batch()
    with pytest.raises(rm.StreamError, match="out is there, and is not replaced"):
        apply_stream(table_model, stream, tmp_path / "out")
    with pytest.raises(rm.StreamError, match="no/out cannot be written: No such file"):
        apply_stream(table_model, stream, tmp_path / "no" / "out")
    with pytest.raises(rm.InvalidInputError, match=r"no column 'words'.*no column 'split'"):
        apply_stream(table_model, lacking, tmp_path / "a")
    even = stream.shard(0, 2, even=True)
    with pytest.raises(rm.InvalidInputError, match="repeats rows"):
        apply_stream(table_model, even, tmp_path / "a")
    with pytest.raises(rm.InvalidInputError, match="workers must be at least 1; got 0"):
        apply_stream(table_model, stream, tmp_path / "a", workers=0)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_command_writes_with_ray(cluster, folder, saved, table_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the target is relative, and the workers are elsewhere
    command = ["apply", str(saved), str(folder), "out", "--keep", "row", "--keep", "split"]
    command += ["--rows", "64", "--engine", "ray", "--workers", "2"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "640 rows to out: row, split, soft, mean, state" in result.output
    check_equal(whole(tmp_path / "out"), locally(table_model, stream_of(folder), tmp_path))
    assert isinstance(CliRunner().invoke(app, command).exception, rm.StreamError)
    assert ray.is_initialized()  # a cluster that was there is left alone
