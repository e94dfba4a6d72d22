"""Models written to folders."""

import json
import os
import pickle
import stat

import numpy as np
import pyarrow as pa
import pytest
from safetensors.numpy import load_file

import ragmask as rm
from ragmask import layers
from ragmask.layers import (
    Add,
    Dense,
    Embedding,
    Input,
    Model,
    Sequential,
    load_model,
    registry,
)
from tests.layers.saved_models import (
    IDS,
    MODELS,
    Block,
    Table,
    assert_alike,
    graph,
    sequential,
    sharing,
)


@MODELS
def test_a_model_comes_back_bit_for_bit(make, tmp_path):
    model = make()
    model.save(tmp_path / "model")
    again = load_model(tmp_path / "model")
    assert type(again) is type(model)
    assert_alike(again, model)
    assert [layer.name for layer in again.layers] == [layer.name for layer in model.layers]
    assert again.output_names == model.output_names
    again.save(tmp_path / "again")
    read = [(tmp_path / folder / "model.json").read_text() for folder in ("model", "again")]
    assert read[0] == read[1]
    assert type(model.output) is type(again.output)


def test_a_vocabulary_comes_with_its_input(tmp_path):
    words = rm.Vocabulary.build(pa.array([["a", "b"], ["c"]]))
    model = graph()
    model.save(tmp_path / "model", vocabulary={"ids": words})
    assert load_model(tmp_path / "model").vocabularies["ids"].words == words.words
    with pytest.raises(rm.InvalidInputError, match="no input 'other'; it has ids, kept"):
        model.save(tmp_path / "model", vocabulary={"other": words})
    with pytest.raises(rm.InvalidInputError, match="has 2 inputs"):
        model.save(tmp_path / "model", vocabulary=words)
    single = sequential()
    single.save(tmp_path / "model", vocabulary=words)
    assert list(load_model(tmp_path / "model").vocabularies) == single.input_names


def test_vocabularies_are_checked(tmp_path):
    for words in ("abc", {"ids": ["a"]}, 3):
        with pytest.raises(rm.UnsupportedTypeError, match="vocabulary must be a Vocabulary or"):
            graph().save(tmp_path / "model", vocabulary=words)
    model = sequential()
    model.save(tmp_path / "model", vocabulary=rm.Vocabulary(["a"]))
    for text in ("nonsense", "[" * 100_000, "[]"):
        (tmp_path / "model" / "vocabulary_0.json").write_text(text)
        with pytest.raises(rm.InvalidInputError, match=r"vocabulary_0\.json"):
            load_model(tmp_path / "model")


def test_a_loaded_model_keeps_its_vocabularies(tmp_path):
    sequential().save(tmp_path / "model", vocabulary=rm.Vocabulary(["a"]))
    load_model(tmp_path / "model").save(tmp_path / "again")
    (words,) = load_model(tmp_path / "again").vocabularies.values()
    assert words == rm.Vocabulary(["a"])


def test_layers_stay_shared(tmp_path):
    model = sharing()
    model.save(tmp_path / "model")
    again = load_model(tmp_path / "model")
    assert again.count_params() == model.count_params()
    assert load_file(tmp_path / "model" / "weights.safetensors").keys() == {
        name.partition("/")[2] for name, _ in model.named_weights()
    }
    again.set_weights([weight + 1 for weight in again.get_weights()])
    model.set_weights([weight + 1 for weight in model.get_weights()])
    assert_alike(again, model)


def test_a_loaded_sequential_takes_more_layers(tmp_path):
    model = sequential()
    model.save(tmp_path / "model")
    again = load_model(tmp_path / "model")
    last = Dense(3)
    again.add(last)
    np.testing.assert_array_equal(again(IDS), last(model(IDS)))
    assert_alike(pickle.loads(pickle.dumps(again)), again)


def test_arguments_come_back_as_they_were(tmp_path):
    values = np.array([np.nan, 1.1, -np.inf], np.float32)
    inner = Dense(3, kernel_initializer=lambda shape: np.full(shape, 0.5))
    layer = Table(values, (1, (2, None)), np.dtype("int16"), inner, name="table")
    ids = Input((None, 3), name="x")
    model = Model(ids, Add()([layer(ids), layer(ids)]))
    model.save(tmp_path / "model")
    again = load_model(tmp_path / "model").get_layer("table")
    np.testing.assert_array_equal(again.values, values)
    assert again.values.dtype == np.float32
    assert (again.sizes, again.dtype, again.most) == ((1, (2, None)), np.int16, float("inf"))
    np.testing.assert_array_equal(again.inner.kernel, np.full((3, 3), 0.5, np.float32))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sizes": {1: 2}}, "layer 'table' is given a dict whose keys are no strings"),
        ({"values": print}, "layer 'table' is given a builtin_function_or_method"),
        ({"values": np.array(["a"])}, "layer 'table' is given a ndarray"),
    ],
)
def test_arguments_that_cannot_be_written_are_named(options, message, tmp_path):
    class Quiet(Table):
        def call(self, inputs):
            return inputs

    layer = Quiet(**{"values": 1, "sizes": 1, "dtype": "int8", "name": "table", **options})
    model = Sequential([Input((3,)), layer])
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.REGISTERED, "Quiet", Quiet)
        with pytest.raises(rm.UnsupportedTypeError, match=message):
            model.save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_what_could_not_be_read_is_not_written(tmp_path):
    class Twins(layers.Layer):
        def __init__(self, make):
            super().__init__(name="twins")
            self.first, self.second = make(), make()

        def call(self, inputs):
            return self.second(self.first(inputs))

    class Doubled(Model):
        def call(self, inputs, training=False):
            return super().call(inputs, training) * 2

    vectors = Input((2,))
    block = Block(2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.REGISTERED, "Twins", Twins)
        cases = [
            (Doubled(vectors, Dense(2)(vectors)), "class Doubled: only a Model or a Sequential"),
            (Sequential([vectors, Twins(lambda: Dense(2, name="d"))]), "two weights 'twins/d/ker"),
            (Sequential([vectors, Twins(lambda: Dense(2))]), "'twins' is given a function"),
            (Sequential([vectors, block, block.inside[0]]), "can be used in that one alone"),
        ]
        for model, message in cases:
            with pytest.raises(rm.RagmaskError, match=message):
                model.save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_only_a_saved_model_is_replaced(tmp_path):
    model = sequential()
    model.save(tmp_path / "model")
    model.save(tmp_path / "model")
    model.save(tmp_path / "foreign")
    (tmp_path / "foreign" / "letter.txt").write_text("dear")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "model.json").write_text('{"format": "layers-model"}')
    (tmp_path / "file").write_text("dear")
    for name, why in (("foreign", " but letter.txt"), ("other", ""), ("file", "")):
        with pytest.raises(rm.InvalidInputError, match=f"no saved model{why}: nothing is replaced"):
            model.save(tmp_path / name)
    assert (tmp_path / "foreign" / "letter.txt").read_text() == "dear"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "foreign", "model", "other"]


