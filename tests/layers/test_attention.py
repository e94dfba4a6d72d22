"""Attention over the steps of each row."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from ragmask import layers
from tests.layers.examples import MASK, masks_of
from tests.strategies import fewer, raggeds


def by_hand(layer, query, value, causal=False):
    """One row, without masks, step by step."""
    query, value = np.asarray(query), np.asarray(value)
    (wq, bq), (wk, bk), (wv, bv), (wo, bo) = zip(*[iter(layer.get_weights())] * 2, strict=True)
    given = np.zeros((len(query), bo.shape[0]))
    for head in range(layer.num_heads):
        q = query @ wq[:, head] + bq[head]
        k = value @ wk[:, head] + bk[head]
        v = value @ wv[:, head] + bv[head]
        for step in range(len(query)):
            keys = min(step + 1, len(value)) if causal else len(value)
            powers = np.exp([q[step] @ k[one] / np.sqrt(layer.key_dim) for one in range(keys)])
            given[step] += sum(
                share * v[one] @ wo[head] for one, share in enumerate(powers / powers.sum())
            )
    return given + bo


@pytest.mark.slow  # attention is compiled for float64
@pytest.mark.parametrize("causal", [False, True])
@fewer(12)
@given(ragged=raggeds(dtypes=("float64",), item_shapes=[(3,)], max_steps=5), seed=st.integers(0, 9))
def test_of_each_row_by_itself(causal, ragged, seed):
    random = np.random.default_rng(seed)
    ragged = ragged.compact()
    ragged = ragged.with_values(random.standard_normal(ragged.values.shape))
    layer = layers.MultiHeadAttention(
        2, 4, dtype="float64", kernel_initializer="random_normal", bias_initializer="uniform"
    )
    found = layer(ragged, ragged, use_causal_mask=causal)
    assert (found.mask is None) == (ragged.mask is None)
    kept = np.ones(found.n_steps, bool) if found.mask is None else found.mask
    kept = rm.Ragged(kept, found.starts, found.lengths)
    for row, keep, given_row in zip(found, kept, ragged, strict=True):
        if keep.all():
            np.testing.assert_allclose(
                row, by_hand(layer, given_row, given_row, causal), 1e-9, 1e-9
            )


def test_what_no_query_may_see_counts_for_nothing(frames):
    """Masked steps, and the padding; NaN too."""
    layer = layers.MultiHeadAttention(2, 4)
    expected = layer(frames, frames)
    spoilt = frames.values.copy()
    spoilt[1] = np.nan
    again = layer(frames, frames.with_values(spoilt))
    np.testing.assert_array_equal(again.values[MASK], expected.values[MASK])
    assert masks_of(again) == MASK
    for padding in ("pre", "post"):
        padded = frames.to_padded(6, padding=padding)
        whole = layer(padded, padded)
        np.testing.assert_array_equal(whole.mask, padded.mask)
        np.testing.assert_allclose(whole.values[padded.mask], expected.values[MASK], 1e-5, 1e-6)


def test_a_query_that_sees_nothing_gets_nothing():
    layer = layers.MultiHeadAttention(1, 2, use_bias=False)
    query = rm.Ragged.from_rows([[[1.0, 2.0]], [[3.0, 4.0]]])
    value = rm.Ragged.from_offsets(np.ones((2, 2)), [0, 0, 2], [False, False])
    assert not layer(query, value).values.any()
    none = rm.Ragged.from_offsets(np.empty((0, 2)), [0])
    assert len(layer(none, none)) == 0


def test_masks_and_scores(frames):
    layer = layers.MultiHeadAttention(2, 4)
    padded = frames.to_padded(4)
    output, scores = layer(padded, padded, return_attention_scores=True)
    assert scores.shape == (3, 2, 4, 4)
    assert not scores[:, :, :, ~padded.mask[0]][0].any()
    np.testing.assert_allclose(scores.sum(axis=-1)[0, :, padded.mask[0]], 1, 1e-6)
    mask = np.broadcast_to(padded.mask[:, None] & padded.mask[:, :, None], (3, 4, 4))
    by_hand = layer(padded.values, padded.values, attention_mask=mask)
    np.testing.assert_allclose(by_hand, output.values, 1e-5, 1e-6)
    dropping = layers.MultiHeadAttention(2, 4, dropout=0.5, seed=1)
    assert not np.array_equal(
        dropping(padded, padded, training=True).values, dropping(padded, padded).values
    )


def test_saved_and_loaded(tmp_path, frames):
    query, value = layers.Input((None, 4)), layers.Input((None, 4))
    output = layers.MultiHeadAttention(2, 3, output_shape=(5,), name="looks")(query, value=value)
    model = layers.Model([query, value], output)
    model.save(tmp_path / "model")
    again = layers.load_model(tmp_path / "model")
    other = frames[[0, 1, 2]]
    np.testing.assert_array_equal(again([frames, other]).values, model([frames, other]).values)
    names = [name.partition("looks/")[2] for name, _ in again.named_weights()]
    assert names[:2] == ["query/kernel", "query/bias"]
    assert names[-2:] == ["attention_output/kernel", "attention_output/bias"]


@pytest.mark.parametrize(
    ("options", "call", "message"),
    [
        ({"attention_axes": 2}, {}, "attention is over time alone"),
        ({"output_shape": 8.0}, {}, "output_shape must be an integer"),
        ({"dropout": 2}, {}, "dropout is a share"),
        ({}, {"attention_mask": np.ones((3, 2, 2), bool)}, "attention_mask is of arrays"),
        ({}, {"return_attention_scores": True}, "return_attention_scores is of arrays"),
        ({}, {"key": rm.Ragged.from_rows([[[1.0] * 4]] * 3)}, "value and key"),
        ({}, {"value": np.ones((3, 2, 4))}, "all Ragged or none"),
        ({}, {"value": rm.Ragged.from_rows([[[1.0] * 4]])}, "have 3 and 1 rows"),
        ({}, {"value": rm.Ragged.from_rows([[1.0]] * 3)}, "its value has shape"),
    ],
)
def test_refused(options, call, message, frames):
    with pytest.raises((rm.InvalidInputError, rm.UnsupportedTypeError), match=message):
        layers.MultiHeadAttention(2, 3, **options)(frames, **{"value": frames, **call})


# -- without projections ------------------------------------------------------------------


@pytest.mark.parametrize("make", [layers.Attention, layers.AdditiveAttention])
def test_steps_as_they_are(make, frames, tmp_path):
    layer = make(use_scale=True)
    expected = layer([frames, frames])
    assert masks_of(expected) == MASK
    assert not expected.values[1].any()  # of a masked query
    for padding in ("pre", "post"):
        padded = frames.to_padded(6, padding=padding)
        whole = layer([padded, padded], use_causal_mask=False)
        np.testing.assert_array_equal(whole.mask, padded.mask)
        np.testing.assert_allclose(whole.values[padded.mask], expected.values[MASK], 1e-5, 1e-6)
    spoilt = frames.values.copy()
    spoilt[1] = np.nan
    again = layer([frames, frames.with_values(spoilt)])
    np.testing.assert_array_equal(again.values, expected.values)
    unseen = rm.Ragged.from_offsets(np.ones((2, 4)), [0, 0, 2, 2], [False, False])
    assert not layer([frames, unseen]).values.any()
    with pytest.raises(rm.InvalidInputError, match=r"\[query, value\] or \[query, value, key\]"):
        make()(frames)
    with pytest.raises(rm.UnsupportedTypeError, match="return_attention_scores is of arrays"):
        layer([frames, frames], return_attention_scores=True)
    with pytest.raises(rm.UnsupportedTypeError, match="all Ragged or none"):
        layer([frames, padded])
    entry = layers.Input((None, 4))
    model = layers.Model(entry, make()([entry, entry], use_causal_mask=True))
    model.save(tmp_path / "model")
    given = layers.load_model(tmp_path / "model")(frames)
    np.testing.assert_array_equal(given.values, model(frames).values)
    np.testing.assert_allclose(given.values[0], frames.values[0], 1e-6)  # which sees itself alone


def test_long_rows_add_up_in_parts(monkeypatch):
    x = np.random.default_rng(0).standard_normal((1, 9, 3))
    layer = layers.AdditiveAttention(use_scale=False)
    expected = layer([x, x])
    monkeypatch.setattr("ragmask.layers.attention.scored._MOST_AT_ONCE", 60)
    np.testing.assert_allclose(layer([x, x]), expected, 1e-12)
