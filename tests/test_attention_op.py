"""Attention over the steps of rows."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from tests import reference
from tests.strategies import FLOATS, as_kind, over, raggeds

INF, NAN = np.inf, np.nan
TOLERANCES = {"float16": 2e-3, "float32": 2e-5, "float64": 1e-12}
HEADS = [(1, 1), (2, 2), (4, 2), (3, 1)]
SIZES = [(1, 1), (3, 5), (16, 17), (5, 0)]
WINDOWS = [None, 0, 2, (1, None), (None, 3), (0, 4)]
LAYOUTS = raggeds(dtypes=("uint8",), item_shapes=[()], max_steps=20)


def normals(shape, dtype="float64", seed=0, specials=0.0, special=(NAN,)):
    random = np.random.default_rng(seed)
    values = random.standard_normal(shape)
    others = random.choice(special, shape)
    return np.where(random.random(shape) < specials, others, values).astype(dtype)


@st.composite
def batches(draw, dtypes=FLOATS, specials=0.0):
    """q, k and v: views of as many rows, those of k and v of one length, wherever they lie."""
    layout, other = draw(LAYOUTS), draw(LAYOUTS)
    if len(other):
        other = other[np.resize(np.arange(len(other)), len(layout))]
    else:
        other = rm.Ragged(np.zeros(3), np.full(len(layout), 3), np.zeros(len(layout), int))
    dtype = draw(st.sampled_from(dtypes))
    heads, key_heads = draw(st.sampled_from(HEADS))
    size, value_size = draw(st.sampled_from(SIZES))
    infinities = (NAN, INF, -INF)
    q = normals((len(layout.values), heads, size), dtype, 1, specials, infinities)
    k = normals((len(other.values), key_heads, size), dtype, 2, specials, infinities)
    v = over(other, normals((len(other.values), key_heads, value_size), dtype, 3, specials))
    if draw(st.booleans()):
        v = rm.Ragged(v.values, v.starts, v.lengths).compact()
    return over(layout, q), over(other, k), v


def lists_of(batch):
    """(rows of steps of heads of numbers, rows of bools); of a Padded, its rows without padding."""
    if isinstance(batch, rm.Ragged):
        mask = np.ones(len(batch.values), bool) if batch.mask is None else batch.mask
        place = batch.starts, batch.lengths
        values = batch.values.astype(np.float64)
        rows = reference.cut_rows(values.tolist(), *place)
        return rows, reference.cut_rows(mask.tolist(), *place)
    mask = np.ones(batch.shape[:2], bool) if batch.mask is None else batch.mask
    return reference.from_padded_mask(batch.values.astype(np.float64).tolist(), mask.tolist())


def sides_of(causal, window):
    left, right = window if isinstance(window, tuple) else (window, window)
    left, right = (INF if side is None else side for side in (left, right))
    return left, 0 if causal else right


def flat(rows):
    return np.array([number for row in rows for step in row for head in step for number in head])


def assert_close(rows, expected, tolerance):
    assert [len(row) for row in rows] == [len(row) for row in expected]
    np.testing.assert_allclose(flat(rows), flat(expected), tolerance, tolerance)


@given(
    st.sampled_from([0.0, 0.05]).flatmap(lambda specials: batches(specials=specials)),
    st.sampled_from(["ragged", "padded"]),
    st.booleans(),
    st.sampled_from(WINDOWS),
    st.sampled_from([None, -0.3]),
)
def test_it_is_the_reference(batch, kind, causal, window, scale):
    q, k, v = (as_kind(one, kind) for one in batch)
    if kind == "padded":
        v = rm.Padded(v.values, k.mask)  # whose padding is v's own
    found = rm.temporal_attention(q, k, v, causal=causal, window=window, scale=scale)
    (q_rows, q_masks), (k_rows, k_masks) = lists_of(q), lists_of(k)
    v_rows = lists_of(v)[0]
    left, right = sides_of(causal, window)
    size, value_size = q.values.shape[-1], v.values.shape[-1]
    used = size**-0.5 if scale is None else scale
    expected = reference.temporal_attention(
        q_rows, k_rows, v_rows, q_masks, k_masks, value_size, left, right, used
    )
    rows, masks = lists_of(found)
    assert type(found) is type(q)
    assert found.dtype == q.dtype
    assert masks == q_masks
    assert_close(rows, expected, TOLERANCES[str(q.dtype)])
