"""Models written to folders and read again; folders made by hand, or by somebody who means ill."""

import json
import os
import pickle
import stat
from contextlib import suppress
from copy import deepcopy

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

import ragmask as rm
from ragmask import layers
from ragmask.layers import (
    LSTM,
    Add,
    Bidirectional,
    Concatenate,
    Dense,
    Dropout,
    Embedding,
    Input,
    Masking,
    Model,
    Sequential,
    TemporalConcat,
    TemporalPool,
    TemporalSoftmax,
    TemporalSplit,
    load_model,
    registry,
)
from ragmask.layers.graph import Symbol

IDS = rm.Ragged.from_rows([[711, 632, 71], [73, 8, 3215, 55, 927], [], [83, 0, 1, 645, 1253, 927]])


@layers.register
class Scaled(layers.Layer):
    """A layer of somebody's own, with a weight and an argument."""

    def __init__(self, by=2.0, **options):
        super().__init__(**options)
        self.by, self.supports_masking = by, True

    def build(self, input_shape):
        self.scale = self.add_weight("scale", input_shape[-1:], "ones")

    def call(self, inputs):
        return inputs * (self.by * self.scale)


@layers.register
class Block(layers.Layer):
    """Makes layers for itself: one at once, one when it is built."""

    def __init__(self, units):
        super().__init__()
        self.units, self.inside = units, [Dense(units)]

    def build(self, input_shape):
        self.inside.append(Dense(self.units, "tanh"))

    def call(self, inputs):
        for layer in self.inside:
            inputs = layer(inputs)
        return inputs


@layers.register
class Table(layers.Layer):
    """Arguments that JSON has no words for."""

    def __init__(self, values, sizes, dtype, inner=None, most=float("inf"), **options):
        super().__init__(**options)
        self.values, self.sizes, self.dtype = values, sizes, np.dtype(dtype)
        self.inner, self.most = inner, most

    def call(self, inputs):
        return (inputs if self.inner is None else self.inner(inputs)) + self.values


def sequential():
    return Sequential([Input((None,), "int32"), Embedding(5000, 8, mask_zero=True), LSTM(4)])


def graph():
    """Shared layers, lists and dicts, states handed on, a mask by hand, a model inside."""
    ids, kept = Input((None,), "int32", name="ids"), Input((None,), "bool", name="kept")
    x = Scaled(3.0)(Embedding(5000, 8, mask_zero=True)(ids))
    first, second = TemporalSplit(2)(x)
    shared = Dense(8, activation="gelu")
    both = TemporalConcat()([shared(first), shared(second)])
    _, h, c = LSTM(4, return_state=True)(both)
    state = LSTM(4, go_backwards=True)(x, initial_state=[h, c])
    wide = Bidirectional(LSTM(4, return_sequences=True), merge_mode="ave")(x, mask=kept)
    inner = Sequential([Input((None, 4)), Masking(), Dropout(0.5), Dense(4)])(wide)
    joined = Concatenate()([Add()([inner, wide]), wide])
    outputs = {"state": state, "weights": TemporalSoftmax()(joined), "sum": TemporalPool("sum")(x)}
    return Model({"ids": ids, "kept": kept}, outputs)


def sharing():
    """One layer in a model, in a model inside it, and in one inside that."""
    ids = Input((None,), "int32")
    x = Embedding(5000, 4)(ids)
    shared = Dense(4, "tanh")
    inner = Sequential([Input((None, 4)), shared, Block(4)])
    vectors = Input((None, 4))
    middle = Model(vectors, (shared(inner(vectors)), inner(shared(vectors))))
    first, second = middle(shared(x))
    return Model(ids, [Add()([first, second]), TemporalPool()(first), middle(x)[1]])


def batch_of(model):
    """What the model is called on."""
    return IDS if isinstance(model.inputs, Symbol) else {"ids": IDS, "kept": IDS != 8}


def arrays_of(outputs):
    if isinstance(outputs, dict):
        outputs = list(outputs.values())
    outputs = outputs if isinstance(outputs, list) else [outputs]
    return [one.values if isinstance(one, rm.Ragged) else one for one in outputs]


def assert_alike(one, other):
    batch = batch_of(one)
    for found, expected in zip(arrays_of(one(batch)), arrays_of(other(batch)), strict=True):
        np.testing.assert_array_equal(found, expected)


MODELS = pytest.mark.parametrize("make", [sequential, graph, sharing])


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
    assert type(model.outputs) is type(again.outputs)


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


