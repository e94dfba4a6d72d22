"""A model over tables: what it reads, what it gives, and what it says before it computes."""

import pickle
import re

import numpy as np
import pyarrow as pa
import pytest

import ragmask as rm
from ragmask.tables import TableModel


def two_inputs():
    ids = rm.layers.Input((None,), dtype="int32", name="ids")
    frames = rm.layers.Input((None, 3), name="frames")
    embedded = rm.layers.Embedding(9, 4, mask_zero=True)(ids)
    outputs = {
        "state": rm.layers.LSTM(5)(embedded),
        "soft": rm.layers.TemporalSoftmax()(frames),
    }
    return rm.layers.Model([ids, frames], outputs)


TABLE = pa.table(
    {
        "number": pa.array([4, None, 6], pa.int16()),
        "ids": pa.array([[1, 2, 0], [3], None], pa.large_list(pa.int64())),
        "frames": pa.array([[[1, 2, 3]] * 2, [], [[0, 0, 0]]], pa.list_(pa.list_(pa.float32(), 3))),
        "words": [["a"], [], ["b"]],
        "floats": [[0.5], [], [1.0]],
    }
)


def test_it_gives_the_kept_columns_and_the_model_s():
    model = TableModel(two_inputs(), ["number", "number"])
    made = model(TABLE)
    assert made.column_names == model.output_names == ["number", "state", "soft"]
    assert made["number"].equals(TABLE["number"])
    batch = rm.Batch.from_arrow(TABLE)
    wanted = model.model({"ids": batch["ids"], "frames": batch["frames"]})
    assert np.array_equal(np.array(made["state"].to_pylist(), np.float32), wanted["state"])
    assert made["soft"].to_pylist() == wanted["soft"].to_arrow().to_pylist()
    assert model(TABLE.to_batches()[0]).equals(made)
    assert model(batch).equals(made)


def test_check_tells_the_schema_of_what_it_makes():
    model = TableModel(two_inputs(), ["number"])
    assert model.check(TABLE.schema) == model(TABLE).schema
    assert model.columns(TABLE.column_names) == ["ids", "frames", "number"]


@pytest.mark.parametrize(
    ("inputs", "keep", "messages"),
    [
        ({"ids": "floats", "frames": "ids"}, [], ["'floats' is of float64", "steps of shape"]),
        ({"ids": "words", "frames": "number"}, [], ["vocabulary", "'frames'.*rows of shape"]),
        ({"ids": "a", "frames": "b"}, ["c"], ["'a'", "'b'", "'c'", "there are number, ids"]),
        ({"frames": "words"}, [], ["input 'frames'.*list<.*string"]),
    ],
)
def test_all_that_does_not_fit_is_in_one_message(inputs, keep, messages):
    model = TableModel(two_inputs(), keep, inputs)
    with pytest.raises(rm.InvalidInputError) as raised:
        model.check(TABLE.schema)
    for message in messages:
        assert raised.match(message)


@pytest.mark.parametrize(
    ("keep", "inputs", "message"),
    [
        (["state"], None, "'state' cannot be kept"),
        ([], {"other": "ids"}, "no input 'other'; it has 'ids', 'frames'"),
    ],
)
def test_names_that_are_not_the_model_s(keep, inputs, message):
    with pytest.raises(rm.InvalidInputError, match=message):
        TableModel(two_inputs(), keep, inputs)


def test_it_travels_between_processes_of_one_version(monkeypatch):
    model = TableModel(two_inputs(), ["number"])
    sent = pickle.dumps(model)
    assert pickle.loads(sent)(TABLE).equals(model(TABLE))
    version = re.escape(rm.__version__)
    monkeypatch.setattr(rm, "__version__", "9.9")
    with pytest.raises(rm.InvalidInputError, match=f"by ragmask {version} to a process .* 9\\.9"):
        pickle.loads(sent)


def test_an_error_says_in_which_rows_it_is():
    table = pa.table({"ids": [[1], [99]], "frames": pa.array([[], []], TABLE["frames"].type)})
    (batch,) = rm.stream(table).batch(rows=8)
    with pytest.raises(rm.InvalidInputError, match="id 99") as raised:
        TableModel(two_inputs())(batch)
    assert raised.value.__notes__[-1] == "in rows 0–1 of the data set"


# -- Batch.from_arrow ---------------------------------------------------------------------


def test_a_table_becomes_a_batch_and_comes_back():
    batch = rm.Batch.from_arrow(TABLE)
    assert list(batch) == TABLE.column_names
    assert batch.to_arrow().equals(TABLE)
    assert rm.Batch.from_arrow(TABLE.slice(1)).to_arrow().equals(TABLE.slice(1))
    address = TABLE["frames"].chunk(0).values.values.buffers()[1].address
    assert batch["frames"].values.ctypes.data == address
    assert rm.Batch.from_arrow(TABLE.select([])).num_rows == 3


def test_a_batch_may_refuse_nulls():
    with pytest.raises(rm.InvalidInputError, match="row 2 is null"):
        rm.Batch.from_arrow(TABLE, nulls="error")
    with pytest.raises(rm.InvalidInputError, match="nulls must be"):
        rm.Batch.from_arrow(TABLE, nulls="drop")


@pytest.mark.parametrize("given", [3, "a", [[1]], np.zeros((2, 2)), pa.array([1])])
def test_what_is_no_table_is_refused(given):
    with pytest.raises(rm.UnsupportedTypeError, match="from_arrow takes a table"):
        rm.Batch.from_arrow(given)