@pytest.mark.parametrize("name", ["\ud800", "a\udcff"])
def test_a_name_that_is_no_text_is_refused(name, tmp_path):
    model = Sequential([Input((None,), "int32"), Embedding(4, 2, name=name)])
    with pytest.raises(rm.InvalidInputError, match="holds half a character; give the layer"):
        model.save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_a_link_stays_one(tmp_path):
    model = sequential()
    model.save(tmp_path / "deep" / "model")
    (tmp_path / "link").symlink_to("deep/model")
    with pytest.raises(
        rm.StreamError, match=r"link is a link to deep/model, and would be replaced"
    ):
        model.save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    (tmp_path / "folder").symlink_to("deep")
    model.set_weights([weight + 1 for weight in model.get_weights()])
    model.save(tmp_path / "folder" / "model")
    assert (tmp_path / "folder").is_symlink()
    assert_alike(load_model(tmp_path / "deep" / "model"), model)


@pytest.mark.parametrize("fails", ["disk", "rename", "second rename"])
def test_a_save_that_fails_leaves_what_was_there(fails, tmp_path, monkeypatch):
    old, new = sequential(), sequential()
    old.save(tmp_path / "model")
    calls, rename = [], type(tmp_path).rename

    def fail(*args):
        calls.append(args)
        if fails != "second rename" or len(calls) == 2:
            raise OSError("the disk is full")
        return rename(*args)

    if fails == "disk":
        monkeypatch.setattr("ragmask.layers.saved.folder.bring_to_disk", fail)
    else:
        monkeypatch.setattr(type(tmp_path), "rename", fail)
    with pytest.raises(OSError, match="the disk is full"):
        new.save(tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert_alike(load_model(tmp_path / "model"), old)


def test_files_are_as_readable_as_others(tmp_path):
    mask = os.umask(0o027)
    try:
        sequential().save(tmp_path / "model", vocabulary=rm.Vocabulary(["a"]))
    finally:
        os.umask(mask)
    found = [tmp_path / "model", *sorted((tmp_path / "model").iterdir())]
    assert [stat.S_IMODE(path.stat().st_mode) for path in found] == [0o750, 0o640, 0o640, 0o640]


def test_saving_and_loading_draw_no_numbers(tmp_path):
    model = graph()

    def drawn():
        layer = Dense(2)
        layer(np.ones((1, 3)))
        return layer.kernel

    layers.set_random_seed(1)
    expected = drawn()
    layers.set_random_seed(1)
    model.save(tmp_path / "model")
    load_model(tmp_path / "model")
    np.testing.assert_array_equal(drawn(), expected)


@layers.register
class Late(layers.Layer):
    """Makes the layer that it holds once it is built."""

    def __init__(self, units=2, **options):
        super().__init__(**options)
        self.units = units

    def build(self, input_shape):
        self.inner = Dense(self.units, name="inner")

    def call(self, inputs):
        return self.inner(inputs)


def test_layers_made_while_building_draw_nothing_and_are_bounded(tmp_path):
    model = Sequential([Input((None, 3)), Late()])
    layers.set_random_seed(1)
    expected = layers.initializers.random().random()
    layers.set_random_seed(1)
    model.save(tmp_path / "model")
    again = load_model(tmp_path / "model")
    assert layers.initializers.random().random() == expected
    frames = rm.Ragged.from_rows([[[1.0, 2.0, 3.0]]])
    np.testing.assert_array_equal(again(frames).values, model(frames).values)
    path = tmp_path / "model" / "model.json"
    told = json.loads(path.read_text())
    told["layers"][1]["config"]["units"] = 10**10
    path.write_text(json.dumps(told))
    with pytest.raises(rm.InvalidInputError, match=r"'kernel' of shape .* larger than all the we"):
        load_model(tmp_path / "model")


def test_a_model_that_is_not_built_is_saved_as_it_is(tmp_path):
    first, second = Dense(3, name="first"), Dense(2, name="second")
    first.build((None, 4))
    Sequential([first, second], name="later").save(tmp_path / "model")
    again = load_model(tmp_path / "model")
    assert not again.built
    np.testing.assert_array_equal(again.get_layer("first").kernel, first.kernel)
    assert not again.get_layer("second").built
    assert again(rm.Ragged.from_rows([[[1.0, 2.0, 3.0, 4.0]]])).item_shape == (2,)
