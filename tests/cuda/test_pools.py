"""The pools with kernels of their own on CUDA, their gradients, and what is repeated."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from ragmask.kernels import cuda
from ragmask.ops.repeat import repeated
from tests import reference
from tests.cuda import running
from tests.cuda.test_reductions import FEATURES, GARBAGE, LAYOUTS, LONG, long_rows
from tests.strategies import FLOATS, as_rows, assert_rows, forms, lists_of, raggeds, with_normals

HOWS = ("std", "logsumexp")
TOLERANCES = {"float16": 2e-3, "float32": 1e-5, "float64": 1e-12}


def pool(batch, how):
    """Of vectors; argmax writes its places one after another."""
    dtype = np.int64 if how == "argmax" else batch.dtype
    out = np.full((len(batch) + 1, *batch.item_shape), GARBAGE, dtype)
    place = batch.starts, batch.lengths, batch.mask
    target = out.reshape(-1) if how == "argmax" else out
    running.run(getattr(cuda, how), len(batch), batch.values, *place, target)
    assert (out[-1] == GARBAGE).all()
    return out[:-1]


def of_pool(batch, how, gradient):
    out = np.full((len(batch.values) + 1, *batch.item_shape), GARBAGE, batch.dtype)
    place = batch.starts, batch.lengths, batch.mask
    kernel = getattr(cuda, f"{how}_gradient")
    running.run(kernel, len(batch), batch.values, *place, gradient, out)
    assert (out[-1] == GARBAGE).all()
    return out[:-1]


def check(batch, how, features):
    expected = reference.temporal_pool(*lists_of(batch), how, features)
    expected = np.array(expected).reshape(len(batch), features)
    tolerance = TOLERANCES[str(batch.dtype)]
    np.testing.assert_allclose(pool(batch, how), expected, tolerance, tolerance)


def check_gradient(batch, how):
    gradient = np.random.default_rng(1).standard_normal((len(batch), *batch.item_shape))
    gradient = gradient.astype(batch.dtype)
    expected = reference.pool_gradient(*lists_of(batch), how, gradient.tolist())
    found = as_rows(batch, of_pool(batch, how, gradient))
    assert_rows(found, expected, TOLERANCES[str(batch.dtype)])


@running.few_examples
@given(
    LAYOUTS,
    st.sampled_from(FLOATS),
    FEATURES,
    st.sampled_from([*HOWS, "argmax"]),
    st.sampled_from([0.0, 0.1, 0.8]),
)
def test_floats_are_the_reference(ragged, dtype, features, how, specials):
    check(with_normals(ragged, dtype, (features,), specials), how, features)


@running.few_examples
@given(raggeds(dtypes=("int64", "uint64"), item_shapes=[(1,), (3,)], max_steps=80))
def test_places_of_integers_are_the_reference(ragged):
    check_places = reference.temporal_pool(*lists_of(ragged), "argmax", ragged.item_shape[0])
    assert pool(ragged, "argmax").tolist() == check_places


@running.few_examples
@given(LAYOUTS, st.sampled_from(["float32", "float64"]), FEATURES, st.sampled_from(HOWS))
def test_gradients_are_the_reference(ragged, dtype, features, how):
    check_gradient(with_normals(ragged, dtype, (features,)).compact(), how)


@pytest.mark.parametrize("features", LONG)
def test_a_block_takes_the_long_rows(features):
    rows, masks = long_rows(features, LONG[features])
    for mask in masks:
        mask[len(mask) // 2 : len(mask) // 2 + 2] = False
    batch = forms([np.round(row, 1) for row in rows], masks, np.nan)["compact"]
    check(batch, "argmax", features)
    for how in HOWS:
        check(batch, how, features)
        check_gradient(batch, how)


@running.few_examples
@given(raggeds())
def test_what_is_repeated_is_the_hosts(ragged):
    """Of any dtype and shape; masked steps are 0."""
    layout, mask = ragged._rows.layout.end_to_end, ragged._rows.compact_mask()
    values = np.resize(ragged.values, (len(ragged), *ragged.item_shape))
    if not values.size or not ragged.n_steps:
        return
    words = values.reshape(len(values), -1).view("u1")
    out = np.full((ragged.n_steps + 1, words.shape[1]), GARBAGE, "u1")
    place = layout.starts, layout.lengths, mask, words.shape[1]
    running.run(cuda.repeat, len(ragged), words.reshape(-1), *place, out.reshape(-1))
    assert out[:-1].tobytes() == repeated(values, layout, mask).tobytes()
    assert (out[-1] == GARBAGE).all()


def test_equal_steps_have_no_deviation_and_no_gradient():
    batch = rm.Ragged(np.full((90, 2), 0.1, np.float32), [0, 70], [70, 20])
    assert not pool(batch, "std").any()
    assert not of_pool(batch, "std", np.ones((2, 2), np.float32)).any()
