"""Pools, products as equations, dropouts, and layers on each step, against Keras's."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from tests.peers.keras_layers import (
    FEATURES,
    QUIET,
    WIDTH,
    array,
    assert_all,
    assert_close,
    assert_steps,
    both_ways,
    few,
    frames,
    mask_on,
    raggeds,
    tensor,
    twins,
)

pytestmark = QUIET


@few
@given(ragged=frames(), keepdims=st.booleans())
def test_global_average_pooling(ragged, keepdims):
    padded = both_ways(ragged)
    theirs, ours = twins("GlobalAveragePooling1D", ragged, keepdims=keepdims)
    expected = array(theirs(tensor(padded)))
    some = padded.mask.any(axis=1)
    whole, of_ragged = ours(padded), ours(ragged)
    assert_close(whole[some], expected[some])
    assert_close(np.concatenate([of_ragged, of_ragged])[some], expected[some])
    assert not whole[~some].any()  # Keras's are NaN
    assert_all(ours(padded.values), array(theirs(padded.values)), None)
    assert ours.compute_mask(padded, padded.mask) is None


@few
@given(ragged=frames(), keepdims=st.booleans())
def test_global_max_pooling(ragged, keepdims):
    """Keras's takes masked steps too: it is compared without a mask."""
    padded = both_ways(ragged)
    theirs, ours = twins("GlobalMaxPooling1D", ragged, keepdims=keepdims)
    assert_all(ours(padded.values), array(theirs(padded.values)), None)
    lowest = np.where(padded.mask[..., None], padded.values, -np.inf)
    some = padded.mask.any(axis=1)
    expected = array(theirs(lowest))[some]
    assert_close(ours(padded)[some], expected)
    assert_close(np.concatenate([ours(ragged)] * 2)[some], expected)


@pytest.mark.parametrize("name", ["GlobalAveragePooling1D", "GlobalMaxPooling1D"])
@pytest.mark.parametrize("keepdims", [False, True])
def test_features_first(name, keepdims):
    x = np.random.default_rng(0).standard_normal((2, FEATURES, WIDTH)).astype("float32")
    options = {"data_format": "channels_first", "keepdims": keepdims}
    theirs, ours = (getattr(one.layers, name)(**options) for one in (keras, rm))
    assert_close(ours(x), array(theirs(x)))
    if name == "GlobalAveragePooling1D":
        mask = np.random.default_rng(1).random((2, WIDTH)) < 0.7
        assert_close(ours(x, mask=mask), array(theirs(x, mask=mask)))


EQUATIONS = {
    "abc,cd->abd": (None, 5),
    "abc,cde->abde": (None, 2, 4),
    "...x,xy->...y": 5,
    "...x,yx->...xy": (FEATURES, 4),
    "abc,dc->abcd": (None, FEATURES, 2),
}


@pytest.mark.parametrize("equation", EQUATIONS)
@few
@given(ragged=frames(), with_bias=st.booleans(), activation=st.sampled_from([None, "relu"]))
def test_einsum_dense(equation, ragged, with_bias, activation):
    bias = equation[-1] if with_bias else None
    options = {"bias_axes": bias, "activation": activation}
    theirs, ours = twins(
        "EinsumDense", ragged, equation=equation, output_shape=EQUATIONS[equation], **options
    )
    padded = both_ways(ragged)
    expected = array(theirs(padded.values))
    assert_all(ours(padded.values), expected, None)
    unmasked = rm.Ragged(ragged.values, ragged.starts, ragged.lengths)
    assert_steps(ours(unmasked), expected, both_ways(unmasked).mask)
    masked = theirs(tensor(padded))
    assert (ours(padded).mask is None) == (mask_on(masked) is None)


@pytest.mark.parametrize(
    ("equation", "shape"),
    [("abc,cd->ad", (4,)), ("abc,cd->adb", (4, None)), ("ab,b->a", ()), ("ab...,bc->ac...", (5,))],
)
def test_einsum_dense_of_arrays(equation, shape):
    x = np.random.default_rng(0).standard_normal((2, 4, FEATURES)).astype("float32")
    x = x[..., 0] if equation.startswith("ab,") else x
    theirs, ours = (one.layers.EinsumDense(equation, shape) for one in (keras, rm))
    theirs(x), ours(x)
    ours.set_weights(theirs.get_weights())
    assert_close(ours(x), array(theirs(x)))


@few
@given(ragged=frames())
def test_distributed_in_time(ragged):
    padded = both_ways(ragged)
    theirs, ours = (
        one.layers.TimeDistributed(one.layers.Dense(4, activation="tanh")) for one in (keras, rm)
    )
    x = tensor(padded)
    theirs(x), ours(ragged)
    ours.set_weights(theirs.get_weights())
    expected = theirs(x)
    assert_steps(ours(ragged), array(expected), mask_on(expected))
    assert_all(ours(padded), array(expected), mask_on(expected))


@few
@given(ragged=raggeds((4, FEATURES)))
def test_sequences_distributed_in_time(ragged):
    padded = both_ways(ragged)
    theirs = keras.layers.TimeDistributed(keras.layers.LSTM(2, unroll=True))
    ours = rm.layers.TimeDistributed(rm.layers.LSTM(2))
    expected = array(theirs(padded.values))  # whose LSTM would take a step's mask for its own
    ours(ragged)
    ours.set_weights(theirs.get_weights())
    assert_all(ours(padded), expected, padded.mask)
    assert_steps(ours(ragged), expected, padded.mask)


RANDOM = {
    "Dropout": {"rate": 0.5},
    "SpatialDropout1D": {"rate": 0.5},
    "AlphaDropout": {"rate": 0.5},
    "GaussianDropout": {"rate": 0.5},
    "GaussianNoise": {"stddev": 0.5},
}


@pytest.mark.parametrize("name", RANDOM)
def test_chance(name):
    """Means and deviations of many numbers are Keras's, in training; else nothing changes."""
    x = np.random.default_rng(0).standard_normal((200, 3, 50)).astype("float32") + 1
    theirs, ours = (getattr(one.layers, name)(seed=1, **RANDOM[name]) for one in (keras, rm))
    assert_close(ours(x), array(theirs(x)))
    expected, made = array(theirs(x, training=True)), ours(x, training=True)
    assert made.dtype == expected.dtype
    np.testing.assert_allclose(made.mean(), expected.mean(), atol=0.05)
    np.testing.assert_allclose(made.std(), expected.std(), atol=0.05)
    share = [(one == 0).mean() for one in (made, expected)]
    np.testing.assert_allclose(*share, atol=0.03)


@few
@given(ragged=frames())
def test_weights_of_a_table_by_dtype(ragged):
    ids = np.array([[1, 2], [0, 1]])
    for dtype in ("float32", "float16"):
        theirs, ours = (one.layers.Embedding(3, 2, dtype=dtype) for one in (keras, rm))
        theirs(ids), ours(ids)
        ours.set_weights(theirs.get_weights())
        assert ours(ids).dtype == array(theirs(ids)).dtype
    padded = both_ways(ragged)
    for dtype in ("float64", "int32"):
        theirs, ours = twins("Dense", ragged, units=2)
        x = padded.values.astype(dtype)
        assert ours(x).dtype == array(theirs(x)).dtype == "float32"
        assert_close(ours(x), array(theirs(x)))


def test_repeat_vector():
    x = np.arange(6, dtype="float32").reshape(2, 3)
    theirs, ours = (one.layers.RepeatVector(4) for one in (keras, rm))
    assert_close(ours(x), array(theirs(x)))
