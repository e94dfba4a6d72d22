"""Models written to folders and read again; folders made by hand, or by somebody who means ill."""

import json
from contextlib import suppress

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
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
)

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


def batch_of(model):
    """What the model is called on; the first split needs an even width."""
    return IDS if isinstance(model, Sequential) else {"ids": IDS, "kept": IDS != 8}


def arrays_of(outputs):
    outputs = outputs.values() if isinstance(outputs, dict) else [outputs]
    return [one.values if isinstance(one, rm.Ragged) else one for one in outputs]


def assert_alike(one, other):
    batch = batch_of(one)
    for found, expected in zip(arrays_of(one(batch)), arrays_of(other(batch)), strict=True):
        np.testing.assert_array_equal(found, expected)


MODELS = pytest.mark.parametrize("make", [sequential, graph])


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


def test_only_a_saved_model_is_replaced(tmp_path):
    model = sequential()
    model.save(tmp_path / "model")
    model.save(tmp_path / "model")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("dear")
    with pytest.raises(rm.InvalidInputError, match="is no saved model: nothing is replaced"):
        model.save(tmp_path / "other")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "other"]


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
    ]
    for edit, message in cases:
        model.save(tmp_path / "model")
        change_weights(tmp_path, edit)
        with pytest.raises(rm.InvalidInputError, match=message):
            load_model(tmp_path / "model")
    (tmp_path / "model" / "weights.safetensors").write_bytes(b"nonsense")
    with pytest.raises(rm.InvalidInputError, match="holds no weights"):
        load_model(tmp_path / "model")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda told: told.update(format=99), "of format 99; this version of ragmask reads 1"),
        (lambda told: told["nodes"][1].update(layer="x"), "calls a layer 'x', which is not there"),
        (lambda told: told["nodes"][1].update(inputs={"symbol": [2, 0]}), "graph has no cycles"),
        (lambda told: told["nodes"][1].update(inputs={"symbol": [-1, 0]}), "not there before it"),
        (lambda told: told["nodes"][1].update(inputs=3), "nothing that comes from an input"),
        (lambda told: told.pop("nodes"), "describes no model"),
        (lambda told: told["layers"][2]["config"]["dict"].update(units="8"), "units"),
        (lambda told: told["layers"][2]["config"]["dict"].update(what=8), "layer 'lstm"),
        (lambda told: told.update({"class": "Popen"}), "'Popen' is no class of models"),
    ],
)
def test_a_description_that_is_none_is_an_error(edit, message, tmp_path):
    sequential().save(tmp_path / "model")
    change(tmp_path, edit)
    with pytest.raises(rm.RagmaskError, match=message):
        load_model(tmp_path / "model")


def test_what_is_no_model_at_all_is_an_error(tmp_path):
    with pytest.raises(rm.InvalidInputError, match=r"there is no model\.json"):
        load_model(tmp_path / "none")
    (tmp_path / "model").mkdir()
    for text in ("", "[]", "nonsense", "[" * 100_000, "3", '{"format": 1}'):
        (tmp_path / "model" / "model.json").write_text(text)
        with pytest.raises(rm.InvalidInputError):
            load_model(tmp_path / "model")


ODD = st.sampled_from([None, -1, 0, 3, 2**70, 1.5, "x", "", [], {}, [[]], {"symbol": [0, 0]}, True])


def places_in(value, path=()):
    """Every place in JSON, as a path of keys."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, one in pairs:
        yield (*path, key)
        if isinstance(one, dict | list):
            yield from places_in(one, (*path, key))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    graph().save(folder / "model")
    return folder, json.loads((folder / "model" / "model.json").read_text())


@settings(max_examples=150)
@given(data=st.data())
def test_a_description_changed_anywhere_is_read_or_refused(saved, data):
    folder, told = saved
    told = json.loads(json.dumps(told))
    *way, last = data.draw(st.sampled_from(list(places_in(told))))
    here = told
    for key in way:
        here = here[key]
    if data.draw(st.booleans()) and isinstance(here, dict):
        del here[last]
    else:
        here[last] = data.draw(ODD)
    (folder / "model" / "model.json").write_text(json.dumps(told))
    with suppress(rm.RagmaskError):
        load_model(folder / "model")
