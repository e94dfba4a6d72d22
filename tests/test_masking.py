"""Masks from values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from tests import reference
from tests.strategies import DTYPES, TIMES, as_kind, assert_rows, lists_of, over, raggeds

NUMBERS = tuple(dtype for dtype in DTYPES if dtype not in TIMES)


@given(
    raggeds(dtypes=NUMBERS, item_shapes=[(), (1,), (3,), (2, 2), (0,)], tame=True),
    st.sampled_from(["ragged", "padded", "dense"]),
    st.sampled_from([0, 1]),
)
def test_it_is_the_reference(ragged, kind, value):
    """Over zeros and ones, so that whole steps of one value are common."""
    ragged = over(ragged, (ragged.values.real.astype(int) % 2).astype(ragged.dtype))
    batch = as_kind(ragged, kind)
    masked = rm.masking(batch, value)
    expected, masks = reference.masking(*lists_of(batch), value)
    rows, kept = lists_of(masked)
    assert_rows(rows, expected)
    assert kept == masks
    assert masked.dtype == ragged.dtype
    assert type(masked) is (rm.Ragged if kind == "ragged" else rm.Padded)
    assert not np.shares_memory(masked.values, ragged.values)


@pytest.mark.parametrize("dtype", TIMES)
def test_times(dtype):
    values = np.array([0, 5, "NaT"], dtype)
    nothing = np.array(0, dtype)
    assert rm.masking(rm.Ragged(values, [0], [3]), nothing).mask.tolist() == [False, True, True]
    assert rm.masking(rm.Ragged(values, [0], [3]), values[1]).mask.tolist() == [True, False, True]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floats_compare_as_ieee_says(dtype):
    values = np.array([0.0, -0.0, np.nan, np.inf], dtype)
    masked = rm.masking(rm.Ragged(values, [0], [4]))
    assert masked.mask.tolist() == [False, False, True, True]
    assert not np.signbit(masked.values[:2]).any()
    np.testing.assert_array_equal(masked.values[2:], values[2:])
    assert rm.masking(rm.Ragged(values, [0], [4]), np.inf).mask.tolist() == [
        True,
        True,
        True,
        False,
    ]


@given(
    raggeds(
        dtypes=("float16", "float32", "float64", "complex64"),
        item_shapes=[(), (1,), (3,), (2, 2), (0,)],
        tame=True,
    ),
    st.sampled_from(["ragged", "padded", "dense"]),
    st.sampled_from([np.nan, -np.nan, 0.0]),
)
def test_nan_is_nan_here(ragged, kind, value):
    """Over zeros, ones and NaNs of either sign."""
    kinds = (np.arange(ragged.values.size) * 7 // 3 % 4).reshape(ragged.values.shape)
    values = np.array([np.nan, -np.nan, 0, 1])[kinds].astype(ragged.dtype)
    values[: len(values) // 2] = value
    batch = as_kind(over(ragged, values), kind)
    masked = rm.masking(batch, value)
    expected, masks = reference.masking(*lists_of(batch), value)
    rows, kept = lists_of(masked)
    assert_rows(rows, expected)
    assert kept == masks


def test_a_layer_and_its_saved_form_mask_nan(tmp_path):
    steps = rm.Ragged.from_rows([[[1.0, np.nan], [np.nan, np.nan]], [], [[np.nan, np.nan]]])
    x = rm.layers.Input((None, 2), "float64")
    model = rm.layers.Model(x, rm.layers.Masking(np.nan)(x))
    assert model(steps).mask.tolist() == [True, False, False]
    model.save(tmp_path / "model")
    assert rm.layers.load_model(tmp_path / "model")(steps).mask.tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("dtype", "value"),
    [("int8", 128), ("uint8", -1), ("int32", 0.5), ("bool", 2), ("float32", "a")],
)
def test_a_value_the_dtype_cannot_hold_is_refused(dtype, value):
    with pytest.raises(rm.InvalidInputError, match="does not fit a batch of"):
        rm.masking(rm.Ragged(np.zeros(1, dtype), [0], [1]), value)


def test_long_doubles_are_refused():
    with pytest.raises(rm.UnsupportedTypeError, match="convert it to float64"):
        rm.masking(rm.Ragged(np.zeros(1, np.longdouble), [0], [1]))


def test_an_array_needs_rows_and_steps():
    with pytest.raises(rm.InvalidInputError, match=r"\(rows, width, …\) .* shape \(3,\)"):
        rm.masking(np.zeros(3))


@pytest.mark.parametrize("dtype", ["float16", "float32", "int8", "bool"])
def test_out_and_a_mask_by_hand(dtype):
    values = np.array([[1, 0], [0, 0], [1, 1], [1, 0]], "int64").astype(dtype)
    x = rm.Ragged(values, [0, 2], [2, 2])
    out, mask = np.ones((4, 2), dtype), np.array([True, True, False, True])
    found = rm.masking(x, mask=mask, out=out)
    assert np.shares_memory(found.values, out)
    assert found.mask.tolist() == [True, False, False, True]
    expected = np.where(found.mask[:, None], values, np.zeros((), dtype))
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(rm.masking(x, mask=mask).values, expected)
    with pytest.raises(rm.InvalidInputError, match="out overlaps"):
        rm.masking(x, out=values)
