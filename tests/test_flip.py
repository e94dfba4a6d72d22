"""Steps in reverse order, and moved on in a circle."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from tests import reference
from tests.strategies import as_kind, padded_rows_of, raggeds, rows_of

KINDS = st.sampled_from(["ragged", "padded", "dense"])


def bytes_of(batch):
    """(rows of bytes, rows of bools) of any batch."""
    if isinstance(batch, rm.Ragged):
        return rows_of(batch)
    return padded_rows_of(rm.Padded(batch) if isinstance(batch, np.ndarray) else batch)


def zero_of(batch):
    """The bytes of a step of zeros."""
    values = batch if isinstance(batch, np.ndarray) else batch.values
    items = values.shape[1 if isinstance(batch, rm.Ragged) else 2 :]
    return bytes(int(np.prod(items)) * values.itemsize)


@given(raggeds(), KINDS)
def test_flip_is_the_reference(ragged, kind):
    """For every dtype, to the bit."""
    batch = as_kind(ragged, kind)
    flipped = rm.temporal_flip(batch)
    rows, masks = bytes_of(batch)
    assert bytes_of(flipped) == (reference.temporal_flip(rows, masks, zero_of(batch)), masks)
    assert (type(flipped), flipped.dtype) == (type(batch), batch.dtype)


@given(raggeds(max_steps=70, masked=(False,), item_shapes=[()]))
def test_flip_is_numpys_row_by_row(ragged):
    for row, flipped in zip(ragged, rm.temporal_flip(ragged), strict=True):
        assert flipped.tobytes() == row[::-1].tobytes()


@given(raggeds(dtypes=("float32", "int8"), item_shapes=[(), (3,)], max_steps=40), st.data())
def test_roll_is_the_reference(ragged, data):
    shift = st.integers(-90, 90) | st.sampled_from([2**63 - 1, 1 - 2**63])
    if data.draw(st.booleans()):
        n = shifts = data.draw(shift)
        shifts = [n] * len(ragged)
    else:
        shifts = [data.draw(shift) for _ in range(len(ragged))]
        n = np.array(shifts, np.int64)
    rolled = ragged.roll(n)
    rows, masks = rows_of(ragged)
    assert rows_of(rolled) == (reference.roll(rows, masks, zero_of(ragged), shifts), masks)


@given(raggeds(dtypes=("float64",), masked=(False,), max_steps=40), st.integers(-99, 99))
def test_roll_is_numpys_row_by_row(ragged, n):
    for row, rolled in zip(ragged, ragged.roll(n), strict=True):
        assert rolled.tobytes() == np.roll(row, n, axis=0).tobytes()


@given(raggeds(dtypes=("int32",)), st.integers(-99, 99))
def test_what_was_rolled_is_rolled_back(ragged, n):
    once = ragged.roll(n)
    assert rows_of(once.roll(-n)) == rows_of(ragged.roll(0))
    assert rows_of(rm.temporal_flip(rm.temporal_flip(ragged))) == rows_of(ragged.roll(0))


def test_a_masked_step_stays_where_it_is():
    x = rm.Ragged([1.0, np.nan, 2.0, 3.0], [0], [4], np.array([True, False, True, True]))
    assert rm.temporal_flip(x).values.tolist() == [3.0, 0.0, 2.0, 1.0]
    assert x.roll(1).values.tolist() == [3.0, 0.0, 1.0, 2.0]
    assert rm.temporal_flip(x, mask=np.array([True, False, False, True])).values[0] == 3.0
    assert rm.temporal_flip(x).mask.tolist() == [True, False, True, True]


def test_padding_stays_on_its_side():
    x = rm.Ragged.from_rows([[1, 2], [3]])
    for padding, expected in {"post": [[2, 1], [3, 0]], "pre": [[2, 1], [0, 3]]}.items():
        assert rm.temporal_flip(x.to_padded(padding=padding)).values.tolist() == expected


def test_out_is_written_to():
    x, out = rm.Ragged.from_rows([[1.0, 2.0], [3.0]]), np.full(5, 7.0)
    assert np.shares_memory(rm.temporal_flip(x, out=out).values, out)
    assert out.tolist() == [2.0, 1.0, 3.0, 7.0, 7.0]
    with pytest.raises(rm.InvalidInputError, match="overlaps"):
        rm.temporal_flip(out[None], out=out[None])


def test_arrow_lists_keep_their_type_and_nulls():
    array = pa.array([[1, None, 3], None, []], pa.large_list(pa.timestamp("ms")))
    flipped = rm.temporal_flip(array)
    assert flipped.type == array.type
    assert flipped.cast(pa.large_list(pa.int64())).to_pylist() == [[3, None, 1], None, []]
    assert rm.Ragged.from_arrow(array).roll(1).to_arrow().is_null().to_pylist() == [
        False,
        True,
        False,
    ]


@pytest.mark.parametrize("n", [1.0, "1", None, True, np.nan, 2**63, np.array(1.5)])
def test_a_shift_is_an_integer(n):
    with pytest.raises(rm.InvalidInputError, match="n must be"):
        rm.Ragged.from_rows([[1, 2]]).roll(n)


@pytest.mark.parametrize("n", [[1.0, 2.0], [True, False], np.array(["1", "2"])])
def test_shifts_are_integers(n):
    with pytest.raises(rm.UnsupportedTypeError, match="n must be integers"):
        rm.Ragged.from_rows([[1, 2], [3]]).roll(n)


@pytest.mark.parametrize("n", [[1], [1, 2, 3]])
def test_there_are_as_many_shifts_as_rows(n):
    with pytest.raises(rm.InvalidInputError, match=f"each of 2 rows; got {len(n)}"):
        rm.Ragged.from_rows([[1, 2], [3]]).roll(n)
