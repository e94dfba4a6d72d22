"""`ragmask apply`: what it writes, and what it refuses."""

import re
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import ragmask as rm
from ragmask.cli.app import app
from tests.words import WORDS

pytestmark = pytest.mark.usefixtures("no_terminal")


# -- apply --------------------------------------------------------------------------------


@pytest.fixture
def applied(tmp_path):
    """A model of words and frames, saved with its vocabulary, and a file for it."""
    layers = rm.layers
    words = layers.Input((None,), "int32", name="words")
    frames = layers.Input((None, 2), name="frames")
    x = layers.Embedding(6, 4, mask_zero=True)(words)
    outputs = {
        "state": layers.LSTM(3)(x),
        "gated": layers.SimpleRNN(2)(layers.Bidirectional(layers.GRU(2, return_sequences=True))(x)),
        "weights": layers.TemporalSoftmax()(x),
        "mean": layers.TemporalPool()(layers.Dense(1)(frames)),
    }
    model = layers.Model([words, frames], outputs, name="two")
    vocabulary = rm.Vocabulary(["a", "b", "c"])
    model.save(tmp_path / "model", vocabulary={"words": vocabulary})
    table = pa.table(
        {
            "words": pa.array(WORDS[:4] * 700),
            "pairs": pa.array([[[1.0, 2.0]], [], [[0.5, 0.5]] * 3, None] * 700, PAIRS),
            "number": range(2800),
            "spans": [[{"at": 0, "to": 5}]] * 2800,
            "a.b": [[0.5, -1.5], [], [2.5], None] * 700,
            "nested": [[[[1.0]]]] * 2800,
            "some": [1, None] * 1400,
        }
    )
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=600)
    return tmp_path, model, vocabulary, table


PAIRS = pa.list_(pa.list_(pa.float32(), 2))


def call_apply(folder, *options):
    paths = [str(folder / name) for name in ("model", "in.parquet", "out.parquet")]
    command = ["apply", *paths, "--input", "frames=pairs", "--keep", "number", *options]
    return CliRunner().invoke(app, command)


def packed(name):
    """A zip file with one file in it, as Keras and torch write theirs."""

    def write(path):
        with zipfile.ZipFile(path, "w") as file:
            file.writestr(name, "{}")

    return write


def nothing(path):
    pass


def holding(name):
    def write(path):
        path.mkdir()
        (path / name).touch()

    return write


@pytest.mark.parametrize(
    ("name", "write", "words"),
    [
        ("m.keras", Path.touch, r"from_keras\(keras.models.load_model\('.*m.keras'\)\).save\("),
        ("m.h5", Path.touch, "is a model of Keras"),
        ("m", packed("config.json"), "is a model of Keras"),
        ("m", lambda path: path.write_bytes(b"\x89HDF\r\n"), "is a model of Keras"),
        ("m.pt", Path.touch, r"ragmask.interop.torch.from_torch\(module\).save\("),
        ("m", packed("archive/data.pkl"), "is a file of torch's"),
        ("m.onnx", Path.touch, "is a model of ONNX.*from_keras or .*from_torch"),
        ("m.safetensors", Path.touch, "holds weights alone"),
        ("m.parquet", Path.touch, "is data: a saved model's folder is wanted here"),
        ("m", lambda path: path.write_bytes(b"PAR1"), "is data"),
        ("m", lambda path: path.write_bytes(b"PK\x05\x06" + bytes(18)), "is a file: a saved model"),
        ("m.txt", Path.touch, "is a file: a saved model is a folder"),
        ("m", holding("saved_model.pb"), "is TensorFlow's SavedModel"),
        ("m", holding("model.safetensors"), "is a model of transformers"),
        ("m", holding("other"), "holds no saved model: there is no model.json"),
        ("m.keras", nothing, "nor such a folder"),
        ("model/model.json", nothing, "is a file of a saved model, which is the folder .*model"),
    ],
)
def test_what_is_no_saved_model_is_told_how_to_become_one(applied, name, write, words):
    folder, *_ = applied
    write(folder / name)
    with pytest.raises(rm.InvalidInputError, match=words):
        rm.layers.load_model(folder / name)
    paths = [str(folder / one) for one in (name, "in.parquet", "out.parquet")]
    told = CliRunner().invoke(app, ["apply", *paths])
    assert re.search(words, str(told.exception))
    assert not (folder / "out.parquet").exists()


