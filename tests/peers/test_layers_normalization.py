"""Layers that normalise, against Keras's."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from tests.peers.keras_layers import (
    FEATURES,
    QUIET,
    array,
    assert_all,
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


@pytest.fixture(autouse=True)
def tolerance(monkeypatch):
    """JAX takes the variance as a mean of squares less a squared mean."""
    monkeypatch.setattr("tests.peers.keras_layers.TOLERANCE", 5e-5)


def assert_same(theirs, ours, ragged, **told):
    padded = both_ways(ragged)
    expected = theirs(tensor(padded), **told)
    assert_steps(ours(ragged, **told), array(expected), mask_on(expected))
    assert_all(ours(padded, **told), array(expected), mask_on(expected))
    if not told:
        assert_all(ours(padded.values), array(theirs(padded.values)), None)


FLAGS = {"center": st.booleans(), "scale": st.booleans(), "epsilon": st.sampled_from([1e-3, 0.1])}


@few
@given(ragged=frames(), options=st.fixed_dictionaries({**FLAGS, "rms_scaling": st.booleans()}))
@pytest.mark.filterwarnings("ignore:You passed `rms_scaling:UserWarning")
def test_layer_normalization(ragged, options):
    assert_same(*twins("LayerNormalization", ragged, **options), ragged)


@few
@given(ragged=raggeds((2, FEATURES)), axis=st.sampled_from([-1, [2], [2, 3], [-1, -2], -2]))
def test_layer_normalization_over_axes(ragged, axis):
    theirs, ours = twins("LayerNormalization", ragged, axis=sorted_as_keras(axis))
    assert_same(theirs, ours, ragged)


def sorted_as_keras(axis):
    """Keras mixes up the sizes of axes that count from the end, unless they are in order."""
    return sorted(axis) if isinstance(axis, list) else axis


@pytest.mark.parametrize("name", ["RMSNormalization", "UnitNormalization"])
@few
@given(ragged=frames())
def test_lengths_of_vectors(name, ragged):
    theirs, ours = twins(name, ragged)
    padded = both_ways(ragged)
    expected = array(theirs(tensor(padded)))
    assert_steps(ours(ragged), expected, padded.mask)
    assert_all(ours(padded.values), expected, None)


@pytest.mark.parametrize("training", [False, True])
@few
@given(ragged=frames(), options=st.fixed_dictionaries(FLAGS))
def test_batch_normalization(training, ragged, options):
    """In training of the kept steps of the batch, which Keras has here twice."""
    if training and not both_ways(ragged).mask.any():
        return
    theirs, ours = twins("BatchNormalization", ragged, **options)
    weights = [np.abs(one) + np.float32(0.1) for one in theirs.get_weights()]
    theirs.set_weights(weights)
    ours.set_weights(weights)
    assert_same(theirs, ours, ragged, **({"training": True} if training else {}))
    for one, other in zip(ours.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(one, other)  # nothing is learnt here


def test_batch_normalization_that_is_not_trained():
    x = np.random.default_rng(0).standard_normal((4, 3)).astype("float32")
    theirs, ours = (one.layers.BatchNormalization(trainable=False) for one in (keras, rm))
    expected = array(theirs(x, training=True))
    np.testing.assert_allclose(ours(x, training=True), expected, 1e-5, 1e-5)
