"""Functions of numbers and of features, and their layers, against Keras's."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from ragmask.layers.activations import ACTIVATIONS
from tests.peers.keras_layers import (
    QUIET,
    array,
    assert_all,
    assert_close,
    assert_steps,
    both_ways,
    few,
    mask_on,
    raggeds,
    tensor,
    twins,
)

pytestmark = QUIET
WIDE = np.concatenate([np.linspace(-12, 12, 97), [-1e3, 1e3, -0.0]]).astype("float32")


def steps(masked=(False, True)):
    """Of four features, which glu halves."""
    return raggeds((4,), masked)


# Keras's sparsemax does not add up to 1: it takes sums of sums.
NAMES = [name for name in ACTIVATIONS if name != "sparsemax"]


@pytest.mark.parametrize("name", NAMES)
def test_functions(name):
    """Of numbers near and far from 0, as steps of four."""
    x = WIDE.reshape(1, 25, 4)
    ours = rm.layers.activations.get(name)(x)
    theirs = array(getattr(keras.activations, name)(keras.ops.convert_to_tensor(x)))
    assert ours.dtype == theirs.dtype
    assert_close(ours, theirs)


def test_sparsemax():
    ours = rm.layers.activations.sparsemax
    np.testing.assert_allclose(ours(WIDE.reshape(25, 4)).sum(axis=-1), 1, 1e-5)
    np.testing.assert_allclose(ours(np.array([[1.0, 1.5, -1.0]])), [[0.25, 0.75, 0]])
    x = keras.ops.convert_to_tensor(np.array([[0.0, 2.0, 0.5]]))  # of which one share is left
    assert_close(ours(np.array([[0.0, 2.0, 0.5]])), array(keras.activations.sparsemax(x)))


def test_every_name_of_keras_is_known():
    """But `threshold`, which cannot be called by its name alone."""
    theirs = {name for name in dir(keras.activations) if not name.startswith("_")}
    functions = {"deserialize", "get", "serialize", "threshold"}
    assert set(ACTIVATIONS) == theirs - functions


@pytest.mark.parametrize("name", NAMES[::3])
@few
@given(ragged=steps())
def test_as_a_layer(name, ragged):
    padded = both_ways(ragged)
    theirs, ours = twins("Activation", ragged, activation=name)
    expected = theirs(tensor(padded))
    assert_steps(ours(ragged), array(expected), mask_on(expected))
    assert_all(ours(padded), array(expected), mask_on(expected))


@pytest.mark.parametrize("name", ["elu", "glu", "mish", "log_softmax"])
@few
@given(ragged=steps())
def test_of_dense(name, ragged):
    padded = both_ways(ragged)
    theirs, ours = twins("Dense", ragged, units=4, activation=name)
    expected = theirs(tensor(padded))
    assert_steps(ours(ragged), array(expected), mask_on(expected))
    assert_all(ours(padded), array(expected), mask_on(expected))


SLOPES = st.sampled_from([0.0, 0.1, 0.5, 2.0])


@st.composite
def nonlinear(draw):
    """A layer's name, and arguments that Keras takes."""
    name = draw(st.sampled_from(["ReLU", "LeakyReLU", "ELU", "PReLU", "Identity", "Softmax"]))
    options = {
        "ReLU": {
            "max_value": draw(st.sampled_from([None, 1.0, 6.0])),
            "negative_slope": draw(SLOPES),
            "threshold": draw(SLOPES),
        },
        "LeakyReLU": {"negative_slope": draw(SLOPES)},
        "ELU": {"alpha": draw(SLOPES)},
        "PReLU": {"shared_axes": draw(st.sampled_from([[1], [1, 2]]))},
    }
    return name, options.get(name, {})


@pytest.mark.parametrize("seed", range(4))
@few
@given(ragged=steps(), drawn=nonlinear())
def test_layers(seed, ragged, drawn):
    """Keras's Softmax takes no mask of steps: it is compared without."""
    name, options = drawn
    padded = both_ways(ragged)
    if options.get("negative_slope", 0) > 1 and name == "LeakyReLU":
        options = {"negative_slope": 0.9}  # backends differ above 1
    theirs, ours = twins(name, ragged, **options)
    masked = name != "Softmax"
    expected = theirs(tensor(padded, masked))
    if not masked:
        assert_all(ours(padded.values), array(expected), None)
        assert_steps(ours(rm.Ragged(*parts(ragged))), array(expected), padded_rows(ragged))
        return
    assert_steps(ours(ragged), array(expected), mask_on(expected))
    assert_all(ours(padded), array(expected), mask_on(expected))


def parts(ragged):
    return ragged.values, ragged.starts, ragged.lengths


def padded_rows(ragged):
    return both_ways(rm.Ragged(*parts(ragged))).mask


@few
@given(ragged=steps(), axis=st.sampled_from([-1, 1, (1, 2), (-1,)]))
def test_softmax_of_masked_steps(ragged, axis):
    """Which Keras is given as a mask of numbers."""
    padded = both_ways(ragged)
    theirs, ours = keras.layers.Softmax(axis), rm.layers.Softmax(axis)
    whole = np.repeat(padded.mask[..., None], 4, axis=-1)
    expected = array(theirs(padded.values, mask=whole))
    assert_all(ours(padded), expected, padded.mask)
    assert_close(ours(padded.values, mask=whole), expected)
    if axis != (1, 2):
        assert_steps(ours(ragged), expected, padded.mask)


def test_softmax_of_numbers_is_over_time():
    numbers = rm.Ragged.from_rows([[1.0, 2.0], [100.0]])
    shares = rm.layers.Softmax()(numbers)
    np.testing.assert_allclose(shares[0], array(keras.ops.softmax(np.array([1.0, 2.0]))), 1e-6)
    assert shares[1].tolist() == [1.0]
