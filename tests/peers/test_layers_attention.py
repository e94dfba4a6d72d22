"""MultiHeadAttention against Keras's."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ragmask as rm
from tests.peers.keras_layers import (
    FEATURES,
    QUIET,
    WIDTH,
    array,
    assert_close,
    assert_steps,
    both_ways,
    few,
    frames,
    mask_on,
    tensor,
)

pytestmark = QUIET


@st.composite
def attentions(draw):
    """What the layer is made with; JAX's own attention takes no value_dim, and no dropout."""
    options = {
        "num_heads": draw(st.sampled_from([1, 2])),
        "key_dim": 2,
        "use_bias": draw(st.booleans()),
        "use_gate": draw(st.booleans()),
        "output_shape": draw(st.sampled_from([None, 5])),
        "sliding_window": draw(st.sampled_from([None, 2])),
    }
    return options | draw(st.sampled_from([{}, {"value_dim": 3, "dropout": 0.5}]))


def twins_of(options):
    """Both layers, with one set of weights."""
    theirs, ours = (one.layers.MultiHeadAttention(**options) for one in (keras, rm))
    shape = None, WIDTH, FEATURES
    theirs.build(shape, shape)
    ours.build(shape, shape)
    random = np.random.default_rng(0)
    weights = [random.normal(0, 0.5, one.shape) for one in theirs.get_weights()]
    theirs.set_weights(weights)
    ours.set_weights(theirs.get_weights())
    return theirs, ours


def seen(query, *keys, causal, window):
    """Which queries see a key: of others Keras gives the mean of all values, or 0."""
    pairs = query[:, :, None]
    for one in keys:
        pairs = pairs & one[:, None, :]
    ahead = np.arange(pairs.shape[2])[None, :] - np.arange(pairs.shape[1])[:, None]
    if causal:
        pairs = pairs & (ahead <= 0)
    if window is not None:
        pairs = pairs & (np.abs(ahead) < window)
    return pairs.any(axis=2)


@settings(max_examples=2)
@given(ragged=frames(), options=attentions(), causal=st.booleans())
def test_of_a_batch_to_itself(ragged, options, causal):
    theirs, ours = twins_of(options)
    told = {"use_causal_mask": causal}
    padded = both_ways(ragged)
    x = tensor(padded)
    expected = theirs(x, x, **told)
    np.testing.assert_array_equal(ours(padded, padded, **told).mask, mask_on(expected))
    assert_close(ours(padded, padded, **told).values[padded.mask], array(expected)[padded.mask])
    assert_steps(ours(ragged, ragged, **told), array(expected), padded.mask)
    dense = array(theirs(padded.values, padded.values, **told))
    assert_close(ours(padded.values, padded.values, **told), dense)


@few
@given(
    query=frames(),
    value=frames(),
    options=attentions(),
    causal=st.booleans(),
    with_key=st.booleans(),
)
def test_of_one_batch_to_another(query, value, options, causal, with_key):
    """Padded behind: there a query's place and a key's are those in their rows."""
    theirs, ours = twins_of(options)
    told = {"use_causal_mask": causal}
    q, v = query.to_padded(WIDTH), value.to_padded(WIDTH)
    key = rm.Padded(v.values[::-1].copy()[::-1] * 2, v.mask)
    more = {"key": tensor(key)} if with_key else {}
    expected = array(theirs(tensor(q), tensor(v), **more, **told))
    window = ours.sliding_window
    is_seen = seen(q.mask, v.mask, causal=causal, window=window)
    ours_more = {"key": key} if with_key else {}
    whole = ours(q, v, **ours_more, **told)
    assert_close(whole.values[is_seen], expected[is_seen])
    np.testing.assert_array_equal(whole.mask, q.mask)
    rows = ours(query, value, **({"key": value * 2} if with_key else {}), **told)
    again = rows.to_padded(WIDTH).values
    assert_close(again[is_seen], expected[is_seen])


@few
@given(ragged=frames(), options=attentions(), causal=st.booleans(), seed=st.integers(0, 9))
def test_masks_by_hand_and_scores(ragged, options, causal, seed):
    theirs, ours = twins_of(options)
    told = {"use_causal_mask": causal}
    padded = both_ways(ragged)
    mask = np.random.default_rng(seed).random((len(padded), WIDTH, WIDTH)) < 0.5
    mask |= np.eye(WIDTH, dtype=bool)
    given = {"attention_mask": mask, "return_attention_scores": True, **told}
    x = padded.values
    for one, other in zip(ours(x, x, **given), theirs(x, x, **given), strict=True):
        assert_close(one, array(other))
    masked, scores = ours(padded, padded, **given)
    expected, weights = theirs(tensor(padded), tensor(padded), **given)
    assert_close(scores, array(weights))
    assert_close(masked.values[padded.mask], array(expected)[padded.mask])


@few
@given(options=attentions())
def test_weights_have_keras_names_and_shapes(options):
    theirs, ours = twins_of(options)
    names = [name.partition("/")[2] for name, _ in ours.named_weights()]
    assert names == [one.path.partition("/")[2] for one in theirs.weights]
    shapes = [one.shape for one in ours.get_weights()]
    assert shapes == [tuple(one.shape) for one in theirs.weights]
    theirs.set_weights(ours.get_weights())


@pytest.mark.parametrize("name", ["Attention", "AdditiveAttention"])
@few
@given(
    query=frames(masked=[True]),
    value=frames(masked=[False]),
    use_scale=st.booleans(),
    causal=st.booleans(),
    concat=st.booleans(),
)
def test_without_projections(name, query, value, use_scale, causal, concat):
    """Where a query sees a key."""
    options = {"use_scale": use_scale}
    options |= {"score_mode": "concat"} if concat and name == "Attention" else {}
    theirs, ours = (getattr(one.layers, name)(**options) for one in (keras, rm))
    q, v = query.to_padded(WIDTH), value.to_padded(WIDTH)
    masks = [keras.ops.convert_to_tensor(one.mask) for one in (q, v)]
    theirs([q.values, v.values])
    ours([query, value])
    weights = [np.full_like(one, 0.7) for one in theirs.get_weights()]
    theirs.set_weights(weights)
    ours.set_weights(weights)
    expected = array(theirs([q.values, v.values], mask=masks, use_causal_mask=causal))
    is_seen = seen(q.mask, v.mask, causal=causal, window=None)
    for found in (
        ours([q, v], use_causal_mask=causal),
        ours([query, value], use_causal_mask=causal).to_padded(WIDTH),
    ):
        assert_close(found.values[is_seen], expected[is_seen])
        assert not found.values[~is_seen].any()
        np.testing.assert_array_equal(found.mask, q.mask)