@pytest.mark.parametrize("rows", [None, 7])
def test_apply_writes_what_the_model_gives(applied, rows):
    folder, model, vocabulary, table = applied
    result = call_apply(folder, *([] if rows is None else ["--rows", str(rows)]))
    assert result.exit_code == 0, result.output
    assert "2,800 rows to" in result.output
    out = pq.read_table(folder / "out.parquet")
    assert out.schema.names == ["number", "state", "gated", "weights", "mean"]
    assert out["number"].to_pylist() == list(range(2800))
    ids = vocabulary.encode(table["words"])
    expected = model([ids, rm.Ragged.from_arrow(table["pairs"])])
    for name in ("state", "gated"):
        found = np.array(out[name].to_pylist(), np.float32)
        np.testing.assert_array_equal(found, expected[name])
    weights = rm.Ragged.from_arrow(out["weights"])
    np.testing.assert_array_equal(weights.mask, expected["weights"].mask)
    kept = weights.mask
    np.testing.assert_array_equal(weights.values[kept], expected["weights"].values[kept])
    np.testing.assert_allclose(out["mean"].to_pylist(), expected["mean"], 1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--input", "frames=nothing"], "there is no column 'nothing', which is the model's input"),
        (["--input", "images=pairs"], "the model has no input 'images'; it has 'words', 'frames'"),
        (["--input", "frames"], "--input is INPUT=COLUMN; got 'frames'"),
        (["--keep", "nothing"], "there is no column 'nothing'; there are words, pairs, number, "),
        (["--keep", "state"], "column 'state' cannot be kept"),
        (["--input", "frames=number"], "model 'two': input 'frames'"),
        (["--input", "words=number"], "model 'two': input 'words'"),
        (["--input", "words=spans"], "column 'spans' has fields; say which: spans.at, spans.to"),
        (["--input", "words=spans.by"], "input 'words': no column 'spans.by'"),
        (["--input", "frames=words"], "input 'frames': column 'words' is of list<element: string>"),
        (["--input", "frames=nested"], "column 'nested' is of list<"),
    ],
)
def test_apply_says_what_is_wrong(applied, options, message):
    folder, *_ = applied
    result = call_apply(folder, *options)
    assert isinstance(result.exception, rm.InvalidInputError)
    assert message in str(result.exception)
    assert sorted(path.name for path in folder.iterdir()) == ["in.parquet", "model"]


def test_apply_needs_a_vocabulary_for_strings(applied):
    folder, model, *_ = applied
    model.save(folder / "model")
    error = call_apply(folder).exception
    assert isinstance(error, rm.InvalidInputError)
    assert "strings where it was saved with a vocabulary" in str(error)


def apply(folder, model, *options):
    """The output of a model of one input, by hand through the command."""
    model.save(folder / "model")
    names = ("model", "in.parquet", "out.parquet")
    result = CliRunner().invoke(app, ["apply", *(str(folder / name) for name in names), *options])
    if result.exception is not None:
        raise result.exception
    return pq.read_table(folder / "out.parquet")


def single(shape, *between, dtype="float32"):
    return rm.layers.Sequential([rm.layers.Input(shape, dtype, name="x"), *between], name="single")


def test_apply_reads_fields_and_names_with_dots(applied):
    folder, *_ = applied
    model = single((None,), rm.layers.Activation("relu", name="y"))
    out = apply(folder, model, "--input", "x=a.b")
    assert out["y"].to_pylist() == [[0.5, 0.0], [], [2.5], None] * 700
    out = apply(folder, model, "--input", "x=spans.to", "--keep", "a.b", "--keep", "a.b")
    assert out.schema.names == ["a.b", "y"]
    assert out["y"].to_pylist() == [[5]] * 2800


@pytest.mark.parametrize("rows", [3, 0])
def test_apply_keeps_columns_as_they_came_and_writes_files_of_no_rows(tmp_path, rows):
    kept = {
        "at": pa.array([0, None, 10**9], pa.timestamp("us", "UTC")),
        "kind": pa.array(["a", "b", None]).dictionary_encode(),
        "price": pa.array([1, 2, None], pa.decimal128(5, 2)),
        "pair": pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int8(), 2)),
        "spans": pa.array([[{"at": 1, "word": None}, None], None, []]),
        "meta": pa.array([{"lang": "de"}, None, {"lang": None}]),
    }
    table = pa.table({"x": pa.array([[1.0], None, []], pa.list_(pa.float32())), **kept})
    pq.write_table(table.slice(0, rows), tmp_path / "in.parquet")
    options = [part for name in kept for part in ("--keep", name)]
    out = apply(tmp_path, single((None,), rm.layers.Activation("relu", name="y")), *options)
    expected = pq.read_table(tmp_path / "in.parquet")
    for name in kept:
        assert out.schema.field(name).equals(expected.schema.field(name), check_metadata=True)
        assert out[name].to_pylist() == expected[name].to_pylist()
    assert out["y"].to_pylist() == [[1.0], None, []][:rows]