def test_a_model_that_is_not_built_cannot_be_saved(tmp_path):
    with pytest.raises(rm.InvalidInputError, match="call it on a batch first"):
        Sequential([Dense(3)]).save(tmp_path / "model")


def test_layers_that_are_not_registered_are_named(tmp_path):
    class Unknown(layers.Layer):
        def call(self, inputs):
            return inputs

    model = Sequential([Input((None, 3)), Unknown(name="mine"), Dense(2)])
    with pytest.raises(rm.InvalidInputError, match=r"layer 'mine' .*@rm.layers.register"):
        model.save(tmp_path / "model")
    sequential().save(tmp_path / "model")
    change(tmp_path, lambda told: told["layers"][1].update({"class": "os.system"}))
    with pytest.raises(rm.InvalidInputError, match=r"layer 'embedding.*os.system.*not known here"):
        load_model(tmp_path / "model")


def test_a_name_is_registered_once():
    with pytest.raises(rm.InvalidInputError, match="registered as 'Dense' already"):

        @layers.register
        class Dense(layers.Layer):
            pass

    with pytest.raises(rm.InvalidInputError, match="registered as 'Model' already"):

        @layers.register
        class Model(layers.Layer):
            pass

    with pytest.raises(rm.UnsupportedTypeError, match="takes a class of layers"):
        layers.register(print)


def change(folder, edit):
    path = folder / "model" / "model.json"
    told = json.loads(path.read_text())
    edit(told)
    path.write_text(json.dumps(told))


def change_weights(folder, edit):
    path = folder / "model" / "weights.safetensors"
    weights = load_file(path)
    edit(weights)
    save_file(weights, path)


def test_weights_that_do_not_fit_are_named(tmp_path):
    model = sequential()
    lstm = model.layers[1].name
    cases = [
        (lambda w: w.pop(f"{lstm}/bias"), f"layer '{lstm}' lacks its weight 'bias'"),
        (lambda w: w.update({f"{lstm}/more": np.zeros(2)}), f"layer '{lstm}' .* no weight 'more'"),
        (lambda w: w.update({f"{lstm}/bias": np.zeros(3)}), r"'bias' has shape \(16,\); .*\(3,\)"),
        (
            lambda w: w.update({f"{lstm}/bias": np.zeros(16)}),
            "'bias' has dtype float32; .* float64",
        ),
    ]
    for edit, message in cases:
        model.save(tmp_path / "model")
        change_weights(tmp_path, edit)
        with pytest.raises(rm.InvalidInputError, match=message):
            load_model(tmp_path / "model")
    (tmp_path / "model" / "weights.safetensors").write_bytes(b"nonsense")
    with pytest.raises(rm.InvalidInputError, match="holds no weights"):
        load_model(tmp_path / "model")


