"""Conv1D and DepthwiseConv1D against Keras's: dense arrays, and each row without padding."""

import keras
import numpy as np
import pytest

import ragmask as rm
from ragmask.interop.keras import from_keras
from tests.peers.keras_layers import QUIET, array, assert_close

pytestmark = QUIET

FEATURES, WIDTH = 4, 9
LENGTHS = [1, 4, 9, 7]
KINDS = {
    "Conv1D": {"filters": 6},
    "Conv1D of groups": {"filters": 6, "groups": 2},
    "DepthwiseConv1D": {},
    "DepthwiseConv1D, multiplied": {"depth_multiplier": 3},
}
FEWER = "Conv1D of groups", "DepthwiseConv1D"
PLACES = [
    {"kernel_size": 3, "activation": "relu"},
    {"kernel_size": 4, "use_bias": False},
    {"kernel_size": 1, "activation": "softmax"},
    {"kernel_size": 3, "dilation_rate": 2, "activation": "tanh"},
    {"kernel_size": 2, "dilation_rate": 3},
    {"kernel_size": 3, "strides": 2},
    {"kernel_size": 2, "strides": 3, "activation": "gelu"},
]


def pairs():
    for kind in KINDS:
        name = kind.partition(" ")[0].strip(",")
        for padding in ("valid", "same", "causal")[: 2 if name.startswith("Depth") else 3]:
            for options in PLACES[3:5] if kind in FEWER else PLACES:  # JAX compiles each
                yield name, {**KINDS[kind], **options, "padding": padding}


def twins(name, options):
    theirs, ours = (getattr(one.layers, name)(**options) for one in (keras, rm))
    theirs.build((None, WIDTH, FEATURES))
    random = np.random.default_rng(0)
    theirs.set_weights([random.normal(0, 0.5, one.shape) for one in theirs.get_weights()])
    ours.build((None, None, FEATURES))
    ours.set_weights(theirs.get_weights())
    theirs.set_weights(ours.get_weights())
    assert [one.name for one in theirs.weights] == [*ours._own_weights]
    return theirs, ours


def drawn(*shape):
    return np.random.default_rng(1).standard_normal(shape).astype("float32")


@pytest.mark.parametrize(("name", "options"), [*pairs()], ids=str)
def test_arrays_and_rows_are_keras(name, options):
    theirs, ours = twins(name, options)
    x = drawn(3, WIDTH, FEATURES)
    expected = array(theirs(x))
    found = ours(x)
    assert isinstance(found, np.ndarray)
    assert found.shape == expected.shape == ours.compute_output_shape(x.shape)
    assert_close(found, expected)
    ragged = rm.Ragged(x.reshape(-1, FEATURES), [0, WIDTH], LENGTHS[:2])
    for row, given in zip(ours(ragged), ragged, strict=True):
        if options["padding"] == "valid" and len(given) < ours.span + 1:
            assert len(row) == 0  # of which Keras says that it is too short
        else:
            assert_close(row, array(theirs(np.array(given)[None]))[0])


@pytest.mark.parametrize("padding", ["same", "causal"])
def test_zeros_behind_and_before_rows_are_what_is_outside_them(padding):
    theirs, ours = twins("Conv1D", {"filters": 6, "kernel_size": 4, "padding": padding})
    lengths = np.array(LENGTHS)
    ragged = rm.Ragged(drawn(lengths.sum(), FEATURES), np.cumsum(lengths) - lengths, lengths)
    for side in ("pre", "post"):
        padded = ragged.to_padded(padding=side)
        expected = array(theirs(padded.values))
        assert_close(ours(padded).values[padded.mask], expected[padded.mask])
        found = ours(ragged).to_padded(padding=side)
        assert_close(found.values[padded.mask], expected[padded.mask])


def test_models_are_read():
    entry = keras.Input((None, FEATURES), name="frames")
    x = keras.layers.Conv1D(6, 3, padding="causal", dilation_rate=2, activation="relu")(entry)
    x = keras.layers.DepthwiseConv1D(2, padding="same", depth_multiplier=2, use_bias=False)(x)
    x = keras.layers.Conv1D(4, 3, strides=2, groups=2, name="valid")(x)
    model = keras.Model(entry, keras.layers.GlobalAveragePooling1D()(x))
    converted = from_keras(model)
    lengths = np.array([9, 5, 4, 7])
    ragged = rm.Ragged(drawn(lengths.sum(), FEATURES), np.cumsum(lengths) - lengths, lengths)
    for row, found in zip(ragged, converted(ragged), strict=True):
        np.testing.assert_allclose(found, array(model(np.array(row)[None]))[0], 1e-5, 1e-6)


def test_features_first_are_refused():
    entry = keras.Input((FEATURES, 8))
    layer = keras.layers.Conv1D(2, 1, data_format="channels_first", name="first")
    with pytest.raises(rm.UnsupportedTypeError, match=r"layer 'first'.*data_format"):
        from_keras(keras.Model(entry, layer(entry)))
