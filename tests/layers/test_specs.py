"""What built-in layers say of their outputs before there is a batch is what they then give."""

from functools import partial
from typing import get_args

import numpy as np
import pytest

import ragmask as rm
from ragmask import layers
from ragmask.layers.batch import spec_of
from ragmask.layers.graph import map_structure
from ragmask.ops.pool import How

MASK = [True, False, True, True]
DTYPES = [
    "float32",
    "int64",
    *(
        pytest.param(dtype, marks=pytest.mark.slow)
        for dtype in ("float64", "float16", "uint8", "bool")
    ),
]


def batches(item_shape, dtype):
    """Rows of 3 and 1 steps, of every kind, masked and not; and vectors without time."""
    values = np.ones((4, *item_shape), dtype)
    for mask in (None, MASK):
        ragged = rm.Ragged.from_offsets(values, [0, 3, 4], mask)
        padded = ragged.to_padded(4)
        yield ragged
        yield padded if mask is not None else rm.Padded(padded.values)
    yield padded.values
    yield np.ones((2, 3), dtype)


def bidirectional(mode="concat", **options):
    return layers.Bidirectional(layers.LSTM(3, **options), mode)


LAYERS = {
    "embedding": lambda: layers.Embedding(5, 2),
    "embedding that masks": lambda: layers.Embedding(5, 2, mask_zero=True),
    "masking": layers.Masking,
    "masking of a half": lambda: layers.Masking(0.5),
    "dense": lambda: layers.Dense(3, "relu"),
    "dense with gelu": lambda: layers.Dense(3, "gelu"),
    "lstm": lambda: layers.LSTM(3),
    "lstm with states": lambda: layers.LSTM(3, return_state=True),
    "lstm sequences": lambda: layers.LSTM(3, return_sequences=True, return_state=True),
    "lstm backwards": lambda: layers.LSTM(3, return_sequences=True, go_backwards=True),
    "gru with states": lambda: layers.GRU(3, return_state=True),
    "gru sequences": lambda: layers.GRU(3, return_sequences=True, return_state=True),
    "gru backwards": lambda: layers.GRU(3, return_sequences=True, go_backwards=True),
    "simple rnn": lambda: layers.SimpleRNN(3),
    "simple rnn sequences": lambda: layers.SimpleRNN(3, return_sequences=True, return_state=True),
    "stateful gru": lambda: layers.GRU(3, stateful=True, return_state=True),
    "lstm of doubles": lambda: layers.LSTM(3, dtype="float64", return_sequences=True),
    "lstm with relu": lambda: layers.LSTM(3, activation="relu", return_state=True),
    "gru before": lambda: layers.GRU(3, reset_after=False, return_sequences=True),
    "cell": lambda: layers.RNN(layers.LSTMCell(3), return_sequences=True, go_backwards=True),
    "stack of cells": lambda: layers.RNN(
        [layers.GRUCell(3, reset_after=False), layers.LSTMCell(2)], return_state=True
    ),
    "both directions of a stack": lambda: layers.Bidirectional(
        layers.RNN([layers.GRUCell(3), layers.SimpleRNNCell(2)], return_state=True), "ave"
    ),
    "dropout": lambda: layers.Dropout(0.5),
    "split": lambda: layers.TemporalSplit(2, width=4),
    "split into three": lambda: layers.TemporalSplit(3),
    "temporal softmax": layers.TemporalSoftmax,
    "dense of a function": lambda: layers.Dense(3, lambda values: values[..., :2]),
    "dense of float64": lambda: layers.Dense(4, "glu", dtype="float64"),
    "relu up to 1": lambda: layers.ReLU(1.0, 0.5, 0.25),
    "leaky relu": layers.LeakyReLU,
    "elu": layers.ELU,
    "prelu": layers.PReLU,
    "prelu of shared axes": lambda: layers.PReLU(shared_axes=[1]),
    "softmax layer": layers.Softmax,
    "softmax over time": lambda: layers.Softmax(1),
    "softmax over two axes": lambda: layers.Softmax((-1, -2)),
    "identity": layers.Identity,
    "spatial dropout": lambda: layers.SpatialDropout1D(0.5),
    "gaussian noise": lambda: layers.GaussianNoise(0.5),
    "activity regularization": layers.ActivityRegularization,
    "means": layers.GlobalAveragePooling1D,
    "means of one step": lambda: layers.GlobalAveragePooling1D(keepdims=True),
    "means of features first": lambda: layers.GlobalAveragePooling1D("channels_first", True),
    "maxima": layers.GlobalMaxPooling1D,
    "pool of one step": lambda: layers.TemporalPool("last", keepdims=True),
    "layer normalization": layers.LayerNormalization,
    "layer normalization over two axes": lambda: layers.LayerNormalization((-2, -1)),
    "rms normalization": lambda: layers.RMSNormalization(dtype="float16"),
    "unit normalization": layers.UnitNormalization,
    "unit normalization over time": lambda: layers.UnitNormalization(1),
    "batch normalization": layers.BatchNormalization,
    "batch normalization of an axis": lambda: layers.BatchNormalization(2),
    "einsum": lambda: layers.EinsumDense("abc,cde->abde", (None, 2, 3), bias_axes="d"),
    "einsum before the features": lambda: layers.EinsumDense("...x,xy->...y", 3),
    "einsum of a sum over time": lambda: layers.EinsumDense("abc,cd->ad", 3),
    "einsum of behind": lambda: layers.EinsumDense("abc...,cd->abd...", (None, 4)),
    "einsum of an array's time": lambda: layers.EinsumDense("ab...,bc->ac...", 3, bias_axes="c"),
    "conv": lambda: layers.Conv1D(6, 2, activation="glu"),
    "conv of strides": lambda: layers.Conv1D(3, 3, 2, "same", dtype="float64"),
    "causal conv": lambda: layers.Conv1D(4, 3, padding="causal", dilation_rate=2, groups=2),
    "depthwise conv": lambda: layers.DepthwiseConv1D(2, 2, depth_multiplier=2),
    "depthwise conv of the same": lambda: layers.DepthwiseConv1D(3, 1, "same", dtype="float16"),
    "distributed": lambda: layers.TimeDistributed(layers.Dense(2)),
    "distributed pool": lambda: layers.TimeDistributed(layers.TemporalPool()),
    "distributed masks": lambda: layers.TimeDistributed(layers.Masking()),
    "repeat vector": lambda: layers.RepeatVector(2),
    "bidirectional of states": lambda: bidirectional(return_state=True),
    "bidirectional grus": lambda: layers.Bidirectional(layers.GRU(3, return_state=True), "sum"),
}
for word in ("linear", "relu", "tanh", "sigmoid", "softmax", "gelu", "glu", "hard_tanh", "selu"):
    LAYERS[word] = partial(layers.Activation, word)
