"""Gradients of the ops without weights, as arrays: interop puts them behind its own tensors."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from ragmask.ops.embeddings import embedding_gradient
from ragmask.ops.pool import pool_gradient
from ragmask.ops.softmax import softmax_gradient
from ragmask.rows.rows import add_rows
from tests import reference
from tests.strategies import as_rows, assert_rows, lists_of, over, raggeds, with_normals

HOWS = ("sum", "mean", "max", "first", "last")
ITEMS = st.sampled_from([(), (1,), (3,), (16,), (2, 2), (0,)])
TOLERANCES = {"float16": 1e-2, "float32": 1e-5, "float64": 1e-12}
DTYPES = st.sampled_from([*TOLERANCES])
COMPACT = raggeds(dtypes=("uint8",), item_shapes=[()], max_steps=40, compact=True)
NAN = np.nan


def normals(shape, dtype="float64", seed=1):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def with_gradient(batch, seed=1):
    """The gradient of a batch's steps, in which those that are masked are NaN."""
    gradient = normals(batch.values.shape, batch.dtype, seed)
    if batch.mask is not None:
        gradient[~batch.mask] = NAN
    return gradient


@given(COMPACT, DTYPES, ITEMS)
def test_softmax(ragged, dtype, item_shape):
    soft = rm.temporal_softmax(with_normals(ragged, dtype, item_shape))
    gradient = with_gradient(soft)
    found = softmax_gradient(soft._rows, gradient)
    assert (found.shape, found.dtype) == (gradient.shape, dtype)
    rows, masks = lists_of(soft)
    expected = reference.softmax_gradient(rows, masks, as_rows(soft, gradient))
    assert_rows(as_rows(soft, found), expected, TOLERANCES[dtype])


@given(COMPACT, DTYPES, ITEMS, st.sampled_from(HOWS), st.sampled_from([0, 0.3]))
def test_pool(ragged, dtype, item_shape, how, specials):
    """Of numbers many of which are equal."""
    batch = with_normals(ragged, dtype, item_shape, specials)
    batch = over(batch, np.round(batch.values / 3))
    gradient = normals((len(batch), *item_shape), dtype)
    found = pool_gradient(batch._rows, how, gradient)
    assert (found.shape, found.dtype) == (batch.values.shape, dtype)
    rows, masks = lists_of(batch)
    steps = gradient.reshape(len(batch), int(np.prod(item_shape))).tolist()
    expected = reference.pool_gradient(rows, masks, how, steps)
    assert_rows(as_rows(batch, found), expected, TOLERANCES[dtype])


@given(
    raggeds(dtypes=("uint8",), item_shapes=[()], compact=True),
    DTYPES,
    ITEMS,
    st.sampled_from([1, 5, 40]),
)
def test_embedding(ids, dtype, item_shape, vocabulary):
    ids = over(ids, ids.values.astype(np.int64) % vocabulary)
    gradient = with_gradient(
        rm.Ragged(normals((len(ids.values), *item_shape), dtype), **place(ids))
    )
    found = embedding_gradient(ids._rows, vocabulary, gradient)
    assert (found.shape, found.dtype) == ((vocabulary, *item_shape), dtype)
    features = int(np.prod(item_shape))
    rows, masks = reference.cut_rows(ids.values.tolist(), ids.starts, ids.lengths), lists_of(ids)[1]
    expected = reference.embedding_gradient(
        rows, masks, vocabulary, features, as_rows(ids, gradient)
    )
    expected = np.array(expected).reshape(found.shape)
    np.testing.assert_allclose(found, expected, TOLERANCES[dtype], TOLERANCES[dtype])


def place(ragged):
    return {"starts": ragged.starts, "lengths": ragged.lengths, "mask": ragged.mask}


@given(raggeds(dtypes=("uint8",), item_shapes=[()]), DTYPES, ITEMS)
def test_rows_that_were_cut_out(ragged, dtype, item_shape):
    n, layout = len(ragged.values), ragged._rows.layout
    gradient = normals((ragged.n_steps, *item_shape), dtype)
    found = add_rows(gradient, layout, n)
    assert (found.shape, found.dtype) == ((n, *item_shape), dtype)
    ends = np.cumsum(ragged.lengths)
    compact = rm.Ragged(gradient, ends - ragged.lengths, ragged.lengths)
    features = int(np.prod(item_shape))
    expected = reference.cut_rows_gradient(ragged.starts, n, features, lists_of(compact)[0])
    tolerance = TOLERANCES[dtype]
    np.testing.assert_allclose(found, np.reshape(expected, found.shape), tolerance, tolerance)


@given(raggeds(compact=True, masked=(False,)), ITEMS, st.sampled_from(["pre", "post"]))
def test_padding_is_undone_by_cutting_rows_out(ragged, item_shape, padding):
    """The gradient of padding is taken out of it, and that of taking rows out is padding."""
    batch = with_normals(ragged, "float64", item_shape)
    width = batch.max_length + 2
    gradient = normals((len(batch), width, *item_shape))
    before = width - batch.lengths if padding == "pre" else 0 * batch.lengths
    starts = np.arange(len(batch)) * width + before
    cut = rm.Ragged(gradient.reshape(len(batch) * width, *item_shape), starts, batch.lengths)
    features = int(np.prod(item_shape))
    steps = gradient.reshape(len(batch), width, features).tolist()
    expected = reference.pad_gradient(steps, batch.lengths, padding)
    assert_rows(lists_of(cut)[0], expected)
    own = np.concatenate([*cut, gradient[:0, 0]])
    found = add_rows(own, cut._rows.layout, len(batch) * width).reshape(gradient.shape)
    padded = rm.Ragged(own, **place(batch)).to_padded(width, padding=padding)
    np.testing.assert_array_equal(found, padded.values)
