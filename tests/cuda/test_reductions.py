"""The softmax and the pooling of rows on CUDA."""

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from ragmask.arrays.host import offsets_of
from ragmask.kernels import cuda
from ragmask.kernels.constants import POOL_CODES
from ragmask.kernels.cuda.launch import parts_of
from tests import reference
from tests.cuda import running
from tests.strategies import FLOATS, assert_rows, forms, lists_of, over, raggeds, with_normals

HOWS = [*POOL_CODES]
TOLERANCES = {"float16": 1e-3, "float32": 4e-6, "float64": 1e-13}
FEATURES = st.sampled_from([1, 3, 16, 33, 70])
LAYOUTS = raggeds(dtypes=("uint8",), item_shapes=[()], max_rows=5, max_steps=80)
NAN, INF = np.nan, np.inf
GARBAGE = 77


def softmax(batch):
    """The softmax of a Ragged of vectors: another one, compact."""
    offsets = offsets_of(batch.lengths)
    out = np.full((batch.n_steps + 1, *batch.item_shape), GARBAGE, batch.dtype)
    features = int(np.prod(batch.item_shape))
    rows = batch.starts, batch.lengths, batch.mask, offsets[:-1]
    flat = batch.values.reshape(-1), features, *rows, out.reshape(-1)
    running.run(cuda.softmax, len(batch), *flat)
    assert (out[-1] == GARBAGE).all()
    return rm.Ragged(out[:-1], offsets[:-1], batch.lengths)


def pool(batch, how):
    out = np.full((len(batch) + 1, *batch.item_shape), GARBAGE, batch.dtype)
    rows = batch.starts, batch.lengths, batch.mask, POOL_CODES[how]
    running.run(cuda.pool, len(batch), batch.values, *rows, out)
    assert (out[-1] == GARBAGE).all()
    return out[:-1]