def test_apply_reads_the_vectors_it_wrote(applied):
    folder, *_ = applied
    call_apply(folder)
    (folder / "out.parquet").rename(folder / "in.parquet")
    found = pq.read_table(folder / "in.parquet")["state"]
    assert found.type == pa.list_(pa.float32(), 3)
    model = single((3,), rm.layers.Dense(2, name="y"))
    out = apply(folder, model, "--input", "x=state")["y"]
    vectors = np.array(found.to_pylist(), np.float32)
    np.testing.assert_allclose(out.to_pylist(), model(vectors), 1e-5, 1e-6)
    with pytest.raises(rm.InvalidInputError, match="column 'state' has rows that are not 4 numb"):
        apply(folder, single((4,), rm.layers.Dense(2)), "--input", "x=state")


def test_apply_takes_lists_of_numbers_for_steps_of_one(applied):
    folder, *_ = applied
    model = single((None, 1), rm.layers.Activation("relu", name="y"))
    out = apply(folder, model, "--input", "x=a.b")
    assert out["y"].to_pylist() == [[[0.5], [0.0]], [], [[2.5]], None] * 700
    out = apply(folder, model, "--input", "x=spans.to")
    assert out["y"].to_pylist() == [[[5.0]]] * 2800
    with pytest.raises(rm.InvalidInputError, match=r"got steps of shape \(\)"):
        apply(folder, single((None, 2), rm.layers.Activation("relu")), "--input", "x=a.b")


def test_apply_writes_one_number_a_row_and_refuses_nulls(applied):
    folder, *_ = applied
    model = single((), rm.layers.Activation("relu", name="y"))
    out = apply(folder, model, "--input", "x=number")
    assert out["y"].to_pylist() == list(range(2800))
    with pytest.raises(rm.InvalidInputError, match="input 'x': column 'some' has nulls"):
        apply(folder, model, "--input", "x=some")


@rm.layers.register
class ToPadded(rm.layers.Layer):
    """Gives what a Padded stands for."""

    def call(self, inputs):
        return inputs.to_padded()

    def compute_mask(self, inputs, mask=None):
        return inputs.to_padded().mask


def test_apply_writes_padded_outputs_without_their_padding(applied):
    folder, _, vocabulary, table = applied
    model = single((None,), ToPadded(name="y"), dtype="int32")
    model.save(folder / "model")
    out = apply(folder, rm.layers.load_model(folder / "model"), "--input", "x=spans.to")
    assert out["y"].to_pylist() == [[5]] * 2800
    between = rm.layers.Embedding(6, 2, mask_zero=True), ToPadded(name="y")
    model = single((None,), *between, dtype="int32")
    model.save(folder / "model", vocabulary=vocabulary)
    again = rm.layers.load_model(folder / "model")
    found = apply(folder, again, "--input", "x=words")["y"].to_pylist()
    words = [row or [] for row in table["words"].to_pylist()]
    assert [[step is None for step in row] for row in found] == [
        [word is None for word in row] for row in words
    ]


def test_apply_does_not_write_over_what_it_reads(applied):
    folder, *_ = applied
    before = (folder / "in.parquet").read_bytes()
    (folder / "link").symlink_to("in.parquet")
    for name in ("in.parquet", "link"):
        paths = [str(folder / one) for one in ("model", "*.parquet", name)]
        result = CliRunner().invoke(app, ["apply", *paths, "-i", "frames=pairs"])
        assert isinstance(result.exception, rm.InvalidInputError)
        assert "is the file being read" in str(result.exception)
    assert (folder / "in.parquet").read_bytes() == before


def test_apply_says_in_which_rows_an_error_is(applied):
    folder, *_ = applied
    numbers = pa.table({"x": [[1]] * 5000 + [[9]] + [[1]] * 5000})
    pq.write_table(numbers, folder / "in.parquet")
    embedding = rm.layers.Embedding(5, 2, name="few")
    (folder / "out.parquet").write_text("of before")
    where = r"(?s)'few'.*in rows 5,000–5,999 of the data set"
    with pytest.raises(rm.InvalidInputError, match=where):
        apply(folder, single((None,), embedding, dtype="int32"), "--rows", "1000")
    assert (folder / "out.parquet").read_text() == "of before"
    assert not [path for path in folder.iterdir() if path.name.endswith(".tmp")]


def test_apply_needs_an_output(applied):
    folder, *_ = applied
    result = CliRunner().invoke(app, ["apply", str(folder / "model"), str(folder / "in.parquet")])
    assert result.exit_code == 2
    assert "last the file to write" in result.output
