"""The gradients of softmax, pooling and look-ups on CUDA."""

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from ragmask.arrays.host import HOST
from ragmask.arrays.read_cuda import read_cuda_array
from ragmask.kernels import cuda
from ragmask.kernels.constants import POOL_CODES
from ragmask.ops.embeddings import embedding_gradient
from ragmask.ops.pool import pool_gradient
from ragmask.ops.softmax import softmax_gradient
from ragmask.rows.rows import add_rows
from tests import reference
from tests.cuda import running
from tests.cuda.host_memory import OnDevice, as_device
from tests.cuda.test_reductions import LAYOUTS, LONG, long_rows
from tests.strategies import as_rows, assert_rows, forms, lists_of, raggeds, with_normals

HOWS = [*POOL_CODES]
TOLERANCES = {"float32": 1e-5, "float64": 1e-11}
DTYPES = st.sampled_from([*TOLERANCES])
FEATURES = st.sampled_from([1, 3, 33, 70])
GARBAGE = 77
NAN = np.nan


def normals(shape, dtype="float64", mask=None):
    numbers = np.random.default_rng(1).standard_normal(shape).astype(dtype)
    if mask is not None:
        numbers[~mask] = NAN
    return numbers


def of_softmax(soft, gradient):
    """Of a Ragged of vectors, compact."""
    out = np.full((len(gradient) + 1, *soft.item_shape), GARBAGE, soft.dtype)
    rows = soft.starts, soft.lengths, soft.mask
    flat = soft.values.reshape(-1), soft.item_shape[0], *rows, gradient.reshape(-1)
    running.run(cuda.softmax_gradient, len(soft), *flat, out.reshape(-1))
    assert (out[-1] == GARBAGE).all()
    return out[:-1]


def of_pool(batch, how, gradient):
    out = np.full((len(batch.values) + 1, *batch.item_shape), GARBAGE, batch.dtype)
    rows = batch.starts, batch.lengths, batch.mask, POOL_CODES[how]
    running.run(cuda.pool_gradient, len(batch), batch.values, *rows, gradient, out)
    assert (out[-1] == GARBAGE).all()
    return out[:-1]


def of_embedding(ids, mask, vocabulary, gradient):
    starts, lengths, order = HOST.grouped(ids, mask, vocabulary)
    out = np.full((vocabulary + 1, gradient.shape[1]), GARBAGE, gradient.dtype)
    running.run(cuda.embedding_gradient, vocabulary, gradient, starts, lengths, order, out)
    assert (out[-1] == GARBAGE).all()
    return out[:-1]


def check_softmax(batch):
    soft = rm.temporal_softmax(batch)
    gradient = normals(soft.values.shape, soft.dtype, soft.mask)
    expected = reference.softmax_gradient(*lists_of(soft), as_rows(soft, gradient))
    found = as_rows(soft, of_softmax(soft, gradient))
    assert_rows(found, expected, TOLERANCES[str(soft.dtype)])


def check_pool(batch, how):
    gradient = normals((len(batch), *batch.item_shape), batch.dtype)
    expected = reference.pool_gradient(*lists_of(batch), how, gradient.tolist())
    found = as_rows(batch, of_pool(batch, how, gradient))
    assert_rows(found, expected, TOLERANCES[str(batch.dtype)])


@running.few_examples
@given(LAYOUTS, DTYPES, FEATURES, st.sampled_from([0.0, 0.1]))
def test_softmax_is_the_reference(ragged, dtype, features, specials):
    check_softmax(with_normals(ragged, dtype, (features,), specials).compact())


@running.few_examples
@given(LAYOUTS, DTYPES, FEATURES, st.sampled_from(HOWS), st.sampled_from([0.0, 0.3]))
def test_pool_is_the_reference(ragged, dtype, features, how, specials):
    """Of numbers many of which are equal."""
    batch = with_normals(ragged, dtype, (features,), specials).compact()
    check_pool(rm.Ragged(np.round(batch.values / 3), *where(batch)), how)


def where(ragged):
    return ragged.starts, ragged.lengths, ragged.mask


