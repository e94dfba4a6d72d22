"""Folders made by hand, that hold no model or not the one they say."""

import numpy as np
import pytest

import ragmask as rm
from ragmask import layers
from ragmask.layers import (
    LSTM,
    Dense,
    Embedding,
    Input,
    Model,
    Sequential,
    load_model,
)
from tests.layers.saved_models import change, change_weights, sequential


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
            "LSTM takes no what=.*in layer 'state'",
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
