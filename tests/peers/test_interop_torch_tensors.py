"""Ragged to torch's jagged and padded tensors, and back: equal to torch's own."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.utils.rnn import pad_sequence

import ragmask as rm
from ragmask.interop.torch import from_jagged, to_jagged, to_packed, to_padded
from tests import reference
from tests.peers.tensors import KNOWN, RAGGEDS, jagged_of
from tests.strategies import padded_rows_of, raggeds, rows_of, steps_of

SIDES = st.sampled_from(["pre", "post"])


@pytest.fixture
def batch():
    return rm.Ragged.from_rows([[1, 2, 3], [], [4], [5, 6]])


def bytes_of(tensors):
    return [steps_of(tensor.numpy()) for tensor in tensors]


# -- jagged -------------------------------------------------------------------------------


@given(RAGGEDS)
def test_a_jagged_tensor_holds_the_rows(ragged):
    jagged = to_jagged(ragged)
    assert jagged.layout == torch.jagged
    assert bytes_of(jagged.unbind()) == rows_of(ragged)[0]
    assert jagged.offsets().tolist() == reference.compact(rows_of(ragged)[0])[1]
    assert jagged.lengths() is None
    lengths = ragged.lengths.tolist()
    assert jagged._get_max_seqlen() == max(lengths, default=0)
    assert jagged._get_min_seqlen() == min(lengths, default=0)


@given(RAGGEDS)
def test_jagged_and_back(ragged):
    jagged = to_jagged(ragged)
    again = from_jagged(jagged)
    assert rows_of(again) == rows_of(ragged)
    assert again.dtype == ragged.dtype
    assert again.item_shape == ragged.item_shape
    assert not again.values.size or again.values.ctypes.data == jagged.values().data_ptr()


@pytest.mark.parametrize("kind", [torch.int32, torch.int64])
def test_jagged_rows_with_holes(kind):
    values, starts = torch.arange(24.0).reshape(4, 6), torch.tensor([1, 0, 3, 2], dtype=kind)
    lengths = torch.tensor([2, 6, 0, 4], dtype=kind)
    jagged = torch.nested.narrow(values, 1, starts, lengths, layout=torch.jagged)
    assert jagged.lengths() is not None
    ragged = from_jagged(jagged)
    assert [row.tolist() for row in ragged] == [row.tolist() for row in jagged.unbind()]
    assert ragged.values.ctypes.data == values.data_ptr()


def test_torch_pads_our_jagged_tensor_as_we_do(batch):
    floats = batch.with_values(batch.values.astype(np.float32))
    expected = torch.nested.to_padded_tensor(to_jagged(floats), -1.0)
    assert torch.equal(to_padded(floats, value=-1)[0], expected)


def test_jagged_values_that_are_not_contiguous_are_copied():
    values = torch.arange(12).reshape(2, 6).t()
    ragged = from_jagged(jagged_of(values, [0, 4, 6]))
    assert ragged.values.tolist() == values.tolist()


@pytest.mark.parametrize(
    ("offsets", "lengths", "message"),
    [
        ([0, 2, 99], None, "offsets run past the values in row 1"),
        ([0, 2**62, 2], None, "offsets decrease at row 1"),
        ([-5, 2, 3], None, "offsets start at -5"),
        ([0, 2, 4], [2, 9], "row 1 does not lie inside the values"),
        ([0, 2, 4], [-1, 2], "row 0 does not lie inside the values"),
    ],
)
def test_a_hostile_jagged_tensor_is_refused(offsets, lengths, message):
    jagged = jagged_of(torch.arange(4.0), offsets, lengths, min_seqlen=0, max_seqlen=4)
    with pytest.raises(rm.InvalidInputError, match=message):
        from_jagged(jagged)


TURNS = {
    "transposed": lambda jagged: jagged.transpose(1, 2),
    "as the last": lambda jagged: jagged.transpose(1, 3),
    "its items": lambda jagged: jagged.transpose(2, 3),
    "turned and turned": lambda jagged: jagged.transpose(1, 2).transpose(2, 3).transpose(1, 3),
    "widened": lambda jagged: jagged.transpose(1, 2).unsqueeze(1),
    "contiguous": lambda jagged: jagged.transpose(1, 2).contiguous(),
}


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.bfloat16])
@pytest.mark.parametrize("lengths", [[2, 0, 4], [0, 0], [6]])
def test_the_ragged_dimension_comes_first(turn, dtype, lengths):
    offsets = np.cumsum([0, *lengths]).tolist()
    values = torch.arange(offsets[-1] * 6).reshape(offsets[-1], 2, 3).to(dtype)
    jagged = TURNS[turn](jagged_of(values, offsets))
    check_turned(jagged, lengths)


@pytest.mark.parametrize("turn", ["transposed", "as the last", "its items"])
def test_the_ragged_dimension_of_rows_with_holes_comes_first(turn):
    values = torch.arange(4 * 6 * 2 * 3.0).reshape(4, 6, 2, 3)
    starts, lengths = torch.tensor([1, 0, 3, 2]), torch.tensor([2, 6, 0, 4])
    jagged = torch.nested.narrow(values, 1, starts, lengths, layout=torch.jagged)
    check_turned(TURNS[turn](jagged), lengths.tolist())


def check_turned(jagged, lengths):
    ragged = from_jagged(jagged)
    dimension = next(place for place, size in enumerate(jagged.shape) if not isinstance(size, int))
    for row, theirs, length in zip(ragged, jagged.unbind(), lengths, strict=True):
        expected = theirs.movedim(dimension - 1, 0)
        assert len(row) == length
        assert row.shape == expected.shape
        assert row.tolist() == expected.tolist()


def test_a_transposed_tensor_is_read_where_it_lies():
    values = torch.arange(36.0).reshape(6, 2, 3)
    ragged = from_jagged(jagged_of(values, [0, 2, 6]).transpose(1, 2))
    assert ragged.values.ctypes.data == values.data_ptr()
    other = from_jagged(jagged_of(torch.arange(12.0).reshape(2, 6), [0, 2, 6], jagged_dim=2))
    assert other.to_rows()[0].tolist() == [[0, 6], [1, 7]]


@pytest.mark.parametrize("other", [torch.zeros(2, 3), np.zeros(3), [[1], [2]], None])
def test_only_a_jagged_tensor_is_one(other):
    with pytest.raises(rm.UnsupportedTypeError, match=r"from_jagged takes a nested tensor"):
        from_jagged(other)


# -- padded -------------------------------------------------------------------------------

OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "maxlen": st.sampled_from([0, 1, 2, 5, 40]),
        "padding": SIDES,
        "truncating": SIDES,
        "multiple_of": st.sampled_from([1, 2, 7, 8]),
        "value": st.sampled_from([0, 1]),
    },
)


@given(raggeds(dtypes=KNOWN), OPTIONS)
def test_padded_tensors_are_our_padded_arrays(ragged, options):
    values, mask = to_padded(ragged, **options)
    assert mask.dtype == torch.bool
    expected = ragged.to_padded(**options)
    assert values.numpy().dtype == expected.dtype
    assert padded_rows_of(rm.Padded(values, mask)) == padded_rows_of(expected)


@given(raggeds(dtypes=("float32", "int64"), masked=[False], tame=True).filter(len), SIDES)
def test_padded_tensors_are_pad_sequences(ragged, padding):
    sides = {"post": "right", "pre": "left"}
    rows = [torch.from_numpy(row.copy()) for row in ragged]
    expected = pad_sequence(rows, True, 7, sides[padding])
    values, mask = to_padded(ragged, padding=padding, value=7)
    assert torch.equal(values, expected)
    assert mask.sum(1).tolist() == ragged.lengths.tolist()


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (torch.float64, torch.float64),
        (torch.int64, torch.int64),
        ("float32", torch.float32),
        (np.complex64, torch.complex64),
        (None, torch.int16),
    ],
)
def test_a_dtype_of_torch_or_numpy(dtype, expected):
    values, _ = to_padded(rm.Ragged.from_rows([[1, 2], [3]], "int16"), dtype=dtype)
    assert values.dtype == expected
    assert values.tolist() == [[1, 2], [3, 0]]


@pytest.mark.parametrize(
    ("dtype", "message"),
    [
        (torch.bfloat16, r"numpy has no torch.bfloat16: .* values.to\(torch.bfloat16\)"),
        (torch.float8_e5m2, r"numpy has no torch.float8_e5m2"),
        (torch.float32, "int64 does not fit float32 without loss"),
        ("datetime64[s]", "torch has no datetime64"),
        (object, "holds no numbers"),
    ],
)
def test_a_dtype_that_cannot_be_is_refused(batch, dtype, message):
    with pytest.raises(rm.UnsupportedTypeError, match=message):
        to_padded(batch, dtype=dtype)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"maxlen": -1}, "maxlen must be at least 0"),
        ({"maxlen": 2.5}, "maxlen must be an integer"),
        ({"maxlen": 2**62}, "larger than any memory"),
        ({"multiple_of": 0}, "multiple_of must be at least 1"),
        ({"padding": "left"}, "padding must be"),
        ({"value": 0.5}, "value 0.5 does not fit"),
    ],
)
def test_a_bad_option_is_named(batch, options, message):
    with pytest.raises(rm.InvalidInputError, match=message):
        to_padded(batch, **options)


def test_the_default_device_moves_nothing(batch):
    with torch.device("meta"):
        values, mask = to_padded(batch)
        packed = to_packed(batch[[0, 2]])
    assert {tensor.device.type for tensor in (values, mask, packed.data)} == {"cpu"}
