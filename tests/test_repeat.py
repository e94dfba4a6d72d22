"""One value a row, over its steps."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from tests import reference
from tests.strategies import DTYPES, as_kind, lists_of, over, raggeds, steps_of, with_normals

ITEM_SHAPES = st.sampled_from([(), (1,), (3,), (2, 2), (0,)])


def bits(rows, dtype, item_shape):
    """(rows, *item) of any bits."""
    size = rows * int(np.prod(item_shape)) * np.dtype(dtype).itemsize
    random = np.random.default_rng(0).integers(0, 2 if dtype == "bool" else 256, size)
    return random.astype("u1").view(dtype).reshape(rows, *item_shape)


@given(
    raggeds(),
    st.sampled_from(["ragged", "padded", "dense"]),
    st.sampled_from(DTYPES),
    ITEM_SHAPES,
)
def test_the_reference_in_any_dtype(ragged, kind, dtype, item_shape):
    like, values = as_kind(ragged, kind), bits(len(ragged), dtype, item_shape)
    found = rm.temporal_repeat(values, like)
    assert (type(found), found.dtype) == (type(like), np.dtype(dtype))
    rows, masks = lists_of(over(ragged, np.zeros(len(ragged.values))) if kind == "ragged" else like)
    zero = np.zeros(item_shape, dtype).tobytes()
    expected = reference.temporal_repeat(steps_of(values), rows, masks, zero)
    if kind == "ragged":
        assert found.item_shape == item_shape
        assert [steps_of(row) for row in np.split(found.values, found.starts[1:])] == (
            expected or [[]]
        )
        assert (found.mask is None) == (like.mask is None)
        assert lists_of(over(found, np.zeros(found.n_steps)))[1] == masks
    else:
        steps = found if kind == "dense" else found.values
        assert [steps_of(row) for row in steps] == expected
        assert kind == "dense" or np.array_equal(found.mask, like.mask)


@given(raggeds(dtypes=("uint8",), item_shapes=[()]), st.sampled_from(["ragged", "padded"]))
def test_centring_works_in_any_view(ragged, kind):
    x = as_kind(with_normals(ragged, "float64", (2,)), kind)
    centred = x - rm.temporal_repeat(rm.temporal_pool(x), x)
    np.testing.assert_allclose(rm.temporal_pool(centred), 0, atol=1e-12)
    np.testing.assert_allclose(
        rm.temporal_pool(centred, "std"), rm.temporal_pool(x, "std"), 1e-9, 1e-9
    )


def test_arrow_keeps_null_lists_and_null_items():
    x = pa.array([[1.0, None, 3.0], None, [], [4.0]], pa.large_list(pa.float64()))
    found = rm.temporal_repeat(rm.temporal_pool(x), x)
    assert found.type == x.type
    assert found.to_pylist() == [[2, None, 2], None, [], [4]]
    vectors = pa.array(
        [[[1.0, 2.0], [3.0, 4.0]], None, [None]], pa.list_(pa.list_(pa.float32(), 2))
    )
    found = rm.temporal_repeat(rm.temporal_pool(vectors), vectors)
    assert found.to_pylist() == [[[2, 3], [2, 3]], None, [None]]


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: pa.chunked_array([x[:1], x[1:]])])
def test_the_steps_of_a_null_value_are_masked(wrap):
    values = wrap(pa.array([7, None, 9]))
    like = rm.Ragged(np.zeros(6), [0, 3, 1], [3, 2, 2], np.array([1, 0, 1, 1, 1, 1], bool))
    found = rm.temporal_repeat(values, like)
    assert found.values.tolist() == [7, 0, 7, 0, 0, 0, 9]
    assert found.mask.tolist() == [True, False, True, False, False, False, True]
    dense = rm.temporal_repeat(values, np.zeros((3, 2)))
    assert dense.values.tolist() == [[7, 7], [0, 0], [9, 9]]
    assert dense.mask.tolist() == [[True, True], [False, False], [True, True]]


@pytest.mark.parametrize("item_shape", [(), (7,)])
def test_threads_change_no_bit(num_threads, item_shape):
    random = np.random.default_rng(0)
    lengths = random.integers(0, 60, 5000)
    like = rm.Ragged.from_offsets(
        random.random(lengths.sum()), [0, *lengths.cumsum()], random.random(lengths.sum()) < 0.8
    )
    values, found = random.standard_normal((len(like), *item_shape)), []
    for threads in (1, 2, 5):
        num_threads(threads)
        found.append(rm.temporal_repeat(values, like).values.tobytes())
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([1.0], r"one value for each of 2 rows; got 1, of shape \(1,\)"),
        (np.zeros((3, 2)), "one value for each of 2 rows; got 3"),
        (3.0, "values must be one a row"),
        (rm.Ragged.from_rows([[1], [2]]), "got a Ragged"),
        (rm.Padded(np.zeros((2, 1))), "got a Padded"),
        (["a", "b"], "strings become ids first"),
        (pa.array(["a", "b"]), "values cannot be read"),
        (pa.array([[1], [2, 3]]), "values cannot be read"),
        ([None, 1], "Python objects"),
        (np.ma.MaskedArray([1, 2], [True, False]), "masked array"),
    ],
)
def test_what_is_not_one_value_a_row_is_refused(values, says):
    with pytest.raises((rm.InvalidInputError, rm.UnsupportedTypeError), match=says):
        rm.temporal_repeat(values, rm.Ragged.from_rows([[1.0], [2.0, 3.0]]))


@pytest.mark.parametrize("like", [[1, 2], np.zeros(2), "ab", None])
def test_what_has_no_rows_is_refused(like):
    with pytest.raises(rm.RagmaskError, match="like"):
        rm.temporal_repeat([1.0, 2.0], like)
