"""What tests of ragmask.layers against Keras's layers share.

Each batch is given to Keras once, padded before and behind, one under the other; to ragmask so,
and as the Ragged that it came from. All are of one width, and Keras's LSTMs unrolled, since JAX
compiles what it runs for each shape, and loops each time: 0.01 s an LSTM, and not 0.2.
"""

import keras
import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from keras.src.backend import get_keras_mask, set_keras_mask

import ragmask as rm
from tests.strategies import over

TOLERANCE = 2e-6
ROWS, WIDTH, FEATURES = 4, 6, 3
RECURRENT = {"LSTM": 2, "GRU": 1, "SimpleRNN": 1}  # and how many states each has
QUIET = [  # a module's pytestmark
    pytest.mark.filterwarnings(  # of Keras, in its get_weights() under numpy 2.4
        "ignore:__array__ implementation:DeprecationWarning"
    ),
    pytest.mark.filterwarnings("ignore:Layer .* does not support masking:UserWarning"),
]
few = settings(max_examples=4)


@st.composite
def raggeds(draw, item_shape=(), masked=(False, True)):
    """A Ragged of ids 0 to 4, or of vectors; its rows perhaps not in their order."""
    lengths = draw(st.lists(st.integers(0, WIDTH), min_size=ROWS, max_size=ROWS).filter(any))
    random = np.random.default_rng(draw(st.integers(0, 99)))
    if item_shape:
        values = random.standard_normal((sum(lengths), *item_shape)).astype("float32") * 2
    else:
        values = random.integers(0, 5, sum(lengths)).astype("int32")
    mask = random.random(sum(lengths)) < 0.6 if draw(st.sampled_from(masked)) else None
    ragged = rm.Ragged(values, np.cumsum(lengths) - lengths, lengths, mask)
    return ragged[random.permutation(ROWS)] if draw(st.booleans()) else ragged


def frames(masked=(False, True)):
    return raggeds((FEATURES,), masked)


@st.composite
def pairs(draw):
    """Two Raggeds of the same rows, with masks of their own."""
    first = draw(frames(masked=[True])).compact()
    random = np.random.default_rng(draw(st.integers(0, 99)))
    values = random.standard_normal(first.values.shape).astype("float32")
    mask = random.random(first.n_steps) < 0.5
    return first, rm.Ragged(values, first.starts, first.lengths, mask)


def both_ways(ragged):
    """Its rows padded before, and under them the same rows padded behind."""
    pre, post = (ragged.to_padded(WIDTH, padding=padding) for padding in ("pre", "post"))
    return rm.Padded(
        np.concatenate([pre.values, post.values]), np.concatenate([pre.mask, post.mask])
    )


def tensor(padded, masked=True):
    """Keras's form of it, with its mask on it."""
    x = keras.ops.convert_to_tensor(padded.values)
    if masked:
        set_keras_mask(x, keras.ops.convert_to_tensor(padded.mask))
    return x


def array(x):
    return None if x is None else np.asarray(keras.ops.convert_to_numpy(x))


def mask_on(x):
    return array(get_keras_mask(x))


def kept(batch, mask=None):
    """The kept steps of each row, of a Ragged, or of an array with its mask."""
    if isinstance(batch, rm.Ragged):
        masks = over(batch, np.ones(batch.values.shape[0], bool) if mask is None else mask)
        return [row[keep] for row, keep in zip(batch, masks, strict=True)]
    mask = np.ones(batch.shape[:2], bool) if mask is None else mask
    return [row[keep] for row, keep in zip(batch, mask, strict=True)]


def assert_close(ours, theirs):
    np.testing.assert_allclose(ours, theirs, TOLERANCE, TOLERANCE)


def assert_steps(ours, theirs, mask):
    """A Ragged holds the steps that Keras's padded output keeps under the mask, both ways."""
    ours = kept(ours, ours.mask)
    theirs = kept(theirs, mask)
    assert [len(row) for row in ours] * 2 == [len(row) for row in theirs]
    for row, expected in zip(ours * 2, theirs, strict=True):
        assert_close(row, expected)


def assert_all(ours, theirs, mask):
    """A Padded, or array, is Keras's output whole, and has this mask or none."""
    if mask is None:
        assert getattr(ours, "mask", None) is None
    else:
        np.testing.assert_array_equal(ours.mask, mask)
    assert_close(ours.values if isinstance(ours, rm.Padded) else ours, theirs)


def assert_twice(ours, theirs):
    """(rows, features), of Keras both ways."""
    assert_close(np.concatenate([ours, ours]), theirs)


def twins(name, example, unroll=True, **options):
    """Keras's layer and ours, with Keras's weights; both built. Weights go back unchanged."""
    ours = getattr(rm.layers, name)(**options)
    theirs = getattr(keras.layers, name)(
        **options, **{"unroll": unroll} if name in RECURRENT else {}
    )
    theirs.build((None, WIDTH, *example.item_shape))
    ours(example)
    random = np.random.default_rng(0)
    weights = [random.normal(0, 0.5, one.shape) for one in theirs.get_weights()]
    theirs.set_weights(weights)
    ours.set_weights(theirs.get_weights())
    theirs.set_weights(ours.get_weights())
    for one, other in zip(theirs.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(one, other.astype("float32"))
    return theirs, ours


def mirrored(mask, go_backwards):
    """Keras gives what it read backwards in the order it read it, but the mask as it was: a bug
    that ragmask does not share."""
    return mask[:, ::-1] if go_backwards and mask is not None else mask
