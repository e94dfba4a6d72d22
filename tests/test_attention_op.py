"""Attention over the steps of rows."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from tests import reference
from tests.strategies import FLOATS, as_kind, over, raggeds

pytestmark = pytest.mark.slow  # a kernel compiled for two dtypes, 10 seconds each

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


# -- where rows end, masks, and what is not finite


def ones(*lengths, heads=1, dim=2, dtype="float32"):
    return rm.Ragged.from_rows([normals((length, heads, dim), dtype, length) for length in lengths])


def test_rows_of_unequal_length_end_together_in_any_layout():
    """Each row by its own length, whatever the widths of Padded batches."""
    q, k = ones(1, 3, 0, 2), ones(4, 2, 3, 2)
    v = over(k, np.arange(k.n_steps, dtype=np.float32)[:, None, None])
    expected = rm.temporal_attention(q, k, v, window=0)
    assert expected.values.ravel().tolist() == [3, 0, 4, 5, 9, 10]
    for side, width in (("post", 9), ("pre", None), ("pre", 6)):
        padded = (q.to_padded(padding=side), *(x.to_padded(width, padding=side) for x in (k, v)))
        for batch in (padded, (q, *padded[1:]), (padded[0], k, v)):
            found = rm.temporal_attention(*batch, window=0)
            assert type(found) is type(batch[0])
            if isinstance(found, rm.Padded):
                assert not found.values[~found.mask].any()
                found = rm.Ragged.from_padded(found.values, found.mask).compact()
            assert np.array_equal(found.values, expected.values)


def test_dense_arrays_are_full_rows():
    x = normals((2, 5, 3, 4), "float32")
    found = rm.temporal_attention(x, x, x, causal=True)
    assert isinstance(found, np.ndarray)
    ragged = rm.Ragged.from_padded(x)
    expected = rm.temporal_attention(ragged, ragged, ragged, causal=True)
    assert found.tobytes() == expected.values.tobytes()
    mask = np.array([[True, True, False, False, False], [False, True, True, True, True]])
    found = rm.temporal_attention(x, x, x, causal=True, mask=mask)  # which shortens no row
    assert isinstance(found, np.ndarray)
    for row, kept in enumerate(mask):
        masked = rm.Ragged(x[row], [0], [5], kept)
        alone = rm.temporal_attention(ragged[[row]], masked, ragged[[row]], causal=True)
        assert found[row].tobytes() == alone.values.tobytes()
    assert not found[1, 0].any()


def test_a_key_is_kept_by_both_masks_or_by_the_one_that_is_given():
    q, k = ones(3), ones(3)
    v = over(k, np.array([1, 10, 100], np.float32)[:, None, None])
    first, last = np.array([True, True, False]), np.array([False, True, True])
    masked = [rm.Ragged(x.values, x.starts, x.lengths, m) for x, m in ((k, first), (v, last))]
    assert rm.temporal_attention(q, *masked).values.ravel().tolist() == [10] * 3
    found = rm.temporal_attention(q, *masked, mask=[True, False, False])
    assert found.values.ravel().tolist() == [1] * 3
    assert not rm.temporal_attention(q, k, v, mask=[False] * 3).values.any()
    queries = rm.Ragged(q.values, q.starts, q.lengths, last)
    found = rm.temporal_attention(queries, *masked)
    assert found.values.ravel().tolist() == [0, 10, 10]
    assert found.mask.tolist() == last.tolist()


@pytest.mark.parametrize("dtype", FLOATS)
def test_what_is_not_finite_reaches_queries_that_see_it_and_no_others(dtype):
    x = ones(40, 40, heads=2, dtype=dtype)
    for part in range(3):
        for special in (NAN, INF, -INF):
            batch = [x, x, x]
            values = x.values.copy()
            values[17, 1] = special
            batch[part] = over(x, values)
            expected = rm.temporal_attention(x, x, x, causal=True, window=5).values
            found = rm.temporal_attention(*batch, causal=True, window=5).values
            same = np.ones(80, bool)
            same[17 : 18 if part == 0 else 23] = False
            assert found[same].tobytes() == expected[same].tobytes()
            assert found[:, 0].tobytes() == expected[:, 0].tobytes()
            assert not np.isfinite(found[17, 1]).any() or part == 1


def test_scores_that_are_all_minus_infinity_weigh_nothing():
    q, v = ones(2, dim=1), ones(2, dim=3)
    k = over(q, np.full((2, 1, 1), -INF, np.float32))
    q = over(q, np.ones((2, 1, 1), np.float32))
    assert rm.temporal_attention(q, k, v).values.tolist() == [[[0] * 3]] * 2


def test_scores_of_any_size_keep_their_sums():
    for scale in (1e-30, 1e3, 1e30):
        x = ones(50, dim=4, dtype="float32")
        v = over(x, np.ones((50, 1, 4), np.float32))
        found = rm.temporal_attention(x, x, v, scale=scale, causal=True)
        np.testing.assert_allclose(found.values, 1, 1e-6)


def test_more_queries_than_steps_of_one_head_share_what_a_head_of_keys_says():
    """As one query of as many steps would."""
    q, k, v = ones(7, heads=6), ones(9, heads=2), ones(9, heads=2, dim=3)
    found = rm.temporal_attention(q, k, v).values
    for head in range(6):
        of_key = slice(head // 3, head // 3 + 1)
        one = [over(q, q.values[:, head : head + 1])]
        one += [over(x, np.ascontiguousarray(x.values[:, of_key])) for x in (k, v)]
        alone = rm.temporal_attention(*one).values
        np.testing.assert_allclose(found[:, head], alone[:, 0], 1e-14)


def test_arrow_lists_of_heads():
    rows = [normals((length, 2, 3), "float32").tolist() for length in (3, 0, 2)]
    steps = pa.list_(pa.list_(pa.float32(), 3), 2)
    array = pa.array([rows[0], None, *rows[1:]], pa.list_(steps))
    found = rm.temporal_attention(array, array, array, causal=True)
    ragged = rm.Ragged.from_arrow(array)
    expected = rm.temporal_attention(ragged, ragged, ragged, causal=True)
    assert found.type == array.type
    assert found.to_pylist()[0] == expected[0].tolist()
    assert found.is_null().to_pylist() == [False, True, False, False]


# -- what is refused


ROWS = ones(2, 3, heads=4, dim=3)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"k": ones(2, 3, heads=3, dim=3)}, rm.InvalidInputError, r"k and v must have as many"),
        ({"k": ones(2, 3, heads=4)}, rm.InvalidInputError, r"\(4, 3\), \(4, 2\) and \(4, 3\)"),
        (
            {"k": ones(2, 3, heads=3, dim=3), "v": ones(2, 3, heads=3)},
            rm.InvalidInputError,
            "4 heads of 3 numbers cannot be shared out among 3 heads of keys",
        ),
        ({"v": ones(2, 4, heads=4)}, rm.InvalidInputError, "differ in row 1: 3 steps and 4"),
        ({"v": ones(2, heads=4)}, rm.InvalidInputError, "k and v have 2 and 1 rows"),
        ({"q": ROWS[:1]}, rm.InvalidInputError, "q and k have 1 and 2 rows"),
        ({"q": ones(2, 3, heads=4, dim=3, dtype="float64")}, rm.UnsupportedTypeError, "one dtype"),
        (
            {"q": rm.Ragged.from_rows([[1]], "float32")},
            rm.InvalidInputError,
            "vectors, which are one head",
        ),
        ({"q": rm.Ragged(np.zeros((1, 3), "f4"), [0], [1])}, rm.InvalidInputError, "shapes"),
        ({"window": -1}, rm.InvalidInputError, "window must be at least 0; got -1"),
        ({"window": (1, -2)}, rm.InvalidInputError, "window must be at least 0; got -2"),
        ({"window": (1, 2, 3)}, rm.InvalidInputError, r"\(left, right\).*got \(1, 2, 3\)"),
        ({"window": 1.5}, rm.InvalidInputError, "window must be an integer; got 1.5"),
        ({"scale": NAN}, rm.InvalidInputError, "scale must be a finite number"),
        ({"scale": "1"}, rm.InvalidInputError, "scale must be a finite number"),
        ({"causal": 1}, rm.InvalidInputError, "causal must be True or False; got 1"),
        ({"mask": [True] * 4}, rm.InvalidInputError, "mask"),
    ],
)
def test_what_does_not_fit_is_refused(change, error, message):
    given = {"q": ROWS, "k": ROWS, "v": ROWS} | change
    q, k, v = (given.pop(name) for name in "qkv")
    with pytest.raises(error, match=message):
        rm.temporal_attention(q, k, v, **given)


@pytest.mark.parametrize("dtype", ["int64", "bool", "complex64"])
def test_only_floats_have_scores(dtype):
    x = rm.Ragged(np.zeros((2, 1, 1), dtype), [0], [2])
    with pytest.raises(rm.UnsupportedTypeError, match="q must be float16, float32 or float64"):
        rm.temporal_attention(x, x, x)


@pytest.mark.parametrize("dim", [0, 1])
def test_steps_of_no_heads_or_numbers_are_refused(dim):
    x = rm.Ragged(np.zeros((2, 1 - dim, dim)), [0], [2])
    with pytest.raises(rm.InvalidInputError, match="there must be some"):
        rm.temporal_attention(x, x, x)


def test_a_window_may_be_as_wide_as_numbers_go():
    x = ones(5)
    whole = rm.temporal_attention(x, x, x).values.tobytes()
    assert rm.temporal_attention(x, x, x, window=2**80).values.tobytes() == whole