@pytest.mark.parametrize("features", LONG)
def test_a_block_takes_the_long_rows(features):
    rows, masks = long_rows(features, LONG[features])
    for mask in masks:
        mask[len(mask) // 2 : len(mask) // 2 + 2] = False
    batch = forms([np.round(row, 1) for row in rows], masks, NAN)["compact"]
    check_softmax(batch)
    for how in HOWS:
        check_pool(batch, how)


@pytest.mark.parametrize(("features", "vocabulary"), [(1, 9), (3, 4), (70, 2)])
@pytest.mark.parametrize("masked", [False, True])
def test_embedding_is_the_hosts(features, vocabulary, masked):
    """Some ids come often, so that their rows of the table are for blocks."""
    random = np.random.default_rng(0)
    n = 3000 // features
    ids = np.minimum(random.integers(0, vocabulary + 1, n), random.integers(0, vocabulary, n))
    mask = random.random(n) < 0.8 if masked else None
    gradient = normals((n, features), mask=mask)
    ragged = rm.Ragged(ids, [0], [n], mask)
    expected = embedding_gradient(ragged._rows, vocabulary, gradient)
    found = of_embedding(ids, mask, vocabulary, gradient)
    np.testing.assert_allclose(found, expected, 1e-11, 1e-11)


@pytest.mark.parametrize("parts", [2])
def test_how_many_blocks_share_rows_changes_no_bit(monkeypatch, parts):
    """Of 70 features, which are 3 tiles."""
    rows, masks = long_rows(70, [3, 0, 30])
    batch = forms([row.astype(np.float32) for row in rows], masks, NAN)["compact"]
    soft = rm.temporal_softmax(batch)
    gradient = normals(soft.values.shape, soft.dtype)
    ids = np.arange(len(gradient)) ** 2 % 5

    def bits():
        found = [of_softmax(soft, gradient), of_embedding(ids, None, 6, gradient)]
        return [*found, *(of_pool(batch, how, gradient[: len(batch)]) for how in HOWS[1:3])]

    expected = [one.tobytes() for one in bits()]
    monkeypatch.setattr(sys.modules["ragmask.kernels.cuda.launch"], "parts_of", lambda *_: parts)
    assert [one.tobytes() for one in bits()] == expected


@pytest.fixture
def device(monkeypatch):
    as_device(monkeypatch)


def on_device(ragged):
    """The rows as they are, there."""
    arrays = ragged.values, ragged.starts, ragged.lengths, ragged.mask
    return rm.Ragged(*(None if array is None else OnDevice(array.copy()) for array in arrays))._rows


def there(array):
    return read_cuda_array(OnDevice(array), "gradient")


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_arrays_on_a_device_have_the_hosts_gradients(dtype):
    rows, masks = long_rows(3, [4, 0, 9, 2])
    batch = forms([row.astype(dtype) for row in rows], masks, 0)["compact"]
    soft = rm.temporal_softmax(batch)
    gradient = normals(batch.values.shape, dtype)
    ids = rm.Ragged(np.arange(len(gradient)) % 4, *where(batch))
    cases = {
        softmax_gradient: (soft, (gradient,)),
        embedding_gradient: (ids, (5, gradient)),
        pool_gradient: (batch, ("max", gradient[: len(batch)])),
    }
    for function, (given_rows, arguments) in cases.items():
        expected = function(given_rows._rows, *arguments)
        moved = [there(one) if isinstance(one, np.ndarray) else one for one in arguments]
        found = function(on_device(given_rows), *moved)
        assert (found.shape, found.dtype) == (expected.shape, dtype)
        np.testing.assert_allclose(found.to_host(), expected, 1e-3, 1e-3)


@pytest.mark.usefixtures("device")
@running.few_examples
@given(raggeds(dtypes=("float64",), item_shapes=[(), (3,)]))
def test_rows_that_were_cut_out_on_a_device(ragged):
    gradient = normals((ragged.n_steps, *ragged.item_shape))
    expected = add_rows(gradient, ragged._rows.layout, len(ragged.values))
    given_rows = on_device(ragged)
    found = add_rows(there(gradient), given_rows.layout, len(ragged.values))
    np.testing.assert_allclose(found.to_host(), expected, 1e-12, 1e-12)
