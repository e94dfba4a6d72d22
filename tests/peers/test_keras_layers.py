"""Embedding, Masking and recurrent ops against Keras's layers and their masks."""

import keras
import numpy as np
import pytest

import ragmask as rm

LENGTHS = [6, 1, 9, 4, 9]
TOLERANCE = 2e-6

pytestmark = pytest.mark.filterwarnings(  # of Keras, in its get_weights() under numpy 2.4
    "ignore:__array__ implementation:DeprecationWarning"
)


def frames(padding, interior):
    """A Padded of 5 features, with masked steps between kept ones where `interior`."""
    random = np.random.default_rng(0)
    values = random.standard_normal((sum(LENGTHS), 5)).astype("float32")
    padded = rm.Ragged(values, np.cumsum(LENGTHS) - LENGTHS, LENGTHS).to_padded(padding=padding)
    mask = padded.mask & (random.random(padded.mask.shape) < 0.7) if interior else padded.mask
    return rm.Padded(padded.values, mask)


@pytest.mark.parametrize("mask_zero", [False, True])
def test_embedding(mask_zero):
    ids = np.random.default_rng(0).integers(0, 4, (3, 7))
    layer = keras.layers.Embedding(4, 6, mask_zero=mask_zero)
    expected, mask = np.asarray(layer(ids)), layer.compute_mask(ids)
    vectors = rm.embedding(ids, layer.get_weights()[0], mask_zero=mask_zero)
    if mask_zero:
        np.testing.assert_array_equal(vectors.mask, np.asarray(mask))
        vectors = vectors.values
    else:
        assert mask is None
    np.testing.assert_array_equal(vectors, expected)


@pytest.mark.parametrize("mask_value", [0.0, 2.0])
def test_masking(mask_value):
    steps = np.random.default_rng(0).integers(0, 3, (4, 9, 2)).astype("float32")
    steps[:, ::3] = mask_value
    layer = keras.layers.Masking(mask_value)
    masked = rm.masking(steps, mask_value)
    np.testing.assert_array_equal(masked.values, np.asarray(layer(steps)))
    np.testing.assert_array_equal(masked.mask, np.asarray(layer.compute_mask(steps, None)))


OPS = pytest.mark.parametrize(
    ("name", "op", "kind"),
    [
        ("LSTM", rm.lstm, rm.LSTMWeights),
        ("GRU", rm.gru, rm.GRUWeights),
        ("SimpleRNN", rm.rnn, rm.RNNWeights),
    ],
)


@OPS
@pytest.mark.parametrize("padding", ["pre", "post"])
@pytest.mark.parametrize("interior", [False, True])
@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("zero_output_for_mask", [False, True])
@pytest.mark.parametrize("with_state", [False, True])
def test_recurrent_layers(
    name, op, kind, padding, interior, go_backwards, zero_output_for_mask, with_state
):
    """Keras returns what it read backwards in the order it read it."""
    keras.utils.set_random_seed(0)
    x = frames(padding, interior)
    shape = kind.cell.states, len(x), 17
    state = np.random.default_rng(1).standard_normal(shape).astype("float32")
    initial_state = tuple(state) if with_state else None
    layer = getattr(keras.layers, name)(
        17,
        return_sequences=True,
        return_state=True,
        go_backwards=go_backwards,
        zero_output_for_mask=zero_output_for_mask,
        bias_initializer="random_normal",
    )
    expected, *last = (
        np.asarray(array) for array in layer(x.values, mask=x.mask, initial_state=initial_state)
    )
    result, *states = op(
        x,
        kind.from_keras(layer.get_weights()),
        initial_state=initial_state,
        go_backwards=go_backwards,
        zero_output_for_mask=zero_output_for_mask,
    )
    outputs = result.values[:, ::-1] if go_backwards else result.values
    if with_state:  # before a row's first kept step Keras repeats the initial state, not 0
        read = np.logical_or.accumulate(x.mask[:, ::-1] if go_backwards else x.mask, axis=1)
        outputs, expected = outputs[read], expected[read]
    np.testing.assert_allclose(outputs, expected, TOLERANCE, TOLERANCE)
    np.testing.assert_allclose(states, last, TOLERANCE, TOLERANCE)


@OPS
@pytest.mark.parametrize("use_bias", [False, True])
def test_full_rows_give_the_last_output(name, op, kind, use_bias):
    x = np.random.default_rng(0).standard_normal((4, 8, 3)).astype("float32")
    layer = getattr(keras.layers, name)(20, use_bias=use_bias)
    expected = np.asarray(layer(x))
    weights = kind.from_keras(layer.get_weights())
    h = op(x, weights, outputs=False).h
    np.testing.assert_allclose(h, expected, TOLERANCE, TOLERANCE)
