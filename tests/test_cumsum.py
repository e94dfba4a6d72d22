"""Sums so far."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from ragmask import threads
from ragmask.ops.cumsum import cumsum_gradient
from tests import reference
from tests.strategies import (
    FLOATS,
    INTEGERS,
    as_kind,
    as_rows,
    assert_rows,
    lists_of,
    over,
    raggeds,
    with_normals,
)

ITEM_SHAPES = [(), (1,), (3,), (33,), (2, 2), (0,)]
TOLERANCES = {"float16": 2e-2, "float32": 1e-4, "float64": 1e-12}
LAYOUTS = raggeds(dtypes=("uint8",), item_shapes=[()], max_steps=40)
KINDS = st.sampled_from(["ragged", "padded", "dense"])


def expected_of(batch):
    rows, masks = lists_of(batch)
    item_shape = batch.shape[2:] if isinstance(batch, np.ndarray) else batch.item_shape
    return reference.temporal_cumsum(rows, masks, int(np.prod(item_shape))), masks


@given(LAYOUTS, KINDS, st.sampled_from(FLOATS), st.sampled_from(ITEM_SHAPES))
def test_it_is_the_reference(ragged, kind, dtype, item_shape):
    batch = as_kind(with_normals(ragged, dtype, item_shape), kind)
    sums = rm.temporal_cumsum(batch)
    expected, masks = expected_of(batch)
    assert_rows(lists_of(sums)[0], expected, TOLERANCES[dtype])
    assert lists_of(sums)[1] == masks
    assert type(sums) is type(batch)
    assert sums.dtype == dtype


@pytest.mark.slow
@given(raggeds(dtypes=(*INTEGERS, "bool"), item_shapes=[(), (2,)], max_steps=40, tame=True), KINDS)
def test_integers_are_summed_exactly_in_64_bits(ragged, kind):
    batch = as_kind(ragged, kind)
    sums = rm.temporal_cumsum(batch)
    assert sums.dtype == (np.uint64 if ragged.dtype.kind == "u" else np.int64)
    assert lists_of(sums)[0] == expected_of(batch)[0]


@given(LAYOUTS.filter(lambda r: r.mask is None), st.sampled_from(["float32", "float64", "int64"]))
def test_it_is_numpys_row_by_row(ragged, dtype):
    batch = over(ragged, np.random.default_rng(0).standard_normal(len(ragged.values)).astype(dtype))
    for row, sums in zip(batch, rm.temporal_cumsum(batch), strict=True):
        np.testing.assert_array_equal(sums, np.cumsum(row, dtype=sums.dtype))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_long_rows_of_numbers_are_numpys(dtype, masked):
    """To the bit, though several are added up at the same time, and one is much longer."""
    random = np.random.default_rng(0)
    lengths = np.array([128, 3, 5000, 0, 129, 400, 127, 130, 7, 128, 900, 200, 1, 300])
    values = (random.standard_normal(lengths.sum()) * 1000).astype(dtype)
    mask = random.random(len(values)) < 0.8 if masked else None
    if masked and dtype != "int64":
        values[~mask] = np.nan
    for count in range(len(lengths) + 1):
        batch = rm.Ragged(values, np.cumsum(lengths) - lengths, lengths, mask)[:count]
        for row, sums in zip(batch, rm.temporal_cumsum(batch), strict=True):
            kept = np.ma.filled(row, 0) if masked else row
            assert np.ma.getdata(sums).tobytes() == np.cumsum(kept, dtype=dtype).tobytes()


COMPACT = raggeds(dtypes=("uint8",), item_shapes=[()], max_steps=40, compact=True)


@given(COMPACT, st.sampled_from(FLOATS), st.sampled_from(ITEM_SHAPES))
def test_its_gradient_is_the_reference(ragged, dtype, item_shape):
    """What arrives at masked steps is not looked at."""
    batch = with_normals(ragged, dtype, item_shape)
    gradient = with_normals(ragged, dtype, item_shape, seed=1).values.copy()
    if batch.mask is not None:
        gradient[~batch.mask] = np.nan
    found = cumsum_gradient(batch._rows, gradient)
    assert (found.shape, found.dtype) == (gradient.shape, dtype)
    features = int(np.prod(item_shape))
    expected = reference.cumsum_gradient(lists_of(batch)[1], as_rows(batch, gradient), features)
    assert_rows(as_rows(batch, found), expected, TOLERANCES[dtype])


def test_a_row_of_the_gradient_depends_on_its_kept_steps_alone(num_threads, monkeypatch):
    monkeypatch.setattr(threads, "WORTH_A_THREAD_NS", 0)
    random = np.random.default_rng(0)
    lengths, mask = random.integers(0, 40, 60), random.random(3000) < 0.7
    n = int(lengths.sum())
    gradient = random.standard_normal((n, 3)).astype(np.float32)
    batch = rm.Ragged(gradient, np.cumsum(lengths) - lengths, lengths, mask[:n])
    found = []
    for count in (1, 2, 5):
        num_threads(count)
        found.append(cumsum_gradient(batch._rows, gradient).tobytes())
    assert found[0] == found[1] == found[2]
    whole = np.frombuffer(found[0], np.float32).reshape(n, 3)
    for row in range(len(batch)):
        steps = slice(batch.starts[row], batch.starts[row] + lengths[row])
        kept = gradient[steps][mask[:n][steps]]
        alone = rm.Ragged(kept, [0], [len(kept)])
        own = cumsum_gradient(alone._rows, kept)
        assert whole[steps][mask[:n][steps]].tobytes() == own.tobytes()
        assert not whole[steps][~mask[:n][steps]].any()


def test_steps_of_nothing_are_not_counted():
    many = rm.Ragged(np.empty((2**40, 0)), [0], [2**40])
    for op in (rm.temporal_cumsum, rm.temporal_flip, rm.temporal_sort, rm.temporal_argsort):
        assert op(many).n_steps == 2**40


def test_a_masked_step_repeats_the_sum_before_it():
    x = rm.Ragged([9.0, 1.0, np.nan, 2.0], [0], [4], np.array([False, True, False, True]))
    sums = rm.temporal_cumsum(x)
    assert sums.values.tolist() == [0.0, 1.0, 1.0, 3.0]
    assert sums.mask.tolist() == [False, True, False, True]
    assert rm.temporal_cumsum(x, mask=np.array([True, True, False, True])).values[3] == 12.0


def test_out_is_written_to():
    x = rm.Ragged.from_rows([[1.0, 2.0], [3.0]])
    out = np.full(5, 7.0)
    sums = rm.temporal_cumsum(x, out=out)
    assert np.shares_memory(sums.values, out)
    assert out.tolist() == [1.0, 3.0, 3.0, 7.0, 7.0]


def test_the_sum_of_all_steps_comes_last():
    x = rm.Ragged.from_rows([[1.5, 2.5, 4.0], [0.5]])
    last = rm.temporal_pool(rm.temporal_cumsum(x), "last")
    np.testing.assert_array_equal(last, rm.temporal_pool(x, "sum"))


@pytest.mark.parametrize("values", [np.zeros(2, "M8[s]"), np.zeros(2, complex)])
def test_other_dtypes_are_refused(values):
    with pytest.raises(rm.UnsupportedTypeError, match=r"temporal_cumsum takes floats.*got"):
        rm.temporal_cumsum(rm.Ragged(values, [0], [2]))


def test_what_is_no_batch_is_refused():
    with pytest.raises(rm.InvalidInputError, match="must be a Ragged"):
        rm.temporal_cumsum(np.zeros(3))