# layers: the Input, the Embedding, the LSTM, and the model
@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda told: told.update(format="ragmask model 2"), "'ragmask model 2'; this version of"),
        (lambda told: told.pop("layers"), "the description has no 'layers'"),
        (lambda told: told["layers"].pop(), "the last of its layers is no model"),
        (
            lambda told: told["layers"][3].update(chain=[1, 9]),
            "it needs layer 9, which.*in layer 'guide'",
        ),
        (
            lambda told: told["layers"][3].update(chain=[1, 3]),
            "it needs layer 3, .*cycle.*in layer 'guide'",
        ),
        (
            lambda told: told["layers"][3].update(chain=[1, -1]),
            "it needs layer -1.*in layer 'guide'",
        ),
        (
            lambda told: told["layers"][3].update(chain=[1, "2"]),
            "it needs layer '2'.*in layer 'guide'",
        ),
        (
            lambda told: told["layers"][3].update(chain=[1, 0]),
            "an Input comes first.*in layer 'guide'",
        ),
        (
            lambda told: told["layers"][3].update(input=1),
            "a Sequential has an input.*in layer 'guide'",
        ),
        (lambda told: told["layers"][3].update({"class": "Popen"}), "'guide' is of class 'Popen'"),
        (
            lambda told: told["layers"][2]["config"].update(units="8"),
            "units must be an.*in layer 'state'",
        ),
        (
            lambda told: told["layers"][2]["config"].update(units=None),
            "units must be an.*in layer 'state'",
        ),
        (
            lambda told: told["layers"][2]["config"].update(what=8),
            "TypeError: .*'what'.*in layer 'state'",
        ),
        (lambda told: told["layers"][2].pop("config"), "it has no 'config'.*in layer 'state'"),
        (
            lambda told: told["layers"][2].update(config=[]),
            "it must have an object as 'config'.*in layer 'state'",
        ),
        (lambda told: told["layers"][2].update(name="a/b"), "a word without slashes; got 'a/b'"),
        (
            lambda told: told["layers"][2].update(name=7),
            "layer 2 must have a string as 'name'; got 7",
        ),
        (
            lambda told: told["layers"][2].update(holds=["a"]),
            "it holds 0 layers; .* 1.*in layer 'state'",
        ),
        (
            lambda told: told["layers"][1]["config"].update(output_dim={"os": 1}),
            "'os' is.*in layer 'words'",
        ),
        (
            lambda told: told["layers"][1]["config"].update(mask_zero={}),
            r"\{\} is no.*in layer 'words'",
        ),
    ],
)
def test_a_description_that_is_none_is_an_error(edit, message, tmp_path):
    named = [Embedding(5000, 8, name="words"), LSTM(4, name="state")]
    Sequential([Input((None,), "int32"), *named], name="guide").save(tmp_path / "model")
    change(tmp_path, edit)
    with pytest.raises(rm.RagmaskError, match=f"(?s){message}"):
        load_model(tmp_path / "model")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda node: node.update(layer="x"), "a node must have a number as 'layer'; got 'x'"),
        (
            lambda node: node.update(inputs={"symbol": [2, 0]}),
            "a graph has no cycles.*in layer 'dense'",
        ),
        (
            lambda node: node.update(inputs={"symbol": [1, 0]}),
            "not there before it.*in layer 'dense'",
        ),
        (
            lambda node: node.update(inputs={"symbol": [-1, 0]}),
            "not there before it.*in layer 'dense'",
        ),
        (
            lambda node: node.update(inputs={"symbol": [0, 1]}),
            "output 1 of node 0.*in layer 'dense'",
        ),
        (lambda node: node.update(inputs={"symbol": "ab"}), "TypeError.*in layer 'dense'"),
        (lambda node: node.update(inputs={"symbol": [0]}), "not enough values.*in layer 'dense'"),
        (
            lambda node: node.update(inputs=3),
            "it is called on nothing that comes from.*in layer 'dense'",
        ),
        (lambda node: node.update(inputs={"tuple": 3}), "TypeError.*in layer 'dense'"),
        (lambda node: node.update(options={"dict": {"mask": 3}}), "TypeError.*in layer 'dense'"),
        (lambda node: node.update(options=[1]), "TypeError.*in layer 'dense'"),
        (lambda node: node.clear(), "a node has no 'layer'"),
    ],
)
def test_a_graph_that_is_none_is_an_error(edit, message, tmp_path):
    vectors = Input((3,))
    Model(vectors, Dense(2, name="dense")(vectors), name="model").save(tmp_path / "model")
    change(tmp_path, lambda told: edit(told["layers"][2]["nodes"][1]))
    with pytest.raises(rm.RagmaskError, match=f"(?s){message}"):
        load_model(tmp_path / "model")


def test_what_is_no_model_at_all_is_an_error(tmp_path):
    with pytest.raises(rm.InvalidInputError, match=r"there is no model\.json"):
        load_model(tmp_path / "none")
    (tmp_path / "model").mkdir()
    for text in ("", "[]", "nonsense", "[" * 100_000, "3", '{"format": 1}'):
        (tmp_path / "model" / "model.json").write_text(text)
        with pytest.raises(rm.InvalidInputError):
            load_model(tmp_path / "model")


# -- descriptions that ask for too much: read in the time and memory of small models -----------


def write_model(folder, description, weights=None):
    (folder / "model").mkdir(exist_ok=True)
    save_file(weights or {}, folder / "model" / "weights.safetensors")
    told = {"format": "ragmask model 1", "layers": description}
    (folder / "model" / "model.json").write_text(json.dumps(told))


def layer(cls, name, **config):
    return {"class": cls, "name": name, "config": config}


def chained(entry, *between):
    """A Sequential of layers, the first of which is an Input."""
    told = [layer("InputLayer", "entry", **entry), *between]
    numbers = list(range(1, len(told)))
    return [*told, {"class": "Sequential", "name": "model", "input": 0, "chain": numbers}]


