"""Gradients of the ops without weights, as arrays: interop puts them behind its own tensors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from ragmask.ops.embeddings import embedding_gradient
from ragmask.ops.pool import pool_gradient
from ragmask.ops.softmax import softmax_gradient
from ragmask.rows.rows import add_rows
from tests import reference
from tests.strategies import as_rows, assert_rows, lists_of, over, raggeds, with_normals

HOWS = ("sum", "mean", "max", "min", "first", "last", "std", "logsumexp")
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


@pytest.mark.parametrize("starts", [[0, 2], [0, 1]], ids=["apart", "overlapping"])
def test_a_step_in_one_row_is_copied_bit_for_bit(starts):
    values = np.array([-0.0, 1, -0.0, -0.0])
    found = add_rows(values, rm.Ragged(np.zeros(5), starts, [2, 2])._rows.layout, 5)
    assert np.signbit(found[[0, starts[1] + 1]]).all()
    assert not np.signbit(found[4])


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


def differences(function, numbers):
    """The gradient of a function of a list of numbers, by central differences."""
    by = 1e-6
    found = []
    for at, number in enumerate(numbers):
        sides = []
        for moved in (number + by, number - by):
            sides.append(function([*numbers[:at], moved, *numbers[at + 1 :]]))
        found.append((sides[0] - sides[1]) / (2 * by))
    return found


MASK = [True, False, True, True, True, False]
NUMBERS = normals(len(MASK)).tolist()


def weighted(rows, weights):
    return sum(one * weight for (one,), weight in zip(rows, weights, strict=True))


def test_softmax_is_what_finite_differences_say():
    weights = normals(len(MASK), seed=2)

    def loss(numbers):
        (soft,) = reference.temporal_softmax([[[number] for number in numbers]], [MASK])
        return weighted(soft, weights)

    soft = rm.temporal_softmax(rm.Ragged(np.array(NUMBERS), [0], [len(MASK)], np.array(MASK)))
    found = softmax_gradient(soft._rows, weights)
    np.testing.assert_allclose(found, differences(loss, NUMBERS), 1e-8, 1e-8)


@pytest.mark.parametrize("how", HOWS)
def test_pool_is_what_finite_differences_say(how):
    def loss(numbers):
        steps = [[number] for number in numbers]
        return weighted(reference.temporal_pool([steps], [MASK], how, 1), [3.0])

    batch = rm.Ragged(np.array(NUMBERS), [0], [len(MASK)], np.array(MASK))
    found = pool_gradient(batch._rows, how, np.array([3.0]))
    np.testing.assert_allclose(found, differences(loss, NUMBERS), 1e-8, 1e-8)


def test_a_maximum_gives_to_the_first_of_equals_or_the_first_nan():
    rows = [[1.0, 2, 2], [0.0, -0.0], [1, NAN, 5, NAN], [-np.inf, -np.inf], []]
    batch = rm.Ragged.from_rows([np.array(row) for row in rows])
    found = pool_gradient(batch._rows, "max", np.arange(1.0, 6))
    assert found.tolist() == [0, 1, 0, 2, 0, 0, 3, 0, 0, 4, 0]


def all_gradients(batch, ids, vocabulary, gradient):
    """Every gradient of the batch's steps, and the table's."""
    soft = rm.temporal_softmax(batch)
    steps = [softmax_gradient(soft._rows, gradient)]
    steps += [pool_gradient(batch._rows, how, gradient[: len(batch)]) for how in HOWS]
    table = embedding_gradient(over(batch, ids)._rows, vocabulary, gradient)
    return steps, table


@pytest.mark.parametrize("item_shape", [(), (5,)])
def test_threads_change_no_bit(num_threads, item_shape):
    """Of work that is worth many, also where one id comes more often than all others."""
    random = np.random.default_rng(0)
    lengths = np.minimum(random.geometric(0.02, 3000), 400)
    n = int(lengths.sum())
    starts, mask = np.cumsum(lengths) - lengths, random.random(n) < 0.8
    batch = rm.Ragged(normals((n, *item_shape), "float32"), starts, lengths, mask)
    ids = np.where(random.random(n) < 0.6, 7, random.integers(0, 5000, n))
    gradient = normals((n, *item_shape), "float32", 2)
    views = rm.Ragged(batch.values, starts // 2, lengths)._rows.layout
    found = []
    for threads in (1, 2, 5):
        num_threads(threads)
        steps, table = all_gradients(batch, ids, 5000, gradient)
        found.append([one.tobytes() for one in (*steps, table, add_rows(gradient, views, n))])
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
@pytest.mark.parametrize("item_shape", [(), (3,)])
def test_a_row_is_changed_by_its_kept_steps_alone(dtype, item_shape):
    """To the bit: not by NaN in other rows and masked steps, nor by how many of those there are."""
    kept = normals((40, *item_shape), dtype)
    gradient = normals((40, *item_shape), dtype, 2)
    alone = rm.Ragged(kept, [0], [40])
    own, table = all_gradients(alone, np.arange(40) % 7, 9, gradient)

    place = np.flatnonzero(np.arange(70) % 7 > 2) + 20
    mask = np.ones(100, bool)
    mask[20:90] = False
    mask[place] = True

    values, gradients = np.full((2, 100, *item_shape), NAN, dtype)
    ids = np.full(100, 8)
    values[place], gradients[place], ids[place] = kept, gradient, np.arange(40) % 7
    batch = rm.Ragged(values, [0, 20, 90], [20, 70, 10], mask)
    soft = rm.temporal_softmax(batch)
    found = softmax_gradient(soft._rows, gradients)
    assert found[place].tobytes() == own[0].tobytes()
    assert not found[20:90][~mask[20:90]].any()
    for how, expected in zip(HOWS, own[1:], strict=True):
        found = pool_gradient(batch._rows, how, np.stack([gradients[0], gradient[0], gradients[0]]))
        assert found[place].tobytes() == expected.tobytes(), how
        assert not found[20:90][~mask[20:90]].any()
    found = embedding_gradient(over(batch, ids)._rows, 9, gradients)
    assert found[:7].tobytes() == table[:7].tobytes()
    assert np.isnan(found[8]).all()
    assert not found[7].any()