def long_rows(features, lengths, seed=0):
    """Rows of normal numbers, their kept steps in one piece between masked ones."""
    random = np.random.default_rng(seed)
    rows = [random.standard_normal((length, features)) * 3 for length in lengths]
    masks = [np.ones(length, bool) for length in lengths]
    for mask in masks:
        begin, end = np.sort(random.integers(0, len(mask) + 1, 2))
        mask[: begin // 2] = False
        mask[len(mask) - (len(mask) - end) // 2 :] = False
    return rows, masks


def cumsum(batch):
    offsets = offsets_of(batch.lengths)
    out = np.full((batch.n_steps + 1, *batch.item_shape), GARBAGE, batch.dtype)
    rows = batch.starts, batch.lengths, batch.mask, offsets[:-1]
    running.run(cuda.cumsum, len(batch), batch.values, *rows, out)
    assert (out[-1] == GARBAGE).all()
    return rm.Ragged(out[:-1], offsets[:-1], batch.lengths)


@running.few_examples
@given(LAYOUTS, st.sampled_from(("float32", "float64")), FEATURES, st.sampled_from([0.0, 0.1]))
def test_cumsum_adds_as_its_twin_does(ragged, dtype, features, specials):
    batch = with_normals(ragged, dtype, (features,), specials)
    np.testing.assert_array_equal(cumsum(batch).values, rm.temporal_cumsum(batch).values)


@running.few_examples
@given(LAYOUTS, FEATURES)
def test_cumsum_of_float16_is_the_reference(ragged, features):
    batch = with_normals(ragged, "float16", (features,))
    expected = reference.temporal_cumsum(*lists_of(batch), features)
    assert_rows(lists_of(cumsum(batch))[0], expected, 2e-2)


@running.few_examples
@given(LAYOUTS, st.sampled_from(FLOATS), FEATURES, st.sampled_from([0.0, 0.1, 0.8]))
def test_softmax_is_the_reference(ragged, dtype, features, specials):
    batch = with_normals(ragged, dtype, (features,), specials)
    expected = reference.temporal_softmax(*lists_of(batch))
    assert_rows(lists_of(softmax(batch))[0], expected, TOLERANCES[dtype])


@running.few_examples
@given(
    LAYOUTS,
    st.sampled_from(FLOATS),
    FEATURES,
    st.sampled_from(HOWS),
    st.sampled_from([0.0, 0.1, 0.8]),
)
def test_pooled_floats_are_the_reference(ragged, dtype, features, how, specials):
    batch = with_normals(ragged, dtype, (features,), specials)
    expected = reference.temporal_pool(*lists_of(batch), how, features)
    tolerance = TOLERANCES[dtype] * 20
    expected = np.array(expected).reshape(len(batch), features)
    np.testing.assert_allclose(pool(batch, how), expected, tolerance, tolerance)


@running.few_examples
@given(
    raggeds(dtypes=("int64", "uint64"), item_shapes=[(0,), (1,), (3,)], max_steps=80),
    st.sampled_from(("sum", "max", "first", "last")),
)
def test_pooled_integers_are_the_reference(ragged, how):
    ragged = over(ragged, ragged.values // 256)
    features = int(np.prod(ragged.item_shape))
    assert pool(ragged, how).tolist() == reference.temporal_pool(*lists_of(ragged), how, features)


LONG = {1: [30, 600, 0, 2200], 3: [25, 200, 0, 700], 40: [9, 30, 0, 90]}


@pytest.mark.parametrize("features", LONG)
def test_a_block_takes_the_long_rows(features):
    """Rows longer than a warp's lanes can stage, and than a block's, between short ones."""
    rows, masks = long_rows(features, LONG[features])
    for mask in masks:
        mask[len(mask) // 2 : len(mask) // 2 + 2] = False
    batch = forms(rows, masks, np.nan)["compact"]
    expected = reference.temporal_softmax(*lists_of(batch))
    assert_rows(lists_of(softmax(batch))[0], expected, 1e-13)
    for how in HOWS:
        expected = reference.temporal_pool(*lists_of(batch), how, features)
        np.testing.assert_allclose(pool(batch, how), expected, 1e-10, 1e-10)


@pytest.mark.parametrize("features", [3, 20])
def test_where_a_row_lies_changes_no_bit(features):
    """Nor do masked steps before and after its kept ones, nor the rows beside it."""
    rows, masks = long_rows(features, [3, 0, 20, 75])
    rows = [row.astype(np.float32) for row in rows]
    kept = [row[mask] for row, mask in zip(rows, masks, strict=True)]
    soft = [step.tobytes() for row in softmax(rm.Ragged.from_rows(kept)) for step in row]
    sums = pool(rm.Ragged.from_rows(kept), "sum").tobytes()
    batches = forms(rows, masks, np.nan)
    batches = {name: batches[name] for name in ("view", "post", "wide")}
    for name, batch in batches.items():
        given = batch._rows
        view = rm.Ragged(given.values, given.starts, given.lengths, given.mask)
        found = softmax(view)
        mask = np.concatenate([mask for mask in lists_of(view)[1] if mask]).astype(bool)
        assert [step.tobytes() for step in found.values[mask]] == soft, name
        assert not found.values[~mask].any(), name
        assert pool(view, "sum").tobytes() == sums, name


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_how_many_blocks_share_rows_changes_no_bit(monkeypatch, parts):
    """Of 70 features, which are 3 tiles, each takes some, or all, or none."""
    rows, masks = long_rows(70, [3, 0, 20, 40, 6])
    batch = forms([row.astype(np.float32) for row in rows], masks, np.nan)["compact"]
    soft, sums = softmax(batch).values.tobytes(), pool(batch, "sum").tobytes()
    monkeypatch.setattr(sys.modules["ragmask.kernels.cuda.launch"], "parts_of", lambda *_: parts)
    assert softmax(batch).values.tobytes() == soft
    assert pool(batch, "sum").tobytes() == sums


def test_a_block_for_every_32_features():
    x = np.zeros((5, 70), np.float32)
    assert parts_of(cuda.softmax, 9, x.reshape(-1), 70) == 3
    assert parts_of(cuda.pool, 9, x[:, :64]) == parts_of(cuda.masking, 9, x[:, :33]) == 2
    assert parts_of(cuda.pool, 9, x[:, :0]) == parts_of(cuda.pad, 9, x) == 1


@pytest.mark.parametrize("dtype", FLOATS)
def test_infinities_and_nans(dtype):
    """Stay in their own row and feature, and do nothing where they are masked."""
    cases = {
        (-INF, -INF): (0, 0),
        (0, -INF): (1, 0),
        (NAN, 0): (NAN, NAN),
        (NAN, -INF): (NAN, NAN),
        (INF, 0): (NAN, NAN),
        (6e4, 6e4): (0.5, 0.5),
        (6e4, -6e4): (1, 0),
    }
    values = np.zeros((2 * len(cases), 3, 2), dtype)
    values[: len(cases), :2, 1] = list(cases)
    values[:, 2] = NAN
    mask = np.tile([True, True, False], len(values))
    starts = np.arange(len(values)) * 3
    batch = rm.Ragged(values.reshape(-1, 2), starts, np.full(len(values), 3), mask)
    soft = softmax(batch).values.reshape(values.shape)
    np.testing.assert_array_equal(soft[: len(cases), :2, 1], np.array([*cases.values()], dtype))
    assert (soft[:, :2, 0] == 0.5).all()
    assert (soft[len(cases) :, :2] == 0.5).all()
    assert (soft[:, 2] == 0).all()
    largest = [NAN if NAN in case else max(case) for case in cases]
    np.testing.assert_array_equal(pool(batch, "max")[: len(cases), 1], np.array(largest, dtype))


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_the_largest_and_smallest_integers(dtype):
    info = np.iinfo(dtype)
    values = np.array([[info.min], [info.max], [info.min]], dtype)
    ragged = rm.Ragged(values, [0, 0], [3, 1])
    assert pool(ragged, "max").tolist() == [[info.max], [info.min]]
    assert pool(ragged, "last").tolist() == [[info.min], [info.min]]


def test_a_sum_of_minus_zero_is_minus_zero():
    ragged = rm.Ragged(np.full((9, 1), -0.0), [0], [9])
    assert np.signbit(pool(ragged, "sum")).all()
    assert not np.signbit(pool(ragged.truncate(0), "sum")).any()