@pytest.mark.parametrize(
    "description",
    [
        chained(
            {"shape": [None], "dtype": "int32"},
            layer("Embedding", "e", input_dim=10**9, output_dim=99),
        ),
        chained({"shape": [None, 3]}, layer("Dense", "d", units=10**10)),
        chained({"shape": [None, 0]}, layer("Dense", "d", units=10**10, use_bias=False)),
        chained({"shape": [None, 3]}, layer("LSTM", "l", units=10**5)),
        chained({"shape": [None, 2**40]}, layer("Masking", "m")),
        chained({"shape": [2**16, 2**16]}, layer("Activation", "a", activation="relu")),
        chained({"shape": [None, 3]}, layer("TemporalSplit", "s", sections=10**11)),
        chained({"shape": [None, 3]}, layer("TemporalSplit", "s", sections=2**70)),
    ],
    ids=["embedding", "dense", "dense of nothing", "lstm", "input", "image", "split", "more"],
)
def test_sizes_that_no_file_holds_are_refused(description, tmp_path):
    write_model(tmp_path, description)
    with pytest.raises(rm.InvalidInputError):
        load_model(tmp_path / "model")


def node(number, *symbols):
    return {"layer": number, "inputs": [{"symbol": [one, 0]} for one in symbols]}


def test_features_that_double_and_double_are_refused(tmp_path):
    nodes = [{"layer": 0}, *(node(1, number, number) for number in range(60))]
    ends = {"inputs": {"symbol": [0, 0]}, "outputs": {"symbol": [60, 0]}}
    model = {"class": "Model", "name": "model", "nodes": nodes, **ends}
    write_model(
        tmp_path, [layer("InputLayer", "x", shape=[None, 8]), layer("Concatenate", "c"), model]
    )
    with pytest.raises(rm.InvalidInputError, match=r"(?s)steps of so many numbers.*in layer 'c'"):
        load_model(tmp_path / "model")


def test_models_in_models_that_double_and_double_are_refused(tmp_path):
    told = [layer("InputLayer", "x", shape=[3]), layer("Activation", "a0", activation="tanh")]
    for depth in range(1, 61):
        told.append(
            {"class": "Sequential", "name": f"a{depth}", "input": 0, "chain": [depth, depth]}
        )
    write_model(tmp_path, told)
    with pytest.raises(rm.InvalidInputError, match="would never end"):
        load_model(tmp_path / "model")


def test_models_nested_too_deep_are_refused(tmp_path):
    told = [layer("InputLayer", "x", shape=[3]), layer("Activation", "a0", activation="tanh")]
    for depth in range(1, 5000):
        told.append({"class": "Sequential", "name": f"a{depth}", "input": 0, "chain": [depth]})
    write_model(tmp_path, told)
    with pytest.raises(rm.InvalidInputError):
        load_model(tmp_path / "model")


ODD = st.one_of(
    st.sampled_from([None, -1, 0, 1, 3, 2**70, 10**12, 1.5, float("nan"), "x", "", [], {}, [[]]]),
    st.sampled_from([True, {"symbol": [0, 0]}, {"layer": 0}, {"layer": 3}, {"float": "x"}]),
    st.sampled_from([{"tuple": [1]}, {"dict": {"a": 1}}, {"array": ["float32", [1], [2]]}]),
    st.sampled_from([{"array": ["O", [1], [2]]}, {"array": ["int8", [9], []]}, "relu", "Model"]),
)


def places_in(value, path=()):
    """Every place in JSON, as a path of keys."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, one in pairs:
        yield (*path, key)
        if isinstance(one, dict | list):
            yield from places_in(one, (*path, key))


@pytest.fixture(scope="module", params=[graph, sharing])
def saved(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    request.param().save(folder / "model")
    return folder, json.loads((folder / "model" / "model.json").read_text())


@given(data=st.data())
def test_a_description_changed_anywhere_is_read_or_refused(saved, data):
    folder, told = saved
    told = deepcopy(told)
    for _ in range(data.draw(st.integers(1, 3))):
        places = list(places_in(told))
        if not places:  # all of it was deleted
            break
        *way, last = data.draw(st.sampled_from(places))
        here = told
        for key in way:
            here = here[key]
        if data.draw(st.booleans()):
            del here[last]
        else:
            *other, end = data.draw(st.sampled_from(places))
            source = told
            for key in other:
                source = source[key]
            moved = source[end]
            here[last] = deepcopy(data.draw(st.one_of(ODD, st.just(moved))))  # may be changed too
    (folder / "model" / "model.json").write_text(json.dumps(told))
    with suppress(rm.RagmaskError):
        load_model(folder / "model")
