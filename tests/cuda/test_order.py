"""Steps in another order, and the gradient of sums so far, on CUDA: as their twins have them."""

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from ragmask.arrays.host import offsets_of
from ragmask.kernels import cuda
from ragmask.ops.cumsum import cumsum_gradient
from tests import reference
from tests.cuda import running
from tests.cuda.test_moves import LENGTHS, long_rows, output, words_of
from tests.strategies import as_rows, assert_rows, lists_of, over, raggeds, rows_of, steps_of

LAYOUTS = raggeds(dtypes=("uint8",), item_shapes=[()], max_rows=5, max_steps=80)
GARBAGE = 0xA5
NAN = np.nan


# -- turning


def check_turn(ragged, shifts, backwards):
    words, per_step = words_of(ragged.values)
    out, steps = output(ragged.n_steps, ragged.values)
    offsets = offsets_of(ragged.lengths)
    rows = ragged.starts, ragged.lengths, ragged.mask, per_step
    where = np.array(shifts, np.int64), backwards, offsets[:-1]
    running.run(cuda.turn, len(ragged), words, *rows, *where, out)
    expected, masks = rows_of(ragged)
    zero = bytes(ragged.values.itemsize * int(np.prod(ragged.item_shape)))
    if backwards:
        expected = reference.temporal_flip(expected, masks, zero)
    expected = reference.roll(expected, masks, zero, shifts)
    assert steps_of(steps) == reference.compact(expected)[0]
    assert out[-1] == GARBAGE


@running.few_examples
@given(raggeds(max_steps=40), st.booleans(), st.integers(0, 99))
def test_turned_rows_are_the_reference(ragged, backwards, seed):
    shifts = np.random.default_rng(seed).integers(-50, 50, len(ragged)).tolist()
    check_turn(ragged, shifts, backwards)


@pytest.mark.parametrize("dtype", LENGTHS)
@pytest.mark.parametrize("backwards", [False, True])
def test_long_rows_turned_are_the_reference(dtype, backwards):
    ragged = long_rows(dtype, masked=False)
    check_turn(ragged, [3, -1, 5, 2**63 - 1, 1 - 2**63][: len(ragged)], backwards)


@pytest.mark.parametrize("words", [3, 70])
def test_wide_steps_turned_are_the_reference(words):
    random = np.random.default_rng(0)
    lengths = np.array([40, 1, 70])
    starts, mask = np.cumsum(lengths) - lengths, random.random(111) < 0.7
    values = random.integers(0, 99, (111, words)).astype(np.uint32)
    for kept in (None, mask, np.zeros(111, bool)):
        check_turn(rm.Ragged(values, starts, lengths, kept), [7, 7, -7], True)


# -- the gradient of sums


@running.few_examples
@given(
    raggeds(dtypes=("uint8",), item_shapes=[()], max_rows=5, max_steps=80, compact=True),
    st.sampled_from(["float32", "float64"]),
    st.sampled_from([1, 3, 33, 70]),
)
def test_the_gradient_of_sums_is_its_twins(ragged, dtype, features):
    gradient = np.random.default_rng(0).standard_normal((len(ragged.values), features))
    gradient = gradient.astype(dtype)
    if ragged.mask is not None:
        gradient[~ragged.mask] = NAN
    out = np.full((len(gradient) + 1, features), GARBAGE, dtype)
    rows = ragged.starts, ragged.lengths, ragged.mask
    running.run(cuda.cumsum_gradient, len(ragged), gradient, *rows, out)
    assert (out[-1] == GARBAGE).all()
    expected = cumsum_gradient(over(ragged, gradient)._rows, gradient)
    np.testing.assert_array_equal(out[:-1], expected)
    wanted = reference.cumsum_gradient(lists_of(ragged)[1], as_rows(ragged, gradient), features)
    assert_rows(as_rows(ragged, out[:-1]), wanted, 1e-4)


# -- sorting


def check_sort(batch, descending, has_values=True):
    """A Ragged of vectors, against the op on the host."""
    offsets = offsets_of(batch.lengths)
    shape = batch.n_steps + 1, *batch.item_shape
    out = np.full(shape, GARBAGE, batch.dtype) if has_values else None
    steps = np.full(shape, GARBAGE)
    rows = batch.starts, batch.lengths, batch.mask, descending, False, offsets[:-1], batch.lengths
    running.run(cuda.sort, len(batch), batch.values, *rows, out, steps)
    expected = rm.temporal_argsort(batch, descending=descending).values
    np.testing.assert_array_equal(steps[:-1], expected)
    assert (steps[-1] == GARBAGE).all()
    if has_values:
        expected = rm.temporal_sort(batch, descending=descending).values
        assert out[:-1].tobytes() == expected.tobytes()
        assert (out[-1] == GARBAGE).all()


def few_numbers(ragged, dtype, features, seed=0):
    random = np.random.default_rng(seed)
    values = random.integers(0, 5, (len(ragged.values), features)).astype(dtype)
    if np.dtype(dtype).kind == "f":
        special = random.choice([NAN, np.inf, -np.inf, -0.0], values.shape)
        values = np.where(random.random(values.shape) < 0.4, special, values).astype(dtype)
    return over(ragged, values)


@running.few_examples
@given(
    LAYOUTS,
    st.sampled_from(["float32", "float64", "int32", "int64", "uint64"]),
    st.sampled_from([1, 3]),
    st.booleans(),
    st.booleans(),
)
def test_sorted_rows_are_its_twins(ragged, dtype, features, descending, has_values):
    check_sort(few_numbers(ragged, dtype, features), descending, has_values)


@pytest.mark.parametrize("length", [127, 128, 129, 300])
def test_rows_of_more_steps_than_threads(length):
    mask = np.random.default_rng(0).random(length) < 0.8
    check_sort(few_numbers(rm.Ragged(np.zeros(length), [0], [length], mask), "float32", 1), False)


@pytest.mark.parametrize("parts", [2, 3])
def test_blocks_that_share_rows_do_all_of_them(monkeypatch, parts):
    monkeypatch.setattr(sys.modules["ragmask.kernels.cuda.launch"], "parts_of", lambda *_: parts)
    ragged = rm.Ragged(np.zeros(60), [0, 20], [20, 40], np.arange(60) % 7 > 0)
    check_sort(few_numbers(ragged, "float32", 4), True)
    check_turn(long_rows("float64", masked=False), [1, -1], True)
