"""Models to save, and layers of a user's own in them."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import ragmask as rm
from ragmask import layers
from ragmask.layers import (
    GRU,
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
    SimpleRNN,
    TemporalConcat,
    TemporalPool,
    TemporalSoftmax,
    TemporalSplit,
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
        self.scale = self.add_weight(input_shape[-1:], "ones", name="scale")

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


def recurrent():
    """Every kind of recurrent layer, in one direction and in both."""
    ids = Input((None,), "int32")
    outputs, x = [], Embedding(5000, 8, mask_zero=True)(ids)
    for kind in (LSTM, GRU, SimpleRNN):
        both = Bidirectional(kind(3, return_sequences=True, use_bias=False), "sum")
        steps, *states = kind(3, return_sequences=True, return_state=True)(both(x))
        outputs += [kind(3, go_backwards=True)(steps, initial_state=states), *states]
    outputs.append(GRU(4, reset_after=True)(x))
    return Model(ids, outputs)


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
    return IDS if isinstance(model.input, Symbol) else {"ids": IDS, "kept": IDS != 8}


def arrays_of(outputs):
    if isinstance(outputs, dict):
        outputs = list(outputs.values())
    outputs = outputs if isinstance(outputs, list) else [outputs]
    return [one.values if isinstance(one, rm.Ragged) else one for one in outputs]


def assert_alike(one, other):
    batch = batch_of(one)
    for found, expected in zip(arrays_of(one(batch)), arrays_of(other(batch)), strict=True):
        np.testing.assert_array_equal(found, expected)


MODELS = pytest.mark.parametrize("make", [sequential, graph, sharing, recurrent])


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