for word in (*get_args(How), "median"):
    LAYERS[word] = partial(layers.TemporalPool, word)
for word in ("concat", "sum", "mul", "ave", None):
    LAYERS[f"bidirectional {word}"] = partial(bidirectional, word, return_sequences=True)
JOINING = {
    "add": layers.Add,
    "subtract": layers.Subtract,
    "average": layers.Average,
    "multiply": layers.Multiply,
    "maximum": layers.Maximum,
    "minimum": layers.Minimum,
    "dot": lambda: layers.Dot(-1),
    "dot of unlike axes": lambda: layers.Dot((1, -1)),
    "dot over time": lambda: layers.Dot(1, normalize=True),
    "concatenate": layers.Concatenate,
    "attention": layers.Attention,
    "additive attention": layers.AdditiveAttention,
    "concatenate in time": lambda: layers.Concatenate(axis=1),
    "concatenate along nothing": lambda: layers.Concatenate(axis=5),
    "temporal concat": layers.TemporalConcat,
}


def outcome(function):
    """What a function gives, or that it is an error."""
    try:
        return function()
    except (TypeError, ValueError):
        return "error"


def assert_said(make, inputs, **given):
    """The specs are those of the outputs, or both are errors."""

    def known(one):
        return spec_of(one) if isinstance(one, rm.Ragged | rm.Padded | np.ndarray) else one

    specs, options = map_structure(spec_of, inputs), map_structure(known, given)
    said = outcome(lambda: make()._output_specs(specs, (), None, options))
    found = outcome(lambda: map_structure(spec_of, make()(inputs, **given)))
    assert said == found, specs


@pytest.mark.filterwarnings("ignore::ragmask.layers.SlowCellWarning")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", LAYERS)
def test_of_one_batch(name, dtype):
    for item_shape in ((), (4,), (2, 3)):
        for batch in batches(item_shape, dtype):
            assert_said(LAYERS[name], batch)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name == "attention" else name
        for name in JOINING
    ],
)
def test_of_two_batches(name):
    firsts = [batch for shape in ((), (4,)) for batch in batches(shape, "float32")]
    for dtype, shape in (("float32", ()), ("float64", (4,)), ("int32", (1,)), ("bool", (3,))):
        for first in firsts:
            for second in batches(shape, dtype):
                assert_said(JOINING[name], [first, second])


@pytest.mark.parametrize("key", [None, "float32"])
def test_attention(key):
    specs = [batch for shape in ((), (3,)) for batch in batches(shape, "float32")]
    for first in specs:
        for second in batches((4,), "int32"):
            for scores in (False, True):
                given = {"value": second, "return_attention_scores": scores}
                given |= {} if key is None else {"key": first}
                assert_said(lambda: layers.MultiHeadAttention(2, 3), first, **given)


class Doubled(layers.Dense):
    """A class of a user's own, whose call is another one."""

    def call(self, inputs):
        return super().call(inputs).to_padded()


class Silent(layers.Dense):
    supports_masking = False


def test_a_call_of_a_users_own_is_tried():
    frames = layers.Input((None, 4))
    assert layers.Dense(3)(frames).spec.kind == "ragged"
    assert Doubled(3)(frames).spec.kind == "padded"
    masked = layers.Masking()(frames)
    assert layers.Dense(3)(masked).is_masked
    assert not Silent(3)(masked).is_masked


def test_built_in_layers_are_not_run(monkeypatch, tmp_path):
    """Neither when a graph is made, nor when it is saved and loaded."""
    monkeypatch.setattr(layers.Layer, "_run", None)
    ids = layers.Input((None,), "int32")
    vectors = layers.Embedding(5, 4, mask_zero=True)(ids)
    inner = layers.Sequential([layers.Input((None, 4)), layers.Dense(4), layers.Masking()])
    first, second = layers.TemporalSplit()(inner(vectors))
    states = layers.LSTM(4, return_state=True)(layers.TemporalConcat()([first, second]))[1:]
    both = layers.Bidirectional(layers.LSTM(4, return_sequences=True))
    joined = layers.Concatenate()([layers.Add()([vectors, first]), both(second)])
    outputs = (
        layers.LSTM(4)(vectors, initial_state=states),
        layers.GRU(4)(vectors),
        layers.TemporalPool()(joined),
    )
    model = layers.Model(ids, outputs)
    model.save(tmp_path / "model")
    again = layers.load_model(tmp_path / "model")
    assert [symbol.spec for symbol in again.outputs] == [symbol.spec for symbol in model.outputs]
